//! What leaves the aggregation and enters an exporter: metric points and log records, already named and
//! attributed, not yet encoded. Wire formats are the exporters' matter.

use std::sync::{Arc, OnceLock};

use netsonde_probes::descriptor::{Event, Metric};

/// The value of one attribute, as OTLP's `AnyValue` has it.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// UTF-8 text.
    String(Arc<str>),
    /// A signed integer.
    Int(i64),
    /// A float.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// A list.
    Array(Vec<AttributeValue>),
    /// Named values, on log records only.
    Map(Vec<(&'static str, AttributeValue)>),
}

impl AttributeValue {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::String(text) => Value::from(&**text),
            Self::Int(n) => Value::from(*n),
            Self::Double(n) => Value::from(*n),
            Self::Bool(is) => Value::from(*is),
            Self::Array(values) => values.iter().map(Self::to_json).collect(),
            Self::Map(values) => Value::Object(
                values.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect(),
            ),
        }
    }
}

/// A key with its value.
pub type Attribute = (&'static str, AttributeValue);

/// What all series of a flow have in common, with what an exporter made of it: a series is exported every interval,
/// and its attributes never change.
#[derive(Debug)]
pub struct SharedAttributes {
    list: Box<[Attribute]>,
    encoded: OnceLock<Box<[u8]>>,
}

impl SharedAttributes {
    /// In a wire format, which is made once. It is one format for all who ask.
    pub fn encoded(&self, encode: impl FnOnce(&[Attribute]) -> Vec<u8>) -> &[u8] {
        self.encoded.get_or_init(|| encode(&self.list).into())
    }
}

impl From<Vec<Attribute>> for SharedAttributes {
    fn from(list: Vec<Attribute>) -> Self {
        Self { list: list.into(), encoded: OnceLock::new() }
    }
}

/// What tells a series from others of its metric: what all series of its flow have, held once for all of them, and
/// behind it what this one has of its own.
#[derive(Debug, Clone)]
pub struct Attributes {
    shared: Arc<SharedAttributes>,
    own: Option<Arc<[Attribute]>>,
}

impl Attributes {
    /// Of a series that may have some of its own.
    #[must_use]
    pub fn new(shared: Arc<SharedAttributes>, own: Option<Arc<[Attribute]>>) -> Self {
        Self { shared, own }
    }

    /// What all series of the flow have.
    #[must_use]
    pub fn shared(&self) -> &SharedAttributes {
        &self.shared
    }

    /// What this one has of its own.
    #[must_use]
    pub fn own(&self) -> &[Attribute] {
        self.own.as_deref().unwrap_or_default()
    }

    /// All of them, those of its own last.
    pub fn iter(&self) -> impl Iterator<Item = &Attribute> + Clone {
        self.shared.list.iter().chain(self.own())
    }
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl From<Vec<Attribute>> for Attributes {
    fn from(shared: Vec<Attribute>) -> Self {
        Self::new(Arc::new(shared.into()), None)
    }
}

/// Whether a sum tells the whole since its start or only what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Totals since the series began.
    Cumulative,
    /// What was added since the last export.
    Delta,
}

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Identity of the series.
    pub attributes: Attributes,
    /// When the series began (cumulative) or the interval did (delta), Unix nanoseconds.
    pub start_unix_ns: u64,
    /// When the value was read, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// What was read.
    pub value: PointValue,
}

/// The value of one point.
#[derive(Debug, Clone, PartialEq)]
pub enum PointValue {
    /// For counters, up-down counters and gauges.
    Int(i64),
    /// For gauges that are not whole.
    Double(f64),
    /// Observations per bucket; the bounds are the metric's.
    Histogram {
        /// Sum of the observations, in the metric's unit.
        sum: f64,
        /// One count a bucket, the open one last.
        counts: Vec<u64>,
    },
}

/// All points of one metric.
#[derive(Debug, Clone)]
pub struct MetricData {
    /// What is measured.
    pub metric: &'static Metric,
    /// How its sums are to be read; gauges ignore it.
    pub temporality: Temporality,
    /// Its series, in no order.
    pub points: Vec<Point>,
}

/// How grave a log record is; the numbers are OTLP's `SeverityNumber`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something happened as it should.
    Info = 9,
    /// Something that somebody should look at.
    Warn = 13,
}

/// One log record: an event on one socket.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// What happened.
    pub event: &'static Event,
    /// When it happened, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// When netsonde read it, Unix nanoseconds.
    pub observed_unix_ns: u64,
    /// How grave it is.
    pub severity: Severity,
    /// One readable sentence.
    pub body: String,
    /// Who and what.
    pub attributes: Vec<Attribute>,
}

/// What one interval hands to every exporter.
#[derive(Debug, Clone)]
pub enum Telemetry {
    /// One reading of all series that have something to say.
    Metrics(Arc<Vec<MetricData>>),
    /// Events, in the order in which they were read.
    Logs(Arc<Vec<LogRecord>>),
}
