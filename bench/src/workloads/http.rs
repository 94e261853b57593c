//! HTTP by nginx and wrk: on connections that last, and with one connection for each request.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;

use super::server::{Server, Transport};
use super::{Run, Workload};

/// What it counts connections by.
const STATUS: &str = "status.sock";
/// Connections that wrk leaves are closed at once.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// wrk asks an nginx of its own.
pub struct Http {
    server: Server,
    title: &'static str,
    header: Option<&'static str>,
}

impl Http {
    /// Many requests on each connection.
    pub fn keep_alive() -> Result<Self> {
        Self::start("keep-alive HTTP", None)
    }

    /// One request on each connection.
    pub fn closing() -> Result<Self> {
        Self::start("HTTP, one connection per request", Some("Connection: close"))
    }

    fn start(title: &'static str, header: Option<&'static str>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [port] = free_ports()?;
        // One worker, so that server and client have a processor each on the smallest machine.
        let configuration = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid pid;\nerror_log stderr error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 'ok'; }} }}\n\
             server {{ listen unix:{}; location / {{ stub_status; }} }} }}\n",
            directory.path().join(STATUS).display()
        );
        fs::write(directory.path().join("nginx.conf"), configuration)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        Ok(Self { server: Server::spawn(&mut nginx, Transport::Tcp, port, directory)?, title, header })
    }

    /// Asked over a Unix socket, which no observer of TCP sees.
    fn status(&self) -> Result<Status> {
        let mut stream = UnixStream::connect(self.server.file(STATUS))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Status::parse(&text).with_context(|| format!("this is no status of nginx: {text}"))
    }

    /// Connections that nginx accepted after an earlier status, when all of them are closed.
    fn accepted_since(&self, before: Status) -> Result<u64> {
        let (mut asked, mut status) = (0, before);
        let closed = command::until(CLOSE_LIMIT, || {
            asked += 1;
            status = self.status()?;
            Ok(status.active == 1)
        })?;
        ensure!(closed, "wrk has left {} connections", status.active - 1);
        Ok(status.accepted - before.accepted - asked)
    }
}

impl Workload for Http {
    fn title(&self) -> &'static str {
        self.title
    }

    fn unit(&self) -> &'static str {
        "requests/s"
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "16", "--latency"]);
        wrk.arg("--duration").arg(format!("{}s", length.as_secs()));
        if let Some(header) = self.header {
            wrk.args(["--header", header]);
        }
        let before = self.status()?;
        let text = command::output(wrk.arg(format!("http://127.0.0.1:{}/", self.server.port)))?;
        Ok(Run { connections: Some(self.accepted_since(before)?), ..parse_wrk(&text)? })
    }
}

/// What nginx says of itself (ngx_http_stub_status_module), the connection it is asked by included.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Status {
    active: u64,
    accepted: u64,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let (_, text) = text.split_once("Active connections:")?;
        let (active, text) = text.split_once("server accepts handled requests")?;
        Some(Self {
            active: active.trim().parse().ok()?,
            accepted: text.split_whitespace().next()?.parse().ok()?,
        })
    }
}

/// A load with errors in it is another load: its speed says nothing.
fn parse_wrk(text: &str) -> Result<Run> {
    if let Some(errors) = text.lines().find(|line| line.contains("errors:") || line.contains("Non-2xx")) {
        bail!("wrk met errors: {}", errors.trim());
    }
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(name));
        value.map(str::trim).with_context(|| format!("wrk printed no {name} {text}"))
    };
    let latency = |name| microseconds(value(name)?).with_context(|| format!("no time: {text}"));
    Ok(Run {
        p50_us: Some(latency("50%")?),
        p99_us: Some(latency("99%")?),
        ..Run::at_rate(value("Requests/sec:")?.parse()?)
    })
}

/// wrk's times, in the unit that suits each.
fn microseconds(time: &str) -> Option<f64> {
    let digits = time.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let factor = match &time[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_latency_are_read_and_errors_are_not_passed_over() {
        let text = |more: &str| {
            format!(
                "  Latency Distribution\n     50%  182.00us\n     90%   12.49ms\n     99%  1.50ms\n{more}\
                 Requests/sec:  12345.67\n"
            )
        };
        let run = parse_wrk(&text("")).unwrap();
        assert_eq!(run, Run { p50_us: Some(182.0), p99_us: Some(1500.0), ..Run::at_rate(12345.67) });
        assert!(parse_wrk(&text("  Socket errors: connect 1, read 0\n")).is_err());
        assert!(parse_wrk(&text("  Non-2xx or 3xx responses: 7\n")).is_err());
        assert!(parse_wrk("Requests/sec: 1\n").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(microseconds("5.00s"), Some(5e6));
        assert_eq!(microseconds("0.00us"), Some(0.0));
        assert_eq!(microseconds("5.00h"), None);
        assert_eq!(microseconds("us"), None);
    }

    #[test]
    fn connections_are_counted_by_the_server() {
        let text = "HTTP/1.1 200 OK\r\n\r\nActive connections: 17 \nserver accepts handled requests\n 5140 5139 37859 \n";
        assert_eq!(Status::parse(text), Some(Status { active: 17, accepted: 5140 }));
        assert_eq!(Status::parse("HTTP/1.1 404 Not Found"), None);
    }
}
