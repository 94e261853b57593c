//! What is known of the running netsonde: the last answer of each kind, and whether it still answers.

use netsonde_view::model::{History, Processes};

use super::store::Store;
use crate::api::{ListenersAnswer, StatusAnswer};

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// A daemon, by its socket.
    Daemon(String),
    /// Probes of this process, as no daemon answered there.
    Own(String),
}

/// What one round of questions brought.
#[derive(Debug)]
pub struct Answer {
    /// What is new, or everything when another daemon answers than before.
    pub history: History,
    /// Whether it is another one than before: what was known of flows by their numbers is no more.
    pub anew: bool,
    /// How it is doing.
    pub status: StatusAnswer,
    /// Who owns sockets, if that was asked for.
    pub processes: Option<Processes>,
    /// What listens, if that was asked for; not known before the first sweep.
    pub listeners: Option<ListenersAnswer>,
}

/// Nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// Why.
    pub why: String,
}

/// Everything there is to show.
#[derive(Debug)]
pub struct Model {
    /// Who is asked.
    pub whom: Whom,
    /// Name of the host.
    pub host: String,
    /// Flows and lookups.
    pub store: Store,
    /// Counts answers, so that tables know when they are out of date.
    pub version: u64,
    /// How it is doing.
    pub status: Option<StatusAnswer>,
    /// Who owns sockets.
    pub processes: Processes,
    /// What listens.
    pub listeners: Option<ListenersAnswer>,
    /// Since when nobody answers.
    pub lost: Option<Lost>,
    /// What probes of this process have to say.
    pub messages: Vec<String>,
}

impl Model {
    /// Nothing has been read yet.
    pub fn new(whom: Whom, host: String) -> Self {
        Self {
            whom,
            host,
            store: Store::default(),
            version: 0,
            status: None,
            processes: Processes::default(),
            listeners: None,
            lost: None,
            messages: Vec::new(),
        }
    }

    /// Takes over an answer.
    pub fn add(&mut self, answer: Answer) {
        if answer.anew {
            self.store = Store::default();
        }
        self.store.add(answer.history);
        self.status = Some(answer.status);
        if let Some(processes) = answer.processes {
            self.processes = processes;
        }
        self.listeners = answer.listeners.or(self.listeners.take());
        self.lost = None;
        self.version += 1;
    }

    /// Notes that nobody answered; what is known stays.
    pub fn lose(&mut self, now: u64, why: String) {
        let since = self.lost.as_ref().map_or(now, |lost| lost.since);
        self.lost = Some(Lost { since, why });
    }
}
