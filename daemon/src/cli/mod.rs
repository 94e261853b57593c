//! The command line: which commands and flags there are, and the commands that need no daemon.
//!
//! Owns the words and the help. What `run` does is wired in the app.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Output, Overrides, parse_interval};

pub mod check_config;
pub mod status;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed while running
  2   wrong command line
  77  cannot run here: a capability or the kernel's BTF is missing
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
    Status(StatusArgs),
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
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
    fn wrong_flags_are_usage_errors() {
        for (words, named) in [
            ("netsonde run --output json:/x", "otlp-json:PATH, otlp-json:- or console"),
            ("netsonde run --output otlp-json:", "the path is missing"),
            ("netsonde run --interval 10", "such as \"10s\""),
            ("netsonde run --interval 1ms", "from 100ms to 1h"),
            ("netsonde run --intervall 1s", "--interval"),
        ] {
            let error = Cli::try_parse_from(words.split(' ')).expect_err(words);
            assert_eq!(error.exit_code(), i32::from(crate::exit::Exit::Usage as u8));
            assert!(error.to_string().contains(named), "{error}");
        }
        let version = Cli::try_parse_from(["netsonde", "--version"]).expect_err("prints");
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    }
}
