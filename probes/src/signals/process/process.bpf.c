/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes: each fork, exec and exit, with the absolute path of the binary as the kernel holds it
 * at the exec, so that a process which is gone when user space looks still has its name; and a walk
 * over all of them, which also tells in which network namespaces there are processes.
 */
#include "core.h"

#define PATH_DEPTH 48

/* An exec's record is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_record);
} exec_scratch SEC(".maps");

static __always_inline void describe(struct process_record *r, struct task_struct *task, __u8 kind)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = leader->real_parent;

	r->kind = kind;
	r->time_ns = bpf_ktime_get_boot_ns();
	r->start_ns = leader->start_boottime;
	r->tgid = task->tgid;
	r->parent_tgid = BPF_CORE_READ(parent, tgid);
	r->parent_start_ns = BPF_CORE_READ(parent, group_leader, start_boottime);
	r->uid = BPF_CORE_READ(task, cred, uid.val);
	/* Gone once the task has passed exit_task_namespaces(). */
	r->network_namespace = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	r->is_kernel_thread = !!(task->flags & PF_KTHREAD);
	r->path_length = 0;
	r->path_flags = 0;
	bpf_probe_read_kernel_str(r->command, sizeof(r->command), task->comm);
}

/*
 * The names from a file up to the root of its mount tree, crossing mounts as prepend_path() does
 * (fs/d_path.c). Without its locks: a rename meanwhile may give a mixed path, never a bad read.
 */
static __always_inline void walk_path(struct exec_record *r, struct task_struct *task)
{
	struct dentry *dentry, *parent, *root;
	struct mount *mount, *above;
	struct vfsmount *vfsmount;
	struct file *file;
	__u32 offset = 0;
	long n;
	int i;

	file = BPF_CORE_READ(task, mm, exe_file);
	if (!file)
		return;
	vfsmount = BPF_CORE_READ(file, f_path.mnt);
	dentry = BPF_CORE_READ(file, f_path.dentry);
	mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	if (!BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry)
		r->process.path_flags |= PATH_DELETED;

	for (i = 0; i < PATH_DEPTH; i++) {
		root = BPF_CORE_READ(mount, mnt.mnt_root);
		parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == root || dentry == parent) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				goto done;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		if (offset > PATH_BYTES - 1)
			break;
		n = bpf_probe_read_kernel_str(&r->path[offset], PATH_NAME,
					      BPF_CORE_READ(dentry, d_name.name));
		if (n <= 0 || n > PATH_NAME)
			break;
		offset += n;
		dentry = parent;
	}
	r->process.path_flags |= PATH_TRUNCATED;
done:
	r->process.path_length = offset;
}

static __always_inline void tell_process(void *record, __u64 size)
{
	if (bpf_ringbuf_output(&process_events, record, size, ring_flags(&process_events)))
		count_loss(LOSS_PROCESS_RING_FULL);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_forked, struct task_struct *parent, struct task_struct *child)
{
	struct listening_process *listening;
	struct process_record r = {};
	__u32 tgid = parent->tgid;

	if (child->pid != child->tgid)
		return 0;
	listening = bpf_map_lookup_elem(&listening_processes, &tgid);
	if (listening)
		listening->forked = 1;
	describe(&r, child, PROCESS_FORK);
	tell_process(&r, sizeof(r));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_executed, struct task_struct *task, int old_pid, struct linux_binprm *binprm)
{
	struct exec_record *r;
	__u32 slot = 0;
	__u64 length;

	r = bpf_map_lookup_elem(&exec_scratch, &slot);
	if (!r)
		return 0;
	describe(&r->process, task, PROCESS_EXEC);
	walk_path(r, task);
	length = r->process.path_length;
	barrier_var(length); /* else clang checks a copy, and the verifier sees the other */
	if (length > sizeof(r->path))
		length = sizeof(r->path);
	tell_process(r, sizeof(r->process) + length);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exited, struct task_struct *task)
{
	struct process_record r = {};
	__u32 tgid = task->tgid;

	/* The last thread of the process; do_exit() has taken itself off by now. */
	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	bpf_map_delete_elem(&listening_processes, &tgid);
	describe(&r, task, PROCESS_EXIT);
	tell_process(&r, sizeof(r));
	return 0;
}

SEC("iter/task")
int process_walk(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_record r = {};

	if (!task || task->pid != task->tgid)
		return 0;
	describe(&r, task, PROCESS_SEEN);
	/* When the buffer is full the kernel shows this task again, in the next read
	 * (bpf_seq_read()). */
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
