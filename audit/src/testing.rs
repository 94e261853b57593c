//! Listeners for tests: single ones, and any that proptest can think of.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::model::{Ancestor, Change, ChangeKind, Listener, Namespace, Process, Transport};
use crate::words::Word;

/// A TCP listener in the initial namespace.
pub fn tcp(endpoint: &str) -> Listener {
    listener(Transport::Tcp, endpoint)
}

/// A UDP socket in the initial namespace.
pub fn udp(endpoint: &str) -> Listener {
    listener(Transport::Udp, endpoint)
}

fn listener(transport: Transport, endpoint: &str) -> Listener {
    let endpoint: SocketAddr = endpoint.parse().expect("an endpoint");
    let namespace = Namespace { inode: 4_026_531_840, initial: Some(true), name: None };
    Listener { namespace, ..Listener::new(transport, Some(endpoint.ip()), Some(endpoint.port())) }
}

/// A process of root's with this binary.
pub fn process(path: &str) -> Process {
    Process {
        pid: 812,
        started_unix_ns: Some(1_700_000_000_000_000_000),
        path: Some(path.to_owned()),
        user_id: Some(0),
        user: Some("root".to_owned()),
        ..Process::default()
    }
}

/// Texts that try to be more than text in one format or another.
fn hostile() -> BoxedStrategy<String> {
    prop_oneof![
        3 => "[a-z0-9/._-]{1,12}",
        3 => "[ -~]{1,16}",
        1 => "\\PC{1,8}",
        1 => any::<String>().prop_filter("not empty", |text| !text.is_empty()),
        1 => proptest::sample::select(vec![
            "<script>alert(1)</script>",
            "\" onload='x'",
            "=HYPERLINK(\"http://x\")",
            "+1",
            "-1",
            "@x",
            "\u{1b}[31m",
            "a,b\"c\r\nd",
            "/bin/{a,b}*?[!x]\\",
            "]]>&amp;",
            "*",
            "none",
            "0",
        ])
        .prop_map(str::to_owned),
    ]
    .boxed()
}

fn path() -> BoxedStrategy<String> {
    prop_oneof![
        3 => hostile().prop_map(|text| format!("/usr/{text}")),
        1 => hostile(),
    ]
    .boxed()
}

/// Times that RFC 3339 can write: before the year 2554.
fn time() -> impl Strategy<Value = u64> {
    any::<u64>()
}

prop_compose! {
    fn ancestor()(pid in any::<u32>(), started_unix_ns in of(time()), path in of(path())) -> Ancestor {
        Ancestor { pid, started_unix_ns, path }
    }
}

prop_compose! {
    /// Any process.
    pub fn any_process()(
        pid in any::<u32>(),
        started_unix_ns in of(time()),
        path in of(path()),
        script in of(path()),
        user_id in of(any::<u32>()),
        user in of(hostile()),
        unit in of(prop_oneof![
            hostile(),
            Just("sshd.service".to_owned()),
            Just(format!("docker-{}.scope", "ab12".repeat(16))),
        ]),
        user_unit in of(hostile()),
        container in of(prop_oneof![hostile(), Just("ab12".repeat(16))]),
        ancestors in vec(ancestor().boxed(), 0..3),
    ) -> Process {
        Process { pid, started_unix_ns, path, script, user_id, user, unit, user_unit, container, ancestors }
    }
}

fn any_network() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0_u8..=128).prop_map(|(address, bits)| {
        let bits = if address.is_ipv4() { bits % 33 } else { bits };
        IpNet::new(address, bits).expect("fits").trunc()
    })
}

prop_compose! {
    fn any_namespace()(inode in any::<u64>(), initial in of(any::<bool>()), name in of(hostile())) -> Namespace {
        Namespace { inode, initial, name }
    }
}

prop_compose! {
    /// Any listener.
    pub fn any_listener()(
        (transport, address, port, protocol) in (
            proptest::sample::select(Transport::WORDS).prop_map(|(_, transport)| transport),
            any::<IpAddr>(), 1_u16.., any::<u16>(),
        ),
        (peer, automatic_port, ipv6_only) in (of(any::<(IpAddr, u16)>()), of(any::<bool>()), of(any::<bool>())),
        (namespace, interface) in (any_namespace().boxed(), of(hostile())),
        (backlog, queued) in (of(any::<u32>()), of(any::<u32>())),
        (reuse_port, reuse_port_sockets, cookie) in (of(any::<bool>()), of(any::<u32>()), of(any::<u64>())),
        (opened_unix_ns, opened_by) in (of(time()), of(any_process().boxed())),
        holders in vec(any_process().boxed(), 0..3),
        (accepted, last_accepted_unix_ns, peers) in (of(any::<u64>()), of(time()), of(any::<u64>())),
        (client_networks, further_networks) in (vec(any_network().boxed(), 0..3), any::<bool>()),
    ) -> Listener {
        let has_port = matches!(transport, Transport::Tcp | Transport::Udp | Transport::Sctp);
        Listener {
            transport,
            address: (transport != Transport::Packet).then_some(address),
            port: has_port.then_some(port),
            protocol: (!has_port).then_some(protocol),
            peer: peer.filter(|_| transport == Transport::Udp).map(|(address, port)| SocketAddr::new(address, port)),
            automatic_port,
            ipv6_only,
            namespace,
            interface,
            backlog,
            queued,
            reuse_port,
            reuse_port_sockets,
            cookie,
            opened_unix_ns,
            opened_by,
            holders,
            accepted,
            last_accepted_unix_ns,
            peers,
            client_networks,
            further_networks,
        }
    }
}

prop_compose! {
    /// Any change.
    pub fn any_change()(
        listener in any_listener(),
        kind in proptest::sample::select(ChangeKind::WORDS).prop_map(|(_, kind)| kind),
        closed_unix_ns in of(time()),
        (close_unseen, first_seen_unix_ns) in (any::<bool>(), of(time())),
    ) -> Change {
        Change { kind, closed_unix_ns, close_unseen, first_seen_unix_ns, listener }
    }
}
