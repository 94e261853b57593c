//! The inventory of what listens now: what a sweep found, joined with who holds it, as rows of the audit.
//!
//! Also what is open between two such readings, and whether it may be.
//!
//! Owns the way from the kernel's records to [`netsonde_audit::model::Listener`], for the daemon and for a reading
//! without one. What rows look like, and what they are compared with, is that crate's matter; who asks for them the
//! API's and the command line's.

mod convert;
mod judge;
mod openings;
mod places;
mod reading;
mod take;

pub use convert::Circumstances;
pub use judge::{Judge, Mark};
pub use openings::Openings;
pub use places::Places;
pub use reading::read;
pub use take::Taker;

use netsonde_audit::model::Listener;

/// What listened at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// When it was read: nanoseconds since 1970, UTC.
    pub taken_unix_ns: u64,
    /// Each socket once, in no order.
    pub listeners: Vec<Listener>,
}
