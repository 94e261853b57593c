//! What a run ends with in the terminal: every number of it in one table, and what came of the goals.

use crate::render::goals::{GOALS, Results, Verdict};
use crate::render::units::{Unit, whole};
use crate::results::{Content, Figure, Growth, Measurement, Side, Spread, Told};

/// Between columns.
const GAP: &str = "  ";

/// Loads, figures and goals.
pub fn text(measurements: &[Measurement]) -> String {
    let head = ["", "", "", "of the bare speed", "p50", "p99", "of a processor", "told of"];
    let (mut loads, mut figures) = (vec![head.map(str::to_owned).to_vec()], Vec::new());
    for measurement in measurements {
        match measurement.content {
            Content::Comparison(_) => loads.extend(of(measurement)),
            Content::Figures { .. } | Content::Growth(_) => figures.extend(of(measurement)),
        }
    }
    let results: Results =
        measurements.iter().map(|measurement| (measurement.name.clone(), measurement.clone())).collect();
    format!("{}\n{}\n{}", align(&loads), align(&figures), align(&goals(&results)))
}

fn of(measurement: &Measurement) -> Vec<Vec<String>> {
    let name = |line: usize| if line == 0 { measurement.name.clone() } else { String::new() };
    match &measurement.content {
        Content::Comparison(comparison) => {
            let unit = Unit::parse(&comparison.unit);
            let sides = comparison.sides.iter().enumerate();
            sides
                .map(|(line, one)| [vec![name(line)], side(one, &unit, comparison.seconds)].concat())
                .collect()
        }
        Content::Figures { figures } => {
            let row = |(line, Figure { title, unit, value, .. }): (usize, &Figure)| {
                vec![name(line), title.clone(), Unit::parse(unit).show_spread(value)]
            };
            figures.iter().enumerate().map(row).collect()
        }
        Content::Growth(Growth { of, cost, exponent, .. }) => {
            vec![vec![name(0), format!("{cost}, by {of}"), format!("exponent {exponent:.2}")]]
        }
    }
}

/// One observer's line, without the load's name.
fn side(side: &Side, unit: &Unit, seconds: u64) -> Vec<String> {
    let middle = |values: &[f64], unit: &Unit| match values {
        [] => String::new(),
        values => unit.show(Spread::of(values).median),
    };
    let microseconds = Unit::parse("us");
    let told = side.told.iter().map(|Told { what, truth, told }| match truth {
        0 => format!("{} {what}", whole(*told)),
        truth if told == truth => format!("all of {} {what}", whole(*truth)),
        truth => format!("{} of {} {what}", whole(*told), whole(*truth)),
    });
    let cpu: f64 = side.cpu_seconds.iter().sum();
    let share = cpu / (seconds * side.rates.len() as u64) as f64;
    vec![
        side.observer.clone(),
        middle(&side.rates, unit),
        side.ratio.map(|ratio| Unit::parse("ratio").show_spread(&ratio)).unwrap_or_default(),
        middle(&side.p50_us, &microseconds),
        middle(&side.p99_us, &microseconds),
        if side.ratio.is_some() { Unit::parse("%").show(100.0 * share) } else { String::new() },
        told.collect::<Vec<_>>().join(", "),
    ]
}

/// A line for each goal of which there is a measurement.
fn goals(results: &Results) -> Vec<Vec<String>> {
    let line = |goal: &crate::render::goals::Goal| {
        let (measured, word) = match goal.judge(results) {
            Ok(Verdict::Unmeasured) => return None,
            Ok(Verdict::Met(measured)) => (measured.unit.show_spread(&measured.spread), "met".to_owned()),
            Ok(Verdict::Missed(measured)) => {
                (measured.unit.show_spread(&measured.spread), "missed".to_owned())
            }
            // A quick run has not all of a measurement.
            Err(_) => (String::new(), "not measured".to_owned()),
        };
        Some(vec![goal.title.to_owned(), goal.limit(), measured, word])
    };
    GOALS.iter().filter_map(line).collect()
}

/// Columns as wide as what is in them.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Comparison, Host, Scope};

    fn measurement(name: &str, content: Content) -> Measurement {
        let host = Host {
            kernel: String::new(),
            processor: String::new(),
            processors: 1,
            memory: 1,
            distribution: String::new(),
            versions: [].into(),
        };
        let (time, configuration) = (String::new(), String::new());
        Measurement { name: name.into(), time, scope: Scope::Quick, host, configuration, content }
    }

    #[test]
    fn every_number_has_its_line_and_goals_their_verdict() {
        let bare = Side {
            observer: "bare".into(),
            rates: vec![1000.0],
            p50_us: vec![182.0],
            p99_us: vec![1500.0],
            ratio: None,
            cpu_seconds: vec![0.0],
            told: Vec::new(),
        };
        let own = Side {
            observer: "netsonde".into(),
            rates: vec![999.0],
            ratio: Some(Spread::of(&[0.999])),
            cpu_seconds: vec![0.03],
            told: vec![Told { what: "connections".into(), truth: 17, told: 16 }],
            ..bare.clone()
        };
        let comparison = Comparison {
            title: "keep-alive HTTP".into(),
            unit: "requests/s".into(),
            seconds: 3,
            sides: vec![bare, own],
        };
        let figures = vec![Figure::of("rest", "resident at rest", "bytes", &[30.0 * 1024.0 * 1024.0])];
        let text = text(&[
            measurement("keep-alive", Content::Comparison(comparison)),
            measurement("memory", Content::Figures { figures }),
        ]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1].join(" "), "keep-alive bare 1,000 requests/s 182 µs 1.5 ms");
        assert_eq!(
            lines[2].join(" "),
            "netsonde 999 requests/s 0.999 182 µs 1.5 ms 1 % 16 of 17 connections"
        );
        assert_eq!(lines[4].join(" "), "memory resident at rest 30 MiB");
        let verdict = |title: &str| text.lines().find(|line| line.starts_with(title)).unwrap().trim_end();
        assert!(verdict("keep-alive HTTP").ends_with("met"));
        assert!(verdict("resident memory at rest").ends_with("missed"));
    }

    #[test]
    fn columns_are_as_wide_as_the_widest() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        assert_eq!(
            align(&[row(&["µ", "b"]), row(&["ccc"]), row(&["", "", "d"])]),
            "µ    b\nccc\n        d\n"
        );
    }
}
