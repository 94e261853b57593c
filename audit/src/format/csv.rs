//! CSV as RFC 4180 has it: CRLF, quotes where needed, the same columns always. Control characters, which it does not allow,
//! are written as escapes.
//!
//! A cell that begins with `=`, `+`, `-` or `@` is a formula to spreadsheets, and a path can be
//! chosen by whom the audit is about. Such a cell gets a `'` before it, which spreadsheets take for "this is text". Lists
//! are joined by spaces; all holders, with their parents, are in JSON only.

use std::io::{self, Write};

use serde_json::Value;

use super::plain;
use crate::report::Report;

/// The columns, in their order. They are keys of the JSON rows; new ones are added behind.
pub const COLUMNS: &[&str] = &[
    "event.name",
    "netsonde.audit.action",
    "netsonde.audit.rule",
    "netsonde.audit.drift",
    "netsonde.audit.differences",
    "network.transport",
    "network.type",
    "server.address",
    "server.port",
    "netsonde.address.class",
    "netsonde.socket.protocol",
    "netsonde.socket.ipv6_only",
    "network.peer.address",
    "network.peer.port",
    "netsonde.listen.port_automatic",
    "netsonde.network.namespace",
    "netsonde.namespace.initial",
    "netsonde.namespace.name",
    "network.interface.name",
    "process.pid",
    "process.creation.time",
    "process.executable.path",
    "netsonde.process.script.path",
    "process.user.id",
    "process.user.name",
    "systemd.unit",
    "systemd.user_unit",
    "container.id",
    "netsonde.process.ancestry",
    "netsonde.listen.backlog",
    "netsonde.listen.queued",
    "netsonde.socket.reuse_port",
    "netsonde.listen.reuse_port_sockets",
    "netsonde.socket.cookie",
    "netsonde.listen.opened",
    "netsonde.listen.closed",
    "netsonde.listen.duration",
    "netsonde.listen.accepted",
    "netsonde.listen.last_accepted",
    "netsonde.listen.peers",
    "netsonde.listen.client_networks",
    "netsonde.audit.source",
    "netsonde.listen.further_networks",
    "netsonde.listen.first_seen",
    "netsonde.listen.close_unseen",
];

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    writer.write_record(COLUMNS)?;
    for row in &report.rows {
        let values = serde_json::to_value(report.json(row))?;
        writer.write_record(COLUMNS.iter().map(|column| cell(values.get(column))))?;
    }
    writer.flush()
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    };
    let text = plain(&text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Format;
    use super::super::tests::{any_report, full, text};
    use super::*;
    use crate::model::Listener;
    use crate::testing::{process, tcp};

    fn records(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let row = |record: csv::StringRecord| record.iter().map(str::to_owned).collect();
        reader.records().map(|record| row(record.expect("CSV"))).collect()
    }

    proptest! {
        #[test]
        fn every_row_has_every_column_and_no_formula(report in any_report()) {
            let records = records(&text(&report, Format::Csv));
            prop_assert_eq!(records.len(), report.rows.len() + 1);
            for record in &records {
                prop_assert_eq!(record.len(), COLUMNS.len());
                let formula = record.iter().any(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
                prop_assert!(!formula);
                prop_assert!(!record.iter().any(|cell| cell.contains(char::is_control)));
            }
        }

        #[test]
        fn every_fact_but_the_lists_of_processes_has_a_column(report in any_report()) {
            for row in &report.rows {
                let values = serde_json::to_value(report.json(row)).expect("JSON");
                for key in values.as_object().expect("an object").keys() {
                    let left_out = ["netsonde.socket.holders", "netsonde.process.ancestors", "netsonde.listen.opened_by"];
                    prop_assert!(COLUMNS.contains(&key.as_str()) || left_out.contains(&key.as_str()), "{}", key);
                }
            }
        }
    }

    #[test]
    fn quotes_commas_and_line_breaks_stay_in_their_cell() {
        let listener = Listener { holders: vec![process("/a,\"b\"\r\nc")], ..tcp("0.0.0.0:22") };
        let text = text(&full(vec![listener], &[]), Format::Csv);
        let column = COLUMNS.iter().position(|column| *column == "process.executable.path").expect("there");
        assert_eq!(records(&text)[1][column], r#"/a,"b"\r\nc"#);
        assert!(text.ends_with("\r\n"));
    }

    #[test]
    fn a_formula_is_made_text() {
        assert_eq!(cell(Some(&Value::from("=1+1"))), "'=1+1");
        assert_eq!(cell(Some(&Value::from("/usr/bin/x"))), "/usr/bin/x");
    }
}
