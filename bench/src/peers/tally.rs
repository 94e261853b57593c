//! What a peer's words add up to, and how that stands beside the truth.

use crate::results::Told;
use crate::workloads::Run;

/// What it is called when a peer says itself that it lost something.
pub const LOST: &str = "events lost by its own word";

/// What is asked of a peer's words: whose connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Of the server, on loopback.
    pub port: u16,
    /// The name of the client's program, where each connection has a process of its own.
    pub client: Option<String>,
}

impl Asked {
    /// Whether a process is such a client, by its name or path. Tools cut names at 11 to 15 bytes.
    pub fn is_client(&self, name: &str) -> bool {
        let name = name.rsplit('/').next().unwrap_or(name);
        self.client
            .as_deref()
            .is_some_and(|client| client == name || (name.len() >= 11 && client.starts_with(name)))
    }
}

/// Counts so far. None: the peer does not tell of such things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of the server that was asked for.
    pub connections: Option<u64>,
    /// Over these connections, both directions together, as the peer counts them.
    pub bytes: Option<u64>,
    /// Different client processes that a connection was laid to.
    pub processes: Option<u64>,
    /// What it says that it lost.
    pub lost: u64,
}

impl Tally {
    /// What was added after an earlier one.
    pub fn since(&self, before: &Self) -> Self {
        let difference =
            |now: Option<u64>, then: Option<u64>| now.map(|now| now.saturating_sub(then.unwrap_or(0)));
        Self {
            connections: difference(self.connections, before.connections),
            bytes: difference(self.bytes, before.bytes),
            processes: difference(self.processes, before.processes),
            lost: self.lost.saturating_sub(before.lost),
        }
    }

    /// Whether there is any trace of what was asked for.
    pub fn is_something(&self) -> bool {
        [self.connections, self.bytes, self.processes]
            .iter()
            .any(|count| count.is_some_and(|count| count > 0))
    }

    /// Beside the truth, where both are known.
    pub fn beside(&self, run: &Run) -> Vec<Told> {
        let pairs = [
            ("connections", run.connections, self.connections),
            ("bytes", run.bytes, self.bytes),
            ("processes", run.processes, self.processes),
        ];
        let known = pairs.into_iter().filter_map(|(what, truth, told)| {
            Some(Told { what: what.to_owned(), truth: truth?, told: told? })
        });
        let lost = (self.lost > 0).then(|| Told { what: LOST.to_owned(), truth: 0, told: self.lost });
        known.chain(lost).collect()
    }
}

/// Adds up what a peer prints, standard error included.
pub trait Account {
    /// Takes a line without its end. What is not known is passed over: headings, names of devices, the like.
    fn line(&mut self, line: &str);

    /// Of all lines so far.
    fn tally(&self) -> Tally;

    /// How often it has reported so far, if it reports at intervals.
    fn reports(&self) -> u64 {
        0
    }
}

/// The port of `ADDRESS:PORT`.
pub fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// How many events were lost, from what libbpf-tools, bpfcc and bpftrace say of full buffers.
pub fn lost_events(line: &str) -> Option<u64> {
    let words = line
        .strip_prefix("Possibly lost ")
        .or_else(|| line.strip_prefix("Lost ").or_else(|| line.strip_prefix("lost ")))?;
    let (number, rest) = words.split_once(' ')?;
    (rest.starts_with("events") || rest.starts_with("samples")).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_know_is_compared_and_what_was_lost_is_said() {
        let tally = Tally { connections: Some(7), bytes: Some(90), processes: None, lost: 3 };
        let run = Run { connections: Some(8), processes: Some(8), ..Run::at_rate(1.0) };
        let told = |what: &str, truth, told| Told { what: what.into(), truth, told };
        assert_eq!(tally.beside(&run), [told("connections", 8, 7), told(LOST, 0, 3)]);
        assert_eq!(Tally::default().beside(&run), []);
    }

    #[test]
    fn what_came_before_is_not_the_loads() {
        let before = Tally { connections: None, bytes: Some(40), processes: Some(1), lost: 1 };
        let now = Tally { connections: None, bytes: Some(90), processes: Some(5), lost: 1 };
        let since = Tally { connections: None, bytes: Some(50), processes: Some(4), lost: 0 };
        assert_eq!(now.since(&before), since);
        assert!(since.is_something());
        assert!(!Tally { bytes: Some(0), lost: 1, ..Tally::default() }.is_something());
    }

    #[test]
    fn a_client_is_known_by_its_name_however_short_it_was_cut() {
        let asked = Asked { port: 1, client: Some("netsonde-exchange".into()) };
        for name in ["netsonde-exchange", "/usr/bin/netsonde-exchange", "netsonde-exc", "netsonde-exchan"] {
            assert!(asked.is_client(name), "{name}");
        }
        assert!(!asked.is_client("netsonde"));
        assert!(!asked.is_client("netsonde-bench"));
        assert!(!Asked { port: 1, client: None }.is_client("netsonde-exchange"));
    }

    #[test]
    fn losses_are_read_however_they_are_said() {
        // The words of libbpf-tools' tcplife, of bcc's Python module, and of bpftrace.
        assert_eq!(lost_events("lost 12 events on CPU #1"), Some(12));
        assert_eq!(lost_events("Lost 12 events on CPU #1!"), Some(12));
        assert_eq!(lost_events("Possibly lost 5 samples"), Some(5));
        assert_eq!(lost_events("Lost 7 events"), Some(7));
        assert_eq!(lost_events("Lost patience"), None);
        assert_eq!(lost_events("Lost 7 bytes"), None);
    }
}
