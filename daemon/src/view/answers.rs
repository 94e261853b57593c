//! The reading side: answers in the shapes of [`netsonde_view::model`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use netsonde_probes::descriptor::{Metric, MetricKind};
use netsonde_probes::signals::dns::metrics::LOOKUP_DURATION;
use netsonde_probes::signals::tcp::metrics as tcp;
use netsonde_view::model::{
    Attributes, Bounds, Dns, FlowFrame, FlowRow, Flows, LookupFrame, LookupRow, Process, Processes,
};
use netsonde_view::quantiles::quantiles;
use netsonde_view::sum::{add_later, add_lookups};

use super::identities::Named;
use super::{ProcessTotals, StoredFrame, View};
use crate::aggregate::process_attributes;
use crate::enrich::Clock;

/// Upper bounds of the histograms in the answers.
#[must_use]
pub fn bounds() -> Bounds {
    let of = |metric: &Metric| match metric.kind {
        MetricKind::Histogram(layout) => layout.bounds_seconds(),
        _ => Vec::new(),
    };
    Bounds {
        rtt: of(&tcp::RTT),
        connect: of(&tcp::CONNECT_DURATION),
        duration: of(&tcp::CONNECTION_DURATION),
        lookup: of(&LOOKUP_DURATION),
    }
}

fn now_ms() -> u64 {
    Clock::read().unix_ns() / 1_000_000
}

/// A [`netsonde_view::model::History`] as JSON, piece by piece: a whole one is ten times as large as what is kept, and readers may be slow.
pub struct HistoryPieces {
    frames: std::vec::IntoIter<Arc<StoredFrame>>,
    flows: BTreeMap<u32, Arc<Named>>,
    lookups: BTreeMap<u32, Arc<Named>>,
    interval: f64,
    part: Part,
}

enum Part {
    Head,
    Frames { first: bool },
    End,
}

impl HistoryPieces {
    /// Everything but the frames and names.
    fn head(&self) -> String {
        let bounds = serde_json::to_string(&bounds()).unwrap_or_default();
        let (time, interval) = (now_ms(), self.interval);
        format!("{{\"time\":{time},\"interval\":{interval},\"bounds\":{bounds},\"frames\":[")
    }

    fn end(&self) -> String {
        let list = |names: &BTreeMap<u32, Arc<Named>>| {
            let named =
                names.values().map(|n| format!("{{\"id\":{},\"attributes\":{}}}", n.id, n.attributes));
            named.collect::<Vec<_>>().join(",")
        };
        format!("],\"flows\":[{}],\"lookups\":[{}]}}\n", list(&self.flows), list(&self.lookups))
    }
}

impl Iterator for HistoryPieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.part {
            Part::Head => {
                self.part = Part::Frames { first: true };
                Some(self.head())
            }
            Part::Frames { first } => {
                let Some(frame) = self.frames.next() else {
                    self.part = Part::End;
                    return Some(self.end());
                };
                self.part = Part::Frames { first: false };
                self.flows.extend(frame.flow_names().map(|named| (named.id, Arc::clone(named))));
                self.lookups.extend(frame.lookup_names().map(|named| (named.id, Arc::clone(named))));
                let json = serde_json::to_string(&frame.unpack()).unwrap_or_default();
                Some(if first { json } else { format!(",{json}") })
            }
            Part::End => None,
        }
    }
}

fn attributes(named: &Named) -> Attributes {
    serde_json::from_str(&named.attributes).unwrap_or_default()
}

/// The first so many, and how many more there were.
fn limited<T>(mut rows: Vec<T>, limit: usize) -> (Vec<T>, u64) {
    let more = rows.len().saturating_sub(limit) as u64;
    rows.truncate(limit);
    (rows, more)
}

impl View {
    /// The intervals that ended after a moment, Unix milliseconds.
    #[must_use]
    pub fn history(&self, since: u64) -> HistoryPieces {
        let (mut frames, interval) = self.frames();
        frames.retain(|frame| frame.time > since);
        HistoryPieces {
            frames: frames.into_iter(),
            flows: BTreeMap::new(),
            lookups: BTreeMap::new(),
            interval,
            part: Part::Head,
        }
    }

    /// A row a flow, those first that moved most in the whole history.
    #[must_use]
    pub fn flows(&self, limit: usize) -> Flows {
        let (frames, _) = self.frames();
        let Some(newest) = frames.last() else { return Flows::default() };
        let mut sums: HashMap<u32, (Arc<Named>, FlowFrame, FlowFrame)> = HashMap::new();
        for frame in &frames {
            for (named, flow) in frame.flows() {
                let (_, last, sum) = sums.entry(named.id).or_insert_with(|| {
                    let none = FlowFrame { id: named.id, ..FlowFrame::default() };
                    (Arc::clone(named), none.clone(), none)
                });
                add_later(sum, &flow);
                if Arc::ptr_eq(frame, newest) {
                    *last = flow;
                }
            }
        }
        let mut sums: Vec<_> = sums.into_values().collect();
        sums.sort_unstable_by_key(|(named, _, sum)| {
            (std::cmp::Reverse(sum.tx.saturating_add(sum.rx)), named.id)
        });
        let (sums, truncated) = limited(sums, limit);
        let bounds = bounds().rtt;
        let rows = sums.into_iter().map(|(named, last, sum)| FlowRow {
            attributes: attributes(&named),
            rtt: quantiles(&sum.rtt, &bounds),
            // Of a flow that is not in the last interval nothing is open.
            sum: FlowFrame { active: last.active, ..sum },
            last,
        });
        Flows { time: newest.time, seconds: newest.seconds, flows: rows.collect(), truncated }
    }

    /// A row a program, name, type and outcome, those first that there were most of.
    #[must_use]
    pub fn dns(&self, limit: usize) -> Dns {
        let (frames, _) = self.frames();
        let Some(newest) = frames.last() else { return Dns::default() };
        let mut sums: HashMap<u32, (Arc<Named>, u64, LookupFrame)> = HashMap::new();
        for frame in &frames {
            for (named, lookup) in frame.lookups() {
                let (_, last, sum) =
                    sums.entry(named.id).or_insert_with(|| (Arc::clone(named), 0, LookupFrame::default()));
                add_lookups(sum, &lookup);
                if Arc::ptr_eq(frame, newest) {
                    *last = lookup.count;
                }
            }
        }
        let mut sums: Vec<_> = sums.into_values().collect();
        sums.sort_unstable_by_key(|(named, _, sum)| (std::cmp::Reverse(sum.count), named.id));
        let (sums, truncated) = limited(sums, limit);
        let bounds = bounds().lookup;
        let rows = sums.into_iter().map(|(named, last, sum)| LookupRow {
            attributes: attributes(&named),
            last,
            sum: sum.count,
            latency: quantiles(&sum.latency, &bounds),
        });
        Dns { time: newest.time, seconds: newest.seconds, lookups: rows.collect(), truncated }
    }

    /// Processes that own sockets, or did, those first that moved most.
    #[must_use]
    pub fn processes(&self, limit: usize) -> Processes {
        let mut all = self.process_totals().to_vec();
        all.sort_by_key(|p| std::cmp::Reverse(p.tx.saturating_add(p.rx)));
        let (shown, truncated) = limited(all, limit);
        let clock = Clock::read();
        let processes = shown.iter().map(|totals| process(totals, &clock)).collect();
        Processes { time: clock.unix_ns() / 1_000_000, processes, truncated }
    }

    /// One process: by its id, or by its pid alone, which is the newest of that number.
    #[must_use]
    pub fn process(&self, id: &str) -> Option<Process> {
        let (pid, started) = match id.split_once('-') {
            Some((pid, started)) => (pid.parse::<u32>().ok()?, Some(started.parse::<u64>().ok()?)),
            None => (id.parse().ok()?, None),
        };
        let all = self.process_totals();
        let of_pid = all.iter().filter(|p| p.process.id.pid == pid);
        let found = of_pid
            .filter(|p| started.is_none_or(|at| p.started == at))
            .max_by_key(|p| p.process.id.start_ns)?;
        Some(process(found, &Clock::read()))
    }
}

fn process(totals: &ProcessTotals, clock: &Clock) -> Process {
    let of = process_attributes(&totals.process, totals.user.as_ref(), clock);
    Process {
        id: format!("{}-{}", totals.process.id.pid, totals.started),
        attributes: super::json::attributes(&of),
        tx: totals.tx.try_into().unwrap_or(0),
        rx: totals.rx.try_into().unwrap_or(0),
        connections: totals.connections,
        active: totals.active,
        failures: totals.failures,
        last: totals.last,
        flows: totals.flows.clone(),
    }
}
