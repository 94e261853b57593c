//! What `/proc` says of a process: the start-up picture, and the repair when an event was missed.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use netsonde_probes::records::{BinaryPath, ProcessId, split_arguments};

use super::context;

/// Nanoseconds in a tick of `/proc/PID/stat`: the kernel's `USER_HZ` is 100 everywhere
/// (include/asm-generic/param.h, nsec_to_clock_t()).
const TICK_NS: u64 = 10_000_000;

/// Ends the path of a file that was unlinked (d_path() in fs/d_path.c).
const DELETED: &str = " (deleted)";

/// Begins the path of a file that is in memory only (memfd_create() in mm/memfd.c); it has no other, and so
/// counts as unlinked from the beginning.
const MEMFD: &str = "/memfd:";

/// Arguments beyond this are not read: as many as the kernel side brings with an exec.
const ARGUMENT_BYTES: u64 = 2048;

/// Patience with one process.
const ARGUMENT_WAIT: Duration = Duration::from_millis(200);

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
    /// Its number in its own pid namespace, when that is not the one of this `/proc`.
    pub namespace_pid: Option<u32>,
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
    let namespace_pid = handle.status().ok().and_then(|status| match status.nspid?.as_slice() {
        [_, .., innermost] => u32::try_from(*innermost).ok(),
        _ => None,
    });
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
        namespace_pid,
    })
}

/// This process, by what the kernel side knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnProcess {
    pid: u32,
    start_ticks: u64,
}

impl OwnProcess {
    /// `None` where `/proc` does not tell; and in a pid namespace it names nobody.
    #[must_use]
    pub fn find() -> Option<Self> {
        let stat = procfs::process::Process::myself().and_then(|this| this.stat()).ok()?;
        Some(Self { pid: u32::try_from(stat.pid).ok()?, start_ticks: stat.starttime })
    }

    /// Whether that process is this one.
    #[must_use]
    pub fn is(self, process: ProcessId) -> bool {
        (process.pid, process.start_ns / TICK_NS) == (self.pid, self.start_ticks)
    }
}

/// The binary of a process, if it is still that one.
#[must_use]
pub fn binary(process: ProcessId) -> Option<BinaryPath> {
    let handle = procfs::process::Process::new(i32::try_from(process.pid).ok()?).ok()?;
    let binary = binary_of(&handle)?;
    (handle.stat().ok()?.starttime == process.start_ns / TICK_NS).then_some(binary)
}

fn binary_of(handle: &procfs::process::Process) -> Option<BinaryPath> {
    let path = handle.exe().ok().or_else(|| binary_of_other_thread(handle))?;
    let path = path.to_string_lossy();
    let named = path.strip_suffix(DELETED);
    let memfd = named.is_some_and(|name| name.starts_with(MEMFD));
    Some(BinaryPath {
        path: named.unwrap_or(&path).to_owned(),
        deleted: named.is_some() && !memfd,
        memfd,
        truncated: false,
    })
}

/// The first thread of a process may end before the others; it is then shown without a binary.
fn binary_of_other_thread(handle: &procfs::process::Process) -> Option<PathBuf> {
    let zombie = handle.stat().ok()?.state == 'Z';
    let mut threads = zombie.then(|| handle.tasks().ok()).flatten()?.flatten();
    threads
        .find_map(|thread| std::fs::read_link(format!("/proc/{}/task/{}/exe", thread.pid, thread.tid)).ok())
}

/// Whether the binary of a process is unlinked by now, which an exec cannot know; `None` when it cannot be
/// told, or the process is not that one any more.
#[must_use]
pub fn is_deleted(process: ProcessId) -> Option<bool> {
    let handle = procfs::process::Process::new(i32::try_from(process.pid).ok()?).ok()?;
    let path = handle.exe().ok()?;
    (handle.stat().ok()?.starttime == process.start_ns / TICK_NS)
        .then(|| path.as_os_str().as_encoded_bytes().ends_with(DELETED.as_bytes()))
}

/// Reads a file of a process, at most so many bytes, if it is still that process.
fn read(process: ProcessId, name: &str, most: u64) -> Option<Vec<u8>> {
    let handle = procfs::process::Process::new(i32::try_from(process.pid).ok()?).ok()?;
    let mut bytes = Vec::new();
    File::open(format!("/proc/{}/{name}", process.pid)).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    (handle.stat().ok()?.starttime == process.start_ns / TICK_NS).then_some(bytes)
}

/// Reads arguments in a thread of its own. They lie in the memory of the process, and `/proc/PID/cmdline` waits
/// until that is there: a process may keep it for ever in a file system that it serves itself (FUSE). Whoever
/// lets us wait once is the last that is asked.
pub struct ArgumentReader {
    asked: Option<mpsc::Sender<Question>>,
}

/// Whose arguments, and where the answer goes.
struct Question {
    process: ProcessId,
    answer: mpsc::Sender<Option<Vec<String>>>,
}

impl ArgumentReader {
    /// Starts the thread.
    #[must_use]
    pub fn start() -> Self {
        let (asked, questions) = mpsc::channel::<Question>();
        let reader = std::thread::Builder::new().name("arguments".to_owned()).spawn(move || {
            for Question { process, answer } in questions {
                // Whoever asked may have lost patience.
                let _ = answer.send(arguments(process));
            }
        });
        Self { asked: reader.ok().map(|_| asked) }
    }

    /// The arguments of a process, if it is still that one and gives them; the beginning of them when they are many.
    pub fn read(&mut self, process: ProcessId) -> Option<Vec<String>> {
        let (answer, answered) = mpsc::channel();
        self.asked.as_ref()?.send(Question { process, answer }).ok()?;
        match answered.recv_timeout(ARGUMENT_WAIT) {
            Ok(arguments) => arguments,
            Err(_) => {
                let pid = process.pid;
                tracing::warn!(
                    pid,
                    "a process does not give its arguments: from now on they are known from execs alone"
                );
                self.asked = None;
                None
            }
        }
    }
}

/// Blocks for as long as the process likes.
fn arguments(process: ProcessId) -> Option<Vec<String>> {
    let bytes = read(process, "cmdline", ARGUMENT_BYTES)?;
    (!bytes.is_empty()).then(|| split_arguments(&bytes))
}

/// The text of `/proc/PID/cgroup`, if it is still that process.
#[must_use]
pub fn cgroups(process: ProcessId) -> Option<String> {
    /// A dozen hierarchies with the longest paths there can be.
    const LONGEST: u64 = 12 * 4096;
    read(process, "cgroup", LONGEST).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The path that such a text has for a hierarchy.
#[must_use]
pub fn cgroup_in(text: &str, hierarchy: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (_, path) = rest.split_once(':')?;
        (number.parse() == Ok(hierarchy)).then_some(path)
    })
}

/// The cgroup v1 hierarchy that counts on this host, if there is one.
#[must_use]
pub fn legacy_hierarchy() -> Option<u32> {
    context::legacy_hierarchy(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
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
    fn this_process_is_told_from_one_that_had_its_number() {
        let own = OwnProcess::find().expect("it runs");
        let pid = std::process::id();
        let this = ProcessId { pid, start_ns: start_of(pid.cast_signed()) + 3 };
        assert!(own.is(this));
        assert!(!own.is(ProcessId { start_ns: this.start_ns - TICK_NS, ..this }));
        assert!(!own.is(ProcessId { pid: pid + 1, ..this }));
    }

    #[test]
    fn this_test_knows_its_arguments_and_its_cgroups() {
        let pid = std::process::id();
        let this = ProcessId { pid, start_ns: start_of(pid.cast_signed()) };
        let mut reader = ArgumentReader::start();
        assert_eq!(reader.read(this).expect("it has some"), std::env::args().collect::<Vec<_>>());
        let text = cgroups(this).expect("it has some");
        assert_eq!(text, std::fs::read_to_string("/proc/self/cgroup").expect("it is there"));
        let earlier = ProcessId { start_ns: this.start_ns - TICK_NS, ..this };
        assert_eq!((reader.read(earlier), cgroups(earlier)), (None, None));
    }

    #[test]
    fn a_hierarchy_has_its_path() {
        let text = "12:pids:/docker/abc\n1:name=systemd:/system.slice/a:b.service\n0::/\n";
        assert_eq!(cgroup_in(text, 1), Some("/system.slice/a:b.service"));
        assert_eq!(cgroup_in(text, 0), Some("/"));
        assert_eq!(cgroup_in(text, 2), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let pid = std::process::id();
        let earlier = ProcessId { pid, start_ns: start_of(pid.cast_signed()) - TICK_NS };
        assert_eq!(find(earlier), None);
        assert_eq!(binary(earlier), None);
    }
}
