/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel as netsonde sees it: only the types and fields that are read, each relocated by CO-RE
 * at load time to wherever the running kernel keeps it. This is the one place where kernel drift
 * lives; a change of the kernel's that matters here is cited beside the field.
 *
 * It stands in for a generated vmlinux.h, so that a build needs neither BTF nor bpftool and the
 * list of what we depend on can be read.
 */
#ifndef NETSONDE_KERNEL_H
#define NETSONDE_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#define AF_INET		   2
#define AF_INET6	   10
#define IPPROTO_TCP	   6
#define IPPROTO_UDP	   17
#define IPPROTO_HOPOPTS	   0
#define IPPROTO_ROUTING	   43
#define IPPROTO_DSTOPTS	   60
#define ETH_P_IP	   0x0800
#define ETH_P_IPV6	   0x86dd
#define SOCK_DGRAM	   2
#define SOCK_STREAM	   1
#define SOCK_RAW	   3
#define IPPROTO_SCTP	   132
#define AF_PACKET	   17
#define SOCK_BINDPORT_LOCK 8	      /* include/net/sock.h */
#define PF_KTHREAD	   0x00200000 /* include/linux/sched.h */
#define PF_EXITING	   0x00000004
#define SHUTDOWN_MASK	   3 /* include/net/sock.h */

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
	TCP_NEW_SYN_RECV = 12,
};

/* include/net/sock.h, enum sock_flags: bit numbers in sk_flags */
#define SOCK_DEAD_BIT 0
#define SOCK_DONE_BIT 1

/* include/uapi/asm-generic/errno.h: the same on x86-64 and arm64 */
#define E2BIG	     7
#define ENOMEM	     12
#define EPIPE	     32
#define ENETUNREACH  101
#define ECONNRESET   104
#define ETIMEDOUT    110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* as many as `level`, and one */
};

struct nsproxy {
	struct net *net_ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuseport : 1;
	unsigned char skc_ipv6only : 1;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	union {
		unsigned long skc_flags;
	};
};

struct socket;

typedef struct {
	int counter;
} atomic_t;

/* Since 6.18, for sockets that may be flooded. */
struct numa_drop_counters {
	atomic_t drops0;
	atomic_t drops1;
};

struct sock {
	struct sock_common __sk_common;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	int sk_err;
	struct socket *sk_socket;
	__u8 sk_shutdown;
	__u8 sk_kern_sock : 1;
	__u16 sk_protocol;
	__u16 sk_type;
	__u8 sk_userlocks;
	atomic_t sk_drops;
	struct numa_drop_counters *sk_drop_counters; /* in place of it, where there are some */
	struct sock_reuseport *sk_reuseport_cb;
};

struct sock_reuseport {
	__u16 num_socks;
};

/* net/packet/internal.h */
struct packet_sock {
	struct sock sk;
	int ifindex;
	__be16 num;
};

struct socket {
	struct sock *sk;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct request_sock {
	struct sock_common __req_common;
};

struct tcp_sock {
	__u32 segs_in;
	__u32 segs_out;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 srtt_us;
	__u32 total_retrans;
	bool is_mptcp; /* only with CONFIG_MPTCP */
};

struct inet_connection_sock {
	void *icsk_ulp_data;
};

/* net/mptcp/protocol.h */
struct mptcp_subflow_context {
	struct sock *conn;
};

struct sk_buff {
	unsigned int len;
	unsigned char *head;
	unsigned int end; /* an offset on 64-bit kernels (sk_buff_data_t) */
	__u16 transport_header;
	__u16 network_header;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
	};
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct mm_struct {
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
};

struct fs_struct {
	struct path pwd;
};

/* include/linux/kernfs.h; `id` is one number since 5.5 (commit 67c0496e87d1) */
struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live;
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	const struct cred *cred;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct fs_struct *fs;
	struct css_set *cgroups;
	struct pid *thread_pid;
	__u64 self_exec_id; /* 32 bits before 5.7 (commit d1e7fd6462ca) */
	char comm[16];
};

/* Of x86-64 and of arm64. */
struct pt_regs {
	unsigned long orig_ax;
	int syscallno;
};

struct linux_binprm {
	const char *filename;
	const char *interp;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	unsigned int uid;
};

struct udp_sock {
	struct inet_sock inet;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
	unsigned int uid;
	int bucket;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* ---- kernels before 5.12 -------------------------------------------------------------------- */

/*
 * The programs are compiled twice. The second time, with BY_ADDRESS, for kernels that lack storage
 * with sockets for tracepoints and iterators (5.11, commit 8e4597c627fb) or atomic operations other
 * than addition (5.12), which are refused in a program even where it never comes to them. There,
 * the state of a socket is in a table by the socket's address, and what several processors change
 * at once is changed by plain stores, laid out so that what may get lost is little.
 */
#ifdef BY_ADDRESS

/* Of a pointer that the verifier takes for a number: it is read by a helper. */
#define FIELD(from, field) BPF_CORE_READ(from, field)

/* bpf_get_current_task_btf() came with 5.11. */
static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

#define SOCKFS_MAGIC 0x534f434b /* include/uapi/linux/magic.h */

/* bpf_sock_from_file() came with 5.11. A file of this file system has its socket here
 * (net/socket.c). */
static __always_inline struct socket *socket_of_file(struct file *file)
{
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	return BPF_CORE_READ(file, private_data);
}

/* What was there, and the new value if that was the old one. */
static __always_inline __u64 compare_and_swap(__u64 *at, __u64 old, __u64 new)
{
	__u64 seen = *(volatile __u64 *)at;

	if (seen == old)
		*(volatile __u64 *)at = new;
	return seen;
}

/* What was there before. */
static __always_inline __u64 fetch_and_add(__u64 *at, __u64 n)
{
	__u64 seen = *(volatile __u64 *)at;

	__sync_fetch_and_add(at, n);
	return seen;
}

#else

#define FIELD(from, field) ((from)->field)

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

static __always_inline struct socket *socket_of_file(struct file *file)
{
	return bpf_sock_from_file(file);
}

static __always_inline __u64 compare_and_swap(__u64 *at, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(at, old, new);
}

static __always_inline __u64 fetch_and_add(__u64 *at, __u64 n)
{
	return __sync_fetch_and_add(at, n);
}

#endif

#endif
