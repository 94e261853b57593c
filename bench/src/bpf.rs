//! Nanoseconds that netsonde's BPF programs run for, from the kernel's own statistics (kernel.bpf_stats_enabled).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::cleanup::CleanUp;
use netsonde_tests::command;
use netsonde_tests::program::{self, Programs, Server};
use serde::Serialize;
use serde_json::Value;

use crate::idle::Idle;
use crate::pairs::Subject;

const CONNECTIONS: usize = 5_000;
const IDLE_CONNECTIONS: usize = 5_000;
const SWEEPS: u64 = 5;

/// What the programs took.
#[derive(Debug, Serialize)]
pub struct Cost {
    connections: usize,
    /// Per connection with both ends on this host, without the sweep.
    ns_per_connection: f64,
    programs: Vec<Program>,
    idle_sockets: usize,
    /// Of the TCP iterator, per socket that it was shown.
    ns_per_swept_socket: f64,
}

/// What one program took while the connections were made.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Program {
    name: String,
    runs: u64,
    ns: u64,
}

impl Program {
    fn since(&self, earlier: Option<&Program>) -> Program {
        let (runs, ns) = earlier.map_or((0, 0), |earlier| (earlier.runs, earlier.ns));
        Program { name: self.name.clone(), runs: self.runs - runs, ns: self.ns - ns }
    }

    fn ns_per_run(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { self.ns as f64 / self.runs as f64 }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for program in self.programs.iter().filter(|program| program.runs > 0) {
            let per_connection = program.ns as f64 / self.connections as f64;
            let (runs, ns) = (program.runs, program.ns_per_run());
            writeln!(
                f,
                "  {:<24} {runs:>8} runs, {ns:>7.0} ns a run, {per_connection:>7.0} ns a connection",
                program.name
            )?;
        }
        writeln!(f, "bpf: {:.0} ns per connection, both ends", self.ns_per_connection)?;
        write!(f, "bpf: {:.0} ns per swept socket, {} idle", self.ns_per_swept_socket, self.idle_sockets)
    }
}

/// Makes connections, then sweeps over idle ones, and reads what both took.
pub fn measure(subject: &Subject) -> Result<Cost> {
    let _statistics = enable_statistics()?;
    let others = programs()?.into_keys().collect();
    let daemon = subject.start()?;
    let sweeper = tcp_iterator(&others)?;
    let own = || -> Result<BTreeMap<u64, Program>> {
        Ok(programs()?.into_iter().filter(|(id, _)| !others.contains(id)).collect())
    };

    let directory = Programs::new()?;
    let listening = Server::start(&directory.copy("bench-server")?, None, "127.0.0.1:0", "")?;
    let client = directory.copy("bench-client")?;
    let before = own()?;
    let arguments = format!("--connections {CONNECTIONS} --concurrency 4");
    let report = program::connect(&client, None, listening.address, &arguments)?;
    listening.stop()?;
    let after = own()?;
    ensure!(report.connections.len() == CONNECTIONS, "connections failed: {:?}", report.failures);
    let programs: Vec<Program> =
        after.iter().filter(|(id, _)| **id != sweeper).map(|(id, now)| now.since(before.get(id))).collect();
    let total: u64 = programs.iter().map(|program| program.ns).sum();
    ensure!(total > 0, "no program of netsonde ran");

    let idle = Idle::open(IDLE_CONNECTIONS)?;
    let sweep = || own()?.remove(&sweeper).context("the TCP iterator is gone");
    // The first sweeps still have news of these sockets.
    let shown = idle.sockets() as u64;
    wait_for_runs(&sweep, sweep()?.runs + 3 * shown)?;
    let before = sweep()?;
    wait_for_runs(&sweep, before.runs + SWEEPS * shown)?;
    let swept = sweep()?.since(Some(&before));
    daemon.stop()?;
    Ok(Cost {
        connections: CONNECTIONS,
        ns_per_connection: total as f64 / CONNECTIONS as f64,
        programs,
        idle_sockets: idle.sockets(),
        ns_per_swept_socket: swept.ns_per_run(),
    })
}

fn wait_for_runs(sweep: &impl Fn() -> Result<Program>, runs: u64) -> Result<()> {
    let swept = command::until(Duration::from_secs(30), || Ok(sweep()?.runs >= runs))?;
    ensure!(swept, "the TCP iterator does not run");
    Ok(())
}

fn enable_statistics() -> Result<CleanUp> {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let before = fs::read_to_string(PATH)?;
    let mut cleanup = CleanUp::default();
    cleanup.push(move || {
        if let Err(error) = fs::write(PATH, before) {
            eprintln!("{PATH} could not be restored: {error}");
        }
    });
    fs::write(PATH, "1")?;
    Ok(cleanup)
}

fn bpftool(object: &str) -> Result<Value> {
    Ok(serde_json::from_str(&command::output(Command::new("bpftool").args(["-j", object, "show"]))?)?)
}

/// Every loaded program by its id.
fn programs() -> Result<BTreeMap<u64, Program>> {
    Ok(parse_programs(&bpftool("prog")?))
}

/// The kernel leaves the counts out while they are zero.
fn parse_programs(list: &Value) -> BTreeMap<u64, Program> {
    let parse = |program: &Value| {
        let number = |name: &str| program[name].as_u64().unwrap_or(0);
        let name = program["name"].as_str().unwrap_or("unnamed").to_owned();
        Some((program["id"].as_u64()?, Program { name, runs: number("run_cnt"), ns: number("run_time_ns") }))
    };
    list.as_array().into_iter().flatten().filter_map(parse).collect()
}

/// The program behind netsonde's iterator over TCP sockets.
fn tcp_iterator(others: &BTreeSet<u64>) -> Result<u64> {
    let links = bpftool("link")?;
    let mut iterators = links.as_array().into_iter().flatten().filter(|link| link["target_name"] == "tcp");
    iterators
        .find_map(|link| link["prog_id"].as_u64().filter(|id| !others.contains(id)))
        .context("netsonde has no iterator over TCP sockets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_without_counts_have_not_run() {
        let list = serde_json::json!([
            {"id": 7, "name": "a", "run_time_ns": 900, "run_cnt": 3},
            {"id": 8, "name": "b"},
        ]);
        let programs = parse_programs(&list);
        assert_eq!(programs[&7].ns_per_run(), 300.0);
        assert_eq!(programs[&8], Program { name: "b".into(), runs: 0, ns: 0 });
        let later = Program { name: "a".into(), runs: 5, ns: 1000 };
        assert_eq!(later.since(programs.get(&7)), Program { name: "a".into(), runs: 2, ns: 100 });
    }
}
