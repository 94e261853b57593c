//! SARIF 2.1.0 (OASIS, docs.oasis-open.org/sarif/sarif/v2.1.0): one result for each row that the policy denies, and one for
//! each that differs from the baseline.
//!
//! A listener is no place in a file, so results have logical locations (3.33) and no physical one. Fingerprints (3.27.17)
//! are made of what stays the same at a restart, so that tools recognise a finding. A result of drift has the
//! baseline state that SARIF knows (3.27.24): new, updated or absent. Rows that are allowed, and are as the baseline
//! has them, are no results.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::plain;
use crate::drift::DriftKind;
use crate::model::Listener;
use crate::report::{Report, ReportRow};
use crate::row::time_text;
use crate::stable::Identity;
use crate::words::Word;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const VIOLATION: &str = "netsonde.listen.violation";

/// A rule as SARIF has it: what was broken.
struct Rule {
    id: String,
    text: String,
    level: &'static str,
}

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut index_of: BTreeMap<String, usize> = BTreeMap::new();
    let mut results = Vec::new();
    for row in &report.rows {
        for (rule, state) in [violation(row).map(|rule| (rule, None)), drift(row)].into_iter().flatten() {
            let index = *index_of.entry(rule.id.clone()).or_insert(rules.len());
            results.push(result(report, row, &rule, index, state));
            if index == rules.len() {
                rules.push(rule);
            }
        }
    }
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": message(&rule.text)},
                "defaultConfiguration": {"level": rule.level},
            })
        })
        .collect();
    let mut invocation = json!({
        "executionSuccessful": true,
        "machine": report.host,
        "endTimeUtc": time_text(report.taken_unix_ns),
    });
    if let Some(sentence) = report.truncated_sentence() {
        // 3.58: a condition that the tool met while it ran.
        invocation["toolExecutionNotifications"] =
            json!([{"level": "warning", "message": {"text": message(&sentence)}}]);
    }
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "netsonde", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [invocation],
            "results": results,
            "properties": {"netsonde.audit.source": report.source.word()},
        }],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

fn violation(row: &ReportRow) -> Option<Rule> {
    let verdict = row.verdict.as_ref().filter(|_| row.is_violation())?;
    let text = match &verdict.rule {
        Some(name) => format!("The policy's rule {name} denies such a listener."),
        None => "No rule of the policy allows such a listener.".to_owned(),
    };
    // The id is hierarchical (3.27.5), and a slash in a rule's name would be another level.
    let id = format!("{VIOLATION}/{}", verdict.rule_name().replace('/', "_"));
    Some(Rule { id, text, level: "error" })
}

fn drift(row: &ReportRow) -> Option<(Rule, Option<&'static str>)> {
    let drift = row.drift.as_ref()?;
    let (state, level, text) = match drift.kind {
        DriftKind::New => ("new", "warning", "A listener that the baseline does not have."),
        DriftKind::Gone => ("absent", "note", "A listener of the baseline is not there."),
        DriftKind::Changed => ("updated", "warning", "A listener is not what it is in the baseline."),
    };
    let id = format!("netsonde.listen.drift/{}", drift.kind.word());
    Some((Rule { id, text: text.to_owned(), level }, Some(state)))
}

fn result(report: &Report, row: &ReportRow, rule: &Rule, index: usize, state: Option<&str>) -> Value {
    let listener = &row.listener;
    let identity = Identity::of(listener).text();
    let name = format!("{} {}", listener.transport.word(), listener.endpoint());
    let mut result = json!({
        "ruleId": rule.id,
        "ruleIndex": index,
        "level": rule.level,
        "message": {"text": message(&sentence(listener, &name, rule, row, state.is_some()))},
        "locations": [{"logicalLocations": [{
            "name": name,
            "fullyQualifiedName": format!("{}/{identity}", report.host),
            "kind": "resource",
        }]}],
        "partialFingerprints": {"netsondeListener/v1": identity},
        "properties": report.json(row),
    });
    if let Some(state) = state {
        result["baselineState"] = state.into();
    }
    result
}

fn sentence(listener: &Listener, name: &str, rule: &Rule, row: &ReportRow, of_drift: bool) -> String {
    let owner = listener.owner();
    let by = owner
        .and_then(|owner| owner.script.as_ref().or(owner.path.as_ref()))
        .map(|path| format!(" of {path}"))
        .unwrap_or_default();
    let fields = row.drift.as_ref().filter(|drift| of_drift && !drift.fields.is_empty());
    let fields = fields.map(|drift| format!(" {}", drift.fields.join("; "))).unwrap_or_default();
    format!("{name}{by}: {}{fields}", rule.text)
}

/// Text as it is written in a message: braces are placeholders unless they are doubled (3.11.5), and what looks like a
/// link is one (3.11.6), so it must not look so.
fn message(text: &str) -> String {
    plain(text).replace('{', "{{").replace('}', "}}").replace("](", "] (")
}

#[cfg(test)]
mod tests;
