//! The task's part on what listens: telling the history and the judge of it, between sweeps and at each.

use std::sync::Arc;

use netsonde_audit::model::Listener as Row;
use netsonde_audit::report::Source;
use netsonde_history::BootId;
use netsonde_probes::records::{Owner, SocketEvent, SocketEventKind};

use super::super::logs::{self, Ownership};
use super::Aggregation;
use crate::audit::{Circumstances, Judge, Openings, Taker};
use crate::config::Config;
use crate::enrich::{Clock, Process};
use crate::history::{HistoryStatus, Recorder};
use crate::select::user_id;

/// What is known of what listens.
pub(super) struct Listening {
    openings: Openings,
    judge: Judge,
    /// `None` when no history is kept.
    recorder: Option<Recorder>,
}

impl Listening {
    pub fn new(config: &Config, recorder: Option<Recorder>) -> Self {
        let boot = recorder.as_ref().map_or(BootId([0; 16]), Recorder::boot);
        Self { openings: Openings::new(boot), judge: Judge::new(&config.audit), recorder }
    }

    pub fn begin_batch(&mut self) {
        self.openings.begin_batch();
    }

    pub fn history(&self) -> HistoryStatus {
        self.recorder.as_ref().map(Recorder::status).unwrap_or_default()
    }

    pub fn violations(&self) -> Vec<(String, u64)> {
        self.judge.violations().map(|(rule, count)| (rule.to_owned(), count)).collect()
    }

    pub fn fill(&self) -> (usize, usize) {
        self.openings.fill()
    }

    pub fn untracked(&self) -> u64 {
        self.openings.untracked()
    }
}

impl Aggregation {
    /// A listener opened or closed, and is observed.
    pub(super) fn take_listen(&mut self, event: &SocketEvent, process: Option<Arc<Process>>, clock: &Clock) {
        let at = clock.unix_of(event.time_ns);
        if event.kind == SocketEventKind::ListenOpen {
            let row = self.row(event, Some(event.time_ns), process, clock);
            let opened = self.listening.openings.opened(event.cookie, at, event.owner, row.clone());
            self.record(opened);
            self.live.opened(event.cookie, || row.clone());
            self.judge(&row, Some(event.owner), at, clock);
            return;
        }
        self.live.closed(event.cookie);
        let duration_ns = Some(event.duration_ns).filter(|ns| *ns > 0);
        let opened_ns = duration_ns.map(|ns| event.time_ns.saturating_sub(ns));
        // Asked for in the rare case that the opening is not known, or not its port.
        let opening = self.listening.openings.get_mut(event.cookie);
        let row = opening
            .is_none_or(|opening| opening.lacks_port())
            .then(|| self.row(event, opened_ns, process, clock));
        if let Some(row) = row.as_ref().filter(|row| row.port.is_some()) {
            self.judge(row, Some(event.owner), at, clock);
        }
        let row = || row.unwrap_or_else(|| Row::new(netsonde_audit::model::Transport::Tcp, None, None));
        for event in self.listening.openings.closed(event.cookie, at, duration_ns, row) {
            self.record(event);
        }
    }

    fn row(
        &mut self,
        event: &SocketEvent,
        opened_ns: Option<u64>,
        process: Option<Arc<Process>>,
        clock: &Clock,
    ) -> Row {
        let Self { places, processes, users, holders, .. } = self;
        let places = places.knowing(event.network_namespace);
        let at = Circumstances { places, clock, source: Source::Daemon };
        Taker::new(processes, users, holders, at).told(event, opened_ns, process)
    }

    fn record(&self, event: netsonde_history::Event<Box<Row>>) {
        if let Some(recorder) = &self.listening.recorder {
            recorder.happened(event);
        }
    }

    /// Tells of a listener that may not be, if that is news.
    fn judge(&mut self, row: &Row, owner: Option<Owner>, at: u64, clock: &Clock) {
        let Listening { openings, judge, .. } = &mut self.listening;
        if judge.allows_everything() {
            return;
        }
        let Some(cookie) = row.cookie else { return };
        // One that is not followed, for there are too many, is judged when it opens.
        let mut unfollowed = crate::audit::Mark::default();
        let mark = openings.get_mut(cookie).map_or(&mut unfollowed, |opening| &mut opening.mark);
        let Some(rule) = judge.judge(row, mark) else { return };
        let process = owner.and_then(|owner| self.processes.resolve(owner));
        let holders = self.holders_of(cookie);
        let user = owner.and_then(user_id).map_or_else(|| "".into(), |uid| self.users.name(uid));
        let own = owner.is_some_and(|owner| self.is_own(owner));
        let ownership = Ownership { process: process.as_deref(), user, holders: &holders, own };
        let owned = owner.map(|owner| (owner, &ownership));
        self.pending_logs.push(logs::violation::violation(row, &rule, owned, at, clock));
        self.violated = true;
    }

    /// Takes in what a sweep met, each with its owner if it has one.
    pub(super) fn take_inventory(&mut self, rows: &[Row], owners: &[Owner], complete: bool, clock: &Clock) {
        let now = clock.unix_ns();
        let owned = || owners.iter().copied().map(Some).chain(std::iter::repeat(None));
        let swept = self.listening.openings.swept(rows.iter().zip(owned()), complete, now);
        if let Some(recorder) = &self.listening.recorder {
            if recorder.wants_all() || swept.differs {
                recorder.all_open(self.listening.openings.all(rows.iter()), now);
            } else {
                swept.opened.into_iter().for_each(|event| recorder.happened(event));
            }
        }
        self.judge_all(rows.iter(), clock);
    }

    /// Judges what is open, as the last sweep knows it or as it opened since.
    fn judge_all<'a>(&mut self, rows: impl Iterator<Item = &'a Row>, clock: &Clock) {
        if self.listening.judge.allows_everything() {
            return;
        }
        let now = clock.unix_ns();
        for row in rows {
            let opening = row.cookie.and_then(|cookie| self.listening.openings.get_mut(cookie));
            // What has closed meanwhile, or is not followed, was judged when it opened.
            let Some(owner) = opening.map(|opening| opening.owner) else { continue };
            self.judge(row, owner, now, clock);
        }
    }

    /// Other rules of the audit are in force, perhaps.
    pub(super) fn reconfigure_audit(&mut self, config: &Config, clock: &Clock) {
        if !self.listening.judge.replace(&config.audit) {
            return;
        }
        let inventory = self.publish.inventory.borrow().clone();
        let rows = inventory.iter().flat_map(|inventory| &inventory.listeners).map(Arc::as_ref);
        self.judge_all(rows, clock);
        let unswept = self.listening.openings.iter_mut();
        let unswept: Vec<_> =
            unswept.filter_map(|(_, opening)| Some((opening.unswept.clone()?, opening.owner))).collect();
        for (row, owner) in unswept {
            self.judge(&row, owner, clock.unix_ns(), clock);
        }
        self.flush_logs();
    }
}
