//! A listener as one flat JSON object.
//!
//! Owns the keys. They are the attribute names of the reference (docs/reference/events.md) where an event has the same
//! fact; further ones start with `netsonde.`. What is not known is absent. Keys that a reader does not know are passed
//! over, so that rows of a later version can be read.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Ancestor, Change, ChangeKind, Listener, Namespace, Process, Transport};
use crate::words::Word;

/// Every key of a row, in the order in which they are written.
#[cfg(test)]
pub const KEYS: &[&str] = &[
    "network.transport",
    "network.type",
    "server.address",
    "server.port",
    "netsonde.address.class",
    "netsonde.socket.protocol",
    "netsonde.socket.ipv6_only",
    "network.peer.address",
    "network.peer.port",
    "netsonde.listen.port_automatic",
    "netsonde.network.namespace",
    "netsonde.namespace.initial",
    "netsonde.namespace.name",
    "network.interface.name",
    "process.pid",
    "process.creation.time",
    "process.executable.path",
    "netsonde.process.script.path",
    "process.user.id",
    "process.user.name",
    "systemd.unit",
    "systemd.user_unit",
    "container.id",
    "netsonde.process.ancestry",
    "netsonde.process.ancestors",
    "netsonde.listen.backlog",
    "netsonde.listen.queued",
    "netsonde.socket.reuse_port",
    "netsonde.listen.reuse_port_sockets",
    "netsonde.socket.cookie",
    "netsonde.listen.opened",
    "netsonde.listen.opened_by",
    "netsonde.listen.accepted",
    "netsonde.listen.last_accepted",
    "netsonde.listen.peers",
    "netsonde.listen.client_networks",
    "netsonde.listen.further_networks",
    "netsonde.socket.holders",
];

/// A row as it is written and read; see [`Listener`] for what its fields mean.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Row {
    #[serde(rename = "network.transport")]
    transport: String,
    #[serde(rename = "network.type", default, skip_serializing_if = "Option::is_none")]
    network_type: Option<String>,
    #[serde(rename = "server.address", default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(rename = "server.port", default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(rename = "netsonde.address.class", default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(rename = "netsonde.socket.protocol", default, skip_serializing_if = "Option::is_none")]
    protocol: Option<u16>,
    #[serde(rename = "netsonde.socket.ipv6_only", default, skip_serializing_if = "Option::is_none")]
    ipv6_only: Option<bool>,
    #[serde(rename = "network.peer.address", default, skip_serializing_if = "Option::is_none")]
    peer_address: Option<IpAddr>,
    #[serde(rename = "network.peer.port", default, skip_serializing_if = "Option::is_none")]
    peer_port: Option<u16>,
    #[serde(rename = "netsonde.listen.port_automatic", default, skip_serializing_if = "Option::is_none")]
    automatic_port: Option<bool>,
    #[serde(rename = "netsonde.network.namespace")]
    namespace: u64,
    #[serde(rename = "netsonde.namespace.initial", default, skip_serializing_if = "Option::is_none")]
    initial: Option<bool>,
    #[serde(rename = "netsonde.namespace.name", default, skip_serializing_if = "Option::is_none")]
    namespace_name: Option<String>,
    #[serde(rename = "network.interface.name", default, skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    #[serde(flatten)]
    owner: OwnerRow,
    #[serde(rename = "netsonde.listen.backlog", default, skip_serializing_if = "Option::is_none")]
    backlog: Option<u32>,
    #[serde(rename = "netsonde.listen.queued", default, skip_serializing_if = "Option::is_none")]
    queued: Option<u32>,
    #[serde(rename = "netsonde.socket.reuse_port", default, skip_serializing_if = "Option::is_none")]
    reuse_port: Option<bool>,
    #[serde(rename = "netsonde.listen.reuse_port_sockets", default, skip_serializing_if = "Option::is_none")]
    reuse_port_sockets: Option<u32>,
    /// Hexadecimal, as in the events: JSON readers lose digits of numbers beyond 2^53.
    #[serde(rename = "netsonde.socket.cookie", default, skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    #[serde(rename = "netsonde.listen.opened", default, skip_serializing_if = "Option::is_none")]
    opened: Option<String>,
    #[serde(rename = "netsonde.listen.opened_by", default, skip_serializing_if = "Option::is_none")]
    opened_by: Option<ProcessRow>,
    #[serde(rename = "netsonde.listen.accepted", default, skip_serializing_if = "Option::is_none")]
    accepted: Option<u64>,
    #[serde(rename = "netsonde.listen.last_accepted", default, skip_serializing_if = "Option::is_none")]
    last_accepted: Option<String>,
    #[serde(rename = "netsonde.listen.peers", default, skip_serializing_if = "Option::is_none")]
    peers: Option<u64>,
    #[serde(rename = "netsonde.listen.client_networks", default, skip_serializing_if = "Vec::is_empty")]
    client_networks: Vec<String>,
    #[serde(
        rename = "netsonde.listen.further_networks",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    further_networks: bool,
    #[serde(rename = "netsonde.socket.holders", default, skip_serializing_if = "Vec::is_empty")]
    holders: Vec<ProcessRow>,
}

#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct OwnerRow {
    #[serde(rename = "process.pid", default, skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(flatten)]
    facts: FactsRow,
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ProcessRow {
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(flatten)]
    facts: FactsRow,
}

/// What is told of a process beside its pid.
#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct FactsRow {
    #[serde(rename = "process.creation.time", default, skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(rename = "process.executable.path", default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(rename = "netsonde.process.script.path", default, skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(rename = "process.user.id", default, skip_serializing_if = "Option::is_none")]
    user_id: Option<u32>,
    #[serde(rename = "process.user.name", default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(rename = "systemd.unit", default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(rename = "systemd.user_unit", default, skip_serializing_if = "Option::is_none")]
    user_unit: Option<String>,
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    /// Names only, as metrics have them; what is read are the ancestors.
    #[serde(rename = "netsonde.process.ancestry", default, skip_serializing_if = "Vec::is_empty")]
    ancestry: Vec<String>,
    #[serde(rename = "netsonde.process.ancestors", default, skip_serializing_if = "Vec::is_empty")]
    ancestors: Vec<AncestorRow>,
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct AncestorRow {
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "process.creation.time", default, skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(rename = "process.executable.path", default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// A row of the history.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeRow {
    #[serde(rename = "event.name")]
    kind: String,
    #[serde(rename = "netsonde.listen.closed", default, skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
    #[serde(rename = "netsonde.listen.close_unseen", default, skip_serializing_if = "std::ops::Not::not")]
    close_unseen: bool,
    #[serde(rename = "netsonde.listen.first_seen", default, skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    /// Seconds; follows from both times, and is not read.
    #[serde(rename = "netsonde.listen.duration", default, skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(flatten)]
    listener: Row,
}

/// A time as RFC 3339 has it, in UTC and exact to the nanosecond.
#[must_use]
pub fn time_text(unix_ns: u64) -> String {
    // jiff holds years up to 9999, 64 bits of nanoseconds end in 2554.
    Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default().to_string()
}

/// Reads what [`time_text`] wrote, or any other RFC 3339 time since 1970.
///
/// # Errors
///
/// The key and what is wrong with its text.
pub fn time_of(key: &str, text: &str) -> Result<u64, String> {
    let time: Timestamp = text.parse().map_err(|error| format!("{key}: {error}"))?;
    u64::try_from(time.as_nanosecond())
        .map_err(|_| format!("{key}: {text:?} is not a time from 1970 to 2554"))
}

fn optional_time(key: &str, text: Option<&str>) -> Result<Option<u64>, String> {
    text.map(|text| time_of(key, text)).transpose()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl From<&Process> for FactsRow {
    fn from(process: &Process) -> Self {
        let path = |ancestor: &Ancestor| file_name(ancestor.path.as_deref().unwrap_or("")).to_owned();
        Self {
            started: process.started_unix_ns.map(time_text),
            path: process.path.clone(),
            script: process.script.clone(),
            user_id: process.user_id,
            user: process.user.clone(),
            unit: process.unit.clone(),
            user_unit: process.user_unit.clone(),
            container: process.container.clone(),
            ancestry: process.ancestors.iter().map(path).collect(),
            ancestors: process
                .ancestors
                .iter()
                .map(|ancestor| AncestorRow {
                    pid: ancestor.pid,
                    started: ancestor.started_unix_ns.map(time_text),
                    path: ancestor.path.clone(),
                })
                .collect(),
        }
    }
}

impl From<&Process> for ProcessRow {
    fn from(process: &Process) -> Self {
        Self { pid: process.pid, facts: process.into() }
    }
}

impl TryFrom<ProcessRow> for Process {
    type Error = String;

    fn try_from(ProcessRow { pid, facts }: ProcessRow) -> Result<Self, String> {
        let ancestor = |row: AncestorRow| {
            let started_unix_ns = optional_time("process.creation.time", row.started.as_deref())?;
            Ok::<_, String>(Ancestor { pid: row.pid, started_unix_ns, path: row.path })
        };
        Ok(Self {
            pid,
            started_unix_ns: optional_time("process.creation.time", facts.started.as_deref())?,
            path: facts.path,
            script: facts.script,
            user_id: facts.user_id,
            user: facts.user,
            unit: facts.unit,
            user_unit: facts.user_unit,
            container: facts.container,
            ancestors: facts.ancestors.into_iter().map(ancestor).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Listener> for Row {
    fn from(listener: Listener) -> Self {
        let network_type = |address: IpAddr| if address.to_canonical().is_ipv4() { "ipv4" } else { "ipv6" };
        let owner = listener.owner();
        let owner = OwnerRow {
            pid: owner.map(|process| process.pid),
            facts: owner.map(FactsRow::from).unwrap_or_default(),
        };
        Self {
            transport: listener.transport.word().to_owned(),
            network_type: listener.address.map(|address| network_type(address).to_owned()),
            class: listener.class().map(|class| class.word().to_owned()),
            address: listener.address,
            port: listener.port,
            protocol: listener.protocol,
            ipv6_only: listener.ipv6_only,
            peer_address: listener.peer.map(|peer| peer.ip()),
            peer_port: listener.peer.map(|peer| peer.port()),
            automatic_port: listener.automatic_port,
            namespace: listener.namespace.inode,
            initial: listener.namespace.initial,
            namespace_name: listener.namespace.name,
            interface: listener.interface,
            owner,
            backlog: listener.backlog,
            queued: listener.queued,
            reuse_port: listener.reuse_port,
            reuse_port_sockets: listener.reuse_port_sockets,
            cookie: listener.cookie.map(|cookie| format!("{cookie:x}")),
            opened: listener.opened_unix_ns.map(time_text),
            opened_by: listener.opened_by.as_ref().map(ProcessRow::from),
            accepted: listener.accepted,
            last_accepted: listener.last_accepted_unix_ns.map(time_text),
            peers: listener.peers,
            client_networks: listener.client_networks.iter().map(IpNet::to_string).collect(),
            further_networks: listener.further_networks,
            holders: listener.holders.iter().map(ProcessRow::from).collect(),
        }
    }
}

impl TryFrom<Row> for Listener {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        let mut holders =
            row.holders.into_iter().map(Process::try_from).collect::<Result<Vec<_>, String>>()?;
        if let (true, OwnerRow { pid: Some(pid), facts }) = (holders.is_empty(), row.owner) {
            holders.push(ProcessRow { pid, facts }.try_into()?);
        }
        let peer = match (row.peer_address, row.peer_port) {
            (Some(address), Some(port)) => Some(SocketAddr::new(address, port)),
            (None, None) => None,
            _ => return Err("network.peer.address and network.peer.port: one is missing".to_owned()),
        };
        let network = |text: String| {
            text.parse::<IpNet>()
                .map_err(|_| format!("netsonde.listen.client_networks: {text:?} is not a network"))
        };
        let cookie = |text: String| {
            u64::from_str_radix(&text, 16)
                .map_err(|_| format!("netsonde.socket.cookie: {text:?} is not a hexadecimal number"))
        };
        Ok(Self {
            transport: Transport::parse(&row.transport)?,
            address: row.address,
            port: row.port,
            protocol: row.protocol,
            peer,
            automatic_port: row.automatic_port,
            ipv6_only: row.ipv6_only,
            namespace: Namespace { inode: row.namespace, initial: row.initial, name: row.namespace_name },
            interface: row.interface,
            backlog: row.backlog,
            queued: row.queued,
            reuse_port: row.reuse_port,
            reuse_port_sockets: row.reuse_port_sockets,
            cookie: row.cookie.map(cookie).transpose()?,
            opened_unix_ns: optional_time("netsonde.listen.opened", row.opened.as_deref())?,
            opened_by: row.opened_by.map(Process::try_from).transpose()?,
            holders,
            accepted: row.accepted,
            last_accepted_unix_ns: optional_time(
                "netsonde.listen.last_accepted",
                row.last_accepted.as_deref(),
            )?,
            peers: row.peers,
            client_networks: row
                .client_networks
                .into_iter()
                .map(network)
                .collect::<Result<Vec<_>, String>>()?,
            further_networks: row.further_networks,
        })
    }
}

/// Seconds of a time in nanoseconds, as the events have durations.
#[expect(clippy::cast_precision_loss, reason = "a duration for people; 2^53 ns are 104 days")]
#[must_use]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl From<Change> for ChangeRow {
    fn from(change: Change) -> Self {
        Self {
            kind: change.kind.word().to_owned(),
            closed: change.closed_unix_ns.map(time_text),
            duration: change.duration_ns().map(seconds),
            close_unseen: change.close_unseen,
            first_seen: change.first_seen_unix_ns.map(time_text),
            listener: change.listener.into(),
        }
    }
}

impl TryFrom<ChangeRow> for Change {
    type Error = String;

    fn try_from(row: ChangeRow) -> Result<Self, String> {
        Ok(Self {
            kind: ChangeKind::parse(&row.kind)?,
            closed_unix_ns: optional_time("netsonde.listen.closed", row.closed.as_deref())?,
            close_unseen: row.close_unseen,
            first_seen_unix_ns: optional_time("netsonde.listen.first_seen", row.first_seen.as_deref())?,
            listener: row.listener.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests;
