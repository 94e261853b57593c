//! A real Prometheus, Debian's, that scrapes the daemon over TCP; and OTLP as it should come out there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::rotel::free_ports;
use crate::{command, host};

/// A name with its labels.
pub type Name = (String, BTreeMap<String, String>);
/// Values by name.
pub type Samples = BTreeMap<Name, f64>;

/// A Prometheus; killed on drop.
pub struct Prometheus {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Prometheus {
    /// Has it scrape a port of this host once a second, with the token of a file.
    pub fn start(target: u16, token: &Path) -> Result<Self> {
        let place =
            host::built("traffic")?.parent().and_then(Path::parent).context("no target")?.join("prometheus");
        let script = host::source("../scripts/unpack-prometheus.sh");
        let binary = command::output(Command::new(script).arg(place))?;
        let directory = tempfile::tempdir()?;
        let [port] = free_ports()?;
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n- job_name: netsonde\n  \
             authorization:\n    credentials_file: {}\n  static_configs:\n  - targets: ['127.0.0.1:{target}']\n",
            token.display()
        );
        let path = |name: &str| directory.path().join(name);
        fs::write(path("prometheus.yml"), configuration)?;
        let child = Command::new(binary.trim())
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("errors"))?)
            .spawn()?;
        let prometheus = Self { child, directory, port };
        let up = command::until(Duration::from_secs(30), || {
            Ok(prometheus.query("up == 1").is_ok_and(|samples| !samples.is_empty()))
        })?;
        ensure!(up, "Prometheus does not scrape: {}\n{}", prometheus.errors(), prometheus.targets());
        Ok(prometheus)
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default()
    }

    fn get(&self, path: &str, arguments: &[&str]) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        command::output(Command::new("curl").args(["-sS", "-m", "20"]).args(arguments).arg(url))
    }

    /// What it says of what it scrapes, to be shown when a test fails.
    pub fn targets(&self) -> String {
        self.get("/api/v1/targets", &[]).unwrap_or_default()
    }

    /// The newest values of a query, without what the scrape adds to labels.
    pub fn query(&self, query: &str) -> Result<Samples> {
        let answer = self.get("/api/v1/query", &["--data-urlencode", &format!("query={query}")])?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().context("no result")?;
        series.iter().map(sample).collect()
    }
}

fn sample(series: &Value) -> Result<(Name, f64)> {
    let metric = series["metric"].as_object().context("no labels")?;
    let mut labels: BTreeMap<String, String> = metric
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let name = labels.remove("__name__").unwrap_or_default();
    labels.remove("instance");
    labels.remove("job");
    let value = series["value"][1].as_str().context("no value")?.parse()?;
    Ok(((name, labels), value))
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The samples that one line of OTLP/JSON should come out as, by the rules of OpenTelemetry's compatibility
/// specification for names with units and types.
pub fn expected(line: &Value) -> Result<Samples> {
    let mut samples = Samples::new();
    let resources = line["resourceMetrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    for metric in resources
        .iter()
        .flat_map(|r| r["scopeMetrics"].as_array().into_iter().flatten())
        .flat_map(|s| s["metrics"].as_array().into_iter().flatten())
    {
        let kind = ["sum", "gauge", "histogram"].into_iter().find(|kind| metric.get(*kind).is_some());
        let kind = kind.with_context(|| format!("no kind: {metric}"))?;
        let counter = kind == "sum" && metric["sum"]["isMonotonic"] == true;
        let name = name(metric["name"].as_str().context("no name")?, metric["unit"].as_str(), counter);
        for point in metric[kind]["dataPoints"].as_array().into_iter().flatten() {
            let labels = labels(&point["attributes"])?;
            if kind != "histogram" {
                let value = number(&point["asInt"]).or(number(&point["asDouble"])).context("no value")?;
                samples.insert((name.clone(), labels), value);
                continue;
            }
            let counts: Option<Vec<f64>> =
                point["bucketCounts"].as_array().context("no buckets")?.iter().map(number).collect();
            let bounds = point["explicitBounds"].as_array().context("no bounds")?.iter().map(Value::as_f64);
            let bounds: Option<Vec<f64>> = bounds.chain([Some(f64::INFINITY)]).collect();
            let mut below = 0.0;
            for (bound, count) in bounds.context("bounds")?.iter().zip(counts.context("counts")?) {
                below += count;
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), bound_text(*bound));
                samples.insert((format!("{name}_bucket"), labels), below);
            }
            let sum = number(&point["sum"]).context("no sum")?;
            samples.insert((format!("{name}_sum"), labels.clone()), sum);
            samples.insert((format!("{name}_count"), labels), number(&point["count"]).context("no count")?);
        }
    }
    Ok(samples)
}

fn name(name: &str, unit: Option<&str>, counter: bool) -> String {
    let mut name = name.replace('.', "_");
    let unit = match unit.unwrap_or_default() {
        "By" => "_bytes",
        "s" => "_seconds",
        "1" => "_ratio",
        _ => "",
    };
    if !name.ends_with(unit) {
        name.push_str(unit);
    }
    if counter { name + "_total" } else { name }
}

/// Numbers are texts where JSON would lose digits.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn bound_text(bound: f64) -> String {
    match bound {
        b if b.is_infinite() => "+Inf".to_owned(),
        b if b.fract() == 0.0 => format!("{b:.1}"),
        b => b.to_string(),
    }
}

fn labels(attributes: &Value) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for attribute in attributes.as_array().into_iter().flatten() {
        let key = attribute["key"].as_str().context("no key")?.replace('.', "_");
        let value = plain(&attribute["value"]);
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        if !text.is_empty() {
            labels.insert(key, text);
        }
    }
    Ok(labels)
}

/// OTLP's value as plain JSON.
fn plain(value: &Value) -> Value {
    if let Some(text) = value.get("stringValue") {
        text.clone()
    } else if let Some(is) = value.get("boolValue") {
        is.clone()
    } else if let Some(n) = value.get("intValue") {
        n.as_str().and_then(|n| n.parse::<i64>().ok()).map_or_else(|| n.clone(), Value::from)
    } else {
        let values = value["arrayValue"]["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().map(plain).collect()
    }
}
