//! The telemetry model as OTLP messages (opentelemetry-proto 1.x), field by field.
//!
//! Owns the mapping and the parts that every request shares. How many items make one request is `split`'s
//! matter, how a request travels that of `grpc`, `http` and the file exporter.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{self as logs, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    self as metrics, AggregationTemporality, Gauge, Histogram, HistogramDataPoint, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use netsonde_probes::descriptor::MetricKind;

use crate::telemetry::{
    Attribute, AttributeValue, LogRecord, MetricData, Point, PointValue, Severity, Temporality,
};

/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// The resource with attributes such as `service.name` and `host.name`.
pub fn resource(attributes: &[(String, AttributeValue)]) -> Resource {
    let attributes = attributes.iter().map(|(key, value)| key_value(key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "netsonde".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

/// A request for the given metrics.
pub fn metrics_request(resource: Resource, metrics: Vec<metrics::Metric>) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics,
                schema_url: SCHEMA_URL.into(),
            }],
            schema_url: SCHEMA_URL.into(),
        }],
    }
}

/// A request for the given log records.
pub fn logs_request(resource: Resource, log_records: Vec<logs::LogRecord>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: SCHEMA_URL.into() }],
            schema_url: SCHEMA_URL.into(),
        }],
    }
}

/// A metric without its points.
pub fn metric(data: &MetricData) -> metrics::Metric {
    let aggregation_temporality = match data.temporality {
        Temporality::Cumulative => AggregationTemporality::Cumulative,
        Temporality::Delta => AggregationTemporality::Delta,
    } as i32;
    let body = match data.metric.kind {
        MetricKind::Counter | MetricKind::UpDownCounter => metric::Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality,
            is_monotonic: data.metric.kind == MetricKind::Counter,
        }),
        MetricKind::Gauge => metric::Data::Gauge(Gauge::default()),
        MetricKind::Histogram(_) => {
            metric::Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality })
        }
    };
    metrics::Metric {
        name: data.metric.name.into(),
        description: data.metric.description.into(),
        unit: data.metric.unit.into(),
        metadata: Vec::new(),
        data: Some(body),
    }
}

/// A point of either shape, not yet part of a metric.
#[derive(Debug)]
pub enum DataPoint {
    /// Of a sum or a gauge.
    Number(NumberDataPoint),
    /// Of a histogram.
    Histogram(HistogramDataPoint),
}

impl DataPoint {
    /// Bytes of the point's own message.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Number(point) => point.encoded_len(),
            Self::Histogram(point) => point.encoded_len(),
        }
    }

    /// Adds the point to a metric that [`metric()`] made for the same data.
    pub fn append_to(self, metric: &mut metrics::Metric) {
        match (self, &mut metric.data) {
            (Self::Number(point), Some(metric::Data::Sum(sum))) => sum.data_points.push(point),
            (Self::Number(point), Some(metric::Data::Gauge(gauge))) => gauge.data_points.push(point),
            (Self::Histogram(point), Some(metric::Data::Histogram(histogram))) => {
                histogram.data_points.push(point);
            }
            (point, _) => unreachable!("{point:?} was made for another kind of metric"),
        }
    }
}

/// One point, or `None` if it contradicts the metric's kind or layout or is not a finite number. `bounds`
/// are the metric's upper bounds in seconds; other kinds have none.
pub fn point(kind: MetricKind, bounds: &[f64], point: &Point) -> Option<DataPoint> {
    let attributes = key_values(&point.attributes);
    let (start_time_unix_nano, time_unix_nano) = (point.start_unix_ns, point.time_unix_ns);
    let number = match (&point.value, kind) {
        (PointValue::Histogram { sum, counts }, MetricKind::Histogram(layout))
            if counts.len() == layout.buckets && sum.is_finite() =>
        {
            return Some(DataPoint::Histogram(HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count: counts.iter().sum(),
                sum: Some(*sum),
                bucket_counts: counts.clone(),
                explicit_bounds: bounds.to_vec(),
                ..HistogramDataPoint::default()
            }));
        }
        (PointValue::Histogram { .. }, _) | (_, MetricKind::Histogram(_)) => return None,
        (PointValue::Int(value), _) => number_data_point::Value::AsInt(*value),
        (PointValue::Double(value), _) if value.is_finite() => number_data_point::Value::AsDouble(*value),
        (PointValue::Double(_), _) => return None,
    };
    Some(DataPoint::Number(NumberDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano,
        value: Some(number),
        ..NumberDataPoint::default()
    }))
}

/// One log record.
pub fn log_record(record: &LogRecord) -> logs::LogRecord {
    let severity_text = match record.severity {
        Severity::Info => "INFO",
        Severity::Warn => "WARN",
    };
    logs::LogRecord {
        time_unix_nano: record.time_unix_ns,
        observed_time_unix_nano: record.observed_unix_ns,
        severity_number: record.severity as i32,
        severity_text: severity_text.into(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(record.body.clone())) }),
        attributes: key_values(&record.attributes),
        event_name: record.event.name.into(),
        ..logs::LogRecord::default()
    }
}

fn key_values(attributes: &[Attribute]) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| key_value(key, value)).collect()
}

fn key_value(key: &str, value: &AttributeValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any_value(value)), ..KeyValue::default() }
}

fn any_value(value: &AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::String(text) => any_value::Value::StringValue(text.as_ref().into()),
        AttributeValue::Int(number) => any_value::Value::IntValue(*number),
        // JSON, which the file exporter makes of this, has no such numbers.
        AttributeValue::Double(number) if !number.is_finite() => {
            any_value::Value::StringValue(number.to_string())
        }
        AttributeValue::Double(number) => any_value::Value::DoubleValue(*number),
        AttributeValue::Bool(truth) => any_value::Value::BoolValue(*truth),
        AttributeValue::Array(values) => {
            any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(any_value).collect() })
        }
        AttributeValue::Map(entries) => {
            any_value::Value::KvlistValue(KeyValueList { values: key_values(entries) })
        }
    };
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{self, ACTIVE, IO, RTT};

    fn number(kind: MetricKind, value: PointValue) -> Option<DataPoint> {
        point(kind, &[], &testing::point(value))
    }

    #[test]
    fn a_counter_is_a_monotonic_sum_of_its_temporality() {
        let mut data = testing::metric(&IO, vec![PointValue::Int(7)]);
        data.temporality = Temporality::Delta;
        let mut message = metric(&data);
        number(IO.kind, PointValue::Int(7)).unwrap().append_to(&mut message);

        assert_eq!((message.name.as_str(), message.unit.as_str()), ("netsonde.flow.io", "By"));
        let Some(metric::Data::Sum(sum)) = message.data else { panic!("not a sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano, point.flags), (1_000, 2_000, 0));
        assert_eq!(point.attributes[0].key, "network.transport");
    }

    #[test]
    fn an_up_down_counter_is_a_sum_that_may_fall() {
        let Some(metric::Data::Sum(sum)) = metric(&testing::metric(&ACTIVE, vec![])).data else {
            panic!("not a sum")
        };
        assert!(!sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
    }

    #[test]
    fn a_histogram_has_one_bound_fewer_than_buckets_and_the_sum_of_counts() {
        let MetricKind::Histogram(layout) = RTT.kind else { panic!("not a histogram") };
        let bounds = layout.bounds_seconds();
        let counts = vec![1, 0, 2, 3];
        let value = PointValue::Histogram { sum: 0.5, counts: counts.clone() };
        let Some(DataPoint::Histogram(point)) = point(RTT.kind, &bounds, &testing::point(value)) else {
            panic!("not a histogram point")
        };
        assert_eq!((point.count, point.sum, point.bucket_counts), (6, Some(0.5), counts));
        assert_eq!(point.explicit_bounds, bounds);
        assert_eq!(point.explicit_bounds.len(), 3);
    }

    #[test]
    fn points_that_contradict_their_metric_are_told_apart() {
        let one_bucket = || PointValue::Histogram { sum: 1.0, counts: vec![1] };
        assert!(number(IO.kind, one_bucket()).is_none());
        assert!(number(RTT.kind, one_bucket()).is_none());
        assert!(number(RTT.kind, PointValue::Int(1)).is_none());
        assert!(number(MetricKind::Gauge, PointValue::Double(f64::NAN)).is_none());
        assert!(number(MetricKind::Gauge, PointValue::Double(1.5)).is_some());
    }

    #[test]
    fn a_record_keeps_times_severity_name_and_nested_attributes() {
        let message = log_record(&testing::record(vec![(
            "netsonde.process.parents",
            AttributeValue::Array(vec![AttributeValue::Map(vec![("process.pid", AttributeValue::Int(1))])]),
        )]));
        assert_eq!((message.time_unix_nano, message.observed_time_unix_nano), (3_000, 4_000));
        assert_eq!((message.severity_number, message.severity_text.as_str()), (9, "INFO"));
        assert_eq!(message.event_name, "netsonde.tcp.close");
        let Some(any_value::Value::ArrayValue(array)) =
            message.attributes[0].value.clone().and_then(|value| value.value)
        else {
            panic!("not an array")
        };
        let Some(any_value::Value::KvlistValue(map)) = &array.values[0].value else { panic!("not a map") };
        assert_eq!(map.values[0].key, "process.pid");
    }
}
