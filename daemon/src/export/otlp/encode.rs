//! The telemetry model as OTLP messages (opentelemetry-proto 1.x), field by field, straight into bytes: a tree of
//! messages between them would take most of the time of an export, and several times its memory.
//!
//! Owns the mapping and the parts that every request shares. How many items make one request is `split`'s
//! matter, how a request travels that of `grpc`, `http` and the file exporter. Fields are in the order of their
//! numbers, and left out where they have their default, so that the bytes are those that prost would write.

use bytes::Bytes;

use netsonde_probes::descriptor::MetricKind;

use super::wire;
use crate::telemetry::{
    Attribute, AttributeValue, LogRecord, MetricData, Point, PointValue, Severity, Temporality,
};

/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Numbers of fields, by the message that has them (`opentelemetry/proto/{common,resource,metrics,logs}/v1`).
mod field {
    pub mod request {
        pub const RESOURCE_ITEMS: u32 = 1;
    }
    pub mod resource_items {
        pub const RESOURCE: u32 = 1;
        pub const SCOPE_ITEMS: u32 = 2;
        pub const SCHEMA_URL: u32 = 3;
    }
    pub mod scope_items {
        pub const SCOPE: u32 = 1;
        pub const ITEM: u32 = 2;
        pub const SCHEMA_URL: u32 = 3;
    }
    pub mod resource {
        pub const ATTRIBUTE: u32 = 1;
    }
    pub mod scope {
        pub const NAME: u32 = 1;
        pub const VERSION: u32 = 2;
    }
    pub mod key_value {
        pub const KEY: u32 = 1;
        pub const VALUE: u32 = 2;
    }
    pub mod any_value {
        pub const STRING: u32 = 1;
        pub const BOOL: u32 = 2;
        pub const INT: u32 = 3;
        pub const DOUBLE: u32 = 4;
        pub const ARRAY: u32 = 5;
        pub const MAP: u32 = 6;
    }
    /// Of an array and of a map.
    pub const LISTED: u32 = 1;
    pub mod metric {
        pub const NAME: u32 = 1;
        pub const DESCRIPTION: u32 = 2;
        pub const UNIT: u32 = 3;
        pub const GAUGE: u32 = 5;
        pub const SUM: u32 = 7;
        pub const HISTOGRAM: u32 = 9;
    }
    /// Of sums, gauges and histograms.
    pub mod data {
        pub const POINT: u32 = 1;
        pub const TEMPORALITY: u32 = 2;
        pub const IS_MONOTONIC: u32 = 3;
    }
    /// Of numbers and histograms.
    pub mod point {
        pub const START: u32 = 2;
        pub const TIME: u32 = 3;
    }
    pub mod number {
        pub const DOUBLE: u32 = 4;
        pub const INT: u32 = 6;
        pub const ATTRIBUTE: u32 = 7;
    }
    pub mod histogram {
        pub const COUNT: u32 = 4;
        pub const SUM: u32 = 5;
        pub const BUCKET_COUNTS: u32 = 6;
        pub const BOUNDS: u32 = 7;
        pub const ATTRIBUTE: u32 = 9;
    }
    pub mod log_record {
        pub const TIME: u32 = 1;
        pub const SEVERITY_NUMBER: u32 = 2;
        pub const SEVERITY_TEXT: u32 = 3;
        pub const BODY: u32 = 5;
        pub const ATTRIBUTE: u32 = 6;
        pub const OBSERVED_TIME: u32 = 11;
        pub const EVENT_NAME: u32 = 12;
    }
}

/// `AggregationTemporality` of the metrics' messages.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// A message `Resource` with attributes such as `service.name` and `host.name`.
pub fn resource(attributes: &[(String, AttributeValue)]) -> Bytes {
    let mut message = Vec::new();
    for (key, value) in attributes {
        key_value(&mut message, field::resource::ATTRIBUTE, key, value);
    }
    message.into()
}

fn scope() -> Vec<u8> {
    let mut message = Vec::new();
    text(&mut message, field::scope::NAME, "netsonde");
    text(&mut message, field::scope::VERSION, env!("CARGO_PKG_VERSION"));
    message
}

/// What is around the items of a request, whose two shapes have the same numbers.
#[derive(Debug)]
pub struct Envelope {
    resource: Bytes,
    scope: Vec<u8>,
}

impl Envelope {
    /// For items of a resource that [`resource()`] made.
    pub fn new(resource: Bytes) -> Self {
        Self { resource, scope: scope() }
    }

    /// Bytes of a request, and of the messages within it, around items of so many bytes.
    fn lens(&self, items: usize) -> [usize; 3] {
        let scope_items = wire::delimited_len(field::scope_items::SCOPE, self.scope.len())
            + items
            + text_len(field::scope_items::SCHEMA_URL, SCHEMA_URL);
        let resource_items = wire::delimited_len(field::resource_items::RESOURCE, self.resource.len())
            + wire::delimited_len(field::resource_items::SCOPE_ITEMS, scope_items)
            + text_len(field::resource_items::SCHEMA_URL, SCHEMA_URL);
        let request = wire::delimited_len(field::request::RESOURCE_ITEMS, resource_items);
        [request, resource_items, scope_items]
    }

    /// Bytes of a request that holds items of so many bytes.
    pub fn request_len(&self, items: usize) -> usize {
        self.lens(items)[0]
    }

    /// An `ExportMetricsServiceRequest` or `ExportLogsServiceRequest`. `write` appends items of `len` bytes, each by
    /// [`metric()`] or [`log_record()`].
    pub fn request(&self, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let [request, resource_items, scope_items] = self.lens(len);
        let mut message = Vec::with_capacity(request);
        wire::delimited(&mut message, field::request::RESOURCE_ITEMS, resource_items);
        wire::bytes(&mut message, field::resource_items::RESOURCE, &self.resource);
        wire::delimited(&mut message, field::resource_items::SCOPE_ITEMS, scope_items);
        wire::bytes(&mut message, field::scope_items::SCOPE, &self.scope);
        write(&mut message);
        text(&mut message, field::scope_items::SCHEMA_URL, SCHEMA_URL);
        text(&mut message, field::resource_items::SCHEMA_URL, SCHEMA_URL);
        debug_assert_eq!(message.len(), request, "the items are not as long as was said");
        message.into()
    }
}

/// Of what a metric's message consists, beside its points.
struct MetricHead {
    /// The field of the points' kind.
    data: u32,
    temporality: u64,
    is_monotonic: bool,
}

fn head_of(data: &MetricData) -> MetricHead {
    let temporality = match data.temporality {
        Temporality::Cumulative => CUMULATIVE,
        Temporality::Delta => DELTA,
    };
    let head = |data, temporality, is_monotonic| MetricHead { data, temporality, is_monotonic };
    match data.metric.kind {
        MetricKind::Counter => head(field::metric::SUM, temporality, true),
        MetricKind::UpDownCounter => head(field::metric::SUM, temporality, false),
        MetricKind::Gauge => head(field::metric::GAUGE, 0, false),
        MetricKind::Histogram(_) => head(field::metric::HISTOGRAM, temporality, false),
    }
}

/// Bytes of a metric's message, and of the message within that has the points, around points of so many bytes.
fn metric_lens(data: &MetricData, points: usize) -> [usize; 2] {
    let head = head_of(data);
    let inner = points
        + number_len(field::data::TEMPORALITY, head.temporality)
        + number_len(field::data::IS_MONOTONIC, head.is_monotonic.into());
    let metric = text_len(field::metric::NAME, data.metric.name)
        + text_len(field::metric::DESCRIPTION, data.metric.description)
        + text_len(field::metric::UNIT, data.metric.unit)
        + wire::delimited_len(head.data, inner);
    [metric, inner]
}

/// Bytes of a metric in a request, with points of so many bytes.
pub fn metric_len(data: &MetricData, points: usize) -> usize {
    wire::delimited_len(field::scope_items::ITEM, metric_lens(data, points)[0])
}

/// Appends a metric whose points [`point()`] wrote.
pub fn metric(to: &mut Vec<u8>, data: &MetricData, points: &[u8]) {
    let (head, [metric, inner]) = (head_of(data), metric_lens(data, points.len()));
    wire::delimited(to, field::scope_items::ITEM, metric);
    text(to, field::metric::NAME, data.metric.name);
    text(to, field::metric::DESCRIPTION, data.metric.description);
    text(to, field::metric::UNIT, data.metric.unit);
    wire::delimited(to, head.data, inner);
    to.extend_from_slice(points);
    number(to, field::data::TEMPORALITY, head.temporality);
    number(to, field::data::IS_MONOTONIC, head.is_monotonic.into());
}

/// Appends one point to those of its metric, unless it contradicts the metric's kind or layout or is not a finite
/// number: then nothing is written, and the answer is `false`. `bounds` are the metric's upper bounds in seconds;
/// other kinds have none.
pub fn point(to: &mut Vec<u8>, kind: MetricKind, bounds: &[f64], point: &Point) -> bool {
    match (&point.value, kind) {
        (PointValue::Histogram { sum, counts }, MetricKind::Histogram(layout))
            if counts.len() == layout.buckets && sum.is_finite() =>
        {
            histogram_point(to, bounds, point, *sum, counts);
        }
        (PointValue::Histogram { .. }, _) | (_, MetricKind::Histogram(_)) => return false,
        (PointValue::Int(value), _) => number_point(to, point, field::number::INT, value.cast_unsigned()),
        (PointValue::Double(value), _) if value.is_finite() => {
            number_point(to, point, field::number::DOUBLE, value.to_bits());
        }
        (PointValue::Double(_), _) => return false,
    }
    true
}

fn number_point(to: &mut Vec<u8>, point: &Point, value_field: u32, value: u64) {
    let len = times_len(point)
        + wire::fixed_len(value_field)
        + attributes_len(field::number::ATTRIBUTE, point.attributes.iter());
    wire::delimited(to, field::data::POINT, len);
    times(to, point);
    wire::fixed(to, value_field, value);
    attributes(to, field::number::ATTRIBUTE, point.attributes.iter());
}

fn histogram_point(to: &mut Vec<u8>, bounds: &[f64], point: &Point, sum: f64, counts: &[u64]) {
    let len = times_len(point)
        + fixed_unless_zero_len(field::histogram::COUNT, counts.iter().sum())
        + wire::fixed_len(field::histogram::SUM)
        + packed_len(field::histogram::BUCKET_COUNTS, counts.len())
        + packed_len(field::histogram::BOUNDS, bounds.len())
        + attributes_len(field::histogram::ATTRIBUTE, point.attributes.iter());
    wire::delimited(to, field::data::POINT, len);
    times(to, point);
    fixed_unless_zero(to, field::histogram::COUNT, counts.iter().sum());
    wire::fixed(to, field::histogram::SUM, sum.to_bits());
    packed(to, field::histogram::BUCKET_COUNTS, counts.iter().copied());
    packed(to, field::histogram::BOUNDS, bounds.iter().map(|bound| bound.to_bits()));
    attributes(to, field::histogram::ATTRIBUTE, point.attributes.iter());
}

fn times_len(point: &Point) -> usize {
    fixed_unless_zero_len(field::point::START, point.start_unix_ns)
        + fixed_unless_zero_len(field::point::TIME, point.time_unix_ns)
}

fn times(to: &mut Vec<u8>, point: &Point) {
    fixed_unless_zero(to, field::point::START, point.start_unix_ns);
    fixed_unless_zero(to, field::point::TIME, point.time_unix_ns);
}

/// Appends one log record.
pub fn log_record(to: &mut Vec<u8>, record: &LogRecord) {
    let severity_text = match record.severity {
        Severity::Info => "INFO",
        Severity::Warn => "WARN",
    };
    let body = wire::delimited_len(field::any_value::STRING, record.body.len());
    let len = fixed_unless_zero_len(field::log_record::TIME, record.time_unix_ns)
        + number_len(field::log_record::SEVERITY_NUMBER, record.severity as u64)
        + text_len(field::log_record::SEVERITY_TEXT, severity_text)
        + wire::delimited_len(field::log_record::BODY, body)
        + attributes_len(field::log_record::ATTRIBUTE, &record.attributes)
        + fixed_unless_zero_len(field::log_record::OBSERVED_TIME, record.observed_unix_ns)
        + text_len(field::log_record::EVENT_NAME, record.event.name);
    wire::delimited(to, field::scope_items::ITEM, len);
    fixed_unless_zero(to, field::log_record::TIME, record.time_unix_ns);
    number(to, field::log_record::SEVERITY_NUMBER, record.severity as u64);
    text(to, field::log_record::SEVERITY_TEXT, severity_text);
    wire::delimited(to, field::log_record::BODY, body);
    wire::bytes(to, field::any_value::STRING, record.body.as_bytes());
    attributes(to, field::log_record::ATTRIBUTE, &record.attributes);
    fixed_unless_zero(to, field::log_record::OBSERVED_TIME, record.observed_unix_ns);
    text(to, field::log_record::EVENT_NAME, record.event.name);
}

fn attributes_len<'a>(field: u32, attributes: impl IntoIterator<Item = &'a Attribute>) -> usize {
    attributes.into_iter().map(|(key, value)| wire::delimited_len(field, key_value_len(key, value))).sum()
}

fn attributes<'a>(to: &mut Vec<u8>, field: u32, attributes: impl IntoIterator<Item = &'a Attribute>) {
    for (key, value) in attributes {
        key_value(to, field, key, value);
    }
}

fn key_value_len(key: &str, value: &AttributeValue) -> usize {
    text_len(field::key_value::KEY, key) + wire::delimited_len(field::key_value::VALUE, any_value_len(value))
}

fn key_value(to: &mut Vec<u8>, field: u32, key: &str, value: &AttributeValue) {
    let value_len = any_value_len(value);
    let len = text_len(field::key_value::KEY, key) + wire::delimited_len(field::key_value::VALUE, value_len);
    wire::delimited(to, field, len);
    text(to, field::key_value::KEY, key);
    wire::delimited(to, field::key_value::VALUE, value_len);
    any_value(to, value);
}

/// Bytes of the message `AnyValue`, one of whose fields is always written.
fn any_value_len(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::String(text) => wire::delimited_len(field::any_value::STRING, text.len()),
        AttributeValue::Int(number) => wire::varint_len(field::any_value::INT, number.cast_unsigned()),
        AttributeValue::Double(number) if !number.is_finite() => {
            wire::delimited_len(field::any_value::STRING, number.to_string().len())
        }
        AttributeValue::Double(_) => wire::fixed_len(field::any_value::DOUBLE),
        AttributeValue::Bool(truth) => wire::varint_len(field::any_value::BOOL, (*truth).into()),
        AttributeValue::Array(values) => wire::delimited_len(field::any_value::ARRAY, array_len(values)),
        AttributeValue::Map(entries) => {
            wire::delimited_len(field::any_value::MAP, attributes_len(field::LISTED, entries))
        }
    }
}

fn any_value(to: &mut Vec<u8>, value: &AttributeValue) {
    match value {
        AttributeValue::String(text) => wire::bytes(to, field::any_value::STRING, text.as_bytes()),
        AttributeValue::Int(number) => wire::varint(to, field::any_value::INT, number.cast_unsigned()),
        // JSON, which the file exporter makes of this, has no such numbers.
        AttributeValue::Double(number) if !number.is_finite() => {
            wire::bytes(to, field::any_value::STRING, number.to_string().as_bytes());
        }
        AttributeValue::Double(number) => wire::fixed(to, field::any_value::DOUBLE, number.to_bits()),
        AttributeValue::Bool(truth) => wire::varint(to, field::any_value::BOOL, (*truth).into()),
        AttributeValue::Array(values) => {
            wire::delimited(to, field::any_value::ARRAY, array_len(values));
            for value in values {
                wire::delimited(to, field::LISTED, any_value_len(value));
                any_value(to, value);
            }
        }
        AttributeValue::Map(entries) => {
            wire::delimited(to, field::any_value::MAP, attributes_len(field::LISTED, entries));
            attributes(to, field::LISTED, entries);
        }
    }
}

fn array_len(values: &[AttributeValue]) -> usize {
    values.iter().map(|value| wire::delimited_len(field::LISTED, any_value_len(value))).sum()
}

// ---- fields that are left out where they have their default (proto3, "implicit presence") ------------------------

fn text_len(field: u32, value: &str) -> usize {
    if value.is_empty() { 0 } else { wire::delimited_len(field, value.len()) }
}

fn text(to: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        wire::bytes(to, field, value.as_bytes());
    }
}

fn number_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { wire::varint_len(field, value) }
}

fn number(to: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        wire::varint(to, field, value);
    }
}

fn fixed_unless_zero_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { wire::fixed_len(field) }
}

fn fixed_unless_zero(to: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        wire::fixed(to, field, value);
    }
}

fn packed_len(field: u32, count: usize) -> usize {
    if count == 0 { 0 } else { wire::delimited_len(field, count * size_of::<u64>()) }
}

/// Numbers of eight bytes each.
fn packed(to: &mut Vec<u8>, field: u32, values: impl ExactSizeIterator<Item = u64>) {
    if values.len() == 0 {
        return;
    }
    wire::delimited(to, field, values.len() * size_of::<u64>());
    for value in values {
        to.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;
    use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
    use opentelemetry_proto::tonic::metrics::v1::{
        AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, ScopeMetrics, metric::Data,
        number_data_point,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::export::testing::{self, ACTIVE, IO, RTT};

    /// Read and written by opentelemetry-proto, it must come to the same bytes: then nothing is in an unknown field,
    /// too long or too short, out of order, or written where it need not be.
    fn decoded<M: prost::Message + Default + std::fmt::Debug>(bytes: &[u8]) -> M {
        let message = M::decode(bytes).unwrap();
        assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
        message
    }

    fn metric_of(data: &MetricData) -> Metric {
        let bounds = match data.metric.kind {
            MetricKind::Histogram(layout) => layout.bounds_seconds(),
            _ => Vec::new(),
        };
        let (mut points, mut bytes) = (Vec::new(), Vec::new());
        for one in &data.points {
            assert!(point(&mut points, data.metric.kind, &bounds, one));
        }
        metric(&mut bytes, data, &points);
        assert_eq!(bytes.len(), metric_len(data, points.len()));
        decoded::<ScopeMetrics>(&bytes).metrics.remove(0)
    }

    fn numbers(data: &MetricData) -> Vec<NumberDataPoint> {
        match metric_of(data).data {
            Some(Data::Sum(sum)) => sum.data_points,
            Some(Data::Gauge(gauge)) => gauge.data_points,
            other => panic!("{other:?} has no numbers"),
        }
    }

    fn histograms(data: &MetricData) -> Vec<HistogramDataPoint> {
        let Some(Data::Histogram(histogram)) = metric_of(data).data else { panic!("not a histogram") };
        histogram.data_points
    }

    fn is_valid(kind: MetricKind, value: PointValue) -> bool {
        let mut bytes = Vec::new();
        let valid = point(&mut bytes, kind, &[], &testing::point(value));
        assert_eq!(valid, !bytes.is_empty());
        valid
    }

    #[test]
    fn a_counter_is_a_monotonic_sum_of_its_temporality() {
        let mut data = testing::metric(&IO, vec![PointValue::Int(7)]);
        data.temporality = Temporality::Delta;
        let message = metric_of(&data);

        assert_eq!((message.name.as_str(), message.unit.as_str()), ("netsonde.flow.io", "By"));
        assert_eq!(message.description, IO.description);
        let Some(Data::Sum(sum)) = message.data else { panic!("not a sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano, point.flags), (1_000, 2_000, 0));
        assert_eq!(point.attributes[0].key, "network.transport");
    }

    #[test]
    fn an_up_down_counter_is_a_sum_that_may_fall() {
        let Some(Data::Sum(sum)) = metric_of(&testing::metric(&ACTIVE, vec![PointValue::Int(-1)])).data
        else {
            panic!("not a sum")
        };
        assert!(!sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(-1)));
    }

    #[test]
    fn a_gauge_may_be_no_whole_number() {
        let points =
            numbers(&testing::metric(&testing::SHARE, vec![PointValue::Double(1.5), PointValue::Int(0)]));
        assert_eq!(points[0].value, Some(number_data_point::Value::AsDouble(1.5)));
        assert_eq!(points[1].value, Some(number_data_point::Value::AsInt(0)));
    }

    #[test]
    fn a_histogram_has_one_bound_fewer_than_buckets_and_the_sum_of_counts() {
        let MetricKind::Histogram(layout) = RTT.kind else { panic!("not a histogram") };
        let counts = vec![1, 0, 2, 3];
        let value = PointValue::Histogram { sum: 0.5, counts: counts.clone() };
        let point = &histograms(&testing::metric(&RTT, vec![value]))[0];
        assert_eq!((point.count, point.sum, &point.bucket_counts), (6, Some(0.5), &counts));
        assert_eq!(point.explicit_bounds, layout.bounds_seconds());
        assert_eq!(point.explicit_bounds.len(), 3);
        assert_eq!((point.min, point.max), (None, None));
    }

    #[test]
    fn points_that_contradict_their_metric_are_told_apart() {
        let one_bucket = || PointValue::Histogram { sum: 1.0, counts: vec![1] };
        assert!(!is_valid(IO.kind, one_bucket()));
        assert!(!is_valid(RTT.kind, one_bucket()));
        assert!(!is_valid(RTT.kind, PointValue::Int(1)));
        assert!(!is_valid(MetricKind::Gauge, PointValue::Double(f64::NAN)));
        assert!(is_valid(MetricKind::Gauge, PointValue::Double(1.5)));
    }

    #[test]
    fn a_record_keeps_times_severity_name_and_nested_attributes() {
        let mut bytes = Vec::new();
        log_record(
            &mut bytes,
            &testing::record(vec![(
                "netsonde.process.parents",
                AttributeValue::Array(vec![AttributeValue::Map(vec![(
                    "process.pid",
                    AttributeValue::Int(1),
                )])]),
            )]),
        );
        let message = decoded::<ScopeLogs>(&bytes).log_records.remove(0);
        assert_eq!((message.time_unix_nano, message.observed_time_unix_nano), (3_000, 4_000));
        assert_eq!((message.severity_number, message.severity_text.as_str()), (9, "INFO"));
        assert_eq!(message.event_name, "netsonde.tcp.close");
        let Some(any_value::Value::StringValue(body)) = message.body.and_then(|body| body.value) else {
            panic!("not a text")
        };
        assert_eq!(body, "curl[7] closed 192.0.2.1:443");
        let Some(any_value::Value::ArrayValue(array)) =
            message.attributes[0].value.clone().and_then(|value| value.value)
        else {
            panic!("not an array")
        };
        let Some(any_value::Value::KvlistValue(map)) = &array.values[0].value else { panic!("not a map") };
        assert_eq!(map.values[0].key, "process.pid");
    }

    fn value() -> impl Strategy<Value = AttributeValue> {
        let one = prop_oneof![
            any::<String>().prop_map(|value| testing::text(&value)),
            any::<i64>().prop_map(AttributeValue::Int),
            any::<f64>().prop_map(AttributeValue::Double),
            any::<bool>().prop_map(AttributeValue::Bool),
        ];
        one.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::Array),
                prop::collection::vec((Just("key"), inner), 0..4).prop_map(AttributeValue::Map),
            ]
        })
    }

    /// What a value must come to, by what opentelemetry-proto read.
    fn same(value: &AttributeValue, message: Option<&any_value::Value>) -> bool {
        match (value, message) {
            (AttributeValue::String(text), Some(any_value::Value::StringValue(read))) => **text == **read,
            (AttributeValue::Int(number), Some(any_value::Value::IntValue(read))) => number == read,
            (AttributeValue::Double(number), Some(any_value::Value::DoubleValue(read))) => number == read,
            (AttributeValue::Double(number), Some(any_value::Value::StringValue(read))) => {
                !number.is_finite() && number.to_string() == *read
            }
            (AttributeValue::Bool(truth), Some(any_value::Value::BoolValue(read))) => truth == read,
            (AttributeValue::Array(values), Some(any_value::Value::ArrayValue(read))) => {
                values.len() == read.values.len()
                    && values.iter().zip(&read.values).all(|(value, read)| same(value, read.value.as_ref()))
            }
            (AttributeValue::Map(entries), Some(any_value::Value::KvlistValue(read))) => {
                entries.len() == read.values.len()
                    && entries.iter().zip(&read.values).all(|((key, value), read)| {
                        *key == read.key
                            && same(value, read.value.as_ref().and_then(|read| read.value.as_ref()))
                    })
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn attributes_of_any_shape_are_read_as_they_were(
            values in prop::collection::vec(value(), 0..6),
            number in any::<i64>(),
            times in any::<(u64, u64)>(),
        ) {
            let attributes: Vec<Attribute> = values.into_iter().map(|value| ("key", value)).collect();
            let mut data = testing::metric(&IO, Vec::new());
            let mut point = testing::point_with(attributes.clone(), PointValue::Int(number));
            (point.start_unix_ns, point.time_unix_ns) = times;
            data.points.push(point);
            let read = numbers(&data).remove(0);
            prop_assert_eq!((read.start_time_unix_nano, read.time_unix_nano), times);
            prop_assert_eq!(read.value, Some(number_data_point::Value::AsInt(number)));
            prop_assert_eq!(read.attributes.len(), attributes.len());
            for ((key, value), read) in attributes.iter().zip(&read.attributes) {
                prop_assert_eq!(*key, &read.key);
                let read = read.value.as_ref().and_then(|read| read.value.as_ref());
                prop_assert!(same(value, read), "{:?} was read as {:?}", value, read);
            }
        }

        #[test]
        fn histograms_are_read_as_they_were(counts in prop::array::uniform4(0..u64::MAX / 4), sum in -1e9..1e9) {
            let value = PointValue::Histogram { sum, counts: counts.to_vec() };
            let read = histograms(&testing::metric(&RTT, vec![value])).remove(0);
            prop_assert_eq!(read.bucket_counts, counts.to_vec());
            prop_assert_eq!((read.count, read.sum), (counts.iter().sum(), Some(sum)));
        }
    }
}
