/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Copies DNS messages out of packets, for user space to read. The packet's program has found the
 * addresses and the payload.
 */
#ifndef NETSONDE_DNS_CAPTURE_H
#define NETSONDE_DNS_CAPTURE_H

#include "../udp/datagram.h"
#include "../udp/packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} dns_messages SEC(".maps");

/* How many of 256 lookups are followed, so that as many messages come as are wanted. */
#define WHOLE_SHARE 256

static struct {
	__u64 second; /* of 2^30 ns, that is counted now */
	__u64 offered;
	__u64 taken;
	__u64 share;
} dns_budget = {.share = WHOLE_SHARE};

/*
 * Whether a message is one of those that are followed. All messages of a lookup, on both its ends,
 * have the same `lot`: a share of the lookups is followed whole, instead of a query here and a
 * response there. The share of a second comes of what the one before it offered.
 */
static __always_inline bool dns_allowed(__u64 now, __u32 lot)
{
	__u64 second = now >> 30, seen = dns_budget.second, limit = settings.dns_per_second,
	      offered;

	if (!limit)
		return true;
	if (seen != second &&
	    __sync_val_compare_and_swap(&dns_budget.second, seen, second) == seen) {
		offered = dns_budget.offered;
		dns_budget.share = offered > limit ? WHOLE_SHARE * limit / offered : WHOLE_SHARE;
		dns_budget.offered = 0;
		dns_budget.taken = 0;
	}
	__sync_fetch_and_add(&dns_budget.offered, 1);
	/* The second in which a flood begins may hold twice as much. */
	if ((lot * 2654435761U >> 24) < dns_budget.share && dns_budget.taken < 2 * limit) {
		__sync_fetch_and_add(&dns_budget.taken, 1);
		return true;
	}
	count_loss(LOSS_DNS_RATE_LIMITED);
	return false;
}

/* The smallest of three sizes that holds the payload: a record's size must be a constant. */
#define DNS_SMALL  192
#define DNS_MIDDLE 1280

static __always_inline void submit_dns(struct __sk_buff *skb, struct dns_record *r, __u32 offset,
				       __u32 room, const struct dns_record *head)
{
	__u32 length = head->length;

	if (!r) {
		count_loss(LOSS_DNS_RING_FULL);
		return;
	}
	*r = *head;
	if (length > room)
		length = room;
	/* The verifier does not see that it is never 0. */
	if (!length || bpf_skb_load_bytes(skb, offset, r + 1, length)) {
		bpf_ringbuf_discard(r, 0);
		return;
	}
	r->captured = length;
	bpf_ringbuf_submit(r, ring_flags(&dns_messages));
}

/* Tells of the payload of a packet on a socket, if it may. */
static __noinline int tell_dns(struct __sk_buff *skb, struct socket_state *st,
			       const struct packet *p, bool sent)
{
	struct dns_record head = {};
	__u32 lot, offset = p->payload, length = p->bytes;
	__u64 verdict = 0;
	struct dns_record *r;
	__be16 id = 0;

	head.time_ns = bpf_ktime_get_boot_ns();
	head.local_port = sent ? p->source_port : p->destination_port;
	head.remote_port = sent ? p->destination_port : p->source_port;
	/* Of the client's port, and the id of the message that begins here. */
	lot = is_dns_port(head.remote_port) ? head.local_port : head.remote_port;
	if (p->transport == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, offset, &id, sizeof(id)))
			return 0;
		lot ^= (__u32)id << 8;
	}
	if (!dns_allowed(head.time_ns, lot))
		return 0;
	__builtin_memcpy(head.local_address, sent ? p->source : p->destination, 16);
	__builtin_memcpy(head.remote_address, sent ? p->destination : p->source, 16);
	if (settings.rule_generation)
		verdict = judge_packets(st, p->transport == IPPROTO_UDP ? RULE_UDP : RULE_TCP,
					sent ? p->destination : p->source,
					is_dns_port(head.remote_port) ? head.remote_port
								      : head.local_port);
	if (verdict & SELECT_EXCLUDED)
		return 0;
	head.rules = verdict;
	head.owner = st->owner;
	newer_image(&st->owner, &head.owner.image);
	head.socket_cookie = bpf_get_socket_cookie(skb);
	head.network_namespace = st->network_namespace;
	head.transport = p->transport;
	head.sequence = p->sequence;
	head.length = length;
	head.sent = sent;
	if (length <= DNS_SMALL) {
		r = bpf_ringbuf_reserve(&dns_messages, sizeof(*r) + DNS_SMALL, 0);
		submit_dns(skb, r, offset, DNS_SMALL, &head);
	} else if (length <= DNS_MIDDLE) {
		r = bpf_ringbuf_reserve(&dns_messages, sizeof(*r) + DNS_MIDDLE, 0);
		submit_dns(skb, r, offset, DNS_MIDDLE, &head);
	} else {
		r = bpf_ringbuf_reserve(&dns_messages, sizeof(*r) + DNS_BYTES, 0);
		submit_dns(skb, r, offset, DNS_BYTES, &head);
	}
	return 0;
}

#endif
