//! What the running kernel offers and what this process may do: readings only. What follows from them
//! is decided in [`crate::verdict`].

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::Btf;
use libbpf_rs::btf::ReferencesType;
use libbpf_rs::btf::types::{Func, FuncProto, Ptr, Struct, Typedef, Var};
use libbpf_sys::{
    BPF_ALU64, BPF_ATOMIC, BPF_DW, BPF_EXIT, BPF_JMP, BPF_K, BPF_MEM, BPF_MOV, BPF_OR,
    BPF_PROG_TYPE_SOCKET_FILTER, BPF_STX, bpf_insn, bpf_prog_load, size_t,
};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where the kernel publishes its types (Documentation/bpf/btf.rst).
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// A readable kernel: asked for each hook by name, never by version.
pub trait Kernel {
    /// How many arguments a `tp_btf` program of the tracepoint has; `None` where there is no such tracepoint.
    fn tracepoint_arguments(&self, name: &str) -> Option<usize>;
    /// Whether it has a function of that name, as far as BTF tells: a program may yet be refused there.
    fn has_function(&self, name: &str) -> bool;
    /// Whether calls of functions are traced; some kernels (6.1) attach a program all the same, which then never runs.
    fn traces_functions(&self) -> bool;
    /// Whether there is a BPF iterator of that name.
    fn has_iterator(&self, name: &str) -> bool;
    /// Whether socket storage can be used in tracepoint programs (kernel 5.11, commit 8e4597c627fb).
    fn has_tracing_socket_storage(&self) -> bool;
    /// Whether a task can be preempted within a tracepoint's program (kernel 7.0, commit a46023d5616e).
    fn preempts_tracepoints(&self) -> bool;
    /// Whether BPF programs have atomic operations beside addition (kernel 5.12).
    fn has_atomic_operations(&self) -> bool;
}

/// The BTF of the running kernel.
pub struct RunningKernel {
    btf: Btf<'static>,
    atomics: bool,
}

impl RunningKernel {
    /// Reads the kernel's BTF; `None` when it has none.
    #[must_use]
    pub fn read() -> Option<Self> {
        if !Path::new(VMLINUX_BTF).exists() {
            return None;
        }
        Some(Self { btf: Btf::from_vmlinux().ok()?, atomics: takes_atomics() })
    }
}

/// BTF does not tell of instructions, so the kernel is asked by a program that has one: `lock *(u64 *)(r10 - 8) |= r0`.
fn takes_atomics() -> bool {
    let instruction = |code: u8, destination: u8, source: u8, offset: i16, immediate: i32| {
        let mut i = bpf_insn { code, off: offset, imm: immediate, ..bpf_insn::default() };
        i.set_dst_reg(destination);
        i.set_src_reg(source);
        i
    };
    let program = [
        instruction((BPF_ALU64 | BPF_MOV | BPF_K) as u8, 0, 0, 0, 0),
        instruction((BPF_STX | BPF_DW | BPF_MEM) as u8, 10, 0, -8, 0),
        instruction((BPF_STX | BPF_DW | BPF_ATOMIC) as u8, 10, 0, -8, BPF_OR as i32),
        instruction((BPF_JMP | BPF_EXIT) as u8, 0, 0, 0, 0),
    ];
    // SAFETY: the instructions outlive the call, as many as it is told of; name and licence are C strings, and no
    // options are given.
    let descriptor = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_SOCKET_FILTER,
            c"atomics".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as size_t,
            std::ptr::null_mut(),
        )
    };
    if descriptor < 0 {
        return false;
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    true
}

impl Kernel for RunningKernel {
    fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        // The kernel declares `typedef void (*btf_trace_NAME)(void *, ...)` for each of them.
        let typedef = self.btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}"))?;
        let pointer: Ptr<'_> = typedef.referenced_type().try_into().ok()?;
        let function: FuncProto<'_> = pointer.referenced_type().try_into().ok()?;
        Some(function.iter().count().saturating_sub(1))
    }

    fn has_function(&self, name: &str) -> bool {
        self.btf.type_by_name::<Func<'_>>(name).is_some()
    }

    fn traces_functions(&self) -> bool {
        // A kernel without that switch says so itself when the program is loaded.
        std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled").map_or(true, |text| text.trim() != "0")
    }

    fn has_iterator(&self, name: &str) -> bool {
        self.btf.type_by_name::<Struct<'_>>(&format!("bpf_iter__{name}")).is_some()
    }

    fn has_tracing_socket_storage(&self) -> bool {
        self.has_function("bpf_sk_storage_tracing_allowed")
    }

    fn preempts_tracepoints(&self) -> bool {
        // Those who run tracepoints' programs are readers of this SRCU domain. Until 6.12 there was one of the same name
        // for idle processors; only a newer kernel keeps in a domain which flavour of readers it has.
        let domain = self.btf.type_by_name::<Var<'_>>("tracepoint_srcu_srcu_data").is_some();
        let has_flavour = |domain: Struct<'_>| {
            domain.iter().any(|member| member.name.is_some_and(|name| name == "srcu_reader_flavor"))
        };
        domain && self.btf.type_by_name::<Struct<'_>>("srcu_struct").is_some_and(has_flavour)
    }

    fn has_atomic_operations(&self) -> bool {
        self.atomics
    }
}

/// The highest process id and one (`kernel.pid_max`): 4,194,304, the most there can be, when it cannot be read.
#[must_use]
pub fn pid_max() -> u32 {
    /// `PID_MAX_LIMIT` of 64-bit kernels (include/linux/threads.h).
    const LIMIT: u32 = 4 << 20;
    let text = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    text.trim().parse().ok().filter(|n| (1..=LIMIT).contains(n)).unwrap_or(LIMIT)
}

/// The root of the unified control group hierarchy, by a mount of its own that nobody else sees (fsmount(2)):
/// the host may have it anywhere, or nowhere. Who may not mount takes the one of the host, if it has one.
///
/// # Errors
///
/// Those of the system calls.
pub fn root_cgroup() -> std::io::Result<OwnedFd> {
    match mount_root_cgroup() {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
            let path = mounted_root_cgroup(&mountinfo).ok_or(e)?;
            Ok(File::open(path)?.into())
        }
        done => done,
    }
}

fn mount_root_cgroup() -> std::io::Result<OwnedFd> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Where a mountinfo (proc_pid_mountinfo(5)) has the root of the unified hierarchy.
fn mounted_root_cgroup(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        (source.starts_with("cgroup2 ") && root == "/").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_unified_hierarchy_is_found_where_it_is_mounted() {
        let mountinfo = "30 23 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro\n\
            31 30 0:27 /a /mnt/part rw - cgroup2 cgroup2 rw\n\
            32 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted_root_cgroup(mountinfo), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounted_root_cgroup("30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"), None);
    }
}
