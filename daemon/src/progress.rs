//! Whether the stages of the daemon get on: each says so whenever it has come round, and whoever feeds the watchdog
//! asks which of them has not for too long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stage that can get stuck by itself, the last of the way first: one that waits for the next is not to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The runtime that brings telemetry to its destinations.
    Export,
    /// The task that owns the series.
    Aggregate,
    /// The thread that reads rings and sweeps.
    Collect,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Export, Self::Aggregate, Self::Collect];

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Aggregate => "aggregate",
            Self::Collect => "collect",
        }
    }
}

/// When each stage came round last.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    rounds: [AtomicU64; Stage::ALL.len()],
}

impl Progress {
    /// All stages begin now.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), rounds: Default::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A stage has come round. Costs a reading of the clock.
    pub fn round(&self, stage: Stage) {
        self.rounds[stage as usize].store(self.now(), Ordering::Relaxed);
    }

    /// The stage that has not come round for longer than this; where several have not, the one that the others may
    /// wait for.
    #[must_use]
    pub fn stuck(&self, patience: Duration) -> Option<Stage> {
        let rounds = Stage::ALL.map(|stage| self.rounds[stage as usize].load(Ordering::Relaxed));
        stuck(rounds, self.now(), patience)
    }
}

fn stuck(rounds: [u64; Stage::ALL.len()], now: u64, patience: Duration) -> Option<Stage> {
    let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    Stage::ALL
        .into_iter()
        .zip(rounds)
        .find(|(_, round)| now.saturating_sub(*round) > patience)
        .map(|(s, _)| s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_that_others_may_wait_for_is_named() {
        let patience = Duration::from_millis(100);
        assert_eq!(stuck([1000, 1000, 950], 1050, patience), None);
        assert_eq!(stuck([1000, 1000, 949], 1050, patience), Some(Stage::Collect));
        assert_eq!(stuck([1000, 900, 900], 1050, patience), Some(Stage::Aggregate));
        assert_eq!(stuck([0, 0, 0], 1050, patience), Some(Stage::Export));
    }

    #[test]
    fn a_stage_that_comes_round_is_not_stuck() {
        let progress = Progress::new();
        assert_eq!(progress.stuck(Duration::from_secs(60)), None);
        std::thread::sleep(Duration::from_millis(20));
        progress.round(Stage::Export);
        progress.round(Stage::Aggregate);
        assert_eq!(progress.stuck(Duration::from_millis(10)), Some(Stage::Collect));
    }
}
