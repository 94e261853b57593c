//! What a scraper reads, line by line.

use super::*;
use crate::export::testing::{ACTIVE, IO, RTT, SHARE, metric, point_with, text};
use crate::registry;
use crate::telemetry::Temporality;

fn exposed(metrics: Vec<MetricData>, format: Format) -> String {
    let resource = [("service.name".to_owned(), text("netsonde"))];
    Exposition::new(Arc::new(metrics), Arc::new(resource), format).collect()
}

fn all() -> Vec<MetricData> {
    vec![
        metric(&IO, vec![PointValue::Int(7)]),
        metric(&ACTIVE, vec![PointValue::Int(-1)]),
        metric(&SHARE, vec![PointValue::Double(0.25)]),
        metric(&RTT, vec![PointValue::Histogram { sum: 0.5, counts: vec![1, 2, 0, 4] }]),
    ]
}

#[test]
fn the_text_format() {
    assert_eq!(
        exposed(all(), Format::Text),
        r#"# HELP target_info What all metrics are of
# TYPE target_info gauge
target_info{service_name="netsonde"} 1
# HELP netsonde_flow_io_bytes_total For tests
# TYPE netsonde_flow_io_bytes_total counter
netsonde_flow_io_bytes_total{network_transport="tcp"} 7
# HELP netsonde_tcp_connections_active For tests
# TYPE netsonde_tcp_connections_active gauge
netsonde_tcp_connections_active{network_transport="tcp"} -1
# HELP netsonde_self_share_ratio For tests
# TYPE netsonde_self_share_ratio gauge
netsonde_self_share_ratio{network_transport="tcp"} 0.25
# HELP netsonde_tcp_rtt_seconds For tests
# TYPE netsonde_tcp_rtt_seconds histogram
netsonde_tcp_rtt_seconds_bucket{network_transport="tcp",le="0.001024"} 1
netsonde_tcp_rtt_seconds_bucket{network_transport="tcp",le="0.002048"} 3
netsonde_tcp_rtt_seconds_bucket{network_transport="tcp",le="0.004096"} 3
netsonde_tcp_rtt_seconds_bucket{network_transport="tcp",le="+Inf"} 7
netsonde_tcp_rtt_seconds_sum{network_transport="tcp"} 0.5
netsonde_tcp_rtt_seconds_count{network_transport="tcp"} 7
"#
    );
}

#[test]
fn openmetrics() {
    assert_eq!(
        exposed(all()[..2].to_vec(), Format::OpenMetrics),
        r#"# TYPE target info
# HELP target What all metrics are of
target_info{service_name="netsonde"} 1
# TYPE netsonde_flow_io_bytes counter
# UNIT netsonde_flow_io_bytes bytes
# HELP netsonde_flow_io_bytes For tests
netsonde_flow_io_bytes_total{network_transport="tcp"} 7
# TYPE netsonde_tcp_connections_active gauge
# HELP netsonde_tcp_connections_active For tests
netsonde_tcp_connections_active{network_transport="tcp"} -1
# EOF
"#
    );
    assert!(exposed(Vec::new(), Format::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn a_point_without_labels_has_no_braces() {
    let mut data = metric(&RTT, vec![]);
    data.points.push(point_with(vec![], PointValue::Histogram { sum: 0.0, counts: vec![0; 4] }));
    let exposed = exposed(vec![data], Format::Text);
    assert!(exposed.contains("netsonde_tcp_rtt_seconds_bucket{le=\"0.001024\"} 0\n"), "{exposed}");
    assert!(exposed.contains("netsonde_tcp_rtt_seconds_sum 0\nnetsonde_tcp_rtt_seconds_count 0\n"));
}

#[test]
fn pieces_are_whole_together() {
    let points =
        (0..5000).map(|n| point_with(vec![("server.port", AttributeValue::Int(n))], PointValue::Int(n)));
    let data = MetricData { metric: &IO, temporality: Temporality::Cumulative, points: points.collect() };
    let pieces: Vec<String> = Exposition::new(Arc::new(vec![data]), Arc::new([]), Format::Text).collect();
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.len() < 2 * PIECE));
    let text = pieces.concat();
    assert_eq!(text.matches("# TYPE netsonde_flow_io").count(), 1);
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 5001);
}

#[test]
fn every_unit_has_its_suffix() {
    for metric in registry::metrics() {
        let known = !unit(metric).is_empty() || metric.unit.starts_with('{');
        assert!(
            known,
            "{}: the Prometheus suffix of the unit {:?} is not known here",
            metric.name, metric.unit
        );
    }
}

#[test]
fn bounds_have_a_fraction() {
    let texts = [1.0, 0.5, 16777.216, 4194304.0, f64::INFINITY].map(bound_text);
    assert_eq!(texts, ["1.0", "0.5", "16777.216", "4194304.0", "+Inf"]);
}

#[test]
fn the_format_is_the_one_that_is_liked_better() {
    use Format::{OpenMetrics, Text};
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, format) in [
        (prometheus, OpenMetrics),
        (prometheus_3, OpenMetrics),
        ("", Text),
        ("*/*", Text),
        ("text/html,application/xhtml+xml", Text),
        ("text/plain", Text),
        ("application/openmetrics-text", OpenMetrics),
        ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
        ("application/openmetrics-text;version=2.0.0", Text),
        ("application/openmetrics-text;q=0", Text),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.9", Text),
        ("application/openmetrics-text;q=x", Text),
    ] {
        assert_eq!(Format::negotiated(accept), format, "{accept}");
    }
}
