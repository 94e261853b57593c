//! Bulk TCP by iperf3, in one stream or in many.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;
use serde_json::Value;

use super::server::{Server, Transport};
use super::{Run, Workload};

/// An iperf3 sends to another.
pub struct Bulk {
    server: Server,
    title: &'static str,
    streams: u64,
}

impl Bulk {
    /// In so many streams at once.
    pub fn start(title: &'static str, streams: u64) -> Result<Self> {
        let [port] = free_ports()?;
        let mut iperf = Command::new("iperf3");
        iperf.args(["--server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
        Ok(Self {
            server: Server::spawn(&mut iperf, Transport::Tcp, port, tempfile::tempdir()?)?,
            title,
            streams,
        })
    }
}

impl Workload for Bulk {
    fn title(&self) -> &'static str {
        self.title
    }

    fn unit(&self) -> &'static str {
        "Mbit/s"
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    /// Bytes are not told: iperf3 counts neither its control connection nor what it leaves unread at the end.
    fn run(&self, length: Duration) -> Result<Run> {
        let mut iperf = Command::new("iperf3");
        iperf.args(["--client", "127.0.0.1", "--port", &self.server.port.to_string(), "--json"]);
        iperf.args(["--parallel", &self.streams.to_string(), "--time", &length.as_secs().to_string()]);
        let rate = parse_iperf(&command::output(&mut iperf)?)?;
        Ok(Run { connections: Some(self.streams + 1), ..Run::at_rate(rate) })
    }
}

/// Megabits a second that arrived, of all streams together.
fn parse_iperf(text: &str) -> Result<f64> {
    let result: Value = serde_json::from_str(text)?;
    let rate = result["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.with_context(|| format!("iperf3 printed no rate: {text}"))? / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_counts() {
        let text =
            r#"{"end": {"sum_sent": {"bits_per_second": 3e9}, "sum_received": {"bits_per_second": 2.5e9}}}"#;
        assert_eq!(parse_iperf(text).unwrap(), 2500.0);
        assert!(parse_iperf(r#"{"error": "unable to connect"}"#).is_err());
    }
}
