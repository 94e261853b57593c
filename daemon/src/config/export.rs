//! Where telemetry goes, validated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The wire protocol of an OTLP destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// Bodies as they are.
    None,
}

/// A value that is never shown: tokens and the like.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// One OTLP destination. The URLs are complete: for gRPC the origin (`http://host:4317`), for HTTP the
/// full path of each signal (`http://host:4318/v1/metrics`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// How to talk.
    pub protocol: Protocol,
    /// Where metrics go.
    pub metrics_url: String,
    /// Where logs go.
    pub logs_url: String,
    /// Sent with every request; names in lower case.
    pub headers: BTreeMap<String, Secret>,
    /// Compression of request bodies.
    pub compression: Compression,
    /// Limit of one attempt.
    pub timeout: Duration,
}

/// The file exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Where OTLP/JSON lines are appended.
    pub target: FileTarget,
}

/// A file or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileTarget {
    /// Written as `-`.
    Stdout,
    /// Any other path; created 0640 when absent.
    Path(PathBuf),
}

/// Where requests wait on disk while their collector is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Absolute; each destination has a directory in it. `None`: they wait in memory.
    pub path: Option<PathBuf>,
    /// Bytes that each destination may use.
    pub size: u64,
}
