//! `netsonde audit` as the tests call it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host;

/// Runs it with these words.
pub fn run(configuration: &Path, words: &str) -> Result<Output> {
    let mut command = Command::new(host::netsonde()?);
    command.arg("audit").arg("--config").arg(configuration).args(words.split_whitespace());
    Ok(command.output()?)
}

/// Its rows as JSON.
pub fn rows(configuration: &Path, words: &str) -> Result<Vec<Value>> {
    let output = run(configuration, &format!("{words} --format json"))?;
    ensure!(output.status.success(), "netsonde audit {words}: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the daemon says of itself, whatever grade that is.
pub fn status(configuration: &Path) -> Result<Value> {
    let mut command = Command::new(host::netsonde()?);
    let output = command.args(["status", "--json", "--config"]).arg(configuration).output()?;
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok(answer)
}
