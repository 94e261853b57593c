/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every signal shares: the state of sockets, the flow tables and their flip, the rings, and
 * the small arithmetic around them. Signals own their hooks; nothing here is a program.
 */
#ifndef NETSONDE_CORE_H
#define NETSONDE_CORE_H

#include "identity.h"
#include "kernel.h"
#include "losses.h"
#include "records.h"
#include "select.h"
#include "settings.h"

/* ---- sockets ------------------------------------------------------------------------------- */

#define SOCKET_OWNED	     (1 << 0) /* the owner is final, short of the process handing it on */
#define SOCKET_ESTABLISHED   (1 << 1) /* reached ESTABLISHED, or was past it when first seen */
#define SOCKET_COUNTED	     (1 << 2) /* of TCP: its opening has been added to a flow */
#define SOCKET_CLOSED	     (1 << 3)
#define SOCKET_FINAL_PENDING (1 << 4) /* closed, its last delta waits for an owner (in `last`) */
#define SOCKET_OLDER	     (1 << 5) /* existed before netsonde: its opening is not counted */
#define SOCKET_SHARED                                                                              \
	(1 << 6) /* several processes hold it, or it is of a listener that they hold */
#define SOCKET_RESET_RECEIVED	 (1 << 7)
#define SOCKET_ACCEPT_UNTOLD	 (1 << 8)  /* the accept event waits for an owner */
#define SOCKET_BASELINE		 (1 << 9)  /* older, and its first reading has been taken */
#define SOCKET_OWNER_ASKED	 (1 << 10) /* a walk over open files was asked for its sake */
#define SOCKET_OWNER_ASKED_TWICE (1 << 11)
#define SOCKET_CLAIMED		 (1 << 12) /* by a close() or shutdown() */
#define SOCKET_EXCLUDED		 (1 << 13) /* by a selection rule: nothing of it is recorded */
#define SOCKET_BINARY_DELETED	 (1 << 14) /* the owner's, when it got the socket */
#define SOCKET_DATAGRAM		 (1 << 15) /* of UDP */
#define SOCKET_QUIC		 (1 << 16)
#define SOCKET_COUNTED_QUIC	 (1 << 17) /* of UDP: it counts as active with QUIC's */
#define SOCKET_TOLD		 (1 << 18) /* of UDP: its opening has been told */
#define SOCKET_SERVES_UNTOLD	 (1 << 19) /* of UDP: it turned out to serve, which is to be told */

/* The counters of a tcp_sock, turned into what is published. */
struct reading {
	__u64 transmit_bytes;
	__u64 receive_bytes;
	__u32 transmit_segments;
	__u32 receive_segments;
	__u32 retransmits;
};

/*
 * Of UDP: what has not been added to a flow. Both directions are counted at once on two processors,
 * and must not pass a cache line back and forth.
 */
struct traffic {
	__u64 bytes;
	__s64 datagrams; /* below zero when taken out between an arrival and its drop */
};

/*
 * Lives and dies with the socket; an accepted child starts with a copy of its listener's. Written
 * only under the socket lock (state changes, and the sweep since kernel 5.15, commit 04c7820b776f)
 * or, on older kernels, by a sweep that holds the hash bucket's lock: tcp_set_state() unhashes a
 * socket before it announces TCP_CLOSE, so that a sweep and a close never meet. The walk over open
 * files has no lock: it writes the fields about candidates and generations, which are read by
 * sweeps alone, and the others only of a socket that nobody knew.
 */
struct socket_state {
	/* The kernel begins this eight bytes into a cache line: each of these blocks has a line. */

	union {
		struct traffic received;
		__u64 listener_cookie; /* of a listener of TCP, and of those that it accepts */
	};
	struct owner candidate; /* another process that was found to hold it */
	__u64 opened_ns;
	__u32 held_generation;	    /* walk in which the owner was seen to hold it */
	__u32 candidate_generation; /* walk in which the candidate was */

	struct owner owner;
	union {
		struct {
			__u64 established_ns;
			__u32 connect_us;
			__u32 smoothed_rtt_us; /* kept for a final delta that waits */
		};
		__u64 server_address[2]; /* of UDP, as in its flow's key */
	};
	__u32 network_namespace;
	__u32 rule_generation; /* of the rules that judged it */
	__u32 rules;	       /* those that may apply, for user space */
	__u32 flags;
	__u16 local_port;
	union {
		__u16 syn_retransmits; /* not yet added */
		__u16 server_port;     /* of UDP */
	};
	__u8 role;
	__u8 failure;		   /* enum failure_kind + 1 */
	__u8 candidate_is_manager; /* it is a service manager */

	struct traffic sent;
	union {
		struct reading last;		/* of TCP: what has been added to a flow */
		struct {			/* of UDP */
			__u64 bound_address[2]; /* once it is told of */
			__u32 drops_told;	/* of those that the kernel counts on the socket */
			__u32 drops_untold;	/* when a sweep met it last */
			__u32 counted;		/* as active; is taken out whole */
			__u32 ended;		/* a sweep that meets it still counts it no more */
		};
	};
	__u32 several_generation; /* walk that found several processes to hold it */
	__u32 counted_rules;	  /* of UDP: those under which it counts as active */
};

/* What the drops column of /proc/net/udp shows. A socket may also come as its program's context. */
static __always_inline __u32 socket_drops(const struct sock *sk)
{
	struct numa_drop_counters *counters;

	if (bpf_core_field_exists(sk->sk_drop_counters)) {
		counters = BPF_CORE_READ(sk, sk_drop_counters);
		if (counters)
			return BPF_CORE_READ(counters, drops0.counter) +
			       BPF_CORE_READ(counters, drops1.counter);
	}
	return BPF_CORE_READ(sk, sk_drops.counter);
}

static __always_inline __u32 socket_namespace(const struct sock *sk)
{
	struct net *net = FIELD(sk, __sk_common.skc_net.net);

	return FIELD(net, ns.inum);
}

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u32 *words = (void *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

/* The second half of what map_ipv4() makes; the first is 0. */
static __always_inline void map_ipv4_end(__u64 *to, __be32 address)
{
	__u32 *words = (void *)to;

	words[0] = bpf_htonl(0xffff);
	words[1] = address;
}

static __always_inline void local_address(const struct sock_common *skc, __u8 *to)
{
	if (FIELD(skc, skc_family) == AF_INET6)
		bpf_probe_read_kernel(to, 16, &skc->skc_v6_rcv_saddr);
	else
		map_ipv4(to, FIELD(skc, skc_rcv_saddr));
}

static __always_inline void remote_address(const struct sock_common *skc, __u8 *to)
{
	if (skc->skc_family == AF_INET6)
		bpf_probe_read_kernel(to, 16, &skc->skc_v6_daddr);
	else
		map_ipv4(to, skc->skc_daddr);
}

/* Finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
static __always_inline __u64 mix(__u64 v)
{
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
	return v ^ v >> 31;
}

#ifdef BY_ADDRESS
#include "address.h"
#else
#include "storage.h"
#endif

/* ---- listeners ------------------------------------------------------------------------------ */

/* What listeners accepted, by their cookie; lives from listen() to close(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct accept_totals);
} accepts SEC(".maps");

static const struct accept_totals no_accepts;

/* Who opened it, by cookie, where that is known. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} openers SEC(".maps");

static __always_inline void remember_listener(const struct sock *sk, struct socket_state *st,
					      bool opened)
{
	st->listener_cookie = socket_cookie(sk, st);
	if (bpf_map_update_elem(&accepts, &st->listener_cookie, &no_accepts, BPF_NOEXIST) == -E2BIG)
		count_loss(LOSS_LISTENERS_FULL);
	if (opened)
		bpf_map_update_elem(&openers, &st->listener_cookie, &st->owner, BPF_ANY);
}

static __always_inline void forget_listener(const struct socket_state *st)
{
	bpf_map_delete_elem(&accepts, &st->listener_cookie);
	bpf_map_delete_elem(&openers, &st->listener_cookie);
}

static __always_inline __u32 leading_zeros(__u64 v)
{
	__u32 n = 0, i;

	for (i = 32; i; i >>= 1) {
		if (!(v >> (64 - i))) {
			n += i;
			v <<= i;
		}
	}
	return n;
}

static __always_inline void note_network(struct accept_totals *a, __u64 network)
{
	__u64 seen;
	int i;

	for (i = 0; i < CLIENT_NETWORKS; i++) {
		seen = a->networks[i];
		if (!seen)
			seen = compare_and_swap(&a->networks[i], 0, network);
		if (!seen || seen == network)
			return;
	}
	a->further_networks = 1;
}

/* Adds a connection to what its listener accepted. */
static __noinline int count_accept(const struct socket_state *st, __u64 high, __u64 low)
{
	struct accept_totals *a = bpf_map_lookup_elem(&accepts, &st->listener_cookie);
	__u64 hash = mix(high ^ mix(low)), network;
	__u32 rank;
	__u8 *peers;

	if (!a)
		return 0;
	__sync_fetch_and_add(&a->accepted, 1);
	a->last_ns = bpf_ktime_get_boot_ns();
	/* An IPv4 address is at the end, behind ffff. */
	network = bpf_be64_to_cpu(high);
	if (!network && bpf_be64_to_cpu(low) >> 32 == 0xffff)
		network = bpf_be64_to_cpu(low) & ~0xffULL;
	if (network)
		note_network(a, network);
	rank = leading_zeros(hash) + 1;
	peers = &a->peers[hash % PEER_REGISTERS];
	if (*peers < rank)
		*peers = rank;
	return 0;
}

/* ---- flows --------------------------------------------------------------------------------- */

/*
 * Two tables and one slot that says which is being filled. User space drains the other one: it
 * stores the idle table in the slot, and the kernel lets no such update return before every program
 * that may still hold the old table has left (maybe_wait_bpf_programs(), commit 1ae80cf31938). So a
 * drain neither loses nor repeats an update.
 */
struct flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
};

struct flow_table flows_even SEC(".maps");
struct flow_table flows_odd SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct flow_table);
} flows SEC(".maps") = {
	.values = {&flows_even},
};

static const struct flow_value empty_flow;

static __always_inline void add(__u64 *to, __u64 n)
{
	if (n)
		__sync_fetch_and_add(to, n);
}

/* The entry of a flow, made when absent; the overflow entry when there is no room. */
static __always_inline struct flow_value *flow_entry(const struct flow_key *key)
{
	struct flow_key overflow = {};
	struct flow_value *value;
	__u32 slot = 0;
	void *table;

	table = bpf_map_lookup_elem(&flows, &slot);
	if (!table)
		goto dropped;
	value = bpf_map_lookup_elem(table, key);
	if (value)
		return value;
	/* Another processor may make it first: whatever this returns, the second look decides. */
	bpf_map_update_elem(table, key, &empty_flow, BPF_NOEXIST);
	value = bpf_map_lookup_elem(table, key);
	if (value)
		return value;
	value = bpf_map_lookup_elem(table, &overflow);
	if (value) {
		count_loss(LOSS_FLOW_TABLE_FULL);
		return value;
	}
dropped:
	count_loss(LOSS_FLOW_DROPPED);
	return NULL;
}

/* Takes no socket: programs for packets have none that flow_key_of() could read. */
static __always_inline void datagram_key(struct flow_key *key, const struct socket_state *st)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->owner = st->owner;
	key->network_namespace = st->network_namespace;
	key->rules = st->rules;
	key->role = st->role;
	key->transport = IPPROTO_UDP;
	key->application = st->flags & SOCKET_QUIC ? APPLICATION_QUIC : APPLICATION_UNKNOWN;
	__builtin_memcpy(key->server_address, st->server_address, 16);
	key->server_port = st->server_port;
}

/* Of a connection. */
static __always_inline void flow_key_of(struct flow_key *key, const struct sock_common *skc,
					const struct socket_state *st)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->owner = st->owner;
	key->network_namespace = st->network_namespace;
	key->rules = st->rules;
	key->role = st->role;
	key->transport = IPPROTO_TCP;
	if (st->role == ROLE_CLIENT) {
		remote_address(skc, key->server_address);
		key->server_port = bpf_ntohs(skc->skc_dport);
		if (settings.keep_client_address)
			local_address(skc, key->client_address);
		return;
	}
	local_address(skc, key->server_address);
	key->server_port = st->local_port;
	if (settings.keep_client_address)
		remote_address(skc, key->client_address);
}

/*
 * Gives a socket to another process, or to the next program of the same. A connection that counts
 * as active with the one counts with the other from now on. A socket for datagrams must not count
 * when it is given away.
 */
static __always_inline void change_owner(const struct sock *sk, struct socket_state *st,
					 const struct owner *to)
{
	bool counted = st->flags & SOCKET_COUNTED;
	struct flow_value *flow;
	struct flow_key key;

	if (counted) {
		flow_key_of(&key, &sk->__sk_common, st);
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, -1);
	}
	st->owner = *to;
	/* Whoever gives it to its caller looks again. */
	st->flags &= ~SOCKET_BINARY_DELETED;
	if (counted) {
		flow_key_of(&key, &sk->__sk_common, st);
		flow = flow_entry(&key);
		if (flow)
			__sync_fetch_and_add(&flow->active, 1);
	}
}

static __always_inline bool is_dead(const struct sock *sk)
{
	return sk->__sk_common.skc_flags & (1UL << SOCK_DEAD_BIT);
}

/* An exec takes the process's open sockets along to the new program; not those closed before. */
static __always_inline void follow_image(const struct sock *sk, struct socket_state *st)
{
	struct owner next = st->owner;

	if (!is_dead(sk) && newer_image(&st->owner, &next.image))
		change_owner(sk, st, &next);
}

/* Ceiling of the binary logarithm; 0 for 0 and 1. */
static __always_inline __u32 log2_ceiling(__u64 v)
{
	__u32 r = 0;

	if (v < 2)
		return 0;
	v -= 1;
	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	if (v >> 1)
		r += 1;
	return r + 1;
}

static __always_inline void histogram_add(struct histogram *h, __u64 *sum_us, __u64 us, __u32 base)
{
	__u32 i = log2_ceiling(us);

	i = i > base ? i - base : 0;
	if (i >= HISTOGRAM_BUCKETS)
		i = HISTOGRAM_BUCKETS - 1;
	add(sum_us, us);
	__sync_fetch_and_add(&h->buckets[i], 1);
}

/* ---- events -------------------------------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} process_events SEC(".maps");

/* A bucket that leaks `events_per_second` and holds ten times that. */
struct event_budget {
	__u64 second; /* in which it leaked last */
	__u64 level;
};

#define BURST_SECONDS 10

static struct event_budget budgets[EVENT_KINDS];

/*
 * Whether an event may be written now. A second is 2^30 ns here; two processors that let the bucket
 * leak together may let a few events too many through, never leave one uncounted.
 */
static __always_inline bool event_allowed(__u32 kind, __u64 now)
{
	__u64 second = now >> 30, seen, leak, level, rate = settings.events_per_second;
	struct event_budget *b;

	if (kind >= EVENT_KINDS || !(settings.events_enabled & (1U << kind)))
		return false;
	if (kind <= EVENT_LISTEN_CLOSE || !rate)
		return true;
	b = &budgets[kind];
	seen = b->second;
	if (seen != second && compare_and_swap(&b->second, seen, second) == seen) {
		leak = (second - seen) * rate;
		level = b->level;
		b->level = level > leak ? level - leak : 0;
	}
	/* Looked at first: a flood must not pay for an atomic operation each. */
	if (b->level < rate * BURST_SECONDS && fetch_and_add(&b->level, 1) < rate * BURST_SECONDS)
		return true;
	count_loss(LOSS_EVENT_RATE_LIMITED);
	return false;
}

/* A wake-up costs more than the record: the reader polls, and is woken only when a ring fills up.
 */
static __always_inline __u64 ring_flags(void *ring, __u32 wakeup_bytes)
{
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < wakeup_bytes)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void tell_process(void *record, __u64 size)
{
	if (bpf_ringbuf_output(&process_events, record, size,
			       ring_flags(&process_events, settings.wakeup_bytes)))
		count_loss(LOSS_PROCESS_RING_FULL);
}

static __always_inline struct socket_event *event_reserve(__u32 kind, __u64 now)
{
	struct socket_event *e;

	if (!event_allowed(kind, now))
		return NULL;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_loss(LOSS_EVENT_RING_FULL);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = now;
	e->kind = kind;
	return e;
}

static __always_inline void event_submit(struct socket_event *e)
{
	bpf_ringbuf_submit(e, ring_flags(&events, settings.wakeup_bytes));
}

#endif
