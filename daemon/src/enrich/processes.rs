//! The process table: every process of the host, with its binary and the chain of its parents as it was
//! when it was forked. Fed by kernel events, completed by each sweep's walk, repaired from `/proc`.
//!
//! A process is an immutable node that points to its parent's; an exec makes a new node. So a chain stays
//! as it was, whatever its members do later, and lives as long as anything refers to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use netsonde_probes::records::{BinaryPath, ProcessEvent, ProcessEventKind, ProcessId};

use super::procfs;

/// A process at one time of its life.
#[derive(Debug)]
pub struct Process {
    /// Who it is.
    pub id: ProcessId,
    /// Absolute path of its binary; empty for a kernel thread, and when it could not be learnt.
    pub path: Arc<str>,
    /// The binary had been unlinked.
    pub deleted: bool,
    /// Its `comm`.
    pub command: Arc<str>,
    /// Who forked it, as that was then.
    pub parent: Option<Arc<Process>>,
}

/// No chain of parents is followed further; a fork bomb must not cost a walk without end.
const GENERATIONS: usize = 64;

impl Process {
    /// Last part of the path; the command of a process without one, which a kernel thread is.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.path.rsplit('/').next() {
            Some(name) if !name.is_empty() => name,
            _ => &self.command,
        }
    }

    /// Its parents, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Arc<Process>> {
        std::iter::successors(self.parent.as_ref(), |p| p.parent.as_ref()).take(GENERATIONS)
    }
}

struct Entry {
    process: Arc<Process>,
    /// Nanoseconds since boot.
    ended_ns: Option<u64>,
    /// Number of the walk that saw it last.
    walk: u64,
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
}

/// All processes.
pub struct ProcessTable {
    entries: HashMap<ProcessId, Entry>,
    limit: usize,
    /// Nanoseconds that an ended process is kept for records that are still on their way.
    keep_ended_ns: u64,
    walk: u64,
    statistics: TableStatistics,
}

impl ProcessTable {
    /// An empty table for at most `limit` processes, which keeps an ended one for `keep_ended_ns`.
    #[must_use]
    pub fn new(limit: usize, keep_ended_ns: u64) -> Self {
        Self {
            entries: HashMap::new(),
            limit,
            keep_ended_ns,
            walk: 0,
            statistics: TableStatistics::default(),
        }
    }

    /// Changes the limits from the next walk on.
    pub fn set_limits(&mut self, limit: usize, keep_ended_ns: u64) {
        self.limit = limit;
        self.keep_ended_ns = keep_ended_ns;
    }

    /// What the table knows of itself.
    #[must_use]
    pub fn statistics(&self) -> TableStatistics {
        TableStatistics { tracked: self.entries.len() as u64, ..self.statistics }
    }

    /// Applies what the kernel told, in its order.
    pub fn apply(&mut self, event: &ProcessEvent) {
        match &event.kind {
            ProcessEventKind::Fork => {
                let parent = self.entries.get(&event.parent).map(|e| Arc::clone(&e.process));
                let process = match &parent {
                    Some(p) => node(event, Arc::clone(&p.path), p.deleted, parent.clone()),
                    None => node(event, "".into(), false, None),
                };
                self.insert(process);
            }
            ProcessEventKind::Exec(binary) => {
                let known = self.entries.get(&event.process).map(|e| Arc::clone(&e.process));
                let parent = match known {
                    Some(known) => known.parent.clone(),
                    None => self.entries.get(&event.parent).map(|e| Arc::clone(&e.process)),
                };
                let (path, deleted) = whole_path(event.process, binary);
                self.insert(node(event, path, deleted, parent));
            }
            ProcessEventKind::Exit => {
                if let Some(entry) = self.entries.get_mut(&event.process) {
                    entry.ended_ns = Some(event.time_ns);
                }
            }
            ProcessEventKind::Seen => {}
        }
    }

    /// Takes in a walk over all processes: learns those that no event told of, and lets go of those that
    /// ended `keep_ended_ns` ago or longer.
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
            if entry.ended_ns.is_none() && entry.walk != walk && id.start_ns < walked_since {
                entry.ended_ns = Some(now_ns);
            }
            entry.ended_ns.is_none_or(|ended| now_ns.saturating_sub(ended) < keep)
        });
        self.evict();
    }

    fn learn(&mut self, event: &ProcessEvent, by_id: &HashMap<ProcessId, &ProcessEvent>, depth: usize) {
        let walk = self.walk;
        if self.entries.get(&event.process).is_some_and(|e| e.process.parent.is_none()) {
            self.find_parent(event, by_id, depth);
        }
        if let Some(entry) = self.entries.get_mut(&event.process) {
            entry.walk = walk;
            // Neither an exec nor a change of its name by itself (prctl(2)) can have gone by unseen, but
            // for a lost event: then /proc knows.
            if *entry.process.command != *event.command {
                let known = Arc::clone(&entry.process);
                let binary = procfs::binary(event.process);
                let (path, deleted) = match binary {
                    Some(b) => (b.path.into(), b.deleted),
                    None => (Arc::clone(&known.path), known.deleted),
                };
                entry.process = Arc::new(node(event, path, deleted, known.parent.clone()));
            }
            return;
        }
        if depth < GENERATIONS
            && let Some(parent) = by_id.get(&event.parent)
        {
            self.learn(parent, by_id, depth + 1);
        }
        let parent = self.entries.get(&event.parent).map(|e| Arc::clone(&e.process));
        let binary = if event.kernel_thread { None } else { procfs::binary(event.process) };
        let binary = binary.unwrap_or_default();
        self.insert(node(event, binary.path.into(), binary.deleted, parent));
    }

    /// A fork that was told of before its parent was known.
    fn find_parent(&mut self, event: &ProcessEvent, by_id: &HashMap<ProcessId, &ProcessEvent>, depth: usize) {
        if depth >= GENERATIONS {
            return;
        }
        let Some(parent) = by_id.get(&event.parent).filter(|p| p.process != event.process) else { return };
        self.learn(parent, by_id, depth + 1);
        let parent = self.entries.get(&event.parent).map(|e| Arc::clone(&e.process));
        if let (Some(entry), Some(_)) = (self.entries.get_mut(&event.process), &parent) {
            let known = Arc::clone(&entry.process);
            let (path, deleted) = (Arc::clone(&known.path), known.deleted);
            entry.process = Arc::new(Process {
                command: Arc::clone(&known.command),
                id: known.id,
                path,
                deleted,
                parent,
            });
        }
    }

    /// Who it is; asks `/proc` when no event has told. `None` when nobody knows.
    pub fn resolve(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        if !id.is_known() {
            return None;
        }
        if let Some(entry) = self.entries.get(&id) {
            return Some(Arc::clone(&entry.process));
        }
        let Some(found) = procfs::find(id) else {
            self.statistics.unknown += 1;
            return None;
        };
        self.statistics.repaired += 1;
        let parent =
            self.entries.values().find(|e| found.is_child_of(e.process.id)).map(|e| Arc::clone(&e.process));
        let binary = found.binary.unwrap_or_default();
        let process = Process {
            id,
            path: binary.path.into(),
            deleted: binary.deleted,
            command: found.command.into(),
            parent,
        };
        Some(self.insert(process))
    }

    fn insert(&mut self, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        let entry = Entry { process: Arc::clone(&process), ended_ns: None, walk: self.walk };
        let id = process.id;
        self.entries.insert(id, entry);
        // Room is made in bulk, so that a fork storm does not pay for it one by one.
        if self.entries.len() > self.limit + self.limit / 8 {
            self.evict();
        }
        process
    }

    /// Brings the table back to its limit: ended processes go first, the longest ended before others,
    /// then the oldest living ones that are nobody's parent.
    fn evict(&mut self) {
        let surplus = self.entries.len().saturating_sub(self.limit);
        if surplus == 0 {
            return;
        }
        let parents: HashSet<ProcessId> =
            self.entries.values().filter_map(|e| Some(e.process.parent.as_ref()?.id)).collect();
        let mut order: Vec<(bool, bool, u64, ProcessId)> = self
            .entries
            .iter()
            .map(|(id, e)| {
                (e.ended_ns.is_none(), parents.contains(id), e.ended_ns.unwrap_or(id.start_ns), *id)
            })
            .collect();
        order.sort_unstable();
        for (.., id) in order.into_iter().take(surplus) {
            self.entries.remove(&id);
        }
        self.statistics.evicted += surplus as u64;
    }
}

fn node(event: &ProcessEvent, path: Arc<str>, deleted: bool, parent: Option<Arc<Process>>) -> Process {
    Process { id: event.process, path, deleted, command: event.command.as_str().into(), parent }
}

/// The path from the event, or from `/proc` when it was too long for the event.
fn whole_path(id: ProcessId, binary: &BinaryPath) -> (Arc<str>, bool) {
    if binary.truncated
        && let Some(whole) = procfs::binary(id)
    {
        return (whole.path.into(), whole.deleted);
    }
    (binary.path.as_str().into(), binary.deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u32 = 0x7fff_0000;

    fn id(n: u32) -> ProcessId {
        ProcessId { pid: NEVER + n, start_ns: u64::from(n) }
    }

    fn event(kind: ProcessEventKind, process: u32, parent: u32, command: &str) -> ProcessEvent {
        ProcessEvent {
            kind,
            time_ns: 1_000 + u64::from(process),
            process: id(process),
            parent: id(parent),
            uid: 0,
            network_namespace: 1,
            kernel_thread: false,
            command: command.to_owned(),
        }
    }

    fn exec(path: &str) -> ProcessEventKind {
        ProcessEventKind::Exec(BinaryPath { path: path.to_owned(), ..BinaryPath::default() })
    }

    fn names(process: &Process) -> Vec<String> {
        process.ancestors().map(|p| p.name().to_owned()).collect()
    }

    #[test]
    fn a_chain_stays_as_it_was_at_the_fork() {
        let mut table = ProcessTable::new(100, 0);
        table.apply(&event(exec("/sbin/init"), 1, 0, "init"));
        table.apply(&event(ProcessEventKind::Fork, 2, 1, "init"));
        table.apply(&event(exec("/bin/sh"), 2, 1, "sh"));
        table.apply(&event(ProcessEventKind::Fork, 3, 2, "sh"));
        table.apply(&event(exec("/usr/bin/curl"), 3, 2, "curl"));
        // The shell becomes something else and ends; its child is re-parented.
        table.apply(&event(exec("/bin/other"), 2, 1, "other"));
        table.apply(&event(ProcessEventKind::Exit, 2, 1, "other"));
        table.take_walk(
            &[event(ProcessEventKind::Seen, 1, 0, "init"), event(ProcessEventKind::Seen, 3, 1, "curl")],
            9_000,
        );
        assert!(!table.entries.contains_key(&id(2)), "it was let go");
        let curl = table.resolve(id(3)).expect("known");
        assert_eq!(&*curl.path, "/usr/bin/curl");
        assert_eq!(names(&curl), ["sh", "init"]);
    }

    #[test]
    fn a_fork_runs_its_parents_binary() {
        let mut table = ProcessTable::new(100, 0);
        table.apply(&event(exec("/usr/sbin/nginx"), 5, 1, "nginx"));
        table.apply(&event(ProcessEventKind::Fork, 6, 5, "nginx"));
        assert_eq!(&*table.resolve(id(6)).expect("known").path, "/usr/sbin/nginx");
    }

    #[test]
    fn an_ended_process_is_kept_for_a_while() {
        let mut table = ProcessTable::new(100, 5_000);
        table.apply(&event(exec("/bin/true"), 7, 1, "true"));
        table.apply(&event(ProcessEventKind::Exit, 7, 1, "true"));
        table.take_walk(&[], 3_000);
        assert!(table.resolve(id(7)).is_some());
        table.take_walk(&[], 60_000);
        assert!(table.resolve(id(7)).is_none());
        assert_eq!(table.statistics().unknown, 1);
    }

    #[test]
    fn a_full_table_lets_ended_processes_go_first() {
        let mut table = ProcessTable::new(8, u64::MAX);
        for n in 1..=8 {
            table.apply(&event(exec("/bin/x"), n, 0, "x"));
        }
        table.apply(&event(ProcessEventKind::Exit, 5, 0, "x"));
        table.apply(&event(exec("/bin/x"), 9, 0, "x"));
        table.take_walk(
            &(1..=9)
                .filter(|n| *n != 5)
                .map(|n| event(ProcessEventKind::Seen, n, 0, "x"))
                .collect::<Vec<_>>(),
            2_000,
        );
        assert_eq!(
            table.statistics(),
            TableStatistics { tracked: 8, evicted: 1, ..TableStatistics::default() }
        );
        assert!(!table.entries.contains_key(&id(5)));
    }

    #[test]
    fn a_walk_learns_parents_before_children_whatever_their_order() {
        let mut table = ProcessTable::new(100, 0);
        let seen = [
            event(ProcessEventKind::Seen, 4, 9, "child"),
            event(ProcessEventKind::Seen, 9, 1, "parent"),
            event(ProcessEventKind::Seen, 1, 0, "init"),
        ];
        table.take_walk(&seen, 2_000);
        let child = table.resolve(id(4)).expect("known");
        assert_eq!(names(&child), ["parent", "init"]);
    }
}
