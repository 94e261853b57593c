//! What a cost grows like. A part of each cost is there whatever there is much or little of, and would make anything look
//! flat: what is fitted is the cost beyond that at rest, and only where it stands out from how that scatters.

use crate::results::{Growth, Spread, exponent};

/// A growth from what was measured: at least once at rest, and at two points or more.
pub fn growth(of: &str, cost: &str, unit: &str, rest: &[f64], points: &[(f64, Vec<f64>)]) -> Growth {
    let rest = Spread::of(rest);
    let points: Vec<_> = points.iter().map(|(n, values)| (*n, Spread::of(values))).collect();
    let (exponent, upper_exponent) = exponents(rest, &points);
    Growth { of: of.into(), cost: cost.into(), unit: unit.into(), rest, points, exponent, upper_exponent }
}

/// The exponent over all points and that over the upper decade, which tells more of a cost that takes over late.
fn exponents(rest: Spread, points: &[(f64, Spread)]) -> (f64, f64) {
    let (_, fitted) = fitted(rest, points);
    (exponent(&fitted), exponent(upper_decade(&fitted)))
}

/// What is fitted, and what it is beyond. A cost that stands out from rest at fewer than two points is flat, and fitted as it is.
fn fitted(rest: Spread, points: &[(f64, Spread)]) -> (f64, Vec<(f64, f64)>) {
    let beyond: Vec<_> = points
        .iter()
        .filter(|(_, cost)| stands_out(rest, *cost))
        .map(|(n, cost)| (*n, cost.median - rest.median))
        .collect();
    match beyond.len() {
        0 | 1 => (0.0, points.iter().map(|(n, cost)| (*n, cost.median)).collect()),
        _ => (rest.median, beyond),
    }
}

/// The `base` and the `factor` of the `cost = base + factor * n^exponent` that fits.
pub fn curve(growth: &Growth) -> (f64, f64) {
    let (base, fitted) = fitted(growth.rest, &growth.points);
    let logarithms = fitted.iter().map(|(n, cost)| cost.ln() - growth.exponent * n.ln());
    (base, (logarithms.sum::<f64>() / fitted.len() as f64).exp())
}

/// Whether a cost is beyond that at rest by more than the latter scatters.
fn stands_out(rest: Spread, cost: Spread) -> bool {
    let gap = cost.min - rest.max;
    gap > 0.0 && gap >= rest.max - rest.min
}

/// The last points, with up to a tenth of the last `n`: two at least, of two or more.
fn upper_decade(points: &[(f64, f64)]) -> &[(f64, f64)] {
    // A rate that was to be a tenth may have come out a little less.
    let least = points.last().map_or(0.0, |(n, _)| n / 10.5);
    let first = points.partition_point(|(n, _)| *n < least);
    &points[first.min(points.len().saturating_sub(2))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [f64; 5] = [100.0, 300.0, 1000.0, 3000.0, 10_000.0];

    /// With a scatter of a hundredth of it, either way.
    fn scattered(cost: f64) -> Vec<f64> {
        vec![cost * 0.99, cost, cost * 1.01]
    }

    fn of(rest: f64, cost: impl Fn(f64) -> f64) -> Growth {
        let points = NUMBERS.map(|n| (n, scattered(rest + cost(n))));
        growth("things", "work", "ms", &scattered(rest), &points)
    }

    #[test]
    fn the_curve_goes_through_what_it_fits() {
        let (base, factor) = curve(&of(50.0, |n| 0.01 * n));
        assert!((base - 50.0).abs() < 1e-9 && (factor / 0.01 - 1.0).abs() < 0.1, "{base} {factor}");
        let (base, factor) = curve(&of(50.0, |_| 0.0));
        assert!(base.abs() < 1e-9 && (factor - 50.0).abs() < 0.1, "{base} {factor}");
    }

    #[test]
    fn a_fixed_cost_does_not_hide_a_line_or_a_square() {
        let line = of(50.0, |n| 0.01 * n);
        assert!((line.exponent - 1.0).abs() < 0.02, "{}", line.exponent);
        assert!((line.upper_exponent - 1.0).abs() < 0.02, "{}", line.upper_exponent);
        assert!(!line.is_worse_than_linear());
        let square = of(50.0, |n| 1e-5 * n * n);
        assert!((square.exponent - 2.0).abs() < 0.05, "{}", square.exponent);
        assert!(square.is_worse_than_linear());
    }

    #[test]
    fn a_square_that_takes_over_late_shows_in_the_upper_decade() {
        let late = of(1.0, |n| 0.01 * n + 1e-6 * n * n);
        assert!(late.upper_exponent > late.exponent + 0.1, "{late:?}");
        assert!(late.is_worse_than_linear());
    }

    #[test]
    fn a_cost_that_does_not_stand_out_is_flat() {
        let flat = of(50.0, |_| 0.0);
        assert!(flat.exponent.abs() < 0.01);
        // Beyond rest, but by less than that scatters at all points but the last.
        let nearly = of(50.0, |n| 2e-4 * n);
        assert!(nearly.exponent.abs() < 0.02 && !nearly.is_worse_than_linear(), "{nearly:?}");
        // Less than at rest.
        assert!(!of(50.0, |n| -1e-3 * n).is_worse_than_linear());
    }

    #[test]
    fn points_that_scatter_into_rest_are_not_fitted() {
        let rest = Spread::of(&[10.0, 12.0]);
        assert!(!stands_out(rest, Spread::of(&[11.0, 30.0])));
        assert!(!stands_out(rest, Spread::of(&[13.0, 30.0])));
        assert!(stands_out(rest, Spread::of(&[14.0, 30.0])));
        assert!(!stands_out(Spread::of(&[10.0]), Spread::of(&[10.0])));
    }

    #[test]
    fn the_upper_decade_has_both_its_ends_and_two_points_at_least() {
        let points = |numbers: &[f64]| numbers.iter().map(|n| (*n, 1.0)).collect::<Vec<_>>();
        assert_eq!(upper_decade(&points(&NUMBERS)), points(&NUMBERS[2..]));
        assert_eq!(upper_decade(&points(&[1.0, 1000.0])), points(&[1.0, 1000.0]));
        assert_eq!(upper_decade(&points(&[97.0, 1000.0])).len(), 2);
        assert_eq!(upper_decade(&points(&[1.0, 96.0, 1000.0])), points(&[96.0, 1000.0]));
    }
}
