//! What each process that owns sockets has done since it was first seen; of too many, those are forgotten that measured
//! nothing for longest.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use netsonde_probes::records::ProcessId;
use netsonde_probes::signals::flow::{FLOW_IO, MeasuredValue, Measurement};
use netsonde_probes::signals::tcp::metrics as tcp;

use crate::enrich::{Clock, Process};

/// Processes that are kept.
pub const LIMIT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
/// Flows that are remembered of each.
const FLOWS: usize = 32;

/// What one process has done.
#[derive(Debug, Clone)]
pub struct ProcessTotals {
    /// As it was when it last measured something.
    pub process: Arc<Process>,
    /// Its user, by name.
    pub user: Option<Arc<str>>,
    /// When it started, Unix milliseconds by the clock when it was first seen: part of its name.
    pub started: u64,
    /// Bytes sent.
    pub tx: i64,
    /// Bytes received; for a moment less than what arrived, where a socket of UDP had no room.
    pub rx: i64,
    /// Connections opened and accepted.
    pub connections: u64,
    /// Connections open.
    pub active: u64,
    /// Connections that failed.
    pub failures: u64,
    /// When it last measured something, Unix milliseconds.
    pub last: u64,
    /// Numbers of its flows, newest first.
    pub flows: Vec<u32>,
}

impl ProcessTotals {
    fn new(process: Arc<Process>, user: Option<Arc<str>>, clock: &Clock) -> Self {
        Self {
            started: clock.unix_of(process.id.start_ns) / 1_000_000,
            process,
            user,
            tx: 0,
            rx: 0,
            connections: 0,
            active: 0,
            failures: 0,
            last: 0,
            flows: Vec::new(),
        }
    }

    fn add(&mut self, of: &Measurement<'_>) {
        let MeasuredValue::Sum(n) = of.value else { return };
        let is = |metric| std::ptr::eq(of.metric, metric);
        let label = of.label.map_or("", |(_, word)| word);
        let count = u64::try_from(n).unwrap_or(0);
        if is(&FLOW_IO) && label == "receive" {
            self.rx = self.rx.saturating_add(n);
        } else if is(&FLOW_IO) {
            self.tx = self.tx.saturating_add(n);
        } else if is(&tcp::CONNECTIONS) && label != "closed" {
            self.connections = self.connections.saturating_add(count);
        } else if is(&tcp::CONNECTION_FAILURES) {
            self.failures = self.failures.saturating_add(count);
        }
    }

    fn took_part_in(&mut self, flow: u32) {
        self.flows.retain(|known| *known != flow);
        self.flows.insert(0, flow);
        self.flows.truncate(FLOWS);
    }
}

/// All of them.
#[derive(Debug)]
pub struct Processes {
    /// Shared with readers from one interval to the next: what changes is copied first.
    known: LruCache<ProcessId, Arc<ProcessTotals>>,
    evicted: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self { known: LruCache::new(LIMIT), evicted: 0 }
    }
}

impl Processes {
    /// Adds what a process measured in a flow.
    pub fn add<'a>(
        &mut self,
        process: &Arc<Process>,
        user: Option<&Arc<str>>,
        flow: Option<u32>,
        measured: impl Iterator<Item = Measurement<'a>>,
        clock: &Clock,
    ) {
        if process.is_kernel() {
            return;
        }
        if self.known.get(&process.id).is_none() {
            let new = Arc::new(ProcessTotals::new(Arc::clone(process), user.cloned(), clock));
            if self.known.push(process.id, new).is_some() {
                self.evicted += 1;
            }
        }
        let Some(totals) = self.known.get_mut(&process.id).map(Arc::make_mut) else { return };
        if !Arc::ptr_eq(&totals.process, process) {
            totals.process = Arc::clone(process);
        }
        totals.user = user.cloned();
        totals.last = clock.unix_ns() / 1_000_000;
        measured.for_each(|measurement| totals.add(&measurement));
        if let Some(flow) = flow {
            totals.took_part_in(flow);
        }
    }

    /// Takes over how many connections each process has open; who is not named has none.
    pub fn set_open(&mut self, open: impl Fn(ProcessId) -> u64) {
        for (id, totals) in &mut self.known {
            let open = open(*id);
            if totals.active != open {
                Arc::make_mut(totals).active = open;
            }
        }
    }

    /// As they are, those first that measured something last.
    #[must_use]
    pub fn snapshot(&self) -> Arc<[Arc<ProcessTotals>]> {
        self.known.iter().map(|(_, totals)| Arc::clone(totals)).collect()
    }

    /// How many are kept, and of how many at most.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.known.len(), LIMIT.get())
    }

    /// How many were forgotten for want of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}
