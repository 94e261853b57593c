//! Programs and their flows.

use std::collections::HashMap;

use netsonde_view::model::{Attributes, FlowFrame};
use netsonde_view::sum::add_beside;

use super::measures::MEASURES;
use super::{Cell, Column, Row, Sums, number, text};
use crate::cli::top::filter::Filter;
use crate::cli::top::store::{Store, Window};
use crate::cli::top::text::{clean, value_text};

/// The columns that name something, and behind them those that measure it.
const fn columns<const N: usize, const M: usize>(names: [Column; N]) -> [Column; M] {
    assert!(N + MEASURES.len() == M, "each column has its place");
    let mut all = [MEASURES[0]; M];
    let mut at = 0;
    while at < M {
        all[at] = if at < N { names[at] } else { MEASURES[at - N] };
        at += 1;
    }
    all
}

/// Columns of programs.
pub const PROGRAM_COLUMNS: &[Column] = &columns::<4, 17>([
    text("program", "PROGRAM", 14, 9),
    text("unit", "UNIT", 16, 4),
    text("container", "CONTAINER", 12, 2),
    text("user", "USER", 8, 3),
]);

/// Columns of flows.
pub const FLOW_COLUMNS: &[Column] = &columns::<6, 19>([
    text("remote", "REMOTE", 14, 9),
    number("port", "PORT", 5, 8),
    text("program", "PROGRAM", 12, 8),
    text("role", "ROLE", 6, 5),
    text("transport", "PROTO", 5, 4),
    text("unit", "UNIT", 14, 2),
]);

const PROGRAM: [&str; 6] = [
    "process.executable.path",
    "netsonde.process.script.path",
    "systemd.unit",
    "systemd.user_unit",
    "container.id",
    "process.user.name",
];

/// Which program a flow is of: what those of one program have alike.
pub fn program_key(attributes: &Attributes) -> String {
    let text = |name: &str| attributes.get(name).map(value_text).unwrap_or_default();
    if attributes.contains_key(PROGRAM[0]) {
        PROGRAM.map(text).join("\u{1f}")
    } else {
        text("process.executable.name")
    }
}

/// The name of a program: of a script, its own, and not its interpreter's.
pub fn program_name(attributes: &Attributes) -> String {
    let text = |name: &str| attributes.get(name).and_then(|value| value.as_str());
    let path = text("netsonde.process.script.path").or(text("process.executable.path"));
    let name = path.and_then(|path| path.rsplit('/').next()).or(text("process.executable.name"));
    match name {
        Some(name) if !name.is_empty() => clean(name),
        // Where there was no room to tell flows apart, or nobody could say.
        _ if attributes.is_empty() => "(others)".to_owned(),
        _ => "(unknown)".to_owned(),
    }
}

fn cell(attributes: &Attributes, name: &str) -> Cell {
    Cell::text(attributes.get(name).map(value_text).unwrap_or_default())
}

/// A container's id as runtimes show it.
fn container(attributes: &Attributes) -> Cell {
    let id = attributes.get("container.id").map(value_text).unwrap_or_default();
    Cell::text(id.chars().take(12).collect())
}

fn unit(attributes: &Attributes) -> Cell {
    let unit = attributes.get("systemd.unit").or_else(|| attributes.get("systemd.user_unit"));
    Cell::text(unit.map(value_text).unwrap_or_default())
}

/// Flows that a filter shows, with what they are.
pub fn shown<'a>(
    store: &'a Store,
    sums: &'a [FlowFrame],
    filter: &Filter,
) -> impl Iterator<Item = (&'a Attributes, &'a FlowFrame)> {
    sums.iter()
        .filter_map(|sum| store.flow(sum.id).map(|attributes| (attributes, sum)))
        .filter(|(attributes, _)| filter.matches(attributes))
}

/// A row a program, of the flows that the filter shows.
pub fn programs(store: &Store, sums: &[FlowFrame], window: Window, filter: &Filter) -> Vec<Row> {
    let mut programs: HashMap<String, (&Attributes, FlowFrame)> = HashMap::new();
    for (attributes, flow) in shown(store, sums, filter) {
        let (_, sum) =
            programs.entry(program_key(attributes)).or_insert_with(|| (attributes, FlowFrame::default()));
        add_beside(sum, flow);
    }
    let seconds = store.seconds(window);
    let row = |(key, (attributes, sum)): (String, (&Attributes, FlowFrame))| {
        let name = Cell::text(program_name(attributes));
        let cells =
            vec![name, unit(attributes), container(attributes), cell(attributes, "process.user.name")];
        Sums { sum: &sum, seconds, bounds: &store.bounds().rtt }.row(key, cells)
    };
    programs.into_iter().map(row).collect()
}

/// A row a flow that the filter shows, of all programs or one.
pub fn flows(
    store: &Store,
    sums: &[FlowFrame],
    window: Window,
    filter: &Filter,
    program: Option<&str>,
) -> Vec<Row> {
    let seconds = store.seconds(window);
    let of_program = |attributes: &Attributes| program.is_none_or(|key| key == program_key(attributes));
    shown(store, sums, filter)
        .filter(|(attributes, _)| of_program(attributes))
        .map(|(attributes, sum)| {
            let port = attributes.get("server.port").and_then(serde_json::Value::as_f64);
            let cells = vec![
                Cell::text(remote(attributes)),
                Cell::maybe(port, |port| format!("{port:.0}")),
                Cell::text(program_name(attributes)),
                cell(attributes, "netsonde.socket.role"),
                cell(attributes, "network.transport"),
                unit(attributes),
            ];
            Sums { sum, seconds, bounds: &store.bounds().rtt }.row(sum.id.to_string(), cells)
        })
        .collect()
}

/// The server, by the name that the program asked for if it is known.
pub fn remote(attributes: &Attributes) -> String {
    let address = attributes.get("server.address").or_else(|| attributes.get("network.peer.address"));
    address.map_or_else(|| "*".to_owned(), value_text)
}
