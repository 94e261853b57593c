//! What flows and lookups have come to in the interval that runs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use netsonde_probes::signals::flow::{FLOW_IO, FLOW_PACKETS, MeasuredValue, Measurement};
use netsonde_probes::signals::tcp::metrics as tcp;
use netsonde_probes::signals::udp::metrics as udp;
use netsonde_view::model::{Buckets, FlowFrame, LookupFrame};
use netsonde_view::sum::{add_buckets, add_lookups};

use super::frames::{Answered, Measured};
use super::identities::Named;

/// What one flow has come to.
#[derive(Debug)]
struct Flow {
    named: Arc<Named>,
    frame: FlowFrame,
    /// Received bytes and datagrams that are still to be taken off: UDP counts what arrives, and takes back what its
    /// socket had no room for, which may come an interval later.
    owed: [u64; 2],
}

/// What all have come to.
#[derive(Debug, Default)]
pub struct Pending {
    flows: HashMap<u32, Flow>,
    lookups: HashMap<u32, Answered>,
}

impl Pending {
    /// Adds what a flow measured.
    pub fn add<'a>(&mut self, named: &Arc<Named>, measured: impl Iterator<Item = Measurement<'a>>) {
        let flow = self.flow(named);
        measured.for_each(|measurement| flow.add(measurement));
    }

    fn flow(&mut self, named: &Arc<Named>) -> &mut Flow {
        match self.flows.entry(named.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let frame = FlowFrame { id: named.id, ..FlowFrame::default() };
                free.insert(Flow { named: Arc::clone(named), frame, owed: [0; 2] })
            }
        }
    }

    /// Adds connections that a flow has open at the end of the interval.
    pub fn add_open(&mut self, named: &Arc<Named>, open: u64) {
        let frame = &mut self.flow(named).frame;
        frame.active = frame.active.saturating_add(open);
    }

    /// Adds lookups.
    pub fn add_lookups(&mut self, named: &Arc<Named>, buckets: &[u32]) {
        let latency = counts(buckets);
        let count = latency.iter().map(|(_, n)| n).sum();
        let lookup = LookupFrame { id: named.id, count, latency };
        match self.lookups.entry(named.id) {
            Entry::Occupied(mut known) => add_lookups(&mut known.get_mut().1, &lookup),
            Entry::Vacant(free) => drop(free.insert((Arc::clone(named), lookup))),
        }
    }

    /// Takes all out, in the order of their numbers; what is still to be taken off something stays.
    pub fn take(&mut self) -> (Vec<Measured>, Vec<Answered>) {
        let mut flows = Vec::with_capacity(self.flows.len());
        self.flows.retain(|id, flow| {
            let frame = std::mem::replace(&mut flow.frame, FlowFrame { id: *id, ..FlowFrame::default() });
            if frame != flow.frame {
                flows.push((Arc::clone(&flow.named), frame));
            }
            flow.owed != [0; 2]
        });
        self.flows.shrink_to(2 * flows.len());
        let mut lookups: Vec<_> = std::mem::take(&mut self.lookups).into_values().collect();
        flows.sort_unstable_by_key(|(_, frame)| frame.id);
        lookups.sort_unstable_by_key(|(_, lookup)| lookup.id);
        (flows, lookups)
    }
}

/// A histogram as pairs of a bucket and its count.
fn counts(buckets: &[u32]) -> Buckets {
    let counted = (0..).zip(buckets).filter(|(_, n)| **n > 0);
    counted.map(|(bucket, n)| (bucket, u64::from(*n))).collect()
}

/// Adds to what was received, or takes off from it and from what is to come.
fn receive(to: &mut u64, owed: &mut u64, n: i64) {
    let more = to.saturating_add(n.try_into().unwrap_or(0));
    let less = owed.saturating_add((-n).try_into().unwrap_or(0));
    (*to, *owed) = (more.saturating_sub(less), less.saturating_sub(more));
}

impl Flow {
    fn add(&mut self, of: Measurement<'_>) {
        let is = |metric| std::ptr::eq(of.metric, metric);
        let label = of.label.map_or("", |(_, word)| word);
        let frame = &mut self.frame;
        match of.value {
            MeasuredValue::Histogram { buckets, .. } => {
                let to = if is(&tcp::RTT) {
                    &mut frame.rtt
                } else if is(&tcp::CONNECT_DURATION) {
                    &mut frame.connect
                } else if is(&tcp::CONNECTION_DURATION) {
                    &mut frame.duration
                } else {
                    return;
                };
                add_buckets(to, &counts(buckets));
            }
            MeasuredValue::Sum(n) => {
                if label == "receive" && is(&FLOW_IO) {
                    return receive(&mut frame.rx, &mut self.owed[0], n);
                }
                if label == "receive" && is(&FLOW_PACKETS) {
                    return receive(&mut frame.rx_packets, &mut self.owed[1], n);
                }
                let to = if is(&FLOW_IO) {
                    &mut frame.tx
                } else if is(&FLOW_PACKETS) {
                    &mut frame.tx_packets
                } else if is(&tcp::RETRANSMITS) {
                    &mut frame.retransmits
                } else if is(&tcp::RESETS) {
                    &mut frame.resets
                } else if is(&tcp::CONNECTION_FAILURES) {
                    frame.failures.entry(label.to_owned()).or_default()
                } else if is(&udp::SOCKET_DROPS) {
                    frame.drops.entry(label.to_owned()).or_default()
                } else if is(&tcp::CONNECTIONS) {
                    match label {
                        "opened" => &mut frame.opened,
                        "accepted" => &mut frame.accepted,
                        _ => &mut frame.closed,
                    }
                } else {
                    return;
                };
                *to = to.saturating_add(n.try_into().unwrap_or(0));
            }
        }
    }
}
