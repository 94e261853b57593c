//! The task's part on how the daemon is doing: everything that is known, after each sweep, as one status.

use netsonde_probes::RingFill;

use super::Aggregation;
use super::lookups::dns_status;
use crate::aggregate::recent;
use crate::aggregate::status::{
    ApiStatus, DNS_EVENT_RATE_LIMITED, DestinationStatus, LISTENERS_UNTRACKED, LaneStatus, Loss,
    MEMORY_SHORT, ProcessStatus, ProgramStatus, RingStatus, RuleStatus, SeriesStatus, SignalStatus,
    SpoolStatus, SweepStatus,
};
use crate::collect::SweepReport;
use crate::enrich::Clock;
use crate::export::{
    DestinationStatistics, LossReason, Signal, SignalStatistics, SpoolState, SpoolStatistics,
};

impl Aggregation {
    pub(super) fn note(&mut self, report: &SweepReport, now: u64) {
        let tables = self.tables(&report.tables);
        let status = &mut self.status;
        status.read_unix_ns = now;
        status.signals = report
            .signals
            .iter()
            .map(|s| SignalStatus {
                name: s.name,
                state: s.state.word(),
                reason: s.state.reason().map(ToOwned::to_owned),
            })
            .collect();
        let limited = (DNS_EVENT_RATE_LIMITED, self.dns_events_dropped);
        let untracked = (LISTENERS_UNTRACKED, self.listening.untracked());
        let short = (MEMORY_SHORT, self.memory.events_shed());
        let losses = report.losses.iter().chain([&limited, &untracked, &short]);
        status.losses = losses.map(|&(reason, count)| Loss { reason, count }).collect();
        status.programs = report
            .programs
            .iter()
            .map(|p| ProgramStatus {
                name: p.name,
                run_time_ns: p.run_time_ns,
                runs: p.run_count,
                skipped: p.recursion_misses,
            })
            .collect();
        status.sweep.count += 1;
        if let Ok(sweep) = &report.sweep {
            let totals = &sweep.totals;
            status.sweep = SweepStatus {
                seconds: report.took.as_secs_f64(),
                sockets: totals.sockets,
                connections: totals.connections,
                listeners: sweep.listeners.len() as u64,
                unowned: totals.unowned,
                namespaces: totals.namespaces,
                namespaces_missed: totals.namespaces_missed,
                // The overflow entry is always there, and is no flow.
                flows: sweep.flows.len().saturating_sub(1) as u64,
                flow_limit: report.flow_capacity.into(),
                ..status.sweep
            };
        }
        let table = self.processes.statistics();
        status.processes = ProcessStatus {
            tracked: table.tracked,
            limit: self.config.limits.processes.get().into(),
            evicted: table.evicted,
            repaired: table.repaired,
            unattributed: self.unattributed,
            cgroups: table.cgroups,
            cgroups_evicted: table.cgroups_evicted,
        };
        self.selections.count_in_kernel(&report.rule_matches);
        let matches = self.selections.matches();
        status.selection =
            matches.map(|(name, matches)| RuleStatus { name: name.to_owned(), matches }).collect();
        status.dns = dns_status(&self.dns, &self.questions, &self.names);
        status.dns.names_limit = self.config.dns.names.get().into();
        status.lag_seconds = std::mem::take(&mut self.lag_ns) as f64 / 1e9;
        let ring = |r: &RingFill| RingStatus { name: r.name, fill: r.fill, limit: r.limit };
        status.rings = report.rings.iter().map(ring).collect();
        status.hellos = self.hellos.outcomes();
        status.history = self.listening.history();
        status.violations = self.listening.violations();
        let (store, listeners) = (self.series.statistics(), self.listeners.statistics());
        status.series = SeriesStatus {
            held: store.series + listeners.series,
            limit: self.series.limit(),
            folded: store.folded + self.listeners_folded,
            expired: store.expired,
            shed: store.shed,
        };
        status.memory = self.memory.status();
        status.view = self.view.losses().by_reason().to_vec();
        status.tables = tables;
        let api = &self.around.api;
        status.api = ApiStatus {
            clients: api.clients(),
            limit: self.config.api.clients.get().into(),
            requests: api.requests(),
            refused: api.refused(),
        };
        status.destinations = self.exporters.statistics().iter().map(destination_status).collect();
        status.recent = self.recent.take(Clock::read().boot_ns(), &recent::troubles(status));
    }
}

fn destination_status(of: &DestinationStatistics) -> DestinationStatus {
    let unix_ns = |t: std::time::SystemTime| {
        let since = t.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    DestinationStatus {
        name: of.name.clone(),
        signals: vec![lane_status(Signal::Metrics, &of.metrics), lane_status(Signal::Logs, &of.logs)],
        last_error: of.last_error.clone(),
        last_success_unix_ns: of.last_success.map(unix_ns),
    }
}

fn lane_status(signal: Signal, of: &SignalStatistics) -> LaneStatus {
    let mut outcomes = vec![("delivered", of.delivered), ("rejected", of.rejected)];
    outcomes.extend(LossReason::ALL.iter().map(|&reason| (reason.name(), of.lost(reason))));
    LaneStatus {
        signal: signal.name(),
        outcomes,
        failures: of.failures,
        waiting: of.pending(),
        restored: of.restored,
        queue_bytes: of.queue_bytes,
        spool: (of.spool.state != SpoolState::Off).then(|| spool_status(&of.spool)),
    }
}

fn spool_status(of: &SpoolStatistics) -> SpoolStatus {
    // A clock that was set back makes nothing older.
    let age = of.oldest.and_then(|oldest| oldest.elapsed().ok());
    SpoolStatus {
        state: of.state.name(),
        error: of.error.clone(),
        bytes: of.bytes,
        limit: of.limit,
        records: of.records,
        oldest_seconds: age.unwrap_or_default().as_secs_f64(),
    }
}
