//! The Python OTLP receiver that fails as it is told to, `programs/collector.py`, as a test runs it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;
use crate::python::Python;
use crate::rotel::free_ports;
use crate::telemetry::Telemetry;

/// Where OTLP over gRPC and HTTP is expected, whether or not somebody listens.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Ports {
    pub grpc: u16,
    pub http: u16,
}

impl Ports {
    /// Two that nobody has just now.
    pub fn free() -> Result<Self> {
        let [grpc, http] = free_ports()?;
        Ok(Self { grpc, http })
    }
}

/// A receiver; killed on drop. Several, one after the other, may write into one file.
pub struct Collector {
    child: Child,
}

impl Collector {
    /// Starts it at these ports, with these answers (JSON, see the program) to come, and waits until it listens.
    pub fn start(python: &Python, output: &Path, ports: Ports, answers: &str) -> Result<Self> {
        let mut child = python
            .program("collector.py")
            .arg(output)
            .args([ports.grpc, ports.http].map(|port| port.to_string()))
            .arg(answers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        serde_json::from_str::<Ports>(&line).context("the collector did not start")?;
        Ok(Self { child })
    }

    /// Further answers, a JSON list.
    pub fn answer(&mut self, answers: &str) -> Result<()> {
        Ok(writeln!(self.child.stdin.as_mut().context("no pipe")?, "{answers}")?)
    }

    /// Waits until it has died as it was told to.
    pub fn wait_until_dead(mut self, limit: Duration) -> Result<()> {
        command::wait_at_most(&mut self.child, limit)?.context("the collector lives")?;
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was taken until now.
pub fn taken(output: &Path) -> Result<Telemetry> {
    Telemetry::parse_any(&fs::read_to_string(output).unwrap_or_default())
}
