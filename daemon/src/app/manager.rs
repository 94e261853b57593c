//! What the service manager is told, and its watchdog.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::aggregate::Status;
use crate::progress::{Progress, Stage};

/// A stage that has not come round for less is not yet stuck, however short systemd's limit is.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Tells systemd, if it runs this process.
pub fn tell_systemd(state: &[NotifyState<'_>]) {
    // Fails only when nobody listens.
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!(error = %e, "the service manager was not told");
    }
}

/// Feeds systemd's watchdog as long as every stage gets on and sweeps come in, so that a daemon that is stuck is
/// started anew.
pub struct Watchdog {
    /// The limit of systemd, and when it is time.
    ticks: Option<(Duration, tokio::time::Interval)>,
    status: watch::Receiver<Status>,
    progress: Arc<Progress>,
    sweeps: u64,
    last_sweep: tokio::time::Instant,
    stuck: bool,
}

impl Watchdog {
    /// Nothing has come round yet.
    pub fn new(status: watch::Receiver<Status>, progress: Arc<Progress>) -> Self {
        let ticks = sd_notify::watchdog_enabled().map(|limit| {
            let mut ticks = tokio::time::interval(limit / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (limit, ticks)
        });
        Self { ticks, status, progress, sweeps: 0, last_sweep: tokio::time::Instant::now(), stuck: false }
    }

    /// Waits until it is time to feed it; for ever where there is none.
    pub async fn due(&mut self) {
        match &mut self.ticks {
            Some((_, ticks)) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Feeds it, unless something is stuck.
    pub fn feed(&mut self, interval: Duration) {
        let sweeps = self.status.borrow().sweep.count;
        let now = tokio::time::Instant::now();
        if sweeps != self.sweeps {
            (self.sweeps, self.last_sweep) = (sweeps, now);
        }
        let patience = self.ticks.as_ref().map_or(LEAST_PATIENCE, |(limit, _)| (*limit).max(LEAST_PATIENCE));
        let late = now - self.last_sweep > interval * 2 + patience;
        let what = self.progress.stuck(patience).map(Stage::name).or(late.then_some("sweeps"));
        match what {
            None => {
                self.stuck = false;
                tell_systemd(&[NotifyState::Watchdog]);
            }
            Some(what) => {
                if !self.stuck {
                    tracing::error!(what, "a stage is stuck: the watchdog is not fed");
                }
                self.stuck = true;
            }
        }
    }
}
