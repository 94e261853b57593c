//! What netsonde promises to cost at most, and whether it does. The middle of all rounds decides; why a goal is missed is told by a note of
//! its name in `bench/notes`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::units::Unit;
use crate::results::{Comparison, Content, Figure, Measurement, Side, Spread};

/// Results by their names.
pub type Results = BTreeMap<String, Measurement>;

/// One promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Of its note and in links: lower case, with hyphens.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What is measured for it.
    pub of: Of,
    /// What it is to be.
    pub limit: Limit,
}

/// A number in the results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Of {
    /// netsonde's share of the bare speed, of the comparison of this name.
    Ratio(&'static str),
    /// A figure.
    Figure {
        /// The measurement's name.
        file: &'static str,
        /// The figure's name in it.
        name: &'static str,
    },
}

/// What a number is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// That much or more.
    AtLeast(f64, &'static str),
    /// That much or less.
    AtMost(f64, &'static str),
}

const fn ratio(name: &'static str, title: &'static str, least: f64) -> Goal {
    Goal { name, title, of: Of::Ratio(name), limit: Limit::AtLeast(least, "ratio") }
}

const fn figure(
    name: &'static str,
    title: &'static str,
    file: &'static str,
    figure: &'static str,
    most: (f64, &'static str),
) -> Goal {
    let (most, unit) = most;
    Goal { name, title, of: Of::Figure { file, name: figure }, limit: Limit::AtMost(most, unit) }
}

/// All of them, in the order in which they are shown.
pub const GOALS: [Goal; 10] = [
    ratio("keep-alive", "keep-alive HTTP, share of the bare speed", 0.995),
    ratio("connection-per-request", "HTTP with a connection for each request, share of the bare speed", 0.97),
    ratio("bulk", "bulk TCP, one stream, share of the bare speed", 0.995),
    ratio("bulk-16", "bulk TCP, 16 streams, share of the bare speed", 0.995),
    ratio("dns", "DNS lookups, share of the bare speed", 0.97),
    ratio("small-udp", "small UDP datagrams, share of the bare speed", 0.96),
    figure(
        "sweep",
        "a whole sweep of 100,000 idle sockets, for each of them",
        "sweep",
        "sockets-100000-socket",
        (0.4, "us"),
    ),
    figure("rest", "resident memory at rest", "memory", "rest", (25.0, "MiB")),
    figure("many-sockets", "resident memory with 100,000 sockets", "memory", "sockets-100000", (80.0, "MiB")),
    figure(
        "cpu",
        "daemon's processor time at 1,000 connections a second",
        "cpu",
        "connections-1000",
        (1.0, "%"),
    ),
];

/// What came of a goal.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Its measurement has not been made.
    Unmeasured,
    /// It holds.
    Met(Measured),
    /// It does not.
    Missed(Measured),
}

/// What was measured for a goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// In the figure's own unit.
    pub spread: Spread,
    /// That unit.
    pub unit: Unit,
}

impl Verdict {
    /// In a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unmeasured => "not measured",
            Self::Met(_) => "met",
            Self::Missed(_) => "**missed**",
        }
    }
}

impl Goal {
    /// As a table has it: `≥ 0.995`.
    pub fn limit(&self) -> String {
        let (sign, value, unit) = match self.limit {
            Limit::AtLeast(value, unit) => ("≥", value, unit),
            Limit::AtMost(value, unit) => ("≤", value, unit),
        };
        format!("{sign} {}", Unit::parse(unit).show(value))
    }

    /// Its measurement's name.
    pub fn file(&self) -> &'static str {
        match self.of {
            Of::Ratio(file) | Of::Figure { file, .. } => file,
        }
    }

    /// Whether it holds. An error if there is a measurement, but not of what is promised, or in something that cannot be compared with it.
    pub fn judge(&self, results: &Results) -> Result<Verdict> {
        let Some(measurement) = results.get(self.file()) else { return Ok(Verdict::Unmeasured) };
        let measured = self.find(measurement).with_context(|| format!("the goal {}", self.name))?;
        let (value, unit) = match self.limit {
            Limit::AtLeast(value, unit) | Limit::AtMost(value, unit) => (value, unit),
        };
        let middle = measured.unit.convert(measured.spread.median, &Unit::parse(unit));
        let middle =
            middle.with_context(|| format!("the goal {} is in {unit}, its figure is not", self.name))?;
        ensure!(middle.is_finite(), "the figure of the goal {} is no number", self.name);
        let met = match self.limit {
            Limit::AtLeast(..) => middle >= value,
            Limit::AtMost(..) => middle <= value,
        };
        Ok(if met { Verdict::Met(measured) } else { Verdict::Missed(measured) })
    }

    fn find(&self, measurement: &Measurement) -> Result<Measured> {
        match self.of {
            Of::Ratio(_) => {
                let spread = side(comparison(measurement)?, "netsonde")?.ratio;
                let spread = spread.context("netsonde has no ratio in it")?;
                Ok(Measured { spread, unit: Unit::parse("ratio") })
            }
            Of::Figure { name, .. } => {
                let found = find_figure(measurement, name)?;
                Ok(Measured { spread: found.value, unit: Unit::parse(&found.unit) })
            }
        }
    }
}

/// A measurement's figure of this name.
pub fn find_figure<'a>(measurement: &'a Measurement, name: &str) -> Result<&'a Figure> {
    let Content::Figures { figures } = &measurement.content else {
        anyhow::bail!("{} has no figures", measurement.name)
    };
    let found = figures.iter().find(|figure| figure.name == name);
    found.with_context(|| format!("{} has no figure {name}", measurement.name))
}

/// What a measurement compares.
pub fn comparison(measurement: &Measurement) -> Result<&Comparison> {
    match &measurement.content {
        Content::Comparison(comparison) => Ok(comparison),
        Content::Figures { .. } | Content::Growth(_) => {
            anyhow::bail!("{} compares nothing", measurement.name)
        }
    }
}

/// The runs under this observer.
pub fn side<'a>(comparison: &'a Comparison, observer: &str) -> Result<&'a Side> {
    let found = comparison.sides.iter().find(|side| side.observer == observer);
    found.with_context(|| format!("{observer} did not take part in it"))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn goal(name: &str) -> &'static Goal {
        GOALS.iter().find(|goal| goal.name == name).unwrap()
    }

    #[test]
    fn goals_have_names_of_their_own() {
        let mut names: Vec<&str> = GOALS.iter().map(|goal| goal.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), GOALS.len());
    }

    #[test]
    fn the_middle_decides_whatever_the_unit() {
        let results = fixtures::results();
        assert!(matches!(goal("keep-alive").judge(&results).unwrap(), Verdict::Missed(_)));
        assert!(matches!(goal("small-udp").judge(&results).unwrap(), Verdict::Met(_)));
        // 270 ns and 0.4 us; bytes and MiB.
        assert!(matches!(goal("sweep").judge(&results).unwrap(), Verdict::Met(_)));
        assert!(matches!(goal("rest").judge(&results).unwrap(), Verdict::Met(_)));
        assert!(matches!(goal("many-sockets").judge(&results).unwrap(), Verdict::Missed(_)));
        assert_eq!(goal("sweep").limit(), "≤ 400 ns");
        assert_eq!(goal("keep-alive").limit(), "≥ 0.995");
    }

    #[test]
    fn what_is_exactly_at_the_limit_holds() {
        for (name, value, unit, met) in [
            ("sweep", 400.0, "ns", true),
            ("sweep", 400.1, "ns", false),
            ("rest", 26_214_400.0, "bytes", true),
            ("rest", 26_214_401.0, "bytes", false),
        ] {
            let Of::Figure { file, name: figure } = goal(name).of else { panic!("{name}") };
            let results = [fixtures::figures(file, &[(figure, unit, &[value])])];
            let results = results.into_iter().map(|one| (one.name.clone(), one)).collect();
            let verdict = goal(name).judge(&results).unwrap();
            assert_eq!(matches!(verdict, Verdict::Met(_)), met, "{name} {value}");
        }
    }

    #[test]
    fn no_measurement_is_no_verdict_and_the_wrong_one_an_error() {
        assert_eq!(goal("sweep").judge(&Results::new()).unwrap(), Verdict::Unmeasured);
        let judge = |measurement: Measurement| {
            let results = Results::from([(measurement.name.clone(), measurement)]);
            format!("{:#}", goal("sweep").judge(&results).unwrap_err())
        };
        assert_eq!(
            judge(fixtures::figures("sweep", &[])),
            "the goal sweep: sweep has no figure sockets-100000-socket"
        );
        assert_eq!(
            judge(fixtures::figures("sweep", &[("sockets-100000-socket", "bytes", &[1.0])])),
            "the goal sweep is in us, its figure is not"
        );
        assert_eq!(
            judge(fixtures::figures("sweep", &[("sockets-100000-socket", "ns", &[f64::NAN])])),
            "the figure of the goal sweep is no number"
        );
    }
}
