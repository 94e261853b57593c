//! Drift: what is new, gone or changed between a baseline and now.

use std::collections::BTreeSet;

use crate::baseline::{Baseline, Content};
use crate::stable::{Identity, Program};

/// The exit code of a comparison without drift.
pub const EXIT_CLEAN: u8 = 0;
/// The exit code of a comparison that found drift.
pub const EXIT_DRIFT: u8 = 3;

/// The differences between two baselines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Not in the baseline.
    pub new: Vec<Entry>,
    /// Only in the baseline.
    pub gone: Vec<Entry>,
    /// In both, with other contents.
    pub changed: Vec<Changed>,
}

/// A listener of a baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is recognised by.
    pub identity: Identity,
    /// What it is.
    pub content: Content,
}

/// A listener that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What it is recognised by.
    pub identity: Identity,
    /// As in the baseline.
    pub before: Content,
    /// As it is now.
    pub after: Content,
    /// What differs; never empty.
    pub fields: Vec<FieldChange>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Name of the attribute.
    pub field: &'static str,
    /// Values that only the baseline has.
    pub removed: Vec<String>,
    /// Values that only the present has.
    pub added: Vec<String>,
}

impl FieldChange {
    /// `process.executable.path: -/usr/bin/a +/usr/bin/b`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}:", self.field);
        for (sign, values) in [('-', &self.removed), ('+', &self.added)] {
            for value in values {
                text.push_str(&format!(" {sign}{value}"));
            }
        }
        text
    }
}

/// What sets an entry apart from the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DriftKind {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// It is there, but not the same.
    Changed,
}

impl crate::words::Word for DriftKind {
    const KIND: &'static str = "kind of drift";
    const WORDS: &'static [(&'static str, Self)] =
        &[("new", Self::New), ("gone", Self::Gone), ("changed", Self::Changed)];
}

impl Drift {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.changed.is_empty()
    }
}

/// What differs between `before` and `now`. Hosts and times are not compared.
///
/// A fact that only one side knows is a difference for programs, but not for `IPV6_V6ONLY`, which depends on how
/// listeners were read.
#[must_use]
pub fn diff(before: &Baseline, now: &Baseline) -> Drift {
    let entry = |(identity, content): (&Identity, &Content)| Entry {
        identity: identity.clone(),
        content: content.clone(),
    };
    let mut drift = Drift {
        new: now.entries.iter().filter(|(id, _)| !before.entries.contains_key(id)).map(entry).collect(),
        ..Drift::default()
    };
    for (identity, old) in &before.entries {
        let Some(new) = now.entries.get(identity) else {
            drift.gone.push(entry((identity, old)));
            continue;
        };
        let fields = differences(old, new);
        if !fields.is_empty() {
            let (identity, before, after) = (identity.clone(), old.clone(), new.clone());
            drift.changed.push(Changed { identity, before, after, fields });
        }
    }
    drift
}

/// The exit code for cron and CI: [`EXIT_CLEAN`] or [`EXIT_DRIFT`].
#[must_use]
pub fn exit_code(drift: &Drift) -> u8 {
    if drift.is_empty() { EXIT_CLEAN } else { EXIT_DRIFT }
}

fn differences(before: &Content, after: &Content) -> Vec<FieldChange> {
    type Field = (&'static str, fn(&Program) -> Option<&String>);
    const FIELDS: [Field; 6] = [
        ("process.executable.path", |program| program.path.as_ref()),
        ("netsonde.process.script.path", |program| program.script.as_ref()),
        ("process.user.name", |program| program.user.as_ref()),
        ("systemd.unit", |program| program.unit.as_ref()),
        ("systemd.user_unit", |program| program.user_unit.as_ref()),
        ("container.id", |program| program.container.as_ref()),
    ];
    let mut changes = Vec::new();
    for (field, value) in FIELDS {
        let values = |content: &Content| -> BTreeSet<String> {
            content.programs.iter().filter_map(|program| value(program).cloned()).collect()
        };
        changes.extend(field_change(field, &values(before), &values(after)));
    }
    if changes.is_empty() && before.programs != after.programs {
        // The same values in other combinations: two programs that changed their users with each other, say.
        let texts = |content: &Content| content.programs.iter().map(program_text).collect();
        changes.extend(field_change("netsonde.socket.holders", &texts(before), &texts(after)));
    }
    if !before.ipv6_only.is_empty() && !after.ipv6_only.is_empty() {
        let texts = |content: &Content| content.ipv6_only.iter().map(bool::to_string).collect();
        changes.extend(field_change("netsonde.socket.ipv6_only", &texts(before), &texts(after)));
    }
    changes
}

fn program_text(program: &Program) -> String {
    serde_json::to_string(program).unwrap_or_default()
}

fn field_change(
    field: &'static str,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
) -> Option<FieldChange> {
    let removed: Vec<String> = before.difference(after).cloned().collect();
    let added: Vec<String> = after.difference(before).cloned().collect();
    (!removed.is_empty() || !added.is_empty()).then_some(FieldChange { field, removed, added })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::baseline::Options;
    use crate::model::{Listener, Process};
    use crate::testing::{any_listener, process, tcp};

    fn taken(listeners: &[Listener]) -> Baseline {
        Baseline::take("host", 0, listeners, &Options::default())
    }

    fn held(edit: impl FnOnce(&mut Process)) -> Listener {
        let mut holder = process("/usr/sbin/sshd");
        edit(&mut holder);
        Listener { holders: vec![holder], ipv6_only: Some(false), ..tcp("[::]:22") }
    }

    proptest! {
        #[test]
        fn nothing_drifts_from_itself(listeners in vec(any_listener(), 0..6)) {
            let drift = diff(&taken(&listeners), &taken(&listeners));
            prop_assert_eq!(exit_code(&drift), EXIT_CLEAN);
        }

        #[test]
        fn what_is_new_one_way_is_gone_the_other(
            one in vec(any_listener(), 0..4), two in vec(any_listener(), 0..4),
        ) {
            let (one, two) = (taken(&one), taken(&two));
            let (there, back) = (diff(&one, &two), diff(&two, &one));
            prop_assert_eq!(&there.new, &back.gone);
            prop_assert_eq!(there.changed.len(), back.changed.len());
            prop_assert_eq!(one.entries.len() - there.gone.len(), two.entries.len() - there.new.len());
        }
    }

    #[test]
    fn new_and_gone_listeners_are_drift() {
        let drift = diff(&taken(&[tcp("0.0.0.0:22")]), &taken(&[tcp("0.0.0.0:23")]));
        assert_eq!((drift.new.len(), drift.gone.len(), drift.changed.len()), (1, 1, 0));
        assert_eq!(exit_code(&drift), EXIT_DRIFT);
    }

    #[test]
    fn each_compared_field_is_drift_and_is_named() {
        let before = taken(&[held(|_| ())]);
        type Edit = fn(&mut Process);
        let edits: [(&str, Edit); 6] = [
            ("process.executable.path: -/usr/sbin/sshd +/tmp/sshd", |p| {
                p.path = Some("/tmp/sshd".to_owned());
            }),
            ("netsonde.process.script.path: +/x.py", |p| p.script = Some("/x.py".to_owned())),
            ("process.user.name: -root +nobody", |p| p.user = Some("nobody".to_owned())),
            ("systemd.unit: +ssh.service", |p| p.unit = Some("ssh.service".to_owned())),
            ("systemd.user_unit: +ssh.service", |p| p.user_unit = Some("ssh.service".to_owned())),
            ("container.id: +*", |p| p.container = Some("ab12".repeat(16))),
        ];
        for (text, edit) in edits {
            let drift = diff(&before, &taken(&[held(edit)]));
            let texts: Vec<String> = drift.changed[0].fields.iter().map(FieldChange::text).collect();
            assert_eq!(texts, [text]);
        }
        let only = Listener { ipv6_only: Some(true), ..held(|_| ()) };
        let drift = diff(&before, &taken(&[only]));
        assert_eq!(drift.changed[0].fields[0].text(), "netsonde.socket.ipv6_only: -false +true");
    }

    #[test]
    fn what_changes_at_each_start_is_no_drift() {
        let before = held(|p| p.container = Some("ab12".repeat(16)));
        let mut after = held(|p| p.container = Some("cd34".repeat(16)));
        after.holders[0].pid = 1234;
        after.holders[0].started_unix_ns = Some(1);
        (after.backlog, after.queued, after.cookie) = (Some(1), Some(2), Some(3));
        (after.opened_unix_ns, after.accepted, after.ipv6_only) = (Some(4), Some(5), None);
        assert!(diff(&taken(&[before]), &taken(&[after])).is_empty());
    }

    #[test]
    fn values_that_changed_places_are_drift() {
        let pair = |a: &str, b: &str| {
            let mut listener = held(|p| p.user = Some(a.to_owned()));
            listener.holders.push(Process { user: Some(b.to_owned()), ..process("/bin/nc") });
            taken(&[listener])
        };
        let drift = diff(&pair("root", "www"), &pair("www", "root"));
        assert_eq!(drift.changed[0].fields[0].field, "netsonde.socket.holders");
    }
}
