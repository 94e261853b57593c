//! `ss -tinp` each second: what a host can be asked without any program of its own that stays. It sees what is there at that moment.

use std::collections::{HashMap, HashSet};

use super::tally::{Account, Asked, Tally, port};
use super::{Looks, Peer, Surroundings};

pub const SS: Peer = Peer {
    name: "ss",
    package: "iproute2",
    about: "all sockets with their counters and processes, asked for each second",
    program: "ss",
    command: |_, _| ["sh", "-c", "while ss -tinp; do sleep 1; done"].map(str::to_owned).to_vec(),
    surroundings: Surroundings::Nothing,
    looks: Looks::AtIntervals(2),
    account: |asked| Box::new(Snapshots::new(asked)),
};

/// The sockets of all snapshots.
struct Snapshots {
    asked: Asked,
    /// What each end had sent when it was last seen.
    sent: HashMap<(String, String), u64>,
    connections: HashSet<String>,
    clients: HashSet<u32>,
    /// The socket that the next line of counters belongs to.
    socket: Option<(String, String)>,
    reports: u64,
}

impl Snapshots {
    fn new(asked: &Asked) -> Self {
        Self {
            asked: asked.clone(),
            sent: HashMap::new(),
            connections: HashSet::new(),
            clients: HashSet::new(),
            socket: None,
            reports: 0,
        }
    }

    /// `STATE QUEUE QUEUE LOCAL REMOTE users:(("NAME",pid=PID,fd=FD))`; who has closed it has no users.
    fn socket(&mut self, line: &str) -> Option<()> {
        let mut columns = line.split_whitespace().skip(3);
        let (local, remote) = (columns.next()?, columns.next()?);
        let is_client = port(remote)? == self.asked.port;
        if !is_client && port(local)? != self.asked.port {
            return None;
        }
        self.socket = Some((local.to_owned(), remote.to_owned()));
        if is_client {
            self.connections.insert(local.to_owned());
            let users = line.split_once("users:((\"")?.1;
            let (name, rest) = users.split_once("\",pid=")?;
            if self.asked.is_client(name) {
                self.clients.insert(rest.split(',').next()?.parse().ok()?);
            }
        }
        Some(())
    }
}

impl Account for Snapshots {
    fn line(&mut self, line: &str) {
        if line.starts_with("State ") {
            self.reports += 1;
            self.socket = None;
        } else if line.starts_with(char::is_whitespace) {
            let sent =
                line.split_whitespace().find_map(|word| word.strip_prefix("bytes_sent:")?.parse().ok());
            if let (Some(socket), Some(sent)) = (self.socket.take(), sent) {
                self.sent.insert(socket, sent);
            }
        } else {
            self.socket = None;
            self.socket(line);
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections.len() as u64),
            bytes: Some(self.sent.values().sum()),
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
    fn sockets_are_told_apart_over_all_snapshots() {
        let mut account = Snapshots::new(&Asked { port: 19192, client: Some("python3".into()) });
        for line in [
            "State Recv-Q Send-Q Local Address:Port  Peer Address:Port Process",
            "ESTAB 0      0          127.0.0.1:49738    127.0.0.1:19192 users:((\"python3\",pid=5710,fd=5))",
            "\t bbr wscale:10,10 rto:204 rtt:0.031/0.004 bytes_sent:400 bytes_acked:401 bytes_received:4000 segs_out:489",
            "ESTAB 0      1000       127.0.0.1:19192    127.0.0.1:49738 users:((\"python3\",pid=5710,fd=4))",
            "\t bbr wscale:10,10 rto:212 bytes_sent:4000 bytes_acked:3000",
            "ESTAB 0      0          127.0.0.1:40000    127.0.0.1:80    users:((\"python3\",pid=5711,fd=5))",
            "\t bbr wscale:10,10 bytes_sent:77",
            "State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess",
            "ESTAB 0      0          127.0.0.1:49738    127.0.0.1:19192 users:((\"python3\",pid=5710,fd=5))",
            "\t bbr wscale:10,10 rto:204 bytes_sent:48600 bytes_acked:48601",
            "FIN-WAIT-2 0 0    [::ffff:127.0.0.1]:49740 [::ffff:127.0.0.1]:19192",
            "\t bbr bytes_received:1",
        ] {
            account.line(line);
        }
        let tally = Tally { connections: Some(2), bytes: Some(52_600), processes: Some(1), lost: 0 };
        assert_eq!((account.tally(), account.reports()), (tally, 2));
    }
}
