//! Rounds: in each of them the load runs once under every observer, the first round in their order, the next in the opposite one. A
//! machine that grows slower or faster while it is measured changes all runs of a round; the ratio within each round is what counts.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::observers::Observer;
use crate::results::{Comparison, Side, Spread, Told};
use crate::workloads::{Run, Workload};

/// Caches, the load's own connections, an observer's pages: the first run of each is for nothing.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the rounds. The first observer is the one the others are compared with.
pub fn measure(
    workload: &dyn Workload,
    observers: &[Box<dyn Observer + '_>],
    rounds: u64,
    length: Duration,
) -> Result<Comparison> {
    let under = |observer: &dyn Observer, length| {
        run_under(workload, observer, length).with_context(|| format!("under {}", observer.name()))
    };
    for observer in observers {
        under(observer.as_ref(), WARM_UP)?;
    }
    let mut watched: Vec<Vec<Watched>> = observers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..observers.len()).collect();
        // What one run leaves to the next weighs on all alike.
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            watched[index].push(under(observers[index].as_ref(), length)?);
        }
    }
    let bare = watched.first().context("nobody observes")?;
    let bare: Vec<f64> = bare.iter().map(|one| one.run.rate).collect();
    let sides = observers.iter().zip(watched).enumerate();
    Ok(Comparison {
        title: workload.title().to_owned(),
        unit: workload.unit().to_owned(),
        seconds: length.as_secs(),
        sides: sides
            .map(|(index, (observer, runs))| side(observer.name(), runs, (index > 0).then_some(&bare)))
            .collect(),
    })
}

/// One run, and what was seen of it.
struct Watched {
    run: Run,
    cpu_seconds: f64,
    told: Vec<Told>,
}

fn run_under(workload: &dyn Workload, observer: &dyn Observer, length: Duration) -> Result<Watched> {
    let watch = observer.start(workload)?;
    let before = watch.cpu_seconds()?;
    let run = workload.run(length)?;
    let cpu_seconds = watch.cpu_seconds()? - before;
    let told = watch.finish(&run)?;
    Ok(Watched { run, cpu_seconds, told })
}

fn side(observer: &str, runs: Vec<Watched>, bare: Option<&Vec<f64>>) -> Side {
    let rates: Vec<f64> = runs.iter().map(|one| one.run.rate).collect();
    let ratio = bare.map(|bare| {
        let ratios: Vec<f64> = rates.iter().zip(bare).map(|(rate, bare)| rate / bare).collect();
        Spread::of(&ratios)
    });
    Side {
        observer: observer.to_owned(),
        p50_us: runs.iter().filter_map(|one| one.run.p50_us).collect(),
        p99_us: runs.iter().filter_map(|one| one.run.p99_us).collect(),
        ratio,
        cpu_seconds: runs.iter().map(|one| one.cpu_seconds).collect(),
        told: sum(runs.into_iter().flat_map(|one| one.told)),
        rates,
    }
}

/// The same things of all rounds together, in the order in which they came up.
fn sum(all: impl Iterator<Item = Told>) -> Vec<Told> {
    let mut sums: Vec<Told> = Vec::new();
    for one in all {
        match sums.iter_mut().find(|sum| sum.what == one.what) {
            Some(sum) => {
                sum.truth += one.truth;
                sum.told += one.told;
            }
            None => sums.push(one),
        }
    }
    sums
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        for side in &self.sides {
            let rate = Spread::of(&side.rates).median;
            write!(f, "\n  {:<12} {rate:>10.0} {}", side.observer, self.unit)?;
            if let Some(ratio) = side.ratio {
                write!(f, ", ratio {ratio} of {} rounds", side.rates.len())?;
            }
            for (name, values) in [("p50", &side.p50_us), ("p99", &side.p99_us)] {
                if !values.is_empty() {
                    write!(f, ", {name} {:.1} us", Spread::of(values).median)?;
                }
            }
            let cpu: f64 = side.cpu_seconds.iter().sum();
            if cpu > 0.0 {
                write!(
                    f,
                    ", {:.1} % of a processor",
                    100.0 * cpu / (self.seconds * side.rates.len() as u64) as f64
                )?;
            }
            for Told { what, truth, told } in &side.told {
                match truth {
                    0 => write!(f, "; {told} {what}")?,
                    truth => write!(f, "; told of {told} of {truth} {what}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::observers::{Bare, Watch};

    struct Steady(RefCell<Vec<f64>>);

    impl Workload for Steady {
        fn title(&self) -> &'static str {
            "steady"
        }

        fn unit(&self) -> &'static str {
            "steps/s"
        }

        fn run(&self, _length: Duration) -> Result<Run> {
            Ok(Run { p50_us: Some(5.0), ..Run::at_rate(self.0.borrow_mut().pop().context("no more rates")?) })
        }
    }

    struct Peer;

    impl Observer for Peer {
        fn name(&self) -> &'static str {
            "peer"
        }

        fn start(&self, _workload: &dyn Workload) -> Result<Box<dyn Watch>> {
            Ok(Box::new(Peer))
        }
    }

    impl Watch for Peer {
        fn cpu_seconds(&self) -> Result<f64> {
            Ok(1.0)
        }

        fn finish(self: Box<Self>, run: &Run) -> Result<Vec<Told>> {
            Ok(vec![Told { what: "steps".into(), truth: run.rate as u64, told: 1 }])
        }
    }

    #[test]
    fn each_round_is_compared_with_itself_and_every_other_one_begins_at_the_other_end() {
        // From the end: two to warm up, bare 100 and 90 beside it, then 50 first and bare 60.
        let workload = Steady(RefCell::new(vec![60.0, 30.0, 90.0, 100.0, 1.0, 1.0]));
        let comparison =
            measure(&workload, &[Box::new(Bare), Box::new(Peer)], 2, Duration::from_secs(1)).unwrap();
        let [bare, peer] = comparison.sides.as_slice() else { panic!("{comparison:?}") };
        assert_eq!((&*bare.rates, &*peer.rates), (&[100.0, 60.0][..], &[90.0, 30.0][..]));
        assert_eq!((bare.ratio, peer.ratio), (None, Some(Spread::of(&[0.9, 0.5]))));
        assert_eq!(peer.told, [Told { what: "steps".into(), truth: 120, told: 2 }]);
        assert_eq!(
            (peer.cpu_seconds.as_slice(), peer.p50_us.len(), peer.p99_us.len()),
            (&[0.0, 0.0][..], 2, 0)
        );
    }
}
