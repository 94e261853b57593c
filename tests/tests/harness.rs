//! The harness against itself: were its programs or namespaces wrong, every other test here would prove nothing.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::decoder::Decoder;
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Pair;
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Running, Server, Swarm};
use netsonde_tests::python::Python;
use netsonde_tests::report::{Connection, Moved, Process, Report};
use netsonde_tests::rotel::Rotel;
use netsonde_tests::telemetry::Telemetry;

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
    let mut servers = vec![Server::start(&server, None, "127.0.0.1:0", "--workers 3").unwrap()];
    for name in ["prefork.py", "reuse_port.py", "pass_accepted.py"] {
        servers.push(Server::run(&mut program::python(name, "3")).unwrap());
    }
    for listening in servers {
        let arguments = "--connections 60 --concurrency 6 --close server";
        let report = program::connect(&client, None, listening.address, arguments).unwrap();
        assert_eq!(report.connections.len(), 60, "{:?}", report.failures);
        let pids = listening.pids.clone();
        let served = listening.stop().unwrap();
        assert_eq!(served.workers.iter().map(|worker| worker.process.pid).collect::<Vec<_>>(), pids);
        let all: Vec<_> = served.workers.iter().flat_map(|worker| worker.connections.clone()).collect();
        assert_mirrored(&report, &all);
    }
}

#[test]
fn a_connection_goes_from_one_process_to_another() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("server").unwrap();
    for how in ["fork", "orphan", "pass", "share"] {
        let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let to = listening.address;
        let mut running =
            Running::start_command(&mut program::python("hand_over.py", &format!("{how} {to} 700"))).unwrap();
        let told: Vec<Moved> = (0..3)
            .map(|_| {
                let moved = running.round().unwrap();
                running.step().unwrap();
                moved
            })
            .collect();
        let report = running.finish().unwrap();
        assert_eq!(told[1], Moved::default(), "{how}: the second has moved nothing when it gets it");
        let [second] = &report.workers[..] else { panic!("{how}: {report:?}") };
        assert_ne!(second.process.pid, report.process.pid);
        assert_eq!(second.ancestors[0], Process { vpid: 0, ..report.process.clone() }, "{how}: its parent");
        assert_eq!((report.moved(), second.moved()), (told[0], told[2]));
        assert_eq!(report.connections[0].local, second.connections[0].local);
        let served = listening.stop().unwrap();
        let mut total = report.moved();
        total.add(second.moved());
        assert_eq!(served.moved().peer(), total);
        oracle::wait_until_closed(None, to.port()).unwrap();
    }
}

#[test]
fn one_process_becomes_another_program() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, first, then] = ["server", "first", "then"].map(|name| programs.copy(name).unwrap());
    for how in ["", "--thread", "--keep", "--keep --thread"] {
        let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let gate = programs.path("gate").unwrap();
        let how = how.replace("--keep", &format!("--keep --gate {}", gate.display()));
        let arguments = format!("become --to {} --program {} {how}", listening.address, then.display());
        let mut running = Running::start(&first, None, &arguments).unwrap();
        let before: Report = running.read().unwrap();
        running.step().unwrap();
        std::fs::write(&gate, "").unwrap();
        let after = running.finish().unwrap();
        assert_eq!((&before.process.executable, &after.process.executable), (&first, &then));
        assert_eq!(before.process.pid, after.process.pid);
        assert_eq!(before.process.start_ticks, after.process.start_ticks);
        let kept = before.connections[0].local == after.connections[0].local;
        assert_eq!(kept, how.contains("--keep"));
        let mut total = before.moved();
        total.add(after.moved());
        assert_eq!(listening.stop().unwrap().moved().peer(), total);
    }
}

#[test]
fn a_swarm_reports_every_child() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, swarm, one, other] =
        ["server", "swarm", "one", "other"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let report = Swarm { children: 50, concurrency: 4 }
        .start(&swarm, &[&one, &other], listening.address)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(report.workers.len(), 50);
    for path in [&one, &other] {
        assert_eq!(report.workers.iter().filter(|child| child.process.executable == *path).count(), 25);
    }
    let parent = Process { vpid: 0, ..report.process.clone() };
    assert!(report.workers.iter().all(|child| child.ancestors[0] == parent));
    let all: Vec<_> = report.workers.iter().flat_map(|child| child.connections.clone()).collect();
    let client = Report { connections: all, ..report };
    assert_mirrored(&client, &listening.stop().unwrap().connections);
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
    // Without loss nothing should be sent again, but on a busy machine a timer may be late.
    run("10.77.0.2");
    run("fd00:77::2");
    pair.server.drop_incoming("meta l4proto tcp numgen random mod 100 < 5").unwrap();
    assert!(run("10.77.0.2") > 0);
    assert!(pair.server.dropped().unwrap() > 0);
}

#[test]
fn receivers_take_a_request_made_by_hand() {
    let python = Python::prepare().unwrap();
    let send = |grpc: u16, http: u16| {
        command::output(python.program("example.py").args([grpc.to_string(), http.to_string()])).unwrap();
    };
    let decoder = Decoder::start(&python).unwrap();
    send(decoder.grpc_port, decoder.http_port);
    let decoded = Telemetry::parse(&decoder.requests().unwrap()).unwrap();
    assert_eq!(decoded.sum("example.bytes", &[("side", "left".into())]), 123456789);
    assert_eq!(decoded.events("example.event", &[("number", 77.into())]).len(), 1);

    let rotel = Rotel::start(&python).unwrap();
    send(rotel.grpc_port, rotel.http_port);
    let printed = command::until(Duration::from_secs(10), || {
        let log = rotel.log()?;
        let bytes = log.sum("example.bytes", &[("side", "Str(left)".into())]);
        Ok(bytes == 123456789 && log.events.iter().any(|(_, printed)| printed["number"] == "Int(77)"))
    });
    assert!(printed.unwrap(), "{:?}", rotel.log().unwrap());
}

#[test]
fn the_line_checker_refuses_what_is_not_otlp_json() {
    let python = Python::prepare().unwrap();
    let point = r#"{"asInt":"5","timeUnixNano":"1"}"#;
    let request = |point: &str| {
        let metric = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{point}]}}}}"#);
        format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#)
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        command::output(python.program("check_json_lines.py").arg(&path))
    };
    assert!(check(&request(point)).unwrap().contains("\"points\": 1"));
    check(&request(&point.replace("\"5\"", "5"))).unwrap_err();
    check(&request(&point.replace("asInt", "asint"))).unwrap_err();
    check(&request(point).replace("resourceMetrics", "resource_spans")).unwrap_err();
}
