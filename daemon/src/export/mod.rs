//! Every way out of the daemon: OTLP collectors, a file of OTLP/JSON lines, the console.
//!
//! Owns the destinations and what becomes of each batch at each of them. It takes telemetry as the
//! aggregation made it and never makes the aggregation wait: a destination that falls behind loses what it
//! cannot take, by count.

mod console;
mod file;
mod health;
mod otlp;
pub mod prometheus;
mod statistics;
#[cfg(test)]
mod testing;
mod writer;

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

#[cfg(test)]
pub use self::testing::record as example_record;
pub use console::{Line, Values, push_line};
pub use statistics::{
    DestinationStatistics, LossReason, Signal, SignalStatistics, SpoolState, SpoolStatistics,
};

use self::console::ConsoleSink;
pub use self::console::duration;
use self::file::FileSink;
use self::otlp::{LaneHandle, SpoolSettings};
use self::statistics::Ledger;
use self::writer::WriterHandle;
use crate::config::export::{FileConfig, OtlpConfig, SpoolConfig};
use crate::telemetry::{AttributeValue, Telemetry};

/// Batches of one signal that a destination may leave unread.
const INBOX_BATCHES: usize = 64;

/// One place to send telemetry to.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A collector.
    Otlp(Box<OtlpConfig>),
    /// A file of OTLP/JSON lines.
    File(FileConfig),
    /// Lines and tables for people, on standard output.
    Console {
        /// Whether to colour them.
        color: bool,
    },
}

impl Destination {
    fn kind(&self) -> &'static str {
        match self {
            Self::Otlp(_) => "otlp",
            Self::File(_) => "file",
            Self::Console { .. } => "console",
        }
    }
}

/// All running destinations.
#[derive(Debug)]
pub struct Exporters {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    ledger: Arc<Ledger>,
    /// Of metrics and of logs; a writer has one inbox for both, so that its lines keep their order.
    inboxes: [mpsc::Sender<Telemetry>; 2],
    worker: Worker,
}

#[derive(Debug)]
enum Worker {
    Lanes(Vec<LaneHandle>),
    Writer(WriterHandle),
}

impl Exporters {
    /// Starts every destination on the current tokio runtime. `resource` describes this host and service
    /// (`service.name`, `host.name`, …) in what is sent as OTLP. What waits for a collector waits in `spool`.
    ///
    /// # Errors
    /// If a destination cannot be used as configured: a malformed URL or header, a file that does not open.
    /// A collector that is away is no error, nor is a spool that cannot be used.
    pub fn start(
        destinations: Vec<Destination>,
        resource: &[(String, AttributeValue)],
        spool: &SpoolConfig,
    ) -> anyhow::Result<Self> {
        let resource = otlp::resource(resource);
        let mut running: Vec<Running> = Vec::new();
        let mut kinds = Vec::new();
        for destination in destinations {
            let kind = destination.kind();
            let same = kinds.iter().filter(|other| **other == kind).count();
            kinds.push(kind);
            let name = match &destination {
                Destination::Otlp(config) => config.name.clone(),
                _ if same == 0 => kind.to_owned(),
                _ => format!("{kind}{}", same + 1),
            };
            let spools = Signal::ALL.map(|signal| lane_spool(spool, &name, signal));
            let ledger = Arc::new(Ledger::new(name));
            let (metrics, metrics_inbox) = mpsc::channel(INBOX_BATCHES);
            let (inboxes, worker) = match &destination {
                Destination::Otlp(config) => {
                    let (logs, logs_inbox) = mpsc::channel(INBOX_BATCHES);
                    let lane = |signal, inbox, spool| {
                        otlp::start(
                            config,
                            signal,
                            Bytes::clone(&resource),
                            inbox,
                            Arc::clone(&ledger),
                            spool,
                        )
                    };
                    let [for_metrics, for_logs] = spools;
                    let lanes = vec![
                        lane(Signal::Metrics, metrics_inbox, for_metrics)?,
                        lane(Signal::Logs, logs_inbox, for_logs)?,
                    ];
                    ([metrics, logs], Worker::Lanes(lanes))
                }
                Destination::File(config) => {
                    let sink = FileSink::open(config, Bytes::clone(&resource))?;
                    let writer = writer::start(sink, kind, metrics_inbox, Arc::clone(&ledger))?;
                    ([metrics.clone(), metrics], Worker::Writer(writer))
                }
                Destination::Console { color } => {
                    let sink = ConsoleSink::stdout(*color).context("cannot use stdout")?;
                    let writer = writer::start(sink, kind, metrics_inbox, Arc::clone(&ledger))?;
                    ([metrics.clone(), metrics], Worker::Writer(writer))
                }
            };
            running.push(Running { ledger, inboxes, worker });
        }
        Ok(Self { running })
    }

    /// Hands one batch to every destination. Never waits.
    pub fn send(&self, telemetry: &Telemetry) {
        let (signal, items) = Signal::of(telemetry);
        for destination in &self.running {
            // First, so that no destination can settle what it has not accepted.
            destination.ledger.accept(signal, items);
            let refused = match destination.inboxes[signal as usize].try_send(telemetry.clone()) {
                Ok(()) => continue,
                Err(TrySendError::Full(_)) => LossReason::InboxFull,
                // A worker leaves before its inbox closes only if nobody reads what it writes.
                Err(TrySendError::Closed(_)) => LossReason::BrokenPipe,
            };
            destination.ledger.lose(signal, refused, items);
        }
    }

    /// Has every file opened anew before it is next written to.
    pub fn reopen_files(&self) {
        for destination in &self.running {
            if let Worker::Writer(writer) = &destination.worker {
                writer.reopen();
            }
        }
    }

    /// What became of everything sent so far, per destination.
    pub fn statistics(&self) -> Vec<DestinationStatistics> {
        self.running.iter().map(|destination| destination.ledger.snapshot()).collect()
    }

    /// Resolves when no destination is left that anyone reads: standard output was closed and there is no
    /// other. Collectors and files never end by themselves.
    pub async fn abandoned(&self) {
        for destination in &self.running {
            match &destination.worker {
                Worker::Lanes(_) => std::future::pending().await,
                Worker::Writer(writer) => writer.ended().await,
            }
        }
        if self.running.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends what is queued, as far as that goes until the deadline. The rest stays in the spool for the next start;
    /// without one it is counted as lost to the shutdown. Returns the final statistics.
    pub async fn shutdown(self, deadline: Instant) -> Vec<DestinationStatistics> {
        let ends = self.running.into_iter().map(|running| running.end(deadline));
        join_all(ends).await
    }
}

/// The spool's part for one lane. Each signal has half, so that a flood of logs cannot push out the metrics.
fn lane_spool(spool: &SpoolConfig, destination: &str, signal: Signal) -> Option<SpoolSettings> {
    // Names are ours or the configuration's; the path shall stay below the spool's whatever they are.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = destination.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let directory = spool.path.as_ref()?.join(name).join(signal.name());
    Some(SpoolSettings { directory, limit: spool.size / Signal::ALL.len() as u64 })
}

impl Running {
    async fn end(self, deadline: Instant) -> DestinationStatistics {
        match self.worker {
            Worker::Lanes(lanes) => {
                for lane in &lanes {
                    lane.deadline.send_replace(Some(deadline));
                }
                drop(self.inboxes);
                join_all(lanes.into_iter().map(|mut lane| async move {
                    if tokio::time::timeout_at(deadline, &mut lane.task).await.is_err() {
                        lane.task.abort();
                    }
                }))
                .await;
            }
            Worker::Writer(writer) => {
                drop(self.inboxes);
                if tokio::time::timeout_at(deadline, writer.ended()).await.is_err() {
                    tracing::warn!("an export writer hangs and is left behind");
                }
            }
        }
        let statistics = self.ledger.close();
        for signal in Signal::ALL {
            let lost = statistics.signal(signal).lost(LossReason::Shutdown);
            let kept = statistics.signal(signal).pending();
            let destination = &statistics.name;
            if kept > 0 {
                tracing::info!(destination, signal = signal.name(), kept, "kept in the spool");
            }
            if lost > 0 {
                tracing::warn!(destination, signal = signal.name(), lost, "lost to the shutdown");
            }
        }
        statistics
    }
}

#[cfg(test)]
mod tests;
