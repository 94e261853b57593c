//! bandwhich: bytes of each connection and process, by a copy of every packet and the tables of /proc. Its bytes are those of packets
//! with their headers; on loopback, where a copy is made at both ends of each packet's way, it counts each of them twice.

use std::collections::HashSet;

use super::tally::{Account, Asked, Tally, port};
use super::{Looks, Peer, Surroundings, words};

pub const BANDWHICH: Peer = Peer {
    name: "bandwhich",
    // Of crates.io; Debian 12 has none.
    package: "bandwhich",
    about: "bytes of each connection by its packets, each second",
    program: "bandwhich",
    command: |_, _| words("bandwhich --raw --no-resolve"),
    surroundings: Surroundings::Nothing,
    // What it prints is the mean of five seconds.
    looks: Looks::AtIntervals(7),
    account: |asked| Box::new(Rates::new(asked)),
};

/// `connection:` lines.
struct Rates {
    asked: Asked,
    connections: HashSet<u16>,
    clients: HashSet<u16>,
    bytes: u64,
    reports: u64,
}

impl Rates {
    fn new(asked: &Asked) -> Self {
        Self {
            asked: asked.clone(),
            connections: HashSet::new(),
            clients: HashSet::new(),
            bytes: 0,
            reports: 0,
        }
    }

    /// `<TIME> <DEVICE>:PORT => ADDRESS:PORT (tcp) up/down Bps: UP/DOWN process: "NAME"`.
    fn connection(&mut self, words: &str) -> Option<()> {
        let (ends, rest) = words.split_once(" (tcp) up/down Bps: ")?;
        let (local, remote) = ends.split_once(" => ")?;
        let (local, remote) = (port(local)?, port(remote)?);
        let (rates, process) = rest.split_once(" process: ")?;
        let (up, down) = rates.split_once('/')?;
        let rate = up.parse::<u64>().ok()? + down.parse::<u64>().ok()?;
        let is_client = remote == self.asked.port;
        if is_client || local == self.asked.port {
            self.bytes += rate;
        }
        if is_client {
            self.connections.insert(local);
            // It names no process by its number; each of the load's has one connection.
            if self.asked.is_client(process.trim_matches('"')) {
                self.clients.insert(local);
            }
        }
        Some(())
    }
}

impl Account for Rates {
    fn line(&mut self, line: &str) {
        if line == "Refreshing:" {
            self.reports += 1;
        } else if let Some(words) = line.strip_prefix("connection: ") {
            self.connection(words);
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections.len() as u64),
            bytes: Some(self.bytes),
            processes: Some(self.clients.len() as u64),
            lost: 0,
        }
    }

    fn reports(&self) -> u64 {
        self.reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_all_seconds_make_the_bytes() {
        let mut account = Rates::new(&Asked { port: 19192, client: Some("python3".into()) });
        for line in [
            "Refreshing:",
            "<NO TRAFFIC>",
            "",
            "Refreshing:",
            "process: <1795899658> \"python3\" up/down Bps: 35921/0 connections: 2",
            "connection: <1795899658> <lo>:19192 => 127.0.0.1:47668 (tcp) up/down Bps: 31814/0 process: \"python3\"",
            "connection: <1795899658> <lo>:47668 => 127.0.0.1:19192 (tcp) up/down Bps: 4107/6 process: \"python3\"",
            "connection: <1795899658> <lo>:47669 => 127.0.0.1:19192 (tcp) up/down Bps: 1/0 process: \"<UNKNOWN>\"",
            "connection: <1795899658> <lo>:47668 => 127.0.0.1:19193 (tcp) up/down Bps: 5/5 process: \"python3\"",
            "connection: <1795899658> <lo>:53 => 127.0.0.1:19192 (udp) up/down Bps: 5/5 process: \"python3\"",
            "remote_address: <1795899658> 127.0.0.1 up/down Bps: 35921/0 connections: 2",
        ] {
            account.line(line);
        }
        let tally = Tally { connections: Some(2), bytes: Some(35_928), processes: Some(1), lost: 0 };
        assert_eq!((account.tally(), account.reports()), (tally, 2));
    }
}
