//! bpftrace with scripts of ours on static tracepoints, which are there where kprobes are not. They know the load's port beforehand,
//! which no daemon does, and sum in the kernel: the least that bpftrace can cost.

use std::collections::HashSet;

use super::tally::{Account, Asked, Tally, lost_events};
use super::{Looks, Peer, Surroundings, words};

pub const CONNECTIONS: Peer = Peer {
    name: "bpftrace",
    package: "bpftrace",
    about: "connections by process, summed in the kernel for one port",
    program: "bpftrace",
    command: |asked, probes| command(include_str!("connections.bt"), asked, probes),
    surroundings: Surroundings::Tracing,
    looks: Looks::AtEach,
    account: |asked| Box::new(Sums::new(asked, Shown::Connections)),
};
pub const BYTES: Peer = Peer {
    name: "bpftrace-bytes",
    about: "bytes at each segment that arrives, summed in the kernel for one port",
    command: |asked, probes| command(include_str!("bytes.bt"), asked, probes),
    account: |asked| Box::new(Sums::new(asked, Shown::Bytes)),
    ..CONNECTIONS
};

fn command(script: &str, asked: &Asked, probes: [u16; 2]) -> Vec<String> {
    // The 4096 keys that a map has by default are fewer than there are processes in a run.
    let mut command = words("env BPFTRACE_MAP_KEYS_MAX=65536 bpftrace -B line -e");
    command.push(script.to_owned());
    command.extend([asked.port, probes[0], probes[1]].map(|port| port.to_string()));
    command
}

/// What a script shows when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Connections,
    Bytes,
}

/// What it said of a connection at once, and the maps that it printed at its end.
struct Sums {
    asked: Asked,
    shown: Shown,
    connections: u64,
    bytes: u64,
    clients: HashSet<u32>,
    lost: u64,
}

impl Sums {
    fn new(asked: &Asked, shown: Shown) -> Self {
        Self { asked: asked.clone(), shown, connections: 0, bytes: 0, clients: HashSet::new(), lost: 0 }
    }

    /// `@opened[PID, NAME]: COUNT`.
    fn opened(&mut self, entry: &str) -> Option<()> {
        let (key, count) = entry.rsplit_once("]: ")?;
        let (pid, name) = key.split_once(", ")?;
        self.connections += count.parse::<u64>().ok()?;
        if self.asked.is_client(name) {
            self.clients.insert(pid.parse().ok()?);
        }
        Some(())
    }
}

impl Account for Sums {
    fn line(&mut self, line: &str) {
        self.lost += lost_events(line).unwrap_or(0);
        if line.strip_prefix("connected to ").is_some_and(|port| port.parse() == Ok(self.asked.port)) {
            self.connections += 1;
        } else if let Some(entry) = line.strip_prefix("@opened[") {
            self.opened(entry);
        } else if let Some(sum) = line.strip_prefix("@received: ") {
            self.bytes += sum.parse::<u64>().unwrap_or(0);
        }
    }

    fn tally(&self) -> Tally {
        let connections = self.shown == Shown::Connections;
        Tally {
            connections: Some(self.connections).filter(|count| connections || *count > 0),
            bytes: (!connections).then_some(self.bytes),
            processes: connections.then_some(self.clients.len() as u64),
            lost: self.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_summed_by_process() {
        let asked = Asked { port: 19191, client: Some("python3".into()) };
        let mut account = Sums::new(&asked, Shown::Connections);
        for line in [
            "Attaching 2 probes...",
            "connected to 44193",
            "",
            "@opened[6435, python3]: 5",
            "@opened[6440, python3]: 7",
            "@opened[71, a, b]: 2",
            "@retransmitted: 3",
            "Lost 7 events",
        ] {
            account.line(line);
        }
        let tally = Tally { connections: Some(14), bytes: None, processes: Some(2), lost: 7 };
        assert_eq!(account.tally(), tally);
    }

    #[test]
    fn bytes_are_one_sum_and_a_probe_is_told_at_once() {
        let mut account = Sums::new(&Asked { port: 19191, client: None }, Shown::Bytes);
        account.line("@received: 525800");
        assert_eq!(account.tally(), Tally { bytes: Some(525_800), ..Tally::default() });
        let mut of_probe = Sums::new(&Asked { port: 44193, client: None }, Shown::Bytes);
        of_probe.line("connected to 44192");
        assert!(!of_probe.tally().is_something());
        of_probe.line("connected to 44193");
        assert!(of_probe.tally().is_something());
    }
}
