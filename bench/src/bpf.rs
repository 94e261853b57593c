//! Nanoseconds that netsonde's BPF programs run for, per connection and per swept socket. What they take for
//! processes is found by `processes`.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use netsonde_tests::program::{self, Programs, Server};
use serde::Serialize;

use crate::idle::Idle;
use crate::pairs::Subject;
use crate::statistics::{Program, Statistics};

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
    let statistics = Statistics::enable()?;
    let daemon = subject.start()?;
    let sweeper = statistics.tcp_iterator()?;

    let directory = Programs::new()?;
    let listening = Server::start(&directory.copy("bench-server")?, None, "127.0.0.1:0", "")?;
    let client = directory.copy("bench-client")?;
    let before = statistics.own()?;
    let arguments = format!("--connections {CONNECTIONS} --concurrency 4");
    let report = program::connect(&client, None, listening.address, &arguments)?;
    listening.stop()?;
    let after = statistics.own()?;
    ensure!(report.connections.len() == CONNECTIONS, "connections failed: {:?}", report.failures);
    let programs: Vec<Program> =
        after.iter().filter(|(id, _)| **id != sweeper).map(|(id, now)| now.since(before.get(id))).collect();
    let total: u64 = programs.iter().map(|program| program.ns).sum();
    ensure!(total > 0, "no program of netsonde ran");

    let idle = Idle::open(IDLE_CONNECTIONS)?;
    let sweep = || statistics.own()?.remove(&sweeper).context("the TCP iterator is gone");
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
