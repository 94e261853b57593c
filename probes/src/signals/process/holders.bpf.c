/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The walk over open files: who holds which socket, of whatever signal. */
#include "ownership.h"

/* A socket that is opened once and served by many, unlike a connection. */
static __always_inline bool serves_several(const struct socket_state *st)
{
	return st->role == ROLE_LISTENER || (st->flags & SOCKET_DATAGRAM);
}

/*
 * Of several holders: for a connection the youngest process, for a listener, or a socket for
 * datagrams, the oldest, but a service manager, which listens and accepts for others, only when
 * there is nobody else.
 */
static __always_inline bool better_candidate(const struct socket_state *st,
					     const struct owner *holder, bool manager)
{
	bool against_manager = st->candidate_is_manager;

	if (manager != against_manager)
		return against_manager;
	if (!serves_several(st))
		return holder->start_ns > st->candidate.start_ns;
	return holder->start_ns < st->candidate.start_ns;
}

static __always_inline void tell_holder(struct bpf_iter_meta *meta, const struct sock *sk,
					const struct socket_state *st, const struct owner *holder)
{
	struct holder_record r = {.owner = *holder};

	r.socket_cookie = socket_cookie(sk, st);
	/* When the buffer is full the kernel shows this file again, in the next read. */
	bpf_seq_write(meta->seq, &r, sizeof(r));
}

/* The first time that a walk meets a second holder, it tells of the first as well. */
static __always_inline void note_several(struct bpf_iter_meta *meta, const struct sock *sk,
					 struct socket_state *st, const struct owner *holder)
{
	__u32 generation = settings.holder_generation;
	bool held = st->held_generation == generation;

	if (!held && st->candidate_generation != generation)
		return;
	if (st->several_generation != generation) {
		if (same_process(held ? &st->owner : &st->candidate, holder))
			return;
		st->several_generation = generation;
		tell_holder(meta, sk, st, held ? &st->owner : &st->candidate);
	}
	tell_holder(meta, sk, st, holder);
}

/* Sockets that have neither port nor listener's state, and no flows: only who holds them is told.
 */
static __always_inline void tell_special(struct bpf_iter_meta *meta, struct sock *sk,
					 struct task_struct *task, __u32 kind)
{
	const struct sock_common *skc = &sk->__sk_common;
	struct holder_record r = {.kind = kind};
	struct packet_sock *packet;

	owner_of_task(task, &r.owner);
	r.socket_cookie = socket_cookie(sk, NULL);
	r.network_namespace = socket_namespace(sk);
	if (kind == HELD_PACKET) {
		packet = (struct packet_sock *)sk;
		r.interface = BPF_CORE_READ(packet, ifindex);
		r.protocol = bpf_ntohs(BPF_CORE_READ(packet, num));
	} else {
		r.interface = FIELD(skc, skc_bound_dev_if);
		r.protocol = FIELD(sk, sk_protocol);
		r.ipv6 = FIELD(skc, skc_family) == AF_INET6;
		local_address(skc, r.address);
		if (FIELD(sk, sk_protocol) == IPPROTO_SCTP) {
			r.port = FIELD(skc, skc_num);
			r.listens = FIELD(skc, skc_state) == TCP_LISTEN;
		}
	}
	bpf_seq_write(meta->seq, &r, sizeof(r));
}

SEC("iter/task_file")
int socket_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u32 generation = settings.holder_generation;
	struct socket_state *st;
	struct socket *socket;
	struct owner holder;
	struct sock *sk;
	bool manager, datagrams;
	int state, family, protocol;

	if (!task || !file)
		return 0;
	if (!walker)
		walker = bpf_get_current_pid_tgid() >> 32;
	socket = socket_of_file(file);
	if (!socket)
		return 0;
	sk = FIELD(socket, sk);
	if (!sk)
		return 0;
	family = FIELD(sk, __sk_common.skc_family);
	if (family == AF_PACKET) {
		tell_special(ctx->meta, sk, task, HELD_PACKET);
		return 0;
	}
	if (family != AF_INET && family != AF_INET6)
		return 0;
	protocol = FIELD(sk, sk_protocol);
	if (FIELD(sk, sk_type) == SOCK_RAW || protocol == IPPROTO_SCTP) {
		tell_special(ctx->meta, sk, task, HELD_RAW);
		return 0;
	}
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	datagrams = protocol == IPPROTO_UDP;
	state = FIELD(sk, __sk_common.skc_state);
	/* UDP has but this state, or TCP_ESTABLISHED when it is connected. */
	if (state == TCP_CLOSE && !datagrams)
		return 0;
	st = socket_found(sk);
	if (!st)
		return 0;
	owner_of_task(task, &holder);
	if (datagrams && !(st->flags & SOCKET_DATAGRAM))
		st->flags |= SOCKET_DATAGRAM | SOCKET_OLDER;
	if (!st->role && state == TCP_LISTEN) {
		st->role = ROLE_LISTENER;
		st->flags |= SOCKET_OLDER;
	}
	if (!st->role && state == TCP_SYN_SENT) {
		st->role = ROLE_CLIENT;
		st->network_namespace = socket_namespace(sk);
		st->owner = holder;
		st->flags |= SOCKET_OWNED;
		mark_owner(st);
	}
	note_several(ctx->meta, sk, st, &holder);
	/* A connection that was accepted for somebody else has it from its listener. */
	manager = (serves_several(st) || (st->flags & SOCKET_SHARED)) && is_service_manager(task);
	if (same_process(&st->owner, &holder) && !manager) {
		st->held_generation = generation;
		st->candidate_is_manager = 0;
		/* It may have become another program unseen, and a listener's another user. */
		if (st->owner.image != holder.image ||
		    (serves_several(st) && st->owner.uid != holder.uid)) {
			st->candidate = holder;
			st->candidate_generation = generation;
		}
		return 0;
	}
	if (st->held_generation == generation ||
	    (st->candidate_generation == generation && !better_candidate(st, &holder, manager)))
		return 0;
	st->candidate = holder;
	st->candidate_generation = generation;
	st->candidate_is_manager = manager;
	return 0;
}
