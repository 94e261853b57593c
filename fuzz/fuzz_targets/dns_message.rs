//! Any bytes as a DNS message, whole and cut, and what it says taken on to matching and names.
//!
//! `cargo +nightly fuzz run dns_message -- -max_len=4096 -max_total_time=600`

#![no_main]

use libfuzzer_sys::fuzz_target;
use netsonde_dns::matching::{Lookups, MatchLimits, Sighting};
use netsonde_dns::message::{Message, parse, parse_captured};
use netsonde_dns::names::{Asker, NameCache, NameLimits};
use netsonde_dns::{Direction, SocketKey};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    // Of a whole message, any beginning tells the beginning of it.
    if let Ok(whole) = &whole {
        assert!(!whole.cut);
        for kept in [12, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            if let Ok(cut) = parse_captured(&bytes[..kept.min(bytes.len())], bytes.len()) {
                assert!(whole.questions.starts_with(&cut.questions));
                assert!(whole.answers.starts_with(&cut.answers));
            }
        }
    }
    if let Ok(message) = whole {
        join(message);
    }
});

/// The message as a query and as a response to itself: the lookups begun are the lookups ended, and what they learned
/// is bounded.
fn join(message: Message) {
    let mut names = NameCache::new(NameLimits { entries: 16, ..NameLimits::default() });
    let asker = Asker { namespace: 1, process: Some(1) };
    let mut lookups = Lookups::new(MatchLimits { pending: 64, timeout_ns: 10 });
    for (is_response, direction) in [(false, Direction::Sent), (true, Direction::Received)] {
        let ended = lookups.observe(
            Sighting {
                socket: SocketKey(1),
                peer: ([192, 0, 2, 53], 53).into(),
                direction,
                time_ns: 1,
                message: Message { is_response, ..message.clone() },
            },
            || (),
        );
        for lookup in ended {
            names.learn(asker, &lookup.question, &lookup.answers, 1);
        }
        assert!(names.len() <= 16);
    }
    lookups.expire(100);
    let counts = lookups.counts();
    assert_eq!(lookups.pending(), 0);
    assert_eq!(counts.queries, counts.answered + counts.timed_out + counts.dropped);
}
