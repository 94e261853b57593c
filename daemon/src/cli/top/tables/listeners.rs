//! What listens, and whether it may.

use netsonde_audit::model::{AddressClass, Listener};
use netsonde_audit::policy::{Action, Policy};
use netsonde_audit::words::Word as _;
use netsonde_view::model::Attributes;

use super::{Cell, Column, Row, Tone, number, text};
use crate::cli::top::filter::Filter;
use crate::cli::top::text::{age, clean, quantity};

/// Columns of listeners.
pub const COLUMNS: &[Column] = &[
    text("address", "LISTENS ON", 14, 9),
    number("port", "PORT", 5, 9),
    text("transport", "PROTO", 6, 7),
    text("class", "CLASS", 8, 6),
    text("policy", "POLICY", 6, 5),
    text("program", "PROGRAM", 12, 8),
    number("pid", "PID", 7, 4),
    text("unit", "UNIT", 16, 5),
    text("user", "USER", 8, 3),
    number("opened", "OPENED", 6, 4),
    number("accepted", "ACCEPTED", 8, 5),
    number("peers", "PEERS", 5, 3),
    number("queued", "QUEUED", 6, 2),
    text("namespace", "NAMESPACE", 10, 2),
];

/// A row a socket that the filter shows; judged, where there are rules. `now` is in milliseconds since 1970.
pub fn rows(listeners: &[Listener], policy: &Policy, filter: &Filter, now: u64) -> Vec<Row> {
    listeners
        .iter()
        .filter(|listener| filter.is_empty() || filter.matches(&attributes(listener)))
        .map(|listener| row(listener, policy, now))
        .collect()
}

/// What is known of it, by the names of the audit's JSON.
pub fn attributes(listener: &Listener) -> Attributes {
    match serde_json::to_value(listener) {
        Ok(serde_json::Value::Object(all)) => all.into_iter().collect(),
        // A listener is always an object.
        _ => Attributes::new(),
    }
}

/// What it is, as long as the host runs.
pub fn key(listener: &Listener) -> String {
    let socket = listener.cookie.map_or_else(|| listener.endpoint(), |cookie| cookie.to_string());
    format!("{socket} {} {}", listener.transport.word(), listener.namespace.inode)
}

fn row(listener: &Listener, policy: &Policy, now: u64) -> Row {
    let owner = listener.owner();
    let of = |text: Option<&String>| Cell::text(text.map(|text| clean(text)).unwrap_or_default());
    let path = owner.and_then(|owner| owner.script.as_ref().or(owner.path.as_ref()));
    let program = path.and_then(|path| path.rsplit('/').next()).map(clean).unwrap_or_default();
    let number = |count: Option<u64>| Cell::maybe(count.map(|count| count as f64), quantity);
    // Without any rule everything may listen, and a verdict would say nothing.
    let action = (*policy != Policy::default()).then(|| policy.judge(listener).action);
    let address = listener.address.map_or_else(|| listener.endpoint(), |address| address.to_string());
    let opened = listener.opened_unix_ns.map(|at| now.saturating_sub(at / 1_000_000));
    let namespace = &listener.namespace;
    let namespace_text = match (&namespace.name, namespace.initial) {
        (Some(name), _) => clean(name),
        (None, Some(true)) => "host".to_owned(),
        (None, _) => namespace.inode.to_string(),
    };
    let exact = |number: Option<f64>| Cell::maybe(number, |number| format!("{number:.0}"));
    let cells = vec![
        Cell::text(address),
        exact(listener.port.map(f64::from)),
        Cell::text(listener.transport.word().to_owned()),
        Cell::text(listener.class().map(|class| class.word().to_owned()).unwrap_or_default()),
        Cell::text(action.map(|action| action.word().to_owned()).unwrap_or_default()),
        Cell::text(program),
        exact(owner.map(|owner| f64::from(owner.pid))),
        of(owner.and_then(|owner| owner.unit.as_ref().or(owner.user_unit.as_ref()))),
        of(owner.and_then(|owner| owner.user.as_ref())),
        Cell::maybe(opened.map(|ms| ms as f64), |ms| age(ms as u64)),
        number(listener.accepted),
        number(listener.peers),
        number(listener.queued.map(u64::from)),
        Cell::text(namespace_text),
    ];
    let tone = match (action, listener.class()) {
        (Some(Action::Deny), _) => Tone::Bad,
        (_, Some(AddressClass::Loopback)) => Tone::Plain,
        (None, Some(AddressClass::Any | AddressClass::Public)) => Tone::Warning,
        _ => Tone::Plain,
    };
    Row { key: key(listener), cells, tone }
}
