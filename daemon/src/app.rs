//! The only wiring: builds each part from the configuration, joins them, and keeps them running until they
//! are asked to stop. No part knows another's making.

mod asked;
mod manager;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use netsonde_probes::ProbeError;
use netsonde_probes::capabilities::{self, Capability, Until, needed_until};
use rustix::thread::CapabilitySet;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use asked::Asked;
use manager::{Watchdog, tell_systemd};
use parts::{exporters, needs_restart, resource, settings};
pub use parts::{host_name, options};

use crate::aggregate::{Aggregation, Around, Command, End, Publish, Status};
use crate::api::{Api, Counts, Listening, Reader, Reload, Shown};
use crate::cli::RunArgs;
use crate::collect::Collector;
use crate::config::{self, Config, Environment, Loaded, Sources};
use crate::enrich::Clock;
use crate::exit::Exit;
use crate::history::{HistoryThread, Recorder};
use crate::privileges::{self, Reserved};
use crate::progress::{Progress, Stage};
use crate::registry;
use crate::view;

/// systemd and users wait for so long at most after SIGTERM; the rest of the 5 s is for the last sweep.
const FLUSH_GRACE: Duration = Duration::from_millis(3500);

/// The end waits for the history for so long at most.
const HISTORY_GRACE: Duration = Duration::from_secs(1);

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

fn cannot_run(e: ProbeError) -> anyhow::Result<Exit> {
    if !e.is_unsupported_host() {
        return Err(e.into());
    }
    tracing::error!("netsonde cannot run here: {e}");
    Ok(Exit::CannotRun)
}
