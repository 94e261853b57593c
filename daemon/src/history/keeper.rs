//! The thread: gathers a batch, writes it, and holds on to it while the store cannot be written.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use netsonde_audit::model::Listener;
use netsonde_history::{BootId, Error, Event, History, Limits, Opened, OpeningId, SetAside};

use super::status::{DISK_FULL, STORE_FAILED, STORE_FULL, TOO_MANY_OPEN, UNWRITABLE};
use super::{INBOX, Known, Note, Shared, locked};
use crate::enrich::Clock;

/// The first of a batch waits so long for others; what comes while one is written makes the next. Together with 100 ms in
/// the kernel's ring, an opening is on the disk within a second also where the processors are busy with others.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_secs(1);
/// How often what is too old is looked for.
const RETAIN: Duration = Duration::from_secs(60);
/// Events of one transaction, so that a reader is not kept waiting by a long one.
const CHUNK: usize = 4_096;
/// Bytes that a record takes at most, as a rule: with it, retention is asked for before the store is full.
const LARGE_RECORD: u64 = 16 << 10;

/// The state of the thread.
pub(super) struct Keeper {
    directory: PathBuf,
    limits: Limits,
    boot: BootId,
    shared: Arc<Shared>,
    store: Option<Arc<History>>,
    batch: Vec<Event<Box<Listener>>>,
    /// What is open, as long as the store has not been compared with it.
    all_open: Option<(Vec<Known>, u64)>,
    /// Ids by which the store knows what is open, where that is not the one that is told.
    known_as: HashMap<OpeningId, OpeningId>,
    next_retain: Instant,
    stored_since_retain: u64,
    disk_full: u64,
    store_failed: u64,
    set_asides: u64,
    last_set_aside: Option<String>,
    last_error: Option<(String, bool)>,
}

impl Keeper {
    pub fn new(directory: PathBuf, limits: Limits, boot: BootId, shared: Arc<Shared>) -> Self {
        Self {
            directory,
            limits,
            boot,
            shared,
            store: None,
            batch: Vec::new(),
            all_open: None,
            known_as: HashMap::new(),
            next_retain: Instant::now(),
            stored_since_retain: 0,
            disk_full: 0,
            store_failed: 0,
            set_asides: 0,
            last_set_aside: None,
            last_error: None,
        }
    }

    /// Until everybody who could tell something is gone.
    pub fn run(mut self, inbox: &Receiver<Note>) {
        self.publish("opening");
        let mut due = Some(Instant::now());
        loop {
            let until = due.unwrap_or(self.next_retain).min(self.next_retain);
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Note::Happened(event)) => {
                    self.take(event);
                    due = due.or(Some(Instant::now() + BATCH_DELAY));
                }
                Ok(Note::AllOpen(open, unix_ns)) => {
                    self.all_open = Some((open, unix_ns));
                    due = Some(Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                let written = self.attempt();
                due = (!written).then(|| Instant::now() + RETRY);
            }
            if self.store.is_some() && due.is_none() && self.next_retain <= Instant::now() {
                due = (!self.retain()).then(|| Instant::now() + RETRY);
                self.publish("open");
            } else if self.next_retain <= Instant::now() {
                self.next_retain = Instant::now() + RETRY;
            }
        }
        if !self.attempt() {
            let lost = self.batch.len();
            tracing::warn!(lost, "the history could not be written before the end");
        }
        // Closes the store, unless somebody is reading.
        locked(&self.shared.store).take();
    }

    fn take(&mut self, event: Event<Box<Listener>>) {
        if self.batch.len() >= INBOX {
            // In bulk: the front of a long list is not taken off one by one.
            let given_up = INBOX / 8;
            self.batch.drain(..given_up);
            let full = self.last_error.as_ref().is_some_and(|(_, full)| *full);
            *if full { &mut self.disk_full } else { &mut self.store_failed } += given_up as u64;
            self.shared.wants_all.store(true, Ordering::Relaxed);
        }
        self.batch.push(event);
    }

    /// Writes all that waits; false when some of it could not be.
    fn attempt(&mut self) -> bool {
        let outcome = self.try_all();
        self.note_set_aside();
        match outcome {
            Ok(()) => {
                if self.last_error.take().is_some() {
                    tracing::info!("the history can be written again");
                }
                self.publish("open");
                true
            }
            Err(error) => {
                self.note_failure(&error);
                self.publish("failing");
                false
            }
        }
    }

    fn note_failure(&mut self, error: &Error) {
        // What it waits for has been said.
        if matches!(error, Error::Waiting) && self.last_error.is_some() {
            return;
        }
        let said = error.to_string();
        if self.last_error.as_ref().is_none_or(|(last, _)| *last != said) {
            tracing::warn!(error = said, "the history cannot be written; it is tried again");
        }
        self.last_error = Some((said, error.is_no_space()));
    }

    fn try_all(&mut self) -> Result<(), Error> {
        let store = self.opened()?;
        if let Some((open, unix_ns)) = self.all_open.take() {
            let compared = self.compare(&store, &open, unix_ns);
            if compared.is_err() {
                self.all_open = Some((open, unix_ns));
            }
            compared?;
        }
        for event in &mut self.batch {
            if let Event::Closed { id, .. } = event
                && let Some(known) = self.known_as.remove(id)
            {
                *id = known;
            }
        }
        while !self.batch.is_empty() {
            let many = self.batch.len().min(CHUNK);
            self.stored_since_retain += store.append(&self.batch[..many])?.stored;
            self.batch.drain(..many);
        }
        if self.stored_since_retain >= self.limits.size / LARGE_RECORD {
            self.next_retain = Instant::now();
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<Arc<History>, Error> {
        if let Some(store) = &self.store {
            return Ok(Arc::clone(store));
        }
        let (store, opened) = History::open(&self.directory, self.limits)?;
        let directory = self.directory.display();
        match opened {
            Opened::New => tracing::info!(%directory, "a history begins"),
            Opened::Found { repaired: true } => tracing::info!(%directory, "the history was recovered"),
            Opened::Found { repaired: false } => {}
            Opened::Fresh(set_aside) => self.was_set_aside(&set_aside),
        }
        let store = Arc::new(store);
        *locked(&self.shared.store) = Some(Arc::clone(&store));
        self.store = Some(Arc::clone(&store));
        Ok(store)
    }

    /// Ends what is gone, and adds what is missing.
    fn compare(&mut self, store: &History, open: &[Known], unix_ns: u64) -> Result<(), Error> {
        let still_open: HashSet<OpeningId> = open.iter().map(|known| known.id).collect();
        let reconciled = store.reconcile(self.boot, &still_open, unix_ns)?;
        self.known_as = reconciled.known_as;
        let missing: HashSet<OpeningId> = reconciled.missing.into_iter().collect();
        let missing: Vec<Event<Box<Listener>>> = open
            .iter()
            .filter(|known| missing.contains(&known.id))
            .map(|Known { id, beginning, listener }| Event::Opened {
                id: *id,
                beginning: *beginning,
                listener: listener.clone(),
            })
            .collect();
        for chunk in missing.chunks(CHUNK) {
            self.stored_since_retain += store.append(chunk)?.stored;
        }
        tracing::debug!(
            kept = reconciled.kept,
            ended = reconciled.ended,
            missing = missing.len(),
            "the history was compared with what is open"
        );
        Ok(())
    }

    /// Forgets what is too old or too much, a bounded part of it; false when that failed.
    fn retain(&mut self) -> bool {
        let Some(store) = self.store.clone() else { return true };
        self.stored_since_retain = 0;
        let outcome = store.retain(Clock::read().unix_ns());
        let more = outcome.as_ref().is_ok_and(|retained| retained.more);
        self.next_retain = Instant::now() + if more { Duration::ZERO } else { RETAIN };
        self.note_set_aside();
        match outcome {
            Ok(_) => true,
            Err(error) => {
                self.note_failure(&error);
                false
            }
        }
    }

    fn note_set_aside(&mut self) {
        if let Some(set_aside) = self.store.as_ref().and_then(|store| store.take_set_aside()) {
            self.was_set_aside(&set_aside);
        }
    }

    /// A new store knows nothing of what is open.
    fn was_set_aside(&mut self, set_aside: &SetAside) {
        let why = &set_aside.damage;
        let said = match &set_aside.kept_as {
            Some(path) => format!("{why}; it is now {}", path.display()),
            None => why.to_string(),
        };
        tracing::error!("the history is damaged and was set aside, an empty one begins: {said}");
        self.set_asides += 1;
        self.last_set_aside = Some(said);
        self.shared.wants_all.store(true, Ordering::Relaxed);
    }

    fn publish(&self, state: &'static str) {
        let statistics = self.store.as_ref().map(|store| store.statistics()).unwrap_or_default();
        // A store that fails is not asked: it would fail again.
        let size = self.store.as_ref().filter(|_| state == "open").and_then(|store| store.size().ok());
        let mut status = locked(&self.shared.status);
        status.state = state;
        status.directory = self.directory.display().to_string();
        if let Some(size) = size {
            (status.records, status.open, status.bytes) = (size.records, size.open, size.disk);
        }
        status.stored = statistics.stored;
        status.waiting = self.batch.len() as u64;
        status.set_aside = self.set_asides;
        status.last_set_aside.clone_from(&self.last_set_aside);
        status.last_error = self.last_error.as_ref().map(|(said, _)| said.clone());
        for (reason, count) in [
            (DISK_FULL, self.disk_full),
            (STORE_FAILED, self.store_failed),
            (STORE_FULL, statistics.refused_full),
            (TOO_MANY_OPEN, statistics.refused_open),
            (UNWRITABLE, statistics.refused_too_large + statistics.refused_not_json),
        ] {
            status.lost(reason, count);
        }
    }
}
