//! DNS lookups: who asked for what, what came of it, and how long it took.

use netsonde_view::model::{Attributes, LookupFrame};

use super::flows::program_name;
use super::measures::latencies;
use super::{Cell, Column, Row, Tone, number, text};
use crate::cli::top::filter::Filter;
use crate::cli::top::store::{Store, Window};
use crate::cli::top::text::{frequency, quantity, value_text};

/// Columns of lookups.
pub const COLUMNS: &[Column] = &[
    text("name", "NAME", 16, 9),
    number("type", "TYPE", 5, 8),
    text("code", "CODE", 8, 8),
    text("error", "ERROR", 8, 6),
    number("count", "COUNT", 6, 9),
    number("rate", "/s", 6, 7),
    number("p50", "p50", 7, 4),
    number("p95", "p95", 7, 6),
    number("p99", "p99", 7, 4),
    text("program", "PROGRAM", 12, 5),
    text("server", "SERVER", 14, 3),
    text("role", "ROLE", 6, 1),
];

/// A row a program, question, server and outcome.
pub fn rows(store: &Store, sums: &[LookupFrame], window: Window, filter: &Filter) -> Vec<Row> {
    let seconds = store.seconds(window);
    let known = sums.iter().filter_map(|sum| store.lookup(sum.id).map(|attributes| (attributes, sum)));
    known
        .filter(|(attributes, _)| filter.matches(attributes))
        .map(|(attributes, sum)| row(store, attributes, sum, seconds))
        .collect()
}

fn row(store: &Store, attributes: &Attributes, sum: &LookupFrame, seconds: f64) -> Row {
    let text = |name: &str| Cell::text(attributes.get(name).map(value_text).unwrap_or_default());
    let rate = if seconds > 0.0 { sum.count as f64 / seconds } else { 0.0 };
    let mut cells = vec![
        text("dns.question.name"),
        text("dns.question.type"),
        text("dns.response_code"),
        text("error.type"),
        Cell::number(sum.count as f64, quantity),
        Cell::number(rate, frequency),
    ];
    cells.extend(latencies(&sum.latency, &store.bounds().lookup));
    cells.extend([
        Cell::text(program_name(attributes)),
        text("server.address"),
        text("netsonde.socket.role"),
    ]);
    let code = attributes.get("dns.response_code").and_then(|code| code.as_str());
    let tone = match code {
        _ if attributes.contains_key("error.type") && code.is_none() => Tone::Bad,
        Some("NOERROR") => Tone::Plain,
        _ => Tone::Warning,
    };
    Row { key: sum.id.to_string(), cells, tone }
}
