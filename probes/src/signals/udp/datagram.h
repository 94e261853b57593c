/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What packets, sweeps and the end of a socket share: its count on the way into its flow. */
#ifndef NETSONDE_UDP_DATAGRAM_H
#define NETSONDE_UDP_DATAGRAM_H

#include "core.h"
#include "ownership.h"

/* Without a remote end for a server as a whole. */
static __always_inline __u64 judge_packets(const struct socket_state *st, __u32 transport,
					   const __u64 *remote, __u16 port)
{
	__u32 about = transport << 16 | port;

	if (remote)
		about |= SELECT_HAS_REMOTE;
	if ((st->flags & SOCKET_OWNED) && st->owner.tgid != KERNEL_TGID)
		about |= SELECT_HAS_USER;
	return select_socket(remote ? remote[0] : 0, remote ? remote[1] : 0, about, st->owner.uid);
}

/* Under which it counts as active, whatever has been learnt of it since. */
static __always_inline void counted_datagram_key(struct flow_key *key,
						 const struct socket_state *st)
{
	datagram_key(key, st);
	key->rules = st->counted_rules;
	key->application = st->flags & SOCKET_COUNTED_QUIC ? APPLICATION_QUIC : APPLICATION_UNKNOWN;
}

/*
 * Takes a socket that counts as active out of the flow that it counts with. Its end,
 * a sweep and a packet may come to that at once: whoever finds it counted does it.
 */
static __noinline void uncount(struct socket_state *st)
{
	struct flow_value *flow;
	struct flow_key key;

	if (!st->counted)
		return;
	counted_datagram_key(&key, st);
	flow = flow_entry(&key);
	if (__sync_lock_test_and_set(&st->counted, 0) && flow)
		__sync_fetch_and_add(&flow->active, -1);
}

/* Packets are counted on other processors meanwhile: each number is taken out whole. */
static __noinline void flush_datagrams(struct socket_state *st)
{
	struct flow_value *flow;
	struct flow_key key;

	if (!st->sent.datagrams && !st->received.datagrams)
		return;
	if (!st->owner.tgid)
		count_loss(LOSS_UNOWNED);
	datagram_key(&key, st);
	flow = flow_entry(&key);
	/* The count stays as it is: the next sweep tries again. */
	if (!flow)
		return;
	add(&flow->transmit_bytes, __sync_lock_test_and_set(&st->sent.bytes, 0));
	add(&flow->receive_bytes, __sync_lock_test_and_set(&st->received.bytes, 0));
	add(&flow->transmit_segments, __sync_lock_test_and_set(&st->sent.datagrams, 0));
	add(&flow->receive_segments, __sync_lock_test_and_set(&st->received.datagrams, 0));
}

/*
 * Most of what the kernel drops at a socket is told of as it happens (udp_dropped()). The rest,
 * such as what a filter refused or what had a wrong checksum when it was read, is only counted, on
 * the socket. What is counted is told of a moment later: a sweep takes what the one before it has
 * seen already.
 */
static __always_inline void tell_other_drops(const struct sock *sk, struct socket_state *st,
					     bool final)
{
	__u32 untold = socket_drops(sk) - st->drops_told, known;
	struct flow_value *flow;
	struct flow_key key;

	if (st->flags & SOCKET_EXCLUDED) {
		__sync_fetch_and_add(&st->drops_told, untold);
		return;
	}
	if (!untold || (__s32)untold < 0)
		return;
	known = final || untold < st->drops_untold ? untold : st->drops_untold;
	st->drops_untold = untold - known;
	if (!known)
		return;
	datagram_key(&key, st);
	flow = flow_entry(&key);
	if (!flow)
		return;
	add(&flow->drops[DROP_UNSPECIFIED], known);
	__sync_fetch_and_add(&st->drops_told, known);
}

/* An exec takes a socket along: what it counted until then stays with the earlier program. */
static __always_inline void follow_program(struct socket_state *st)
{
	__u32 image;

	if (!newer_image(&st->owner, &image))
		return;
	if (st->role && !(st->flags & SOCKET_EXCLUDED))
		flush_datagrams(st);
	uncount(st);
	st->owner.image = image;
}

/*
 * Judges the one flow that the socket counts for by itself. What it has counted
 * belongs to what the rules said before.
 */
static __always_inline void judge_flow(struct socket_state *st, const __u64 *remote)
{
	__u64 verdict;

	if (st->rule_generation && !(st->flags & SOCKET_EXCLUDED))
		flush_datagrams(st);
	verdict = judge_packets(st, RULE_UDP, remote, st->server_port);

	st->rule_generation = settings.rule_generation;
	st->rules = verdict;
	st->flags &= ~SOCKET_EXCLUDED;
	if (verdict & SELECT_EXCLUDED)
		st->flags |= SOCKET_EXCLUDED;
}

/* A socket was bound to its port, or is found to be; or such a one ends. */
static __noinline int tell_bound(struct socket_state *st, __u64 cookie, __u32 kind, __u32 rules,
				 __u32 interface)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct socket_event *e;

	st->flags |= SOCKET_TOLD;
	e = event_reserve(kind, now);
	if (!e)
		return 0;
	e->owner = st->owner;
	e->role = ROLE_LISTENER;
	e->transport = IPPROTO_UDP;
	e->rules = rules;
	e->interface = interface;
	e->network_namespace = st->network_namespace;
	e->socket_cookie = cookie;
	__builtin_memcpy(e->local_address, st->bound_address, 16);
	e->local_port = st->local_port;
	if (kind == EVENT_LISTEN_CLOSE && st->opened_ns)
		e->duration_ns = now - st->opened_ns;
	event_submit(e);
	return 0;
}

/* Whoever ends a socket that is nobody's has it, unless the kernel does. */
static __always_inline void take_over_datagrams(struct socket_state *st, struct task_struct *caller)
{
	if ((caller->flags & PF_KTHREAD) || st->counted)
		return;
	owner_of_task(caller, &st->owner);
	st->flags |= SOCKET_OWNED;
}

#endif
