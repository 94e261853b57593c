//! The schema itself is not in this repository: what it demands of the objects that are written here is.

use proptest::prelude::*;

use super::super::Format;
use super::super::tests::{any_report, full, text};
use super::*;
use crate::testing::{process, tcp};

/// What one object of the format may have, after the schema of SARIF 2.1.0.
struct Object {
    required: &'static [&'static str],
    allowed: &'static [(&'static str, Kind)],
}

/// What a property holds.
enum Kind {
    Text,
    /// A text that is not empty, or the object would be pointless.
    Name,
    Flag,
    Time,
    /// One of these words.
    Words(&'static [&'static str]),
    Object(&'static Object),
    /// An array of these; true when none may be there twice.
    Array(&'static Object, bool),
    /// From -1.
    Index,
    /// An object of texts.
    Texts,
    /// Any object.
    Bag,
}

const LEVELS: &[&str] = &["none", "note", "warning", "error"];

static LOG: Object = Object {
    required: &["version", "runs"],
    allowed: &[
        ("$schema", Kind::Name),
        ("version", Kind::Words(&["2.1.0"])),
        ("runs", Kind::Array(&RUN, false)),
    ],
};
static RUN: Object = Object {
    required: &["tool"],
    allowed: &[
        ("tool", Kind::Object(&TOOL)),
        ("invocations", Kind::Array(&INVOCATION, false)),
        ("results", Kind::Array(&RESULT, false)),
        ("properties", Kind::Bag),
    ],
};
static TOOL: Object = Object { required: &["driver"], allowed: &[("driver", Kind::Object(&COMPONENT))] };
static COMPONENT: Object = Object {
    required: &["name"],
    allowed: &[("name", Kind::Name), ("version", Kind::Name), ("rules", Kind::Array(&DESCRIPTOR, true))],
};
static DESCRIPTOR: Object = Object {
    required: &["id"],
    allowed: &[
        ("id", Kind::Name),
        ("shortDescription", Kind::Object(&MESSAGE)),
        ("defaultConfiguration", Kind::Object(&CONFIGURATION)),
    ],
};
static CONFIGURATION: Object = Object { required: &[], allowed: &[("level", Kind::Words(LEVELS))] };
static MESSAGE: Object = Object { required: &["text"], allowed: &[("text", Kind::Name)] };
static INVOCATION: Object = Object {
    required: &["executionSuccessful"],
    allowed: &[("executionSuccessful", Kind::Flag), ("machine", Kind::Text), ("endTimeUtc", Kind::Time)],
};
static RESULT: Object = Object {
    required: &["message"],
    allowed: &[
        ("ruleId", Kind::Name),
        ("ruleIndex", Kind::Index),
        ("level", Kind::Words(LEVELS)),
        ("message", Kind::Object(&MESSAGE)),
        ("locations", Kind::Array(&LOCATION, false)),
        ("partialFingerprints", Kind::Texts),
        ("baselineState", Kind::Words(&["new", "unchanged", "updated", "absent"])),
        ("properties", Kind::Bag),
    ],
};
static LOCATION: Object =
    Object { required: &[], allowed: &[("logicalLocations", Kind::Array(&LOGICAL, true))] };
static LOGICAL: Object = Object {
    required: &[],
    allowed: &[("name", Kind::Name), ("fullyQualifiedName", Kind::Name), ("kind", Kind::Name)],
};

fn check(value: &Value, object: &Object, path: &str) {
    let map = value.as_object().unwrap_or_else(|| panic!("{path} is no object"));
    for required in object.required {
        assert!(map.contains_key(*required), "{path} has no {required}");
    }
    for (key, value) in map {
        let path = format!("{path}.{key}");
        let kind = object.allowed.iter().find(|(allowed, _)| allowed == key);
        let (_, kind) = kind.unwrap_or_else(|| panic!("{path} is not in the schema"));
        check_value(value, kind, &path);
    }
}

fn check_value(value: &Value, kind: &Kind, path: &str) {
    let text = value.as_str();
    let holds = match kind {
        Kind::Text => text.is_some(),
        Kind::Name => text.is_some_and(|text| !text.is_empty()),
        Kind::Flag => value.is_boolean(),
        Kind::Time => text.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        Kind::Words(words) => text.is_some_and(|text| words.contains(&text)),
        Kind::Index => value.as_i64().is_some_and(|index| index >= -1),
        Kind::Texts => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
        Kind::Bag => value.is_object(),
        Kind::Object(object) => {
            check(value, object, path);
            true
        }
        Kind::Array(object, unique) => {
            let items = value.as_array().unwrap_or_else(|| panic!("{path} is no array"));
            for item in items {
                check(item, object, path);
            }
            !unique || items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
        }
    };
    assert!(holds, "{path}: {value}");
}

fn log(report: &Report) -> Value {
    serde_json::from_str(&text(report, Format::Sarif)).expect("JSON")
}

proptest! {
    #[test]
    fn a_log_is_as_the_schema_demands(report in any_report()) {
        let log = log(&report);
        check(&log, &LOG, "log");
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
