//! Files whose bytes are not what was written.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use netsonde_history::{Error, History, Opened, OpeningId, Query, Record};
use proptest::prelude::*;

use crate::support::{Listener, by_id, closed, limits, opened, records};

/// A store as it was closed, and as a kill leaves it.
struct Stores {
    closed: Vec<u8>,
    killed: Vec<u8>,
    records: BTreeMap<OpeningId, Record<Listener>>,
    /// Without the last commit.
    earlier: BTreeMap<OpeningId, Record<Listener>>,
}

impl Stores {
    /// Whether a store that opened has what it must have.
    ///
    /// No checksum covers the byte that says which of two commits is the last (bit 0), and whether that is known to be
    /// whole (bit 2; redb's `docs/design.md`, "god byte"). Turned round it is what a kill in the middle of the last
    /// commit leaves, so nobody can tell.
    fn has_all(&self, found: &BTreeMap<OpeningId, Record<Listener>>, harmed: &[u8], whole: &[u8]) -> bool {
        let turned = (harmed[GOD_BYTE] ^ whole[GOD_BYTE]) & 0b101 != 0;
        *found == self.records || turned && *found == self.earlier
    }
}

/// Where it is in the file, after the magic number.
const GOD_BYTE: usize = 9;

fn stores() -> &'static Stores {
    static STORES: OnceLock<Stores> = OnceLock::new();
    STORES.get_or_init(|| {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("history.redb");
        let (history, _) = History::open(state.path(), limits()).unwrap();
        let mut earlier = BTreeMap::new();
        for batch in 0..10 {
            earlier = by_id(records(&history, Query::All));
            let numbers = batch * 100..(batch + 1) * 100;
            let events: Vec<_> = numbers
                .flat_map(|number| {
                    [Some(opened(number)), (number % 3 > 0).then(|| closed(number, number + 1))]
                })
                .flatten()
                .collect();
            history.append(&events).unwrap();
        }
        let killed = fs::read(&path).unwrap();
        let records = by_id(records(&history, Query::All));
        drop(history);
        Stores { closed: fs::read(&path).unwrap(), killed, records, earlier }
    })
}

#[derive(Debug, Clone)]
enum Harm {
    /// One bit of a byte.
    Flip(usize, u8),
    /// A byte set to another.
    Set(usize, u8),
    /// Zeros from there, as of a block that never came.
    Zeros(usize, usize),
    /// A stretch of another place.
    Copied(usize, usize, usize),
    /// The rest is gone.
    Cut(usize),
    /// There is more than there was.
    Longer(usize),
}

fn any_place() -> impl Strategy<Value = usize> {
    let length = stores().killed.len().max(stores().closed.len());
    // redb's header, with the roots of its trees, is in the first bytes of the file.
    prop_oneof![0..512_usize, 0..64_usize, 0..length, 0..length]
}

fn any_harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (any_place(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        2 => (any_place(), any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => (any_place(), 1..9_000_usize).prop_map(|(at, many)| Harm::Zeros(at, many)),
        1 => (any_place(), any_place(), 1..9_000_usize).prop_map(|(to, from, many)| Harm::Copied(to, from, many)),
        1 => any_place().prop_map(Harm::Cut),
        1 => (1..100_000_usize).prop_map(Harm::Longer),
    ]
}

fn harm(bytes: &mut Vec<u8>, harm: &Harm) {
    let length = bytes.len();
    let end = |at: usize, many: usize| (at + many).min(length);
    match *harm {
        Harm::Flip(at, bit) if at < length => bytes[at] ^= 1 << bit,
        Harm::Set(at, byte) if at < length => bytes[at] = byte,
        Harm::Zeros(at, many) if at < length => bytes[at..end(at, many)].fill(0),
        Harm::Copied(to, from, many) if to < length && from < length => {
            let piece = bytes[from..end(from, many)].to_vec();
            let there = end(to, piece.len());
            bytes[to..there].copy_from_slice(&piece[..there - to]);
        }
        Harm::Cut(at) => bytes.truncate(at),
        Harm::Longer(many) => bytes.resize(length + many, 0xa5),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn a_damaged_store_has_all_or_is_set_aside(
        clean in any::<bool>(),
        harms in proptest::collection::vec(any_harm(), 1..4),
    ) {
        let whole = if clean { &stores().closed } else { &stores().killed };
        let mut bytes = whole.clone();
        for each in &harms {
            harm(&mut bytes, each);
        }
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("history.redb");
        fs::write(&path, &bytes).unwrap();

        let mut read = Vec::new();
        let outcome = History::read_only(state.path()).and_then(|reader| {
            reader.each(Query::All, |record: Record<Listener>| {
                read.push(record);
                ControlFlow::Continue(())
            })
        });
        match outcome {
            Ok(()) => prop_assert!(stores().has_all(&by_id(read), &bytes, whole)),
            Err(Error::Damaged(_)) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        prop_assert!(fs::read(&path).unwrap() == bytes, "the reader changed the file");

        let (history, found) = History::open(state.path(), limits()).unwrap();
        let there = by_id(records(&history, Query::All));
        match found {
            Opened::Found { .. } => prop_assert!(stores().has_all(&there, &bytes, whole)),
            Opened::Fresh(aside) => {
                prop_assert!(there.is_empty());
                prop_assert!(aside.kept_as.unwrap().exists());
            }
            Opened::New => prop_assert!(false, "the file was there"),
        }
        prop_assert_eq!(history.append(&[opened(5_000), closed(5_000, 5_001)]).unwrap().stored, 2);
        prop_assert_eq!(history.statistics().unreadable, 0);
    }
}

#[test]
fn a_store_that_is_damaged_while_it_is_used_is_set_aside_and_the_history_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("history.redb");
    let (history, _) = History::open(state.path(), limits()).unwrap();
    let batch: Vec<_> = (0..60_000).map(opened).collect();
    history.append(&batch).unwrap();
    // Behind the open handle, all but the header.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let noise: Vec<u8> = (0..length - 4_096).map(|at| (at * 31 % 251) as u8).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 4_096).unwrap();
    let mut attempts = 0;
    while history.take_set_aside().is_none() {
        // Reading meets the damage sooner or later; pages in memory are sound.
        let _ = history.each(Query::All, |_: Record<Listener>| ControlFlow::Continue(()));
        let _ = history.append(&[opened(70_000 + attempts)]);
        attempts += 1;
        assert!(attempts < 10, "{:?}", history.statistics());
    }
    assert_eq!(history.append(&[opened(80_000)]).unwrap().stored, 1);
    assert!(history.statistics().failed_transactions > 0);
}
