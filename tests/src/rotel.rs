//! A real collector, rotel, and the words of its debug log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::net::{self, AddressFamily, SocketType};
use tempfile::TempDir;

use crate::command;
use crate::python::Python;

/// A rotel that takes metrics and logs, prints them and sends them nowhere; killed on drop.
pub struct Rotel {
    child: Child,
    directory: TempDir,
    /// For OTLP over gRPC.
    pub grpc_port: u16,
    /// For OTLP over HTTP.
    pub http_port: u16,
}

impl Rotel {
    /// Starts it and waits until it accepts connections.
    pub fn start(python: &Python) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [grpc_port, http_port] = free_ports()?;
        let child = Command::new(python.package_file("rotel/rotel-agent")?)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "metrics", "--debug-log", "logs", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc_port}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http_port}")])
            .arg("--pid-file")
            .arg(directory.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("log"))?)
            .stderr(File::create(directory.path().join("errors"))?)
            .spawn()?;
        let rotel = Self { child, directory, grpc_port, http_port };
        let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let up = command::until(Duration::from_secs(20), || Ok(accepts(grpc_port) && accepts(http_port)))?;
        ensure!(up, "rotel does not listen: {}", fs::read_to_string(rotel.directory.path().join("errors"))?);
        Ok(rotel)
    }

    /// What it has printed of the telemetry that it took.
    pub fn log(&self) -> Result<Log> {
        Ok(Log::parse(&fs::read_to_string(self.log_path())?))
    }

    /// The file of its words, to be shown when a test fails.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody has just now; rotel does not tell which ones it got.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut sockets = Vec::new();
    let mut ports = [0; COUNT];
    for port in &mut ports {
        // Bound and no more: a listener would be one that netsonde tells of.
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let socket = TcpListener::from(socket);
        *port = socket.local_addr()?.port();
        sockets.push(socket);
    }
    Ok(ports)
}

/// Attributes as rotel prints them, for example `server.port` with `Int(80)`.
pub type Printed = BTreeMap<String, String>;

/// The points and records that rotel printed.
#[derive(Debug, Default)]
pub struct Log {
    /// Name of the metric, attributes and value of each point of a sum or gauge.
    pub numbers: Vec<(String, Printed, i64)>,
    /// Name and attributes of each log record.
    pub events: Vec<(String, Printed)>,
}

impl Log {
    fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let (mut metric, mut attributes, mut event) = (String::new(), Printed::new(), None);
        for line in text.lines().map(str::trim) {
            let item = line.strip_prefix("-> ").and_then(|item| item.split_once(": "));
            if let Some(("Name", name)) = item {
                metric = name.to_owned();
            } else if let Some((name, value)) = item {
                attributes.insert(name.to_owned(), value.to_owned());
            } else if line == "Data point attributes:" || line == "Attributes:" {
                attributes.clear();
            } else if let Some(name) = line.strip_prefix("EventName: ") {
                event = Some(name.to_owned());
            } else if let Some(Ok(value)) = line.strip_prefix("Value: ").map(str::parse) {
                log.numbers.push((metric.clone(), attributes.clone(), value));
            } else if line.starts_with("Trace ID")
                && let Some(name) = event.take()
            {
                log.events.push((name, attributes.clone()));
            }
        }
        log
    }

    /// The newest value of each series that matches, summed.
    pub fn sum(&self, metric: &str, filter: &[(&str, String)]) -> i64 {
        let matching = self.numbers.iter().filter(|(name, printed, _)| {
            name == metric && filter.iter().all(|(name, value)| printed.get(*name) == Some(value))
        });
        matching.map(|(_, printed, value)| (printed, value)).collect::<BTreeMap<_, _>>().into_values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_records_are_told_apart() {
        let text = "Metric #0\nDescriptor:\n     -> Name: m\n     -> Unit: By\nNumberDataPoints #0\n\
            Data point attributes:\n     -> k: Str(v)\nStartTimestamp: 1\nTimestamp: 2\nValue: 5\n\
            NumberDataPoints #1\nData point attributes:\n     -> k: Str(w)\nStartTimestamp: 1\nValue: 6\n\
            LogRecord #0\nEventName: e\nBody: Str(b)\nAttributes:\n     -> n: Int(7)\n    Trace ID       : \n";
        let log = Log::parse(&format!("{text}{}", text.replace("Value: 5", "Value: 9")));
        assert_eq!(log.sum("m", &[("k", "Str(v)".into())]), 9);
        assert_eq!(log.sum("m", &[]), 15);
        assert_eq!(log.events[0], ("e".into(), Printed::from([("n".into(), "Int(7)".into())])));
    }
}
