//! What is open between sweeps: which opening each socket is at, told from events and put right by each sweep.
//!
//! Pure: facts in, openings and closings out. Keeps one entry for each listener. What is stored of them is the
//! history's matter, whether they may listen the judge's.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use lru::LruCache;
use netsonde_audit::model::Listener;
use netsonde_history::{Beginning, BootId, Event, OpeningId};
use netsonde_probes::records::Owner;

use super::judge::Mark;
use crate::history::Known;

/// Listeners that are followed at most; a history keeps as many open ones.
const LIMIT: usize = 1 << 18;
/// Sockets that sweeps have not met any more are remembered for a closing that comes late.
const DEPARTED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Sweeps in a row that did not meet a socket which is gone then: one may miss what moves in the kernel's tables.
const MISSES: u8 = 2;
/// Holders that are told of one listener.
const HOLDERS: usize = 32;

/// A listener that is open.
#[derive(Debug)]
pub struct Opening {
    /// Which opening.
    pub id: OpeningId,
    /// Whether that was seen.
    pub beginning: Beginning,
    /// Whose it is, of sockets that the kernel tells owners of.
    pub owner: Option<Owner>,
    /// How it has been judged.
    pub mark: Mark,
    /// What it looks like, as long as no sweep has met it.
    pub unswept: Option<Box<Listener>>,
    /// Batch of events that told of it.
    batch: u64,
    misses: u8,
}

impl Opening {
    /// The event that told of it came before the kernel had chosen a port: `listen()` without `bind()`.
    #[must_use]
    pub fn lacks_port(&self) -> bool {
        self.unswept.as_deref().is_some_and(|row| row.port.is_none())
    }
}

/// What a sweep found out.
#[derive(Debug, Default)]
pub struct Swept {
    /// Openings that no event told of, or told of in part.
    pub opened: Vec<Event<Box<Listener>>>,
    /// Some are gone whose end no event told of, or some could not be followed: what is open is to be compared.
    pub differs: bool,
}

/// All that is open.
#[derive(Debug)]
pub struct Openings {
    boot: BootId,
    open: HashMap<u64, Opening>,
    departed: LruCache<u64, OpeningId>,
    /// Closed in the newest batch, which is younger than the sweep behind it.
    closed: HashSet<u64>,
    batch: u64,
    untracked: u64,
    limit: usize,
}

impl Openings {
    /// Nothing is known to be open.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            open: HashMap::new(),
            departed: LruCache::new(DEPARTED),
            closed: HashSet::new(),
            batch: 0,
            untracked: 0,
            limit: LIMIT,
        }
    }

    /// Openings and closings from here on came together.
    pub fn begin_batch(&mut self) {
        self.batch += 1;
        self.closed.clear();
    }

    /// Openings that are followed, and at most.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.open.len(), self.limit)
    }

    /// Openings that are not followed because there are too many, since the start.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// The opening of a socket.
    pub fn get_mut(&mut self, cookie: u64) -> Option<&mut Opening> {
        self.open.get_mut(&cookie)
    }

    /// All, by cookie.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&u64, &mut Opening)> {
        self.open.iter_mut()
    }

    /// A socket began to listen at a time in Unix nanoseconds.
    pub fn opened(
        &mut self,
        cookie: u64,
        unix_ns: u64,
        owner: Owner,
        listener: Listener,
    ) -> Event<Box<Listener>> {
        self.closed.remove(&cookie);
        let id = OpeningId { began: unix_ns, boot: self.boot, cookie };
        let listener = Box::new(shortened(listener));
        let opening = Opening {
            id,
            beginning: Beginning::Seen,
            owner: Some(owner),
            mark: Mark::default(),
            unswept: Some(listener.clone()),
            batch: self.batch,
            misses: 0,
        };
        self.insert(cookie, opening);
        Event::Opened { id, beginning: Beginning::Seen, listener }
    }

    /// A socket ceased to listen at a time in Unix nanoseconds, after so many nanoseconds if that is known. One whose
    /// opening was not told of, or was lost, opened as what it is now.
    pub fn closed(
        &mut self,
        cookie: u64,
        at: u64,
        duration_ns: Option<u64>,
        listener: impl FnOnce() -> Listener,
    ) -> Vec<Event<Box<Listener>>> {
        self.closed.insert(cookie);
        let opening = self.open.remove(&cookie);
        if let Some(Opening { id, beginning, .. }) = opening.as_ref().filter(|opening| opening.lacks_port()) {
            let listener = Box::new(shortened(listener()));
            return vec![
                Event::Opened { id: *id, beginning: *beginning, listener },
                Event::Closed { id: *id, at, listener: None },
            ];
        }
        let known = opening.map(|opening| opening.id).or_else(|| self.departed.pop(&cookie));
        if let Some(id) = known {
            return vec![Event::Closed { id, at, listener: None }];
        }
        let listener = Box::new(shortened(listener()));
        let Some(duration_ns) = duration_ns else {
            let id = OpeningId { began: at, boot: self.boot, cookie };
            return vec![Event::Closed { id, at, listener: Some(listener) }];
        };
        let id = OpeningId { began: at.saturating_sub(duration_ns), boot: self.boot, cookie };
        vec![
            Event::Opened { id, beginning: Beginning::Seen, listener },
            Event::Closed { id, at, listener: None },
        ]
    }

    /// What a sweep met, each with its owner if it has one. Of a sweep that was not `complete`, nothing is concluded from
    /// what is not there.
    pub fn swept<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a Listener, Option<Owner>)>,
        complete: bool,
        unix_ns: u64,
    ) -> Swept {
        let mut swept = Swept::default();
        let mut met = HashSet::with_capacity(self.open.len());
        for (row, owner) in rows {
            let Some(cookie) = row.cookie.filter(|cookie| !self.closed.contains(cookie)) else { continue };
            met.insert(cookie);
            if let Some(opening) = self.open.get_mut(&cookie) {
                opening.owner = owner.or(opening.owner);
                if opening.lacks_port() {
                    let (id, beginning) = (opening.id, opening.beginning);
                    let listener = Box::new(shortened(row.clone()));
                    swept.opened.push(Event::Opened { id, beginning, listener });
                }
                opening.unswept = None;
                continue;
            }
            // Of one that was given up, the record has ended: it is found anew.
            let (began, beginning) = match row.opened_unix_ns.filter(|_| !self.departed.contains(&cookie)) {
                Some(opened) => (opened, Beginning::Seen),
                None => (unix_ns, Beginning::Found),
            };
            self.departed.pop(&cookie);
            let id = OpeningId { began, boot: self.boot, cookie };
            let opening = Opening {
                id,
                beginning,
                owner,
                mark: Mark::default(),
                unswept: None,
                batch: self.batch,
                misses: 0,
            };
            if self.insert(cookie, opening) {
                swept.opened.push(Event::Opened {
                    id,
                    beginning,
                    listener: Box::new(shortened(row.clone())),
                });
            }
        }
        if complete {
            swept.differs = self.miss(&met);
        }
        swept
    }

    /// Lets go of what sweeps no longer meet; whether there was any.
    fn miss(&mut self, met: &HashSet<u64>) -> bool {
        let (batch, departed) = (self.batch, &mut self.departed);
        let before = self.open.len();
        self.open.retain(|cookie, opening| {
            if met.contains(cookie) {
                opening.misses = 0;
                return true;
            }
            // The newest batch is younger than the sweep.
            if opening.batch < batch {
                opening.misses += 1;
            }
            let stays = opening.misses < MISSES;
            if !stays {
                departed.put(*cookie, opening.id);
            }
            stays
        });
        self.open.len() < before
    }

    fn insert(&mut self, cookie: u64, opening: Opening) -> bool {
        if self.open.len() >= self.limit && !self.open.contains_key(&cookie) {
            self.untracked += 1;
            return false;
        }
        self.open.insert(cookie, opening);
        true
    }

    /// All that is open, with what a sweep found of it.
    #[must_use]
    pub fn all<'a>(&self, rows: impl Iterator<Item = &'a Listener>) -> Vec<Known> {
        let swept = rows.filter_map(|row| {
            let opening = self.open.get(&row.cookie?).filter(|opening| opening.unswept.is_none())?;
            Some((opening, Box::new(shortened(row.clone()))))
        });
        let unswept = self.open.values().filter_map(|opening| Some((opening, opening.unswept.clone()?)));
        swept
            .chain(unswept)
            .map(|(opening, listener)| Known { id: opening.id, beginning: opening.beginning, listener })
            .collect()
    }
}

/// Without what would make the row of a listener with many holders long: parents are told of the first of them, and of
/// who opened it if that is another.
fn shortened(mut listener: Listener) -> Listener {
    listener.holders.truncate(HOLDERS);
    for holder in listener.holders.iter_mut().skip(1) {
        holder.ancestors.clear();
    }
    if let (Some(opener), Some(first)) = (&mut listener.opened_by, listener.holders.first())
        && (opener.pid, opener.started_unix_ns) == (first.pid, first.started_unix_ns)
    {
        opener.ancestors.clear();
    }
    listener
}

#[cfg(test)]
mod tests {
    use netsonde_audit::model::{Ancestor, Process, Transport};
    use netsonde_probes::records::ProcessId;

    use super::*;

    const BOOT: BootId = BootId([1; 16]);
    const OWNER: Owner = Owner { process: ProcessId { pid: 9, start_ns: 1 }, image: 0, uid: 0 };

    fn row(cookie: u64) -> Listener {
        Listener { cookie: Some(cookie), ..Listener::new(Transport::Tcp, None, Some(23)) }
    }

    fn id(began: u64, cookie: u64) -> OpeningId {
        OpeningId { began, boot: BOOT, cookie }
    }

    /// Each event as its id and, of a closing, the time.
    fn told(events: &[Event<Box<Listener>>]) -> Vec<(OpeningId, Option<u64>)> {
        let one = |event: &Event<Box<Listener>>| match event {
            Event::Opened { id, .. } => (*id, None),
            Event::Closed { id, at, .. } => (*id, Some(*at)),
        };
        events.iter().map(one).collect()
    }

    fn sweep(openings: &mut Openings, cookies: &[u64], at: u64) -> Swept {
        let rows: Vec<Listener> = cookies.iter().map(|cookie| row(*cookie)).collect();
        openings.swept(rows.iter().map(|row| (row, Some(OWNER))), true, at)
    }

    #[test]
    fn an_opening_and_its_closing_have_one_id() {
        let mut openings = Openings::new(BOOT);
        openings.begin_batch();
        assert_eq!(told(&[openings.opened(7, 100, OWNER, row(7))]), [(id(100, 7), None)]);
        assert_eq!(told(&openings.closed(7, 105, Some(4), || row(7))), [(id(100, 7), Some(105))]);
    }

    #[test]
    fn a_closing_whose_opening_was_lost_tells_both() {
        let mut openings = Openings::new(BOOT);
        let events = openings.closed(7, 105, Some(5), || row(7));
        assert_eq!(told(&events), [(id(100, 7), None), (id(100, 7), Some(105))]);
        let events = openings.closed(8, 105, None, || row(8));
        assert!(
            matches!(&events[..], [Event::Closed { listener: Some(_), .. }]),
            "when it opened is not known"
        );
    }

    #[test]
    fn a_sweep_makes_good_what_no_event_told_of() {
        let mut openings = Openings::new(BOOT);
        openings.begin_batch();
        assert_eq!(told(&sweep(&mut openings, &[7], 200).opened), [(id(200, 7), None)]);
        assert!(sweep(&mut openings, &[7], 300).opened.is_empty());
        let lost = Listener { opened_unix_ns: Some(250), ..row(8) };
        let swept = openings.swept([(&row(7), None), (&lost, None)].into_iter(), true, 300);
        assert_eq!(told(&swept.opened), [(id(250, 8), None)], "the kernel knows when");
    }

    #[test]
    fn a_sweep_does_not_open_again_what_closed_after_it() {
        let mut openings = Openings::new(BOOT);
        openings.begin_batch();
        openings.opened(7, 100, OWNER, row(7));
        openings.begin_batch();
        openings.closed(7, 105, Some(5), || row(7));
        assert!(sweep(&mut openings, &[7], 110).opened.is_empty());
        // Nor is one gone that opened after the sweep.
        openings.opened(8, 108, OWNER, row(8));
        for at in 0..5 {
            assert!(!sweep(&mut openings, &[], 110 + at).differs);
        }
    }

    #[test]
    fn what_two_sweeps_miss_is_gone_until_it_is_met_again_or_closes() {
        let mut openings = Openings::new(BOOT);
        openings.begin_batch();
        openings.opened(7, 100, OWNER, row(7));
        openings.begin_batch();
        assert!(!sweep(&mut openings, &[], 200).differs);
        let incomplete = openings.swept(std::iter::empty(), false, 210);
        assert!(!incomplete.differs);
        assert!(sweep(&mut openings, &[], 220).differs);
        assert!(openings.all(std::iter::empty()).is_empty());
        assert_eq!(told(&sweep(&mut openings, &[7], 230).opened), [(id(230, 7), None)], "found anew");
        sweep(&mut openings, &[], 240);
        sweep(&mut openings, &[], 250);
        openings.begin_batch();
        sweep(&mut openings, &[], 260);
        sweep(&mut openings, &[], 270);
        assert_eq!(told(&openings.closed(7, 280, Some(1), || row(7))), [(id(230, 7), Some(280))]);
    }

    #[test]
    fn a_port_that_the_kernel_chose_late_is_told_by_the_sweep_or_the_closing() {
        let mut openings = Openings::new(BOOT);
        let without = |cookie| Listener { port: None, automatic_port: Some(true), ..row(cookie) };
        openings.begin_batch();
        openings.opened(7, 100, OWNER, without(7));
        openings.opened(8, 100, OWNER, without(8));
        openings.begin_batch();
        assert_eq!(told(&sweep(&mut openings, &[7], 110).opened), [(id(100, 7), None)]);
        assert!(sweep(&mut openings, &[7], 120).opened.is_empty());
        // Two sweeps have missed the other.
        openings.opened(8, 125, OWNER, without(8));
        let events = openings.closed(8, 130, Some(5), || row(8));
        assert_eq!(told(&events), [(id(125, 8), None), (id(125, 8), Some(130))]);
        assert!(matches!(&events[0], Event::Opened { listener, .. } if listener.port == Some(23)));
        assert_eq!(told(&openings.closed(7, 130, Some(30), || row(7))), [(id(100, 7), Some(130))]);
    }

    #[test]
    fn all_that_is_open_is_what_was_swept_and_what_opened_since() {
        let mut openings = Openings::new(BOOT);
        openings.begin_batch();
        let rows = [row(7)];
        openings.swept(rows.iter().map(|row| (row, None)), true, 200);
        openings.opened(8, 210, OWNER, row(8));
        let mut all: Vec<OpeningId> = openings.all(rows.iter()).iter().map(|known| known.id).collect();
        all.sort_unstable();
        assert_eq!(all, [id(200, 7), id(210, 8)]);
    }

    #[test]
    fn more_than_can_be_followed_are_counted() {
        let mut openings = Openings { limit: 1, ..Openings::new(BOOT) };
        openings.opened(7, 100, OWNER, row(7));
        openings.opened(8, 100, OWNER, row(8));
        assert_eq!(openings.untracked(), 1);
        assert_eq!(
            told(&openings.closed(8, 103, Some(3), || row(8))).len(),
            2,
            "its closing tells both again"
        );
    }

    #[test]
    fn many_holders_make_no_long_row() {
        let process = |pid| Process { pid, ancestors: vec![Ancestor::default()], ..Process::default() };
        let holders: Vec<Process> = (1..100).map(process).collect();
        let short = shortened(Listener { holders, opened_by: Some(process(1)), ..row(7) });
        assert_eq!(short.holders.len(), HOLDERS);
        let parents: usize = short.holders.iter().map(|holder| holder.ancestors.len()).sum();
        assert_eq!((parents, short.opened_by.map(|by| by.ancestors.len())), (1, Some(0)));
    }
}
