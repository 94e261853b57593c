//! From a socket event to a log record: names for its numbers, the process with its parents, one sentence.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use netsonde_probes::descriptor::{Attribute as Key, AttributeType, Event, Stability};
use netsonde_probes::records::{Owner, Role, SocketEvent, SocketEventKind, Transport};
use netsonde_probes::signals::tcp::{attributes as tcp, events};

use super::hellos::Said;
use super::identity::network_type;
use crate::enrich::{Clock, Context, Process};
use crate::telemetry::{Attribute, AttributeValue, LogRecord, Severity};

pub mod dns;
pub mod violation;

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
    EXECUTABLE_MEMFD = "netsonde.process.executable.memfd", Bool, Stable,
        "true when the binary is in memory only (memfd_create(2)) and its path is no file's; else absent";
    SCRIPT_PATH = "netsonde.process.script.path", String, Stable,
        "absolute path of the script that the process is, when its binary is the interpreter";
    COMMAND_ARGS = "process.command_args", StringArray, Convention,
        "the arguments with secrets masked, if `process.command_line` is on";
    VPID = "process.vpid", Int, Convention,
        "process id in the process's own pid namespace, when that is not the host's";
    CGROUP = "process.linux.cgroup", String, Convention,
        "control group, 0:: and its path: in the unified hierarchy, or in systemd's own where only that tells";
    UNIT = "systemd.unit", String, Stable, "unit of the system's service manager (journald's _SYSTEMD_UNIT)";
    USER_UNIT = "systemd.user_unit", String, Stable,
        "unit of a user's service manager (journald's _SYSTEMD_USER_UNIT)";
    SLICE = "systemd.slice", String, Stable, "slice of the unit (journald's _SYSTEMD_SLICE)";
    CONTAINER_ID = "container.id", String, Convention,
        "id of the container, or its name where the runtime knows no ids (LXC, systemd-nspawn)";
    CONTAINER_RUNTIME = "container.runtime.name", String, Convention,
        "what runs the container, if its control group tells: docker, buildkit, containerd, podman, cri-o, lxc, lxc-libvirt or systemd-nspawn";
    HOLDERS = "netsonde.socket.holders", MapArray, Stable,
        "all processes that hold the socket, when the last look at open files found several: process.pid, process.executable.path and process.creation.time";
    OWN = "netsonde.own", Bool, Stable, "true when the socket is of the netsonde that tells of it; else absent";
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

/// One of several processes in a list.
fn member(process: &Process, clock: &Clock) -> AttributeValue {
    let path = if process.path().is_empty() { &process.command } else { &process.program.path };
    AttributeValue::Map(vec![
        (PID.name, int(process.id.pid)),
        (EXECUTABLE_PATH.name, text(Arc::clone(path))),
        (CREATION_TIME.name, creation_time(process, clock)),
    ])
}

/// The process, its program and its parents.
fn identity(process: &Process, clock: &Clock, to: &mut Vec<Attribute>) {
    let program = &process.program;
    if !program.path.is_empty() {
        to.push((EXECUTABLE_PATH.name, text(Arc::clone(&program.path))));
    }
    to.push((EXECUTABLE_NAME.name, text(process.name())));
    if process.is_kernel() {
        return;
    }
    to.push((PID.name, int(process.id.pid)));
    to.push((CREATION_TIME.name, creation_time(process, clock)));
    if program.deleted {
        to.push((EXECUTABLE_DELETED.name, AttributeValue::Bool(true)));
    }
    if program.memfd {
        to.push((EXECUTABLE_MEMFD.name, AttributeValue::Bool(true)));
    }
    if let Some(script) = &program.script {
        to.push((SCRIPT_PATH.name, text(Arc::clone(script))));
    }
    if let Some(arguments) = &program.arguments {
        let arguments = arguments.iter().map(|a| text(Arc::clone(a))).collect();
        to.push((COMMAND_ARGS.name, AttributeValue::Array(arguments)));
    }
    if let Some(pid) = process.namespace_pid {
        to.push((VPID.name, int(pid)));
    }
    if let Some(context) = &process.context {
        place(context, to);
    }
    let ancestors = process.ancestors().map(|a| member(a, clock)).collect();
    to.push((ANCESTORS.name, AttributeValue::Array(ancestors)));
}

/// A process as events have it: its program, its parents and its user.
#[must_use]
pub fn process_attributes(process: &Process, user: Option<&Arc<str>>, clock: &Clock) -> Vec<Attribute> {
    let mut attributes = Vec::with_capacity(16);
    identity(process, clock, &mut attributes);
    attributes.extend(user.map(|user| (USER_NAME.name, text(Arc::clone(user)))));
    attributes
}

fn place(context: &Context, to: &mut Vec<Attribute>) {
    to.push((CGROUP.name, text(format!("0::{}", context.cgroup))));
    for (key, value) in [(&UNIT, &context.unit), (&USER_UNIT, &context.user_unit), (&SLICE, &context.slice)] {
        if let Some(value) = value {
            to.push((key.name, text(Arc::clone(value))));
        }
    }
    if let Some(container) = &context.container {
        to.push((CONTAINER_ID.name, text(Arc::clone(&container.id))));
        if let Some(runtime) = container.runtime {
            to.push((CONTAINER_RUNTIME.name, text(runtime.as_str())));
        }
    }
}

/// The socket that an event is of.
struct Endpoints<'a> {
    transport: Transport,
    role: Role,
    server: (IpAddr, u16),
    /// The name that a client asked for the server by, if it is known.
    server_name: Option<&'a Arc<str>>,
    /// None of a listener.
    client: Option<(IpAddr, u16)>,
    network_namespace: u32,
    cookie: u64,
}

impl<'a> Endpoints<'a> {
    fn of(event: &SocketEvent, server_name: Option<&'a Arc<str>>) -> Self {
        let listening = matches!(event.kind, SocketEventKind::ListenOpen | SocketEventKind::ListenClose);
        Self {
            transport: event.transport,
            role: event.role,
            server: event.server(),
            server_name,
            client: (!listening).then(|| event.client()),
            network_namespace: event.network_namespace,
            cookie: event.cookie,
        }
    }

    fn push(&self, to: &mut Vec<Attribute>) {
        let server = self.server;
        let host = self.server_name.map_or_else(|| server.0.to_string().into(), Arc::clone);
        to.push((tcp::NETWORK_TRANSPORT.name, text(self.transport.as_str())));
        to.push((tcp::NETWORK_TYPE.name, text(network_type(server.0))));
        to.push((tcp::SERVER_ADDRESS.name, text(host)));
        to.push((tcp::SERVER_PORT.name, int(server.1)));
        if let Some(client) = self.client {
            if let Some(role) = self.role.as_str() {
                to.push((tcp::SOCKET_ROLE.name, text(role)));
            }
            if self.role == Role::Client {
                to.push((tcp::PEER_ADDRESS.name, text(server.0.to_string())));
                to.push((tcp::PEER_PORT.name, int(server.1)));
            }
            to.push((tcp::CLIENT_ADDRESS.name, text(client.0.to_string())));
            to.push((tcp::CLIENT_PORT.name, int(client.1)));
        }
        to.push((tcp::NETWORK_NAMESPACE.name, int(self.network_namespace)));
        to.push((tcp::SOCKET_COOKIE.name, text(format!("{:x}", self.cookie))));
    }

    /// The server as a person would write it: the name it was asked for by, with the address behind it.
    fn server(&self) -> String {
        match self.server_name {
            Some(name) => format!("{name}:{} ({})", self.server.1, self.server.0),
            None => endpoint(self.server),
        }
    }
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

/// Who did what is told.
fn subject(process: Option<&Process>) -> String {
    match process {
        Some(p) if p.is_kernel() => p.name().to_owned(),
        Some(p) => format!("{}[{}]", p.title(), p.id.pid),
        None => "(unknown process)".to_owned(),
    }
}

fn sentence(event: &SocketEvent, ends: &Endpoints<'_>, process: Option<&Process>) -> String {
    let mut said = subject(process);
    let local = endpoint(event.local);
    let remote = if event.role == Role::Client { ends.server() } else { endpoint(event.remote) };
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

/// Who a socket belongs to, by name.
#[derive(Default)]
pub struct Ownership<'a> {
    /// The owner; `None` when nobody could name it.
    pub process: Option<&'a Process>,
    /// The owner's user.
    pub user: Arc<str>,
    /// All that hold it, when they are several.
    pub holders: &'a [Arc<Process>],
    /// The owner is this process.
    pub own: bool,
}

/// The owner, all holders and the user.
fn push_ownership(owner: Owner, of: &Ownership<'_>, clock: &Clock, to: &mut Vec<Attribute>) {
    if let Some(process) = of.process {
        identity(process, clock, to);
    }
    if of.own {
        to.push((OWN.name, AttributeValue::Bool(true)));
    }
    if of.holders.len() > 1 {
        let holders = of.holders.iter().map(|h| member(h, clock)).collect();
        to.push((HOLDERS.name, AttributeValue::Array(holders)));
    }
    if owner.process.is_known() && !owner.is_kernel() {
        if of.process.is_none() {
            to.push((PID.name, int(owner.process.pid)));
        }
        to.push((USER_ID.name, int(owner.uid)));
        to.push((USER_NAME.name, text(Arc::clone(&of.user))));
    }
}

/// A log record of an event; `server_name` is what its client asked for the server by, and `said` what it said to it
/// first, if that was TLS.
#[must_use]
pub fn record(
    event: &SocketEvent,
    of: &Ownership<'_>,
    server_name: Option<&Arc<str>>,
    said: Option<&Said>,
    clock: &Clock,
) -> LogRecord {
    let mut attributes = Vec::with_capacity(32);
    let ends = Endpoints::of(event, server_name.or(said.and_then(|said| said.server_name.as_ref())));
    ends.push(&mut attributes);
    let descriptor = details(event, &mut attributes);
    if let Some(said) = said.filter(|said| !said.protocols.is_empty()) {
        let protocols = said.protocols.iter().map(|p| text(Arc::clone(p))).collect();
        attributes.push((tcp::TLS_PROTOCOLS.name, AttributeValue::Array(protocols)));
    }
    push_ownership(event.owner, of, clock, &mut attributes);
    LogRecord {
        event: descriptor,
        time_unix_ns: clock.unix_of(event.time_ns),
        observed_unix_ns: clock.unix_ns(),
        severity: match event.kind {
            SocketEventKind::Failure(_) => Severity::Warn,
            _ => Severity::Info,
        },
        body: sentence(event, &ends, of.process),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use netsonde_probes::records::{ConnectionTotals, Failure, ProcessId, RuleMask};

    use super::*;

    fn event(kind: SocketEventKind) -> SocketEvent {
        SocketEvent {
            kind,
            time_ns: 0,
            owner: Owner { process: ProcessId { pid: 42, start_ns: 5_000_000_000 }, image: 1, uid: 1000 },
            role: Role::Client,
            cookie: 0xbeef,
            local: ("127.0.0.1".parse().expect("an address"), 40000),
            remote: ("::1".parse().expect("an address"), 443),
            network_namespace: 4_026_531_833,
            duration_ns: 1_500_000,
            totals: ConnectionTotals { transmit_bytes: 7, receive_bytes: 9, ..ConnectionTotals::default() },
            backlog: 0,
            errno: 0,
            binary_deleted: false,
            transport: Transport::Tcp,
            interface: None,
            options: None,
            rules: RuleMask::default(),
        }
    }

    fn process(name: &str, pid: u32, parent: Option<Arc<Process>>) -> Process {
        let id = ProcessId { pid, start_ns: 5_000_000_000 };
        Process::example(id, &format!("/usr/bin/{name}"), parent)
    }

    fn owned_by(process: &Process) -> Ownership<'_> {
        Ownership { process: Some(process), user: "me".into(), holders: &[], own: true }
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
            let record = record(&event(kind), &owned_by(&owner), Some(&"a.example".into()), None, &clock);
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
        let record = record(&event(SocketEventKind::Close), &owned_by(&owner), None, None, &clock);
        let (_, ancestors) = record.attributes.iter().find(|(k, _)| *k == ANCESTORS.name).expect("a chain");
        let AttributeValue::Array(ancestors) = ancestors else { panic!("a list") };
        let [AttributeValue::Map(parent)] = ancestors.as_slice() else { panic!("one parent") };
        assert_eq!(parent[0], ("process.pid", AttributeValue::Int(41)));
        assert_eq!(parent[1], ("process.executable.path", AttributeValue::String("/usr/bin/sh".into())));
        assert_eq!(record.body, "curl[42] closed its connection to [::1]:443: 7 bytes sent, 9 received");
    }

    #[test]
    fn a_record_without_a_process_says_so() {
        let record = record(
            &event(SocketEventKind::Failure(Failure::TimedOut)),
            &Ownership::default(),
            None,
            None,
            &Clock::read(),
        );
        assert_eq!(record.body, "(unknown process) failed with [::1]:443: timed_out");
        assert_eq!(record.severity, Severity::Warn);
        assert!(record.attributes.contains(&("process.pid", AttributeValue::Int(42))));
    }

    #[test]
    fn a_client_s_server_is_told_of_by_name_and_address() {
        let name: Arc<str> = "example.org".into();
        let owner = process("curl", 42, None);
        let named =
            record(&event(SocketEventKind::Connect), &owned_by(&owner), Some(&name), None, &Clock::read());
        assert_eq!(named.body, "curl[42] connected to example.org:443 (::1)");
        for attribute in [
            ("server.address", AttributeValue::String(name)),
            ("network.peer.address", AttributeValue::String("::1".into())),
            ("network.peer.port", AttributeValue::Int(443)),
        ] {
            assert!(named.attributes.contains(&attribute), "{attribute:?}");
        }
        let served = SocketEvent { role: Role::Server, ..event(SocketEventKind::Accept) };
        let served = record(&served, &owned_by(&owner), None, None, &Clock::read());
        assert!(served.attributes.iter().all(|(key, _)| !key.starts_with("network.peer")));
    }
}
