//! When messages were missing: of a lookup whose time touches that, nobody can say that it had no response.

use std::collections::VecDeque;

use crate::collect::Reading;

/// Times in which messages are missing, as far back as lookups in flight go.
#[derive(Debug)]
pub struct Shed {
    timeout_ns: u64,
    last: Reading,
    /// Beginnings and ends, ascending and apart.
    times: VecDeque<(u64, u64)>,
}

impl Shed {
    /// Nothing is missing. Lookups last no longer than `timeout_ns`.
    #[must_use]
    pub fn new(timeout_ns: u64) -> Self {
        Self { timeout_ns, last: Reading::default(), times: VecDeque::new() }
    }

    /// Lookups last no longer than this from now on.
    pub fn set_timeout(&mut self, timeout_ns: u64) {
        self.timeout_ns = timeout_ns;
    }

    /// Takes the next reading. What is new in its count went missing after the last one had been read, whose count
    /// came after its messages.
    pub fn note(&mut self, reading: &Reading) {
        let last = std::mem::replace(&mut self.last, *reading);
        if reading.dns_shed <= last.dns_shed {
            return;
        }
        match self.times.back_mut() {
            Some((_, end)) if *end >= last.until_ns => *end = (*end).max(reading.counted_ns),
            _ => self.times.push_back((last.until_ns, reading.counted_ns)),
        }
    }

    /// Whether messages are missing from the time between two moments.
    #[must_use]
    pub fn touches(&self, from_ns: u64, to_ns: u64) -> bool {
        self.times.iter().rev().any(|(begin, end)| *begin <= to_ns && from_ns <= *end)
    }

    /// Lets go of what ended before any lookup that is in flight now began.
    pub fn forget(&mut self, now_ns: u64) {
        let oldest = now_ns.saturating_sub(self.timeout_ns);
        while self.times.front().is_some_and(|(_, end)| *end < oldest) {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(until_ns: u64, shed: u64) -> Reading {
        Reading { since_ns: 0, until_ns, counted_ns: until_ns + 2, dns_shed: shed }
    }

    #[test]
    fn a_time_in_which_the_count_rose_is_from_the_reading_before_to_the_count() {
        let mut shed = Shed::new(100);
        for (until, count) in [(100, 7), (200, 7), (300, 8), (400, 8)] {
            shed.note(&reading(until, count));
        }
        for (from, to, expected) in [
            (110, 199, false),
            (110, 200, true),
            (250, 260, true),
            (302, 350, true),
            (303, 350, false),
            (110, 900, true),
        ] {
            assert_eq!(shed.touches(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn the_first_count_is_of_all_that_was_before() {
        let mut shed = Shed::new(100);
        shed.note(&reading(50, 3));
        assert!(shed.touches(10, 20));
        assert!(!shed.touches(60, 70));
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_bounded_and_forgets_nothing_that_counts(
            steps in prop::collection::vec((1u64..30, 0u64..2), 1..300)
        ) {
            let (mut shed, mut all) = (Shed::new(100), Shed::new(u64::MAX));
            let (mut now, mut count) = (0, 0);
            for (passed, missing) in steps {
                now += passed;
                count += missing;
                for one in [&mut shed, &mut all] {
                    one.note(&reading(now, count));
                    one.forget(now);
                }
                for sent in now.saturating_sub(99)..=now {
                    prop_assert_eq!(shed.touches(sent, sent + 100), all.touches(sent, sent + 100));
                }
                prop_assert!(shed.times.len() <= 102);
            }
        }
    }
}
