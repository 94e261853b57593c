//! The decision: what to let go of, step by step, from what is read. Pure.

use super::Reading;

/// A share of the limit, in percent, at which one thing more is let go of: what an export takes for a moment must still
/// fit above it. At 80 %, a kernel with a group of 43 MiB killed netsonde while it copied a request of 4 MiB.
const HIGH: u64 = 70;
/// At which that does not wait for the next export.
const URGENT: u64 = 80;
/// Below which one thing is taken back, when it has been so for [`CALM`] exports. Far enough below the other that what is
/// taken back does not lead there at once.
const LOW: u64 = 50;
const CALM: u8 = 5;

/// The highest stage.
pub const STAGES: u8 = 6;

/// How often each stage halves what readers can look back on, the series, and the caches, and whether events are
/// written. First goes what is only for looking.
const LADDER: [(u32, u32, u32, bool); STAGES as usize + 1] = [
    (0, 0, 0, true),
    (3, 0, 0, true),
    (6, 1, 0, true),
    (6, 2, 0, true),
    (6, 3, 1, true),
    (6, 4, 2, true),
    (6, 5, 3, false),
];

/// However little memory there is, so many series are kept.
const FEWEST_SERIES: u64 = 16;

/// When something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After an export, when all that was measured is told of and series can end without loss.
    Export,
    /// At any other time.
    Between,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shedding {
    stage: u8,
    /// Series that were held before any of them had to go.
    series_before: u64,
    /// The most since the last export.
    peak: u64,
    /// Exports in a row with all readings below the lower mark.
    calm: u8,
    /// A stage was added since the last export.
    hurried: bool,
}

/// What is to be let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measures {
    /// How often the limit of the history that readers are shown is halved.
    pub view_halved: u32,
    /// Most series; `None` for what is configured.
    pub series: Option<u64>,
    /// How often the limits of caches are halved.
    pub caches_halved: u32,
    /// Log records are written.
    pub events: bool,
}

impl Shedding {
    /// What is in force after a reading, while so many series are held. A stage at a time, so that its effect is seen
    /// before the next; between two exports one at most.
    #[must_use]
    pub fn next(self, reading: Reading, series: u64, moment: Moment) -> Self {
        let Some(limit) = reading.limit else { return Self::default() };
        let is_above =
            |usage: u64, percent: u64| u128::from(usage) * 100 >= u128::from(limit) * u128::from(percent);
        let mut next = Self { peak: self.peak.max(reading.usage), ..self };
        let rises = match moment {
            Moment::Export => is_above(reading.usage, HIGH),
            Moment::Between => is_above(reading.usage, URGENT) && !self.hurried,
        };
        if rises && next.stage < STAGES {
            if next.stage == 0 {
                next.series_before = series;
            }
            next.stage += 1;
        }
        match moment {
            Moment::Between => next.hurried |= rises,
            Moment::Export => {
                next.calm = if is_above(next.peak, LOW) { 0 } else { next.calm + 1 };
                if next.calm >= CALM {
                    next.calm = 0;
                    next.stage = next.stage.saturating_sub(1);
                }
                (next.peak, next.hurried) = (0, false);
            }
        }
        next
    }

    /// How much is let go of: 0 for nothing, [`STAGES`] at most.
    #[must_use]
    pub fn stage(&self) -> u8 {
        self.stage
    }

    /// What that means.
    #[must_use]
    pub fn measures(&self) -> Measures {
        let (view_halved, series, caches_halved, events) = LADDER[usize::from(self.stage.min(STAGES))];
        let cap = (self.series_before >> series).max(FEWEST_SERIES);
        Measures { view_halved, series: (series > 0).then_some(cap), caches_halved, events }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(usage: u64) -> Reading {
        Reading { usage, limit: Some(100) }
    }

    fn exports(mut shedding: Shedding, usages: impl IntoIterator<Item = u64>) -> Shedding {
        for usage in usages {
            shedding = shedding.next(at(usage), 1_000, Moment::Export);
        }
        shedding
    }

    #[test]
    fn the_history_goes_first_then_series_then_caches_then_events() {
        let mut shedding = Shedding::default();
        let mut seen = vec![shedding.measures()];
        for _ in 0..STAGES {
            shedding = exports(shedding, [80]);
            seen.push(shedding.measures());
        }
        assert_eq!(
            seen.iter().map(|m| m.series).collect::<Vec<_>>(),
            [None, None, Some(500), Some(250), Some(125), Some(62), Some(31)]
        );
        assert_eq!(seen.iter().map(|m| m.view_halved).collect::<Vec<_>>(), [0, 3, 6, 6, 6, 6, 6]);
        assert_eq!(seen.iter().map(|m| m.caches_halved).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 2, 3]);
        let events = [true, true, true, true, true, true, false];
        assert_eq!(seen.iter().map(|m| m.events).collect::<Vec<_>>(), events);
        assert_eq!(exports(shedding, [100, 100]).stage(), STAGES, "there is nothing more to let go of");
    }

    #[test]
    fn between_the_marks_all_stays_as_it_is() {
        let shedding = exports(Shedding::default(), [75, 69, 50, 69, 51, 60, 50, 55, 69]);
        assert_eq!(shedding.stage(), 1);
    }

    #[test]
    fn what_is_taken_back_comes_a_step_at_a_time_and_after_a_calm() {
        let high = exports(Shedding::default(), [90, 90, 90]);
        assert_eq!(exports(high, [49; 4]).stage(), 3);
        assert_eq!(exports(high, [49; 5]).stage(), 2);
        assert_eq!(exports(high, [49; 9]).stage(), 2);
        assert_eq!(exports(high, [49; 15]).stage(), 0);
        assert_eq!(exports(high, [49, 49, 49, 49, 50, 49, 49, 49, 49]).stage(), 3, "a calm begins anew");
        assert_eq!(exports(high, [49; 15]).measures().series, None);
    }

    #[test]
    fn a_peak_between_two_exports_is_no_calm() {
        let mut shedding = exports(Shedding::default(), [85]);
        for _ in 0..20 {
            shedding = shedding.next(at(70), 1_000, Moment::Between).next(at(10), 1_000, Moment::Export);
        }
        assert_eq!(shedding.stage(), 1);
    }

    #[test]
    fn what_is_urgent_does_not_wait_and_happens_once_between_exports() {
        let between = |shedding: Shedding, usage| shedding.next(at(usage), 1_000, Moment::Between);
        assert_eq!(between(Shedding::default(), 79).stage(), 0);
        let urgent = between(between(Shedding::default(), 80), 99);
        assert_eq!(urgent.stage(), 1);
        assert_eq!(between(exports(urgent, [69]), 95).stage(), 2);
    }

    #[test]
    fn without_a_limit_nothing_goes_and_what_went_comes_back() {
        let high = exports(Shedding::default(), [90, 90]);
        let free = high.next(Reading { usage: 99, limit: None }, 5, Moment::Between);
        assert_eq!(free, Shedding::default());
        assert_eq!(exports(Shedding::default(), [0]).measures().series, None);
    }

    proptest! {
        #[test]
        fn steps_are_single_and_more_use_never_sheds_less(
            usages in proptest::collection::vec((0u64..150, any::<bool>()), 1..60),
            more in 0u64..50,
        ) {
            let (mut low, mut high) = (Shedding::default(), Shedding::default());
            for (usage, export) in usages {
                let moment = if export { Moment::Export } else { Moment::Between };
                let before = low;
                low = low.next(at(usage), 1_000, moment);
                high = high.next(at(usage + more), 1_000, moment);
                prop_assert!(low.stage().abs_diff(before.stage()) <= 1);
                prop_assert!(low.stage() <= STAGES);
                prop_assert!(high.stage() >= low.stage());
                prop_assert!(low.measures().series.is_none_or(|cap| cap >= FEWEST_SERIES));
            }
        }
    }
}
