//! What listens now: what the last sweep found, with what has opened and closed since by the kernel's events.
//!
//! A sweep knows more of a socket than the event of its opening, and its row takes the event's place. It is not of one
//! moment, though: a socket that it saw may have closed before it is handed on, and it may have passed where one opened
//! a moment later. So the rows of events outlive one sweep that does not have them, and what closed since the sweep
//! before is left out of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use netsonde_audit::compact;
use netsonde_audit::model::Listener;
use netsonde_audit::policy::{Policy, Verdict};

/// Closings that are remembered at least; twice as many at most. More in a sweep's time than that show for one sweep.
const CLOSINGS: usize = 32_768;

/// What listened at one time, for many readers.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// When it was read or changed last: nanoseconds since 1970, UTC.
    pub taken_unix_ns: u64,
    /// Each socket once, in no order.
    pub listeners: Vec<Arc<Listener>>,
    /// Sockets for which there was no room.
    pub truncated: u64,
    policy: Arc<Policy>,
    compact: OnceLock<Bytes>,
}

impl Snapshot {
    /// What the rules in force say of a listener; nothing when there are none, as everything may listen then.
    #[must_use]
    pub fn verdict(&self, listener: &Listener) -> Option<Verdict> {
        (*self.policy != Policy::default()).then(|| self.policy.judge(listener))
    }

    /// As [`compact::write`] has it; written once, whoever asks for it how often.
    ///
    /// # Errors
    ///
    /// Those of writing it.
    pub fn compact(&self) -> serde_json::Result<Bytes> {
        if let Some(written) = self.compact.get() {
            return Ok(written.clone());
        }
        let listeners = self.listeners.iter().map(Arc::as_ref);
        let written = compact::write(self.taken_unix_ns, self.truncated, listeners)?;
        Ok(self.compact.get_or_init(|| written.into()).clone())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Sweep,
    /// An event, after the last sweep was handed on.
    Event,
    /// An event before that sweep, which does not have it.
    Doubtful,
}

/// The sockets, by cookie.
#[derive(Debug)]
pub struct Live {
    limit: usize,
    rows: HashMap<u64, (Origin, Arc<Listener>)>,
    closed: [HashSet<u64>; 2],
    truncated: u64,
    policy: Arc<Policy>,
    changed: bool,
}

impl Live {
    /// Nothing, with room for so many.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            rows: HashMap::new(),
            closed: Default::default(),
            truncated: 0,
            policy: Arc::default(),
            changed: false,
        }
    }

    /// Changes how many there is room for; those that are too many go with the next sweep.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Changes what readers are told that the rules say.
    pub fn set_policy(&mut self, policy: &Policy) {
        if *self.policy != *policy {
            (self.policy, self.changed) = (Arc::new(policy.clone()), true);
        }
    }

    /// Rows, and at most.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.rows.len(), self.limit)
    }

    /// How many there is room for.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A socket has opened. One that is known already keeps its row, which is from a sweep and knows more.
    pub fn opened(&mut self, cookie: u64, row: impl FnOnce() -> Listener) {
        // listen() after shutdown(): the same socket once more.
        for closed in &mut self.closed {
            closed.remove(&cookie);
        }
        if self.rows.contains_key(&cookie) {
            return;
        }
        self.changed = true;
        if self.rows.len() >= self.limit {
            self.truncated += 1;
            return;
        }
        self.rows.insert(cookie, (Origin::Event, Arc::new(row())));
    }

    /// A socket has closed.
    pub fn closed(&mut self, cookie: u64) {
        self.changed |= self.rows.remove(&cookie).is_some();
        let [newer, older] = &mut self.closed;
        newer.insert(cookie);
        if newer.len() >= CLOSINGS {
            *older = std::mem::take(newer);
        }
    }

    /// A sweep found these, and `truncated` more. Sockets without a cookie are left out: there are none.
    pub fn swept(&mut self, found: Vec<Listener>, truncated: u64) {
        let closed = std::mem::take(&mut self.closed);
        let before = std::mem::take(&mut self.rows);
        self.truncated = truncated;
        self.changed = true;
        for listener in found {
            match listener.cookie {
                Some(cookie) if !closed.iter().any(|closed| closed.contains(&cookie)) => {
                    self.rows.insert(cookie, (Origin::Sweep, Arc::new(listener)));
                }
                _ => {}
            }
        }
        for (cookie, (origin, listener)) in before {
            if origin == Origin::Event && !self.rows.contains_key(&cookie) && self.rows.len() < self.limit {
                self.rows.insert(cookie, (Origin::Doubtful, listener));
            }
        }
    }

    /// What listens now, if that has changed since it was asked for last.
    pub fn changes(&mut self, now_unix_ns: u64) -> Option<Snapshot> {
        std::mem::take(&mut self.changed).then(|| Snapshot {
            taken_unix_ns: now_unix_ns,
            listeners: self.rows.values().map(|(_, listener)| Arc::clone(listener)).collect(),
            truncated: self.truncated,
            policy: Arc::clone(&self.policy),
            compact: OnceLock::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use netsonde_audit::model::Transport;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn row(cookie: u64, port: u16) -> Listener {
        Listener { cookie: Some(cookie), ..Listener::new(Transport::Tcp, None, Some(port)) }
    }

    fn shown(live: &mut Live) -> Vec<(u64, u16)> {
        live.changed = true;
        let snapshot = live.changes(1).expect("it has changed");
        let mut all: Vec<_> =
            snapshot.listeners.iter().map(|l| (l.cookie.unwrap_or(0), l.port.unwrap_or(0))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_opened_and_closed_between_sweeps_is_known_at_once() {
        let mut live = Live::new(10);
        live.swept(vec![row(1, 80), row(2, 443)], 0);
        live.opened(3, || row(3, 22));
        live.closed(1);
        assert_eq!(shown(&mut live), [(2, 443), (3, 22)]);
    }

    #[test]
    fn what_closed_after_a_sweep_saw_it_does_not_come_back() {
        let mut live = Live::new(10);
        live.opened(1, || row(1, 80));
        live.closed(1);
        live.swept(vec![row(1, 80)], 0);
        assert_eq!(shown(&mut live), []);
    }

    #[test]
    fn what_opened_behind_a_sweep_outlives_that_one_and_not_the_next() {
        let mut live = Live::new(10);
        live.opened(1, || row(1, 80));
        live.swept(Vec::new(), 0);
        assert_eq!(shown(&mut live), [(1, 80)]);
        live.swept(Vec::new(), 0);
        assert_eq!(shown(&mut live), [], "its closing was lost");
    }

    #[test]
    fn a_sweep_knows_more_than_an_event() {
        let mut live = Live::new(10);
        live.opened(1, || row(1, 80));
        live.swept(vec![row(1, 81)], 0);
        live.opened(1, || unreachable!("it is known"));
        assert_eq!(shown(&mut live), [(1, 81)]);
    }

    #[test]
    fn a_socket_that_listens_once_more_is_back() {
        let mut live = Live::new(10);
        live.swept(vec![row(1, 80)], 0);
        live.closed(1);
        live.opened(1, || row(1, 80));
        live.swept(vec![row(1, 80)], 0);
        assert_eq!(shown(&mut live), [(1, 80)]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut live = Live::new(2);
        live.swept(vec![row(1, 80), row(2, 81)], 5);
        live.opened(3, || unreachable!("there is no room"));
        assert_eq!(
            live.changes(7).map(|s| (s.taken_unix_ns, s.listeners.len(), s.truncated)),
            Some((7, 2, 6))
        );
        assert!(live.changes(8).is_none(), "nothing has changed");
        live.swept(vec![row(1, 80)], 0);
        assert_eq!(live.changes(9).map(|s| s.truncated), Some(0));
    }

    #[test]
    fn closings_are_bounded() {
        let mut live = Live::new(2);
        for cookie in 0..10 * CLOSINGS as u64 {
            live.closed(cookie);
        }
        assert!(live.closed.iter().map(HashSet::len).sum::<usize>() <= 2 * CLOSINGS);
    }

    #[test]
    fn a_snapshot_is_written_once() {
        let mut live = Live::new(2);
        live.swept(vec![row(1, 80)], 3);
        let snapshot = live.changes(7).expect("it has changed");
        let written = snapshot.compact().expect("JSON");
        assert_eq!(written.as_ptr(), snapshot.compact().expect("JSON").as_ptr());
        let read = compact::read(&written).expect("our own");
        assert_eq!((read.taken_unix_ns, read.truncated, read.listeners), (7, 3, vec![row(1, 80)]));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open(u64),
        Close(u64),
        Sweep,
    }

    proptest! {
        /// Sockets open and close, each cookie once, and no event is lost: what is shown is what is there, after any
        /// number of sweeps, and of openings and closings within a sweep.
        #[test]
        fn without_losses_it_is_always_right(
            steps in vec(prop_oneof![
                (0_u64..8).prop_map(Step::Open), (0_u64..8).prop_map(Step::Close), Just(Step::Sweep),
            ], 0..40),
            seen_late in vec(any::<bool>(), 40),
        ) {
            let (mut live, mut there, mut ended) = (Live::new(100), HashSet::new(), HashSet::new());
            // What the sweep under way has found, before the events of its time are handed on.
            let mut sweep: Vec<u64> = Vec::new();
            for (step, late) in steps.into_iter().zip(seen_late) {
                match step {
                    Step::Open(cookie) if !ended.contains(&cookie) && there.insert(cookie) => {
                        live.opened(cookie, || row(cookie, 1));
                        if late {
                            sweep.push(cookie);
                        }
                    }
                    Step::Close(cookie) if there.remove(&cookie) => {
                        ended.insert(cookie);
                        live.closed(cookie);
                    }
                    Step::Sweep => {
                        live.swept(std::mem::take(&mut sweep).into_iter().map(|cookie| row(cookie, 1)).collect(), 0);
                        sweep = there.iter().copied().collect();
                    }
                    Step::Open(_) | Step::Close(_) => {}
                }
                let mut expected: Vec<u64> = there.iter().copied().collect();
                expected.sort_unstable();
                let found: Vec<u64> = shown(&mut live).into_iter().map(|(cookie, _)| cookie).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
