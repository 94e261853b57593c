//! The command line: which commands and flags there are, and the commands that need no daemon.
//!
//! Owns the words and the help. What `run` does is wired in the app.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use netsonde_audit::format::Format;
use netsonde_audit::words::Word as _;

use crate::config::{Output, Overrides, parse_duration, parse_interval};

mod ask;
pub mod audit;
pub mod check_config;
pub mod events;
pub mod reload;
mod since;
pub mod status;
pub mod top;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed while running
  2   wrong command line
  3   audit --diff: what listens differs from the baseline
  4   status: the daemon answers, and something is degraded or has failed
  77  cannot run here: a capability or the kernel's BTF is missing
  78  wrong configuration";

const AUDIT_EXIT_CODES: &str = "\
Exit codes:
  0   done; with --diff: nothing differs
  1   failed while running, or a baseline cannot be read or written
  2   wrong command line
  3   with --diff: something is new, gone or changed
  77  no daemon answers, and the kernel cannot be read here: a capability or its BTF is missing
  78  wrong configuration";

/// See which programs talk to whom: TCP observations of this host as OTLP metrics and logs.
#[derive(Debug, Parser)]
#[command(name = "netsonde", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this host and export what is seen, until SIGTERM or Ctrl-C
    Run(RunArgs),
    /// Check the configuration and print it as it takes effect, with where each value comes from
    CheckConfig(CheckConfigArgs),
    /// Show how the running daemon is doing
    ///
    /// The exit code is 0 when all is well, 4 when something is degraded or has failed, and 1 when no daemon answers.
    Status(StatusArgs),
    /// Show what listens on this host, and what has changed since it was right
    ///
    /// Asks the running daemon. Without one it reads the kernel once, which needs root and is said on standard error:
    /// who opened a socket, when, and what it accepted is not known then.
    #[command(after_help = AUDIT_EXIT_CODES)]
    Audit(Box<AuditArgs>),
    /// Follow the events of the running daemon: connections, listeners, DNS lookups, as they come
    ///
    /// Shows those that `events.enabled` has. An event is shown when each flag that is given has a value that it matches.
    /// Ends with 0 on Ctrl-C and when nobody reads what it prints, with 1 when the daemon ends or none answers, and with 2
    /// when a filter is wrong. What came faster than it was read is missed, and counted on standard error in the end.
    Events(EventsArgs),
    /// Show what programs do now, in a terminal: traffic, lookups, listeners, processes
    ///
    /// Asks the running daemon. Without one it loads probes of its own, which needs root, and exports nothing.
    Top(TopArgs),
    /// Have the running daemon read its configuration again, as SIGHUP does, and say what came of it
    ///
    /// Asks for root, or for the user that the daemon runs as. A file that is wrong changes nothing, and the exit code
    /// is 78.
    Reload(ReloadArgs),
}

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `netsonde run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to write instead of the configured exporters; may be given several times
    ///
    /// `otlp-json:PATH` appends OTLP/JSON lines to a file, `otlp-json:-` writes them to standard output,
    /// `console` prints readable lines.
    #[arg(long, value_name = "otlp-json:PATH|console")]
    pub output: Vec<Output>,
    /// Time from one sweep and export to the next, 100ms to 1h, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    pub interval: Option<Duration>,
}

impl RunArgs {
    /// What these flags say about the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides { outputs: self.output.clone(), interval: self.interval }
    }
}

/// Flags of `netsonde check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print nothing unless something is wrong
    #[arg(long, short)]
    pub quiet: bool,
}

/// Flags of `netsonde status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The configuration file, which names the daemon's socket.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Flags of `netsonde audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The configuration file, which names the daemon's socket.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Show what listens now, which is what is done without any other flag
    #[arg(long)]
    pub listening: bool,
    /// Show what opened and closed since then: so long ago, such as 24h or 7d, or an RFC 3339 time
    ///
    /// Asks the daemon for its history; without one, reads what it wrote down, which is said on standard error.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with_all = ["listening", "purpose"])]
    pub since: Option<Moment>,
    /// With --since: nothing younger than this, which is written likewise
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "since")]
    pub until: Option<Moment>,
    /// How to write it: table, json, csv, ndjson, html or sarif
    ///
    /// sarif (2.1.0) has what differs from the baseline, and what the policy denies.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = format)]
    pub format: Format,
    /// Which sockets.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Write what listens now to a file, as what is right
    #[arg(long, value_name = "FILE", group = "purpose")]
    pub save_baseline: Option<PathBuf>,
    /// Show what is new, gone or changed since that file was written; the exit code is 3 when there is something
    #[arg(long, value_name = "FILE", group = "purpose")]
    pub diff: Option<PathBuf>,
    /// Print [[audit.rule]] tables that allow what listens now, or what is in that baseline, to be read before they are
    /// used
    #[arg(long, value_name = "FILE", group = "purpose")]
    pub suggest_policy: Option<Option<PathBuf>>,
    /// With --save-baseline and --diff: also UDP sockets that come and go with what their programs ask of others
    #[arg(long, requires = "purpose")]
    pub with_ephemeral: bool,
}

/// Flags of `netsonde top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The configuration file, which names the daemon's socket.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Time from one update to the next, 100ms to 1h [default: 1s]
    ///
    /// A daemon has something new once in its own interval; probes of this process sweep as often as this.
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    pub interval: Option<Duration>,
    /// What to begin with: programs, flows, dns, listeners, processes or status
    #[arg(long, value_name = "TABLE", default_value = "programs", value_parser = top::parse_tab)]
    pub tab: top::Kind,
    /// The column to sort by, such as tx, p99 or name:asc; a wrong one lists those that there are
    #[arg(long, value_name = "COLUMN[:asc|:desc]")]
    pub sort: Option<String>,
    /// Show only what matches: words, field:word such as binary:nginx, unit:, port: or remote:, and !word
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Print the table once as plain text, with all columns and without colours, and end
    #[arg(long)]
    pub once: bool,
}

/// Which sockets `netsonde audit` is about. A socket is shown when each flag that is given has a value that it
/// matches; values of one flag are separated by commas, or the flag is given again.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only these ports, or ranges of them, such as 22 or 8000-8999
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub port: Vec<String>,
    /// Only programs with such a path, or script; a glob
    #[arg(long, value_name = "GLOB")]
    pub binary: Vec<String>,
    /// Only such systemd units, of the system or of a user; a glob
    #[arg(long, value_name = "GLOB")]
    pub unit: Vec<String>,
    /// Only addresses of this reach: loopback, private, any or public
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub class: Vec<String>,
    /// Only these network namespaces: initial, other, a name of ip netns, or an inode number
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespace: Vec<String>,
    /// Only these transports: tcp, udp, sctp, raw or packet
    #[arg(long, value_name = "TRANSPORT", value_delimiter = ',')]
    pub transport: Vec<String>,
}

/// A time as it is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long before now.
    Ago(Duration),
    /// Nanoseconds since 1970, UTC.
    At(u64),
}

impl Moment {
    /// In nanoseconds since 1970, UTC, as those of `now_unix_ns` are.
    #[must_use]
    pub fn unix_ns(self, now_unix_ns: u64) -> u64 {
        match self {
            Self::Ago(ago) => now_unix_ns.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)),
            Self::At(unix_ns) => unix_ns,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    let ago = || parse_duration(text, &(Duration::ZERO..=Duration::MAX)).map(Moment::Ago);
    at.map_or_else(ago, |at| Ok(Moment::At(at)))
        .map_err(|message| format!("{message}; or an RFC 3339 time, such as \"2026-01-31T22:00:00Z\""))
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text)
}

/// Flags of `netsonde events`.
#[derive(Debug, Args)]
#[cfg_attr(test, derive(Default))]
pub struct EventsArgs {
    /// The configuration file, which names the daemon's socket.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only programs with such a path, or script; a glob
    #[arg(long, value_name = "GLOB")]
    pub binary: Vec<String>,
    /// Only these ports, of the server or of the client
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub port: Vec<String>,
    /// Only such systemd units, of the system or of a user; a glob
    #[arg(long, value_name = "GLOB")]
    pub unit: Vec<String>,
    /// Only events of these names, such as tcp.close or dns.response
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    pub r#type: Vec<String>,
    /// Print a line of JSON an event, for programs
    #[arg(long)]
    pub json: bool,
}

/// Flags of `netsonde reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The configuration file, which names the daemon's socket.
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::export::FileTarget;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_its_flags() {
        let words = "netsonde run --config /c --output console --output otlp-json:- --output otlp-json:a:b --interval 1s";
        let cli = Cli::try_parse_from(words.split(' ')).expect("right");
        let Command::Run(run) = cli.command else { panic!("{cli:?}") };
        assert_eq!(run.config.config, Some(PathBuf::from("/c")));
        let overrides = run.overrides();
        assert_eq!(overrides.interval, Some(Duration::from_secs(1)));
        let files = [FileTarget::Stdout, FileTarget::Path("a:b".into())].map(Output::OtlpJson);
        assert_eq!(overrides.outputs, [[Output::Console].as_slice(), &files].concat());
    }

    #[test]
    fn moments_are_times_or_so_long_ago() {
        assert_eq!(moment("24h").map(|at| at.unix_ns(86_400_000_000_005)), Ok(5));
        assert_eq!(moment("1d").map(|at| at.unix_ns(5)), Ok(0));
        assert_eq!(moment("1970-01-01T00:00:01Z").map(|at| at.unix_ns(5)), Ok(1_000_000_000));
        assert_eq!(moment("1970-01-01T01:00:01+01:00").map(|at| at.unix_ns(5)), Ok(1_000_000_000));
        assert!(moment("yesterday").expect_err("no time").contains("RFC 3339"));
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        for (words, named) in [
            ("netsonde run --output json:/x", "otlp-json:PATH, otlp-json:- or console"),
            ("netsonde run --output otlp-json:", "the path is missing"),
            ("netsonde run --interval 10", "such as \"10s\""),
            ("netsonde run --interval 1ms", "from 100ms to 1h"),
            ("netsonde run --intervall 1s", "--interval"),
            ("netsonde audit --until 1h", "--since"),
            ("netsonde audit --since 1h --diff a", "--diff"),
            ("netsonde audit --since 1h --listening", "--listening"),
        ] {
            let error = Cli::try_parse_from(words.split(' ')).expect_err(words);
            assert_eq!(error.exit_code(), i32::from(crate::exit::Exit::Usage as u8));
            assert!(error.to_string().contains(named), "{error}");
        }
        let version = Cli::try_parse_from(["netsonde", "--version"]).expect_err("prints");
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    }
}
