/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What state changes and sweeps share: who may have accepted, how a connection begins, and what is
 * told of it. */
#ifndef NETSONDE_TCP_CONNECTION_H
#define NETSONDE_TCP_CONNECTION_H

#include "core.h"
#include "ownership.h"

/* Nobody but the listener's owner can have accepted from it. */
static __always_inline bool sole_acceptor(const struct socket_state *st)
{
	if ((st->flags & SOCKET_SHARED) || !st->owner.tgid)
		return false;
	if (st->owner.tgid == KERNEL_TGID)
		return true;
	return (marks_of(st->owner.tgid) & (MARK_LISTENS | MARK_FORKED)) == MARK_LISTENS;
}

/* Applies the selection rules, unless those in force have judged the socket already. */
static __always_inline void judge(const struct sock *sk, struct socket_state *st)
{
	__u32 generation = settings.rule_generation, about = RULE_TCP << 16;
	__u64 remote[2] = {}, verdict;

	if (st->rule_generation == generation)
		return;
	st->rule_generation = generation;
	st->flags &= ~SOCKET_EXCLUDED;
	if (st->role == ROLE_CLIENT)
		about |= bpf_ntohs(sk->__sk_common.skc_dport);
	else
		about |= st->local_port;
	if (st->role != ROLE_LISTENER) {
		remote_address(&sk->__sk_common, (__u8 *)remote);
		about |= SELECT_HAS_REMOTE;
	}
	/* The kernel is no user. */
	if ((st->flags & SOCKET_OWNED) && st->owner.tgid != KERNEL_TGID)
		about |= SELECT_HAS_USER;
	verdict = select_socket(remote[0], remote[1], about, st->owner.uid);
	st->rules = verdict;
	if (verdict & SELECT_EXCLUDED)
		st->flags |= SOCKET_EXCLUDED;
}

static __always_inline void event_endpoints(struct socket_event *e, const struct sock *sk,
					    const struct socket_state *st)
{
	const struct sock_common *skc = &sk->__sk_common;

	e->owner = st->owner;
	e->transport = IPPROTO_TCP;
	e->role = st->role;
	e->rules = st->rules;
	if (st->flags & SOCKET_BINARY_DELETED)
		e->flags |= EVENT_BINARY_DELETED;
	e->network_namespace = st->network_namespace;
	e->socket_cookie = socket_cookie(sk, st);
	local_address(skc, e->local_address);
	e->local_port = st->local_port;
	if (st->role == ROLE_LISTENER)
		return;
	remote_address(skc, e->remote_address);
	e->remote_port = bpf_ntohs(skc->skc_dport);
}

static __always_inline void tell_listen(const struct sock *sk, const struct socket_state *st,
					__u32 kind)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct socket_event *e;

	if (st->flags & SOCKET_EXCLUDED)
		return;
	e = event_reserve(kind, now);
	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->backlog = sk->sk_max_ack_backlog;
	e->interface = sk->__sk_common.skc_bound_dev_if;
	e->flags |= EVENT_SOCKET_KNOWN;
	if (BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK)
		e->flags |= EVENT_PORT_CHOSEN;
	if (BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only))
		e->flags |= EVENT_IPV6_ONLY;
	if (BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_reuseport))
		e->flags |= EVENT_REUSE_PORT;
	if (kind == EVENT_LISTEN_CLOSE && st->opened_ns)
		e->duration_ns = now - st->opened_ns;
	event_submit(e);
}

static __always_inline void tell_open(const struct sock *sk, struct socket_state *st)
{
	struct socket_event *e;

	if (st->role == ROLE_SERVER)
		st->flags &= ~SOCKET_ACCEPT_UNTOLD;
	e = event_reserve(st->role == ROLE_CLIENT ? EVENT_CONNECT : EVENT_ACCEPT,
			  st->established_ns);
	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->duration_ns = (__u64)st->connect_us * 1000;
	event_submit(e);
}

static __always_inline void tell_failure(const struct sock *sk, const struct socket_state *st,
					 __u64 now)
{
	struct socket_event *e = event_reserve(EVENT_FAILURE, now);
	__u64 since = st->flags & SOCKET_ESTABLISHED ? st->established_ns : st->opened_ns;

	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->failure = st->failure - 1;
	e->kernel_error = sk->sk_err;
	e->duration_ns = since ? now - since : 0;
	event_submit(e);
}

static __always_inline void tell_close(const struct sock *sk, struct tcp_sock *tp,
				       struct socket_state *st, __u64 now)
{
	struct socket_event *e = event_reserve(EVENT_CLOSE, now);

	if (!e)
		return;
	event_endpoints(e, sk, st);
	if (st->flags & SOCKET_OLDER)
		e->flags |= EVENT_PARTIAL;
	e->duration_ns = st->established_ns ? now - st->established_ns : 0;
	e->transmit_bytes = st->last.transmit_bytes;
	e->receive_bytes = st->last.receive_bytes;
	e->transmit_segments = tp->segs_out;
	e->receive_segments = tp->segs_in;
	e->retransmits = tp->total_retrans;
	e->smoothed_rtt_us = tp->srtt_us >> 3;
	event_submit(e);
}

/*
 * A connection begins. `late`: nobody saw it reach ESTABLISHED, and it is known from what came
 * before and after; when that was, and which of its retransmits were SYNs, is not.
 */
static __always_inline void establish(const struct sock *sk, struct tcp_sock *tp,
				      struct socket_state *st, bool late)
{
	__u64 now = bpf_ktime_get_boot_ns(), remote[2] = {};

	st->established_ns = now;
	st->local_port = sk->__sk_common.skc_num ?: st->local_port;
	st->network_namespace = socket_namespace(sk);
	if (st->role == ROLE_CLIENT) {
		st->flags |= SOCKET_ESTABLISHED;
		/* No program can have seen a SYN from before our start. */
		if (st->opened_ns)
			st->connect_us = (now - st->opened_ns) / 1000;
		else
			st->flags |= SOCKET_OLDER;
		if (!late) {
			st->syn_retransmits = tp->total_retrans;
			st->last.retransmits = tp->total_retrans;
		}
		if (st->owner.tgid)
			tell_open(sk, st);
		return;
	}
	/* A copy of the listener's state, or nothing when the listener is not known. */
	__builtin_memset(&st->last, 0, sizeof(st->last));
	st->role = ROLE_SERVER;
	st->opened_ns = now;
	st->connect_us = 0;
	st->held_generation = 0;
	st->candidate_generation = 0;
	st->several_generation = 0;
	st->rule_generation = 0;
	st->rules = 0;
	st->flags = (st->flags & SOCKET_SHARED) | SOCKET_ESTABLISHED | SOCKET_ACCEPT_UNTOLD;
	/* What the request socket sent again was a SYN-ACK, and counted as such. */
	if (!late)
		st->last.retransmits = tp->total_retrans;
	follow_image(sk, st);
	if (sole_acceptor(st))
		st->flags |= SOCKET_OWNED;
	if (st->listener_cookie) {
		remote_address(&sk->__sk_common, (__u8 *)remote);
		count_accept(st, remote[0], remote[1]);
	}
	judge(sk, st);
	if ((st->flags & (SOCKET_OWNED | SOCKET_EXCLUDED)) == SOCKET_OWNED)
		tell_open(sk, st);
}

#endif
