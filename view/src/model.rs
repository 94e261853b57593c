//! The answers of the local API, as JSON.
//!
//! What is zero or unknown is left out of the JSON, and read as such. Times are milliseconds since 1970, UTC, unless
//! said otherwise. A histogram is written as pairs of a bucket's number and its count; [`Bounds`] has the buckets' upper
//! bounds in seconds, and the last bucket has none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Attributes by their names in the reference, such as `process.executable.path` or `server.port`.
pub type Attributes = BTreeMap<String, serde_json::Value>;

/// Observations of a histogram: number of the bucket, and how many fell into it, in ascending order of buckets.
pub type Buckets = Vec<(u16, u64)>;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `GET /api/v1/history?since=MS`: the intervals that ended after `since`, oldest first, an hour of them at most.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// When this was answered.
    pub time: u64,
    /// Seconds between two intervals' ends, as configured.
    pub interval: f64,
    /// Upper bounds of the histograms.
    pub bounds: Bounds,
    /// The flows that the frames name by `id`.
    pub flows: Vec<FlowIdentity>,
    /// The lookups that the frames name by `id`.
    pub lookups: Vec<LookupIdentity>,
    /// The intervals.
    pub frames: Vec<Frame>,
}

/// Upper bounds in seconds, ascending; the last bucket of each has none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bounds {
    /// Of [`FlowFrame::rtt`].
    pub rtt: Vec<f64>,
    /// Of [`FlowFrame::connect`].
    pub connect: Vec<f64>,
    /// Of [`FlowFrame::duration`].
    pub duration: Vec<f64>,
    /// Of [`LookupFrame::latency`].
    pub lookup: Vec<f64>,
}

/// What tells a flow from others: a program (with its parents, user, unit and container), its role, the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowIdentity {
    /// Its number in frames; unique as long as the daemon runs. 0 is all flows that there was no room to tell apart.
    pub id: u32,
    /// `network.transport`, `network.protocol.name`, `network.type`, `netsonde.socket.role`, `server.address` (name if
    /// known), `server.port`, `network.peer.address`, `process.executable.path`, `process.executable.name`,
    /// `netsonde.process.script.path`, `netsonde.process.ancestry`, `process.user.name`, `systemd.unit`,
    /// `container.id`, `netsonde.network.namespace`: as far as they are known.
    pub attributes: Attributes,
}

/// What tells a series of DNS lookups from others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupIdentity {
    /// Its number in frames, from a numbering of its own.
    pub id: u32,
    /// `process.executable.path`, `process.executable.name`, `process.user.name`, `systemd.unit`, `container.id`,
    /// `netsonde.socket.role` (client asks, server answers), `server.address`, `dns.question.name`,
    /// `dns.question.type`, `dns.response_code`, `error.type`, `netsonde.dns.truncated`,
    /// `netsonde.dns.search_suffix`: as far as they are known.
    pub attributes: Attributes,
}

/// One interval: what was added in it, not totals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Frame {
    /// When it ended.
    pub time: u64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// Flows that measured something or have open connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowFrame>,
    /// Lookups that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<LookupFrame>,
}

/// What one flow did in one interval, seen from its program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FlowFrame {
    /// [`FlowIdentity::id`].
    pub id: u32,
    /// Application bytes sent.
    #[serde(skip_serializing_if = "is_default")]
    pub tx: u64,
    /// Application bytes received.
    #[serde(skip_serializing_if = "is_default")]
    pub rx: u64,
    /// TCP segments or UDP datagrams sent.
    #[serde(skip_serializing_if = "is_default")]
    pub tx_packets: u64,
    /// TCP segments or UDP datagrams received.
    #[serde(skip_serializing_if = "is_default")]
    pub rx_packets: u64,
    /// Segments sent again, of every kind.
    #[serde(skip_serializing_if = "is_default")]
    pub retransmits: u64,
    /// Connections opened.
    #[serde(skip_serializing_if = "is_default")]
    pub opened: u64,
    /// Connections accepted.
    #[serde(skip_serializing_if = "is_default")]
    pub accepted: u64,
    /// Connections closed.
    #[serde(skip_serializing_if = "is_default")]
    pub closed: u64,
    /// Open connections, or UDP sockets, at the end of the interval: a level.
    #[serde(skip_serializing_if = "is_default")]
    pub active: u64,
    /// Connections that failed, by `error.type`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// Resets sent and received.
    #[serde(skip_serializing_if = "is_default")]
    pub resets: u64,
    /// Datagrams dropped at the socket, by `netsonde.drop.reason`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
    /// Samples of the smoothed round-trip time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtt: Buckets,
    /// Times from SYN to established.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Buckets,
    /// How long closed connections had been established.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub duration: Buckets,
}

/// What became of one series of lookups in one interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupFrame {
    /// [`LookupIdentity::id`].
    pub id: u32,
    /// How many ended.
    pub count: u64,
    /// How long they took; of one without a response, the timeout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Buckets,
}

/// `GET /api/v1/processes`: processes that own sockets, or did of late, those that moved most first; and
/// `GET /api/v1/processes/{id}` has one of them ([`Process`]).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Processes {
    /// When this was answered.
    pub time: u64,
    /// The processes.
    pub processes: Vec<Process>,
    /// How many more there are that the bound left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: u64,
}

/// One process that owns sockets, or did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its pid and start, such as `4711-1764350000123`: a pid alone comes again. The API takes the pid alone as well,
    /// and answers with the newest of that number.
    pub id: String,
    /// `process.pid`, `process.creation.time`, `process.executable.path`, `process.executable.name`,
    /// `netsonde.process.script.path`, `process.command_args` (if switched on), `process.user.name`, `systemd.unit`,
    /// `systemd.slice`, `container.id`, `container.runtime.name`, `process.linux.cgroup`,
    /// `netsonde.process.ancestors` (list of maps of `process.pid`, `process.executable.path`,
    /// `process.creation.time`, nearest first): as far as they are known, as on events.
    pub attributes: Attributes,
    /// Application bytes sent since it was first seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tx: u64,
    /// Application bytes received since then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rx: u64,
    /// Connections opened and accepted since then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connections: u64,
    /// Connections open now.
    #[serde(default, skip_serializing_if = "is_default")]
    pub active: u64,
    /// Connections that failed since then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u64,
    /// When it last measured something.
    pub last: u64,
    /// Flows of its program that it took part in: [`FlowIdentity::id`], newest first, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<u32>,
}

/// `GET /api/v1/flows`: what each flow did in the last interval and in all that the history holds, those that moved most
/// first. The same as [`History`] for whoever wants one table and no arithmetic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flows {
    /// When the last interval ended.
    pub time: u64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// A row a flow.
    pub flows: Vec<FlowRow>,
    /// How many more there are that the bound left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: u64,
}

/// One row of [`Flows`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowRow {
    /// What it is.
    pub attributes: Attributes,
    /// What it did in the last interval, in which `id` is [`FlowIdentity::id`].
    pub last: FlowFrame,
    /// What it did in all intervals of the history together; `active` is as of the last.
    pub sum: FlowFrame,
    /// Quantiles of the round-trip time in seconds, of the whole history: upper bound of the bucket that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Quantiles>,
}

/// Quantiles in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantiles {
    /// Half are no greater.
    pub p50: f64,
    /// 95 of 100 are no greater.
    pub p95: f64,
    /// 99 of 100 are no greater.
    pub p99: f64,
}

/// `GET /api/v1/dns`: what was looked up, likewise; most lookups first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dns {
    /// When the last interval ended.
    pub time: u64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// A row a program, name, type and outcome.
    pub lookups: Vec<LookupRow>,
    /// How many more there are that the bound left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: u64,
}

/// One row of [`Dns`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupRow {
    /// What it is.
    pub attributes: Attributes,
    /// Lookups in the last interval.
    pub last: u64,
    /// Lookups in all intervals of the history.
    pub sum: u64,
    /// Quantiles of how long they took, of the whole history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quantiles>,
}

/// One record of `GET /api/v1/events` (server-sent events: `event:` is its name, `data:` is this as JSON) and of
/// `netsonde events --json` (a line each).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// When it happened: RFC 3339 in UTC, nanoseconds.
    pub time: String,
    /// `event.name`, such as `netsonde.tcp.close`.
    pub event: String,
    /// `INFO` or `WARN`.
    pub severity: String,
    /// One readable sentence.
    pub body: String,
    /// Who and what, as in the reference of events.
    pub attributes: Attributes,
}

/// What an interval that was left out for want of room is told as, in `GET /api/v1/events`: the reader was too slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Missed {
    /// So many events were not shown to this reader (`event: missed`).
    pub missed: u64,
}
