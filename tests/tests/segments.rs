//! Segments and RTT samples against the kernel's own counters.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::Moved;

/// The SYN-ACK is sent before there is a socket to count it; the SYN is counted for the later socket all the same
/// (tcp_create_openreq_child() begins `segs_in` with 1).
const SENT_BEFORE_CHILD: u64 = 1;

fn segments(subject: &Subject, telemetry: &netsonde_tests::telemetry::Telemetry) -> (u64, u64) {
    let of = |direction| {
        subject.sum_where(telemetry, "netsonde.flow.packets", "network.io.direction", direction) as u64
    };
    (of("transmit"), of("receive"))
}

/// Sent and received; `OutSegs` leaves out what was sent again (RFC 4022), sockets do not.
fn kernel_segments(before: &Counters, now: &Counters) -> (u64, u64) {
    let grown = |name| now.since(before, name).unwrap();
    // A segment that comes too late for its socket is answered by a reset, and neither is the socket's.
    let socketless = grown("Tcp:OutRsts");
    (grown("Tcp:OutSegs") + grown("Tcp:RetransSegs") - socketless, grown("Tcp:InSegs") - socketless)
}

#[test]
fn a_live_connection_agrees_with_ss_and_snmp() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("live-client").unwrap(), programs.copy("live-server").unwrap());
    let pair = Pair::new().unwrap();
    pair.shape().unwrap();
    pair.send_single_segments().unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, Some(&pair.server), "10.77.0.2:0", "").unwrap();
    let port = listening.address.port();
    let ends = [&pair.client, &pair.server];
    let before = ends.map(|end| Counters::read(end).unwrap());
    let arguments = "--rounds 2 --step --send 400000 --receive 400000";
    let mut running =
        program::start_connect(&client, Some(&pair.client), listening.address, arguments).unwrap();
    running.round().unwrap();
    let subjects = [Subject::new(&client, Role::Client), Subject::new(&server, Role::Server)];
    let child = [0, SENT_BEFORE_CHILD];
    for ((end, subject), (before, child)) in ends.iter().zip(&subjects).zip(before.iter().zip(child)) {
        // A delayed ACK may still come, so both sides of the comparison are read until they agree.
        let mut expected = (0, 0);
        daemon
            .wait("the segments that ss shows", |telemetry| {
                let sockets = oracle::sockets(Some(end), port).unwrap();
                expected = (sockets[0].number("segs_out"), sockets[0].number("segs_in"));
                segments(subject, telemetry) == expected
            })
            .unwrap_or_else(|error| panic!("{error}: {expected:?}"));
        assert!(expected.0 > 10 && expected.1 > 10, "too little to compare: {expected:?}");
        let counted = kernel_segments(before, &Counters::read(end).unwrap());
        assert_eq!(counted, (expected.0 + child, expected.1));
    }
    running.step().unwrap();
    running.finish().unwrap();
    listening.stop().unwrap();
    daemon.stop().unwrap();
}

#[test]
fn many_closed_connections_agree_with_snmp() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("closed-client").unwrap(), programs.copy("closed-server").unwrap());
    let pair = Pair::new().unwrap();
    pair.shape().unwrap();
    pair.send_single_segments().unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, Some(&pair.server), "[::]:0", "").unwrap();
    let port = listening.address.port();
    let before = Counters::read(&pair.client).unwrap();
    let mut moved = Moved::default();
    for to in ["10.77.0.2", "fd00:77::2"] {
        // The end that closes last has a socket until its last segment; the other one's TIME-WAIT also sends,
        // and no socket counts that.
        let arguments = "--connections 50 --concurrency 2 --send 50000 --receive 50000 --close server";
        let report =
            program::connect(&client, Some(&pair.client), listening.at(to).unwrap(), arguments).unwrap();
        moved.add(report.moved());
    }
    oracle::wait_until_closed(Some(&pair.client), port).unwrap();
    let now = Counters::read(&pair.client).unwrap();
    listening.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    let counted = kernel_segments(&before, &now);
    let subject = Subject::new(&client, Role::Client);
    subject.assert_exact(&telemetry, moved, 100);
    assert_eq!(segments(&subject, &telemetry), counted);
    assert!(subject.observations(&telemetry, "netsonde.tcp.rtt") >= 100, "one sample a connection at least");
    assert_eq!(subject.observations(&telemetry, "netsonde.tcp.connect.duration"), 100);
}
