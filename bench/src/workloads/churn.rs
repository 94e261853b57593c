//! Short processes: some that only come and go, and some with one connection each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use netsonde_tests::host;

use super::{Run, Workload};
use crate::exchange::{self, ANSWER};
use crate::processes::{self, Came};

/// Bytes that each client sends.
const SENT: usize = 100;

/// Fork, exec and exit, and nothing between them.
pub struct Processes;

impl Workload for Processes {
    fn title(&self) -> &'static str {
        "short processes"
    }

    fn unit(&self) -> &'static str {
        "processes/s"
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let came = processes::for_so_long(length, processes::nothing)?;
        Ok(Run { processes: Some(came.count), ..Run::at_rate(came.rate()) })
    }
}

/// Processes that connect, exchange a message, and end.
pub struct Churn {
    client: PathBuf,
    server: SocketAddr,
}

impl Churn {
    /// Starts the server.
    pub fn start() -> Result<Self> {
        Ok(Self { client: host::built("exchange")?.canonicalize()?, server: exchange::serve(SENT)? })
    }
}

impl Workload for Churn {
    fn title(&self) -> &'static str {
        "short processes with a connection each"
    }

    fn unit(&self) -> &'static str {
        "processes/s"
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port())
    }

    fn client(&self) -> Option<&Path> {
        Some(&self.client)
    }

    fn run(&self, length: Duration) -> Result<Run> {
        let came = processes::for_so_long(length, || {
            let mut command = Command::new(&self.client);
            command.args([self.server.to_string(), SENT.to_string(), ANSWER.len().to_string()]);
            command
        })?;
        ensure!(came.count > 0, "no process had the time to come");
        Ok(run(came))
    }
}

/// Each has ended well: it had its connection, and all bytes of it.
fn run(came: Came) -> Run {
    Run {
        processes: Some(came.count),
        connections: Some(came.count),
        bytes: Some(came.count * (SENT + ANSWER.len()) as u64),
        ..Run::at_rate(came.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_a_connection_and_its_bytes() {
        let run = run(Came { count: 10, seconds: 2.0 });
        assert_eq!(
            (run.rate, run.processes, run.connections, run.bytes),
            (5.0, Some(10), Some(10), Some(3000))
        );
    }
}
