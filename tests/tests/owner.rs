//! Every socket has its program: path, process, parents; and never a bystander's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::Moved;

#[test]
fn client_and_server_have_their_paths_and_parents() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("owner-client").unwrap(), programs.copy("owner-server").unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let report = program::connect(&client, None, to, "--connections 5 --send 5000").unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();

    let roles = [
        (Subject::new(&client, Role::Client), &report, "netsonde.tcp.connect"),
        (Subject::new(&server, Role::Server), &served, "netsonde.tcp.accept"),
    ];
    for (subject, report, opened) in roles {
        let subject = subject.with("server.address", "127.0.0.1").with("process.user.name", "root");
        subject.assert_exact(&telemetry, report.moved(), 5);
        expect::assert_ancestry(&telemetry, "netsonde.flow.io", report);
        for name in [opened, "netsonde.tcp.close"] {
            let events = subject.events(&telemetry, name);
            assert_eq!(events.len(), 5, "{name}");
            for event in events {
                expect::check_owner(event, &report.process, &report.ancestors).unwrap();
            }
        }
        for event in subject.events(&telemetry, "netsonde.tcp.close") {
            let ours = report.connections.iter().find(|connection| {
                let port = event.int("client.port").unwrap();
                port == i64::from(connection.local.port()) || port == i64::from(connection.peer.port())
            });
            let moved = Moved {
                sent: event.int("netsonde.tcp.bytes.transmit").unwrap() as u64,
                received: event.int("netsonde.tcp.bytes.receive").unwrap() as u64,
            };
            assert_eq!(Some(moved), ours.map(|connection| connection.moved), "{event:?}");
        }
    }
    let filter = [("process.executable.path", server.as_path().into())];
    for name in ["netsonde.listen.open", "netsonde.listen.close"] {
        let events = telemetry.events(name, &filter);
        assert_eq!(events.len(), 1, "{name}");
        expect::check_owner(events[0], &served.process, &served.ancestors).unwrap();
        assert_eq!(events[0].int("server.port").unwrap(), i64::from(to.port()));
    }
}

#[test]
fn connections_belong_to_the_worker_that_accepted_them() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("to-workers").unwrap(), programs.copy("workers").unwrap());
    let attributes = "[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\", \
        \"server.port\", \"process.executable.path\", \"process.pid\"]\n";
    let daemon = Daemon::start(attributes).unwrap();
    let forked = Server::run(&mut program::python("prefork.py", "3")).unwrap();
    let executed = Server::start(&server, None, "127.0.0.1:0", "--workers 3 --threads 1").unwrap();
    let served = [forked, executed].map(|listening| {
        let port = listening.address.port();
        let arguments = "--connections 90 --concurrency 6 --send 5000 --close server";
        program::connect(&client, None, listening.address, arguments).unwrap();
        let served = listening.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        (port, served)
    });
    let telemetry = daemon.stop().unwrap();
    for (port, served) in served {
        let busy = served.workers.iter().filter(|worker| !worker.connections.is_empty()).count();
        assert!(busy > 1, "one worker took everything: nothing is compared");
        for worker in &served.workers {
            let subject = Subject::new(&worker.process.executable, Role::Server)
                .with("server.port", i64::from(port))
                .with("process.pid", i64::from(worker.process.pid));
            subject.assert_exact(&telemetry, worker.moved(), worker.connections.len());
            for name in ["netsonde.tcp.accept", "netsonde.tcp.close"] {
                let events = subject.events(&telemetry, name);
                assert_eq!(events.len(), worker.connections.len(), "{name} of {:?}", worker.process);
                for event in events {
                    expect::check_owner(event, &worker.process, &worker.ancestors).unwrap();
                }
            }
        }
        let parent = Subject::new(&served.process.executable, Role::Server)
            .with("server.port", i64::from(port))
            .with("process.pid", i64::from(served.process.pid));
        parent.assert_exact(&telemetry, Moved::default(), 0);
    }
}

#[test]
fn sockets_older_than_netsonde_are_owned_and_counted_from_then_on() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("older-client").unwrap(), programs.copy("older-server").unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let arguments = "--rounds 3 --step --send 100000 --receive 100000";
    let mut running = program::start_connect(&client, None, to, arguments).unwrap();
    let first = running.round().unwrap();
    let daemon = Daemon::start("").unwrap();
    running.step().unwrap();
    let second = running.round().unwrap();
    let roles = [(Subject::new(&client, Role::Client), false), (Subject::new(&server, Role::Server), true)];
    for (subject, is_server) in &roles {
        let expected = second.since(first);
        let expected = if *is_server { expected.peer() } else { expected };
        daemon
            .wait("the bytes of the second round", |telemetry| {
                subject.moved(telemetry) == expected
                    && subject.sum(telemetry, "netsonde.tcp.connections.active") == 1
            })
            .unwrap();
    }
    let path = [("process.executable.path", server.as_path().into())];
    daemon.wait("the listener", |telemetry| telemetry.sum("netsonde.listeners", &path) == 1).unwrap();
    running.step().unwrap();
    let report = running.finish().unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for ((subject, is_server), report) in roles.iter().zip([&report, &served]) {
        let expected = report.moved().since(if *is_server { first.peer() } else { first });
        assert_eq!(subject.moved(&telemetry), expected);
        assert_eq!(subject.sum(&telemetry, "netsonde.tcp.connections.active"), 0);
        let counts = ["opened", "accepted", "closed"].map(|event| subject.connections(&telemetry, event));
        assert_eq!(counts, [0, 0, 1], "it was opened before netsonde's time");
        expect::assert_ancestry(&telemetry, "netsonde.flow.io", report);
        let events = subject.events(&telemetry, "netsonde.tcp.close");
        assert_eq!(events.len(), 1);
        expect::check_owner(events[0], &report.process, &report.ancestors).unwrap();
    }
}

#[test]
fn a_refused_connect_has_its_program() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("refused-owner").unwrap();
    let daemon = Daemon::start("").unwrap();
    let [port] = netsonde_tests::rotel::free_ports().unwrap();
    let report = program::connect(&client, None, ([127, 0, 0, 1], port).into(), "--connections 4").unwrap();
    let telemetry = daemon.stop().unwrap();
    let subject = Subject::new(&client, Role::Client).with("server.port", i64::from(port));
    assert_eq!(subject.failures(&telemetry, "refused"), 4);
    expect::assert_ancestry(&telemetry, "netsonde.tcp.connection.failures", &report);
    let events = subject.events(&telemetry, "netsonde.tcp.failure");
    assert_eq!(events.len(), 4);
    for event in events {
        expect::check_owner(event, &report.process, &report.ancestors).unwrap();
    }
}

#[test]
fn a_busy_bystander_is_never_blamed() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server, bystander] =
        ["blame-client", "blame-server", "bystander"].map(|name| programs.copy(name).unwrap());
    let pair = Pair::new().unwrap();
    // Shaped and lossy, so that the kernel does its work later, from timers and softirqs on the bystander's time.
    pair.shape().unwrap();
    pair.server.drop_incoming("meta l4proto tcp numgen random mod 100 < 5").unwrap();
    let daemon = Daemon::start("").unwrap();
    let spinning = Running::start(&bystander, None, "spin").unwrap();
    let listening = Server::start(&server, Some(&pair.server), "10.77.0.2:0", "").unwrap();
    let port = listening.address.port();
    let mut moved = Moved::default();
    let mut count = 0;
    for close in ["client", "server", "server-reset"] {
        let arguments = format!("--connections 40 --concurrency 8 --close {close}");
        let report = program::connect(&client, Some(&pair.client), listening.address, &arguments).unwrap();
        moved.add(report.moved());
        count += report.connections.len();
    }
    for end in [&pair.client, &pair.server] {
        oracle::wait_until_closed(Some(end), port).unwrap();
    }
    let served = listening.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    let innocent = spinning.finish().unwrap().process;
    Subject::new(&client, Role::Client).assert_exact(&telemetry, moved, count);
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served.moved(), count);
    let path = bystander.as_path().into();
    let blamed = |attributes: &netsonde_tests::telemetry::Attributes| {
        attributes.get("process.executable.path") == Some(&path)
            || attributes.get("process.pid") == Some(&i64::from(innocent.pid).into())
    };
    let points: Vec<_> = telemetry.points.iter().filter(|point| blamed(&point.attributes)).collect();
    let events: Vec<_> = telemetry.events.iter().filter(|event| blamed(&event.attributes)).collect();
    assert!(points.is_empty() && events.is_empty(), "{points:?} {events:?}");
}
