/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes: each fork, exec and exit, with the absolute path of the binary as the kernel holds it
 * at the exec, so that a process which is gone when user space looks still has its name; the
 * control groups that they are in, by number and path; and a walk over all of them, which also
 * tells in which network namespaces there are processes.
 */
#include "core.h"

#define PATH_DEPTH 128

/* An exec's record is too large for the stack, and so is a cgroup's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_record);
} exec_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cgroup_record);
} cgroup_scratch SEC(".maps");

/* Its number in its own pid namespace; 0 in the host's. */
static __always_inline __u32 namespace_pid(struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level), nr = 0;

	if (level)
		bpf_probe_read_kernel(&nr, sizeof(nr),
				      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
					      level * bpf_core_type_size(struct upid) +
					      bpf_core_field_offset(struct upid, nr));
	return nr;
}

static __always_inline void describe(struct process_record *r, struct task_struct *task, __u8 kind)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = leader->real_parent;

	r->kind = kind;
	r->time_ns = bpf_ktime_get_boot_ns();
	r->start_ns = leader->start_boottime;
	r->tgid = task->tgid;
	r->image = task->self_exec_id;
	r->parent_tgid = BPF_CORE_READ(parent, tgid);
	r->parent_start_ns = BPF_CORE_READ(parent, group_leader, start_boottime);
	r->uid = BPF_CORE_READ(task, cred, uid.val);
	r->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	r->namespace_pid = namespace_pid(leader);
	/* Gone once the task has passed exit_task_namespaces(). */
	r->network_namespace = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	r->flags = task->flags & PF_KTHREAD ? PROCESS_KERNEL_THREAD : 0;
	r->path_flags = 0;
	bpf_probe_read_kernel_str(r->command, sizeof(r->command), task->comm);
}

#define NAMES_TRUNCATED (1U << 31)
#define DATA_BYTES	(sizeof(((struct exec_record *)0)->data))

/*
 * Writes the names from a file up to the root of its mount tree behind what is in the scratch
 * record, crossing mounts as prepend_path() does (fs/d_path.c), and returns where they end. Without
 * its locks: a rename meanwhile may give a mixed path, never a bad read. Global, so that the
 * verifier looks at it once; that is why it takes numbers.
 */
__noinline __u32 walk_path(__u64 in_mount, __u64 of_dentry, __u32 offset)
{
	struct dentry *dentry = (void *)of_dentry, *parent, *root;
	struct mount *mount, *above;
	const unsigned char *name;
	struct exec_record *r;
	__u32 slot = 0, end;
	long n;
	int i;

	r = bpf_map_lookup_elem(&exec_scratch, &slot);
	if (!r)
		return offset | NAMES_TRUNCATED;
	mount = (void *)in_mount - bpf_core_field_offset(struct mount, mnt);
	end = offset + PATH_BYTES;
	for (i = 0; i < PATH_DEPTH; i++) {
		root = BPF_CORE_READ(mount, mnt.mnt_root);
		parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == root || dentry == parent) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				return offset;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		name = BPF_CORE_READ(dentry, d_name.name);
		/* The last thing before its use: a verifier of 6.1 forgets the bounds of 32 bits
		 * that are kept on the stack meanwhile. */
		barrier_var(offset);
		if (offset >= end || offset > DATA_BYTES - PATH_NAME)
			break;
		n = bpf_probe_read_kernel_str(&r->data[offset], PATH_NAME, name);
		if (n <= 0 || n > PATH_NAME)
			break;
		offset += n;
		dentry = parent;
	}
	return offset | NAMES_TRUNCATED;
}

static __always_inline __u32 read_binary(struct exec_record *r, struct task_struct *task)
{
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct vfsmount *mount;
	struct dentry *dentry;
	__u32 end;
	long n;

	if (!file)
		return 0;
	mount = BPF_CORE_READ(file, f_path.mnt);
	dentry = BPF_CORE_READ(file, f_path.dentry);
	if (BPF_CORE_READ(dentry, d_parent) == dentry && BPF_CORE_READ(mount, mnt_root) != dentry) {
		/* In no directory at all (d_alloc_pseudo()): a memfd. */
		r->process.path_flags |= PATH_UNNAMED;
		n = bpf_probe_read_kernel_str(r->data, PATH_NAME,
					      BPF_CORE_READ(dentry, d_name.name));
		return n > 0 ? n : 0;
	}
	if (!BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry)
		r->process.path_flags |= PATH_DELETED;
	end = walk_path((__u64)mount, (__u64)dentry, 0);
	if (end & NAMES_TRUNCATED)
		r->process.path_flags |= PATH_TRUNCATED;
	return end & ~NAMES_TRUNCATED;
}

/* The name that execve() was given, when that is not the binary's: then it is a script's. */
static __always_inline __u32 read_script(struct exec_record *r, struct task_struct *task,
					 struct linux_binprm *binprm, __u32 offset)
{
	const char *name = BPF_CORE_READ(binprm, filename);
	struct vfsmount *mount;
	struct dentry *dentry;
	__u32 end;
	long n;

	/* Here and below: else clang checks a copy, and the verifier sees the other. */
	barrier_var(offset);
	/* load_script() and load_misc_binary() put another interpreter in (bprm_change_interp()).
	 */
	if (name == BPF_CORE_READ(binprm, interp) || offset > DATA_BYTES - SCRIPT_BYTES)
		return offset;
	n = bpf_probe_read_kernel_str(&r->data[offset], SCRIPT_BYTES, name);
	if (n <= 1 || n > SCRIPT_BYTES)
		return offset;
	r->script_length = n;
	end = offset + n;
	if (r->data[offset] == '/')
		return end;
	mount = BPF_CORE_READ(task, fs, pwd.mnt);
	dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	offset = end;
	end = walk_path((__u64)mount, (__u64)dentry, offset) & ~NAMES_TRUNCATED;
	r->directory_length = end - offset;
	return end;
}

static __always_inline __u32 read_arguments(struct exec_record *r, struct task_struct *task,
					    __u32 offset)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long length = BPF_CORE_READ(task, mm, arg_end) - start;

	barrier_var(offset);
	if (!settings.keep_arguments || offset > DATA_BYTES - ARGUMENT_BYTES)
		return offset;
	if (length > ARGUMENT_BYTES) {
		length = ARGUMENT_BYTES;
		r->process.path_flags |= ARGUMENTS_TRUNCATED;
	}
	barrier_var(length);
	if (length > ARGUMENT_BYTES)
		return offset;
	/* Written a moment ago: the page is there. */
	if (bpf_probe_read_user(&r->data[offset], length, (void *)start))
		return offset;
	r->arguments_length = length;
	return offset + length;
}

static __always_inline int tell_fork(struct task_struct *child)
{
	struct process_record r = {};

	describe(&r, child, PROCESS_FORK);
	tell_process(&r, sizeof(r));
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_forked, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid != child->tgid)
		return 0;
	clear_marks(child->tgid);
	if (marks_of(parent->tgid) & MARK_LISTENS)
		mark(parent->tgid, MARK_FORKED);
	return tell_fork(child);
}

/* The sockets that the process has open go over to its new program. */
static __always_inline void note_image(struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct image now = {};

	if (!(marks_of(tgid) & MARK_OWNS))
		return;
	now.start_ns = task->group_leader->start_boottime;
	now.image = task->self_exec_id;
	if (bpf_map_update_elem(&images, &tgid, &now, BPF_ANY))
		count_loss(LOSS_IMAGES_FULL);
	else
		mark(tgid, MARK_EXECED);
}

static __always_inline int tell_exec(struct task_struct *task, struct linux_binprm *binprm)
{
	struct exec_record *r;
	__u32 slot = 0, end;

	r = bpf_map_lookup_elem(&exec_scratch, &slot);
	if (!r)
		return 0;
	describe(&r->process, task, PROCESS_EXEC);
	r->script_length = 0;
	r->directory_length = 0;
	r->arguments_length = 0;
	end = read_binary(r, task);
	r->path_length = end;
	end = read_script(r, task, binprm, end);
	end = read_arguments(r, task, end);
	barrier_var(end); /* else clang checks a copy, and the verifier sees the other */
	if (end > DATA_BYTES)
		end = DATA_BYTES;
	tell_process(r, offsetof(struct exec_record, data) + end);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_executed, struct task_struct *task, int old_pid, struct linux_binprm *binprm)
{
	note_image(task);
	return tell_exec(task, binprm);
}

/* Whether it is the last thread of the process; do_exit() has taken itself off by now. */
static __always_inline bool is_last_thread(struct task_struct *task)
{
	return BPF_CORE_READ(task, signal, live.counter) <= 0;
}

static __always_inline int tell_exit(struct task_struct *task, __u8 flags)
{
	struct process_record r = {};

	describe(&r, task, PROCESS_EXIT);
	r.flags |= flags;
	tell_process(&r, sizeof(r));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exited, struct task_struct *task)
{
	__u32 tgid = task->tgid, marks;

	if (!is_last_thread(task))
		return 0;
	marks = marks_of(tgid);
	if (marks & MARK_EXECED)
		bpf_map_delete_elem(&images, &tgid);
	clear_marks(tgid);
	return tell_exit(task, marks & MARK_OWNS ? PROCESS_OWNED_SOCKETS : 0);
}

/* ---- control groups ------------------------------------------------------------------------ */

/* The path is the kernel's own, written for these tracepoints (TRACE_CGROUP_PATH()). */
static __always_inline void tell_cgroup(struct task_struct *task, struct cgroup *cgroup,
					const char *path, __u32 hierarchy, __u8 kind)
{
	struct cgroup_record *r;
	__u32 slot = 0;
	long n;

	r = bpf_map_lookup_elem(&cgroup_scratch, &slot);
	if (!r)
		return;
	__builtin_memset(&r->process, 0, sizeof(r->process));
	if (task)
		describe(&r->process, task, kind);
	r->process.kind = kind;
	r->process.time_ns = bpf_ktime_get_boot_ns();
	if (!hierarchy)
		r->process.cgroup = BPF_CORE_READ(cgroup, kn, id);
	r->hierarchy = hierarchy;
	n = bpf_probe_read_kernel_str(r->path, sizeof(r->path), path);
	n = n > 0 ? n - 1 : 0;
	barrier_var(n);
	if (n < 0 || n > CGROUP_BYTES)
		n = CGROUP_BYTES;
	r->path_length = n;
	tell_process(r, offsetof(struct cgroup_record, path) + n);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	if (!BPF_CORE_READ(cgroup, root, hierarchy_id))
		tell_cgroup(NULL, cgroup, path, 0, CGROUP_MADE);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_removed, struct cgroup *cgroup, const char *path)
{
	if (!BPF_CORE_READ(cgroup, root, hierarchy_id))
		tell_cgroup(NULL, cgroup, path, 0, CGROUP_REMOVED);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(process_moved, struct cgroup *cgroup, const char *path, struct task_struct *task,
	     bool threadgroup)
{
	__u32 hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);

	if (task->pid != task->tgid)
		return 0;
	if (!hierarchy || hierarchy == settings.legacy_hierarchy)
		tell_cgroup(task, cgroup, path, hierarchy, PROCESS_MOVED);
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
