//! What went wrong lately. Counts tell of the whole time since the start, and one loss long ago says nothing of now: so
//! a verdict is on what has been added within a window.

use std::collections::{BTreeMap, VecDeque};

use super::status::Status;
use super::verdict::asked_for;

/// What a verdict is on.
pub const WINDOW_NS: u64 = 600 * 1_000_000_000;
/// Counts are remembered as often.
const STEP_NS: u64 = WINDOW_NS / 20;

/// Counts of what should not happen, by name.
pub type Troubles = BTreeMap<String, u64>;

/// All troubles of a status since the start.
#[must_use]
pub fn troubles(status: &Status) -> Troubles {
    let mut all = Troubles::new();
    // Events over the limit are left out on purpose.
    for loss in status.losses.iter().filter(|l| !asked_for(l.reason)) {
        all.insert(loss_key(loss.reason), loss.count);
    }
    let dropped = status.dns.lookups.iter().filter(|(word, _)| *word == "dropped").map(|(_, n)| n).sum();
    for (key, count) in [
        (SWEEPS, status.sweep.failed),
        (EVICTED, status.processes.evicted),
        (UNATTRIBUTED, status.processes.unattributed),
        (LOOKUPS, dropped),
        (FOLDED, status.series.folded),
    ] {
        all.insert(key.to_owned(), count);
    }
    for destination in &status.destinations {
        for lane in &destination.signals {
            let lost = lane.outcomes.iter().filter(|(outcome, _)| *outcome != "delivered").map(|(_, n)| n);
            *all.entry(export_key(&destination.name)).or_default() += lost.sum::<u64>();
        }
    }
    all
}

/// Sweeps that failed.
pub const SWEEPS: &str = "sweeps_failed";
/// Processes that were forgotten early.
pub const EVICTED: &str = "processes_evicted";
/// Records without a process.
pub const UNATTRIBUTED: &str = "unattributed";
/// Lookups that were too many.
pub const LOOKUPS: &str = "dns_lookups_dropped";
/// Measurements that were folded into overflow.
pub const FOLDED: &str = "series_folded";

/// The name of a loss.
pub fn loss_key(reason: &str) -> String {
    format!("loss.{reason}")
}

/// The name of what a destination did not get.
pub fn export_key(destination: &str) -> String {
    format!("export.{destination}")
}

/// Counts as they were, so that what is new since can be told.
#[derive(Debug, Default)]
pub struct Recent {
    /// Oldest first; the first is as old as the window or older, unless there is none so old.
    marks: VecDeque<(u64, Troubles)>,
}

impl Recent {
    /// Takes counts at a time, in nanoseconds since boot; what was added within the window before it, without zeros.
    pub fn take(&mut self, now_ns: u64, totals: &Troubles) -> Troubles {
        while self.marks.get(1).is_some_and(|(at, _)| now_ns.saturating_sub(*at) >= WINDOW_NS) {
            self.marks.pop_front();
        }
        let base = self.marks.front().filter(|(at, _)| now_ns.saturating_sub(*at) >= WINDOW_NS);
        let before = |key: &String| base.and_then(|(_, then)| then.get(key)).copied().unwrap_or(0);
        // A count that has shrunk began anew, as those of a destination do with a reload.
        let added = |(key, &total): (&String, &u64)| {
            let new = total.checked_sub(before(key)).unwrap_or(total);
            (new > 0).then(|| (key.clone(), new))
        };
        let added = totals.iter().filter_map(added).collect();
        if self.marks.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= STEP_NS) {
            self.marks.push_back((now_ns, totals.clone()));
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn counts(of: &[(&str, u64)]) -> Troubles {
        of.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect()
    }

    #[test]
    fn a_loss_is_recent_for_the_window_and_no_longer() {
        let mut recent = Recent::default();
        let mut seen = Vec::new();
        for minute in 0..40 {
            let lost = if minute < 5 { 0 } else { 3 };
            let added = recent.take(minute * MINUTE, &counts(&[("loss.a", lost), ("loss.b", 0)]));
            assert_eq!(added.get("loss.b"), None);
            if added.contains_key("loss.a") {
                assert_eq!(added["loss.a"], 3);
                seen.push(minute);
            }
        }
        assert_eq!(seen, (5..15).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_lost_at_the_start_is_recent_then() {
        let mut recent = Recent::default();
        assert_eq!(recent.take(MINUTE, &counts(&[("a", 2)])), counts(&[("a", 2)]));
        assert_eq!(recent.take(12 * MINUTE, &counts(&[("a", 2)])), Troubles::new());
        assert_eq!(recent.take(13 * MINUTE, &counts(&[("a", 5)])), counts(&[("a", 3)]));
    }

    #[test]
    fn a_count_that_begins_anew_is_new() {
        let mut recent = Recent::default();
        recent.take(0, &counts(&[("a", 9)]));
        assert_eq!(recent.take(11 * MINUTE, &counts(&[("a", 4)])), counts(&[("a", 4)]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut recent = Recent::default();
        for tenth in 0..100_000 {
            recent.take(tenth * 100_000_000, &counts(&[("a", 1)]));
        }
        assert!(recent.marks.len() <= 22, "{}", recent.marks.len());
    }
}
