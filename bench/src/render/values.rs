//! What a name in a page stands for. `FILE/FIGURE` is a figure, `FILE/OBSERVER/PART` a part of a comparison, and `FILE/exponent` that of a
//! growth.

use anyhow::{Context, Result, bail, ensure};

use super::goals::{Results, comparison, find_figure, side};
use super::place;
use super::units::Unit;
use crate::results::{Content, Spread};

/// What stands where no number is.
pub const UNMEASURED: &str = "*not measured*";

/// The middle of what a name stands for, as people read it; of a measurement that has not been made, that.
pub fn value(name: &str, results: &Results) -> Result<String> {
    let (file, rest) =
        name.split_once('/').with_context(|| format!("{name} is not of the form FILE/NAME"))?;
    let Some(measurement) = results.get(file) else {
        ensure!(place(file).is_some(), "no measurement is named {file}");
        return Ok(UNMEASURED.to_owned());
    };
    let (spread, unit) = match (&measurement.content, rest.split_once('/')) {
        (Content::Figures { .. }, _) => {
            let figure = find_figure(measurement, rest)?;
            (figure.value, figure.unit.clone())
        }
        (Content::Growth(growth), None) if rest == "exponent" => {
            return Ok(format!("{:.2}", growth.exponent));
        }
        (Content::Comparison(_), Some((observer, part))) => {
            let comparison = comparison(measurement)?;
            let side = side(comparison, observer)?;
            let middle = |values: &[f64]| (!values.is_empty()).then(|| Spread::of(values));
            let (spread, unit) = match part {
                "rate" => (middle(&side.rates), comparison.unit.as_str()),
                "ratio" => (side.ratio, "ratio"),
                "p50" => (middle(&side.p50_us), "us"),
                "p99" => (middle(&side.p99_us), "us"),
                _ => bail!("{part} is none of rate, ratio, p50, p99"),
            };
            (spread.with_context(|| format!("{observer} has no {part} in {file}"))?, unit.to_owned())
        }
        _ => bail!("{file} has no {rest}"),
    };
    Ok(Unit::parse(&unit).show(spread.median))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn error(name: &str) -> String {
        format!("{:#}", value(name, &fixtures::results()).unwrap_err())
    }

    #[test]
    fn names_stand_for_middles() {
        let results = fixtures::results();
        let value = |name: &str| value(name, &results).unwrap();
        assert_eq!(value("bpf/connection"), "3.81 µs");
        assert_eq!(value("keep-alive/netsonde/ratio"), "0.971");
        assert_eq!(value("keep-alive/bare/rate"), "109,845 requests/s");
        assert_eq!(value("keep-alive/bare/p50"), "120 µs");
        assert_eq!(value("growth-sockets-time/exponent"), "1.00");
        assert_eq!(value("audit/daemon-ratio"), UNMEASURED);
        assert_eq!(value("growth-flows-cpu/exponent"), UNMEASURED);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert_eq!(error("connection"), "connection is not of the form FILE/NAME");
        assert_eq!(error("growth-things-cpu/exponent"), "no measurement is named growth-things-cpu");
        assert_eq!(error("bpf-more/connection"), "no measurement is named bpf-more");
        assert_eq!(error("bfp/connection"), "no measurement is named bfp");
        assert_eq!(error("bpf/conection"), "bpf has no figure conection");
        assert_eq!(error("keep-alive/netsonde"), "keep-alive has no netsonde");
        assert_eq!(error("keep-alive/nobody/rate"), "nobody did not take part in it");
        assert_eq!(error("keep-alive/bare/ratio"), "bare has no ratio in keep-alive");
        assert_eq!(error("keep-alive/bare/speed"), "speed is none of rate, ratio, p50, p99");
        assert_eq!(error("growth-sockets-time/slope"), "growth-sockets-time has no slope");
    }
}
