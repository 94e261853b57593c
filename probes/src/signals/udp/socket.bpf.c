/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * UDP: who sent and received how many datagrams. The kernel does not count them a socket, so two
 * programs at the root control group see each packet on its way from and to its socket, and add to
 * the socket's own state; a sweep and the socket's end move that into its flow. For TCP they cost a
 * look at the protocol.
 *
 * A socket belongs to whoever made it. It is a client's when it sends first, and a server's when it
 * receives first; a server's measurements do not tell its clients apart.
 */
#include "payload.h"
#include "datagram.h"
#include "packet.h"

/* A packet's program has no more of its socket than storage. */
#ifndef BY_ADDRESS

#define PASS 1

SEC("cgroup/sock_create")
int udp_created(struct bpf_sock *ctx)
{
	bool stream = ctx->protocol == IPPROTO_TCP;
	struct task_struct *caller;
	struct socket_state *st;

	if (stream && !settings.keep_stream_owners)
		return PASS;
	if (!stream && ctx->protocol != IPPROTO_UDP && !(ctx->type == SOCK_DGRAM && !ctx->protocol))
		return PASS;
	st = bpf_sk_storage_get(&sockets, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st) {
		count_loss(LOSS_SOCKET_STORAGE);
		return PASS;
	}
	caller = bpf_get_current_task_btf();
	owner_of_task(caller, &st->owner);
	st->flags = stream ? SOCKET_OWNED : SOCKET_DATAGRAM | SOCKET_OWNED;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->network_namespace = BPF_CORE_READ(caller, nsproxy, net_ns, ns.inum);
	mark_owner(st);
	return PASS;
}

/*
 * Ports from here on are also what a program gets that wants any port to ask from, and resolvers
 * bind one for each question: such a socket is told of when a sweep finds it, or when it turns out
 * to serve.
 */
#define FIRST_EPHEMERAL_PORT 32768

static __always_inline int bound(struct bpf_sock *ctx, struct socket_state *st)
{
	__u64 verdict = 0;

	if ((st->flags & (SOCKET_TOLD | SOCKET_OLDER)) || ctx->src_port >= FIRST_EPHEMERAL_PORT)
		return PASS;
	st->local_port = ctx->src_port;
	if (settings.rule_generation)
		verdict = judge_packets(st, RULE_UDP, NULL, ctx->src_port);
	if (!(verdict & SELECT_EXCLUDED))
		tell_bound(st, bpf_get_socket_cookie(ctx), EVENT_LISTEN_OPEN, verdict, 0);
	return PASS;
}

SEC("cgroup/post_bind4")
int udp_bound(struct bpf_sock *ctx)
{
	struct socket_state *st;

	if (ctx->protocol != IPPROTO_UDP)
		return PASS;
	st = bpf_sk_storage_get(&sockets, ctx, NULL, 0);
	if (!st)
		return PASS;
	map_ipv4((__u8 *)st->bound_address, ctx->src_ip4);
	return bound(ctx, st);
}

SEC("cgroup/post_bind6")
int udp_bound_ipv6(struct bpf_sock *ctx)
{
	struct socket_state *st;
	__u32 *to;

	if (ctx->protocol != IPPROTO_UDP)
		return PASS;
	st = bpf_sk_storage_get(&sockets, ctx, NULL, 0);
	if (!st)
		return PASS;
	to = (__u32 *)st->bound_address;
	to[0] = ctx->src_ip6[0];
	to[1] = ctx->src_ip6[1];
	to[2] = ctx->src_ip6[2];
	to[3] = ctx->src_ip6[3];
	return bound(ctx, st);
}

SEC("cgroup/sock_release")
int udp_released(struct bpf_sock *ctx)
{
	struct task_struct *caller;
	struct socket_state *st;
	__u64 verdict = 0;

	if (ctx->protocol != IPPROTO_UDP)
		return PASS;
	st = bpf_sk_storage_get(&sockets, ctx, NULL, 0);
	if (!st)
		return PASS;
	__sync_lock_test_and_set(&st->ended, 1);
	if (st->flags & SOCKET_TOLD) {
		follow_program(st);
		if (settings.rule_generation)
			verdict = judge_packets(st, RULE_UDP, NULL, st->local_port);
		if (!(verdict & SELECT_EXCLUDED))
			tell_bound(st, bpf_get_socket_cookie(ctx), EVENT_LISTEN_CLOSE, verdict, 0);
	}
	if (!st->role)
		return PASS;
	if (!(st->flags & SOCKET_EXCLUDED)) {
		caller = bpf_get_current_task_btf();
		if ((!(st->flags & SOCKET_OWNED) || owner_is_gone(&st->owner)) &&
		    !is_walk(caller, st))
			take_over_datagrams(st, caller);
		follow_program(st);
		flush_datagrams(st);
		/* The kernel's socket is what this program's context stands for. */
		tell_other_drops((void *)ctx, st, true);
	}
	uncount(st);
	return PASS;
}

static __always_inline __u32 namespace_of_stream(struct bpf_sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp ? socket_namespace((struct sock *)tp) : 0;
}

/* The state of the packet's socket; one that is met for the first time is older than netsonde. */
static __always_inline struct socket_state *state_of(struct __sk_buff *skb, __u8 transport)
{
	struct bpf_sock *sk = skb->sk;
	struct socket_state *st;

	if (!sk)
		return NULL;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	/* Connections get theirs from TCP's programs. */
	if (transport == IPPROTO_TCP && !settings.keep_stream_owners)
		return st;
	if (!st) {
		st = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st) {
			count_loss(LOSS_SOCKET_STORAGE);
			return NULL;
		}
		st->flags =
			transport == IPPROTO_UDP ? SOCKET_DATAGRAM | SOCKET_OLDER : SOCKET_OLDER;
	}
	/* No sweep meets a connection. */
	if (transport == IPPROTO_TCP && !st->network_namespace)
		st->network_namespace = namespace_of_stream(sk);
	return st;
}

static __always_inline void take_role(struct socket_state *st, const struct packet *p, bool sent)
{
	__u16 local_port = sent ? p->source_port : p->destination_port;
	__u16 remote_port = sent ? p->destination_port : p->source_port;
	bool serves = !sent;

	/* Of an older one, nobody saw the first. */
	if (st->flags & SOCKET_OLDER) {
		if (local_port < FIRST_EPHEMERAL_PORT && remote_port >= FIRST_EPHEMERAL_PORT)
			serves = true;
		if (local_port >= FIRST_EPHEMERAL_PORT && remote_port < FIRST_EPHEMERAL_PORT)
			serves = false;
	}
	st->local_port = local_port;
	if (serves == sent) { /* the server's end is where it comes from */
		st->server_address[0] = p->source[0];
		st->server_address[1] = p->source[1];
		st->server_port = p->source_port;
	} else {
		st->server_address[0] = p->destination[0];
		st->server_address[1] = p->destination[1];
		st->server_port = p->destination_port;
	}
	st->role = serves ? ROLE_SERVER : ROLE_CLIENT;
	if (serves && !(st->flags & (SOCKET_TOLD | SOCKET_OLDER)))
		st->flags |= SOCKET_SERVES_UNTOLD;
}

static __always_inline void add_datagrams(struct flow_value *flow, const struct packet *p,
					  bool sent)
{
	add(sent ? &flow->transmit_bytes : &flow->receive_bytes, p->bytes);
	add(sent ? &flow->transmit_segments : &flow->receive_segments, p->count);
}

/*
 * The flow of those that do not go where the socket's own count goes: of a client with several
 * servers, and wherever clients are told apart. None for one that a rule leaves out.
 */
static __noinline struct flow_value *flow_apart(const struct socket_state *st,
						const struct packet *p, bool sent)
{
	bool source_serves = (st->role == ROLE_SERVER) == sent;
	struct flow_key key;
	__u64 verdict;

	/* Two walks over open files found nobody who holds it. */
	if (!st->owner.tgid)
		count_loss(LOSS_UNOWNED);
	datagram_key(&key, st);
	__builtin_memcpy(key.server_address, source_serves ? p->source : p->destination, 16);
	key.server_port = source_serves ? p->source_port : p->destination_port;
	if (settings.keep_client_address)
		__builtin_memcpy(key.client_address, source_serves ? p->destination : p->source,
				 16);
	if (settings.rule_generation) {
		verdict = judge_packets(st, RULE_UDP, sent ? p->destination : p->source,
					key.server_port);
		if (verdict & SELECT_EXCLUDED)
			return NULL;
		key.rules = verdict;
	}
	return flow_entry(&key);
}

static __always_inline bool is_the_flows(const struct socket_state *st, const struct packet *p,
					 bool sent)
{
	bool source_serves = (st->role == ROLE_SERVER) == sent;
	const __u64 *address = source_serves ? p->source : p->destination;
	__u16 port = source_serves ? p->source_port : p->destination_port;

	if (settings.keep_client_address || (settings.rule_count && st->role == ROLE_SERVER))
		return false;
	return address[0] == st->server_address[0] && address[1] == st->server_address[1] &&
	       port == st->server_port;
}

static __always_inline void count_datagrams(struct socket_state *st, const struct packet *p,
					    bool sent)
{
	struct flow_value *flow;

	/* An older one, until a sweep knows whose it is, and where. */
	if (!st->network_namespace)
		return;
	if (!st->role)
		take_role(st, p, sent);
	follow_program(st);
	if (p->quic && !(st->flags & SOCKET_QUIC))
		st->flags |= SOCKET_QUIC;
	if (!is_the_flows(st, p, sent)) {
		flow = flow_apart(st, p, sent);
		if (flow)
			add_datagrams(flow, p, sent);
		return;
	}
	if (st->rule_generation != settings.rule_generation)
		judge_flow(st, sent ? p->destination : p->source);
	if (st->flags & SOCKET_EXCLUDED)
		return;
	if (sent) {
		__sync_fetch_and_add(&st->sent.bytes, p->bytes);
		__sync_fetch_and_add(&st->sent.datagrams, p->count);
	} else {
		__sync_fetch_and_add(&st->received.bytes, p->bytes);
		__sync_fetch_and_add(&st->received.datagrams, p->count);
	}
}

/*
 * Whether nothing that a connection sent has been acknowledged, short of its SYN: what passes now
 * is the first that it sends.
 */
static __always_inline bool is_first_flight(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tp;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	tp = sk ? bpf_tcp_sock(sk) : NULL;
	return tp && tp->bytes_acked <= 1;
}

/* A socket on a port that clients use as well has turned out to serve. */
static __always_inline void tell_server(struct __sk_buff *skb, struct socket_state *st)
{
	__u64 verdict = 0;

	st->flags &= ~SOCKET_SERVES_UNTOLD;
	if (settings.rule_generation)
		verdict = judge_packets(st, RULE_UDP, NULL, st->local_port);
	if (!(verdict & SELECT_EXCLUDED))
		tell_bound(st, bpf_get_socket_cookie(skb), EVENT_LISTEN_OPEN, verdict, 0);
}

static __noinline int look_closely(struct __sk_buff *skb, bool sent)
{
	struct socket_state *st;
	struct packet p = {};
	struct interest interest;
	__be16 id = 0;
	__u32 kinds;

	if (!read_packet(skb, &p))
		return PASS;
	interest = interest_in(p.source_port, p.destination_port, sent);
	kinds = interest.kinds;
	if (p.transport == IPPROTO_UDP)
		kinds &= PAYLOAD_DNS;
	else if (!kinds)
		return PASS;
	st = state_of(skb, p.transport);
	if (!st)
		return PASS;
	if (p.transport == IPPROTO_UDP && settings.count_datagrams)
		count_datagrams(st, &p, sent);
	if (st->flags & SOCKET_SERVES_UNTOLD)
		tell_server(skb, st);
	if (!p.bytes)
		return PASS;
	if (!(kinds & PAYLOAD_DNS) && (!kinds || !is_tls_hello(skb, &p)))
		return PASS;
	/* Of a datagram, which is a message, its id; one too short for that is malformed, and told.
	 */
	if (p.transport == IPPROTO_UDP && p.bytes >= sizeof(id) &&
	    bpf_skb_load_bytes(skb, p.payload, &id, sizeof(id))) {
		count_loss(LOSS_PAYLOAD_UNREADABLE);
		return PASS;
	}
	if (payload_chosen(interest.to_server ? p.source_port : p.destination_port, id))
		tell_payload(skb, st, &p, sent,
			     kinds & PAYLOAD_DNS ? PAYLOAD_DNS : PAYLOAD_TLS_HELLO);
	return PASS;
}

/* Tells of a datagram that has been counted and chosen. */
static __noinline int tell_message(struct __sk_buff *skb, bool sent)
{
	struct socket_state *st;
	struct packet p = {};

	if (!read_packet(skb, &p))
		return 0;
	st = state_of(skb, IPPROTO_UDP);
	if (st)
		tell_payload(skb, st, &p, sent, PAYLOAD_DNS);
	return 0;
}

/* Whether a segment of TCP, whose header begins there, may hold what user space wants to read. */
static __always_inline bool may_tell(struct __sk_buff *skb, const __u8 *tcp, bool sent)
{
	__u32 kinds =
		interest_in(bpf_ntohs(*(__be16 *)tcp), bpf_ntohs(*(__be16 *)(tcp + 2)), sent).kinds;

	return (kinds & PAYLOAD_DNS) || (kinds && is_first_flight(skb));
}

/*
 * Counts a datagram of the socket's own flow over IPv4 without options, with nothing about it to be
 * found out, as nearly all are: look_closely() in short. False when there is more to it.
 */
static __always_inline bool count_quickly(struct __sk_buff *skb, const __u8 *ip, bool sent)
{
	__be32 source = *(__be32 *)(ip + 12), destination = *(__be32 *)(ip + 16);
	__u16 source_port = bpf_ntohs(*(__be16 *)(ip + 20));
	__u16 destination_port = bpf_ntohs(*(__be16 *)(ip + 22));
	struct bpf_sock *sk = skb->sk;
	struct socket_state *st;
	bool source_serves, is_dns;
	struct interest interest;
	__u64 mapped;
	__u32 count;

	if (!sk || !settings.count_datagrams || settings.keep_client_address)
		return false;
	if (source_port == 443 || destination_port == 443)
		return false;
	/* With its id in sight. */
	interest = interest_in(source_port, destination_port, sent);
	is_dns = interest.kinds & PAYLOAD_DNS;
	if (is_dns && (void *)ip + 30 > (void *)(long)skb->data_end)
		return false;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st || !st->role || st->rule_generation != settings.rule_generation ||
	    (st->flags & SOCKET_EXCLUDED) || (settings.rule_count && st->role == ROLE_SERVER))
		return false;
	source_serves = (st->role == ROLE_SERVER) == sent;
	map_ipv4_end(&mapped, source_serves ? source : destination);
	if (st->server_address[0] || st->server_address[1] != mapped ||
	    st->server_port != (source_serves ? source_port : destination_port))
		return false;
	if (marks_of(st->owner.tgid) & MARK_EXECED)
		return false;
	count = skb->gso_segs;
	if (count != 1) {
		if (count || skb->gso_size)
			return false;
		count = 1;
	}
	if (sent) {
		__sync_fetch_and_add(&st->sent.bytes, skb->len - 28);
		__sync_fetch_and_add(&st->sent.datagrams, count);
	} else {
		__sync_fetch_and_add(&st->received.bytes, skb->len - 28);
		__sync_fetch_and_add(&st->received.datagrams, count);
	}
	if (is_dns && payload_chosen(interest.to_server ? source_port : destination_port,
				     *(__be16 *)(ip + 28)))
		tell_message(skb, sent);
	return true;
}

static __always_inline int look_at_packet(struct __sk_buff *skb, bool sent)
{
	void *end = (void *)(long)skb->data_end;
	__u8 *ip = (void *)(long)skb->data;

	if ((void *)ip + 28 > end)
		return PASS;
	/* Version 4, and five words of header: there are no options. */
	if (ip[0] == 0x45) {
		if (ip[9] == IPPROTO_UDP) {
			if (count_quickly(skb, ip, sent))
				return PASS;
		} else if (ip[9] != IPPROTO_TCP || !may_tell(skb, ip + 20, sent)) {
			return PASS;
		}
	} else if (ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP) {
		if ((void *)ip + 44 > end || !may_tell(skb, ip + 40, sent))
			return PASS;
	}
	return look_closely(skb, sent);
}

SEC("cgroup_skb/egress")
int packet_sent(struct __sk_buff *skb)
{
	return look_at_packet(skb, true);
}

/* Behind sk_filter_trim_cap(), before a datagram is put into the receive queue. */
SEC("cgroup_skb/ingress")
int packet_received(struct __sk_buff *skb)
{
	return look_at_packet(skb, false);
}

/* The same of a packet as the kernel has it, its UDP header already behind it. */
static __always_inline bool read_queued(struct sk_buff *skb, struct packet *p)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	struct skb_shared_info *shared = (void *)(head + BPF_CORE_READ(skb, end));
	__be16 ports[2];
	__u8 ip[40];

	/* Behind an IPv4 header are the 20 bytes of other headers, or of buffer. */
	if (bpf_probe_read_kernel(ip, sizeof(ip), head + BPF_CORE_READ(skb, network_header)) ||
	    bpf_probe_read_kernel(ports, sizeof(ports),
				  head + BPF_CORE_READ(skb, transport_header)))
		return false;
	if (ip[0] >> 4 == 4) {
		map_ipv4((__u8 *)p->source, *(__be32 *)(ip + 12));
		map_ipv4((__u8 *)p->destination, *(__be32 *)(ip + 16));
	} else {
		__builtin_memcpy(p->source, ip + 8, 16);
		__builtin_memcpy(p->destination, ip + 24, 16);
	}
	p->source_port = bpf_ntohs(ports[0]);
	p->destination_port = bpf_ntohs(ports[1]);
	p->bytes = skb->len;
	p->count = BPF_CORE_READ(shared, gso_segs) ?: 1;
	return true;
}

/* A datagram that was counted just now and found no room: it leaves the count where it went. */
static __always_inline void take_back(struct sock *sk, int error, bool known,
				      const struct packet *p)
{
	__u32 kind = error == -ENOMEM ? DROP_RECEIVE_BUFFER : DROP_MEMORY;
	struct flow_value *flow;
	struct socket_state *st;
	struct flow_key key;

	st = socket_lookup(sk);
	if (!st)
		return;
	/* A packet, however many datagrams are in it. */
	__sync_fetch_and_add(&st->drops_told, 1);
	if (!st->role || !known)
		return;
	if (!is_the_flows(st, p, false)) {
		flow = flow_apart(st, p, false);
		if (flow) {
			__sync_fetch_and_add(&flow->receive_bytes, -(__u64)p->bytes);
			__sync_fetch_and_add(&flow->receive_segments, -(__u64)p->count);
			add(&flow->drops[kind], p->count);
		}
		return;
	}
	if (st->flags & SOCKET_EXCLUDED)
		return;
	__sync_fetch_and_add(&st->received.bytes, -(__u64)p->bytes);
	__sync_fetch_and_add(&st->received.datagrams, -(__u64)p->count);
	datagram_key(&key, st);
	flow = flow_entry(&key);
	if (flow)
		add(&flow->drops[kind], p->count);
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(udp_dropped, int error, struct sock *sk, struct sk_buff *skb)
{
	struct packet p = {};

	if (sk->sk_protocol == IPPROTO_UDP)
		take_back(sk, error, read_queued(skb, &p), &p);
	return 0;
}

/*
 * Before 6.10 the tracepoint comes without the packet, and for IPv4 alone. What puts datagrams of
 * both into a socket's queue has the packet still in hand when it says that there is no room; the
 * price is a run for each datagram that there is room for.
 */
SEC("fexit/__udp_enqueue_schedule_skb")
int BPF_PROG(udp_not_queued, struct sock *sk, struct sk_buff *skb, int error)
{
	struct packet p = {};

	/* What was queued is somebody else's by now. */
	if (error && sk->sk_protocol == IPPROTO_UDP)
		take_back(sk, error, read_queued(skb, &p), &p);
	return 0;
}

/*
 * Where programs may not watch functions, that tracepoint is made do with: the packet was freed the
 * moment before, on the same processor and with no other packet between (__udp_queue_rcv_skb()), so
 * what it was is kept.
 */
struct freed_packet {
	struct packet packet;
	bool known;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct freed_packet);
} freed SEC(".maps");

/* The reasons that udp_fail_queue_rcv_skb is told of; there are some since 5.17. */
enum skb_drop_reason___known {
	SKB_DROP_REASON_SOCKET_RCVBUFF___known = 6,
	SKB_DROP_REASON_PROTO_MEM___known = 7,
};

static __always_inline bool found_no_room(unsigned long long reason)
{
	return reason == bpf_core_enum_value(enum skb_drop_reason___known,
					     SKB_DROP_REASON_SOCKET_RCVBUFF___known) ||
	       reason == bpf_core_enum_value(enum skb_drop_reason___known,
					     SKB_DROP_REASON_PROTO_MEM___known);
}

SEC("tp_btf/kfree_skb")
int udp_packet_freed(unsigned long long *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct freed_packet *f;
	__u32 slot = 0;

	if (bpf_core_enum_value_exists(enum skb_drop_reason___known,
				       SKB_DROP_REASON_PROTO_MEM___known) &&
	    !found_no_room(ctx[2]))
		return 0;
	f = bpf_map_lookup_elem(&freed, &slot);
	if (f)
		f->known = read_queued(skb, &f->packet);
	return 0;
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(udp_freed_dropped, int error, struct sock *sk)
{
	struct freed_packet *f;
	__u32 slot = 0;

	f = bpf_map_lookup_elem(&freed, &slot);
	if (!f)
		return 0;
	if (sk->sk_protocol == IPPROTO_UDP)
		take_back(sk, error, f->known, &f->packet);
	f->known = false;
	return 0;
}

#endif
