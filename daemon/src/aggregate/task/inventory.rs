//! The task's part on what readers see of what listens: when they see changes, and the names of places in them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Aggregation;
use crate::audit::Places;
use crate::enrich::Clock;

/// Readers see changes no more often than this. With the time that events wait in the kernel's ring (`collect`), and
/// the interval at which logs are flushed, a change is seen within a second.
const SHOWN_EVERY: Duration = Duration::from_millis(250);
/// Names of namespaces are read again this often at most, when one is met that has none.
const PLACES_EVERY: Duration = Duration::from_secs(1);

/// Names of namespaces and interfaces, as they were a moment ago.
pub(super) struct KnownPlaces {
    pub(super) places: Places,
    read: Instant,
}

impl KnownPlaces {
    pub(super) fn read() -> Self {
        Self { places: Places::read(), read: Instant::now() }
    }

    /// The names, read again where one is missing.
    pub(super) fn knowing(&mut self, namespace: u32) -> &Places {
        if !self.places.has_name(namespace) && self.read.elapsed() >= PLACES_EVERY {
            *self = Self::read();
        }
        &self.places
    }
}

impl Aggregation {
    /// Lets readers see what has changed, unless they were shown something a moment ago. Nothing before the first sweep:
    /// what has opened since is not all that listens.
    pub(super) fn show_inventory(&mut self) {
        if self.status.sweep.count > 0 && self.shown.elapsed() >= SHOWN_EVERY {
            self.show_inventory_now();
        }
    }

    /// Lets readers see what has changed.
    pub(super) fn show_inventory_now(&mut self) {
        if let Some(snapshot) = self.live.changes(Clock::read().unix_ns()) {
            self.publish.inventory.send_replace(Some(Arc::new(snapshot)));
            self.shown = Instant::now();
        }
    }
}
