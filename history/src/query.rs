//! Reading, page by page and in the order of time. A page is one look at the store; between pages nothing is held, so
//! that a slow reader stands in nobody's way.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::ops::Bound;

use redb::{Database, ReadableDatabase, ReadableTable};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::record::{END, ID, OpeningId, Record, Stored, from_end_key};
use crate::statistics::Counters;
use crate::store::{ENDED, OPEN, RECORDS};

/// Which records, and in which order. Times are Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// All, by their beginning.
    All,
    /// Those that are open, by their beginning.
    Open,
    /// Those that opened or closed at this time or later, by what of both was first since then. Ends that nobody watched
    /// count as late as they can have been.
    OpenedOrClosedSince(u64),
}

/// How far a reader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    at: u64,
    id: OpeningId,
}

impl Position {
    /// The time that it is at, in Unix nanoseconds: of what the query orders by.
    #[must_use]
    pub fn at(self) -> u64 {
        self.at
    }

    /// As text, for somebody who asks for the next page later: hexadecimal digits.
    #[must_use]
    pub fn to_text(self) -> String {
        let key = self.id.to_end_key(self.at);
        key.iter().fold(String::with_capacity(2 * END), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads what [`Position::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 2 * END || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut key = [0; END];
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        let (at, id) = from_end_key(&key);
        Some(Self { at, id })
    }
}

/// Records in order, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The records, each with its place.
    pub records: Vec<Record<T>>,
    /// Where the next page begins; `None` after the last. A page without records may have a next one.
    pub next: Option<Position>,
}

/// The next page of at most `limit` records after a position.
pub(crate) fn page<T: DeserializeOwned>(
    database: &Database,
    query: Query,
    after: Option<Position>,
    limit: usize,
    counters: &Counters,
) -> Result<Page<T>, Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RECORDS)?;
    let key = after.map(|after| after.id.to_key());
    let places = match query {
        Query::All => {
            let from = table.range::<&[u8; ID]>(beyond(key.as_ref()))?;
            from.take(limit).map(|entry| Ok(place(*entry?.0.value()))).collect::<Result<Vec<_>, Error>>()?
        }
        Query::Open => {
            let open = transaction.open_table(OPEN)?;
            let from = open.range::<&[u8; ID]>(beyond(key.as_ref()))?;
            from.take(limit).map(|entry| Ok(place(*entry?.0.value()))).collect::<Result<Vec<_>, Error>>()?
        }
        Query::OpenedOrClosedSince(since) => {
            let ended = transaction.open_table(ENDED)?;
            places_since(&table, &ended, since, after, limit)?
        }
    };
    let next = if places.len() < limit { None } else { places.last().copied() };
    let mut records = Vec::with_capacity(places.len());
    for Position { id, .. } in places {
        let stored = table.get(&id.to_key())?.and_then(|bytes| Stored::from_bytes(bytes.value()));
        match stored.and_then(|stored| stored.into_record(id)) {
            Some(record) => records.push(record),
            None => counters.unreadable.add(1),
        }
    }
    Ok(Page { records, next })
}

fn place(key: [u8; ID]) -> Position {
    let id = OpeningId::from_key(&key);
    Position { at: id.began, id }
}

/// What comes after a key.
fn beyond<const N: usize>(key: Option<&[u8; N]>) -> (Bound<&[u8; N]>, Bound<&[u8; N]>) {
    (key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Two scans as one: what began since then, in the order of ids, and what ended since then but began before.
///
/// The scan of ends meets those again that also began since then, and leaves them out. It is asked only for what ended
/// no later than the next beginning, so a page never looks further than its last record.
fn places_since(
    records: &impl ReadableTable<&'static [u8; ID], &'static [u8]>,
    ended: &impl ReadableTable<&'static [u8; END], ()>,
    since: u64,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    // Positions are ordered by time, then by id. One in the scan of beginnings has its id's own time.
    let first = OpeningId::first_at(after.map_or(since, |after| after.at.max(since))).to_key();
    let last = after.filter(|after| after.at == after.id.began).map(|after| after.id.to_key());
    let begin = last.as_ref().map_or(Bound::Included(&first), Bound::Excluded);
    let began = records
        .range::<&[u8; ID]>((begin, Bound::Unbounded))?
        .map(|entry| Ok::<_, Error>(place(*entry?.0.value())));
    let from = match after {
        Some(after) => Bound::Excluded(after.id.to_end_key(after.at)),
        None => Bound::Included(OpeningId::first_at(0).to_end_key(since)),
    };
    let ends = ended.range::<&[u8; END]>((from.as_ref(), Bound::Unbounded))?.map(|entry| {
        let (at, id) = from_end_key(entry?.0.value());
        Ok::<_, Error>(Position { at, id })
    });
    merge(began.peekable(), ends.peekable(), since, limit)
}

fn merge(
    mut began: Peekable<impl Iterator<Item = Result<Position, Error>>>,
    mut ended: Peekable<impl Iterator<Item = Result<Position, Error>>>,
    since: u64,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    let mut places = Vec::with_capacity(limit);
    while places.len() < limit {
        let end_first = match (began.peek(), ended.peek()) {
            (None, None) => break,
            (Some(Ok(beginning)), Some(Ok(end))) => end < beginning,
            // A failed read is taken next, and ends the page.
            (_, Some(Err(_))) | (None, Some(Ok(_))) => true,
            (Some(Err(_)), _) | (Some(Ok(_)), None) => false,
        };
        let next = if end_first { ended.next() } else { began.next() };
        if let Some(place) = next.transpose()? {
            places.extend((!end_first || place.id.began < since).then_some(place));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::BootId;

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(at in any::<u64>(), began in any::<u64>(), boot in any::<[u8; 16]>()) {
            let position = Position { at, id: OpeningId { began, boot: BootId(boot), cookie: at ^ began } };
            prop_assert_eq!(Position::parse(&position.to_text()), Some(position));
        }

        #[test]
        fn other_texts_are_no_position(text in "\\PC{0,90}") {
            prop_assert_eq!(Position::parse(&text), None);
        }
    }
}
