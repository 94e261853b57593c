//! What can go wrong, and which of it means that the file is damaged.

use std::io;
use std::path::PathBuf;

use redb::{CommitError, CompactionError, DatabaseError, StorageError, TableError, TransactionError};

/// Why a store cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Something else has its name: a directory, a link.
    #[error("not a regular file")]
    NotAFile,
    /// The file is not a database, or its pages are not what was written.
    #[error("{0}")]
    Corrupted(String),
    /// The database panicked over it.
    #[error("the database panicked over it: {0}")]
    Panicked(String),
    /// It was written by another version of the database or of netsonde.
    #[error("another version wrote it: {0}")]
    Version(String),
    /// Its tables contradict each other.
    #[error("its tables contradict each other: {records} records, {open} open, {ended} ended")]
    Contradiction {
        /// Records there are.
        records: u64,
        /// Of those, open by the index.
        open: u64,
        /// Of those, ended by the index.
        ended: u64,
    },
}

impl Damage {
    /// The word for it in counters and log records.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotAFile => "not_a_file",
            Self::Corrupted(_) => "corrupted",
            Self::Panicked(_) => "panicked",
            Self::Version(_) => "version",
            Self::Contradiction { .. } => "contradiction",
        }
    }
}

/// Why something was not done. After any of them the history can be used on: it opens its store again by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the store open: the daemon, or somebody who reads it.
    #[error("the history in {0} is in use by another process")]
    Locked(PathBuf),
    /// There is nothing to read.
    #[error("there is no history in {0}")]
    NoStore(PathBuf),
    /// The disk is full, or the file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The store is damaged. Nothing was changed; a [`History`](crate::History) sets it aside when it opens it next.
    #[error("the history is damaged: {0}")]
    Damaged(Damage),
    /// The store failed a moment ago, and is not tried again before [`Limits::retry_after`](crate::Limits).
    #[error("the history failed a moment ago and waits before it tries again")]
    Waiting,
    /// A reader still holds the store that failed; it is opened again when that has ended.
    #[error("the history waits for a reader of the store that failed")]
    Reading,
}

impl Error {
    /// Whether it is for want of space, on the disk or in a quota.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            // The end of the file where there should be more, or no magic number: no fault of the disk.
            StorageError::Io(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::Damaged(Damage::Corrupted(error.to_string()))
            }
            StorageError::Io(error) => Self::Io(error),
            StorageError::Corrupted(what) => Self::Damaged(Damage::Corrupted(what)),
            // Of a handle that is given up after each failure.
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(version) => {
                Self::Damaged(Damage::Version(format!("file format {version} of redb")))
            }
            DatabaseError::DatabaseAlreadyOpen => Self::Reading,
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(Damage::Version(other.to_string())),
        }
    }
}

impl From<TransactionError> for Error {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl From<CompactionError> for Error {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}
