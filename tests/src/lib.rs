//! What the kernel tests and the benchmark share: the daemon under test, traffic whose amounts are known, places
//! to run it in, and oracles that know nothing of netsonde.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a failing test shows what its programs said")]

pub mod api;
pub mod audit;
pub mod browser;
pub mod cgroup;
pub mod cleanup;
pub mod collector;
pub mod command;
pub mod daemon;
pub mod dashboards;
pub mod datagrams;
pub mod decoder;
pub mod dns;
pub mod expect;
pub mod host;
pub mod namespace;
pub mod nginx;
pub mod oracle;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod python;
pub mod report;
pub mod rotel;
pub mod scene;
pub mod sending;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod terminal;
