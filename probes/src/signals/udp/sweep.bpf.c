/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep over UDP sockets: what they counted since the last one goes into their flows. */
#include "datagram.h"

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

	if ((st->flags & SOCKET_COUNTED) && quic == as_quic && st->rules == st->counted_rules)
		return true;
	uncount(st);
	datagram_key(&key, st);
	flow = flow_entry(&key);
	if (!flow)
		return false;
	st->counted_rules = key.rules;
	st->flags |= SOCKET_COUNTED;
	if (key.application == APPLICATION_QUIC)
		st->flags |= SOCKET_COUNTED_QUIC;
	__sync_fetch_and_add(&flow->active, 1);
	return true;
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
	if (!st)
		return 0;
	settle_kernels(sk, NULL, st);
	settle_owner(sk, st);
	/* An older one counts from now on, unless it may still be found out whose it is. */
	if (!st->network_namespace) {
		if (!owner_settled(sk, st))
			return 0;
		st->drops_told = socket_drops(sk);
		st->network_namespace = socket_namespace(sk);
	}
	follow_program(st);
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
