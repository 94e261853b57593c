//! How full each table is that has a limit and no metric of its own.

use netsonde_probes::TableFill;
use netsonde_probes::select::MAX_RULES;

use super::super::status::TableStatus;
use super::Aggregation;

impl Aggregation {
    /// Those of the task's own, and what the kernel side told of its.
    pub(super) fn tables(&self, in_kernel: &[TableFill]) -> Vec<TableStatus> {
        let table = |name, (fill, limit): (usize, usize)| TableStatus {
            name,
            fill: fill as u64,
            limit: limit as u64,
        };
        let (names, processes) = (self.names.statistics(), self.processes.statistics());
        let [lookups, streams] = self.dns.fills();
        let [view, view_processes] = self.view.fills();
        let mut tables = vec![
            table("active_flows", self.active.fill()),
            table("dns_lookups", lookups),
            table("dns_streams", streams),
            table("hellos", self.hellos.fill()),
            table("listeners", self.live.fill()),
            table("openings", self.listening.fill()),
            table("question_names", (self.questions.len(), self.config.dns.question_names as usize)),
            table("rules", (self.config.select.rules.len(), MAX_RULES)),
            table("view", view),
            table("view_processes", view_processes),
            TableStatus { name: "cgroups", fill: processes.cgroups, limit: processes.cgroups_limit },
            TableStatus { name: "flow_names", fill: names.decided, limit: names.decisions },
        ];
        let in_kernel =
            in_kernel.iter().map(|of| TableStatus { name: of.name, fill: of.fill, limit: of.limit });
        tables.extend(in_kernel);
        tables
    }
}
