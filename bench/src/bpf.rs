//! Nanoseconds that netsonde's BPF programs run for, per connection and per swept socket. What they take for
//! processes is found by `processes`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use netsonde_tests::program::{self, Programs, Server};

use crate::Plan;
use crate::held::Held;
use crate::results::{Content, Figure, Scope};
use crate::statistics::{Program, Statistics};
use crate::time_wait;

const CONNECTIONS: usize = 5_000;
const SOCKETS: [usize; 2] = [10_000, 100_000];
const SWEEPS: u64 = 5;

/// Makes connections, then sweeps over idle ones, and reads what both took.
pub fn measure(plan: &Plan) -> Result<Content> {
    let statistics = Statistics::enable()?;
    let daemon = plan.subject.start()?;
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

    if plan.scope == Scope::Full {
        time_wait::drain()?;
    }
    let (mut swept, mut held) = (Vec::new(), None);
    for &sockets in plan.scope.of(&SOCKETS) {
        drop(held.take());
        held = Some(Held::idle(sockets)?);
        swept.push((sockets, swept_socket(&statistics, sweeper, sockets as u64)?));
    }
    drop(held);
    daemon.stop()?;
    let ns = |all: u64| all as f64 / CONNECTIONS as f64;
    let per_connection = "in BPF for a connection, both ends on this host";
    let mut figures = vec![Figure::of("connection", per_connection, "ns", &[ns(total)])];
    figures.extend(swept.into_iter().map(|(sockets, ns)| {
        // Of the smallest number it is simply the figure: goals are about it.
        let name =
            if sockets == SOCKETS[0] { "swept-socket".to_owned() } else { format!("swept-socket-{sockets}") };
        Figure::of(&name, &format!("in BPF for each of {sockets} idle sockets of a sweep"), "ns", &[ns])
    }));
    figures.extend(programs.iter().filter(|program| program.runs > 0).map(|program| {
        let title = format!("of these by {}, {:.0} ns a run", program.name, program.ns_per_run());
        Figure::of(&format!("connection-{}", program.name), &title, "ns", &[ns(program.ns)])
    }));
    Ok(Content::Figures { figures })
}

/// Nanoseconds for each of so many idle sockets, when none of them is news any more.
fn swept_socket(statistics: &Statistics, sweeper: u64, sockets: u64) -> Result<f64> {
    let sweep = || statistics.own()?.remove(&sweeper).context("the TCP iterator is gone");
    wait_for_runs(&sweep, sweep()?.runs + 3 * sockets)?;
    let before = sweep()?;
    wait_for_runs(&sweep, before.runs + SWEEPS * sockets)?;
    Ok(sweep()?.since(Some(&before)).ns_per_run())
}

fn wait_for_runs(sweep: &impl Fn() -> Result<Program>, runs: u64) -> Result<()> {
    let swept = command::until(Duration::from_secs(30), || Ok(sweep()?.runs >= runs))?;
    ensure!(swept, "the TCP iterator does not run");
    Ok(())
}
