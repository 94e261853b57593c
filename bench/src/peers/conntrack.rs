//! `conntrack -E`: the connections that the kernel's firewall tracks. It tells of bytes only when an entry expires, two minutes after the
//! connection's end, and of no process. The tracking itself, which a host with a stateful firewall has anyway, is part of its cost here.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use netsonde_tests::cleanup::CleanUp;

use super::tally::{Account, Asked, Tally};
use super::{Looks, Peer, Surroundings, words};

pub const CONNTRACK: Peer = Peer {
    name: "conntrack",
    package: "conntrack",
    about: "an event for each connection that the kernel tracks",
    program: "conntrack",
    // The buffer that its own warning of lost events proposes to raise.
    command: |_, _| words("conntrack -E -p tcp -e NEW --buffer-size 8388608"),
    surroundings: Surroundings::Conntrack,
    looks: Looks::AtEach,
    account: |asked| Box::new(Events { asked: asked.clone(), connections: 0, lost: 0 }),
};

const TABLE: &str = "inet netsonde_bench";

/// Makes the kernel track connections, until the end of what is given back.
pub fn track() -> Result<CleanUp> {
    // One that an interrupted run has left would be in the way: added, it is there in any case.
    nft(&format!(
        "add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{ chain tracked {{\n\
         type filter hook prerouting priority 0;\nct state new counter\n}}\n}}\n"
    ))?;
    let mut clean_up = CleanUp::default();
    clean_up.push(|| {
        if let Err(error) = nft(&format!("delete table {TABLE}\n")) {
            // Nobody can do anything about it here; the next run removes it.
            let _ = writeln!(std::io::stderr(), "the table {TABLE} is left behind: {error:#}");
        }
    });
    Ok(clean_up)
}

fn nft(script: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run nft: package nftables")?;
    nft.stdin.take().context("no input")?.write_all(script.as_bytes())?;
    let status = nft.wait()?;
    ensure!(status.success(), "nft ended with {status} for {script}");
    Ok(())
}

/// `[NEW]` lines.
struct Events {
    asked: Asked,
    connections: u64,
    lost: u64,
}

impl Account for Events {
    fn line(&mut self, line: &str) {
        if line.contains("ENOBUFS") {
            // It does not say how many each time.
            self.lost += 1;
        }
        let Some(entry) = line.trim_start().strip_prefix("[NEW] ") else { return };
        let to = entry.split_whitespace().find_map(|word| word.strip_prefix("dport="));
        if to.is_some_and(|port| port.parse() == Ok(self.asked.port)) {
            self.connections += 1;
        }
    }

    fn tally(&self) -> Tally {
        Tally { connections: Some(self.connections), lost: self.lost, ..Tally::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_entries_count_by_the_port_of_their_first_direction() {
        let mut account = Events { asked: Asked { port: 19191, client: None }, connections: 0, lost: 0 };
        for line in [
            "    [NEW] tcp      6 120 SYN_SENT src=127.0.0.1 dst=127.0.0.1 sport=46744 dport=19191 [UNREPLIED] \
             src=127.0.0.1 dst=127.0.0.1 sport=19191 dport=46744",
            "    [NEW] tcp      6 120 SYN_SENT src=127.0.0.1 dst=127.0.0.1 sport=19191 dport=80 [UNREPLIED] \
             src=127.0.0.1 dst=127.0.0.1 sport=80 dport=19191",
            " [UPDATE] tcp      6 60 SYN_RECV src=127.0.0.1 dst=127.0.0.1 sport=46744 dport=19191 src=127.0.0.1 \
             dst=127.0.0.1 sport=19191 dport=46744",
            "conntrack v1.4.7 (conntrack-tools): 30 flow events have been shown.",
            "WARNING: We have hit ENOBUFS! We are losing events.",
        ] {
            account.line(line);
        }
        assert_eq!(account.tally(), Tally { connections: Some(1), lost: 1, ..Tally::default() });
    }
}
