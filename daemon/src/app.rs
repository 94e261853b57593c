//! The only wiring: builds each part from the configuration, joins them, and keeps them running until they
//! are asked to stop. No part knows another's making.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use netsonde_probes::capabilities::{self, Capability, Until, needed_until};
use netsonde_probes::{Options, ProbeError, Settings, Sizes};
use rustix::thread::CapabilitySet;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::aggregate::{Aggregation, Around, Command, End, Publish, Status};
use crate::api::{Api, Counts, Listening, Reader, Reload, Shown};
use crate::cli::RunArgs;
use crate::collect::Collector;
use crate::config::{self, Config, Environment, EventKind, FlowAttribute, Loaded, Sources, Word};
use crate::enrich::{Clock, legacy_hierarchy};
use crate::exit::Exit;
use crate::export::{Destination, Exporters};
use crate::history::{HistoryThread, Recorder};
use crate::privileges::{self, Reserved};
use crate::progress::{Progress, Stage};
use crate::registry;
use crate::select::Selection;
use crate::telemetry::AttributeValue;
use crate::view;

/// systemd and users wait for so long at most after SIGTERM; the rest of the 5 s is for the last sweep.
const FLUSH_GRACE: Duration = Duration::from_millis(3500);

/// The end waits for the history for so long at most.
const HISTORY_GRACE: Duration = Duration::from_secs(1);

/// The first sweep takes milliseconds; systemd's own patience (90 s) must not run out over it.
const FIRST_SWEEP: Duration = Duration::from_secs(30);

/// A stage that has not come round for less is not yet stuck, however short systemd's limit is.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that outlives a reload.
struct App<'a> {
    args: &'a RunArgs,
    environment: Environment<'a>,
    config: Config,
    collector: Collector,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    progress: Arc<Progress>,
    reloads: mpsc::Receiver<Reload>,
    view: view::View,
}

/// Reads the configuration as `run` does.
///
/// # Errors
///
/// What is wrong with it.
pub fn configuration(args: &RunArgs, environment: Environment<'_>) -> Result<Config, config::ConfigError> {
    configured(args, environment, config::load)
}

/// Likewise, for somebody who only looks and may not be allowed to read secrets.
///
/// # Errors
///
/// What is wrong with it.
pub fn configuration_without_secrets(
    args: &RunArgs,
    environment: Environment<'_>,
) -> Result<Config, config::ConfigError> {
    configured(args, environment, config::load_without_secrets)
}

type Load = fn(Sources<'_>) -> Result<Loaded, config::ConfigError>;

fn configured(
    args: &RunArgs,
    environment: Environment<'_>,
    load: Load,
) -> Result<Config, config::ConfigError> {
    let flow_metrics = registry::flow_metrics();
    let sources = Sources {
        file: args.config.config.as_deref(),
        environment,
        overrides: args.overrides(),
        known_metrics: &flow_metrics,
    };
    load(sources).map(|loaded| loaded.config)
}

/// What is made while the process has all its privileges and one thread.
pub struct Prepared {
    collecting: Reserved,
    aggregating: Reserved,
    lacking: Vec<&'static Capability>,
    /// Nothing where the local API cannot be had.
    listening: Option<Listening>,
}

/// Makes what needs privileges, and gives up those that the main thread, and every thread that it will make, does not
/// need. Call it while there is one thread.
///
/// # Errors
///
/// When a socket of the API that was asked for, or a thread, cannot be had; `Ok(Err)` when netsonde cannot run here.
pub fn prepare(config: &Config) -> anyhow::Result<Result<Prepared, Exit>> {
    prepared(config, true)
}

/// Likewise, for a reader in this process: nobody else is served.
///
/// # Errors
///
/// As those of [`prepare`].
pub fn prepare_for_a_reader(config: &Config) -> anyhow::Result<Result<Prepared, Exit>> {
    prepared(config, false)
}

fn prepared(config: &Config, serves: bool) -> anyhow::Result<Result<Prepared, Exit>> {
    if let Err(e) = netsonde_probes::check_host() {
        return cannot_run(e).map(Err);
    }
    privileges::seal().context("cannot forgo new privileges")?;
    let lacking = lacking(config).context("cannot read the own capabilities")?;
    for capability in &lacking {
        let without = capability.without.unwrap_or_default();
        tracing::warn!(missing = capability.name, "netsonde can do less here: {without}");
    }
    let listening = match serves.then(|| Listening::new(config)).transpose() {
        Ok(listening) => listening,
        // What was asked for is missing; without it, it is a comfort.
        Err(e) if config.api.listen.is_some() => return Err(e),
        // Somebody who just wants to look must not be stopped by a daemon that is already there.
        Err(e) => {
            tracing::warn!(
                error = format!("{e:#}"),
                "no local API: `netsonde status` will not find this process"
            );
            None
        }
    };
    let naming = needed_until(&[Until::EndByNaming]);
    let prepared = Prepared {
        collecting: Reserved::new("collect", CapabilitySet::all())?,
        aggregating: Reserved::new("aggregate", naming)?,
        lacking,
        listening,
    };
    privileges::keep_for_main().context("cannot give up privileges")?;
    Ok(Ok(prepared))
}

/// Missing capabilities, as far as what is configured would use them.
fn lacking(config: &Config) -> std::io::Result<Vec<&'static Capability>> {
    let have = capabilities::of_this_thread()?;
    let packets = config.signals.udp || config.signals.dns || config.signals.tls;
    Ok(capabilities::missing(have).filter(|c| c.set != CapabilitySet::NET_ADMIN || packets).collect())
}

/// Observes until SIGTERM or SIGINT.
///
/// # Errors
///
/// What made it end before that.
pub async fn run(
    args: &RunArgs,
    config: Config,
    prepared: Prepared,
    environment: Environment<'_>,
) -> anyhow::Result<Exit> {
    // Before anybody is told that it is ready: whoever is may ask it to stop at once.
    let asked = Asked::listen().context("cannot handle signals")?;
    observe(args, config, prepared, environment, asked, None).await
}

/// What a configuration is to a reader in this process: what is observed, and nothing of where it goes.
pub fn for_a_reader(mut config: Config, interval: Duration) -> Config {
    config.interval = interval;
    config.export.otlp.clear();
    config.export.files.clear();
    config.export.console = false;
    config.history.enabled = false;
    config.api.listen = None;
    config
}

/// Observes for as long as a reader in this process reads. The reader is told when it ends by itself.
///
/// # Errors
///
/// What made it end before that, or what the reader failed with.
pub async fn run_for_a_reader<F: Future<Output = anyhow::Result<()>>>(
    args: &RunArgs,
    config: Config,
    prepared: Prepared,
    environment: Environment<'_>,
    reads: impl FnOnce(Reader, BoxFuture<'static, ()>) -> F,
) -> anyhow::Result<Exit> {
    let (reader_to, reader) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let (ended_to, ended) = oneshot::channel::<()>();
    let observed = async {
        let asked = Asked::by_a_reader(stopped);
        let outcome = observe(args, config, prepared, environment, asked, Some(reader_to)).await;
        drop(ended_to);
        outcome
    };
    let read = async {
        let outcome = match reader.await {
            Ok(reader) => reads(reader, Box::pin(ended.map(drop))).await,
            // It has not begun, and says why.
            Err(_) => Ok(()),
        };
        drop(stop);
        outcome
    };
    let (observed, read) = tokio::join!(observed, read);
    read.and(observed)
}

async fn observe(
    args: &RunArgs,
    config: Config,
    prepared: Prepared,
    environment: Environment<'_>,
    mut asked: Asked,
    reader: Option<oneshot::Sender<Reader>>,
) -> anyhow::Result<Exit> {
    let Prepared { collecting, aggregating, lacking, listening } = prepared;
    let exporters = exporters(&config, environment)?;
    let progress = Arc::new(Progress::new());
    let started =
        Collector::start(collecting, options(&config), config.interval, Arc::clone(&progress)).await;
    let (collector, signals, collected) = match started {
        Ok(started) => started,
        Err(e) => match e.downcast::<ProbeError>() {
            Ok(e) => return cannot_run(e),
            Err(e) => return Err(e),
        },
    };
    for signal in &signals {
        tracing::info!(signal = signal.name, state = %signal.state, "signal");
    }
    let (status_to, status) = watch::channel(Status::default());
    let (inventory_to, inventory) = watch::channel(None);
    let publish = Publish { status: status_to, inventory: inventory_to };
    let (commands, orders) = mpsc::channel(4);
    let (recorder, history) = history(&config).unzip();
    let archive = recorder.as_ref().map(Recorder::archive);
    let counts = Arc::new(Counts::default());
    let around = Around { progress: Arc::clone(&progress), api: Arc::clone(&counts), lacking };
    let (ended, mut end) = oneshot::channel();
    let view_recorder = view::Recorder::new(config.api.history, Clock::read().unix_ns());
    let view = view_recorder.view();
    view.set_resource(resource(&config));
    let (of_aggregation, runtime) = (config.clone(), Handle::current());
    aggregating.run(move || {
        // Made there: what it starts has its privileges.
        let aggregation =
            Aggregation::new(of_aggregation, exporters, publish, recorder, view_recorder, around);
        // The receiver is the last to go.
        let _ = ended.send(runtime.block_on(aggregation.run(collected, orders, FLUSH_GRACE)));
    });
    tokio::spawn(show_progress(Arc::clone(&progress)));
    let (reload, reloads) = mpsc::channel(1);
    let shown = Shown {
        status: status.clone(),
        inventory,
        archive,
        progress: Arc::clone(&progress),
        reload,
        counts,
        view: view.clone(),
    };
    if let Some(reader) = reader {
        // One that is gone has asked for the end.
        let _ = reader.send(Reader::new(shown.clone()));
    }
    let api = listening.map(|listening| Api::start(listening, shown)).transpose()?;
    // Ready is who knows all processes and has the baseline of every socket. When the aggregation ends before
    // that, what follows finds out why.
    let mut first_sweep = status.clone();
    let stop = tokio::select! {
        swept = first_sweep.wait_for(|s| s.sweep.count > 0) => { drop(swept); false }
        () = tokio::time::sleep(FIRST_SWEEP) => { tracing::warn!("the first sweep is late"); false }
        () = asked.to_stop.next() => true,
    };
    let mut app = App { args, environment, config, collector, commands, status, progress, reloads, view };
    let mut ended = None;
    if !stop {
        tell_systemd(&[NotifyState::Ready, NotifyState::Status("observing")]);
        ended = app.serve_until_stopped(&mut asked, &mut end).await;
    }

    tell_systemd(&[NotifyState::Stopping]);
    app.collector.stop();
    let ended = match ended {
        Some(ended) => ended,
        None => end.await,
    };
    if let Some(api) = api {
        api.stop();
    }
    let collected = tokio::task::spawn_blocking(move || app.collector.join());
    collected.await.context("the collecting thread cannot be joined")??;
    ended.context("the aggregation died")?;
    if let Some(history) = history {
        // A disk that does not answer keeps nobody from ending.
        let written = tokio::time::timeout(HISTORY_GRACE, tokio::task::spawn_blocking(|| history.join()));
        if written.await.is_err() {
            tracing::warn!("the history was not written in time");
        }
    }
    Ok(Exit::Ok)
}

/// The history, if it is wanted and can be kept.
fn history(config: &Config) -> Option<(Recorder, HistoryThread)> {
    if !config.history.enabled {
        return None;
    }
    let started = Recorder::start(&config.history);
    started.map_err(|e| tracing::error!(error = format!("{e:#}"), "no history is kept")).ok()
}

/// Shows that the threads get on which bring telemetry to its destinations.
async fn show_progress(progress: Arc<Progress>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        progress.round(Stage::Export);
    }
}

/// What signals ask for, or a reader in this process.
struct Asked {
    /// SIGTERM and SIGINT.
    to_stop: Stop,
    /// SIGHUP.
    to_reload: Either,
}

impl Asked {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            to_stop: Stop::Signals(Either::of(&[SignalKind::terminate(), SignalKind::interrupt()])?),
            to_reload: Either::of(&[SignalKind::hangup()])?,
        })
    }

    /// The reader handles signals, and asks for the end by leaving.
    fn by_a_reader(left: oneshot::Receiver<()>) -> Self {
        Self { to_stop: Stop::Reader(left), to_reload: Either(Vec::new()) }
    }
}

/// Who asks for the end.
enum Stop {
    Signals(Either),
    Reader(oneshot::Receiver<()>),
}

impl Stop {
    async fn next(&mut self) {
        match self {
            Self::Signals(signals) => signals.next().await,
            // It is an error that asks: the other half is gone.
            Self::Reader(left) => drop(left.await),
        }
    }
}

/// Signals that ask for the same.
struct Either(Vec<Signal>);

impl Either {
    fn of(kinds: &[SignalKind]) -> std::io::Result<Self> {
        kinds.iter().map(|&kind| signal(kind)).collect::<Result<_, _>>().map(Self)
    }

    async fn next(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

impl App<'_> {
    /// `None` when it was asked to stop; else how the aggregation ended by itself: the collecting thread
    /// failed and says why, or nobody reads the output any more.
    async fn serve_until_stopped(
        &mut self,
        asked: &mut Asked,
        aggregating: &mut oneshot::Receiver<End>,
    ) -> Option<Result<End, oneshot::error::RecvError>> {
        let mut watchdog = Watchdog::new(self.status.clone(), Arc::clone(&self.progress));
        loop {
            tokio::select! {
                () = asked.to_stop.next() => return None,
                () = asked.to_reload.next() => drop(self.reload().await),
                Some(answer) = self.reloads.recv() => {
                    // Whoever wished it may have gone; the log has it as well.
                    let _ = answer.send(self.reload().await);
                }
                () = watchdog.due() => watchdog.feed(self.config.interval),
                end = &mut *aggregating => return Some(end),
            }
        }
    }

    /// Takes over a changed configuration; a wrong one leaves everything as it was, and is told of.
    async fn reload(&mut self) -> Result<(), String> {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(e) => tracing::error!("the configuration stays as it was: {e:#}"),
        }
        tell_systemd(&[NotifyState::Ready]);
        outcome.map_err(|e| format!("{e:#}"))
    }

    async fn try_reload(&mut self) -> anyhow::Result<()> {
        let config = configuration(self.args, self.environment)?;
        let same = config.export == self.config.export && config.resource == self.config.resource;
        let exporters = if same { None } else { Some(exporters(&config, self.environment)?) };
        for key in needs_restart(&self.config, &config) {
            tracing::warn!(key, "this change takes effect after a restart");
        }
        self.collector.reconfigure(config.interval, settings(&config)).await;
        self.config = config.clone();
        self.view.set_resource(resource(&config));
        let (done, in_force) = oneshot::channel();
        let reconfigure = Command::Reconfigure(Box::new(config), exporters, done);
        self.commands.send(reconfigure).await.context("the aggregation is gone")?;
        in_force.await.context("the aggregation is gone")
    }
}

/// Keys whose change cannot be taken over by running probes.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (&old.limits, &new.limits);
    let changed = [
        ("limits.flows", a.flows != b.flows),
        ("limits.event_ring", a.event_ring != b.event_ring),
        ("limits.payload_ring", a.payload_ring != b.payload_ring),
        ("limits.process_ring", a.process_ring != b.process_ring),
        ("signals", old.signals != new.signals),
        ("api", old.api != new.api),
        ("history", old.history != new.history),
        ("log.level", old.log != new.log),
    ];
    changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}

fn cannot_run(e: ProbeError) -> anyhow::Result<Exit> {
    if !e.is_unsupported_host() {
        return Err(e.into());
    }
    tracing::error!("netsonde cannot run here: {e}");
    Ok(Exit::CannotRun)
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    // Fails only when nobody listens.
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!(error = %e, "the service manager was not told");
    }
}

/// Feeds systemd's watchdog as long as every stage gets on and sweeps come in, so that a daemon that is stuck is
/// started anew.
struct Watchdog {
    /// The limit of systemd, and when it is time.
    ticks: Option<(Duration, tokio::time::Interval)>,
    status: watch::Receiver<Status>,
    progress: Arc<Progress>,
    sweeps: u64,
    last_sweep: tokio::time::Instant,
    stuck: bool,
}

impl Watchdog {
    fn new(status: watch::Receiver<Status>, progress: Arc<Progress>) -> Self {
        let ticks = sd_notify::watchdog_enabled().map(|limit| {
            let mut ticks = tokio::time::interval(limit / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (limit, ticks)
        });
        Self { ticks, status, progress, sweeps: 0, last_sweep: tokio::time::Instant::now(), stuck: false }
    }

    async fn due(&mut self) {
        match &mut self.ticks {
            Some((_, ticks)) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    fn feed(&mut self, interval: Duration) {
        let sweeps = self.status.borrow().sweep.count;
        let now = tokio::time::Instant::now();
        if sweeps != self.sweeps {
            (self.sweeps, self.last_sweep) = (sweeps, now);
        }
        let patience = self.ticks.as_ref().map_or(LEAST_PATIENCE, |(limit, _)| (*limit).max(LEAST_PATIENCE));
        let late = now - self.last_sweep > interval * 2 + patience;
        let what = self.progress.stuck(patience).map(Stage::name).or(late.then_some("sweeps"));
        match what {
            None => {
                self.stuck = false;
                tell_systemd(&[NotifyState::Watchdog]);
            }
            Some(what) => {
                if !self.stuck {
                    tracing::error!(what, "a stage is stuck: the watchdog is not fed");
                }
                self.stuck = true;
            }
        }
    }
}

fn settings(config: &Config) -> Settings {
    // What listens is audited whether or not events of it are written.
    let events = config.events.enabled.iter().chain([&EventKind::Listen]);
    Settings {
        events: events.map(|kind| kind.word().to_owned()).collect(),
        events_per_second: config.events.rate_limit.map_or(0, |limit| limit.get().into()),
        keep_client_address: config.metrics.any_carries(FlowAttribute::ClientAddress),
        dns_ports: config.dns.all_ports(),
        tls_ports: config.tls.ports.clone(),
        payloads_per_second: config.dns.messages_per_second.map_or(0, NonZeroU32::get),
        keep_arguments: config.process.command_line,
        program_statistics: config.own.program_statistics,
        selection: Selection::new(&config.select).in_kernel(),
    }
}

/// How the probes are loaded.
pub fn options(config: &Config) -> Options {
    let switches = [
        ("tcp", config.signals.tcp),
        ("udp", config.signals.udp),
        ("dns", config.signals.dns),
        ("tls", config.signals.tls),
    ];
    let disabled = switches.into_iter().filter(|(_, on)| !on).map(|(name, _)| name.to_owned()).collect();
    Options {
        disabled,
        sweep_only: false,
        sizes: Sizes {
            flows: config.limits.flows.get(),
            event_ring: config.limits.event_ring.get(),
            payload_ring: config.limits.payload_ring.get(),
            process_ring: config.limits.process_ring.get(),
        },
        legacy_hierarchy: legacy_hierarchy(),
        settings: settings(config),
    }
}

fn exporters(config: &Config, environment: Environment<'_>) -> anyhow::Result<Exporters> {
    let mut destinations = Vec::new();
    destinations.extend(config.export.otlp.iter().cloned().map(Box::new).map(Destination::Otlp));
    destinations.extend(config.export.files.iter().cloned().map(Destination::File));
    if config.export.console {
        // https://no-color.org
        let plain = environment("NO_COLOR").is_some_and(|v| !v.is_empty());
        destinations.push(Destination::Console { color: !plain && std::io::stdout().is_terminal() });
    }
    Exporters::start(destinations, &resource(config), &config.export.spool)
}

/// Name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The host and this service; what was configured wins.
fn resource(config: &Config) -> Vec<(String, AttributeValue)> {
    let host = rustix::system::uname();
    let host_name = host_name();
    let arch = match host.machine().to_str() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        _ => std::env::consts::ARCH,
    };
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let found = [
        ("service.name", "netsonde"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host_name.as_str()),
        ("host.id", machine_id.trim()),
        ("host.arch", arch),
        ("os.type", "linux"),
        ("os.version", &host.release().to_string_lossy()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all: std::collections::BTreeMap<String, String> =
        found.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    all.extend(config.resource.clone());
    all.into_iter().map(|(key, value)| (key, AttributeValue::String(value.into()))).collect()
}
