//! The task's part on what listens between sweeps: events of openings and closings, and when readers see them.

use std::sync::Arc;
use std::time::Duration;

use netsonde_audit::report::Source;
use netsonde_probes::records::{SocketEvent, SocketEventKind};
use tokio::time::Instant;

use super::Aggregation;
use crate::audit::{Circumstances, Places, Taker};
use crate::enrich::{Clock, Process};

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

    fn knowing(&mut self, namespace: u32) -> &Places {
        if !self.places.has_name(namespace) && self.read.elapsed() >= PLACES_EVERY {
            *self = Self::read();
        }
        &self.places
    }
}

impl Aggregation {
    /// Takes an opening or closing into the inventory; other events have nothing to do with it.
    pub(super) fn follow_listener(
        &mut self,
        event: &SocketEvent,
        owner: Option<&Arc<Process>>,
        clock: &Clock,
    ) {
        match event.kind {
            SocketEventKind::ListenOpen => {
                let Self { live, places, processes, users, holders, .. } = self;
                live.opened(event.cookie, || {
                    let places = places.knowing(event.network_namespace);
                    let at = Circumstances { places, clock, source: Source::Daemon };
                    Taker::new(processes, users, holders, at).opened(event, owner.cloned())
                });
            }
            SocketEventKind::ListenClose => self.live.closed(event.cookie),
            SocketEventKind::Connect
            | SocketEventKind::Accept
            | SocketEventKind::Close
            | SocketEventKind::Failure(_) => {}
        }
    }

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
