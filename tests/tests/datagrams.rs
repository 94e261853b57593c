//! UDP is exact: datagrams and bytes that programs sent and received, and those that found no room.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::datagrams::{Agent, Counts, Making, Socket, SocketOption};
use netsonde_tests::expect::{Role, SOCKET_DROPS, Subject, Transport, UDP_ACTIVE};
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle::Counters;
use netsonde_tests::program::Programs;
use netsonde_tests::report::Process;
use netsonde_tests::telemetry::Telemetry;
use serde_json::json;

/// Processes of one binary are told apart by their ids.
const BY_PROCESS: &str = "[metrics]\nattributes = [\"network.transport\", \"network.protocol.name\", \
    \"network.type\", \"netsonde.socket.role\", \"server.address\", \"server.port\", \
    \"process.executable.path\", \"process.pid\"]\n";
const LOOPBACK: &str = "127.0.0.1:0";
/// Among them nothing, and more than fits an Ethernet frame.
const SIZES: &[usize] = &[0, 1, 103, 1400, 9000, 0, 30000];

/// include/uapi/asm-generic/socket.h, include/uapi/linux/in.h, include/uapi/linux/udp.h
const SOL_SOCKET: i32 = 1;
const SO_BROADCAST: i32 = 6;
const SO_RCVBUF: i32 = 8;
const SO_REUSEADDR: i32 = 2;
const SO_RCVBUFFORCE: i32 = 33;
const IPPROTO_IP: i32 = 0;
const IP_MULTICAST_IF: i32 = 32;
const IP_MULTICAST_LOOP: i32 = 34;
const IP_ADD_MEMBERSHIP: i32 = 35;
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
/// include/uapi/linux/in6.h
const IPPROTO_IPV6: i32 = 41;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_DSTOPTS: i32 = 59;

/// Room for all that a test sends before it is read.
fn room() -> SocketOption {
    (SOL_SOCKET, SO_RCVBUFFORCE, json!(16 << 20))
}

fn open(agent: &mut Agent, bind: &str, options: &[SocketOption]) -> Socket {
    let options = [&[room()], options].concat();
    let making = Making { bind: Some(bind.parse().unwrap()), options: &options, ..Making::default() };
    agent.open(&making).unwrap()
}

/// A socket that is neither bound nor connected.
fn unbound(agent: &mut Agent, options: &[SocketOption]) -> Socket {
    agent.open(&Making { options, ..Making::default() }).unwrap()
}

fn at(socket: Socket, address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), socket.local.port())
}

/// One process in one role.
fn of(process: &Process, role: Role) -> Subject {
    Subject::over(Transport::Udp, &process.executable, role).with("process.pid", i64::from(process.pid))
}

/// Likewise, with the server's end of its flows.
fn towards(process: &Process, role: Role, server: SocketAddr) -> Subject {
    of(process, role)
        .with("server.address", server.ip().to_canonical().to_string().as_str())
        .with("server.port", i64::from(server.port()))
}

/// That all of a process is one flow, and these are its counts.
fn assert_alone(telemetry: &Telemetry, process: &Process, role: Role, server: SocketAddr, counts: Counts) {
    of(process, role).assert_datagrams(telemetry, counts, 0);
    towards(process, role, server).assert_datagrams(telemetry, counts, 0);
    let other = if role == Role::Client { Role::Server } else { Role::Client };
    of(process, other).assert_datagrams(telemetry, Counts::default(), 0);
}

/// What has been told until now, once it is this.
fn wait_for(daemon: &Daemon, subject: &Subject, counts: Counts) -> Telemetry {
    daemon.wait(&format!("{counts:?}"), |telemetry| subject.datagrams(telemetry) == counts).unwrap()
}

/// Each kind of client against each kind of server that echoes, in two places; each pair of processes is a case.
fn assert_every_pairing(places: Option<&Pair>, cases: &[(&str, &str)]) {
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (near, far) = (places.map(|pair| &pair.client), places.map(|pair| &pair.server));
    let mut ended = Vec::new();
    for &(bind, to) in cases {
        for connected in [false, true] {
            let (mut server, mut client) = (Agent::start(far).unwrap(), Agent::start(near).unwrap());
            let serving = open(&mut server, bind, &[]);
            let to = at(serving, to);
            let making = Making {
                ipv6: to.is_ipv6(),
                connect: connected.then_some(to),
                options: &[room()],
                ..Making::default()
            };
            let socket = client.open(&making).unwrap();
            for _ in 0..3 {
                client.send(socket, (!connected).then_some(to), SIZES).unwrap();
                server.echo(serving, SIZES.len() as u64).unwrap();
                client.receive(socket, SIZES.len() as u64).unwrap();
            }
            let (asking, answering) = (client.process.clone(), server.process.clone());
            let (asked, answered) = (client.end().unwrap(), server.end().unwrap());
            assert_eq!(asked, answered.peer(), "something was lost on its way: nothing is compared");
            ended.push((to, asked, asking, answering));
        }
    }
    let telemetry = daemon.stop().unwrap();
    for (to, asked, client, server) in ended {
        assert_eq!((asked.sent, asked.received), (3 * SIZES.len() as u64, 3 * SIZES.len() as u64));
        assert_alone(&telemetry, &client, Role::Client, to, asked);
        assert_alone(&telemetry, &server, Role::Server, to, asked.peer());
        let family = if to.ip().to_canonical().is_ipv4() { "ipv4" } else { "ipv6" };
        for (process, role, counts) in [(&client, Role::Client, asked), (&server, Role::Server, asked.peer())]
        {
            of(process, role).with("network.type", family).assert_datagrams(&telemetry, counts, 0);
        }
    }
}

#[test]
fn both_ends_are_exact_over_loopback() {
    let _host = Host::acquire().unwrap();
    assert_every_pairing(
        None,
        &[
            (LOOPBACK, "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("[::]:0", "127.0.0.1"),
            ("[::]:0", "::ffff:127.0.0.1"),
            ("[::]:0", "::1"),
        ],
    );
}

#[test]
fn both_ends_are_exact_over_a_cable() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let before = Counters::read(&pair.client).unwrap();
    assert_every_pairing(
        Some(&pair),
        &[
            ("10.77.0.2:0", "10.77.0.2"),
            ("[fd00:77::2]:0", "fd00:77::2"),
            ("[::]:0", "10.77.0.2"),
            ("[::]:0", "fd00:77::2"),
        ],
    );
    let fragments = Counters::read(&pair.client).unwrap().since(&before, "Ip:FragCreates").unwrap();
    assert!(fragments > 0, "nothing was cut into fragments: that one datagram is one is not shown");
}

#[test]
fn empty_datagrams_are_datagrams() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let socket = client.connect(serving.local).unwrap();
    client.send(socket, None, &[0; 17]).unwrap();
    server.receive(serving, 17).unwrap();
    let (asking, answering) = (client.process.clone(), server.process.clone());
    let asked = client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(asked, Counts { sent: 17, ..Counts::default() });
    assert_alone(&telemetry, &asking, Role::Client, serving.local, asked);
    assert_alone(&telemetry, &answering, Role::Server, serving.local, asked.peer());
}

#[test]
fn segments_are_datagrams_however_they_travel() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut ended = Vec::new();
    for (near, far, address) in [
        (None, None, "127.0.0.1"),
        (None, None, "::1"),
        (Some(&pair.client), Some(&pair.server), "10.77.0.2"),
        (Some(&pair.client), Some(&pair.server), "fd00:77::2"),
    ] {
        for joined in [0, 1] {
            let (mut server, mut client) = (Agent::start(far).unwrap(), Agent::start(near).unwrap());
            let bind = SocketAddr::new(address.parse().unwrap(), 0).to_string();
            let serving = open(&mut server, &bind, &[(SOL_UDP, UDP_GRO, json!(joined))]);
            let options = [room(), (SOL_UDP, UDP_SEGMENT, json!(1200))];
            let making = Making { connect: Some(serving.local), options: &options, ..Making::default() };
            let socket = client.open(&making).unwrap();
            // Of one segment and less, of several and one that is not whole, of as many as the kernel allows.
            let asked = client.send(socket, None, &[1200, 7, 1201, 12345, 48000, 0, 2400]).unwrap();
            let answered = server.receive(serving, asked.sent).unwrap();
            assert_eq!(asked, answered.peer(), "something was lost on its way: nothing is compared");
            assert_eq!(asked.sent, 1 + 1 + 2 + 11 + 40 + 1 + 2);
            ended.push((serving.local, asked, client.process.clone(), server.process.clone()));
            client.end().unwrap();
            server.end().unwrap();
        }
    }
    let telemetry = daemon.stop().unwrap();
    for (to, asked, client, server) in ended {
        assert_alone(&telemetry, &client, Role::Client, to, asked);
        assert_alone(&telemetry, &server, Role::Server, to, asked.peer());
    }
}

#[test]
fn a_client_with_several_servers_has_a_flow_with_each() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut client = Agent::start(None).unwrap();
    let socket = client.open(&Making { ipv6: true, options: &[room()], ..Making::default() }).unwrap();
    let mut servers = Vec::new();
    for (number, address) in ["127.0.0.1", "127.0.0.1", "127.0.0.3", "::1", "::1"].iter().enumerate() {
        let mut server = Agent::start(None).unwrap();
        let bind = SocketAddr::new(address.parse().unwrap(), 0).to_string();
        let serving = open(&mut server, &bind, &[]);
        let mapped = match serving.local.ip() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
            ip @ std::net::IpAddr::V6(_) => ip,
        };
        servers.push((server, serving, SocketAddr::new(mapped, serving.local.port()), number));
    }
    let mut flows = vec![Counts::default(); servers.len()];
    for round in 0..3 {
        for (server, serving, to, number) in &mut servers {
            let sizes = vec![100 * (*number + 1) + round; *number + 1];
            flows[*number] += client.send(socket, Some(*to), &sizes).unwrap();
            server.echo(*serving, sizes.len() as u64).unwrap();
            flows[*number] += client.receive(socket, sizes.len() as u64).unwrap();
        }
    }
    let asking = client.process.clone();
    let total = client.end().unwrap();
    let ended: Vec<_> = servers
        .into_iter()
        .map(|(server, serving, ..)| (server.process.clone(), serving.local, server.end().unwrap()))
        .collect();
    let telemetry = daemon.stop().unwrap();
    of(&asking, Role::Client).assert_datagrams(&telemetry, total, 0);
    of(&asking, Role::Server).assert_datagrams(&telemetry, Counts::default(), 0);
    for ((process, local, counts), flow) in ended.iter().zip(flows) {
        assert_eq!(flow, counts.peer());
        towards(&asking, Role::Client, *local).assert_datagrams(&telemetry, flow, 0);
        assert_alone(&telemetry, process, Role::Server, *local, *counts);
    }
}

#[test]
fn several_clients_of_one_server_are_told_apart() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut server = Agent::start(None).unwrap();
    let serving = open(&mut server, LOOPBACK, &[]);
    let mut clients: Vec<_> = (0..5).map(|_| Agent::start(None).unwrap()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Each of them has two sockets.
        for _ in 0..2 {
            let socket = client.connect(serving.local).unwrap();
            client.send(socket, None, &vec![50 + number; number + 2]).unwrap();
            server.echo(serving, number as u64 + 2).unwrap();
            client.receive(socket, number as u64 + 2).unwrap();
        }
    }
    let ended: Vec<_> =
        clients.into_iter().map(|client| (client.process.clone(), client.end().unwrap())).collect();
    let answering = server.process.clone();
    let answered = server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    for (process, counts) in &ended {
        assert_alone(&telemetry, process, Role::Client, serving.local, *counts);
    }
    assert_alone(&telemetry, &answering, Role::Server, serving.local, answered);
}

/// A receiver that reads when all is sent, and has little room; what it got, and what its kernel dropped.
fn overflow(place: &Namespace, address: &str, options: &[SocketOption]) -> (Agent, Agent, Socket, u64) {
    let (mut server, mut client) = (Agent::start(Some(place)).unwrap(), Agent::start(Some(place)).unwrap());
    let options = [&[(SOL_SOCKET, SO_RCVBUF, json!(20000))], options].concat();
    let making = Making {
        bind: Some(SocketAddr::new(address.parse().unwrap(), 0)),
        options: &options,
        ..Making::default()
    };
    let serving = server.open(&making).unwrap();
    let socket = client.connect(serving.local).unwrap();
    for _ in 0..3 {
        client.send(socket, None, &[1000; 100]).unwrap();
        client.send(socket, None, &[0, 10, 5000]).unwrap();
        server.receive_all(serving).unwrap();
    }
    let drops = server.drops(serving).unwrap();
    (client, server, serving, drops)
}

#[test]
fn what_finds_no_room_is_dropped_and_not_received() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let before = Counters::read(&place).unwrap();
    let (client, server, serving, drops) = overflow(&place, "127.0.0.1", &[]);
    let kernels = Counters::read(&place).unwrap().since(&before, "Udp:RcvbufErrors").unwrap();
    let (ipv6_client, ipv6_server, ipv6_serving, ipv6_drops) = overflow(&place, "::1", &[]);
    let mut ended = Vec::new();
    for (client, server, serving, drops) in
        [(client, server, serving, drops), (ipv6_client, ipv6_server, ipv6_serving, ipv6_drops)]
    {
        let (asking, answering) = (client.process.clone(), server.process.clone());
        ended.push((asking, client.end().unwrap(), answering, server.end().unwrap(), serving.local, drops));
    }
    let telemetry = daemon.stop().unwrap();
    assert_eq!(drops, kernels);
    for (client, asked, server, answered, to, drops) in ended {
        assert!(drops > 0 && answered.received > 0, "nothing is compared");
        assert_eq!(asked.sent, answered.received + drops);
        assert_alone(&telemetry, &client, Role::Client, to, asked);
        towards(&server, Role::Server, to).assert_datagrams(&telemetry, answered, drops);
    }
}

/// The host without function tracing, such as `fexit` programs rest on, until this is dropped
/// (Documentation/trace/ftrace.rst); as it is where its kernel has none.
struct WithoutFunctionTracing(bool);

impl WithoutFunctionTracing {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";

    fn begin() -> Self {
        Self(fs::write(Self::SWITCH, "0").is_ok())
    }
}

impl Drop for WithoutFunctionTracing {
    fn drop(&mut self) {
        if self.0 {
            fs::write(Self::SWITCH, "1").unwrap();
        }
    }
}

#[test]
fn without_function_tracing_drops_over_ipv4_are_exact_and_what_is_missing_is_said() {
    let _host = Host::acquire().unwrap();
    let _untraced = WithoutFunctionTracing::begin();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let status = daemon.status().unwrap();
    let signals = status["status"]["signals"].as_array().unwrap();
    let udp = signals.iter().find(|signal| signal["name"] == "udp").unwrap();
    match udp["state"].as_str().unwrap() {
        // Since 6.10 nothing rests on it.
        "active" => (),
        state => {
            let reason = udp["reason"].as_str().unwrap();
            assert_eq!(
                (state, reason.contains("over IPv6"), reason.contains("over IPv4")),
                ("degraded", true, false)
            );
        }
    }
    let (client, server, serving, drops) = overflow(&place, "127.0.0.1", &[]);
    let (asking, answering) = (client.process.clone(), server.process.clone());
    let (asked, answered) = (client.end().unwrap(), server.end().unwrap());
    let telemetry = daemon.stop().unwrap();
    assert!(drops > 0 && answered.received > 0, "nothing is compared");
    assert_alone(&telemetry, &asking, Role::Client, serving.local, asked);
    towards(&answering, Role::Server, serving.local).assert_datagrams(&telemetry, answered, drops);
}

#[test]
fn what_a_filter_refuses_is_dropped_for_a_reason_that_is_not_told() {
    const REFUSED: &str = "NOT_SPECIFIED";
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut server, mut client) =
            (Agent::start(Some(&place)).unwrap(), Agent::start(Some(&place)).unwrap());
        let serving = open(&mut server, address, &[]);
        server.refuse(serving, 1000).unwrap();
        let socket = client.connect(serving.local).unwrap();
        let subject = towards(&server.process, Role::Server, serving.local);
        client.send(socket, None, &[100, 2000, 1000, 1001, 3000]).unwrap();
        assert_eq!(server.receive(serving, 2).unwrap().received, 2);
        assert_eq!(server.drops(serving).unwrap(), 3);
        let dropped = |telemetry: &Telemetry, reason| {
            subject.sum_where(telemetry, SOCKET_DROPS, "netsonde.drop.reason", reason)
        };
        daemon.wait("what an open socket dropped", |told| dropped(told, REFUSED) == 3).unwrap();
        // The rest is told when it closes.
        client.send(socket, None, &[2000, 10, 2000]).unwrap();
        assert_eq!(server.receive(serving, 1).unwrap().received, 1);
        let drops = server.drops(serving).unwrap();
        server.end().unwrap();
        client.end().unwrap();
        let told = daemon.wait("what it had dropped", |told| dropped(told, REFUSED) == 5).unwrap();
        assert_eq!(drops, 5);
        assert_eq!(subject.sum(&told, SOCKET_DROPS), 5);
        // The kernel asks the filter behind netsonde.
        assert_eq!(subject.datagrams(&told).received, 8);
    }
    daemon.stop().unwrap();
}

#[test]
fn drops_of_both_kinds_add_up_to_what_the_kernel_counts() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut client, mut server, serving, full) = overflow(&place, "127.0.0.1", &[]);
    server.refuse(serving, 1000).unwrap();
    let socket = client.connect(serving.local).unwrap();
    client.send(socket, None, &[1001; 7]).unwrap();
    let drops = server.drops(serving).unwrap();
    let subject = towards(&server.process, Role::Server, serving.local);
    server.end().unwrap();
    client.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    let dropped = |reason| subject.sum_where(&telemetry, SOCKET_DROPS, "netsonde.drop.reason", reason);
    assert_eq!((dropped("SOCKET_RCVBUFF"), dropped("NOT_SPECIFIED")), (full as i64, 7));
    assert_eq!(subject.sum(&telemetry, SOCKET_DROPS), drops as i64);
}

#[test]
fn drops_are_exact_where_flows_carry_the_clients_address() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let with_client = BY_PROCESS.replace("\"server.port\"", "\"server.port\", \"client.address\"");
    let daemon = Daemon::start(&with_client).unwrap();
    let (client, server, serving, drops) = overflow(&place, "127.0.0.1", &[]);
    let (asking, answering) = (client.process.clone(), server.process.clone());
    let (asked, answered) = (client.end().unwrap(), server.end().unwrap());
    let telemetry = daemon.stop().unwrap();
    assert!(drops > 0 && answered.received > 0, "nothing is compared");
    for (process, role, counts, drops) in
        [(&asking, Role::Client, asked, 0), (&answering, Role::Server, answered, drops)]
    {
        let subject = towards(process, role, serving.local);
        subject.assert_datagrams(&telemetry, counts, drops);
        let moved = subject.with("client.address", "127.0.0.1").datagrams(&telemetry);
        assert_eq!(moved, counts, "{role:?}");
    }
}

#[test]
fn multicast_is_sent_once_and_received_by_each() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut ended = Vec::new();
    // On loopback, and over a cable to members at both ends.
    for (interface, group, far) in
        [("7f000001", "239.7.7.7", &pair.client), ("0a4d0001", "239.7.7.8", &pair.server)]
    {
        let there = if interface == "0a4d0001" { "0a4d0002" } else { interface };
        let octets: String =
            group.split('.').map(|part| format!("{:02x}", part.parse::<u8>().unwrap())).collect();
        let mut port = 0;
        let mut receivers = Vec::new();
        for (place, interface) in [(&pair.client, interface), (far, there), (far, there)] {
            let mut receiver = Agent::start(Some(place)).unwrap();
            let options = [
                (SOL_SOCKET, SO_REUSEADDR, json!(1)),
                (IPPROTO_IP, IP_ADD_MEMBERSHIP, json!(format!("{octets}{interface}"))),
            ];
            let socket = open(&mut receiver, &format!("{group}:{port}"), &options);
            port = socket.local.port();
            receivers.push((receiver, socket));
        }
        let mut sender = Agent::start(Some(&pair.client)).unwrap();
        let options =
            [(IPPROTO_IP, IP_MULTICAST_IF, json!(interface)), (IPPROTO_IP, IP_MULTICAST_LOOP, json!(1))];
        let socket = unbound(&mut sender, &options);
        let to = SocketAddr::new(group.parse().unwrap(), port);
        let sent = sender.send(socket, Some(to), &[0, 5, 1000, 4000]).unwrap();
        for (receiver, socket) in &mut receivers {
            assert_eq!(receiver.receive(*socket, sent.sent).unwrap(), sent.peer());
        }
        ended.push((sender.process.clone(), Role::Client, to, sender.end().unwrap()));
        for (receiver, _) in receivers {
            ended.push((receiver.process.clone(), Role::Server, to, receiver.end().unwrap()));
        }
    }
    let telemetry = daemon.stop().unwrap();
    for (process, role, to, counts) in ended {
        assert_alone(&telemetry, &process, role, to, counts);
    }
}

#[test]
fn a_broadcast_is_sent_once_and_received_by_each() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut port = 0;
    let mut receivers = Vec::new();
    for place in [&pair.client, &pair.server, &pair.server] {
        let mut receiver = Agent::start(Some(place)).unwrap();
        let options = [(SOL_SOCKET, SO_REUSEADDR, json!(1)), (SOL_SOCKET, SO_BROADCAST, json!(1))];
        let socket = open(&mut receiver, &format!("0.0.0.0:{port}"), &options);
        port = socket.local.port();
        receivers.push((receiver, socket));
    }
    let mut sender = Agent::start(Some(&pair.client)).unwrap();
    let socket = unbound(&mut sender, &[(SOL_SOCKET, SO_BROADCAST, json!(1))]);
    let to = SocketAddr::new("10.77.0.255".parse().unwrap(), port);
    let sent = sender.send(socket, Some(to), &[0, 5, 1000]).unwrap();
    for (receiver, socket) in &mut receivers {
        assert_eq!(receiver.receive(*socket, sent.sent).unwrap(), sent.peer());
    }
    let mut ended = vec![(sender.process.clone(), Role::Client, sender.end().unwrap())];
    for (receiver, _) in receivers {
        ended.push((receiver.process.clone(), Role::Server, receiver.end().unwrap()));
    }
    let telemetry = daemon.stop().unwrap();
    for (process, role, counts) in ended {
        assert_alone(&telemetry, &process, role, to, counts);
    }
}

#[test]
fn sockets_older_than_netsonde_count_from_its_start() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let mut pairs = Vec::new();
    // A server's port of either kind, and a server or a client that is heard first.
    for (bind, server_speaks) in
        [(LOOPBACK, false), ("[::1]:0", false), ("127.0.0.1:5353", false), ("127.0.0.1:5354", true)]
    {
        let (mut server, mut client) =
            (Agent::start(Some(&place)).unwrap(), Agent::start(Some(&place)).unwrap());
        let serving = open(&mut server, bind, &[]);
        let socket = client.connect(serving.local).unwrap();
        client.send(socket, None, &[10, 20, 30]).unwrap();
        server.echo(serving, 2).unwrap();
        client.receive(socket, 2).unwrap();
        pairs.push((client, socket, server, serving, server_speaks));
    }
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut ended = Vec::new();
    for (mut client, socket, mut server, serving, server_speaks) in pairs {
        let (asked_before, answered_before) = (client.counts, server.counts);
        if server_speaks {
            // What it has in its queue came before.
            let late = server.echo(serving, 1).unwrap();
            client.receive(socket, 1).unwrap();
            server.counts.received -= late.received;
            server.counts.received_bytes -= late.received_bytes;
        } else {
            server.receive(serving, 1).unwrap();
            server.counts = answered_before;
            client.send(socket, None, &[40, 50]).unwrap();
            server.echo(serving, 2).unwrap();
            client.receive(socket, 2).unwrap();
        }
        let since = |now: Counts, before: Counts| Counts {
            sent: now.sent - before.sent,
            sent_bytes: now.sent_bytes - before.sent_bytes,
            received: now.received - before.received,
            received_bytes: now.received_bytes - before.received_bytes,
        };
        let asked = since(client.counts, asked_before);
        let answered = since(server.counts, answered_before);
        assert_eq!(asked, answered.peer());
        wait_for(&daemon, &towards(&client.process, Role::Client, serving.local), asked);
        wait_for(&daemon, &towards(&server.process, Role::Server, serving.local), answered);
        ended.push((serving.local, asked, client.process.clone(), server.process.clone()));
        client.end().unwrap();
        server.end().unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for (to, asked, client, server) in ended {
        assert_alone(&telemetry, &client, Role::Client, to, asked);
        assert_alone(&telemetry, &server, Role::Server, to, asked.peer());
    }
}

#[test]
fn an_older_client_with_several_servers_keeps_its_name() {
    let _host = Host::acquire().unwrap();
    let (mut client, mut server) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let (one, other) = (open(&mut server, LOOPBACK, &[]), open(&mut server, LOOPBACK, &[]));
    let socket = unbound(&mut client, &[room()]);
    client.send(socket, Some(one.local), &[10]).unwrap();
    server.receive(one, 1).unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut flows = Vec::new();
    for at in [one, other] {
        let mut counts = client.send(socket, Some(at.local), &[100, 200, 300]).unwrap();
        server.echo(at, 3).unwrap();
        counts += client.receive(socket, 3).unwrap();
        flows.push((at.local, counts));
    }
    for (to, counts) in &flows {
        wait_for(&daemon, &towards(&client.process, Role::Client, *to), *counts);
        wait_for(&daemon, &towards(&server.process, Role::Server, *to), counts.peer());
    }
    client.end().unwrap();
    server.end().unwrap();
    daemon.stop().unwrap();
}

#[test]
fn an_older_socket_counts_when_it_is_known_whose_it_is() {
    let _host = Host::acquire().unwrap();
    let (mut client, mut server) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let (one, other) = (open(&mut server, LOOPBACK, &[]), open(&mut server, LOOPBACK, &[]));
    let socket = open(&mut client, LOOPBACK, &[]);
    client.stow(socket).unwrap();
    let daemon = Daemon::start_sweeping(&host::netsonde().unwrap(), BY_PROCESS, "5s", |_| {}).unwrap();
    // A sweep meets a socket that something has come for, and that nobody holds.
    let called = server.send(one, Some(socket.local), &[10]).unwrap();
    wait_for(&daemon, &towards(&server.process, Role::Client, socket.local), called);
    client.fetch(socket).unwrap();
    client.receive(socket, 1).unwrap();
    for at in [one, other] {
        client.send(socket, Some(at.local), &[1000; 5]).unwrap();
        server.receive(at, 5).unwrap();
    }
    // The next one finds its process.
    let heard = Counts { received: 5, received_bytes: 5000, ..Counts::default() };
    wait_for(&daemon, &towards(&server.process, Role::Server, other.local), heard);
    let mut flows = Vec::new();
    for at in [one, other] {
        let mut counts = client.send(socket, Some(at.local), &[100, 200, 300]).unwrap();
        server.echo(at, 3).unwrap();
        counts += client.receive(socket, 3).unwrap();
        flows.push((at.local, counts));
    }
    let process = client.process.clone();
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    for (to, counts) in flows {
        assert_eq!(towards(&process, Role::Client, to).datagrams(&telemetry), counts);
        // By whomever: nothing of it went to a flow without a process.
        let all = [
            ("netsonde.socket.role", Role::Client.name().into()),
            ("server.port", i64::from(to.port()).into()),
            ("network.io.direction", "transmit".into()),
        ];
        assert_eq!(telemetry.sum("netsonde.flow.packets", &all), counts.sent as i64);
    }
}

#[test]
fn sockets_that_live_between_two_sweeps_are_their_processes() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut parent) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let children = parent
        .swarm(serving.local, 500, || {
            let received = server.receive(serving, 150)?;
            assert_eq!(received.received, 150);
            Ok(())
        })
        .unwrap();
    let (forking, answering) = (parent.process.clone(), server.process.clone());
    parent.end().unwrap();
    let answered = server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    let mut total = Counts::default();
    for (pid, counts) in &children {
        let child = Process { pid: *pid, ..forking.clone() };
        assert_alone(&telemetry, &child, Role::Client, serving.local, *counts);
        total += *counts;
    }
    assert_eq!((children.len(), total), (500, answered.peer()));
    assert_alone(&telemetry, &answering, Role::Server, serving.local, answered);
}

#[test]
fn a_child_that_is_left_with_a_socket_owns_it() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let socket = client.connect(serving.local).unwrap();
    let exchange = |client: &mut Agent, server: &mut Agent, size: usize| {
        let mut counts = client.send(socket, None, &[size, 7, 0]).unwrap();
        counts += server.echo(serving, 3).map(|_| client.receive(socket, 3).unwrap()).unwrap();
        counts
    };
    let mut owners = Vec::new();
    for size in [1000, 2000] {
        let counts = exchange(&mut client, &mut server, size);
        for (agent, role, counts) in [(&client, Role::Client, counts), (&server, Role::Server, counts.peer())]
        {
            let subject = towards(&agent.process, role, serving.local);
            let telemetry = wait_for(&daemon, &subject, counts);
            daemon.wait("one open socket", |telemetry| subject.sum(telemetry, UDP_ACTIVE) == 1).unwrap();
            drop(telemetry);
            owners.push((agent.process.clone(), role, counts));
        }
        if size == 1000 {
            client.orphan().unwrap();
            server.orphan().unwrap();
        }
    }
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(owners.len(), 4);
    for (process, role, counts) in owners {
        assert_alone(&telemetry, &process, role, serving.local, counts);
    }
}

#[test]
fn an_exec_takes_its_sockets_along() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let socket = client.connect(serving.local).unwrap();
    let before = client.process.clone();
    let next = programs.path("another-python").unwrap();
    fs::copy(&before.executable, &next).unwrap();
    let first = client.send(socket, None, &[1000, 0, 7]).unwrap();
    server.receive(serving, 3).unwrap();
    wait_for(&daemon, &towards(&before, Role::Client, serving.local), first);
    client.become_program(&next, &[socket]).unwrap();
    assert_eq!((client.process.pid, &client.process.executable), (before.pid, &next));
    let second = client.send(socket, None, &[2000, 0, 8, 9]).unwrap();
    server.receive(serving, 4).unwrap();
    let after = client.process.clone();
    wait_for(&daemon, &towards(&after, Role::Client, serving.local), second);
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_alone(&telemetry, &before, Role::Client, serving.local, first);
    assert_alone(&telemetry, &after, Role::Client, serving.local, second);
}

/// There may be no sweep from one to the other.
#[test]
fn what_a_program_sent_just_before_an_exec_stays_with_it() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let socket = client.connect(serving.local).unwrap();
    let before = client.process.clone();
    let next = programs.path("another-python").unwrap();
    fs::copy(&before.executable, &next).unwrap();
    let first = client.send(socket, None, &[1000, 0, 7]).unwrap();
    client.become_program(&next, &[socket]).unwrap();
    let second = client.send(socket, None, &[2000, 0, 8, 9]).unwrap();
    server.receive(serving, 7).unwrap();
    let after = client.process.clone();
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_alone(&telemetry, &before, Role::Client, serving.local, first);
    assert_alone(&telemetry, &after, Role::Client, serving.local, second);
}

/// RFC 8200, 4.1: what is before the datagram's own header is not of its payload.
#[test]
fn datagrams_are_found_behind_extension_headers() {
    // Next header and length are the kernel's to fill in; then one option, PadN of four bytes.
    let options = || json!("0000010400000000");
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, "[::1]:0", &[]);
    let making = Making {
        connect: Some(serving.local),
        options: &[(IPPROTO_IPV6, IPV6_HOPOPTS, options()), (IPPROTO_IPV6, IPV6_DSTOPTS, options())],
        ..Making::default()
    };
    let socket = client.open(&making).unwrap();
    let asked = client.send(socket, None, &[1000, 0, 7]).unwrap();
    server.receive(serving, 3).unwrap();
    let (asking, answering) = (client.process.clone(), server.process.clone());
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_alone(&telemetry, &asking, Role::Client, serving.local, asked);
    assert_alone(&telemetry, &answering, Role::Server, serving.local, asked.peer());
}

#[test]
fn open_sockets_are_counted_once_they_are_used_and_until_they_close() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let (serving, unused) = (open(&mut server, LOOPBACK, &[]), open(&mut server, LOOPBACK, &[]));
    let sockets: Vec<_> = (0..3).map(|_| client.connect(serving.local).unwrap()).collect();
    for socket in &sockets {
        client.send(*socket, None, &[10]).unwrap();
    }
    server.receive(serving, 3).unwrap();
    let of_client = towards(&client.process, Role::Client, serving.local);
    let of_server = towards(&server.process, Role::Server, serving.local);
    let active = |wanted: (i64, i64)| {
        daemon
            .wait(&format!("{wanted:?} open sockets"), |telemetry| {
                let found = (of_client.sum(telemetry, UDP_ACTIVE), of_server.sum(telemetry, UDP_ACTIVE));
                found == wanted
            })
            .unwrap()
    };
    active((3, 1));
    for (closed, socket) in sockets.into_iter().enumerate() {
        client.close(socket).unwrap();
        active((2 - closed as i64, 1));
    }
    server.close(serving).unwrap();
    active((0, 0));
    server.close(unused).unwrap();
    let unused = towards(&server.process, Role::Server, unused.local);
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    unused.assert_datagrams(&telemetry, Counts::default(), 0);
}

#[test]
fn quic_is_told_by_its_port_and_its_first_bytes() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let mut ended = Vec::new();
    // An Initial of version 1 (RFC 9000, 17.2.2); version negotiation has version 0, a short header the form bit 0.
    for (address, port, prefix, is_quic) in [
        ("127.0.0.1", 443, "c300000001", true),
        ("::1", 443, "c300000001", true),
        ("127.0.0.2", 443, "c300000000", false),
        ("127.0.0.3", 443, "4300000001", false),
        ("127.0.0.4", 4433, "c300000001", false),
        ("127.0.0.5", 443, "c3000000", false),
    ] {
        let (mut server, mut client) =
            (Agent::start(Some(&place)).unwrap(), Agent::start(Some(&place)).unwrap());
        let bind = SocketAddr::new(address.parse().unwrap(), port);
        let serving = open(&mut server, &bind.to_string(), &[]);
        let socket = client.connect(bind).unwrap();
        let size = if prefix.len() == 8 { 4 } else { 1200 };
        client.send_data(socket, None, &[size], prefix).unwrap();
        server.echo(serving, 1).unwrap();
        client.receive(socket, 1).unwrap();
        let asked = client.send(socket, None, &[30, 40]).map(|_| client.counts).unwrap();
        server.receive(serving, 2).unwrap();
        ended.push((bind, is_quic, asked, client.process.clone(), server.process.clone()));
        client.end().unwrap();
        server.end().unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for (to, is_quic, asked, client, server) in ended {
        for (process, role, counts) in [(&client, Role::Client, asked), (&server, Role::Server, asked.peer())]
        {
            assert_alone(&telemetry, process, role, to, counts);
            let named = towards(process, role, to).with("network.protocol.name", "quic");
            let told = if is_quic { counts } else { Counts::default() };
            named.assert_datagrams(&telemetry, told, 0);
        }
    }
    let others = telemetry.points.iter().filter_map(|point| point.attributes.get("network.protocol.name"));
    others.for_each(|name| assert_eq!(name, &"quic".into()));
}

/// One exchange that the daemon is not to tell of.
fn assert_untold(configuration: &str) -> Telemetry {
    let daemon = Daemon::start(&format!("{BY_PROCESS}{configuration}")).unwrap();
    let (mut server, mut client) = (Agent::start(None).unwrap(), Agent::start(None).unwrap());
    let serving = open(&mut server, LOOPBACK, &[]);
    let socket = unbound(&mut client, &[]);
    client.send(socket, Some(serving.local), SIZES).unwrap();
    server.echo(serving, SIZES.len() as u64).unwrap();
    client.receive(socket, SIZES.len() as u64).unwrap();
    // Sweeps see the sockets too.
    thread::sleep(Duration::from_millis(2500));
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    let udp = Some(&"udp".into());
    let told: Vec<_> =
        telemetry.points.iter().filter(|point| point.attributes.get("network.transport") == udp).collect();
    assert!(told.is_empty(), "{told:?}");
    telemetry
}

#[test]
fn a_signal_that_is_off_tells_nothing() {
    let _host = Host::acquire().unwrap();
    assert_untold("[signals]\nudp = false\n");
}

#[test]
fn a_rule_leaves_a_transport_out() {
    let _host = Host::acquire().unwrap();
    let telemetry = assert_untold(
        "[[select.rule]]\nname = \"no-datagrams\"\naction = \"exclude\"\ntransports = \"udp\"\n",
    );
    let rule = [("netsonde.selector.rule", "no-datagrams".into())];
    assert!(telemetry.sum("netsonde.self.selector.matches", &rule) > 0);
}

#[test]
fn drops_are_exact_where_rules_look_at_each_client() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let rule = "[[select.rule]]\nname = \"that-client\"\naction = \"exclude\"\naddresses = \"127.0.0.9\"\n";
    let daemon = Daemon::start(&format!("{BY_PROCESS}{rule}")).unwrap();
    let (mut client, mut server, serving, drops) = overflow(&place, "127.0.0.1", &[]);
    let (asked, answered) = (client.counts, server.counts);
    // Another one, of which nothing is told at the server, where it is the other end.
    let hidden = client.bind("127.0.0.9:0").unwrap();
    client.send(hidden, Some(serving.local), &[1000; 100]).unwrap();
    server.receive_all(serving).unwrap();
    let all_drops = server.drops(serving).unwrap();
    let (asking, answering) = (client.process.clone(), server.process.clone());
    client.end().unwrap();
    server.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert!(drops > 0 && all_drops > drops, "nothing is compared");
    let sent = towards(&asking, Role::Client, serving.local).datagrams(&telemetry);
    assert_eq!(sent.sent, asked.sent + 100);
    towards(&answering, Role::Server, serving.local).assert_datagrams(&telemetry, answered, drops);
}

#[test]
fn an_open_socket_is_counted_under_one_name_at_a_time() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let (mut server, mut client) = (Agent::start(Some(&place)).unwrap(), Agent::start(Some(&place)).unwrap());
    let serving = open(&mut server, "127.0.0.1:443", &[]);
    let socket = client.connect(serving.local).unwrap();
    let subjects = [(&client.process, Role::Client), (&server.process, Role::Server)]
        .map(|(process, role)| (towards(process, role, serving.local), process.clone(), role));
    let wait = |all: i64, quic: i64| {
        for (subject, process, role) in &subjects {
            let named = towards(process, *role, serving.local).with("network.protocol.name", "quic");
            daemon
                .wait(&format!("{all} open sockets, {quic} of QUIC"), |seen| {
                    (subject.sum(seen, UDP_ACTIVE), named.sum(seen, UDP_ACTIVE)) == (all, quic)
                })
                .unwrap();
        }
    };
    client.send(socket, None, &[20]).unwrap();
    server.receive(serving, 1).unwrap();
    wait(1, 0);
    // Only now is it seen to be QUIC.
    client.send_data(socket, None, &[1200], "c300000001").unwrap();
    server.receive(serving, 1).unwrap();
    wait(1, 1);
    let rule = "[[select.rule]]\nname = \"none\"\naction = \"exclude\"\ntransports = \"udp\"\n";
    daemon.reload(&format!("{BY_PROCESS}{rule}")).unwrap();
    wait(0, 0);
    daemon.reload(BY_PROCESS).unwrap();
    wait(1, 1);
    client.end().unwrap();
    server.end().unwrap();
    wait(0, 0);
    daemon.stop().unwrap();
}
