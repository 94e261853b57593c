//! How netsonde starts, refuses to, takes a new configuration, and ends.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::TcpListener;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::{self, Host};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::rotel::free_ports;
use netsonde_tests::telemetry::Telemetry;

#[test]
fn ends_in_time_when_its_collector_is_dead() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("end-client").unwrap();
    let [closed] = free_ports().unwrap();
    // Takes connections into its queue, and never a byte from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (port, protocol) in [
        (closed, "grpc"),
        (closed, "http/protobuf"),
        (silent.local_addr().unwrap().port(), "grpc"),
        (silent.local_addr().unwrap().port(), "http/protobuf"),
    ] {
        let daemon = Daemon::start(&format!(
            "[export.otlp]\nendpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\n"
        ))
        .unwrap();
        let listening =
            Server::start(&programs.copy("end-server").unwrap(), None, "127.0.0.1:0", "").unwrap();
        let arguments = "--connections 10 --rounds 2 --pause 200";
        let report = program::connect(&client, None, listening.address, arguments).unwrap();
        let port = listening.address.port();
        listening.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        let subject = Subject::new(&client, Role::Client).with("server.port", i64::from(port));
        daemon.wait("bytes", |telemetry| subject.moved(telemetry) == report.moved()).unwrap();
        // What happens after the last sweep must be in the file all the same.
        let listening =
            Server::start(&programs.copy("end-server").unwrap(), None, "127.0.0.1:0", "").unwrap();
        let last = program::connect(&client, None, listening.address, "--connections 5").unwrap();
        let port = listening.address.port();
        listening.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        let telemetry = daemon.stop().unwrap();
        let subject = Subject::new(&client, Role::Client).with("server.port", i64::from(port));
        subject.assert_exact(&telemetry, last.moved(), 5);
    }
}

#[test]
fn takes_a_new_configuration_and_keeps_the_old_when_it_is_bad() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let only = |event: &str| format!("[events]\nenabled = [\"{event}\"]\n");
    let mut daemon = Daemon::start(&only("close")).unwrap();
    let listening = Server::start(&programs.copy("reload-server").unwrap(), None, "127.0.0.1:0", "").unwrap();
    let limit = Duration::from_secs(10);
    let mut clients = Vec::new();
    let mut run = |name: &str| {
        let path = programs.copy(name).unwrap();
        let report = program::connect(&path, None, listening.address, "--connections 3").unwrap();
        oracle::wait_until_closed(None, listening.address.port()).unwrap();
        clients.push((path, report));
    };
    run("before-reload");
    daemon.reload(&only("connect")).unwrap();
    // As systemd wants it of Type=notify-reload: RELOADING=1, then READY=1, whatever became of it.
    daemon.wait_notification("READY=1", limit).unwrap();
    run("after-reload");
    daemon.reload("[events]\nenabled = [\"nonsense\"]\n").unwrap();
    daemon.wait_notification("READY=1", limit).unwrap();
    run("after-bad-reload");
    assert!(daemon.errors().contains("nonsense"), "the bad value is not named: {}", daemon.errors());
    listening.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    for ((path, report), expected) in clients.iter().zip([[0, 3], [3, 0], [3, 0]]) {
        let subject = Subject::new(path, Role::Client);
        let events =
            ["netsonde.tcp.connect", "netsonde.tcp.close"].map(|name| subject.events(&telemetry, name).len());
        assert_eq!(events, expected, "connect and close events of {}", path.display());
        // No counter is lost or begun anew by reloading.
        subject.assert_exact(&telemetry, report.moved(), 3);
    }
}

#[test]
fn the_output_flag_takes_the_place_of_configured_exporters() {
    let _host = Host::acquire().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let daemon = Daemon::start_binary(&host::netsonde().unwrap(), "", |command| {
        command.arg("--output").arg(format!("otlp-json:{}", path.display()));
    })
    .unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("flag-client").unwrap(), programs.copy("flag-server").unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let port = listening.address.port();
    let report = program::connect(&client, None, listening.address, "--connections 3").unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    let configured = daemon.stop().unwrap();
    assert!(configured.points.is_empty() && configured.events.is_empty());
    let telemetry = Telemetry::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 3);
}

#[test]
fn says_in_one_line_what_it_lacks() {
    let _host = Host::acquire().unwrap();
    for prefix in
        ["setpriv --bounding-set=-all --inh-caps=-all", "setpriv --reuid=65534 --regid=65534 --clear-groups"]
    {
        let (code, _, errors) = Daemon::refused(prefix, "").unwrap();
        assert_eq!(code, Some(77), "{errors}");
        assert_eq!(errors.trim().lines().count(), 1, "{errors}");
        assert!(errors.contains("CAP_BPF"), "the missing capability is not named: {errors}");
    }
}

#[test]
fn names_a_wrong_key_and_where_it_stands() {
    let _host = Host::acquire().unwrap();
    let configuration = format!("{}[events]\nenabeld = [\"close\"]\n", "# a comment\n".repeat(40));
    let (code, path, errors) = Daemon::refused("env", &configuration).unwrap();
    assert_eq!(code, Some(78), "{errors}");
    for part in ["enabeld", path.to_str().unwrap(), "42"] {
        assert!(errors.contains(part), "no {part} in: {errors}");
    }
}
