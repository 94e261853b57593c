//! What the kernel counts of each program of ours, and switching that counting on.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::{BPF_STATS_RUN_TIME, bpf_enable_stats, bpf_prog_get_info_by_fd, bpf_prog_info};

use crate::error::{ProbeError, Result};

/// Time that a BPF program has used, and how often it ran; both stay as they are while nobody has the kernel count
/// them (by `Settings::program_statistics`, or `kernel.bpf_stats_enabled`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRuntime {
    /// Name of the program.
    pub name: &'static str,
    /// Nanoseconds, summed over all runs and processors.
    pub run_time_ns: u64,
    /// Number of runs.
    pub run_count: u64,
    /// Runs that the kernel skipped because the program was already running on that processor; always counted.
    pub recursion_misses: u64,
}

/// Asks by the descriptor, which needs no capability; a walk over the programs of the host would need CAP_SYS_ADMIN.
pub(crate) fn runtime(name: &'static str, program: BorrowedFd<'_>) -> Option<ProgramRuntime> {
    let mut info = bpf_prog_info::default();
    let mut length = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` has as many bytes as `length` says, all of them plain integers, and outlives the call; its
    // pointers are null and its lengths zero, so that the kernel writes nowhere else.
    let status = unsafe { bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length) };
    (status == 0).then_some(ProgramRuntime {
        name,
        run_time_ns: info.run_time_ns,
        run_count: info.run_cnt,
        recursion_misses: info.recursion_misses,
    })
}

/// While it is held, the kernel counts time and runs of every BPF program of the host, at the price of two readings
/// of the clock a run.
#[derive(Debug)]
pub(crate) struct Statistics {
    _descriptor: OwnedFd,
}

impl Statistics {
    /// # Errors
    ///
    /// Without CAP_SYS_ADMIN.
    pub(crate) fn enable() -> Result<Self> {
        // SAFETY: takes an integer and gives a descriptor or an error.
        let descriptor = unsafe { bpf_enable_stats(BPF_STATS_RUN_TIME) };
        if descriptor < 0 {
            let e = std::io::Error::last_os_error();
            return Err(ProbeError::system("have the kernel measure its BPF programs", e));
        }
        // SAFETY: the kernel has just made it, and nobody else knows of it.
        Ok(Self { _descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }
}
