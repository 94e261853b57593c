/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Selection: which sockets are observed at all. The kernel judges what it knows (addresses, ports,
 * transport, user); a rule that asks for more is a candidate, and user space judges the rest of it
 * by the mask of rules that travels with each measurement.
 */
#ifndef NETSONDE_SELECT_H
#define NETSONDE_SELECT_H

#include "kernel.h"
#include "records.h"
#include "settings.h"

/* Twice, so that new rules are written beside those in force. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * RULES);
	__type(key, __u32);
	__type(value, struct select_rule);
} rules SEC(".maps");

/* Sockets that the kernel decided by each rule. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * RULES);
	__type(key, __u32);
	__type(value, __u64);
} rule_matches SEC(".maps");

#define SELECT_HAS_REMOTE (1U << 24)
#define SELECT_HAS_USER	  (1U << 25)
#define SELECT_EXCLUDED	  (1ULL << 32)

#define RULE_APPLIES   (1ULL << 32)
#define RULE_CANDIDATE (1ULL << 33) /* applies if what user space knows is as it asks */

static __always_inline bool network_matches(const struct select_rule *rule, __u64 high, __u64 low)
{
	int i;

	for (i = 0; i < RULE_NETWORKS; i++) {
		if (i >= rule->network_count)
			break;
		if (((high ^ rule->networks[i].address[0]) & rule->networks[i].mask[0]) == 0 &&
		    ((low ^ rule->networks[i].address[1]) & rule->networks[i].mask[1]) == 0)
			return true;
	}
	return false;
}

static __always_inline bool port_matches(const struct select_rule *rule, __u32 port)
{
	int i;

	for (i = 0; i < RULE_PORTS; i++) {
		if (i >= rule->port_count)
			break;
		if (port >= rule->ports[i].low && port <= rule->ports[i].high)
			return true;
	}
	return false;
}

static __always_inline bool user_matches(const struct select_rule *rule, __u32 user)
{
	int i;

	for (i = 0; i < RULE_USERS; i++) {
		if (i >= rule->user_count)
			break;
		if (user == rule->users[i])
			return true;
	}
	return false;
}

/*
 * Judges a socket by one rule: nothing, or RULE_APPLIES or RULE_CANDIDATE with the rule's bit.
 * `about` is the port of the service, above it (from bit 16) the transport, and what is known. Like
 * the next, it is global so that the verifier looks at it once and not at each call; that is why it
 * takes numbers. The bit comes from here because the verifier would follow each mask that there
 * could be, if it saw one being made.
 */
__noinline __u64 judge_by_rule(__u32 slot, __u64 remote_high, __u64 remote_low, __u32 about,
			       __u32 user)
{
	struct select_rule *rule = bpf_map_lookup_elem(&rules, &slot);
	__u64 bit;

	if (!rule)
		return 0;
	bit = 1U << (slot < RULES ? slot : slot - RULES) % 32;
	if (rule->transports && !(rule->transports & (about >> 16 & 0xff)))
		return 0;
	if (rule->port_count && !port_matches(rule, about & 0xffff))
		return 0;
	if (rule->network_count &&
	    (!(about & SELECT_HAS_REMOTE) || !network_matches(rule, remote_high, remote_low)))
		return 0;
	if (rule->user_count && !(about & SELECT_HAS_USER))
		return RULE_CANDIDATE | bit;
	if (rule->user_count && !user_matches(rule, user))
		return 0;
	return bit | (rule->needs_process ? RULE_CANDIDATE : RULE_APPLIES);
}

static __always_inline __u64 decided_by(__u32 slot)
{
	struct select_rule *rule = bpf_map_lookup_elem(&rules, &slot);
	__u64 *matches = bpf_map_lookup_elem(&rule_matches, &slot);

	if (matches)
		*matches += 1;
	return rule && rule->exclude ? SELECT_EXCLUDED : RULES_DECIDED;
}

/* Judges a socket by all rules: SELECT_EXCLUDED, or the mask of rules that it goes on with. */
__noinline __u64 select_socket(__u64 remote_high, __u64 remote_low, __u32 about, __u32 user)
{
	__u32 count = settings.rule_count, base = settings.rule_base, mask = 0, i;
	__u64 verdict;

	for (i = 0; i < RULES; i++) {
		if (i >= count)
			break;
		verdict = judge_by_rule(base + i, remote_high, remote_low, about, user);
		if ((verdict & RULE_APPLIES) && !mask)
			return decided_by(base + i);
		mask |= (__u32)verdict;
		if (verdict & RULE_APPLIES)
			break;
	}
	if (mask)
		return base ? mask | RULES_ODD : mask;
	return settings.exclude_by_default ? SELECT_EXCLUDED : RULES_DECIDED;
}

#endif
