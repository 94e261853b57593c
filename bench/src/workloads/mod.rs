//! The loads whose speed is compared, all on loopback and all bounded: HTTP by nginx and wrk, bulk TCP by iperf3, Redis, small
//! datagrams by sockperf, DNS by dnsmasq and dnsperf, short processes, and HTTP beside many sockets or series. How each is run
//! and read is in a file of its own.

mod beside;
mod bulk;
mod churn;
mod datagrams;
mod dns;
mod http;
mod redis;
mod server;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use beside::Beside;
use bulk::Bulk;
use churn::{Churn, Processes};
use datagrams::SmallDatagrams;
pub use dns::Dns;
use http::Http;
use redis::Redis;

/// All of them, in the order in which they run.
pub const NAMES: [&str; 14] = [
    "keep-alive",
    "connection-per-request",
    "bulk",
    "bulk-16",
    "redis",
    "redis-pipelined",
    "small-udp",
    "dns",
    "processes",
    "process-churn",
    "idle-10k",
    "idle-50k",
    "idle-100k",
    "series-10k",
];

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// In the load's unit.
    pub rate: f64,
    /// Median latency in microseconds, of a load that can tell.
    pub p50_us: Option<f64>,
    /// The same for the slowest hundredth.
    pub p99_us: Option<f64>,
    /// TCP connections that were opened and closed, where the load knows exactly.
    pub connections: Option<u64>,
    /// Bytes that applications sent over TCP or UDP, both directions together, where the load knows exactly.
    pub bytes: Option<u64>,
    /// Processes that came and went.
    pub processes: Option<u64>,
    /// DNS lookups that were answered.
    pub lookups: Option<u64>,
}

impl Run {
    /// One of which nothing else is known.
    pub fn at_rate(rate: f64) -> Self {
        Self { rate, ..Self::default() }
    }
}

/// Something that can be run again and again and says how fast it was.
pub trait Workload {
    /// What it is, for people.
    fn title(&self) -> &'static str;
    /// What its numbers count.
    fn unit(&self) -> &'static str;
    /// Lines of netsonde's configuration without which it would not see the load for what it is.
    fn configuration(&self) -> String {
        String::new()
    }
    /// The port of its server, by which its traffic is told from all else on this machine. None where there is no traffic.
    fn port(&self) -> Option<u16> {
        None
    }
    /// The binary of its clients, where each of them is a process with one connection.
    fn client(&self) -> Option<&Path> {
        None
    }
    /// Runs it for so long.
    fn run(&self, length: Duration) -> Result<Run>;
}

/// Starts the servers of a workload, if it has any.
pub fn start(name: &str) -> Result<Box<dyn Workload>> {
    Ok(match name {
        "keep-alive" => Box::new(Http::keep_alive()?),
        "connection-per-request" => Box::new(Http::closing()?),
        "bulk" => Box::new(Bulk::start("bulk TCP over loopback", 1)?),
        "bulk-16" => Box::new(Bulk::start("bulk TCP over loopback, 16 streams", 16)?),
        "redis" => Box::new(Redis::plain()?),
        "redis-pipelined" => Box::new(Redis::pipelined()?),
        "small-udp" => Box::new(SmallDatagrams::start()?),
        "dns" => Box::new(Dns::start()?),
        "processes" => Box::new(Processes),
        "process-churn" => Box::new(Churn::start()?),
        "idle-10k" => Box::new(Beside::sockets("keep-alive HTTP beside 10,000 sockets, 1 % active", 10_000)?),
        "idle-50k" => Box::new(Beside::sockets("keep-alive HTTP beside 50,000 sockets, 1 % active", 50_000)?),
        "idle-100k" => {
            Box::new(Beside::sockets("keep-alive HTTP beside 100,000 sockets, 1 % active", 100_000)?)
        }
        "series-10k" => Box::new(Beside::series()?),
        _ => bail!("no workload is named {name}"),
    })
}
