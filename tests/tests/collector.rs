//! What leaves netsonde as OTLP arrives, with its values: at a real collector, and at a decoder that shares no code.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::decoder::Decoder;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::python::Python;
use netsonde_tests::report::Report;
use netsonde_tests::rotel::Rotel;
use netsonde_tests::telemetry::Telemetry;
use serde_json::Value;

const CONNECTIONS: usize = 25;

fn configuration(protocol: &str, port: u16) -> String {
    format!("[export.otlp]\nendpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\n")
}

/// Traffic between two programs of this test, ended and closed.
fn traffic(programs: &Programs) -> [Report; 2] {
    let (client, server) = (programs.copy("sends").unwrap(), programs.copy("receives").unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let port = listening.address.port();
    let arguments = format!("--connections {CONNECTIONS} --send 70000 --receive 70000");
    let sent = program::connect(&client, None, listening.address, &arguments).unwrap();
    let received = listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    [sent, received]
}

#[test]
fn rotel_prints_the_values_over_grpc_and_http() {
    let _host = Host::acquire().unwrap();
    let python = Python::prepare().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let rotel = Rotel::start(&python).unwrap();
        let port = if protocol == "grpc" { rotel.grpc_port } else { rotel.http_port };
        let daemon = Daemon::start(&configuration(protocol, port)).unwrap();
        let programs = Programs::new().unwrap();
        let reports = traffic(&programs);
        daemon.stop().unwrap();
        for (report, role) in reports.iter().zip([Role::Client, Role::Server]) {
            let path = format!("Str({})", report.process.executable.display());
            let filter = |name, value: &str| {
                [
                    ("process.executable.path", path.clone()),
                    ("netsonde.socket.role", format!("Str({})", role.name())),
                    (name, format!("Str({value})")),
                ]
            };
            let bytes = |direction| filter("network.io.direction", direction);
            let found = || {
                let log = rotel.log()?;
                let mine = |(name, printed): &&(String, netsonde_tests::rotel::Printed)| {
                    name == "netsonde.tcp.close" && printed.get("process.executable.path") == Some(&path)
                };
                anyhow::Ok((
                    log.sum("netsonde.flow.io", &bytes("transmit")),
                    log.sum("netsonde.flow.io", &bytes("receive")),
                    log.sum("netsonde.tcp.connections", &filter("netsonde.connection.event", "closed")),
                    log.events.iter().filter(mine).count(),
                ))
            };
            let moved = report.moved();
            let expected = (moved.sent as i64, moved.received as i64, CONNECTIONS as i64, CONNECTIONS);
            // rotel prints what it has taken a batch later.
            let printed = command::until(Duration::from_secs(10), || Ok(found()? == expected)).unwrap();
            assert!(printed, "{protocol}, {role:?}: {:?} is not {expected:?}", found().unwrap());
        }
    }
}

#[test]
fn an_independent_decoder_reads_every_field_over_grpc_and_http() {
    let _host = Host::acquire().unwrap();
    let python = Python::prepare().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let decoder = Decoder::start(&python).unwrap();
        let port = if protocol == "grpc" { decoder.grpc_port } else { decoder.http_port };
        let daemon = Daemon::start(&configuration(protocol, port)).unwrap();
        let programs = Programs::new().unwrap();
        let reports = traffic(&programs);
        let written = daemon.stop().unwrap();
        let text = decoder.requests().unwrap();
        let decoded = Telemetry::parse(&text).unwrap();
        for (report, role) in reports.iter().zip([Role::Client, Role::Server]) {
            let subject = Subject::new(&report.process.executable, role);
            for telemetry in [&decoded, &written] {
                subject.assert_exact(telemetry, report.moved(), CONNECTIONS);
                expect::assert_ancestry(telemetry, "netsonde.flow.io", report);
                let closed = subject.events(telemetry, "netsonde.tcp.close");
                assert_eq!(closed.len(), CONNECTIONS);
                for event in closed {
                    expect::check_owner(event, &report.process, &report.ancestors).unwrap();
                }
            }
        }
        check_described(&text);
    }
}

/// Every request says of whom it speaks, every metric its unit and meaning, every point its time.
fn check_described(text: &str) {
    let requests: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let elements = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut described = 0;
    for request in &requests {
        for resource in [elements(request, "resourceMetrics"), elements(request, "resourceLogs")].concat() {
            let attributes = elements(&resource["resource"], "attributes");
            for name in ["service.name", "host.name"] {
                assert!(attributes.iter().any(|attribute| attribute["key"] == name), "no {name}: {resource}");
            }
            for scope in [elements(&resource, "scopeMetrics"), elements(&resource, "scopeLogs")].concat() {
                assert!(scope["scope"]["name"].as_str().is_some_and(|name| !name.is_empty()), "{scope}");
                for metric in elements(&scope, "metrics") {
                    for name in ["name", "unit", "description"] {
                        assert!(
                            metric[name].as_str().is_some_and(|text| !text.is_empty()),
                            "no {name}: {metric}"
                        );
                    }
                    described += 1;
                }
                for record in elements(&scope, "logRecords") {
                    for name in
                        ["timeUnixNano", "observedTimeUnixNano", "severityNumber", "body", "eventName"]
                    {
                        assert!(!record[name].is_null(), "no {name}: {record}");
                    }
                    described += 1;
                }
            }
        }
    }
    assert!(described > 0, "nothing arrived");
}

#[test]
fn json_lines_are_otlp_json_to_the_official_messages() {
    let _host = Host::acquire().unwrap();
    let python = Python::prepare().unwrap();
    let mut daemon = Daemon::start("").unwrap();
    let programs = Programs::new().unwrap();
    let reports = traffic(&programs);
    assert!(daemon.end().unwrap().success());
    let telemetry = daemon.telemetry().unwrap();
    Subject::new(&reports[0].process.executable, Role::Client).assert_exact(
        &telemetry,
        reports[0].moved(),
        CONNECTIONS,
    );
    let counts = command::output(python.program("check_json_lines.py").arg(daemon.output())).unwrap();
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["points"], telemetry.points.len(), "{counts}");
    assert_eq!(counts["records"], telemetry.events.len(), "{counts}");
    assert!(!telemetry.points.is_empty() && !telemetry.events.is_empty());
}
