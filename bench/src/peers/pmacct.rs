//! pmacctd: bytes of each flow, by a copy of every packet's headers. It knows no process, and its bytes are those of packets with their
//! headers.

use std::collections::HashSet;

use super::tally::{Account, Asked, Tally};
use super::{Looks, Peer, Surroundings, words};

pub const PMACCTD: Peer = Peer {
    name: "pmacctd",
    package: "pmacct",
    about: "bytes of each flow by its packets, each second",
    program: "pmacctd",
    command: |_, _| {
        let mut command = words("pmacctd -i lo -P print -r 1 -O csv");
        command.extend(["-c", "src_host,dst_host,src_port,dst_port,proto"].map(str::to_owned));
        command
    },
    surroundings: Surroundings::Nothing,
    // In the order of time, though not at once.
    looks: Looks::AtEach,
    account: |asked| Box::new(Flows { asked: asked.clone(), connections: HashSet::new(), bytes: 0, lost: 0 }),
};

/// `SRC_IP,DST_IP,SRC_PORT,DST_PORT,PROTOCOL,PACKETS,BYTES`.
struct Flows {
    asked: Asked,
    connections: HashSet<u16>,
    bytes: u64,
    /// It does not say how many each time.
    lost: u64,
}

impl Flows {
    fn flow(&mut self, line: &str) -> Option<()> {
        let columns: Vec<&str> = line.split(',').collect();
        let [_, _, source, destination, "tcp", _, bytes] = columns[..] else { return None };
        let (source, destination) = (source.parse().ok()?, destination.parse::<u16>().ok()?);
        if destination == self.asked.port {
            self.connections.insert(source);
        }
        if destination == self.asked.port || source == self.asked.port {
            self.bytes += bytes.parse::<u64>().ok()?;
        }
        Some(())
    }
}

impl Account for Flows {
    fn line(&mut self, line: &str) {
        if line.contains("Missing data detected") || line.contains("Pending entries will be lost") {
            self.lost += 1;
        }
        self.flow(line);
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections.len() as u64),
            bytes: Some(self.bytes),
            lost: self.lost,
            ..Tally::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_counted_in_both_directions() {
        let mut account = Flows {
            asked: Asked { port: 19192, client: None },
            connections: HashSet::new(),
            bytes: 0,
            lost: 0,
        };
        for line in [
            "SRC_IP,DST_IP,SRC_PORT,DST_PORT,PROTOCOL,PACKETS,BYTES",
            "127.0.0.1,127.0.0.1,35516,19192,tcp,83,12324",
            "127.0.0.1,127.0.0.1,19192,35516,tcp,82,84272",
            "127.0.0.1,127.0.0.1,35516,19192,tcp,89,13328",
            "127.0.0.1,127.0.0.1,35516,80,tcp,89,13328",
            "127.0.0.1,127.0.0.1,53,19192,udp,1,52",
            "WARN ( default_print/print ): Missing data detected (plugin_buffer_size=576 plugin_pipe_size=4096).",
            "NOTICE ( default/core ): [lo,0] received_packets=1920 dropped_packets=0",
        ] {
            account.line(line);
        }
        assert_eq!(
            account.tally(),
            Tally { connections: Some(1), bytes: Some(109_924), processes: None, lost: 1 }
        );
    }
}
