/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sweep: what the live connections moved since the last one, which sockets listen, and who
 * holds those that still wait for an owner.
 */
#include "connection.h"
#include "reading.h"

struct listening_port {
	__u32 network_namespace;
	__u32 port;
};

/* Ports that were being listened on when a sweep passed: tells the role of a connection older than
 * us. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listening_port);
	__type(value, __u8);
} listening_ports SEC(".maps");

static __always_inline void sweep_listener(struct bpf_iter_meta *meta, const struct sock *sk,
					   const struct tcp_sock *tp)
{
	struct listening_port at = {};
	struct socket_state *st;
	__u8 one = 1;

	st = socket_create(sk);
	if (!st)
		return;
	if (st->role != ROLE_LISTENER) {
		st->role = ROLE_LISTENER;
		st->flags |= SOCKET_OLDER;
	}
	st->network_namespace = socket_namespace(sk);
	st->local_port = sk->__sk_common.skc_num;
	note_listener(sk);
	settle_kernels(sk, tp, st);
	settle_owner(sk, st);
	follow_image(sk, st);
	/* Its process is not known, or has gone and left the socket to another. */
	if ((!st->owner.tgid || owner_is_gone(&st->owner)) && !(st->flags & SOCKET_OWNER_ASKED)) {
		st->flags |= SOCKET_OWNER_ASKED;
		sweep_totals.awaiting_owner++;
	}
	if (!st->owner.tgid)
		sweep_totals.unowned++;
	at.network_namespace = st->network_namespace;
	at.port = st->local_port;
	bpf_map_update_elem(&listening_ports, &at, &one, BPF_ANY);
	judge(sk, st);
	if (st->flags & SOCKET_EXCLUDED)
		return;

	if (!st->listener_cookie)
		remember_listener(sk, st, false);
	tell_swept(meta, sk, st, IPPROTO_TCP, st->rules);
}

/* Meets a connection for the first time: what it did before belongs to nobody's interval. */
static __always_inline void adopt(const struct sock *sk, struct tcp_sock *tp,
				  struct socket_state *st, int state)
{
	struct listening_port at = {};

	if (!st->role) {
		at.network_namespace = st->network_namespace = socket_namespace(sk);
		at.port = st->local_port = sk->__sk_common.skc_num;
		st->role = bpf_map_lookup_elem(&listening_ports, &at) ? ROLE_SERVER : ROLE_CLIENT;
	}
	read_tcp(sk, tp, state, st->role, &st->last);
	st->flags |= SOCKET_OLDER | SOCKET_BASELINE | SOCKET_ESTABLISHED;
}

/*
 * Judges a connection again when the rules have changed. One that is let in begins like one that is
 * older than netsonde; one that is shut out is no longer active, as far as anybody is told.
 */
static __always_inline bool excluded(const struct sock *sk, struct tcp_sock *tp,
				     struct socket_state *st, int state)
{
	bool before = st->flags & SOCKET_EXCLUDED;
	struct flow_value *flow;
	struct flow_key key;

	if (st->rule_generation == settings.rule_generation)
		return before;
	/* Under the key that it was counted with. */
	flow_key_of(&key, &sk->__sk_common, st);
	judge(sk, st);
	if (before && !(st->flags & SOCKET_EXCLUDED)) {
		read_tcp(sk, tp, state, st->role, &st->last);
		st->flags |= SOCKET_OLDER | SOCKET_BASELINE;
		st->flags &= ~SOCKET_ACCEPT_UNTOLD;
	}
	if (st->flags & SOCKET_COUNTED) {
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, -1);
		if (st->flags & SOCKET_EXCLUDED) {
			st->flags &= ~SOCKET_COUNTED;
			st->flags |= SOCKET_OLDER;
			return true;
		}
		key.rules = st->rules;
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, 1);
	}
	return st->flags & SOCKET_EXCLUDED;
}

SEC("iter/tcp")
int tcp_sweep(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct reading r, delta;
	struct socket_state *st;
	struct flow_value *flow;
	struct flow_key key;
	struct tcp_sock *tp;
	struct sock *sk;
	int state;

	if (!skc)
		return 0;
	sweep_totals.sockets++;
	/* Neither request nor TIME_WAIT sockets, which have no owner and no counters. */
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	sk = (struct sock *)tp;
	state = skc->skc_state;
	if (state == TCP_LISTEN) {
		sweep_listener(ctx->meta, sk, tp);
		return 0;
	}
	if (state == TCP_CLOSE || state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return 0;
	sweep_totals.connections++;
	st = socket_lookup(sk);
	if (!st) {
		st = socket_create(sk);
		if (!st)
			return 0;
	}
	if (st->role != ROLE_LISTENER && (st->flags & SOCKET_EXCLUDED) &&
	    st->rule_generation == settings.rule_generation)
		return 0;
	if (st->role == ROLE_LISTENER ||
	    (st->role == ROLE_CLIENT && st->opened_ns && !(st->flags & SOCKET_ESTABLISHED)))
		establish(sk, tp, st, true);
	if (!(st->flags & SOCKET_ESTABLISHED))
		adopt(sk, tp, st, state);
	settle_kernels(sk, tp, st);
	settle_owner(sk, st);
	follow_image(sk, st);
	if (excluded(sk, tp, st, state))
		return 0;
	if ((st->flags & SOCKET_COUNTED) && tp->segs_in == st->last.receive_segments &&
	    tp->segs_out == st->last.transmit_segments)
		return 0;
	if (!owner_settled(sk, st))
		return 0;
	read_tcp(sk, tp, state, st->role, &r);
	flow_key_of(&key, skc, st);
	flow = flow_entry(&key);
	/* The last reading stays as it was: nothing is lost, the next sweep tries again. */
	if (!flow)
		return 0;
	advance(st, &r, &delta);
	if (!(st->flags & SOCKET_COUNTED)) {
		add_opening(flow, st);
		__sync_fetch_and_add(&flow->active, 1);
	}
	add_delta(flow, st, &delta, tp->srtt_us >> 3);
	if (st->flags & SOCKET_ACCEPT_UNTOLD)
		tell_open(sk, st);
	return 0;
}
