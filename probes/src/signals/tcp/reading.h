/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a tcp_sock counts, turned into bytes and segments, and from there into what a flow measures.
 */
#ifndef NETSONDE_TCP_READING_H
#define NETSONDE_TCP_READING_H

#include "core.h"

static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP;
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

#endif
