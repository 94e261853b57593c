//! What goes: the old, then the oldest of too much; then space back to the disk.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableTable};

use crate::error::Error;
use crate::record::from_end_key;
use crate::store::{self, begin};
use crate::{Limits, Tables};

/// What one call removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Records that were too old.
    pub by_age: u64,
    /// Records that were too many.
    pub by_size: u64,
    /// Whether there is more to remove: the call did what one call does.
    pub more: bool,
    /// Whether the file was compacted.
    pub compacted: bool,
    /// Whether it should have been, and somebody was reading.
    pub put_off: bool,
}

/// `measured` remembers the bytes of content at which the store was last found small enough.
pub(crate) fn retain(
    database: &mut Arc<Database>,
    directory: &Path,
    limits: &Limits,
    now: u64,
    measured: &mut Option<u64>,
) -> Result<Retained, Error> {
    let age = u64::try_from(limits.age.as_nanos()).unwrap_or(u64::MAX);
    let by_age = remove(database, limits.removals, now.saturating_sub(age))?;
    let mut retained =
        Retained { by_age, more: by_age >= limits.removals as u64 && by_age > 0, ..Retained::default() };
    let (length, disk) = store::file_size(directory)?;
    let (records, open, content) = crate::content(database)?;
    // What is in use lies within the file. Counting it reads all of the store, so it is done again only when 2 % of the
    // limit have come.
    let grown = measured.is_none_or(|at| content > at.saturating_add(limits.size / 50));
    if retained.more || length <= limits.size || !grown {
        return Ok(retained);
    }
    let used = used_bytes(database)?;
    let excess = records_beyond(limits.size, used, records);
    if excess > 0 {
        let budget = limits.removals.saturating_sub(usize::try_from(by_age).unwrap_or(usize::MAX));
        let wanted = usize::try_from(excess).unwrap_or(usize::MAX);
        retained.by_size = remove(database, budget.min(wanted), u64::MAX)?;
        // Where all that is left is open, there is nothing to come back for.
        retained.more = retained.by_size > 0 && records.saturating_sub(open) > retained.by_size;
        return Ok(retained);
    }
    if is_worth_compacting(limits.size, used, disk) {
        // A page that is being read holds a handle.
        match Arc::get_mut(database) {
            Some(database) => retained.compacted = database.compact()?,
            None => {
                retained.put_off = true;
                return Ok(retained);
            }
        }
    }
    *measured = Some(content);
    Ok(retained)
}

/// Bytes of pages that are in use. Reads all pages.
fn used_bytes(database: &Database) -> Result<u64, Error> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    let bytes = stats.allocated_pages() * stats.page_size() as u64;
    transaction.abort()?;
    Ok(bytes)
}

/// How many records to remove, so that a tenth of the limit is free again; 0 within the limit.
fn records_beyond(limit: u64, used: u64, records: u64) -> u64 {
    if used <= limit || records == 0 {
        return 0;
    }
    let each = (used / records).max(1);
    (used - limit / 10 * 9).div_ceil(each)
}

/// Only where the file takes clearly more of the disk than it may, and a quarter of that or more would come back: what
/// is free in the file is used again by what comes.
fn is_worth_compacting(limit: u64, used: u64, disk: u64) -> bool {
    disk > limit.saturating_add(limit / 4) && used < disk / 4 * 3
}

/// Removes records that ended before a time, the oldest first.
fn remove(database: &Database, most: usize, before: u64) -> Result<u64, Error> {
    if most == 0 {
        return Ok(0);
    }
    let transaction = begin(database)?;
    let mut tables = Tables::of(&transaction)?;
    let mut gone = Vec::new();
    for entry in tables.ended.iter()?.take(most) {
        let (end, id) = from_end_key(entry?.0.value());
        if end >= before {
            break;
        }
        gone.push((end, id));
    }
    if gone.is_empty() {
        drop(tables);
        transaction.abort()?;
        return Ok(0);
    }
    for (end, id) in &gone {
        tables.remove(*id, *end)?;
    }
    tables.finish()?;
    transaction.commit()?;
    Ok(gone.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_removed_as_bring_it_below_nine_tenths() {
        assert_eq!(records_beyond(1_000, 1_000, 10), 0);
        assert_eq!(records_beyond(1_000, 1_100, 11), 2);
        assert_eq!(records_beyond(1_000, 5_000, 0), 0);
    }

    #[test]
    fn a_file_within_its_limit_or_full_of_use_is_not_compacted() {
        assert!(!is_worth_compacting(1_000, 10, 1_200));
        assert!(!is_worth_compacting(1_000, 1_900, 2_000));
        assert!(is_worth_compacting(1_000, 900, 2_000));
    }
}
