//! Short processes, a few at a time: how many there can be in a second, and what netsonde's BPF programs take
//! for the fork, the exec and the exit of each.

use std::collections::{BTreeMap, VecDeque};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Plan;
use crate::results::{Content, Figure};
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
    fn add(&mut self, command: &mut Command) -> Result<()> {
        if self.0.len() >= CONCURRENCY {
            self.wait_oldest()?;
        }
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
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
        ensure!(status.success(), "a short process ended with {status}");
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

/// A program that does nothing.
pub fn nothing() -> Command {
    Command::new(PROGRAM)
}

/// Processes that came and went.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// How many; all of them ended well.
    pub count: u64,
    /// From the first fork to the last exit.
    pub seconds: f64,
}

impl Came {
    /// In a second.
    pub fn rate(self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Starts one after the other for so long, a few at a time, and waits for the last.
pub fn for_so_long(length: Duration, command: impl Fn() -> Command) -> Result<Came> {
    let mut started = Started::default();
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < length {
        started.add(&mut command())?;
        count += 1;
    }
    started.wait_all()?;
    Ok(Came { count, seconds: begin.elapsed().as_secs_f64() })
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
pub fn measure(plan: &Plan) -> Result<Content> {
    let statistics = Statistics::enable()?;
    let daemon = plan.subject.start()?;
    let begin = Reading::take(&statistics)?;
    std::thread::sleep(QUIET);
    let middle = Reading::take(&statistics)?;
    let mut started = Started::default();
    for _ in 0..PROCESSES {
        started.add(&mut nothing())?;
    }
    started.wait_all()?;
    let end = Reading::take(&statistics)?;
    let lost_records =
        daemon.stop()?.sum("netsonde.self.losses", &[("netsonde.loss.reason", "process_ring_full".into())]);

    let (seconds, quiet_seconds) = (end.seconds_since(&middle), middle.seconds_since(&begin));
    let mut figures = Vec::with_capacity(EVENTS.len() + 3);
    let mut total = 0.0;
    for (event, name) in EVENTS {
        let (program, quiet) = (end.since(&middle, name)?, middle.since(&begin, name)?);
        ensure!(program.runs >= PROCESSES as u64, "{name} ran {} times for {PROCESSES}", program.runs);
        let ns = per_process(program.ns, seconds, quiet.ns, quiet_seconds, PROCESSES);
        figures.push(Figure::of(event, &format!("in BPF for each {event}"), "ns", &[ns]));
        total += ns;
    }
    let walked = end.since(&begin, WALK)?.ns_per_run();
    figures.insert(0, Figure::of("process", "in BPF for fork, exec and exit of a process", "ns", &[total]));
    figures.push(Figure::of(
        "walked-task",
        "in BPF for each task of the walk that each sweep makes",
        "ns",
        &[walked],
    ));
    let title = format!("lost of those of {PROCESSES} processes in {seconds:.1} s");
    figures.push(Figure::of("lost-records", &title, "records", &[lost_records as f64]));
    Ok(Content::Figures { figures })
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
            started.add(&mut nothing()).unwrap();
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
