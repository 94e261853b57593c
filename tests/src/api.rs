//! The local API as any program may ask it: with curl, and answers read without netsonde's own types.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::daemon::Daemon;

/// An answer's body as text; anything but a success is an error.
pub fn text(daemon: &Daemon, path: &str, arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "-m", "20", "--unix-socket"]).arg(daemon.socket());
    command::output(curl.args(arguments).arg(format!("http://localhost{path}")))
}

/// An answer in JSON.
pub fn json(daemon: &Daemon, path: &str) -> Result<Value> {
    serde_json::from_str(&text(daemon, path, &[])?).with_context(|| format!("{path} is no JSON"))
}

/// Asks until the answer is as wanted, and gives it.
pub fn wait(daemon: &Daemon, path: &str, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let held = command::until(Duration::from_secs(15), || {
        last = json(daemon, path)?;
        Ok(wanted(&last))
    })?;
    ensure!(held, "{path} did not become what was wanted: {last:.2000}");
    Ok(last)
}

/// A `/api/v1/history`.
pub struct History(pub Value);

impl History {
    /// All that the daemon has.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        json(daemon, "/api/v1/history").map(Self)
    }

    /// The intervals.
    pub fn frames(&self) -> &[Value] {
        self.0["frames"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Numbers of flows, or of lookups, whose attributes fit.
    pub fn ids(&self, list: &str, fits: impl Fn(&Value) -> bool) -> Vec<u64> {
        let all = self.0[list].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|one| fits(&one["attributes"])).filter_map(|one| one["id"].as_u64()).collect()
    }

    /// A key of these flows or lookups, interval by interval.
    pub fn series(&self, list: &str, ids: &[u64], key: &str) -> Vec<u64> {
        let of_frame = |frame: &Value| {
            let entries = frame[list].as_array().map(Vec::as_slice).unwrap_or_default();
            let ours = entries.iter().filter(|e| e["id"].as_u64().is_some_and(|id| ids.contains(&id)));
            ours.filter_map(|entry| entry[key].as_u64()).sum()
        };
        self.frames().iter().map(of_frame).collect()
    }

    /// All intervals of it together.
    pub fn sum(&self, list: &str, ids: &[u64], key: &str) -> u64 {
        self.series(list, ids, key).iter().sum()
    }
}
