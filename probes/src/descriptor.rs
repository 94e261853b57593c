//! The words for what netsonde publishes: metrics, log events and attributes, each described once.
//!
//! A signal declares its own as statics beside its decoding; the exporters, the reference page and
//! `netsonde status` read them from here. This module owns no values.

/// How far a name can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Comes from the OpenTelemetry semantic conventions.
    Convention,
    /// Ours, kept across minor versions.
    Stable,
    /// Ours, may still change.
    Development,
}

/// The OTLP instrument a metric is exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A monotonic sum.
    Counter,
    /// A sum that also falls.
    UpDownCounter,
    /// The last value seen.
    Gauge,
    /// An explicit-bucket histogram, whose layout is given here.
    Histogram(HistogramLayout),
}

/// Buckets that double: bucket `i` holds values up to and including `unit_seconds * 2^(base + i)`; the
/// last one has no upper bound. OTLP's explicit buckets include their upper bound as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramLayout {
    /// Exponent of two of the first bucket's upper bound, in microseconds.
    pub base_exponent: u32,
    /// Number of buckets, the open one included.
    pub buckets: usize,
}

impl HistogramLayout {
    /// Upper bounds in seconds, ascending, one fewer than there are buckets.
    #[must_use]
    pub fn bounds_seconds(&self) -> Vec<f64> {
        (0..self.buckets - 1).map(|i| 2f64.powi(self.base_exponent as i32 + i as i32) / 1e6).collect()
    }

    /// The bucket that holds a number of microseconds.
    #[must_use]
    pub fn bucket_of(&self, us: u64) -> usize {
        // The least exponent whose power of two is no less.
        let exponent = u64::BITS - us.saturating_sub(1).leading_zeros();
        (exponent.saturating_sub(self.base_exponent) as usize).min(self.buckets - 1)
    }
}

/// The type of an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeType {
    /// UTF-8 text.
    String,
    /// A signed 64-bit integer.
    Int,
    /// A 64-bit float.
    Double,
    /// True or false.
    Bool,
    /// A list of texts.
    StringArray,
    /// A list of maps; on log records only.
    MapArray,
}

/// One attribute key.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The key, as exported.
    pub name: &'static str,
    /// What its values are.
    pub value_type: AttributeType,
    /// What it says, one sentence without a full stop.
    pub description: &'static str,
    /// How far the name can be relied upon.
    pub stability: Stability,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name, as exported.
    pub name: &'static str,
    /// The instrument.
    pub kind: MetricKind,
    /// UCUM unit.
    pub unit: &'static str,
    /// What it counts, one sentence without a full stop.
    pub description: &'static str,
    /// How far the name can be relied upon.
    pub stability: Stability,
    /// What it carries beyond the common attributes; always present on each point.
    pub attributes: &'static [&'static Attribute],
    /// Whether the common attributes of a flow (process, server, role) apply to it.
    pub of_flow: bool,
}

/// One kind of log record.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// OTLP `event_name`.
    pub name: &'static str,
    /// The key under `[events] enabled`; `None` for what is always written.
    pub config_key: Option<&'static str>,
    /// When it is written, one sentence without a full stop.
    pub description: &'static str,
    /// Every attribute it can carry, beyond those of every event.
    pub attributes: &'static [&'static Attribute],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_above_the_bound_before_and_up_to_its_own() {
        let layout = HistogramLayout { base_exponent: 6, buckets: 24 };
        for us in (0..2000).chain([1 << 28, (1 << 28) + 1, (1 << 29) + 1, u64::MAX]) {
            let seconds = us as f64 / 1e6;
            let expected = layout.bounds_seconds().iter().filter(|bound| **bound < seconds).count();
            assert_eq!(layout.bucket_of(us), expected, "{us} us");
        }
    }
}
