//! What decoding costs: records as the kernel writes them, for `make instructions`.

use netsonde_counted::count;

use super::*;

const RECORDS: usize = 4000;

fn owner(n: u32) -> raw::owner {
    raw::owner { start_ns: 1_000_000_000 + u64::from(n), tgid: 1000 + n, uid: 33, image: 1, reserved: 0 }
}

/// An address of 10.0.0.0/8, as the kernel keeps IPv4.
fn mapped(n: u32) -> [u8; 16] {
    Ipv6Addr::from_bits(0xffff_0a00_0000 + u128::from(n)).octets()
}

#[test]
fn socket_event() {
    let records: Vec<Vec<u8>> = (0..RECORDS as u32)
        .map(|n| {
            let mut event = raw::socket_event {
                time_ns: u64::from(n),
                owner: owner(n % 20),
                socket_cookie: u64::from(n),
                local_address: mapped(1),
                remote_address: mapped(n),
                duration_ns: 3_000_000,
                transmit_bytes: 1000,
                receive_bytes: 200,
                network_namespace: 1,
                local_port: 80,
                remote_port: 40_000,
                kind: raw::event_kind::EVENT_CLOSE.0 as u8,
                role: raw::socket_role::ROLE_SERVER.0 as u8,
                ..raw::socket_event::default()
            };
            event.smoothed_rtt_us = 40;
            bytes_of(&event).to_vec()
        })
        .collect();
    let decoded: Vec<SocketEvent> =
        count(RECORDS, "event", || records.iter().filter_map(|bytes| super::socket_event(bytes)).collect());
    assert_eq!(decoded.len(), RECORDS);
    assert!(decoded.iter().all(|event| event.kind == SocketEventKind::Close));
}

#[test]
fn flow() {
    let keys: Vec<raw::flow_key> = (0..RECORDS as u32)
        .map(|n| raw::flow_key {
            owner: owner(n % 20),
            server_address: mapped(n),
            server_port: 443,
            network_namespace: 1,
            role: raw::socket_role::ROLE_CLIENT.0 as u8,
            transport: 6,
            ..raw::flow_key::default()
        })
        .collect();
    let decoded: Vec<Flow> = count(RECORDS, "flow", || keys.iter().map(Flow::from).collect());
    assert!(decoded.iter().all(|flow| flow.role == Role::Client && flow.server_address.is_ipv4()));
}

#[test]
fn listener_of_a_sweep() {
    let records: Vec<Vec<u8>> = (0..RECORDS as u32)
        .map(|n| {
            let record = raw::listener_record {
                owner: owner(n % 20),
                socket_cookie: u64::from(n),
                address: mapped(0),
                network_namespace: 1,
                backlog: 128,
                port: n as u16,
                transport: 6,
                ..raw::listener_record::default()
            };
            // Nobody has connected.
            let mut bytes = bytes_of(&record).to_vec();
            bytes.resize(LISTENER_BYTES, 0);
            bytes
        })
        .collect();
    let decoded: Vec<Listener> =
        count(RECORDS, "listener", || records.iter().filter_map(|bytes| listener(bytes)).collect());
    assert_eq!(decoded.len(), RECORDS);
}

#[test]
fn execution() {
    let path = b"program\0bin\0usr\0";
    // SAFETY: a generated layout of integers, of which zero is a value.
    let mut record: raw::exec_record = unsafe { std::mem::zeroed() };
    record.process.kind = raw::process_event_kind::PROCESS_EXEC.0 as u8;
    record.path_length = path.len() as u16;
    let head = std::mem::offset_of!(raw::exec_record, data);
    let bytes = [&bytes_of(&record)[..head], path].concat();
    let decoded: Vec<ProcessEvent> =
        count(RECORDS, "exec", || (0..RECORDS).filter_map(|_| process_event(&bytes)).collect());
    assert_eq!(decoded.len(), RECORDS);
}
