//! The daemon's state as one value: what `netsonde status` shows and what `netsonde.self.*` is made of.
//! Nothing is measured here, and what to think of it is [`super::verdict`]'s matter.

use serde::Serialize;

use super::recent::Troubles;
use crate::history::HistoryStatus;

/// Fewer events of lookups were written than there were lookups; as a reason for a loss.
pub const DNS_EVENT_RATE_LIMITED: &str = "dns_event_rate_limited";

/// More listeners are open than are followed between sweeps; as a reason for a loss.
pub const LISTENERS_UNTRACKED: &str = "listeners_untracked";

/// There was too little memory to write events; as a reason for a loss.
pub const MEMORY_SHORT: &str = "memory_short";

/// Everything there is to know of the daemon.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Version of netsonde.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
    /// When it started, Unix nanoseconds.
    pub started_unix_ns: u64,
    /// When this was read, Unix nanoseconds.
    pub read_unix_ns: u64,
    /// What should not happen and did within the last ten minutes, by name; the verdict is on this.
    pub recent: Troubles,
    /// Capabilities that are missing.
    pub lacking: Vec<Lacking>,
    /// Each signal.
    pub signals: Vec<SignalStatus>,
    /// The last sweep.
    pub sweep: SweepStatus,
    /// What the kernel side lost, by reason.
    pub losses: Vec<Loss>,
    /// The process table.
    pub processes: ProcessStatus,
    /// The oldest that a record was which waited to be read, since the sweep before, in seconds.
    pub lag_seconds: f64,
    /// The rings that the kernel writes to.
    pub rings: Vec<RingStatus>,
    /// Each selection rule.
    pub selection: Vec<RuleStatus>,
    /// DNS lookups.
    pub dns: DnsStatus,
    /// First messages of TLS clients by what became of them, since the start.
    pub hellos: Vec<(&'static str, u64)>,
    /// The history of what listens.
    pub history: HistoryStatus,
    /// Listeners that each rule of the audit denied, since the start.
    pub violations: Vec<(String, u64)>,
    /// The series.
    pub series: SeriesStatus,
    /// Tables that have a limit, besides those that are told of elsewhere.
    pub tables: Vec<TableStatus>,
    /// Memory, and what is let go of for want of it.
    pub memory: MemoryStatus,
    /// Each BPF program.
    pub programs: Vec<ProgramStatus>,
    /// The local API.
    pub api: ApiStatus,
    /// What its readers are not shown, or not apart from others, by reason, since the start.
    pub view: Vec<(&'static str, u64)>,
    /// Each destination of telemetry.
    pub destinations: Vec<DestinationStatus>,
}

/// One ring.
#[derive(Debug, Clone, Serialize)]
pub struct RingStatus {
    /// Its key under `[limits]`.
    pub name: &'static str,
    /// The most that waited in it since the sweep before, in bytes.
    pub fill: u64,
    /// What it holds at most.
    pub limit: u64,
}

/// A table that has a limit.
#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub name: &'static str,
    /// Entries.
    pub fill: u64,
    /// Entries at most.
    pub limit: u64,
}

/// A capability that is missing.
#[derive(Debug, Clone, Serialize)]
pub struct Lacking {
    /// Its name.
    pub capability: &'static str,
    /// What is missing without it.
    pub without: &'static str,
}

/// The local API; counts are since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ApiStatus {
    /// Clients now.
    pub clients: u64,
    /// Clients at most.
    pub limit: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Clients and requests that were not served, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

/// One signal.
#[derive(Debug, Clone, Serialize)]
pub struct SignalStatus {
    /// Its name.
    pub name: &'static str,
    /// Its state, one word.
    pub state: &'static str,
    /// Why it is not active.
    pub reason: Option<String>,
}

/// The last sweep.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SweepStatus {
    /// How long it took.
    pub seconds: f64,
    /// Sockets that it met.
    pub sockets: u64,
    /// Connections among them.
    pub connections: u64,
    /// Listeners among them.
    pub listeners: u64,
    /// Those without a process.
    pub unowned: u64,
    /// Network namespaces visited.
    pub namespaces: u64,
    /// Network namespaces that could not be entered.
    pub namespaces_missed: u64,
    /// Flows that had measured something.
    pub flows: u64,
    /// Flows that one interval can hold.
    pub flow_limit: u64,
    /// Sweeps so far.
    pub count: u64,
    /// Sweeps that failed.
    pub failed: u64,
}

/// A reason for a loss.
#[derive(Debug, Clone, Serialize)]
pub struct Loss {
    /// Why.
    pub reason: &'static str,
    /// How often, since the start.
    pub count: u64,
}

/// The process table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProcessStatus {
    /// Processes in it.
    pub tracked: u64,
    /// Processes at most.
    pub limit: u64,
    /// Forgotten early.
    pub evicted: u64,
    /// Learnt from `/proc`.
    pub repaired: u64,
    /// Records whose process could not be named.
    pub unattributed: u64,
    /// Control groups known by number.
    pub cgroups: u64,
    /// Control groups forgotten early.
    pub cgroups_evicted: u64,
}

/// One selection rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleStatus {
    /// Its name.
    pub name: String,
    /// What it decided: a socket where the kernel could tell by itself, else an event, or an interval's sum.
    pub matches: u64,
}

/// DNS lookups, and the names of addresses; counts are since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DnsStatus {
    /// Lookups by how they ended.
    pub lookups: Vec<(&'static str, u64)>,
    /// Lookups in flight.
    pub pending: u64,
    /// Responses that ended no lookup, by reason.
    pub unmatched: Vec<(&'static str, u64)>,
    /// Messages that could not be read, or not in all their parts, by reason.
    pub malformed: Vec<(&'static str, u64)>,
    /// Messages that were read and not followed, by reason.
    pub skipped: Vec<(&'static str, u64)>,
    /// Pieces of streams that could not be put together, by reason.
    pub streams: Vec<(&'static str, u64)>,
    /// Lookups whose question shares a series with others, by how.
    pub folded: Vec<(&'static str, u64)>,
    /// Names of addresses that are known.
    pub names: u64,
    /// At most.
    pub names_limit: u64,
    /// Names of addresses that were forgotten early, by what they were of.
    pub names_evicted: Vec<(&'static str, u64)>,
    /// Addresses in answers that nothing led to from the question.
    pub unrelated: u64,
}

/// The series.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SeriesStatus {
    /// Held now.
    pub held: u64,
    /// At most.
    pub limit: u64,
    /// Measurements folded into overflow.
    pub folded: u64,
    /// Series dropped after resting.
    pub expired: u64,
    /// Series ended for want of memory.
    pub shed: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MemoryStatus {
    /// Bytes in use that the kernel cannot take back by itself.
    pub usage: u64,
    /// Bytes at most, if there is a limit.
    pub limit: Option<u64>,
    /// How much is let go of, 0 for nothing.
    pub stage: u8,
    /// The highest stage.
    pub stages: u8,
    /// How often the limit of the history that readers are shown is halved.
    pub view_halved: u32,
    /// Most series; `None` for what is configured.
    pub series: Option<u64>,
    /// How often the caches of names and processes are halved.
    pub caches_halved: u32,
    /// Events are written.
    pub events: bool,
}

impl MemoryStatus {
    /// What is let go of.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.stage == 0 {
            return "all detail is kept".to_owned();
        }
        let mut said = format!(
            "stage {} of {}: the history of the page cut to 1/{}",
            self.stage,
            self.stages,
            1 << self.view_halved
        );
        if let Some(series) = self.series {
            said.push_str(&format!(
                "; at most {series} series, of the flows that move most, the others are folded"
            ));
        }
        if self.caches_halved > 0 {
            said.push_str(&format!("; names and ended processes cut to 1/{}", 1 << self.caches_halved));
        }
        if !self.events {
            said.push_str("; no events");
        }
        said
    }
}

/// One BPF program.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramStatus {
    /// Its name.
    pub name: &'static str,
    /// Time spent in it.
    pub run_time_ns: u64,
    /// Times that it ran.
    pub runs: u64,
    /// Times that it was skipped.
    pub skipped: u64,
}

/// One destination.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationStatus {
    /// Its name.
    pub name: String,
    /// Metrics and logs.
    pub signals: Vec<LaneStatus>,
    /// What failed last.
    pub last_error: Option<String>,
    /// When something was delivered last, Unix nanoseconds.
    pub last_success_unix_ns: Option<u64>,
}

/// Metrics or logs on their way to one destination.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LaneStatus {
    /// `metrics` or `logs`.
    pub signal: &'static str,
    /// Items by what became of them; `delivered` first.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Attempts that failed since the last that succeeded.
    pub failures: u64,
    /// Items whose fate is open.
    pub waiting: u64,
    /// Items that an earlier process left in the spool, since the start.
    pub restored: u64,
    /// Encoded requests that wait.
    pub queue_bytes: u64,
    /// Those of them that wait on disk; none where the destination has no spool.
    pub spool: Option<SpoolStatus>,
}

/// The spool of one lane.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SpoolStatus {
    /// active, disk_full or unavailable.
    pub state: &'static str,
    /// Why it is not active.
    pub error: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that they may have.
    pub limit: u64,
    /// Requests that wait in it.
    pub records: u64,
    /// Age of the oldest of them.
    pub oldest_seconds: f64,
}
