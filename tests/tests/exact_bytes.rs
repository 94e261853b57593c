//! Bytes are exact: what programs sent and received, to the byte, is what netsonde says of them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::Moved;

#[test]
fn many_short_connections_between_sweeps() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("short-server").unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "[::]:0", "").unwrap();
    let port = listening.address.port();
    let mut clients = Vec::new();
    for (to, family) in [("127.0.0.1", "ipv4"), ("::1", "ipv6"), ("::ffff:127.0.0.1", "ipv4")] {
        for close in ["client", "server", "half", "client-reset", "server-reset"] {
            let path = programs.copy(&format!("short-{close}-{}", clients.len())).unwrap();
            let arguments =
                format!("--connections 100 --concurrency 4 --send 20000 --receive 20000 --close {close}");
            let report = program::connect(&path, None, listening.at(to).unwrap(), &arguments).unwrap();
            assert_eq!(report.connections.len(), 100, "{:?}", report.failures);
            clients.push((path, family, report));
        }
    }
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    let telemetry = daemon.stop().unwrap();
    let mut by_family = [("ipv4", Moved::default(), 0), ("ipv6", Moved::default(), 0)];
    for (path, family, report) in &clients {
        let subject = Subject::new(path, Role::Client)
            .with("network.type", *family)
            .with("server.port", i64::from(port));
        subject.assert_exact(&telemetry, report.moved(), 100);
        let (_, moved, count) = by_family.iter_mut().find(|(name, ..)| name == family).unwrap();
        moved.add(report.moved().peer());
        *count += 100;
    }
    for (family, moved, count) in by_family {
        let subject = Subject::new(&server, Role::Server)
            .with("network.type", family)
            .with("server.port", i64::from(port));
        subject.assert_exact(&telemetry, moved, count);
    }
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served.moved(), 1500);
}

#[test]
fn long_connections_over_many_sweeps() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("long-client").unwrap(), programs.copy("long-server").unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "[::]:0", "").unwrap();
    let port = listening.address.port();
    let pause = 700 * host::patience();
    let arguments = format!(
        "--connections 6 --concurrency 6 --rounds 9 --pause {pause} --send 3000000 --receive 3000000"
    );
    let running = program::start_connect(&client, None, listening.at("::1").unwrap(), &arguments).unwrap();
    let (ours, theirs) = (Subject::new(&client, Role::Client), Subject::new(&server, Role::Server));
    for subject in [&ours, &theirs] {
        // While they last, not only when they end.
        daemon
            .wait("open connections and their bytes", |telemetry| {
                subject.sum(telemetry, "netsonde.tcp.connections.active") == 6
                    && subject.moved(telemetry).sent > 0
                    && subject.connections(telemetry, "closed") == 0
            })
            .unwrap();
    }
    let report = running.finish().unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    let telemetry = daemon.stop().unwrap();
    ours.assert_exact(&telemetry, report.moved(), 6);
    theirs.assert_exact(&telemetry, served.moved(), 6);
    assert_eq!(report.moved(), served.moved().peer());
}

#[test]
fn two_namespaces_over_a_cable() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("cable-client").unwrap(), programs.copy("cable-server").unwrap());
    let daemon = Daemon::start("").unwrap();
    // Made while netsonde runs: it must find namespaces that did not exist when it started.
    let pair = Pair::new().unwrap();
    let listening = Server::start(&server, Some(&pair.server), "[::]:0", "").unwrap();
    let port = listening.address.port();
    let mut total = Moved::default();
    for (to, family) in [("10.77.0.2", "ipv4"), ("fd00:77::2", "ipv6")] {
        let to = listening.at(to).unwrap();
        let mut moved = Moved::default();
        for arguments in [
            "--connections 200 --concurrency 4 --send 9999 --receive 9999 --close server",
            "--connections 3 --concurrency 3 --rounds 4 --pause 800 --send 500000 --receive 500000 --close half",
        ] {
            let report = program::connect(&client, Some(&pair.client), to, arguments).unwrap();
            assert!(report.failures.is_empty(), "{:?}", report.failures);
            moved.add(report.moved());
        }
        oracle::wait_until_closed(Some(&pair.client), port).unwrap();
        oracle::wait_until_closed(Some(&pair.server), port).unwrap();
        let subject = Subject::new(&client, Role::Client)
            .with("network.type", family)
            .with("server.address", to.ip().to_string().as_str());
        daemon.wait("all bytes of one family", |telemetry| subject.moved(telemetry) == moved).unwrap();
        total.add(moved);
    }
    let served = listening.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    Subject::new(&client, Role::Client).assert_exact(&telemetry, total, 406);
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served.moved(), 406);
}
