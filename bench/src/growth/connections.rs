//! Connections that come and go at a pace, both ends on this host: what netsonde takes in each second. In a network
//! namespace that keeps none of them in TIME_WAIT, as sockets are counted by `sockets`.

use std::path::Path;

use anyhow::{Result, ensure};
use netsonde_tests::host;
use netsonde_tests::namespace::Namespace;
use netsonde_tests::program::Running;
use serde::Deserialize;

use super::watch::{Sample, Watch};
use super::{Course, Growths, points};
use crate::Plan;

/// In a second.
const RATES: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
/// A machine that makes fewer than this part of them has not the rate that was asked for, but one of its own: that counts,
/// and no more are asked for.
const REACHED: f64 = 0.95;

/// The last line of `paced.py`.
#[derive(Debug, Deserialize)]
struct Made {
    connections: u64,
    seconds: f64,
}

pub fn measure(plan: &Plan) -> Result<Growths> {
    let namespace = Namespace::new()?;
    // The kernel closes at once what would be one too many (tcp_time_wait() of net/ipv4/tcp_minisocks.c).
    namespace.sysctl("net.ipv4.tcp_max_tw_buckets", "0")?;
    let watch = Watch::start(plan, "")?;
    let mut course = Course::begin(plan.scope, &watch)?;
    for wanted in points(plan.scope, &RATES) {
        let mut command = namespace.command(Path::new("python3"));
        command.arg(host::source("programs/paced.py")).arg(wanted.to_string());
        let mut running = Running::start_command(&mut command)?;
        running.line()?;
        let samples = course.samples(&watch)?;
        running.close_input();
        let made: Made = running.read()?;
        running.wait()?;
        let rate = made.connections as f64 / made.seconds;
        ensure!(
            course.points.last().is_none_or(|(before, _)| rate > *before),
            "this machine makes no more than {rate:.0} connections a second"
        );
        course.points.push((rate, samples));
        if rate < REACHED * wanted as f64 {
            break;
        }
    }
    watch.stop()?;
    let of = "connections a second";
    Ok(vec![
        ("bpf", course.growth(of, "time in BPF in each second", "ms", Sample::bpf_ms_a_second)),
        ("cpu", course.growth(of, "processor time in each second", "ms", Sample::cpu_ms_a_second)),
    ])
}
