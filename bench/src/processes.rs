//! Short processes, a few at a time: how many there can be in a second, and what netsonde's BPF programs take
//! for the fork, the exec and the exit of each.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::pairs::Subject;
use crate::statistics::{Program, Statistics};

const PROGRAM: &str = "/bin/true";
/// How many may be there at once: enough to keep all processors of a small machine busy.
const CONCURRENCY: usize = 8;
const PROCESSES: usize = 3_000;
/// How long the rest of the host is watched.
const QUIET: Duration = Duration::from_secs(3);
/// Each kind of event, and the program that tells of it.
const EVENTS: [(&str, &str); 3] =
    [("fork", "process_forked"), ("exec", "process_executed"), ("exit", "process_exited")];
/// The iterator over all tasks, which each sweep runs.
const WALK: &str = "process_walk";

/// Processes that were started and not yet waited for; killed on drop.
#[derive(Default)]
struct Started(VecDeque<Child>);

impl Started {
    /// Starts one more, if need be after the end of the oldest.
    fn add(&mut self) -> Result<()> {
        if self.0.len() >= CONCURRENCY {
            self.wait_oldest()?;
        }
        let child = Command::new(PROGRAM).spawn().with_context(|| format!("cannot run {PROGRAM}"))?;
        self.0.push_back(child);
        Ok(())
    }

    fn wait_all(&mut self) -> Result<()> {
        while !self.0.is_empty() {
            self.wait_oldest()?;
        }
        Ok(())
    }

    fn wait_oldest(&mut self) -> Result<()> {
        let Some(mut child) = self.0.pop_front() else { return Ok(()) };
        let status = child.wait()?;
        ensure!(status.success(), "{PROGRAM} ended with {status}");
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail when it has ended and was waited for, which is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Processes per second, from fork to exit, over so long.
pub fn rate(length: Duration) -> Result<f64> {
    let mut started = Started::default();
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < length {
        started.add()?;
        count += 1;
    }
    started.wait_all()?;
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// What the programs took for processes.
#[derive(Debug, Serialize)]
pub struct Cost {
    processes: usize,
    seconds: f64,
    quiet_seconds: f64,
    events: Vec<Event>,
    /// Fork, exec and exit of one process.
    ns_per_process: f64,
    /// Of the walk over all tasks in each sweep, per task that it met.
    ns_per_walked_task: f64,
    /// Records for which the ring had no room: their part of the work was not done.
    lost_records: i64,
}

/// What one kind of event took. The programs run for threads too, and for processes of others.
#[derive(Debug, Serialize)]
struct Event {
    event: &'static str,
    /// While the processes were made.
    program: Program,
    /// While nobody made any here.
    quiet: Program,
    /// Without what others are thought to have caused.
    ns_per_process: f64,
    runs_per_process: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { event, program, quiet, ns_per_process, runs_per_process } in &self.events {
            let (runs, ns) = (program.runs, program.ns_per_run());
            let noise = quiet.runs as f64 / self.quiet_seconds;
            write!(f, "  {:<24} {runs:>8} runs, {ns:>7.0} ns a run, ", program.name)?;
            write!(f, "{ns_per_process:>7.0} ns and {runs_per_process:.2} runs per {event}; ")?;
            writeln!(f, "{noise:.1} runs/s by others")?;
        }
        let walked = self.ns_per_walked_task;
        writeln!(f, "processes: {walked:.0} ns per walked task in each sweep")?;
        write!(f, "processes: {:.0} ns in BPF per process, ", self.ns_per_process)?;
        write!(f, "{} in {:.1} s, {} records lost", self.processes, self.seconds, self.lost_records)
    }
}

/// Programs of netsonde at one time.
struct Reading {
    time: Instant,
    programs: BTreeMap<u64, Program>,
}

impl Reading {
    fn take(statistics: &Statistics) -> Result<Self> {
        Ok(Self { time: Instant::now(), programs: statistics.own()? })
    }

    /// Seconds since another.
    fn seconds_since(&self, earlier: &Reading) -> f64 {
        (self.time - earlier.time).as_secs_f64()
    }

    /// What a program took since another.
    fn since(&self, earlier: &Reading, name: &str) -> Result<Program> {
        let mut programs = self.programs.iter();
        let (id, now) = programs
            .find(|(_, program)| program.is_named(name))
            .with_context(|| format!("netsonde has not loaded {name}"))?;
        Ok(now.since(earlier.programs.get(id)))
    }
}

/// What is left for each process of a count that grew by `all` in `seconds`, if it grows by `noise` in
/// `noise_seconds` (more than 0) without them; never less than 0.
fn per_process(all: u64, seconds: f64, noise: u64, noise_seconds: f64, processes: usize) -> f64 {
    let expected = noise as f64 / noise_seconds * seconds;
    (all as f64 - expected).max(0.0) / processes as f64
}

/// Watches the host without them, then makes the processes, and reads what the programs took for both.
pub fn measure(subject: &Subject) -> Result<Cost> {
    let statistics = Statistics::enable()?;
    let daemon = subject.start()?;
    let begin = Reading::take(&statistics)?;
    std::thread::sleep(QUIET);
    let middle = Reading::take(&statistics)?;
    let mut started = Started::default();
    for _ in 0..PROCESSES {
        started.add()?;
    }
    started.wait_all()?;
    let end = Reading::take(&statistics)?;
    let lost_records =
        daemon.stop()?.sum("netsonde.self.losses", &[("netsonde.loss.reason", "process_ring_full".into())]);

    let (seconds, quiet_seconds) = (end.seconds_since(&middle), middle.seconds_since(&begin));
    let mut events = Vec::with_capacity(EVENTS.len());
    for (event, name) in EVENTS {
        let (program, quiet) = (end.since(&middle, name)?, middle.since(&begin, name)?);
        ensure!(program.runs >= PROCESSES as u64, "{name} ran {} times for {PROCESSES}", program.runs);
        let share = |all, noise| per_process(all, seconds, noise, quiet_seconds, PROCESSES);
        let ns_per_process = share(program.ns, quiet.ns);
        let runs_per_process = share(program.runs, quiet.runs);
        events.push(Event { event, program, quiet, ns_per_process, runs_per_process });
    }
    Ok(Cost {
        processes: PROCESSES,
        seconds,
        quiet_seconds,
        ns_per_process: events.iter().map(|event| event.ns_per_process).sum(),
        events,
        ns_per_walked_task: end.since(&begin, WALK)?.ns_per_run(),
        lost_records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_cause_is_not_laid_upon_the_processes() {
        // 100 a second without them: 200 in two seconds, of 1200.
        assert_eq!(per_process(1200, 2.0, 300, 3.0, 10), 100.0);
        assert_eq!(per_process(1200, 2.0, 0, 3.0, 10), 120.0);
        // A host that was busier before.
        assert_eq!(per_process(100, 2.0, 900, 3.0, 10), 0.0);
    }

    #[test]
    fn no_more_processes_are_there_at_once_than_may_be() {
        let mut started = Started::default();
        for _ in 0..2 * CONCURRENCY {
            started.add().unwrap();
            assert!(started.0.len() <= CONCURRENCY);
        }
        started.wait_all().unwrap();
        assert!(started.0.is_empty());
    }

    #[test]
    fn a_program_is_found_by_its_name_and_counted_from_the_earlier_reading() {
        let program = |name: &str, runs| Program { name: name.into(), runs, ns: 10 * runs };
        let reading = |runs| Reading {
            time: Instant::now(),
            programs: [(3, program("process_walk", 99)), (4, program("process_execute", runs))].into(),
        };
        let taken = reading(7).since(&reading(2), "process_executed").unwrap();
        assert_eq!((taken.runs, taken.ns), (5, 50));
        assert!(reading(7).since(&reading(2), "process_forked").is_err());
    }
}
