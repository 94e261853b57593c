//! What a listener is: one socket that can receive unasked, with all that is known of it.
//!
//! Owns the facts and their classes. How they are written as JSON is the `row` module's matter, what may listen the
//! policy's.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::row::{ChangeRow, Row};
use crate::words::Word;

/// How a socket's datagrams or connections are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// A raw IP socket: gets all packets of one IP protocol.
    Raw,
    /// A packet socket, packet(7): gets frames before IP sees them.
    Packet,
}

impl Word for Transport {
    const KIND: &'static str = "transport";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("sctp", Self::Sctp),
        ("raw", Self::Raw),
        ("packet", Self::Packet),
    ];
}

/// How far a listening address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Only the host itself.
    Loopback,
    /// Networks that the internet does not route.
    Private,
    /// Every address of the host.
    Any,
    /// An address of the internet.
    Public,
}

impl Word for AddressClass {
    const KIND: &'static str = "address class";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("loopback", Self::Loopback),
        ("private", Self::Private),
        ("any", Self::Any),
        ("public", Self::Public),
    ];
}

/// How far a listening address reaches. Shared and unique local addresses count as private (RFC 1918, RFC 6598,
/// RFC 4193), link-local ones as well (RFC 3927, RFC 4291). An IPv4-mapped IPv6 address is the IPv4 one.
#[must_use]
pub fn address_class(address: IpAddr) -> AddressClass {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match address {
        _ if address.is_unspecified() => AddressClass::Any,
        _ if address.is_loopback() => AddressClass::Loopback,
        _ if private => AddressClass::Private,
        _ => AddressClass::Public,
    }
}

/// A network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Namespace {
    /// Its inode number, as in /proc/PID/ns/net: unique while the namespace lives, and another after a restart.
    pub inode: u64,
    /// Whether it is the host's own; `None` when that is not known.
    pub initial: Option<bool>,
    /// The name that `ip netns` knows it by, below /run/netns.
    pub name: Option<String>,
}

/// A parent of a process, as it was when the child was forked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ancestor {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// When it started: nanoseconds since 1970, UTC.
    pub started_unix_ns: Option<u64>,
    /// Absolute path of its binary.
    pub path: Option<String>,
}

/// A process that opened or holds a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// When it started: nanoseconds since 1970, UTC.
    pub started_unix_ns: Option<u64>,
    /// Absolute path of its binary, in its own mount namespace.
    pub path: Option<String>,
    /// Absolute path of the script that the binary interprets.
    pub script: Option<String>,
    /// Real user id.
    pub user_id: Option<u32>,
    /// Name of that user, or the number when it has none.
    pub user: Option<String>,
    /// Unit of the system's service manager.
    pub unit: Option<String>,
    /// Unit of a user's service manager.
    pub user_unit: Option<String>,
    /// Id of the container, or its name where the runtime knows no ids.
    pub container: Option<String>,
    /// Its parents, nearest first.
    pub ancestors: Vec<Ancestor>,
}

impl Process {
    /// Whether it is a service manager of the host, which keeps the listeners that it opened for its services.
    #[must_use]
    pub fn is_service_manager(&self) -> bool {
        const MANAGERS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
        self.container.is_none()
            && (self.pid == 1 || self.path.as_deref().is_some_and(|path| MANAGERS.contains(&path)))
    }
}

/// One socket that can receive unasked. What is not known, or does not apply, is `None` or empty.
///
/// As JSON it is one flat object with attribute names as keys; the fields of a process are those of
/// [`Listener::owner`], and all holders are in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(into = "Row", try_from = "Row")]
pub struct Listener {
    /// How it is carried.
    pub transport: Transport,
    /// Local address, as the kernel has it: `::` for a socket that may be dual-stack. None for a packet socket.
    pub address: Option<IpAddr>,
    /// Local port, of TCP, UDP and SCTP; never 0.
    pub port: Option<u16>,
    /// Of a raw socket the IP protocol (IANA's protocol numbers), of a packet socket the EtherType, in host order.
    pub protocol: Option<u16>,
    /// The only peer of a connected UDP socket.
    pub peer: Option<SocketAddr>,
    /// Whether the kernel chose the port, because bind(2) was not called or asked for port 0
    /// (no `SOCK_BINDPORT_LOCK` in the kernel's `sk_userlocks`).
    pub automatic_port: Option<bool>,
    /// `IPV6_V6ONLY`, of IPv6 sockets.
    pub ipv6_only: Option<bool>,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Name of the interface that it is bound to (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// Limit of the accept queue, in connections.
    pub backlog: Option<u32>,
    /// Connections that wait to be accepted; of other transports the bytes that wait to be read.
    pub queued: Option<u32>,
    /// `SO_REUSEPORT`.
    pub reuse_port: Option<bool>,
    /// How many sockets share the port through it, this one included.
    pub reuse_port_sockets: Option<u32>,
    /// The kernel's number of the socket (`SO_COOKIE`), never used twice while the host runs.
    pub cookie: Option<u64>,
    /// When it began to listen, or was bound: nanoseconds since 1970, UTC. `None`: before anybody looked.
    pub opened_unix_ns: Option<u64>,
    /// Who opened it, as that process was then.
    pub opened_by: Option<Process>,
    /// All processes that hold it. The first is the one that it counts for.
    pub holders: Vec<Process>,
    /// Connections accepted so far, of those that were seen.
    pub accepted: Option<u64>,
    /// When the last of them was: nanoseconds since 1970, UTC.
    pub last_accepted_unix_ns: Option<u64>,
    /// From how many different addresses they came.
    pub peers: Option<u64>,
    /// From which networks they came, each once.
    pub client_networks: Vec<IpNet>,
    /// There were more networks than are remembered.
    pub further_networks: bool,
}

impl Listener {
    /// A listener of which no more than this is known.
    #[must_use]
    pub fn new(transport: Transport, address: Option<IpAddr>, port: Option<u16>) -> Self {
        Self {
            transport,
            address,
            port,
            protocol: None,
            peer: None,
            automatic_port: None,
            ipv6_only: None,
            namespace: Namespace::default(),
            interface: None,
            backlog: None,
            queued: None,
            reuse_port: None,
            reuse_port_sockets: None,
            cookie: None,
            opened_unix_ns: None,
            opened_by: None,
            holders: Vec::new(),
            accepted: None,
            last_accepted_unix_ns: None,
            peers: None,
            client_networks: Vec::new(),
            further_networks: false,
        }
    }

    /// How far its address reaches. A packet socket has no address, and no class.
    #[must_use]
    pub fn class(&self) -> Option<AddressClass> {
        self.address.map(address_class)
    }

    /// Those who are answerable for it: its holders without the service manager that keeps it for them, if there are
    /// others.
    pub fn answerable(&self) -> impl Iterator<Item = &Process> {
        let others = self.holders.iter().any(|holder| !holder.is_service_manager());
        self.holders.iter().filter(move |holder| !others || !holder.is_service_manager())
    }

    /// The one that it counts for: the first of those who are answerable.
    #[must_use]
    pub fn owner(&self) -> Option<&Process> {
        self.answerable().next()
    }

    /// Address and port as people write them: `0.0.0.0:22`, `[::]:22`, `0.0.0.0 protocol 1`, `ethertype 0x0003`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let protocol = || self.protocol.map(|protocol| protocol.to_string());
        match (self.address, self.port) {
            (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
            (Some(address), None) => protocol()
                .map_or_else(|| address.to_string(), |number| format!("{address} protocol {number}")),
            (None, Some(port)) => format!("*:{port}"),
            (None, None) => self
                .protocol
                .map_or_else(|| "*".to_owned(), |ethertype| format!("ethertype {ethertype:#06x}")),
        }
    }
}

/// What happened to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It began to listen.
    Opened,
    /// Its last holder closed it.
    Closed,
}

impl Word for ChangeKind {
    const KIND: &'static str = "change";
    /// The words are the names of the daemon's log events.
    const WORDS: &'static [(&'static str, Self)] =
        &[("netsonde.listen.open", Self::Opened), ("netsonde.listen.close", Self::Closed)];
}

/// An opening or a closing: a row of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(into = "ChangeRow", try_from = "ChangeRow")]
pub struct Change {
    /// Which of both.
    pub kind: ChangeKind,
    /// When it was closed: nanoseconds since 1970, UTC. An opening has it too, once that is known.
    pub closed_unix_ns: Option<u64>,
    /// Nobody saw it close: it was gone by the time that is given for it.
    pub close_unseen: bool,
    /// When it was first seen, if nobody saw it open: nanoseconds since 1970, UTC. It opened some time before.
    pub first_seen_unix_ns: Option<u64>,
    /// The listener, with the time of its opening, as it was at this change.
    pub listener: Listener,
}

impl Change {
    /// When it happened: nanoseconds since 1970, UTC.
    #[must_use]
    pub fn unix_ns(&self) -> Option<u64> {
        match self.kind {
            ChangeKind::Opened => self.listener.opened_unix_ns.or(self.first_seen_unix_ns),
            ChangeKind::Closed => self.closed_unix_ns,
        }
    }

    /// How long it listened, in nanoseconds, when both times are known.
    #[must_use]
    pub fn duration_ns(&self) -> Option<u64> {
        if self.close_unseen {
            return None;
        }
        Some(self.closed_unix_ns?.saturating_sub(self.listener.opened_unix_ns?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{process, tcp};

    #[test]
    fn addresses_have_their_class() {
        for (address, class) in [
            ("0.0.0.0", AddressClass::Any),
            ("::", AddressClass::Any),
            ("::ffff:0.0.0.0", AddressClass::Any),
            ("127.0.0.53", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("192.168.1.1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("169.254.1.1", AddressClass::Private),
            ("fd00::1", AddressClass::Private),
            ("fe80::1", AddressClass::Private),
            ("100.128.0.1", AddressClass::Public),
            ("8.8.8.8", AddressClass::Public),
            ("2001:db8::1", AddressClass::Public),
        ] {
            assert_eq!(address_class(address.parse().expect("an address")), class, "{address}");
        }
    }

    #[test]
    fn a_packet_socket_has_no_class() {
        assert_eq!(Listener::new(Transport::Packet, None, None).class(), None);
    }

    #[test]
    fn a_service_manager_answers_only_when_it_is_alone() {
        let manager = Process { pid: 1, ..process("/usr/lib/systemd/systemd") };
        let mut listener = tcp("0.0.0.0:22");
        listener.holders = vec![manager.clone()];
        assert_eq!(listener.owner(), Some(&manager));
        listener.holders.push(process("/usr/sbin/sshd"));
        assert_eq!(listener.answerable().count(), 1);
        assert_eq!(listener.owner().and_then(|owner| owner.path.as_deref()), Some("/usr/sbin/sshd"));
    }

    #[test]
    fn a_program_in_a_container_cannot_pass_for_the_service_manager() {
        let mut guest = process("/usr/lib/systemd/systemd");
        guest.container = Some("c0ffee".to_owned());
        assert!(!guest.is_service_manager());
    }

    #[test]
    fn endpoints_read_as_people_write_them() {
        assert_eq!(tcp("[::1]:80").endpoint(), "[::1]:80");
        let raw = Listener { protocol: Some(1), port: None, ..tcp("0.0.0.0:1") };
        assert_eq!(raw.endpoint(), "0.0.0.0 protocol 1");
        let packet = Listener { protocol: Some(3), ..Listener::new(Transport::Packet, None, None) };
        assert_eq!(packet.endpoint(), "ethertype 0x0003");
    }

    #[test]
    fn a_change_knows_its_time_and_duration() {
        let listener = Listener { opened_unix_ns: Some(5), ..tcp("0.0.0.0:22") };
        let mut change = Change {
            kind: ChangeKind::Closed,
            closed_unix_ns: Some(12),
            close_unseen: false,
            first_seen_unix_ns: None,
            listener,
        };
        assert_eq!((change.unix_ns(), change.duration_ns()), (Some(12), Some(7)));
        change.kind = ChangeKind::Opened;
        assert_eq!(change.unix_ns(), Some(5));
        change.close_unseen = true;
        assert_eq!(change.duration_ns(), None, "it may have closed any time before");
        change.listener.opened_unix_ns = None;
        assert_eq!((change.unix_ns(), change.duration_ns()), (None, None));
        change.first_seen_unix_ns = Some(6);
        assert_eq!(change.unix_ns(), Some(6));
    }
}
