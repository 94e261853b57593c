//! Baselines: what listened when it was right, in a file that stays the same while nothing changes.
//!
//! The file is JSON lines, so that it reads well in version control: first a header with the version of the format, the
//! host, the time and the number of entries, then one entry a line in the order of their identities. An entry has only
//! what stays the same at a restart (see [`crate::stable`]): no pids, times, queues or counters. Several sockets with the
//! same identity, such as a reuse-port group, are one entry, whose programs are those of all of them; how many they are
//! is not kept, for the number of workers is not what a port is open to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::{AddressClass, Listener, Namespace, Process, Transport, address_class};
use crate::row::{time_of, time_text};
use crate::stable::{DEFAULT_EPHEMERAL_PORTS, Identity, PortIdentity, Program, is_ephemeral, programs};
use crate::words::Word;

/// Version of the format that is written; older ones that were released are read too.
const VERSION: u32 = 1;

/// What is left out of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Ports that the kernel chooses from: net.ipv4.ip_local_port_range of the host.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Also take UDP sockets that come and go with what their programs ask of others: connected ones, and those on
    /// ports that the kernel chose.
    pub with_ephemeral: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { ephemeral_ports: DEFAULT_EPHEMERAL_PORTS, with_ephemeral: false }
    }
}

impl Options {
    /// Whether a listener takes part in the comparison.
    #[must_use]
    pub fn takes(&self, listener: &Listener) -> bool {
        self.with_ephemeral || !is_ephemeral(listener, &self.ephemeral_ports)
    }
}

/// What is compared of listeners with the same identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Who answers for them.
    pub programs: BTreeSet<Program>,
    /// Values of `IPV6_V6ONLY` that are known.
    pub ipv6_only: BTreeSet<bool>,
}

/// What listened at one time on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Name of the host.
    pub host: String,
    /// When it was taken: nanoseconds since 1970, UTC.
    pub taken_unix_ns: u64,
    /// What listened.
    pub entries: BTreeMap<Identity, Content>,
}

impl Baseline {
    /// Takes a baseline of these listeners.
    #[must_use]
    pub fn take<'a>(
        host: &str,
        taken_unix_ns: u64,
        listeners: impl IntoIterator<Item = &'a Listener>,
        options: &Options,
    ) -> Self {
        let mut entries: BTreeMap<Identity, Content> = BTreeMap::new();
        for listener in listeners.into_iter().filter(|listener| options.takes(listener)) {
            let content = entries.entry(Identity::of(listener)).or_default();
            content.programs.extend(programs(listener));
            content.ipv6_only.extend(listener.ipv6_only);
        }
        Self { host: host.to_owned(), taken_unix_ns, entries }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = Header {
            version: VERSION,
            host: self.host.clone(),
            taken: time_text(self.taken_unix_ns),
            entries: self.entries.len(),
        };
        writeln!(out, "{}", serde_json::to_string(&header)?)?;
        for (identity, content) in &self.entries {
            writeln!(out, "{}", serde_json::to_string(&EntryRow::new(identity, content))?)?;
        }
        Ok(())
    }

    /// Reads the text of a file. Empty lines are passed over.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, and why.
    pub fn read(text: &str) -> Result<Self, BaselineError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty());
        let at = |line: usize, reason: String| BaselineError { line, reason };
        let (line, first) = lines.next().ok_or_else(|| at(1, "the file is empty".to_owned()))?;
        let header: Header = serde_json::from_str(first).map_err(|error| {
            at(line, format!("this is no header of a netsonde baseline: {}", plain(&error)))
        })?;
        if header.version != VERSION {
            let reason =
                format!("the baseline has format {}; this netsonde reads format {VERSION}", header.version);
            return Err(at(line, reason));
        }
        let taken_unix_ns = time_of("time", &header.taken).map_err(|reason| at(line, reason))?;
        let mut entries = BTreeMap::new();
        let mut last = line;
        for (line, text) in lines {
            last = line;
            let row: EntryRow = serde_json::from_str(text).map_err(|error| at(line, plain(&error)))?;
            let (identity, content) = row.entry().map_err(|reason| at(line, reason))?;
            if entries.insert(identity, content).is_some() {
                return Err(at(line, "an earlier line is of the same listener".to_owned()));
            }
        }
        if entries.len() != header.entries {
            let reason = format!(
                "the file has {} of the {} listeners that its header tells of; was it cut?",
                entries.len(),
                header.entries
            );
            return Err(at(last, reason));
        }
        Ok(Self { host: header.host, taken_unix_ns, entries })
    }

    /// Leaves out entries, so that a baseline is compared with a filtered reading. `keep` gets them as
    /// [`Baseline::listeners`] has them.
    pub fn retain(&mut self, keep: impl Fn(&Listener) -> bool) {
        self.entries.retain(|identity, content| keep(&listener_of(identity, content)));
    }

    /// The entries as listeners of which only that much is known: for suggestions and for showing what is gone.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        self.entries.iter().map(|(identity, content)| listener_of(identity, content)).collect()
    }
}

/// An entry as a listener of which only that much is known.
#[must_use]
pub fn listener_of(identity: &Identity, content: &Content) -> Listener {
    let (port, protocol, automatic) = match identity.port {
        PortIdentity::Port(port) => (Some(port), None, None),
        PortIdentity::AutomaticOf(_) => (None, None, Some(true)),
        PortIdentity::Protocol(protocol) => (None, Some(protocol), None),
        PortIdentity::Unknown => (None, None, None),
    };
    let name = identity.namespace.strip_prefix("name ").map(str::to_owned);
    let process = |program: &Program| Process {
        path: program.path.clone(),
        script: program.script.clone(),
        user: program.user.clone(),
        unit: program.unit.clone(),
        user_unit: program.user_unit.clone(),
        container: program.container.clone(),
        ..Process::default()
    };
    let only = (content.ipv6_only.len() == 1).then(|| content.ipv6_only.first().copied()).flatten();
    Listener {
        protocol,
        automatic_port: automatic,
        ipv6_only: only,
        namespace: Namespace { inode: 0, initial: Some(identity.namespace == "initial"), name },
        interface: identity.interface.clone(),
        holders: content.programs.iter().map(process).collect(),
        ..Listener::new(identity.transport, identity.address, port)
    }
}

/// Why a baseline cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BaselineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for BaselineError {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "netsonde.baseline.version")]
    version: u32,
    #[serde(rename = "host.name")]
    host: String,
    #[serde(rename = "time")]
    taken: String,
    #[serde(rename = "listeners")]
    entries: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRow {
    namespace: String,
    #[serde(rename = "network.transport")]
    transport: String,
    #[serde(rename = "server.address", default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(rename = "server.port", default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(rename = "netsonde.listen.port_automatic_of", default, skip_serializing_if = "Option::is_none")]
    automatic_of: Option<String>,
    #[serde(rename = "netsonde.socket.protocol", default, skip_serializing_if = "Option::is_none")]
    protocol: Option<u16>,
    #[serde(rename = "network.interface.name", default, skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// Follows from the address; here for who reads the file.
    #[serde(rename = "netsonde.address.class", default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(rename = "netsonde.socket.ipv6_only", default, skip_serializing_if = "BTreeSet::is_empty")]
    ipv6_only: BTreeSet<bool>,
    #[serde(default)]
    programs: BTreeSet<Program>,
}

impl EntryRow {
    fn new(identity: &Identity, content: &Content) -> Self {
        let (port, automatic_of, protocol) = match &identity.port {
            PortIdentity::Port(port) => (Some(*port), None, None),
            PortIdentity::AutomaticOf(path) => (None, Some(path.clone()), None),
            PortIdentity::Protocol(protocol) => (None, None, Some(*protocol)),
            PortIdentity::Unknown => (None, None, None),
        };
        Self {
            namespace: identity.namespace.clone(),
            transport: identity.transport.word().to_owned(),
            address: identity.address,
            port,
            automatic_of,
            protocol,
            interface: identity.interface.clone(),
            class: identity.address.map(|address| address_class(address).word().to_owned()),
            ipv6_only: content.ipv6_only.clone(),
            programs: content.programs.clone(),
        }
    }

    fn entry(self) -> Result<(Identity, Content), String> {
        let port = match (self.port, self.automatic_of, self.protocol) {
            (Some(port), None, None) => PortIdentity::Port(port),
            (None, Some(path), None) => PortIdentity::AutomaticOf(path),
            (None, None, Some(protocol)) => PortIdentity::Protocol(protocol),
            (None, None, None) => PortIdentity::Unknown,
            _ => return Err("a listener has a port, an automatic port or a protocol, not several".to_owned()),
        };
        if let Some(class) = &self.class {
            AddressClass::parse(class)?;
        }
        let identity = Identity {
            namespace: self.namespace,
            transport: Transport::parse(&self.transport)?,
            address: self.address,
            port,
            interface: self.interface,
        };
        Ok((identity, Content { programs: self.programs, ipv6_only: self.ipv6_only }))
    }
}

/// serde's message without its line, which is always the first of the text that it was given.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line 1 ") {
        Some((message, place)) => format!("{message} at {place}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
