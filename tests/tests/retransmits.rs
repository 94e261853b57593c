//! Retransmitted segments against the namespace's own counters, with loss that the test makes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Server};

/// What was sent again at one end, by netsonde and by the kernel.
struct End {
    syn: u64,
    data: u64,
    syn_ack: u64,
    kernel_all: u64,
    kernel_syns: u64,
}

/// Runs a client and a server over a cable that loses, and checks that their bytes are exact all the same.
fn run(arguments: &str, lose: impl FnOnce(&Pair)) -> [End; 2] {
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("lossy-client").unwrap(), programs.copy("lossy-server").unwrap());
    let pair = Pair::new().unwrap();
    pair.shape().unwrap();
    lose(&pair);
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, Some(&pair.server), "[::]:0", "").unwrap();
    let port = listening.address.port();
    let ends = [&pair.client, &pair.server];
    let before = ends.map(|end| Counters::read(end).unwrap());
    let [v4, v6] = ["10.77.0.2", "fd00:77::2"].map(|to| {
        let to = listening.at(to).unwrap();
        program::start_connect(&client, Some(&pair.client), to, arguments).unwrap()
    });
    let reports = [v4.finish().unwrap(), v6.finish().unwrap()];
    for end in ends {
        oracle::wait_until_closed(Some(end), port).unwrap();
    }
    let after = ends.map(|end| Counters::read(end).unwrap());
    let served = listening.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    let mut moved = reports[0].moved();
    moved.add(reports[1].moved());
    let subjects = [Subject::new(&client, Role::Client), Subject::new(&server, Role::Server)];
    let count = served.connections.len();
    subjects[0].assert_exact(&telemetry, moved, count);
    subjects[1].assert_exact(&telemetry, served.moved(), count);
    std::array::from_fn(|end| {
        let kernel = |name| after[end].since(&before[end], name).unwrap();
        let netsonde = |kind| subjects[end].retransmits(&telemetry, kind) as u64;
        End {
            syn: netsonde("syn"),
            data: netsonde("data"),
            syn_ack: netsonde("syn_ack"),
            kernel_all: kernel("Tcp:RetransSegs"),
            kernel_syns: kernel("TcpExt:TCPSynRetrans"),
        }
    })
}

fn assert_agrees(end: &End) {
    assert_eq!(end.syn + end.data + end.syn_ack, end.kernel_all, "all kinds against RetransSegs");
    assert_eq!(end.syn + end.syn_ack, end.kernel_syns, "handshakes against TCPSynRetrans");
}

#[test]
fn data_lost_at_random() {
    let _host = Host::acquire().unwrap();
    let arguments = "--connections 6 --concurrency 3 --rounds 3 --send 400000 --receive 400000";
    let ends = run(arguments, |pair| {
        for end in [&pair.client, &pair.server] {
            end.drop_incoming("meta l4proto tcp numgen random mod 100 < 5").unwrap();
        }
    });
    for end in &ends {
        assert!(end.data > 0, "nothing was sent again");
        assert_agrees(end);
    }
}

#[test]
fn syns_lost() {
    let _host = Host::acquire().unwrap();
    let [client, server] = run("--connections 4 --concurrency 4", |pair| {
        pair.server.drop_incoming("tcp flags & (syn | ack) == syn numgen inc mod 2 == 0").unwrap();
    });
    assert!(client.syn > 0, "no SYN was sent again");
    assert_agrees(&client);
    assert_agrees(&server);
    assert_eq!(client.syn_ack + server.syn, 0, "a kind at the wrong end");
}

#[test]
fn syn_acks_lost() {
    let _host = Host::acquire().unwrap();
    let [client, server] = run("--connections 4 --concurrency 4", |pair| {
        pair.client.drop_incoming("tcp flags & (syn | ack) == (syn | ack) numgen inc mod 2 == 0").unwrap();
    });
    assert!(server.syn_ack > 0, "no SYN-ACK was sent again");
    assert_agrees(&client);
    assert_agrees(&server);
    assert_eq!(client.syn_ack + server.syn, 0, "a kind at the wrong end");
}
