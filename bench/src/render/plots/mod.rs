//! Pictures of results. What they look like together is for `canvas`, rows of labels and values for `rows`; which numbers are shown is said here
//! and in `growth`.

mod canvas;
mod growth;
mod rows;

use anyhow::Result;

use super::goals::{GOALS, Limit, Of, Results};
use super::page::PEERS;
use super::units::Unit;
use super::{Material, ordered};
use crate::results::{Comparison, Content, Spread};
use rows::{Axis, Bar, Dot, Row, Rows};

/// One picture.
pub struct Picture {
    /// Of its file, without `.svg`.
    pub name: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// The file.
    pub svg: String,
}

/// All that the results have something for.
pub fn all(results: &Results) -> Result<Vec<Picture>> {
    let compared = |peers: bool| {
        ordered(results).into_iter().filter_map(move |one| match &one.content {
            Content::Comparison(comparison) if one.name.starts_with(PEERS) == peers => {
                Some((one.name.as_str(), comparison))
            }
            _ => None,
        })
    };
    let loads: Vec<_> = compared(false).collect();
    let mut pictures = Vec::new();
    pictures.extend(ratios(&loads)?);
    pictures.extend(latencies(&loads)?);
    for (name, comparison) in compared(true) {
        pictures.extend(peers(name, comparison)?);
    }
    for one in ordered(results) {
        if let Content::Growth(growth) = &one.content {
            pictures.extend(growth::picture(&one.name, growth)?);
        }
    }
    Ok(pictures)
}

/// A picture in Markdown, if there is one of this name.
pub fn link(name: &str, material: &Material<'_>, folder: &str) -> Option<String> {
    let picture = material.pictures.iter().find(|picture| picture.name == name)?;
    let description = picture.description.replace(['[', ']'], "");
    Some(format!("![{description}]({folder}/{name}.svg)"))
}

fn ratio(value: f64) -> String {
    Unit::parse("ratio").show(value)
}

/// netsonde's share of the bare speed in all loads, and what is aimed at.
fn ratios(loads: &[(&str, &Comparison)]) -> Result<Option<Picture>> {
    let goal = |name: &str| {
        GOALS.iter().find_map(|goal| match (goal.of, goal.limit) {
            (Of::Ratio(file), Limit::AtLeast(least, _)) if file == name => Some(least),
            _ => None,
        })
    };
    let rows: Vec<Row> = loads
        .iter()
        .filter_map(|(name, comparison)| {
            let spread = comparison.sides.iter().find(|side| side.observer == "netsonde")?.ratio?;
            let goal = goal(name);
            let note = ratio(spread.median);
            let note = goal.map_or(note.clone(), |goal| format!("{note}, goal {}", ratio(goal)));
            Some(Row {
                label: (*name).to_owned(),
                note,
                range: Some((spread.min, spread.max)),
                dots: vec![Dot { at: spread.median, filled: true }],
                goal,
                bar: None,
            })
        })
        .collect();
    let title = "Speed with netsonde, as a share of the speed without";
    let legend = "dot: median of all rounds; line: all of them; upright mark: the goal";
    rows_picture("ratios", title, legend, "share of the bare speed", &rows, Axis::AroundOne)
}

/// Median latency, and that of the slowest hundredth, without netsonde and with it.
fn latencies(loads: &[(&str, &Comparison)]) -> Result<Option<Picture>> {
    let mut rows = Vec::new();
    for (name, comparison) in loads {
        let side = |observer: &str| comparison.sides.iter().find(|side| side.observer == observer);
        let (Some(bare), Some(own)) = (side("bare"), side("netsonde")) else { continue };
        for (what, bare, own) in [("p50", &bare.p50_us, &own.p50_us), ("p99", &bare.p99_us, &own.p99_us)] {
            if bare.is_empty() || own.is_empty() {
                continue;
            }
            let (bare, own) = (Spread::of(bare).median, Spread::of(own).median);
            let show = |value| Unit::parse("us").show(value);
            rows.push(Row {
                label: format!("{name}, {what}"),
                note: format!("{} → {}", show(bare), show(own)),
                range: Some((bare.min(own), bare.max(own))),
                dots: vec![Dot { at: bare, filled: false }, Dot { at: own, filled: true }],
                goal: None,
                bar: None,
            });
        }
    }
    let title = "Latency without netsonde and with it";
    let legend = "ring: without; dot: with; p50 is the median, p99 that of the slowest hundredth";
    rows_picture("latencies", title, legend, "latency", &rows, Axis::Logarithmic)
}

/// Everybody's share of the bare speed.
fn peers(name: &str, comparison: &Comparison) -> Result<Option<Picture>> {
    let rows = comparison.sides.iter().filter_map(|side| {
        let spread = side.ratio?;
        Some(Row {
            label: side.observer.clone(),
            note: ratio(spread.median),
            range: Some((spread.min, spread.max)),
            dots: Vec::new(),
            goal: None,
            bar: Some(Bar { to: spread.median, own: side.observer == "netsonde" }),
        })
    });
    let title = format!("Speed under each observer: {}", comparison.title);
    let legend = "bar: median of all rounds; line: all of them";
    rows_picture(name, &title, legend, "share of the bare speed", &rows.collect::<Vec<_>>(), Axis::FromZero)
}

fn rows_picture(
    name: &str,
    title: &str,
    legend: &str,
    axis_title: &str,
    rows: &[Row],
    axis: Axis,
) -> Result<Option<Picture>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let values: Vec<String> = rows.iter().map(|row| format!("{}: {}", row.label, row.note)).collect();
    let description = format!("{title}. {}.", values.join("; "));
    let svg = rows::draw(&Rows { title, legend, axis_title, description: &description, rows, axis })?;
    Ok(Some(Picture { name: name.to_owned(), description, svg }))
}
