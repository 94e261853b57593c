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

/// For a peer to tell of a connection when it has been started. The slowest compile their programs first.
const PATIENCE: Duration = Duration::from_secs(30);
/// For it to tell of all that was, after a run.
const LAG: Duration = Duration::from_secs(15);
/// What it is called when it does not.
const LATE: &str = "runs told of in 15 s";
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
        let mut told = looking.prove(0, PATIENCE)?;
        if let Looks::AtIntervals(reports) = peer.looks {
            told &= looking.await_reports(reports, PATIENCE)?;
        }
        let words = || looking.process.last_words();
        ensure!(told, "it has told of no connection within {PATIENCE:?}: {}", words()?);
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

    /// Uses connections of a probe until it tells of one, or does not.
    fn prove(&mut self, probe: usize, limit: Duration) -> Result<bool> {
        let mut of_probe = (self.peer.account)(&Asked { port: self.probes[probe].port, client: None });
        self.until(limit, |looking| {
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

    /// Waits until it has reported so many times more, or does not.
    fn await_reports(&mut self, count: u64, limit: Duration) -> Result<bool> {
        self.read(|_| {})?;
        let enough = self.account.reports() + count;
        self.until(limit, |looking| {
            thread::sleep(LOOK);
            looking.read(|_| {})?;
            Ok(looking.account.reports() >= enough)
        })
    }

    /// Until something holds (true) or the time is over (false), of a peer that has not ended by itself.
    fn until(&mut self, limit: Duration, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<bool> {
        let deadline = Instant::now() + limit * host::patience();
        while !holds(self)? {
            if let Some(status) = self.process.ended()? {
                bail!("{} ended with {status}: {}", self.peer.name, self.process.last_words()?);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until it has told of all that was before; false if it does not.
    fn catch_up(&mut self) -> Result<bool> {
        match self.peer.looks {
            // Twice: it may read the events of one processor before those of another.
            Looks::AtEach => Ok(self.prove(1, LAG)? && self.prove(1, LAG)?),
            // Of which each is a second.
            Looks::AtIntervals(reports) => self.await_reports(reports, LAG),
        }
    }
}

impl Watch for Looking {
    fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    fn finish(mut self: Box<Self>, run: &Run) -> Result<Vec<Told>> {
        // nethogs never comes back from thousands of connections a second: a run that it tells nothing of, and no error.
        let in_time = self.catch_up()?;
        let Self { process, mut account, before, .. } = *self;
        process.end(|line| account.line(line))?;
        let late = (!in_time).then(|| Told { what: LATE.to_owned(), truth: 1, told: 0 });
        Ok(account.tally().since(&before).beside(run).into_iter().chain(late).collect())
    }
}
