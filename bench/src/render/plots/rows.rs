//! Pictures of rows: a label, marks along one axis, and the number itself.

use anyhow::{Context, Result};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{
    self, Area, GOAL, GRID, MUTED, OTHER, OWN, PAPER, SMALL_SIZE, TEXT, TEXT_SIZE, TITLE_SIZE, letters,
};
use crate::render::units::Unit;

/// One row.
pub struct Row {
    pub label: String,
    /// Beside the marks.
    pub note: String,
    /// A thin line, from the least to the most.
    pub range: Option<(f64, f64)>,
    pub dots: Vec<Dot>,
    /// An upright mark.
    pub goal: Option<f64>,
    pub bar: Option<Bar>,
}

pub struct Dot {
    pub at: f64,
    /// A ring otherwise.
    pub filled: bool,
}

/// From zero.
pub struct Bar {
    pub to: f64,
    /// netsonde's.
    pub own: bool,
}

/// What the axis is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// What is shown, and 1, which has a line.
    AroundOne,
    /// From 0, and 1 has a line.
    FromZero,
    /// Microseconds, in decades.
    Logarithmic,
}

/// A picture of them.
pub struct Rows<'a> {
    pub title: &'a str,
    pub legend: &'a str,
    pub axis_title: &'a str,
    pub description: &'a str,
    pub rows: &'a [Row],
    pub axis: Axis,
}

const WIDTH: u32 = 860;
const ROW: u32 = 30;
const HEAD: u32 = 64;
const FOOT: u32 = 54;
const NOTES: u32 = 170;
const MARGIN: i32 = 16;
/// Of a letter, on average, and rather more than less.
const LETTER: f64 = 7.2;

/// Draws it.
pub fn draw(rows: &Rows<'_>) -> Result<String> {
    let height = HEAD + ROW * rows.rows.len() as u32 + FOOT;
    canvas::draw((WIDTH, height), rows.title, rows.description, |area| {
        area.draw(&Text::new(rows.title, (MARGIN, 22), letters(TITLE_SIZE, &TEXT, HPos::Left)))?;
        area.draw(&Text::new(rows.legend, (MARGIN, 44), letters(SMALL_SIZE, &MUTED, HPos::Left)))?;
        let (least, most) = ends(rows).context("rows without numbers")?;
        match rows.axis {
            Axis::Logarithmic => rows.on(area, (least..most).log_scale()),
            Axis::AroundOne | Axis::FromZero => rows.on::<_, RangedCoordf64>(area, least..most),
        }
    })
}

/// Where the axis begins and ends.
fn ends(rows: &Rows<'_>) -> Option<(f64, f64)> {
    let values = rows.rows.iter().flat_map(|row| {
        let range = row.range.into_iter().flat_map(|(from, to)| [from, to]);
        let dots = row.dots.iter().map(|dot| dot.at);
        range.chain(dots).chain(row.goal).chain(row.bar.as_ref().map(|bar| bar.to))
    });
    let (least, most) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    if !(least.is_finite() && most.is_finite()) {
        return None;
    }
    // Twentieths, so that ends are round numbers.
    let (down, up) =
        (|value: f64| (value * 20.0 - 0.2).floor() / 20.0, |value: f64| (value * 20.0 + 0.2).ceil() / 20.0);
    Some(match rows.axis {
        Axis::AroundOne => (down(least.min(1.0)).max(0.0), up(most.max(1.0))),
        Axis::FromZero => (0.0, up(most.max(1.0))),
        Axis::Logarithmic => (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil())),
    })
}

impl Rows<'_> {
    fn on<X, C>(&self, area: &Area<'_>, axis: X) -> Result<()>
    where
        X: AsRangedCoord<Value = f64, CoordDescType = C>,
        C: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let count = self.rows.len();
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
        let labels = (longest as f64 * LETTER) as u32 + MARGIN as u32;
        let mut chart = ChartBuilder::on(area)
            .margin_top(HEAD)
            .margin_left(labels + 8)
            .margin_right(NOTES)
            .margin_bottom(6)
            .x_label_area_size(FOOT - 6)
            .build_cartesian_2d(axis, 0.0..count as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(8)
            .x_max_light_lines(1)
            .bold_line_style(GRID.light)
            .light_line_style(GRID.light)
            .axis_style(MUTED.light)
            .x_desc(self.axis_title)
            .axis_desc_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
            .x_label_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
            .x_label_formatter(&|value| self.axis.tick(*value))
            .draw()?;
        if self.axis != Axis::Logarithmic {
            chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, count as f64)], MUTED.light)])?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            let y = (count - index) as f64 - 0.5;
            if let Some(Bar { to, own }) = row.bar {
                let ink = if own { &OWN } else { &OTHER };
                chart.draw_series([Rectangle::new([(0.0, y - 0.3), (to, y + 0.3)], ink.light.filled())])?;
            }
            if let Some((from, to)) = row.range {
                let ink = if row.bar.is_some() { &TEXT } else { &OWN };
                chart.draw_series([PathElement::new([(from, y), (to, y)], ink.light.stroke_width(2))])?;
            }
            if let Some(goal) = row.goal {
                let mark = PathElement::new([(goal, y - 0.32), (goal, y + 0.32)], GOAL.light.stroke_width(3));
                chart.draw_series([mark])?;
            }
            for Dot { at, filled } in &row.dots {
                let inner = if *filled { &OWN } else { &PAPER };
                chart.draw_series([Circle::new((*at, y), 6, OWN.light.filled())])?;
                chart.draw_series([Circle::new((*at, y), 4, inner.light.filled())])?;
            }
            let height = chart.backend_coord(&(chart.x_range().start, y)).1;
            let label = letters(TEXT_SIZE, &TEXT, HPos::Right);
            area.draw(&Text::new(row.label.as_str(), (labels as i32, height), label))?;
            let note = letters(TEXT_SIZE, &TEXT, HPos::Left);
            area.draw(&Text::new(row.note.as_str(), ((WIDTH - NOTES) as i32 + 12, height), note))?;
        }
        Ok(())
    }
}

impl Axis {
    fn tick(self, value: f64) -> String {
        match self {
            Self::AroundOne | Self::FromZero => format!("{value:.2}"),
            Self::Logarithmic => Unit::parse("us").show(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(range: (f64, f64)) -> Row {
        let dots = vec![Dot { at: range.0, filled: true }];
        Row { label: "a".into(), note: "b".into(), range: Some(range), dots, goal: None, bar: None }
    }

    #[test]
    fn axes_end_beyond_what_they_show() {
        let of = |axis, range| {
            let rows = [row(range)];
            ends(&Rows { title: "", legend: "", axis_title: "", description: "", rows: &rows, axis }).unwrap()
        };
        assert_eq!(of(Axis::AroundOne, (0.82, 0.97)), (0.8, 1.05));
        assert_eq!(of(Axis::AroundOne, (0.0, 1.32)), (0.0, 1.35));
        assert_eq!(of(Axis::FromZero, (0.5, 0.97)), (0.0, 1.05));
        assert_eq!(of(Axis::Logarithmic, (12.0, 850.0)), (10.0, 1000.0));
    }
}
