//! Each way in which a connection fails is counted once, by its name, for the program that it happened to.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::path::Path;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::{Moved, Report};
use netsonde_tests::telemetry::Telemetry;

/// Runs a client whose connections must all fail in one way, and has netsonde agree: with metric and event, once
/// each, and with no connection.
fn assert_fails(kind: &str, to: SocketAddr, place: Option<&Namespace>, run: impl FnOnce(&Path) -> Report) {
    let programs = Programs::new().unwrap();
    let client = programs.copy(&format!("fails-{kind}")).unwrap();
    let daemon = Daemon::start("").unwrap();
    let report = run(&client);
    oracle::wait_until_closed(place, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    let failures: Vec<_> = report.failures.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(failures, [(kind, 3)], "the program itself saw something else");
    let subject = Subject::new(&client, Role::Client)
        .with("server.address", to.ip().to_string().as_str())
        .with("server.port", i64::from(to.port()));
    assert_once(&subject, &telemetry, kind, &report);
    subject.assert_exact(&telemetry, Moved::default(), 0);
}

fn assert_once(subject: &Subject, telemetry: &Telemetry, kind: &str, report: &Report) {
    assert_eq!(subject.failures(telemetry, kind), 3, "{kind}");
    assert_eq!(subject.sum(telemetry, "netsonde.tcp.connection.failures"), 3, "also under another name");
    let events = subject.events(telemetry, "netsonde.tcp.failure");
    assert_eq!(events.len(), 3, "{events:?}");
    for event in events {
        assert_eq!(event.get("error.type").unwrap().text(), Some(kind));
        expect::check_owner(event, &report.process, &report.ancestors).unwrap();
    }
}

#[test]
fn refused() {
    let _host = Host::acquire().unwrap();
    for address in ["127.0.0.1", "::1"] {
        let place = Namespace::new().unwrap();
        let to = SocketAddr::new(address.parse().unwrap(), 4444);
        assert_fails("refused", to, Some(&place), |client| {
            program::connect(client, Some(&place), to, "--connections 3").unwrap()
        });
    }
}

#[test]
fn timed_out_and_aborted() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    pair.server.drop_incoming("tcp dport 4444").unwrap();
    pair.client.sysctl("net.ipv4.tcp_syn_retries", "1").unwrap();
    for to in ["10.77.0.2:4444", "[fd00:77::2]:4444"].map(|to| to.parse().unwrap()) {
        assert_fails("timed_out", to, Some(&pair.client), |client| {
            program::connect(client, Some(&pair.client), to, "--connections 3 --concurrency 3").unwrap()
        });
        assert_fails("aborted", to, Some(&pair.client), |client| {
            let arguments = format!("abandon --to {to} --connections 3");
            Running::start(client, Some(&pair.client), &arguments).unwrap().finish().unwrap()
        });
    }
}

#[test]
fn host_and_net_unreachable() {
    let _host = Host::acquire().unwrap();
    // The second namespace of the pair is a router here.
    let pair = Pair::new().unwrap();
    pair.client.ip("route add default via 10.77.0.2").unwrap();
    pair.client.ip("-6 route add default via fd00:77::2").unwrap();
    pair.server.sysctl("net.ipv4.ip_forward", "1").unwrap();
    pair.server.sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
    pair.server.sysctl("net.ipv4.icmp_ratelimit", "0").unwrap();
    pair.server.sysctl("net.ipv6.icmp.ratelimit", "0").unwrap();
    pair.server.ip("route add unreachable 10.88.0.0/24").unwrap();
    let destinations = [
        ("host_unreachable", "10.88.0.1:4444"),
        ("net_unreachable", "10.99.0.1:4444"),
        ("net_unreachable", "[fd00:99::1]:4444"),
    ];
    for (kind, to) in destinations {
        let to = to.parse().unwrap();
        assert_fails(kind, to, Some(&pair.client), |client| {
            program::connect(client, Some(&pair.client), to, "--connections 3 --concurrency 3").unwrap()
        });
    }
}

#[test]
fn reset_at_either_end() {
    let _host = Host::acquire().unwrap();
    for (close, victim) in [("server-reset", Role::Client), ("client-reset", Role::Server)] {
        let programs = Programs::new().unwrap();
        let (client, server) =
            (programs.copy("reset-client").unwrap(), programs.copy("reset-server").unwrap());
        let daemon = Daemon::start("").unwrap();
        let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let port = listening.address.port();
        let arguments = format!("--connections 3 --close {close}");
        let report = program::connect(&client, None, listening.address, &arguments).unwrap();
        let served = listening.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        let telemetry = daemon.stop().unwrap();
        for (path, role, report) in [(&client, Role::Client, &report), (&server, Role::Server, &served)] {
            let subject = Subject::new(path, role);
            let is_victim = role == victim;
            subject.assert_exact(&telemetry, report.moved(), 3);
            match is_victim {
                true => assert_once(&subject, &telemetry, "reset", report),
                false => assert_eq!(subject.sum(&telemetry, "netsonde.tcp.connection.failures"), 0),
            }
            let resets = ["transmit", "receive"].map(|direction| {
                subject.sum_where(&telemetry, "netsonde.tcp.resets", "network.io.direction", direction)
            });
            assert_eq!(resets, if is_victim { [0, 3] } else { [3, 0] }, "{close}, {role:?}");
        }
    }
}
