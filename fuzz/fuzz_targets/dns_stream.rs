//! Any bytes as segments of TCP streams: each with a byte that says which stream and whether it is numbered, one for
//! how far its number lies from where it should, one for how much of it was not copied, and one for its length.
//!
//! `cargo +nightly fuzz run dns_stream -- -max_len=4096 -max_total_time=600`

#![no_main]

use libfuzzer_sys::fuzz_target;
use netsonde_dns::message::parse_captured;
use netsonde_dns::stream::{Segment, StreamKey, StreamLimits, Streams};
use netsonde_dns::{Direction, SocketKey};

fuzz_target!(|input: &[u8]| {
    let limits = StreamLimits { streams: 3, bytes: 2000 };
    let mut streams = Streams::new(limits);
    let mut next = [0u32; 4];
    let mut rest = input;
    while let [which, displaced, missing, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let stream = usize::from(which & 3);
        let sequence = (which & 4 != 0)
            .then(|| next[stream].wrapping_add_signed(i32::from(displaced.cast_signed()) * 8));
        let length = bytes.len() + usize::from(*missing) * 16;
        next[stream] = next[stream].wrapping_add(u32::try_from(length).unwrap_or(0));
        let key = StreamKey { socket: SocketKey(stream as u64), direction: Direction::Sent };
        if *which == 0xff {
            streams.forget(key.socket);
        }
        for message in streams.push(key, Segment { sequence, bytes, length }) {
            assert!(message.bytes.len() <= message.length);
            let _ = parse_captured(&message.bytes, message.length);
        }
        assert!(streams.len() <= limits.streams && streams.bytes() <= limits.bytes);
    }
});
