//! From one socket of a sweep to one row. Pure: names of processes and places are given.

use std::collections::HashSet;
use std::sync::Arc;

use ipnet::IpNet;
use netsonde_audit::model::{Ancestor, Listener, Process as Holder, Transport};
use netsonde_audit::report::Source;
use netsonde_probes::records::{self, Accepts, SocketEvent, SocketEventKind, SpecialKind, SpecialSocket};

use super::places::Places;
use crate::enrich::{Clock, Process};

/// A process that has to do with a socket, and whose it is.
#[derive(Debug, Clone)]
pub struct Party {
    /// The process, as it was then.
    pub process: Arc<Process>,
    /// Real user id; the kernel has none.
    pub user_id: Option<u32>,
    /// Name of that user.
    pub user: Option<Arc<str>>,
}

/// Who has to do with a socket. A process that nobody knows any more is left out.
#[derive(Debug, Clone, Default)]
pub struct Parties {
    /// Whose it is in a sweep's record.
    pub owner: Option<Party>,
    /// All who hold it, when they are several.
    pub holders: Vec<Party>,
    /// Who opened it.
    pub opener: Option<Party>,
}

/// What rows of one time have in common.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Names of namespaces and interfaces.
    pub places: &'a Places,
    /// For times.
    pub clock: &'a Clock,
    /// Whether anybody counted what was accepted.
    pub source: Source,
}

/// The row of a listening TCP socket or a bound UDP socket.
#[must_use]
pub fn listener(found: &records::Listener, parties: &Parties, at: Circumstances<'_>) -> Listener {
    let (transport, tcp) = match found.transport {
        records::Transport::Tcp => (Transport::Tcp, true),
        records::Transport::Udp => (Transport::Udp, false),
    };
    // What UDP tells at a bind is told of who did it.
    let opener =
        parties.opener.as_ref().or(parties.owner.as_ref().filter(|_| !tcp && found.opened_ns.is_some()));
    let counted = tcp && at.source == Source::Daemon;
    let accepts = counted.then_some(&found.accepts);
    Listener {
        peer: found.peer,
        automatic_port: Some(!found.port_chosen),
        ipv6_only: found.address.is_ipv6().then_some(found.ipv6_only),
        namespace: at.places.namespace(found.network_namespace),
        interface: found.interface.map(|index| at.places.interface(found.network_namespace, index)),
        backlog: tcp.then_some(found.backlog),
        queued: tcp.then_some(found.queued),
        reuse_port: Some(found.reuseport_group.is_some()),
        reuse_port_sockets: found.reuseport_group.map(u32::from),
        cookie: Some(found.cookie),
        opened_unix_ns: found.opened_ns.map(|ns| to_the_millisecond(at.clock.unix_of(ns))),
        opened_by: opener.map(|party| process(party, at.clock)),
        holders: holders(parties, at.clock),
        accepted: accepts.map(|a| a.count),
        last_accepted_unix_ns: accepts
            .and_then(|a| a.last_ns)
            .map(|ns| to_the_millisecond(at.clock.unix_of(ns))),
        peers: accepts.map(|a| a.peers),
        client_networks: accepts.map(networks).unwrap_or_default(),
        further_networks: accepts.is_some_and(|a| a.further_networks),
        ..Listener::new(transport, Some(found.address), Some(found.port))
    }
}

/// The row of a socket that opened or closed, by its event. What only a sweep can tell is not known.
#[must_use]
pub fn told(
    event: &SocketEvent,
    opened_ns: Option<u64>,
    parties: &Parties,
    at: Circumstances<'_>,
) -> Listener {
    let (address, port) = event.local;
    let opens = event.kind == SocketEventKind::ListenOpen;
    let found = records::Listener {
        transport: event.transport,
        owner: event.owner,
        opener: opens.then_some(event.owner),
        opened_ns,
        cookie: event.cookie,
        address,
        port,
        interface: event.interface,
        network_namespace: event.network_namespace,
        backlog: event.backlog,
        queued: 0,
        // Not known from here on, or told below.
        reuseport_group: None,
        peer: None,
        port_chosen: false,
        ipv6_only: false,
        shared: false,
        accepts: Accepts::default(),
        rules: event.rules,
    };
    let options = event.options;
    let row = listener(&found, parties, at);
    Listener {
        // listen() without bind(): the kernel takes a port a moment later, which a sweep sees.
        port: (port != 0).then_some(port),
        automatic_port: options.map(|options| !options.port_chosen),
        ipv6_only: options.filter(|_| address.is_ipv6()).map(|options| options.ipv6_only),
        queued: None,
        reuse_port: options.map(|options| options.reuse_port),
        // How many there are with it shows in a sweep.
        reuse_port_sockets: None,
        accepted: row.accepted.filter(|_| opens),
        peers: row.peers.filter(|_| opens),
        ..row
    }
}

/// The row of a raw, packet or SCTP socket.
#[must_use]
pub fn special(found: &SpecialSocket, parties: &Parties, at: Circumstances<'_>) -> Listener {
    let (transport, address, port, protocol) = match found.kind {
        SpecialKind::Raw { protocol, address } => (Transport::Raw, Some(address), None, Some(protocol)),
        SpecialKind::Packet { protocol } => (Transport::Packet, None, None, Some(protocol)),
        SpecialKind::Sctp { address, port } => (Transport::Sctp, Some(address), Some(port), None),
    };
    Listener {
        protocol,
        namespace: at.places.namespace(found.network_namespace),
        interface: found.interface.map(|index| at.places.interface(found.network_namespace, index)),
        cookie: Some(found.cookie),
        holders: holders(parties, at.clock),
        ..Listener::new(transport, address, port)
    }
}

/// All who hold it, each once: the owner first, for whom it counts.
fn holders(parties: &Parties, clock: &Clock) -> Vec<Holder> {
    let mut known = HashSet::with_capacity(parties.holders.len() + 1);
    let each = parties.owner.iter().chain(&parties.holders).filter(|party| known.insert(party.process.id));
    each.map(|party| process(party, clock)).collect()
}

fn process(party: &Party, clock: &Clock) -> Holder {
    let process = &party.process;
    let context = process.context.as_deref();
    let owned = |text: &Arc<str>| text.to_string();
    Holder {
        pid: process.id.pid,
        started_unix_ns: started(process, clock),
        path: path(process),
        script: process.program.script.as_ref().map(owned),
        user_id: party.user_id,
        user: party.user.as_ref().map(owned),
        unit: context.and_then(|c| c.unit.as_ref()).map(owned),
        user_unit: context.and_then(|c| c.user_unit.as_ref()).map(owned),
        container: context.and_then(|c| c.container.as_ref()).map(|c| owned(&c.id)),
        ancestors: process
            .ancestors()
            .map(|a| Ancestor { pid: a.id.pid, started_unix_ns: started(a, clock), path: path(a) })
            .collect(),
    }
}

fn path(process: &Process) -> Option<String> {
    (!process.path().is_empty()).then(|| process.path().to_owned())
}

/// The kernel has been there always.
fn started(process: &Process, clock: &Clock) -> Option<u64> {
    (!process.is_kernel()).then(|| to_the_millisecond(clock.unix_of(process.id.start_ns)))
}

/// More would change with every adjustment of the wall clock.
fn to_the_millisecond(unix_ns: u64) -> u64 {
    unix_ns / 1_000_000 * 1_000_000
}

fn networks(accepts: &Accepts) -> Vec<IpNet> {
    accepts.networks.iter().filter_map(|&(address, bits)| IpNet::new(address, bits).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use netsonde_probes::records::{ConnectionTotals, ListenOptions, Owner, ProcessId, Role, RuleMask};

    use super::*;

    const NOBODY: Owner = Owner { process: ProcessId { pid: 0, start_ns: 0 }, image: 0, uid: 0 };

    fn found() -> records::Listener {
        records::Listener {
            transport: records::Transport::Tcp,
            owner: NOBODY,
            opener: None,
            opened_ns: Some(2_000_000),
            cookie: 77,
            address: Ipv6Addr::UNSPECIFIED.into(),
            port: 443,
            interface: Some(2),
            network_namespace: 7,
            backlog: 128,
            queued: 3,
            reuseport_group: Some(4),
            peer: None,
            port_chosen: true,
            ipv6_only: true,
            shared: false,
            accepts: Accepts {
                count: 9,
                last_ns: Some(3_000_000),
                peers: 2,
                networks: vec![(Ipv4Addr::new(192, 0, 2, 0).into(), 24)],
                further_networks: false,
            },
            rules: RuleMask::default(),
        }
    }

    fn party(pid: u32, path: &str) -> Party {
        let id = ProcessId { pid, start_ns: 1_000_000 };
        let init = Arc::new(Process::example(ProcessId { pid: 1, start_ns: 500_000 }, "/sbin/init", None));
        Party {
            process: Arc::new(Process::example(id, path, Some(init))),
            user_id: Some(33),
            user: Some("www".into()),
        }
    }

    fn places() -> Places {
        Places {
            initial: Some(7),
            own: Some(7),
            names: HashMap::from([(8, "blue".to_owned())]),
            interfaces: HashMap::from([(2, "eth0".to_owned())]),
        }
    }

    fn row(found: &records::Listener, parties: &Parties, source: Source) -> Listener {
        let (places, clock) = (places(), Clock::read());
        listener(found, parties, Circumstances { places: &places, clock: &clock, source })
    }

    #[test]
    fn a_listener_has_what_the_kernel_and_the_process_table_know() {
        let parties = Parties {
            owner: Some(party(10, "/usr/sbin/nginx")),
            holders: vec![party(11, "/usr/sbin/nginx"), party(10, "/usr/sbin/nginx")],
            opener: Some(party(5, "/usr/bin/starter")),
        };
        let row = row(&found(), &parties, Source::Daemon);
        assert_eq!(
            (row.transport, row.address, row.port),
            (Transport::Tcp, Some(found().address), Some(443))
        );
        assert_eq!((row.ipv6_only, row.automatic_port, row.cookie), (Some(true), Some(false), Some(77)));
        assert_eq!((row.backlog, row.queued), (Some(128), Some(3)));
        assert_eq!((row.reuse_port, row.reuse_port_sockets), (Some(true), Some(4)));
        assert_eq!((row.interface.as_deref(), row.namespace.initial), (Some("eth0"), Some(true)));
        assert_eq!((row.accepted, row.peers), (Some(9), Some(2)));
        assert_eq!(row.client_networks, ["192.0.2.0/24".parse().expect("a network")]);
        let opened = row.opened_unix_ns.expect("it is known");
        assert_eq!(opened % 1_000_000, 0);
        assert!(row.last_accepted_unix_ns >= Some(opened));
        assert_eq!(row.opened_by.as_ref().map(|by| by.pid), Some(5));
        let pids: Vec<u32> = row.holders.iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [10, 11], "the owner first, and each once");
        let owner = row.owner().expect("there is one");
        assert_eq!(owner.path.as_deref(), Some("/usr/sbin/nginx"));
        assert_eq!((owner.user_id, owner.user.as_deref()), (Some(33), Some("www")));
        assert_eq!(owner.ancestors.len(), 1);
        assert_eq!(owner.ancestors[0].path.as_deref(), Some("/sbin/init"));
    }

    #[test]
    fn a_single_reading_knows_nothing_of_what_was_accepted() {
        let row = row(&found(), &Parties::default(), Source::Kernel);
        assert_eq!((row.accepted, row.last_accepted_unix_ns, row.peers), (None, None, None));
        assert!(row.client_networks.is_empty() && row.holders.is_empty() && row.opened_by.is_none());
        assert_eq!(row.backlog, Some(128));
    }

    #[test]
    fn a_socket_that_has_just_opened_is_told_as_far_as_its_event_knows() {
        let options = ListenOptions { port_chosen: false, ipv6_only: true, reuse_port: true };
        let event = SocketEvent {
            kind: SocketEventKind::ListenOpen,
            time_ns: 2_000_000,
            owner: NOBODY,
            role: Role::Unknown,
            cookie: 77,
            local: (Ipv6Addr::UNSPECIFIED.into(), 443),
            remote: (Ipv6Addr::UNSPECIFIED.into(), 0),
            network_namespace: 8,
            duration_ns: 0,
            totals: ConnectionTotals::default(),
            backlog: 128,
            errno: 0,
            binary_deleted: false,
            transport: records::Transport::Tcp,
            interface: Some(2),
            options: Some(options),
            rules: RuleMask::default(),
        };
        let (places, clock) = (places(), Clock::read());
        let at = Circumstances { places: &places, clock: &clock, source: Source::Daemon };
        let by = party(10, "/usr/sbin/nginx");
        let parties = Parties { owner: Some(by.clone()), opener: Some(by), ..Parties::default() };
        let row = told(&event, Some(event.time_ns), &parties, at);
        assert_eq!((row.automatic_port, row.ipv6_only, row.reuse_port), (Some(true), Some(true), Some(true)));
        assert_eq!((row.backlog, row.queued, row.reuse_port_sockets), (Some(128), None, None));
        assert_eq!((row.cookie, row.port, row.accepted), (Some(77), Some(443), Some(0)));
        assert!(row.opened_unix_ns.is_some());
        assert_eq!(row.holders.len(), 1);
        assert_eq!(row.opened_by.map(|by| by.pid), Some(10));
        let unbound = SocketEvent { options: None, local: (event.local.0, 0), ..event };
        let row = told(&unbound, Some(event.time_ns), &parties, at);
        assert_eq!((row.port, row.automatic_port, row.ipv6_only, row.reuse_port), (None, None, None, None));
    }

    #[test]
    fn a_udp_socket_has_no_queue_of_connections_and_was_opened_by_its_owner() {
        let peer = "192.0.2.1:53".parse().expect("an address");
        let udp = records::Listener {
            transport: records::Transport::Udp,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            peer: Some(peer),
            interface: None,
            port_chosen: false,
            reuseport_group: None,
            network_namespace: 8,
            ..found()
        };
        let parties = Parties { owner: Some(party(10, "/usr/bin/dig")), ..Parties::default() };
        let row = row(&udp, &parties, Source::Daemon);
        assert_eq!((row.backlog, row.queued, row.accepted, row.ipv6_only), (None, None, None, None));
        assert_eq!((row.peer, row.automatic_port), (Some(peer), Some(true)));
        assert_eq!((row.reuse_port, row.reuse_port_sockets, row.interface), (Some(false), None, None));
        assert_eq!(row.namespace.name.as_deref(), Some("blue"));
        assert_eq!(row.opened_by.map(|by| by.pid), Some(10));
        let older = records::Listener { opened_ns: None, ..udp };
        let (places, clock) = (places(), Clock::read());
        let at = Circumstances { places: &places, clock: &clock, source: Source::Daemon };
        assert_eq!(listener(&older, &parties, at).opened_by, None);
    }

    #[test]
    fn sockets_without_ports_keep_their_protocol() {
        let (places, clock) = (places(), Clock::read());
        let at = Circumstances { places: &places, clock: &clock, source: Source::Daemon };
        let socket = |kind| SpecialSocket {
            kind,
            holder: NOBODY,
            cookie: 5,
            interface: Some(2),
            network_namespace: 8,
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let row = |kind| special(&socket(kind), &Parties::default(), at);
        let raw = row(SpecialKind::Raw { protocol: 1, address });
        assert_eq!((raw.transport, raw.address, raw.port), (Transport::Raw, Some(address), None));
        assert_eq!((raw.protocol, raw.interface.as_deref()), (Some(1), Some("2")), "not the own namespace");
        let packet = row(SpecialKind::Packet { protocol: 3 });
        assert_eq!((packet.transport, packet.address, packet.protocol), (Transport::Packet, None, Some(3)));
        let sctp = row(SpecialKind::Sctp { address, port: 9 });
        assert_eq!((sctp.transport, sctp.port, sctp.protocol), (Transport::Sctp, Some(9), None));
    }
}
