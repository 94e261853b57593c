//! The part of the task that keeps to a limit of memory: reads, has [`crate::memory`] decide, and carries it out on what
//! the task owns.

use netsonde_probes::memory::{give_back_free_memory, let_go_of_code};

use super::super::status::MemoryStatus;
use super::lookups::names_config;
use super::{Aggregation, process_limit};
use crate::config::{Config, MemoryLimit};
use crate::enrich::NamesConfig;
use crate::memory::{Measures, Meter, Moment, Reading, STAGES, Shedding};

/// However little memory there is, a cache keeps so many.
const FEWEST_CACHED: usize = 64;

/// Flows between two readings while a sweep's are taken in.
pub(super) const FLOWS_A_READING: usize = 512;

/// After so many exports nothing runs for the first time but what may never run again.
const EXPORTS_OF_THE_START: u32 = 2;

/// What the task knows of memory.
pub(super) struct Memory {
    meter: Meter,
    reading: Reading,
    shedding: Shedding,
    /// Names, decided names and processes that there were before any cache was halved.
    cached_before: Option<(usize, usize, usize)>,
    /// Log records that were not written.
    events_shed: u64,
    /// Exports until the start is over.
    starting: u32,
}

impl Memory {
    pub(super) fn new(limit: MemoryLimit) -> Self {
        let meter = Meter::new(limit);
        let reading = meter.read();
        if let Some(limit) = reading.limit {
            tracing::info!(
                limit,
                usage = reading.usage,
                "memory is limited: detail is let go of before it is full"
            );
        }
        let shedding = Shedding::default();
        Self { meter, reading, shedding, cached_before: None, events_shed: 0, starting: EXPORTS_OF_THE_START }
    }

    fn measures(&self) -> Measures {
        self.shedding.measures()
    }

    /// Whether what only the start needed has been given back.
    #[cfg(test)]
    pub(super) fn has_started(&self) -> bool {
        self.starting == 0
    }

    /// Once, when the start is over: gives back what only that needed.
    fn end_start(&mut self) {
        if self.starting == 0 {
            return;
        }
        self.starting -= 1;
        if self.starting == 0 {
            give_back_free_memory();
            if let Err(error) = let_go_of_code() {
                tracing::debug!(%error, "the code of the start stays in memory");
            }
        }
    }

    /// Whether log records are written; what is not is counted.
    pub(super) fn takes_events(&mut self, records: usize) -> bool {
        let takes = self.measures().events;
        self.events_shed += if takes { 0 } else { records as u64 };
        takes
    }

    pub(super) fn events_shed(&self) -> u64 {
        self.events_shed
    }

    pub(super) fn status(&self) -> MemoryStatus {
        let measures = self.measures();
        MemoryStatus {
            usage: self.reading.usage,
            limit: self.reading.limit,
            stage: self.shedding.stage(),
            stages: STAGES,
            view_halved: measures.view_halved,
            series: measures.series,
            caches_halved: measures.caches_halved,
            events: measures.events,
        }
    }
}

impl Aggregation {
    /// Reads, and does what is decided. After an export, series end as well.
    pub(super) fn watch_memory(&mut self, moment: Moment) {
        if moment == Moment::Export {
            self.memory.end_start();
        }
        let series = self.series.statistics().series;
        let reading = self.memory.meter.read();
        let before = self.memory.shedding;
        let after = before.next(reading, series, moment);
        (self.memory.reading, self.memory.shedding) = (reading, after);
        let (from, to) = (before.stage(), after.stage());
        if from != to {
            self.carry_out_measures();
            let (usage, limit) = (reading.usage, reading.limit);
            let said = self.memory.status().sentence();
            if from < to {
                tracing::warn!(usage, limit, stage = to, "memory runs short: {said}");
            } else {
                tracing::info!(usage, limit, stage = to, "there is more memory again: {said}");
            }
        }
        if moment == Moment::Export && self.series.shed() > 0 || from < to {
            give_back_free_memory();
            self.memory.reading = self.memory.meter.read();
        }
    }

    /// Another configuration is in force: what was let go of stays so.
    pub(super) fn reconfigure_memory(&mut self) {
        self.memory.meter = Meter::new(self.config.limits.memory);
        self.carry_out_measures();
    }

    fn carry_out_measures(&mut self) {
        let measures = self.memory.measures();
        self.view.shed(measures.view_halved);
        self.series.set_cap(measures.series);
        if measures.caches_halved == 0 && self.memory.cached_before.take().is_none() {
            return;
        }
        let (names, table) = (self.names.statistics(), self.processes.statistics());
        let held = (names.held as usize, names.decided as usize, table.tracked as usize);
        let before =
            if measures.caches_halved > 0 { *self.memory.cached_before.get_or_insert(held) } else { held };
        let limits = cache_limits(&self.config, before, self.processes.living(), measures.caches_halved);
        self.names.reconfigure(limits.names);
        self.processes.set_limit(limits.processes);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct CacheLimits {
    names: NamesConfig,
    processes: usize,
}

/// The limits of caches that held so many names, decided names and processes before they are halved so often. A process
/// that lives would be read anew by each sweep, so there is room for all of these.
fn cache_limits(config: &Config, before: (usize, usize, usize), living: usize, halved: u32) -> CacheLimits {
    let (mut names, mut processes) = (names_config(config), process_limit(config));
    if halved > 0 {
        let less = |configured: usize, held: usize| {
            configured.min((configured.min(held) >> halved).max(FEWEST_CACHED))
        };
        names.entries = less(names.entries, before.0);
        names.decisions = less(names.decisions, before.1);
        processes = processes.min(less(processes, before.2).max(living));
    }
    CacheLimits { names, processes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::right;

    #[test]
    fn caches_are_halved_from_what_they_hold_or_may_hold() {
        let config = right("[dns]\nnames = 1000\n[limits]\nprocesses = 5000\nflows = 100\n");
        let limits = |before, living, halved| {
            let limits = cache_limits(&config, before, living, halved);
            (limits.names.entries, limits.names.decisions, limits.processes)
        };
        assert_eq!(limits((800, 300, 4000), 100, 0), (1000, 400, 5000));
        assert_eq!(limits((800, 300, 4000), 100, 1), (400, 150, 2000));
        assert_eq!(limits((800, 300, 4000), 100, 3), (100, 64, 500));
        assert_eq!(limits((5, 5, 9000), 4500, 2), (64, 64, 4500), "those that live have room");
        assert_eq!(limits((5, 5, 9000), 9000, 2), (64, 64, 5000), "as much as is configured");
    }
}
