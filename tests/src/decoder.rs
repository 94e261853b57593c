//! The Python OTLP receiver, `programs/decoder.py`, as a test runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;
use tempfile::TempDir;

use crate::python::Python;

#[derive(Deserialize)]
struct Ports {
    grpc: u16,
    http: u16,
}

/// A receiver that writes down every request; killed on drop.
pub struct Decoder {
    child: Child,
    directory: TempDir,
    /// For OTLP over gRPC.
    pub grpc_port: u16,
    /// For OTLP over HTTP.
    pub http_port: u16,
}

impl Decoder {
    /// Starts it and waits until it listens.
    pub fn start(python: &Python) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut child = python
            .program("decoder.py")
            .arg(directory.path().join("requests"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let Ports { grpc, http } = serde_json::from_str(&line).context("the decoder did not start")?;
        Ok(Self { child, directory, grpc_port: grpc, http_port: http })
    }

    /// Every request until now, one line of JSON each.
    pub fn requests(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("requests"))?)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
