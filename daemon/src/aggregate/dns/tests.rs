//! Messages go in, lookups come out.

use std::net::Ipv4Addr;

use netsonde_dns::codes::ResponseCode;
use netsonde_probes::records::ProcessId;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const TIMEOUT: u64 = 5 * SECOND;

/// A query for `x.example` A, or the response to it with a code.
fn message(id: u16, response: Option<u8>) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(response.map_or([1, 0], |code| [0x81, 0x80 | code]));
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"\x01x\x07example\0\0\x01\0\x01");
    bytes
}

fn packet(sent: bool, time_ns: u64, data: Vec<u8>) -> DnsPacket {
    DnsPacket {
        time_ns,
        owner: Owner { process: ProcessId { pid: 7, start_ns: 1 }, image: 0, uid: 0 },
        cookie: 1,
        local: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 40_000),
        remote: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 53),
        network_namespace: 1,
        transport: Transport::Udp,
        sent,
        sequence: 0,
        length: data.len(),
        rules: RuleMask::default(),
        data,
    }
}

fn at(until_ns: u64, shed: u64) -> Reading {
    Reading { since_ns: 0, until_ns, counted_ns: until_ns, dns_shed: shed }
}

#[test]
fn a_query_and_its_response_are_a_lookup_with_what_was_known_of_the_query() {
    let mut dns = Dns::new(TIMEOUT, false);
    let query = packet(true, SECOND, message(1, None));
    assert!(dns.take(&query).is_empty());
    let ended = dns.take(&packet(false, SECOND + 3000, message(1, Some(3))));
    let [lookup] = ended.as_slice() else { panic!("one lookup, not {}", ended.len()) };
    assert_eq!(lookup.outcome, Outcome::Answered(ResponseCode::NXDOMAIN));
    assert_eq!((&*lookup.question.name, lookup.latency_ns), ("x.example", 3000));
    assert_eq!(lookup.carried, Asked::of(&query));
}

#[test]
fn an_owner_that_shows_itself_with_the_response_is_the_lookup_s() {
    let mut dns = Dns::new(TIMEOUT, false);
    let known = packet(true, SECOND + 1, message(1, Some(0)));
    let nobody = Owner { process: ProcessId { pid: 0, start_ns: 0 }, ..known.owner };
    dns.take(&DnsPacket { owner: nobody, ..packet(false, SECOND, message(1, None)) });
    assert_eq!(dns.take(&known)[0].carried.owner, known.owner);
    let other = Owner { process: ProcessId { pid: 8, start_ns: 1 }, ..known.owner };
    dns.take(&packet(false, SECOND, message(2, None)));
    let ended = dns.take(&DnsPacket { owner: other, ..packet(true, SECOND + 1, message(2, Some(0))) });
    assert_eq!(ended[0].carried.owner, known.owner, "who was known goes on to count");
}

#[test]
fn messages_over_tcp_are_put_together_first() {
    let mut dns = Dns::new(TIMEOUT, false);
    let framed =
        |message: Vec<u8>| [&u16::try_from(message.len()).expect("short").to_be_bytes(), &*message].concat();
    let mut ended = Vec::new();
    for (sent, bytes) in [(true, framed(message(1, None))), (false, framed(message(1, Some(0))))] {
        let (first, second) = bytes.split_at(5);
        for (sequence, piece) in [(1005, second), (1000, first)].into_iter().rev() {
            let tcp =
                DnsPacket { transport: Transport::Tcp, sequence, ..packet(sent, SECOND, piece.to_vec()) };
            ended.extend(dns.take(&tcp));
        }
    }
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].carried.transport, Transport::Tcp);
}

#[test]
fn what_cannot_be_read_is_counted_by_its_reason() {
    let mut dns = Dns::new(TIMEOUT, false);
    dns.take(&packet(true, SECOND, b"nonsense".to_vec()));
    let mut trailing = message(1, None);
    trailing.push(0);
    dns.take(&packet(true, SECOND, trailing));
    let counts = dns.counts();
    let counted: Vec<_> = counts.malformed.iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(counted, [&("too_short", 1), &("trailing_bytes", 1)]);
    assert_eq!(counts.pending, 1, "a defect behind the question does not hide it");
}

#[test]
fn multicast_is_followed_when_it_is_asked_for() {
    let group = (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);
    let asked = DnsPacket { remote: group, ..packet(true, SECOND, message(1, None)) };
    let heard = DnsPacket { local: group, cookie: 2, ..packet(false, SECOND, message(1, None)) };
    for (wanted, followed) in [(false, 0), (true, 2)] {
        let mut dns = Dns::new(TIMEOUT, wanted);
        dns.take(&asked);
        dns.take(&heard);
        assert_eq!((dns.counts().pending, dns.counts().multicast_skipped), (followed, 2 - followed));
    }
}

#[test]
fn silence_is_a_timeout_for_who_asked_by_multicast_and_for_nobody_else() {
    let group = (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);
    let mut dns = Dns::new(TIMEOUT, true);
    dns.take(&DnsPacket { remote: group, ..packet(true, SECOND, message(1, None)) });
    dns.take(&DnsPacket { local: group, cookie: 2, ..packet(false, SECOND, message(1, None)) });
    let ended = dns.expire(&at(60 * SECOND, 0));
    assert_eq!(ended.iter().map(|lookup| lookup.socket.0).collect::<Vec<_>>(), [1]);
    assert_eq!((dns.counts().silent, dns.counts().unknown), (1, 0));
}

#[test]
fn a_lookup_without_a_response_has_timed_out_unless_messages_are_missing() {
    for (shed_at, told) in [(0, true), (2, true), (3, false), (8, false), (9, true)] {
        let mut dns = Dns::new(TIMEOUT, false);
        let mut ended = Vec::new();
        for second in 1..=12 {
            let reading = at(second * SECOND, u64::from(shed_at != 0 && second >= shed_at));
            dns.begin(&reading);
            if second == 3 {
                dns.take(&packet(true, 2 * SECOND + SECOND / 2, message(1, None)));
            }
            ended.extend(dns.expire(&reading));
        }
        assert_eq!((ended.len(), dns.counts().unknown), (usize::from(told), u64::from(!told)), "{shed_at}");
        assert_eq!(dns.counts().matching.timed_out, 1);
    }
}

#[test]
fn errors_are_named() {
    for (outcome, expected) in [
        (Outcome::Timeout, Some("timeout")),
        (Outcome::Answered(ResponseCode::NOERROR), None),
        (Outcome::Answered(ResponseCode::NXDOMAIN), Some("NXDOMAIN")),
        (Outcome::Answered(ResponseCode(12)), Some("RCODE12")),
    ] {
        assert_eq!(error_type(outcome).as_deref(), expected);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_each_message_is_read_or_counted(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20), tcp: bool, seed: u32
    ) {
        let mut dns = Dns::new(TIMEOUT, true);
        for (i, data) in messages.into_iter().enumerate() {
            let transport = if tcp { Transport::Tcp } else { Transport::Udp };
            let sequence = seed.wrapping_mul(i as u32);
            dns.take(&DnsPacket { transport, sequence, ..packet(i % 2 == 0, i as u64, data) });
        }
        dns.expire(&at(u64::MAX, 0));
        let counts = dns.counts();
        prop_assert_eq!(counts.pending, 0);
        prop_assert_eq!(
            counts.matching.queries,
            counts.matching.answered + counts.matching.timed_out + counts.matching.dropped
        );
    }
}
