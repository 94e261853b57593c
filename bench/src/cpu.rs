//! Processor time of the daemon for connections: its share of a processor at a steady pace, and seconds for a million of them as fast
//! as this machine makes them. Both ends of each are on this host.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::program::{self, Programs, Server};

use crate::Plan;
use crate::exchange;
use crate::observers::cpu_seconds;
use crate::results::{Content, Figure, Scope};

/// In a second.
const PACE: u32 = 1_000;
/// What is due is made so often in a second.
const TICKS: u32 = 100;
/// Connections that make a million by multiplication.
const CONNECTIONS: u32 = 50_000;
/// After the last connection, the sweep that tells of it and its export are still to come.
const REST: Duration = Duration::from_millis(1500);
/// Intervals that a configuration may ask for: the default, and what other measurements have.
const INTERVALS: [(&str, &str); 2] = [("", "10s"), ("-each-second", "1s")];

/// At rest, at the pace and at full speed.
pub fn measure(plan: &Plan) -> Result<Content> {
    // Whole intervals of either kind.
    let length = Duration::from_secs(match plan.scope {
        Scope::Full => 30,
        Scope::Quick => 10,
    });
    let server = exchange::serve(MESSAGE.len())?;
    let mut figures = Vec::new();
    for (suffix, interval) in plan.scope.of(&INTERVALS) {
        let daemon =
            Daemon::start_sweeping(&plan.subject.netsonde, &plan.subject.configuration, interval, |_| {})?;
        let rest = share(&daemon, length, || {
            thread::sleep(length);
            Ok(())
        })?;
        let busy = share(&daemon, length, || pace(length, server))?;
        daemon.stop()?;
        let title = |what: &str| format!("of a processor {what}, swept each {interval}");
        figures.extend([
            Figure::of(
                &format!("connections-{PACE}{suffix}"),
                &title("at 1,000 connections a second"),
                "%",
                &[busy],
            ),
            Figure::of(&format!("rest{suffix}"), &title("at rest"), "%", &[rest]),
        ]);
    }
    let million = million(plan)?;
    figures.push(Figure::of(
        "million-connections",
        "for a million connections at full speed",
        "s",
        &[million],
    ));
    Ok(Content::Figures { figures })
}

const MESSAGE: [u8; 100] = [0x5a; 100];

/// Per cent of a processor that the daemon takes meanwhile.
fn share(daemon: &Daemon, length: Duration, meanwhile: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = cpu_seconds(daemon.pid())?;
    meanwhile()?;
    Ok(100.0 * (cpu_seconds(daemon.pid())? - before) / length.as_secs_f64())
}

/// Makes connections at the pace, one after the other. An error if this machine cannot keep it.
fn pace(length: Duration, server: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    let ticks = TICKS * length.as_secs() as u32;
    for tick in 0..ticks {
        let due = begun + Duration::from_secs(1) / TICKS * tick;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..PACE / TICKS {
            exchange::send(&MESSAGE, server)?;
        }
    }
    let taken = begun.elapsed();
    ensure!(
        taken < length + Duration::from_secs(1) / TICKS * 10,
        "{PACE} connections a second are too many here: {taken:?}"
    );
    Ok(())
}

/// Processor seconds for a million connections, made four at a time.
fn million(plan: &Plan) -> Result<f64> {
    let directory = Programs::new()?;
    let listening = Server::start(&directory.copy("bench-server")?, None, "127.0.0.1:0", "")?;
    let client = directory.copy("bench-client")?;
    let daemon = plan.subject.start()?;
    let before = cpu_seconds(daemon.pid())?;
    let report = program::connect(
        &client,
        None,
        listening.address,
        &format!("--connections {CONNECTIONS} --concurrency 4"),
    )?;
    thread::sleep(REST);
    let taken = cpu_seconds(daemon.pid())? - before;
    daemon.stop()?;
    listening.stop()?;
    ensure!(report.failures.is_empty(), "connections failed: {:?}", report.failures);
    Ok(taken * 1e6 / f64::from(CONNECTIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept() {
        let server = exchange::serve(MESSAGE.len()).unwrap();
        let begun = Instant::now();
        pace(Duration::from_secs(1), server).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(980));
    }
}
