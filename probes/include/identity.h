/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose a socket is: the process behind a task, and the little that is noted of processes so that a
 * socket's owner stays right over forks, execs and exits.
 */
#ifndef NETSONDE_IDENTITY_H
#define NETSONDE_IDENTITY_H

#include "kernel.h"
#include "losses.h"
#include "records.h"

/* ---- marks ----------------------------------------------------------------------------------- */

/*
 * Four bits for every process id there can be: a look costs an array access, where a hash table
 * would cost each connection a search. Cleared at exit, before the number can be used again.
 */
#define MARK_OWNS    1 /* it is, or was, the owner of a socket */
#define MARK_LISTENS 2 /* of a listening one */
#define MARK_FORKED  4 /* since it listens: others may accept from its listeners */
#define MARK_EXECED  8 /* since it owns sockets: see `images` */
#define MARK_ALL     15

#ifdef BY_ADDRESS
/* A byte each: by plain stores, two processes with bits in one byte could undo each other's. */
typedef __u8 mark_unit;
#define PROCESSES_IN_A_SLOT PROCESSES_IN_BYTES
#define PROCESSES_IN_A_UNIT 1
#else
typedef __u64 mark_unit;
#define PROCESSES_IN_A_SLOT PROCESSES_IN_A_WORD
#define PROCESSES_IN_A_UNIT PROCESSES_IN_A_WORD
#endif

#define MARK_BITS 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4194304 / PROCESSES_IN_A_SLOT); /* user space: kernel.pid_max */
	__type(key, __u32);
	__type(value, __u64);
} marks SEC(".maps");

static __always_inline mark_unit *mark_word(__u32 tgid)
{
	__u32 slot = tgid / PROCESSES_IN_A_SLOT;
	mark_unit *units = bpf_map_lookup_elem(&marks, &slot);

	if (!units)
		return NULL;
	return &units[tgid % PROCESSES_IN_A_SLOT / PROCESSES_IN_A_UNIT];
}

static __always_inline __u32 mark_shift(__u32 tgid)
{
	return tgid % PROCESSES_IN_A_UNIT * MARK_BITS;
}

/* Of a process beyond the table (kernel.pid_max was raised since): all that could be true. */
static __always_inline __u32 marks_of(__u32 tgid)
{
	mark_unit *word = mark_word(tgid);

	return word ? *word >> mark_shift(tgid) & MARK_ALL : MARK_ALL;
}

#ifdef BY_ADDRESS
static __always_inline void set_marks(mark_unit *word, __u64 bits)
{
	*word |= bits;
}

static __always_inline void unset_marks(mark_unit *word, __u64 bits)
{
	*word &= ~bits;
}
#else
static __always_inline void set_marks(mark_unit *word, __u64 bits)
{
	__sync_fetch_and_or(word, bits);
}

static __always_inline void unset_marks(mark_unit *word, __u64 bits)
{
	__sync_fetch_and_and(word, ~bits);
}
#endif

static __always_inline void mark(__u32 tgid, __u64 bits)
{
	mark_unit *word = mark_word(tgid);

	bits <<= mark_shift(tgid);
	/* Looked at first: most are set already, and an atomic operation is dear. */
	if (word && (*word & bits) != bits)
		set_marks(word, bits);
}

static __always_inline void clear_marks(__u32 tgid)
{
	mark_unit *word = mark_word(tgid);
	__u64 bits = (__u64)MARK_ALL << mark_shift(tgid);

	if (word && (*word & bits))
		unset_marks(word, bits);
}

/* ---- images ---------------------------------------------------------------------------------- */

/* The program that a process runs since it executed one while it owned sockets. */
struct image {
	__u64 start_ns;
	__u32 image;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct image);
} images SEC(".maps");

/* ---- owners ---------------------------------------------------------------------------------- */

/* The task must be the caller's own, or one that an iterator or a tracepoint handed out. */
static __always_inline void owner_of_task(struct task_struct *task, struct owner *owner)
{
	struct task_struct *leader = FIELD(task, group_leader);

	owner->start_ns = FIELD(leader, start_boottime);
	owner->tgid = FIELD(task, tgid);
	owner->uid = BPF_CORE_READ(task, cred, uid.val);
	owner->image = FIELD(task, self_exec_id);
	owner->reserved = 0;
}

static __always_inline void owner_is_kernel(struct owner *owner)
{
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->tgid = KERNEL_TGID;
}

static __always_inline bool same_process(const struct owner *a, const struct owner *b)
{
	return a->tgid == b->tgid && a->start_ns == b->start_ns;
}

/*
 * The socket that a program has, where this is one of the TCP sockets below it (RFC 8684). Not for
 * use as a socket: bpf_skc_to_mptcp_sock() would give one, and takes none from a tracepoint.
 */
static __always_inline struct sock *multipath_socket(const struct sock *sk,
						     const struct tcp_sock *tp)
{
	struct mptcp_subflow_context *subflow;

	if (!bpf_core_field_exists(tp->is_mptcp) || !tp || !tp->is_mptcp)
		return NULL;
	subflow = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
	return BPF_CORE_READ(subflow, conn);
}

/*
 * Made by the kernel for itself (an NFS client's, say), and no program's. Those under MPTCP are all
 * made in the same way: there it is the socket above them which tells.
 */
static __always_inline bool is_kernels(const struct sock *sk, const struct sock *above)
{
	if (!BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return false;
	return !above || BPF_CORE_READ_BITFIELD_PROBED(above, sk_kern_sock);
}

/* Whether the owner has moved on to another program, which is then returned. */
static __always_inline bool newer_image(const struct owner *owner, __u32 *image)
{
	__u32 tgid = owner->tgid;
	struct image *now;

	if (!(marks_of(tgid) & MARK_EXECED))
		return false;
	now = bpf_map_lookup_elem(&images, &tgid);
	if (!now || now->start_ns != owner->start_ns || now->image == owner->image)
		return false;
	*image = now->image;
	return true;
}

/* A walk found it alive, or it has just done something with a socket. */
static __always_inline bool owner_is_gone(const struct owner *owner)
{
	return owner->tgid && owner->tgid != KERNEL_TGID && !(marks_of(owner->tgid) & MARK_OWNS);
}

/*
 * An exec cannot tell that the binary will be unlinked. Only for the caller's own task: direct
 * loads, because a connection pays for them.
 */
static __always_inline bool binary_is_deleted(struct task_struct *caller)
{
	struct mm_struct *mm = FIELD(caller, mm);
	struct file *file = mm ? FIELD(mm, exe_file) : NULL;
	struct dentry *dentry = file ? FIELD(file, f_path.dentry) : NULL;

	return dentry && !FIELD(dentry, d_hash.pprev) && FIELD(dentry, d_parent) != dentry;
}

/* asm/unistd.h */
#if defined(__TARGET_ARCH_x86)
#define NR_EXECVE   59
#define NR_EXECVEAT 322
#else
#define NR_EXECVE   221
#define NR_EXECVEAT 281
#endif

/*
 * What an exec closes (FD_CLOEXEC) is closed behind it, on the way back to user mode, where fput()
 * has put it off to: the task is the new program by then, which never had the socket. No start of a
 * program changes the number of the system call that is under way (start_thread()).
 */
static __always_inline bool is_inside_exec(struct task_struct *caller)
{
	struct pt_regs *registers;
	long number;

	/* Since 5.15 (commit dd6e10fbd9fb). */
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return false;
	registers = (void *)bpf_task_pt_regs(caller);
	if (bpf_core_field_exists(registers->orig_ax))
		number = BPF_CORE_READ(registers, orig_ax);
	else
		number = BPF_CORE_READ(registers, syscallno);
	return number == NR_EXECVE || number == NR_EXECVEAT;
}

/*
 * Listens for others, who take over what it listens on: systemd, for the system or for a user, and
 * systemd-socket-activate, of whose name the kernel keeps 15 bytes.
 */
static __always_inline bool is_service_manager(struct task_struct *task)
{
	union {
		char text[16];
		__u64 words[2];
	} name = {}, systemd = {"systemd"}, activate = {"systemd-socket-"};

	if (FIELD(task, tgid) == 1)
		return true;
	bpf_probe_read_kernel_str(name.text, sizeof(name.text), FIELD(task, group_leader)->comm);
	if (name.words[0] == systemd.words[0])
		return true;
	return name.words[0] == activate.words[0] && name.words[1] == activate.words[1];
}

#endif
