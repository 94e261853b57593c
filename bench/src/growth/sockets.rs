//! Idle connections, both ends on this host, held by a few processes: what a sweep over them takes.

use anyhow::{Context, Result};
use netsonde_tests::program::{Running, python};
use serde::Deserialize;

use super::watch::{Sample, Watch};
use super::{Course, Growths, points};
use crate::Plan;

const SOCKETS: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
/// Of one process: less than the 20,000 files that it may open on a small host, and than there are ephemeral ports.
const MOST: usize = 18_000;

/// The line of `many_sockets.py`.
#[derive(Debug, Deserialize)]
struct Held {
    sockets: usize,
}

pub fn measure(plan: &Plan) -> Result<Growths> {
    let watch = Watch::start(plan, "")?;
    let mut course = Course::begin(plan.scope, &watch)?;
    let (mut running, mut held) = (Vec::new(), 0);
    for wanted in points(plan.scope, &SOCKETS) {
        while held < wanted {
            let pairs = (wanted - held).min(MOST).div_ceil(2);
            let mut one = Running::start_command(&mut python("many_sockets.py", &format!("1 {pairs}")))?;
            held += one.read::<Held>().context("not all sockets can be opened")?.sockets;
            running.push(one);
        }
        course.at(held as f64, &watch)?;
    }
    drop(running);
    watch.stop()?;
    let of = "open sockets";
    let mut growths = course.of_sweeps(of);
    growths.push(("time", course.growth(of, "time of one sweep", "ms", Sample::sweep_ms)));
    Ok(growths)
}
