//! `/metrics`: what a real Prometheus makes of it equals what is exported as OTLP of the same sweep.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::prometheus::{Name, Prometheus, Samples, expected};
use netsonde_tests::report::Moved;
use netsonde_tests::rotel::free_ports;
use netsonde_tests::{api, command, oracle};
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef";

/// The export whose sweep took exactly so long: of all that were.
fn export_of_sweep(daemon: &Daemon, seconds: f64) -> Option<Samples> {
    let text = fs::read_to_string(daemon.output()).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let exports = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut samples = exports.map(|export| expected(&export).unwrap());
    let key = ("netsonde_self_sweep_duration_seconds".to_owned(), BTreeMap::new());
    samples.find(|samples| samples.get(&key) == Some(&seconds))
}

fn sum(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |(of, has): &Name| {
        of == name && labels.iter().all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
    };
    samples.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).sum()
}

fn moved(samples: &Samples, path: &Path) -> (f64, f64) {
    let of = |direction| {
        let labels =
            [("process_executable_path", path.to_str().unwrap()), ("network_io_direction", direction)];
        sum(samples, "netsonde_flow_io_bytes_total", &labels)
    };
    (of("transmit"), of("receive"))
}

fn as_numbers(moved: Moved) -> (f64, f64) {
    (moved.sent as f64, moved.received as f64)
}

#[test]
fn a_scrape_equals_the_export_of_the_same_sweep() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) = (programs.copy("scrape \"client\"").unwrap(), programs.copy("scraped").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let [port] = free_ports().unwrap();
    let configuration =
        format!("[api]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"{}\"\n", token.display());
    let netsonde = host::netsonde().unwrap();
    let daemon = Daemon::start_sweeping(&netsonde, &configuration, "3s", |_| {}).unwrap();
    let prometheus = Prometheus::start(port, &token).unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let arguments = "--connections 50 --concurrency 4 --send 20001 --receive 30003";
    let report = program::connect(&client, None, listening.address, arguments).unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, listening_port(&report)).unwrap();

    // Until it has a sweep with all bytes; then every value of that scrape is compared with that sweep's export.
    let mut scraped = Samples::new();
    let all_there = command::until(Duration::from_secs(30), || {
        scraped = prometheus.query("{job=\"netsonde\"}")?;
        Ok(moved(&scraped, &client) == as_numbers(report.moved()))
    });
    assert!(all_there.unwrap(), "{:?}\n{}", moved(&scraped, &client), prometheus.targets());
    let seconds = sum(&scraped, "netsonde_self_sweep_duration_seconds", &[]);
    let exported = export_of_sweep(&daemon, seconds).expect("the sweep was exported");
    let target: Vec<_> = scraped.keys().filter(|(name, _)| name == "target_info").cloned().collect();
    assert_eq!(target.len(), 1);
    assert_eq!(target[0].1["service_name"], "netsonde");
    // What Prometheus itself says of the scrape.
    let own = ["up", "target_info"];
    scraped.retain(|(name, _), _| !own.contains(&name.as_str()) && !name.starts_with("scrape_"));
    for (key, value) in &exported {
        assert_eq!(scraped.get(key), Some(value), "{key:?}");
    }
    assert_eq!(scraped.len(), exported.len());
    assert!(exported.keys().any(|(name, _)| name == "netsonde_tcp_rtt_seconds_bucket"));
    assert!(exported.len() > 100, "{}", exported.len());
    daemon.stop().unwrap();
}

fn listening_port(report: &netsonde_tests::report::Report) -> u16 {
    report.connections[0].peer.port()
}

#[test]
fn a_scrape_has_sums_also_where_deltas_are_exported() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("delta-client").unwrap();
    let mut daemon = Daemon::start("[metrics]\ntemporality = \"delta\"").unwrap();
    let listening = Server::start(&client, None, "127.0.0.1:0", "").unwrap();
    let mut total = Moved::default();
    for _ in 0..3 {
        let arguments = "--connections 5 --send 1000 --receive 2000";
        total.add(program::connect(&client, None, listening.address, arguments).unwrap().moved());
        std::thread::sleep(Duration::from_millis(1500));
    }
    // The client's own, of the two roles that the program has.
    let line_starts = "netsonde_flow_io_bytes_total{";
    let value = |text: &str, direction: &str| -> u64 {
        let wanted = [
            "netsonde_socket_role=\"client\"".to_owned(),
            format!("process_executable_path=\"{}\"", client.display()),
            format!("network_io_direction=\"{direction}\""),
        ];
        let lines = text.lines().filter(|line| line.starts_with(line_starts));
        let ours = lines.filter(|line| wanted.iter().all(|label| line.contains(label)));
        ours.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let mut last = String::new();
    let sums = command::until(Duration::from_secs(15), || {
        last = api::text(&daemon, "/metrics", &[])?;
        Ok((value(&last, "transmit"), value(&last, "receive")) == (total.sent, total.received))
    });
    assert!(sums.unwrap(), "{} {} {total:?}", value(&last, "transmit"), value(&last, "receive"));
    let open = api::text(&daemon, "/metrics", &["-H", "accept: application/openmetrics-text"]).unwrap();
    assert!(open.ends_with("# EOF\n"));
    listening.stop().unwrap();
    assert!(daemon.end().unwrap().success());
}
