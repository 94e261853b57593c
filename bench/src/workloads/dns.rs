//! DNS lookups by dnsperf that dnsmasq answers by itself: many in flight, then some at a steady pace for their latency.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;
use tempfile::NamedTempFile;

use super::server::{Server, Transport};
use super::{Run, Workload};
use crate::results::Spread;

/// How many names dnsperf asks for.
const QUESTIONS: usize = 1000;
/// The pace at which latencies are taken. dnsperf knows only the mean of many in flight, which is how long its own queue is, and
/// what it prints of each lookup would be in the way of the fastest.
const PACE: u64 = 1000;
/// Of that.
const PACED: Duration = Duration::from_secs(1);

/// dnsperf asks a dnsmasq of its own.
pub struct Dns {
    server: Server,
    questions: NamedTempFile,
}

impl Dns {
    /// Starts dnsmasq.
    pub fn start() -> Result<Self> {
        let questions = NamedTempFile::new()?;
        // All of one length: then means of sizes are whole numbers, and bytes can be told.
        let lines: String = (0..QUESTIONS).map(|number| format!("n{number:03}.bench.test A\n")).collect();
        fs::write(questions.path(), lines)?;
        let [port] = free_ports()?;
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args(["--pid-file=", "--log-facility=/dev/null", "--bind-interfaces"])
            .arg("--listen-address=127.0.0.1")
            .arg(format!("--port={port}"))
            .arg("--address=/bench.test/10.9.9.9");
        let server = Server::spawn(&mut dnsmasq, Transport::Udp, port, tempfile::tempdir()?)?;
        Ok(Self { server, questions })
    }

    /// Lookups at a steady pace; how many, and what dnsperf prints of each.
    pub fn paced(&self, length: Duration) -> Result<(u64, String)> {
        let text = self.ask(length, &["-v", "-Q", &PACE.to_string()])?;
        Ok((Answered::parse(&text)?.queries, text))
    }

    fn ask(&self, length: Duration, more: &[&str]) -> Result<String> {
        let mut dnsperf = Command::new("dnsperf");
        dnsperf.args(["-s", "127.0.0.1", "-p", &self.server.port.to_string(), "-d"]);
        dnsperf.arg(self.questions.path()).args(["-l", &length.as_secs().to_string()]);
        command::output(dnsperf.args(more))
    }
}

impl Workload for Dns {
    fn title(&self) -> &'static str {
        "DNS lookups, dnsperf and dnsmasq"
    }

    fn unit(&self) -> &'static str {
        "queries/s"
    }

    fn configuration(&self) -> String {
        format!("[dns]\nports = [53, {}]\n", self.server.port)
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    /// The last second is at a steady pace.
    fn run(&self, length: Duration) -> Result<Run> {
        let fast = self.ask(length.saturating_sub(PACED).max(PACED), &[])?;
        let paced = self.ask(PACED, &["-v", "-Q", &PACE.to_string()])?;
        let (fast, text) = (Answered::parse(&fast)?, paced);
        let paced = Answered::parse(&text)?;
        let (p50, p99) = latencies(&text).context("dnsperf printed no latencies")?;
        Ok(Run {
            p50_us: Some(p50),
            p99_us: Some(p99),
            bytes: Some(fast.bytes + paced.bytes),
            lookups: Some(fast.queries + paced.queries),
            ..Run::at_rate(fast.rate)
        })
    }
}

/// All that dnsperf asked for.
#[derive(Debug, PartialEq)]
struct Answered {
    rate: f64,
    queries: u64,
    /// Of DNS messages, both ways.
    bytes: u64,
}

impl Answered {
    /// Lost queries and other answers than wanted make another load of it.
    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(name));
            value.map(str::trim).with_context(|| format!("dnsperf printed no {name} {text}"))
        };
        let lost = value("Queries lost:")?;
        ensure!(lost.starts_with("0 "), "dnsperf lost queries: {lost}");
        let codes = value("Response codes:")?;
        ensure!(codes.starts_with("NOERROR ") && !codes.contains(','), "dnsperf had other answers: {codes}");
        let queries: u64 = value("Queries sent:")?.parse()?;
        let sizes = value("Average packet size:")?;
        let (request, response) = sizes.split_once(',').context("one size")?;
        let size = |text: &str, name| -> Result<u64> {
            Ok(text
                .trim()
                .strip_prefix(name)
                .with_context(|| format!("no {name} in {sizes}"))?
                .trim()
                .parse()?)
        };
        let bytes = queries * (size(request, "request")? + size(response, "response")?);
        Ok(Self { rate: value("Queries per second:")?.parse()?, queries, bytes })
    }
}

/// Median and 99th percentile in microseconds of what `-v` prints of each lookup: `> NOERROR n001.bench.test A 0.000213`.
fn latencies(text: &str) -> Option<(f64, f64)> {
    let lines = text.lines().filter(|line| line.starts_with("> "));
    let mut all: Vec<f64> =
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.1.parse::<f64>().ok()? * 1e6)).collect();
    all.sort_by(f64::total_cmp);
    let p99 = *all.get((all.len() * 99).div_ceil(100).checked_sub(1)?)?;
    Some((Spread::of(&all).median, p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_count_where_all_were_answered_as_they_should() {
        let text = |lost: &str, codes: &str| {
            format!(
                "Statistics:\n\n  Queries sent:         95212\n  Queries lost:         {lost}\n\n  \
                 Response codes:       {codes}\n  Average packet size:  request 33, response 49\n  \
                 Queries per second:   95160.042617\n"
            )
        };
        let all = "NOERROR 95212 (100.00%)";
        let answered = Answered { rate: 95160.042617, queries: 95212, bytes: 95212 * 82 };
        assert_eq!(Answered::parse(&text("0 (0.00%)", all)).unwrap(), answered);
        assert!(Answered::parse(&text("1 (0.00%)", all)).is_err());
        let some = "NOERROR 95211 (99.99%), REFUSED 1 (0.01%)";
        assert!(Answered::parse(&text("0 (0.00%)", some)).is_err());
        assert!(Answered::parse(&text("0 (0.00%)", "REFUSED 95212 (100.00%)")).is_err());
        assert!(Answered::parse("nothing").is_err());
    }

    #[test]
    fn latencies_are_those_of_single_lookups() {
        let lines: String = (1..=200).map(|n| format!("> NOERROR n{n:03}.bench.test A 0.{n:06}\n")).collect();
        let (p50, p99) = latencies(&format!("[Status] Started\n{lines}Statistics:\n")).unwrap();
        assert!((p50 - 100.5).abs() < 1e-6 && (p99 - 198.0).abs() < 1e-6, "{p50} {p99}");
        assert_eq!(latencies("Statistics:\n"), None);
    }
}
