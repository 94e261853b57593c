//! What readers of the running daemon are shown: the last hour by intervals, the processes that own sockets, the newest
//! values of all series, and events as they come.
//!
//! The aggregation feeds a [`Recorder`] where it adds to its series; readers take what they need from a [`View`], which
//! never makes the aggregation wait for longer than a few pointers take to copy. All of it is bounded, and what is let go
//! of is counted. The shapes of the answers are those of [`netsonde_view::model`]; serving them is the API's matter.

mod answers;
#[cfg(test)]
mod counted;
mod events;
mod frames;
mod identities;
mod json;
mod pending;
mod processes;
mod recorder;
#[cfg(test)]
pub mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use events::{Events, Told};
pub use frames::StoredFrame;
pub use identities::Named;
pub use processes::ProcessTotals;
pub use recorder::Recorder;

use crate::telemetry::{AttributeValue, MetricData};

#[derive(Default)]
struct Shared {
    /// Oldest first.
    frames: VecDeque<Arc<StoredFrame>>,
    /// Those that measured something last come first.
    processes: Arc<[Arc<ProcessTotals>]>,
    /// Seconds between two intervals' ends, as configured.
    interval: f64,
    /// All series as of the last sweep, sums since their beginning.
    metrics: Option<Arc<Vec<MetricData>>>,
    /// What these are of.
    resource: Arc<[(String, AttributeValue)]>,
}

/// What readers take from.
#[derive(Clone, Default)]
pub struct View {
    shared: Arc<Mutex<Shared>>,
    events: Events,
}

/// The newest values of all series, and what they are of.
pub type Metrics = (Arc<Vec<MetricData>>, Arc<[(String, AttributeValue)]>);

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl View {
    /// Held for as long as a few thousand pointers take to copy.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing that runs under it can leave it half done.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events as they come.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The newest values of all series; nothing before the first sweep.
    #[must_use]
    pub fn metrics(&self) -> Option<Metrics> {
        let shared = self.shared();
        Some((shared.metrics.clone()?, Arc::clone(&shared.resource)))
    }

    /// Shows the newest values of all series.
    pub fn show_metrics(&self, metrics: Arc<Vec<MetricData>>) {
        let before = self.shared().metrics.replace(metrics);
        // Freed after readers are let in again.
        drop(before);
    }

    /// Says what all series are of: this host and service.
    pub fn set_resource(&self, resource: Vec<(String, AttributeValue)>) {
        self.shared().resource = resource.into();
    }

    /// The intervals that are there, oldest first, and seconds between two ends.
    fn frames(&self) -> (Vec<Arc<StoredFrame>>, f64) {
        let shared = self.shared();
        (shared.frames.iter().cloned().collect(), shared.interval)
    }

    fn process_totals(&self) -> Arc<[Arc<ProcessTotals>]> {
        Arc::clone(&self.shared().processes)
    }
}
