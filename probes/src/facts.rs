//! What the running kernel offers and what this process may do: readings only. What follows from them
//! is decided in [`crate::verdict`].

use std::os::fd::OwnedFd;
use std::path::Path;

use libbpf_rs::btf::types::{Func, Struct, Typedef};
use libbpf_rs::{Btf, query};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::CapabilitySet;

/// Where the kernel publishes its types (Documentation/bpf/btf.rst).
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// A readable kernel: asked for each hook by name, never by version.
pub trait Kernel {
    /// Whether the tracepoint can carry a `tp_btf` program.
    fn has_tracepoint(&self, name: &str) -> bool;
    /// Whether there is a BPF iterator of that name.
    fn has_iterator(&self, name: &str) -> bool;
    /// Whether socket storage can be used in tracepoint programs (kernel 5.11, commit 8e4597c627fb).
    fn has_tracing_socket_storage(&self) -> bool;
}

/// The BTF of the running kernel.
pub struct RunningKernel {
    btf: Btf<'static>,
}

impl RunningKernel {
    /// Reads the kernel's BTF; `None` when it has none.
    #[must_use]
    pub fn read() -> Option<Self> {
        if !Path::new(VMLINUX_BTF).exists() {
            return None;
        }
        Some(Self { btf: Btf::from_vmlinux().ok()? })
    }
}

impl Kernel for RunningKernel {
    fn has_tracepoint(&self, name: &str) -> bool {
        // The kernel declares `typedef void (*btf_trace_NAME)(void *, ...)` for each of them.
        self.btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}")).is_some()
    }

    fn has_iterator(&self, name: &str) -> bool {
        self.btf.type_by_name::<Struct<'_>>(&format!("bpf_iter__{name}")).is_some()
    }

    fn has_tracing_socket_storage(&self) -> bool {
        self.btf.type_by_name::<Func<'_>>("bpf_sk_storage_tracing_allowed").is_some()
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
/// the host may have it anywhere, or nowhere.
///
/// # Errors
///
/// Those of the system calls.
pub fn root_cgroup() -> std::io::Result<OwnedFd> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// The capabilities that netsonde needs, each with the reason (capabilities(7)).
const NEEDED: &[(CapabilitySet, &str, &str)] = &[
    (CapabilitySet::BPF, "CAP_BPF", "loads the probes"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "lets the probes read kernel structures"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "enters the other network namespaces to sweep their sockets"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE", "reads the binary paths of other users' processes"),
];

/// Name and use of each needed capability that this thread does not have.
///
/// # Errors
///
/// When the kernel does not answer `capget(2)`.
pub fn missing_capabilities() -> std::io::Result<Vec<(&'static str, &'static str)>> {
    let have = rustix::thread::capabilities(None)?.effective;
    // Before 5.8, and by intention since, CAP_SYS_ADMIN stands for the first two as well.
    let all_of_bpf = have.contains(CapabilitySet::SYS_ADMIN);
    Ok(NEEDED
        .iter()
        .filter(|(capability, ..)| {
            let implied =
                all_of_bpf && (*capability == CapabilitySet::BPF || *capability == CapabilitySet::PERFMON);
            !have.contains(*capability) && !implied
        })
        .map(|(_, name, reason)| (*name, *reason))
        .collect())
}

/// Time that a BPF program has used, and how often it ran; both stay 0 unless `kernel.bpf_stats_enabled`
/// is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRuntime {
    /// Name of the program, at most 15 characters.
    pub name: String,
    /// Nanoseconds, summed over all runs and processors.
    pub run_time_ns: u64,
    /// Number of runs.
    pub run_count: u64,
    /// Runs that the kernel skipped because the program was already running on that processor.
    pub recursion_misses: u64,
}

/// The run times of the programs with these kernel ids, in their order.
#[must_use]
pub fn program_runtimes(ids: &[u32]) -> Vec<ProgramRuntime> {
    query::ProgInfoIter::default()
        .filter(|p| ids.contains(&p.id))
        .map(|p| ProgramRuntime {
            name: p.name.to_string_lossy().into_owned(),
            run_time_ns: p.run_time_ns,
            run_count: p.run_cnt,
            recursion_misses: p.recursion_misses,
        })
        .collect()
}
