//! How long `netsonde audit --listening` takes beside `ss -lntup`, on a host with many sockets: through the daemon, and
//! by reading the kernel without one. In interleaved pairs, of which every other one begins with netsonde.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use netsonde_tests::program::{Running, python};
use serde::Deserialize;

use crate::Plan;
use crate::results::{Content, Figure};

/// Each has less than the 20,000 files that a process may open on a small host.
const PROCESSES: usize = 4;
const SOCKETS: usize = 20_000;
const LISTENERS: usize = 500;
/// A run of either takes milliseconds: there can be more pairs than of the workloads.
const RUNS_PER_ROUND: u64 = 6;
/// Loading programs takes a second or more each time.
const ONE_SHOT_PAIRS: u64 = 3;
const FIRST_SWEEPS: Duration = Duration::from_secs(30);

/// One way of asking, beside `ss`: milliseconds of both, in pairs.
struct Outcome(Vec<(f64, f64)>);

impl Outcome {
    /// netsonde's time by that of `ss`, below 1 if it is faster, and both times.
    fn figures(&self, name: &str, title: &str) -> [Figure; 3] {
        let column = |of: fn(&(f64, f64)) -> f64| self.0.iter().map(of).collect::<Vec<_>>();
        let named = |suffix| format!("{name}-{suffix}");
        [
            Figure::of(
                &named("ratio"),
                &format!("{title}, by the time of ss -lntup"),
                "",
                &column(|(ss, own)| own / ss),
            ),
            Figure::of(&named("netsonde"), title, "ms", &column(|(_, own)| *own)),
            Figure::of(&named("ss"), "ss -lntup beside it", "ms", &column(|(ss, _)| *ss)),
        ]
    }
}

/// One line of `many_sockets.py`.
#[derive(Debug, Deserialize)]
struct Held {
    ports: Vec<u16>,
    sockets: usize,
}

/// Opens the sockets, and measures with a daemon and without.
pub fn measure(plan: &Plan) -> Result<Content> {
    let subject = &plan.subject;
    let (_running, held) = hold()?;
    let (sockets, listeners) = held
        .iter()
        .fold((0, 0), |(sockets, listeners), held| (sockets + held.sockets, listeners + held.ports.len()));
    let ports: Vec<u16> = held.into_iter().flat_map(|held| held.ports).collect();

    let daemon = subject.start()?;
    let audit = |configuration: &Path| {
        let mut command = Command::new(&subject.netsonde);
        command.args(["audit", "--listening", "--config"]).arg(configuration);
        command
    };
    let through_daemon = || audit(&daemon.configuration());
    let complete =
        command::until(FIRST_SWEEPS, || Ok(shows_all(&command::output(&mut through_daemon())?, &ports)))?;
    ensure!(complete, "netsonde does not show all that listens");
    ensure!(shows_all(&command::output(&mut ss())?, &ports), "ss does not show all that listens");
    let by_daemon = compare(through_daemon, plan.rounds * RUNS_PER_ROUND)?;
    daemon.stop()?;

    let directory = tempfile::tempdir()?;
    let configuration = directory.path().join("netsonde.toml");
    let nobody = directory.path().join("api.sock");
    fs::write(&configuration, format!("[api]\nsocket = \"{}\"\n", nobody.display()))?;
    let alone = || audit(&configuration);
    ensure!(shows_all(&command::output(&mut alone())?, &ports), "one reading does not show all that listens");
    let one_shot = compare(alone, ONE_SHOT_PAIRS)?;
    let host = format!("of a host with {sockets} sockets and {listeners} listeners");
    let daemon =
        by_daemon.figures("daemon", &format!("netsonde audit --listening {host}, through the daemon"));
    let one_shot =
        one_shot.figures("one-shot", &format!("netsonde audit --listening {host}, without a daemon"));
    Ok(Content::Figures { figures: daemon.into_iter().chain(one_shot).collect() })
}

fn hold() -> Result<(Vec<Running>, Vec<Held>)> {
    let listeners = LISTENERS / PROCESSES;
    let pairs = (SOCKETS / PROCESSES - listeners).div_ceil(2);
    let mut all = Vec::with_capacity(PROCESSES);
    for _ in 0..PROCESSES {
        let mut running =
            Running::start_command(&mut python("many_sockets.py", &format!("{listeners} {pairs}")))?;
        let held = running.read().context("not all sockets can be opened")?;
        all.push((running, held));
    }
    Ok(all.into_iter().unzip())
}

fn ss() -> Command {
    let mut command = Command::new("ss");
    command.arg("-lntup");
    command
}

fn shows_all(text: &str, ports: &[u16]) -> bool {
    ports.iter().all(|port| text.contains(&format!("127.0.0.1:{port} ")))
}

fn compare(netsonde: impl Fn() -> Command, pairs: u64) -> Result<Outcome> {
    let mut taken = Vec::new();
    for pair in 0..pairs {
        let milliseconds = if pair % 2 == 0 {
            let bare = timed(&mut ss())?;
            (bare, timed(&mut netsonde())?)
        } else {
            let own = timed(&mut netsonde())?;
            (timed(&mut ss())?, own)
        };
        taken.push(milliseconds);
    }
    Ok(Outcome(taken))
}

/// Milliseconds from the start of the process to its end, its output read by nobody.
pub fn timed(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let taken = begin.elapsed();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(taken.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_missing_is_noticed() {
        let text = "tcp  127.0.0.1:80  loopback\ntcp  127.0.0.1:8080  loopback\n";
        assert!(shows_all(text, &[80, 8080]));
        assert!(!shows_all("tcp  127.0.0.1:8080  loopback\n", &[80]));
    }

    #[test]
    fn ratios_are_of_pairs() {
        let outcome = compare(ss, 2).unwrap();
        let [ratio, own, _] = outcome.figures("a", "A");
        assert_eq!((ratio.count, ratio.name.as_str(), own.unit.as_str()), (2, "a-ratio", "ms"));
    }
}
