//! The harness against itself: were its programs or namespaces wrong, every other test here would prove nothing.
#![forbid(unsafe_code)]

use std::process::Command;

use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::{Connection, Report};

/// Each connection's two ends must have moved the same bytes; sorted by the client's address they pair up.
fn assert_mirrored(client: &Report, server: &[Connection]) {
    let mut ours: Vec<_> = client.connections.iter().map(|one| (one.local.port(), one.moved)).collect();
    let mut theirs: Vec<_> = server.iter().map(|one| (one.peer.port(), one.moved.peer())).collect();
    ours.sort_by_key(|one| (one.0, one.1.sent, one.1.received));
    theirs.sort_by_key(|one| (one.0, one.1.sent, one.1.received));
    assert_eq!(ours, theirs);
}

#[test]
fn both_ends_report_the_same_bytes_for_every_kind_of_close() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("client").unwrap(), programs.copy("server").unwrap());
    for close in ["client", "server", "half", "client-reset", "server-reset"] {
        let listening = Server::start(&server, None, "[::]:0", "").unwrap();
        for to in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let arguments =
                format!("--connections 30 --concurrency 4 --rounds 3 --send 99999 --close {close}");
            let report = program::connect(&client, None, listening.at(to).unwrap(), &arguments).unwrap();
            assert_eq!(report.connections.len(), 30);
            assert_eq!(report.process.executable, client);
            let failures: Vec<_> = report.failures.into_iter().collect();
            match close {
                "server-reset" => assert_eq!(failures, [("reset".into(), 30)]),
                _ => assert_eq!(failures, []),
            }
        }
        let port = listening.address.port();
        let report = listening.stop().unwrap();
        assert_eq!(report.connections.len(), 90, "{close}: {:?}", report.failures);
        oracle::wait_until_closed(None, port).unwrap();
    }
}

#[test]
fn workers_report_what_each_of_them_served() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("client").unwrap(), programs.copy("server").unwrap());
    let mut fork = Command::new("python3");
    fork.arg(host::source("programs/prefork.py")).arg("3");
    let forked = Server::listening(Running::start_command(&mut fork).unwrap()).unwrap();
    let executed = Server::start(&server, None, "127.0.0.1:0", "--workers 3").unwrap();
    for listening in [forked, executed] {
        let arguments = "--connections 60 --concurrency 6 --close server";
        let report = program::connect(&client, None, listening.address, arguments).unwrap();
        let pids = listening.pids.clone();
        let served = listening.stop().unwrap();
        assert_eq!(served.workers.iter().map(|worker| worker.process.pid).collect::<Vec<_>>(), pids);
        let all: Vec<_> = served.workers.iter().flat_map(|worker| worker.connections.clone()).collect();
        assert_mirrored(&report, &all);
    }
}

#[test]
fn a_stepping_client_waits_between_rounds() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let listening = Server::start(&programs.copy("server").unwrap(), None, "127.0.0.1:0", "").unwrap();
    let client = programs.copy("client").unwrap();
    let mut running = program::start_connect(&client, None, listening.address, "--rounds 2 --step").unwrap();
    let first = running.round().unwrap();
    assert_eq!(oracle::sockets(None, listening.address.port()).unwrap().len(), 2);
    running.step().unwrap();
    let report = running.finish().unwrap();
    assert!(report.moved().sent > first.sent);
    assert_mirrored(&report, &listening.stop().unwrap().connections);
}

#[test]
fn pairs_carry_both_families_and_lose_what_they_are_told_to() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("client").unwrap(), programs.copy("server").unwrap());
    pair.shape().unwrap();
    let listening = Server::start(&server, Some(&pair.server), "[::]:0", "").unwrap();
    let run = |to: &str| {
        let before = Counters::read(&pair.client).unwrap();
        let arguments = "--connections 20 --concurrency 4 --send 100000 --receive 100000";
        let report =
            program::connect(&client, Some(&pair.client), listening.at(to).unwrap(), arguments).unwrap();
        assert_eq!(report.connections.len(), 20);
        oracle::wait_until_closed(Some(&pair.client), listening.address.port()).unwrap();
        Counters::read(&pair.client).unwrap().since(&before, "Tcp:RetransSegs").unwrap()
    };
    assert_eq!(run("10.77.0.2"), 0);
    assert_eq!(run("fd00:77::2"), 0);
    pair.server.drop_incoming("meta l4proto tcp numgen random mod 100 < 5").unwrap();
    assert!(run("10.77.0.2") > 0);
    assert!(pair.server.dropped().unwrap() > 0);
}
