//! What stays the same of a listener when its program, its container or the host is started again.
//!
//! Owns which names are stable, and the identity that tells whether a listener of a baseline is there again. What is
//! compared of two with the same identity is the baseline's matter.
//!
//! - A **port that the kernel chose** is another at each start. Such a listener is told by the program that answers for
//!   it instead. A reading that cannot tell who chose has the number: compare readings of the same kind.
//! - A **network namespace** has an inode number that is given anew at each start. The host's own is the `initial` one;
//!   another is told by its `ip netns` name, else by whom it is for: the unit, else the program and that it is in a
//!   container. Listeners of two namespaces for which the same is told are compared as one.
//! - A **container's id** of hexadecimal digits is another when the container is made anew, as each update does. It is
//!   `*`, some container. Names, as LXC and systemd-nspawn have them, stay.
//! - A **unit's name** may have a container's id or a counter in it: `docker-0123….scope`, `session-12.scope`,
//!   `run-r0123….scope`, `run-u7.service`. These parts are `*`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::{Listener, Namespace, Process, Transport};
use crate::words::Word;

/// Digits from which on a run of hexadecimal digits is an id: the length in which runtimes show theirs.
const ID_DIGITS: usize = 12;

/// What Linux takes ports from that nobody asked for, unless net.ipv4.ip_local_port_range says otherwise.
pub const DEFAULT_EPHEMERAL_PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// A process in terms that stay the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Absolute path of its binary.
    #[serde(rename = "process.executable.path", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Absolute path of the script that it runs.
    #[serde(rename = "netsonde.process.script.path", default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Name of the user, else the number.
    #[serde(rename = "process.user.name", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Unit of the system's service manager, parts that change replaced by `*`.
    #[serde(rename = "systemd.unit", default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Unit of a user's service manager, likewise.
    #[serde(rename = "systemd.user_unit", default, skip_serializing_if = "Option::is_none")]
    pub user_unit: Option<String>,
    /// Name of the container, or `*` for one that has only an id.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl From<&Process> for Program {
    fn from(process: &Process) -> Self {
        let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            path: known(&process.path),
            script: known(&process.script),
            user: known(&process.user).or_else(|| process.user_id.map(|id| id.to_string())),
            unit: known(&process.unit).map(|unit| stable_unit(&unit)),
            user_unit: known(&process.user_unit).map(|unit| stable_unit(&unit)),
            container: known(&process.container).map(|id| stable_container(&id)),
        }
    }
}

/// The programs that are answerable for a listener.
#[must_use]
pub fn programs(listener: &Listener) -> BTreeSet<Program> {
    listener.answerable().map(Program::from).collect()
}

/// A unit's name, with ids and counters as `*`.
#[must_use]
pub fn stable_unit(unit: &str) -> String {
    let counted = ["session-", "run-u", "run-p", "run-r", "run-i"]
        .iter()
        .find_map(|prefix| Some((prefix, unit.strip_prefix(prefix)?)))
        .filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    if let Some((prefix, rest)) = counted
        && let Some((number, suffix)) = rest.rsplit_once('.')
        && matches!(suffix, "scope" | "service")
        && number.chars().all(|c| c.is_ascii_hexdigit() || c == '-' || c == 'i')
    {
        return format!("{prefix}*.{suffix}");
    }
    let mut stable = String::with_capacity(unit.len());
    let mut rest = unit;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let (run, behind) = rest.split_at(digits);
        stable.push_str(if is_id(run) { "*" } else { run });
        let others = behind.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(behind.len());
        stable.push_str(&behind[..others]);
        rest = &behind[others..];
    }
    stable
}

/// A container's name, or `*` where it has only an id.
#[must_use]
pub fn stable_container(container: &str) -> String {
    if is_id(container) { "*".to_owned() } else { container.to_owned() }
}

fn is_id(text: &str) -> bool {
    text.len() >= ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A listener as it is recognised when it is there again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// What is told of its network namespace: `initial`, `name …`, `unit …`, `program …`, `container of …` or
    /// `unknown`.
    pub namespace: String,
    /// How it is carried.
    pub transport: Transport,
    /// Local address.
    pub address: Option<IpAddr>,
    /// Local port, or whose automatic one.
    pub port: PortIdentity,
    /// Interface that it is bound to.
    pub interface: Option<String>,
}

/// A port as it is recognised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortIdentity {
    /// This one.
    Port(u16),
    /// One that the kernel chose for the program of this path, empty where that is not known.
    AutomaticOf(String),
    /// None: this IP protocol or EtherType.
    Protocol(u16),
    /// Nothing is known of it.
    Unknown,
}

impl Identity {
    /// Of this listener.
    #[must_use]
    pub fn of(listener: &Listener) -> Self {
        let programs = programs(listener);
        let first_path = programs.iter().find_map(|program| program.path.clone());
        let port = match (listener.port, listener.protocol) {
            (_, None) if listener.automatic_port == Some(true) => {
                PortIdentity::AutomaticOf(first_path.unwrap_or_default())
            }
            (Some(port), _) => PortIdentity::Port(port),
            (None, Some(protocol)) => PortIdentity::Protocol(protocol),
            (None, None) => PortIdentity::Unknown,
        };
        Self {
            namespace: stable_namespace(&listener.namespace, &programs),
            transport: listener.transport,
            address: listener.address,
            port,
            interface: listener.interface.clone(),
        }
    }

    /// One line that is the same for equal identities and for no others; for fingerprints and logical names.
    #[must_use]
    pub fn text(&self) -> String {
        let port = match &self.port {
            PortIdentity::Port(port) => port.to_string(),
            PortIdentity::AutomaticOf(path) => format!("automatic port of {path:?}"),
            PortIdentity::Protocol(protocol) => format!("protocol {protocol}"),
            PortIdentity::Unknown => "unknown".to_owned(),
        };
        let address = self.address.map_or_else(|| "*".to_owned(), |address| address.to_string());
        let interface = self.interface.as_ref().map(|name| format!("%{name:?}")).unwrap_or_default();
        format!("{:?}/{}/{address}{interface}/{port}", self.namespace, self.transport.word())
    }
}

fn stable_namespace(namespace: &Namespace, programs: &BTreeSet<Program>) -> String {
    if namespace.initial == Some(true) {
        return "initial".to_owned();
    }
    if let Some(name) = &namespace.name {
        return format!("name {name}");
    }
    let owner = programs.iter().next();
    // A unit that is only some container's or session's would tell nothing.
    let unit = owner.and_then(|owner| owner.unit.as_ref()).filter(|unit| !unit.contains('*'));
    let path = owner.and_then(|owner| owner.path.as_deref());
    match (unit, owner.and_then(|owner| owner.container.as_deref()), path) {
        (Some(unit), ..) => format!("unit {unit}"),
        (None, Some("*"), path) => format!("container of {}", path.unwrap_or("unknown")),
        (None, Some(name), _) => format!("container {name}"),
        (None, None, Some(path)) => format!("program {path}"),
        (None, None, None) => "unknown".to_owned(),
    }
}

/// Whether a socket comes and goes with what its program asks of others, as those of DNS and QUIC clients do: a
/// connected UDP socket, or one on a port that the kernel chose. Where it is not known who chose, it is such a port if it
/// lies in the range that the kernel chooses from.
#[must_use]
pub fn is_ephemeral(listener: &Listener, ports: &RangeInclusive<u16>) -> bool {
    listener.transport == Transport::Udp
        && (listener.peer.is_some()
            || listener
                .automatic_port
                .unwrap_or_else(|| listener.port.is_some_and(|port| ports.contains(&port))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{process, tcp, udp};

    #[test]
    fn units_keep_what_stays_of_their_names() {
        let id = "0123456789abcdef".repeat(4);
        for (unit, stable) in [
            ("ssh.service", "ssh.service"),
            ("getty@tty1.service", "getty@tty1.service"),
            ("user@1000.service", "user@1000.service"),
            ("session-12.scope", "session-*.scope"),
            ("session-c2.scope", "session-*.scope"),
            ("session-manager.service", "session-manager.service"),
            ("run-u731.service", "run-u*.service"),
            ("run-p12-i34.scope", "run-p*.scope"),
            ("run-r0123456789abcdef0123456789abcdef.scope", "run-r*.scope"),
            (&format!("docker-{id}.scope"), "docker-*.scope"),
            (&format!("cri-containerd-{id}.scope"), "cri-containerd-*.scope"),
            ("feedback.service", "feedback.service"),
            ("é.service", "é.service"),
        ] {
            assert_eq!(stable_unit(unit), stable);
        }
    }

    #[test]
    fn containers_keep_their_names_and_lose_their_ids() {
        assert_eq!(stable_container(&"ab12".repeat(16)), "*");
        assert_eq!(stable_container("web-1"), "web-1");
        assert_eq!(stable_container("cafe"), "cafe");
    }

    #[test]
    fn what_changes_at_a_restart_is_not_in_the_identity() {
        let mut before = tcp("0.0.0.0:22");
        before.holders = vec![process("/usr/sbin/sshd")];
        let mut after = before.clone();
        after.namespace.inode += 1;
        after.cookie = Some(99);
        after.backlog = Some(4096);
        after.opened_unix_ns = Some(1);
        after.holders[0].pid = 4711;
        assert_eq!(Identity::of(&before), Identity::of(&after));
    }

    #[test]
    fn each_part_of_the_identity_tells_listeners_apart() {
        let one = tcp("0.0.0.0:22");
        let mut others =
            vec![tcp("127.0.0.1:22"), tcp("0.0.0.0:23"), udp("0.0.0.0:22"), one.clone(), one.clone()];
        others[3].interface = Some("eth0".to_owned());
        others[4].namespace.initial = Some(false);
        for other in others {
            assert_ne!(Identity::of(&one), Identity::of(&other));
            assert_ne!(Identity::of(&one).text(), Identity::of(&other).text());
        }
    }

    #[test]
    fn an_automatic_port_is_its_programs() {
        let mut before = Listener { automatic_port: Some(true), ..tcp("0.0.0.0:40001") };
        before.holders = vec![process("/usr/sbin/rpc.statd")];
        let after = Listener { port: Some(50_002), ..before.clone() };
        assert_eq!(Identity::of(&before), Identity::of(&after));
        let chosen = Listener { automatic_port: Some(false), ..before.clone() };
        assert_ne!(Identity::of(&before), Identity::of(&chosen));
    }

    #[test]
    fn a_namespace_is_told_by_its_name_or_by_whom_it_is_for() {
        let mut listener = tcp("0.0.0.0:80");
        listener.namespace = Namespace { inode: 1, initial: Some(false), name: Some("blue".to_owned()) };
        let told = |listener: &Listener| Identity::of(listener).namespace;
        assert_eq!(told(&listener), "name blue");
        listener.namespace.name = None;
        assert_eq!(told(&listener), "unknown");
        listener.holders = vec![process("/usr/sbin/nginx")];
        assert_eq!(told(&listener), "program /usr/sbin/nginx");
        listener.holders[0].container = Some("ab12".repeat(16));
        listener.holders[0].unit = Some(format!("docker-{}.scope", "ab12".repeat(16)));
        assert_eq!(told(&listener), "container of /usr/sbin/nginx");
        listener.holders[0].container = Some("web".to_owned());
        assert_eq!(told(&listener), "container web");
        listener.holders[0].unit = Some("web.service".to_owned());
        assert_eq!(told(&listener), "unit web.service");
    }

    #[test]
    fn clients_of_udp_are_ephemeral_and_servers_are_not() {
        let ports = DEFAULT_EPHEMERAL_PORTS;
        assert!(is_ephemeral(&udp("0.0.0.0:40000"), &ports));
        assert!(!is_ephemeral(&udp("0.0.0.0:53"), &ports));
        assert!(!is_ephemeral(&tcp("0.0.0.0:40000"), &ports));
        let known = |automatic| Listener { automatic_port: Some(automatic), ..udp("0.0.0.0:40000") };
        assert!(is_ephemeral(&known(true), &ports) && !is_ephemeral(&known(false), &ports));
        let connected = Listener { peer: Some(([192, 0, 2, 1], 53).into()), ..udp("0.0.0.0:1000") };
        assert!(is_ephemeral(&connected, &ports));
    }
}
