//! The loads whose speed is compared: HTTP by nginx and wrk, bulk TCP by iperf3, both on loopback, and short
//! processes. All bounded.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netsonde_tests::command;
use netsonde_tests::rotel::free_ports;
use serde_json::Value;
use tempfile::TempDir;

use crate::processes;

/// All of them, in the order in which they run.
pub const NAMES: [&str; 4] = ["keep-alive", "connection-per-request", "bulk", "processes"];

/// Something that can be run again and again and says how fast it was.
pub trait Workload {
    /// What its numbers count.
    fn unit(&self) -> &'static str;
    /// Runs it for so long.
    fn run(&self, length: Duration) -> Result<f64>;
}

/// Starts the servers of a workload, if it has any.
pub fn start(name: &str) -> Result<Box<dyn Workload>> {
    Ok(match name {
        "keep-alive" => Box::new(Http { server: Server::nginx()?, header: None }),
        "connection-per-request" => {
            Box::new(Http { server: Server::nginx()?, header: Some("Connection: close") })
        }
        "bulk" => Box::new(Bulk { server: Server::iperf()? }),
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
    fn spawn(command: &mut Command, port: u16, directory: TempDir) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {command:?}: `make deps` installs it"))?;
        let server = Self { child, port, _directory: directory };
        // Asked of the kernel: iperf3 takes a connection for a client and complains when it says nothing.
        let listening = format!("ss -tlnH sport = :{port}");
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
        Self::spawn(&mut nginx, port, directory)
    }

    fn iperf() -> Result<Self> {
        let [port] = free_ports()?;
        let mut iperf = Command::new("iperf3");
        iperf.args(["--server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
        Self::spawn(&mut iperf, port, tempfile::tempdir()?)
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
    server: Server,
    header: Option<&'static str>,
}

impl Workload for Http {
    fn unit(&self) -> &'static str {
        "requests/s"
    }

    fn run(&self, length: Duration) -> Result<f64> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "16"]);
        wrk.arg("--duration").arg(format!("{}s", length.as_secs()));
        if let Some(header) = self.header {
            wrk.args(["--header", header]);
        }
        parse_wrk(&command::output(wrk.arg(format!("http://127.0.0.1:{}/", self.server.port)))?)
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
    fn unit(&self) -> &'static str {
        "Mbit/s"
    }

    fn run(&self, length: Duration) -> Result<f64> {
        let mut iperf = Command::new("iperf3");
        iperf.args(["--client", "127.0.0.1", "--port", &self.server.port.to_string(), "--json"]);
        let text = command::output(iperf.arg("--time").arg(length.as_secs().to_string()))?;
        let result: Value = serde_json::from_str(&text)?;
        let rate = result["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.with_context(|| format!("iperf3 printed no rate: {text}"))? / 1e6)
    }
}

/// Fork, exec and exit, and nothing between them.
struct Processes;

impl Workload for Processes {
    fn unit(&self) -> &'static str {
        "processes/s"
    }

    fn run(&self, length: Duration) -> Result<f64> {
        processes::rate(length)
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
}
