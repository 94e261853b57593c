//! The middle of the house: joins what the kernel told with who it was about, and sums it into series. One
//! task owns all of it and takes in whole batches; nothing here is locked.

mod active;
mod dns;
mod hellos;
mod identity;
mod logs;
mod own;
mod recent;
mod series;
mod status;
mod task;
mod verdict;

#[cfg(test)]
pub use identity::PROCESS_ANCESTRY;
pub use identity::{Identity as SeriesIdentity, NamedFlow};
#[cfg(test)]
pub use logs::OF_EVERY_EVENT as EVENT_ATTRIBUTES;
pub use logs::process_attributes;
pub use logs::violation::LISTEN_VIOLATION;
pub use own::ALL as OWN_METRICS;
pub use series::{Label, LabelValue};
pub use status::Status;
#[cfg(test)]
pub use status::{DNS_EVENT_RATE_LIMITED, LISTENERS_UNTRACKED, MEMORY_SHORT};
#[cfg(test)]
pub use status::{Lacking, SweepStatus};
pub use task::{Aggregation, Around, Command, End, Publish};
pub use verdict::{Finding, Grade, judge};
