//! What something costs when there is more of it: measured points and the line that fits them, both axes in decades.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::Picture;
use super::canvas::{self, GRID, MUTED, OTHER, OWN, SMALL_SIZE, TEXT, TITLE_SIZE, letters};
use crate::render::units::Unit;
use crate::results::{Growth, Spread};

const SIZE: (u32, u32) = (860, 420);
const MARGIN: i32 = 16;

/// The picture; none of fewer than two points that logarithms have a place for.
pub fn picture(name: &str, growth: &Growth) -> Result<Option<Picture>> {
    let points: Vec<(f64, Spread)> =
        growth.points.iter().copied().filter(|(n, cost)| *n > 0.0 && cost.min > 0.0).collect();
    let ([first, .., last], Growth { of, cost, exponent, .. }) = (points.as_slice(), growth) else {
        return Ok(None);
    };
    let (first, last) = (*first, *last);
    let unit = Unit::parse(&growth.unit);
    let title = format!("{cost}, by {of}");
    let at = |(n, cost): &(f64, Spread)| format!("{} at {}", unit.show(cost.median), number(*n));
    let all: Vec<String> = points.iter().map(at).collect();
    let description = format!("{title}: {}; exponent {exponent:.2}.", all.join(", "));
    let factor = factor(&points, *exponent);
    let svg = canvas::draw(SIZE, &title, &description, |area| {
        let legend = format!(
            "dot: median, upright line: all measurements; blue line: the fit, exponent {exponent:.2}; grey line: exponent 1 from the first point"
        );
        area.draw(&Text::new(title.as_str(), (MARGIN, 22), letters(TITLE_SIZE, &TEXT, HPos::Left)))?;
        area.draw(&Text::new(legend, (MARGIN, 44), letters(SMALL_SIZE, &MUTED, HPos::Left)))?;
        let linear = first.1.median * last.0 / first.0;
        let costs = points.iter().flat_map(|(_, cost)| [cost.min, cost.max]).chain([linear]);
        let (least, most) = ends(costs);
        let (fewest, many) = ends([first.0, last.0].into_iter());
        let mut chart = ChartBuilder::on(area)
            .margin_top(62)
            .margin_right(30)
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
            .x_desc(of.as_str())
            .axis_desc_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
            .x_label_style(letters(SMALL_SIZE, &MUTED, HPos::Center))
            .y_label_style(letters(SMALL_SIZE, &MUTED, HPos::Right))
            .x_label_formatter(&|n| number(*n))
            .y_label_formatter(&|cost| unit.show(*cost))
            .draw()?;
        let line = [(first.0, first.1.median), (last.0, linear)];
        chart.draw_series([PathElement::new(line, OTHER.light.stroke_width(2))])?;
        let fit = |n: f64| (n, factor * n.powf(*exponent));
        chart.draw_series([PathElement::new([fit(first.0), fit(last.0)], OWN.light.stroke_width(2))])?;
        for (n, cost) in &points {
            chart.draw_series([PathElement::new(
                [(*n, cost.min), (*n, cost.max)],
                OWN.light.stroke_width(2),
            )])?;
            chart.draw_series([Circle::new((*n, cost.median), 5, OWN.light.filled())])?;
        }
        Ok(())
    })?;
    Ok(Some(Picture { name: name.to_owned(), description, svg }))
}

fn number(value: f64) -> String {
    Unit::parse("of").show(value).trim_end_matches(" of").to_owned()
}

/// Whole decades around all values.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let (least, most) = (least.log10().floor(), most.log10().ceil());
    (10_f64.powf(least), 10_f64.powf(if most > least { most } else { least + 1.0 }))
}

/// `a` of the `cost = a * n^e` that fits best when `e` is this one.
fn factor(points: &[(f64, Spread)], exponent: f64) -> f64 {
    let sum: f64 = points.iter().map(|(n, cost)| cost.median.ln() - exponent * n.ln()).sum();
    (sum / points.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_one_that_fits() {
        let points = [1.0_f64, 10.0, 100.0].map(|n| (n, Spread::of(&[3.0 * n.powf(1.5)])));
        assert!((factor(&points, 1.5) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn axes_are_whole_decades() {
        assert_eq!(ends([12.0, 850.0].into_iter()), (10.0, 1000.0));
        assert_eq!(ends([10.0, 10.0].into_iter()), (10.0, 100.0));
    }

    #[test]
    fn a_point_is_no_line() {
        let one = |points| Growth {
            of: "sockets".into(),
            cost: "a sweep".into(),
            unit: "s".into(),
            points,
            exponent: 1.0,
        };
        assert!(picture("growth-a", &one(vec![(1.0, Spread::of(&[1.0]))])).unwrap().is_none());
        let with_nothing = vec![(1.0, Spread::of(&[0.0])), (10.0, Spread::of(&[1.0]))];
        assert!(picture("growth-a", &one(with_nothing)).unwrap().is_none());
    }
}
