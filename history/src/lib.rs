//! What listened on this host: openings and closings, kept on disk over restarts and a `kill -9` (redb).
//!
//! This crate owns the file, its repair, its size and the order of time. What a listener looks like is the caller's:
//! anything that serde can write as JSON. Who opened it, when to call, and what to say about a store that was set
//! aside is the daemon's matter.
//!
//! All calls block on the disk, and none panics. After a fault the store is opened again by the next call that comes
//! [`Limits::retry_after`] later. A crash loses nothing of a batch whose [`History::append`] had returned.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
mod counted;
mod error;
mod overlay;
mod query;
mod record;
mod retain;
mod statistics;
mod store;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{Damage, Error};
pub use query::{Page, Position, Query};
pub use record::{Beginning, BootId, End, Event, OpeningId, Record};
pub use retain::Retained;
pub use statistics::Statistics;
pub use store::{Opened, SetAside};

use record::{Change, END, ID, Stored, Unwritable, What, Written};
use statistics::Counters;
use store::{ABOUT, BYTES_KEY, ENDED, OPEN, RECORDS, contain, put_away};

/// How much a history keeps, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records that ended longer ago are removed.
    pub age: Duration,
    /// Bytes of the file that may be in use. The oldest of those that have ended are removed above that. Nothing new
    /// is stored above twice as much.
    pub size: u64,
    /// Listeners that may be open at once.
    pub open: u64,
    /// Bytes of JSON that one listener may have.
    pub payload: usize,
    /// Records that one call of [`History::retain`] removes at most.
    pub removals: usize,
    /// Damaged stores that are kept; the oldest are removed.
    pub set_aside: usize,
    /// How long [`History::open`] waits for somebody who reads.
    pub lock_wait: Duration,
    /// How long after a fault the store is tried again at the earliest.
    pub retry_after: Duration,
}

impl Default for Limits {
    /// 30 days, 64 MiB, 262,144 open listeners, 64 KiB a listener, 10,000 removals a call, 3 stores set aside, 2 s of
    /// waiting for readers, 5 s before another attempt.
    fn default() -> Self {
        Self {
            age: Duration::from_hours(30 * 24),
            size: 64 << 20,
            open: 1 << 18,
            payload: 64 << 10,
            removals: 10_000,
            set_aside: 3,
            lock_wait: Duration::from_secs(2),
            retry_after: Duration::from_secs(5),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Events that are stored, and on the disk.
    pub stored: u64,
    /// Events that said what was known.
    pub repeated: u64,
    /// Events that were refused. [`Statistics`] have the reasons.
    pub refused: u64,
}

/// What a reconciliation found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Listeners that are open in the history and on the host.
    pub kept: u64,
    /// Of those, the ones that have another id in the history: from the caller's id to the one to close it by.
    pub known_as: HashMap<OpeningId, OpeningId>,
    /// Listeners that are open on the host and not in the history. The caller appends them.
    pub missing: Vec<OpeningId>,
    /// Records that have ended while nobody watched.
    pub ended: u64,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Records.
    pub records: u64,
    /// Of those, open ones.
    pub open: u64,
    /// Bytes of keys and values.
    pub content: u64,
    /// The file's length in bytes. redb makes it larger ahead of need.
    pub file: u64,
    /// Bytes that the file takes of the disk.
    pub disk: u64,
}

/// The history of one host, for one process at a time. It can be shared between threads.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    limits: Limits,
    counters: Counters,
    state: Mutex<State>,
    /// Holds the directory's lock, by which processes keep out of each other's way also while a store is set aside.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    /// `None` after a fault.
    database: Option<Arc<Database>>,
    failed: Option<Instant>,
    set_aside: Option<SetAside>,
    /// Bytes of content when the store was last measured and found small enough.
    measured: Option<u64>,
}

/// Records whose change is written in one transaction at most, where there may be many.
const CHUNK: usize = 10_000;
/// Records of a page where the caller does not say.
const PAGE: usize = 1_000;

impl History {
    /// Opens the history of a directory, which is made with mode 0700 if there is none. All of the store is read and
    /// checked. A damaged one is set aside under a name with the time, and an empty one begins.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process has it, and [`Error::Io`]. Nothing is set aside then.
    pub fn open(directory: &Path, limits: Limits) -> Result<(Self, Opened), Error> {
        let lock = store::claim(directory, limits.lock_wait)?;
        let counters = Counters::default();
        let (database, opened) =
            store::open(directory, limits.set_aside, &counters).map_err(|error| match error {
                // Somebody who knows redb and not our lock.
                Error::Reading => Error::Locked(directory.to_owned()),
                other => other,
            })?;
        let state = State { database: Some(Arc::new(database)), ..State::default() };
        let directory = directory.to_owned();
        Ok((Self { directory, limits, counters, state: Mutex::new(state), _lock: lock }, opened))
    }

    /// Opens the history of a directory for reading, where no daemon runs. Nothing is made, changed or set aside, also
    /// not to recover a store that was not closed in order: that is done in memory. While it is open, a daemon that
    /// starts has to wait.
    ///
    /// # Errors
    ///
    /// [`Error::NoStore`], [`Error::Locked`], [`Error::Damaged`], [`Error::Io`].
    pub fn read_only(directory: &Path) -> Result<Reader, Error> {
        let (database, lock) = store::read(directory)?;
        Ok(Reader { database: Some(Arc::new(database)), counters: Counters::default(), _lock: lock })
    }

    /// Stores a batch in one transaction, which is on the disk when this returns. An opening that is told again replaces
    /// what was told first while its listener is open; a closing of an unknown id makes a record without an opening.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being written. Then nothing of the batch is stored, or all of it if the disk failed
    /// at the very end; it can be appended again, because what is known already changes nothing.
    pub fn append<T: Serialize>(&self, batch: &[Event<T>]) -> Result<Appended, Error> {
        let mut appended = Appended::default();
        let written: Vec<Written> =
            batch.iter().filter_map(|event| self.write(event, &mut appended.refused)).collect();
        if written.is_empty() {
            return Ok(appended);
        }
        let events = written.len() as u64;
        let outcome = self.with(|database, _| store_events(database, written, &self.limits));
        match outcome {
            Ok(tally) => {
                self.counters.stored.add(tally.stored);
                self.counters.unknown_closings.add(tally.unknown);
                self.counters.repeated.add(tally.repeated);
                self.counters.refused_full.add(tally.full);
                self.counters.refused_open.add(tally.open);
                appended.stored = tally.stored;
                appended.repeated = tally.repeated;
                appended.refused += tally.full + tally.open;
                Ok(appended)
            }
            Err(error) => {
                self.counters.failed_events.add(events);
                Err(error)
            }
        }
    }

    /// An event with its payload as JSON; `None`, and counted, where it is refused.
    fn write<T: Serialize>(&self, event: &Event<T>, refused: &mut u64) -> Option<Written> {
        match event {
            Event::Opened { id, beginning, listener } => match record::write(listener, self.limits.payload) {
                Ok(payload) => {
                    Some(Written { id: *id, what: What::Opened { beginning: *beginning, payload } })
                }
                Err(why) => {
                    *refused += 1;
                    match why {
                        Unwritable::NotJson => self.counters.refused_not_json.add(1),
                        Unwritable::TooLarge => self.counters.refused_too_large.add(1),
                    }
                    None
                }
            },
            Event::Closed { id, at, listener } => {
                let payload = listener.as_ref().and_then(|listener| {
                    let written = record::write(listener, self.limits.payload).ok();
                    self.counters.payloads_left_out.add(u64::from(written.is_none()));
                    written
                });
                Some(Written { id: *id, what: What::Closed { at: *at, payload } })
            }
        }
    }

    /// Ends what is open in the history and no longer on the host, at an unknown time before `now` (Unix nanoseconds): what
    /// earlier boots left, and sockets that are gone. For the start of a daemon, when it knows what is open.
    ///
    /// A listener that was found open has a new time in its id. It is taken for the last one that the history has of the
    /// same socket, and [`Reconciled::known_as`] tells that id.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read or written. It can be called again.
    pub fn reconcile(
        &self,
        boot: BootId,
        still_open: &HashSet<OpeningId>,
        now: u64,
    ) -> Result<Reconciled, Error> {
        let (gone, mut reconciled) = self.with(|database, _| {
            let open = open_ids(database)?;
            Ok(compare(&open, boot, still_open))
        })?;
        for chunk in gone.chunks(CHUNK) {
            let ended = self.with(|database, _| end_unwatched(database, chunk, now))?;
            self.counters.ended_unwatched.add(ended);
            reconciled.ended += ended;
        }
        Ok(reconciled)
    }

    /// Removes what ended longer ago than the limit of age before `now` (Unix nanoseconds), then the oldest that have ended
    /// while the store is too large, then gives space back to the disk. Open listeners stay. A call does a bounded
    /// part; [`Retained::more`] asks for another.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read or written.
    pub fn retain(&self, now: u64) -> Result<Retained, Error> {
        self.with(|database, measured| {
            let retained = retain::retain(database, &self.directory, &self.limits, now, measured)?;
            self.counters.removed_by_age.add(retained.by_age);
            self.counters.removed_by_size.add(retained.by_size);
            self.counters.compactions.add(u64::from(retained.compacted));
            self.counters.compactions_put_off.add(u64::from(retained.put_off));
            Ok(retained)
        })
    }

    /// One page of at most `limit` records.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read.
    pub fn page<T: DeserializeOwned>(
        &self,
        query: Query,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let database = self.database(&mut self.state())?;
        let outcome = contain(|| query::page(&database, query, after, limit.max(1), &self.counters));
        // It may be the last handle of a store that was given up meanwhile.
        let closed = put_away(database);
        let outcome = outcome.and_then(|page| closed.map(|()| page));
        if let Err(error) = &outcome {
            self.give_up(&mut self.state(), error);
        }
        outcome
    }

    /// Calls `each` with every record, until it breaks. Records are read in pages, so what changes meanwhile may be in or
    /// not; none comes twice from [`Query::All`].
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read; `each` may have been called before.
    pub fn each<T: DeserializeOwned>(
        &self,
        query: Query,
        each: impl FnMut(Record<T>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        walk(|after| self.page(query, after, PAGE), each)
    }

    /// How much there is.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read.
    pub fn size(&self) -> Result<Size, Error> {
        self.with(|database, _| {
            let (records, open, content) = content(database)?;
            let (file, disk) = store::file_size(&self.directory)?;
            Ok(Size { records, open, content, file, disk })
        })
    }

    /// What was done and refused since the history was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }

    /// The store that was last set aside since the history was opened, once. What is open on the host is not in the new
    /// one: the caller appends it again.
    #[must_use]
    pub fn take_set_aside(&self) -> Option<SetAside> {
        self.state().set_aside.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, except within `contain`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle of the store, which is opened again if it had failed.
    fn database(&self, state: &mut State) -> Result<Arc<Database>, Error> {
        if let Some(database) = &state.database {
            return Ok(Arc::clone(database));
        }
        if state.failed.is_some_and(|failed| failed.elapsed() < self.limits.retry_after) {
            return Err(Error::Waiting);
        }
        match store::open(&self.directory, self.limits.set_aside, &self.counters) {
            Ok((database, opened)) => {
                let database = Arc::new(database);
                self.counters.reopened.add(1);
                if let Opened::Fresh(set_aside) = opened {
                    state.set_aside = Some(set_aside);
                }
                *state = State {
                    database: Some(Arc::clone(&database)),
                    set_aside: state.set_aside.take(),
                    ..State::default()
                };
                Ok(database)
            }
            Err(error) => {
                self.give_up(state, &error);
                Err(error)
            }
        }
    }

    /// Runs one transaction, and gives the handle up if it fails: redb refuses to go on with it after a fault of the disk,
    /// and what a panic left is not to be trusted.
    fn with<R>(
        &self,
        call: impl FnOnce(&mut Arc<Database>, &mut Option<u64>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut state = self.state();
        drop(self.database(&mut state)?);
        let State { database, measured, .. } = &mut *state;
        let Some(database) = database else { return Err(Error::Waiting) };
        let outcome = contain(|| call(database, measured));
        if let Err(error) = &outcome {
            self.give_up(&mut state, error);
        }
        outcome
    }

    fn give_up(&self, state: &mut State, error: &Error) {
        if matches!(error, Error::Waiting | Error::Reading) {
            return;
        }
        self.counters.failed_transactions.add(1);
        self.counters.failed_no_space.add(u64::from(error.is_no_space()));
        self.counters.caught_panics.add(u64::from(matches!(error, Error::Damaged(Damage::Panicked(_)))));
        state.failed = Some(Instant::now());
        if let Some(database) = state.database.take() {
            // The fault is told already; closing over it may fail again.
            let _ = put_away(database);
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(database) = self.state().database.take() {
            // Nobody is left to be told; a store that was not closed in order is recovered when it is opened.
            let _ = put_away(database);
        }
    }
}

/// A history that is only read. While it lives, no daemon can open the history.
#[derive(Debug)]
pub struct Reader {
    /// Taken when it is dropped.
    database: Option<Arc<Database>>,
    counters: Counters,
    _lock: File,
}

impl Reader {
    /// As [`History::page`].
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read.
    pub fn page<T: DeserializeOwned>(
        &self,
        query: Query,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let Some(database) = &self.database else { return Err(Error::Waiting) };
        contain(|| query::page(database, query, after, limit.max(1), &self.counters))
    }

    /// As [`History::each`], over a store that nobody changes.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read.
    pub fn each<T: DeserializeOwned>(
        &self,
        query: Query,
        each: impl FnMut(Record<T>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        walk(|after| self.page(query, after, PAGE), each)
    }

    /// What was passed over.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            // It was only in memory.
            let _ = put_away(database);
        }
    }
}

fn walk<T>(
    page: impl Fn(Option<Position>) -> Result<Page<T>, Error>,
    mut each: impl FnMut(Record<T>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let Page { records, next } = page(after)?;
        for record in records {
            if each(record).is_break() {
                return Ok(());
            }
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// The tables of a transaction that changes records, and the count of bytes in them.
struct Tables<'transaction> {
    records: Table<'transaction, &'static [u8; ID], &'static [u8]>,
    open: Table<'transaction, &'static [u8; ID], ()>,
    ended: Table<'transaction, &'static [u8; END], ()>,
    about: Table<'transaction, &'static str, u64>,
    bytes: u64,
}

impl<'transaction> Tables<'transaction> {
    fn of(transaction: &'transaction WriteTransaction) -> Result<Self, Error> {
        let about = transaction.open_table(ABOUT)?;
        let bytes = about.get(BYTES_KEY)?.map_or(0, |bytes| bytes.value());
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            open: transaction.open_table(OPEN)?,
            ended: transaction.open_table(ENDED)?,
            about,
            bytes,
        })
    }

    fn get(&self, id: OpeningId) -> Result<Option<Stored>, Error> {
        Ok(self.records.get(&id.to_key())?.and_then(|bytes| Stored::from_bytes(bytes.value())))
    }

    /// Puts a record in the place of another, in all tables.
    fn put(&mut self, id: OpeningId, before: Option<End>, stored: &Stored) -> Result<(), Error> {
        let key = id.to_key();
        let bytes = stored.to_bytes();
        let replaced = self.records.insert(&key, bytes.as_slice())?.map(|old| old.value().len());
        self.bytes += footprint(bytes.len(), stored.end);
        if let Some(length) = replaced {
            self.bytes = self.bytes.saturating_sub(footprint(length, before));
        }
        match stored.end {
            Some(end) => {
                self.open.remove(&key)?;
                self.ended.insert(&id.to_end_key(end.at()), ())?;
            }
            None => {
                self.open.insert(&key, ())?;
            }
        }
        if let Some(before) = before.filter(|before| stored.end.map(End::at) != Some(before.at())) {
            self.ended.remove(&id.to_end_key(before.at()))?;
        }
        Ok(())
    }

    /// Removes a record that has ended.
    fn remove(&mut self, id: OpeningId, end: u64) -> Result<(), Error> {
        self.ended.remove(&id.to_end_key(end))?;
        if let Some(old) = self.records.remove(&id.to_key())? {
            let footprint = (ID + old.value().len() + END) as u64;
            self.bytes = self.bytes.saturating_sub(footprint);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.about.insert(BYTES_KEY, self.bytes)?;
        Ok(())
    }
}

/// Bytes of keys and values that a record has in all tables.
fn footprint(value: usize, end: Option<End>) -> u64 {
    (ID + value + if end.is_some() { END } else { ID }) as u64
}

#[derive(Debug, Default)]
struct Tally {
    stored: u64,
    unknown: u64,
    repeated: u64,
    full: u64,
    open: u64,
}

fn store_events(database: &Database, events: Vec<Written>, limits: &Limits) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let transaction = store::begin(database)?;
    let mut tables = Tables::of(&transaction)?;
    let mut open = tables.open.len()?;
    for Written { id, what } in events {
        let present = tables.get(id)?;
        let is_new = present.is_none();
        let opens = is_new && matches!(what, What::Opened { .. });
        if is_new && tables.bytes >= limits.size.saturating_mul(2) {
            tally.full += 1;
            continue;
        }
        if opens && open >= limits.open {
            tally.open += 1;
            continue;
        }
        let before = present.as_ref().and_then(|present| present.end);
        let was_open = present.as_ref().is_some_and(|present| present.end.is_none());
        match record::apply(present, what) {
            Change::Store(stored) => {
                tables.put(id, before, &stored)?;
                tally.stored += 1;
                tally.unknown += u64::from(is_new && !opens);
                open += u64::from(opens);
                open -= u64::from(was_open && stored.end.is_some());
            }
            Change::Repeated => tally.repeated += 1,
        }
    }
    tables.finish()?;
    transaction.commit()?;
    Ok(tally)
}

/// What is open, in the order of beginning.
fn open_ids(database: &Database) -> Result<Vec<OpeningId>, Error> {
    let table = database.begin_read()?.open_table(OPEN)?;
    table.iter()?.map(|entry| Ok(OpeningId::from_key(entry?.0.value()))).collect()
}

/// Which of those that are open in the history, in the order of beginning, are gone from the host.
fn compare(
    open: &[OpeningId],
    boot: BootId,
    still_open: &HashSet<OpeningId>,
) -> (Vec<OpeningId>, Reconciled) {
    let mut reconciled = Reconciled::default();
    let exact: HashSet<OpeningId> =
        open.iter().filter(|id| id.boot == boot && still_open.contains(id)).copied().collect();
    // The last one of each socket that is not matched by its own id.
    let by_socket: HashMap<u64, OpeningId> =
        open.iter().filter(|id| id.boot == boot && !exact.contains(id)).map(|id| (id.cookie, *id)).collect();
    let mut kept = exact.clone();
    for id in still_open.iter().filter(|id| id.boot == boot && !exact.contains(id)) {
        match by_socket.get(&id.cookie) {
            Some(known) => {
                kept.insert(*known);
                reconciled.known_as.insert(*id, *known);
            }
            None => reconciled.missing.push(*id),
        }
    }
    reconciled.missing.sort_unstable();
    reconciled.kept = kept.len() as u64;
    (open.iter().filter(|id| !kept.contains(id)).copied().collect(), reconciled)
}

fn end_unwatched(database: &Database, gone: &[OpeningId], now: u64) -> Result<u64, Error> {
    let mut ended = 0;
    let transaction = store::begin(database)?;
    let mut tables = Tables::of(&transaction)?;
    for id in gone {
        if let Some(stored) = tables.get(*id)?.filter(|stored| stored.end.is_none()) {
            let end = Some(End::Unwatched { before: now });
            tables.put(*id, None, &Stored { end, ..stored })?;
            ended += 1;
        }
    }
    tables.finish()?;
    transaction.commit()?;
    Ok(ended)
}

/// Records, open ones, bytes of keys and values.
fn content(database: &Database) -> Result<(u64, u64, u64), Error> {
    let transaction = database.begin_read()?;
    let records = transaction.open_table(RECORDS)?.len()?;
    let open = transaction.open_table(OPEN)?.len()?;
    let bytes = transaction.open_table(ABOUT)?.get(BYTES_KEY)?.map_or(0, |bytes| bytes.value());
    Ok((records, open, bytes))
}
