/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Giving sockets to processes: what a walk over open files found, and what is still to be found. */
#ifndef NETSONDE_OWNERSHIP_H
#define NETSONDE_OWNERSHIP_H

#include "core.h"

static __always_inline void mark_owner(const struct socket_state *st)
{
	if (st->owner.tgid && st->owner.tgid != KERNEL_TGID)
		mark(st->owner.tgid,
		     st->role == ROLE_LISTENER ? MARK_OWNS | MARK_LISTENS : MARK_OWNS);
}

/* The process that walks over open files: netsonde itself. */
static __u32 walker;

/*
 * A walk holds each file for a moment. One that is closed meanwhile is let go of by the walk, and
 * the kernel closes the socket in the context of a process that has nothing to do with it.
 */
static __always_inline bool is_walk(struct task_struct *caller, const struct socket_state *st)
{
	return FIELD(caller, tgid) == (int)walker && st->owner.tgid != walker;
}

/* Whom the walk found then, where the socket's owner was not final: it is the one that closed. */
static __always_inline bool walk_found_owner(const struct socket_state *st)
{
	__u32 generation = settings.holder_generation;

	if (st->candidate_generation != generation || st->held_generation == generation ||
	    st->candidate_is_manager)
		return false;
	return !st->owner.tgid || (st->role == ROLE_SERVER && !(st->flags & SOCKET_COUNTED));
}

/* Takes over what the last walk over open files found. */
static __always_inline void settle_owner(const struct sock *sk, struct socket_state *st)
{
	__u32 generation = settings.holder_generation;

	if (st->owner.tgid == KERNEL_TGID)
		return;
	if (st->held_generation == generation) {
		st->flags |= SOCKET_OWNED;
		/* The same process, of which more is known now. */
		if (st->candidate_generation == generation &&
		    same_process(&st->candidate, &st->owner))
			change_owner(sk, st, &st->candidate);
	} else if (st->candidate_generation == generation) {
		change_owner(sk, st, &st->candidate);
		st->held_generation = generation;
		st->flags |= SOCKET_OWNED;
		st->flags &= ~(SOCKET_OWNER_ASKED | SOCKET_OWNER_ASKED_TWICE);
		mark_owner(st);
	} else {
		return;
	}
	if (st->several_generation == generation || st->candidate_is_manager)
		st->flags |= SOCKET_SHARED;
	else
		st->flags &= ~SOCKET_SHARED;
}

/* What needs no process to hold it. */
static __always_inline void settle_kernels(const struct sock *sk, const struct tcp_sock *tp,
					   struct socket_state *st)
{
	if (st->owner.tgid || !is_kernels(sk, multipath_socket(sk, tp)))
		return;
	owner_is_kernel(&st->owner);
	st->flags |= SOCKET_OWNED;
}

/* Whether the measurements of a socket may go to the owner that it has now. */
static __always_inline bool owner_settled(const struct sock *sk, struct socket_state *st)
{
	if (st->flags & SOCKET_OWNED) {
		if (is_dead(sk) || (st->flags & SOCKET_OWNER_ASKED) || !owner_is_gone(&st->owner))
			return true;
		/* Its process ended and left it open to another. */
		st->flags |= SOCKET_OWNER_ASKED;
		sweep_totals.awaiting_owner++;
		return false;
	}
	/* Still in the accept queue: nobody holds it yet. */
	if (!sk->sk_socket && !is_dead(sk))
		return false;
	if (!(st->flags & SOCKET_OWNER_ASKED_TWICE)) {
		st->flags |= st->flags & SOCKET_OWNER_ASKED ? SOCKET_OWNER_ASKED_TWICE
							    : SOCKET_OWNER_ASKED;
		sweep_totals.awaiting_owner++;
		return false;
	}
	/* Two walks found no holder: its program is beyond our sight. */
	if (!st->owner.tgid)
		sweep_totals.unowned++;
	st->flags |= SOCKET_OWNED;
	return true;
}

/*
 * A socket that takes what nobody asked for, in a sweep. When the buffer is full the kernel shows
 * the socket again, in the next read (bpf_seq_read()), and takes back what was written of it.
 */
static __noinline int tell_swept(struct bpf_iter_meta *meta, const struct sock *sk,
				 const struct socket_state *st, __u8 transport, __u32 rules)
{
	const struct sock_common *skc = &sk->__sk_common;
	__u64 cookie = socket_cookie(sk, st);
	struct accept_totals *accepted;
	struct listener_record r = {};
	struct owner *opener;

	opener = bpf_map_lookup_elem(&openers, &cookie);
	if (opener)
		r.opener = *opener;
	r.owner = st->owner;
	r.opened_ns = st->flags & SOCKET_OLDER ? 0 : st->opened_ns;
	r.socket_cookie = cookie;
	local_address(skc, r.address);
	r.network_namespace = st->network_namespace;
	r.interface = skc->skc_bound_dev_if;
	r.port = skc->skc_num;
	if (transport == IPPROTO_TCP) {
		r.backlog = sk->sk_max_ack_backlog;
		r.queued = sk->sk_ack_backlog;
	} else {
		r.connected = skc->skc_state == TCP_ESTABLISHED;
	}
	if (r.connected) {
		remote_address(skc, r.peer_address);
		r.peer_port = bpf_ntohs(skc->skc_dport);
	}
	r.port_chosen = !!(BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK);
	if (BPF_CORE_READ_BITFIELD(skc, skc_reuseport)) {
		r.reuseport_group = 1;
		if (sk->sk_reuseport_cb)
			r.reuseport_group = sk->sk_reuseport_cb->num_socks;
	}
	r.ipv6_only = BPF_CORE_READ_BITFIELD(skc, skc_ipv6only);
	r.transport = transport;
	r.rules = rules;
	r.shared = !!(st->flags & SOCKET_SHARED);
	if (st->owner.tgid != KERNEL_TGID && (marks_of(st->owner.tgid) & MARK_FORKED))
		r.shared = 1;
	if (bpf_seq_write(meta->seq, &r, sizeof(r)))
		return 0;
	accepted = bpf_map_lookup_elem(&accepts, &cookie);
	if (accepted)
		bpf_seq_write(meta->seq, accepted, sizeof(*accepted));
	else
		bpf_seq_write(meta->seq, (void *)&no_accepts, sizeof(no_accepts));
	return 0;
}

#endif
