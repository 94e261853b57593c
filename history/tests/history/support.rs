//! Listeners to keep, and short ways to keep and read them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use netsonde_history::{Beginning, BootId, Event, History, Limits, OpeningId, Query, Record};
use serde::{Deserialize, Serialize};

pub const BOOT: BootId = BootId([7; 16]);
pub const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: String,
    pub port: u16,
    pub program: String,
    pub chain: Vec<String>,
}

pub fn listener(number: u64) -> Listener {
    Listener {
        address: "127.0.0.1".to_owned(),
        port: (number % 65_536) as u16,
        program: format!("/usr/bin/program-{number}"),
        chain: vec!["bash".to_owned(), "sshd".to_owned(), "systemd".to_owned()],
    }
}

/// The opening at `began` seconds of the socket of that number.
pub fn id(began: u64) -> OpeningId {
    OpeningId { began: began * SECOND, boot: BOOT, cookie: began }
}

pub fn opened(began: u64) -> Event<Listener> {
    Event::Opened { id: id(began), beginning: Beginning::Seen, listener: listener(began) }
}

pub fn closed(began: u64, at: u64) -> Event<Listener> {
    Event::Closed { id: id(began), at: at * SECOND, listener: None }
}

/// Limits under which a test need not wait.
pub fn limits() -> Limits {
    Limits { lock_wait: Duration::ZERO, retry_after: Duration::ZERO, ..Limits::default() }
}

pub fn records(history: &History, query: Query) -> Vec<Record<Listener>> {
    let mut records = Vec::new();
    history
        .each(query, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

/// The seconds at which what a query finds began.
pub fn began(history: &History, query: Query) -> Vec<u64> {
    records(history, query).iter().map(|record| record.id.began / SECOND).collect()
}

pub fn by_id(records: Vec<Record<Listener>>) -> BTreeMap<OpeningId, Record<Listener>> {
    records.into_iter().map(|record| (record.id, record)).collect()
}
