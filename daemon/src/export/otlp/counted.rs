//! What encoding costs, for `make instructions`.

use std::sync::Arc;

use netsonde_counted::count;

use super::encode;
use super::split::{MAX_REQUEST_BYTES, Parts};
use crate::export::testing::{IO, RTT, point_with, record, text};
use crate::telemetry::{Attribute, MetricData, PointValue, Telemetry, Temporality};

const SERIES: usize = 10_000;
const RECORDS: usize = 2000;

/// As many as a flow has by default.
fn attributes(n: usize) -> Vec<Attribute> {
    let value = |what: &str| text(&format!("{what}-{}", n % 100));
    vec![
        ("network.transport", text("tcp")),
        ("network.type", text("ipv4")),
        ("netsonde.socket.role", text("client")),
        ("server.address", text(&format!("host-{n}.example.com"))),
        ("process.executable.path", value("/usr/lib/program")),
        ("process.user.name", text("www-data")),
        ("systemd.unit", value("program.service")),
        ("network.io.direction", text("transmit")),
    ]
}

/// The requests that a batch makes: how many items they have, and how many bytes.
fn encoded(telemetry: Telemetry) -> (u64, usize) {
    let resource = encode::resource(&[("service.name".to_owned(), text("netsonde"))]);
    Parts::new(telemetry, resource, MAX_REQUEST_BYTES)
        .fold((0, 0), |(items, bytes), part| (items + part.items, bytes + part.body.len()))
}

fn metrics(metric: &'static netsonde_probes::descriptor::Metric, value: &PointValue) -> Telemetry {
    let points = (0..SERIES).map(|n| point_with(attributes(n), value.clone())).collect();
    Telemetry::Metrics(Arc::new(vec![MetricData { metric, temporality: Temporality::Cumulative, points }]))
}

#[test]
fn sums() {
    let telemetry = metrics(&IO, &PointValue::Int(123_456));
    // What attributes come to is kept; but for the first export there is nothing to encode.
    encoded(telemetry.clone());
    let (items, bytes) = count(SERIES, "series", || encoded(telemetry));
    assert_eq!(items, SERIES as u64);
    assert!(bytes > 100 * SERIES, "{bytes}");
}

#[test]
fn histograms() {
    let telemetry = metrics(&RTT, &PointValue::Histogram { sum: 0.01, counts: vec![1, 200, 3, 0] });
    encoded(telemetry.clone());
    let (items, _) = count(SERIES, "series", || encoded(telemetry));
    assert_eq!(items, SERIES as u64);
}

#[test]
fn log_records() {
    let records = (0..RECORDS).map(|n| record(attributes(n))).collect();
    let telemetry = Telemetry::Logs(Arc::new(records));
    let (items, _) = count(RECORDS, "record", || encoded(telemetry));
    assert_eq!(items, RECORDS as u64);
}
