/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP: who opened, accepted and closed which connection, and what it moved. No program runs per
 * segment, send or receive: the kernel's own counters are read when a socket closes and by a sweep
 * in between, and what is new since the last reading is added to the socket's flow.
 *
 * Owners. A client's is whoever called connect(), a listener's whoever called listen(). An accepted
 * child inherits the listener's; when that process has forked since, is a service manager, or
 * shares the listener with others, somebody else may have accepted it, and the child's measurements
 * wait until its holder shows itself: by closing it (close() and shutdown() change its state in
 * their caller's context) or in a walk over open files.
 */
#include "connection.h"
#include "reading.h"

/* Who connected with several paths: the kernel may add some later, by a thread of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the socket above them */
	__type(value, struct owner);
} multipath_owners SEC(".maps");

static __always_inline void owner_of_first_path(__u64 above, struct socket_state *st)
{
	struct owner *known = above ? bpf_map_lookup_elem(&multipath_owners, &above) : NULL;

	if (known)
		st->owner = *known;
	else
		owner_is_kernel(&st->owner);
}

/* Another socket may be made at the same address. */
static __always_inline void forget_paths(const struct sock *sk, const struct tcp_sock *tp)
{
	__u64 above = (__u64)multipath_socket(sk, tp);

	if (above)
		bpf_map_delete_elem(&multipath_owners, &above);
}

/* The caller is who it is for, but where a kernel thread or the kernel's own socket says otherwise.
 */
static __always_inline void owner_of_caller(const struct sock *sk, struct socket_state *st)
{
	struct task_struct *caller = current_task();
	struct sock *above = multipath_socket(sk, bpf_skc_to_tcp_sock((void *)sk));
	__u64 address = (__u64)above;

	st->flags = SOCKET_OWNED;
	if ((FIELD(caller, flags) & PF_KTHREAD) || is_kernels(sk, above)) {
		owner_of_first_path(address, st);
		return;
	}
	owner_of_task(caller, &st->owner);
	if (binary_is_deleted(caller))
		st->flags |= SOCKET_BINARY_DELETED;
	mark_owner(st);
	if (above)
		bpf_map_update_elem(&multipath_owners, &address, &st->owner, BPF_ANY);
}

static __always_inline void on_connect(const struct sock *sk)
{
	struct socket_state *st = socket_create(sk);

	if (!st)
		return;
	/* Another of these programs has been here. */
	if (st->role == ROLE_CLIENT && st->opened_ns &&
	    !(st->flags & (SOCKET_ESTABLISHED | SOCKET_CLOSED)))
		return;
	/* The same socket may have been connected before. */
	__builtin_memset(st, 0, sizeof(*st));
	st->role = ROLE_CLIENT;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->network_namespace = socket_namespace(sk);
	owner_of_caller(sk, st);
	judge(sk, st);
}

static __always_inline void on_listen(const struct sock *sk)
{
	struct socket_state *st = socket_create(sk);

	if (!st)
		return;
	/* Another of these programs has been here. */
	if (st->role == ROLE_LISTENER && !(st->flags & SOCKET_CLOSED))
		return;
	__builtin_memset(st, 0, sizeof(*st));
	st->role = ROLE_LISTENER;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->network_namespace = socket_namespace(sk);
	st->local_port = sk->__sk_common.skc_num;
	owner_of_caller(sk, st);
	/* Others will accept, and it may even become another program before anybody does. */
	if (is_service_manager(current_task()))
		st->flags |= SOCKET_SHARED;
	judge(sk, st);
	note_listener(sk);
	remember_listener(sk, st, true);
	tell_listen(sk, st, EVENT_LISTEN_OPEN);
}

static __always_inline void on_established(const struct sock *sk, int oldstate)
{
	struct socket_state *st = socket_create(sk);
	struct tcp_sock *tp;

	if (!st)
		return;
	/* Another of these programs has been here; a child that nobody has seen still holds its
	 * listener's role. */
	if (st->role != ROLE_LISTENER && (st->flags & SOCKET_ESTABLISHED))
		return;
	if (st->role != ROLE_LISTENER && (st->flags & SOCKET_EXCLUDED)) {
		/* Should the rules change, this is all that need be known. */
		st->flags |= SOCKET_ESTABLISHED;
		st->local_port = sk->__sk_common.skc_num;
		return;
	}
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp)
		return;
	if (oldstate == TCP_SYN_SENT)
		st->role = ROLE_CLIENT;
	establish(sk, tp, st, false);
}

/*
 * Whether a process that ends a connection takes it over from the one that had it so far.
 *
 * A server that forks for each connection accepts in the parent and serves in the child, which is
 * the one that closes. Else it was handed on: by fork, or through a Unix socket. Not when the last
 * walk found that several held it, since the last to close need not be the one that used it; nor
 * when it is the program that a child of the owner runs, which may just not have been told to close
 * what it inherited.
 */
static __always_inline bool may_take_over(const struct socket_state *st, struct task_struct *caller,
					  const struct owner *claimant)
{
	if (!st->owner.tgid)
		return true;
	if (st->role == ROLE_SERVER && !(st->flags & SOCKET_COUNTED))
		return true;
	if (st->several_generation && st->several_generation == settings.holder_generation)
		return false;
	/* A process that is older than the connection cannot have inherited it. */
	if (owner_is_gone(&st->owner) || claimant->start_ns < st->opened_ns)
		return true;
	return BPF_CORE_READ(caller, real_parent, tgid) != (int)st->owner.tgid ||
	       claimant->image == st->owner.image;
}

/* An exit is told of before the sockets of the process are closed: this one still owns something.
 */
static __always_inline void tell_late_owner(const struct owner *owner)
{
	struct process_record r = {};

	r.kind = PROCESS_OWNED;
	r.time_ns = bpf_ktime_get_boot_ns();
	r.tgid = owner->tgid;
	r.start_ns = owner->start_ns;
	r.image = owner->image;
	tell_process(&r, sizeof(r));
}

/*
 * Who it is that ends a connection, if that is not known of the socket: close() and shutdown()
 * bring their caller, unless the last reference was dropped by a kernel thread or by a walk.
 */
static __always_inline bool find_claimant(struct socket_state *st, struct task_struct *caller,
					  struct owner *claimant, bool *deleted)
{
	bool same;

	if (is_walk(caller, st)) {
		*claimant = st->candidate;
		return walk_found_owner(st);
	}
	if (FIELD(caller, tgid) == (int)st->owner.tgid &&
	    FIELD(caller, self_exec_id) == st->owner.image &&
	    (st->role == ROLE_CLIENT || (st->flags & SOCKET_COUNTED)))
		return false;
	owner_of_task(caller, claimant);
	same = same_process(claimant, &st->owner);
	if (same && claimant->image != st->owner.image && is_inside_exec(caller))
		return false;
	if (!same && !may_take_over(st, caller, claimant))
		return false;
	/* A process that exits has given up its binary before its files. */
	*deleted = FIELD(caller, mm) ? binary_is_deleted(caller)
				     : same && (st->flags & SOCKET_BINARY_DELETED);
	return true;
}

static __always_inline void claim_for_caller(const struct sock *sk, struct socket_state *st)
{
	struct task_struct *caller = current_task();
	struct owner claimant;
	bool deleted = false;

	st->flags |= SOCKET_OWNED | SOCKET_CLAIMED;
	if ((FIELD(caller, flags) & PF_KTHREAD) || st->owner.tgid == KERNEL_TGID)
		return;
	if (!find_claimant(st, caller, &claimant, &deleted))
		return;
	/* The same process too: its program, or its user, may be another by now. */
	change_owner(sk, st, &claimant);
	if (deleted)
		st->flags |= SOCKET_BINARY_DELETED;
	/* The marks of a process that exits have been cleared before its files are closed. */
	if (FIELD(caller, flags) & PF_EXITING)
		tell_late_owner(&claimant);
	else
		mark_owner(st);
}

static __always_inline void on_shutdown(const struct sock *sk)
{
	struct socket_state *st = socket_lookup(sk);

	if (st && st->role != ROLE_LISTENER && !(st->flags & (SOCKET_EXCLUDED | SOCKET_CLAIMED)))
		claim_for_caller(sk, st);
}

static __always_inline __u8 failure_of(int error, bool established, bool given_up)
{
	switch (error) {
	case ECONNREFUSED:
		return FAILURE_REFUSED + 1;
	case ECONNRESET:
	case EPIPE: /* a reset after the peer's FIN (tcp_reset()) */
		return FAILURE_RESET + 1;
	case ETIMEDOUT:
		return FAILURE_TIMED_OUT + 1;
	case EHOSTUNREACH:
		return FAILURE_HOST_UNREACHABLE + 1;
	case ENETUNREACH:
		return FAILURE_NET_UNREACHABLE + 1;
	case 0:
		if (established)
			return 0;
		return (given_up ? FAILURE_ABORTED : FAILURE_OTHER) + 1;
	}
	return FAILURE_OTHER + 1;
}

static __always_inline void finish(const struct sock *sk, struct tcp_sock *tp,
				   struct socket_state *st, const struct reading *delta, __u64 now)
{
	struct flow_value *flow;
	struct flow_key key;

	if (!st->owner.tgid)
		count_loss(LOSS_UNOWNED);
	/* A claim has said which program it was. */
	if (!(st->flags & SOCKET_CLAIMED))
		follow_image(sk, st);
	flow_key_of(&key, &sk->__sk_common, st);
	flow = flow_entry(&key);
	if (flow) {
		add_closing(flow, st, now);
		add_delta(flow, st, delta, st->smoothed_rtt_us);
	}
	if (st->flags & SOCKET_ACCEPT_UNTOLD)
		tell_open(sk, st);
	if (st->failure)
		tell_failure(sk, st, now);
	tell_close(sk, tp, st, now);
}

static __always_inline void connect_failed(const struct sock *sk, struct tcp_sock *tp,
					   struct socket_state *st, __u64 now)
{
	struct flow_value *flow;
	struct flow_key key;

	st->failure =
		failure_of(sk->sk_err, false, (sk->sk_shutdown & SHUTDOWN_MASK) == SHUTDOWN_MASK);
	/* inet_num has been given back by now (inet_put_port()), its copy in network order has not.
	 */
	st->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	flow_key_of(&key, &sk->__sk_common, st);
	flow = flow_entry(&key);
	if (flow) {
		add(&flow->transmit_segments, tp->segs_out);
		add(&flow->receive_segments, tp->segs_in);
		add(&flow->retransmits_syn, tp->total_retrans);
		if (st->flags & SOCKET_RESET_RECEIVED)
			add(&flow->resets_received, 1);
		add_failure(flow, st->failure);
	}
	tell_failure(sk, st, now);
}

/*
 * From these states a connection goes straight to CLOSE in its holder's context, by a close() that
 * throws data away (or by a reset from the peer); from the others it goes there in a softirq.
 */
static __always_inline bool may_be_aborted(int state)
{
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_SYN_RECV;
}

static __always_inline void listener_closed(const struct sock *sk, struct socket_state *st)
{
	if (st->flags & SOCKET_CLOSED)
		return;
	st->flags |= SOCKET_CLOSED;
	follow_image(sk, st);
	/* listen() without bind() has its port only after it changed the state; by now it has been
	 * given back, but for its copy in network order. */
	if (!st->local_port)
		st->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	tell_listen(sk, st, EVENT_LISTEN_CLOSE);
	forget_listener(st);
}

static __always_inline void on_close(const struct sock *sk, int oldstate, bool first)
{
	struct socket_state *st = socket_lookup(sk);
	struct reading r, delta;
	struct tcp_sock *tp;
	__u64 now;

	if (!st) {
		if (first && oldstate != TCP_CLOSE && oldstate != TCP_LISTEN &&
		    oldstate != TCP_SYN_RECV)
			count_loss(LOSS_STATE_MISSING);
		return;
	}
	if (st->role == ROLE_LISTENER) {
		if (oldstate == TCP_LISTEN)
			listener_closed(sk, st);
		/* A child that came no further than SYN_RECV holds a copy. */
		if (oldstate == TCP_LISTEN || oldstate == TCP_SYN_RECV)
			return;
	} else if (st->flags & SOCKET_EXCLUDED) {
		/* To whom it connects next is judged again. */
		st->flags |= SOCKET_CLOSED;
		return;
	}
	if (oldstate == TCP_CLOSE) {
		/* Closed before by the peer; now its holder closes it (tcp_close_state()). */
		if (!(st->flags & SOCKET_FINAL_PENDING))
			return;
		tp = bpf_skc_to_tcp_sock((void *)sk);
		if (!tp)
			return;
		now = bpf_ktime_get_boot_ns();
		st->flags &= ~SOCKET_FINAL_PENDING;
		claim_for_caller(sk, st);
		delta = st->last;
		read_tcp(sk, tp, TCP_CLOSE, st->role, &r);
		st->last = r;
		finish(sk, tp, st, &delta, now);
		return;
	}
	if (st->flags & SOCKET_CLOSED)
		return;
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp)
		return;
	now = bpf_ktime_get_boot_ns();
	st->flags |= SOCKET_CLOSED;
	forget_paths(sk, tp);
	if (st->role != ROLE_LISTENER && !(st->flags & SOCKET_ESTABLISHED) &&
	    (oldstate == TCP_SYN_SENT || oldstate == TCP_SYN_RECV || !st->role)) {
		if (st->role == ROLE_CLIENT)
			connect_failed(sk, tp, st, now);
		return;
	}
	if (st->role == ROLE_LISTENER || !(st->flags & SOCKET_ESTABLISHED)) {
		establish(sk, tp, st, true);
		st->flags |= SOCKET_CLOSED;
		if (st->flags & SOCKET_EXCLUDED)
			return;
		now = st->established_ns;
	}
	st->failure = failure_of(sk->sk_err, true, false);
	read_tcp(sk, tp, oldstate, st->role, &r);
	if ((st->flags & (SOCKET_OLDER | SOCKET_BASELINE)) == SOCKET_OLDER)
		st->last = r;
	advance(st, &r, &delta);
	st->smoothed_rtt_us = tp->srtt_us >> 3;
	if (!(st->flags & SOCKET_CLAIMED) && may_be_aborted(oldstate)) {
		/* __tcp_close() shuts both ways down before it changes the state. */
		if ((sk->sk_shutdown & SHUTDOWN_MASK) == SHUTDOWN_MASK) {
			claim_for_caller(sk, st);
		} else if (st->role == ROLE_SERVER &&
			   !(st->flags & (SOCKET_OWNED | SOCKET_COUNTED)) && sk->sk_socket) {
			/* Reset by the peer while its holder still has it open. */
			st->last = delta;
			st->flags |= SOCKET_FINAL_PENDING;
			return;
		}
		/* Never accepted: it stays with whoever listens. */
	}
	finish(sk, tp, st, &delta, now);
}

static __always_inline void on_change(const struct sock *sk, int oldstate, int newstate, bool first)
{
	switch (newstate) {
	case TCP_SYN_SENT:
		on_connect(sk);
		break;
	case TCP_LISTEN:
		on_listen(sk);
		break;
	case TCP_SYN_RECV:
		/* inet_csk_clone_lock(): until here the child is a copy of its listener. */
		if (oldstate == TCP_LISTEN && first)
			inherit_listener(sk);
		break;
	case TCP_ESTABLISHED:
		on_established(sk, oldstate);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		on_shutdown(sk);
		break;
	case TCP_CLOSE:
		on_close(sk, oldstate, first);
		break;
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_changed, const struct sock *sk, const int oldstate, const int newstate)
{
	if (is_tcp(sk))
		on_change(sk, oldstate, newstate, true);
	return 0;
}

/*
 * The twin. A kernel since 6.1 (commit 05b24ff9b2cf) skips a tracepoint program that is already
 * running on the processor, and a softirq may interrupt tcp_state_changed wherever that runs for a
 * system call. What is then skipped, its twin, which is not running, sees to. Whichever comes
 * second finds by the socket's state that the first has been there.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_twin, const struct sock *sk, const int oldstate, const int newstate)
{
	if (is_tcp(sk))
		on_change(sk, oldstate, newstate, false);
	return 0;
}

#ifndef BY_ADDRESS
/*
 * Since 7.0 (commit a46023d5616e) a task can be preempted within such a program, which is then
 * skipped for all others on that processor until the task runs again. So there the twin needs twins
 * of its own: a change is missed only if a task lies in each of them.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_third, const struct sock *sk, const int oldstate, const int newstate)
{
	if (is_tcp(sk))
		on_change(sk, oldstate, newstate, false);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_fourth, const struct sock *sk, const int oldstate, const int newstate)
{
	if (is_tcp(sk))
		on_change(sk, oldstate, newstate, false);
	return 0;
}
#endif

#ifdef BY_ADDRESS
/* After its last change of state, and after the reset that may follow on that. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_socket_ended, const struct sock *sk)
{
	socket_forget(sk);
	return 0;
}
#endif

/* ---- resets and SYN-ACKs ------------------------------------------------------------------- */

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_received, struct sock *sk)
{
	struct socket_state *st;

	if (!is_tcp(sk))
		return 0;
	/* The socket closes right after; the count goes with that. */
	st = socket_lookup(sk);
	if (st && st->role != ROLE_LISTENER)
		st->flags |= SOCKET_RESET_RECEIVED;
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, const struct sock *sk, const struct sk_buff *skb)
{
	struct socket_state *st = NULL;
	struct flow_value *flow;
	struct flow_key key = {};

	if (sk)
		st = socket_lookup(sk);
	if (st && (st->flags & SOCKET_EXCLUDED))
		return 0;
	if (st && st->role != ROLE_LISTENER && st->role != ROLE_UNKNOWN)
		flow_key_of(&key, &sk->__sk_common, st);
	else
		key.transport =
			IPPROTO_TCP; /* the kernel's own answer, to a port that nobody has */
	flow = flow_entry(&key);
	if (flow)
		add(&flow->resets_sent, 1);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_synack_retransmitted, const struct sock *sk, const struct request_sock *req)
{
	__u64 remote[2] = {}, verdict;
	struct socket_state *st;
	struct flow_value *flow;
	struct flow_key key;

	st = socket_lookup(sk);
	if (!st)
		return 0;
	flow_key_of(&key, &req->__req_common, st);
	key.role = ROLE_SERVER;
	/* The listener has been judged without the other end, which is known here. */
	if (settings.rule_generation) {
		remote_address(&req->__req_common, (__u8 *)remote);
		verdict = select_socket(remote[0], remote[1],
					SELECT_HAS_REMOTE | RULE_TCP << 16 | st->local_port, 0);
		if (verdict & SELECT_EXCLUDED)
			return 0;
		key.rules = verdict;
	}
	flow = flow_entry(&key);
	if (flow)
		add(&flow->retransmits_synack, 1);
	return 0;
}
