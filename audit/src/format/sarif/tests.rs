//! Logs are held to the schema of the standard, and to what its text demands beyond that.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::Format;
use super::super::tests::{any_report, full, text};
use super::*;
use crate::testing::{process, tcp};

/// As OASIS publishes it; see the README beside it.
static SCHEMA_OF_OASIS: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = include_str!("../../../tests/data/sarif-schema-2.1.0.json");
    let schema = serde_json::from_str(text).expect("JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
});

fn problems(log: &Value) -> Vec<String> {
    SCHEMA_OF_OASIS.iter_errors(log).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn log(report: &Report) -> Value {
    serde_json::from_str(&text(report, Format::Sarif)).expect("JSON")
}

proptest! {
    #[test]
    fn a_log_is_as_the_schema_demands(report in any_report()) {
        let log = log(&report);
        prop_assert_eq!(problems(&log), Vec::<String>::new());
        let run = &log["runs"][0];
        let results = run["results"].as_array().expect("results");
        prop_assert_eq!(results.len(), report.violations() + report.differences());
        for result in results {
            // 3.27.6: the index is that of the rule with the id of the result.
            let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
            prop_assert_eq!(&run["tool"]["driver"]["rules"][index]["id"], &result["ruleId"]);
        }
    }

    #[test]
    fn no_name_is_a_placeholder_or_a_link(text in any::<String>()) {
        let message = message(&text);
        prop_assert!(!message.contains("]("));
        let mut chars = message.chars();
        while let Some(c) = chars.next() {
            if matches!(c, '{' | '}') {
                prop_assert_eq!(chars.next(), Some(c));
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let right = log(&full(vec![tcp("0.0.0.0:23")], &[]));
    assert_eq!(problems(&right), Vec::<String>::new());
    for (pointer, value) in [
        ("/version", json!("2.0.0")),
        ("/runs/0/results/0/level", json!("grave")),
        ("/runs/0/results/0/baselineState", json!("other")),
        ("/runs/0/results/0/ruleIndex", json!(-2)),
        ("/runs/0/results/0/partialFingerprints", json!({"netsondeListener/v1": 1})),
        ("/runs/0/results/0/locations", json!({})),
        ("/runs/0/invocations/0/endTimeUtc", json!("yesterday")),
        ("/runs/0/tool/driver", json!({"version": "1"})),
        ("/$schema", json!("no URI")),
    ] {
        let mut log = right.clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        log.pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("an object")
            .insert(key.to_owned(), value);
        assert_eq!(problems(&log).len(), 1, "{pointer}");
    }
    let mut unknown = right;
    unknown["runs"][0]["results"][0]["unheardOf"] = json!(1);
    assert_eq!(problems(&unknown).len(), 1);
}

#[test]
fn a_truncated_report_says_so() {
    let report = Report { truncated: 3, ..full(vec![tcp("0.0.0.0:23")], &[]) };
    let log = log(&report);
    let told = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"][0];
    assert_eq!(told["level"], "warning");
    assert!(told["message"]["text"].as_str().is_some_and(|text| text.starts_with("truncated: 3 ")));
}

#[test]
fn a_violation_and_drift_are_two_results() {
    let mut listener = tcp("0.0.0.0:23");
    listener.holders = vec![process("/usr/sbin/telnetd")];
    let log = log(&full(vec![listener], &[tcp("0.0.0.0:50000")]));
    let results = log["runs"][0]["results"].as_array().expect("results");
    let told: Vec<_> = results
        .iter()
        .map(|result| {
            let text = |key: &str| result[key].as_str().unwrap_or("").to_owned();
            (text("ruleId"), text("level"), text("baselineState"))
        })
        .collect();
    let expected = [
        ("netsonde.listen.violation/low <ports>", "error", ""),
        ("netsonde.listen.drift/new", "warning", "new"),
        ("netsonde.listen.drift/gone", "note", "absent"),
    ];
    let expected = expected.map(|(id, level, state)| (id.to_owned(), level.to_owned(), state.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(
        results[0]["message"]["text"],
        "tcp 0.0.0.0:23 of /usr/sbin/telnetd: The policy's rule low <ports> denies such a listener."
    );
    let location = &results[0]["locations"][0]["logicalLocations"][0];
    assert_eq!(location["fullyQualifiedName"], "host <1>/\"initial\"/tcp/0.0.0.0/23");
}

#[test]
fn a_fingerprint_stays_the_same_at_a_restart() {
    let of = |inode| {
        let mut listener = tcp("0.0.0.0:23");
        listener.namespace.inode = inode;
        log(&full(vec![listener], &[]))["runs"][0]["results"][0]["partialFingerprints"].clone()
    };
    assert_eq!(of(1), of(2));
}

#[test]
fn a_report_without_findings_has_no_results() {
    let log = log(&Report::of_listeners("host", 0, crate::report::Source::Daemon, vec![tcp("0.0.0.0:1")]));
    assert_eq!(log["runs"][0]["results"], json!([]));
}
