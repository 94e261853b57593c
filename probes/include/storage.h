/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of sockets in storage that the kernel keeps with each: a child has a clone of its
 * listener's, and it goes when the socket does. Part of core.h; address.h has the same without it.
 */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

static __always_inline struct socket_state *socket_lookup(const struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, (void *)sk, NULL, 0);
}

static __always_inline struct socket_state *socket_create(const struct sock *sk)
{
	struct socket_state *st;

	st = bpf_sk_storage_get(&sockets, (void *)sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		count_loss(LOSS_SOCKET_STORAGE);
	return st;
}

static __always_inline struct socket_state *socket_found(const struct sock *sk)
{
	return socket_create(sk);
}

/* Storage is cloned with the socket. */
static __always_inline void inherit_listener(const struct sock *child)
{
}

static __always_inline void note_listener(const struct sock *sk)
{
}

static __always_inline __u64 socket_cookie(const struct sock *sk, const struct socket_state *st)
{
	return bpf_get_socket_cookie((void *)sk);
}
