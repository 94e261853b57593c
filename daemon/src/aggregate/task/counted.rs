//! What the task costs, by its hot paths: each is driven with input that is always the same, for `make instructions`.

use std::net::{IpAddr, Ipv4Addr};

use netsonde_counted::count;
use netsonde_probes::records::{
    Accepts, BinaryPath, CgroupEvent, ConnectionTotals, DnsPacket, Execution, ProcessEvent, ProcessEventKind,
    ProcessId, SocketEvent, Transport,
};
use netsonde_probes::select::RuleMatches;
use netsonde_probes::{Sweep, SweepTotals};

use super::*;
use crate::config::right;
use crate::export::Exporters;

/// Beyond every pid that there is, so that `/proc` knows none of them.
const NEVER: u32 = 0x7fff_0000;
const SECOND: u64 = 1_000_000_000;
/// Programs that talk: half of them serve.
const PROGRAMS: u32 = 20;

fn process(n: u32) -> ProcessId {
    ProcessId { pid: NEVER + n, start_ns: SECOND + u64::from(n) }
}

fn owner(n: u32) -> Owner {
    Owner { process: process(n), image: 1, uid: 0 }
}

fn executed(n: u32) -> ProcessEvent {
    let binary = BinaryPath { path: format!("/usr/bin/program-{n}"), ..BinaryPath::default() };
    ProcessEvent {
        kind: ProcessEventKind::Exec(Box::new(Execution { binary, ..Execution::default() })),
        time_ns: 2 * SECOND,
        process: process(n),
        image: 1,
        parent: process(if n == 0 { 0 } else { n / 2 }),
        uid: 0,
        network_namespace: 1,
        cgroup: 100 + u64::from(n),
        namespace_pid: None,
        kernel_thread: false,
        command: format!("program-{n}"),
    }
}

/// A task without destinations that knows [`PROGRAMS`] programs, each a service of its own.
fn task(configuration: &str) -> Aggregation {
    let config = right(configuration);
    let exporters = Exporters::start(Vec::new(), &[], &config.export.spool).unwrap();
    let publish = Publish { status: watch::channel(Status::default()).0, inventory: watch::channel(None).0 };
    let around =
        Around { progress: Arc::new(Progress::new()), api: Arc::new(Counts::default()), lacking: Vec::new() };
    let view = view::Recorder::new(config.api.history, Clock::read().unix_ns());
    let mut task = Aggregation::new(config, exporters, publish, None, view, around);
    let cgroups = (0..PROGRAMS)
        .map(|n| CgroupEvent {
            id: 100 + u64::from(n),
            path: format!("/system.slice/program-{n}.service"),
            removed: false,
        })
        .collect();
    let processes = (0..PROGRAMS).map(executed).collect();
    task.take_records(&Records { cgroups, processes, ..Records::default() }, &Reading::default());
    // What ends the start reads what this host has mapped.
    while !task.memory.has_started() {
        task.watch_memory(Moment::Export);
    }
    task
}

fn peer(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
}

/// What is told of one side of a connection.
fn event(kind: SocketEventKind, n: u32, role: Role) -> SocketEvent {
    let program = n % (PROGRAMS / 2) + if role == Role::Server { PROGRAMS / 2 } else { 0 };
    let client = (peer(n % 50), 40_000 + (n % 20_000) as u16);
    let server = (peer(100 + n % 5), 80);
    let (local, remote) = if role == Role::Server { (server, client) } else { (client, server) };
    SocketEvent {
        kind,
        time_ns: 10 * SECOND + u64::from(n),
        owner: owner(program),
        role,
        cookie: u64::from(n) * 2 + u64::from(role == Role::Server),
        local,
        remote,
        network_namespace: 1,
        duration_ns: 3_000_000,
        totals: ConnectionTotals {
            transmit_bytes: 1000,
            receive_bytes: 200,
            transmit_segments: 5,
            receive_segments: 6,
            retransmits: 0,
            smoothed_rtt_us: 40,
            partial: false,
        },
        backlog: 0,
        errno: 0,
        binary_deleted: false,
        transport: Transport::Tcp,
        interface: None,
        options: None,
        rules: RuleMask::default(),
    }
}

#[test]
fn tcp_connection() {
    const CONNECTIONS: u32 = 4000;
    let mut task = task("");
    let batches: Vec<Records> = (0..CONNECTIONS / 100)
        .map(|batch| {
            let sockets = (batch * 100..(batch + 1) * 100)
                .flat_map(|n| {
                    [
                        event(SocketEventKind::Connect, n, Role::Client),
                        event(SocketEventKind::Accept, n, Role::Server),
                        event(SocketEventKind::Close, n, Role::Client),
                        event(SocketEventKind::Close, n, Role::Server),
                    ]
                })
                .collect();
            Records { sockets, ..Records::default() }
        })
        .collect();
    count(CONNECTIONS as usize, "connection seen from both ends", || {
        for records in batches {
            task.take_records(&records, &Reading::default());
        }
        task.flush_logs();
    });
    assert_eq!(task.unattributed, 0);
}

/// A flow of a server with a port of its own.
fn flow(n: u32) -> Flow {
    Flow {
        owner: owner(n % PROGRAMS),
        transport: Transport::Tcp,
        application: None,
        role: Role::Server,
        server_address: peer(n / 1000),
        server_port: 1000 + (n % 1000) as u16,
        client_address: None,
        network_namespace: 1,
        rules: RuleMask::default(),
        overflow: false,
    }
}

fn report(flows: Vec<(Flow, FlowCounts)>, listeners: Vec<Listener>) -> SweepReport {
    let processes =
        (0..PROGRAMS).map(|n| ProcessEvent { kind: ProcessEventKind::Seen, ..executed(n) }).collect();
    let sweep = Sweep { flows, listeners, processes, holders: None, totals: SweepTotals::default() };
    SweepReport {
        sweep: Ok(sweep),
        took: Duration::from_millis(15),
        losses: Vec::new(),
        rule_matches: RuleMatches::default(),
        signals: Vec::new(),
        programs: Vec::new(),
        rings: Vec::new(),
        tables: Vec::new(),
        flow_capacity: 65_536,
    }
}

const FLOWS: u32 = 10_000;
const ROOM: &str = "[metrics]\nseries_limit = 200000\n[limits]\nflows = 65536\n";

#[test]
fn sweep_of_new_flows() {
    let mut task = task(ROOM);
    let first = report((0..FLOWS).map(|n| (flow(n), FlowCounts::accepted(1, 1))).collect(), Vec::new());
    count(FLOWS as usize, "flow", || task.take_sweep(&first));
    assert_eq!(task.active.fill().0, FLOWS as usize);
}

#[test]
fn sweep_of_busy_flows() {
    let mut task = task(ROOM);
    let flows = |open| (0..FLOWS).map(|n| (flow(n), FlowCounts::accepted(3, open))).collect();
    task.take_sweep(&report(flows(1), Vec::new()));
    let next = report(flows(0), Vec::new());
    count(FLOWS as usize, "flow", || task.take_sweep(&next));
    assert_eq!(task.active.fill().0, FLOWS as usize);
}

#[test]
fn sweep_of_idle_flows() {
    let mut task = task(ROOM);
    let flows = (0..FLOWS).map(|n| (flow(n), FlowCounts::accepted(1, 1))).collect();
    task.take_sweep(&report(flows, Vec::new()));
    let nothing = report(Vec::new(), Vec::new());
    count(FLOWS as usize, "flow with connections open", || task.take_sweep(&nothing));
    assert_eq!(task.active.fill().0, FLOWS as usize);
}

#[test]
fn sweep_of_listeners() {
    const LISTENERS: u32 = 1000;
    let mut task = task(ROOM);
    let listeners: Vec<Listener> = (0..LISTENERS)
        .map(|n| Listener {
            transport: Transport::Tcp,
            owner: owner(n % PROGRAMS),
            opener: Some(owner(n % PROGRAMS)),
            opened_ns: Some(3 * SECOND),
            cookie: u64::from(n) + 1,
            address: peer(0),
            port: 1000 + n as u16,
            interface: None,
            network_namespace: 1,
            backlog: 128,
            queued: 0,
            reuseport_group: None,
            peer: None,
            port_chosen: true,
            ipv6_only: false,
            shared: false,
            accepts: Accepts::default(),
            rules: RuleMask::default(),
        })
        .collect();
    task.take_sweep(&report(Vec::new(), listeners.clone()));
    let next = report(Vec::new(), listeners);
    count(LISTENERS as usize, "listener", || task.take_sweep(&next));
    assert_eq!(task.status.sweep.listeners, u64::from(LISTENERS));
}

#[test]
fn short_process() {
    const PROCESSES: u32 = 2000;
    let mut task = task("");
    let events = |n: u32| {
        let shell = executed(1);
        let of = |kind, image| ProcessEvent {
            kind,
            process: process(1000 + n),
            parent: process(1),
            image,
            ..shell.clone()
        };
        let binary = BinaryPath { path: format!("/usr/bin/tool-{}", n % 50), ..BinaryPath::default() };
        let exec = ProcessEventKind::Exec(Box::new(Execution { binary, ..Execution::default() }));
        [of(ProcessEventKind::Fork, 1), of(exec, 2), of(ProcessEventKind::Exit { owned_sockets: false }, 2)]
    };
    let batches: Vec<Records> = (0..PROCESSES / 100)
        .map(|batch| {
            let processes = (batch * 100..(batch + 1) * 100).flat_map(events).collect();
            Records { processes, ..Records::default() }
        })
        .collect();
    count(PROCESSES as usize, "process that forks, executes and exits", || {
        for records in &batches {
            task.take_records(records, &Reading::default());
        }
    });
}

/// A message about `host-N.example` A; a response has one address.
fn message(id: u16, response: bool) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(if response {
        [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
    } else {
        [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    });
    let label = format!("host-{}", id % 500);
    bytes.push(label.len() as u8);
    bytes.extend(label.bytes());
    bytes.extend(b"\x07example\0\0\x01\0\x01");
    if response {
        bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x0e\0\x04\x0a\0\x01");
        bytes.push(id as u8);
    }
    bytes
}

#[test]
fn dns_lookup() {
    const LOOKUPS: u16 = 2000;
    let mut task = task("");
    let packet = |id: u16, sent: bool| {
        let data = message(id, !sent);
        DnsPacket {
            time_ns: 10 * SECOND + u64::from(id) * 1000,
            owner: owner(u32::from(id) % PROGRAMS),
            cookie: u64::from(id),
            local: (peer(1), 40_000),
            remote: (peer(2), 53),
            network_namespace: 1,
            transport: Transport::Udp,
            sent,
            sequence: 0,
            length: data.len(),
            rules: RuleMask::default(),
            data,
        }
    };
    let batches: Vec<Records> = (0..LOOKUPS / 100)
        .map(|batch| {
            let dns = (batch * 100..(batch + 1) * 100).flat_map(|id| [packet(id, true), packet(id, false)]);
            Records { dns: dns.collect(), ..Records::default() }
        })
        .collect();
    count(LOOKUPS.into(), "lookup", || {
        for records in &batches {
            task.take_records(records, &Reading::default());
        }
    });
    assert_eq!(task.dns.counts().matching.answered, u64::from(LOOKUPS));
}
