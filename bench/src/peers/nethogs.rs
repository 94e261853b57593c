//! nethogs: bytes of each process, by a copy of every packet and the tables of /proc. It shows no connections, and its bytes are those of
//! packets with their headers.

use std::collections::HashMap;

use super::tally::{Account, Asked, Tally};
use super::{Looks, Peer, Surroundings, words};

pub const NETHOGS: Peer = Peer {
    name: "nethogs",
    package: "nethogs",
    about: "bytes of each process by its packets, each second",
    program: "nethogs",
    // Totals in bytes, of the one device that the load uses.
    command: |_, _| words("stdbuf -oL nethogs -t -v 2 -a lo"),
    surroundings: Surroundings::Nothing,
    looks: Looks::AtIntervals(2),
    account: |asked| Box::new(Totals { asked: asked.clone(), bytes: HashMap::new(), reports: 0 }),
};

/// The highest total of each line, by its `PROGRAM/PID/UID`. It cannot be asked for a port: all processes count.
struct Totals {
    asked: Asked,
    bytes: HashMap<String, u64>,
    reports: u64,
}

impl Account for Totals {
    fn line(&mut self, line: &str) {
        if line == "Refreshing:" {
            self.reports += 1;
            return;
        }
        let mut columns = line.rsplit('\t');
        let (Some(received), Some(sent), Some(key)) = (columns.next(), columns.next(), columns.next()) else {
            return;
        };
        let (Ok(received), Ok(sent)) = (received.parse::<u64>(), sent.parse::<u64>()) else { return };
        let bytes = self.bytes.entry(key.to_owned()).or_default();
        *bytes = (*bytes).max(sent + received);
    }

    fn tally(&self) -> Tally {
        let program = |key: &str| key.rsplitn(3, '/').nth(2).map(str::to_owned).unwrap_or_default();
        let clients =
            self.bytes.iter().filter(|(key, bytes)| **bytes > 0 && self.asked.is_client(&program(key)));
        Tally {
            bytes: Some(self.bytes.values().sum()),
            processes: Some(clients.count() as u64),
            ..Tally::default()
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
    fn totals_are_the_last_of_each_process() {
        let asked = Asked { port: 1, client: Some("python3".into()) };
        let mut account = Totals { asked, bytes: HashMap::new(), reports: 0 };
        for line in [
            "Adding local address: 127.0.0.1",
            "Ethernet link detected",
            "",
            "Refreshing:",
            "/root/.pyenv/versions/3.11.7/bin/python3/6435/0\t8970\t0",
            "unknown TCP/0/0\t0\t0",
            "",
            "Refreshing:",
            "/root/.pyenv/versions/3.11.7/bin/python3/6435/0\t124778\t10",
            "/usr/bin/wrk/6436/0\t5\t0",
            "unknown TCP/0/0\t1000\t0",
        ] {
            account.line(line);
        }
        let tally = Tally { bytes: Some(125_793), processes: Some(1), ..Tally::default() };
        assert_eq!((account.tally(), account.reports()), (tally, 2));
    }
}
