//! What a spool takes and gives: how it is kept, its records, what it holds, and why it refuses.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;

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
    /// It would not fit an empty spool, or is over [`crate::MAX_BODY_BYTES`].
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
