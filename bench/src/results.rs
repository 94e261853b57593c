//! What a measurement leaves: one file for each, in one form, from which the pages and pictures of `docs/` are made. How
//! anything is measured is for the measurements; how it looks is for `render`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One measurement: when, where, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// What it is called on the command line and in file names: lower case, with hyphens.
    pub name: String,
    /// Begin, in UTC, as RFC 3339 has it.
    pub time: String,
    /// How much was measured.
    pub scope: Scope,
    /// What it was measured on.
    pub host: Host,
    /// netsonde's configuration, besides what the measurement itself needs.
    pub configuration: String,
    /// What came of it.
    pub content: Content,
}

/// How much was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Enough to be quoted.
    Full,
    /// Enough to see whether something is badly wrong.
    Quick,
}

impl Scope {
    /// Of something that is measured several times, the dearest last: all of it, or the first.
    pub fn of<T>(self, all: &[T]) -> &[T] {
        match self {
            Self::Full => all,
            Self::Quick => &all[..all.len().min(1)],
        }
    }
}

/// What was measured on, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `uname -r`, without what follows the version.
    pub kernel: String,
    /// `model name` of /proc/cpuinfo, or the architecture.
    pub processor: String,
    /// How many of them this process may use.
    pub processors: usize,
    /// Bytes: `MemTotal` of /proc/meminfo.
    pub memory: u64,
    /// `PRETTY_NAME` of os-release(5).
    pub distribution: String,
    /// Version of each program that took part, by its name; `netsonde` with the commit it was built from.
    pub versions: BTreeMap<String, String>,
}

/// What came of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// One load under several observers.
    Comparison(Comparison),
    /// Single numbers.
    Figures {
        /// In the order in which they are shown.
        figures: Vec<Figure>,
    },
    /// What something costs when there is more of it.
    Growth(Growth),
}

/// One load, observed by nobody, by netsonde and by its peers, in rounds in which each of them had its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// What the load is, for people.
    pub title: String,
    /// What a rate counts: `requests/s`.
    pub unit: String,
    /// Of each run.
    pub seconds: u64,
    /// The first is the bare load.
    pub sides: Vec<Side>,
}

/// The runs of one load under one observer. Vectors have a value for each round, and are empty where there is nothing to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// `bare`, `netsonde`, or the peer's name.
    pub observer: String,
    /// In the load's unit.
    pub rates: Vec<f64>,
    /// Median latency of the load, in microseconds.
    pub p50_us: Vec<f64>,
    /// The same for the slowest hundredth.
    pub p99_us: Vec<f64>,
    /// Rate by the bare rate of the same round. None for the bare load.
    pub ratio: Option<Spread>,
    /// Processor seconds of the observer's processes in each run, its start not counted.
    pub cpu_seconds: Vec<f64>,
    /// What the observer told, beside what there was, over all rounds.
    pub told: Vec<Told>,
}

/// Something an observer should have counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// `connections`, `bytes`, `processes`, …
    pub what: String,
    /// How much there was, by the load's own word; 0 where there is nothing to compare with.
    pub truth: u64,
    /// How much the observer told of.
    pub told: u64,
}

/// One number that was measured, perhaps several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Unique in its file; goals are found by file and name. Lower case, with hyphens.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// `ns`, `bytes`, `s`, `ratio`, …
    pub unit: String,
    /// The number.
    pub value: Spread,
    /// Of how many measurements.
    pub count: usize,
}

impl Figure {
    /// Of at least one measurement.
    pub fn of(name: &str, title: &str, unit: &str, values: &[f64]) -> Self {
        let value = Spread::of(values);
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            value,
            count: values.len(),
        }
    }
}

/// What something costs when there is more of it, over two decades.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// What grows, for people: `open sockets`.
    pub of: String,
    /// What it costs, for people: `processor time of one sweep`.
    pub cost: String,
    /// Of the cost.
    pub unit: String,
    /// The cost when there are none.
    pub rest: Spread,
    /// How many there were, and the whole cost then; ascending.
    pub points: Vec<(f64, Spread)>,
    /// The exponent that fits what is beyond the cost at rest: 1 is linear, more is worse.
    pub exponent: f64,
    /// The same of the points in the upper decade alone.
    pub upper_exponent: f64,
}

impl Growth {
    /// More than measurements and the doubling of tables make of a line.
    const WORSE: f64 = 1.15;

    /// Whether it grows faster than there is more of it, where there is much of it.
    pub fn is_worse_than_linear(&self) -> bool {
        self.upper_exponent > Self::WORSE
    }
}

/// A middle and how far apart the measurements were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Self { median, min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let digits = if *max < 100.0 { 3 } else { 0 };
        write!(f, "{median:.digits$} [{min:.digits$}..{max:.digits$}]")
    }
}

/// Where results that are quoted live: under version control.
pub fn quoted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

impl Measurement {
    /// Writes it over an earlier one of its name; the file's path.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("{}.json", self.name));
        let write = || -> Result<()> {
            fs::create_dir_all(directory)?;
            Ok(fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// All of a directory, by name.
    pub fn read_all(directory: &Path) -> Result<BTreeMap<String, Self>> {
        let mut all = BTreeMap::new();
        for entry in
            fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let measurement: Self = serde_json::from_str(&fs::read_to_string(&path)?)
                    .with_context(|| format!("{} is no measurement", path.display()))?;
                all.insert(measurement.name.clone(), measurement);
            }
        }
        Ok(all)
    }
}

/// The exponent `e` of the `cost = a * n^e` that fits best: the slope of a straight line through the logarithms, by least squares.
/// Of at least two points with different, positive `n` and positive costs.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logarithms = || points.iter().map(|(n, cost)| (n.ln(), cost.ln()));
    let (x, y) = logarithms().fold((0.0, 0.0), |(x, y), (n, cost)| (x + n / count, y + cost / count));
    let covariance: f64 = logarithms().map(|(n, cost)| (n - x) * (cost - y)).sum();
    let variance: f64 = logarithms().map(|(n, _)| (n - x).powi(2)).sum();
    covariance / variance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn an_exponent_tells_a_square_from_a_line() {
        let points = |power: i32| [1.0_f64, 10.0, 100.0].map(|n| (n, 3.0 * n.powi(power)));
        assert!((exponent(&points(1)) - 1.0).abs() < 1e-9);
        assert!((exponent(&points(2)) - 2.0).abs() < 1e-9);
        assert!(exponent(&[(1.0, 5.0), (10.0, 5.0)]).abs() < 1e-9);
    }

    #[test]
    fn a_measurement_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let growth = Growth {
            of: "open sockets".into(),
            cost: "one sweep".into(),
            unit: "s".into(),
            rest: Spread::of(&[0.5]),
            points: vec![(10.0, Spread::of(&[1.0])), (100.0, Spread::of(&[10.0]))],
            exponent: 1.0,
            upper_exponent: 1.0,
        };
        let measurement = Measurement {
            name: "growth-sockets".into(),
            time: "2026-11-28T12:00:00Z".into(),
            scope: Scope::Quick,
            host: Host {
                kernel: "6.18".into(),
                processor: "some".into(),
                processors: 2,
                memory: 1 << 34,
                distribution: "Debian".into(),
                versions: [("netsonde".into(), "0.1.0".into())].into(),
            },
            configuration: String::new(),
            content: Content::Growth(growth),
        };
        let path = measurement.write(directory.path()).unwrap();
        assert!(path.ends_with("growth-sockets.json"));
        let all = Measurement::read_all(directory.path()).unwrap();
        assert_eq!(all.into_values().collect::<Vec<_>>(), [measurement]);
    }
}
