//! What `/proc` says of a process: the start-up picture, and the repair when an event was missed.

use netsonde_probes::records::{BinaryPath, ProcessId};

/// Nanoseconds in a tick of `/proc/PID/stat`: the kernel's `USER_HZ` is 100 everywhere
/// (include/asm-generic/param.h, nsec_to_clock_t()).
const TICK_NS: u64 = 10_000_000;

/// Ends the path of a file that was unlinked (d_path() in fs/d_path.c).
const DELETED: &str = " (deleted)";

/// A process as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its binary; `None` for kernel threads, and where it may not be read.
    pub binary: Option<BinaryPath>,
    /// Its `comm`.
    pub command: String,
    /// Pid of its parent; 0 for none.
    pub parent_pid: u32,
    /// Start of the parent, in nanoseconds since boot, to the tick.
    pub parent_start_ns: u64,
}

impl Found {
    /// Whether that process is its parent: the number alone may have been used again.
    #[must_use]
    pub fn is_child_of(&self, process: ProcessId) -> bool {
        process.pid == self.parent_pid && process.start_ns / TICK_NS == self.parent_start_ns / TICK_NS
    }
}

/// Reads a process, if it is still that one and not another with its number.
#[must_use]
pub fn find(process: ProcessId) -> Option<Found> {
    let handle = procfs::process::Process::new(i32::try_from(process.pid).ok()?).ok()?;
    let binary = binary_of(&handle);
    // Read last: if the number still belongs to the same process, so did all that was read before.
    let stat = handle.stat().ok()?;
    if stat.starttime != process.start_ns / TICK_NS {
        return None;
    }
    let parent_start = procfs::process::Process::new(stat.ppid).and_then(|p| p.stat()).map(|s| s.starttime);
    Some(Found {
        binary,
        command: stat.comm,
        parent_pid: u32::try_from(stat.ppid).unwrap_or(0),
        parent_start_ns: parent_start.unwrap_or(0) * TICK_NS,
    })
}

/// The binary of a process, if it is still that one.
#[must_use]
pub fn binary(process: ProcessId) -> Option<BinaryPath> {
    let handle = procfs::process::Process::new(i32::try_from(process.pid).ok()?).ok()?;
    let binary = binary_of(&handle)?;
    (handle.stat().ok()?.starttime == process.start_ns / TICK_NS).then_some(binary)
}

fn binary_of(handle: &procfs::process::Process) -> Option<BinaryPath> {
    let path = handle.exe().ok()?;
    let path = path.to_string_lossy();
    Some(match path.strip_suffix(DELETED) {
        Some(name) => BinaryPath { path: name.to_owned(), deleted: true, truncated: false },
        None => BinaryPath { path: path.into_owned(), deleted: false, truncated: false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_of(pid: i32) -> u64 {
        procfs::process::Process::new(pid).and_then(|p| p.stat()).expect("it runs").starttime * TICK_NS
    }

    #[test]
    fn this_test_finds_itself() {
        let pid = std::process::id();
        let this = ProcessId { pid, start_ns: start_of(pid.cast_signed()) + 3 };
        let found = find(this).expect("found");
        let exe = std::env::current_exe().expect("it has a path");
        assert_eq!(found.binary.as_ref().expect("a binary").path, exe.to_string_lossy());
        assert_eq!(found.parent_pid, std::os::unix::process::parent_id());
        let parent =
            ProcessId { pid: found.parent_pid, start_ns: start_of(found.parent_pid.cast_signed()) + 7 };
        assert!(found.is_child_of(parent));
        assert!(!found.is_child_of(ProcessId { start_ns: parent.start_ns + TICK_NS, ..parent }));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let pid = std::process::id();
        let earlier = ProcessId { pid, start_ns: start_of(pid.cast_signed()) - TICK_NS };
        assert_eq!(find(earlier), None);
        assert_eq!(binary(earlier), None);
    }
}
