//! Reports as text: for people, for programs, for security tooling.
//!
//! Owns what each format looks like. All of them take the same report, and write what programs, paths and units are
//! called so that none of it is taken for more than text by what reads it.

use std::io::{self, Write};

use crate::model::Namespace;
use crate::report::Report;
use crate::words::Word;

mod csv;
mod html;
mod sarif;
mod table;

pub use self::csv::COLUMNS as CSV_COLUMNS;
pub use table::TableOptions;

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON array, a row an element.
    Json,
    /// JSON lines, a row each.
    Ndjson,
    /// CSV (RFC 4180) with a header. A cell that a spreadsheet would take for a formula has a `'` before it.
    Csv,
    /// One page, which needs nothing else.
    Html,
    /// SARIF 2.1.0: what the policy denies and what differs from the baseline.
    Sarif,
}

impl Word for Format {
    const KIND: &'static str = "format";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("table", Self::Table),
        ("json", Self::Json),
        ("ndjson", Self::Ndjson),
        ("csv", Self::Csv),
        ("html", Self::Html),
        ("sarif", Self::Sarif),
    ];
}

/// Writes a report; `table` is for the table only.
///
/// # Errors
///
/// Those of the writer.
pub fn write(report: &Report, format: Format, table: TableOptions, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => table::write(report, table, out),
        Format::Json => json(report, out),
        Format::Ndjson => ndjson(report, out),
        Format::Csv => csv::write(report, out),
        Format::Html => html::write(report, out),
        Format::Sarif => sarif::write(report, out),
    }
}

fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut separator = "[\n";
    for row in &report.rows {
        write!(out, "{separator}{}", serde_json::to_string(&report.json(row))?)?;
        separator = ",\n";
    }
    writeln!(out, "{}", if report.rows.is_empty() { "[]" } else { "\n]" })
}

fn ndjson(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for row in &report.rows {
        writeln!(out, "{}", serde_json::to_string(&report.json(row))?)?;
    }
    Ok(())
}

/// What a block of rows of one network namespace is headed by.
fn title(namespace: &Namespace) -> String {
    match (namespace.initial, &namespace.name, namespace.inode) {
        (Some(true), ..) => "Network of the host".to_owned(),
        (_, Some(name), 0) => format!("Network namespace {}", plain(name)),
        (_, Some(name), inode) => format!("Network namespace {} ({inode})", plain(name)),
        (_, None, 0) => "Other network namespaces".to_owned(),
        (_, None, inode) => format!("Network namespace {inode}"),
    }
}

/// Without anything that a terminal would act upon, or that would change how what follows is read.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Format characters could turn the direction of what follows (Unicode TR 36, 3.4).
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || turns { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::baseline::{Baseline, Options};
    use crate::drift::diff;
    use crate::model::{Change, Listener};
    use crate::policy::Policy;
    use crate::report::Source;
    use crate::testing::{any_change, any_listener, tcp};

    /// A report of these, judged, and marked where it is new or gone.
    pub fn full(listeners: Vec<Listener>, before: &[Listener]) -> Report {
        let options = Options::default();
        let take = |listeners: &[Listener]| Baseline::take("host", 0, listeners, &options);
        let drift = diff(&take(before), &take(&listeners));
        let mut report =
            Report::of_listeners("host <1>", 1_700_000_000_000_000_000, Source::Kernel, listeners);
        let rule = "[[audit.rule]]\nname = \"low <ports>\"\naction = \"deny\"\nports = \"1-30000\"\n";
        report.judge(&Policy::parse("rules", rule).expect("a policy"));
        report.mark(&drift, &options);
        report
    }

    pub fn text(report: &Report, format: Format) -> String {
        let mut out = Vec::new();
        write(report, format, TableOptions::default(), &mut out).expect("memory takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    prop_compose! {
        /// Any report.
        pub fn any_report()(
            now in vec(any_listener().boxed(), 0..4),
            before in vec(any_listener().boxed(), 0..3),
            changes in vec(any_change().boxed(), 1..4),
            history in any::<bool>(),
            truncated in 0_u64..2,
        ) -> Report {
            let report = if history {
                Report::of_changes("host", 0, Source::Daemon, changes)
            } else {
                full(now, &before)
            };
            Report { truncated, ..report }
        }
    }

    proptest! {
        #[test]
        fn json_and_ndjson_have_the_same_rows(report in any_report()) {
            let array: Vec<Value> = serde_json::from_str(&text(&report, Format::Json)).expect("JSON");
            let lines = text(&report, Format::Ndjson);
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            prop_assert_eq!(array.len(), report.rows.len());
            prop_assert_eq!(array, lines);
        }

        #[test]
        fn rows_are_read_back_as_listeners_and_changes(report in any_report()) {
            for (line, row) in text(&report, Format::Ndjson).lines().zip(&report.rows) {
                let listener: Listener = serde_json::from_str(line).expect("a listener");
                prop_assert_eq!(&listener, &row.listener);
                if let Some(kind) = row.event {
                    let change: Change = serde_json::from_str(line).expect("a change");
                    prop_assert_eq!(change.kind, kind);
                    prop_assert_eq!(change.closed_unix_ns, row.closed_unix_ns);
                }
            }
        }
    }

    #[test]
    fn rows_tell_verdict_drift_and_source() {
        let report = full(vec![tcp("0.0.0.0:23")], &[]);
        let row: Value = serde_json::from_str(&text(&report, Format::Ndjson)).expect("JSON");
        assert_eq!(row["netsonde.audit.action"], "deny");
        assert_eq!(row["netsonde.audit.rule"], "low <ports>");
        assert_eq!(row["netsonde.audit.drift"], "new");
        assert_eq!(row["netsonde.audit.source"], "kernel");
    }

    #[test]
    fn a_report_without_rows_is_still_json() {
        assert_eq!(text(&full(Vec::new(), &[]), Format::Json), "[]\n");
        assert_eq!(text(&full(Vec::new(), &[]), Format::Ndjson), "");
    }
}
