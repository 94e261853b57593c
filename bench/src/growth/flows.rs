//! Flows on which something moves in each interval: what draining, naming and adding them up takes. All of them come to the
//! same few series: what more series take is for `series`.

use anyhow::{Result, ensure};

use super::pairs::{Busy, Pairs};
use super::watch::Watch;
use super::{Course, Growths, points};
use crate::Plan;

/// Both ends of a connection are a flow.
const FLOWS: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
const CONFIGURATION: &str = "[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\"]\n";

pub fn measure(plan: &Plan) -> Result<Growths> {
    let watch = Watch::start(plan, CONFIGURATION)?;
    let mut course = Course::begin(plan.scope, &watch)?;
    let mut pairs = Pairs::new()?;
    for wanted in points(plan.scope, &FLOWS) {
        pairs.grow(wanted / 2)?;
        let busy = Busy::start(pairs);
        let measured = course.at(wanted as f64, &watch);
        let flows = watch.number("/sweep/flows");
        pairs = busy.stop()?;
        measured?;
        let flows = flows?;
        ensure!(flows >= wanted as u64, "netsonde tells of {flows} flows, of {wanted}");
    }
    drop(pairs);
    watch.stop()?;
    Ok(course.of_sweeps("flows an interval"))
}
