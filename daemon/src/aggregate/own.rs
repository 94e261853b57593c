//! What netsonde tells of itself: `netsonde.self.*`.

use std::collections::HashMap;

use netsonde_probes::descriptor::{Attribute as Key, AttributeType, Metric, MetricKind, Stability};

use super::logs::violation::RULE as AUDIT_RULE;
use super::status::Status;
use crate::telemetry::{Attribute, AttributeValue, Attributes, MetricData, Point, PointValue, Temporality};

macro_rules! keys {
    ($($name:ident = $key:literal, $text:literal;)*) => {
        $(static $name: Key = Key {
            name: $key,
            value_type: AttributeType::String,
            description: $text,
            stability: Stability::Stable,
        };)*
    };
}

keys! {
    LOSS_REASON = "netsonde.loss.reason", "why something is missing, or coarser than it was meant to be";
    HISTORY_LOSS = "netsonde.history.loss.reason", "inbox_full (more than could be taken), disk_full, store_failed, store_full (history.size), too_many_open or unwritable (too long)";
    SIGNAL_NAME = "netsonde.signal.name", "name of a signal, as in the configuration";
    SIGNAL_STATE = "netsonde.signal.state", "active, degraded, unsupported, failed or disabled";
    RULE = "netsonde.selector.rule", "name of a rule of the selection";
    LOOKUP_OUTCOME = "netsonde.dns.lookup.outcome", "answered, timed_out, unknown (messages of that time are missing), silent (asked by multicast, and this host had nothing to say) or dropped (too many were in flight)";
    UNMATCHED_REASON = "netsonde.dns.unmatched.reason", "late (after the timeout), duplicate or unsolicited";
    MALFORMED_REASON = "netsonde.dns.malformed.reason", "what is wrong with a message, such as truncated_record or compression_loop";
    SKIPPED_REASON = "netsonde.dns.skipped.reason", "multicast (unless dns.multicast is set), other_opcode (no query: an update, a notification) or without_question";
    FOLDED_REASON = "netsonde.dns.folded.reason", "suffix (of dns.suffixes) or other (more names than dns.question_names)";
    HELLO_OUTCOME = "netsonde.tls.hello.outcome", "read, evicted (read, and forgotten before its connection ended: too many), incomplete (longer than what is copied of it) or malformed";
    NAME_KIND = "netsonde.dns.name.kind", "address (as known to a process, a network namespace or the host) or flow (which goes by the name)";
    PROGRAM_NAME = "netsonde.program.name", "name of a BPF program of netsonde";
    CAPABILITY = "netsonde.capability", "name of a capability, as in capabilities(7)";
    API_REFUSAL = "netsonde.api.refusal", "forbidden, unauthorized (no token), host (a foreign name, or another site's page), body, head_too_large, malformed, timeout (it did not ask), stalled (it did not take its answer), too_many or accept_failed";
    RING = "netsonde.ring.name", "event_ring, payload_ring or process_ring, as in [limits]";
    TABLE_NAME = "netsonde.table.name", "name of a table: active_flows (those with connections open), cgroups, dns_lookups (in flight), dns_streams, flow_names (names of servers that flows go by), hellos (first messages of TLS clients), listeners (limits.listeners), openings (of listeners), question_names (dns.question_names), rules (of the selection), view (bytes of the history that readers are shown, api.history_size), view_processes; in the kernel accepts, images, multipath_owners and openers";
    VIEW_LOSS = "netsonde.view.loss.reason", "frames (intervals that were forgotten before api.history, for want of api.history_size or of memory), flows and lookups (each time that one was summed under number 0 in an interval), processes (forgotten for others), events (a reader who follows them was too slow)";
    DESTINATION = "netsonde.export.destination", "where telemetry goes";
    EXPORT_SIGNAL = "netsonde.export.signal", "metrics (counted in points) or logs (counted in records)";
    SPOOL_STATE_KEY = "netsonde.spool.state", "active, disk_full or unavailable";
    EXPORT_OUTCOME = "netsonde.export.outcome", "delivered, rejected (by the collector), or why it was lost";
}

macro_rules! metrics {
    ($($name:ident = $key:literal, $kind:ident, $unit:literal, [$($attribute:ident),*], $text:literal;)*) => {
        $(static $name: Metric = Metric {
            name: $key,
            kind: MetricKind::$kind,
            unit: $unit,
            description: $text,
            stability: Stability::Stable,
            attributes: &[$(&$attribute),*],
            of_flow: false,
        };)*
        /// All of them.
        pub const ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    LOSSES = "netsonde.self.losses", Counter, "{record}", [LOSS_REASON],
        "Records and measurements that could not be written as meant";
    STATE = "netsonde.self.signal.state", Gauge, "{signal}", [SIGNAL_NAME, SIGNAL_STATE],
        "1 for the state that each signal is in";
    SWEEP_DURATION = "netsonde.self.sweep.duration", Gauge, "s", [],
        "How long the last sweep took, from the first socket to the last drained flow";
    SWEEP_SOCKETS = "netsonde.self.sweep.sockets", Gauge, "{socket}", [],
        "Sockets that the last sweep met";
    SWEEP_NAMESPACES = "netsonde.self.sweep.namespaces", Gauge, "{namespace}", [],
        "Network namespaces that the last sweep visited";
    UNOWNED = "netsonde.self.sockets.unowned", Gauge, "{socket}", [],
        "Sockets for which the last sweep knew no process";
    FLOWS_USAGE = "netsonde.self.flows.usage", Gauge, "{flow}", [],
        "Flows that measured something in the last interval";
    FLOWS_LIMIT = "netsonde.self.flows.limit", Gauge, "{flow}", [],
        "Flows that the kernel can tell apart in one interval (limits.flows)";
    PROCESSES = "netsonde.self.processes.usage", Gauge, "{process}", [],
        "Processes in the table, ended ones that are still kept included";
    PROCESSES_LIMIT = "netsonde.self.processes.limit", Gauge, "{process}", [],
        "Processes above which the ones that ended first are forgotten (limits.processes)";
    RING_USAGE = "netsonde.self.ring.usage", Gauge, "By", [RING],
        "The most that waited in a ring of the kernel's since the last export, as far as its reader met it";
    RING_LIMIT = "netsonde.self.ring.limit", Gauge, "By", [RING],
        "What a ring of the kernel's holds";
    LAG = "netsonde.self.lag", Gauge, "s", [],
        "How old the oldest record may have been, since the last export, when it was taken in";
    PROCESSES_EVICTED = "netsonde.self.processes.evicted", Counter, "{process}", [],
        "Processes that were forgotten early because the table was full (limits.processes)";
    PROCESSES_REPAIRED = "netsonde.self.processes.repaired", Counter, "{process}", [],
        "Processes, and programs of processes, that were learnt from /proc because an event of theirs was lost";
    UNATTRIBUTED = "netsonde.self.unattributed", Counter, "{record}", [],
        "Events and measurements of a known pid whose process nobody could name any more";
    CGROUPS = "netsonde.self.cgroups.usage", Gauge, "{cgroup}", [],
        "Control groups that are known by number, removed ones that are still kept included";
    CGROUPS_EVICTED = "netsonde.self.cgroups.evicted", Counter, "{cgroup}", [],
        "Control groups that were forgotten early because there are too many: units and containers are then looked up in /proc";
    RULE_MATCHES = "netsonde.self.selector.matches", Counter, "{match}", [RULE],
        "What each selection rule decided: a socket where the kernel can tell by itself, else each event, and each flow and listener of an interval";
    VIOLATIONS = "netsonde.listen.violations", Counter, "{listener}", [AUDIT_RULE],
        "Listeners that a rule of the audit denied, each once as it is told by netsonde.listen.violation; 0 of a rule says that none was";
    HISTORY_STORED = "netsonde.self.history.stored", Counter, "{event}", [],
        "Openings and closings of listeners that were written to the history";
    HISTORY_LOSSES = "netsonde.self.history.losses", Counter, "{event}", [HISTORY_LOSS],
        "Openings and closings of listeners that are not in the history";
    HISTORY_SET_ASIDE = "netsonde.self.history.set_aside", Counter, "{store}", [],
        "Stores of the history that were damaged and set aside";
    HISTORY_RECORDS = "netsonde.self.history.usage", Gauge, "{record}", [],
        "Openings of listeners that the history has";
    HISTORY_BYTES = "netsonde.self.history.size", Gauge, "By", [],
        "What the history takes of the disk";
    DNS_LOOKUPS = "netsonde.self.dns.lookups", Counter, "{lookup}", [LOOKUP_OUTCOME],
        "DNS lookups that ended, those of sockets that are not observed included";
    DNS_PENDING = "netsonde.self.dns.lookups.pending", Gauge, "{lookup}", [],
        "DNS lookups that have no response yet";
    DNS_UNMATCHED = "netsonde.self.dns.responses.unmatched", Counter, "{response}", [UNMATCHED_REASON],
        "DNS responses that ended no lookup";
    DNS_MALFORMED = "netsonde.self.dns.messages.malformed", Counter, "{message}", [MALFORMED_REASON],
        "DNS messages that could not be read, or not in all their parts";
    DNS_SKIPPED = "netsonde.self.dns.messages.skipped", Counter, "{message}", [SKIPPED_REASON],
        "DNS messages that are not followed";
    DNS_STREAMS = "netsonde.self.dns.stream.losses", Counter, "{loss}", [LOSS_REASON],
        "DNS messages over TCP that could not be put together";
    DNS_FOLDED = "netsonde.self.dns.questions.folded", Counter, "{question}", [FOLDED_REASON],
        "DNS lookups whose question name shares a series with others";
    TLS_HELLOS = "netsonde.self.tls.hellos", Counter, "{message}", [HELLO_OUTCOME],
        "First messages of TLS clients, by what became of them";
    NAMES = "netsonde.self.dns.names.usage", Gauge, "{name}", [],
        "Addresses that have a name, for a process, a network namespace or the host (dns.names)";
    NAMES_LIMIT = "netsonde.self.dns.names.limit", Gauge, "{name}", [],
        "Names of addresses above which the least recently used are forgotten (dns.names)";
    NAMES_EVICTED = "netsonde.self.dns.names.evicted", Counter, "{name}", [NAME_KIND],
        "Names of addresses that were forgotten early because there are too many";
    NAMES_UNRELATED = "netsonde.self.dns.names.unrelated", Counter, "{address}", [],
        "Addresses in DNS answers that nothing led to from the question: they get no name";
    SERIES = "netsonde.self.series.usage", Gauge, "{series}", [],
        "Metric series that are held";
    SERIES_LIMIT = "netsonde.self.series.limit", Gauge, "{series}", [],
        "Metric series above which points fold into otel.metric.overflow (metrics.series_limit)";
    SERIES_FOLDED = "netsonde.self.series.folded", Counter, "{measurement}", [],
        "Measurements that were folded into an overflow series";
    SERIES_EXPIRED = "netsonde.self.series.expired", Counter, "{series}", [],
        "Series that were dropped because nothing was added for metrics.series_expiry";
    SERIES_SHED = "netsonde.self.series.shed", Counter, "{series}", [],
        "Series that were ended because memory ran short (limits.memory): what comes for them later is folded, or begins anew";
    MEMORY = "netsonde.self.memory.usage", Gauge, "By", [],
        "Memory in use that the kernel cannot take back by itself: of the control group if netsonde is alone in it, BPF maps included, else of the process";
    MEMORY_LIMIT = "netsonde.self.memory.limit", Gauge, "By", [],
        "Memory at most (limits.memory); absent without a limit";
    MEMORY_STAGE = "netsonde.self.memory.stage", Gauge, "{stage}", [],
        "How much detail is let go of because memory runs short: 0 for none, 6 at most";
    TABLE = "netsonde.self.table.usage", Gauge, "{entry}", [TABLE_NAME],
        "Entries of a table that has a limit";
    TABLE_LIMIT = "netsonde.self.table.limit", Gauge, "{entry}", [TABLE_NAME],
        "Entries that a table has at most";
    API_CLIENTS_LIMIT = "netsonde.self.api.clients.limit", Gauge, "{client}", [],
        "Clients of the local API at most (api.clients)";
    PROGRAM_TIME = "netsonde.self.program.run_time", Counter, "s", [PROGRAM_NAME],
        "Time spent in each BPF program; stays as it is unless self.program_statistics or kernel.bpf_stats_enabled is set";
    PROGRAM_RUNS = "netsonde.self.program.runs", Counter, "{run}", [PROGRAM_NAME],
        "Runs of each BPF program; stays as it is unless self.program_statistics or kernel.bpf_stats_enabled is set";
    PROGRAM_SKIPPED = "netsonde.self.program.skipped", Counter, "{run}", [PROGRAM_NAME],
        "Runs that the kernel skipped because the program was interrupted in the middle; the twin of tcp_state_changed takes those of its kind";
    LACKING = "netsonde.self.privileges.missing", Gauge, "{capability}", [CAPABILITY],
        "1 for each capability that is missing; netsonde status says what is missing without it";
    API_CLIENTS = "netsonde.self.api.clients", Gauge, "{client}", [],
        "Clients of the local API";
    API_REQUESTS = "netsonde.self.api.requests", Counter, "{request}", [],
        "Requests that the local API has answered";
    API_REFUSED = "netsonde.self.api.refused", Counter, "{refusal}", [API_REFUSAL],
        "Clients and requests that the local API has not served";
    VIEW_LOSSES = "netsonde.self.view.losses", Counter, "{record}", [VIEW_LOSS],
        "What readers of the local API are not shown, or not apart from others";
    EXPORTED = "netsonde.self.export.items", Counter, "{item}", [DESTINATION, EXPORT_SIGNAL, EXPORT_OUTCOME],
        "Metric points and log records, by what became of them";
    EXPORT_QUEUE = "netsonde.self.export.queue", Gauge, "By", [DESTINATION, EXPORT_SIGNAL],
        "Encoded requests that wait for their destination, in memory and in the spool";
    EXPORT_WAITING = "netsonde.self.export.waiting", Gauge, "{item}", [DESTINATION, EXPORT_SIGNAL],
        "Metric points and log records whose fate is open";
    EXPORT_RESTORED = "netsonde.self.export.restored", Counter, "{item}", [DESTINATION, EXPORT_SIGNAL],
        "Metric points and log records that an earlier process had left in the spool";
    SPOOL_USAGE = "netsonde.self.spool.usage", Gauge, "By", [DESTINATION, EXPORT_SIGNAL],
        "Bytes of the spool's files";
    SPOOL_LIMIT = "netsonde.self.spool.limit", Gauge, "By", [DESTINATION, EXPORT_SIGNAL],
        "Bytes that the spool's files may have (half of export.spool.size)";
    SPOOL_RECORDS = "netsonde.self.spool.records", Gauge, "{request}", [DESTINATION, EXPORT_SIGNAL],
        "Encoded requests that wait in the spool";
    SPOOL_AGE = "netsonde.self.spool.age", Gauge, "s", [DESTINATION, EXPORT_SIGNAL],
        "How long the oldest request has waited in the spool; 0 when none does";
    SPOOL_STATE = "netsonde.self.spool.state", Gauge, "{spool}", [DESTINATION, EXPORT_SIGNAL, SPOOL_STATE_KEY],
        "1 for the state that the spool is in; while it is not active, what comes waits in memory";
}

struct Writer {
    data: Vec<MetricData>,
    start_unix_ns: u64,
    time_unix_ns: u64,
}

impl Writer {
    fn put<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [(&'static Key, &str); N],
        value: PointValue,
    ) {
        let attributes: Vec<Attribute> =
            labels.iter().map(|(key, value)| (key.name, AttributeValue::String((*value).into()))).collect();
        let point = Point {
            attributes: attributes.into(),
            start_unix_ns: self.start_unix_ns,
            time_unix_ns: self.time_unix_ns,
            value,
        };
        match self.data.iter_mut().find(|d| std::ptr::eq(d.metric, metric)) {
            Some(data) => data.points.push(point),
            None => self.data.push(MetricData {
                metric,
                temporality: Temporality::Cumulative,
                points: vec![point],
            }),
        }
    }

    fn int<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [(&'static Key, &str); N],
        value: u64,
    ) {
        self.put(metric, labels, PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

/// When each counter of the daemon's own began. Those of a destination that a reload made anew, or of a rule that came
/// back, count from zero again: they begin where the reading before ended, so that none ever falls.
#[derive(Debug, Default)]
pub struct Starts {
    /// The last value and the start of each point.
    known: HashMap<(&'static str, Vec<String>), (f64, u64)>,
    last_unix_ns: Option<u64>,
}

impl Starts {
    /// Sets the starts of a reading's points, and remembers them. As many are remembered as one reading has.
    pub fn apply(&mut self, mut data: Vec<MetricData>) -> Vec<MetricData> {
        let mut known = HashMap::with_capacity(self.known.len());
        let mut read_unix_ns = self.last_unix_ns;
        for of in &mut data {
            if of.metric.kind != MetricKind::Counter {
                continue;
            }
            for point in &mut of.points {
                let value = match point.value {
                    PointValue::Int(n) => n as f64,
                    PointValue::Double(n) => n,
                    PointValue::Histogram { .. } => continue,
                };
                let key = (of.metric.name, words(&point.attributes));
                let start = match (self.known.get(&key), self.last_unix_ns) {
                    (Some((before, start)), _) if *before <= value => *start,
                    (_, Some(last)) => last,
                    (_, None) => point.start_unix_ns,
                };
                point.start_unix_ns = start.min(point.time_unix_ns);
                read_unix_ns = Some(point.time_unix_ns);
                known.insert(key, (value, point.start_unix_ns));
            }
        }
        (self.known, self.last_unix_ns) = (known, read_unix_ns);
        data
    }
}

/// The values of own attributes, which are all text.
fn words(attributes: &Attributes) -> Vec<String> {
    let text = |(_, value): &Attribute| match value {
        AttributeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    attributes.iter().map(text).collect()
}

/// A status as metrics. Always cumulative, since the daemon's start.
#[must_use]
pub fn metrics(status: &Status, time_unix_ns: u64) -> Vec<MetricData> {
    let mut to = Writer { data: Vec::new(), start_unix_ns: status.started_unix_ns, time_unix_ns };
    for loss in &status.losses {
        to.int(&LOSSES, [(&LOSS_REASON, loss.reason)], loss.count);
    }
    for signal in &status.signals {
        to.int(&STATE, [(&SIGNAL_NAME, signal.name), (&SIGNAL_STATE, signal.state)], 1);
    }
    let sweep = &status.sweep;
    to.put(&SWEEP_DURATION, [], PointValue::Double(sweep.seconds));
    to.int(&SWEEP_SOCKETS, [], sweep.sockets);
    to.int(&SWEEP_NAMESPACES, [], sweep.namespaces);
    to.int(&UNOWNED, [], sweep.unowned);
    to.int(&FLOWS_USAGE, [], sweep.flows);
    to.int(&FLOWS_LIMIT, [], sweep.flow_limit);
    to.int(&PROCESSES, [], status.processes.tracked);
    to.int(&PROCESSES_LIMIT, [], status.processes.limit);
    for ring in &status.rings {
        to.int(&RING_USAGE, [(&RING, ring.name)], ring.fill);
        to.int(&RING_LIMIT, [(&RING, ring.name)], ring.limit);
    }
    to.put(&LAG, [], PointValue::Double(status.lag_seconds));
    to.int(&PROCESSES_EVICTED, [], status.processes.evicted);
    to.int(&PROCESSES_REPAIRED, [], status.processes.repaired);
    to.int(&UNATTRIBUTED, [], status.processes.unattributed);
    to.int(&CGROUPS, [], status.processes.cgroups);
    to.int(&CGROUPS_EVICTED, [], status.processes.cgroups_evicted);
    for rule in &status.selection {
        to.int(&RULE_MATCHES, [(&RULE, rule.name.as_str())], rule.matches);
    }
    let dns = &status.dns;
    for (metric, key, counts) in [
        (&DNS_LOOKUPS, &LOOKUP_OUTCOME, &dns.lookups),
        (&DNS_UNMATCHED, &UNMATCHED_REASON, &dns.unmatched),
        (&DNS_MALFORMED, &MALFORMED_REASON, &dns.malformed),
        (&DNS_SKIPPED, &SKIPPED_REASON, &dns.skipped),
        (&DNS_STREAMS, &LOSS_REASON, &dns.streams),
        (&DNS_FOLDED, &FOLDED_REASON, &dns.folded),
        (&NAMES_EVICTED, &NAME_KIND, &dns.names_evicted),
    ] {
        for (word, n) in counts {
            to.int(metric, [(key, word)], *n);
        }
    }
    for (word, n) in &status.hellos {
        to.int(&TLS_HELLOS, [(&HELLO_OUTCOME, word)], *n);
    }
    for (rule, n) in &status.violations {
        to.int(&VIOLATIONS, [(&AUDIT_RULE, rule)], *n);
    }
    let history = &status.history;
    if history.state != "off" {
        to.int(&HISTORY_STORED, [], history.stored);
        for (reason, n) in &history.losses {
            to.int(&HISTORY_LOSSES, [(&HISTORY_LOSS, reason)], *n);
        }
        to.int(&HISTORY_SET_ASIDE, [], history.set_aside);
        to.int(&HISTORY_RECORDS, [], history.records);
        to.int(&HISTORY_BYTES, [], history.bytes);
    }
    to.int(&DNS_PENDING, [], dns.pending);
    to.int(&NAMES, [], dns.names);
    to.int(&NAMES_LIMIT, [], dns.names_limit);
    to.int(&NAMES_UNRELATED, [], dns.unrelated);
    to.int(&SERIES, [], status.series.held);
    to.int(&SERIES_LIMIT, [], status.series.limit);
    to.int(&SERIES_FOLDED, [], status.series.folded);
    to.int(&SERIES_EXPIRED, [], status.series.expired);
    to.int(&SERIES_SHED, [], status.series.shed);
    to.int(&MEMORY, [], status.memory.usage);
    if let Some(limit) = status.memory.limit {
        to.int(&MEMORY_LIMIT, [], limit);
    }
    to.int(&MEMORY_STAGE, [], status.memory.stage.into());
    for table in &status.tables {
        to.int(&TABLE, [(&TABLE_NAME, table.name)], table.fill);
        to.int(&TABLE_LIMIT, [(&TABLE_NAME, table.name)], table.limit);
    }
    for program in &status.programs {
        let name = [(&PROGRAM_NAME, program.name)];
        let seconds = program.run_time_ns as f64 / 1e9;
        to.put(&PROGRAM_TIME, name, PointValue::Double(seconds));
        to.int(&PROGRAM_RUNS, name, program.runs);
        to.int(&PROGRAM_SKIPPED, name, program.skipped);
    }
    for lacking in &status.lacking {
        to.int(&LACKING, [(&CAPABILITY, lacking.capability)], 1);
    }
    to.int(&API_CLIENTS, [], status.api.clients);
    to.int(&API_CLIENTS_LIMIT, [], status.api.limit);
    to.int(&API_REQUESTS, [], status.api.requests);
    for (why, n) in &status.api.refused {
        to.int(&API_REFUSED, [(&API_REFUSAL, why)], *n);
    }
    for (reason, n) in &status.view {
        to.int(&VIEW_LOSSES, [(&VIEW_LOSS, reason)], *n);
    }
    for destination in &status.destinations {
        for lane in &destination.signals {
            let of = [(&DESTINATION, destination.name.as_str()), (&EXPORT_SIGNAL, lane.signal)];
            for (outcome, n) in &lane.outcomes {
                to.int(&EXPORTED, [of[0], of[1], (&EXPORT_OUTCOME, outcome)], *n);
            }
            to.int(&EXPORT_QUEUE, of, lane.queue_bytes);
            to.int(&EXPORT_WAITING, of, lane.waiting);
            if let Some(spool) = &lane.spool {
                to.int(&EXPORT_RESTORED, of, lane.restored);
                to.int(&SPOOL_USAGE, of, spool.bytes);
                to.int(&SPOOL_LIMIT, of, spool.limit);
                to.int(&SPOOL_RECORDS, of, spool.records);
                to.put(&SPOOL_AGE, of, PointValue::Double(spool.oldest_seconds));
                to.int(&SPOOL_STATE, [of[0], of[1], (&SPOOL_STATE_KEY, spool.state)], 1);
            }
        }
    }
    to.data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::status::SeriesStatus;

    fn reading(starts: &mut Starts, at: u64, folded: u64) -> (u64, i64) {
        let series = SeriesStatus { folded, ..SeriesStatus::default() };
        let status = Status { started_unix_ns: 5, series, ..Status::default() };
        let data = starts.apply(metrics(&status, at));
        let of = data.iter().find(|of| of.metric.name == SERIES_FOLDED.name).expect("there");
        let PointValue::Int(n) = of.points[0].value else { panic!("a number") };
        (of.points[0].start_unix_ns, n)
    }

    #[test]
    fn a_counter_that_begins_anew_starts_where_the_reading_before_ended() {
        let mut starts = Starts::default();
        let seen = [(10, 0), (20, 7), (30, 7), (40, 2), (50, 3), (60, 0)];
        let seen = seen.map(|(at, n)| reading(&mut starts, at, n));
        assert_eq!(seen, [(5, 0), (5, 7), (5, 7), (30, 2), (30, 3), (50, 0)]);
    }

    #[test]
    fn a_counter_that_was_away_begins_anew() {
        let mut starts = Starts::default();
        let lost = |losses: &[u64]| {
            let losses =
                losses.iter().map(|n| crate::aggregate::status::Loss { reason: "a", count: *n }).collect();
            Status { started_unix_ns: 5, losses, ..Status::default() }
        };
        let mut start = |at, losses: &[u64]| {
            let data = starts.apply(metrics(&lost(losses), at));
            data.iter().find(|of| of.metric.name == LOSSES.name).map(|of| of.points[0].start_unix_ns)
        };
        assert_eq!([start(10, &[3]), start(20, &[]), start(30, &[9])], [Some(5), None, Some(20)]);
    }
}
