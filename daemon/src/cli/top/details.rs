//! Pages about one thing that was gone into: a flow, a series of lookups, a listener, a process.

use netsonde_audit::model::{Listener, Process as Holder};
use netsonde_audit::words::Word as _;
use netsonde_view::model::{Attributes, Buckets, FlowFrame, Process};
use netsonde_view::quantiles::quantiles;
use serde_json::Value;

use super::model::Model;
use super::page::Page;
use super::store::Window;
use super::tables::flows::{program_name, remote};
use super::tables::processes::ancestors;
use super::tables::{Sums, Tone, listeners};
use super::text::{duration, frequency, percentage, quantity, time_of_day, value_text};

const WINDOWS: [Window; 3] = [Window::Interval, Window::Minute, Window::Hour];
const ANCESTORS: &str = "netsonde.process.ancestors";
const ANCESTRY: &str = "netsonde.process.ancestry";

/// A flow: what it is, what it did, and the processes that it belongs to, with all their parents.
pub fn flow(page: &mut Page, model: &Model, id: u32) {
    let Some(attributes) = model.store.flow(id) else {
        page.text(0, "Nothing has been measured of this flow for an hour.", Tone::Dim);
        return;
    };
    page.heading(&format!("{} with {}", program_name(attributes), remote(attributes)));
    page.attributes(attributes, &[ANCESTRY]);
    if let Some(parents) = attributes.get(ANCESTRY) {
        page.pair(ANCESTRY, &value_text(parents));
    }
    page.heading("What it did");
    let sums = WINDOWS.map(|window| (model.store.seconds(window), model.store.flow_sum(window, id)));
    measured(page, model, &sums);
    page.heading("Its processes");
    let processes = model.processes.processes.iter().filter(|process| process.flows.contains(&id));
    let mut none = true;
    for process in processes {
        none = false;
        chain(page, process);
    }
    if none {
        page.text(0, "None of them is known any more.", Tone::Dim);
    }
}

fn measured(page: &mut Page, model: &Model, sums: &[(f64, FlowFrame); 3]) {
    let [.., (_, hour)] = sums;
    row(page, "", sums, |seconds, _| format!("last {}", span(seconds)));
    type Count = (&'static str, fn(&FlowFrame) -> u64);
    let counts: [Count; 10] = [
        ("bytes sent", |sum| sum.tx),
        ("bytes received", |sum| sum.rx),
        ("packets sent", |sum| sum.tx_packets),
        ("packets received", |sum| sum.rx_packets),
        ("segments sent again", |sum| sum.retransmits),
        ("connections opened", |sum| sum.opened),
        ("connections accepted", |sum| sum.accepted),
        ("connections closed", |sum| sum.closed),
        ("resets", |sum| sum.resets),
        ("open", |sum| sum.active),
    ];
    for (name, count) in counts {
        row(page, name, sums, |_, sum| count(sum).to_string());
    }
    for word in hour.failures.keys() {
        row(page, &format!("failed: {word}"), sums, |_, sum| of(&sum.failures, word));
    }
    for word in hour.drops.keys() {
        row(page, &format!("dropped: {word}"), sums, |_, sum| of(&sum.drops, word));
    }
    let per_second = |seconds: f64, count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    row(page, "sent a second", sums, |seconds, sum| quantity(per_second(seconds, sum.tx)));
    row(page, "received a second", sums, |seconds, sum| quantity(per_second(seconds, sum.rx)));
    row(page, "retransmitted", sums, |seconds, sum| {
        let share = Sums { sum, seconds, bounds: &[] }.retransmitted();
        share.map_or_else(|| "-".to_owned(), percentage)
    });
    let bounds = model.store.bounds();
    type Times<'a> = (&'static str, &'a [f64], fn(&FlowFrame) -> &Buckets);
    let times: [Times<'_>; 3] = [
        ("round trip", &bounds.rtt, |sum| &sum.rtt),
        ("connecting", &bounds.connect, |sum| &sum.connect),
        ("connected", &bounds.duration, |sum| &sum.duration),
    ];
    for (name, bounds, buckets) in times {
        if !buckets(hour).is_empty() {
            latencies(page, name, sums, |sum| quantiles(buckets(sum), bounds));
        }
    }
}

fn of(counts: &std::collections::BTreeMap<String, u64>, word: &str) -> String {
    counts.get(word).copied().unwrap_or(0).to_string()
}

fn latencies<T>(
    page: &mut Page,
    name: &str,
    sums: &[(f64, T); 3],
    of: impl Fn(&T) -> Option<netsonde_view::model::Quantiles>,
) {
    type Pick = fn(netsonde_view::model::Quantiles) -> f64;
    let shares: [(&str, Pick); 3] = [("p50", |q| q.p50), ("p95", |q| q.p95), ("p99", |q| q.p99)];
    for (share, pick) in shares {
        row(page, &format!("{name} {share}"), sums, |_, sum| {
            of(sum).map_or_else(|| "-".to_owned(), |found| duration(pick(found)))
        });
    }
}

/// A name, and a value for each window.
fn row<T>(page: &mut Page, name: &str, sums: &[(f64, T); 3], value: impl Fn(f64, &T) -> String) {
    let [a, b, c] = sums.each_ref().map(|(seconds, sum)| value(*seconds, sum));
    page.text(0, &format!("{name:<22} {a:>10} {b:>10} {c:>12}"), Tone::Plain);
}

fn span(seconds: f64) -> String {
    match seconds.round() {
        s if s < 120.0 => format!("{s} s"),
        s => format!("{} min", (s / 60.0).round()),
    }
}

/// A process and its parents, each so much deeper.
fn chain(page: &mut Page, process: &Process) {
    who(page, 0, &process.attributes);
    let Process { tx, rx, connections, active, failures, .. } = process;
    let counts =
        format!("sent {tx} B, received {rx} B, {connections} connections, {active} open, {failures} failed");
    page.text(4, &counts, Tone::Plain);
    parents(page, &process.attributes);
}

fn parents(page: &mut Page, attributes: &Attributes) {
    for (depth, parent) in ancestors(attributes).iter().enumerate() {
        who(page, 2 * (depth + 1), parent);
    }
}

fn who(page: &mut Page, indent: usize, attributes: &Attributes) {
    let text = |name: &str| attributes.get(name).map(value_text);
    let path = text("netsonde.process.script.path").or(text("process.executable.path"));
    let path = path.unwrap_or_else(|| program_name(attributes));
    let pid = text("process.pid").unwrap_or_else(|| "?".to_owned());
    let since = text("process.creation.time").map(|at| format!(", since {at}")).unwrap_or_default();
    let tone = if indent == 0 { Tone::Plain } else { Tone::Dim };
    page.text(indent, &format!("{path} ({pid}{since})"), tone);
}

/// A series of lookups.
pub fn lookup(page: &mut Page, model: &Model, id: u32) {
    let Some(attributes) = model.store.lookup(id) else {
        page.text(0, "Nobody has looked this up for an hour.", Tone::Dim);
        return;
    };
    let name = attributes.get("dns.question.name").map_or_else(|| "(unknown)".to_owned(), value_text);
    page.heading(&format!("{name}, by {}", program_name(attributes)));
    page.attributes(attributes, &[]);
    page.heading("What came of it");
    let sums = WINDOWS.map(|window| (model.store.seconds(window), model.store.lookup_sum(window, id)));
    row(page, "", &sums, |seconds, _| format!("last {}", span(seconds)));
    row(page, "lookups", &sums, |_, sum| sum.count.to_string());
    row(page, "lookups a second", &sums, |seconds, sum| {
        frequency(if seconds > 0.0 { sum.count as f64 / seconds } else { 0.0 })
    });
    latencies(page, "took", &sums, |sum| quantiles(&sum.latency, &model.store.bounds().lookup));
}

/// A listener, and who holds it.
pub fn listener(page: &mut Page, model: &Model, key: &str) {
    let all = model.listeners.iter().flat_map(|answer| &answer.listeners);
    let Some(listener) = all.into_iter().find(|listener| listeners::key(listener) == key) else {
        page.text(0, "It has closed.", Tone::Dim);
        return;
    };
    page.heading(&format!("{} {}", listener.transport.word(), listener.endpoint()));
    let holders = ["netsonde.socket.holders", "netsonde.listen.opened_by", ANCESTORS, ANCESTRY];
    page.attributes(&listeners::attributes(listener), &holders);
    held(page, listener);
}

fn held(page: &mut Page, listener: &Listener) {
    if let Some(opener) = &listener.opened_by {
        page.heading("Opened by");
        holder(page, opener);
    }
    page.heading("Held by");
    if listener.holders.is_empty() {
        page.text(0, "Nobody is known.", Tone::Dim);
    }
    for process in &listener.holders {
        holder(page, process);
    }
}

fn holder(page: &mut Page, process: &Holder) {
    let since =
        |at: Option<u64>| at.map(|ns| format!(", since {}", time_of_day(ns / 1_000_000))).unwrap_or_default();
    let path = |path: &Option<String>| path.clone().unwrap_or_else(|| "(unknown)".to_owned());
    let script = process.script.clone().unwrap_or_else(|| path(&process.path));
    page.text(0, &format!("{script} ({}{})", process.pid, since(process.started_unix_ns)), Tone::Plain);
    for (depth, parent) in process.ancestors.iter().enumerate() {
        let text = format!("{} ({}{})", path(&parent.path), parent.pid, since(parent.started_unix_ns));
        page.text(2 * (depth + 1), &text, Tone::Dim);
    }
}

/// A process, its parents, and its program's flows that it took part in.
pub fn process(page: &mut Page, model: &Model, id: &str) {
    let Some(process) = model.processes.processes.iter().find(|process| process.id == id) else {
        page.text(0, "It is not known any more.", Tone::Dim);
        return;
    };
    let pid = process.attributes.get("process.pid").and_then(Value::as_u64).unwrap_or(0);
    page.heading(&format!("{} {pid}", program_name(&process.attributes)));
    page.attributes(&process.attributes, &[ANCESTORS, ANCESTRY]);
    page.heading("It and its parents");
    chain(page, process);
    page.heading("Flows of its program that it took part in, within an hour");
    for &id in &process.flows {
        let Some(attributes) = model.store.flow(id) else { continue };
        let sum = model.store.flow_sum(Window::Hour, id);
        let port = attributes.get("server.port").map(|port| format!(":{}", value_text(port)));
        let role = attributes.get("netsonde.socket.role").map(value_text).unwrap_or_default();
        let text = format!(
            "{role} {}{}: sent {} B, received {} B",
            remote(attributes),
            port.unwrap_or_default(),
            sum.tx,
            sum.rx
        );
        page.text(0, &text, Tone::Plain);
    }
}
