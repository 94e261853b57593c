/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep over UDP sockets: what they counted since the last one goes into their flows. */
#include "datagram.h"

#ifndef BY_ADDRESS

/* Whoever is a server's other end, its socket as a whole is judged without one. */
static __always_inline void judge_again(struct socket_state *st)
{
	__u64 server[2] = {st->server_address[0], st->server_address[1]};

	if (st->rule_generation != settings.rule_generation)
		judge_flow(st, st->role == ROLE_CLIENT ? server : NULL);
}

/* Counts a socket as active, under what is known of it now. */
static __always_inline bool count_active(struct socket_state *st)
{
	bool quic = st->flags & SOCKET_QUIC, as_quic = st->flags & SOCKET_COUNTED_QUIC;
	struct flow_value *flow;
	struct flow_key key;

	if (st->counted && quic == as_quic && st->rules == st->counted_rules)
		return true;
	uncount(st);
	datagram_key(&key, st);
	flow = flow_entry(&key);
	if (!flow)
		return false;
	st->counted_rules = key.rules;
	st->flags &= ~SOCKET_COUNTED_QUIC;
	if (key.application == APPLICATION_QUIC)
		st->flags |= SOCKET_COUNTED_QUIC;
	__sync_lock_test_and_set(&st->counted, 1);
	__sync_fetch_and_add(&flow->active, 1);
	/* It ended meanwhile, before it was counted or after. */
	if (st->ended)
		uncount(st);
	return true;
}

/*
 * Takes datagrams from anybody, or was bound to its port on purpose: a socket that is connected, or
 * sent before anything else, has a port of its own for the answers.
 */
static __always_inline bool takes_unasked(const struct sock *sk)
{
	const struct sock_common *skc = &sk->__sk_common;

	return skc->skc_num && (skc->skc_state != TCP_ESTABLISHED ||
				(BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK));
}

static __always_inline void sweep_bound(struct bpf_iter_meta *meta, const struct sock *sk,
					struct socket_state *st)
{
	__u64 verdict = 0;

	if (settings.rule_generation)
		verdict = judge_packets(st, RULE_UDP, NULL, sk->__sk_common.skc_num);
	if (verdict & SELECT_EXCLUDED)
		return;
	if (!(st->flags & SOCKET_TOLD)) {
		st->local_port = sk->__sk_common.skc_num;
		local_address(&sk->__sk_common, (__u8 *)st->bound_address);
		/* Of an older one nobody knows when that was, but its end can be told. */
		if (st->flags & SOCKET_OLDER)
			st->flags |= SOCKET_TOLD;
		else
			tell_bound(st, bpf_get_socket_cookie((void *)sk), EVENT_LISTEN_OPEN,
				   verdict, sk->__sk_common.skc_bound_dev_if);
	}
	tell_swept(meta, sk, st, IPPROTO_UDP, verdict);
}

SEC("iter/udp")
int udp_sweep(struct bpf_iter__udp *ctx)
{
	struct sock *sk = (struct sock *)ctx->udp_sk;
	struct socket_state *st;

	if (!sk || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	sweep_totals.sockets++;
	st = socket_lookup(sk);
	/* The kernel tells of a socket's end before it takes it from where sweeps look. */
	if (!st || st->ended)
		return 0;
	settle_kernels(sk, NULL, st);
	/* Below it counts again, with whom it has then. */
	if (st->candidate_generation == settings.holder_generation)
		uncount(st);
	settle_owner(sk, st);
	/* An older one counts from now on, unless it may still be found out whose it is. */
	if (!st->network_namespace) {
		if (!owner_settled(sk, st))
			return 0;
		st->drops_told = socket_drops(sk);
		st->network_namespace = socket_namespace(sk);
	}
	follow_program(st);
	if (takes_unasked(sk))
		sweep_bound(ctx->meta, sk, st);
	if (!st->role)
		return 0;
	judge_again(st);
	if (st->flags & SOCKET_EXCLUDED) {
		uncount(st);
		return 0;
	}
	if (!owner_settled(sk, st) || !count_active(st))
		return 0;
	flush_datagrams(st);
	tell_other_drops(sk, st, false);
	return 0;
}

#endif
