//! The task that owns the process table and the series.

#[cfg(test)]
mod counted;
mod inventory;
mod listening;
mod lookups;
mod memory;
mod noting;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use netsonde_audit::model::address_class;
use netsonde_audit::report::Source;
use netsonde_audit::words::Word as _;
use netsonde_dns::questions::QuestionNames;
use netsonde_probes::capabilities::Capability;
use netsonde_probes::records::{Flow, FlowCounts, Listener, Owner, Role, RuleMask, SocketEventKind};
use netsonde_probes::signals::flow::{self, MeasuredValue, Measurement};
use netsonde_probes::signals::tcp::{attributes, metrics};
use netsonde_probes::{Holders, Records};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use inventory::KnownPlaces;
use listening::Listening;
use lookups::{names_config, question_limits, rate_limit};
use memory::{FLOWS_A_READING, Memory};

use super::active::ActiveConnections;
use super::dns::{Dns, RateLimit, Sums};
use super::hellos::Hellos;
use super::identity::NamedFlow;
use super::logs::Ownership;
use super::recent::Recent;
use super::series::Store;
use super::status::{Lacking, Status};
use super::{logs, own};
use crate::api::Counts;
use crate::audit::{Circumstances, Live, Snapshot, Taker};
use crate::collect::{Collected, Reading, SweepReport};
use crate::config::{Config, EventKind};
use crate::enrich::{Clock, Masker, Names, OwnProcess, Process, ProcessTable, SearchSuffixes, Users};
use crate::export::{Exporters, LossReason, Signal};
use crate::history::Recorder;
use crate::memory::Moment;
use crate::progress::{Progress, Stage};
use crate::select::{Selection, Selections, user_id, with_facts};
use crate::telemetry::{LogRecord, MetricData, Telemetry};
use crate::view;

/// Log records are handed on after this long, or when so many have come together.
const LOG_DELAY: Duration = Duration::from_millis(500);
const LOG_BATCH: usize = 512;

/// What can be asked of the running task.
pub enum Command {
    /// Take over a configuration, and send to these exporters from now on, if there are any; else the ones
    /// there are go on, with their files opened anew. Answered when all that is in force.
    Reconfigure(Box<Config>, Option<Exporters>, oneshot::Sender<()>),
}

/// Why the task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The collector has nothing more.
    Drained,
    /// Nobody reads any of the outputs any more.
    Abandoned,
}

/// Where the task shows what it knows.
pub struct Publish {
    /// How it is doing, after each sweep.
    pub status: watch::Sender<Status>,
    /// What listens, within a second of each change; nothing before the first sweep.
    pub inventory: watch::Sender<Option<Arc<Snapshot>>>,
}

/// What the task is told of the rest of the daemon.
pub struct Around {
    /// Where it says that it gets on.
    pub progress: Arc<Progress>,
    /// What became of the clients of the local API.
    pub api: Arc<Counts>,
    /// Capabilities that were missing from the start.
    pub lacking: Vec<&'static Capability>,
}

/// The state of the task.
pub struct Aggregation {
    around: Around,
    config: Config,
    /// What readers are shown of intervals and processes.
    view: view::Recorder,
    processes: ProcessTable,
    users: Users,
    series: Store,
    /// Rebuilt by each sweep.
    listeners: Store,
    listeners_folded: u64,
    /// What listens now.
    live: Live,
    places: KnownPlaces,
    /// When readers were shown what listens.
    shown: Instant,
    exporters: Exporters,
    pending_logs: Vec<LogRecord>,
    selections: Selections,
    active: ActiveConnections,
    dns: Dns,
    lookups: Sums,
    questions: QuestionNames,
    search: SearchSuffixes,
    names: Names,
    hellos: Hellos,
    listening: Listening,
    /// Something waits in the logs that somebody should look at now.
    violated: bool,
    dns_events: RateLimit,
    dns_events_dropped: u64,
    /// As the newest walk over open files found them.
    holders: Holders,
    unattributed: u64,
    last_sweep_unix_ns: u64,
    last_sweep_boot_ns: u64,
    /// The most since the last sweep.
    lag_ns: u64,
    recent: Recent,
    memory: Memory,
    own: Option<OwnProcess>,
    own_starts: own::Starts,
    status: Status,
    publish: Publish,
}

/// An ended process that owned sockets is kept for so long: its last flows come with the next sweep, but what it
/// sent last may wait for a slow or vanished peer (`tcp_orphan_retries`: about 100 s; `tcp_fin_timeout`: 60 s).
fn keep_ended(config: &Config) -> u64 {
    nanoseconds((config.interval * 3).max(Duration::from_secs(150)))
}

fn listener_limit(config: &Config) -> usize {
    config.limits.listeners.get() as usize
}

fn live(config: &Config) -> Live {
    let mut live = Live::new(listener_limit(config));
    live.set_policy(&config.audit);
    live
}

fn process_limit(config: &Config) -> usize {
    config.limits.processes.get() as usize
}

/// Flows with open connections, many of which may be silent, in multiples of those that a sweep may bring.
fn active_limit(config: &Config) -> usize {
    4 * config.limits.flows.get() as usize
}

fn is_of_listener(kind: SocketEventKind) -> bool {
    matches!(kind, SocketEventKind::ListenOpen | SocketEventKind::ListenClose)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn masker(config: &Config) -> Option<Masker> {
    config.process.command_line.then(|| Masker::new(&config.process.mask))
}

impl Aggregation {
    /// A task that sends to `exporters`, publishes its status and what listens, tells `recorder` what opens and closes,
    /// and `view` what is measured.
    #[must_use]
    pub fn new(
        config: Config,
        exporters: Exporters,
        publish: Publish,
        recorder: Option<Recorder>,
        view: view::Recorder,
        around: Around,
    ) -> Self {
        let clock = Clock::read();
        let now = clock.unix_ns();
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_unix_ns: now,
            lacking: around
                .lacking
                .iter()
                .map(|c| Lacking { capability: c.name, without: c.without.unwrap_or_default() })
                .collect(),
            ..Status::default()
        };
        Self {
            around,
            view,
            processes: ProcessTable::new(process_limit(&config), keep_ended(&config), masker(&config)),
            users: Users::new("/etc/passwd"),
            series: Store::new(config.metrics.clone(), now),
            listeners: Store::new(config.metrics.clone(), now),
            listeners_folded: 0,
            live: live(&config),
            places: KnownPlaces::read(),
            shown: Instant::now(),
            exporters,
            pending_logs: Vec::new(),
            selections: Selections::new(Selection::new(&config.select)),
            active: ActiveConnections::new(active_limit(&config)),
            dns: Dns::new(nanoseconds(config.dns.timeout), config.dns.multicast),
            lookups: Sums::default(),
            questions: QuestionNames::new(question_limits(&config), &config.dns.suffixes),
            search: SearchSuffixes::new("/etc/resolv.conf", config.dns.search_suffixes.clone()),
            names: Names::new(names_config(&config)),
            hellos: Hellos::default(),
            listening: Listening::new(&config, recorder),
            violated: false,
            dns_events: RateLimit::new(rate_limit(&config)),
            dns_events_dropped: 0,
            holders: Holders::default(),
            unattributed: 0,
            last_sweep_unix_ns: now,
            last_sweep_boot_ns: clock.boot_ns(),
            lag_ns: 0,
            recent: Recent::default(),
            memory: Memory::new(config.limits.memory),
            own: OwnProcess::find(),
            own_starts: own::Starts::default(),
            status,
            publish,
            config,
        }
    }

    /// Runs until the collector closes its channel, then flushes what is left until `grace` is over.
    pub async fn run(
        mut self,
        mut collected: mpsc::Receiver<Collected>,
        mut commands: mpsc::Receiver<Command>,
        grace: Duration,
    ) -> End {
        self.processes.scan_cgroups(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        let mut flush = interval(LOG_DELAY);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            self.around.progress.round(Stage::Aggregate);
            tokio::select! {
                batch = collected.recv() => match batch {
                    Some(Collected::Records(records, reading)) => self.take_records(&records, &reading),
                    Some(Collected::Sweep(report)) => self.take_sweep(&report),
                    None => break End::Drained,
                },
                Some(command) = commands.recv() => self.obey(command),
                _ = flush.tick() => {
                    self.flush_logs();
                    self.show_inventory();
                    self.watch_memory(Moment::Between);
                }
                () = self.exporters.abandoned() => break End::Abandoned,
            }
        };
        self.flush_logs();
        let left = self.exporters.shutdown(Instant::now() + grace).await;
        for destination in left {
            for signal in [Signal::Metrics, Signal::Logs] {
                let lost = destination.signal(signal).lost(LossReason::Shutdown);
                if lost > 0 {
                    let (name, signal) = (&destination.name, signal.name());
                    tracing::warn!(
                        destination = name,
                        signal,
                        lost,
                        "not everything could be delivered before the end"
                    );
                }
            }
        }
        end
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Reconfigure(config, exporters, done) => {
                self.flush_logs();
                let clock = Clock::read();
                let now = clock.unix_ns();
                // What was measured so far goes where it would have gone.
                self.take_lookups(&clock);
                self.reconfigure_dns(&config);
                self.processes.reconfigure(process_limit(&config), keep_ended(&config), masker(&config));
                self.selections.replace(Selection::new(&config.select));
                self.live.set_limit(listener_limit(&config));
                self.live.set_policy(&config.audit);
                if !self.series.goes_on_under(&config.metrics) {
                    // They end here, and those that come begin here.
                    let ended = self.series.collect(now);
                    self.exporters.send(&Telemetry::Metrics(Arc::new(ended)));
                    (self.last_sweep_unix_ns, self.last_sweep_boot_ns) = (now, clock.boot_ns());
                }
                if self.series.reconfigure(config.metrics.clone(), now) {
                    self.active.forget_names();
                }
                match exporters {
                    None => self.exporters.reopen_files(),
                    Some(new) => {
                        let old = std::mem::replace(&mut self.exporters, new);
                        // They deliver what they were given while the new ones already work.
                        tokio::spawn(old.shutdown(Instant::now() + Duration::from_secs(30)));
                    }
                }
                self.config = *config;
                self.reconfigure_memory();
                self.tell_active_again(&clock);
                let config = self.config.clone();
                self.reconfigure_audit(&config, &clock);
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    fn take_records(&mut self, records: &Records, reading: &Reading) {
        for event in &records.cgroups {
            self.processes.apply_cgroup(event);
        }
        for event in &records.processes {
            self.processes.apply(event);
        }
        let clock = Clock::read();
        if reading.since_ns > 0 && !records.is_empty() {
            self.lag_ns = self.lag_ns.max(clock.boot_ns().saturating_sub(reading.since_ns));
        }
        // Names are asked for before the connections that they are of.
        self.dns.begin(reading);
        for packet in &records.dns {
            for lookup in self.dns.take(packet) {
                self.tell_lookup(&lookup, &clock);
            }
        }
        for lookup in self.dns.expire(reading) {
            self.tell_lookup(&lookup, &clock);
        }
        for hello in &records.hellos {
            self.take_hello(hello);
        }
        self.listening.begin_batch();
        for event in &records.sockets {
            if event.kind == SocketEventKind::Close {
                self.dns.forget(event.cookie);
            }
            let process = self.processes.resolve_for_record(event.owner, event.binary_deleted);
            self.count_unattributed(event.owner, process.as_deref());
            if !self.is_observed(event.rules, event.owner, process.as_deref()) {
                continue;
            }
            if is_of_listener(event.kind) {
                self.take_listen(event, process.clone(), &clock);
                // The kernel tells of them in any case.
                if !self.config.events.enabled.contains(&EventKind::Listen) {
                    continue;
                }
            }
            let name = self.name_for_event(event);
            let holders = self.holders_of(event.cookie);
            let user = self.users.name(event.owner.uid);
            let of = Ownership {
                process: process.as_deref(),
                user,
                holders: &holders,
                own: self.is_own(event.owner),
            };
            let said = self.hellos.of(event.cookie);
            self.pending_logs.push(logs::record(event, &of, name.as_ref(), said, &clock));
            if event.kind == SocketEventKind::Close {
                self.hellos.forget(event.cookie);
            }
        }
        if self.violated || self.pending_logs.len() >= LOG_BATCH {
            self.flush_logs();
        }
        self.show_inventory();
    }

    fn name(&mut self, owner: Owner) -> Option<Arc<Process>> {
        let process = self.processes.resolve(owner);
        self.count_unattributed(owner, process.as_deref());
        process
    }

    fn count_unattributed(&mut self, owner: Owner, process: Option<&Process>) {
        if process.is_none() && owner.process.is_known() {
            self.unattributed += 1;
        }
    }

    /// Judges by the rules that the kernel left open, and counts the one that decides.
    fn is_observed(&mut self, candidates: RuleMask, owner: Owner, process: Option<&Process>) -> bool {
        if !self.config.select.own_traffic && self.is_own(owner) {
            return false;
        }
        with_facts(owner, process, |uid, facts| self.selections.includes(candidates, uid, facts))
    }

    /// Whether it is this process.
    fn is_own(&self, owner: Owner) -> bool {
        self.own.is_some_and(|own| own.is(owner.process))
    }

    /// All processes that hold a socket, when they are several and their names are known.
    fn holders_of(&mut self, cookie: u64) -> Vec<Arc<Process>> {
        let Some(holders) = self.holders.by_cookie.get(&cookie) else { return Vec::new() };
        holders.iter().filter_map(|&holder| self.processes.resolve(holder)).collect()
    }

    fn flush_logs(&mut self) {
        self.violated = false;
        if !self.pending_logs.is_empty() {
            let records = std::mem::take(&mut self.pending_logs);
            if self.memory.takes_events(records.len()) {
                self.view.tell(&records);
                self.exporters.send(&Telemetry::Logs(Arc::new(records)));
            }
        }
    }

    fn take_sweep(&mut self, report: &SweepReport) {
        let clock = Clock::read();
        let now = clock.unix_ns();
        if now < self.last_sweep_unix_ns {
            tracing::warn!("the clock was set back: counters begin anew");
            // They count from the last sweep on, told by the clock as it is.
            let since = clock.unix_of(self.last_sweep_boot_ns);
            self.series.clock_was_set_back(since);
            self.view.clock_was_set_back(since);
            self.last_sweep_unix_ns = since;
            self.status.started_unix_ns = self.status.started_unix_ns.min(since);
        }
        self.users.refresh();
        self.names.refresh();
        self.search.refresh();
        let (mut data, mut others, mut sums) = (Vec::new(), Vec::new(), None);
        match &report.sweep {
            Ok(sweep) => {
                self.processes.take_walk(&sweep.processes, clock.boot_ns());
                if let Some(holders) = &sweep.holders {
                    self.holders.clone_from(holders);
                }
                let since = self.last_sweep_unix_ns;
                for flows in sweep.flows.chunks(FLOWS_A_READING) {
                    for (flow, counts) in flows {
                        self.take_flow(flow, counts, since, &clock);
                    }
                    self.watch_memory(Moment::Between);
                }
                self.take_lookups(&clock);
                self.view.close(self.active.open(), self.config.interval.as_secs_f64(), now);
                self.names.forget(clock.boot_ns());
                data.extend(self.series.collect(now));
                sums = Some(self.series.sums(now));
                let complete = sweep.totals.namespaces_missed == 0;
                others.extend(self.count_listeners(&sweep.listeners, complete, &clock));
                (self.last_sweep_unix_ns, self.last_sweep_boot_ns) = (now, clock.boot_ns());
            }
            Err(error) => {
                tracing::error!(error, "a sweep failed: what it would have brought comes with the next one");
                self.status.sweep.failed += 1;
            }
        }
        // Events that came before the sweep are told before its sums.
        self.flush_logs();
        if report.sweep.is_ok() {
            self.watch_memory(Moment::Export);
        }
        self.note(report, now);
        others.extend(self.own_starts.apply(own::metrics(&self.status, now)));
        // Whoever scrapes wants sums since the beginning, also where what is exported is new only.
        let sums = sums.map(|sums| sums.map(|sums| Arc::new([sums, others.clone()].concat())));
        data.append(&mut others);
        let data = Arc::new(data);
        // After a failed sweep the series are as they were.
        if let Some(sums) = sums {
            self.view.show_metrics(sums.unwrap_or_else(|| Arc::clone(&data)));
        }
        self.exporters.send(&Telemetry::Metrics(data));
        self.publish.status.send_replace(self.status.clone());
    }

    fn take_flow(&mut self, flow: &Flow, counts: &FlowCounts, since: u64, clock: &Clock) {
        let now = clock.unix_ns();
        let mut measured = Vec::new();
        flow::measure(counts, |m| measured.push(m));
        let change = flow::active_change(counts);
        if measured.is_empty() && change == 0 {
            return;
        }
        if flow.overflow {
            self.view.add_overflow(measured.iter().copied());
            let change = (change != 0).then(|| flow::active(flow.transport, change));
            self.series.add(None, measured.into_iter().chain(change), since, now);
            return;
        }
        let named = self.observed(flow, clock);
        if let Some(named) = &named {
            self.series.add(Some(named), measured.iter().copied(), since, now);
        }
        self.tell_active(flow, change, named.as_ref(), now);
        let shown = named.map(|named| self.view.add(&named, measured.into_iter(), clock));
        self.active.show(flow, shown);
    }

    /// A flow with its names; `None` when it is left out. One whose process is forgotten, but has connections that
    /// were told of, keeps the name that it had.
    fn observed(&mut self, flow: &Flow, clock: &Clock) -> Option<NamedFlow> {
        let told = self.active.told(flow);
        let told_name = told.and_then(|told| told.server_name.clone());
        let remembered = || told.and_then(|told| told.process.clone());
        let process = self.processes.resolve(flow.owner).or_else(remembered);
        self.count_unattributed(flow.owner, process.as_deref());
        if !self.is_observed(flow.rules, flow.owner, process.as_deref()) {
            return None;
        }
        let user = self.user(flow.owner);
        let (namespace, address) = (flow.network_namespace, flow.server_address);
        let server_name =
            self.name_for_flow(flow.role, flow.owner, namespace, address, told_name.as_ref(), clock);
        Some(NamedFlow { server_name, ..NamedFlow::new(flow, process, user) })
    }

    fn tell_active(&mut self, flow: &Flow, change: i64, named: Option<&NamedFlow>, now: u64) {
        let Self { active, series, config, .. } = self;
        let transport = flow.transport;
        let chosen = config.metrics.attributes_of(flow::active_metric(transport).name);
        active.change(flow, change, named, chosen, |named, change, folded| {
            if change == 0 {
                return folded;
            }
            let before = series.statistics().folded;
            let named = (!folded).then_some(named);
            series.add(named, [flow::active(transport, change)].into_iter(), now, now);
            series.statistics().folded > before
        });
    }

    /// Other rules or attributes are in force: open connections are told of as these want it.
    fn tell_active_again(&mut self, clock: &Clock) {
        let flows: Vec<Flow> = self.active.flows().cloned().collect();
        for flow in flows {
            let named = self.observed(&flow, clock);
            self.tell_active(&flow, 0, named.as_ref(), clock.unix_ns());
            let shown = named.map(|named| self.view.named(&named));
            self.active.show(&flow, shown);
        }
    }

    /// The inventory of what listens, and the gauge of it: made anew by each sweep, so that a listener that is gone
    /// leaves nothing behind.
    fn count_listeners(&mut self, found: &[Listener], complete: bool, clock: &Clock) -> Vec<MetricData> {
        let now = clock.unix_ns();
        self.listeners = Store::new(self.config.metrics.clone(), now);
        self.places = KnownPlaces::read();
        let limit = self.live.limit();
        let mut rows = Vec::with_capacity(found.len().min(limit));
        let mut owners = Vec::with_capacity(found.len().min(limit));
        let mut truncated = 0;
        for listener in found {
            let process = self.name(listener.owner);
            if !self.is_observed(listener.rules, listener.owner, process.as_deref()) {
                continue;
            }
            if rows.len() < limit {
                let at = Circumstances { places: &self.places.places, clock, source: Source::Daemon };
                let mut taker = Taker::new(&mut self.processes, &mut self.users, &self.holders, at);
                rows.push(taker.listener(listener, process.clone()));
                owners.push(listener.owner);
            } else {
                truncated += 1;
            }
            // A socket of UDP that is connected takes from one peer only, and listens no more than a client does.
            if listener.peer.is_some() {
                continue;
            }
            let user = self.user(listener.owner);
            let flow = NamedFlow {
                process,
                user,
                transport: listener.transport,
                application: None,
                role: Role::Server,
                server: (listener.address, listener.port),
                server_name: None,
                client: None,
                network_namespace: listener.network_namespace,
            };
            let one = Measurement {
                metric: &metrics::LISTENERS,
                label: Some((&attributes::ADDRESS_CLASS, address_class(listener.address).word())),
                value: MeasuredValue::Sum(1),
            };
            self.listeners.add(Some(&flow), [one].into_iter(), now, now);
        }
        let at = Circumstances { places: &self.places.places, clock, source: Source::Daemon };
        let mut taker = Taker::new(&mut self.processes, &mut self.users, &self.holders, at);
        let selections = &self.selections;
        rows.extend(taker.special(|owner, process| {
            with_facts(owner, process, |uid, facts| selections.includes_portless(uid, facts))
        }));
        truncated += rows.len().saturating_sub(limit) as u64;
        rows.truncate(limit);
        self.take_inventory(&rows, &owners, complete && truncated == 0, clock);
        self.live.swept(rows, truncated);
        self.show_inventory_now();
        self.listeners_folded += self.listeners.statistics().folded;
        self.listeners.collect(now)
    }

    /// Name of the owner's user; the kernel has none.
    fn user(&mut self, owner: Owner) -> Option<Arc<str>> {
        user_id(owner).map(|uid| self.users.name(uid))
    }
}
