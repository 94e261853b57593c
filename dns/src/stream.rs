//! DNS over TCP: messages put together from pieces of a stream, where each begins with two bytes for its length
//! (RFC 1035, section 4.2.2). Several may come in one segment, one in several segments.
//!
//! A probe sees segments, not the stream: some twice, some out of order, of large ones the beginning only, and
//! connections from their middle on. So pieces are put in order by their sequence numbers where they have them.
//! Bytes that were not copied leave a message cut, and the stream intact as long as they all belong to one message.
//! Where it is no longer known where a message begins, the stream is taken up again at the next segment that holds
//! one message exactly, as most do.
//!
//! Reading the messages is [`message`](crate::message)'s matter.

use lru::LruCache;

use crate::message::{HEADER_LENGTH, MAX_LENGTH};
use crate::{Direction, SocketKey};

/// Segments that wait for one before them, for each stream.
const HELD_SEGMENTS: usize = 16;

/// How much is kept at once.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Streams that something is known of, two for a connection.
    pub streams: usize,
    /// Bytes of unfinished messages and of segments that wait, all streams together.
    pub bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { streams: 2048, bytes: 4 << 20 }
    }
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// The socket that it was observed on.
    pub socket: SocketKey,
    /// Which of its two directions.
    pub direction: Direction,
}

/// A piece of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// TCP's sequence number of the first byte; `None` where pieces are known to come in order, once, and whole in
    /// number, as from a system call.
    pub sequence: Option<u32>,
    /// The bytes that were copied, the first ones.
    pub bytes: &'a [u8],
    /// How many bytes the piece has; no fewer than were copied.
    pub length: usize,
}

/// A message as it was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its first bytes, without the two of its length; all of them unless some were not copied.
    pub bytes: Vec<u8>,
    /// How many bytes it has.
    pub length: usize,
}

/// What could not be put together, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamLosses {
    /// Streams dropped in the middle of a message, because there were too many or too much of them.
    pub evicted: u64,
    /// Lengths that no message has: it was not the beginning of a message, or not DNS.
    pub bad_length: u64,
    /// Bytes that are missing where a message begins, because they were not copied or never came.
    pub gap: u64,
    /// Segments passed over because it was not known where in them a message begins.
    pub out_of_step: u64,
    /// Connections that ended within a message.
    pub unfinished: u64,
}

impl StreamLosses {
    /// Each count with its word, as the value of an attribute.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("stream_evicted", self.evicted),
            ("stream_bad_length", self.bad_length),
            ("stream_gap", self.gap),
            ("stream_out_of_step", self.out_of_step),
            ("stream_unfinished", self.unfinished),
        ]
    }
}

/// All streams that messages are being put together from.
#[derive(Debug)]
pub struct Streams {
    limits: StreamLimits,
    /// Least recently fed first to go.
    streams: LruCache<StreamKey, Stream>,
    /// Sum of what all of them keep.
    bytes: usize,
    losses: StreamLosses,
}

impl Streams {
    /// None yet.
    #[must_use]
    pub fn new(limits: StreamLimits) -> Self {
        Self { limits, streams: LruCache::unbounded(), bytes: 0, losses: StreamLosses::default() }
    }

    /// Adds a piece; gives the messages that it completes, in their order.
    pub fn push(&mut self, key: StreamKey, segment: Segment<'_>) -> Vec<Assembled> {
        let mut completed = Vec::new();
        let stream = self.streams.get_or_insert_mut(key, Stream::default);
        let before = stream.kept();
        stream.push(segment, &mut completed, &mut self.losses);
        self.bytes = self.bytes - before + stream.kept();
        while self.streams.len() > self.limits.streams || self.bytes > self.limits.bytes {
            let Some((_, oldest)) = self.streams.pop_lru() else { break };
            self.bytes -= oldest.kept();
            self.losses.evicted += u64::from(oldest.is_within_a_message());
        }
        completed
    }

    /// The connection has ended.
    pub fn forget(&mut self, socket: SocketKey) {
        for direction in [Direction::Sent, Direction::Received] {
            if let Some(stream) = self.streams.pop(&StreamKey { socket, direction }) {
                self.bytes -= stream.kept();
                self.losses.unfinished += u64::from(stream.is_within_a_message());
            }
        }
    }

    /// What could not be put together, since the start.
    #[must_use]
    pub fn losses(&self) -> StreamLosses {
        self.losses
    }

    /// Streams that something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Bytes kept of unfinished messages and waiting segments.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A segment that came before its time.
#[derive(Debug)]
struct Held {
    sequence: u32,
    bytes: Vec<u8>,
    length: usize,
}

#[derive(Debug, Default)]
struct Stream {
    /// The sequence number that comes next, once there was one.
    next: Option<u32>,
    held: Vec<Held>,
    part: Part,
}

/// How far into a message the stream is.
#[derive(Debug)]
enum Part {
    /// Somewhere: where the next message begins is not known.
    OutOfStep,
    /// In the length, of which one byte may be known.
    Length(Option<u8>),
    /// In a message.
    Body {
        bytes: Vec<u8>,
        /// Bytes of it that went by, those not copied included.
        passed: usize,
        length: usize,
    },
}

impl Default for Part {
    fn default() -> Self {
        Self::Length(None)
    }
}

impl Stream {
    fn push(&mut self, segment: Segment<'_>, completed: &mut Vec<Assembled>, losses: &mut StreamLosses) {
        // A piece that claims to be shorter than what was copied of it has the length of what was copied.
        let segment = Segment { length: segment.length.max(segment.bytes.len()), ..segment };
        let Some(sequence) = segment.sequence else {
            return self.part.feed(segment.bytes, segment.length, completed, losses);
        };
        self.in_order(sequence, segment.bytes, segment.length, completed, losses);
        while let Some(next) = self.next {
            let ready = |h: &Held| ahead(h.sequence, next) <= 0;
            if let Some(i) = self.held.iter().position(ready) {
                let held = self.held.swap_remove(i);
                self.in_order(held.sequence, &held.bytes, held.length, completed, losses);
            } else if self.held.len() > HELD_SEGMENTS || self.held_bytes() > MAX_LENGTH {
                // What is missing will not come, or was not seen when it did.
                let Some(nearest) = self.held.iter().map(|h| ahead(h.sequence, next)).min() else { break };
                self.part.feed(&[], usize::try_from(nearest).unwrap_or(0), completed, losses);
                self.next = Some(next.wrapping_add_signed(nearest));
            } else {
                break;
            }
        }
    }

    /// Feeds what is new of a segment whose turn it is, and holds one whose turn it is not.
    fn in_order(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        length: usize,
        completed: &mut Vec<Assembled>,
        losses: &mut StreamLosses,
    ) {
        let next = *self.next.get_or_insert(sequence);
        match usize::try_from(ahead(sequence, next)) {
            Ok(distance) if distance > 0 => {
                self.held.push(Held { sequence, bytes: bytes.to_vec(), length });
            }
            _ => {
                let seen = usize::try_from(ahead(next, sequence)).unwrap_or(usize::MAX);
                let new = length.saturating_sub(seen);
                if new > 0 {
                    self.part.feed(bytes.get(seen..).unwrap_or(&[]), new, completed, losses);
                    // Sequence numbers wrap, and so may the length of what a caller calls a segment.
                    self.next = Some(next.wrapping_add(new as u32));
                }
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(|h| h.bytes.len()).sum()
    }

    fn kept(&self) -> usize {
        let body = if let Part::Body { bytes, .. } = &self.part { bytes.len() } else { 0 };
        body + self.held_bytes()
    }

    fn is_within_a_message(&self) -> bool {
        !self.held.is_empty() || matches!(self.part, Part::Length(Some(_)) | Part::Body { .. })
    }
}

/// How far `sequence` lies after `other`; negative before it. Sequence numbers wrap (RFC 9293, section 3.4).
fn ahead(sequence: u32, other: u32) -> i32 {
    sequence.wrapping_sub(other).cast_signed()
}

impl Part {
    /// Takes `length` bytes of the stream, of which the first ones were copied.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        length: usize,
        completed: &mut Vec<Assembled>,
        losses: &mut StreamLosses,
    ) {
        let mut missing = length - bytes.len();
        if matches!(self, Self::OutOfStep) {
            if !holds_one_message(bytes, length) {
                losses.out_of_step += u64::from(length > 0);
                return;
            }
            *self = Self::Length(None);
        }
        while !bytes.is_empty() || missing > 0 {
            match self {
                Self::OutOfStep => return,
                Self::Length(first) => {
                    let Some((&byte, rest)) = bytes.split_first() else {
                        losses.gap += 1;
                        *self = Self::OutOfStep;
                        return;
                    };
                    bytes = rest;
                    let Some(first) = *first else {
                        *first = Some(byte);
                        continue;
                    };
                    let length = usize::from(u16::from_be_bytes([first, byte]));
                    if length < HEADER_LENGTH {
                        losses.bad_length += 1;
                        *self = Self::OutOfStep;
                        return;
                    }
                    *self = Self::Body { bytes: Vec::new(), passed: 0, length };
                }
                Self::Body { bytes: body, passed, length } => {
                    let wanted = *length - *passed;
                    if bytes.is_empty() {
                        let skipped = wanted.min(missing);
                        *passed += skipped;
                        missing -= skipped;
                    } else {
                        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
                        // After a hole nothing can be said of where a name or a record is.
                        if body.len() == *passed {
                            body.extend_from_slice(taken);
                        }
                        *passed += taken.len();
                        bytes = rest;
                    }
                    if passed == length {
                        completed.push(Assembled { bytes: std::mem::take(body), length: *length });
                        *self = Self::default();
                    }
                }
            }
        }
    }
}

fn holds_one_message(bytes: &[u8], length: usize) -> bool {
    let [first, second, ..] = bytes else { return false };
    let message = usize::from(u16::from_be_bytes([*first, *second]));
    message >= HEADER_LENGTH && message + 2 == length
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::message::parse;
    use crate::testing::captured;

    const KEY: StreamKey = StreamKey { socket: SocketKey(7), direction: Direction::Received };

    fn streams() -> Streams {
        Streams::new(StreamLimits::default())
    }

    fn whole(bytes: &[u8]) -> Segment<'_> {
        Segment { sequence: None, bytes, length: bytes.len() }
    }

    fn at(sequence: u32, bytes: &[u8]) -> Segment<'_> {
        Segment { sequence: Some(sequence), bytes, length: bytes.len() }
    }

    /// Messages as they stand in a stream.
    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|m| [&u16::try_from(m.len()).unwrap().to_be_bytes(), m.as_slice()].concat())
            .collect()
    }

    fn lengths(assembled: &[Assembled]) -> Vec<(usize, usize)> {
        assembled.iter().map(|a| (a.bytes.len(), a.length)).collect()
    }

    #[test]
    fn several_messages_in_one_segment_are_several_messages() {
        let messages = [captured("query_a"), captured("query_aaaa"), captured("a")];
        let out = streams().push(KEY, whole(&framed(&messages)));
        assert_eq!(out.iter().map(|a| a.bytes.clone()).collect::<Vec<_>>(), messages);
        assert!(out.iter().all(|a| parse(&a.bytes).is_ok()));
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_one_message() {
        let mut streams = streams();
        let bytes = framed(&[captured("cname_chain_a")]);
        let out: Vec<_> = bytes.iter().flat_map(|b| streams.push(KEY, whole(&[*b]))).collect();
        assert_eq!(out, [Assembled { bytes: captured("cname_chain_a"), length: bytes.len() - 2 }]);
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn the_directions_of_a_connection_are_two_streams() {
        let mut streams = streams();
        let sent = StreamKey { direction: Direction::Sent, ..KEY };
        let (query, response) = (framed(&[captured("query_a")]), framed(&[captured("a")]));
        assert!(streams.push(sent, whole(&query[..9])).is_empty());
        assert_eq!(streams.push(KEY, whole(&response)).len(), 1);
        assert_eq!(streams.push(sent, whole(&query[9..])).len(), 1);
    }

    #[test]
    fn segments_seen_twice_or_out_of_order_give_each_message_once() {
        let mut streams = streams();
        let bytes = framed(&[captured("query_a"), captured("a"), captured("nxdomain")]);
        let start = u32::MAX - 20; // the numbers wrap within the first message
        let segment = |from: usize, to: usize| at(start.wrapping_add(from as u32), &bytes[from..to]);
        let end = bytes.len();
        let order = [(0, 10), (30, 60), (0, 10), (10, 30), (5, 40), (70, end), (60, 70), (70, end)];
        let out: Vec<_> = order.iter().flat_map(|(a, b)| streams.push(KEY, segment(*a, *b))).collect();
        let messages = out.into_iter().map(|a| a.bytes).collect::<Vec<_>>();
        assert_eq!(messages, [captured("query_a"), captured("a"), captured("nxdomain")]);
        assert_eq!((streams.losses(), streams.bytes()), (StreamLosses::default(), 0));
    }

    #[test]
    fn what_was_not_copied_leaves_a_message_cut_and_the_next_whole() {
        let mut streams = streams();
        let large = vec![1; 9000];
        let bytes = framed(&[large]);
        let out =
            streams.push(KEY, Segment { sequence: Some(5), bytes: &bytes[..4096], length: bytes.len() });
        assert_eq!(lengths(&out), [(4094, 9000)]);
        let out = streams.push(KEY, at(5 + 9002, &framed(&[captured("a")])));
        assert_eq!(out[0].bytes, captured("a"));
        assert_eq!(streams.losses(), StreamLosses::default());
    }

    #[test]
    fn bytes_after_a_hole_are_not_taken_for_those_in_it() {
        let mut streams = streams();
        let bytes = framed(&[vec![1; 100]]);
        assert!(streams.push(KEY, Segment { sequence: None, bytes: &bytes[..10], length: 50 }).is_empty());
        let out = streams.push(KEY, whole(&bytes[50..]));
        assert_eq!(lengths(&out), [(8, 100)]);
    }

    #[test]
    fn a_hole_over_the_start_of_a_message_ends_with_the_next_segment_that_is_one() {
        let mut streams = streams();
        let bytes = framed(&[captured("a"), captured("a")]);
        assert!(
            streams.push(KEY, Segment { sequence: None, bytes: &bytes[..10], length: bytes.len() }).len()
                == 1
        );
        assert_eq!(streams.losses().gap, 1);
        assert!(
            streams.push(KEY, whole(&bytes)).is_empty(),
            "two in one: where the first begins is not known"
        );
        assert_eq!(streams.losses().out_of_step, 1);
        assert_eq!(streams.push(KEY, whole(&framed(&[captured("a")]))).len(), 1);
        assert_eq!(streams.push(KEY, whole(&bytes)).len(), 2, "in step again");
    }

    #[test]
    fn a_length_that_no_message_has_is_not_the_start_of_one() {
        let mut streams = streams();
        assert!(streams.push(KEY, whole(b"\x00\x0bGET / HTTP/1.1")).is_empty());
        assert_eq!(streams.losses().bad_length, 1);
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn a_segment_that_never_comes_is_given_up() {
        let mut streams = streams();
        let message = framed(&[captured("a")]);
        let size = message.len() as u32;
        assert_eq!(streams.push(KEY, at(0, &message)).len(), 1);
        // The second is missing. Seventeen wait for it, then it is given up.
        let mut found = 0;
        for i in 2..=18 {
            found += streams.push(KEY, at(i * size, &message)).len();
        }
        assert_eq!((found, streams.losses().gap, streams.bytes()), (17, 1, 0));
    }

    #[test]
    fn too_many_streams_cost_the_one_that_rests_longest() {
        let mut streams = Streams::new(StreamLimits { streams: 2, bytes: 1 << 20 });
        let key = |n| StreamKey { socket: SocketKey(n), ..KEY };
        let message = framed(&[captured("a")]);
        streams.push(key(1), whole(&message[..5]));
        streams.push(key(2), whole(&message));
        streams.push(key(1), whole(&message[5..7]));
        streams.push(key(3), whole(&message[..5]));
        assert_eq!((streams.len(), streams.losses().evicted), (2, 0), "the second was between messages");
        streams.push(key(4), whole(&message));
        assert_eq!(streams.losses().evicted, 1, "the first was within one");
        assert_eq!(streams.bytes(), 3, "of the third");
    }

    #[test]
    fn too_many_bytes_cost_streams_as_well() {
        let mut streams = Streams::new(StreamLimits { streams: 100, bytes: 1000 });
        let part = framed(&[vec![0; 600]]);
        for n in 0..10 {
            streams.push(StreamKey { socket: SocketKey(n), ..KEY }, whole(&part[..402]));
            assert!(streams.bytes() <= 1000);
        }
        assert_eq!((streams.len(), streams.losses().evicted), (2, 8));
    }

    #[test]
    fn a_connection_that_ends_within_a_message_is_counted() {
        let mut streams = streams();
        streams.push(KEY, whole(&[0]));
        streams.push(StreamKey { direction: Direction::Sent, ..KEY }, whole(&framed(&[captured("a")])));
        streams.forget(KEY.socket);
        assert_eq!((streams.losses().unfinished, streams.len()), (1, 0));
    }

    #[test]
    fn each_loss_has_its_own_word() {
        let losses = StreamLosses { evicted: 1, bad_length: 2, gap: 3, out_of_step: 4, unfinished: 5 };
        let by_reason = losses.by_reason();
        assert_eq!(by_reason.iter().map(|(_, n)| n).sum::<u64>(), 15);
        assert_eq!(by_reason.iter().map(|(w, _)| w).collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(vec(any::<u8>(), HEADER_LENGTH..300), 1..8)
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_up_its_messages_are_the_same(
            messages in messages(),
            cuts in vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = framed(&messages);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut streams = streams();
            let out: Vec<_> =
                cuts.windows(2).flat_map(|w| streams.push(KEY, whole(&bytes[w[0]..w[1]]))).collect();
            prop_assert_eq!(out.into_iter().map(|a| a.bytes).collect::<Vec<_>>(), messages);
            prop_assert_eq!(streams.losses(), StreamLosses::default());
        }

        #[test]
        fn whatever_order_segments_come_in_the_messages_are_the_same(
            messages in messages(),
            cuts in vec(any::<prop::sample::Index>(), 0..10),
            start in any::<u32>(),
            order in any::<u64>(),
            again in vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let bytes = framed(&messages);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut pieces: Vec<_> = cuts.windows(2).map(|w| (w[0], w[1])).collect();
            // The first must come first: it tells where the stream begins.
            let first = pieces.remove(0);
            let mut state = order | 1;
            pieces.sort_by_cached_key(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 33
            });
            pieces.insert(0, first);
            for i in again {
                let copy = pieces[i.index(pieces.len())];
                pieces.push(copy);
            }
            let mut streams = streams();
            let out: Vec<_> = pieces
                .iter()
                .flat_map(|(from, to)| {
                    streams.push(KEY, at(start.wrapping_add(*from as u32), &bytes[*from..*to]))
                })
                .collect();
            prop_assert_eq!(out.into_iter().map(|a| a.bytes).collect::<Vec<_>>(), messages);
            prop_assert_eq!(streams.bytes(), 0);
        }

        #[test]
        fn no_pieces_make_it_panic_or_grow(
            pieces in vec((0u64..4, any::<Option<u32>>(), vec(any::<u8>(), 0..200), 0usize..70_000), 0..60),
            near in any::<bool>(),
        ) {
            let limits = StreamLimits { streams: 3, bytes: 400 };
            let mut streams = Streams::new(limits);
            for (socket, sequence, bytes, length) in pieces {
                let sequence = if near { sequence.map(|s| s % 2000) } else { sequence };
                let key = StreamKey { socket: SocketKey(socket), ..KEY };
                for message in streams.push(key, Segment { sequence, bytes: &bytes, length }) {
                    prop_assert!(message.bytes.len() <= message.length && message.length <= MAX_LENGTH);
                }
                prop_assert!(streams.len() <= limits.streams && streams.bytes() <= limits.bytes);
                prop_assert_eq!(streams.bytes(), streams.streams.iter().map(|(_, s)| s.kept()).sum::<usize>());
            }
        }
    }
}
