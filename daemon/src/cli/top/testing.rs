//! What the tests show: a host of three programs over two intervals, as the API would tell of it.

use netsonde_audit::model::Transport;
use netsonde_view::model::{
    Attributes, Bounds, FlowFrame, FlowIdentity, Frame, History, LookupFrame, LookupIdentity, Process,
    Processes,
};
use serde_json::{Value, json};

use super::model::{Answer, Model, Whom};
use crate::aggregate::{Finding, Grade};
use crate::api::{ListenersAnswer, StatusAnswer};

/// 22:13:20 UTC.
pub const NOW: u64 = 1_700_000_000_000;

pub fn attributes(json: Value) -> Attributes {
    serde_json::from_value(json).expect("attributes")
}

fn flow(id: u32, program: &str, unit: &str, server: &str, port: u16) -> FlowIdentity {
    let attributes = attributes(json!({
        "network.transport": "tcp",
        "netsonde.socket.role": "client",
        "server.address": server,
        "server.port": port,
        "process.executable.path": format!("/usr/bin/{program}"),
        "process.executable.name": program,
        "netsonde.process.ancestry": ["bash", "sshd", "systemd"],
        "process.user.name": "www",
        "systemd.unit": unit,
    }));
    FlowIdentity { id, attributes }
}

fn moved(id: u32, tx: u64, rx: u64) -> FlowFrame {
    FlowFrame {
        id,
        tx,
        rx,
        tx_packets: 100,
        rx_packets: 100,
        retransmits: u64::from(id == 2) * 10,
        opened: 5,
        active: 2,
        failures: if id == 3 {
            [("refused".to_owned(), 4)].into()
        } else {
            std::collections::BTreeMap::new()
        },
        rtt: vec![(0, 90), (1, 8), (2, 2)],
        ..FlowFrame::default()
    }
}

pub fn answer() -> Answer {
    let frame = |time: u64| Frame {
        time,
        seconds: 10.0,
        flows: vec![moved(1, 1_048_576, 10_240), moved(2, 2048, 4096), moved(3, 0, 0), moved(4, 512, 256)],
        lookups: vec![
            LookupFrame { id: 1, count: 30, latency: vec![(1, 30)] },
            LookupFrame { id: 2, count: 3, latency: vec![(2, 3)] },
        ],
    };
    let lookup = |id: u32, name: &str, code: &str| LookupIdentity {
        id,
        attributes: attributes(json!({
            "process.executable.path": "/usr/bin/curl",
            "dns.question.name": name,
            "dns.question.type": "AAAA",
            "dns.response_code": code,
            "server.address": "192.0.2.53",
        })),
    };
    let history = History {
        time: NOW,
        interval: 10.0,
        bounds: Bounds { rtt: vec![0.001, 0.01, 0.1], lookup: vec![0.001, 0.01, 0.1], ..Bounds::default() },
        flows: vec![
            flow(1, "backup", "backup.service", "store.example.org", 443),
            flow(2, "nginx", "nginx.service", "app.internal", 8080),
            flow(3, "curl", "session-1.scope", "127.0.0.1", 9),
            flow(4, "backup", "backup.service", "mirror.example.org", 873),
        ],
        lookups: vec![
            lookup(1, "store.example.org", "NOERROR"),
            lookup(2, "nowhere.example.org", "NXDOMAIN"),
        ],
        frames: vec![frame(NOW - 10_000), frame(NOW)],
    };
    let mut listener = netsonde_audit::model::Listener::new(
        Transport::Tcp,
        Some("0.0.0.0".parse().expect("an address")),
        Some(8443),
    );
    listener.holders = vec![netsonde_audit::model::Process {
        pid: 60,
        path: Some("/usr/sbin/nginx".to_owned()),
        unit: Some("nginx.service".to_owned()),
        ancestors: vec![netsonde_audit::model::Ancestor {
            pid: 1,
            path: Some("/usr/lib/systemd/systemd".to_owned()),
            ..Default::default()
        }],
        ..Default::default()
    }];
    listener.accepted = Some(42);
    let findings = vec![
        Finding { grade: Grade::Ok, subject: "signals".to_owned(), text: "4 active".to_owned() },
        Finding {
            grade: Grade::Degraded,
            subject: "losses".to_owned(),
            text: "event_ring_full: 7".to_owned(),
        },
    ];
    Answer {
        history,
        anew: true,
        status: StatusAnswer { grade: Grade::Degraded, findings, status: json!({"started_unix_ns": 1}) },
        processes: Some(Processes { time: NOW, processes: vec![process()], truncated: 0 }),
        listeners: Some(ListenersAnswer { time: String::new(), listeners: vec![listener], truncated: 0 }),
    }
}

fn process() -> Process {
    let parent = |pid: u32, path: &str| json!({"process.pid": pid, "process.executable.path": path, "process.creation.time": "2023-11-14T22:00:00Z"});
    Process {
        id: "4711-1".to_owned(),
        attributes: attributes(json!({
            "process.pid": 4711,
            "process.creation.time": "2023-11-14T22:10:00Z",
            "process.executable.path": "/usr/bin/backup",
            "process.executable.name": "backup",
            "process.user.name": "www",
            "netsonde.process.ancestors": [
                parent(4000, "/usr/bin/bash"),
                parent(300, "/usr/sbin/sshd"),
                parent(1, "/usr/lib/systemd/systemd"),
            ],
        })),
        tx: 2_097_152,
        rx: 20_480,
        connections: 10,
        active: 2,
        last: NOW,
        flows: vec![1, 4],
        ..Process::default()
    }
}

pub fn model() -> Model {
    let mut model = Model::new(Whom::Daemon("/run/netsonde/api.sock".to_owned()), "host1".to_owned());
    model.add(answer());
    model
}
