//! Processes and control groups: what the process ring and the walk over all processes tell, decoded.

use super::{ProcessId, raw, read};

/// The binary of a process, as the kernel held it at the exec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BinaryPath {
    /// Absolute, in the mount namespace of the process.
    pub path: String,
    /// The file had been unlinked.
    pub deleted: bool,
    /// The file is in memory only (memfd_create(2)): the path is `/memfd:` and its label, as in
    /// `/proc/PID/exe`.
    pub memfd: bool,
    /// Longer than the record holds: the beginning is missing.
    pub truncated: bool,
}

/// What an exec started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Execution {
    /// The binary: of a script its interpreter.
    pub binary: BinaryPath,
    /// The script, absolute: what execve(2) was given where that names another file than the binary.
    pub script: Option<String>,
    /// The arguments, if they were asked for; the beginning of them when they are many.
    pub arguments: Option<Vec<String>>,
    /// There are more arguments than the record holds.
    pub arguments_truncated: bool,
}

/// What happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEventKind {
    /// It was made; it runs its parent's binary.
    Fork,
    /// It runs another binary now.
    Exec(Box<Execution>),
    /// Its last thread ended.
    Exit {
        /// Records that name it may still be on their way.
        owned_sockets: bool,
    },
    /// It exits, and one of the sockets that it closes thereby was found to be its own.
    Owned,
    /// It is in another control group now, whose number is in the event.
    Moved {
        /// Number of the hierarchy: 0 for the unified one.
        hierarchy: u32,
        /// Path of the group in its hierarchy.
        path: String,
    },
    /// A walk over all processes found it.
    Seen,
}

/// A process at a moment of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEvent {
    /// What happened.
    pub kind: ProcessEventKind,
    /// When, nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Which process.
    pub process: ProcessId,
    /// Which of its programs, see [`super::Owner::image`].
    pub image: u32,
    /// Its parent at that moment.
    pub parent: ProcessId,
    /// Real user id.
    pub uid: u32,
    /// Inode number of its network namespace; 0 when it has left it.
    pub network_namespace: u32,
    /// Number of its control group in the unified hierarchy: the inode of its directory.
    pub cgroup: u64,
    /// Its number in its own pid namespace, when that is not the host's.
    pub namespace_pid: Option<u32>,
    /// It has no binary.
    pub kernel_thread: bool,
    /// Name of its first thread (`comm`), at most 15 bytes.
    pub command: String,
}

/// A control group of the unified hierarchy that was made or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupEvent {
    /// The inode of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy.
    pub path: String,
    /// It is gone.
    pub removed: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Puts the names, which come from the file up to the root, into a path.
fn path_from_names(names: &[u8]) -> String {
    let mut path = String::with_capacity(names.len() + 1);
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    for name in names.split(|&b| b == 0).rev() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path
}

fn execution(bytes: &[u8]) -> Option<Execution> {
    let header = std::mem::offset_of!(raw::exec_record, data);
    // Only what is in use of the data was sent.
    let mut whole = vec![0; size_of::<raw::exec_record>()];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let r: raw::exec_record = read(&whole)?;
    let mut rest = bytes.get(header..)?;
    let mut part = |length: u16| {
        let (part, after) = rest.split_at_checked(length.into())?;
        rest = after;
        Some(part)
    };
    let flag = |flag: raw::path_flag| u32::from(r.process.path_flags) & flag.0 != 0;
    let names = part(r.path_length)?;
    let unnamed = flag(raw::path_flag::PATH_UNNAMED);
    let memfd = unnamed && names.starts_with(b"memfd:");
    let binary = BinaryPath {
        path: if names.is_empty() { String::new() } else { path_from_names(names) },
        deleted: flag(raw::path_flag::PATH_DELETED) || (unnamed && !memfd),
        memfd,
        truncated: flag(raw::path_flag::PATH_TRUNCATED),
    };
    let (script, directory) = (part(r.script_length)?, part(r.directory_length)?);
    let script = (!script.is_empty()).then(|| absolute(until_nul(script), directory));
    let arguments = part(r.arguments_length)?;
    let arguments = (!arguments.is_empty()).then(|| split_arguments(arguments));
    Some(Execution {
        binary,
        script,
        arguments,
        arguments_truncated: flag(raw::path_flag::ARGUMENTS_TRUNCATED),
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// A path as it was given, and the names of the directory that it starts from if it is relative. Components
/// that say nothing are left out. `..` goes up where the directory is known by its real names; behind what was
/// given it is kept, because what is before it may be a symbolic link.
fn absolute(given: &[u8], directory: &[u8]) -> String {
    let given = String::from_utf8_lossy(given);
    let mut path = match (given.starts_with('/'), directory.is_empty()) {
        (true, _) | (_, true) => String::new(),
        (false, false) => path_from_names(directory),
    };
    let mut is_real = !given.starts_with('/');
    for component in given.split('/').filter(|c| !c.is_empty() && *c != ".") {
        if is_real && component == ".." {
            path.truncate(path.rfind('/').unwrap_or(0));
            continue;
        }
        is_real = false;
        path.push('/');
        path.push_str(component);
    }
    path
}

/// Arguments as they lie in the memory of a process and in `/proc/PID/cmdline`: each ended by NUL.
#[must_use]
pub fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|&b| b == 0).map(text).collect()
}

/// What a record of the process ring tells of.
pub(crate) enum ProcessRecord {
    Process(ProcessEvent),
    Cgroup(CgroupEvent),
}

pub(crate) fn process_record(bytes: &[u8]) -> Option<ProcessRecord> {
    let r: raw::process_record = read(bytes)?;
    let removed = match raw::process_event_kind(u32::from(r.kind)) {
        raw::process_event_kind::CGROUP_MADE => false,
        raw::process_event_kind::CGROUP_REMOVED => true,
        _ => return process_event(bytes).map(ProcessRecord::Process),
    };
    let (_, path) = cgroup_path(bytes)?;
    Some(ProcessRecord::Cgroup(CgroupEvent { id: r.cgroup, path, removed }))
}

fn cgroup_path(bytes: &[u8]) -> Option<(u32, String)> {
    let mut whole = vec![0; size_of::<raw::cgroup_record>()];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let r: raw::cgroup_record = read(&whole)?;
    let path = bytes.get(std::mem::offset_of!(raw::cgroup_record, path)..)?;
    Some((r.hierarchy, text(path.get(..r.path_length.into())?)))
}

pub(crate) fn process_event(bytes: &[u8]) -> Option<ProcessEvent> {
    let r: raw::process_record = read(bytes)?;
    let flag = |flag: raw::process_flag| u32::from(r.flags) & flag.0 != 0;
    let kind = match raw::process_event_kind(u32::from(r.kind)) {
        raw::process_event_kind::PROCESS_FORK => ProcessEventKind::Fork,
        raw::process_event_kind::PROCESS_EXIT => {
            ProcessEventKind::Exit { owned_sockets: flag(raw::process_flag::PROCESS_OWNED_SOCKETS) }
        }
        raw::process_event_kind::PROCESS_SEEN => ProcessEventKind::Seen,
        raw::process_event_kind::PROCESS_OWNED => ProcessEventKind::Owned,
        raw::process_event_kind::PROCESS_EXEC => ProcessEventKind::Exec(Box::new(execution(bytes)?)),
        raw::process_event_kind::PROCESS_MOVED => {
            let (hierarchy, path) = cgroup_path(bytes)?;
            ProcessEventKind::Moved { hierarchy, path }
        }
        _ => return None,
    };
    let command: Vec<u8> = r.command.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    Some(ProcessEvent {
        kind,
        time_ns: r.time_ns,
        process: ProcessId { pid: r.tgid, start_ns: r.start_ns },
        image: r.image,
        parent: ProcessId { pid: r.parent_tgid, start_ns: r.parent_start_ns },
        uid: r.uid,
        network_namespace: r.network_namespace,
        cgroup: r.cgroup,
        namespace_pid: (r.namespace_pid != 0).then_some(r.namespace_pid),
        kernel_thread: flag(raw::process_flag::PROCESS_KERNEL_THREAD),
        command: text(&command),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::bytes_of;

    fn record(path: &[u8], script: &[u8], directory: &[u8], arguments: &[u8], flags: u32) -> Vec<u8> {
        // SAFETY: a generated layout of integers, of which zero is a value.
        let mut r: raw::exec_record = unsafe { std::mem::zeroed() };
        r.process.kind = 1;
        r.process.path_flags = flags as u8;
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short");
        (r.path_length, r.script_length) = (length(path), length(script));
        (r.directory_length, r.arguments_length) = (length(directory), length(arguments));
        let header = std::mem::offset_of!(raw::exec_record, data);
        [&bytes_of(&r)[..header], path, script, directory, arguments].concat()
    }

    fn decoded(bytes: &[u8]) -> Execution {
        match process_event(bytes).expect("a record").kind {
            ProcessEventKind::Exec(execution) => *execution,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_is_put_together_from_its_names() {
        let found = decoded(&record(b"curl\0bin\0usr\0", b"", b"", b"", 0));
        assert_eq!(found.binary.path, "/usr/bin/curl");
        assert_eq!((found.script, found.arguments), (None, None));
    }

    #[test]
    fn a_relative_script_begins_where_it_was_started() {
        let found = decoded(&record(b"dash\0bin\0", b"./jobs//run.sh\0", b"deploy\0home\0", b"", 0));
        assert_eq!(found.script.as_deref(), Some("/home/deploy/jobs/run.sh"));
        let found = decoded(&record(b"dash\0bin\0", b"../.././a/../run.sh\0", b"deploy\0home\0", b"", 0));
        assert_eq!(found.script.as_deref(), Some("/a/../run.sh"));
        let found = decoded(&record(b"dash\0bin\0", b"/opt/../run.sh\0", b"", b"", 0));
        assert_eq!(found.script.as_deref(), Some("/opt/../run.sh"));
        let found = decoded(&record(b"dash\0bin\0", b"run.sh\0", b"", b"", 0));
        assert_eq!(found.script.as_deref(), Some("/run.sh"), "started in the root directory");
    }

    #[test]
    fn arguments_keep_empty_ones() {
        let found = decoded(&record(b"sh\0", b"", b"", b"sh\0-c\0\0x\0", 0));
        assert_eq!(found.arguments.expect("asked for"), ["sh", "-c", "", "x"]);
    }

    #[test]
    fn a_file_without_a_name_is_a_memfd_or_gone() {
        let flags = raw::path_flag::PATH_UNNAMED.0;
        let found = decoded(&record(b"memfd:loader\0", b"", b"", b"", flags)).binary;
        assert_eq!((found.path.as_str(), found.memfd, found.deleted), ("/memfd:loader", true, false));
        let found = decoded(&record(b"other\0", b"", b"", b"", flags)).binary;
        assert_eq!((found.memfd, found.deleted), (false, true));
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused_or_read_without_harm() {
        let whole = record(b"dash\0bin\0", b"run.sh\0", b"deploy\0", b"run.sh\0x\0", 0);
        for length in 0..whole.len() {
            assert_eq!(process_event(&whole[..length]), None, "{length}");
        }
        assert!(process_event(&whole).is_some());
    }
}
