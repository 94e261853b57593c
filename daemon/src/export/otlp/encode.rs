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
    Attribute, AttributeValue, Attributes, LogRecord, MetricData, Point, PointValue, Severity, Temporality,
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

    /// An `ExportMetricsServiceRequest` or `ExportLogsServiceRequest`, written into an empty vector.
    /// `write` appends items of `len` bytes, each by [`metric()`] or [`log_record()`].
    pub fn request(&self, mut message: Vec<u8>, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let [request, resource_items, scope_items] = self.lens(len);
        message.reserve_exact(request);
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

/// Appends a metric. `write` appends points of `len` bytes, each by [`point()`].
pub fn metric(to: &mut Vec<u8>, data: &MetricData, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let (head, [metric, inner]) = (head_of(data), metric_lens(data, len));
    wire::delimited(to, field::scope_items::ITEM, metric);
    text(to, field::metric::NAME, data.metric.name);
    text(to, field::metric::DESCRIPTION, data.metric.description);
    text(to, field::metric::UNIT, data.metric.unit);
    wire::delimited(to, head.data, inner);
    write(to);
    number(to, field::data::TEMPORALITY, head.temporality);
    number(to, field::data::IS_MONOTONIC, head.is_monotonic.into());
}

/// What a point says, as a message of its kind has it.
enum Value<'a> {
    /// In that field, with these bits.
    Number(u32, u64),
    Histogram {
        sum: f64,
        counts: &'a [u64],
    },
}

/// `None` where a point contradicts its metric's kind or layout or is not a finite number.
fn value_of(kind: MetricKind, point: &Point) -> Option<Value<'_>> {
    match (&point.value, kind) {
        (PointValue::Histogram { sum, counts }, MetricKind::Histogram(layout)) => {
            let valid = counts.len() == layout.buckets && sum.is_finite();
            valid.then_some(Value::Histogram { sum: *sum, counts })
        }
        (PointValue::Histogram { .. }, _) | (_, MetricKind::Histogram(_)) => None,
        (PointValue::Int(value), _) => Some(Value::Number(field::number::INT, value.cast_unsigned())),
        (PointValue::Double(value), _) => {
            value.is_finite().then_some(Value::Number(field::number::DOUBLE, value.to_bits()))
        }
    }
}

/// Bytes of the message of a point.
fn point_message_len(value: &Value<'_>, bounds: &[f64], point: &Point) -> usize {
    times_len(point)
        + match value {
            Value::Number(value_field, _) => {
                wire::fixed_len(*value_field)
                    + point_attributes_len(field::number::ATTRIBUTE, &point.attributes)
            }
            Value::Histogram { counts, .. } => {
                fixed_unless_zero_len(field::histogram::COUNT, counts.iter().sum())
                    + wire::fixed_len(field::histogram::SUM)
                    + packed_len(field::histogram::BUCKET_COUNTS, counts.len())
                    + packed_len(field::histogram::BOUNDS, bounds.len())
                    + point_attributes_len(field::histogram::ATTRIBUTE, &point.attributes)
            }
        }
}

/// Bytes that [`point()`] appends; `None` where it appends nothing, because the point contradicts its metric's kind or
/// layout or is not a finite number. `bounds` are the metric's upper bounds in seconds; other kinds have none.
pub fn point_len(kind: MetricKind, bounds: &[f64], point: &Point) -> Option<usize> {
    let value = value_of(kind, point)?;
    Some(wire::delimited_len(field::data::POINT, point_message_len(&value, bounds, point)))
}

/// Appends one point to those of its metric, if it has a length.
pub fn point(to: &mut Vec<u8>, kind: MetricKind, bounds: &[f64], point: &Point) {
    let Some(value) = value_of(kind, point) else { return };
    wire::delimited(to, field::data::POINT, point_message_len(&value, bounds, point));
    fixed_unless_zero(to, field::point::START, point.start_unix_ns);
    fixed_unless_zero(to, field::point::TIME, point.time_unix_ns);
    match value {
        Value::Number(value_field, bits) => {
            wire::fixed(to, value_field, bits);
            point_attributes(to, field::number::ATTRIBUTE, &point.attributes);
        }
        Value::Histogram { sum, counts } => {
            fixed_unless_zero(to, field::histogram::COUNT, counts.iter().sum());
            wire::fixed(to, field::histogram::SUM, sum.to_bits());
            packed(to, field::histogram::BUCKET_COUNTS, counts.iter().copied());
            packed(to, field::histogram::BOUNDS, bounds.iter().map(|bound| bound.to_bits()));
            point_attributes(to, field::histogram::ATTRIBUTE, &point.attributes);
        }
    }
}

fn times_len(point: &Point) -> usize {
    fixed_unless_zero_len(field::point::START, point.start_unix_ns)
        + fixed_unless_zero_len(field::point::TIME, point.time_unix_ns)
}

/// Those that a flow's series share, as numbers have them: they are most of an export's bytes, and made once.
fn shared(of: &Attributes) -> &[u8] {
    of.shared().encoded(|list| {
        let mut message = Vec::with_capacity(attributes_len(field::number::ATTRIBUTE, list));
        attributes(&mut message, field::number::ATTRIBUTE, list);
        message
    })
}

fn point_attributes_len(field: u32, of: &Attributes) -> usize {
    shared(of).len() + attributes_len(field, of.own())
}

fn point_attributes(to: &mut Vec<u8>, field: u32, of: &Attributes) {
    let begin = to.len();
    to.extend_from_slice(shared(of));
    if field != field::number::ATTRIBUTE {
        wire::renumber(&mut to[begin..], field);
    }
    attributes(to, field, of.own());
}

fn severity_text(record: &LogRecord) -> &'static str {
    match record.severity {
        Severity::Info => "INFO",
        Severity::Warn => "WARN",
    }
}

/// Bytes of the message of a log record.
pub fn log_record_message_len(record: &LogRecord) -> usize {
    let body = wire::delimited_len(field::any_value::STRING, record.body.len());
    fixed_unless_zero_len(field::log_record::TIME, record.time_unix_ns)
        + number_len(field::log_record::SEVERITY_NUMBER, record.severity as u64)
        + text_len(field::log_record::SEVERITY_TEXT, severity_text(record))
        + wire::delimited_len(field::log_record::BODY, body)
        + attributes_len(field::log_record::ATTRIBUTE, &record.attributes)
        + fixed_unless_zero_len(field::log_record::OBSERVED_TIME, record.observed_unix_ns)
        + text_len(field::log_record::EVENT_NAME, record.event.name)
}

/// Bytes of a log record in a request, whose message has so many.
pub fn log_record_len(message: usize) -> usize {
    wire::delimited_len(field::scope_items::ITEM, message)
}

/// Appends one log record, whose message has [`log_record_message_len`] bytes.
pub fn log_record(to: &mut Vec<u8>, record: &LogRecord, message: usize) {
    wire::delimited(to, field::scope_items::ITEM, message);
    fixed_unless_zero(to, field::log_record::TIME, record.time_unix_ns);
    number(to, field::log_record::SEVERITY_NUMBER, record.severity as u64);
    text(to, field::log_record::SEVERITY_TEXT, severity_text(record));
    let body = wire::delimited_len(field::any_value::STRING, record.body.len());
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
mod tests;
