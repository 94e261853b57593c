//! `netsonde check-config`: is the configuration right, and what does it come to?

use std::io::{self, Write};

use super::CheckConfigArgs;
use crate::config::{self, Environment, Overrides, Sources};
use crate::exit::Exit;

/// Writes the effective configuration to `out`, or what is wrong with it to `err`.
///
/// # Errors
///
/// Writing failed.
pub fn check_config(
    args: &CheckConfigArgs,
    environment: Environment<'_>,
    known_metrics: &[&str],
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let file = args.config.config.as_deref();
    match config::load(Sources { file, environment, overrides: Overrides::default(), known_metrics }) {
        Ok(_) if args.quiet => Ok(Exit::Ok),
        Ok(loaded) => {
            out.write_all(config::render(&loaded).as_bytes())?;
            out.flush()?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(err, "{error}")?;
            Ok(Exit::Config)
        }
    }
}
