/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Copies out of packets what user space reads: DNS messages, and the first that a client of TLS
 * sends. The packet's program has found the addresses and where the payload begins.
 */
#ifndef NETSONDE_UDP_PAYLOAD_H
#define NETSONDE_UDP_PAYLOAD_H

#include "datagram.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} payloads SEC(".maps");

/* How many of 65,536 lookups are followed, so that as many payloads come as are wanted. */
#define WHOLE_SHARE (1 << 16)

static struct {
	__u64 jiffies; /* when the clock was read last */
	__u64 second;  /* of 2^30 ns, that is counted now */
	__u64 share;
	__u64 shed; /* until this second began */
	/* What changes with each payload that is taken has a cache line of its own. */
	__u64 taken __attribute__((aligned(64)));
} __attribute__((aligned(64))) payload_budget = {.share = WHOLE_SHARE};

static volatile struct shed_counts shed_counts SEC(".data.shed") __attribute__((aligned(64)));

/* In any flood, this part of what may come is followed. */
#define LEAST_SAMPLE 16

/*
 * The share of a second comes of what the one before it offered. What has to be thinned out is a
 * sample anyway, and in a flood the processors have other things to do: n times what may come leave
 * an nth of it.
 */
static __always_inline __u64 share_of(__u64 offered, __u64 limit)
{
	__u64 fits, share;

	if (offered <= limit)
		return WHOLE_SHARE;
	fits = WHOLE_SHARE * limit / offered;
	share = fits * limit / offered;
	if (share < fits / LEAST_SAMPLE)
		share = fits / LEAST_SAMPLE;
	return share ?: 1;
}

static __noinline int begin_second(__u64 second)
{
	__u64 seen = payload_budget.second, limit = settings.payloads_per_second;
	__u64 shed = 0, offered;
	int i;

	if (seen == second ||
	    __sync_val_compare_and_swap(&payload_budget.second, seen, second) != seen)
		return 0;
	for (i = 0; i < SHED_COUNTS; i++)
		shed += shed_counts.of[i].count;
	offered = shed - payload_budget.shed + __sync_lock_test_and_set(&payload_budget.taken, 0);
	payload_budget.shed = shed;
	payload_budget.share = share_of(offered, limit);
	return 0;
}

/*
 * Whether a payload is one of those that are followed. All messages of a lookup, on both its ends,
 * have the same port of the client and the same id: a share of the lookups is followed whole,
 * instead of a query here and a response there. Most of a flood leaves by this, so it costs one
 * look at what all processors read, and an addition to what is this one's own: the kernel puts
 * bpf_jiffies64() in place of the call, and the clock is read when it has ticked.
 */
static __always_inline bool payload_chosen(__u16 client_port, __u16 id)
{
	__u64 jiffies, limit = settings.payloads_per_second;
	__u32 lot = client_port ^ (__u32)id << 8;

	if (!limit)
		return true;
	jiffies = bpf_jiffies64();
	if (payload_budget.jiffies != jiffies) {
		payload_budget.jiffies = jiffies;
		begin_second(bpf_ktime_get_coarse_ns() >> 30);
	}
	/* The second in which a flood begins has its beginning, and nothing of the rest. */
	if ((lot * 2654435761U >> 16) < payload_budget.share && payload_budget.taken < limit) {
		__sync_fetch_and_add(&payload_budget.taken, 1);
		return true;
	}
	__sync_fetch_and_add(&shed_counts.of[bpf_get_smp_processor_id() % SHED_COUNTS].count, 1);
	return false;
}

/* The smallest of three sizes that holds the payload: a record's size must be a constant. */
#define SMALL_PAYLOAD  192
#define MIDDLE_PAYLOAD 1280

static __always_inline void submit_payload(struct __sk_buff *skb, struct payload_record *r,
					   __u32 offset, __u32 room,
					   const struct payload_record *head)
{
	/* Of the last byte, from 0: a verifier before 6.8 does not learn from a comparison that a
	 * length is not 0. */
	__u32 last = head->length - 1;

	if (!r) {
		count_loss(LOSS_PAYLOAD_RING_FULL);
		return;
	}
	*r = *head;
	barrier_var(last);
	if (last >= room)
		last = room - 1;
	if (bpf_skb_load_bytes(skb, offset, r + 1, last + 1)) {
		bpf_ringbuf_discard(r, 0);
		count_loss(LOSS_PAYLOAD_UNREADABLE);
		return;
	}
	r->captured = last + 1;
	bpf_ringbuf_submit(r, ring_flags(&payloads, settings.payload_wakeup_bytes));
}

/* A record of the handshake that holds a ClientHello (RFC 8446, 4.1.2 and 5.1). */
static __always_inline bool is_tls_hello(struct __sk_buff *skb, const struct packet *p)
{
	__u8 head[6];

	return !bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)) && head[0] == 22 &&
	       head[1] == 3 && head[5] == 1;
}

/* Tells of the payload of a packet on a socket, if it may. */
static __noinline int tell_payload(struct __sk_buff *skb, struct socket_state *st,
				   const struct packet *p, bool sent, __u32 kind)
{
	struct payload_record head = {};
	__u32 offset = p->payload, length = p->bytes;
	__u64 verdict = 0;
	struct payload_record *r;

	head.time_ns = bpf_ktime_get_boot_ns();
	head.local_port = sent ? p->source_port : p->destination_port;
	head.remote_port = sent ? p->destination_port : p->source_port;
	__builtin_memcpy(head.local_address, sent ? p->source : p->destination, 16);
	__builtin_memcpy(head.remote_address, sent ? p->destination : p->source, 16);
	if (settings.rule_generation)
		verdict = judge_packets(st, p->transport == IPPROTO_UDP ? RULE_UDP : RULE_TCP,
					sent ? p->destination : p->source,
					port_kinds(head.remote_port) ? head.remote_port
								     : head.local_port);
	if (verdict & SELECT_EXCLUDED)
		return 0;
	head.rules = verdict;
	/* Where TCP's programs are off, nobody takes over what a walk over open files found. */
	head.owner = st->owner.tgid ? st->owner : st->candidate;
	newer_image(&head.owner, &head.owner.image);
	head.socket_cookie = bpf_get_socket_cookie(skb);
	head.network_namespace = st->network_namespace;
	head.transport = p->transport;
	head.sequence = p->sequence;
	head.length = length;
	head.sent = sent;
	head.kind = kind;
	if (length <= SMALL_PAYLOAD) {
		r = bpf_ringbuf_reserve(&payloads, sizeof(*r) + SMALL_PAYLOAD, 0);
		submit_payload(skb, r, offset, SMALL_PAYLOAD, &head);
	} else if (length <= MIDDLE_PAYLOAD) {
		r = bpf_ringbuf_reserve(&payloads, sizeof(*r) + MIDDLE_PAYLOAD, 0);
		submit_payload(skb, r, offset, MIDDLE_PAYLOAD, &head);
	} else {
		r = bpf_ringbuf_reserve(&payloads, sizeof(*r) + PAYLOAD_BYTES, 0);
		submit_payload(skb, r, offset, PAYLOAD_BYTES, &head);
	}
	return 0;
}

#endif
