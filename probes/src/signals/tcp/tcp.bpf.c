/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP: who opened, accepted and closed which connection, and what it moved. No program runs per
 * segment, send or receive: the kernel's own counters are read when a socket closes and by a sweep
 * in between, and what is new since the last reading is added to the socket's flow.
 *
 * Owners. A client's is whoever called connect(), a listener's whoever called listen(). An accepted
 * child inherits the listener's; when that process has forked since, somebody else may have
 * accepted it, and the child's measurements wait until its holder shows itself: by closing it
 * (close() and shutdown() change its state in their caller's context) or in a walk over open files.
 */
#include "core.h"

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

static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP;
}

static __always_inline void note_listening_process(const struct owner *owner, bool shared)
{
	struct listening_process p = {.forked = shared};
	struct listening_process *seen;

	seen = bpf_map_lookup_elem(&listening_processes, &owner->tgid);
	if (seen) {
		seen->forked |= shared;
		return;
	}
	bpf_map_update_elem(&listening_processes, &owner->tgid, &p, BPF_ANY);
}

/* Nobody but the listener's owner can have accepted from it. A table that is full says no. */
static __always_inline bool sole_acceptor(const struct socket_state *st)
{
	struct listening_process *p;

	if ((st->flags & SOCKET_SHARED) || !st->owner.tgid)
		return false;
	p = bpf_map_lookup_elem(&listening_processes, &st->owner.tgid);
	return p && !p->forked;
}

/*
 * Bytes that the application moved. bytes_acked + (snd_nxt - snd_una) is how far the stream was
 * sent at least once; it is used in place of bytes_sent - bytes_retrans, which counts a segment
 * twice when the local queue refused it (tcp_write_xmit() sends it again as new). SYN counts as one
 * for the side that sent it first (tcp_connect_init() leaves snd_una on it,
 * tcp_create_openreq_child() behind it), and so does a FIN that was sent or received. A FIN is the
 * last thing in the stream, so it has been sent when nothing is left to send in a state that has
 * one.
 */
static __always_inline void read_tcp(const struct sock *sk, struct tcp_sock *tp, int state,
				     __u8 role, struct reading *r)
{
	__u32 snd_nxt = tp->snd_nxt;
	__u64 sent = tp->bytes_acked + (__u32)(snd_nxt - tp->snd_una);
	__u64 received = tp->bytes_received;

	if (role == ROLE_CLIENT && sent)
		sent -= 1;
	if ((state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	     state == TCP_LAST_ACK || state == TCP_TIME_WAIT) &&
	    snd_nxt == tp->write_seq && sent)
		sent -= 1;
	/* Set by tcp_fin() alone, when the peer's FIN has been taken into the stream. */
	if ((sk->__sk_common.skc_flags & (1UL << SOCK_DONE_BIT)) && received)
		received -= 1;
	r->transmit_bytes = sent;
	r->receive_bytes = received;
	r->transmit_segments = tp->segs_out;
	r->receive_segments = tp->segs_in;
	r->retransmits = tp->total_retrans;
}

/* ---- from a reading to a flow -------------------------------------------------------------- */

static __always_inline void add_delta(struct flow_value *flow, struct socket_state *st,
				      const struct reading *delta, __u32 rtt_us)
{
	__u32 syn = st->syn_retransmits;

	add(&flow->transmit_bytes, delta->transmit_bytes);
	add(&flow->receive_bytes, delta->receive_bytes);
	add(&flow->transmit_segments, delta->transmit_segments);
	add(&flow->receive_segments, delta->receive_segments);
	add(&flow->retransmits_data, delta->retransmits);
	if (syn) {
		add(&flow->retransmits_syn, syn);
		st->syn_retransmits = 0;
	}
	/* A socket that heard nothing since its last sample has no new round-trip time. */
	if (delta->receive_segments && rtt_us)
		histogram_add(&flow->rtt, &flow->rtt_sum_us, rtt_us, RTT_BASE_EXPONENT);
}

/* Adds that a connection was opened. A connection counts as active from then until it is closed. */
static __always_inline void add_opening(struct flow_value *flow, struct socket_state *st)
{
	st->flags |= SOCKET_COUNTED;
	if (st->flags & SOCKET_OLDER)
		return;
	if (st->role == ROLE_CLIENT) {
		add(&flow->opened, 1);
		histogram_add(&flow->connect_duration, &flow->connect_sum_us, st->connect_us,
			      CONNECT_BASE_EXPONENT);
	} else {
		add(&flow->accepted, 1);
	}
}

static __always_inline void add_failure(struct flow_value *flow, __u8 failure)
{
	__u32 kind = failure - 1;

	/* Else clang checks one copy of the value and indexes by another, which the verifier
	 * refuses. */
	barrier_var(kind);
	if (kind < FAILURE_KINDS)
		add(&flow->failures[kind], 1);
}

static __always_inline void add_closing(struct flow_value *flow, struct socket_state *st, __u64 now)
{
	/* Most connections open and close between two sweeps, and never were active in a drained
	 * table. */
	if (st->flags & SOCKET_COUNTED)
		__sync_fetch_and_add(&flow->active, -1);
	else
		add_opening(flow, st);
	add(&flow->closed, 1);
	if (!(st->flags & SOCKET_OLDER))
		histogram_add(&flow->connection_duration, &flow->duration_sum_us,
			      (now - st->established_ns) / 1000, DURATION_BASE_EXPONENT);
	if (st->flags & SOCKET_RESET_RECEIVED)
		add(&flow->resets_received, 1);
	add_failure(flow, st->failure);
}

/* Replaces the last reading by a new one and returns what lies between. */
static __always_inline void advance(struct socket_state *st, const struct reading *now,
				    struct reading *delta)
{
	/* A sweep without the socket lock (before 5.15) can read a byte position that seems to
	 * recede. */
	delta->transmit_bytes = now->transmit_bytes > st->last.transmit_bytes
					? now->transmit_bytes - st->last.transmit_bytes
					: 0;
	delta->receive_bytes = now->receive_bytes > st->last.receive_bytes
				       ? now->receive_bytes - st->last.receive_bytes
				       : 0;
	delta->transmit_segments = now->transmit_segments - st->last.transmit_segments;
	delta->receive_segments = now->receive_segments - st->last.receive_segments;
	delta->retransmits = now->retransmits - st->last.retransmits;
	st->last.transmit_bytes += delta->transmit_bytes;
	st->last.receive_bytes += delta->receive_bytes;
	st->last.transmit_segments = now->transmit_segments;
	st->last.receive_segments = now->receive_segments;
	st->last.retransmits = now->retransmits;
}

/* ---- events -------------------------------------------------------------------------------- */

static __always_inline void event_endpoints(struct socket_event *e, const struct sock *sk,
					    const struct socket_state *st)
{
	const struct sock_common *skc = &sk->__sk_common;

	e->owner = st->owner;
	e->role = st->role;
	e->network_namespace = st->network_namespace;
	e->socket_cookie = bpf_get_socket_cookie((void *)sk);
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
	struct socket_event *e = event_reserve(kind, now);

	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->backlog = sk->sk_max_ack_backlog;
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

	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->failure = st->failure - 1;
	e->kernel_error = sk->sk_err;
	e->duration_ns =
		now - (st->flags & SOCKET_ESTABLISHED ? st->established_ns : st->opened_ns);
	event_submit(e);
}

static __always_inline void tell_close(const struct sock *sk, struct tcp_sock *tp,
				       struct socket_state *st, __u64 now)
{
	struct socket_event *e = event_reserve(EVENT_CLOSE, now);

	if (!e)
		return;
	event_endpoints(e, sk, st);
	e->partial = !!(st->flags & SOCKET_OLDER);
	e->duration_ns = st->established_ns ? now - st->established_ns : 0;
	e->transmit_bytes = st->last.transmit_bytes;
	e->receive_bytes = st->last.receive_bytes;
	e->transmit_segments = tp->segs_out;
	e->receive_segments = tp->segs_in;
	e->retransmits = tp->total_retrans;
	e->smoothed_rtt_us = tp->srtt_us >> 3;
	event_submit(e);
}

/* ---- state changes ------------------------------------------------------------------------- */

static __always_inline void on_connect(const struct sock *sk)
{
	struct socket_state *st = socket_create(sk);

	if (!st)
		return;
	/* The same socket may have been connected before. */
	__builtin_memset(st, 0, sizeof(*st));
	owner_of_caller(&st->owner);
	st->role = ROLE_CLIENT;
	st->flags = SOCKET_OWNED;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->network_namespace = socket_namespace(sk);
}

static __always_inline void on_listen(const struct sock *sk)
{
	struct socket_state *st = socket_create(sk);

	if (!st)
		return;
	__builtin_memset(st, 0, sizeof(*st));
	owner_of_caller(&st->owner);
	st->role = ROLE_LISTENER;
	st->flags = SOCKET_OWNED;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->network_namespace = socket_namespace(sk);
	st->local_port = sk->__sk_common.skc_num;
	note_listening_process(&st->owner, false);
	tell_listen(sk, st, EVENT_LISTEN_OPEN);
}

/*
 * A connection begins. `late`: nobody saw it reach ESTABLISHED, and it is known from what came
 * before and after; when that was, and which of its retransmits were SYNs, is not.
 */
static __always_inline void establish(const struct sock *sk, struct tcp_sock *tp,
				      struct socket_state *st, bool late)
{
	__u64 now = bpf_ktime_get_boot_ns();

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
	st->flags = (st->flags & SOCKET_SHARED) | SOCKET_ESTABLISHED | SOCKET_ACCEPT_UNTOLD;
	/* What the request socket sent again was a SYN-ACK, and counted as such. */
	if (!late)
		st->last.retransmits = tp->total_retrans;
	if (sole_acceptor(st)) {
		st->flags |= SOCKET_OWNED;
		tell_open(sk, st);
	}
}

static __always_inline void on_established(const struct sock *sk, int oldstate)
{
	struct socket_state *st = socket_create(sk);
	struct tcp_sock *tp;

	if (!st)
		return;
	/* The twin program has been here; a child that nobody has seen still holds its listener's
	 * role. */
	if (st->role != ROLE_LISTENER && (st->flags & SOCKET_ESTABLISHED))
		return;
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp)
		return;
	if (oldstate == TCP_SYN_SENT)
		st->role = ROLE_CLIENT;
	establish(sk, tp, st, false);
}

/*
 * A server that forks for each connection accepts in the parent and serves in the child, which is
 * the one that closes. What a sweep has already given to a process stays with it.
 */
static __always_inline bool may_be_claimed(const struct socket_state *st)
{
	return st->role == ROLE_SERVER && !(st->flags & SOCKET_COUNTED);
}

/* close() and shutdown() bring their caller, unless the last reference was dropped by a kernel
 * thread. */
static __always_inline void claim_for_caller(const struct sock *sk, struct socket_state *st)
{
	struct task_struct *caller = bpf_get_current_task_btf();

	if (!(caller->flags & PF_KTHREAD))
		owner_of_task(caller, &st->owner);
	st->flags |= SOCKET_OWNED | SOCKET_CLAIMED;
}

static __always_inline void on_shutdown(const struct sock *sk)
{
	struct socket_state *st = socket_lookup(sk);

	if (st && may_be_claimed(st))
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

static __always_inline void on_close(const struct sock *sk, int oldstate, bool twin)
{
	struct socket_state *st = socket_lookup(sk);
	struct reading r, delta;
	struct tcp_sock *tp;
	__u64 now;

	if (!st) {
		if (!twin && oldstate != TCP_CLOSE && oldstate != TCP_LISTEN &&
		    oldstate != TCP_SYN_RECV)
			count_loss(LOSS_STATE_MISSING);
		return;
	}
	if (st->role == ROLE_LISTENER) {
		if (oldstate == TCP_LISTEN)
			tell_listen(sk, st, EVENT_LISTEN_CLOSE);
		/* A child that came no further than SYN_RECV holds a copy. */
		if (oldstate == TCP_LISTEN || oldstate == TCP_SYN_RECV)
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
	if (st->role != ROLE_LISTENER && !(st->flags & SOCKET_ESTABLISHED) &&
	    (oldstate == TCP_SYN_SENT || oldstate == TCP_SYN_RECV || !st->role)) {
		if (st->role == ROLE_CLIENT)
			connect_failed(sk, tp, st, now);
		return;
	}
	if (st->role == ROLE_LISTENER || !(st->flags & SOCKET_ESTABLISHED)) {
		establish(sk, tp, st, true);
		st->flags |= SOCKET_CLOSED;
		now = st->established_ns;
	}
	st->failure = failure_of(sk->sk_err, true, false);
	read_tcp(sk, tp, oldstate, st->role, &r);
	if ((st->flags & (SOCKET_OLDER | SOCKET_BASELINE)) == SOCKET_OLDER)
		st->last = r;
	advance(st, &r, &delta);
	st->smoothed_rtt_us = tp->srtt_us >> 3;
	if (may_be_claimed(st) && !(st->flags & SOCKET_CLAIMED)) {
		/* __tcp_close() shuts both ways down before it changes the state. */
		if ((sk->sk_shutdown & SHUTDOWN_MASK) == SHUTDOWN_MASK) {
			claim_for_caller(sk, st);
		} else if (!(st->flags & SOCKET_OWNED) && sk->sk_socket) {
			/* Reset by the peer while its holder still has it open. */
			st->last = delta;
			st->flags |= SOCKET_FINAL_PENDING;
			return;
		}
		/* Never accepted: it stays with whoever listens. */
	}
	finish(sk, tp, st, &delta, now);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_changed, const struct sock *sk, const int oldstate, const int newstate)
{
	if (!is_tcp(sk))
		return 0;
	switch (newstate) {
	case TCP_SYN_SENT:
		on_connect(sk);
		break;
	case TCP_LISTEN:
		on_listen(sk);
		break;
	case TCP_ESTABLISHED:
		on_established(sk, oldstate);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		on_shutdown(sk);
		break;
	case TCP_CLOSE:
		on_close(sk, oldstate, false);
		break;
	}
	return 0;
}

/*
 * The twin. A kernel since 6.1 (commit 05b24ff9b2cf) skips a tracepoint program that is already
 * running on the processor, and a softirq may interrupt tcp_state_changed wherever that runs for a
 * system call. What it then skips is one of the two changes that come from softirqs, and its twin,
 * which is not running, sees to it. Whichever of the two comes second finds the flag that the first
 * one set.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_twin, const struct sock *sk, const int oldstate, const int newstate)
{
	if (!is_tcp(sk))
		return 0;
	if (newstate == TCP_ESTABLISHED)
		on_established(sk, oldstate);
	else if (newstate == TCP_CLOSE && oldstate != TCP_CLOSE && oldstate != TCP_LISTEN)
		on_close(sk, oldstate, true);
	return 0;
}

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
	struct socket_state *st;
	struct flow_value *flow;
	struct flow_key key;

	st = socket_lookup(sk);
	if (!st)
		return 0;
	flow_key_of(&key, &req->__req_common, st);
	key.role = ROLE_SERVER;
	flow = flow_entry(&key);
	if (flow)
		add(&flow->retransmits_synack, 1);
	return 0;
}

/* ---- the sweep ----------------------------------------------------------------------------- */

/* Takes over what the last walk over open files found. */
static __always_inline void settle_owner(const struct sock *sk, struct socket_state *st)
{
	__u32 generation = settings.holder_generation;
	struct flow_value *flow;
	struct flow_key key;
	bool found;

	if (!generation)
		return;
	found = st->candidate_generation == generation;
	if (st->held_generation == generation) {
		st->flags |= SOCKET_OWNED;
		return;
	}
	if (!found)
		return;
	if (st->flags & SOCKET_COUNTED) {
		flow_key_of(&key, &sk->__sk_common, st);
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, -1);
	}
	st->owner = st->candidate;
	st->held_generation = generation;
	st->flags |= SOCKET_OWNED;
	st->flags &= ~SOCKET_OWNER_ASKED;
	if (st->flags & SOCKET_COUNTED) {
		flow_key_of(&key, &sk->__sk_common, st);
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, 1);
	}
	if (st->role == ROLE_LISTENER)
		note_listening_process(&st->owner, !!(st->flags & SOCKET_SHARED));
}

static __always_inline void sweep_listener(struct bpf_iter_meta *meta, const struct sock *sk)
{
	struct listening_port at = {};
	struct listener_record r = {};
	struct listening_process *p;
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
	settle_owner(sk, st);
	/* Its process is not known, or has gone and left the socket to another. */
	p = bpf_map_lookup_elem(&listening_processes, &st->owner.tgid);
	if (!p && !(st->flags & SOCKET_OWNER_ASKED)) {
		st->flags |= SOCKET_OWNER_ASKED;
		sweep_totals.awaiting_owner++;
	}
	if (!st->owner.tgid)
		sweep_totals.unowned++;
	at.network_namespace = st->network_namespace;
	at.port = st->local_port;
	bpf_map_update_elem(&listening_ports, &at, &one, BPF_ANY);

	r.owner = st->owner;
	r.opened_ns = st->flags & SOCKET_OLDER ? 0 : st->opened_ns;
	r.socket_cookie = bpf_get_socket_cookie((void *)sk);
	local_address(&sk->__sk_common, r.address);
	r.network_namespace = st->network_namespace;
	r.port = st->local_port;
	r.backlog = sk->sk_max_ack_backlog;
	r.queued = sk->sk_ack_backlog;
	r.ipv6_only = BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only);
	r.shared = !!(st->flags & SOCKET_SHARED);
	if (p && p->forked)
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
	if (st->flags & SOCKET_OWNED)
		return true;
	/* Still in the accept queue: nobody holds it yet. */
	if (!sk->sk_socket && !(sk->__sk_common.skc_flags & (1UL << SOCK_DEAD_BIT)))
		return false;
	if (!(st->flags & SOCKET_OWNER_ASKED_TWICE)) {
		st->flags |= st->flags & SOCKET_OWNER_ASKED ? SOCKET_OWNER_ASKED_TWICE
							    : SOCKET_OWNER_ASKED;
		sweep_totals.awaiting_owner++;
		return false;
	}
	/* Two walks found no holder: it is the kernel's own, or its program is beyond our sight. */
	if (!st->owner.tgid)
		sweep_totals.unowned++;
	st->flags |= SOCKET_OWNED;
	return true;
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
		sweep_listener(ctx->meta, sk);
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
	if (st->role == ROLE_LISTENER ||
	    (st->role == ROLE_CLIENT && st->opened_ns && !(st->flags & SOCKET_ESTABLISHED)))
		establish(sk, tp, st, true);
	if (!(st->flags & SOCKET_ESTABLISHED))
		adopt(sk, tp, st, state);
	settle_owner(sk, st);
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

/* Of several holders: the oldest process for a listener, the youngest for a connection. */
static __always_inline bool better_candidate(const struct socket_state *st,
					     const struct owner *holder)
{
	if (st->role == ROLE_LISTENER)
		return holder->start_ns < st->candidate.start_ns;
	return holder->start_ns > st->candidate.start_ns;
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
	}
	if (same_process(&st->owner, &holder)) {
		st->held_generation = generation;
		if (st->candidate_generation == generation)
			st->flags |= st->role == ROLE_LISTENER ? SOCKET_SHARED : 0;
		return 0;
	}
	if (st->role == ROLE_LISTENER &&
	    (st->held_generation == generation || st->candidate_generation == generation))
		st->flags |= SOCKET_SHARED;
	if (st->candidate_generation != generation || better_candidate(st, &holder)) {
		st->candidate = holder;
		st->candidate_generation = generation;
	}
	return 0;
}
