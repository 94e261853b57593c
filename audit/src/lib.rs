//! The audit of listening ports, as far as it needs neither the kernel nor the daemon: what a [listener](model) is and
//! how it is written down, [rules](policy) that allow or deny it, [baselines and drift](baseline), rules
//! [suggested](suggest) from what is there, [choosing](filter) among listeners, and [reports](report) in several
//! [formats](mod@format).
//!
//! Everything here is a pure function of what it is given, times included; the only output is a `Write` that the caller
//! passes. Where listeners come from, what is kept of them and who is told of a violation is the daemon's matter.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod baseline;
pub mod compact;
mod document;
pub mod drift;
pub mod filter;
pub mod format;
pub mod globs;
pub mod model;
pub mod policy;
pub mod report;
mod row;
mod rules;
pub mod stable;
pub mod suggest;
#[cfg(test)]
mod testing;
pub mod words;
