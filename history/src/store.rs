//! The file: making it, opening it, judging whether it is sound, setting it aside. What is in it is for others.
//!
//! redb checks its pages only in `check_integrity()`, and may panic over pages that are not what was written: its issue
//! 1334 measures that, and in 1330 and 874 its author refers to that call. So each store is checked when it is opened.
//! Files with random damage make even opening and that call panic (4.4.0; the tests show it), so each call into redb is
//! made within [`contain`]. A handle that panicked is never used again: issue 1333 tells what it may have half done.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{Builder, Database, ReadableDatabase, ReadableTableMetadata, TableDefinition, WriteTransaction};

use crate::error::{Damage, Error};
use crate::overlay::Overlay;
use crate::record::{END, ID};
use crate::statistics::Counters;

/// Records by id, and so by the time of their beginning.
pub(crate) const RECORDS: TableDefinition<'_, &[u8; ID], &[u8]> = TableDefinition::new("records");
/// Those that are open.
pub(crate) const OPEN: TableDefinition<'_, &[u8; ID], ()> = TableDefinition::new("open");
/// Those that have ended, by the time of their end.
pub(crate) const ENDED: TableDefinition<'_, &[u8; END], ()> = TableDefinition::new("ended");
/// Numbers about the store: [`FORMAT_KEY`], [`BYTES_KEY`].
pub(crate) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// Under which [`FORMAT`] is found.
const FORMAT_KEY: &str = "format";
/// Under which the bytes of all keys and values are found.
pub(crate) const BYTES_KEY: &str = "bytes";
/// Grows when tables or [`Stored`](crate::record::Stored) change their meaning.
const FORMAT: u64 = 1;

const NAME: &str = "history.redb";
/// A store while it is made: only a whole one gets the name.
const NEW_NAME: &str = "history.redb.new";
const ASIDE_PREFIX: &str = "history.redb.damaged-";

/// Pages kept in memory. redb's own choice is 1 GiB.
const CACHE_BYTES: usize = 4 << 20;

/// A store that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Why.
    pub damage: Damage,
    /// Where it is now; `None` when none are kept.
    pub kept_as: Option<PathBuf>,
}

/// What was found when a history was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// There was none; an empty one was made.
    New,
    /// There was one. `repaired` when redb had to recover it: it was not closed in order.
    Found {
        /// Whether it had to be recovered.
        repaired: bool,
    },
    /// There was a damaged one, and an empty one was made.
    Fresh(SetAside),
}

/// Runs what calls redb. A panic there becomes damage: `History::open` and everything after give the handle up then,
/// so nothing is used that a panic left half done.
pub(crate) fn contain<R>(call: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("without a word");
        Err(Error::Damaged(Damage::Panicked(said.to_owned())))
    })
}

/// Closes a handle, which writes to the file if it was the last one.
pub(crate) fn put_away(database: Arc<Database>) -> Result<(), Error> {
    contain(|| {
        drop(database);
        Ok(())
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A transaction that is on the disk when its commit returns.
///
/// By two phases: then redb knows that what was committed last was whole, and calls it damage when it is not, where
/// it would fall back to the commit before without a word. (One byte of the header has no checksum. Where a disk turns
/// a bit of that, the last commit may still be lost unnoticed: `tests/history/corruption.rs`.)
pub(crate) fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// The directory, made if need be, and locked for as long as the file lives.
///
/// # Errors
///
/// [`Error::Locked`] when somebody else has it for all of `wait`.
pub(crate) fn claim(directory: &Path, wait: Duration) -> Result<File, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let handle = File::open(directory)?;
    let began = Instant::now();
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(handle),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if began.elapsed() < wait => sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(directory.to_owned())),
        }
    }
}

/// Opens the store of a directory that the caller has [claimed](claim); makes one where there is none, or none that
/// can be used.
pub(crate) fn open(directory: &Path, keep: usize, counters: &Counters) -> Result<(Database, Opened), Error> {
    let path = directory.join(NAME);
    let damage = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((make(directory)?, Opened::New));
        }
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.is_file() => Damage::NotAFile,
        Ok(_) => match contain(|| load(&path)) {
            Ok((database, repaired)) => return Ok((database, Opened::Found { repaired })),
            Err(Error::Damaged(damage)) => damage,
            Err(error) => return Err(error),
        },
    };
    if matches!(damage, Damage::Panicked(_)) {
        counters.caught_panics.add(1);
    }
    let kept_as = set_aside(directory, &path, keep, counters)?;
    counters.set_aside.add(1);
    Ok((make(directory)?, Opened::Fresh(SetAside { damage, kept_as })))
}

fn load(path: &Path) -> Result<(Database, bool), Error> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    // redb would begin a new database in an empty file, and nobody would hear of what was lost.
    if metadata.len() == 0 {
        return Err(Error::Damaged(Damage::Corrupted("the file is empty".to_owned())));
    }
    let recovered = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = Arc::clone(&recovered);
    let mut builder = builder();
    builder.set_repair_callback(move |_| flag.store(true, std::sync::atomic::Ordering::Relaxed));
    let mut database = builder.create_file(file)?;
    let sound = database.check_integrity()?;
    examine(&database)?;
    Ok((database, !sound || recovered.load(std::sync::atomic::Ordering::Relaxed)))
}

/// Opens the store for somebody who must not change it: what redb repairs is repaired in memory.
pub(crate) fn read(directory: &Path) -> Result<(Database, File), Error> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoStore(directory.to_owned()),
        _ => Error::Io(error),
    };
    let lock = File::open(directory).map_err(gone)?;
    match lock.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Err(TryLockError::WouldBlock) => return Err(Error::Locked(directory.to_owned())),
    }
    let path = directory.join(NAME);
    let metadata = fs::symlink_metadata(&path).map_err(gone)?;
    if !metadata.is_file() {
        return Err(Error::Damaged(Damage::NotAFile));
    }
    if metadata.len() == 0 {
        return Err(Error::Damaged(Damage::Corrupted("the file is empty".to_owned())));
    }
    let file = File::open(&path).map_err(gone)?;
    let database = contain(|| {
        let mut database = builder().create_with_backend(Overlay::new(file)?)?;
        database.check_integrity()?;
        examine(&database)?;
        Ok(database)
    })?;
    Ok((database, lock))
}

/// Is it ours, and do its tables agree?
fn examine(database: &Database) -> Result<(), Error> {
    let transaction = database.begin_read()?;
    let about = transaction.open_table(ABOUT)?;
    let format = about.get(FORMAT_KEY)?.map(|format| format.value());
    if format != Some(FORMAT) {
        let found = format.map_or("none".to_owned(), |format| format.to_string());
        return Err(Error::Damaged(Damage::Version(format!("format {found} of ours, not {FORMAT}"))));
    }
    let records = transaction.open_table(RECORDS)?.len()?;
    let open = transaction.open_table(OPEN)?.len()?;
    let ended = transaction.open_table(ENDED)?.len()?;
    if open.checked_add(ended) != Some(records) {
        return Err(Error::Damaged(Damage::Contradiction { records, open, ended }));
    }
    Ok(())
}

/// An empty store, which gets its name when it is whole.
fn make(directory: &Path) -> Result<Database, Error> {
    let path = directory.join(NEW_NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let made = contain(|| {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let database = builder().create_file(file)?;
        let transaction = begin(&database)?;
        {
            transaction.open_table(RECORDS)?;
            transaction.open_table(OPEN)?;
            transaction.open_table(ENDED)?;
            let mut about = transaction.open_table(ABOUT)?;
            about.insert(FORMAT_KEY, FORMAT)?;
            about.insert(BYTES_KEY, 0)?;
        }
        transaction.commit()?;
        Ok(database)
    });
    let database = match made {
        Ok(database) => database,
        Err(error) => {
            // Of no use to anybody; if it stays, the next attempt removes it.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
    };
    fs::rename(&path, directory.join(NAME))?;
    File::open(directory)?.sync_all()?;
    Ok(database)
}

/// Gives a damaged store another name, and removes the oldest of those beyond `keep`.
fn set_aside(
    directory: &Path,
    path: &Path,
    keep: usize,
    counters: &Counters,
) -> Result<Option<PathBuf>, Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut there = names_aside(directory)?;
    there.sort();
    let aside = directory.join(name_aside(seconds, &there));
    fs::rename(path, &aside)?;
    let excess = (there.len() + 1).saturating_sub(keep);
    // This one is the newest, whatever the clock says of the others.
    for old in there.iter().map(|name| directory.join(name)).chain([aside.clone()]).take(excess) {
        // A directory may have had the store's name. It is not ours to empty.
        let removed = if old.is_dir() { fs::remove_dir(&old) } else { fs::remove_file(&old) };
        match removed {
            Ok(()) => counters.set_aside_removed.add(1),
            Err(_) => counters.set_aside_stuck.add(1),
        }
    }
    File::open(directory)?.sync_all()?;
    Ok(aside.symlink_metadata().is_ok().then_some(aside))
}

fn names_aside(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Ok(name) = entry?.file_name().into_string()
            && name.starts_with(ASIDE_PREFIX)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// A name that is free, and after those of the same second in the order of bytes.
fn name_aside(seconds: u64, taken: &[String]) -> String {
    let prefix = format!("{ASIDE_PREFIX}{seconds:012}-");
    let last = taken.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok()).max();
    format!("{prefix}{:03}", last.map_or(0, |last| last.saturating_add(1)))
}

/// The file's length and what it takes of the disk, in bytes: redb makes files larger ahead of need.
pub(crate) fn file_size(directory: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(directory.join(NAME))?;
    // st_blocks counts units of 512 bytes (stat(2)).
    Ok((metadata.len(), metadata.blocks() * 512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_aside_is_never_one_that_is_taken() {
        let first = name_aside(7, &[]);
        assert_eq!(first, "history.redb.damaged-000000000007-000");
        let second = name_aside(7, std::slice::from_ref(&first));
        assert!(second > first, "{second}");
        // The first has been removed.
        assert!(name_aside(7, std::slice::from_ref(&second)) > second);
        assert!(name_aside(8, &[]) > second);
    }
}
