//! The tools of BCC, in both forms: compiled once (libbpf-tools), and compiled at each start by clang and driven by Python
//! (bpfcc-tools), which needs headers of the very kernel that runs. Both forms print the same columns.

use std::collections::HashSet;

use super::tally::{Account, Asked, Tally, lost_events, port};
use super::{Looks, Peer, Surroundings, words};

const LIBBPF: &str = "libbpf-tools";
const BPFCC: &str = "bpfcc-tools";
/// `TX_KB` and `RX_KB`.
const KB: f64 = 1024.0;

pub const TCPLIFE: Peer = Peer {
    name: "tcplife",
    package: LIBBPF,
    about: "a line for each end of a connection when it closes",
    program: "tcplife",
    command: |_, _| words("tcplife"),
    surroundings: Surroundings::Tracing,
    looks: Looks::AtEach,
    account: |asked| Box::new(Life::new(asked)),
};
pub const TCPSTATES: Peer = Peer {
    name: "tcpstates",
    about: "a line for each change of a socket's state",
    program: "tcpstates",
    command: |_, _| words("tcpstates"),
    account: |asked| Box::new(States::new(asked)),
    ..TCPLIFE
};
pub const TCPCONNECT: Peer = Peer {
    name: "tcpconnect",
    about: "a line for each connect()",
    program: "tcpconnect",
    command: |_, _| words("tcpconnect"),
    account: |asked| Box::new(Connects::new(asked)),
    ..TCPLIFE
};
pub const TCPTOP: Peer = Peer {
    name: "tcptop",
    about: "bytes of each connection, counted at each send and receive, told each second",
    program: "tcptop",
    // It would clear the screen by a shell of its own, and show 20 connections.
    command: |_, _| words("tcptop -C -r 10000 1"),
    looks: Looks::AtIntervals(2),
    account: |asked| Box::new(Top::new(asked)),
    ..TCPLIFE
};
pub const TCPLIFE_BPFCC: Peer = Peer {
    name: "tcplife-bpfcc",
    package: BPFCC,
    program: "tcplife-bpfcc",
    command: |_, _| words("tcplife-bpfcc"),
    ..TCPLIFE
};
pub const TCPSTATES_BPFCC: Peer = Peer {
    name: "tcpstates-bpfcc",
    package: BPFCC,
    program: "tcpstates-bpfcc",
    command: |_, _| words("tcpstates-bpfcc"),
    ..TCPSTATES
};
pub const TCPCONNECT_BPFCC: Peer = Peer {
    name: "tcpconnect-bpfcc",
    package: BPFCC,
    program: "tcpconnect-bpfcc",
    command: |_, _| words("tcpconnect-bpfcc"),
    ..TCPCONNECT
};

/// A line's first column, and so many of its last: the name of a program between them may hold spaces.
fn columns<const LAST: usize>(line: &str) -> Option<(u32, &str, [&str; LAST])> {
    let line = line.trim();
    let (first, mut rest) = line.split_once(char::is_whitespace)?;
    let mut last = [""; LAST];
    for column in last.iter_mut().rev() {
        (rest, *column) = rest.trim_end().rsplit_once(char::is_whitespace)?;
    }
    Some((first.parse().ok()?, rest.trim(), last))
}

/// `tcplife`: both ends of each connection, when each closes.
struct Life {
    asked: Asked,
    connections: u64,
    kb: f64,
    clients: HashSet<u32>,
    lost: u64,
}

impl Life {
    fn new(asked: &Asked) -> Self {
        Self { asked: asked.clone(), connections: 0, kb: 0.0, clients: HashSet::new(), lost: 0 }
    }
}

impl Account for Life {
    fn line(&mut self, line: &str) {
        self.lost += lost_events(line).unwrap_or(0);
        let Some((pid, name, [_, local, _, remote, sent, _, _])) = columns::<7>(line) else { return };
        let (Ok(local), Ok(remote), Ok(sent)) =
            (local.parse::<u16>(), remote.parse::<u16>(), sent.parse::<f64>())
        else {
            return;
        };
        let is_client = remote == self.asked.port;
        if is_client || local == self.asked.port {
            self.kb += sent;
        }
        if is_client {
            self.connections += 1;
            if self.asked.is_client(name) {
                self.clients.insert(pid);
            }
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections),
            // Each end's own, so both directions once.
            bytes: Some((self.kb * KB).round() as u64),
            processes: Some(self.clients.len() as u64),
            lost: self.lost,
        }
    }
}

/// `tcpstates`: each change of each end.
struct States {
    asked: Asked,
    connections: u64,
    clients: HashSet<u32>,
    lost: u64,
}

impl States {
    fn new(asked: &Asked) -> Self {
        Self { asked: asked.clone(), connections: 0, clients: HashSet::new(), lost: 0 }
    }
}

impl Account for States {
    fn line(&mut self, line: &str) {
        self.lost += lost_events(line).unwrap_or(0);
        // The address of the socket is first.
        let Some((_, line)) = line.trim().split_once(' ') else { return };
        let Some((pid, name, [_, _, _, remote, old, _, new, _])) = columns::<8>(line) else { return };
        if remote.parse() != Ok(self.asked.port) {
            return;
        }
        match (old, new) {
            ("SYN_SENT", "ESTABLISHED") => self.connections += 1,
            // What follows is not always in the client's context.
            ("CLOSE", "SYN_SENT") if self.asked.is_client(name) => {
                self.clients.insert(pid);
            }
            _ => {}
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections),
            bytes: None,
            processes: Some(self.clients.len() as u64),
            lost: self.lost,
        }
    }
}

/// `tcpconnect`: the connecting end alone.
struct Connects {
    asked: Asked,
    connections: u64,
    clients: HashSet<u32>,
    lost: u64,
}

impl Connects {
    fn new(asked: &Asked) -> Self {
        Self { asked: asked.clone(), connections: 0, clients: HashSet::new(), lost: 0 }
    }
}

impl Account for Connects {
    fn line(&mut self, line: &str) {
        self.lost += lost_events(line).unwrap_or(0);
        let Some((pid, name, [_, _, _, remote])) = columns::<4>(line) else { return };
        if remote.parse() == Ok(self.asked.port) {
            self.connections += 1;
            if self.asked.is_client(name) {
                self.clients.insert(pid);
            }
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections),
            bytes: None,
            processes: Some(self.clients.len() as u64),
            lost: self.lost,
        }
    }
}

/// `tcptop`: both ends of each connection that moved something, in each interval.
struct Top {
    asked: Asked,
    connections: HashSet<(u32, String)>,
    kb: u64,
    clients: HashSet<u32>,
    reports: u64,
}

impl Top {
    fn new(asked: &Asked) -> Self {
        Self { asked: asked.clone(), connections: HashSet::new(), kb: 0, clients: HashSet::new(), reports: 0 }
    }
}

impl Account for Top {
    fn line(&mut self, line: &str) {
        if line.contains("loadavg:") {
            self.reports += 1;
        }
        let Some((pid, name, [local, remote, _, sent])) = columns::<4>(line) else { return };
        let Ok(sent) = sent.parse::<u64>() else { return };
        let is_client = port(remote) == Some(self.asked.port);
        if is_client || port(local) == Some(self.asked.port) {
            self.kb += sent;
        }
        if is_client {
            self.connections.insert((pid, local.to_owned()));
            if self.asked.is_client(name) {
                self.clients.insert(pid);
            }
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            connections: Some(self.connections.len() as u64),
            bytes: Some(self.kb * KB as u64),
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

    fn asked(port: u16) -> Asked {
        Asked { port, client: Some("python3".into()) }
    }

    fn tally_of(mut account: impl Account, lines: &[&str]) -> Tally {
        lines.iter().for_each(|line| account.line(line));
        account.tally()
    }

    #[test]
    fn both_ends_make_the_bytes_and_the_clients_make_the_connections() {
        let lines = [
            "PID     COMM             LADDR           LPORT RADDR           RPORT TX_KB  RX_KB  MS",
            "19525   python3          127.0.0.1       19191 127.0.0.1       35830 0.98   0.01   0.09",
            "19525   python3          127.0.0.1       35830 127.0.0.1       19191 0.01   0.98   0.14",
            "19526   a b              127.0.0.1       35840 127.0.0.1       19191 1.01   0.98   0.09",
            "19526   python3          127.0.0.1       35840 127.0.0.1       80    1.01   0.98   0.09",
            "lost 12 events on CPU #1",
        ];
        let tally = Tally { connections: Some(2), bytes: Some(2048), processes: Some(1), lost: 12 };
        assert_eq!(tally_of(Life::new(&asked(19191)), &lines), tally);
    }

    #[test]
    fn a_connection_is_opened_once_and_its_owner_is_who_began_it() {
        let lines = [
            "SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS",
            "ffff888102465c80 19869   python3    127.0.0.1       0     127.0.0.1       19191 CLOSE       -> SYN_SENT    0.000",
            "ffff888102465c80 19869   python3    127.0.0.1       40788 127.0.0.1       19191 SYN_SENT    -> ESTABLISHED 0.020",
            "ffff888102461bc0 19869   python3    127.0.0.1       19191 127.0.0.1       40788 LISTEN      -> SYN_RECV    0.000",
            "ffff888102461bc0 19869   python3    127.0.0.1       19191 127.0.0.1       40788 SYN_RECV    -> ESTABLISHED 0.008",
            "ffff888102465c80 19870   python3    127.0.0.1       40788 127.0.0.1       19191 ESTABLISHED -> CLOSE_WAIT  0.087",
            "ffff888102465c80 19869   wrk        127.0.0.1       0     127.0.0.1       19191 CLOSE       -> SYN_SENT    0.000",
            "ffff888102465c80 19869   wrk        127.0.0.1       40790 127.0.0.1       19191 SYN_SENT    -> ESTABLISHED 0.000",
        ];
        let tally = Tally { connections: Some(2), bytes: None, processes: Some(1), lost: 0 };
        assert_eq!(tally_of(States::new(&asked(19191)), &lines), tally);
    }

    #[test]
    fn who_connects_is_told_by_a_line() {
        let lines = [
            "PID    COMM         IP SADDR            DADDR            DPORT",
            "1462   netsonde-ben 4  127.0.0.1        127.0.0.1        42707",
            "1463   python3      4  127.0.0.1        127.0.0.1        42707",
            "1463   python3      4  127.0.0.1        127.0.0.1        42708",
        ];
        let tally = Tally { connections: Some(2), bytes: None, processes: Some(1), lost: 0 };
        assert_eq!(tally_of(Connects::new(&asked(42707)), &lines), tally);
    }

    #[test]
    fn what_moved_is_summed_over_intervals() {
        let lines = [
            "21:49:03 loadavg: 1.10 0.83 0.38 1/59 1467",
            "",
            "PID    COMM         LADDR                 RADDR                  RX_KB TX_KB",
            "1463   python3      127.0.0.1:40788       127.0.0.1:19191            3      2",
            "1464   nginx        127.0.0.1:19191       127.0.0.1:40788            2      3",
            "1465   a b          127.0.0.1:40790       127.0.0.1:19191            0      0",
            "1465   a b          127.0.0.1:40790       127.0.0.1:80               9      9",
            "21:49:04 loadavg: 1.10 0.83 0.38 1/59 1467",
            "1463   python3      127.0.0.1:40788       127.0.0.1:19191            0      1",
        ];
        let mut account = Top::new(&asked(19191));
        lines.iter().for_each(|line| account.line(line));
        let tally = Tally { connections: Some(2), bytes: Some(6 * 1024), processes: Some(1), lost: 0 };
        assert_eq!((account.tally(), account.reports()), (tally, 2));
    }
}
