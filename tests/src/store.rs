//! A real store of metrics, Debian's VictoriaMetrics, fetched into the target directory and run from there.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::rotel::free_ports;
use crate::{command, host};

/// The suite whose VictoriaMetrics takes OTLP and gives Prometheus' names to it.
const SUITE: &str = "trixie";
/// What scripts/debian-package.sh exits with where the suite has no such package.
const NO_SUCH_PACKAGE: i32 = 3;

/// The folder of an unpacked Debian package; `None`, and a word, where Debian has none for this machine.
pub fn debian_package(name: &str) -> Result<Option<PathBuf>> {
    let target = host::built("traffic")?.ancestors().nth(2).context("no target")?.to_owned();
    let output = Command::new(host::source("../scripts/debian-package.sh"))
        .args([SUITE, name])
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(Some(String::from_utf8(output.stdout)?.trim().into())),
        Some(NO_SUCH_PACKAGE) => {
            eprintln!("skipped: {}", said.trim());
            Ok(None)
        }
        _ => bail!("cannot get {name} of Debian {SUITE}: {said}"),
    }
}

/// A store that runs; killed on drop.
pub struct Store {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Store {
    /// Starts the VictoriaMetrics of an unpacked package, and waits until it accepts connections.
    pub fn start(package: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("netsonde-store-").tempdir()?;
        let [port] = free_ports()?;
        let child = Command::new(package.join("usr/bin/victoria-metrics"))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg(format!("-storageDataPath={}", directory.path().join("data").display()))
            .arg("-opentelemetry.usePrometheusNaming")
            // What has just arrived is asked for.
            .args([
                "-search.latencyOffset=0s",
                "-search.disableCache",
                "-inmemoryDataFlushInterval=1s",
                "-loggerLevel=ERROR",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("said"))?)
            .spawn()?;
        let store = Self { child, directory, port };
        let accepts = || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok());
        ensure!(
            command::until(Duration::from_secs(20), accepts)?,
            "the store does not listen: {}",
            store.said()
        );
        Ok(store)
    }

    /// Where netsonde sends to, over OTLP/HTTP.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/opentelemetry", self.port)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("said")).unwrap_or_default()
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30"]);
        for (name, value) in parameters {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let text = command::output(curl.arg(format!("http://127.0.0.1:{}{path}", self.port)))?;
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("no answer: {text}"))?;
        ensure!(answer["status"] == "success", "{answer}\nof {parameters:?}");
        Ok(answer["data"].clone())
    }

    /// The series that an expression gives at this moment.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let data = self.ask("/api/v1/query", &[("query", expression)])?;
        parse(&data["result"], "value")
    }

    /// The series that an expression gives for the last so many seconds.
    pub fn query_range(&self, expression: &str, seconds: u32) -> Result<Vec<Series>> {
        let start = format!("-{seconds}s");
        let data = self.ask(
            "/api/v1/query_range",
            &[("query", expression), ("start", start.as_str()), ("end", "now"), ("step", "1s")],
        )?;
        parse(&data["result"], "values")
    }

    /// The values of a label in the series of a selector.
    pub fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let data = self.ask(&format!("/api/v1/label/{label}/values"), &[("match[]", selector)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// The one number that an expression gives; 0 where it gives nothing.
    pub fn number(&self, expression: &str) -> Result<f64> {
        let series = self.query(expression)?;
        ensure!(series.len() <= 1, "{} series of {expression}", series.len());
        Ok(series.first().and_then(|one| one.values.last().copied()).unwrap_or(0.0))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the store said ----\n{}------------------------", self.said());
        }
    }
}

/// A series of an answer: its labels, and its finite values.
#[derive(Debug)]
pub struct Series {
    /// Names and values, as JSON has them.
    pub labels: Value,
    /// In the order of time.
    pub values: Vec<f64>,
}

fn parse(result: &Value, key: &str) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for one in result.as_array().context("no result")? {
        let pairs = if key == "value" {
            vec![one[key].clone()]
        } else {
            one[key].as_array().cloned().unwrap_or_default()
        };
        let mut values = Vec::new();
        for pair in &pairs {
            values.push(pair[1].as_str().context("a value")?.parse()?);
        }
        values.retain(|value: &f64| value.is_finite());
        all.push(Series { labels: one["metric"].clone(), values });
    }
    Ok(all)
}
