//! The queue itself: which segments there are, what is read next, what was settled. How it is found again after a
//! start is [`recover`]'s matter, how a record is read [`read`]'s.

mod read;
mod recover;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::files::{append, remove, segment_name};
use crate::kinds::{OpenError, Options, PushError, Record, Usage};
use crate::loss::{Loss, Losses};
use crate::position::{Position, PositionFile};
use crate::segment::{self, RecordHeader, SEGMENT_HEADER_BYTES};
use crate::{MAX_BODY_BYTES, RECORD_OVERHEAD};

/// The position may be so many times longer unsynced than records.
const POSITION_SYNC_FACTOR: u32 = 10;
const LOCK: &str = "lock";
const POSITION: &str = "position";

/// A queue in a directory that it has for itself.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    options: Options,
    /// Keeps others out for as long as it is open.
    _lock: File,
    position: PositionFile,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The newest segment, while it takes more.
    active: Option<File>,
    /// The oldest segment, while it is read.
    source: Option<Source>,
    /// Where in the oldest segment the next record begins.
    cursor: u64,
    /// Records before it are settled or lost, wherever they are found.
    next_read: u64,
    next_write: Position,
    next_number: u64,
    held: Option<Held>,
    leased: bool,
    last_settled_ms: u64,
    losses: Losses,
    foreign: u64,
    unsynced: Option<Instant>,
    unsynced_position: Option<Instant>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Where its first record begins that is to be sent.
    start: u64,
    /// Bytes of it that we vouch for; what a failed write left behind does not count.
    bytes: u64,
    /// Records that are not settled.
    records: u64,
    /// Items in them.
    items: u64,
    first_ms: u64,
    /// What follows its last record.
    after: Position,
}

#[derive(Debug)]
enum Source {
    File(File),
    /// The whole segment, once a part of it turned out to be damaged.
    Bytes(Vec<u8>),
}

/// The oldest record, once it was read.
#[derive(Debug)]
struct Held {
    record: Record,
    before: u64,
    /// The segment that it counts for; none if that made room meanwhile.
    number: Option<u64>,
}

impl Spool {
    /// Opens a directory, makes it if it is not there (mode 0700), and reads all that it holds. What was lost since it
    /// was last open is told by [`Self::take_losses`].
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another has it open; else what the file system says. A directory that cannot be
    /// written to cannot be used: what was sent from it could not be removed.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if fs::metadata(directory)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        }
        let mut write = OpenOptions::new();
        write.write(true).create(true).truncate(false).mode(0o600);
        let lock = write.open(directory.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let (position, found) = PositionFile::open(directory)?;
        let start = found.unwrap_or(Position { sequence: 0, before: 0 });
        let mut spool = Self {
            directory: directory.to_owned(),
            options,
            _lock: lock,
            position,
            segments: VecDeque::new(),
            active: None,
            source: None,
            cursor: 0,
            next_read: start.sequence,
            next_write: start,
            next_number: 0,
            held: None,
            leased: false,
            last_settled_ms: 0,
            losses: Losses::default(),
            foreign: 0,
            unsynced: None,
            unsynced_position: None,
        };
        spool.recover(found)?;
        Ok(spool)
    }

    /// Appends a record. `kind` is the caller's own. Older records may go to make room; see [`Self::take_losses`].
    ///
    /// # Errors
    /// The record was not taken, and will not be found after a restart.
    pub fn push(&mut self, kind: u8, items: u32, body: &[u8], unix_ms: u64) -> Result<(), PushError> {
        let need = RECORD_OVERHEAD + body.len() as u64;
        let header_bytes = SEGMENT_HEADER_BYTES as u64;
        if body.len() > MAX_BODY_BYTES || header_bytes + need > self.options.limit {
            return Err(PushError::TooLarge);
        }
        while self.bytes() + header_bytes + need > self.options.limit {
            if !self.evict()? {
                break;
            }
        }
        let full = |segment: &Segment| {
            segment.bytes > header_bytes && segment.bytes + need > self.options.segment_bytes
        };
        if self.active.is_none() || self.segments.back().is_none_or(full) {
            self.roll()?;
        }
        let only = self.segments.len() == 1;
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else {
            return Err(PushError::Io(io::ErrorKind::NotFound.into()));
        };
        let header = RecordHeader {
            length: u32::try_from(body.len()).map_err(|_| PushError::TooLarge)?,
            sequence: self.next_write.sequence,
            before: self.next_write.before,
            unix_ms,
            items,
            kind,
            checksum: crc32fast::hash(body),
        };
        let mut written = append(file, segment.bytes, &header, body);
        let settled = segment.records == 0 && self.held.is_none();
        if written.is_err() && settled && segment.bytes > segment.start && only {
            // Only what is settled takes room here.
            self.position.sync()?;
            self.unsynced_position = None;
            file.set_len(segment.start)?;
            segment.bytes = segment.start;
            self.cursor = segment.start;
            written = append(file, segment.bytes, &header, body);
        }
        if let Err(error) = written {
            // What was begun must not be taken for a record; if it cannot be cut, nothing follows it.
            if file.set_len(segment.bytes).is_err() {
                self.active = None;
            }
            return Err(error.into());
        }
        if segment.records == 0 {
            segment.first_ms = unix_ms;
        }
        segment.bytes += need;
        segment.records += 1;
        segment.items += u64::from(items);
        self.next_write = Position { sequence: header.sequence.saturating_add(1), before: header.after() };
        segment.after = self.next_write;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Begins a new segment.
    fn roll(&mut self) -> io::Result<()> {
        self.seal()?;
        let number = self.next_number;
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        // Also when it fails below: a name is used once.
        self.next_number = number.saturating_add(1);
        if let Err(error) = file.write_all_at(&segment::segment_header(number), 0) {
            // An empty segment does no harm, if it must stay.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let start = SEGMENT_HEADER_BYTES as u64;
        if self.segments.is_empty() {
            self.cursor = start;
        }
        let after = self.next_write;
        self.segments.push_back(Segment {
            number,
            start,
            bytes: start,
            records: 0,
            items: 0,
            first_ms: 0,
            after,
        });
        self.active = Some(file);
        self.remove_consumed()
    }

    /// Closes the newest segment.
    fn seal(&mut self) -> io::Result<()> {
        if let Some(file) = self.active.take()
            && self.unsynced.take().is_some()
            && self.segments.back().is_some_and(|segment| segment.records > 0)
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Removes the oldest segment to make room, and counts what was in it but for a record on lease. Answers whether
    /// there was one.
    ///
    /// # Errors
    /// If its file cannot be removed; then nothing has changed.
    pub fn evict(&mut self) -> io::Result<bool> {
        let Some(front) = self.segments.front() else { return Ok(false) };
        remove(&self.path(front.number))?;
        let Some(front) = self.segments.pop_front() else { return Ok(false) };
        let (mut records, mut items) = (front.records, front.items);
        if let Some(held) = &mut self.held
            && held.number == Some(front.number)
        {
            held.number = None;
            records = records.saturating_sub(1);
            items = items.saturating_sub(held.record.items.into());
        }
        self.losses.add(Loss::Full, records, items);
        if self.segments.is_empty() {
            self.active = None;
        }
        self.next_read = self.next_read.max(front.after.sequence);
        self.begin_front();
        self.write_position(front.after)?;
        self.unsynced_position = None;
        self.position.sync()?;
        Ok(true)
    }

    fn begin_front(&mut self) {
        self.source = None;
        self.cursor = self.segments.front().map_or(0, |front| front.start);
    }

    /// Lends the oldest record; `None` when there is none, or one is on lease already.
    ///
    /// # Errors
    /// If it cannot be read because the disk says so. Damage is no error: it is counted and passed over.
    pub fn lease(&mut self) -> io::Result<Option<Record>> {
        if self.leased {
            return Ok(None);
        }
        if self.held.is_none() {
            self.held = self.read_next()?;
        }
        let record = self.held.as_ref().map(|held| held.record.clone());
        self.leased = record.is_some();
        Ok(record)
    }

    /// The record on lease is done with, for ever.
    ///
    /// # Errors
    /// If the position could not be written: the record may be found again after a restart.
    pub fn settle(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.leased) {
            return Ok(());
        }
        let Some(held) = self.held.take() else { return Ok(()) };
        self.last_settled_ms = held.record.unix_ms;
        let Some(number) = held.number else { return Ok(()) };
        if let Some(front) = self.segments.front_mut()
            && front.number == number
        {
            front.records = front.records.saturating_sub(1);
            front.items = front.items.saturating_sub(held.record.items.into());
        }
        let items = u64::from(held.record.items);
        let position = Position {
            sequence: held.record.sequence.saturating_add(1),
            before: held.before.saturating_add(items),
        };
        self.write_position(position)?;
        self.remove_consumed()
    }

    /// The record on lease is to be lent again.
    pub fn release(&mut self) {
        self.leased = false;
    }

    /// What was lost since the last call.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// Files in the directory that are not ours to touch, when it was opened.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// What it holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let sum = |of: fn(&Segment) -> u64| self.segments.iter().map(of).sum::<u64>();
        let orphan = self.held.as_ref().filter(|held| held.number.is_none());
        let (records, items) = orphan.map_or((0, 0), |held| (1, held.record.items.into()));
        let waiting = self.segments.iter().find(|segment| segment.records > 0);
        let oldest = match &self.held {
            Some(held) => Some(held.record.unix_ms),
            None => waiting.map(|segment| segment.first_ms.max(self.last_settled_ms)),
        };
        let held_bytes = |held: &Held| RECORD_OVERHEAD + held.record.body.len() as u64;
        let ahead: u64 =
            self.segments.iter().map(|segment| segment.bytes.saturating_sub(segment.start)).sum();
        let read = self.segments.front().map_or(0, |front| self.cursor.saturating_sub(front.start));
        Usage {
            bytes: self.bytes(),
            waiting_bytes: ahead.saturating_sub(read) + self.held.as_ref().map_or(0, held_bytes),
            records: sum(|segment| segment.records) + records,
            items: sum(|segment| segment.items) + items,
            oldest_unix_ms: oldest,
            unsaved_items: items,
        }
    }

    /// Syncs what is due. To be called about as often as [`Options::sync_every`].
    ///
    /// # Errors
    /// What the disk says. It is not asked again for what it could not sync: the pages may be gone.
    pub fn maintain(&mut self, now: Instant) -> io::Result<()> {
        let due = |since: Option<Instant>, factor| {
            since.is_some_and(|since| now.duration_since(since) >= self.options.sync_every * factor)
        };
        let (records, position) = (due(self.unsynced, 1), due(self.unsynced_position, POSITION_SYNC_FACTOR));
        if records {
            self.unsynced = None;
            if let Some(file) = &self.active
                && self.segments.back().is_some_and(|segment| segment.records > 0)
            {
                file.sync_data()?;
            }
        }
        if position {
            self.unsynced_position = None;
            self.position.sync()?;
        }
        Ok(())
    }

    /// Syncs everything.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(mut self) -> io::Result<()> {
        self.seal()?;
        if self.unsynced_position.is_some() {
            self.position.sync()?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    fn write_position(&mut self, position: Position) -> io::Result<()> {
        self.unsynced_position.get_or_insert_with(Instant::now);
        self.position.write(position)
    }

    /// Removes segments from the front that hold nothing more and take nothing more.
    fn remove_consumed(&mut self) -> io::Result<()> {
        while let Some(front) = self.segments.front()
            && self.cursor >= front.bytes
            && self.held.is_none()
            && front.records == 0
            && (self.active.is_none() || self.segments.len() > 1)
        {
            // After a power cut, a position older than what is left would tell of a loss that was none.
            if self.unsynced_position.take().is_some() {
                self.position.sync()?;
            }
            remove(&self.path(front.number))?;
            self.segments.pop_front();
            self.begin_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
