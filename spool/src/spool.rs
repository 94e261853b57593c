//! The queue itself: which segments there are, what is read next, what was settled.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::loss::{Loss, Losses};
use crate::position::{Position, PositionFile};
use crate::segment::{
    self, Found, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, scan,
};
use crate::{MAX_BODY_BYTES, RECORD_OVERHEAD};

/// As much of a segment as is read: the longest record on top of the largest segment that we write, and more.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;
/// The position may be so many times longer unsynced than records.
const POSITION_SYNC_FACTOR: u32 = 10;
const LOCK: &str = "lock";
const POSITION: &str = "position";
const EXTENSION: &str = "seg";

/// How a spool is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes that its segments may have together.
    pub limit: u64,
    /// Bytes after which a segment is closed and the next begun. The oldest segment goes as a whole when there is no
    /// room, so this is also the grain of that loss.
    pub segment_bytes: u64,
    /// The longest that a record waits unsynced.
    pub sync_every: Duration,
}

impl Options {
    /// A spool of `limit` bytes in segments of 4 MiB, or an eighth of a smaller limit, synced once a second.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, segment_bytes: (limit / 8).clamp(1, 4 << 20), sync_every: Duration::from_secs(1) }
    }
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// Another process, or another spool of this one, has it.
    Locked,
    /// The file system refuses.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("another process uses it"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum PushError {
    /// It would not fit an empty spool, or is over [`MAX_BODY_BYTES`].
    TooLarge,
    /// The file system refuses.
    Io(io::Error),
}

impl From<io::Error> for PushError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A record on lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What was pushed.
    pub body: Bytes,
    /// Items in it.
    pub items: u32,
    /// The caller's own.
    pub kind: u8,
    /// Its place among all records that the directory ever had.
    pub sequence: u64,
    /// When it was pushed, Unix milliseconds.
    pub unix_ms: u64,
}

/// What a spool holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of its segments, settled records that were not yet removed included.
    pub bytes: u64,
    /// Bytes of the records that wait, damage between them included.
    pub waiting_bytes: u64,
    /// Records that wait, one on lease included.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// When the oldest of them was pushed, Unix milliseconds; possibly a little early.
    pub oldest_unix_ms: Option<u64>,
    /// Items among them that a restart would not find: of a record on lease whose segment made room meanwhile.
    pub unsaved_items: u64,
}

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

enum Read {
    Record(RecordHeader, Bytes),
    Skipped,
    Damaged,
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

    /// Reads all segments. Without a position, the oldest record that is found is the first.
    fn recover(&mut self, position: Option<Position>) -> io::Result<()> {
        let numbers = self.list()?;
        let position = match position {
            // Nothing is missing yet: from here on, it would be noticed.
            None if numbers.is_empty() => {
                self.write_position(self.next_write)?;
                Some(self.next_write)
            }
            known => known,
        };
        self.next_number = numbers.last().map_or(0, |number| number.saturating_add(1));
        let mut walk = Walk { expected: position, next: self.next_write, pending: None };
        let last = numbers.last().copied();
        for number in numbers {
            let path = self.path(number);
            let Ok(bytes) = read_segment(&path) else {
                // It may be readable another day, but by then it would be out of order.
                let _ = fs::rename(&path, path.with_extension("unreadable"));
                self.foreign += 1;
                continue;
            };
            let header = segment::read_segment_header(&bytes, number);
            let start = match header {
                SegmentHeader::Good => SEGMENT_HEADER_BYTES,
                SegmentHeader::Bad => 0,
                SegmentHeader::OtherVersion(_) => {
                    self.foreign += 1;
                    continue;
                }
            };
            let (segment, good) = walk.segment(number, &bytes, start, &mut self.losses);
            if segment.records == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            if Some(number) == last && good < bytes.len() as u64 {
                OpenOptions::new().write(true).open(&path)?.set_len(good)?;
            }
            let bytes = if Some(number) == last { good } else { segment.bytes };
            self.segments.push_back(Segment { bytes, ..segment });
        }
        walk.finish(&mut self.losses);
        self.next_write = walk.next;
        if let Some(front) = self.segments.front() {
            self.cursor = front.start;
        }
        Ok(())
    }

    /// The numbers of all segments, in order. Files of other names are counted and left alone.
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == LOCK || name == POSITION {
                continue;
            }
            let number = name.to_str().and_then(segment_number);
            match number {
                // Through a link or from a pipe we read nothing.
                Some(number) if entry.file_type()?.is_file() => numbers.push(number),
                _ => self.foreign += 1,
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
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
        self.directory.join(format!("{number:016x}.{EXTENSION}"))
    }

    fn write_position(&mut self, position: Position) -> io::Result<()> {
        self.unsynced_position.get_or_insert_with(Instant::now);
        self.position.write(position)
    }

    fn read_next(&mut self) -> io::Result<Option<Held>> {
        while let Some(front) = self.segments.front() {
            let (number, bytes) = (front.number, front.bytes);
            if self.cursor >= bytes {
                let last = self.active.is_some() && self.segments.len() == 1;
                self.forget_unread();
                if last {
                    return Ok(None);
                }
                self.remove_consumed()?;
                continue;
            }
            match self.read_at_cursor(number, bytes)? {
                Read::Record(header, body) => {
                    self.next_read = header.sequence.saturating_add(1);
                    let record = Record {
                        body,
                        items: header.items,
                        kind: header.kind,
                        sequence: header.sequence,
                        unix_ms: header.unix_ms,
                    };
                    return Ok(Some(Held { record, before: header.before, number: Some(number) }));
                }
                Read::Skipped => {}
                Read::Damaged => {
                    if self.segments.len() == 1 {
                        // What is appended would not be in the copy that is read from now on.
                        self.seal()?;
                    }
                    let mut whole = read_segment(&self.path(number)).or_else(missing_is_empty)?;
                    whole.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
                    self.source = Some(Source::Bytes(whole));
                }
            }
        }
        Ok(None)
    }

    /// Reads what begins at the cursor and moves it on, but for damage in a file.
    fn read_at_cursor(&mut self, number: u64, segment_bytes: u64) -> io::Result<Read> {
        let source = match self.source.take() {
            Some(source) => source,
            None => match File::open(self.path(number)) {
                Ok(file) => Source::File(file),
                Err(error) => Source::Bytes(missing_is_empty(error)?),
            },
        };
        let source = self.source.insert(source);
        let (header, body) = match source {
            Source::File(file) => {
                let mut bytes = [0; RECORD_HEADER_BYTES];
                if !read_exactly(file, &mut bytes, self.cursor)? {
                    return Ok(Read::Damaged);
                }
                let fits = |header: &RecordHeader| self.cursor + header.record_bytes() <= segment_bytes;
                let Some(header) = RecordHeader::decode(&bytes).filter(fits) else {
                    return Ok(Read::Damaged);
                };
                if header.sequence < self.next_read {
                    self.cursor += header.record_bytes();
                    return Ok(Read::Skipped);
                }
                let mut body = vec![0; header.length as usize];
                if !read_exactly(file, &mut body, self.cursor + RECORD_OVERHEAD)?
                    || crc32fast::hash(&body) != header.checksum
                {
                    return Ok(Read::Damaged);
                }
                self.cursor += header.record_bytes();
                (header, Bytes::from(body))
            }
            Source::Bytes(bytes) => {
                let offset = usize::try_from(self.cursor).unwrap_or(usize::MAX);
                let Some(found) = scan(bytes, offset) else {
                    self.cursor = segment_bytes;
                    return Ok(Read::Skipped);
                };
                self.cursor = found.end() as u64;
                match found {
                    Found::Record { header, body, .. } if header.sequence >= self.next_read => {
                        (header, Bytes::copy_from_slice(body))
                    }
                    Found::Record { .. } | Found::BadBody { .. } | Found::Gap { .. } => {
                        return Ok(Read::Skipped);
                    }
                }
            }
        };
        Ok(Read::Record(header, body))
    }

    /// The oldest segment was read to its end: what it should have held beyond that is lost.
    fn forget_unread(&mut self) {
        if let Some(front) = self.segments.front_mut()
            && self.held.is_none()
            && front.records > 0
        {
            self.losses.add(Loss::Corrupt, front.records, front.items);
            (front.records, front.items) = (0, 0);
        }
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

/// Reads all segments in their order and tells what is missing between what was found.
struct Walk {
    /// What the next record should be; `None` before the first, when nobody knows.
    expected: Option<Position>,
    /// What the next record that is written will be.
    next: Position,
    /// Damage since the last good record, with what is known of it: records and items.
    pending: Option<(u64, u64)>,
}

impl Walk {
    /// The segment with the records that are to be sent, and where its last good record ends.
    fn segment(&mut self, number: u64, bytes: &[u8], start: usize, losses: &mut Losses) -> (Segment, u64) {
        let mut segment = Segment {
            number,
            start: start as u64,
            bytes: bytes.len() as u64,
            records: 0,
            items: 0,
            first_ms: 0,
            after: self.next,
        };
        let (mut offset, mut good) = (start, start as u64);
        if start == 0 && !bytes.is_empty() {
            self.pending.get_or_insert((0, 0));
        }
        while let Some(found) = scan(bytes, offset) {
            let begin = offset as u64;
            offset = found.end();
            match found {
                Found::Record { header, .. } => {
                    good = offset as u64;
                    if self.take(&header, losses) {
                        if segment.records == 0 {
                            (segment.start, segment.first_ms) = (begin, header.unix_ms);
                        }
                        segment.records += 1;
                        segment.items = segment.items.saturating_add(header.items.into());
                    }
                }
                Found::BadBody { header, .. } => {
                    self.see(&header);
                    if self.expected.is_none_or(|expected| header.sequence >= expected.sequence) {
                        let (records, items) = self.pending.unwrap_or_default();
                        self.pending = Some((records + 1, items.saturating_add(header.items.into())));
                    }
                }
                // A header at least was here, if anything was.
                Found::Gap { .. } => {
                    let (records, items) = self.pending.unwrap_or_default();
                    self.pending = Some((records + 1, items));
                }
            }
        }
        segment.after = self.next;
        (segment, good)
    }

    /// A good record. Answers whether it is to be sent.
    fn take(&mut self, header: &RecordHeader, losses: &mut Losses) -> bool {
        self.see(header);
        let after = Position { sequence: header.sequence.saturating_add(1), before: header.after() };
        let damaged = self.pending.take().is_some();
        if let Some(expected) = self.expected {
            if header.sequence < expected.sequence {
                return false;
            }
            let reason = if damaged { Loss::Corrupt } else { Loss::Missing };
            let items = header.before.saturating_sub(expected.before);
            losses.add(reason, header.sequence - expected.sequence, items);
        }
        self.expected = Some(after);
        true
    }

    fn see(&mut self, header: &RecordHeader) {
        if header.sequence >= self.next.sequence {
            self.next = Position { sequence: header.sequence.saturating_add(1), before: header.after() };
        }
    }

    /// Damage that no good record follows.
    fn finish(&mut self, losses: &mut Losses) {
        if let Some((records, items)) = self.pending.take() {
            losses.add(Loss::Torn, records, items);
        }
    }
}

/// Writes a record at an offset.
fn append(file: &File, offset: u64, header: &RecordHeader, body: &[u8]) -> io::Result<()> {
    file.write_all_at(&header.encode(), offset)?;
    file.write_all_at(body, offset + RECORD_OVERHEAD)
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    // Other spellings of the same number are not ours.
    (format!("{number:016x}") == digits).then_some(number)
}

fn read_segment(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SEGMENT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that somebody has removed holds nothing.
fn missing_is_empty(error: io::Error) -> io::Result<Vec<u8>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| missing_is_empty(error).map(|_| ()))
}

/// Answers whether the file was long enough.
fn read_exactly(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
