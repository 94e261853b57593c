//! Who looks on while a load runs: nobody, netsonde, or one of its peers. Which rounds they take part in is for `rounds`; what a peer is
//! called and how its words are read is in a file of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use netsonde_tests::daemon::Daemon;

use crate::results::Told;
use crate::told::Sought;
use crate::workloads::{Run, Workload};

/// Somebody who can look on.
pub trait Observer {
    /// In results and on the command line: `bare`, `netsonde`, or the peer's own name.
    fn name(&self) -> &str;

    /// Starts looking, and returns when it sees everything that begins from here on.
    fn start(&self, workload: &dyn Workload) -> Result<Box<dyn Watch>>;
}

/// Somebody who looks on now. What was started ends on drop.
pub trait Watch {
    /// Processor seconds of its processes so far.
    fn cpu_seconds(&self) -> Result<f64>;

    /// Ends it, and says what it told of that run.
    fn finish(self: Box<Self>, run: &Run) -> Result<Vec<Told>>;
}

/// Nobody.
pub struct Bare;

impl Observer for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn start(&self, _workload: &dyn Workload) -> Result<Box<dyn Watch>> {
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

impl Watch for Nothing {
    fn cpu_seconds(&self) -> Result<f64> {
        Ok(0.0)
    }

    fn finish(self: Box<Self>, _run: &Run) -> Result<Vec<Told>> {
        Ok(Vec::new())
    }
}

/// The netsonde that is measured.
pub struct Subject {
    /// Its binary.
    pub netsonde: PathBuf,
    /// Lines of its configuration.
    pub configuration: String,
}

impl Subject {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Daemon> {
        self.start_for("")
    }

    /// Likewise, with more lines in its configuration, which may be tables.
    pub fn start_for(&self, more: &str) -> Result<Daemon> {
        Daemon::start_binary(&self.netsonde, &format!("{}\n{more}", self.configuration), |_| {})
    }
}

impl Observer for Subject {
    fn name(&self) -> &'static str {
        "netsonde"
    }

    fn start(&self, workload: &dyn Workload) -> Result<Box<dyn Watch>> {
        let daemon = self.start_for(&workload.configuration())?;
        let sought = Sought { port: workload.port(), client: workload.client().map(Path::to_owned) };
        Ok(Box::new(Watching { daemon, sought }))
    }
}

/// A netsonde that runs, and what is to be sought in its words.
struct Watching {
    daemon: Daemon,
    sought: Sought,
}

impl Watch for Watching {
    fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.daemon.pid())
    }

    fn finish(self: Box<Self>, run: &Run) -> Result<Vec<Told>> {
        Ok(self.sought.told(&self.daemon.stop()?, run))
    }
}

/// What a process, with all its threads, has used of processors so far.
pub fn cpu_seconds(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = parse_cpu_ticks(&stat).with_context(|| format!("no times in {stat:?}"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `utime` and `stime` of proc_pid_stat(5). The name may hold anything, closing brackets too.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_process_and_not_of_its_children() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 200 0 0 31 11 99 99 20 0 1 0 5 6";
        assert_eq!(parse_cpu_ticks(stat), Some(42));
        assert_eq!(parse_cpu_ticks("7 (a) S 1"), None);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
