//! The history against what happens to files: kills, corruption, full disks; and what it promises otherwise.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers as well")]
#![allow(clippy::print_stdout, reason = "measurements are printed")]

mod corruption;
mod full_disk;
mod kill;
mod records;
mod speed;
mod support;
