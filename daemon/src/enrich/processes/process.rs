//! A process at one time of its life: what it runs, where it belongs, and who forked it.

use std::sync::Arc;

use netsonde_probes::records::{BinaryPath, ProcessEvent, ProcessId};

use crate::enrich::context::Context;

/// What a process runs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// Absolute path of the binary; empty for a kernel thread, and when it could not be learnt.
    pub path: Arc<str>,
    /// The binary had been unlinked.
    pub deleted: bool,
    /// The binary is in memory only, under no name.
    pub memfd: bool,
    /// The script that the binary interprets, absolute, when it was started as a program of its own.
    pub script: Option<Arc<str>>,
    /// The arguments with secrets masked, if they are asked for.
    pub arguments: Option<Arc<[Arc<str>]>>,
}

/// A process at one time of its life.
#[derive(Debug)]
pub struct Process {
    /// Who it is; no pid for the kernel.
    pub id: ProcessId,
    /// What it runs.
    pub program: Arc<Program>,
    /// Its `comm`.
    pub command: Arc<str>,
    /// Its number in its own pid namespace, when that is not the host's.
    pub namespace_pid: Option<u32>,
    /// Where it belongs; `None` when nobody could tell.
    pub context: Option<Arc<Context>>,
    /// Who forked it, as that was then.
    pub parent: Option<Arc<Process>>,
    /// Which of its programs this is, see [`netsonde_probes::records::Owner::image`].
    pub(super) image: u32,
    /// Number of its control group in the unified hierarchy.
    pub(super) cgroup: u64,
    /// Path in the cgroup v1 hierarchy that counts on this host.
    pub(super) legacy_cgroup: Option<Arc<str>>,
    /// From when on it was so, nanoseconds since boot.
    pub(super) since_ns: u64,
    /// Number of its ancestors.
    pub(super) depth: u32,
}

/// No chain of parents is followed further; a fork bomb must not cost a walk without end.
pub(super) const GENERATIONS: usize = 64;

/// From this length on a chain is cut to [`GENERATIONS`]: a process that lives by forking its own successor
/// would drag an endless one behind it.
pub(super) const LONGEST_CHAIN: u32 = 2 * GENERATIONS as u32;

impl Process {
    /// The owner of sockets that are no program's.
    pub(super) fn kernel() -> Self {
        let program = Program { path: "[kernel]".into(), ..Program::default() };
        Self { program: program.into(), ..Self::nobody(ProcessId { pid: 0, start_ns: 0 }) }
    }

    pub(super) fn nobody(id: ProcessId) -> Self {
        Self {
            id,
            program: Arc::default(),
            command: "".into(),
            namespace_pid: None,
            context: None,
            parent: None,
            image: 0,
            cgroup: 0,
            legacy_cgroup: None,
            since_ns: 0,
            depth: 0,
        }
    }

    /// The same, but for its program.
    pub(super) fn with_program(&self, program: Arc<Program>) -> Self {
        Self {
            id: self.id,
            program,
            command: Arc::clone(&self.command),
            namespace_pid: self.namespace_pid,
            context: self.context.clone(),
            parent: self.parent.clone(),
            image: self.image,
            cgroup: self.cgroup,
            legacy_cgroup: self.legacy_cgroup.clone(),
            since_ns: self.since_ns,
            depth: self.depth,
        }
    }

    /// One of the tests: with this binary and parent.
    #[cfg(test)]
    pub fn example(id: ProcessId, path: &str, parent: Option<Arc<Process>>) -> Self {
        let program = Program { path: path.into(), ..Program::default() };
        Self { program: program.into(), parent, ..Self::nobody(id) }
    }

    /// Absolute path of its binary; empty when it has none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.program.path
    }

    /// Last part of the path; the command of a process without one, which a kernel thread is.
    #[must_use]
    pub fn name(&self) -> &str {
        last_part(self.path()).unwrap_or(&self.command)
    }

    /// What a person would call it: of an interpreted script, the script's name.
    #[must_use]
    pub fn title(&self) -> &str {
        self.program.script.as_deref().and_then(last_part).unwrap_or_else(|| self.name())
    }

    /// Whether it stands for the kernel itself.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        !self.id.is_known()
    }

    /// Its parents, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Arc<Process>> {
        std::iter::successors(self.parent.as_ref(), |p| p.parent.as_ref()).take(GENERATIONS)
    }
}

pub(super) fn last_part(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// What an event or a walk said of a process, and what is to be kept of what was known.
pub(super) fn node(
    event: &ProcessEvent,
    program: Arc<Program>,
    home: Home,
    parent: Option<Arc<Process>>,
) -> Process {
    let known = parent.as_ref().filter(|p| *p.command == *event.command).map(|p| Arc::clone(&p.command));
    let parent = parent.map(shortened);
    Process {
        id: event.process,
        program,
        command: known.unwrap_or_else(|| event.command.as_str().into()),
        namespace_pid: event.namespace_pid,
        context: home.context,
        image: event.image,
        cgroup: event.cgroup,
        legacy_cgroup: home.legacy,
        since_ns: event.time_ns,
        depth: parent.as_ref().map_or(0, |p| p.depth + 1),
        parent,
    }
}

/// Cuts the chain that begins with this process when it has grown too long: its nearest members are copied,
/// and the last of them has no parent.
pub(super) fn shortened(process: Arc<Process>) -> Arc<Process> {
    if process.depth < LONGEST_CHAIN {
        return process;
    }
    let kept: Vec<&Arc<Process>> =
        std::iter::successors(Some(&process), |p| p.parent.as_ref()).take(GENERATIONS).collect();
    let mut chain: Option<Arc<Process>> = None;
    for (depth, member) in (0..).zip(kept.into_iter().rev()) {
        let program = Arc::clone(&member.program);
        chain = Some(Arc::new(Process { parent: chain, depth, ..member.with_program(program) }));
    }
    chain.unwrap_or(process)
}

/// Where a process belongs, and what that was read from.
#[derive(Default, Clone)]
pub(super) struct Home {
    pub(super) context: Option<Arc<Context>>,
    pub(super) legacy: Option<Arc<str>>,
}

impl Home {
    pub(super) fn of(process: &Process) -> Self {
        Self { context: process.context.clone(), legacy: process.legacy_cgroup.clone() }
    }
}

impl Default for Program {
    fn default() -> Self {
        Self { path: "".into(), deleted: false, memfd: false, script: None, arguments: None }
    }
}

impl Program {
    /// The same with other arguments.
    pub(super) fn with_arguments(&self, arguments: Option<Arc<[Arc<str>]>>) -> Self {
        Self {
            path: Arc::clone(&self.path),
            deleted: self.deleted,
            memfd: self.memfd,
            script: self.script.clone(),
            arguments,
        }
    }

    pub(super) fn of_binary(binary: &BinaryPath) -> Self {
        Self {
            // What is left of a path without its beginning must not look like a whole one.
            path: if binary.truncated {
                format!("…{}", binary.path).into()
            } else {
                binary.path.as_str().into()
            },
            deleted: binary.deleted,
            memfd: binary.memfd,
            ..Self::default()
        }
    }
}
