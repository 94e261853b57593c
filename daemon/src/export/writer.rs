//! Destinations on this host, which block when they are slow: each has a thread of its own.
//!
//! Owns that thread, its inbox and its end. What is written is the sink's matter.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::statistics::{Ledger, LossReason, Signal};
use crate::telemetry::Telemetry;

/// Something that batches are written to.
pub trait Sink: Send + 'static {
    /// Writes one batch and settles each of its items in the ledger. `Break` says that nobody will ever
    /// read what is written.
    fn write(&mut self, telemetry: Telemetry, ledger: &Ledger) -> ControlFlow<()>;

    /// Opens the target anew, after it was renamed or removed.
    fn reopen(&mut self) {}
}

/// The running thread. It ends when its inbox closes and is empty.
#[derive(Debug)]
pub struct WriterHandle {
    reopen: Arc<AtomicBool>,
    /// Closes when the thread ends.
    ended: watch::Receiver<()>,
}

impl WriterHandle {
    /// Has the target opened anew before the next batch is written.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Waits until the thread has ended. A thread that hangs in a write is left behind.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// Starts the thread of one sink.
///
/// # Errors
/// If the system has no thread to give.
pub fn start(
    mut sink: impl Sink,
    name: &str,
    mut inbox: mpsc::Receiver<Telemetry>,
    ledger: Arc<Ledger>,
) -> anyhow::Result<WriterHandle> {
    let reopen = Arc::new(AtomicBool::new(false));
    let reopen_requested = Arc::clone(&reopen);
    let (alive, ended) = watch::channel(());
    std::thread::Builder::new()
        .name(format!("export-{name}"))
        .spawn(move || {
            let _alive = alive;
            while let Some(telemetry) = inbox.blocking_recv() {
                if reopen_requested.swap(false, Ordering::AcqRel) {
                    sink.reopen();
                }
                if sink.write(telemetry, &ledger).is_break() {
                    break;
                }
            }
            inbox.close();
            while let Some(telemetry) = inbox.blocking_recv() {
                let (signal, items) = Signal::of(&telemetry);
                ledger.lose(signal, LossReason::BrokenPipe, items);
            }
        })
        .with_context(|| format!("cannot start the thread of the {name} exporter"))?;
    Ok(WriterHandle { reopen, ended })
}

/// The reason under which a failed write is counted.
pub fn loss_reason(error: &io::Error) -> LossReason {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            LossReason::DiskFull
        }
        io::ErrorKind::BrokenPipe => LossReason::BrokenPipe,
        _ => LossReason::WriteFailed,
    }
}
