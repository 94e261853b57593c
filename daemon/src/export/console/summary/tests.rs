use super::*;
use crate::export::testing::{ACTIVE, IO, RETRANSMITS, RTT, text};
use crate::telemetry::{Attribute, AttributeValue};

const SECOND: u64 = 1_000_000_000;
/// 22:13:20 UTC.
const START: u64 = 1_700_000_000 * SECOND;

fn flow_of(program: &str, port: i64, direction: Option<&str>) -> Vec<Attribute> {
    let mut attributes = vec![
        ("process.executable.path", text(program)),
        ("netsonde.socket.role", text("client")),
        ("server.address", text("192.0.2.1")),
        ("server.port", AttributeValue::Int(port)),
    ];
    attributes.extend(direction.map(|direction| ("network.io.direction", text(direction))));
    attributes
}

fn point(attributes: Vec<Attribute>, after: u64, value: PointValue) -> Point {
    Point { attributes: attributes.into(), start_unix_ns: START, time_unix_ns: START + after * SECOND, value }
}

fn cumulative(metric: &'static netsonde_probes::descriptor::Metric, points: Vec<Point>) -> MetricData {
    MetricData { metric, temporality: Temporality::Cumulative, points }
}

fn reading(after: u64, scale: i64) -> Vec<MetricData> {
    let curl = |direction| flow_of("/usr/bin/curl", 443, direction);
    let nginx = |direction| flow_of("/usr/sbin/nginx", 8080, direction);
    let int = |attributes, value| point(attributes, after, PointValue::Int(value * scale));
    let counts = vec![0, 4 * u64::try_from(scale).unwrap(), 0, 0];
    vec![
        cumulative(
            &IO,
            vec![
                int(curl(Some("transmit")), 1024),
                int(curl(Some("receive")), 2048),
                int(nginx(Some("transmit")), 10_240),
            ],
        ),
        cumulative(&RETRANSMITS, vec![int(curl(None), 3)]),
        cumulative(&ACTIVE, vec![point(curl(None), after, PointValue::Int(2))]),
        cumulative(&RTT, vec![point(curl(None), after, PointValue::Histogram { sum: 0.0, counts })]),
    ]
}

fn table(summary: &mut Summary, metrics: &[MetricData]) -> String {
    let mut out = String::new();
    summary.push_table(&mut out, metrics, false);
    out
}

#[test]
fn each_table_shows_what_is_new() {
    let mut summary = Summary::default();
    let first = "\
--- 22:13:30 UTC, last 10.0s: 2 flows, tx 11.0 KiB, rx 2.0 KiB
PROGRAM  ROLE    SERVER                TX       RX     TX/s   RX/s  ACTIVE  RETRANS  RTT p50
nginx    client  192.0.2.1:8080  10.0 KiB      0 B  1.0 KiB    0 B       0        0        -
curl     client  192.0.2.1:443    1.0 KiB  2.0 KiB    102 B  204 B       2        3    1.5ms
";
    assert_eq!(table(&mut summary, &reading(10, 1)), first);
    // Twice the totals after twice the time: the same again is new.
    assert_eq!(table(&mut summary, &reading(20, 2)), first.replace("22:13:30", "22:13:40"));
    let idle = "\
--- 22:13:42 UTC, last 2.0s: 1 flow, tx 0 B, rx 0 B
PROGRAM  ROLE    SERVER          TX   RX  TX/s  RX/s  ACTIVE  RETRANS  RTT p50
curl     client  192.0.2.1:443  0 B  0 B   0 B   0 B       2        0        -
";
    assert_eq!(table(&mut summary, &reading(22, 2)), idle);
}

#[test]
fn a_series_that_begins_anew_counts_from_its_start() {
    let mut summary = Summary::default();
    table(&mut summary, &reading(10, 5));
    let mut again = reading(20, 1);
    for data in &mut again {
        for point in &mut data.points {
            point.start_unix_ns += 15 * SECOND;
        }
    }
    assert!(table(&mut summary, &again).contains("tx 11.0 KiB, rx 2.0 KiB"));
}

#[test]
fn deltas_are_taken_as_they_are() {
    let mut summary = Summary::default();
    for _ in 0..2 {
        let mut metrics = reading(10, 1);
        for data in &mut metrics {
            data.temporality = Temporality::Delta;
        }
        assert!(table(&mut summary, &metrics).contains("tx 11.0 KiB, rx 2.0 KiB"));
    }
}

#[test]
fn the_largest_come_first_and_the_rest_is_a_number() {
    let points = (1..=25)
        .map(|port| point(flow_of("/bin/nc", port, Some("transmit")), 1, PointValue::Int(port * 10)))
        .collect();
    let shown = table(&mut Summary::default(), &[cumulative(&IO, points)]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 1 + 1 + TOP + 1);
    assert!(lines[2].contains("192.0.2.1:25 "));
    assert!(lines[21].contains("192.0.2.1:6 "));
    assert_eq!(lines[22], "… 5 more");
}

#[test]
fn missing_attributes_and_an_empty_reading_are_tolerated() {
    let bare = cumulative(&IO, vec![point(vec![], 1, PointValue::Int(5))]);
    let shown = table(&mut Summary::default(), &[bare]);
    assert!(shown.contains("\n?        -     -       5 B  0 B"), "{shown}");
    assert_eq!(table(&mut Summary::default(), &[]), "");
    let idle = cumulative(&IO, vec![point(vec![], 1, PointValue::Int(0))]);
    assert_eq!(
        table(&mut Summary::default(), &[idle]),
        "--- 22:13:21 UTC, last 1.0s: 0 flows, tx 0 B, rx 0 B\n"
    );
}

#[test]
fn the_median_is_interpolated_and_open_at_the_end() {
    let bounds = [1.0, 2.0, 4.0];
    assert_eq!(median(&[0, 0, 0, 0], &bounds), None);
    assert_eq!(median(&[4, 0, 0, 0], &bounds), Some(Ok(0.5)));
    assert_eq!(median(&[1, 0, 1, 0], &bounds), Some(Ok(1.0)));
    assert_eq!(median(&[1, 0, 3, 0], &bounds), Some(Ok(2.0 + 2.0 / 3.0)));
    assert_eq!(median(&[0, 0, 0, 9], &bounds), Some(Err(4.0)));
    assert_eq!(median(&[], &[]), None);
}

#[test]
fn long_names_keep_their_end() {
    assert_eq!(fit("short", 5), "short");
    assert_eq!(fit("a-long-name", 5), "…name");
}
