//! Descriptors and telemetry for the exporters' tests.

use netsonde_probes::descriptor::{Event, HistogramLayout, Metric, MetricKind, Stability};

use crate::config::export::SpoolConfig;
use crate::telemetry::{
    Attribute, AttributeValue, LogRecord, MetricData, Point, PointValue, Severity, Temporality,
};

/// What waits is kept in memory.
pub const NO_SPOOL: SpoolConfig = SpoolConfig { path: None, size: 16 << 20 };

const fn descriptor(name: &'static str, kind: MetricKind, unit: &'static str) -> Metric {
    Metric {
        name,
        kind,
        unit,
        description: "For tests",
        stability: Stability::Development,
        attributes: &[],
        of_flow: true,
    }
}

pub static IO: Metric = descriptor("netsonde.flow.io", MetricKind::Counter, "By");
pub static RETRANSMITS: Metric = descriptor("netsonde.tcp.retransmits", MetricKind::Counter, "{segment}");
pub static ACTIVE: Metric =
    descriptor("netsonde.tcp.connections.active", MetricKind::UpDownCounter, "{connection}");
pub static SHARE: Metric = descriptor("netsonde.self.share", MetricKind::Gauge, "1");
/// Bounds: 1024, 2048 and 4096 microseconds.
pub static RTT: Metric = descriptor(
    "netsonde.tcp.rtt",
    MetricKind::Histogram(HistogramLayout { base_exponent: 10, buckets: 4 }),
    "s",
);

pub static CLOSE: Event = Event {
    name: "netsonde.tcp.close",
    config_key: Some("close"),
    description: "For tests",
    attributes: &[],
};

pub fn text(value: &str) -> AttributeValue {
    AttributeValue::String(value.into())
}

pub fn point(value: PointValue) -> Point {
    point_with(vec![("network.transport", text("tcp"))], value)
}

pub fn point_with(attributes: Vec<Attribute>, value: PointValue) -> Point {
    Point { attributes: attributes.into(), start_unix_ns: 1_000, time_unix_ns: 2_000, value }
}

pub fn metric(metric: &'static Metric, values: Vec<PointValue>) -> MetricData {
    let points = values.into_iter().map(point).collect();
    MetricData { metric, temporality: Temporality::Cumulative, points }
}

pub fn record(attributes: Vec<Attribute>) -> LogRecord {
    LogRecord {
        event: &CLOSE,
        time_unix_ns: 3_000,
        observed_unix_ns: 4_000,
        severity: Severity::Info,
        body: "curl[7] closed 192.0.2.1:443".into(),
        attributes,
    }
}
