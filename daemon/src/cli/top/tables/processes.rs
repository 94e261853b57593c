//! Processes that own sockets, as a tree below their parents. Parents that own none are shown for their children's sake.

use std::collections::HashMap;

use netsonde_view::model::{Attributes, Process};
use serde_json::Value;

use super::flows::program_name;
use super::{Cell, Column, Order, Row, Sorting, Tone, compare, number, text};
use crate::cli::top::filter::Filter;
use crate::cli::top::text::{age, quantity, value_text};

/// Columns of processes. Their counts are since netsonde first saw them.
pub const COLUMNS: &[Column] = &[
    text("process", "PROCESS", 20, 9),
    number("pid", "PID", 7, 8),
    text("user", "USER", 8, 4),
    text("unit", "UNIT", 16, 3),
    number("bytes", "BYTES", 6, 7),
    number("tx", "TX", 6, 5),
    number("rx", "RX", 6, 5),
    number("active", "OPEN", 5, 6),
    number("connections", "CONNS", 6, 4),
    number("failures", "FAIL", 5, 4),
    number("last", "LAST", 5, 3),
];

/// Deeper chains are cut: a chain that goes round would not end.
const DEEPEST: usize = 64;

struct Node {
    row: Row,
    children: Vec<usize>,
    parent: Option<usize>,
}

/// What tells a process from others; a pid alone comes again.
fn identity(attributes: &Attributes) -> String {
    let text = |name: &str| attributes.get(name).map(value_text).unwrap_or_default();
    format!("{} {}", text("process.pid"), text("process.creation.time"))
}

/// Its parents, nearest first.
pub fn ancestors(attributes: &Attributes) -> Vec<Attributes> {
    let chain = attributes.get("netsonde.process.ancestors").and_then(Value::as_array);
    let object = |value: &Value| {
        value.as_object().map(|all| all.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    chain.into_iter().flatten().filter_map(object).take(DEEPEST).collect()
}

fn row(attributes: &Attributes, process: Option<&Process>, now: u64) -> Row {
    let text = |name: &str| Cell::text(attributes.get(name).map(value_text).unwrap_or_default());
    let pid = attributes.get("process.pid").and_then(Value::as_f64);
    let count = |value: fn(&Process) -> u64| match process {
        Some(process) => Cell::number(value(process) as f64, quantity),
        None => Cell { text: String::new(), order: Order::Nothing },
    };
    let last = process.filter(|process| process.last > 0).map(|process| now.saturating_sub(process.last));
    let cells = vec![
        Cell::text(program_name(attributes)),
        Cell::maybe(pid, |pid| format!("{pid:.0}")),
        text("process.user.name"),
        text("systemd.unit"),
        count(|process| process.tx + process.rx),
        count(|process| process.tx),
        count(|process| process.rx),
        count(|process| process.active),
        count(|process| process.connections),
        count(|process| process.failures),
        Cell {
            text: last.map(age).unwrap_or_default(),
            ..Cell::maybe(last.map(|ms| ms as f64), |_| String::new())
        },
    ];
    let tone = match process {
        None => Tone::Dim,
        Some(process) if process.failures > 0 => Tone::Warning,
        Some(_) => Tone::Plain,
    };
    // Parents have no page of their own.
    Row {
        key: process.map_or_else(|| format!("parent {}", identity(attributes)), |p| p.id.clone()),
        cells,
        tone,
    }
}

/// A row a process that the filter shows, and its parents, each child below its parent. Siblings are in order of
/// the foremost in their branches. `branch` is drawn before a child, in as many columns as `gap`.
pub fn rows(
    processes: &[Process],
    filter: &Filter,
    sorting: Sorting,
    now: u64,
    (gap, branch): (&str, &str),
) -> Vec<Row> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for process in processes.iter().filter(|process| filter.matches(&process.attributes)) {
        let at = place(&mut nodes, &mut known, &process.attributes);
        nodes[at].row = row(&process.attributes, Some(process), now);
    }
    // Parents come to stand beside their children, which may have been placed before them.
    for process in processes.iter().filter(|process| filter.matches(&process.attributes)) {
        let mut child = known[&identity(&process.attributes)];
        for parent in ancestors(&process.attributes) {
            if nodes[child].parent.is_some() {
                break;
            }
            let at = place(&mut nodes, &mut known, &parent);
            if at == child || leads_to(&nodes, at, child) {
                break;
            }
            nodes[child].parent = Some(at);
            nodes[at].children.push(child);
            child = at;
        }
    }
    let roots: Vec<usize> = (0..nodes.len()).filter(|&at| nodes[at].parent.is_none()).collect();
    let mut rows = Vec::with_capacity(nodes.len());
    let foremost = foremost(&nodes, &roots, sorting);
    let mut open =
        ordered(&nodes, &foremost, roots, sorting).into_iter().rev().map(|at| (at, 0)).collect::<Vec<_>>();
    while let Some((at, depth)) = open.pop() {
        let mut row = nodes[at].row.clone();
        if depth > 0 {
            row.cells[0].text = format!("{}{branch}{}", gap.repeat(depth - 1), row.cells[0].text);
        }
        rows.push(row);
        let children = ordered(&nodes, &foremost, nodes[at].children.clone(), sorting);
        open.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
    }
    rows
}

fn place(nodes: &mut Vec<Node>, known: &mut HashMap<String, usize>, attributes: &Attributes) -> usize {
    *known.entry(identity(attributes)).or_insert_with(|| {
        nodes.push(Node { row: row(attributes, None, 0), children: Vec::new(), parent: None });
        nodes.len() - 1
    })
}

/// Whether one is reached from another by going up.
fn leads_to(nodes: &[Node], from: usize, to: usize) -> bool {
    std::iter::successors(Some(from), |&at| nodes[at].parent).any(|at| at == to)
}

/// Of each branch the row that comes first.
fn foremost(nodes: &[Node], roots: &[usize], sorting: Sorting) -> Vec<usize> {
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    // Parents before children, so that in reverse each child's is known.
    let mut order = roots.to_vec();
    let mut at = 0;
    while let Some(&node) = order.get(at) {
        order.extend(&nodes[node].children);
        at += 1;
    }
    for &node in order.iter().rev() {
        if let Some(parent) = nodes[node].parent
            && compare(&nodes[first[node]].row, &nodes[first[parent]].row, sorting).is_lt()
        {
            first[parent] = first[node];
        }
    }
    first
}

fn ordered(nodes: &[Node], foremost: &[usize], mut siblings: Vec<usize>, sorting: Sorting) -> Vec<usize> {
    siblings.sort_by(|&a, &b| compare(&nodes[foremost[a]].row, &nodes[foremost[b]].row, sorting));
    siblings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::top::tables::Kind;

    fn process(pid: u32, name: &str, parents: &[(u32, &str)], tx: u64) -> Process {
        let path = |name: &str| format!("/usr/bin/{name}");
        let ancestors: Vec<Value> = parents
            .iter()
            .map(|(pid, name)| {
                json!({"process.pid": pid, "process.creation.time": "t", "process.executable.path": path(name)})
            })
            .collect();
        let attributes = json!({
            "process.pid": pid,
            "process.creation.time": "t",
            "process.executable.path": path(name),
            "netsonde.process.ancestors": ancestors,
        });
        let attributes = serde_json::from_value(attributes).expect("attributes");
        Process { id: format!("{pid}-1"), attributes, tx, ..Process::default() }
    }

    fn tree(processes: &[Process], filter: &str, column: &str) -> Vec<String> {
        let column = Kind::Processes.column(column).expect("a column");
        let sorting = Sorting::by(Kind::Processes, column);
        rows(processes, &Filter::parse(filter), sorting, 0, ("  ", "+-"))
            .into_iter()
            .map(|row| format!("{} {}", row.cells[0].text, row.cells[1].text))
            .collect()
    }

    fn host() -> Vec<Process> {
        vec![
            process(30, "sshd", &[(1, "systemd")], 5),
            process(50, "curl", &[(40, "bash"), (30, "sshd"), (1, "systemd")], 900),
            process(60, "nginx", &[(1, "systemd")], 70),
            process(61, "nginx", &[(60, "nginx"), (1, "systemd")], 100),
        ]
    }

    #[test]
    fn children_stand_below_their_parents_and_the_busiest_branch_comes_first() {
        let expected =
            ["systemd 1", "+-sshd 30", "  +-bash 40", "    +-curl 50", "+-nginx 60", "  +-nginx 61"];
        assert_eq!(tree(&host(), "", "bytes"), expected);
        let expected =
            ["systemd 1", "+-nginx 60", "  +-nginx 61", "+-sshd 30", "  +-bash 40", "    +-curl 50"];
        assert_eq!(tree(&host(), "", "pid"), expected);
    }

    #[test]
    fn a_filter_shows_parents_for_their_childrens_sake() {
        let shown = tree(&host(), "binary:curl", "bytes");
        assert_eq!(shown, ["systemd 1", "+-sshd 30", "  +-bash 40", "    +-curl 50"]);
    }

    #[test]
    fn a_chain_that_goes_round_ends() {
        let round = [process(1, "a", &[(2, "b"), (1, "a")], 1), process(2, "b", &[(1, "a"), (2, "b")], 1)];
        assert_eq!(tree(&round, "", "pid").len(), 2);
        assert_eq!(tree(&[process(7, "a", &[(7, "a")], 1)], "", "pid"), ["a 7"]);
    }
}
