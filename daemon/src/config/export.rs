//! Where telemetry goes, validated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use super::certificates::{read_identity, read_roots};
pub use super::otlp::header_from_file;
pub use super::proxy::Proxies;
pub use super::secret::Secret;

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

/// One OTLP destination. The URLs are complete: for gRPC the origin (`http://host:4317`), for HTTP the
/// full path of each signal (`http://host:4318/v1/metrics`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// What it is called in status, metrics and logs; unique, 1 to 32 letters, digits, `-` and `_`.
    pub name: String,
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
    /// For URLs of `https://`.
    pub tls: OtlpTls,
    /// Through which it is reached.
    pub proxies: Proxies,
}

/// How the collector and netsonde know each other. Files were right when the configuration was read, and may
/// have changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtlpTls {
    /// The roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a collector that asks.
    pub identity: Option<Identity>,
    /// Asked for (SNI) and verified instead of the URL's host: a DNS name or an address.
    pub server_name: Option<String>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM: the certificate first, then those above it.
    pub certificate_file: PathBuf,
    /// PEM: the key of the first certificate, not encrypted.
    pub key_file: PathBuf,
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
