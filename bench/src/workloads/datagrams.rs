//! Small UDP datagrams by sockperf: one there, one back, and the next.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;

use super::server::{Server, Transport};
use super::{Run, Workload};

/// Bytes of each, either way.
const SIZE: u64 = 64;

/// A sockperf waits for the answers of another.
pub struct SmallDatagrams {
    server: Server,
}

impl SmallDatagrams {
    /// Starts the one that answers.
    pub fn start() -> Result<Self> {
        let [port] = free_ports()?;
        let mut sockperf = Command::new("sockperf");
        sockperf.args(["server", "--ip", "127.0.0.1", "--port", &port.to_string()]);
        Ok(Self { server: Server::spawn(&mut sockperf, Transport::Udp, port, tempfile::tempdir()?)? })
    }
}

impl Workload for SmallDatagrams {
    fn title(&self) -> &'static str {
        "small UDP datagrams"
    }

    fn unit(&self) -> &'static str {
        "round trips/s"
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut sockperf = Command::new("sockperf");
        sockperf.args(["ping-pong", "--ip", "127.0.0.1", "--port", &self.server.port.to_string()]);
        // Without it a latency is half of the round trip, as if both ways were alike.
        sockperf.args([
            "--msg-size",
            &SIZE.to_string(),
            "--time",
            &length.as_secs().to_string(),
            "--full-rtt",
        ]);
        parse_sockperf(&command::output(&mut sockperf)?)
    }
}

/// Its log is coloured. The valid duration is without its warming up, the total run with it.
fn parse_sockperf(text: &str) -> Result<Run> {
    let line = |name: &str| {
        let line = text.lines().find(|line| line.contains(name));
        line.with_context(|| format!("sockperf printed no {name}: {text}"))
    };
    let number = |line: &str, name: &str| {
        let value = line.split_once(name).and_then(|(_, rest)| rest.trim_start().split([' ', ';']).next());
        value.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name} in {line}"))
    };
    let valid = line("[Valid Duration]")?;
    let (sent, received) = (number(valid, "SentMessages=")?, number(valid, "ReceivedMessages=")?);
    // The last may be under way at the end.
    ensure!(received > 0.0 && sent - received <= 1.0, "sockperf lost datagrams: {valid}");
    let datagrams = number(line("[Total Run]")?, "SentMessages=")?;
    let percentile = |name: &str| number(line(name)?, "=");
    Ok(Run {
        p50_us: Some(percentile("percentile 50.000")?),
        p99_us: Some(percentile("percentile 99.000")?),
        // Each is answered, also the last, for which nobody waits.
        bytes: Some(2 * datagrams as u64 * SIZE),
        ..Run::at_rate(received / number(valid, "RunTime=")?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(valid: &str) -> String {
        format!(
            "sockperf: [Total Run] RunTime=1.001 sec; Warm up time=400 msec; SentMessages=20; ReceivedMessages=19\n\
             sockperf: \u{1b}[2;35m[Valid Duration] {valid}\nsockperf: ---> percentile 99.000 =   20.495\n\
             sockperf: ---> percentile 50.000 =    5.608\n"
        )
    }

    #[test]
    fn round_trips_are_those_of_the_valid_duration_and_none_may_be_lost() {
        let of = |sent: u64, received: u64| {
            parse_sockperf(&text(&format!(
                "RunTime=0.500 sec; SentMessages={sent}; ReceivedMessages={received}"
            )))
        };
        let run = of(10029, 10029).unwrap();
        assert_eq!((run.p50_us, run.p99_us, run.rate), (Some(5.608), Some(20.495), 20058.0));
        assert_eq!(run.bytes, Some(20 * 2 * SIZE));
        assert_eq!(of(10030, 10029).unwrap().rate, 20058.0);
        assert!(of(10031, 10029).is_err());
        assert!(of(0, 0).is_err());
        assert!(parse_sockperf(&text("RunTime=; SentMessages=1; ReceivedMessages=1")).is_err());
        assert!(parse_sockperf("nothing").is_err());
    }
}
