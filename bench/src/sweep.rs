//! How long a sweep takes, by the daemon's own word, beside `ss -tin` over the same sockets, one after the other.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netsonde_tests::api;
use netsonde_tests::daemon::Daemon;
use serde_json::Value;

use crate::Plan;
use crate::audit::timed;
use crate::held::Held;
use crate::results::{Content, Figure};

const SOCKETS: [usize; 2] = [10_000, 100_000];
/// Longer than both take together: they do not meet.
const INTERVAL: &str = "2s";
/// Between two looks at the status, which cost the daemon something as well.
const LOOK: Duration = Duration::from_millis(100);
/// The first sweeps still have news of these sockets.
const NEWS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// For each number of sockets, by a daemon of its own.
pub fn measure(plan: &Plan) -> Result<Content> {
    let mut figures = Vec::new();
    for sockets in SOCKETS {
        let held = Held::idle(sockets)?;
        let daemon =
            Daemon::start_sweeping(&plan.subject.netsonde, &plan.subject.configuration, INTERVAL, |_| {})?;
        let mut last = after(&daemon, NEWS)?;
        let mut pairs = Vec::new();
        for _ in 0..plan.rounds {
            last = after(&daemon, last.count + 1)?;
            ensure!(
                last.sockets >= held.sockets() as u64,
                "a sweep met {} of {sockets} sockets",
                last.sockets
            );
            // Right behind a sweep: the next one is far.
            pairs.push((last.seconds * 1e3, timed(Command::new("ss").arg("-tinH"))?));
        }
        daemon.stop()?;
        figures.extend(figures_of(sockets, &pairs));
    }
    Ok(Content::Figures { figures })
}

/// Of pairs of milliseconds.
fn figures_of(sockets: usize, pairs: &[(f64, f64)]) -> [Figure; 4] {
    let column =
        |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(own, ss)| of(*own, *ss)).collect::<Vec<_>>();
    let figure = |suffix: &str, title: &str, unit, of: &dyn Fn(f64, f64) -> f64| {
        let title = format!("{title}, {sockets} idle sockets");
        Figure::of(&format!("sockets-{sockets}-{suffix}"), &title, unit, &column(of))
    };
    [
        figure("ratio", "a whole sweep, by the time of ss -tin", "", &|own, ss| own / ss),
        figure("netsonde", "a whole sweep", "ms", &|own, _| own),
        figure("ss", "ss -tin beside it", "ms", &|_, ss| ss),
        figure("socket", "a whole sweep, for each socket", "ns", &|own, _| own * 1e6 / sockets as f64),
    ]
}

/// The last sweep of a daemon.
#[derive(Debug, PartialEq)]
struct Sweep {
    count: u64,
    sockets: u64,
    seconds: f64,
}

impl Sweep {
    fn parse(status: &Value) -> Option<Self> {
        let sweep = &status["status"]["sweep"];
        Some(Self {
            count: sweep["count"].as_u64()?,
            sockets: sweep["sockets"].as_u64()?,
            seconds: sweep["seconds"].as_f64()?,
        })
    }
}

/// Waits until there were so many.
fn after(daemon: &Daemon, count: u64) -> Result<Sweep> {
    let begun = Instant::now();
    loop {
        let status = api::json(daemon, "/api/v1/status")?;
        // There is none before the first.
        match Sweep::parse(&status).filter(|sweep| sweep.count >= count) {
            Some(sweep) => return Ok(sweep),
            None => {
                let last = || format!("no sweep {count} after {PATIENCE:?}: {}", status["status"]["sweep"]);
                (begun.elapsed() < PATIENCE).then_some(()).with_context(last)?;
                thread::sleep(LOOK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_read_from_the_status() {
        let status = serde_json::json!({"status": {"sweep": {"count": 7, "sockets": 10, "seconds": 0.5}}});
        assert_eq!(Sweep::parse(&status), Some(Sweep { count: 7, sockets: 10, seconds: 0.5 }));
        assert_eq!(Sweep::parse(&serde_json::json!({"status": {"sweep": null}})), None);
    }

    #[test]
    fn ratios_are_of_pairs_and_shares_of_sockets() {
        let [ratio, _, _, socket] = figures_of(1000, &[(1.0, 4.0), (2.0, 4.0)]);
        assert_eq!((ratio.value.min, ratio.value.max, ratio.count), (0.25, 0.5, 2));
        assert_eq!((socket.value.min, socket.name.as_str()), (1000.0, "sockets-1000-socket"));
    }
}
