//! The history of what listens, on its way to the disk: a thread of its own with a bounded inbox, so that no disk
//! keeps anybody waiting.
//!
//! Owns the batches, trying again, and what is said of a store that fails. The store itself is the crate
//! `netsonde-history`'s matter; what opened and closed is told by the aggregation.

mod changes;
mod keeper;
mod status;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context;
use netsonde_audit::model::Listener;
use netsonde_history::{Beginning, BootId, Error, Event, History, Limits, OpeningId, Page, Position, Query};

use crate::config::HistoryConfig;
use keeper::Keeper;
use status::INBOX_FULL;

pub use changes::changes;
pub use status::HistoryStatus;

/// What may wait for the thread: at 1,000 listeners a second, eight seconds of a disk that does not answer. As much again
/// may wait in the thread for a store that cannot be written.
const INBOX: usize = 16_384;

/// A listener that is open.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which opening.
    pub id: OpeningId,
    /// Whether that was seen.
    pub beginning: Beginning,
    /// What it looks like.
    pub listener: Box<Listener>,
}

enum Note {
    Happened(Event<Box<Listener>>),
    /// All that is open, and when that was so in Unix nanoseconds.
    AllOpen(Vec<Known>, u64),
}

/// What the thread and the others see.
#[derive(Debug, Default)]
struct Shared {
    /// What is open is to be told as a whole.
    wants_all: AtomicBool,
    inbox_full: AtomicU64,
    status: Mutex<HistoryStatus>,
    store: Mutex<Option<Arc<History>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is behind these locks is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on what opened and closed; never waits. The thread writes what is left when the last one is dropped.
#[derive(Debug)]
pub struct Recorder {
    to: SyncSender<Note>,
    shared: Arc<Shared>,
    boot: BootId,
}

/// Reads the history while it is written.
#[derive(Debug, Clone)]
pub struct Archive(Arc<Shared>);

/// The running thread; joined when the recorder is gone.
#[derive(Debug)]
pub struct HistoryThread(JoinHandle<()>);

impl Recorder {
    /// Starts the thread, which opens the store; that may take a while for a large one.
    ///
    /// # Errors
    ///
    /// The kernel does not tell which boot this is, or gives no thread. A store that cannot be opened is tried again.
    pub fn start(config: &HistoryConfig) -> anyhow::Result<(Self, HistoryThread)> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let text = std::fs::read_to_string(BOOT_ID).with_context(|| format!("cannot read {BOOT_ID}"))?;
        let boot = BootId::parse(&text).with_context(|| format!("{BOOT_ID} has no id"))?;
        let limits = Limits { age: config.retention, size: config.size, ..Limits::default() };
        Self::start_with(config.directory.clone(), limits, boot)
    }

    fn start_with(directory: PathBuf, limits: Limits, boot: BootId) -> anyhow::Result<(Self, HistoryThread)> {
        let shared = Arc::new(Shared::default());
        shared.wants_all.store(true, Ordering::Relaxed);
        let (to, inbox) = sync_channel(INBOX);
        let keeper = Keeper::new(directory, limits, boot, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || keeper.run(&inbox))
            .context("cannot start the history's thread")?;
        Ok((Self { to, shared, boot }, HistoryThread(thread)))
    }

    /// The boot that ids are of.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Tells of an opening or a closing. Without room it is counted, and what is open then is asked for.
    pub fn happened(&self, event: Event<Box<Listener>>) {
        self.send(Note::Happened(event), 1);
    }

    /// Whether something is missing, so that all that is open is to be told: at the start, and after a loss.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.shared.wants_all.load(Ordering::Relaxed)
    }

    /// Tells of all that is open at a time in Unix nanoseconds: what is open in the store and not among it has ended.
    pub fn all_open(&self, open: Vec<Known>, unix_ns: u64) {
        self.shared.wants_all.store(false, Ordering::Relaxed);
        self.send(Note::AllOpen(open, unix_ns), 0);
    }

    fn send(&self, note: Note, events: u64) {
        match self.to.try_send(note) {
            Ok(()) => {}
            // A thread that is gone empties nothing, which is the same.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.inbox_full.fetch_add(events, Ordering::Relaxed);
                self.shared.wants_all.store(true, Ordering::Relaxed);
            }
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> HistoryStatus {
        let mut status = locked(&self.shared.status).clone();
        status.lost(INBOX_FULL, self.shared.inbox_full.load(Ordering::Relaxed));
        status
    }

    /// For those who read.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive(Arc::clone(&self.shared))
    }
}

impl Archive {
    /// One page; `None` while there is no store. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read.
    pub fn page(
        &self,
        query: Query,
        after: Option<Position>,
        limit: usize,
    ) -> Option<Result<Page<Listener>, Error>> {
        let store = locked(&self.0.store).clone()?;
        Some(store.page(query, after, limit))
    }
}

impl HistoryThread {
    /// Waits until everything is written. Blocks.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the history's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
