//! A bounded first-in, first-out queue of records on disk.
//!
//! Owns the files of one directory: append-only segments of checksummed records, and how far they are settled. It
//! knows nothing of what a record means or where it goes, and makes no thread: every call may take as long as the
//! disk does, so callers keep it away from what must not wait.
//!
//! **Contract.** A record is lent (`lease`), stays on disk meanwhile, and is either settled, which removes it for
//! good, or released, to be lent again. The order is that of `push`. When the limit is reached, the oldest segment
//! goes as a whole. Everything that is lost is counted by [`Loss`], with items as far as they are known: each record
//! carries how many items came before it, so that a hole is measured by what surrounds it.
//!
//! **After a kill** nothing that `push` has accepted is lost, for it is in the kernel's page cache; sent again is at
//! most the record on lease. **After a power cut** what was pushed in the last [`Options::sync_every`] may be lost, and
//! what was settled within ten times that may be sent again. A record that is settled before its sync is due is
//! never synced: while everything can be sent at once, the disk is not made to wait for.
//!
//! **Damage.** A torn tail is cut. A record whose checksum is wrong is left out, and reading goes on with the next one
//! that is right. Files that are not ours, and segments of another version, are left alone.
#![forbid(unsafe_code)]

#[cfg(test)]
mod counted;
mod files;
mod kinds;
mod loss;
mod position;
mod segment;
mod spool;

pub use kinds::{OpenError, Options, PushError, Record, Usage};
pub use loss::{Loss, Losses};
pub use segment::{Found, RecordHeader, SEGMENT_HEADER_BYTES, scan};
pub use spool::Spool;

/// Bytes that a record takes beside its body.
pub const RECORD_OVERHEAD: u64 = segment::RECORD_HEADER_BYTES as u64;

/// Longest body of a record.
pub const MAX_BODY_BYTES: usize = 16 << 20;
