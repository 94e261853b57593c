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
        Self::start_behind(python, output, ports, answers, None)
    }

    /// Likewise, over TLS with the `certificate.pem` and `key.pem` of a directory.
    pub fn start_behind(
        python: &Python,
        output: &Path,
        ports: Ports,
        answers: &str,
        identity: Option<&Path>,
    ) -> Result<Self> {
        let mut child = python
            .program("collector.py")
            .arg(output)
            .args([ports.grpc, ports.http].map(|port| port.to_string()))
            .arg(answers)
            .args(identity)
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

/// What a collector took.
pub struct Taken {
    /// Without what was sent again.
    pub telemetry: Telemetry,
    /// Requests of metrics and of logs that were there twice, one right after the other among those of their signal:
    /// the oldest is sent first, so what was under way when a sender ended is the first that the next one sends.
    pub repeated: [usize; 2],
}

/// What was taken until now.
pub fn taken(output: &Path) -> Result<Taken> {
    let text = fs::read_to_string(output).unwrap_or_default();
    let (mut once, mut repeated, mut last) = (String::new(), [0; 2], [""; 2]);
    for line in text.split_inclusive('\n') {
        let signal = usize::from(line.starts_with("{\"resourceLogs\""));
        if std::mem::replace(&mut last[signal], line) == line {
            repeated[signal] += 1;
        } else {
            once.push_str(line);
        }
    }
    Ok(Taken { telemetry: Telemetry::parse(&once)?, repeated })
}
