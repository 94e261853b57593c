/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep over UDP sockets: what they counted since the last one goes into their flows. */
#include "datagram.h"

SEC("iter/udp")
int udp_sweep(struct bpf_iter__udp *ctx)
{
	struct sock *sk = (struct sock *)ctx->udp_sk;
	struct flow_value *flow;
	struct socket_state *st;
	struct flow_key key;

	if (!sk || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	sweep_totals.sockets++;
	st = socket_lookup(sk);
	if (!st)
		return 0;
	st->network_namespace = socket_namespace(sk);
	settle_kernels(sk, NULL, st);
	settle_owner(sk, st);
	follow_image(sk, st);
	if (!st->role || (st->flags & SOCKET_EXCLUDED) || !owner_settled(sk, st))
		return 0;
	if (!(st->flags & SOCKET_COUNTED)) {
		datagram_key(&key, st);
		flow = flow_entry(&key);
		if (!flow)
			return 0;
		st->flags |= SOCKET_COUNTED;
		__sync_fetch_and_add(&flow->active, 1);
	}
	flush_datagrams(st);
	return 0;
}
