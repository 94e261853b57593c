//! What netsonde tells of itself: run times of its programs when asked to, fills and limits, its own traffic, and a
//! verdict that forgets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::telemetry::Telemetry;

fn run_time(telemetry: &Telemetry) -> f64 {
    telemetry.newest("netsonde.self.program.run_time", &[]).iter().map(|point| point.number).sum()
}

/// Connections, which make programs run.
fn traffic(name: &str) {
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy(name).unwrap(), programs.copy("measured-server").unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    program::connect(&client, None, listening.address, "--connections 50").unwrap();
    listening.stop().unwrap();
}

#[test]
fn programs_are_measured_when_that_is_asked_for_and_no_longer() {
    let _host = Host::acquire().unwrap();
    let switched_on = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap();
    assert_eq!(switched_on.trim(), "0", "this host measures programs by itself");
    let mut daemon = Daemon::start("").unwrap();
    traffic("unmeasured");
    let telemetry =
        daemon.wait("programs", |seen| !seen.newest("netsonde.self.program.runs", &[]).is_empty());
    assert_eq!(run_time(&telemetry.unwrap()), 0.0, "nobody asked for it");
    daemon.reload("[self]\nprogram_statistics = true\n").unwrap();
    daemon.wait_notification("READY=1", Duration::from_secs(10)).unwrap();
    traffic("measured");
    let telemetry = daemon.wait("run times", |seen| run_time(seen) > 0.0).unwrap();
    let name = "netsonde.self.program.runs";
    let runs = telemetry.sum(name, &[("netsonde.program.name", "tcp_state_changed".into())]);
    assert!(runs >= 100, "two ends of 50 connections: {runs}");
    daemon.stop().unwrap();
}

#[test]
fn tables_and_rings_tell_how_full_they_are() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start("[limits]\nprocesses = 5000\n[dns]\nnames = 77\n").unwrap();
    traffic("filling");
    let sized = |seen: &Telemetry| seen.sum("netsonde.self.ring.usage", &[]) > 0;
    let telemetry = daemon.wait("a ring with something in it", sized).unwrap();
    let sum = |metric: &str| telemetry.sum(metric, &[]);
    assert_eq!(sum("netsonde.self.processes.limit"), 5000);
    assert_eq!(sum("netsonde.self.dns.names.limit"), 77);
    assert_eq!(sum("netsonde.self.ring.limit"), (1 << 20) + (4 << 20) + (1 << 20));
    let lag = telemetry.newest("netsonde.self.lag", &[])[0].number;
    assert!((0.0..5.0).contains(&lag), "{lag}");
    let fills: BTreeSet<_> = telemetry
        .newest("netsonde.self.ring.usage", &[])
        .iter()
        .map(|point| point.attributes["netsonde.ring.name"].text().unwrap().to_owned())
        .collect();
    assert_eq!(fills.into_iter().collect::<Vec<_>>(), ["event_ring", "payload_ring", "process_ring"]);
    daemon.stop().unwrap();
}

#[test]
fn its_own_traffic_is_labelled_and_can_be_left_out() {
    let _host = Host::acquire().unwrap();
    // Takes connections, and answers nothing: netsonde tries again and again.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = collector.local_addr().unwrap().port();
    let export = format!("[export.otlp]\nendpoint = \"http://127.0.0.1:{port}\"\ntimeout = \"500ms\"\n");
    let of_port = [("server.port", i64::from(port).into()), ("netsonde.socket.role", "client".into())];
    for own_traffic in [true, false] {
        let daemon = Daemon::start(&format!("{export}[select]\nown_traffic = {own_traffic}\n")).unwrap();
        let pid = i64::from(daemon.pid());
        traffic("beside");
        let told = |seen: &Telemetry| seen.events("netsonde.tcp.connect", &of_port).len();
        if own_traffic {
            let telemetry = daemon
                .wait("its own connection", |seen| {
                    told(seen) > 0 && seen.sum("netsonde.tcp.connections", &of_port) > 0
                })
                .unwrap();
            for event in telemetry.events("netsonde.tcp.connect", &of_port) {
                assert_eq!(event.get("process.pid").unwrap().int(), Some(pid));
                assert!(event.attributes.contains_key("netsonde.own"), "{event:?}");
            }
        } else {
            // It has connected, and two intervals have passed.
            let address = format!("( dport = :{port} )");
            let connected = || Ok(command::line(&format!("ss -Htn {address}"))?.contains("ESTAB"));
            assert!(command::until(Duration::from_secs(15), connected).unwrap(), "netsonde does not export");
            std::thread::sleep(Duration::from_secs(3));
        }
        let telemetry = daemon.stop().unwrap();
        assert!(!telemetry.events("netsonde.tcp.connect", &[]).is_empty(), "others are told of");
        if !own_traffic {
            assert_eq!(told(&telemetry), 0);
            assert_eq!(telemetry.sum("netsonde.tcp.connections", &of_port), 0);
        }
        let of_others = telemetry.events("netsonde.tcp.connect", &[]);
        assert!(of_others.iter().all(|event| {
            event.attributes.contains_key("netsonde.own") == (event.int("process.pid").unwrap() == pid)
        }));
    }
}

#[test]
fn the_watchdog_is_fed_while_every_stage_gets_on() {
    let _host = Host::acquire().unwrap();
    let netsonde = host::netsonde().unwrap();
    let mut daemon = Daemon::start_binary(&netsonde, "", |command| {
        command.env("WATCHDOG_USEC", "4000000");
    })
    .unwrap();
    for _ in 0..3 {
        daemon.wait_notification("WATCHDOG=1", Duration::from_secs(10)).unwrap();
    }
    daemon.stop().unwrap();
}

#[test]
fn one_that_is_stopped_as_soon_as_it_is_ready_stops_in_order() {
    let _host = Host::acquire().unwrap();
    for _ in 0..3 {
        Daemon::start("").unwrap().stop().unwrap();
    }
}
