//! What reading and matching messages costs, for `make instructions`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netsonde_counted::count;

use crate::matching::{Lookups, MatchLimits, Sighting};
use crate::testing::captured;
use crate::{Direction, SocketKey, message};

const LOOKUPS: u16 = 2000;

/// The message with another id.
fn numbered(mut message: Vec<u8>, id: u16) -> Vec<u8> {
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

#[test]
fn query() {
    let bytes = captured("query_a");
    let right =
        count(LOOKUPS.into(), "message", || (0..LOOKUPS).filter(|_| message::parse(&bytes).is_ok()).count());
    assert_eq!(right, usize::from(LOOKUPS));
}

#[test]
fn response_with_aliases() {
    let bytes = captured("cname_chain_a");
    let right =
        count(LOOKUPS.into(), "message", || (0..LOOKUPS).filter(|_| message::parse(&bytes).is_ok()).count());
    assert_eq!(right, usize::from(LOOKUPS));
}

#[test]
fn lookup_matched() {
    let sighting = |n: u16, direction, name| Sighting {
        socket: SocketKey(u64::from(n % 100)),
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53),
        direction,
        time_ns: u64::from(n) * 1000,
        message: message::parse(&numbered(captured(name), n)).unwrap(),
    };
    let seen: Vec<Sighting> = (0..LOOKUPS)
        .flat_map(|n| {
            [sighting(n, Direction::Sent, "query_a"), sighting(n, Direction::Received, "cname_chain_a")]
        })
        .collect();
    let mut lookups = Lookups::new(MatchLimits::default());
    let ended = count(LOOKUPS.into(), "lookup", || {
        seen.into_iter().map(|sighting| lookups.observe(sighting, || ()).len()).sum::<usize>()
    });
    assert_eq!(ended, usize::from(LOOKUPS));
}
