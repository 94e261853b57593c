use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use netsonde_audit::model::Transport;
use netsonde_history::Record;

use super::*;

const BOOT: BootId = BootId([3; 16]);
/// In the future, so that nothing is too old to be kept: 2100.
const THEN: u64 = 4_102_444_800_000_000_000;

fn start(directory: &Path) -> (Recorder, HistoryThread) {
    let limits =
        Limits { lock_wait: Duration::ZERO, retry_after: Duration::from_millis(100), ..Limits::default() };
    Recorder::start_with(directory.to_owned(), limits, BOOT).expect("a thread")
}

fn id(began: u64) -> OpeningId {
    OpeningId { began: THEN + began, boot: BOOT, cookie: began }
}

fn listener(port: u16) -> Box<Listener> {
    Box::new(Listener::new(Transport::Tcp, None, Some(port)))
}

fn opened(began: u16) -> Event<Box<Listener>> {
    Event::Opened { id: id(began.into()), beginning: Beginning::Seen, listener: listener(began) }
}

fn known(began: u16, found_at: u64) -> Known {
    let id = OpeningId { began: THEN + found_at, ..id(began.into()) };
    Known { id, beginning: Beginning::Found, listener: listener(began) }
}

fn stored(directory: &Path) -> Vec<Record<Listener>> {
    let reader = History::read_only(directory).expect("a store");
    reader.page(Query::All, None, 1_000).expect("a page").records
}

fn wait(recorder: &Recorder, what: impl Fn(&HistoryStatus) -> bool) -> HistoryStatus {
    let began = Instant::now();
    loop {
        let status = recorder.status();
        if what(&status) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_happened_is_on_the_disk_within_half_a_second_and_read_while_it_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let (recorder, thread) = start(directory.path());
    wait(&recorder, |status| status.state == "open");
    let began = Instant::now();
    recorder.happened(opened(1));
    recorder.happened(Event::Closed { id: id(1), at: THEN + 5, listener: None });
    wait(&recorder, |status| status.stored == 2);
    assert!(began.elapsed() < Duration::from_secs(5), "a busy machine takes longer, but not that long");
    let page = recorder.archive().page(Query::All, None, 10).expect("a store").expect("a page");
    assert_eq!(page.records.len(), 1);
    recorder.happened(opened(2));
    drop(recorder);
    thread.join();
    assert_eq!(stored(directory.path()).len(), 2, "the end waits for what is left");
}

#[test]
fn a_start_ends_what_is_gone_and_knows_again_what_is_still_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let (recorder, thread) = start(directory.path());
    (1..4).for_each(|n| recorder.happened(opened(n)));
    drop(recorder);
    thread.join();

    let (recorder, thread) = start(directory.path());
    assert!(recorder.wants_all());
    recorder.all_open(vec![known(1, 100), known(2, 100), known(9, 100)], THEN + 100);
    // By the id of this run, which the store knows by another.
    recorder.happened(Event::Closed { id: known(2, 100).id, at: THEN + 110, listener: None });
    assert!(!recorder.wants_all());
    drop(recorder);
    thread.join();
    let ends: Vec<_> = stored(directory.path())
        .iter()
        .map(|record| (record.id.cookie, record.end.map(netsonde_history::End::at)))
        .collect();
    assert_eq!(ends, [(1, None), (2, Some(THEN + 110)), (3, Some(THEN + 100)), (9, None)]);
}

#[test]
fn a_store_in_use_is_waited_for_and_nothing_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let (other, _) = History::open(directory.path(), Limits::default()).expect("a store");
    let (recorder, thread) = start(directory.path());
    recorder.all_open(vec![known(5, 5)], 5);
    recorder.happened(opened(7));
    let status = wait(&recorder, |status| status.state == "failing" && status.waiting > 0);
    assert!(status.is_troubled() && status.sentence().contains("in use by another process"), "{status:?}");
    drop(other);
    let status = wait(&recorder, |status| status.state == "open" && status.records == 2);
    assert!(!status.is_troubled(), "{status:?}");
    drop(recorder);
    thread.join();
}

#[test]
fn a_damaged_store_is_set_aside_and_what_is_open_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("history.redb"), b"no database").expect("written");
    let (recorder, thread) = start(directory.path());
    let status = wait(&recorder, |status| status.state == "open");
    assert_eq!(status.set_aside, 1);
    assert!(status.is_troubled() && status.sentence().contains("history.redb.damaged-"), "{status:?}");
    assert!(recorder.wants_all());
    drop(recorder);
    thread.join();
}

#[test]
fn an_inbox_without_room_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (other, _) = History::open(directory.path(), Limits::default()).expect("a store");
    let (recorder, thread) = start(directory.path());
    let many = 6 * INBOX as u64;
    recorder.all_open(Vec::new(), 1);
    for n in 0..many {
        recorder.happened(opened((n % 60_000) as u16));
    }
    // Whatever was taken waits, and the longest waiting of it is given up.
    let accounted = |status: &HistoryStatus| {
        status.waiting + status.losses.iter().map(|(_, n)| n).sum::<u64>() >= many - BATCH_LEFT
    };
    let status = wait(&recorder, |status| status.state == "failing" && accounted(status));
    let reasons: BTreeSet<_> =
        status.losses.iter().filter(|(_, n)| *n > 0).map(|(reason, _)| *reason).collect();
    assert!(reasons.contains("store_failed") || reasons.contains("inbox_full"), "{reasons:?}");
    assert!(recorder.wants_all());
    drop((other, recorder));
    thread.join();
}

/// What the thread took after it told of itself last.
const BATCH_LEFT: u64 = INBOX as u64;
