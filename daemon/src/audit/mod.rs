//! The inventory of what listens now: what a sweep found, joined with who holds it, as rows of the audit.
//!
//! Also what is open between two such readings, and whether it may be.
//!
//! Owns the way from the kernel's records to [`netsonde_audit::model::Listener`], for the daemon and for a reading
//! without one. What rows look like, and what they are compared with, is that crate's matter; who asks for them the
//! API's and the command line's.

mod convert;
mod judge;
mod live;
mod openings;
mod places;
mod reading;
mod take;

pub use convert::Circumstances;
pub use judge::{Judge, Mark};
pub use live::{Live, Snapshot};
pub use openings::Openings;
pub use places::Places;
pub use reading::read;
pub use take::Taker;

use netsonde_audit::compact::Listeners;

/// What listened at one time, for one reader.
pub type Inventory = Listeners;
