//! The only wiring: builds each part from the configuration, joins them, and keeps them running until they
//! are asked to stop. No part knows another's making.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use netsonde_probes::{Options, ProbeError, Settings, Sizes};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;

use crate::aggregate::{Aggregation, Command, End, Status};
use crate::api::Api;
use crate::cli::RunArgs;
use crate::collect::Collector;
use crate::config::{self, Config, Environment, FlowAttribute, Loaded, Sources, Word};
use crate::enrich::legacy_hierarchy;
use crate::exit::Exit;
use crate::export::{Destination, Exporters};
use crate::registry;
use crate::select::Selection;
use crate::telemetry::AttributeValue;

/// systemd and users wait for so long at most after SIGTERM; the rest of the 5 s is for the last sweep.
const FLUSH_GRACE: Duration = Duration::from_millis(3500);

/// The first sweep takes milliseconds; systemd's own patience (90 s) must not run out over it.
const FIRST_SWEEP: Duration = Duration::from_secs(30);

/// Everything that outlives a reload.
struct App<'a> {
    args: &'a RunArgs,
    environment: Environment<'a>,
    config: Config,
    collector: Collector,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
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

/// Observes until SIGTERM or SIGINT.
///
/// # Errors
///
/// What made it end before that.
pub async fn run(args: &RunArgs, config: Config, environment: Environment<'_>) -> anyhow::Result<Exit> {
    if let Err(e) = netsonde_probes::check_host() {
        return cannot_run(e);
    }
    let exporters = exporters(&config, environment)?;
    let started = Collector::start(options(&config), config.interval).await;
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
    let (publish, status) = watch::channel(Status::default());
    let (commands, orders) = mpsc::channel(4);
    let aggregation = Aggregation::new(config.clone(), exporters, publish);
    let aggregating = tokio::spawn(aggregation.run(collected, orders, FLUSH_GRACE));
    let api = match Api::start(&config.api.socket, status.clone()).await {
        Ok(api) => Some(api),
        // Somebody who just wants to look must not be stopped by a daemon that is already there.
        Err(e) => {
            tracing::warn!(
                error = format!("{e:#}"),
                "no local API: `netsonde status` will not find this process"
            );
            None
        }
    };
    let mut aggregating: Aggregating = Box::pin(aggregating);
    // Ready is who knows all processes and has the baseline of every socket. When the aggregation ends before
    // that, what follows finds out why.
    let mut first_sweep = status.clone();
    tokio::select! {
        swept = first_sweep.wait_for(|s| s.sweep.count > 0) => drop(swept),
        () = tokio::time::sleep(FIRST_SWEEP) => tracing::warn!("the first sweep is late"),
    }
    tell_systemd(&[NotifyState::Ready, NotifyState::Status("observing")]);

    let mut app = App { args, environment, config, collector, commands, status };
    let ended = app.serve_until_stopped(&mut aggregating).await;

    tell_systemd(&[NotifyState::Stopping]);
    app.collector.stop();
    let ended = match ended {
        Some(ended) => ended,
        None => aggregating.await,
    };
    if let Some(api) = api {
        api.stop();
    }
    let collected = tokio::task::spawn_blocking(move || app.collector.join());
    collected.await.context("the collecting thread cannot be joined")??;
    ended.context("the aggregation died")?;
    Ok(Exit::Ok)
}

type Aggregating = Pin<Box<JoinHandle<End>>>;

impl App<'_> {
    /// `None` when it was asked to stop; else how the aggregation ended by itself: the collecting thread
    /// failed and says why, or nobody reads the output any more.
    async fn serve_until_stopped(&mut self, aggregating: &mut Aggregating) -> Option<Result<End, JoinError>> {
        let wait = |kind| signal(kind).expect("these signals can be handled");
        let (mut terminate, mut interrupt, mut hangup) =
            (wait(SignalKind::terminate()), wait(SignalKind::interrupt()), wait(SignalKind::hangup()));
        let mut watchdog = Watchdog::new(self.status.clone());
        loop {
            tokio::select! {
                _ = terminate.recv() => return None,
                _ = interrupt.recv() => return None,
                _ = hangup.recv() => self.reload().await,
                () = watchdog.due() => watchdog.feed(self.config.interval),
                end = &mut *aggregating => return Some(end),
            }
        }
    }

    /// Takes over a changed configuration; a wrong one leaves everything as it was.
    async fn reload(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        match self.try_reload().await {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(e) => tracing::error!("the configuration stays as it was: {e:#}"),
        }
        tell_systemd(&[NotifyState::Ready]);
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
        ("api.socket", old.api != new.api),
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

/// Feeds systemd's watchdog as long as sweeps come in, so that a daemon that is stuck is started anew.
struct Watchdog {
    ticks: Option<tokio::time::Interval>,
    status: watch::Receiver<Status>,
    sweeps: u64,
    last_progress: tokio::time::Instant,
}

impl Watchdog {
    fn new(status: watch::Receiver<Status>) -> Self {
        let ticks = sd_notify::watchdog_enabled().map(|limit| {
            let mut ticks = tokio::time::interval(limit / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, status, sweeps: 0, last_progress: tokio::time::Instant::now() }
    }

    async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    fn feed(&mut self, interval: Duration) {
        let sweeps = self.status.borrow().sweep.count;
        let now = tokio::time::Instant::now();
        if sweeps != self.sweeps {
            (self.sweeps, self.last_progress) = (sweeps, now);
        }
        if now - self.last_progress <= interval * 2 + Duration::from_secs(5) {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        events: config.events.enabled.iter().map(|kind| kind.word().to_owned()).collect(),
        events_per_second: config.events.rate_limit.map_or(0, |limit| limit.get().into()),
        keep_client_address: config.metrics.any_carries(FlowAttribute::ClientAddress),
        dns_ports: config.dns.all_ports(),
        tls_ports: config.tls.ports.clone(),
        payloads_per_second: config.dns.messages_per_second.map_or(0, NonZeroU32::get),
        keep_arguments: config.process.command_line,
        selection: Selection::new(&config.select).in_kernel(),
    }
}

fn options(config: &Config) -> Options {
    let switches = [
        ("tcp", config.signals.tcp),
        ("udp", config.signals.udp),
        ("dns", config.signals.dns),
        ("tls", config.signals.tls),
    ];
    let disabled = switches.into_iter().filter(|(_, on)| !on).map(|(name, _)| name.to_owned()).collect();
    Options {
        disabled,
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

/// The host and this service; what was configured wins.
fn resource(config: &Config) -> Vec<(String, AttributeValue)> {
    let host = rustix::system::uname();
    let host_name = host.nodename().to_string_lossy();
    let arch = match host.machine().to_str() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        _ => std::env::consts::ARCH,
    };
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let found = [
        ("service.name", "netsonde"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host_name.as_ref()),
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
