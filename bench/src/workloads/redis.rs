//! Redis by redis-benchmark: one command at a time on each connection, or many in a pipeline. Nothing is kept on disk.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;

use super::server::{Server, Transport};
use super::{Run, Workload};

/// Commands that show how many there are to be in a run.
const TRIAL: u64 = 20_000;
/// How long the server may take for a word of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// redis-benchmark asks a Redis of its own.
pub struct Redis {
    server: Server,
    title: &'static str,
    pipeline: u64,
    /// Commands a second at the first trial. redis-benchmark is told a number and not a time: the same in each run.
    pace: Cell<Option<f64>>,
}

impl Redis {
    /// One command at a time.
    pub fn plain() -> Result<Self> {
        Self::start("Redis, a command at a time", 1)
    }

    /// Sixteen of them at once.
    pub fn pipelined() -> Result<Self> {
        Self::start("Redis, 16 commands in a pipeline", 16)
    }

    fn start(title: &'static str, pipeline: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [port] = free_ports()?;
        // One binary that is what it is called. The package that has it by this name would start it as a service.
        let mut redis = Command::new("redis-check-rdb");
        redis.arg0("redis-server").args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        redis.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory.path());
        Ok(Self {
            server: Server::spawn(&mut redis, Transport::Tcp, port, directory)?,
            title,
            pipeline,
            pace: Cell::default(),
        })
    }

    fn commands(&self, count: u64) -> Result<Run> {
        let mut benchmark = Command::new("redis-benchmark");
        benchmark.args(["-h", "127.0.0.1", "-p", &self.server.port.to_string(), "--csv"]);
        benchmark.args(["-t", "set", "-d", "64", "-c", "16", "-P", &self.pipeline.to_string()]);
        parse_benchmark(&command::output(benchmark.args(["-n", &count.to_string()]))?)
    }
}

impl Workload for Redis {
    fn title(&self) -> &'static str {
        self.title
    }

    fn unit(&self) -> &'static str {
        "commands/s"
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut asking = Asking::connect(self.server.port)?;
        let (before, _) = asking.totals()?;
        let pace = match self.pace.get() {
            Some(pace) => pace,
            None => self.commands(TRIAL * self.pipeline)?.rate,
        };
        self.pace.set(Some(pace));
        let run = self.commands((pace * length.as_secs_f64()) as u64)?;
        let (after, answer) = asking.totals()?;
        Ok(Run {
            // The one that asks had come before the first answer.
            connections: Some(after.connections - before.connections + 1),
            // Before the first answer there was the first question, and after the second answer there is that answer.
            bytes: Some(after.bytes - before.bytes + QUESTION.len() as u64 + answer),
            ..run
        })
    }
}

const QUESTION: &[u8] = b"INFO stats\r\n";

/// What the server counts of itself, this connection included.
struct Asking(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
struct Totals {
    connections: u64,
    /// Of commands and answers.
    bytes: u64,
}

impl Asking {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The totals, and of how many bytes that answer was.
    fn totals(&mut self) -> Result<(Totals, u64)> {
        self.0.get_mut().write_all(QUESTION)?;
        let mut head = String::new();
        self.0.read_line(&mut head)?;
        let length = head.strip_prefix('$').and_then(|length| length.trim().parse::<usize>().ok());
        let mut body = vec![0; length.with_context(|| format!("no answer of Redis: {head}"))? + "\r\n".len()];
        self.0.read_exact(&mut body)?;
        let text = String::from_utf8_lossy(&body);
        let totals = Totals::parse(&text).with_context(|| format!("Redis has not counted: {text}"))?;
        Ok((totals, (head.len() + body.len()) as u64))
    }
}

impl Totals {
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value?.trim().parse::<u64>().ok()
        };
        Some(Self {
            connections: number("total_connections_received")?,
            bytes: number("total_net_input_bytes")? + number("total_net_output_bytes")?,
        })
    }
}

/// A line of names, and one of values for the one command that was asked for.
fn parse_benchmark(text: &str) -> Result<Run> {
    let mut lines = text.lines().map(|line| line.split(',').map(|field| field.trim_matches('"')));
    let row: Vec<(&str, &str)> = match (lines.next(), lines.next()) {
        (Some(names), Some(values)) => names.zip(values).collect(),
        _ => Vec::new(),
    };
    let number = |name: &str| {
        let field = row.iter().find(|(field, _)| *field == name);
        field.and_then(|(_, value)| value.parse::<f64>().ok()).with_context(|| format!("no {name} in {text}"))
    };
    Ok(Run {
        p50_us: Some(number("p50_latency_ms")? * 1e3),
        p99_us: Some(number("p99_latency_ms")? * 1e3),
        ..Run::at_rate(number("rps")?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p99_latency_ms\"\n\
                    \"SET\",\"15936.25\",\"2.240\",\"0.184\",\"0.855\",\"11.271\"\n";
        let run = parse_benchmark(text).unwrap();
        assert_eq!(run, Run { p50_us: Some(855.0), p99_us: Some(11271.0), ..Run::at_rate(15936.25) });
        assert!(parse_benchmark("Could not connect to Redis\n").is_err());
    }

    #[test]
    fn the_server_counts_both_ways() {
        let text = "# Stats\r\ntotal_connections_received:7\r\ntotal_net_input_bytes:100\r\n\
                    total_net_output_bytes:250\r\n";
        assert_eq!(Totals::parse(text), Some(Totals { connections: 7, bytes: 350 }));
        assert_eq!(Totals::parse("# Stats\r\n"), None);
    }
}
