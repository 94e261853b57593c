//! What became of everything a destination was handed: the one ledger behind `netsonde.self.export.*` and
//! `netsonde status`.
//!
//! Owns the counts and their balance (accepted = delivered + rejected + lost + pending). What an earlier process
//! left in the spool is accepted when it is found; what waits there at the end stays pending. Naming them as
//! metrics is the aggregator's matter, showing them the status page's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::telemetry::Telemetry;

/// The kinds of telemetry a destination takes, counted apart: points and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Counted in data points.
    Metrics,
    /// Counted in log records.
    Logs,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 2] = [Self::Metrics, Self::Logs];

    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The signal of a batch and how many points or records it holds.
    pub fn of(telemetry: &Telemetry) -> (Self, u64) {
        match telemetry {
            Telemetry::Metrics(metrics) => {
                (Self::Metrics, metrics.iter().map(|metric| metric.points.len() as u64).sum())
            }
            Telemetry::Logs(records) => (Self::Logs, records.len() as u64),
        }
    }
}

/// Why points or records never reached a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// The destination was too slow to take the batch over.
    InboxFull,
    /// The queue of encoded requests was full; the oldest went.
    QueueFull,
    /// The collector said no, in a way that forbids trying again.
    Refused,
    /// The daemon stopped before it could be sent.
    Shutdown,
    /// The file system had no room.
    DiskFull,
    /// Nobody reads the output any more.
    BrokenPipe,
    /// Any other failure to write.
    WriteFailed,
    /// It contradicts its own description: a bucket too many, a histogram on a counter, not a number.
    Invalid,
    /// The spool was full; the oldest went.
    SpoolFull,
    /// The spool's files were damaged, or gone.
    SpoolDamaged,
}

impl LossReason {
    /// Every reason, in the order of [`SignalStatistics::lost`].
    pub const ALL: [Self; 10] = [
        Self::InboxFull,
        Self::QueueFull,
        Self::Refused,
        Self::Shutdown,
        Self::DiskFull,
        Self::BrokenPipe,
        Self::WriteFailed,
        Self::Invalid,
        Self::SpoolFull,
        Self::SpoolDamaged,
    ];

    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::InboxFull => "inbox_full",
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::DiskFull => "disk_full",
            Self::BrokenPipe => "broken_pipe",
            Self::WriteFailed => "write_failed",
            Self::Invalid => "invalid",
            Self::SpoolFull => "spool_full",
            Self::SpoolDamaged => "spool_damaged",
        }
    }
}

/// The ledger of one signal at one destination. Items are points or records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignalStatistics {
    /// Items handed to the destination, `restored` included.
    pub accepted: u64,
    /// Items that an earlier process had left in the spool.
    pub restored: u64,
    /// Items the destination has.
    pub delivered: u64,
    /// Items the collector took over but threw away (OTLP partial success).
    pub rejected: u64,
    /// Items lost, by [`LossReason::ALL`].
    pub lost: [u64; LossReason::ALL.len()],
    /// Requests, lines or prints that succeeded.
    pub requests_ok: u64,
    /// Attempts that failed, each retry counted.
    pub requests_failed: u64,
    /// Those of them since the last that succeeded.
    pub failures: u64,
    /// Bytes of bodies that left, compressed as sent, failed attempts included.
    pub bytes_sent: u64,
    /// Encoded bytes that wait to be sent, in memory and in the spool.
    pub queue_bytes: u64,
    /// What waits on disk.
    pub spool: SpoolStatistics,
}

/// How a spool fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpoolState {
    /// There is none: everything waits in memory.
    #[default]
    Off,
    /// Takes what comes.
    Active,
    /// Takes nothing until there is room on its disk; what comes waits in memory.
    DiskFull,
    /// Cannot be used; what comes waits in memory.
    Unavailable,
}

impl SpoolState {
    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Active => "active",
            Self::DiskFull => "disk_full",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The spool of one signal at one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStatistics {
    /// Whether it works.
    pub state: SpoolState,
    /// Why it does not.
    pub error: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that they may have.
    pub limit: u64,
    /// Requests that wait.
    pub records: u64,
    /// Items that a restart would find.
    pub kept_items: u64,
    /// When the oldest of the requests was written.
    pub oldest: Option<SystemTime>,
}

impl SignalStatistics {
    /// Items lost for one reason.
    pub fn lost(&self, reason: LossReason) -> u64 {
        self.lost[reason as usize]
    }

    /// Items lost for any reason.
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().fold(0, |sum, lost| sum.saturating_add(*lost))
    }

    /// Items whose fate is open.
    pub fn pending(&self) -> u64 {
        let settled = self.delivered.saturating_add(self.rejected).saturating_add(self.lost_total());
        self.accepted.saturating_sub(settled)
    }
}

/// The ledger of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatistics {
    /// What a collector is called in the configuration; `file` or `console`, with a number where there are two.
    pub name: String,
    /// Since when the counts run; a reload starts them anew.
    pub started: SystemTime,
    /// Points.
    pub metrics: SignalStatistics,
    /// Records.
    pub logs: SignalStatistics,
    /// What the last failure said.
    pub last_error: Option<String>,
    /// When the destination last took something.
    pub last_success: Option<SystemTime>,
}

impl DestinationStatistics {
    /// The ledger of one signal.
    pub fn signal(&self, signal: Signal) -> &SignalStatistics {
        match signal {
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// The live ledger, shared by a destination's tasks.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    statistics: DestinationStatistics,
    /// Set when the destination was given up: what it still reports would be counted twice.
    closed: bool,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(name: String) -> Self {
        let statistics = DestinationStatistics {
            name,
            started: SystemTime::now(),
            metrics: SignalStatistics::default(),
            logs: SignalStatistics::default(),
            last_error: None,
            last_success: None,
        };
        Self { inner: Mutex::new(Inner { statistics, closed: false }) }
    }

    /// Items handed over; each is settled later by exactly one of the calls below.
    pub fn accept(&self, signal: Signal, items: u64) {
        self.update(signal, |statistics| statistics.accepted += items);
    }

    /// One request was taken, of whose items `rejected` were thrown away there.
    pub fn deliver(&self, signal: Signal, items: u64, rejected: u64) {
        // A collector can claim to have rejected more than it was sent.
        let rejected = rejected.min(items);
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        inner.statistics.last_success = Some(SystemTime::now());
        let statistics = inner.signal(signal);
        statistics.requests_ok += 1;
        statistics.failures = 0;
        statistics.delivered += items - rejected;
        statistics.rejected += rejected;
    }

    /// Items that will never arrive.
    pub fn lose(&self, signal: Signal, reason: LossReason, items: u64) {
        self.update(signal, |statistics| {
            let lost = &mut statistics.lost[reason as usize];
            *lost = lost.saturating_add(items);
        });
    }

    /// One attempt failed; whether its items are lost is counted apart.
    pub fn fail(&self, signal: Signal, error: String) {
        let mut inner = self.lock();
        if !inner.closed {
            let statistics = inner.signal(signal);
            statistics.requests_failed += 1;
            statistics.failures = statistics.failures.saturating_add(1);
            inner.statistics.last_error = Some(error);
        }
    }

    /// What a collector said about items that it rejected.
    pub fn note(&self, message: String) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.statistics.last_error = Some(message);
        }
    }

    /// Bytes of a body left this host.
    pub fn sent(&self, signal: Signal, bytes: u64) {
        self.update(signal, |statistics| statistics.bytes_sent += bytes);
    }

    /// Encoded bytes that wait, and the spool's part of them.
    pub fn set_waiting(&self, signal: Signal, queue_bytes: u64, spool: SpoolStatistics) {
        self.update(signal, |statistics| {
            statistics.queue_bytes = queue_bytes;
            statistics.spool = spool;
        });
    }

    /// Items of an earlier process that were found.
    pub fn restore(&self, signal: Signal, items: u64) {
        self.update(signal, |statistics| {
            statistics.accepted = statistics.accepted.saturating_add(items);
            statistics.restored = statistics.restored.saturating_add(items);
        });
    }

    /// Ends the ledger: what is open and not in a spool is lost to the shutdown, later reports are ignored.
    pub fn close(&self) -> DestinationStatistics {
        let mut inner = self.lock();
        if !inner.closed {
            inner.closed = true;
            for signal in Signal::ALL {
                let statistics = inner.signal(signal);
                let pending = statistics.pending();
                let kept = pending.min(statistics.spool.kept_items);
                statistics.lost[LossReason::Shutdown as usize] += pending - kept;
                if kept == 0 {
                    statistics.queue_bytes = 0;
                }
            }
        }
        inner.statistics.clone()
    }

    /// The counts now.
    pub fn snapshot(&self) -> DestinationStatistics {
        self.lock().statistics.clone()
    }

    fn update(&self, signal: Signal, change: impl FnOnce(&mut SignalStatistics)) {
        let mut inner = self.lock();
        if !inner.closed {
            change(inner.signal(signal));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two related writes, so a poisoned ledger is still a true one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn signal(&mut self, signal: Signal) -> &mut SignalStatistics {
        match signal {
            Signal::Metrics => &mut self.statistics.metrics,
            Signal::Logs => &mut self.statistics.logs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_the_order_of_their_counts() {
        for (index, reason) in LossReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn the_books_balance_and_close_once() {
        let ledger = Ledger::new("otlp".into());
        ledger.accept(Signal::Metrics, 10);
        ledger.deliver(Signal::Metrics, 4, 1);
        ledger.lose(Signal::Metrics, LossReason::QueueFull, 2);
        assert_eq!(ledger.snapshot().metrics.pending(), 4);

        let closed = ledger.close();
        assert_eq!(closed.metrics.delivered, 3);
        assert_eq!(closed.metrics.rejected, 1);
        assert_eq!(closed.metrics.lost(LossReason::Shutdown), 4);
        assert_eq!(closed.metrics.pending(), 0);

        ledger.deliver(Signal::Metrics, 4, 0);
        assert_eq!(ledger.close(), closed);
    }

    #[test]
    fn failures_are_counted_until_something_gets_through() {
        let ledger = Ledger::new("otlp".into());
        let failures = || (ledger.snapshot().logs.failures, ledger.snapshot().logs.requests_failed);
        ledger.fail(Signal::Logs, "away".into());
        ledger.fail(Signal::Logs, "away".into());
        assert_eq!(failures(), (2, 2));
        ledger.deliver(Signal::Metrics, 1, 0);
        assert_eq!(failures(), (2, 2), "another lane's success is none");
        ledger.deliver(Signal::Logs, 1, 0);
        assert_eq!(failures(), (0, 2));
    }

    #[test]
    fn what_the_spool_keeps_is_not_lost_to_the_shutdown() {
        let ledger = Ledger::new("otlp".into());
        ledger.accept(Signal::Logs, 10);
        ledger.restore(Signal::Logs, 5);
        ledger.deliver(Signal::Logs, 4, 0);
        let spool = SpoolStatistics { kept_items: 8, ..SpoolStatistics::default() };
        ledger.set_waiting(Signal::Logs, 100, spool);
        let closed = ledger.close().logs;
        assert_eq!((closed.accepted, closed.restored, closed.lost(LossReason::Shutdown)), (15, 5, 3));
        assert_eq!((closed.pending(), closed.queue_bytes), (8, 100));
    }

    #[test]
    fn no_more_is_rejected_than_was_sent() {
        let ledger = Ledger::new("otlp".into());
        ledger.accept(Signal::Logs, 2);
        ledger.deliver(Signal::Logs, 2, u64::MAX);
        assert_eq!(ledger.snapshot().logs.rejected, 2);
        assert_eq!(ledger.snapshot().logs.delivered, 0);
    }
}
