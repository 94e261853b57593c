//! The loads whose speed is compared: HTTP by nginx and wrk, bulk TCP by iperf3, small datagrams by sockperf, DNS by
//! dnsmasq and dnsperf, all on loopback, and short processes. All bounded.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::processes;

/// All of them, in the order in which they run.
pub const NAMES: [&str; 6] =
    ["keep-alive", "connection-per-request", "bulk", "small-udp", "dns", "processes"];
/// How many names dnsperf asks for.
const QUESTIONS: usize = 1000;

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// In the load's unit.
    pub rate: f64,
    /// Median latency in microseconds, of a load that can tell.
    pub p50_us: Option<f64>,
    /// The same for the slowest hundredth.
    pub p99_us: Option<f64>,
    /// TCP connections that were opened and closed, where the load knows exactly.
    pub connections: Option<u64>,
    /// Bytes that applications sent over TCP or UDP, both directions together, where the load knows exactly.
    pub bytes: Option<u64>,
    /// Processes that came and went.
    pub processes: Option<u64>,
}

impl Run {
    /// One of which nothing else is known.
    pub fn at_rate(rate: f64) -> Self {
        Self { rate, ..Self::default() }
    }
}

/// Something that can be run again and again and says how fast it was.
pub trait Workload {
    /// What it is, for people.
    fn title(&self) -> &'static str;
    /// What its numbers count.
    fn unit(&self) -> &'static str;
    /// Lines of netsonde's configuration without which it would not see the load for what it is.
    fn configuration(&self) -> String {
        String::new()
    }
    /// Runs it for so long.
    fn run(&self, length: Duration) -> Result<Run>;
}

/// Starts the servers of a workload, if it has any.
pub fn start(name: &str) -> Result<Box<dyn Workload>> {
    Ok(match name {
        "keep-alive" => Box::new(Http { title: "keep-alive HTTP", server: Server::nginx()?, header: None }),
        "connection-per-request" => Box::new(Http {
            title: "HTTP, one connection per request",
            server: Server::nginx()?,
            header: Some("Connection: close"),
        }),
        "bulk" => Box::new(Bulk { server: Server::iperf()? }),
        "small-udp" => Box::new(SmallDatagrams { server: Server::sockperf()? }),
        "dns" => Box::new(Dns::start()?),
        "processes" => Box::new(Processes),
        _ => bail!("no workload is named {name}"),
    })
}

/// A server in the foreground; killed on drop.
struct Server {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    /// Starts one, and waits until it listens: `protocol` is `ss`'s letter for TCP or UDP.
    fn spawn(command: &mut Command, protocol: char, port: u16, directory: TempDir) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {command:?}: `make deps` installs it"))?;
        let server = Self { child, port, _directory: directory };
        // Asked of the kernel: iperf3 takes a connection for a client and complains when it says nothing.
        let listening = format!("ss -{protocol}lnH sport = :{port}");
        let up = command::until(Duration::from_secs(10), || Ok(!command::line(&listening)?.is_empty()))?;
        ensure!(up, "{command:?} does not listen");
        Ok(server)
    }

    fn nginx() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [port] = free_ports()?;
        // One worker, so that server and client have a processor each on the smallest machine.
        let configuration = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid pid;\nerror_log stderr error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 'ok'; }} }} }}\n"
        );
        fs::write(directory.path().join("nginx.conf"), configuration)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        Self::spawn(&mut nginx, 't', port, directory)
    }

    fn iperf() -> Result<Self> {
        let [port] = free_ports()?;
        let mut iperf = Command::new("iperf3");
        iperf.args(["--server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
        Self::spawn(&mut iperf, 't', port, tempfile::tempdir()?)
    }

    fn sockperf() -> Result<Self> {
        let [port] = free_ports()?;
        let mut sockperf = Command::new("sockperf");
        sockperf.args(["server", "--ip", "127.0.0.1", "--port", &port.to_string()]);
        Self::spawn(&mut sockperf, 'u', port, tempfile::tempdir()?)
    }

    fn dnsmasq() -> Result<Self> {
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
        Self::spawn(&mut dnsmasq, 'u', port, tempfile::tempdir()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Http {
    title: &'static str,
    server: Server,
    header: Option<&'static str>,
}

impl Workload for Http {
    fn title(&self) -> &'static str {
        self.title
    }

    fn unit(&self) -> &'static str {
        "requests/s"
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "16"]);
        wrk.arg("--duration").arg(format!("{}s", length.as_secs()));
        if let Some(header) = self.header {
            wrk.args(["--header", header]);
        }
        let text = command::output(wrk.arg(format!("http://127.0.0.1:{}/", self.server.port)))?;
        parse_wrk(&text).map(Run::at_rate)
    }
}

/// A load with errors in it is another load: its speed says nothing.
fn parse_wrk(text: &str) -> Result<f64> {
    if let Some(errors) = text.lines().find(|line| line.contains("errors:") || line.contains("Non-2xx")) {
        bail!("wrk met errors: {}", errors.trim());
    }
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(rate.with_context(|| format!("wrk printed no rate: {text}"))?.trim().parse()?)
}

struct Bulk {
    server: Server,
}

impl Workload for Bulk {
    fn title(&self) -> &'static str {
        "bulk TCP over loopback"
    }

    fn unit(&self) -> &'static str {
        "Mbit/s"
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut iperf = Command::new("iperf3");
        iperf.args(["--client", "127.0.0.1", "--port", &self.server.port.to_string(), "--json"]);
        let text = command::output(iperf.arg("--time").arg(length.as_secs().to_string()))?;
        let result: Value = serde_json::from_str(&text)?;
        let rate = result["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(Run::at_rate(rate.with_context(|| format!("iperf3 printed no rate: {text}"))? / 1e6))
    }
}

/// A datagram there, one back, and the next.
struct SmallDatagrams {
    server: Server,
}

impl Workload for SmallDatagrams {
    fn title(&self) -> &'static str {
        "small UDP datagrams"
    }

    fn unit(&self) -> &'static str {
        "round trips/s"
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut sockperf = Command::new("sockperf");
        sockperf.args(["ping-pong", "--ip", "127.0.0.1", "--port", &self.server.port.to_string()]);
        sockperf.args(["--msg-size", "64", "--time", &length.as_secs().to_string()]);
        parse_sockperf(&command::output(&mut sockperf)?).map(Run::at_rate)
    }
}

/// Its log is coloured. The valid duration is without its warming up.
fn parse_sockperf(text: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.contains("[Valid Duration]"));
    let line = line.with_context(|| format!("sockperf printed no duration: {text}"))?;
    let number = |name: &str| {
        let value = line.split_once(name).and_then(|(_, rest)| rest.split([' ', ';']).next());
        value.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name} in {line}"))
    };
    let (seconds, sent, received) =
        (number("RunTime=")?, number("SentMessages=")?, number("ReceivedMessages=")?);
    // The last may be under way at the end.
    ensure!(received > 0.0 && sent - received <= 1.0, "sockperf lost datagrams: {line}");
    Ok(received / seconds)
}

/// Lookups that dnsmasq answers by itself, many in flight.
struct Dns {
    server: Server,
    questions: NamedTempFile,
}

impl Dns {
    fn start() -> Result<Self> {
        let questions = NamedTempFile::new()?;
        let lines: String = (0..QUESTIONS).map(|number| format!("n{number}.bench.test A\n")).collect();
        fs::write(questions.path(), lines)?;
        Ok(Self { server: Server::dnsmasq()?, questions })
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

    fn run(&self, length: Duration) -> Result<Run> {
        let mut dnsperf = Command::new("dnsperf");
        dnsperf.args(["-s", "127.0.0.1", "-p", &self.server.port.to_string(), "-d"]);
        dnsperf.arg(self.questions.path()).args(["-l", &length.as_secs().to_string()]);
        parse_dnsperf(&command::output(&mut dnsperf)?).map(Run::at_rate)
    }
}

/// Lost queries and other answers than wanted make another load of it.
fn parse_dnsperf(text: &str) -> Result<f64> {
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(name));
        value.map(str::trim).with_context(|| format!("dnsperf printed no {name} {text}"))
    };
    let lost = value("Queries lost:")?;
    ensure!(lost.starts_with("0 "), "dnsperf lost queries: {lost}");
    let codes = value("Response codes:")?;
    ensure!(codes.starts_with("NOERROR ") && !codes.contains(','), "dnsperf had other answers: {codes}");
    Ok(value("Queries per second:")?.parse()?)
}

/// Fork, exec and exit, and nothing between them.
struct Processes;

impl Workload for Processes {
    fn title(&self) -> &'static str {
        "short processes"
    }

    fn unit(&self) -> &'static str {
        "processes/s"
    }

    fn run(&self, length: Duration) -> Result<Run> {
        processes::rate(length).map(Run::at_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_errors_are_not_passed_over() {
        assert_eq!(parse_wrk("  Latency 1ms\nRequests/sec:  12345.67\n").unwrap(), 12345.67);
        assert!(parse_wrk("  Socket errors: connect 1, read 0\nRequests/sec: 1\n").is_err());
        assert!(parse_wrk("  Non-2xx or 3xx responses: 7\nRequests/sec: 1\n").is_err());
        assert!(parse_wrk("nothing").is_err());
    }

    #[test]
    fn round_trips_are_those_of_the_valid_duration_and_none_may_be_lost() {
        let text = |sent| {
            format!(
                "sockperf: [Total Run] RunTime=1.001 sec; SentMessages=9; ReceivedMessages=9\nsockperf: \
                 \u{1b}[2;35m[Valid Duration] RunTime=0.500 sec; SentMessages={sent}; ReceivedMessages=10029\n"
            )
        };
        assert_eq!(parse_sockperf(&text(10029)).unwrap(), 20058.0);
        assert_eq!(parse_sockperf(&text(10030)).unwrap(), 20058.0);
        assert!(parse_sockperf(&text(10031)).is_err());
        assert!(
            parse_sockperf("[Valid Duration] RunTime=0.5 sec; SentMessages=0; ReceivedMessages=0").is_err()
        );
        assert!(parse_sockperf("[Valid Duration] RunTime=; SentMessages=1; ReceivedMessages=1").is_err());
        assert!(parse_sockperf("nothing").is_err());
    }

    #[test]
    fn queries_count_where_all_were_answered_as_they_should() {
        let text = |lost: &str, codes: &str| {
            format!(
                "Statistics:\n\n  Queries sent:         95212\n  Queries lost:         {lost}\n\n  \
                 Response codes:       {codes}\n  Queries per second:   95160.042617\n"
            )
        };
        let all = "NOERROR 95212 (100.00%)";
        assert_eq!(parse_dnsperf(&text("0 (0.00%)", all)).unwrap(), 95160.042617);
        assert!(parse_dnsperf(&text("1 (0.00%)", all)).is_err());
        let some = "NOERROR 95211 (99.99%), REFUSED 1 (0.01%)";
        assert!(parse_dnsperf(&text("0 (0.00%)", some)).is_err());
        assert!(parse_dnsperf(&text("0 (0.00%)", "REFUSED 95212 (100.00%)")).is_err());
        assert!(parse_dnsperf("nothing").is_err());
    }
}
