//! The writing side: sums what flows and lookups measure, closes an interval with each sweep, and keeps what is kept
//! within its bounds.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use netsonde_probes::records::{Owner, ProcessId};
use netsonde_probes::signals::flow::Measurement;

use super::View;
use super::frames::StoredFrame;
use super::identities::{Identities, Named};
use super::pending::Pending;
use super::processes::Processes;
use crate::aggregate::{Label, LabelValue, NamedFlow, SeriesIdentity};
use crate::config::{FlowAttribute, ViewBounds};
use crate::enrich::Clock;
use crate::telemetry::{AttributeValue, LogRecord, MetricData};

/// What flows are told apart by, whatever `metrics.attributes` says.
const OF_FLOWS: [FlowAttribute; 15] = [
    FlowAttribute::NetworkTransport,
    FlowAttribute::NetworkProtocolName,
    FlowAttribute::NetworkType,
    FlowAttribute::SocketRole,
    FlowAttribute::ServerAddress,
    FlowAttribute::ServerPort,
    FlowAttribute::PeerAddress,
    FlowAttribute::ProcessExecutablePath,
    FlowAttribute::ProcessExecutableName,
    FlowAttribute::ProcessScriptPath,
    FlowAttribute::ProcessAncestry,
    FlowAttribute::ProcessUserName,
    FlowAttribute::SystemdUnit,
    FlowAttribute::ContainerId,
    FlowAttribute::NetworkNamespace,
];

/// What lookups are told apart by, besides their own labels.
const OF_LOOKUPS: [FlowAttribute; 7] = [
    FlowAttribute::SocketRole,
    FlowAttribute::ServerAddress,
    FlowAttribute::ProcessExecutablePath,
    FlowAttribute::ProcessExecutableName,
    FlowAttribute::ProcessUserName,
    FlowAttribute::SystemdUnit,
    FlowAttribute::ContainerId,
];

/// What was let go of, or not told apart, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Intervals that were forgotten before their time.
    pub frames: u64,
    /// Times that a flow was summed under number 0 in an interval.
    pub flows: u64,
    /// Likewise for lookups.
    pub lookups: u64,
    /// Processes that were forgotten for others.
    pub processes: u64,
    /// Events that a reader who followed them missed.
    pub events: u64,
}

impl Losses {
    /// Each with its word in `netsonde.view.loss.reason`.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("frames", self.frames),
            ("flows", self.flows),
            ("lookups", self.lookups),
            ("processes", self.processes),
            ("events", self.events),
        ]
    }
}

/// The writing side of a [`View`].
#[derive(Debug)]
pub struct Recorder {
    view: View,
    bounds: ViewBounds,
    /// Bytes at most now: less than configured where memory runs short.
    bytes: u64,
    of_flows: BTreeSet<FlowAttribute>,
    of_lookups: BTreeSet<FlowAttribute>,
    flows: Identities,
    lookups: Identities,
    folded: Arc<Named>,
    pending: Pending,
    processes: Processes,
    /// Of the intervals that are kept.
    frame_bytes: u64,
    /// When the interval that runs began, Unix nanoseconds.
    since_unix_ns: u64,
    losses: Losses,
}

impl Recorder {
    /// Begins with an interval that runs.
    #[must_use]
    pub fn new(bounds: ViewBounds, now_unix_ns: u64) -> Self {
        Self {
            view: View::default(),
            bounds,
            bytes: bounds.bytes,
            of_flows: OF_FLOWS.into(),
            of_lookups: OF_LOOKUPS.into(),
            flows: Identities::default(),
            lookups: Identities::default(),
            folded: Arc::new(Named::folded()),
            pending: Pending::default(),
            processes: Processes::default(),
            frame_bytes: 0,
            since_unix_ns: now_unix_ns,
            losses: Losses::default(),
        }
    }

    /// The reading side.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Names may take half of all bytes, most of them flows': the rest is the intervals'.
    fn room(&self) -> (u64, u64) {
        (self.bytes / 8 * 3, self.bytes / 8)
    }

    /// The number that a flow goes by, to be held as long as it has connections open.
    pub fn named(&mut self, flow: &NamedFlow) -> Arc<Named> {
        let identity = SeriesIdentity::of(flow, &self.of_flows);
        let (room, _) = self.room();
        let named = self.flows.intern(&identity, room, || identity.attributes());
        named.unwrap_or_else(|| {
            self.losses.flows += 1;
            Arc::clone(&self.folded)
        })
    }

    /// Adds what a flow measured, and gives the number that it goes by.
    pub fn add<'a>(
        &mut self,
        flow: &NamedFlow,
        measured: impl Iterator<Item = Measurement<'a>> + Clone,
        clock: &Clock,
    ) -> Arc<Named> {
        let named = self.named(flow);
        self.pending.add(&named, measured.clone());
        if let Some(process) = &flow.process {
            self.processes.add(process, flow.user.as_ref(), Some(named.id), measured, clock);
        }
        named
    }

    /// Adds what the kernel had no room to tell apart.
    pub fn add_overflow<'a>(&mut self, measured: impl Iterator<Item = Measurement<'a>>) {
        self.pending.add(&self.folded, measured);
    }

    /// Adds lookups of one kind.
    pub fn add_lookups(&mut self, flow: &NamedFlow, labels: &[Label], buckets: &[u32]) {
        let identity = SeriesIdentity::of(flow, &self.of_lookups);
        let key: Vec<(&str, &LabelValue)> = labels.iter().map(|(key, value)| (key.name, value)).collect();
        let (_, room) = self.room();
        let named = self.lookups.intern(&(&identity, key), room, || {
            let labels = labels.iter().map(|(key, value)| {
                let value = match value {
                    LabelValue::Text(text) => AttributeValue::String(Arc::clone(text)),
                    LabelValue::True => AttributeValue::Bool(true),
                };
                (key.name, value)
            });
            identity.attributes().into_iter().chain(labels).collect()
        });
        let named = named.unwrap_or_else(|| {
            self.losses.lookups += 1;
            Arc::clone(&self.folded)
        });
        self.pending.add_lookups(&named, buckets);
    }

    /// Ends the interval that runs. `open` has each flow with connections open: whose, what it goes by, and how many.
    pub fn close<'a>(
        &mut self,
        open: impl Iterator<Item = (Owner, Option<&'a Arc<Named>>, u64)>,
        interval: f64,
        now_unix_ns: u64,
    ) {
        let mut by_process: HashMap<ProcessId, u64> = HashMap::new();
        for (owner, named, n) in open {
            self.pending.add_open(named.unwrap_or(&self.folded), n);
            *by_process.entry(owner.process).or_default() += n;
        }
        self.processes.set_open(|process| by_process.get(&process).copied().unwrap_or(0));
        self.losses.processes = self.processes.evicted();
        let (flows, lookups) = self.pending.take();
        let seconds = now_unix_ns.saturating_sub(self.since_unix_ns) as f64 / 1e9;
        let frame = StoredFrame::new(now_unix_ns / 1_000_000, seconds, flows, lookups);
        self.since_unix_ns = now_unix_ns;
        self.frame_bytes += frame.bytes();
        let processes = self.processes.snapshot();
        {
            let mut shared = self.view.shared();
            shared.frames.push_back(Arc::new(frame));
            shared.processes = processes;
            shared.interval = interval;
        }
        self.forget_old(now_unix_ns);
        self.keep_within_bytes();
    }

    /// Shows the newest values of all series.
    pub fn show_metrics(&self, metrics: Arc<Vec<MetricData>>) {
        self.view.show_metrics(metrics);
    }

    /// Tells events to those who follow them.
    pub fn tell(&self, records: &[LogRecord]) {
        self.view.events.tell(records);
    }

    /// The wall clock was set back: intervals that have not ended yet by it would be in nobody's order. The one that runs
    /// began at `since_unix_ns` by the clock as it is.
    pub fn clock_was_set_back(&mut self, since_unix_ns: u64) {
        self.since_unix_ns = since_unix_ns;
        let frames = std::mem::take(&mut self.view.shared().frames);
        self.losses.frames += frames.len() as u64;
        self.frame_bytes = 0;
    }

    fn forget_old(&mut self, now_unix_ns: u64) {
        let age = u64::try_from(self.bounds.age.as_millis()).unwrap_or(u64::MAX);
        let oldest = (now_unix_ns / 1_000_000).saturating_sub(age);
        self.drop_oldest(|frames| frames.front().is_some_and(|frame| frame.time <= oldest));
    }

    /// The oldest go first; names go with the last interval that has them.
    fn keep_within_bytes(&mut self) {
        self.forget_names();
        let needed = self.needed();
        while !self.fits(needed) {
            let mut left = 1;
            let gone = self.drop_oldest(|frames| frames.len() > 1 && std::mem::take(&mut left) > 0);
            if gone == 0 {
                return;
            }
            self.losses.frames += gone;
            self.forget_names();
        }
    }

    /// Bytes of the names, of flows and of lookups, that the newest interval has: no other makes room for these.
    fn needed(&self) -> (u64, u64) {
        let shared = self.view.shared();
        let Some(newest) = shared.frames.back() else { return (0, 0) };
        let flows = newest.flow_names().map(|named| named.bytes()).sum();
        (flows, newest.lookup_names().map(|named| named.bytes()).sum())
    }

    /// Whether there is room, and for the names that come next as well.
    fn fits(&self, needed: (u64, u64)) -> bool {
        let (flows, lookups) = (self.flows.bytes(), self.lookups.bytes());
        let room = self.room();
        let crowded = |names: u64, needed: u64, room: u64| names > (room / 8 * 7).max(needed + room / 8);
        self.frame_bytes + flows + lookups <= self.bytes
            && !crowded(flows, needed.0, room.0)
            && !crowded(lookups, needed.1, room.1)
    }

    fn forget_names(&mut self) {
        self.flows.forget_unused();
        self.lookups.forget_unused();
    }

    /// Drops intervals from the oldest on as long as `goes` says so of what is there; gives how many.
    fn drop_oldest(&mut self, mut goes: impl FnMut(&VecDeque<Arc<StoredFrame>>) -> bool) -> u64 {
        // Freed after readers are let in again.
        let mut gone = Vec::new();
        let mut shared = self.view.shared();
        while goes(&shared.frames) {
            let Some(frame) = shared.frames.pop_front() else { break };
            self.frame_bytes -= frame.bytes();
            gone.push(frame);
        }
        drop(shared);
        gone.len() as u64
    }

    /// Keeps within a share of what is configured: 1/2^`halved`. From the third on, processes go as well.
    pub fn shed(&mut self, halved: u32) {
        self.bytes = self.bounds.bytes >> halved;
        if halved > 2 {
            self.processes.clear();
            self.view.shared().processes = Arc::default();
        }
        self.keep_within_bytes();
    }

    /// Bytes that are kept, and at most; then processes.
    #[must_use]
    pub fn fills(&self) -> [(usize, usize); 2] {
        let bytes = self.frame_bytes + self.flows.bytes() + self.lookups.bytes();
        [(bytes as usize, self.bytes as usize), self.processes.fill()]
    }

    /// What was let go of.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses { events: self.view.events.missed(), ..self.losses }
    }

    /// A process is told of though it measured nothing yet.
    #[cfg(test)]
    pub fn meet(&mut self, process: &Arc<crate::enrich::Process>, clock: &Clock) {
        self.processes.add(process, None, None, std::iter::empty(), clock);
    }
}
