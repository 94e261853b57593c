//! What something costs when there is more of it: measured points and the curve that fits them, both axes in decades.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::Picture;
use super::canvas::{self, Area, GRID, MUTED, OTHER, OWN, SMALL_SIZE, TEXT, TITLE_SIZE, letters};
use crate::growth::fit;
use crate::render::units::{Unit, quantity};
use crate::results::{Growth, Spread};

const SIZE: (u32, u32) = (860, 420);
const MARGIN: i32 = 16;
/// What the horizontal axis has on both sides of the points.
const BESIDE: f64 = 1.15;
/// Of a curve that is a straight line only where the cost at rest does not count.
const STEPS: i32 = 16;

/// The picture; none of fewer than two points that logarithms have a place for.
pub fn picture(name: &str, growth: &Growth) -> Result<Option<Picture>> {
    let Growth { of, cost, exponent, .. } = growth;
    let drawn: Vec<(f64, Spread)> =
        growth.points.iter().copied().filter(|(n, cost)| *n > 0.0 && cost.min > 0.0).collect();
    let [first, .., _] = drawn.as_slice() else { return Ok(None) };
    let unit = Unit::parse(&growth.unit);
    let title = format!("{cost}, by {of}");
    let at = |(n, cost): &(f64, Spread)| format!("{} at {}", unit.show(cost.median), quantity(*n));
    let all: Vec<String> = drawn.iter().map(at).collect();
    let rest = unit.show(growth.rest.median);
    let description = format!("{title}: {}; {rest} at rest; exponent {exponent:.2}.", all.join(", "));
    let legend = format!(
        "dot: median, upright line: all measurements; blue: the fit, exponent {exponent:.2}; grey: {rest} at rest"
    );
    let (shown, factor) = unit.fitting(first.1.median);
    let svg = canvas::draw(SIZE, &title, &description, |area| {
        area.draw(&Text::new(title.as_str(), (MARGIN, 22), letters(TITLE_SIZE, &TEXT, HPos::Left)))?;
        area.draw(&Text::new(legend, (MARGIN, 44), letters(SMALL_SIZE, &MUTED, HPos::Left)))?;
        draw(area, growth, &drawn, &shown, factor)
    })?;
    Ok(Some(Picture { name: name.to_owned(), description, svg }))
}

/// Draws the points, with costs in the unit that is shown, of which `factor` are one of the growth's own.
fn draw(area: &Area<'_>, growth: &Growth, points: &[(f64, Spread)], shown: &Unit, factor: f64) -> Result<()> {
    let rest = (growth.rest.median > 0.0).then_some(growth.rest.median * factor);
    let costs = points.iter().flat_map(|(_, cost)| [cost.min * factor, cost.max * factor]).chain(rest);
    let (least, most) = ends(costs);
    let Some(((first, _), (last, _))) = points.first().zip(points.last()) else { return Ok(()) };
    let (fewest, many) = (first / BESIDE, last * BESIDE);
    let mut chart = ChartBuilder::on(area)
        .margin_top(62)
        .margin_right(34)
        .margin_left(MARGIN)
        .margin_bottom(6)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d((fewest..many).log_scale(), (least..most).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(6)
        .y_labels(6)
        .max_light_lines(1)
        .bold_line_style(GRID.light)
        .light_line_style(GRID.light)
        .axis_style(MUTED.light)
        .x_desc(growth.of.as_str())
        .axis_desc_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
        .x_label_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
        .y_label_style(letters(SMALL_SIZE, &MUTED, HPos::Right))
        .x_label_formatter(&|n| quantity(*n))
        .y_label_formatter(&|cost| shown.show(*cost))
        .draw()?;
    if let Some(rest) = rest {
        chart.draw_series([PathElement::new([(fewest, rest), (many, rest)], OTHER.light.stroke_width(2))])?;
    }
    let curve = curve(growth, points).into_iter().map(|(n, cost)| (n, cost * factor));
    // A curve may begin below what is shown.
    let curve: Vec<_> = curve.filter(|(_, cost)| *cost >= least).collect();
    chart.draw_series([PathElement::new(curve, OWN.light.stroke_width(2))])?;
    for (n, cost) in points {
        let range = [(*n, cost.min * factor), (*n, cost.max * factor)];
        chart.draw_series([PathElement::new(range, OWN.light.stroke_width(2))])?;
        chart.draw_series([Circle::new((*n, cost.median * factor), 5, OWN.light.filled())])?;
    }
    Ok(())
}

/// What was fitted, from the first point to the last.
fn curve(growth: &Growth, points: &[(f64, Spread)]) -> Vec<(f64, f64)> {
    let Some(((first, _), (last, _))) = points.first().zip(points.last()) else { return Vec::new() };
    let (base, factor) = fit::curve(growth);
    let at = |step| first * (last / first).powf(f64::from(step) / f64::from(STEPS));
    (0..=STEPS).map(at).map(|n| (n, base + factor * n.powf(growth.exponent))).collect()
}

/// Whole decades around all values.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let (least, most) = (least.log10().floor(), most.log10().ceil());
    (10_f64.powf(least), 10_f64.powf(if most > least { most } else { least + 1.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures;
    use crate::results::Content;

    #[test]
    fn the_curve_ends_at_the_last_point() {
        let made = fixtures::growth("growth-sockets-time", "open sockets", "one sweep", "us", 1.0);
        let Content::Growth(growth) = &made.content else { panic!("{made:?}") };
        let curve = curve(growth, &growth.points);
        let (n, cost) = curve[STEPS as usize];
        assert!((n - 100_000.0).abs() < 1e-6 && (cost / 27_300.0 - 1.0).abs() < 0.01, "{n} {cost}");
        assert_eq!(curve[0].0, 1_000.0);
    }

    #[test]
    fn axes_are_whole_decades() {
        assert_eq!(ends([12.0, 850.0].into_iter()), (10.0, 1000.0));
        assert_eq!(ends([10.0, 10.0].into_iter()), (10.0, 100.0));
    }

    #[test]
    fn a_point_is_no_line() {
        let one = |costs: &[(f64, f64)]| {
            let points: Vec<_> = costs.iter().map(|(n, cost)| (*n, vec![*cost])).collect();
            picture("growth-a", &fit::growth("sockets", "a sweep", "s", &[0.0], &points)).unwrap()
        };
        assert!(one(&[(1.0, 1.0)]).is_none());
        assert!(one(&[(1.0, 0.0), (10.0, 1.0)]).is_none());
        assert!(one(&[(1.0, 1.0), (10.0, 10.0)]).is_some());
    }
}
