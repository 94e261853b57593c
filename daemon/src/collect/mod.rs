//! The thread that owns the BPF objects: reads the rings, sweeps once an interval and hands everything on in
//! batches. It decides nothing about what it reads.
//!
//! When the aggregation falls behind, the thread waits for it: the kernel goes on summing meanwhile, so
//! metrics lose nothing, and what a ring cannot hold is counted there.

use std::sync::Arc;
use std::sync::mpsc as control;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use netsonde_probes::capabilities::{Until, needed_until};
use netsonde_probes::select::RuleMatches;
use netsonde_probes::{
    Options, ProbeError, Probes, ProgramRuntime, Records, RingFill, Settings, SignalStatus, Sweep, TableFill,
};
use rustix::thread::CapabilitySet;
use tokio::sync::{mpsc, oneshot};

use crate::enrich::Clock;
use crate::privileges::{self, Reserved};
use crate::progress::{Progress, Stage};

/// How often the rings are read when nothing wakes the reader.
const POLL: Duration = Duration::from_millis(100);

/// Batches that may wait for the aggregation.
const QUEUE: usize = 16;

/// Lookups that nobody answered end by the clock: so often at least there is a batch, if an empty one.
const TICK: Duration = Duration::from_millis(500);

/// What the thread hands on.
#[derive(Debug)]
pub enum Collected {
    /// What the rings held, and what the DNS messages among it are to be read by.
    Records(Records, Reading),
    /// A sweep, with the state of the kernel side after it.
    Sweep(Box<SweepReport>),
}

/// When messages were read, and what is missing from them. Nanoseconds since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Nothing of it was written before; 0 for the first.
    pub since_ns: u64,
    /// All DNS messages until then have been handed on.
    pub until_ns: u64,
    /// When the count of missing messages was read.
    pub counted_ns: u64,
    /// DNS messages that the kernel did not hand on, since the start.
    pub dns_shed: u64,
}

/// A sweep and what belongs to it.
#[derive(Debug)]
pub struct SweepReport {
    /// What it brought; the error when it failed.
    pub sweep: Result<Sweep, String>,
    /// How long it took.
    pub took: Duration,
    /// Losses since the start, by reason.
    pub losses: Vec<(&'static str, u64)>,
    /// Sockets that the kernel decided by each selection rule.
    pub rule_matches: RuleMatches,
    /// State of every signal.
    pub signals: Vec<SignalStatus>,
    /// Run times of the programs.
    pub programs: Vec<ProgramRuntime>,
    /// How full the rings were since the report before.
    pub rings: Vec<RingFill>,
    /// How full the kernel's tables are.
    pub tables: Vec<TableFill>,
    /// Flows that one interval can hold.
    pub flow_capacity: u32,
}

enum Order {
    /// Answered when it is in force.
    Reconfigure(Duration, Settings, oneshot::Sender<()>),
    Stop,
}

/// The running thread.
pub struct Collector {
    orders: control::Sender<Order>,
    thread: JoinHandle<()>,
    end: control::Receiver<anyhow::Result<()>>,
}

impl Collector {
    /// Has a thread load the probes, and waits until they are. A thread of its own, because it blocks and moves
    /// between network namespaces; it then gives up the privileges that only loading needs.
    ///
    /// # Errors
    ///
    /// When the probes cannot be loaded; the cause is a [`netsonde_probes::ProbeError`].
    pub async fn start(
        thread: Reserved,
        options: Options,
        interval: Duration,
        progress: Arc<Progress>,
    ) -> anyhow::Result<(Self, Vec<SignalStatus>, mpsc::Receiver<Collected>)> {
        let (orders, inbox) = control::channel();
        let (to, collected) = mpsc::channel(QUEUE);
        let (loaded, ready) = oneshot::channel();
        let (ended, end) = control::channel();
        let thread = thread.run(move || {
            let outcome = match Probes::load(&options) {
                Ok(mut probes) => {
                    give_up_privileges(&probes);
                    // The receiver waits for it.
                    let _ = loaded.send(Ok(probes.signals()));
                    run(&mut probes, interval, &inbox, &to, &progress)
                }
                Err(e) => {
                    let _ = loaded.send(Err(e));
                    Ok(())
                }
            };
            // Read when the thread is joined.
            let _ = ended.send(outcome);
        });
        let signals =
            ready.await.map_err(|_| anyhow!("the collecting thread died while it loaded the probes"))??;
        Ok((Self { orders, thread, end }, signals, collected))
    }

    /// Changes the interval and the settings, and returns when they are in force.
    pub async fn reconfigure(&self, interval: Duration, settings: Settings) {
        let (done, in_force) = oneshot::channel();
        // A thread that is gone says why when it is joined.
        let _ = self.orders.send(Order::Reconfigure(interval, settings, done));
        let _ = in_force.await;
    }

    /// Asks for a last reading of rings and sockets, after which the channel closes.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    /// Waits for the end of the thread.
    ///
    /// # Errors
    ///
    /// What ended it, if it was not asked to.
    pub fn join(self) -> anyhow::Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow!("the collecting thread panicked"))?;
        self.end.recv().context("the collecting thread left no word")?
    }
}

/// Keeps what sweeping needs. Kernels before 5.19 also ask for CAP_BPF, or CAP_SYS_ADMIN, where a map is read and
/// unprivileged BPF is switched off (`__sys_bpf()`): that is found out by reading one.
fn give_up_privileges(probes: &Probes) {
    let kept = needed_until(&[Until::EndBySweeping, Until::EndByNaming]);
    let outcome = privileges::keep_only_unless(kept, CapabilitySet::BPF, || probes.losses().is_ok());
    if let Err(error) = outcome {
        tracing::warn!(%error, "the collecting thread keeps privileges that it does not need");
    }
}

fn run(
    probes: &mut Probes,
    mut interval: Duration,
    inbox: &control::Receiver<Order>,
    to: &mpsc::Sender<Collected>,
    progress: &Progress,
) -> anyhow::Result<()> {
    // At once: the sockets that are there get their baseline and their owners.
    let mut next_sweep = Instant::now();
    // Its walk comes before any event, so that every fork that is told of finds its parent known.
    if to.blocking_send(Collected::Sweep(Box::new(report(probes)))).is_err() {
        return Ok(());
    }
    next_sweep = following(next_sweep, interval, Instant::now());
    let (mut last_batch, mut last) = (Instant::now(), Reading::default());
    loop {
        progress.round(Stage::Collect);
        let mut stop = false;
        loop {
            match inbox.try_recv() {
                Ok(Order::Reconfigure(wanted, settings, done)) => {
                    next_sweep = next_sweep.min(Instant::now() + wanted);
                    interval = wanted;
                    probes.set(&settings).context("cannot change the probes' settings")?;
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Ok(Order::Stop) | Err(control::TryRecvError::Disconnected) => {
                    stop = true;
                    break;
                }
                Err(control::TryRecvError::Empty) => break,
            }
        }
        let wait = if stop {
            Duration::ZERO
        } else {
            next_sweep.saturating_duration_since(Instant::now()).min(POLL)
        };
        let (records, reading) = read(probes, wait, &mut last)?;
        if !records.is_empty() || last_batch.elapsed() >= TICK {
            last_batch = Instant::now();
            if to.blocking_send(Collected::Records(records, reading)).is_err() {
                return Ok(());
            }
        }
        let now = Instant::now();
        if !stop && now < next_sweep {
            continue;
        }
        let report = report(probes);
        // Processes that the sweep's flows belong to were told of before them: hand those on first.
        let (records, reading) = read(probes, Duration::ZERO, &mut last)?;
        last_batch = Instant::now();
        if to.blocking_send(Collected::Records(records, reading)).is_err() {
            return Ok(());
        }
        if to.blocking_send(Collected::Sweep(Box::new(report))).is_err() || stop {
            return Ok(());
        }
        next_sweep = following(next_sweep, interval, Instant::now());
    }
}

/// Reads the rings, then how many DNS messages they had no room for: what is missing from a batch is counted in its
/// own reading at the latest. Where the count is out of reach, it is taken for the one before.
fn read(probes: &mut Probes, wait: Duration, last: &mut Reading) -> anyhow::Result<(Records, Reading)> {
    let until_ns = Clock::read().boot_ns();
    let records = probes.poll(wait).context("cannot read the rings")?;
    let dns_shed = probes.dns_messages_shed().map_err(out_of_reach).unwrap_or(last.dns_shed);
    *last = Reading { since_ns: last.until_ns, until_ns, counted_ns: Clock::read().boot_ns(), dns_shed };
    Ok((records, *last))
}

fn out_of_reach(e: ProbeError) {
    let error = format!("{:#}", anyhow::Error::from(e));
    tracing::warn!(error, "the kernel's counters are out of reach");
}

/// The next time on the grid of intervals: a late sweep does not move those after it, and those that were
/// missed altogether are not made up for.
fn following(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now { next } else { now + interval }
}

fn report(probes: &mut Probes) -> SweepReport {
    let began = Instant::now();
    let sweep = probes.sweep().map_err(|e| format!("{:#}", anyhow::Error::from(e)));
    let took = began.elapsed();
    SweepReport {
        sweep,
        took,
        losses: probes.losses().map_err(out_of_reach).unwrap_or_default(),
        rule_matches: probes.rule_matches().map_err(out_of_reach).unwrap_or_default(),
        signals: probes.signals(),
        programs: probes.program_runtimes(),
        rings: probes.ring_fills(),
        tables: probes.table_fills(),
        flow_capacity: probes.flow_capacity(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_keep_to_their_grid_and_missed_ones_are_skipped() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(following(start, second, start + second / 10), start + second);
        assert_eq!(following(start, second, start + second * 5), start + second * 6);
    }
}
