//! A process that is killed while it appends.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netsonde_history::{History, Limits, Opened, Query, Record};

use crate::support::{Listener, closed, limits, listener, opened, records};

/// Openings in a batch of the process that is killed.
const BATCH: u64 = 50;

/// Every tenth batch is of listeners that stay open: those are never removed.
fn stays_open(number: u64) -> bool {
    ((number - 1) / BATCH) % 10 == 3
}

/// Not a test: the process that the next one starts, in the directory of its history. It appends until it is killed, and
/// says after each batch how many it has appended.
#[test]
#[ignore = "run by a_kill_loses_nothing_that_was_committed"]
fn appends_until_killed() {
    // Small limits, so that removals and compactions are killed as well.
    let limits = Limits { size: 1 << 20, ..limits() };
    let (history, _) = History::open(Path::new("."), limits).unwrap();
    let mut output = std::io::stdout();
    for batch in 0.. {
        let numbers = batch * BATCH + 1..=(batch + 1) * BATCH;
        let last = *numbers.end();
        let events: Vec<_> = numbers.flat_map(|number| [opened(number), closed(number, number)]).collect();
        let events: Vec<_> = if stays_open(last) { events.into_iter().step_by(2).collect() } else { events };
        history.append(&events).unwrap();
        writeln!(output, "appended {last}").unwrap();
        output.flush().unwrap();
        if batch % 10 == 9 {
            history.retain(0).unwrap();
        }
    }
}

#[test]
fn a_kill_loses_nothing_that_was_committed() {
    for round in 0..5_u64 {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::appends_until_killed", "--ignored", "--nocapture"])
            .current_dir(state.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                if let Some(number) = line.strip_prefix("appended ") {
                    last = number.parse::<u64>().unwrap();
                }
            }
            last
        });
        std::thread::sleep(Duration::from_millis(300 + 171 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let committed = reader.join().unwrap();
        assert!(committed > 0, "it got as far as one batch");

        // A reader repairs in memory and leaves the file.
        let path = state.path().join("history.redb");
        let before = std::fs::read(&path).unwrap();
        let mut read = 0_u64;
        let reader = History::read_only(state.path()).unwrap();
        reader
            .each(Query::All, |_: Record<Listener>| {
                read += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        drop(reader);
        assert!(std::fs::read(&path).unwrap() == before, "the reader changed the file");

        let (history, found) = History::open(state.path(), limits()).unwrap();
        assert!(matches!(found, Opened::Found { .. }), "{found:?}");
        let kept = crate::support::by_id(records(&history, Query::All));
        assert_eq!(kept.len() as u64, read);
        for number in (1..=committed).filter(|&number| stays_open(number)) {
            let record = kept.get(&crate::support::id(number)).expect("committed before the kill");
            assert_eq!(record.opening, Some(listener(number)));
        }
        // What had ended may have been removed for its size, and then the oldest first.
        let ended: Vec<u64> =
            kept.values().filter(|record| record.end.is_some()).map(|record| record.id.cookie).collect();
        assert!(ended.last().is_some_and(|&last| last + 2 * BATCH > committed), "{committed}");
        let expected = (ended[0]..=committed).filter(|&number| !stays_open(number));
        assert!(expected.eq(ended.iter().copied().filter(|&number| number <= committed)));
        println!("round {round}: {committed} committed, {} kept, {found:?}", kept.len());
    }
}
