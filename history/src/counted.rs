//! What keeping and reading openings costs, for `make instructions`.

use netsonde_counted::count;

use crate::{Beginning, BootId, Event, History, Limits, OpeningId, Page, Query};

const OPENINGS: u64 = 1000;

/// About as long as a listener is as JSON.
fn opened(n: u64) -> Event<String> {
    let id = OpeningId { began: 1_000_000_000 + n, boot: BootId([7; 16]), cookie: n };
    Event::Opened { id, beginning: Beginning::Seen, listener: format!("{n:0600}") }
}

#[test]
fn append() {
    let directory = tempfile::tempdir().unwrap();
    let (history, _) = History::open(directory.path(), Limits::default()).unwrap();
    let batches: Vec<Vec<Event<String>>> =
        (0..OPENINGS).step_by(100).map(|first| (first..first + 100).map(opened).collect()).collect();
    let stored = count(OPENINGS as usize, "opening, in batches of 100", || {
        batches.iter().map(|batch| history.append(batch).unwrap().stored).sum::<u64>()
    });
    assert_eq!(stored, OPENINGS);
}

#[test]
fn page() {
    let directory = tempfile::tempdir().unwrap();
    let (history, _) = History::open(directory.path(), Limits::default()).unwrap();
    history.append(&(0..OPENINGS).map(opened).collect::<Vec<_>>()).unwrap();
    let page: Page<String> =
        count(OPENINGS as usize, "record", || history.page(Query::All, None, OPENINGS as usize).unwrap());
    assert_eq!(page.records.len(), OPENINGS as usize);
}
