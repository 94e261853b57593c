//! Metrics as a scraper reads them: Prometheus' text format 0.0.4 and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), under the names that Prometheus itself gives to what it
//! receives as OTLP.
//!
//! Owns names, labels and lines; which values there are is the aggregation's matter, serving them the API's.

mod labels;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use netsonde_probes::descriptor::{Metric, MetricKind};

use self::labels::{labels, of_resource};
use crate::telemetry::{AttributeValue, MetricData, Point, PointValue};

/// Text is made, and sent, in pieces of about so many bytes: a whole scrape of a busy host has tens of megabytes.
const PIECE: usize = 64 << 10;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of `content-type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that an `accept` header likes better (RFC 9110, 12.5.1); the text format where it likes both the same, or
    /// neither.
    #[must_use]
    pub fn negotiated(accept: &str) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0_f64, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match (media.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = weight.max(open),
                ("text/plain", None | Some("0.0.4")) => text = weight.max(text),
                _ => {}
            }
        }
        if open > text { Self::OpenMetrics } else { Self::Text }
    }
}

/// The suffix that stands for a unit; nothing for an annotation, which is no unit.
fn unit(metric: &Metric) -> &'static str {
    match (metric.unit, metric.kind) {
        ("s", _) => "seconds",
        ("By", _) => "bytes",
        ("1", MetricKind::Gauge) => "ratio",
        _ => "",
    }
}

/// A metric's name without the suffix of its type.
fn family(metric: &Metric) -> String {
    let name = metric.name.replace('.', "_");
    match unit(metric) {
        "" => name,
        unit if name.ends_with(&format!("_{unit}")) => name,
        unit => format!("{name}_{unit}"),
    }
}

/// The name that Prometheus gives to a metric which it receives as OTLP ("Prometheus and OpenMetrics Compatibility" of
/// the OpenTelemetry specification, with unit and type suffixes).
#[must_use]
pub fn name(metric: &Metric) -> String {
    let total = if metric.kind == MetricKind::Counter { "_total" } else { "" };
    family(metric) + total
}

/// Metrics as text, piece by piece.
pub struct Exposition {
    metrics: Arc<Vec<MetricData>>,
    resource: Arc<[(String, AttributeValue)]>,
    format: Format,
    /// The next point: of which metric, and which of its points.
    at: (usize, usize),
    part: Part,
}

enum Part {
    Target,
    Metrics,
    End,
}

impl Exposition {
    /// The newest values of all series, and what they are of.
    #[must_use]
    pub fn new(
        metrics: Arc<Vec<MetricData>>,
        resource: Arc<[(String, AttributeValue)]>,
        format: Format,
    ) -> Self {
        Self { metrics, resource, format, at: (0, 0), part: Part::Target }
    }

    fn target(&self, to: &mut String) {
        let head = match self.format {
            Format::Text => "# HELP target_info What all metrics are of\n# TYPE target_info gauge\n",
            Format::OpenMetrics => "# TYPE target info\n# HELP target What all metrics are of\n",
        };
        let labels = of_resource(&self.resource);
        let _ = writeln!(to, "{head}target_info{{{labels}}} 1");
    }

    /// Appends the next point; says whether there was one.
    fn point(&mut self, to: &mut String) -> bool {
        let (metric, point) = self.at;
        let Some(data) = self.metrics.get(metric) else { return false };
        if point == 0 {
            head(data.metric, self.format, to);
        }
        if let Some(of) = data.points.get(point) {
            push_point(data.metric, of, to);
        }
        self.at = if point + 1 < data.points.len() { (metric, point + 1) } else { (metric + 1, 0) };
        true
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = String::with_capacity(PIECE + PIECE / 8);
        while piece.len() < PIECE {
            match self.part {
                Part::Target => {
                    self.target(&mut piece);
                    self.part = Part::Metrics;
                }
                Part::Metrics => {
                    if !self.point(&mut piece) {
                        if self.format == Format::OpenMetrics {
                            piece.push_str("# EOF\n");
                        }
                        self.part = Part::End;
                    }
                }
                Part::End => break,
            }
        }
        (!piece.is_empty()).then_some(piece)
    }
}

fn head(metric: &Metric, format: Format, to: &mut String) {
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter | MetricKind::Gauge => "gauge",
        MetricKind::Histogram(_) => "histogram",
    };
    let mut text = metric.description.replace('\\', "\\\\").replace('\n', "\\n");
    // Written to a string, which takes everything.
    let _ = match format {
        Format::Text => {
            let name = name(metric);
            write!(to, "# HELP {name} {text}\n# TYPE {name} {kind}\n")
        }
        Format::OpenMetrics => {
            text = text.replace('"', "\\\"");
            let family = family(metric);
            let unit = match unit(metric) {
                "" => String::new(),
                unit => format!("# UNIT {family} {unit}\n"),
            };
            write!(to, "# TYPE {family} {kind}\n{unit}# HELP {family} {text}\n")
        }
    };
}

fn push_point(metric: &Metric, point: &Point, to: &mut String) {
    let (name, labels) = (name(metric), labels(point.attributes.iter()));
    let set = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match &point.value {
        PointValue::Int(n) => writeln!(to, "{name}{set} {n}"),
        PointValue::Double(n) => writeln!(to, "{name}{set} {}", number(*n)),
        PointValue::Histogram { sum, counts } => {
            let MetricKind::Histogram(layout) = metric.kind else { return };
            let comma = if labels.is_empty() { "" } else { "," };
            let bounds = layout.bounds_seconds().into_iter().chain([f64::INFINITY]);
            let mut below = 0_u64;
            for (bound, n) in bounds.zip(counts) {
                below = below.saturating_add(*n);
                let _ = writeln!(to, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {below}", bound_text(bound));
            }
            write!(to, "{name}_sum{set} {}\n{name}_count{set} {below}\n", number(*sum))
        }
    };
}

fn number(n: f64) -> String {
    if n.is_infinite() {
        let sign = if n > 0.0 { '+' } else { '-' };
        return format!("{sign}Inf");
    }
    n.to_string()
}

/// As OpenMetrics wants it, so that series have the same labels in both formats: with a fraction.
fn bound_text(bound: f64) -> String {
    let text = number(bound);
    if bound.is_infinite() || text.contains('.') { text } else { text + ".0" }
}
