//! `netsonde`: which programs talk to whom, as OTLP metrics and logs. Parses the command line, reads the
//! environment, runs one command and turns its end into an exit code; everything else is in [`app`].

#![forbid(unsafe_code)]

mod aggregate;
mod api;
mod app;
mod audit;
mod cli;
mod collect;
mod config;
mod enrich;
mod exit;
mod export;
mod history;
mod memory;
mod privileges;
mod progress;
#[cfg(test)]
mod reference;
mod registry;
mod select;
mod telemetry;
mod view;

use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use netsonde_audit::format::TableOptions;
use tracing::level_filters::LevelFilter;

use crate::cli::top::messages::Messages;
use crate::cli::top::watch::Watch;
use crate::cli::{
    AuditArgs, Cli, Command, ConfigArgs, EventsArgs, ReloadArgs, RunArgs, StatusArgs, TopArgs, top,
};
use crate::exit::Exit;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::CheckConfig(args) => cli::check_config::check_config(
            &args,
            &environment,
            &registry::flow_metrics(),
            &mut stdout(),
            &mut stderr(),
        )
        .map_err(Into::into),
        Command::Status(args) => status(&args),
        Command::Audit(args) => audit(&args),
        Command::Events(args) => events(&args),
        Command::Top(args) => top(&args),
        Command::Reload(args) => reload(&args),
    };
    outcome.unwrap_or_else(|e| complain(&format!("{e:#}"), Exit::Failure)).into()
}

fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let config = match app::configuration(args, &environment) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    log_to_stderr(config.log.level.0);
    let prepared = match app::prepare(&config)? {
        Ok(prepared) => prepared,
        Err(exit) => return Ok(exit),
    };
    let runtime = exporting_runtime()?;
    let outcome = runtime.block_on(app::run(args, config, prepared, &environment));
    runtime.shutdown_background();
    outcome
}

/// For the exporters: whatever else works has a thread of its own.
fn exporting_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(privileges::keep_none)
        .enable_all()
        .build()
}

fn status(args: &StatusArgs) -> anyhow::Result<Exit> {
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cli::status::status(&config.api.socket, args.json, &mut stdout()))
}

fn events(args: &EventsArgs) -> anyhow::Result<Exit> {
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    let color = stdout().is_terminal() && environment("NO_COLOR").is_none_or(|v| v.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cli::events::events(args, &config.api.socket, color, &mut stdout(), &mut stderr()))
}

fn reload(args: &ReloadArgs) -> anyhow::Result<Exit> {
    // What is wrong with the file is said at once: the daemon would say the same.
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cli::reload::reload(&config.api.socket, &mut stdout(), &mut stderr()))
}

fn top(args: &TopArgs) -> anyhow::Result<Exit> {
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    let messages = Messages::default();
    let watch = match top::watch(args, &config, top::terminal::looks(environment), messages.clone()) {
        Ok(watch) => watch,
        Err(wrong) => return Ok(complain(&wrong, Exit::Usage)),
    };
    if !args.once && !stdout().is_terminal() {
        return Ok(complain("standard output is no terminal: --once prints a table", Exit::Usage));
    }
    let socket = config.api.socket.clone();
    let whom = socket.display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if runtime.block_on(top::is_daemon_at(&socket))? {
        let (source, whom) = (top::Source::Daemon(socket), top::Whom::Daemon(whom));
        let shown = async {
            if args.once {
                watch.once(source, whom, &mut stdout()).await
            } else {
                watch.watch(source, whom, std::future::pending()).await
            }
        };
        let outcome = runtime.block_on(shown);
        runtime.shutdown_background();
        return outcome.map(|()| Exit::Ok);
    }
    drop(runtime);
    top_alone(args, config, watch, messages)
}

/// Without a daemon: probes of this process, which export nothing and serve nobody else.
fn top_alone(
    args: &TopArgs,
    config: config::Config,
    watch: Watch,
    messages: Messages,
) -> anyhow::Result<Exit> {
    let whom = config.api.socket.display().to_string();
    if let Err(e) = netsonde_probes::check_host() {
        let said = format!("no daemon answers at {whom}, and this host or user cannot run probes: {e}");
        return Ok(complain(&said, Exit::CannotRun));
    }
    if args.once {
        // How loading goes is no part of a table.
        log_to_stderr(config.log.level.0.min(LevelFilter::WARN));
    } else {
        // The screen is taken.
        log_to(config.log.level.0, messages);
    }
    let config = app::for_a_reader(config, args.interval.unwrap_or(top::INTERVAL));
    let prepared = match app::prepare_for_a_reader(&config)? {
        Ok(prepared) => prepared,
        Err(exit) => return Ok(exit),
    };
    let runtime = exporting_runtime()?;
    let run = RunArgs { config: args.config.clone(), output: Vec::new(), interval: args.interval };
    let outcome = runtime.block_on(app::run_for_a_reader(
        &run,
        config,
        prepared,
        &environment,
        |reader, ended| async {
            let (source, whom) = (top::Source::Own(reader), top::Whom::Own(whom));
            if args.once {
                watch.once(source, whom, &mut stdout()).await
            } else {
                watch.watch(source, whom, ended).await
            }
        },
    ));
    runtime.shutdown_background();
    outcome
}

fn audit(args: &AuditArgs) -> anyhow::Result<Exit> {
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(complain(&e.to_string(), Exit::Config)),
    };
    let terminal = stdout().is_terminal();
    let table = TableOptions {
        colour: terminal && environment("NO_COLOR").is_none_or(|v| v.is_empty()),
        width: if terminal { terminal_width() } else { None },
    };
    cli::audit::audit(args, &config, table, &mut BufWriter::new(stdout().lock()), &mut stderr())
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    // A serial line says 0 for what it does not know.
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// The configuration of a command that asks the daemon. Whoever may ask need not be able to read its secrets.
fn configuration(args: &ConfigArgs) -> Result<config::Config, config::ConfigError> {
    let run = RunArgs { config: args.clone(), output: Vec::new(), interval: None };
    app::configuration_without_secrets(&run, &environment)
}

/// The one place that reads the environment.
#[allow(clippy::disallowed_methods, reason = "everything below main is given its variables from here")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn log_to_stderr(level: LevelFilter) {
    // The journal adds the time itself; systemd marks its streams with this variable.
    let in_journal = environment("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && environment("NO_COLOR").is_none_or(|v| v.is_empty()));
    if in_journal { log.without_time().init() } else { log.init() }
}

fn log_to(level: LevelFilter, messages: Messages) {
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(messages).with_target(false);
    log.with_ansi(false).init();
}

fn complain(what: &str, exit: Exit) -> Exit {
    // Nowhere is left to complain when standard error is closed.
    let _ = writeln!(stderr(), "netsonde: {what}");
    exit
}
