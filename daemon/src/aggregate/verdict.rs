//! What to think of a status: a line a subject, each with how grave it is. Pure.

use serde::{Deserialize, Serialize};

use super::recent::{self, Troubles};
use super::status::{DNS_EVENT_RATE_LIMITED, DnsStatus, MemoryStatus, Status};

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

impl MemoryStatus {
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

#[cfg(test)]
mod tests {
    use super::super::recent::Recent;
    use super::super::status::*;
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
