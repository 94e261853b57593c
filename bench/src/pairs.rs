//! Interleaved pairs: without netsonde and with it, then with it and without, and again. A machine that grows slower or faster while it is
//! measured changes both halves of a pair; the ratio within each pair is what counts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use netsonde_tests::daemon::Daemon;
use serde::Serialize;

use crate::workloads::Workload;

/// The netsonde that is measured.
pub struct Subject {
    /// Its binary.
    pub netsonde: PathBuf,
    /// Lines of its configuration.
    pub configuration: String,
}

impl Subject {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Daemon> {
        self.start_for("")
    }

    /// Likewise, with more lines in its configuration, which may be tables.
    pub fn start_for(&self, more: &str) -> Result<Daemon> {
        Daemon::start_binary(&self.netsonde, &format!("{}\n{more}", self.configuration), |_| {})
    }
}

/// What the pairs of one workload gave.
#[derive(Debug, Serialize)]
pub struct Outcome {
    name: String,
    unit: &'static str,
    bare: Vec<f64>,
    with_netsonde: Vec<f64>,
    ratio: Spread,
}

/// A middle and how far apart the measurements were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
        Self { median, min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let digits = if *max < 100.0 { 3 } else { 0 };
        write!(f, "{median:.digits$} [{min:.digits$}..{max:.digits$}]")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bare, with) = (Spread::of(&self.bare).median, Spread::of(&self.with_netsonde).median);
        write!(f, "{:<24} {bare:>10.0} -> {with:>10.0} {}, ", self.name, self.unit)?;
        write!(f, "ratio {} of {} pairs", self.ratio, self.bare.len())
    }
}

/// Runs the pairs.
pub fn measure(
    name: &str,
    workload: &dyn Workload,
    subject: &Subject,
    pairs: u64,
    length: Duration,
) -> Result<Outcome> {
    // Both halves once for nothing: caches, the workload's own connections, netsonde's pages.
    let warm_up = Duration::from_secs(1);
    workload.run(warm_up)?;
    run_with(workload, subject, warm_up)?;
    let (mut bare, mut with_netsonde) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Each half is first in every other pair, so that what one run leaves to the next weighs on both alike.
        if pair % 2 == 0 {
            bare.push(workload.run(length)?);
            with_netsonde.push(run_with(workload, subject, length)?);
        } else {
            with_netsonde.push(run_with(workload, subject, length)?);
            bare.push(workload.run(length)?);
        }
    }
    let ratios: Vec<f64> = with_netsonde.iter().zip(&bare).map(|(with, bare)| with / bare).collect();
    Ok(Outcome {
        name: name.to_owned(),
        unit: workload.unit(),
        bare,
        with_netsonde,
        ratio: Spread::of(&ratios),
    })
}

fn run_with(workload: &dyn Workload, subject: &Subject, length: Duration) -> Result<f64> {
    let daemon = subject.start_for(&workload.configuration())?;
    let value = workload.run(length)?;
    daemon.stop()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }
}
