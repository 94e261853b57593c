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

static __always_inline void sweep_listener(struct bpf_iter_meta *meta, const struct sock *sk,
					   const struct tcp_sock *tp)
{
	struct listening_port at = {};
	struct listener_record r = {};
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

	r.owner = st->owner;
	r.opened_ns = st->flags & SOCKET_OLDER ? 0 : st->opened_ns;
	r.socket_cookie = bpf_get_socket_cookie((void *)sk);
	local_address(&sk->__sk_common, r.address);
	r.network_namespace = st->network_namespace;
	r.port = st->local_port;
	r.backlog = sk->sk_max_ack_backlog;
	r.queued = sk->sk_ack_backlog;
	r.ipv6_only = BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only);
	r.rules = st->rules;
	r.shared = !!(st->flags & SOCKET_SHARED);
	if (st->owner.tgid != KERNEL_TGID && (marks_of(st->owner.tgid) & MARK_FORKED))
		r.shared = 1;
	/* When the buffer is full the kernel shows this socket again, in the next read
	 * (bpf_seq_read()). */
	bpf_seq_write(meta->seq, &r, sizeof(r));
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

/* Whether the measurements of a connection may go to the owner that it has now. */
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

/* ---- holders ------------------------------------------------------------------------------- */

/*
 * Of several holders: for a connection the youngest process, for a listener the oldest, but a
 * service manager, which listens for others, only when there is nobody else.
 */
static __always_inline bool better_candidate(const struct socket_state *st,
					     const struct owner *holder, bool manager)
{
	bool against_manager = st->candidate_is_manager;

	if (st->role != ROLE_LISTENER)
		return holder->start_ns > st->candidate.start_ns;
	if (manager != against_manager)
		return against_manager;
	return holder->start_ns < st->candidate.start_ns;
}

static __always_inline void tell_holder(struct bpf_iter_meta *meta, const struct sock *sk,
					const struct owner *holder)
{
	struct holder_record r = {.owner = *holder};

	r.socket_cookie = bpf_get_socket_cookie((void *)sk);
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
		tell_holder(meta, sk, held ? &st->owner : &st->candidate);
	}
	tell_holder(meta, sk, holder);
}

SEC("iter/task_file")
int tcp_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u32 generation = settings.holder_generation;
	struct socket_state *st;
	struct socket *socket;
	struct owner holder;
	struct sock *sk;
	bool manager;
	int state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6) ||
	    !is_tcp(sk))
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_CLOSE)
		return 0;
	st = socket_create(sk);
	if (!st)
		return 0;
	owner_of_task(task, &holder);
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
	manager = st->role == ROLE_LISTENER && is_service_manager(task);
	if (same_process(&st->owner, &holder) && !manager) {
		st->held_generation = generation;
		st->candidate_is_manager = 0;
		/* It may have become another program unseen, and a listener's another user. */
		if (st->owner.image != holder.image ||
		    (st->role == ROLE_LISTENER && st->owner.uid != holder.uid)) {
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
