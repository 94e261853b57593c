//! The process table: every process of the host, with its program, where it belongs and the chain of its
//! parents as it was when it was forked. Fed by kernel events, completed by each sweep's walk, repaired from
//! `/proc`.
//!
//! A process is an immutable node that points to its parent's; an exec or a move to another control group
//! makes a new node. So a chain stays as it was, whatever its members do later, and lives as long as anything
//! refers to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use netsonde_probes::records::{CgroupEvent, Execution, Owner, ProcessEvent, ProcessEventKind, ProcessId};

use super::command_line::Masker;
use super::context::Cgroups;
use super::procfs::{self, ArgumentReader};

mod process;
#[cfg(test)]
mod tests;

use process::{GENERATIONS, Home, last_part, node, shortened};
pub use process::{Process, Program};

struct Ended {
    /// Nanoseconds since boot.
    at_ns: u64,
    /// Number of the walk before it.
    walk: u64,
}

struct Entry {
    process: Arc<Process>,
    /// What it was before its last execs, oldest first: sockets that it closed by then were that program's.
    earlier: Vec<Arc<Process>>,
    ended: Option<Ended>,
    /// Records that name it may still come, long after its end.
    owned_sockets: bool,
    /// Number of the walk that saw it last.
    walk: u64,
    /// Number of the walk after which its binary was looked at; none yet: `u64::MAX`.
    looked_at: u64,
}

/// Programs before the present one that are remembered of a process.
const EARLIER: usize = 8;

impl Entry {
    /// It runs another program now.
    fn becomes(&mut self, process: Arc<Process>) {
        if self.earlier.len() == EARLIER {
            self.earlier.remove(0);
        }
        // Nobody can tell whether sockets of the one before are still to be told of.
        self.earlier.push(std::mem::replace(&mut self.process, process));
    }

    /// The process as it was when it ran this program; `None` when that is news.
    fn at(&self, image: u32) -> Option<&Arc<Process>> {
        if self.process.image == image {
            return Some(&self.process);
        }
        self.earlier.iter().rev().find(|p| p.image == image)
    }
}

/// How many programs there may be until those that nobody runs are looked for again, where so many are run. Twice as many,
/// as a process may have run several, all of which are remembered: to look through them for each new one and find nothing
/// to let go of would take time with the square of how many there are.
fn before_pruning(run: usize, limit: usize) -> usize {
    2 * run.max(limit).max(1024)
}

/// What the table knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStatistics {
    /// Processes in the table, ended ones that are still kept included.
    pub tracked: u64,
    /// Forgotten early because the table was full.
    pub evicted: u64,
    /// Learnt from `/proc` because no event had told of them.
    pub repaired: u64,
    /// Asked for, and neither known nor in `/proc` any more.
    pub unknown: u64,
    /// Control groups that are known by number.
    pub cgroups: u64,
    /// At most.
    pub cgroups_limit: u64,
    /// Control groups that were forgotten early because there are too many.
    pub cgroups_evicted: u64,
}

/// All processes.
pub struct ProcessTable {
    entries: HashMap<ProcessId, Entry>,
    /// Every program once, however many processes run it.
    programs: HashSet<Arc<Program>>,
    /// When there are so many of them, those that nobody runs any more go before the next walk.
    programs_before_pruning: usize,
    cgroups: Cgroups,
    /// The cgroup v1 hierarchy that counts on this host.
    legacy_hierarchy: Option<u32>,
    /// Masks the arguments; `None` when they are not wanted.
    masker: Option<Masker>,
    /// Reads those of processes that are there already.
    argument_reader: Option<ArgumentReader>,
    kernel: Arc<Process>,
    limit: usize,
    /// Nanoseconds that an ended process which owned sockets is kept for records that are on their way.
    keep_ended_ns: u64,
    walk: u64,
    statistics: TableStatistics,
}

impl ProcessTable {
    /// An empty table for at most `limit` processes, which keeps an ended one that owned sockets for
    /// `keep_ended_ns`, and any other until the second walk after its end.
    #[must_use]
    pub fn new(limit: usize, keep_ended_ns: u64, masker: Option<Masker>) -> Self {
        Self {
            entries: HashMap::new(),
            programs: HashSet::new(),
            programs_before_pruning: before_pruning(0, limit),
            cgroups: Cgroups::new(limit),
            legacy_hierarchy: procfs::legacy_hierarchy(),
            argument_reader: masker.as_ref().map(|_| ArgumentReader::start()),
            masker,
            kernel: Arc::new(Process::kernel()),
            limit,
            keep_ended_ns,
            walk: 0,
            statistics: TableStatistics::default(),
        }
    }

    /// Changes the limits from the next walk on, and the masking of arguments at once; those that were not wanted
    /// before are known from the next exec on.
    pub fn reconfigure(&mut self, limit: usize, keep_ended_ns: u64, masker: Option<Masker>) {
        self.set_limit(limit);
        self.keep_ended_ns = keep_ended_ns;
        if masker != self.masker {
            self.masker = masker;
            if self.masker.is_some() && self.argument_reader.is_none() {
                self.argument_reader = Some(ArgumentReader::start());
            }
            self.mask_again();
        }
    }

    /// Changes the limit from the next walk on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.cgroups.set_limit(limit);
    }

    /// Processes in the table that have not ended.
    #[must_use]
    pub fn living(&self) -> usize {
        self.entries.values().filter(|entry| entry.ended.is_none()).count()
    }

    /// Arguments that were kept are masked as is wanted now, or dropped. Ancestors do not show theirs.
    fn mask_again(&mut self) {
        let Self { entries, programs, masker, .. } = self;
        let mut masked: HashMap<Arc<Program>, Arc<Program>> = HashMap::new();
        let nodes = entries.values_mut().flat_map(|e| e.earlier.iter_mut().chain([&mut e.process]));
        for process in nodes.filter(|p| p.program.arguments.is_some()) {
            let program = masked.entry(Arc::clone(&process.program)).or_insert_with(|| {
                let old = &process.program;
                let name = last_part(&old.path).unwrap_or_default();
                let arguments = masker.as_ref().zip(old.arguments.as_ref());
                let arguments = arguments.map(|(masker, arguments)| masker.mask(name, arguments).into());
                let program = Arc::new(old.with_arguments(arguments));
                programs.insert(Arc::clone(&program));
                program
            });
            *process = Arc::new(process.with_program(Arc::clone(program)));
        }
    }

    /// What the table knows of itself.
    #[must_use]
    pub fn statistics(&self) -> TableStatistics {
        let cgroups = self.cgroups.statistics();
        TableStatistics {
            tracked: self.entries.len() as u64,
            cgroups: cgroups.tracked,
            cgroups_limit: self.limit as u64,
            cgroups_evicted: cgroups.evicted,
            ..self.statistics
        }
    }

    /// Learns which control groups there are.
    pub fn scan_cgroups(&mut self, mountinfo: &str) {
        if let Some(scan) = self.cgroups.scan(mountinfo)
            && (scan.unread > 0 || scan.cut)
        {
            let (unread, cut) = (scan.unread, scan.cut);
            tracing::warn!(
                unread,
                cut,
                "not all control groups are known: the others are looked up one by one"
            );
        }
    }

    /// Applies what the kernel told of a control group.
    pub fn apply_cgroup(&mut self, event: &CgroupEvent) {
        if event.removed {
            self.cgroups.removed(event.id);
        } else {
            self.cgroups.made(event.id, &event.path);
        }
    }

    /// Applies what the kernel told of a process, in its order.
    pub fn apply(&mut self, event: &ProcessEvent) {
        match &event.kind {
            ProcessEventKind::Fork => {
                let parent = self.parent_of(event);
                let home = self.home(event, parent.as_deref());
                let program = match &parent {
                    Some(parent) if parent.image == event.image => Arc::clone(&parent.program),
                    // Its parent's exec was lost, or it was made its sibling's child (CLONE_PARENT).
                    Some(_) => self.program_in_proc(event.process),
                    None => Arc::default(),
                };
                self.insert(node(event, program, home, parent));
            }
            ProcessEventKind::Exec(execution) => self.exec(event, execution),
            ProcessEventKind::Moved { hierarchy, path } => self.moved(event, *hierarchy, path),
            ProcessEventKind::Exit { owned_sockets } => {
                let walk = self.walk;
                if let Some(entry) = self.entries.get_mut(&event.process) {
                    entry.ended = Some(Ended { at_ns: event.time_ns, walk });
                    entry.owned_sockets |= owned_sockets;
                }
            }
            ProcessEventKind::Owned => {
                if let Some(entry) = self.entries.get_mut(&event.process) {
                    entry.owned_sockets = true;
                }
            }
            ProcessEventKind::Seen => {}
        }
    }

    /// Its parent as it was when it forked: the child inherits the number of the program.
    fn parent_of(&self, event: &ProcessEvent) -> Option<Arc<Process>> {
        let entry = self.entries.get(&event.parent)?;
        Some(Arc::clone(entry.at(event.image).unwrap_or(&entry.process)))
    }

    fn exec(&mut self, event: &ProcessEvent, execution: &Execution) {
        let known = self.entries.get(&event.process).map(|e| Arc::clone(&e.process));
        let parent = match &known {
            Some(known) => known.parent.clone(),
            None => self.entries.get(&event.parent).map(|e| Arc::clone(&e.process)),
        };
        let home = self.home(event, known.as_deref().or(parent.as_deref()));
        let program = self.program(event.process, execution);
        let process = Arc::new(node(event, program, home, parent));
        match self.entries.get_mut(&event.process) {
            Some(entry) => entry.becomes(process),
            None => self.insert_shared(process),
        }
    }

    fn program(&mut self, id: ProcessId, execution: &Execution) -> Arc<Program> {
        // What the record could not hold, as long as the process is there to be asked.
        let whole = execution.binary.truncated.then(|| procfs::binary(id)).flatten();
        let binary = whole.as_ref().unwrap_or(&execution.binary);
        let arguments = self.masker.as_ref().zip(execution.arguments.as_ref()).map(|(masker, arguments)| {
            let mut arguments = masker.mask(last_part(&binary.path).unwrap_or_default(), arguments);
            if execution.arguments_truncated {
                arguments.push("…".into());
            }
            arguments.into()
        });
        let program = Program {
            arguments,
            script: execution.script.as_deref().map(Into::into),
            ..Program::of_binary(binary)
        };
        self.share(program)
    }

    fn share(&mut self, program: Program) -> Arc<Program> {
        if let Some(known) = self.programs.get(&program) {
            return Arc::clone(known);
        }
        // Between two walks, processes may execute far more programs than there can be processes.
        if self.programs.len() >= self.programs_before_pruning {
            self.prune_programs();
        }
        let program = Arc::new(program);
        self.programs.insert(Arc::clone(&program));
        program
    }

    fn moved(&mut self, event: &ProcessEvent, hierarchy: u32, path: &str) {
        let Some(known) = self.entries.get(&event.process).map(|e| Arc::clone(&e.process)) else { return };
        let mut home = Home::of(&known);
        if hierarchy == 0 {
            self.cgroups.made(event.cgroup, path);
        } else {
            home.legacy = Some(path.into());
        }
        let home = self.placed(event, home);
        self.replace(&known, event, home);
    }

    /// Another node of the same program.
    fn replace(&mut self, known: &Arc<Process>, event: &ProcessEvent, home: Home) {
        let process = Process {
            image: known.image,
            ..node(event, Arc::clone(&known.program), home, known.parent.clone())
        };
        if let Some(entry) = self.entries.get_mut(&event.process) {
            entry.process = Arc::new(process);
        }
    }

    /// Where a process belongs; as the one that it comes from, if it is in the same control group.
    fn home(&mut self, event: &ProcessEvent, from: Option<&Process>) -> Home {
        match from {
            Some(from) if from.cgroup == event.cgroup && from.context.is_some() => Home::of(from),
            Some(from) => {
                let home = Home::of(from);
                self.placed(event, home)
            }
            None => self.placed(event, Home::default()),
        }
    }

    /// Where a process belongs that is in the unified control group of the event, and was `before`.
    fn placed(&mut self, event: &ProcessEvent, before: Home) -> Home {
        let unified = self.cgroups.context(event.cgroup);
        let context = match (unified, &before.legacy, self.legacy_hierarchy) {
            (Some(unified), _, None) => Some(unified),
            (Some(unified), Some(legacy), Some(_)) => {
                let both = format!("1:name=systemd:{legacy}\n0::{}\n", unified.cgroup);
                Some(self.cgroups.of_process(&both))
            }
            _ => return self.looked_up(event.process).unwrap_or(before),
        };
        Home { context, ..before }
    }

    /// Where `/proc` says that it belongs.
    fn looked_up(&mut self, id: ProcessId) -> Option<Home> {
        let text = procfs::cgroups(id)?;
        let legacy = self.legacy_hierarchy.and_then(|n| procfs::cgroup_in(&text, n)).map(Into::into);
        Some(Home { context: Some(self.cgroups.of_process(&text)), legacy })
    }

    /// Takes in a walk over all processes: learns those that no event told of, and lets go of those that
    /// ended.
    pub fn take_walk(&mut self, seen: &[ProcessEvent], now_ns: u64) {
        self.walk += 1;
        let by_id: HashMap<ProcessId, &ProcessEvent> = seen.iter().map(|e| (e.process, e)).collect();
        for event in seen {
            self.learn(event, &by_id, 0);
        }
        let (walk, keep) = (self.walk, self.keep_ended_ns);
        let walked_since = seen.iter().map(|e| e.time_ns).min().unwrap_or(now_ns);
        self.entries.retain(|id, entry| {
            // Not there any more, and no event told of its end; one that is younger than the walk may
            // just not have been met.
            if entry.ended.is_none() && entry.walk != walk && id.start_ns < walked_since {
                entry.ended = Some(Ended { at_ns: now_ns, walk });
                entry.owned_sockets = true;
            }
            if now_ns.saturating_sub(entry.process.since_ns) >= keep {
                entry.earlier = Vec::new();
            }
            entry.ended.as_ref().is_none_or(|ended| {
                let still =
                    if entry.owned_sockets { now_ns.saturating_sub(ended.at_ns) < keep } else { false };
                still || walk < ended.walk + 2
            })
        });
        self.evict();
        self.prune_programs();
        self.cgroups.prune();
    }

    fn prune_programs(&mut self) {
        self.programs.retain(|program| Arc::strong_count(program) > 1);
        self.programs_before_pruning = before_pruning(self.programs.len(), self.limit);
    }

    fn learn(&mut self, event: &ProcessEvent, by_id: &HashMap<ProcessId, &ProcessEvent>, depth: usize) {
        let walk = self.walk;
        let Some(entry) = self.entries.get_mut(&event.process) else {
            if depth < GENERATIONS
                && let Some(parent) = by_id.get(&event.parent)
                && !self.entries.contains_key(&event.parent)
            {
                self.learn(parent, by_id, depth + 1);
            }
            let parent = self.entries.get(&event.parent).map(|e| Arc::clone(&e.process));
            let home = self.looked_up(event.process).unwrap_or_else(|| self.home(event, parent.as_deref()));
            let program =
                if event.kernel_thread { Arc::default() } else { self.program_in_proc(event.process) };
            self.insert(node(event, program, home, parent));
            return;
        };
        entry.walk = walk;
        let mut known = Arc::clone(&entry.process);
        if known.parent.is_none() {
            self.find_parent(event, &known, by_id, depth);
            if let Some(entry) = self.entries.get(&event.process) {
                known = Arc::clone(&entry.process);
            }
        }
        // An exec that no event told of.
        if event.image > known.image {
            self.statistics.repaired += 1;
            let program = self.program_in_proc(event.process);
            let home = self.home(event, Some(&known));
            let process = node(event, program, home, known.parent.clone());
            if let Some(entry) = self.entries.get_mut(&event.process) {
                entry.becomes(Arc::new(process));
            }
        } else if event.cgroup != known.cgroup && event.time_ns > known.since_ns {
            let home = self.home(event, Some(&known));
            self.replace(&known, event, home);
        }
    }

    fn program_in_proc(&mut self, id: ProcessId) -> Arc<Program> {
        let binary = procfs::binary(id).unwrap_or_default();
        let mut program = Program::of_binary(&binary);
        if let (Some(masker), Some(reader)) = (&self.masker, &mut self.argument_reader)
            && let Some(arguments) = reader.read(id)
        {
            let name = last_part(&binary.path).unwrap_or_default();
            program.arguments = Some(masker.mask(name, &arguments).into());
        }
        self.share(program)
    }

    /// A fork that was told of before its parent was known.
    fn find_parent(
        &mut self,
        event: &ProcessEvent,
        known: &Process,
        by_id: &HashMap<ProcessId, &ProcessEvent>,
        depth: usize,
    ) {
        if depth >= GENERATIONS {
            return;
        }
        let Some(parent) = by_id.get(&event.parent).filter(|p| p.process != event.process) else { return };
        if !self.entries.contains_key(&event.parent) {
            self.learn(parent, by_id, depth + 1);
        }
        let parent = self.entries.get(&event.parent).map(|e| Arc::clone(&e.process));
        if let (Some(entry), Some(_)) = (self.entries.get_mut(&event.process), &parent) {
            let process = Process {
                image: known.image,
                cgroup: known.cgroup,
                since_ns: known.since_ns,
                ..node(event, Arc::clone(&known.program), Home::of(known), parent)
            };
            entry.process = Arc::new(process);
        }
    }

    /// Who owns a socket, as told on a record of its own. Whether the binary has been unlinked since its exec,
    /// the kernel may have seen; else it is looked up, once between two walks.
    pub fn resolve_for_record(&mut self, owner: Owner, binary_deleted: bool) -> Option<Arc<Process>> {
        let process = self.resolve(owner)?;
        let walk = self.walk;
        let Some(entry) = self.entries.get_mut(&owner.process) else { return Some(process) };
        let program = &process.program;
        let known = program.path.is_empty() || program.memfd || program.deleted;
        if known || entry.process.image != owner.image {
            return Some(process);
        }
        let mut look = || {
            let due = entry.ended.is_none() && entry.looked_at != walk;
            entry.looked_at = walk;
            due && procfs::is_deleted(owner.process) == Some(true)
        };
        if !(binary_deleted || look()) {
            return Some(process);
        }
        let program = Program { deleted: true, ..program.with_arguments(program.arguments.clone()) };
        let program = self.share(program);
        let process = Arc::new(process.with_program(program));
        if let Some(entry) = self.entries.get_mut(&owner.process) {
            entry.process = Arc::clone(&process);
        }
        Some(process)
    }

    /// Who owns a socket; asks `/proc` when no event has told. `None` when nobody knows.
    pub fn resolve(&mut self, owner: Owner) -> Option<Arc<Process>> {
        if owner.is_kernel() {
            return Some(Arc::clone(&self.kernel));
        }
        if !owner.process.is_known() {
            return None;
        }
        if let Some(entry) = self.entries.get(&owner.process) {
            if let Some(process) = entry.at(owner.image) {
                return Some(Arc::clone(process));
            }
            // Longer ago than is remembered: the same process all the same.
            if owner.image < entry.process.image {
                return Some(Arc::clone(entry.earlier.first().unwrap_or(&entry.process)));
            }
        }
        let repaired = self.repair(owner);
        if repaired.is_none() {
            self.statistics.unknown += 1;
        }
        repaired
    }

    /// Reads a process that no event told of, or whose last exec none did.
    fn repair(&mut self, owner: Owner) -> Option<Arc<Process>> {
        let id = owner.process;
        let found = procfs::find(id)?;
        self.statistics.repaired += 1;
        let known = self.entries.get(&id).map(|e| Arc::clone(&e.process));
        let parent = match &known {
            Some(known) => known.parent.clone(),
            None => self
                .entries
                .values()
                .find(|e| found.is_child_of(e.process.id))
                .map(|e| Arc::clone(&e.process)),
        };
        let home = self.looked_up(id).unwrap_or_default();
        let cgroup = known.as_ref().map_or(0, |k| k.cgroup);
        let process = Arc::new(Process {
            program: self.program_in_proc(id),
            command: found.command.into(),
            namespace_pid: found.namespace_pid,
            context: home.context,
            legacy_cgroup: home.legacy,
            image: owner.image,
            cgroup,
            depth: parent.as_ref().map_or(0, |p| p.depth + 1),
            parent: parent.map(shortened),
            ..Process::nobody(id)
        });
        match self.entries.get_mut(&id) {
            Some(entry) => entry.becomes(Arc::clone(&process)),
            None => self.insert_shared(Arc::clone(&process)),
        }
        Some(process)
    }

    fn insert(&mut self, process: Process) {
        self.insert_shared(Arc::new(process));
    }

    fn insert_shared(&mut self, process: Arc<Process>) {
        let id = process.id;
        let entry = Entry {
            process,
            earlier: Vec::new(),
            ended: None,
            owned_sockets: false,
            walk: self.walk,
            looked_at: self.walk,
        };
        self.entries.insert(id, entry);
        // Room is made in bulk, so that a fork storm does not pay for it one by one.
        if self.entries.len() > self.limit + self.limit / 8 {
            self.evict();
        }
    }

    /// Brings the table back to its limit: ended processes go first, before others those that owned no
    /// socket, the longest ended before others; then the oldest living ones that are nobody's parent.
    fn evict(&mut self) {
        let surplus = self.entries.len().saturating_sub(self.limit);
        if surplus == 0 {
            return;
        }
        let parents: HashSet<ProcessId> =
            self.entries.values().filter_map(|e| Some(e.process.parent.as_ref()?.id)).collect();
        let mut order: Vec<((bool, bool, bool, u64), ProcessId)> = self
            .entries
            .iter()
            .map(|(id, e)| {
                let rank = match &e.ended {
                    Some(ended) => (false, e.owned_sockets, false, ended.at_ns),
                    None => (true, false, parents.contains(id), id.start_ns),
                };
                (rank, *id)
            })
            .collect();
        order.select_nth_unstable(surplus - 1);
        for (_, id) in order.into_iter().take(surplus) {
            self.entries.remove(&id);
        }
        self.statistics.evicted += surplus as u64;
    }
}
