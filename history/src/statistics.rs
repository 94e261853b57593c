//! Counters of what was stored, refused and removed, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a history has done since it was opened. All only grow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: Counter,)*
        }

        impl Counters {
            pub fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

/// A number that several threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

counters! {
    /// Events that are stored.
    stored,
    /// Of those, closings of an opening that nobody told of.
    unknown_closings,
    /// Events that said what was known already. They change nothing.
    repeated,
    /// Openings refused because their payload is larger than the limit.
    refused_too_large,
    /// Openings refused because their payload cannot be written as JSON.
    refused_not_json,
    /// Openings, and closings of unknown ones, refused because the store holds twice its size. Retention is late.
    refused_full,
    /// Openings refused because so many listeners are open.
    refused_open,
    /// Closings that were stored without their payload, because it was too large or not JSON.
    payloads_left_out,
    /// Events of batches that could not be written, for a full disk or another fault. Whoever appended them knows.
    failed_events,
    /// Transactions of any kind that failed.
    failed_transactions,
    /// Of those, for want of space on the disk.
    failed_no_space,
    /// Panics of the database that were caught.
    caught_panics,
    /// How often the store was opened again after a fault.
    reopened,
    /// Stores set aside because they were damaged, the one at the start included.
    set_aside,
    /// Stores set aside earlier that were removed, because only so many are kept.
    set_aside_removed,
    /// Stores set aside earlier that should have been removed and could not be.
    set_aside_stuck,
    /// Records removed because they were too old.
    removed_by_age,
    /// Records removed because the store was too large.
    removed_by_size,
    /// Records found ended while nobody watched.
    ended_unwatched,
    /// Records that a query passed over because they cannot be read as what the caller asked for.
    unreadable,
    /// Compactions.
    compactions,
    /// Compactions put off because somebody was reading.
    compactions_put_off,
}
