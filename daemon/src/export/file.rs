//! OTLP/JSON lines: one `ExportMetricsServiceRequest` or `ExportLogsServiceRequest` a line, as proto3 JSON
//! (OTLP specification, "JSON Protobuf Encoding"; OpenTelemetry "OTLP File Exporter").
//!
//! Owns the promise that whatever happens to the file, each line in it is whole. Rotation is for the host to
//! do: rename, then SIGHUP.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

use super::health::{Health, HealthLog};
use super::otlp::{MAX_REQUEST_BYTES, Part, Parts};
use super::statistics::{Ledger, LossReason, Signal};
use super::writer::{Sink, loss_reason};
use crate::config::export::{FileConfig, FileTarget};
use crate::telemetry::Telemetry;

/// How opentelemetry-proto writes a histogram point's optional fields that are not set. proto3 JSON allows a
/// null there, the OpenTelemetry Collector's parser does not.
const UNSET_EXTREMES: &str = r#","min":null,"max":null"#;

/// Where lines go: a file, or what stands for one in a test.
trait Output: Write + Send + 'static {
    /// Takes the last `bytes` written back.
    fn take_back(&mut self, bytes: u64) -> io::Result<()>;
}

impl Output for File {
    fn take_back(&mut self, bytes: u64) -> io::Result<()> {
        let metadata = self.metadata()?;
        let len = metadata.len().checked_sub(bytes).filter(|_| metadata.is_file());
        self.set_len(len.ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// Writes lines, and keeps them whole.
#[derive(Debug)]
struct Lines<O> {
    output: O,
    /// The output ends in the middle of a line.
    torn: bool,
    /// Nobody else writes here, so that what we wrote last is what stands last.
    exclusive: bool,
}

impl<O: Output> Lines<O> {
    /// Writes a line that ends in a newline, in one call as long as the system takes it so. Returns the
    /// bytes written. After an error nothing of the line remains, or the next one starts on a fresh line.
    fn write(&mut self, line: &[u8]) -> io::Result<u64> {
        if self.torn {
            self.output.write_all(b"\n")?;
            self.torn = false;
        }
        let mut written = 0;
        while written < line.len() {
            let error = match self.output.write(&line[written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.torn = written > 0 && !(self.exclusive && self.output.take_back(written as u64).is_ok());
            return Err(error);
        }
        Ok(written as u64)
    }
}

/// The exporter.
#[derive(Debug)]
pub struct FileSink {
    /// Absent for standard output.
    path: Option<PathBuf>,
    lines: Lines<File>,
    resource: Bytes,
    health: HealthLog,
}

impl FileSink {
    /// Opens the target.
    ///
    /// # Errors
    /// If it cannot be opened for appending.
    pub fn open(config: &FileConfig, resource: Bytes) -> anyhow::Result<Self> {
        let (path, lines) = match &config.target {
            FileTarget::Stdout => {
                // Not `io::stdout()`: its buffer would keep the rest of a line whose write failed.
                let stdout = io::stdout().as_fd().try_clone_to_owned().context("cannot use stdout")?;
                (None, Lines { output: File::from(stdout), torn: false, exclusive: false })
            }
            FileTarget::Path(path) => (Some(path.clone()), open(path)?),
        };
        Ok(Self { path, lines, resource, health: HealthLog::new() })
    }
}

fn open(path: &Path) -> anyhow::Result<Lines<File>> {
    let output = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .with_context(|| format!("cannot open {} for the file exporter", path.display()))?;
    // A kill or a crash can have cut the last line of an earlier run.
    let torn = ends_torn(path).unwrap_or_else(|error| {
        tracing::debug!(path = %path.display(), %error, "cannot tell whether the last line is whole");
        false
    });
    Ok(Lines { output, torn, exclusive: true })
}

fn ends_torn(path: &Path) -> io::Result<bool> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, metadata.len() - 1)?;
    Ok(last != *b"\n")
}

impl Sink for FileSink {
    fn write(&mut self, telemetry: Telemetry, ledger: &Ledger) -> ControlFlow<()> {
        let destination = self.path.as_deref().unwrap_or(Path::new("-")).display();
        write_lines(
            &mut self.lines,
            telemetry,
            &self.resource,
            &mut self.health,
            &format!("file {destination}"),
            ledger,
        )
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(lines) => self.lines = lines,
            // The file at hand still works, if under another name: better there than nowhere.
            Err(error) => tracing::error!("keeping the old export file: {error:#}"),
        }
    }
}

fn write_lines<O: Output>(
    lines: &mut Lines<O>,
    telemetry: Telemetry,
    resource: &Bytes,
    health: &mut HealthLog,
    destination: &str,
    ledger: &Ledger,
) -> ControlFlow<()> {
    let (signal, mut left) = Signal::of(&telemetry);
    let mut parts = Parts::new(telemetry, Bytes::clone(resource), MAX_REQUEST_BYTES);
    for part in parts.by_ref() {
        let line = to_json(signal, &part);
        let result = line.and_then(|line| lines.write(line.as_bytes()));
        match result {
            Ok(bytes) => {
                health.observe(Health::Well, destination, signal.name(), "");
                ledger.sent(signal, bytes);
                ledger.deliver(signal, part.items, 0);
                left -= part.items;
            }
            Err(error) => {
                let reason = loss_reason(&error);
                ledger.fail(signal, error.to_string());
                if reason == LossReason::BrokenPipe {
                    // The reader has left, as `head` does: no news to anyone.
                    ledger.lose(signal, reason, left);
                    return ControlFlow::Break(());
                }
                health.observe(Health::Failing, destination, signal.name(), &error.to_string());
                ledger.lose(signal, reason, part.items);
                left -= part.items;
            }
        }
    }
    ledger.lose(signal, LossReason::Invalid, parts.take_invalid());
    ControlFlow::Continue(())
}

/// What goes to collectors, as JSON: by way of opentelemetry-proto, which knows how proto3 has it.
fn to_json(signal: Signal, part: &Part) -> io::Result<String> {
    let body = &*part.body;
    let mut line = match signal {
        // A quote within a JSON text is escaped, so this pattern is never part of one.
        Signal::Metrics => {
            serde_json::to_string(&ExportMetricsServiceRequest::decode(body)?)?.replace(UNSET_EXTREMES, "")
        }
        Signal::Logs => serde_json::to_string(&ExportLogsServiceRequest::decode(body)?)?,
    };
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests;
