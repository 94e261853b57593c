//! A report: listeners, or changes of them, with what was found about each.
//!
//! Owns what belongs to a row and in which order rows come. What they look like is the formats' matter.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use crate::baseline::{Options, listener_of};
use crate::drift::{Drift, DriftKind, FieldChange};
use crate::model::{AddressClass, Change, ChangeKind, Listener};
use crate::policy::{Action, Policy, Verdict};
use crate::row::{seconds, time_text};
use crate::stable::Identity;
use crate::words::Word;

/// Where listeners were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The daemon, which has seen them open.
    Daemon,
    /// One look at the kernel: nobody saw what was before.
    Kernel,
    /// What the daemon wrote down: nobody has looked since it ended.
    Store,
}

impl Word for Source {
    const KIND: &'static str = "source";
    const WORDS: &'static [(&'static str, Self)] =
        &[("daemon", Self::Daemon), ("kernel", Self::Kernel), ("store", Self::Store)];
}

impl Source {
    /// One sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Daemon => "as the daemon knows them",
            Self::Kernel => {
                "one reading of the kernel without the daemon: who opened them, and when, is not known"
            }
            Self::Store => "as the daemon wrote it down, which does not run: what was since is not known",
        }
    }
}

/// One row, and what was found about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// The listener.
    pub listener: Listener,
    /// What happened to it, in a report of changes.
    pub event: Option<ChangeKind>,
    /// When it was closed: nanoseconds since 1970, UTC.
    pub closed_unix_ns: Option<u64>,
    /// Nobody saw it close: it was gone by then.
    pub close_unseen: bool,
    /// When it was first seen, if nobody saw it open: nanoseconds since 1970, UTC.
    pub first_seen_unix_ns: Option<u64>,
    /// What the policy says.
    pub verdict: Option<Verdict>,
    /// What the baseline says, when there is a difference.
    pub drift: Option<Difference>,
}

/// A difference from the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub kind: DriftKind,
    /// What differs, when it is a change: each as [`FieldChange::text`] has it.
    pub fields: Vec<String>,
}

impl ReportRow {
    fn of(listener: Listener) -> Self {
        Self {
            listener,
            event: None,
            closed_unix_ns: None,
            close_unseen: false,
            first_seen_unix_ns: None,
            verdict: None,
            drift: None,
        }
    }

    /// Whether the policy denies it.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Deny)
    }
}

/// A listener's keys, and behind them those of what was found.
#[derive(Serialize)]
pub(crate) struct JsonRow<'a> {
    #[serde(rename = "event.name", skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(flatten)]
    listener: &'a Listener,
    #[serde(rename = "netsonde.listen.closed", skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
    #[serde(rename = "netsonde.listen.close_unseen", skip_serializing_if = "std::ops::Not::not")]
    close_unseen: bool,
    #[serde(rename = "netsonde.listen.first_seen", skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(rename = "netsonde.listen.duration", skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(rename = "netsonde.audit.action", skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(rename = "netsonde.audit.rule", skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(rename = "netsonde.audit.drift", skip_serializing_if = "Option::is_none")]
    drift: Option<&'static str>,
    #[serde(rename = "netsonde.audit.differences", skip_serializing_if = "<[String]>::is_empty")]
    differences: &'a [String],
    #[serde(rename = "netsonde.audit.source")]
    source: &'static str,
}

/// What was found at one time on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name of the host.
    pub host: String,
    /// When it was read: nanoseconds since 1970, UTC.
    pub taken_unix_ns: u64,
    /// Where.
    pub source: Source,
    /// What was found.
    pub rows: Vec<ReportRow>,
    /// Sockets that are not among the rows because they were too many.
    pub truncated: u64,
}

impl Report {
    /// Of listeners, grouped by network namespace (the host's own first), then the further they reach the earlier, then
    /// by port.
    #[must_use]
    pub fn of_listeners(host: &str, taken_unix_ns: u64, source: Source, listeners: Vec<Listener>) -> Self {
        let rows = listeners.into_iter().map(ReportRow::of).collect();
        let mut report = Self { host: host.to_owned(), taken_unix_ns, source, rows, truncated: 0 };
        report.sort();
        report
    }

    /// Of openings and closings, in the order of their times.
    #[must_use]
    pub fn of_changes(host: &str, taken_unix_ns: u64, source: Source, changes: Vec<Change>) -> Self {
        let mut changes = changes;
        changes.sort_by_key(|change| (change.unix_ns(), change.kind));
        let row = |change: Change| ReportRow {
            event: Some(change.kind),
            closed_unix_ns: change.closed_unix_ns,
            close_unseen: change.close_unseen,
            first_seen_unix_ns: change.first_seen_unix_ns,
            ..ReportRow::of(change.listener)
        };
        let rows = changes.into_iter().map(row).collect();
        Self { host: host.to_owned(), taken_unix_ns, source, rows, truncated: 0 }
    }

    /// Has each row judged.
    pub fn judge(&mut self, policy: &Policy) {
        for row in &mut self.rows {
            row.verdict = Some(policy.judge(&row.listener));
        }
    }

    /// Marks what differs, and adds what is gone as far as the baseline knows it. `options` are those that the present
    /// state was taken with.
    pub fn mark(&mut self, drift: &Drift, options: &Options) {
        let texts = |fields: &[FieldChange]| fields.iter().map(FieldChange::text).collect();
        let new = drift.new.iter().map(|entry| (&entry.identity, (DriftKind::New, Vec::new())));
        let changed =
            drift.changed.iter().map(|one| (&one.identity, (DriftKind::Changed, texts(&one.fields))));
        let marks: HashMap<&Identity, (DriftKind, Vec<String>)> = new.chain(changed).collect();
        for row in self.rows.iter_mut().filter(|row| options.takes(&row.listener)) {
            let mark = marks.get(&Identity::of(&row.listener)).cloned();
            row.drift = mark.map(|(kind, fields)| Difference { kind, fields });
        }
        let gone = drift.gone.iter().map(|entry| ReportRow {
            drift: Some(Difference { kind: DriftKind::Gone, fields: Vec::new() }),
            ..ReportRow::of(listener_of(&entry.identity, &entry.content))
        });
        self.rows.extend(gone);
        self.sort();
    }

    fn sort(&mut self) {
        let reach = |class: Option<AddressClass>| match class {
            // A packet socket hears all that arrives.
            None => 0_u8,
            Some(AddressClass::Any) => 1,
            Some(AddressClass::Public) => 2,
            Some(AddressClass::Private) => 3,
            Some(AddressClass::Loopback) => 4,
        };
        self.rows.sort_by_cached_key(|row| {
            let listener = &row.listener;
            (
                namespace_key(row),
                (reach(listener.class()), listener.port, listener.protocol, listener.transport),
                (listener.address, listener.interface.clone(), listener.cookie),
            )
        });
    }

    /// The rows, those of each network namespace together and the host's first, else in their order.
    #[must_use]
    pub fn grouped(&self) -> Vec<&ReportRow> {
        let mut rows: Vec<&ReportRow> = self.rows.iter().collect();
        rows.sort_by_cached_key(|row| namespace_key(row));
        rows
    }

    /// What is to be said when not everything is there.
    #[must_use]
    pub fn truncated_sentence(&self) -> Option<String> {
        truncated_sentence(self.truncated)
    }

    /// How many rows the policy denies.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.rows.iter().filter(|row| row.is_violation()).count()
    }

    /// How many rows differ from the baseline.
    #[must_use]
    pub fn differences(&self) -> usize {
        self.rows.iter().filter(|row| row.drift.is_some()).count()
    }

    pub(crate) fn json<'a>(&self, row: &'a ReportRow) -> JsonRow<'a> {
        let duration = row
            .closed_unix_ns
            .filter(|_| !row.close_unseen)
            .and_then(|closed| Some(seconds(closed.saturating_sub(row.listener.opened_unix_ns?))));
        JsonRow {
            event: row.event.map(Word::word),
            listener: &row.listener,
            closed: row.closed_unix_ns.map(time_text),
            close_unseen: row.close_unseen,
            first_seen: row.first_seen_unix_ns.map(time_text),
            duration,
            action: row.verdict.as_ref().map(|verdict| verdict.action.word()),
            rule: row.verdict.as_ref().map(Verdict::rule_name),
            drift: row.drift.as_ref().map(|drift| drift.kind.word()),
            differences: row.drift.as_ref().map_or(&[], |drift| drift.fields.as_slice()),
            source: self.source.word(),
        }
    }
}

/// What is to be said when so many sockets are left out; nothing when there are none.
#[must_use]
pub fn truncated_sentence(truncated: u64) -> Option<String> {
    (truncated > 0).then(|| {
        format!("truncated: {truncated} more sockets are not here, because limits.listeners rows are there already")
    })
}

fn namespace_key(row: &ReportRow) -> (Reverse<bool>, Option<String>, u64) {
    let namespace = &row.listener.namespace;
    let initial = namespace.initial == Some(true);
    // A listener of a baseline has no inode; in the host's namespace it belongs to the others.
    (Reverse(initial), namespace.name.clone(), if initial { 0 } else { namespace.inode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Baseline;
    use crate::drift::diff;
    use crate::model::{Namespace, Transport};
    use crate::testing::{process, tcp, udp};

    fn report(listeners: Vec<Listener>) -> Report {
        Report::of_listeners("host", 0, Source::Daemon, listeners)
    }

    #[test]
    fn the_host_comes_first_and_what_reaches_far_before_what_does_not() {
        let other = Namespace { inode: 9, initial: Some(false), name: None };
        let report = report(vec![
            Listener { namespace: other, ..tcp("0.0.0.0:1") },
            tcp("127.0.0.1:2"),
            tcp("0.0.0.0:443"),
            tcp("0.0.0.0:80"),
            tcp("192.168.0.1:7"),
        ]);
        let ports: Vec<u16> = report.rows.iter().filter_map(|row| row.listener.port).collect();
        assert_eq!(ports, [80, 443, 7, 2, 1]);
    }

    #[test]
    fn drift_marks_rows_and_adds_those_that_are_gone() {
        let options = Options::default();
        let held = |path: &str, listener: Listener| Listener { holders: vec![process(path)], ..listener };
        let take = |listeners: &[Listener]| Baseline::take("host", 0, listeners, &options);
        let before = [held("/a", tcp("0.0.0.0:1")), held("/a", tcp("0.0.0.0:2")), tcp("0.0.0.0:3")];
        let now =
            vec![held("/b", tcp("0.0.0.0:1")), tcp("0.0.0.0:3"), tcp("0.0.0.0:4"), udp("0.0.0.0:40000")];
        let drift = diff(&take(&before), &take(&now));
        let mut report = report(now);
        report.mark(&drift, &options);
        let marks: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.listener.port, row.drift.as_ref().map(|drift| drift.kind)))
            .collect();
        assert_eq!(
            marks,
            [
                (Some(1), Some(DriftKind::Changed)),
                (Some(2), Some(DriftKind::Gone)),
                (Some(3), None),
                (Some(4), Some(DriftKind::New)),
                (Some(40000), None),
            ]
        );
        assert_eq!(report.differences(), 3);
        let fields = &report.rows[0].drift.as_ref().expect("a difference").fields;
        assert_eq!(fields, &["process.executable.path: -/a +/b"]);
    }

    #[test]
    fn violations_are_counted() {
        let mut report = report(vec![tcp("0.0.0.0:23"), Listener::new(Transport::Packet, None, None)]);
        let text = "[[audit.rule]]\nname = \"no-telnet\"\naction = \"deny\"\nports = \"23\"\n";
        report.judge(&Policy::parse("rules", text).expect("a policy"));
        assert_eq!(report.violations(), 1);
    }

    #[test]
    fn a_report_says_when_it_is_truncated() {
        let mut report = report(vec![tcp("0.0.0.0:1")]);
        assert_eq!(report.truncated_sentence(), None);
        report.truncated = 7;
        assert!(report.truncated_sentence().is_some_and(|text| text.starts_with("truncated: 7 ")));
    }

    #[test]
    fn changes_come_in_the_order_of_their_times() {
        let listener = Listener { opened_unix_ns: Some(5), ..tcp("0.0.0.0:1") };
        let change = |kind| Change {
            kind,
            closed_unix_ns: Some(9),
            close_unseen: false,
            first_seen_unix_ns: None,
            listener: listener.clone(),
        };
        let changes = vec![change(ChangeKind::Closed), change(ChangeKind::Opened)];
        let report = Report::of_changes("host", 0, Source::Daemon, changes);
        let kinds: Vec<_> = report.rows.iter().map(|row| row.event).collect();
        assert_eq!(kinds, [Some(ChangeKind::Opened), Some(ChangeKind::Closed)]);
    }
}
