//! A netsonde whose costs are read sweep by sweep: how long a sweep took by its own word, what its programs and its threads
//! ran for by the kernel's, and its memory. What there is meanwhile is for the dimensions.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::{api, command};
use serde_json::Value;

use crate::Plan;
use crate::memory::Memory;
use crate::statistics::Statistics;

/// Between the sweeps of [`crate::observers::Subject::start`].
const INTERVAL: Duration = Duration::from_secs(1);
/// After a sweep's status is there, its export is under way: nothing is read before that is over.
const EXPORT: Duration = Duration::from_millis(400);
/// Sweeps until what has just come is no news any more.
const NEWS: u64 = 2;
/// The open files of all processes are walked with each third sweep at least, and with each where that takes little.
/// What one sweep takes is a mean over so many.
const SWEEPS: u32 = 3;
/// The name of the thread that sweeps.
const SWEEPING: &str = "collect";
/// How long a sweep may be waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The netsonde, and the kernel's statistics of its programs.
pub struct Watch {
    daemon: Daemon,
    /// The thread that sweeps.
    sweeping: u32,
    statistics: Statistics,
}

/// What a few sweeps took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many they were.
    sweeps: u64,
    /// From before the first of them to after the last.
    seconds: f64,
    /// What they took together, each from its begin to its end.
    sweep_seconds: f64,
    /// Nanoseconds that all its programs ran for.
    bpf_ns: u64,
    /// Nanoseconds that its threads ran for.
    cpu_ns: u64,
    /// And of these the one that sweeps.
    sweeping_ns: u64,
    /// Bytes of memory after them.
    pub resident: u64,
}

impl Sample {
    /// Milliseconds of one sweep.
    pub fn sweep_ms(&self) -> f64 {
        self.sweep_seconds * 1e3 / f64::from(SWEEPS)
    }

    /// Milliseconds of all programs for each sweep.
    pub fn bpf_ms_a_sweep(&self) -> f64 {
        self.bpf_ns as f64 / 1e6 / self.sweeps as f64
    }

    /// Milliseconds of a processor for each sweep.
    pub fn cpu_ms_a_sweep(&self) -> f64 {
        self.cpu_ns as f64 / 1e6 / self.sweeps as f64
    }

    /// Milliseconds of a processor for each sweep alone.
    pub fn sweeping_ms_a_sweep(&self) -> f64 {
        self.sweeping_ns as f64 / 1e6 / self.sweeps as f64
    }

    /// Milliseconds of all programs in each second.
    pub fn bpf_ms_a_second(&self) -> f64 {
        self.bpf_ns as f64 / 1e6 / self.seconds
    }

    /// Milliseconds of a processor in each second.
    pub fn cpu_ms_a_second(&self) -> f64 {
        self.cpu_ns as f64 / 1e6 / self.seconds
    }

    /// How many sweeps, as a divisor.
    pub fn sweeps(&self) -> f64 {
        self.sweeps as f64
    }
}

/// Everything at one time.
struct Reading {
    time: Instant,
    sweeps: u64,
    bpf_ns: u64,
    /// Nanoseconds by thread.
    threads: BTreeMap<u32, u64>,
    /// Those of the one that sweeps.
    sweeping_ns: u64,
}

impl Watch {
    /// Starts it with these lines in its configuration.
    pub fn start(plan: &Plan, configuration: &str) -> Result<Self> {
        let statistics = Statistics::enable()?;
        let daemon = plan.subject.start_for(configuration)?;
        let sweeping = thread_named(daemon.pid(), SWEEPING)?;
        Ok(Self { daemon, sweeping, statistics })
    }

    /// What it says of itself.
    pub fn status(&self) -> Result<Value> {
        Ok(api::json(&self.daemon, "/api/v1/status")?["status"].take())
    }

    /// A number in that, by its path.
    pub fn number(&self, path: &str) -> Result<u64> {
        let status = self.status()?;
        status.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path} in its status"))
    }

    /// Waits for the end of a few sweeps that began from here on.
    pub fn settle(&self) -> Result<()> {
        let from = self.sweeps()?;
        // The first of them may have begun before.
        self.wait_for(from + 1 + NEWS)
    }

    fn sweeps(&self) -> Result<u64> {
        self.number("/sweep/count")
    }

    fn wait_for(&self, sweeps: u64) -> Result<()> {
        let swept = command::until(PATIENCE, || Ok(self.sweeps()? >= sweeps))?;
        ensure!(swept, "netsonde does not sweep: {}", self.daemon.errors());
        Ok(())
    }

    /// Waits until one sweep and its export have just ended.
    pub fn align(&self) -> Result<()> {
        self.wait_for(self.sweeps()? + 1)?;
        thread::sleep(EXPORT);
        Ok(())
    }

    /// What the next few sweeps take. To be called after [`Self::align`], so that each is wholly in the sample.
    pub fn sample(&self) -> Result<Sample> {
        let mut next = Instant::now();
        let before = self.read()?;
        let mut sweep_seconds = 0.0;
        for _ in 0..SWEEPS {
            next += INTERVAL;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let status = self.status()?;
            sweep_seconds += status["sweep"]["seconds"].as_f64().context("no sweep in its status")?;
        }
        let after = self.read()?;
        let sweeps = after.sweeps - before.sweeps;
        ensure!(sweeps > 0, "netsonde did not sweep in {SWEEPS} intervals");
        Ok(Sample {
            sweeps,
            seconds: (after.time - before.time).as_secs_f64(),
            sweep_seconds,
            bpf_ns: after.bpf_ns - before.bpf_ns,
            cpu_ns: ran_between(&before.threads, &after.threads),
            sweeping_ns: after.sweeping_ns - before.sweeping_ns,
            resident: Memory::of(self.daemon.pid())?.resident,
        })
    }

    fn read(&self) -> Result<Reading> {
        let threads = threads(self.daemon.pid())?;
        Ok(Reading {
            sweeps: self.sweeps()?,
            bpf_ns: self.statistics.own()?.values().map(|program| program.ns).sum(),
            sweeping_ns: threads.get(&self.sweeping).copied().context("the thread that sweeps has ended")?,
            threads,
            time: Instant::now(),
        })
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop().map(drop)
    }
}

/// The thread of a process that has this name (`comm` of proc_pid_comm(5)).
fn thread_named(process: u32, name: &str) -> Result<u32> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let entry = entry?;
        // What cannot be read has ended.
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Ok(entry.file_name().to_string_lossy().parse()?);
        }
    }
    bail!("netsonde has no thread {name}")
}

/// What each thread of a process has run for, in nanoseconds: the first number of its `schedstat`
/// (Documentation/scheduler/sched-stats.rst). `/proc/PID/stat` counts in hundredths of a second, which is more than a sweep
/// may take.
fn threads(process: u32) -> Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let entry = entry?;
        // What cannot be read has ended.
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let ran = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
        let thread = entry.file_name().to_string_lossy().parse()?;
        threads.insert(thread, ran.with_context(|| format!("no times in {text:?}"))?);
    }
    Ok(threads)
}

/// Nanoseconds between two readings. What a thread ran for that has ended meanwhile is not known: the daemon's end when
/// they have had nothing to do for long.
fn ran_between(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> u64 {
    after.iter().map(|(thread, ran)| ran - before.get(thread).copied().unwrap_or(0).min(*ran)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_came_count_and_those_that_went_take_nothing_away() {
        let before = [(1, 100), (2, 5_000)].into();
        let after = [(1, 130), (3, 7)].into();
        assert_eq!(ran_between(&before, &after), 37);
    }

    #[test]
    fn a_process_knows_what_its_threads_ran_for() {
        let begin = threads(std::process::id()).unwrap();
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let ran = ran_between(&begin, &threads(std::process::id()).unwrap());
        assert!(ran > 1_000_000, "{ran} ns");
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let named = thread::Builder::new().name("bench-thread".into());
        let (ends, end) = std::sync::mpsc::channel::<()>();
        let one = named.spawn(move || end.recv().is_err()).unwrap();
        let found = command::until(PATIENCE, || Ok(thread_named(std::process::id(), "bench-thread").is_ok()));
        assert!(found.unwrap());
        drop(ends);
        assert!(one.join().unwrap());
        assert!(thread_named(std::process::id(), "no such thread").is_err());
    }

    #[test]
    fn costs_are_for_a_sweep_or_for_a_second() {
        let sample = Sample {
            sweeps: 3,
            seconds: 6.0,
            sweep_seconds: 0.03,
            bpf_ns: 12_000_000,
            cpu_ns: 24_000_000,
            sweeping_ns: 15_000_000,
            resident: 1,
        };
        assert!((sample.sweep_ms() - 10.0).abs() < 1e-9);
        assert_eq!((sample.bpf_ms_a_sweep(), sample.bpf_ms_a_second()), (4.0, 2.0));
        assert!((sample.sweeping_ms_a_sweep() - 5.0).abs() < 1e-9);
        assert_eq!((sample.cpu_ms_a_sweep(), sample.cpu_ms_a_second()), (8.0, 4.0));
    }
}
