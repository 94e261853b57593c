//! A peer that looks on: started, seen to tell of connections, and ended when it has told of all that was.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use netsonde_tests::cleanup::CleanUp;
use netsonde_tests::host;

use super::probe::Probe;
use super::process::Process;
use super::tally::{Account, Asked, Tally};
use super::{Looks, Peer, Surroundings, conntrack};
use crate::observers::Watch;
use crate::results::Told;
use crate::workloads::Run;

/// For a peer to tell of a connection that is there. The slowest compile their programs first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what a peer has printed.
const LOOK: Duration = Duration::from_millis(20);

/// A peer, its probe, and the account of its words.
pub struct Looking {
    peer: &'static Peer,
    process: Process,
    /// For the begin, and for the end: what is still to be told of the one must not be taken for the other.
    probes: [Probe; 2],
    account: Box<dyn Account>,
    /// What it told of until then: of the probe, where it cannot tell it from others.
    before: Tally,
    /// Ends after the process.
    _surroundings: CleanUp,
}

impl Looking {
    /// Starts a peer, and returns when it is seen to look on.
    pub fn start(peer: &'static Peer, asked: &Asked) -> Result<Self> {
        let probes = [Probe::new()?, Probe::new()?];
        let surroundings = match peer.surroundings {
            Surroundings::Nothing | Surroundings::Tracing => CleanUp::default(),
            Surroundings::Conntrack => conntrack::track()?,
        };
        let words = (peer.command)(asked, probes.each_ref().map(|probe| probe.port));
        let process = Process::start(&words, peer.surroundings == Surroundings::Tracing)?;
        let account = (peer.account)(asked);
        let mut looking =
            Self { peer, process, probes, account, before: Tally::default(), _surroundings: surroundings };
        looking.prove(0)?;
        if let Looks::AtIntervals(reports) = peer.looks {
            looking.await_reports(reports)?;
        }
        looking.before = looking.account.tally();
        Ok(looking)
    }

    /// Ends it without asking what it saw.
    pub fn end(self) -> Result<()> {
        self.process.end(|_| {})
    }

    /// Reads what it has printed.
    fn read(&mut self, mut also: impl FnMut(&str)) -> Result<()> {
        let Self { process, account, .. } = self;
        process.read(|line| {
            account.line(line);
            also(line);
        })
    }

    /// Uses connections of a probe until it tells of one.
    fn prove(&mut self, probe: usize) -> Result<()> {
        let mut of_probe = (self.peer.account)(&Asked { port: self.probes[probe].port, client: None });
        self.until("it has told of no connection", |looking| {
            match looking.peer.looks {
                Looks::AtEach => looking.probes[probe].connect()?,
                // Short connections would hide the lasting one from nethogs, which looks each of them up in /proc.
                Looks::AtIntervals(_) => looking.probes[probe].exchange()?,
            }
            thread::sleep(LOOK);
            looking.read(|line| of_probe.line(line))?;
            Ok(of_probe.tally().is_something())
        })
    }

    /// Waits until it has reported so many times more.
    fn await_reports(&mut self, count: u64) -> Result<()> {
        self.read(|_| {})?;
        let enough = self.account.reports() + count;
        self.until("it has made no report", |looking| {
            thread::sleep(LOOK);
            looking.read(|_| {})?;
            Ok(looking.account.reports() >= enough)
        })
    }

    /// Until something holds of a peer that runs.
    fn until(&mut self, complaint: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE * host::patience();
        while !holds(self)? {
            if let Some(status) = self.process.ended()? {
                bail!("{} ended with {status}: {}", self.peer.name, self.process.last_words()?);
            }
            ensure!(
                Instant::now() < deadline,
                "{complaint} within {PATIENCE:?}: {}",
                self.process.last_words()?
            );
        }
        Ok(())
    }

    /// Waits until it has told of all that was before.
    fn catch_up(&mut self) -> Result<()> {
        match self.peer.looks {
            Looks::AtEach => {
                // Twice: it may read the events of one processor before those of another.
                self.prove(1)?;
                self.prove(1)
            }
            Looks::AtIntervals(reports) => self.await_reports(reports),
        }
    }
}

impl Watch for Looking {
    fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    fn finish(mut self: Box<Self>, run: &Run) -> Result<Vec<Told>> {
        self.catch_up()?;
        let Self { process, mut account, before, .. } = *self;
        process.end(|line| account.line(line))?;
        Ok(account.tally().since(&before).beside(run))
    }
}
