//! netsonde's peers: programs that people use to see who talks to whom, each an observer of the same loads. This file has their list
//! and decides which of them run on this machine; how one looks on is in `looking`, how its words are read in a file of its kind.

mod bandwhich;
mod bcc;
mod bpftrace;
mod conntrack;
mod looking;
mod nethogs;
mod pmacct;
mod probe;
mod process;
mod ss;
mod tally;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use netsonde_tests::command;

use crate::Plan;
use crate::observers::{Bare, Observer, Subject, Watch};
use crate::results::Content;
use crate::workloads::{self, Workload};
use crate::{facts, rounds};

use looking::Looking;
use tally::{Account, Asked};
use verdict::{Trial, Verdict};

/// The measurements, each with its load: connections that last, that are short, that have a process each, and bulk.
pub const LOADS: [(&str, &str); 4] = [
    ("peers-keep-alive", "keep-alive"),
    ("peers-connection-per-request", "connection-per-request"),
    ("peers-process-churn", "process-churn"),
    ("peers-bulk", "bulk"),
];
/// Stands for all peers where none is named.
pub const ALL: &str = "all";
/// Of each load. Their ratios lie much farther apart than a round does from another.
const ROUNDS: u64 = 5;

/// All of them, in the order in which they are shown.
const PEERS: [&Peer; 14] = [
    &bcc::TCPLIFE,
    &bcc::TCPSTATES,
    &bcc::TCPCONNECT,
    &bcc::TCPTOP,
    &bcc::TCPLIFE_BPFCC,
    &bcc::TCPSTATES_BPFCC,
    &bcc::TCPCONNECT_BPFCC,
    &bpftrace::CONNECTIONS,
    &bpftrace::BYTES,
    &conntrack::CONNTRACK,
    &ss::SS,
    &nethogs::NETHOGS,
    &bandwhich::BANDWHICH,
    &pmacct::PMACCTD,
];

/// A program that tells of connections, and how it is run here.
pub struct Peer {
    /// In results and on the command line.
    name: &'static str,
    /// Of Debian, or of crates.io.
    package: &'static str,
    /// What it does for what it tells.
    about: &'static str,
    /// The program that must be there.
    program: &'static str,
    /// What is run, for a load and the ports of the probes.
    command: fn(&Asked, [u16; 2]) -> Vec<String>,
    /// What it needs around it.
    surroundings: Surroundings,
    /// When it tells of what it saw.
    looks: Looks,
    /// How its words are read.
    account: fn(&Asked) -> Box<dyn Account>,
}

/// What a peer needs around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    Nothing,
    /// tracefs and debugfs.
    Tracing,
    /// A rule that makes the kernel track connections.
    Conntrack,
}

/// When a peer tells of what it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// As it happens, in the order in which it happened: what follows on something in its words came after it.
    AtEach,
    /// In reports, of which this many must pass until all that was before is told.
    AtIntervals(u64),
}

/// The load of a measurement of peers.
pub fn load(measurement: &str) -> Option<&'static str> {
    LOADS.iter().find(|(name, _)| *name == measurement).map(|(_, load)| *load)
}

/// The peers of these names; all of them if there is no name but [`ALL`].
fn chosen(names: &[String]) -> Result<Vec<&'static Peer>> {
    let known: Vec<&str> = PEERS.iter().map(|peer| peer.name).chain([ALL]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no peer is named {unknown}; there are {}", known.join(", "));
    }
    // `make bench` says `all`, and its user may say whom beside it.
    let named: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != ALL).collect();
    Ok(PEERS.into_iter().filter(|peer| named.is_empty() || named.contains(&peer.name)).collect())
}

/// Each of these peers with what it does and whether it runs here, in a line. Needs the host for itself.
pub fn list(names: &[String]) -> Result<Vec<String>> {
    let line = |peer: &'static Peer| format!("{:<24} {}; {}", peer.name, peer.about, peer.try_out());
    Ok(chosen(names)?.into_iter().map(line).collect())
}

/// Those that were found to run here, and the versions of their packages.
#[derive(Default)]
pub struct Peers {
    running: Vec<&'static Peer>,
    /// By the peer's name.
    pub versions: BTreeMap<String, String>,
}

impl Peers {
    /// Tries these, or all; says which are left out and why.
    pub fn try_out(names: &[String], mut say: impl FnMut(String)) -> Result<Self> {
        let mut running = Vec::new();
        for peer in chosen(names)? {
            match peer.try_out() {
                Verdict::Runs => running.push(peer),
                refused @ Verdict::Refused(_) => say(format!("{} {refused}", peer.name)),
            }
        }
        let versions =
            running.iter().filter_map(|peer| Some((peer.name.to_owned(), peer.version()?))).collect();
        Ok(Self { running, versions })
    }

    /// A load under nobody, netsonde, and each of them.
    pub fn measure(&self, load: &str, plan: &Plan) -> Result<Content> {
        let workload = workloads::start(load)?;
        let subject = Subject {
            netsonde: plan.subject.netsonde.clone(),
            configuration: plan.subject.configuration.clone(),
        };
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(Bare), Box::new(subject)];
        for peer in &self.running {
            observers.push(Box::new(*peer));
        }
        let rounds = plan.rounds.min(ROUNDS);
        Ok(Content::Comparison(rounds::measure(workload.as_ref(), &observers, rounds, plan.length)?))
    }
}

impl Peer {
    /// Starts it, and lets it show that it tells of connections.
    fn try_out(&'static self) -> Verdict {
        if which(self.program).is_none() {
            return Verdict::of(self.package, &Trial::NotThere);
        }
        // On a port that nobody listens on.
        let trial = match Looking::start(self, &Asked { port: 0, client: None }).and_then(Looking::end) {
            Ok(()) => Trial::Told,
            Err(error) => Trial::Failed(format!("{error:#}")),
        };
        Verdict::of(self.package, &trial)
    }

    /// Of its package, or what the program says itself.
    fn version(&self) -> Option<String> {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", self.package]);
        command::output(&mut query).ok().or_else(|| facts::version(self.package, &["--version"]))
    }
}

impl Observer for &'static Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&self, workload: &dyn Workload) -> Result<Box<dyn Watch>> {
        let port = workload.port().context("peers tell the load's traffic by its port, and it has none")?;
        let client = workload.client().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(Box::new(Looking::start(self, &Asked { port, client })?))
    }
}

/// Where a program lies, as a shell finds it.
fn which(program: &str) -> Option<PathBuf> {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    directories.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// A command line whose words hold no spaces.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_meant_unless_some_are_named() {
        let names = |wanted: &[&str]| -> Result<Vec<&str>> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Ok(chosen(&wanted)?.iter().map(|peer| peer.name).collect())
        };
        assert_eq!(names(&[]).unwrap().len(), PEERS.len());
        assert_eq!(names(&[ALL]).unwrap().len(), PEERS.len());
        assert_eq!(names(&["ss", ALL, "tcplife"]).unwrap(), ["tcplife", "ss"]);
        let error = names(&["s"]).unwrap_err().to_string();
        assert!(error.contains("conntrack"), "{error}");
    }

    #[test]
    fn each_has_a_name_of_its_own_and_a_program_that_is_run() {
        let asked = Asked { port: 4711, client: None };
        for (index, peer) in PEERS.iter().enumerate() {
            assert!(PEERS[..index].iter().all(|other| other.name != peer.name), "{}", peer.name);
            let words = (peer.command)(&asked, [4712, 4713]);
            assert!(words.iter().any(|word| word.contains(peer.program)), "{words:?}");
        }
    }

    #[test]
    fn each_load_is_one() {
        for (name, of) in LOADS {
            assert_eq!(load(name), Some(of));
            assert!(workloads::NAMES.contains(&of), "{of}");
            assert!(!workloads::NAMES.contains(&name), "{name}");
        }
        assert_eq!(load("keep-alive"), None);
    }
}
