//! Series that rest and are exported nevertheless, as sums since their beginning are: what encoding, packing and sending
//! them takes, and how much there is to send. The flows that they are of have ended.

use std::sync::mpsc::Receiver;

use anyhow::{Result, ensure};

use super::pairs::Pairs;
use super::watch::Watch;
use super::{Growths, fit, points, samples};
use crate::Plan;
use crate::export_size::{Request, collector};

/// Each makes two flows, and each of these several series.
const SERVICES: [usize; 6] = [8, 25, 80, 250, 800, 2_500];

/// What an export of so many series takes, measured a few times.
struct Point {
    series: f64,
    cpu_ms: Vec<f64>,
    resident: Vec<f64>,
    encoded: Vec<f64>,
    gzipped: Vec<f64>,
}

pub fn measure(plan: &Plan) -> Result<Growths> {
    let (endpoint, requests) = collector()?;
    // To a collector and nowhere else.
    let configuration = format!(
        "[export.otlp]\nendpoint = \"http://{endpoint}\"\nprotocol = \"http/protobuf\"\n\
         [export.spool]\npath = \"\"\n[export.file]\n[events]\nenabled = []\n[metrics]\nseries_limit = 1000000\n"
    );
    let watch = Watch::start(plan, &configuration)?;
    let rest = point(plan, &watch, &requests)?;
    let mut grown = Vec::new();
    for services in points(plan.scope, &SERVICES) {
        let mut pairs = Pairs::new()?;
        pairs.grow(services)?;
        pairs.exchange()?;
        drop(pairs);
        grown.push(point(plan, &watch, &requests)?);
    }
    let folded = watch.number("/series/folded")?;
    ensure!(folded == 0, "{folded} measurements were folded");
    watch.stop()?;
    let growth = |cost: &str, unit: &str, of: fn(&Point) -> &Vec<f64>| {
        let points: Vec<_> =
            grown.iter().map(|point| (point.series - rest.series, of(point).clone())).collect();
        fit::growth("exported series", cost, unit, of(&rest), &points)
    };
    Ok(vec![
        ("cpu", growth("processor time of one sweep and its export", "ms", |point| &point.cpu_ms)),
        ("memory", growth("resident memory", "bytes", |point| &point.resident)),
        ("encoded", growth("encoded metrics of an interval", "bytes", |point| &point.encoded)),
        ("gzipped", growth("metrics of an interval with gzip", "bytes", |point| &point.gzipped)),
    ])
}

fn point(plan: &Plan, watch: &Watch, requests: &Receiver<Request>) -> Result<Point> {
    watch.settle()?;
    let mut point = Point {
        series: watch.number("/series/held")? as f64,
        cpu_ms: Vec::new(),
        resident: Vec::new(),
        encoded: Vec::new(),
        gzipped: Vec::new(),
    };
    for _ in 0..samples(plan.scope) {
        watch.align()?;
        requests.try_iter().for_each(drop);
        let sample = watch.sample()?;
        let (mut encoded, mut gzipped) = (0, 0);
        for request in requests.try_iter().filter(|request| !request.is_logs) {
            encoded += request.size.encoded;
            gzipped += request.size.gzipped;
        }
        ensure!(encoded > 0, "nothing was exported");
        point.cpu_ms.push(sample.cpu_ms_a_sweep());
        point.resident.push(sample.resident as f64);
        point.encoded.push(encoded as f64 / sample.sweeps());
        point.gzipped.push(gzipped as f64 / sample.sweeps());
    }
    Ok(point)
}
