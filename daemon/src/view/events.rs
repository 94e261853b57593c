//! Events as they come, for whoever follows them. Nobody waits for a reader: one that is too slow misses the oldest, and
//! is told how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use netsonde_view::filter::EventFilter;
use netsonde_view::model::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::telemetry::{LogRecord, Severity};

/// Events that wait for the slowest reader; some 3 KiB each, and kept only while there are readers.
const WAITING: usize = 2048;

/// Where events are told, and followed.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<LogRecord>>,
    /// By all readers.
    missed: Arc<AtomicU64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(WAITING), missed: Arc::default() }
    }
}

impl Events {
    /// Tells those who follow. Costs nothing when nobody does.
    pub fn tell(&self, records: &[LogRecord]) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        for record in records {
            // The last reader may just have gone.
            let _ = self.sender.send(Arc::new(record.clone()));
        }
    }

    /// From now on.
    #[must_use]
    pub fn follow(&self, filter: EventFilter) -> Followed {
        Followed { receiver: self.sender.subscribe(), filter, missed: Arc::clone(&self.missed) }
    }

    /// How many follow.
    #[cfg(test)]
    pub fn followers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// How many events readers have missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// Events of one reader.
#[derive(Debug)]
pub struct Followed {
    receiver: broadcast::Receiver<Arc<LogRecord>>,
    filter: EventFilter,
    missed: Arc<AtomicU64>,
}

/// What a reader is told.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// An event that it wants.
    Event(Box<Event>),
    /// So many were not looked at for it: it was too slow.
    Missed(u64),
}

impl Followed {
    /// What comes next; `None` in the end.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            match self.receiver.recv().await {
                Ok(record) => {
                    let event = event(&record);
                    if self.filter.wants(&event.event, &event.attributes) {
                        return Some(Told::Event(Box::new(event)));
                    }
                }
                Err(RecvError::Lagged(n)) => {
                    self.missed.fetch_add(n, Ordering::Relaxed);
                    return Some(Told::Missed(n));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A record as readers get it.
fn event(record: &LogRecord) -> Event {
    let time = Timestamp::from_nanosecond(record.time_unix_ns.into()).unwrap_or_default();
    Event {
        time: format!("{time:.9}"),
        event: record.event.name.to_owned(),
        severity: match record.severity {
            Severity::Info => "INFO",
            Severity::Warn => "WARN",
        }
        .to_owned(),
        body: record.body.clone(),
        attributes: super::json::attributes(&record.attributes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example_record;
    use crate::telemetry::AttributeValue;

    fn records(n: i64) -> Vec<LogRecord> {
        (0..n).map(|port| example_record(vec![("server.port", AttributeValue::Int(port))])).collect()
    }

    fn port(told: Option<Told>) -> Option<u64> {
        match told? {
            Told::Event(event) => event.attributes["server.port"].as_u64(),
            Told::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn each_reader_gets_what_it_wants_from_when_it_came() {
        let events = Events::default();
        events.tell(&records(3));
        let mut all = events.follow(EventFilter::default());
        let one = EventFilter::read([("port".to_owned(), "2".to_owned())], &[]).expect("right");
        let mut one = events.follow(one);
        events.tell(&records(4));
        assert_eq!(port(one.next().await), Some(2));
        for expected in 0..4 {
            assert_eq!(port(all.next().await), Some(expected));
        }
        drop(events);
        assert_eq!((all.next().await, one.next().await), (None, None));
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_many_it_missed() {
        let events = Events::default();
        let mut slow = events.follow(EventFilter::default());
        events.tell(&records(WAITING as i64 + 10));
        assert_eq!(slow.next().await, Some(Told::Missed(10)));
        assert_eq!(port(slow.next().await), Some(10));
        assert_eq!(events.missed(), 10);
    }

    #[tokio::test]
    async fn times_have_nanoseconds() {
        let events = Events::default();
        let mut followed = events.follow(EventFilter::default());
        let record = LogRecord { time_unix_ns: 1_700_000_000_000_000_120, ..example_record(Vec::new()) };
        events.tell(&[record]);
        let Some(Told::Event(event)) = followed.next().await else { panic!("an event") };
        assert_eq!(event.time, "2023-11-14T22:13:20.000000120Z");
        assert_eq!((event.event.as_str(), event.severity.as_str()), ("netsonde.tcp.close", "INFO"));
    }
}
