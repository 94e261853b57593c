//! What netsonde told of a load, beside what there was: every connection, byte, process and lookup, and how many of its records
//! did not get lost on their way.

use std::path::PathBuf;

use netsonde_tests::telemetry::{Attribute, Telemetry};

use crate::results::Told;
use crate::workloads::Run;

/// Losses that the configuration asks for: no more records than so many a second.
const WITHHELD: [&str; 3] = ["event_rate_limited", "dns_event_rate_limited", "payload_rate_limited"];

/// How a load is found in all that netsonde has exported.
pub struct Sought {
    /// Its server's port.
    pub port: Option<u16>,
    /// The binary of its clients, where each is a process with one connection.
    pub client: Option<PathBuf>,
}

impl Sought {
    /// By the side that connected or asked, of that which the load can tell of itself.
    pub fn told(&self, telemetry: &Telemetry, run: &Run) -> Vec<Told> {
        let mut all = Vec::new();
        let mut add = |what: &str, truth: Option<u64>, told: u64| {
            all.extend(truth.map(|truth| Told { what: what.to_owned(), truth, told }));
        };
        if let Some(port) = self.port {
            let of_port = ("server.port", i64::from(port).into());
            let of_clients = [of_port.clone(), ("netsonde.socket.role", "client".into())];
            let opened = ("netsonde.connection.event", Attribute::from("opened"));
            let connections = |more: &[(&str, Attribute)]| {
                let filter = [&of_clients, [opened.clone()].as_slice(), more].concat();
                count(telemetry.sum("netsonde.tcp.connections", &filter))
            };
            add("connections", run.connections, connections(&[]));
            add("bytes", run.bytes, count(telemetry.sum("netsonde.flow.io", &of_clients)));
            if let Some(client) = &self.client {
                let by_path = ("process.executable.path", client.as_path().into());
                add("processes", run.processes, connections(&[by_path]));
            }
            add("lookups", run.lookups, telemetry.observations("dns.lookup.duration", &[of_port]));
        }
        let exported = telemetry.events.len() as u64;
        add("records", Some(exported + lost(telemetry)).filter(|records| *records > 0), exported);
        all
    }
}

/// Records that were lost, those that were to be withheld not counted.
fn lost(telemetry: &Telemetry) -> u64 {
    let all = telemetry.newest("netsonde.self.losses", &[]).into_iter().filter(|point| {
        let reason = point.attributes.get("netsonde.loss.reason").and_then(Attribute::text);
        reason.is_none_or(|reason| !WITHHELD.contains(&reason))
    });
    all.map(|point| count(point.number as i64)).sum()
}

/// No counter is below 0.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of counters, each with a value and its attributes.
    fn telemetry(counters: &[(&str, u64, serde_json::Value)]) -> Telemetry {
        let metrics: Vec<_> = counters
            .iter()
            .map(|(name, value, attributes)| {
                let attributes: Vec<_> = attributes
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| match value.as_u64() {
                        Some(number) => serde_json::json!({"key": key, "value": {"intValue": number.to_string()}}),
                        None => serde_json::json!({"key": key, "value": {"stringValue": value}}),
                    })
                    .collect();
                serde_json::json!({"name": name, "sum": {
                    "aggregationTemporality": 2, "isMonotonic": true,
                    "dataPoints": [{"startTimeUnixNano": "1", "timeUnixNano": "2", "asInt": value.to_string(), "attributes": attributes}],
                }})
            })
            .collect();
        let line = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
        Telemetry::parse(&format!("{line}\n")).unwrap()
    }

    fn told(what: &str, truth: u64, told: u64) -> Told {
        Told { what: what.into(), truth, told }
    }

    #[test]
    fn a_load_is_told_by_its_port_and_its_clients() {
        let attributes = |port: u64, role: &str, path: &str| {
            serde_json::json!({
                "server.port": port, "netsonde.socket.role": role, "process.executable.path": path,
                "netsonde.connection.event": "opened",
            })
        };
        let telemetry = telemetry(&[
            ("netsonde.tcp.connections", 5, attributes(80, "client", "/a")),
            ("netsonde.tcp.connections", 1, attributes(80, "client", "/b")),
            ("netsonde.tcp.connections", 7, attributes(80, "server", "/c")),
            ("netsonde.tcp.connections", 9, attributes(81, "client", "/a")),
            ("netsonde.flow.io", 100, attributes(80, "client", "/a")),
        ]);
        let run = Run { connections: Some(6), bytes: Some(100), processes: Some(6), ..Run::at_rate(1.0) };
        let sought = Sought { port: Some(80), client: Some("/a".into()) };
        assert_eq!(
            sought.told(&telemetry, &run),
            [told("connections", 6, 6), told("bytes", 100, 100), told("processes", 6, 5)]
        );
        let nothing = Sought { port: None, client: None };
        assert_eq!(nothing.told(&telemetry, &run), []);
    }

    #[test]
    fn what_was_to_be_withheld_is_not_lost() {
        let reason = |reason: &str| serde_json::json!({"netsonde.loss.reason": reason});
        let telemetry = telemetry(&[
            ("netsonde.self.losses", 5, reason("event_ring_full")),
            ("netsonde.self.losses", 7, reason("event_rate_limited")),
            ("netsonde.self.losses", 2, reason("process_ring_full")),
        ]);
        assert_eq!(lost(&telemetry), 7);
    }
}
