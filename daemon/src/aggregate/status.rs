//! The daemon's state as one value: what `netsonde status` shows and what `netsonde.self.*` is made of.
//! A verdict on it is derived here; nothing is measured here.

use serde::{Deserialize, Serialize};

use super::recent::{self, Troubles};
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

impl DnsStatus {
    fn count(of: &[(&'static str, u64)], word: &str) -> u64 {
        of.iter().find(|(known, _)| *known == word).map_or(0, |(_, n)| *n)
    }

    fn finding(&self, recent: &Troubles) -> Finding {
        let lookups = |word| Self::count(&self.lookups, word);
        let (unknown, dropped) = (lookups("unknown"), lookups("dropped"));
        let grade = grade(recent, recent::LOOKUPS);
        let malformed: u64 = self.malformed.iter().map(|(_, n)| n).sum();
        let mut said = format!(
            "{} lookups answered, {} timed out, {} in flight, {malformed} messages malformed, {} names",
            lookups("answered"),
            lookups("timed_out"),
            self.pending,
            self.names
        );
        for (n, what) in [(unknown, "lookups may have been answered"), (dropped, "lookups were too many")] {
            if n > 0 {
                said.push_str(&format!(", {n} {what}"));
            }
        }
        finding(grade, "dns", said)
    }
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

    fn finding(&self) -> Finding {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let grade = if self.stage > 0 { Grade::Degraded } else { Grade::Ok };
        let said = match self.limit {
            None => format!("{:.1} MiB, no limit", mebibytes(self.usage)),
            Some(limit) => {
                format!("{:.1} of {:.1} MiB, {}", mebibytes(self.usage), mebibytes(limit), self.sentence())
            }
        };
        finding(grade, "memory", said)
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

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Works with less, or lost something.
    Degraded,
    /// Does not work.
    Failed,
}

/// One line of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// How grave.
    pub grade: Grade,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub text: String,
}

fn finding(grade: Grade, subject: &str, text: impl Into<String>) -> Finding {
    Finding { grade, subject: subject.to_owned(), text: text.into() }
}

/// The grade of what should not happen.
fn grade(recent: &Troubles, key: &str) -> Grade {
    if recent.get(key).is_some_and(|n| *n > 0) { Grade::Degraded } else { Grade::Ok }
}

/// A record may wait for so long before netsonde is too slow for its host, in seconds.
const LONGEST_LAG: f64 = 5.0;

/// Whether a loss is what a limit of events is for.
pub fn asked_for(reason: &str) -> bool {
    reason == "event_rate_limited" || reason == DNS_EVENT_RATE_LIMITED
}

/// Judges a status, a line a subject.
#[must_use]
pub fn judge(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    for lacking in &status.lacking {
        let text = format!("{} is missing: {}", lacking.capability, lacking.without);
        findings.push(finding(Grade::Degraded, "privileges", text));
    }
    for signal in &status.signals {
        let grade = match signal.state {
            "active" | "disabled" => Grade::Ok,
            "failed" => Grade::Failed,
            _ => Grade::Degraded,
        };
        let text = match &signal.reason {
            Some(reason) => format!("{}: {reason}", signal.state),
            None => signal.state.to_owned(),
        };
        findings.push(finding(grade, &format!("signal {}", signal.name), text));
    }
    let sweep = &status.sweep;
    if sweep.count == 0 {
        // Nothing else is known either.
        findings.push(finding(Grade::Degraded, "sweep", "none yet: netsonde is starting"));
        return findings;
    }
    let grade = grade(&status.recent, recent::SWEEPS);
    let said = format!(
        "{} sockets ({} connections, {} listeners) in {} network namespaces, {:.1} ms, {} of {} sweeps failed",
        sweep.sockets,
        sweep.connections,
        sweep.listeners,
        sweep.namespaces,
        sweep.seconds * 1e3,
        sweep.failed,
        sweep.count
    );
    findings.push(finding(grade, "sweep", said));
    let fills = status.rings.iter().map(|ring| {
        let percent = (ring.fill * 100).checked_div(ring.limit).unwrap_or(0);
        format!("{} {percent} %", ring.name)
    });
    let grade = if status.lag_seconds > LONGEST_LAG { Grade::Degraded } else { Grade::Ok };
    let fills: Vec<_> = fills.collect();
    let said = format!("at most {} full, {:.1} s behind", fills.join(", "), status.lag_seconds);
    findings.push(finding(grade, "rings", said));
    for loss in status.losses.iter().filter(|l| l.count > 0) {
        let lately = status.recent.get(&recent::loss_key(loss.reason)).copied().unwrap_or(0);
        let (grade, when) = match lately {
            0 if asked_for(loss.reason) => (Grade::Ok, ", as events.rate_limit wants it".to_owned()),
            0 => (Grade::Ok, ", none in the last 10 minutes".to_owned()),
            n => (Grade::Degraded, format!(", {n} in the last 10 minutes")),
        };
        findings.push(finding(grade, "losses", format!("{} × {}{when}", loss.count, loss.reason)));
    }
    let p = &status.processes;
    let grade =
        self::grade(&status.recent, recent::EVICTED).max(self::grade(&status.recent, recent::UNATTRIBUTED));
    let said = format!(
        "{} of {} tracked, {} forgotten early, {} records unattributed",
        p.tracked, p.limit, p.evicted, p.unattributed
    );
    findings.push(finding(grade, "processes", said));
    if status.signals.iter().any(|s| s.name == "dns" && s.state != "disabled") {
        findings.push(status.dns.finding(&status.recent));
    }
    if status.history.state != "off" {
        let grade = if status.history.is_troubled() { Grade::Degraded } else { Grade::Ok };
        findings.push(finding(grade, "history", status.history.sentence()));
    }
    let denied: u64 = status.violations.iter().map(|(_, n)| n).sum();
    if denied > 0 {
        let by: Vec<String> = status.violations.iter().map(|(rule, n)| format!("{n} × {rule}")).collect();
        findings.push(finding(
            Grade::Ok,
            "audit",
            format!("{denied} listeners were denied: {}", by.join(", ")),
        ));
    }
    let s = &status.series;
    let grade = self::grade(&status.recent, recent::FOLDED);
    let said = format!("{} of {} held, {} measurements folded", s.held, s.limit, s.folded);
    findings.push(finding(grade, "series", said));
    findings.push(status.memory.finding());
    let api = &status.api;
    let refused: Vec<_> =
        api.refused.iter().filter(|(_, n)| *n > 0).map(|(why, n)| format!("{n} {why}")).collect();
    let refused = if refused.is_empty() { "none refused".to_owned() } else { refused.join(", ") };
    // Whoever is refused tells of a client, and not of netsonde.
    let said = format!("{} requests, {} of {} clients, {refused}", api.requests, api.clients, api.limit);
    findings.push(finding(Grade::Ok, "api", said));
    for destination in &status.destinations {
        let (mut delivered, mut lost, mut waiting, mut spools) = (0, Vec::new(), 0, Vec::new());
        for lane in &destination.signals {
            waiting += lane.waiting;
            if let Some(spool) = lane.spool.as_ref().filter(|spool| spool.state != "active") {
                let why = spool.error.as_deref().unwrap_or("not opened yet");
                spools.push(format!("spool of {} {}: {why}", lane.signal, spool.state));
            }
            for (outcome, n) in &lane.outcomes {
                match *outcome {
                    "delivered" => delivered += n,
                    _ if *n > 0 => lost.push(format!("{n} {} {outcome}", lane.signal)),
                    _ => {}
                }
            }
        }
        // Something is wrong while nothing gets through, however much can wait.
        let failing = destination.signals.iter().any(|lane| lane.failures > 0);
        let grade = if failing || !spools.is_empty() {
            Grade::Degraded
        } else {
            self::grade(&status.recent, &recent::export_key(&destination.name))
        };
        let mut said = format!("{delivered} items delivered");
        if waiting > 0 {
            said.push_str(&format!(", {waiting} waiting"));
        }
        let oldest = destination.signals.iter().filter_map(|lane| lane.spool.as_ref());
        let oldest = oldest.map(|spool| spool.oldest_seconds).fold(0.0, f64::max);
        if oldest >= 1.0 {
            said.push_str(&format!(" (the oldest for {oldest:.0} s)"));
        }
        for part in lost.into_iter().chain(spools) {
            said.push_str(", ");
            said.push_str(&part);
        }
        if let Some(error) = &destination.last_error {
            said.push_str("; last error: ");
            said.push_str(error);
        }
        findings.push(finding(grade, &format!("export {}", destination.name), said));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::recent::Recent;
    use super::*;

    #[test]
    fn whatever_is_lost_shows_in_the_verdict_while_it_is_recent() {
        let lane = |outcomes| vec![LaneStatus { signal: "logs", outcomes, ..LaneStatus::default() }];
        let destination = |outcomes| DestinationStatus {
            name: "otlp".to_owned(),
            signals: lane(outcomes),
            last_error: None,
            last_success_unix_ns: None,
        };
        let with = |change: fn(&mut Status)| {
            let mut status = running();
            change(&mut status);
            status
        };
        let mut all = vec![
            with(|s| s.sweep.failed = 1),
            with(|s| s.processes.evicted = 1),
            with(|s| s.processes.unattributed = 1),
            with(|s| s.series.folded = 1),
        ];
        all.push(Status {
            destinations: vec![destination(vec![("delivered", 9), ("refused", 1)])],
            ..running()
        });
        for mut status in all {
            assert_eq!(grade_of(&status), Grade::Ok);
            status.recent = Recent::default().take(1, &recent::troubles(&status));
            assert_eq!(grade_of(&status), Grade::Degraded, "{status:?}");
        }
        let mut status = Status { destinations: vec![destination(vec![("delivered", 9)])], ..running() };
        status.recent = Recent::default().take(1, &recent::troubles(&status));
        assert_eq!(grade_of(&status), Grade::Ok);
        status.lag_seconds = 60.0;
        assert_eq!(grade_of(&status), Grade::Degraded);
    }

    /// One that has observed.
    fn running() -> Status {
        Status { sweep: SweepStatus { count: 1, ..SweepStatus::default() }, ..Status::default() }
    }

    #[test]
    fn before_the_first_sweep_nothing_is_well() {
        assert_eq!(grade_of(&Status::default()), Grade::Degraded);
        assert_eq!(judge(&Status::default()).len(), 1);
        assert_eq!(grade_of(&running()), Grade::Ok);
    }

    fn grade_of(status: &Status) -> Grade {
        judge(status).iter().map(|f| f.grade).max().unwrap_or(Grade::Ok)
    }

    #[test]
    fn lookups_have_a_line_when_they_are_observed() {
        let mut status = running();
        status.dns.lookups = vec![("answered", 5), ("dropped", 1)];
        status.recent = recent::troubles(&status);
        assert!(judge(&status).iter().all(|f| f.subject != "dns"));
        status.signals = vec![SignalStatus { name: "dns", state: "active", reason: None }];
        let findings = judge(&status);
        let dns = findings.iter().find(|f| f.subject == "dns").expect("a line");
        assert!(dns.text.starts_with("5 lookups answered, 0 timed out"), "{}", dns.text);
        assert_eq!(dns.grade, Grade::Degraded, "some were dropped");
    }

    #[test]
    fn a_spool_that_cannot_be_used_is_told_with_its_reason() {
        let spool = |state, error: Option<&str>| SpoolStatus {
            state,
            error: error.map(str::to_owned),
            oldest_seconds: 75.4,
            ..SpoolStatus::default()
        };
        let mut lane = LaneStatus {
            signal: "logs",
            outcomes: vec![("delivered", 3)],
            waiting: 2,
            spool: Some(spool("active", None)),
            ..LaneStatus::default()
        };
        let of = |lane: &LaneStatus| {
            let destination = DestinationStatus {
                name: "otlp".into(),
                signals: vec![lane.clone()],
                last_error: None,
                last_success_unix_ns: None,
            };
            let findings = judge(&Status { destinations: vec![destination], ..running() });
            let line = findings.into_iter().find(|finding| finding.subject == "export otlp").expect("a line");
            (line.grade, line.text)
        };
        let text = "3 items delivered, 2 waiting (the oldest for 75 s)";
        assert_eq!(of(&lane), (Grade::Ok, text.to_owned()));
        lane.spool = Some(spool("unavailable", Some("Permission denied")));
        assert_eq!(
            of(&lane),
            (Grade::Degraded, format!("{text}, spool of logs unavailable: Permission denied"))
        );
        lane.spool = Some(spool("active", None));
        lane.failures = 1;
        assert_eq!(of(&lane), (Grade::Degraded, text.to_owned()), "nothing gets through");
    }

    #[test]
    fn what_is_let_go_of_for_want_of_memory_is_said() {
        let mut status = running();
        status.memory = MemoryStatus { usage: 3 << 20, events: true, stages: 6, ..MemoryStatus::default() };
        let said = |status: &Status| {
            let findings = judge(status);
            let memory = findings.into_iter().find(|f| f.subject == "memory").expect("a line");
            (memory.grade, memory.text)
        };
        assert_eq!(said(&status), (Grade::Ok, "3.0 MiB, no limit".to_owned()));
        status.memory.limit = Some(4 << 20);
        assert_eq!(said(&status), (Grade::Ok, "3.0 of 4.0 MiB, all detail is kept".to_owned()));
        let shed = MemoryStatus { stage: 1, view_halved: 3, ..status.memory };
        status.memory = shed;
        assert!(said(&status).1.ends_with("stage 1 of 6: the history of the page cut to 1/8"));
        let shed = MemoryStatus {
            stage: 6,
            view_halved: 6,
            series: Some(31),
            caches_halved: 3,
            events: false,
            ..status.memory
        };
        status.memory = shed;
        let (grade, text) = said(&status);
        assert_eq!(grade, Grade::Degraded);
        for part in ["stage 6 of 6", "1/64", "at most 31 series", "1/8", "no events"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_gravest_finding_decides() {
        let mut status = running();
        assert_eq!(grade_of(&status), Grade::Ok);
        status.losses = vec![Loss { reason: "event_rate_limited", count: 5 }];
        status.recent = recent::troubles(&status);
        assert_eq!(grade_of(&status), Grade::Ok, "a limit that was asked for");
        status.losses = vec![Loss { reason: "event_ring_full", count: 1 }];
        assert_eq!(grade_of(&status), Grade::Ok, "long ago");
        assert!(judge(&status).iter().any(|f| f.text == "1 × event_ring_full, none in the last 10 minutes"));
        status.recent = recent::troubles(&status);
        assert_eq!(grade_of(&status), Grade::Degraded);
        status.signals = vec![SignalStatus { name: "tcp", state: "failed", reason: Some("EPERM".into()) }];
        assert_eq!(grade_of(&status), Grade::Failed);
        assert!(judge(&status).iter().any(|f| f.text == "failed: EPERM"));
    }
}
