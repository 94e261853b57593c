//! One batch of telemetry as a series of requests, each small enough for any collector.
//!
//! gRPC servers refuse messages over 4 MiB unless told otherwise, and count before compression; so do we.
//! Nothing is dropped to make a batch fit: a single item over the limit travels alone, and whether the
//! collector takes it is for the collector to say (a refusal is counted as one). Points that contradict
//! their own metric cannot be expressed; they are counted and left out.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;

use netsonde_probes::descriptor::MetricKind;

use super::encode::{self, Envelope};
use crate::export::statistics::Signal;
use crate::telemetry::{LogRecord, MetricData, Telemetry};

/// Bytes of one encoded request: 4 MiB, less a margin for what a proxy may add.
pub const MAX_REQUEST_BYTES: usize = (4 << 20) - (16 << 10);

/// What the length prefixes of the enclosing messages can grow by once they are filled: at most four bytes
/// each, and there are no more than four of them.
const NESTING_BYTES: usize = 16;

/// One request and how many points or records it holds; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The request as it goes on the wire, uncompressed: an `ExportMetricsServiceRequest` or an
    /// `ExportLogsServiceRequest`.
    pub body: Bytes,
    /// Points or records in it.
    pub items: u64,
}

/// Two requests of half the items each, in order, for a collector that takes less than we thought. `None` where there
/// is nothing to halve: a single item, or bytes that are no request of ours.
pub fn halve(signal: Signal, body: &[u8]) -> Option<[(Bytes, u64); 2]> {
    let (first, second, counts) = match signal {
        Signal::Logs => {
            let mut first = ExportLogsServiceRequest::decode(body).ok()?;
            let mut second = first.clone();
            let [one] = &mut first.resource_logs[..] else { return None };
            let [one] = &mut one.scope_logs[..] else { return None };
            let half = one.log_records.len() / 2;
            let rest = one.log_records.split_off(half);
            let counts = [half, rest.len()];
            second.resource_logs[0].scope_logs[0].log_records = rest;
            (first.encode_to_vec(), second.encode_to_vec(), counts)
        }
        Signal::Metrics => {
            let mut first = ExportMetricsServiceRequest::decode(body).ok()?;
            let mut second = first.clone();
            let [one] = &mut first.resource_metrics[..] else { return None };
            let [one] = &mut one.scope_metrics[..] else { return None };
            let metrics = &mut second.resource_metrics[0].scope_metrics[0].metrics;
            let total: usize = metrics.iter().map(points).sum();
            let half = total / 2;
            (one.metrics, *metrics) = cut_metrics(std::mem::take(metrics), half);
            (first.encode_to_vec(), second.encode_to_vec(), [half, total - half])
        }
    };
    let [before, after] = counts.map(|count| count as u64);
    (before > 0).then(|| [(first.into(), before), (second.into(), after)])
}

/// The first `count` points and the rest; a metric that has both is in both.
fn cut_metrics(metrics: Vec<Metric>, count: usize) -> (Vec<Metric>, Vec<Metric>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut left = count;
    for mut metric in metrics {
        let here = points(&metric);
        if here <= left {
            left -= here;
            before.push(metric);
        } else if left == 0 {
            after.push(metric);
        } else {
            let mut rest = metric.clone();
            match (&mut metric.data, &mut rest.data) {
                (Some(Data::Sum(one)), Some(Data::Sum(two))) => {
                    two.data_points = one.data_points.split_off(left);
                }
                (Some(Data::Gauge(one)), Some(Data::Gauge(two))) => {
                    two.data_points = one.data_points.split_off(left);
                }
                (Some(Data::Histogram(one)), Some(Data::Histogram(two))) => {
                    two.data_points = one.data_points.split_off(left);
                }
                // Without points that we know of, it is not here.
                _ => {}
            }
            left = 0;
            before.push(metric);
            after.push(rest);
        }
    }
    (before, after)
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        // Kinds that we do not make.
        Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => 0,
    }
}

/// Cuts one batch, in order and on demand: each item is measured and encoded when its part is asked for.
#[derive(Debug)]
pub struct Parts {
    telemetry: Telemetry,
    envelope: Envelope,
    limit: usize,
    /// Bytes of a request that holds nothing.
    base: usize,
    /// The next metric, or the next record.
    index: usize,
    /// The next point of that metric.
    point: usize,
    invalid: u64,
    /// The part before. Its memory is written into again if nobody else has it by then: the kernel takes longer to
    /// clear megabytes for each part than it takes to fill them.
    last: Bytes,
}

impl Parts {
    /// Starts to cut. `resource` is of [`encode::resource`], `limit` in encoded bytes a request, normally
    /// [`MAX_REQUEST_BYTES`].
    pub fn new(telemetry: Telemetry, resource: Bytes, limit: usize) -> Self {
        let envelope = Envelope::new(resource);
        let base = envelope.request_len(0) + NESTING_BYTES;
        Self { telemetry, envelope, limit, base, index: 0, point: 0, invalid: 0, last: Bytes::new() }
    }

    /// Whether a part was asked for.
    pub fn has_begun(&self) -> bool {
        (self.index, self.point) != (0, 0)
    }

    /// How many items were left out since the last call, because they contradict their own description.
    pub fn take_invalid(&mut self) -> u64 {
        std::mem::take(&mut self.invalid)
    }

    /// A part of items that have so many bytes, and are written by `write`.
    fn part(&mut self, items: u64, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Option<Part> {
        let last = std::mem::take(&mut self.last).try_into_mut();
        if items == 0 {
            return None;
        }
        let memory = last.map_or_else(
            |_| Vec::new(),
            |mut last| {
                // What is in it would be moved to where it is.
                last.clear();
                last.into()
            },
        );
        let body = self.envelope.request(memory, len, write);
        self.last = Bytes::clone(&body);
        Some(Part { body, items })
    }

    fn next_metrics(&mut self, all: &[MetricData]) -> Option<Part> {
        let mut size = self.base;
        let mut items = 0;
        // The metrics of this part, which of their points, and how many bytes these have.
        let mut metrics: Vec<(&MetricData, Range<usize>, usize)> = Vec::new();
        while let Some(data) = all.get(self.index) {
            let bounds = bounds_of(data);
            let (begin, mut len) = (self.point, 0);
            let mut head = encode::metric_len(data, 0) + NESTING_BYTES;
            let mut full = false;
            while let Some(point) = data.points.get(self.point) {
                let Some(point_len) = encode::point_len(data.metric.kind, &bounds, point) else {
                    self.invalid += 1;
                    self.point += 1;
                    continue;
                };
                full = items > 0 && size + head + point_len > self.limit;
                if full {
                    break;
                }
                size += head + point_len;
                len += point_len;
                items += 1;
                head = 0;
                self.point += 1;
            }
            if len > 0 {
                metrics.push((data, begin..self.point, len));
            }
            if full {
                break;
            }
            (self.index, self.point) = (self.index + 1, 0);
        }
        let len = metrics.iter().map(|(data, _, points)| encode::metric_len(data, *points)).sum();
        self.part(items, len, |to| {
            for (data, range, len) in metrics {
                let bounds = bounds_of(data);
                encode::metric(to, data, len, |to| {
                    for point in &data.points[range] {
                        encode::point(to, data.metric.kind, &bounds, point);
                    }
                });
            }
        })
    }

    fn next_logs(&mut self, all: &[LogRecord]) -> Option<Part> {
        let begin = self.index;
        let mut len = 0;
        // Bytes of each record's message.
        let mut messages = Vec::new();
        while let Some(record) = all.get(self.index) {
            let message = encode::log_record_message_len(record);
            let more = encode::log_record_len(message);
            if self.index > begin && self.base + len + more > self.limit {
                break;
            }
            len += more;
            messages.push(message);
            self.index += 1;
        }
        self.part(messages.len() as u64, len, |to| {
            for (record, message) in all[begin..].iter().zip(messages) {
                encode::log_record(to, record, message);
            }
        })
    }
}

/// The upper bounds of its buckets in seconds, where it has any.
fn bounds_of(data: &MetricData) -> Vec<f64> {
    match data.metric.kind {
        MetricKind::Histogram(layout) => layout.bounds_seconds(),
        MetricKind::Counter | MetricKind::UpDownCounter | MetricKind::Gauge => Vec::new(),
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        match &self.telemetry {
            Telemetry::Metrics(all) => {
                let all = Arc::clone(all);
                self.next_metrics(&all)
            }
            Telemetry::Logs(all) => {
                let all = Arc::clone(all);
                self.next_logs(&all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::testing::{self, ACTIVE, IO, RTT, SHARE, text};
    use crate::telemetry::{Attribute, PointValue};

    fn parts(telemetry: &Telemetry, limit: usize) -> (Vec<Part>, u64) {
        let resource = encode::resource(&[("service.name".into(), text("netsonde"))]);
        let mut parts = Parts::new(telemetry.clone(), resource, limit);
        let all = parts.by_ref().collect();
        (all, parts.take_invalid())
    }

    fn metrics_of(part: &Part) -> Vec<(String, String)> {
        use opentelemetry_proto::tonic::metrics::v1::metric::Data;
        let request = ExportMetricsServiceRequest::decode(&*part.body).unwrap();
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let mut flat = Vec::new();
        for metric in metrics {
            let shown: Vec<String> = match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => sum.data_points.iter().map(|point| format!("{point:?}")).collect(),
                Data::Gauge(gauge) => gauge.data_points.iter().map(|point| format!("{point:?}")).collect(),
                Data::Histogram(data) => data.data_points.iter().map(|point| format!("{point:?}")).collect(),
                other => panic!("unexpected {other:?}"),
            };
            assert!(!shown.is_empty(), "a metric without points");
            flat.extend(shown.into_iter().map(|point| (metric.name.clone(), point)));
        }
        flat
    }

    fn assert_sizes(parts: &[Part], limit: usize) {
        for part in parts {
            let len = part.body.len();
            assert!(len <= limit || part.items == 1, "{len} bytes of {} items over {limit}", part.items);
        }
    }

    fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
        prop::collection::vec("[a-z]{0,200}".prop_map(|value| ("key", text(&value))), 0..4)
    }

    fn metric() -> impl Strategy<Value = MetricData> {
        let kind = prop_oneof![Just(&IO), Just(&ACTIVE), Just(&SHARE), Just(&RTT)];
        (kind, prop::collection::vec((attributes(), any::<i32>()), 0..40)).prop_map(|(kind, points)| {
            let mut data = testing::metric(kind, Vec::new());
            for (attributes, value) in points {
                let value = match kind.kind {
                    MetricKind::Histogram(_) => PointValue::Histogram { sum: 1.0, counts: vec![1, 2, 3, 4] },
                    _ => PointValue::Int(value.into()),
                };
                data.points.push(testing::point_with(attributes, value));
            }
            data
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn metric_parts_are_the_whole_and_fit(
            metrics in prop::collection::vec(metric(), 0..8),
            limit in 0_usize..6_000,
        ) {
            let telemetry = Telemetry::Metrics(Arc::new(metrics));
            let (whole, _) = parts(&telemetry, usize::MAX);
            prop_assert!(whole.len() <= 1);
            let (cut, invalid) = parts(&telemetry, limit);
            prop_assert_eq!(invalid, 0);
            assert_sizes(&cut, limit);
            let flat = |parts: &[Part]| parts.iter().flat_map(metrics_of).collect::<Vec<_>>();
            prop_assert_eq!(flat(&whole), flat(&cut));
            let items: u64 = cut.iter().map(|part| part.items).sum();
            prop_assert_eq!(items, Signal::of(&telemetry).1);
        }

        #[test]
        fn log_parts_are_the_whole_and_fit(
            records in prop::collection::vec(attributes().prop_map(testing::record), 0..60),
            limit in 0_usize..6_000,
        ) {
            let telemetry = Telemetry::Logs(Arc::new(records));
            let (whole, _) = parts(&telemetry, usize::MAX);
            let (cut, _) = parts(&telemetry, limit);
            assert_sizes(&cut, limit);
            let flat = |parts: &[Part]| {
                let mut all = Vec::new();
                for part in parts {
                    let request = ExportLogsServiceRequest::decode(&*part.body).unwrap();
                    all.extend(request.resource_logs[0].scope_logs[0].log_records.clone());
                }
                all
            };
            prop_assert_eq!(flat(&whole), flat(&cut));
        }
    }

    #[test]
    fn halves_are_the_whole_in_order() {
        let values = |n: i64| (0..n).map(PointValue::Int).collect();
        let mut metrics = vec![testing::metric(&IO, values(5)), testing::metric(&SHARE, values(4))];
        let counts = || PointValue::Histogram { sum: 1.0, counts: vec![1, 2, 3, 4] };
        metrics.push(testing::metric(&RTT, vec![counts(), counts()]));
        let (whole, _) = parts(&Telemetry::Metrics(Arc::new(metrics)), MAX_REQUEST_BYTES);
        // Down to single points and back together.
        let mut open = vec![(whole[0].body.clone(), whole[0].items)];
        let mut single = Vec::new();
        while let Some((body, items)) = open.pop() {
            match halve(Signal::Metrics, &body) {
                Some([first, second]) => {
                    assert_eq!(first.1 + second.1, items);
                    open.extend([second, first]);
                }
                None => {
                    assert_eq!(items, 1);
                    let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
                    assert_eq!(request.resource_metrics[0].resource.as_ref().unwrap().attributes.len(), 1);
                    single.push(Part { body, items });
                }
            }
        }
        assert_eq!(single.len(), 11);
        assert_eq!(single.iter().flat_map(metrics_of).collect::<Vec<_>>(), metrics_of(&whole[0]));
    }

    #[test]
    fn log_records_are_halved_until_one_is_left() {
        let records = (0..3).map(|n| testing::record(vec![("n", crate::telemetry::AttributeValue::Int(n))]));
        let (whole, _) = parts(&Telemetry::Logs(Arc::new(records.collect())), MAX_REQUEST_BYTES);
        let [(first, one), (second, two)] = halve(Signal::Logs, &whole[0].body).unwrap();
        assert_eq!((one, two), (1, 2));
        assert!(halve(Signal::Logs, &first).is_none());
        assert!(halve(Signal::Logs, &halve(Signal::Logs, &second).unwrap()[0].0).is_none());
        assert!(halve(Signal::Logs, b"nonsense").is_none());
    }

    #[test]
    fn a_large_batch_fills_its_requests() {
        let value = "x".repeat(300);
        let points = (0..60_000)
            .map(|i| testing::point_with(vec![("key", text(&value))], PointValue::Int(i)))
            .collect();
        let metrics = vec![MetricData { points, ..testing::metric(&IO, vec![]) }];
        let (cut, _) = parts(&Telemetry::Metrics(Arc::new(metrics)), MAX_REQUEST_BYTES);
        assert_sizes(&cut, MAX_REQUEST_BYTES);
        for part in &cut[..cut.len() - 1] {
            assert!(part.body.len() > MAX_REQUEST_BYTES - 1024);
        }
    }

    #[test]
    fn a_part_is_written_over_once_nobody_has_it() {
        let records: Vec<_> =
            (0..4).map(|n| testing::record(vec![("n", crate::telemetry::AttributeValue::Int(n))])).collect();
        let telemetry = Telemetry::Logs(Arc::new(records));
        let (expected, _) = parts(&telemetry, 0);
        let mut parts =
            Parts::new(telemetry, encode::resource(&[("service.name".into(), text("netsonde"))]), 0);
        assert!(!parts.has_begun());
        let held = parts.next().unwrap();
        assert!(parts.has_begun());
        let second = parts.next().unwrap();
        assert_eq!([&held, &second], [&expected[0], &expected[1]]);
        let memory = second.body.as_ptr();
        drop(second);
        let third = parts.next().unwrap();
        assert_eq!((third.body.as_ptr(), &third), (memory, &expected[2]));
        assert_eq!(held, expected[0]);
    }

    #[test]
    fn invalid_points_are_counted_and_the_rest_goes() {
        let bad = PointValue::Histogram { sum: 0.0, counts: vec![] };
        let metrics = vec![
            testing::metric(&IO, vec![bad.clone(), PointValue::Int(1)]),
            testing::metric(&RTT, vec![bad]),
        ];
        let (cut, invalid) = parts(&Telemetry::Metrics(Arc::new(metrics)), MAX_REQUEST_BYTES);
        assert_eq!((cut.len(), cut[0].items, invalid), (1, 1, 2));
    }
}
