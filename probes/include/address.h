/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of sockets by their address, for kernels that keep no storage with them. What the
 * kernel does there for storage is done here: a child begins with a copy of its listener's state,
 * and what belongs to a socket goes when the socket does. Part of core.h.
 */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SOCKETS_BY_ADDRESS);
	__type(key, __u64);
	__type(value, struct socket_state);
} sockets SEC(".maps");

static const struct socket_state no_state;

static __always_inline struct socket_state *socket_lookup(const struct sock *sk)
{
	__u64 address = (__u64)sk;

	return bpf_map_lookup_elem(&sockets, &address);
}

static __always_inline struct socket_state *socket_create(const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct socket_state *st;

	st = bpf_map_lookup_elem(&sockets, &address);
	if (st)
		return st;
	bpf_map_update_elem(&sockets, &address, &no_state, BPF_NOEXIST);
	st = bpf_map_lookup_elem(&sockets, &address);
	if (!st)
		count_loss(LOSS_SOCKET_STORAGE);
	return st;
}

/* Has no lock, and may come upon a socket that has just ended: it makes no entry. */
static __always_inline struct socket_state *socket_found(const struct sock *sk)
{
	return socket_lookup(sk);
}

static __always_inline void socket_forget(const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&sockets, &address);
}

/* ---- a child's listener --------------------------------------------------------------------- */

struct listening_at {
	__u8 address[16];
	__u32 network_namespace;
	__u32 interface;
	__u32 port;
	__u32 reserved;
};

/* Addresses of listening sockets. No two listen at one place, but where SO_REUSEPORT lets them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listening_at);
	__type(value, __u64);
} listeners SEC(".maps");

static __always_inline bool shares_its_place(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_reuseport);
}

static __always_inline void place_of_listener(const struct sock *sk, struct listening_at *at)
{
	__builtin_memset(at, 0, sizeof(*at));
	local_address(&sk->__sk_common, at->address);
	at->network_namespace = socket_namespace(sk);
	at->interface = sk->__sk_common.skc_bound_dev_if;
	at->port = sk->__sk_common.skc_num;
}

static __always_inline void note_listener(const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct listening_at at;

	if (shares_its_place(sk))
		return;
	place_of_listener(sk, &at);
	bpf_map_update_elem(&listeners, &at, &address, BPF_ANY);
}

/* What several sockets may have accepted is not given to one of them: its holder is waited for. */
static __always_inline void inherit_listener(const struct sock *child)
{
	__u64 address = (__u64)child, *listener = NULL;
	struct socket_state *of_listener = NULL;
	struct listening_at at;

	if (!shares_its_place(child)) {
		place_of_listener(child, &at);
		listener = bpf_map_lookup_elem(&listeners, &at);
	}
	if (listener)
		of_listener = bpf_map_lookup_elem(&sockets, listener);
	if (of_listener && of_listener->role != ROLE_LISTENER)
		of_listener = NULL;
	if (bpf_map_update_elem(&sockets, &address, of_listener ?: &no_state, BPF_ANY))
		count_loss(LOSS_SOCKET_STORAGE);
}

/* ---- cookies --------------------------------------------------------------------------------- */

/*
 * bpf_get_socket_cookie() takes no socket of a tracepoint before 5.12. Two processors may both find
 * no secret and draw one: then the first record of a socket can differ from those that follow.
 */
static __u64 cookie_secrets[2];

/* Tells sockets apart for as long as netsonde runs, and does not tell where they are. */
static __always_inline __u64 socket_cookie(const struct sock *sk, const struct socket_state *st)
{
	__u64 address = (__u64)sk, cookie = 0;

	/* The verifier lets nobody reckon with a pointer; what was read from memory is a number. */
	bpf_probe_read_kernel(&cookie, sizeof(cookie), &address);
	if (!cookie_secrets[0])
		compare_and_swap(&cookie_secrets[0], 0,
				 (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1);
	if (!cookie_secrets[1])
		compare_and_swap(&cookie_secrets[1], 0,
				 (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1);
	cookie = mix(cookie ^ cookie_secrets[0]);
	if (st)
		cookie += st->opened_ns;
	return mix(cookie ^ cookie_secrets[1]);
}
