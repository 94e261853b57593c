//! Adding intervals: what a flow, or a histogram, comes to over several of them.

use std::collections::BTreeMap;

use crate::model::{Buckets, FlowFrame, LookupFrame};

/// Adds a histogram to another of the same bounds.
pub fn add_buckets(to: &mut Buckets, more: &[(u16, u64)]) {
    for &(bucket, n) in more {
        match to.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(at) => to[at].1 = to[at].1.saturating_add(n),
            Err(at) => to.insert(at, (bucket, n)),
        }
    }
}

fn add_counts(to: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (word, n) in more {
        match to.get_mut(word) {
            Some(count) => *count = count.saturating_add(*n),
            None => drop(to.insert(word.clone(), *n)),
        }
    }
}

/// Adds a later interval of one flow, or of another that is shown together with it in the same interval; of levels the
/// caller decides, see [`add_later`] and [`add_beside`].
fn add_counters(to: &mut FlowFrame, more: &FlowFrame) {
    let counters = [
        (&mut to.tx, more.tx),
        (&mut to.rx, more.rx),
        (&mut to.tx_packets, more.tx_packets),
        (&mut to.rx_packets, more.rx_packets),
        (&mut to.retransmits, more.retransmits),
        (&mut to.opened, more.opened),
        (&mut to.accepted, more.accepted),
        (&mut to.closed, more.closed),
        (&mut to.resets, more.resets),
    ];
    for (sum, n) in counters {
        *sum = sum.saturating_add(n);
    }
    add_counts(&mut to.failures, &more.failures);
    add_counts(&mut to.drops, &more.drops);
    add_buckets(&mut to.rtt, &more.rtt);
    add_buckets(&mut to.connect, &more.connect);
    add_buckets(&mut to.duration, &more.duration);
}

/// Adds a later interval of the same flow: what is open is as of the later.
pub fn add_later(to: &mut FlowFrame, later: &FlowFrame) {
    add_counters(to, later);
    to.active = later.active;
}

/// Adds another flow of the same interval, as when flows are shown by program: what is open adds up.
pub fn add_beside(to: &mut FlowFrame, other: &FlowFrame) {
    add_counters(to, other);
    to.active = to.active.saturating_add(other.active);
}

/// Adds lookups.
pub fn add_lookups(to: &mut LookupFrame, more: &LookupFrame) {
    to.count = to.count.saturating_add(more.count);
    add_buckets(&mut to.latency, &more.latency);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u64) -> FlowFrame {
        FlowFrame {
            id: 7,
            tx: n,
            rx: 2 * n,
            opened: 1,
            active: n,
            failures: [("refused".to_owned(), n)].into(),
            rtt: vec![(1, n), (5, 1)],
            ..FlowFrame::default()
        }
    }

    #[test]
    fn counters_add_up_and_a_level_is_the_last() {
        let mut sum = frame(3);
        add_later(&mut sum, &frame(10));
        assert_eq!((sum.id, sum.tx, sum.rx, sum.opened, sum.active), (7, 13, 26, 2, 10));
        assert_eq!(sum.failures, [("refused".to_owned(), 13)].into());
        assert_eq!(sum.rtt, [(1, 13), (5, 2)]);
    }

    #[test]
    fn levels_of_one_interval_add_up() {
        let mut sum = frame(3);
        add_beside(&mut sum, &frame(10));
        assert_eq!((sum.tx, sum.active), (13, 13));
    }

    #[test]
    fn buckets_stay_in_order() {
        let mut sum = vec![(3, 1)];
        add_buckets(&mut sum, &[(1, 4), (3, 1), (9, 2)]);
        assert_eq!(sum, [(1, 4), (3, 2), (9, 2)]);
    }

    #[test]
    fn lookups_add_up() {
        let mut sum = LookupFrame { id: 1, count: 2, latency: vec![(0, 2)] };
        add_lookups(&mut sum, &LookupFrame { id: 1, count: 1, latency: vec![(4, 1)] });
        assert_eq!(sum, LookupFrame { id: 1, count: 3, latency: vec![(0, 2), (4, 1)] });
    }
}
