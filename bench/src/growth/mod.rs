//! What netsonde costs when there is more of something: which dimensions there are, how many of what each of them has, and
//! what their costs are called. How a cost is read is for `watch`, what it grows like for `fit`; each dimension makes its
//! own load, in a file of its own.

mod connections;
pub mod fit;
mod flows;
mod holders;
mod pairs;
mod processes;
mod series;
mod sockets;
mod watch;

use anyhow::Result;

use crate::Plan;
use crate::results::{Content, Growth, Scope};
use watch::{Sample, Watch};

/// Something that there can be more of. Its costs are measured together.
pub struct Dimension {
    /// On the command line, and the beginning of the names of its results.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    measure: fn(&Plan) -> Result<Growths>,
}

/// What each of a dimension's costs grows like, by the end of its result's name.
type Growths = Vec<(&'static str, Growth)>;

/// All of them, in the order in which they are measured.
pub const DIMENSIONS: [Dimension; 6] = [
    Dimension {
        name: "growth-connections",
        about: "cost against connections a second",
        measure: connections::measure,
    },
    Dimension { name: "growth-sockets", about: "cost against idle sockets", measure: sockets::measure },
    Dimension {
        name: "growth-processes",
        about: "cost against living processes",
        measure: processes::measure,
    },
    Dimension {
        name: "growth-holders",
        about: "cost against processes that hold one listener",
        measure: holders::measure,
    },
    Dimension { name: "growth-flows", about: "cost against flows an interval", measure: flows::measure },
    Dimension { name: "growth-series", about: "cost against exported series", measure: series::measure },
];

/// Measures the dimension of this name, if there is one; a result for each of its costs, with the result's name.
pub fn measure(name: &str, plan: &Plan) -> Option<Result<Vec<(String, Content)>>> {
    let dimension = DIMENSIONS.iter().find(|dimension| dimension.name == name)?;
    let named = |growths: Growths| {
        let named = |(cost, growth)| (format!("{name}-{cost}"), Content::Growth(growth));
        growths.into_iter().map(named).collect()
    };
    Some((dimension.measure)(plan).map(named))
}

/// Of the numbers of a dimension, ascending, those that a scope asks for: the ends are always among them.
fn points(scope: Scope, all: &[usize]) -> Vec<usize> {
    match scope {
        Scope::Full => all.to_vec(),
        Scope::Quick => {
            [all.first(), all.get(all.len() / 2), all.last()].into_iter().flatten().copied().collect()
        }
    }
}

/// How often a cost is read at each point.
fn samples(scope: Scope) -> usize {
    match scope {
        Scope::Full => 4,
        Scope::Quick => 2,
    }
}

/// What netsonde took while there was more and more of something.
struct Course {
    scope: Scope,
    rest: Vec<Sample>,
    points: Vec<(f64, Vec<Sample>)>,
}

impl Course {
    /// Begins with what it takes while there is nothing of it.
    fn begin(scope: Scope, watch: &Watch) -> Result<Self> {
        let mut course = Self { scope, rest: Vec::new(), points: Vec::new() };
        course.rest = course.samples(watch)?;
        Ok(course)
    }

    /// Goes on with what it takes while there is so much.
    fn at(&mut self, n: f64, watch: &Watch) -> Result<()> {
        let samples = self.samples(watch)?;
        self.points.push((n, samples));
        Ok(())
    }

    /// What it takes as things are.
    fn samples(&self, watch: &Watch) -> Result<Vec<Sample>> {
        watch.settle()?;
        let sample = |_| {
            watch.align()?;
            watch.sample()
        };
        (0..samples(self.scope)).map(sample).collect()
    }

    /// One of its costs.
    fn growth(&self, of: &str, cost: &str, unit: &str, value: impl Fn(&Sample) -> f64) -> Growth {
        let values = |samples: &[Sample]| samples.iter().map(&value).collect::<Vec<_>>();
        let points: Vec<_> = self.points.iter().map(|(n, samples)| (*n, values(samples))).collect();
        fit::growth(of, cost, unit, &values(&self.rest), &points)
    }

    /// What every dimension costs that has to do with sweeps. Not by the clock: what else runs on the host makes a long
    /// sweep longer than its share.
    fn of_sweeps(&self, of: &str) -> Growths {
        vec![
            ("sweep", self.growth(of, "processor time of one sweep", "ms", Sample::sweeping_ms_a_sweep)),
            ("bpf", self.growth(of, "time in BPF for one sweep", "ms", Sample::bpf_ms_a_sweep)),
            (
                "cpu",
                self.growth(of, "processor time of one sweep and its export", "ms", Sample::cpu_ms_a_sweep),
            ),
            ("memory", self.growth(of, "resident memory", "bytes", |sample| sample.resident as f64)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_measured_in_a_hurry_but_never_other_ends() {
        let all = [1, 3, 10, 30, 100];
        assert_eq!(points(Scope::Full, &all), all);
        assert_eq!(points(Scope::Quick, &all), [1, 10, 100]);
    }

    #[test]
    fn dimensions_have_names_of_their_own() {
        let mut names = DIMENSIONS.map(|dimension| dimension.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
        assert!(names.iter().all(|name| name.starts_with("growth-")));
    }
}
