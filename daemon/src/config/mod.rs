//! The configuration: what was written (raw) becomes what is meant (validated).
//!
//! Owns the keys, their defaults and ranges, and the order of sources: built-in defaults, the file, the
//! standard OpenTelemetry environment variables, the command line; the later wins. It reads the file, but not
//! the environment: variables are passed in. Whoever uses a value decides what to do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netsonde_audit::policy::Policy;

use crate::telemetry::Temporality;

mod api;
mod audit;
mod certificates;
mod dns;
mod document;
pub mod export;
mod history;
mod otlp;
mod output;
mod proxy;
mod raw;
mod reader;
mod render;
mod secret;
pub mod select;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod validate;
mod words;

pub use api::{Api, ViewBounds};
pub use dns::Dns;
pub use document::ConfigError;
pub use history::HistoryConfig;
pub use output::{Output, parse_interval};
pub use reader::{Environment, Origin};
pub use render::render;
#[cfg(test)]
pub use tests::right;
pub use tls::Tls;
pub use units::parse_duration;
pub use words::{EventKind, FlowAttribute, LogLevel, Word};

use export::{FileConfig, OtlpConfig, SpoolConfig};
use select::SelectConfig;

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_PATH: &str = "/etc/netsonde/netsonde.toml";

/// Everything that can be configured, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Time from one sweep and export to the next; 100 ms to 1 h.
    pub interval: Duration,
    /// Where telemetry goes.
    pub export: Export,
    /// What is observed.
    pub signals: Signals,
    /// Which sockets are observed.
    pub select: SelectConfig,
    /// What may listen.
    pub audit: Policy,
    /// What is kept of what listened.
    pub history: HistoryConfig,
    /// Log events.
    pub events: Events,
    /// What is told of processes.
    pub process: ProcessConfig,
    /// How DNS is observed.
    pub dns: Dns,
    /// The first message of TLS clients.
    pub tls: Tls,
    /// Metrics.
    pub metrics: Metrics,
    /// Sizes of tables and rings.
    pub limits: Limits,
    /// The local API.
    pub api: Api,
    /// What the daemon tells of itself; `[self]` in the file.
    pub own: Own,
    /// The daemon's own log.
    pub log: Log,
    /// Resource attributes that were configured, `service.name` always among them.
    pub resource: BTreeMap<String, String>,
}

/// Where telemetry goes; there is always at least one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// OTLP collectors, each with a name of its own.
    pub otlp: Vec<OtlpConfig>,
    /// OTLP/JSON lines; the configuration file names at most one, the command line any number, none twice.
    pub files: Vec<FileConfig>,
    /// Readable lines on standard output: asked for, or because there is no other destination. Never
    /// together with a file exporter on standard output.
    pub console: bool,
    /// Where requests to collectors wait.
    pub spool: SpoolConfig,
}

/// What is observed, one switch a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signals {
    /// TCP connections and listeners.
    pub tcp: bool,
    /// UDP sockets.
    pub udp: bool,
    /// DNS lookups; without them, addresses have the names of the hosts file only.
    pub dns: bool,
    /// The first message of TLS clients.
    pub tls: bool,
}

/// Which log events are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// The kinds that are written; metrics count the others all the same.
    pub enabled: BTreeSet<EventKind>,
    /// Most events a second, for each kind by itself; listen events are never limited. `None`: no limit.
    pub rate_limit: Option<NonZeroU32>,
}

/// What is told of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Log records carry the command line, without its secrets.
    pub command_line: bool,
    /// What the names of further secrets contain; letters, digits, `-` and `_`.
    pub mask: Vec<String>,
}

/// How metrics are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Of sums and histograms.
    pub temporality: Temporality,
    /// Most series of all flow metrics together; what is beyond folds into one a metric, marked as overflow.
    pub series_limit: NonZeroU32,
    /// A series that did not change for this long is forgotten; never shorter than the interval.
    pub series_expiry: Duration,
    /// What flow metrics carry.
    pub attributes: BTreeSet<FlowAttribute>,
    /// What single metrics carry instead, by metric name.
    pub overrides: BTreeMap<String, BTreeSet<FlowAttribute>>,
}

impl Metrics {
    /// The flow attributes that the metric of this name carries.
    pub fn attributes_of(&self, metric: &str) -> &BTreeSet<FlowAttribute> {
        self.overrides.get(metric).unwrap_or(&self.attributes)
    }

    /// Whether any metric carries an attribute.
    pub fn any_carries(&self, attribute: FlowAttribute) -> bool {
        let chosen = std::iter::once(&self.attributes).chain(self.overrides.values());
        chosen.into_iter().any(|chosen| chosen.contains(&attribute))
    }
}

/// Sizes of tables and rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries of each per-flow table in the kernel.
    pub flows: NonZeroU32,
    /// Bytes of the ring buffer for socket events: a power of two and a multiple of the page size.
    pub event_ring: NonZeroU32,
    /// Bytes of the ring buffer for DNS messages: likewise.
    pub payload_ring: NonZeroU32,
    /// Bytes of the ring buffer for process events: likewise.
    pub process_ring: NonZeroU32,
    /// Processes that are remembered.
    pub processes: NonZeroU32,
    /// Rows of the inventory of what listens.
    pub listeners: NonZeroU32,
    /// Memory, above whose greater part detail is let go of.
    pub memory: MemoryLimit,
}

/// Which limit of memory netsonde keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The one of its control group, if there is any.
    Auto,
    /// None.
    None,
    /// This many bytes, or the control group's limit where that is less.
    Bytes(u64),
}

/// What the daemon tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Have the kernel measure the run time of BPF programs.
    pub program_statistics: bool,
}

/// The daemon's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What is written, from this severity up.
    pub level: LogLevel,
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Replace all configured exporters, when not empty.
    pub outputs: Vec<Output>,
    /// Replaces the interval; within the same range.
    pub interval: Option<Duration>,
}

/// Everything a configuration is made from.
pub struct Sources<'a> {
    /// The file, which then must exist; `None` is [`DEFAULT_PATH`], if that exists.
    pub file: Option<&'a Path>,
    /// Environment variables by name.
    pub environment: Environment<'a>,
    /// Flags.
    pub overrides: Overrides,
    /// Names that `[metrics.override]` may use: the metrics that carry flow attributes.
    pub known_metrics: &'a [&'a str],
}

/// A configuration and where it comes from.
#[derive(Debug)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// Where each value comes from, by dotted key.
    pub origins: BTreeMap<String, Origin>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

/// Reads and checks the configuration; also what a reload calls.
///
/// # Errors
///
/// The file cannot be read, or a key, variable or flag is wrong. Each problem says where it is and what to
/// write instead.
pub fn load(sources: Sources<'_>) -> Result<Loaded, ConfigError> {
    read(sources, Secrets::Read)
}

/// Likewise, for somebody who sends nothing and may not see secrets: files with certificates, keys and values of
/// headers are neither read nor missed.
///
/// # Errors
///
/// As of [`load`], what is wrong with those files excepted.
pub fn load_without_secrets(sources: Sources<'_>) -> Result<Loaded, ConfigError> {
    read(sources, Secrets::Leave)
}

/// What becomes of files that hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are read and checked.
    Read,
    /// They are neither read nor missed.
    Leave,
}

fn read(sources: Sources<'_>, secrets: Secrets) -> Result<Loaded, ConfigError> {
    let path = sources.file.unwrap_or(Path::new(DEFAULT_PATH));
    match std::fs::read_to_string(path) {
        Ok(text) => parse(Some((path, &text)), sources, secrets),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && sources.file.is_none() => {
            parse(None, sources, secrets)
        }
        Err(error) => Err(format!("cannot read the configuration file {}: {error}", path.display()).into()),
    }
}

/// Checks a file's text, with the path that it has, and the other sources.
///
/// # Errors
///
/// As of [`load`].
pub fn parse(
    written: Option<(&Path, &str)>,
    sources: Sources<'_>,
    secrets: Secrets,
) -> Result<Loaded, ConfigError> {
    let name = written.map(|(path, _)| path.display().to_string()).unwrap_or_default();
    let text = written.map(|(_, text)| (name.as_str(), text));
    let (config, origins) =
        validate::validate(text, sources.environment, sources.overrides, sources.known_metrics, secrets)?;
    Ok(Loaded { config, origins, file: written.map(|(path, _)| path.to_owned()) })
}
