//! What readers of the running daemon are shown: intervals that add up to what programs moved, levels that hold while
//! nothing moves, lookups, and processes with their parents.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::UdpSocket;
use std::path::Path;

use netsonde_tests::api::{self, History};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::{Moved, Process};
use serde_json::Value;

fn of_program<'a>(path: &'a Path, role: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |attributes| {
        attributes["process.executable.path"] == path.to_str().unwrap()
            && attributes["netsonde.socket.role"] == role
    }
}

/// What all intervals say that a program moved.
fn moved(history: &History, path: &Path, role: &str) -> Moved {
    let ids = history.ids("flows", of_program(path, role));
    Moved { sent: history.sum("flows", &ids, "tx"), received: history.sum("flows", &ids, "rx") }
}

/// Waits for an interval after which a program has moved all that it has.
fn wait_moved(daemon: &Daemon, path: &Path, role: &str, expected: Moved) -> History {
    let wanted = |answer: &Value| moved(&History(answer.clone()), path, role) == expected;
    History(api::wait(daemon, "/api/v1/history", wanted).unwrap())
}

#[test]
fn intervals_add_up_to_the_byte() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("view-client").unwrap(), programs.copy("view-server").unwrap());
    // Flows are told apart whatever metrics carry.
    let daemon = Daemon::start("[metrics]\nattributes = [\"network.transport\"]").unwrap();
    let listening = Server::start(&server, None, "[::]:0", "").unwrap();
    let port = listening.address.port();
    let to = listening.at("127.0.0.1").unwrap();
    let mut total = Moved::default();
    for arguments in [
        "--connections 100 --concurrency 4 --send 20000 --receive 30000 --close server",
        "--connections 3 --concurrency 3 --rounds 4 --pause 800 --send 500001 --receive 400003",
    ] {
        total.add(program::connect(&client, None, to, arguments).unwrap().moved());
    }
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    wait_moved(&daemon, &client, "client", total);
    let history = wait_moved(&daemon, &server, "server", served.moved());
    let ids = history.ids("flows", of_program(&client, "client"));
    for (key, expected) in [("opened", 103), ("closed", 103), ("accepted", 0)] {
        assert_eq!(history.sum("flows", &ids, key), expected, "{key}");
    }
    let ids = history.ids("flows", of_program(&server, "server"));
    assert_eq!(history.sum("flows", &ids, "accepted"), 103);
    // They were told as they happened, not in the end.
    let intervals = history.series("flows", &ids, "tx").iter().filter(|n| **n > 0).count();
    assert!(intervals >= 3, "{intervals}");
    for flow in history.0["flows"].as_array().unwrap() {
        if of_program(&client, "client")(&flow["attributes"]) {
            assert_eq!(flow["attributes"]["server.port"], port);
            assert_eq!(flow["attributes"]["process.executable.name"], "view-client");
            assert!(!flow["attributes"]["netsonde.process.ancestry"].as_array().unwrap().is_empty());
        }
    }
    // Whoever comes again gets what is new, and no more.
    let newest = history.frames().last().unwrap()["time"].as_u64().unwrap();
    let next = api::wait(&daemon, &format!("/api/v1/history?since={newest}"), |answer| {
        answer["frames"].as_array().is_some_and(|frames| !frames.is_empty())
    });
    let next = next.unwrap();
    assert!(next["frames"].as_array().unwrap().iter().all(|f| f["time"].as_u64().unwrap() > newest));

    let flows = api::json(&daemon, "/api/v1/flows").unwrap();
    let rows = flows["flows"].as_array().unwrap();
    let row = rows.iter().find(|row| of_program(&client, "client")(&row["attributes"])).unwrap();
    assert_eq!(row["sum"]["tx"].as_u64(), Some(total.sent));
    assert_eq!(row["sum"]["rx"].as_u64(), Some(total.received));
    let rtt = row["rtt"]["p50"].as_f64().unwrap();
    assert!(rtt > 0.0 && rtt < 1.0, "{rtt}");
    daemon.stop().unwrap();
}

#[test]
fn open_connections_are_told_while_nothing_moves() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("level-client").unwrap(), programs.copy("level-server").unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let arguments = "--connections 5 --concurrency 5 --rounds 2 --pause 6000 --send 1000 --receive 1000";
    let running = program::start_connect(&client, None, to, arguments).unwrap();
    let pid = running.pid();
    // At least three intervals in which five are open and nothing is sent.
    let held = |path: &Path, role: &str| {
        let silent = |answer: &Value| {
            let history = History(answer.clone());
            let ids = history.ids("flows", of_program(path, role));
            let (active, tx) = (history.series("flows", &ids, "active"), history.series("flows", &ids, "tx"));
            active.iter().zip(&tx).filter(|(active, tx)| (**active, **tx) == (5, 0)).count() >= 3
        };
        api::wait(&daemon, "/api/v1/history", silent).unwrap();
    };
    held(&client, "client");
    held(&server, "server");

    // The process that has them, with its parents as /proc has them.
    let process = api::json(&daemon, &format!("/api/v1/processes/{pid}")).unwrap();
    let (us, parents) = Process::chain(pid.try_into().unwrap()).unwrap();
    assert_eq!(process["active"], 5);
    assert_eq!(process["attributes"]["process.pid"], us.pid);
    assert_eq!(process["attributes"]["process.executable.path"], us.executable.to_str().unwrap());
    let told = process["attributes"]["netsonde.process.ancestors"].as_array().unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|one| {
            (
                one["process.pid"].as_i64().unwrap(),
                one["process.executable.path"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected: Vec<_> = parents
        .iter()
        .map(|one| (i64::from(one.pid), one.executable.to_str().unwrap().to_owned()))
        .filter(|(_, path)| !path.is_empty())
        .collect();
    assert_eq!(told, expected);
    let id = process["id"].as_str().unwrap();
    assert!(id.starts_with(&format!("{pid}-")), "{id}");

    let report = running.finish().unwrap();
    listening.stop().unwrap();
    wait_moved(&daemon, &client, "client", report.moved());
    let by_id = api::wait(&daemon, &format!("/api/v1/processes/{id}"), |process| process["active"].is_null());
    let by_id = by_id.unwrap();
    assert_eq!(by_id["connections"], 5);
    assert_eq!(
        (by_id["tx"].as_u64(), by_id["rx"].as_u64()),
        (Some(report.moved().sent), Some(report.moved().received))
    );
    let all = api::json(&daemon, "/api/v1/processes").unwrap();
    assert!(all["processes"].as_array().unwrap().iter().any(|process| process["id"] == id));
    let history = History::of(&daemon).unwrap();
    let ids = history.ids("flows", of_program(&client, "client"));
    assert_eq!(history.series("flows", &ids, "active").last(), Some(&0));
    assert!(by_id["flows"].as_array().unwrap().iter().any(|id| ids.contains(&id.as_u64().unwrap())));
    daemon.stop().unwrap();
}

/// A query for addresses of a name (RFC 1035, 4.1).
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.split('.') {
        message.push(label.len().try_into().unwrap());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

#[test]
fn lookups_are_told_by_name_and_outcome() {
    let _host = Host::acquire().unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let daemon = Daemon::start(&format!("[dns]\nhosts = \"\"\nports = [{port}]")).unwrap();
    let mut buffer = [0; 512];
    for (id, name, code) in
        [(1, "there.example", 0), (2, "there.example", 0), (3, "gone.example", 3), (4, "there.example", 0)]
    {
        client.send_to(&query(id, name), server.local_addr().unwrap()).unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        buffer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        server.send_to(&buffer[..length], from).unwrap();
        client.recv(&mut buffer).unwrap();
    }
    let us = std::env::current_exe().unwrap().canonicalize().unwrap();
    let of = |role: &'static str, name: &'static str, code: &'static str| {
        let ours = of_program(&us, role);
        move |a: &Value| ours(a) && a["dns.question.name"] == name && a["dns.response_code"] == code
    };
    let count = |history: &History, role, name, code| {
        let ids = history.ids("lookups", of(role, name, code));
        history.sum("lookups", &ids, "count")
    };
    for role in ["client", "server"] {
        let answer = api::wait(&daemon, "/api/v1/history", |answer| {
            let history = History(answer.clone());
            (
                count(&history, role, "there.example", "NOERROR"),
                count(&history, role, "gone.example", "NXDOMAIN"),
            ) == (3, 1)
        });
        answer.unwrap();
    }
    let dns = api::json(&daemon, "/api/v1/dns").unwrap();
    let rows = dns["lookups"].as_array().unwrap();
    let row = rows.iter().find(|row| of("client", "there.example", "NOERROR")(&row["attributes"])).unwrap();
    assert_eq!(row["sum"], 3);
    assert!(row["latency"]["p99"].as_f64().unwrap() > 0.0, "{row}");
    daemon.stop().unwrap();
}
