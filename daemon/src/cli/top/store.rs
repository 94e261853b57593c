//! The intervals that were read, an hour of them at most: what flows and lookups come to within a window.
//!
//! Owns the arithmetic over intervals. What becomes a row, and how it looks, is the tables' matter.

use std::collections::{HashMap, VecDeque};

use netsonde_view::model::{
    Attributes, Bounds, FlowFrame, FlowIdentity, Frame, History, LookupFrame, LookupIdentity,
};
use netsonde_view::sum::{add_later, add_lookups};

/// Milliseconds of an hour.
const HOUR: u64 = 3_600_000;

/// Flows and lookups of all intervals together, at most: some 100 MB. The oldest intervals go first.
const MOST_ENTRIES: usize = 400_000;

/// Which intervals count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Window {
    /// The last one.
    Interval,
    /// Those of the last minute.
    #[default]
    Minute,
    /// All that are there.
    Hour,
}

impl Window {
    /// The next longer one; after the longest the shortest.
    pub fn next(self) -> Self {
        match self {
            Self::Interval => Self::Minute,
            Self::Minute => Self::Hour,
            Self::Hour => Self::Interval,
        }
    }

    fn milliseconds(self) -> u64 {
        match self {
            Self::Interval => 1,
            Self::Minute => 60_000,
            Self::Hour => HOUR,
        }
    }
}

/// What something is, as long as an interval names it.
#[derive(Debug)]
struct Known {
    attributes: Attributes,
    uses: usize,
}

/// Of one kind.
type Directory = HashMap<u32, Known>;

/// The intervals, and what they are of.
#[derive(Debug, Default)]
pub struct Store {
    bounds: Bounds,
    interval: f64,
    flows: Directory,
    lookups: Directory,
    frames: VecDeque<Frame>,
    entries: usize,
}

/// Bytes a second at a time, sent and received.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// Sent.
    pub tx: f64,
    /// Received.
    pub rx: f64,
}

impl Store {
    /// Takes over what an answer has beyond what is known.
    pub fn add(&mut self, history: History) {
        let newest = self.newest();
        (self.bounds, self.interval) = (history.bounds, history.interval);
        let mut flows: HashMap<u32, Attributes> =
            history.flows.into_iter().map(|FlowIdentity { id, attributes }| (id, attributes)).collect();
        let mut lookups: HashMap<u32, Attributes> =
            history.lookups.into_iter().map(|LookupIdentity { id, attributes }| (id, attributes)).collect();
        for frame in history.frames {
            if newest.is_some_and(|newest| frame.time <= newest) {
                continue;
            }
            for flow in &frame.flows {
                enter(&mut self.flows, flow.id, &mut flows);
            }
            for lookup in &frame.lookups {
                enter(&mut self.lookups, lookup.id, &mut lookups);
            }
            self.entries += frame.flows.len() + frame.lookups.len();
            self.frames.push_back(frame);
        }
        self.shorten();
    }

    fn shorten(&mut self) {
        let oldest = self.newest().unwrap_or_default().saturating_sub(HOUR);
        while self.frames.len() > 1
            && self.frames.front().is_some_and(|f| f.time <= oldest || self.entries > MOST_ENTRIES)
        {
            let Some(frame) = self.frames.pop_front() else { return };
            self.entries -= frame.flows.len() + frame.lookups.len();
            frame.flows.iter().for_each(|flow| leave(&mut self.flows, flow.id));
            frame.lookups.iter().for_each(|lookup| leave(&mut self.lookups, lookup.id));
        }
    }

    /// When the newest interval ended.
    pub fn newest(&self) -> Option<u64> {
        self.frames.back().map(|frame| frame.time)
    }

    /// How many intervals are there.
    pub fn intervals(&self) -> usize {
        self.frames.len()
    }

    /// Seconds from one interval to the next.
    pub fn interval(&self) -> f64 {
        self.interval
    }

    /// Upper bounds of the histograms.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What a flow is.
    pub fn flow(&self, id: u32) -> Option<&Attributes> {
        self.flows.get(&id).map(|known| &known.attributes)
    }

    /// What a series of lookups is.
    pub fn lookup(&self, id: u32) -> Option<&Attributes> {
        self.lookups.get(&id).map(|known| &known.attributes)
    }

    fn within(&self, window: Window) -> impl Iterator<Item = &Frame> {
        let after = self.newest().unwrap_or_default().saturating_sub(window.milliseconds());
        self.frames.iter().skip_while(move |frame| frame.time <= after)
    }

    /// How many seconds the window's intervals cover.
    pub fn seconds(&self, window: Window) -> f64 {
        self.within(window).map(|frame| frame.seconds).sum()
    }

    /// What each flow did within a window. What is open is as of the last interval.
    pub fn flow_sums(&self, window: Window) -> Vec<FlowFrame> {
        let mut sums: HashMap<u32, FlowFrame> = HashMap::new();
        for frame in self.within(window) {
            for flow in &frame.flows {
                let sum =
                    sums.entry(flow.id).or_insert_with(|| FlowFrame { id: flow.id, ..FlowFrame::default() });
                add_later(sum, flow);
            }
        }
        let last: HashMap<u32, u64> =
            self.frames.back().iter().flat_map(|f| &f.flows).map(|flow| (flow.id, flow.active)).collect();
        for sum in sums.values_mut() {
            // An interval names each flow that has open connections.
            sum.active = last.get(&sum.id).copied().unwrap_or(0);
        }
        sums.into_values().collect()
    }

    /// What one flow did within a window. What is open is as of the last interval.
    pub fn flow_sum(&self, window: Window, id: u32) -> FlowFrame {
        let mut sum = FlowFrame { id, ..FlowFrame::default() };
        for frame in self.within(window) {
            sum.active = 0;
            if let Some(flow) = frame.flows.iter().find(|flow| flow.id == id) {
                add_later(&mut sum, flow);
            }
        }
        sum
    }

    /// What became of one series of lookups within a window.
    pub fn lookup_sum(&self, window: Window, id: u32) -> LookupFrame {
        let mut sum = LookupFrame { id, ..LookupFrame::default() };
        let lookups = self.within(window).flat_map(|frame| &frame.lookups);
        lookups.filter(|lookup| lookup.id == id).for_each(|lookup| add_lookups(&mut sum, lookup));
        sum
    }

    /// What became of each series of lookups within a window.
    pub fn lookup_sums(&self, window: Window) -> Vec<LookupFrame> {
        let mut sums: HashMap<u32, LookupFrame> = HashMap::new();
        for lookup in self.within(window).flat_map(|frame| &frame.lookups) {
            let sum = sums
                .entry(lookup.id)
                .or_insert_with(|| LookupFrame { id: lookup.id, ..LookupFrame::default() });
            add_lookups(sum, lookup);
        }
        sums.into_values().collect()
    }

    /// How fast some flows were, over so many seconds before the newest interval's end at least, in so many steps, the
    /// oldest first. A step is no shorter than an interval; where nothing was read, there is 0.
    pub fn rates(&self, steps: usize, seconds: f64, is_shown: impl Fn(u32) -> bool) -> Vec<Rate> {
        let Some(newest) = self.newest() else { return vec![Rate::default(); steps] };
        let step = (seconds / steps.max(1) as f64).max(self.interval) * 1000.0;
        let mut sums = vec![(Rate::default(), 0.0); steps];
        for frame in self.frames.iter().rev() {
            let back = ((newest - frame.time) as f64 / step) as usize;
            let Some(at) = steps.checked_sub(back + 1) else { break };
            let (rate, covered) = &mut sums[at];
            for flow in frame.flows.iter().filter(|flow| is_shown(flow.id)) {
                rate.tx += flow.tx as f64;
                rate.rx += flow.rx as f64;
            }
            *covered += frame.seconds;
        }
        let a_second = |(rate, covered): (Rate, f64)| match covered {
            covered if covered > 0.0 => Rate { tx: rate.tx / covered, rx: rate.rx / covered },
            _ => Rate::default(),
        };
        sums.into_iter().map(a_second).collect()
    }
}

fn enter(known: &mut Directory, id: u32, told: &mut HashMap<u32, Attributes>) {
    let entry = known.entry(id).or_insert_with(|| Known { attributes: Attributes::new(), uses: 0 });
    // What was told last is right: a name may become known later.
    if let Some(attributes) = told.remove(&id) {
        entry.attributes = attributes;
    }
    entry.uses += 1;
}

fn leave(known: &mut Directory, id: u32) {
    if let Some(entry) = known.get_mut(&id) {
        entry.uses -= 1;
        if entry.uses == 0 {
            known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(id: u32, tx: u64, active: u64) -> FlowFrame {
        FlowFrame { id, tx, rx: 10 * tx, active, ..FlowFrame::default() }
    }

    fn frame(time: u64, flows: Vec<FlowFrame>) -> Frame {
        Frame { time, seconds: 10.0, flows, lookups: Vec::new() }
    }

    fn history(frames: Vec<Frame>) -> History {
        let identity = |id| FlowIdentity { id, attributes: [("id".to_owned(), id.into())].into() };
        History { interval: 10.0, flows: (0..10).map(identity).collect(), frames, ..History::default() }
    }

    fn sum(store: &Store, window: Window, id: u32) -> Option<(u64, u64)> {
        let found = store.flow_sums(window).into_iter().find(|sum| sum.id == id);
        assert_eq!(
            found.clone().unwrap_or(FlowFrame { id, ..FlowFrame::default() }),
            store.flow_sum(window, id)
        );
        found.map(|sum| (sum.tx, sum.active))
    }

    #[test]
    fn windows_reach_back_from_the_newest_interval() {
        let mut store = Store::default();
        let frames = (1..=20).map(|n| frame(n * 10_000, vec![flow(1, n, 2)])).collect();
        store.add(history(frames));
        assert_eq!(sum(&store, Window::Interval, 1), Some((20, 2)));
        assert_eq!(sum(&store, Window::Minute, 1), Some(((15..=20).sum(), 2)));
        assert_eq!(sum(&store, Window::Hour, 1), Some(((1..=20).sum(), 2)));
        assert_eq!(
            [Window::Interval, Window::Minute, Window::Hour].map(|w| store.seconds(w)),
            [10.0, 60.0, 200.0]
        );
    }

    #[test]
    fn an_interval_counts_once_however_often_it_is_told() {
        let mut store = Store::default();
        store.add(history(vec![frame(10_000, vec![flow(1, 5, 1)])]));
        store.add(history(vec![frame(10_000, vec![flow(1, 5, 1)]), frame(20_000, vec![flow(2, 7, 1)])]));
        assert_eq!(sum(&store, Window::Hour, 1), Some((5, 0)), "nothing of it is open in the last interval");
        assert_eq!(sum(&store, Window::Hour, 2), Some((7, 1)));
        assert_eq!(store.newest(), Some(20_000));
    }

    #[test]
    fn what_no_interval_names_is_forgotten() {
        let mut store = Store::default();
        store.add(history(vec![frame(10_000, vec![flow(1, 5, 1)])]));
        assert!(store.flow(1).is_some() && store.flow(2).is_none());
        store.add(history(vec![frame(HOUR + 10_000, vec![flow(2, 5, 1)])]));
        assert!(store.flow(1).is_none() && store.flow(2).is_some());
        assert_eq!((store.frames.len(), store.entries), (1, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut store = Store::default();
        let many = || (0..150_000).map(|id| flow(id, 1, 0)).collect();
        store.add(history((1..=4).map(|n| frame(n * 10_000, many())).collect()));
        assert_eq!((store.frames.len(), store.entries), (2, 300_000));
        assert_eq!(sum(&store, Window::Hour, 7), Some((2, 0)));
    }

    #[test]
    fn rates_are_of_whom_they_are_asked_for() {
        let mut store = Store::default();
        let frames =
            (1..=4).map(|n| frame(n * 10_000, vec![flow(1, n * 100, 0), flow(2, 1_000, 0)])).collect();
        store.add(history(frames));
        let tx = |steps, seconds, id| -> Vec<f64> {
            store.rates(steps, seconds, |flow| flow == id).iter().map(|rate| rate.tx).collect()
        };
        assert_eq!(tx(6, 60.0, 1), [0.0, 0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(tx(2, 1.0, 1), [30.0, 40.0], "no step is shorter than an interval");
        assert_eq!(tx(2, 40.0, 1), [15.0, 35.0]);
        assert_eq!(store.rates(1, 10.0, |_| true), [Rate { tx: 140.0, rx: 1400.0 }]);
        assert_eq!(Store::default().rates(2, 60.0, |_| true), [Rate::default(); 2]);
    }
}
