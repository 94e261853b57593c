//! Intervals as they are kept: packed, because an hour of them has hundreds of thousands of entries, nearly all of them
//! small numbers or zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use netsonde_view::model::{Buckets, FlowFrame, Frame, LookupFrame};

use super::identities::Named;

/// What an interval takes besides its entries.
const FRAME_BYTES: u64 = 160;

/// One interval.
#[derive(Debug)]
pub struct StoredFrame {
    /// When it ended, Unix milliseconds.
    pub time: u64,
    /// How long it was.
    pub seconds: f64,
    /// Who measured something, and what, in the same order.
    busy: Box<[Arc<Named>]>,
    measured: Box<[u8]>,
    /// Who has only connections open, and how many.
    idle: Box<[(Arc<Named>, u32)]>,
    /// What was looked up, and how that ended, in the same order.
    asked: Box<[Arc<Named>]>,
    lookups: Box<[u8]>,
}

/// What a flow measured, and who it is.
pub type Measured = (Arc<Named>, FlowFrame);
/// How lookups ended, and what they are.
pub type Answered = (Arc<Named>, LookupFrame);

type Counts = BTreeMap<String, u64>;
type Packed<'a> = ([u64; 10], &'a Counts, &'a Counts, &'a Buckets, &'a Buckets, &'a Buckets);
type Unpacked = ([u64; 10], Counts, Counts, Buckets, Buckets, Buckets);

fn packed(f: &FlowFrame) -> Packed<'_> {
    let numbers = [
        f.tx,
        f.rx,
        f.tx_packets,
        f.rx_packets,
        f.retransmits,
        f.opened,
        f.accepted,
        f.closed,
        f.active,
        f.resets,
    ];
    (numbers, &f.failures, &f.drops, &f.rtt, &f.connect, &f.duration)
}

fn unpacked(id: u32, (numbers, failures, drops, rtt, connect, duration): Unpacked) -> FlowFrame {
    let [tx, rx, tx_packets, rx_packets, retransmits, opened, accepted, closed, active, resets] = numbers;
    FlowFrame {
        id,
        tx,
        rx,
        tx_packets,
        rx_packets,
        retransmits,
        opened,
        accepted,
        closed,
        active,
        failures,
        resets,
        drops,
        rtt,
        connect,
        duration,
    }
}

/// Appends a value. That cannot fail: there is no limit, and nothing of an unknown length.
fn push(bytes: &mut Vec<u8>, value: &impl serde::Serialize) {
    if let Ok(more) = postcard::to_extend(value, std::mem::take(bytes)) {
        *bytes = more;
    }
}

impl StoredFrame {
    /// Packs an interval. What a flow's frame says of its number is not read.
    #[must_use]
    pub fn new(time: u64, seconds: f64, flows: Vec<Measured>, lookups: Vec<Answered>) -> Self {
        let (mut busy, mut idle, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for (named, flow) in flows {
            let only_open = FlowFrame { id: flow.id, active: flow.active, ..FlowFrame::default() };
            match u32::try_from(flow.active) {
                Ok(active) if flow == only_open => idle.push((named, active)),
                _ => {
                    push(&mut measured, &packed(&flow));
                    busy.push(named);
                }
            }
        }
        let (mut asked, mut answers) = (Vec::with_capacity(lookups.len()), Vec::new());
        for (named, lookup) in lookups {
            push(&mut answers, &(lookup.count, &lookup.latency));
            asked.push(named);
        }
        Self {
            time,
            seconds,
            busy: busy.into(),
            measured: measured.into(),
            idle: idle.into(),
            asked: asked.into(),
            lookups: answers.into(),
        }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let packed = self.measured.len() + self.lookups.len();
        let pointers = size_of_val(&*self.busy) + size_of_val(&*self.idle) + size_of_val(&*self.asked);
        FRAME_BYTES + (packed + pointers) as u64
    }

    /// Its flows, each with who it is.
    pub fn flows(&self) -> impl Iterator<Item = (&Arc<Named>, FlowFrame)> {
        let mut rest = &*self.measured;
        let busy = self.busy.iter().map_while(move |named| {
            let (flow, left) = postcard::take_from_bytes::<Unpacked>(rest).ok()?;
            rest = left;
            Some((named, unpacked(named.id, flow)))
        });
        let idle = self.idle.iter().map(|(named, active)| {
            (named, FlowFrame { id: named.id, active: u64::from(*active), ..FlowFrame::default() })
        });
        busy.chain(idle)
    }

    /// Its lookups, each with what it is.
    pub fn lookups(&self) -> impl Iterator<Item = (&Arc<Named>, LookupFrame)> {
        let mut rest = &*self.lookups;
        self.asked.iter().map_while(move |named| {
            let ((count, latency), left) = postcard::take_from_bytes::<(u64, Buckets)>(rest).ok()?;
            rest = left;
            Some((named, LookupFrame { id: named.id, count, latency }))
        })
    }

    /// Its flows by name only.
    pub fn flow_names(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.busy.iter().chain(self.idle.iter().map(|(named, _)| named))
    }

    /// Its lookups likewise.
    pub fn lookup_names(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.asked.iter()
    }

    /// As readers get it.
    #[must_use]
    pub fn unpack(&self) -> Frame {
        Frame {
            time: self.time,
            seconds: self.seconds,
            flows: self.flows().map(|(_, flow)| flow).collect(),
            lookups: self.lookups().map(|(_, lookup)| lookup).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(id: u32) -> Arc<Named> {
        Arc::new(Named { id, attributes: "{}".into() })
    }

    prop_compose! {
        fn a_flow()(
            id in 0u32..20,
            n in proptest::collection::vec(prop_oneof![Just(0u64), 0u64..300, any::<u64>()], 10),
            failures in proptest::collection::btree_map("[a-z_]{1,12}", 1u64..9, 0..3),
            rtt in proptest::collection::vec((0u16..24, any::<u64>()), 0..4),
        ) -> FlowFrame {
            unpacked(id, (n.try_into().expect("ten"), failures.clone(), failures, rtt.clone(), rtt, Vec::new()))
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_as_it_was(
            flows in proptest::collection::vec(a_flow(), 0..20),
            lookups in proptest::collection::vec((1u32..9, any::<u64>()), 0..5),
        ) {
            let lookups: Vec<LookupFrame> = lookups
                .into_iter()
                .map(|(id, count)| LookupFrame { id, count, latency: vec![(3, count)] })
                .collect();
            let stored = StoredFrame::new(
                7,
                1.5,
                flows.iter().map(|f| (named(f.id), f.clone())).collect(),
                lookups.iter().map(|l| (named(l.id), l.clone())).collect(),
            );
            let mut frame = stored.unpack();
            prop_assert_eq!((frame.time, frame.seconds, &frame.lookups), (7, 1.5, &lookups));
            let key = |f: &FlowFrame| serde_json::to_string(f).expect("plain");
            let mut flows = flows;
            frame.flows.sort_by_key(key);
            flows.sort_by_key(key);
            prop_assert_eq!(frame.flows, flows);
        }
    }

    #[test]
    fn a_flow_that_only_has_connections_open_takes_next_to_nothing() {
        let flow = FlowFrame { id: 1, active: 9, ..FlowFrame::default() };
        let of = |n: usize| StoredFrame::new(1, 1.0, vec![(named(1), flow.clone()); n], Vec::new()).bytes();
        assert_eq!(of(100) - of(0), 1600);
        let busy = FlowFrame { tx: 1000, rx: 100_000, tx_packets: 10, rx_packets: 80, ..flow.clone() };
        let stored = StoredFrame::new(1, 1.0, vec![(named(1), busy)], Vec::new());
        assert!(stored.bytes() - of(0) < 32, "{}", stored.bytes() - of(0));
    }
}
