use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::files::EXTENSION;
use crate::segment::scan;

const LARGE: Options = Options { limit: 1 << 20, segment_bytes: 700, sync_every: Duration::ZERO };

fn open(directory: &TempDir, options: Options) -> Spool {
    Spool::open(&directory.path().join("spool"), options).unwrap()
}

fn push(spool: &mut Spool, items: u32, body: &[u8]) {
    spool.push(1, items, body, 5_000 + u64::from(items)).unwrap();
}

/// Takes everything: items and bodies.
fn drain(spool: &mut Spool) -> Vec<(u32, Bytes)> {
    let mut all = Vec::new();
    let mut last = None;
    while let Some(record) = spool.lease().unwrap() {
        assert!(last < Some(record.sequence), "{last:?} before {}", record.sequence);
        last = Some(record.sequence);
        all.push((record.items, record.body));
        spool.settle().unwrap();
    }
    assert_eq!(spool.usage().records, 0);
    assert_eq!(spool.usage().items, 0);
    all
}

/// Paths of the segments, in order.
fn segments(directory: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path().join("spool")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).collect();
    paths.sort();
    paths
}

fn lost(spool: &mut Spool) -> (u64, u64) {
    let losses = spool.take_losses();
    (
        Loss::ALL.map(|loss| losses.records(loss)).iter().sum(),
        Loss::ALL.map(|loss| losses.items(loss)).iter().sum(),
    )
}

#[derive(Debug, Clone)]
enum Step {
    Push(u32, Vec<u8>),
    Lease,
    Settle,
    Release,
    Maintain,
    /// Opened again without a word, as after a kill.
    Kill,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => (0..9_u32, body).prop_map(|(items, body)| Step::Push(items, body)),
        3 => Just(Step::Lease),
        3 => Just(Step::Settle),
        1 => Just(Step::Release),
        1 => Just(Step::Maintain),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_is_a_queue_whatever_kills_the_process(steps in prop::collection::vec(step(), 0..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = open(&directory, LARGE);
        let mut model = VecDeque::new();
        let mut leased = false;
        for step in steps {
            match step {
                Step::Push(items, body) => {
                    push(&mut spool, items, &body);
                    model.push_back((items, Bytes::from(body)));
                }
                Step::Lease => {
                    let expected = if leased { None } else { model.front().cloned() };
                    let record = spool.lease().unwrap().map(|record| (record.items, record.body));
                    leased |= record.is_some();
                    prop_assert_eq!(record, expected);
                }
                Step::Settle => {
                    spool.settle().unwrap();
                    if std::mem::take(&mut leased) {
                        model.pop_front();
                    }
                }
                Step::Release => {
                    spool.release();
                    leased = false;
                }
                Step::Maintain => spool.maintain(Instant::now()).unwrap(),
                Step::Kill | Step::Close => {
                    if matches!(step, Step::Close) { spool.close().unwrap() } else { drop(spool) }
                    spool = open(&directory, LARGE);
                    prop_assert!(spool.take_losses().is_empty());
                    leased = false;
                }
            }
            let usage = spool.usage();
            let items: u64 = model.iter().map(|(items, _)| u64::from(*items)).sum();
            prop_assert_eq!((usage.records, usage.items), (model.len() as u64, items));
            prop_assert_eq!(usage.oldest_unix_ms.is_some(), !model.is_empty());
            let bytes: u64 = model.iter().map(|(_, body)| RECORD_OVERHEAD + body.len() as u64).sum();
            prop_assert_eq!(usage.waiting_bytes, bytes);
        }
        spool.release();
        prop_assert_eq!(drain(&mut spool), Vec::from(model));
    }

    #[test]
    fn when_full_the_oldest_go_and_are_counted(steps in prop::collection::vec(step(), 0..80)) {
        let options = Options { limit: 1200, segment_bytes: 300, sync_every: Duration::ZERO };
        let directory = tempfile::tempdir().unwrap();
        let mut spool = open(&directory, options);
        let (mut pushed, mut settled, mut lost_items) = (0, 0, 0);
        let mut leased: Option<Record> = None;
        let mut newest = None;
        for step in steps {
            match step {
                Step::Push(items, body) => {
                    push(&mut spool, items, &body);
                    pushed += u64::from(items);
                }
                Step::Lease => if let Some(record) = spool.lease().unwrap() {
                    prop_assert!(newest < Some(record.sequence));
                    leased = Some(record);
                },
                Step::Settle => {
                    spool.settle().unwrap();
                    if let Some(record) = leased.take() {
                        settled += u64::from(record.items);
                        newest = Some(record.sequence);
                    }
                }
                Step::Release => {
                    spool.release();
                    leased = None;
                }
                Step::Maintain => spool.maintain(Instant::now()).unwrap(),
                Step::Kill | Step::Close => {
                    // Whatever only memory had goes with it.
                    lost_items += spool.usage().unsaved_items;
                    leased = None;
                    let losses = spool.take_losses();
                    lost_items += losses.items(Loss::Full);
                    drop(spool);
                    spool = open(&directory, options);
                }
            }
            let losses = spool.take_losses();
            lost_items += losses.items(Loss::Full);
            prop_assert_eq!(Loss::ALL.map(|loss| losses.items(loss)).iter().sum::<u64>(), losses.items(Loss::Full));
            let usage = spool.usage();
            prop_assert!(usage.bytes <= options.limit, "{}", usage.bytes);
            prop_assert_eq!(pushed, settled + lost_items + usage.items);
        }
    }

    #[test]
    fn a_cut_at_any_byte_keeps_what_was_before_it(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
        settled in 0..6_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = open(&directory, LARGE);
        for (body, items) in bodies.iter().zip(1..) {
            push(&mut spool, items, body);
        }
        let settled = settled.min(bodies.len() - 1);
        for _ in 0..settled {
            spool.lease().unwrap();
            spool.settle().unwrap();
        }
        drop(spool);
        let path = segments(&directory).pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        let cut = cut.index(bytes.len());
        fs::write(&path, &bytes[..cut]).unwrap();
        let in_last: Vec<usize> = {
            let (mut offset, mut ends) = (SEGMENT_HEADER_BYTES, Vec::new());
            while let Some(found) = scan(&bytes, offset) {
                offset = found.end();
                ends.push(offset);
            }
            ends
        };
        let left = bodies.len() - in_last.iter().filter(|end| **end > cut).count();
        let expected: Vec<(u32, Bytes)> = bodies.iter().zip(1..).take(left).skip(settled)
            .map(|(body, items)| (items, Bytes::copy_from_slice(body))).collect();
        let mut spool = open(&directory, LARGE);
        // No record takes the number of one that was there before and may have been sent.
        push(&mut spool, 99, b"after");
        let mut found = drain(&mut spool);
        prop_assert_eq!(found.pop(), Some((99, Bytes::from_static(b"after"))));
        prop_assert_eq!(found, expected);
        drop(spool);
        prop_assert!(drain(&mut open(&directory, LARGE)).is_empty());
    }

    #[test]
    fn a_changed_byte_costs_one_record_and_is_counted(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
        settled in 0..6_usize,
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        open_meanwhile in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = open(&directory, LARGE);
        for (body, items) in bodies.iter().zip(1..) {
            push(&mut spool, items, body);
        }
        let settled = settled.min(bodies.len() - 1);
        for _ in 0..settled {
            spool.lease().unwrap();
            spool.settle().unwrap();
        }
        let paths = segments(&directory);
        let path = &paths[file.index(paths.len())];
        let flip = || {
            let mut bytes = fs::read(path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 0x40;
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        };
        if open_meanwhile {
            flip();
        } else {
            drop(spool);
            flip();
            spool = open(&directory, LARGE);
        }
        let waiting: u64 = (1..).take(bodies.len()).skip(settled).sum();
        push(&mut spool, 99, b"after");
        let found = drain(&mut spool);
        let (records, items) = lost(&mut spool);
        prop_assert!(found.len() >= bodies.len() - settled, "{} of {}", found.len(), bodies.len());
        for (items, body) in &found {
            prop_assert!(*items == 99 || bodies[*items as usize - 1] == body[..], "another body");
        }
        let whole: u64 = found.iter().map(|(items, _)| u64::from(*items)).sum::<u64>() - 99;
        // A damaged header at the very end takes the number of its items with it.
        let headless = records == 1 && items == 0;
        prop_assert!(whole + items == waiting || headless, "{} + {} of {}", whole, items, waiting);
        prop_assert!(records <= 1);
    }

    #[test]
    fn any_bytes_in_any_file_can_be_opened(
        contents in prop::collection::vec((0..5_u64, prop::collection::vec(any::<u8>(), 0..300)), 0..4),
        position in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        fs::create_dir(&path).unwrap();
        for (number, bytes) in contents {
            fs::write(path.join(format!("{number:016x}.seg")), bytes).unwrap();
        }
        if let Some(bytes) = position {
            fs::write(path.join(POSITION), bytes).unwrap();
        }
        let mut spool = open(&directory, LARGE);
        push(&mut spool, 3, b"body");
        prop_assert_eq!(drain(&mut spool), [(3, Bytes::from_static(b"body"))]);
    }
}

#[test]
fn two_cannot_have_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory, LARGE);
    let path = directory.path().join("spool");
    assert!(matches!(Spool::open(&path, LARGE), Err(OpenError::Locked)));
    drop(spool);
    Spool::open(&path, LARGE).unwrap();
}

#[test]
fn nobody_else_can_read_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let mut spool = open(&directory, LARGE);
    push(&mut spool, 1, b"secret");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    fs::create_dir_all(path.join("0000000000000003.seg")).unwrap();
    let mut newer = segment::segment_header(7);
    newer[8] = 2;
    let checksum = crc32fast::hash(&newer[..20]);
    newer[20..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path.join("0000000000000007.seg"), newer).unwrap();
    for name in ["README", "7.seg", "000000000000000A.seg"] {
        fs::write(path.join(name), "hands off").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", path.join("0000000000000004.seg")).unwrap();
    let mut spool = open(&directory, LARGE);
    assert_eq!(spool.foreign(), 6);
    assert!(spool.take_losses().is_empty());
    push(&mut spool, 1, b"a");
    assert_eq!(drain(&mut spool), [(1, Bytes::from_static(b"a"))]);
    for name in ["README", "7.seg", "000000000000000A.seg", "0000000000000007.seg", "0000000000000004.seg"] {
        assert!(fs::symlink_metadata(path.join(name)).is_ok(), "{name} is gone");
    }
}

#[test]
fn a_segment_that_is_gone_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, LARGE);
    for items in 1..=9 {
        push(&mut spool, items, &[0; 200]);
    }
    drop(spool);
    let paths = segments(&directory);
    assert_eq!(paths.len(), 5);
    fs::remove_file(&paths[1]).unwrap();
    let mut spool = open(&directory, LARGE);
    let losses = spool.take_losses();
    assert_eq!((losses.records(Loss::Missing), losses.items(Loss::Missing)), (2, 3 + 4));
    // And one that goes while the spool is open.
    fs::remove_file(&paths[2]).unwrap();
    let found: Vec<u32> = drain(&mut spool).into_iter().map(|(items, _)| items).collect();
    assert_eq!(found, [1, 2, 7, 8, 9]);
    let losses = spool.take_losses();
    assert_eq!((losses.records(Loss::Corrupt), losses.items(Loss::Corrupt)), (2, 5 + 6));
}

#[test]
fn a_position_that_is_gone_sends_again_rather_than_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, LARGE);
    push(&mut spool, 1, b"a");
    push(&mut spool, 2, b"b");
    spool.lease().unwrap();
    spool.settle().unwrap();
    drop(spool);
    fs::remove_file(directory.path().join("spool").join(POSITION)).unwrap();
    let mut spool = open(&directory, LARGE);
    assert!(spool.take_losses().is_empty());
    assert_eq!(drain(&mut spool).len(), 2);
}

#[test]
fn what_can_never_fit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, Options { limit: 1000, ..LARGE });
    push(&mut spool, 1, b"a");
    assert!(matches!(spool.push(0, 1, &[0; 1000], 0), Err(PushError::TooLarge)));
    assert!(matches!(spool.push(0, 1, &vec![0; MAX_BODY_BYTES + 1], 0), Err(PushError::TooLarge)));
    assert_eq!((spool.usage().records, spool.take_losses().is_empty()), (1, true));
}

#[test]
fn segments_go_once_everything_in_them_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, LARGE);
    for items in 0..20 {
        push(&mut spool, items, &[0; 200]);
    }
    assert_eq!(segments(&directory).len(), 10);
    assert_eq!(drain(&mut spool).len(), 20);
    assert_eq!(segments(&directory).len(), 1);
    drop(spool);
    let spool = open(&directory, LARGE);
    assert_eq!((segments(&directory).len(), spool.usage()), (0, Usage::default()));
}
