//! Processes that live and do nothing: what the walk over them takes that each sweep makes, and what remembering them
//! does.

use std::fs;

use anyhow::{Result, ensure};

use super::watch::Watch;
use super::{Course, Growths, points};
use crate::Plan;
use crate::living::{Kind, Living};

const PROCESSES: [usize; 5] = [200, 600, 2_000, 6_000, 20_000];
/// Children of one shell, which looks through all it has for each more.
const MOST: usize = 2_000;
/// Others are to find pids as well.
const SPARE: usize = 8_000;

pub fn measure(plan: &Plan) -> Result<Growths> {
    let pids: usize = fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse()?;
    let numbers: Vec<_> =
        points(plan.scope, &PROCESSES).into_iter().filter(|number| number + SPARE <= pids).collect();
    ensure!(numbers.len() > 1, "this host has only {pids} pids: see kernel.pid_max of sysctl(8)");
    let watch = Watch::start(plan, "")?;
    let mut course = Course::begin(plan.scope, &watch)?;
    let (mut all, mut living) = (Vec::new(), 0);
    for wanted in numbers {
        while living < wanted {
            let more = (wanted - living).min(MOST);
            all.push(Living::start(Kind::Forked, more)?);
            living += more;
        }
        course.at(living as f64, &watch)?;
        let tracked = watch.number("/processes/tracked")?;
        ensure!(tracked >= living as u64, "netsonde knows {tracked} processes, and {living} were forked");
    }
    drop(all);
    watch.stop()?;
    Ok(course.of_sweeps("living processes"))
}
