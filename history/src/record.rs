//! What is kept of a listener: its identity, its record, and the bytes of both. What a listener looks like is the
//! caller's: it comes and goes as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kernel's name for the time between two boots: `/proc/sys/kernel/random/boot_id` (random(4)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Reads it as the kernel writes it: 32 hexadecimal digits, with hyphens or without; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|&letter| letter != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

/// Which opening is meant: one socket may listen several times, and cookies begin again with each boot.
///
/// Ids are ordered by [`began`](Self::began) first, so that records lie in the order in which listeners opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpeningId {
    /// When the socket began to listen, or was first seen if it is older than that, in Unix nanoseconds.
    pub began: u64,
    /// The boot in which the socket lives.
    pub boot: BootId,
    /// The kernel's number of the socket, unique within a boot (`SO_COOKIE`, `net/core/sock_diag.c`).
    pub cookie: u64,
}

/// Bytes of an id as a key.
pub(crate) const ID: usize = 32;
/// Bytes of an end and an id as a key.
pub(crate) const END: usize = 8 + ID;

impl OpeningId {
    /// The first of all ids that began at a time.
    pub(crate) fn first_at(began: u64) -> Self {
        Self { began, boot: BootId([0; 16]), cookie: 0 }
    }

    pub(crate) fn to_key(self) -> [u8; ID] {
        let mut key = [0; ID];
        key[..8].copy_from_slice(&self.began.to_be_bytes());
        key[8..24].copy_from_slice(&self.boot.0);
        key[24..].copy_from_slice(&self.cookie.to_be_bytes());
        key
    }

    pub(crate) fn from_key(key: &[u8; ID]) -> Self {
        let mut boot = [0; 16];
        boot.copy_from_slice(&key[8..24]);
        Self { began: number(&key[..8]), boot: BootId(boot), cookie: number(&key[24..]) }
    }

    pub(crate) fn to_end_key(self, at: u64) -> [u8; END] {
        let mut key = [0; END];
        key[..8].copy_from_slice(&at.to_be_bytes());
        key[8..].copy_from_slice(&self.to_key());
        key
    }
}

/// The time of an end and whose it is.
pub(crate) fn from_end_key(key: &[u8; END]) -> (u64, OpeningId) {
    let mut id = [0; ID];
    id.copy_from_slice(&key[8..]);
    (number(&key[..8]), OpeningId::from_key(&id))
}

/// Up to eight bytes, the most significant first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// What is known of the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It was seen: the id's `began` is when the listener opened.
    Seen,
    /// The listener was there already: the id's `began` is when it was first seen.
    Found,
}

/// What is known of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was seen, at this time in Unix nanoseconds.
    Seen(u64),
    /// Nobody watched: the listener was found gone at this time in Unix nanoseconds.
    Unwatched {
        /// When it was gone for sure.
        before: u64,
    },
}

impl End {
    /// The time that the end is sorted by: when it was, else when it was over for sure; in Unix nanoseconds.
    #[must_use]
    pub fn at(self) -> u64 {
        match self {
            Self::Seen(at) | Self::Unwatched { before: at } => at,
        }
    }
}

/// What happened to a listener.
#[derive(Debug, Clone)]
pub enum Event<T> {
    /// It opened, or was found open.
    Opened {
        /// Which opening.
        id: OpeningId,
        /// Whether `id.began` is when it opened.
        beginning: Beginning,
        /// What it looked like.
        listener: T,
    },
    /// It closed.
    Closed {
        /// Which opening came to its end.
        id: OpeningId,
        /// When, in Unix nanoseconds.
        at: u64,
        /// What it looked like at last.
        listener: Option<T>,
    },
}

/// One opening, as the history knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T> {
    /// Which opening.
    pub id: OpeningId,
    /// When it opened in Unix nanoseconds; `None` when that is older than netsonde, or was never told. Then
    /// `id.began` is when it was first seen.
    pub opened_at: Option<u64>,
    /// Its end; `None` while it is open.
    pub end: Option<End>,
    /// What it looked like when it opened; `None` when only its closing was told.
    pub opening: Option<T>,
    /// What it looked like when it closed, if that was told.
    pub closing: Option<T>,
}

/// A record as it is stored: the payloads are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub beginning: Beginning,
    pub end: Option<End>,
    pub opening: Option<Vec<u8>>,
    pub closing: Option<Vec<u8>>,
}

const SEEN_BEGINNING: u8 = 1;
const SEEN_END: u8 = 1 << 1;
const UNWATCHED_END: u8 = 1 << 2;
const HAS_OPENING: u8 = 1 << 3;
const HAS_CLOSING: u8 = 1 << 4;
/// Flags, the time of the end, the length of the opening's payload.
const HEAD: usize = 1 + 8 + 4;

impl Stored {
    /// Flags (1 byte), time of the end (8), length of the opening's payload (4, both most significant byte first),
    /// the opening's payload, the closing's.
    pub fn to_bytes(&self) -> Vec<u8> {
        let opening = self.opening.as_deref().unwrap_or_default();
        let closing = self.closing.as_deref().unwrap_or_default();
        let flags = [
            (self.beginning == Beginning::Seen, SEEN_BEGINNING),
            (matches!(self.end, Some(End::Seen(_))), SEEN_END),
            (matches!(self.end, Some(End::Unwatched { .. })), UNWATCHED_END),
            (self.opening.is_some(), HAS_OPENING),
            (self.closing.is_some(), HAS_CLOSING),
        ];
        let mut bytes = Vec::with_capacity(HEAD + opening.len() + closing.len());
        bytes.push(flags.iter().filter(|(is, _)| *is).fold(0, |sum, (_, flag)| sum | flag));
        bytes.extend(self.end.map_or(0, End::at).to_be_bytes());
        // Payloads are limited far below 4 GiB before they come here.
        bytes.extend(u32::try_from(opening.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(opening);
        bytes.extend(closing);
        bytes
    }

    /// `None` when the bytes are not those of a record.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, payloads) = bytes.split_at_checked(HEAD)?;
        let flags = head[0];
        let (opening, closing) = payloads.split_at_checked(usize::try_from(number(&head[9..])).ok()?)?;
        let at = number(&head[1..9]);
        let has = |flag| flags & flag != 0;
        Some(Self {
            beginning: if has(SEEN_BEGINNING) { Beginning::Seen } else { Beginning::Found },
            end: match (has(SEEN_END), has(UNWATCHED_END)) {
                (false, false) => None,
                (true, false) => Some(End::Seen(at)),
                (false, true) => Some(End::Unwatched { before: at }),
                (true, true) => return None,
            },
            opening: has(HAS_OPENING).then(|| opening.to_vec()),
            closing: has(HAS_CLOSING).then(|| closing.to_vec()),
        })
    }

    /// `None` when a payload is not what the caller takes for a listener.
    pub fn into_record<T: DeserializeOwned>(self, id: OpeningId) -> Option<Record<T>> {
        let read =
            |payload: Option<Vec<u8>>| payload.map(|bytes| serde_json::from_slice(&bytes)).transpose().ok();
        Some(Record {
            id,
            opened_at: (self.beginning == Beginning::Seen).then_some(id.began),
            end: self.end,
            opening: read(self.opening)?,
            closing: read(self.closing)?,
        })
    }
}

/// An event whose payload has been written.
#[derive(Debug)]
pub(crate) struct Written {
    pub id: OpeningId,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Opened { beginning: Beginning, payload: Vec<u8> },
    Closed { at: u64, payload: Option<Vec<u8>> },
}

/// Why a payload is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritable {
    NotJson,
    TooLarge,
}

/// The JSON of a listener, not longer than the limit.
pub(crate) fn write<T: Serialize>(listener: &T, limit: usize) -> Result<Vec<u8>, Unwritable> {
    let bytes = serde_json::to_vec(listener).map_err(|_| Unwritable::NotJson)?;
    if bytes.len() > limit { Err(Unwritable::TooLarge) } else { Ok(bytes) }
}

/// What becomes of a record by an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is stored so.
    Store(Stored),
    /// The event says what is known already.
    Repeated,
}

/// Decides what an event makes of the record that is there.
pub(crate) fn apply(present: Option<Stored>, what: What) -> Change {
    match (present, what) {
        (None, What::Opened { beginning, payload }) => {
            Change::Store(Stored { beginning, end: None, opening: Some(payload), closing: None })
        }
        (None, What::Closed { at, payload }) => Change::Store(Stored {
            beginning: Beginning::Found,
            end: Some(End::Seen(at)),
            opening: None,
            closing: payload,
        }),
        (Some(Stored { end: Some(_), opening: Some(_), .. }), What::Opened { .. })
        | (Some(Stored { end: Some(End::Seen(_)), .. }), What::Closed { .. }) => Change::Repeated,
        // Of an opening that is told twice, the later is the fuller; one that comes after its closing completes it.
        (Some(present), What::Opened { beginning, payload }) => {
            Change::Store(Stored { beginning, opening: Some(payload), ..present })
        }
        // Also over an end that nobody watched: this one was seen.
        (Some(present), What::Closed { at, payload }) => {
            Change::Store(Stored { end: Some(End::Seen(at)), closing: payload, ..present })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_boot_id_is_read_as_the_kernel_writes_it() {
        let read = BootId::parse("01020304-0506-0708-090a-0b0c0d0e0f10\n");
        assert_eq!(read, Some(BootId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])));
        assert_eq!(BootId::parse("01020304"), None);
        assert_eq!(BootId::parse("+1020304-0506-0708-090a-0b0c0d0e0f10"), None);
    }

    #[test]
    fn a_closing_that_was_seen_replaces_an_end_that_nobody_watched() {
        let gone = Stored {
            beginning: Beginning::Seen,
            end: Some(End::Unwatched { before: 9 }),
            opening: Some(b"1".to_vec()),
            closing: None,
        };
        let Change::Store(stored) = apply(Some(gone), What::Closed { at: 7, payload: None }) else {
            panic!("a seen end says more");
        };
        assert_eq!(stored.end, Some(End::Seen(7)));
        assert_eq!(apply(Some(stored), What::Closed { at: 8, payload: None }), Change::Repeated);
    }

    #[test]
    fn an_opening_that_comes_after_its_closing_completes_the_record() {
        let Change::Store(closed) = apply(None, What::Closed { at: 7, payload: None }) else {
            panic!("an unknown closing is stored");
        };
        assert_eq!(closed.opening, None);
        let opened = What::Opened { beginning: Beginning::Seen, payload: b"1".to_vec() };
        let Change::Store(whole) = apply(Some(closed), opened) else { panic!("it lacked its opening") };
        assert_eq!((whole.end, whole.opening), (Some(End::Seen(7)), Some(b"1".to_vec())));
    }

    fn any_end() -> impl Strategy<Value = Option<End>> {
        prop_oneof![
            Just(None),
            any::<u64>().prop_map(|at| Some(End::Seen(at))),
            any::<u64>().prop_map(|before| Some(End::Unwatched { before })),
        ]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            seen in any::<bool>(),
            end in any_end(),
            opening in proptest::option::of(any::<Vec<u8>>()),
            closing in proptest::option::of(any::<Vec<u8>>()),
        ) {
            let beginning = if seen { Beginning::Seen } else { Beginning::Found };
            let stored = Stored { beginning, end, opening, closing };
            prop_assert_eq!(Stored::from_bytes(&stored.to_bytes()), Some(stored));
        }

        #[test]
        fn no_bytes_make_reading_a_record_panic(bytes in any::<Vec<u8>>()) {
            let _ = Stored::from_bytes(&bytes).map(|stored| stored.into_record::<u64>(OpeningId::first_at(0)));
        }

        #[test]
        fn keys_are_ordered_as_ids_are(a in any::<(u64, [u8; 16], u64)>(), b in any::<(u64, [u8; 16], u64)>()) {
            let id = |(began, boot, cookie)| OpeningId { began, boot: BootId(boot), cookie };
            prop_assert_eq!(id(a).to_key().cmp(&id(b).to_key()), id(a).cmp(&id(b)));
            prop_assert_eq!(OpeningId::from_key(&id(a).to_key()), id(a));
            prop_assert_eq!(from_end_key(&id(a).to_end_key(b.0)), (b.0, id(a)));
        }
    }
}
