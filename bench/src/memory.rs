//! Memory of the daemon: at rest, what each more living process adds to it, and with many sockets.

use std::fs;

use anyhow::{Context, Result, ensure};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::telemetry::Telemetry;

use crate::Plan;
use crate::held::Held;
use crate::living::{Kind, Living};
use crate::observers::Subject;
use crate::results::{Content, Figure};

const PROCESSES: usize = 3_000;
const SOCKETS: [usize; 2] = [10_000, 100_000];
/// Exports that are waited for before memory is read: the first may tell of a sweep that began before.
const EXPORTS: usize = 3;
/// Processes that were there before may end meanwhile: the table must grow by this share of those that came.
const TRACKED_SHARE: f64 = 0.95;

/// One daemon, without the processes and with them.
#[derive(Debug)]
struct Growth {
    kind: Kind,
    processes: usize,
    rest: Reading,
    /// Anonymous memory: the table, and what a sweep over that many has left with the allocator.
    bytes_per_process: f64,
}

/// The daemon at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    memory: Memory,
    /// Processes in its table, by its own word.
    tracked: i64,
}

/// Bytes in memory, of /proc/PID/status (proc_pid_status(5)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// `VmRSS`: with the binary and the rings that are shared with the kernel.
    pub resident: u64,
    /// `RssAnon`: the heap and the stacks.
    anonymous: u64,
}

impl Memory {
    /// Of a process, now.
    pub fn of(process: u32) -> Result<Self> {
        parse_status(&fs::read_to_string(format!("/proc/{process}/status"))?)
    }
}

impl Growth {
    /// An error if the daemon did not track them: then its memory says nothing.
    fn between(kind: Kind, processes: usize, rest: Reading, grown: Reading) -> Result<Self> {
        let more = grown.tracked - rest.tracked;
        ensure!(
            more as f64 >= TRACKED_SHARE * processes as f64,
            "netsonde tracks {more} more processes after {processes} were forked"
        );
        let bytes = grown.memory.anonymous as f64 - rest.memory.anonymous as f64;
        Ok(Self { kind, processes, rest, bytes_per_process: bytes / processes as f64 })
    }
}

/// Reads the memory of one daemon for each kind of process, before and after there are many of them.
///
/// Each kind has a daemon of its own: what one has allocated it may use again.
pub fn measure(plan: &Plan) -> Result<Content> {
    let growths = [Kind::Forked, Kind::Executed].map(|kind| grow(&plan.subject, kind));
    let growths = growths.into_iter().collect::<Result<Vec<_>>>()?;
    let at_rest = |of: fn(&Memory) -> u64| {
        growths.iter().map(|growth| of(&growth.rest.memory) as f64).collect::<Vec<_>>()
    };
    let mut figures = vec![
        Figure::of("rest", "resident at rest", "bytes", &at_rest(|memory| memory.resident)),
        Figure::of("rest-anonymous", "of these anonymous", "bytes", &at_rest(|memory| memory.anonymous)),
    ];
    figures.extend(growths.iter().map(|growth| {
        let (name, kind) = match growth.kind {
            Kind::Forked => ("forked", "forked"),
            Kind::Executed => ("executed", "forked and executed"),
        };
        let title = format!("for each of {} living processes that were {kind}", growth.processes);
        Figure::of(name, &title, "bytes", &[growth.bytes_per_process])
    }));
    for &sockets in plan.scope.of(&SOCKETS) {
        let title = format!("resident with {sockets} sockets, 1 % active");
        let resident = with_sockets(&plan.subject, sockets)? as f64;
        figures.push(Figure::of(&format!("sockets-{sockets}"), &title, "bytes", &[resident]));
    }
    Ok(Content::Figures { figures })
}

fn grow(subject: &Subject, kind: Kind) -> Result<Growth> {
    let daemon = subject.start()?;
    let rest = read(&daemon)?;
    let living = Living::start(kind, PROCESSES)?;
    let grown = read(&daemon)?;
    ensure!(living.count()? == PROCESSES, "processes ended before they were to");
    drop(living);
    daemon.stop()?;
    Growth::between(kind, PROCESSES, rest, grown)
}

/// Bytes resident of a daemon that has swept over so many sockets a few times.
fn with_sockets(subject: &Subject, sockets: usize) -> Result<u64> {
    let held = Held::active(sockets)?;
    let daemon = subject.start()?;
    daemon.wait("its sweeps over them", |telemetry| {
        let swept = telemetry.points.iter().filter(|point| point.metric == "netsonde.self.sweep.sockets");
        swept.filter(|point| point.number >= held.sockets() as f64).count() >= EXPORTS
    })?;
    let memory = Memory::of(daemon.pid())?;
    daemon.stop()?;
    Ok(memory.resident)
}

/// Waits until whole sweeps have seen what there is now, then reads.
fn read(daemon: &Daemon) -> Result<Reading> {
    let now = u64::try_from(jiff::Timestamp::now().as_nanosecond())?;
    let telemetry = daemon.wait("its sweeps", |telemetry| tracked_after(telemetry, now).len() >= EXPORTS)?;
    let tracked = *tracked_after(&telemetry, now).last().context("no export")?;
    Ok(Reading { memory: Memory::of(daemon.pid())?, tracked })
}

/// How many processes the daemon said it tracked, in each export after this Unix time in nanoseconds.
fn tracked_after(telemetry: &Telemetry, unix_ns: u64) -> Vec<i64> {
    let points = telemetry.points.iter().filter(|point| point.metric == "netsonde.self.processes.usage");
    points.filter(|point| point.time > unix_ns).map(|point| point.number as i64).collect()
}

fn parse_status(status: &str) -> Result<Memory> {
    let bytes = |name: &str| -> Result<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kibibytes.with_context(|| format!("no {name} in its status"))? * 1024)
    };
    Ok(Memory { resident: bytes("VmRSS")?, anonymous: bytes("RssAnon")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(kibibytes: u64, tracked: i64) -> Reading {
        let anonymous = kibibytes * 1024;
        Reading { memory: Memory { resident: 2 * anonymous, anonymous }, tracked }
    }

    #[test]
    fn a_status_gives_memory_in_bytes() {
        let status = "Name:\tnetsonde\nVmRSS:\t   14336 kB\nRssAnon:\t    6144 kB\nRssFile:\t 8192 kB\n";
        assert_eq!(parse_status(status).unwrap(), Memory { resident: 14_680_064, anonymous: 6_291_456 });
        assert!(parse_status("Name:\tkthreadd\n").is_err());
        assert!(parse_status("VmRSS:\t1 kB\nRssAnon:\tmany kB\n").is_err());
    }

    #[test]
    fn growth_is_shared_among_the_processes() {
        let growth = Growth::between(Kind::Forked, 100, reading(1000, 60), reading(1100, 161)).unwrap();
        assert_eq!(growth.bytes_per_process, 1024.0);
        // An allocator may have given memory back.
        let shrunk = Growth::between(Kind::Forked, 100, reading(1100, 60), reading(1000, 161)).unwrap();
        assert_eq!(shrunk.bytes_per_process, -1024.0);
    }

    #[test]
    fn memory_of_untracked_processes_says_nothing() {
        assert!(Growth::between(Kind::Executed, 100, reading(1000, 60), reading(1100, 150)).is_err());
        assert!(Growth::between(Kind::Executed, 100, reading(1000, 60), reading(1100, 157)).is_ok());
    }

    #[test]
    fn only_exports_after_a_moment_count() {
        let line = |time: u64, value: u64| {
            let point = format!(r#"{{"timeUnixNano":"{time}","asInt":"{value}"}}"#);
            let gauge =
                format!(r#"{{"name":"netsonde.self.processes.usage","gauge":{{"dataPoints":[{point}]}}}}"#);
            format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{gauge}]}}]}}]}}"#) + "\n"
        };
        let telemetry = Telemetry::parse(&(line(1, 60) + &line(2, 61) + &line(3, 62))).unwrap();
        assert_eq!(tracked_after(&telemetry, 1), [61, 62]);
        assert!(tracked_after(&telemetry, 3).is_empty());
    }
}
