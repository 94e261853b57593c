/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading a packet at its socket: a datagram, or a segment of TCP on a port of DNS. */
#ifndef NETSONDE_UDP_PACKET_H
#define NETSONDE_UDP_PACKET_H

#include "core.h"

/* What of a packet is of interest. */
struct packet {
	__u64 source[2];
	__u64 destination[2];
	__u32 bytes;	/* of payload, without any header */
	__u32 count;	/* more than one with segmentation offload in either direction */
	__u32 payload;	/* where it begins */
	__u32 sequence; /* of TCP */
	__u16 source_port;
	__u16 destination_port;
	__u8 transport;
	bool quic;
};

/* What payloads on a port are read for. */
static __always_inline __u32 port_kinds(__u16 port)
{
	__u32 i;

	for (i = 0; i < PAYLOAD_PORTS; i++) {
		if (i >= settings.payload_port_count)
			break;
		if (settings.payload_ports[i].port == port)
			return settings.payload_ports[i].kinds;
	}
	return 0;
}

/* What a packet between two ports is read for. */
struct interest {
	__u32 kinds; /* enum payload_kind; only what a client of TLS sends first is of interest */
	bool to_server;
};

static __always_inline struct interest interest_in(__u16 source, __u16 destination, bool sent)
{
	__u32 there = port_kinds(destination), kinds = there;

	kinds |= port_kinds(source) & PAYLOAD_DNS;
	if (!sent)
		kinds &= ~PAYLOAD_TLS_HELLO;
	return (struct interest){.kinds = kinds, .to_server = there};
}

static __always_inline bool looks_like_quic(const struct packet *p, const __u8 *payload,
					    const void *end)
{
	if (p->source_port != 443 && p->destination_port != 443)
		return false;
	/* A long header with a version (RFC 9000, 17.2). */
	if ((void *)payload + 5 > end)
		return false;
	return (payload[0] & 0xc0) == 0xc0 && (payload[1] | payload[2] | payload[3] | payload[4]);
}

/* As many extension headers as are followed to a datagram. */
#define EXTENSIONS 4

/*
 * Where the header of the transport is, behind what may be before it (RFC 8200, 4.1): options and
 * routing. A fragment has no place here: sockets send what is whole, and get it put together.
 */
static __always_inline __u32 ipv6_transport(const __u8 *ip, const void *end, __u8 *transport)
{
	__u8 next = ip[6];
	__u32 offset = 40;
	const __u8 *extension;
	int i;

	for (i = 0; i < EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		extension = ip + offset;
		if ((void *)(extension + 2) > end)
			return 0;
		next = extension[0];
		offset += (extension[1] + 1) * 8;
	}
	*transport = next;
	return offset;
}

static __always_inline bool read_tcp_ports(struct __sk_buff *skb, const __u8 *tcp, const void *end,
					   __u32 offset, struct packet *p)
{
	__u32 header;

	if ((void *)(tcp + 20) > end)
		return false;
	p->source_port = bpf_ntohs(*(__be16 *)tcp);
	p->destination_port = bpf_ntohs(*(__be16 *)(tcp + 2));
	header = (tcp[12] >> 4) * 4;
	p->sequence = bpf_ntohl(*(__be32 *)(tcp + 4));
	p->payload = offset + header;
	if (skb->len <= p->payload)
		return false;
	p->bytes = skb->len - p->payload;
	return true;
}

static __always_inline bool read_udp_ports(struct __sk_buff *skb, const __u8 *udp, const void *end,
					   __u32 offset, struct packet *p)
{
	if ((void *)(udp + 8) > end)
		return false;
	p->source_port = bpf_ntohs(*(__be16 *)udp);
	p->destination_port = bpf_ntohs(*(__be16 *)(udp + 2));
	p->payload = offset + 8;
	p->bytes = skb->len - p->payload;
	p->count = skb->gso_segs;
	/* Whoever gave us the packet may not have counted. */
	if (!p->count)
		p->count = skb->gso_size ? (p->bytes + skb->gso_size - 1) / skb->gso_size : 1;
	p->quic = looks_like_quic(p, udp + 8, end);
	return true;
}

/* Of all others, most of which are TCP's, as little is read as can be. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *p)
{
	void *end = (void *)(long)skb->data_end;
	__u8 *ip = (void *)(long)skb->data;
	__u8 transport;
	__u32 offset;

	if ((void *)ip + 40 > end) {
		/* A datagram of less than 12 bytes, over IPv4. */
		if ((void *)ip + 28 > end || ip[0] >> 4 != 4)
			return false;
	}
	if (ip[0] >> 4 == 4) {
		transport = ip[9];
		if (transport != IPPROTO_UDP && transport != IPPROTO_TCP)
			return false;
		offset = (ip[0] & 15) * 4;
		map_ipv4((__u8 *)p->source, *(__be32 *)(ip + 12));
		map_ipv4((__u8 *)p->destination, *(__be32 *)(ip + 16));
	} else {
		if ((void *)ip + 40 > end)
			return false;
		offset = ipv6_transport(ip, end, &transport);
		if (!offset || (transport != IPPROTO_UDP && transport != IPPROTO_TCP))
			return false;
		__builtin_memcpy(p->source, ip + 8, 16);
		__builtin_memcpy(p->destination, ip + 24, 16);
	}
	p->transport = transport;
	if (transport == IPPROTO_TCP)
		return read_tcp_ports(skb, ip + offset, end, offset, p);
	return read_udp_ports(skb, ip + offset, end, offset, p);
}

#endif
