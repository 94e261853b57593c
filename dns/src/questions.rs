//! Question names for a metric: a bounded number of them, the rest under one.
//!
//! A name below a configured suffix becomes `*.` and that suffix, the longest that fits. Of the others, the first ones
//! get a series of their own, as many as there may be. Such a name keeps it while it is used. When one has rested long
//! enough, its place goes to the name that was asked for most among those that have none, which is known by counting
//! them in bounded space (space-saving, Metwally, Agrawal and El Abbadi, 2005), with counts that halve as they age.
//! All others are [`OTHER`].
//!
//! So names that are made up for one question each, by a browser or by an attacker, can hold places for the time that
//! a place may rest, and no longer while names that return are in want of one. What comes of a sequence of names and
//! times is always the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lru::LruCache;

use crate::SECOND_NS;

/// Stands for the names that have no series of their own. No host has such a name: an underscore begins names of
/// services (RFC 8552).
pub const OTHER: &str = "_other";

/// Names that are counted without having a series, at least. Space-saving is sure to know a name that takes more than
/// one in so many questions.
const COUNTED: usize = 1024;

/// How many names there may be.
#[derive(Debug, Clone, Copy)]
pub struct QuestionLimits {
    /// Names with a series of their own at a time; suffixes come on top.
    pub names: usize,
    /// A name that was not asked for so long makes room for another.
    pub idle_ns: u64,
}

impl Default for QuestionLimits {
    fn default() -> Self {
        Self { names: 500, idle_ns: 600 * SECOND_NS }
    }
}

/// What was done with names, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuestionCounts {
    /// Questions under a suffix.
    pub under_suffix: u64,
    /// Questions under [`OTHER`].
    pub other: u64,
    /// Names that rested and made room for another.
    pub replaced: u64,
}

/// Which names have a series of their own.
#[derive(Debug)]
pub struct QuestionNames {
    limits: QuestionLimits,
    /// By suffix, how its names are shown.
    suffixes: HashMap<String, Arc<str>>,
    other: Arc<str>,
    /// With the time of the last question, the one that rests longest first.
    admitted: LruCache<Arc<str>, u64>,
    candidates: Candidates,
    counts: QuestionCounts,
}

impl QuestionNames {
    /// No names yet. Suffixes may be written with or without dots around them and in any case; an empty one, which
    /// would be all names, is none.
    pub fn new<S: AsRef<str>>(limits: QuestionLimits, suffixes: impl IntoIterator<Item = S>) -> Self {
        let suffixes = suffixes
            .into_iter()
            .map(|s| s.as_ref().trim_start_matches("*.").trim_matches('.').to_ascii_lowercase())
            .filter(|s| !s.is_empty())
            .map(|s| (s.clone(), Arc::from(format!("*.{s}"))))
            .collect();
        Self {
            limits,
            suffixes,
            other: OTHER.into(),
            admitted: LruCache::unbounded(),
            candidates: Candidates::new(limits),
            counts: QuestionCounts::default(),
        }
    }

    /// Takes other limits and suffixes. Names that have a series keep it as far as there is room, those used last
    /// first, and counts go on.
    pub fn reconfigure<S: AsRef<str>>(
        &mut self,
        limits: QuestionLimits,
        suffixes: impl IntoIterator<Item = S>,
    ) {
        let old = std::mem::replace(self, Self::new(limits, suffixes));
        self.counts = old.counts;
        let kept = old.admitted.iter().filter(|(name, _)| self.suffix_of(name).is_none());
        let kept: Vec<_> = kept.take(limits.names).map(|(name, last)| (name.clone(), *last)).collect();
        for (name, last) in kept.into_iter().rev() {
            self.admitted.put(name, last);
        }
    }

    /// How a name that is asked for at a time is shown: as itself, as `*.suffix` or as [`OTHER`]. The name is in the
    /// form that [`Message`](crate::message::Message) describes.
    pub fn fold(&mut self, name: &Arc<str>, now_ns: u64) -> Arc<str> {
        if let Some(suffix) = self.suffix_of(name) {
            self.counts.under_suffix += 1;
            return suffix;
        }
        if let Some(last) = self.admitted.get_mut(name) {
            *last = now_ns.max(*last);
            return name.clone();
        }
        if self.admitted.len() < self.limits.names {
            self.admitted.put(name.clone(), now_ns);
            return name.clone();
        }
        self.candidates.count(name, now_ns);
        let rested = |last: &u64| now_ns.saturating_sub(*last) >= self.limits.idle_ns;
        if self.admitted.peek_lru().is_some_and(|(_, last)| rested(last))
            && let Some(best) = self.candidates.take_best()
        {
            self.admitted.pop_lru();
            self.counts.replaced += 1;
            let is_this = best == *name;
            self.admitted.put(best, now_ns);
            if is_this {
                return name.clone();
            }
        }
        self.counts.other += 1;
        self.other.clone()
    }

    /// Names that have a series of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.admitted.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }

    /// What was done with names, since the start.
    #[must_use]
    pub fn counts(&self) -> QuestionCounts {
        self.counts
    }

    fn suffix_of(&self, name: &str) -> Option<Arc<str>> {
        if self.suffixes.is_empty() {
            return None;
        }
        parents(name).find_map(|parent| self.suffixes.get(parent)).cloned()
    }
}

/// The names that a name is below, the longest first. A dot after a backslash belongs to a label.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    name.bytes().enumerate().filter_map(move |(i, byte)| {
        let separates = byte == b'.' && !escaped;
        escaped = byte == b'\\' && !escaped;
        separates.then(|| &name[i + 1..]).filter(|parent| !parent.is_empty())
    })
}

/// Names without a series, with about how often they were asked for lately.
#[derive(Debug)]
struct Candidates {
    capacity: usize,
    /// Counts halve, and what was not asked for goes, so often.
    half_life_ns: u64,
    aged_ns: Option<u64>,
    names: HashMap<Arc<str>, Tally>,
    /// The least counted first, of those the one that was asked for longest ago.
    by_count: BTreeSet<(u64, u64, Arc<str>)>,
    serial: u64,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    /// No less than the questions that were counted.
    count: u64,
    /// How many of them may have been for the names that had this place before.
    error: u64,
    /// The number of the last question.
    serial: u64,
}

impl Candidates {
    fn new(limits: QuestionLimits) -> Self {
        Self {
            capacity: COUNTED.max(4 * limits.names),
            half_life_ns: limits.idle_ns,
            aged_ns: None,
            names: HashMap::new(),
            by_count: BTreeSet::new(),
            serial: 0,
        }
    }

    fn count(&mut self, name: &Arc<str>, now_ns: u64) {
        let aged = *self.aged_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(aged) >= self.half_life_ns {
            self.aged_ns = Some(now_ns);
            self.age();
        }
        self.serial += 1;
        let known = if let Some(tally) = self.names.remove(name) {
            self.by_count.remove(&(tally.count, tally.serial, name.clone()));
            tally
        } else if self.names.len() < self.capacity {
            Tally { count: 0, error: 0, serial: 0 }
        } else {
            let least = self.by_count.pop_first().map_or(0, |(count, _, least)| {
                self.names.remove(&least);
                count
            });
            Tally { count: least, error: least, serial: 0 }
        };
        let tally = Tally { count: known.count + 1, serial: self.serial, ..known };
        self.names.insert(name.clone(), tally);
        self.by_count.insert((tally.count, tally.serial, name.clone()));
    }

    fn age(&mut self) {
        self.names.retain(|_, tally| {
            tally.count /= 2;
            tally.error /= 2;
            tally.count > 0
        });
        self.by_count = self.names.iter().map(|(name, t)| (t.count, t.serial, name.clone())).collect();
    }

    /// Takes out the name that was certainly asked for most, of several the one that was last.
    fn take_best(&mut self) -> Option<Arc<str>> {
        let certain = |t: &Tally| (t.count - t.error, t.serial);
        let (name, tally) =
            self.names.iter().max_by_key(|(_, t)| certain(t)).map(|(n, t)| (n.clone(), *t))?;
        self.names.remove(&name);
        self.by_count.remove(&(tally.count, tally.serial, name.clone()));
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NONE: [&str; 0] = [];

    fn names(names: usize) -> QuestionNames {
        QuestionNames::new(QuestionLimits { names, idle_ns: 100 }, NONE)
    }

    fn fold(names: &mut QuestionNames, name: &str, now_ns: u64) -> String {
        names.fold(&name.into(), now_ns).to_string()
    }

    #[test]
    fn other_limits_leave_names_their_series_as_far_as_there_is_room() {
        let mut names = names(4);
        for (i, name) in ["a", "b", "c", "x.corp", "e"].into_iter().enumerate() {
            fold(&mut names, name, i as u64);
        }
        let counts = names.counts();
        assert_eq!(counts.other, 1);
        names.reconfigure(QuestionLimits { names: 2, idle_ns: 100 }, ["corp"]);
        assert_eq!(names.counts(), counts);
        let shown = ["b", "c", "a", "x.corp"].map(|name| fold(&mut names, name, 10));
        assert_eq!(shown, ["b", "c", OTHER, "*.corp"], "those used last are kept, one is below a suffix now");
    }

    #[test]
    fn names_below_a_suffix_are_shown_as_the_longest_that_fits() {
        let suffixes = ["internal.example.com", ".Corp.", "*.deep.corp", "", "."];
        let mut names = QuestionNames::new(QuestionLimits { names: 1, idle_ns: 100 }, suffixes);
        for (name, shown) in [
            ("db.internal.example.com", "*.internal.example.com"),
            ("a.b.internal.example.com", "*.internal.example.com"),
            ("x.corp", "*.corp"),
            ("x.deep.corp", "*.deep.corp"),
            ("deep.corp", "*.corp"),
            ("corp", "corp"),
            ("internal.example.com", OTHER),
            ("notinternal.example.com", OTHER),
            ("x\\.corp", OTHER),
            ("x\\\\.corp", "*.corp"),
            (".", OTHER),
        ] {
            assert_eq!(fold(&mut names, name, 0), shown, "{name}");
        }
        assert_eq!((names.len(), names.counts().under_suffix, names.counts().other), (1, 6, 4));
    }

    #[test]
    fn the_first_names_have_series_of_their_own_and_the_rest_one() {
        let mut names = names(2);
        for (name, shown) in [("a", "a"), ("b", "b"), ("c", OTHER), ("a", "a"), ("c", OTHER), ("b", "b")] {
            assert_eq!(fold(&mut names, name, 0), shown, "{name}");
        }
        assert_eq!(names.counts(), QuestionCounts { other: 2, ..QuestionCounts::default() });
    }

    #[test]
    fn a_place_that_rested_goes_to_the_name_asked_for_most() {
        let mut names = names(2);
        fold(&mut names, "used", 0);
        fold(&mut names, "resting", 0);
        for _ in 0..3 {
            fold(&mut names, "wanted", 50);
        }
        fold(&mut names, "used", 99);
        assert_eq!(fold(&mut names, "seldom", 100), OTHER, "its question freed the place, for another");
        assert_eq!(fold(&mut names, "wanted", 100), "wanted");
        assert_eq!(fold(&mut names, "resting", 100), OTHER);
        assert_eq!(fold(&mut names, "used", 100), "used");
        assert_eq!(names.counts().replaced, 1);
    }

    #[test]
    fn what_was_wanted_long_ago_counts_for_less() {
        let mut names = names(1);
        for time in 0..400 {
            fold(&mut names, "used", time);
            match time {
                0..20 => assert_eq!(fold(&mut names, "once", time), OTHER),
                390..400 => assert_eq!(fold(&mut names, "now", time), OTHER),
                _ => assert_eq!(fold(&mut names, &format!("now and then {time}"), time), OTHER),
            }
        }
        assert_eq!(fold(&mut names, "now", 500), "now");
    }

    #[test]
    fn a_name_is_not_credited_with_the_questions_for_others() {
        let mut names = names(1);
        names.candidates.capacity = 3;
        fold(&mut names, "used", 0);
        for name in ["thrice", "thrice", "thrice", "b", "c", "d", "e", "f", "g"] {
            fold(&mut names, name, 1);
        }
        assert_eq!(names.candidates.names[&Arc::from("g")].count, 3, "of which it had one");
        assert_eq!(fold(&mut names, "g", 100), OTHER);
        assert_eq!(fold(&mut names, "thrice", 100), "thrice");
    }

    #[test]
    fn names_that_return_find_a_place_among_names_that_do_not() {
        let mut names = names(10);
        let mut seconds = 0;
        let mut shown = 0;
        for i in 0..20_000 {
            seconds += 1;
            // Nine of ten questions are for a name that is never asked for again.
            let name = if i % 10 == 0 { format!("hot{}", i / 10 % 5) } else { format!("random{i}") };
            let own = fold(&mut names, &name, seconds) == name;
            if i > 10_000 && name.starts_with("hot") {
                assert!(own, "{name} at {i}");
                shown += 1;
            }
        }
        assert!(shown > 900);
    }

    #[test]
    fn no_names_at_all_is_possible() {
        let mut names = names(0);
        assert_eq!(fold(&mut names, "a", 0), OTHER);
        assert_eq!(fold(&mut names, "a", 1000), OTHER);
        assert!(names.is_empty());
    }

    proptest! {
        #[test]
        fn under_any_churn_names_keep_their_series_and_are_few(
            steps in vec((0usize..12, 0u64..60), 0..400),
            limit in 1usize..5,
        ) {
            let [mut names, mut again] = [names(limit), names(limit)];
            for names in [&mut names, &mut again] {
                names.candidates.capacity = 3;
            }
            // When a name that has its own series was last asked for.
            let mut own: HashMap<usize, u64> = HashMap::new();
            let mut now = 0;
            for (name, wait) in steps {
                now += wait;
                let text = format!("n{name}");
                let shown = fold(&mut names, &text, now);
                prop_assert_eq!(&shown, &fold(&mut again, &text, now), "the same comes of the same");
                prop_assert!(shown == text || shown == OTHER);
                if let Some(last) = own.get(&name) && now - last < 100 {
                    prop_assert_eq!(&shown, &text, "it was used {} ago", now - last);
                }
                if shown == text {
                    own.insert(name, now);
                } else {
                    own.remove(&name);
                }
                prop_assert!(own.values().filter(|last| now - **last < 100).count() <= limit);
                prop_assert!(names.len() <= limit && names.candidates.names.len() <= 3);
                prop_assert_eq!(names.candidates.names.len(), names.candidates.by_count.len());
            }
        }
    }
}
