//! From a socket event to a log record: names for its numbers, the process with its parents, one sentence.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use netsonde_probes::descriptor::{Attribute as Key, AttributeType, Event, Stability};
use netsonde_probes::records::{Role, SocketEvent, SocketEventKind};
use netsonde_probes::signals::tcp::{attributes as tcp, events};

use super::identity::network_type;
use crate::enrich::{Clock, Process};
use crate::telemetry::{Attribute, AttributeValue, LogRecord, Severity};

macro_rules! keys {
    ($($name:ident = $key:literal, $kind:ident, $stability:ident, $text:literal;)*) => {
        $(
            static $name: Key = Key {
                name: $key,
                value_type: AttributeType::$kind,
                description: $text,
                stability: Stability::$stability,
            };
        )*
        /// What every event carries, as far as it is known.
        #[cfg(test)]
        pub static OF_EVERY_EVENT: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    PID = "process.pid", Int, Convention, "process id, in the host's namespace";
    CREATION_TIME = "process.creation.time", String, Convention, "when the process started, ISO 8601 in UTC";
    EXECUTABLE_PATH = "process.executable.path", String, Convention,
        "absolute path of the binary, in the mount namespace of the process";
    EXECUTABLE_NAME = "process.executable.name", String, Convention, "last part of the binary's path";
    EXECUTABLE_DELETED = "netsonde.process.executable.deleted", Bool, Stable,
        "true when the binary had been unlinked; else absent";
    USER_ID = "process.user.id", Int, Convention, "real user id when the socket became the process's";
    USER_NAME = "process.user.name", String, Convention, "name of the real user, or the number when it has none";
    ANCESTORS = "netsonde.process.ancestors", MapArray, Stable,
        "the parents as they were when each child was forked, nearest first: process.pid, process.executable.path and process.creation.time";
}

fn text(value: impl Into<Arc<str>>) -> AttributeValue {
    AttributeValue::String(value.into())
}

fn int(value: impl TryInto<i64>) -> AttributeValue {
    AttributeValue::Int(value.try_into().unwrap_or(i64::MAX))
}

fn seconds(ns: u64) -> AttributeValue {
    AttributeValue::Double(ns as f64 / 1e9)
}

fn creation_time(process: &Process, clock: &Clock) -> AttributeValue {
    let unix_ns = clock.unix_of(process.id.start_ns);
    // To the millisecond: more would change with every adjustment of the wall clock.
    let ms = i64::try_from(unix_ns / 1_000_000).unwrap_or(0);
    text(Timestamp::from_millisecond(ms).unwrap_or_default().to_string())
}

/// The process and its parents.
fn identity(process: &Process, clock: &Clock, to: &mut Vec<Attribute>) {
    to.push((PID.name, int(process.id.pid)));
    to.push((CREATION_TIME.name, creation_time(process, clock)));
    if !process.path.is_empty() {
        to.push((EXECUTABLE_PATH.name, text(Arc::clone(&process.path))));
    }
    to.push((EXECUTABLE_NAME.name, text(process.name())));
    if process.deleted {
        to.push((EXECUTABLE_DELETED.name, AttributeValue::Bool(true)));
    }
    let ancestors = process.ancestors().map(|a| {
        AttributeValue::Map(vec![
            (PID.name, int(a.id.pid)),
            (EXECUTABLE_PATH.name, text(if a.path.is_empty() { &a.command } else { &a.path }.as_ref())),
            (CREATION_TIME.name, creation_time(a, clock)),
        ])
    });
    to.push((ANCESTORS.name, AttributeValue::Array(ancestors.collect())));
}

fn endpoints(event: &SocketEvent, to: &mut Vec<Attribute>) {
    let listening = matches!(event.kind, SocketEventKind::ListenOpen | SocketEventKind::ListenClose);
    let (server, client) = (event.server(), event.client());
    to.push((tcp::NETWORK_TRANSPORT.name, text("tcp")));
    to.push((tcp::NETWORK_TYPE.name, text(network_type(server.0))));
    to.push((tcp::SERVER_ADDRESS.name, text(server.0.to_string())));
    to.push((tcp::SERVER_PORT.name, int(server.1)));
    if !listening {
        if let Some(role) = event.role.as_str() {
            to.push((tcp::SOCKET_ROLE.name, text(role)));
        }
        to.push((tcp::CLIENT_ADDRESS.name, text(client.0.to_string())));
        to.push((tcp::CLIENT_PORT.name, int(client.1)));
    }
    to.push((tcp::NETWORK_NAMESPACE.name, int(event.network_namespace)));
    to.push((tcp::SOCKET_COOKIE.name, text(format!("{:x}", event.cookie))));
}

fn details(event: &SocketEvent, to: &mut Vec<Attribute>) -> &'static Event {
    match event.kind {
        SocketEventKind::ListenOpen => {
            to.push((tcp::BACKLOG.name, int(event.backlog)));
            &events::LISTEN_OPEN
        }
        SocketEventKind::ListenClose => {
            to.push((tcp::BACKLOG.name, int(event.backlog)));
            if event.duration_ns > 0 {
                to.push((tcp::LISTEN_DURATION.name, seconds(event.duration_ns)));
            }
            &events::LISTEN_CLOSE
        }
        SocketEventKind::Connect => {
            to.push((tcp::CONNECT_DURATION.name, seconds(event.duration_ns)));
            &events::CONNECT
        }
        SocketEventKind::Accept => &events::ACCEPT,
        SocketEventKind::Close => {
            let t = &event.totals;
            if event.duration_ns > 0 {
                to.push((tcp::CONNECTION_DURATION.name, seconds(event.duration_ns)));
            }
            to.push((tcp::BYTES_TRANSMIT.name, int(t.transmit_bytes)));
            to.push((tcp::BYTES_RECEIVE.name, int(t.receive_bytes)));
            to.push((tcp::SEGMENTS_TRANSMIT.name, int(t.transmit_segments)));
            to.push((tcp::SEGMENTS_RECEIVE.name, int(t.receive_segments)));
            to.push((tcp::RETRANSMITS.name, int(t.retransmits)));
            if t.smoothed_rtt_us > 0 {
                to.push((tcp::SRTT.name, seconds(u64::from(t.smoothed_rtt_us) * 1000)));
            }
            if t.partial {
                to.push((tcp::PARTIAL.name, AttributeValue::Bool(true)));
            }
            &events::CLOSE
        }
        SocketEventKind::Failure(failure) => {
            to.push((tcp::ERROR_TYPE.name, text(failure.as_str())));
            to.push((tcp::CONNECT_DURATION.name, seconds(event.duration_ns)));
            &events::FAILURE
        }
    }
}

fn endpoint((address, port): (IpAddr, u16)) -> String {
    SocketAddr::new(address, port).to_string()
}

fn sentence(event: &SocketEvent, process: Option<&Process>) -> String {
    let mut said = match process {
        Some(p) => format!("{}[{}]", p.name(), p.id.pid),
        None => "(unknown process)".to_owned(),
    };
    let (local, remote) = (endpoint(event.local), endpoint(event.remote));
    // Writing to a String cannot fail.
    let _ = match event.kind {
        SocketEventKind::ListenOpen => write!(said, " listens on {local}"),
        SocketEventKind::ListenClose => write!(said, " no longer listens on {local}"),
        SocketEventKind::Connect => write!(said, " connected to {remote}"),
        SocketEventKind::Accept => write!(said, " accepted {remote} on {local}"),
        SocketEventKind::Close => {
            let (verb, at) = match event.role {
                Role::Client => ("closed its connection to", remote),
                Role::Server | Role::Unknown => ("closed its connection from", remote),
            };
            let t = &event.totals;
            write!(said, " {verb} {at}: {} bytes sent, {} received", t.transmit_bytes, t.receive_bytes)
        }
        SocketEventKind::Failure(failure) => write!(said, " failed with {remote}: {}", failure.as_str()),
    };
    said
}

/// A log record of an event.
#[must_use]
pub fn record(event: &SocketEvent, process: Option<&Process>, user: &Arc<str>, clock: &Clock) -> LogRecord {
    let mut attributes = Vec::with_capacity(24);
    endpoints(event, &mut attributes);
    let descriptor = details(event, &mut attributes);
    if let Some(process) = process {
        identity(process, clock, &mut attributes);
    }
    if event.owner.process.is_known() {
        if process.is_none() {
            attributes.push((PID.name, int(event.owner.process.pid)));
        }
        attributes.push((USER_ID.name, int(event.owner.uid)));
        attributes.push((USER_NAME.name, text(Arc::clone(user))));
    }
    LogRecord {
        event: descriptor,
        time_unix_ns: clock.unix_of(event.time_ns),
        observed_unix_ns: clock.unix_ns(),
        severity: match event.kind {
            SocketEventKind::Failure(_) => Severity::Warn,
            _ => Severity::Info,
        },
        body: sentence(event, process),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use netsonde_probes::records::{ConnectionTotals, Failure, Owner, ProcessId};

    use super::*;

    fn event(kind: SocketEventKind) -> SocketEvent {
        SocketEvent {
            kind,
            time_ns: 0,
            owner: Owner { process: ProcessId { pid: 42, start_ns: 5_000_000_000 }, uid: 1000 },
            role: Role::Client,
            cookie: 0xbeef,
            local: ("127.0.0.1".parse().expect("an address"), 40000),
            remote: ("::1".parse().expect("an address"), 443),
            network_namespace: 4_026_531_833,
            duration_ns: 1_500_000,
            totals: ConnectionTotals { transmit_bytes: 7, receive_bytes: 9, ..ConnectionTotals::default() },
            backlog: 0,
            errno: 0,
        }
    }

    fn process(name: &str, pid: u32, parent: Option<Arc<Process>>) -> Process {
        Process {
            id: ProcessId { pid, start_ns: 5_000_000_000 },
            path: format!("/usr/bin/{name}").into(),
            deleted: false,
            command: name.into(),
            parent,
        }
    }

    const KINDS: [SocketEventKind; 6] = [
        SocketEventKind::ListenOpen,
        SocketEventKind::ListenClose,
        SocketEventKind::Connect,
        SocketEventKind::Accept,
        SocketEventKind::Close,
        SocketEventKind::Failure(Failure::Refused),
    ];

    #[test]
    fn a_record_carries_only_what_its_descriptor_names() {
        let clock = Clock::read();
        let owner = process("curl", 42, Some(Arc::new(process("sh", 41, None))));
        for kind in KINDS {
            let record = record(&event(kind), Some(&owner), &"me".into(), &clock);
            for (key, _) in &record.attributes {
                let declared = record.event.attributes.iter().chain(OF_EVERY_EVENT);
                assert!(declared.into_iter().any(|a| a.name == *key), "{} has {key}", record.event.name);
            }
        }
    }

    #[test]
    fn the_chain_of_parents_is_on_the_record() {
        let clock = Clock::read();
        let owner = process("curl", 42, Some(Arc::new(process("sh", 41, None))));
        let record = record(&event(SocketEventKind::Close), Some(&owner), &"me".into(), &clock);
        let (_, ancestors) = record.attributes.iter().find(|(k, _)| *k == ANCESTORS.name).expect("a chain");
        let AttributeValue::Array(ancestors) = ancestors else { panic!("a list") };
        let [AttributeValue::Map(parent)] = ancestors.as_slice() else { panic!("one parent") };
        assert_eq!(parent[0], ("process.pid", AttributeValue::Int(41)));
        assert_eq!(parent[1], ("process.executable.path", AttributeValue::String("/usr/bin/sh".into())));
        assert_eq!(record.body, "curl[42] closed its connection to [::1]:443: 7 bytes sent, 9 received");
    }

    #[test]
    fn a_record_without_a_process_says_so() {
        let record =
            record(&event(SocketEventKind::Failure(Failure::TimedOut)), None, &"me".into(), &Clock::read());
        assert_eq!(record.body, "(unknown process) failed with [::1]:443: timed_out");
        assert_eq!(record.severity, Severity::Warn);
        assert!(record.attributes.contains(&("process.pid", AttributeValue::Int(42))));
    }
}
