//! What is stored, found, ended and removed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use netsonde_history::{
    Appended, Beginning, BootId, Damage, End, Error, Event, History, Limits, Opened, OpeningId, Query,
};
use proptest::prelude::*;

use crate::support::{BOOT, Listener, SECOND, began, closed, id, limits, listener, opened, records};

#[test]
fn a_listener_of_five_milliseconds_in_one_batch_is_kept_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("history");
    let (history, found) = History::open(&directory, limits()).unwrap();
    assert_eq!(found, Opened::New);
    let gone = Event::Closed { id: id(3), at: 3 * SECOND + 5_000_000, listener: Some(listener(4)) };
    let appended = history.append(&[opened(3), gone]).unwrap();
    assert_eq!(appended, Appended { stored: 2, ..Appended::default() });
    drop(history);

    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("history.redb")), 0o600);

    let (history, found) = History::open(&directory, limits()).unwrap();
    assert_eq!(found, Opened::Found { repaired: false });
    let kept = records(&history, Query::All);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].opened_at, Some(3 * SECOND));
    assert_eq!(kept[0].end, Some(End::Seen(3 * SECOND + 5_000_000)));
    assert_eq!(kept[0].opening, Some(listener(3)));
    assert_eq!(kept[0].closing, Some(listener(4)));
}

#[test]
fn the_closing_of_an_unknown_listener_makes_a_record_that_says_so() {
    let state = tempfile::tempdir().unwrap();
    let (history, _) = History::open(state.path(), limits()).unwrap();
    history.append(&[closed(3, 4)]).unwrap();
    let kept = records(&history, Query::All);
    assert_eq!((kept[0].opened_at, &kept[0].opening), (None, &None));
    assert_eq!(kept[0].end, Some(End::Seen(4 * SECOND)));
    assert_eq!(history.statistics().unknown_closings, 1);
    let again = history.append(&[closed(3, 5)]).unwrap();
    assert_eq!(again, Appended { repeated: 1, ..Appended::default() });
}

#[test]
fn what_opened_or_closed_since_a_time_comes_by_the_first_of_both() {
    let state = tempfile::tempdir().unwrap();
    let (history, _) = History::open(state.path(), limits()).unwrap();
    history
        .append(&[
            opened(1), // is still open
            opened(2),
            closed(2, 5), // ended before
            opened(3),
            closed(3, 20), // ended since
            opened(12),
            closed(12, 25), // began and ended since
            opened(22),     // began since
            opened(10),
            closed(10, 10), // both at that time
        ])
        .unwrap();
    assert_eq!(began(&history, Query::OpenedOrClosedSince(10 * SECOND)), [10, 12, 3, 22]);
    assert_eq!(began(&history, Query::Open), [1, 22]);
    assert_eq!(began(&history, Query::All), [1, 2, 3, 10, 12, 22]);
    assert_eq!(began(&history, Query::OpenedOrClosedSince(26 * SECOND)), [0_u64; 0]);
}

#[test]
fn an_earlier_boot_and_sockets_that_are_gone_end_while_nobody_watched() {
    let state = tempfile::tempdir().unwrap();
    let (history, _) = History::open(state.path(), limits()).unwrap();
    let earlier = OpeningId { boot: BootId([1; 16]), ..id(1) };
    let found = Event::Opened { id: earlier, beginning: Beginning::Found, listener: listener(1) };
    history.append(&[found, opened(2), opened(3), opened(4)]).unwrap();

    // The second is found under its own id, the third as older than netsonde, and there is one nobody knew.
    let seen_again = OpeningId { began: 90 * SECOND, ..id(3) };
    let unknown = OpeningId { began: 91 * SECOND, boot: BOOT, cookie: 99 };
    let still_open = HashSet::from([id(2), seen_again, unknown]);
    let reconciled = history.reconcile(BOOT, &still_open, 100 * SECOND).unwrap();
    assert_eq!((reconciled.kept, reconciled.ended), (2, 2));
    assert_eq!(reconciled.known_as.into_iter().collect::<Vec<_>>(), [(seen_again, id(3))]);
    assert_eq!(reconciled.missing, [unknown]);
    assert_eq!(began(&history, Query::Open), [2, 3]);
    let ended = records(&history, Query::OpenedOrClosedSince(50 * SECOND));
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|record| record.end == Some(End::Unwatched { before: 100 * SECOND })));
    assert_eq!(ended[0].opened_at, None);
    assert_eq!(history.statistics().ended_unwatched, 2);

    // Its closing was under way, and says more.
    history.append(&[closed(4, 95)]).unwrap();
    let kept = records(&history, Query::OpenedOrClosedSince(50 * SECOND));
    assert_eq!(kept[0].end, Some(End::Seen(95 * SECOND)));
    let (all, open) = history.size().map(|size| (size.records, size.open)).unwrap();
    assert_eq!((all, open), (4, 2));
}

#[test]
fn what_ended_too_long_ago_is_removed_and_what_is_open_stays() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { age: Duration::from_secs(10), removals: 2, ..limits() };
    let (history, _) = History::open(state.path(), limits).unwrap();
    history.append(&[opened(1)]).unwrap();
    for number in 2..7 {
        history.append(&[opened(number), closed(number, number + 10)]).unwrap();
    }
    let first = history.retain(25 * SECOND).unwrap();
    assert_eq!((first.by_age, first.more), (2, true));
    let second = history.retain(25 * SECOND).unwrap();
    assert_eq!((second.by_age, second.more), (1, false));
    assert_eq!(began(&history, Query::All), [1, 5, 6]);
    assert_eq!(history.statistics().removed_by_age, 3);
}

#[test]
fn a_store_that_is_too_large_loses_its_oldest_and_gives_space_back() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { size: 1 << 20, removals: 500, ..limits() };
    let (history, _) = History::open(state.path(), limits).unwrap();
    history.append(&[opened(1)]).unwrap();
    let batch: Vec<_> = (2..7_000).flat_map(|number| [opened(number), closed(number, number)]).collect();
    history.append(&batch).unwrap();
    let before = history.size().unwrap();
    assert!(before.disk > limits.size, "{before:?}");
    let mut calls = 0;
    loop {
        let retained = history.retain(7_000 * SECOND).unwrap();
        assert!(retained.by_size <= 500);
        calls += 1;
        assert!(calls < 100, "it comes to an end");
        if !retained.more && retained.by_size == 0 {
            break;
        }
    }
    let after = history.size().unwrap();
    assert!(after.disk <= limits.size * 5 / 4, "{after:?}");
    let left = began(&history, Query::All);
    assert_eq!(left.first(), Some(&1), "the open one stays");
    assert_eq!(left.last(), Some(&6_999), "the newest stays");
    assert!(left.len() > 1_000, "{}", left.len());
    assert_eq!(history.statistics().removed_by_size, 6_999 - left.len() as u64);
}

#[test]
fn a_store_of_twice_its_size_takes_closings_and_nothing_new() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { size: 1_000, ..limits() };
    let (history, _) = History::open(state.path(), limits).unwrap();
    let batch: Vec<_> = (1..100).map(opened).collect();
    let appended = history.append(&batch).unwrap();
    assert!(appended.refused > 50 && appended.stored > 5, "{appended:?}");
    assert_eq!(history.statistics().refused_full, appended.refused);
    assert_eq!(history.append(&[closed(1, 200)]).unwrap().stored, 1);
    assert_eq!(history.append(&[closed(99, 200)]).unwrap().refused, 1);
}

#[test]
fn openings_beyond_the_limits_are_refused_and_counted() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { open: 2, payload: 200, ..limits() };
    let (history, _) = History::open(state.path(), limits).unwrap();
    let appended = history.append(&[opened(1), opened(2), opened(3), closed(1, 4), opened(5)]).unwrap();
    assert_eq!(appended, Appended { stored: 4, repeated: 0, refused: 1 });
    let huge = Listener { program: "x".repeat(200), ..listener(6) };
    let event = Event::Opened { id: id(6), beginning: Beginning::Seen, listener: huge.clone() };
    let close = Event::Closed { id: id(2), at: 7 * SECOND, listener: Some(huge) };
    assert_eq!(history.append(&[event, close]).unwrap(), Appended { stored: 1, repeated: 0, refused: 1 });
    let statistics = history.statistics();
    assert_eq!((statistics.refused_open, statistics.refused_too_large), (1, 1));
    assert_eq!(statistics.payloads_left_out, 1);
}

#[test]
fn a_history_in_use_says_so_and_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let (history, _) = History::open(state.path(), limits()).unwrap();
    assert!(matches!(History::open(state.path(), limits()), Err(Error::Locked(_))));
    assert!(matches!(History::read_only(state.path()), Err(Error::Locked(_))));
    drop(history);
    let reader = History::read_only(state.path()).unwrap();
    let another = History::read_only(state.path()).unwrap();
    assert!(matches!(History::open(state.path(), limits()), Err(Error::Locked(_))));
    drop((reader, another));
    assert!(History::open(state.path(), limits()).is_ok());
}

#[test]
fn a_reader_makes_nothing_where_there_is_nothing() {
    let state = tempfile::tempdir().unwrap();
    let missing = state.path().join("missing");
    assert!(matches!(History::read_only(&missing), Err(Error::NoStore(_))));
    assert!(!missing.exists());
    assert!(matches!(History::read_only(state.path()), Err(Error::NoStore(_))));
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn damaged_stores_are_set_aside_and_only_so_many_are_kept() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { set_aside: 2, ..limits() };
    let path = state.path().join("history.redb");
    for content in ["", "not a database, but a text", "a third", "a fourth"] {
        fs::write(&path, content).unwrap();
        let (history, found) = History::open(state.path(), limits).unwrap();
        let Opened::Fresh(aside) = found else { panic!("{content:?} is no store: {found:?}") };
        assert!(matches!(aside.damage, Damage::Corrupted(_)), "{aside:?}");
        assert_eq!(fs::read_to_string(aside.kept_as.unwrap()).unwrap(), content);
        assert_eq!(history.append(&[opened(1)]).unwrap().stored, 1);
    }
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 3);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (_history, found) = History::open(state.path(), limits).unwrap();
    assert!(matches!(found, Opened::Fresh(aside) if aside.damage == Damage::NotAFile));
}

#[test]
fn a_store_of_another_version_is_set_aside() {
    let state = tempfile::tempdir().unwrap();
    drop(History::open(state.path(), limits()).unwrap());
    let about = redb::TableDefinition::<&str, u64>::new("about");
    let database = redb::Database::open(state.path().join("history.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(about).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(History::read_only(state.path()), Err(Error::Damaged(Damage::Version(_)))));
    let (_history, found) = History::open(state.path(), limits()).unwrap();
    assert!(matches!(found, Opened::Fresh(aside) if matches!(aside.damage, Damage::Version(_))));
}

#[derive(Debug, Clone)]
enum Step {
    Open(u64),
    Close(u64, u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn pages_of_any_size_are_together_what_a_filter_over_all_finds(
        steps in proptest::collection::vec(prop_oneof![
            (0..30_u64).prop_map(Step::Open),
            (0..30_u64, 0..30_u64).prop_map(|(began, lived)| Step::Close(began, began + lived)),
        ], 0..60),
        since in 0..60_u64,
        limit in 1..9_usize,
    ) {
        let state = tempfile::tempdir().unwrap();
        let (history, _) = History::open(state.path(), limits()).unwrap();
        let batch: Vec<_> = steps.iter().map(|step| match *step {
            Step::Open(began) => opened(began),
            Step::Close(began, at) => closed(began, at),
        }).collect();
        history.append(&batch).unwrap();
        let since = since * SECOND;
        let first_since = |record: &netsonde_history::Record<Listener>| {
            let end = record.end.map(End::at).filter(|&end| end >= since);
            if record.id.began >= since { Some(record.id.began) } else { end }
        };
        let mut expected: Vec<_> = records(&history, Query::All).iter()
            .filter_map(|record| Some((first_since(record)?, record.id))).collect();
        expected.sort_unstable();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = history.page::<Listener>(Query::OpenedOrClosedSince(since), after, limit).unwrap();
            prop_assert!(page.records.len() <= limit);
            found.extend(page.records.iter().map(|record| (first_since(record).unwrap(), record.id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected);
        let size = history.size().unwrap();
        prop_assert_eq!(size.records, records(&history, Query::All).len() as u64);
        prop_assert_eq!(size.open, records(&history, Query::Open).len() as u64);
    }
}
