//! Running short commands and waiting for conditions, with errors that show what was run and what it said.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host;

/// How often a condition that only polling can see is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs a command to its end and gives its standard output; anything but exit code 0 is an error.
pub fn output(command: &mut Command) -> Result<String> {
    let result = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !result.status.success() {
        bail!("{command:?} ended with {}: {}", result.status, String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Runs a command line whose words hold no spaces.
pub fn line(words: &str) -> Result<String> {
    let mut words = words.split_whitespace();
    let program = words.next().context("an empty command line")?;
    output(Command::new(program).args(words))
}

/// Waits for a child, but no longer than `limit`; `None` says that it still runs.
pub fn wait_at_most(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let mut status = None;
    until(limit, || {
        status = child.try_wait()?;
        Ok(status.is_some())
    })?;
    Ok(status)
}

/// Looks at a condition until it holds (true) or `limit` has passed (false); on an emulated machine a multiple of it
/// ([`host::patience`]).
pub fn until(limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + limit * host::patience();
    loop {
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}
