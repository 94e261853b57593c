//! Processes that hold one and the same listening socket, as workers of a server that forks do: what naming all of them
//! takes.

use anyhow::{Context, Result};
use netsonde_tests::program::{Running, python};

use super::watch::Watch;
use super::{Course, Growths, points};
use crate::Plan;

const HOLDERS: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];

pub fn measure(plan: &Plan) -> Result<Growths> {
    let watch = Watch::start(plan, "")?;
    let mut course = Course::begin(plan.scope, &watch)?;
    for wanted in points(plan.scope, &HOLDERS) {
        let mut command = python("shared_listener.py", &wanted.to_string());
        let mut running = Running::start_command(&mut command)?;
        running.line().context("not all processes can be forked")?;
        course.at(wanted as f64, &watch)?;
        running.end()?;
    }
    watch.stop()?;
    Ok(course.of_sweeps("processes that hold one listener"))
}
