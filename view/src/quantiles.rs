//! Quantiles of a histogram, as exactly as its buckets tell.

use crate::model::{Buckets, Quantiles};

/// The bound that a share of the observations does not exceed: the upper bound of the bucket that holds it, and of the
/// last bucket, which has none, the bound that it lies above. `None` without observations. `share` is from 0 to 1.
#[must_use]
pub fn quantile(buckets: &Buckets, bounds: &[f64], share: f64) -> Option<f64> {
    let total: u64 = buckets.iter().map(|(_, n)| n).fold(0, |a, n| a.saturating_add(*n));
    if total == 0 {
        return None;
    }
    // The rank of the observation, counted from 1: the least that has the share at or below it.
    let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
    let mut below = 0_u64;
    let held = buckets.iter().find(|(_, n)| {
        below = below.saturating_add(*n);
        below >= rank
    });
    let (bucket, _) = held?;
    bounds.get(usize::from(*bucket)).or(bounds.last()).copied()
}

/// The three that readers are shown; `None` without observations.
#[must_use]
pub fn quantiles(buckets: &Buckets, bounds: &[f64]) -> Option<Quantiles> {
    let at = |share| quantile(buckets, bounds, share);
    Some(Quantiles { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.1, 0.2, 0.4];

    #[test]
    fn a_quantile_is_the_upper_bound_of_the_bucket_that_holds_it() {
        let buckets = vec![(0, 50), (1, 45), (2, 4), (3, 1)];
        assert_eq!(quantiles(&buckets, &BOUNDS), Some(Quantiles { p50: 0.1, p95: 0.2, p99: 0.4 }));
        assert_eq!(quantile(&buckets, &BOUNDS, 0.501), Some(0.2));
        assert_eq!(quantile(&buckets, &BOUNDS, 0.0), Some(0.1));
    }

    #[test]
    fn above_the_last_bound_it_is_that_bound() {
        assert_eq!(quantile(&vec![(3, 7)], &BOUNDS, 0.5), Some(0.4));
        assert_eq!(quantile(&vec![(0, 1), (3, 1)], &BOUNDS, 1.0), Some(0.4));
    }

    #[test]
    fn without_observations_there_is_none() {
        assert_eq!(quantiles(&Vec::new(), &BOUNDS), None);
        assert_eq!(quantiles(&vec![(1, 0)], &BOUNDS), None);
    }

    #[test]
    fn one_observation_is_all_quantiles() {
        let all = Quantiles { p50: 0.2, p95: 0.2, p99: 0.2 };
        assert_eq!(quantiles(&vec![(1, 1)], &BOUNDS), Some(all));
    }
}
