/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting what could not be recorded as meant. */
#ifndef NETSONDE_LOSSES_H
#define NETSONDE_LOSSES_H

#include "kernel.h"
#include "records.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

static __always_inline void count_loss(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&losses, &reason);

	if (n)
		__sync_fetch_and_add(n, 1); /* a softirq may come between */
}

#endif
