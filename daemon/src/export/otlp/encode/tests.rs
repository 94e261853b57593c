use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
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
    let mut bytes = Vec::new();
    let len = data.points.iter().map(|one| point_len(data.metric.kind, &bounds, one).unwrap()).sum();
    metric(&mut bytes, data, len, |to| {
        let begin = to.len();
        data.points.iter().for_each(|one| point(to, data.metric.kind, &bounds, one));
        assert_eq!(to.len() - begin, len);
    });
    assert_eq!(bytes.len(), metric_len(data, len));
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
    let value = testing::point(value);
    let len = point_len(kind, &[], &value);
    point(&mut bytes, kind, &[], &value);
    assert_eq!(len.unwrap_or(0), bytes.len());
    len.is_some()
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
    let Some(Data::Sum(sum)) = metric_of(&testing::metric(&ACTIVE, vec![PointValue::Int(-1)])).data else {
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
    let record = testing::record(vec![(
        "netsonde.process.parents",
        AttributeValue::Array(vec![AttributeValue::Map(vec![("process.pid", AttributeValue::Int(1))])]),
    )]);
    let mut bytes = Vec::new();
    let len = log_record_message_len(&record);
    log_record(&mut bytes, &record, len);
    assert_eq!(bytes.len(), log_record_len(len));
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
        "[a-z]{100,200}".prop_map(|value| testing::text(&value)),
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
                    *key == read.key && same(value, read.value.as_ref().and_then(|read| read.value.as_ref()))
                })
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn attributes_of_any_shape_are_read_as_they_were(
        shared in prop::collection::vec(value(), 0..6),
        own in prop::collection::vec(value(), 0..3),
        number in any::<i64>(),
        times in any::<(u64, u64)>(),
    ) {
        let named = |values: Vec<_>| values.into_iter().map(|value| ("key", value)).collect::<Vec<_>>();
        let attributes = Attributes::new(Arc::new(named(shared).into()), Some(named(own).into()));
        let expect = |read: &[KeyValue]| {
            prop_assert_eq!(read.len(), attributes.iter().count());
            for ((key, value), read) in attributes.iter().zip(read) {
                prop_assert_eq!(*key, &read.key);
                let read = read.value.as_ref().and_then(|read| read.value.as_ref());
                prop_assert!(same(value, read), "{:?} was read as {:?}", value, read);
            }
            Ok(())
        };
        let point = |value| Point {
            attributes: attributes.clone(),
            start_unix_ns: times.0,
            time_unix_ns: times.1,
            value,
        };
        let mut of_numbers = testing::metric(&IO, Vec::new());
        of_numbers.points.push(point(PointValue::Int(number)));
        let mut of_histograms = testing::metric(&RTT, Vec::new());
        of_histograms.points.push(point(PointValue::Histogram { sum: 1.0, counts: vec![1, 2, 3, 4] }));
        // Twice, as the shared ones are not made again.
        for _ in 0..2 {
            let read = numbers(&of_numbers).remove(0);
            prop_assert_eq!((read.start_time_unix_nano, read.time_unix_nano), times);
            prop_assert_eq!(read.value, Some(number_data_point::Value::AsInt(number)));
            expect(&read.attributes)?;
            let read = histograms(&of_histograms).remove(0);
            prop_assert_eq!((read.start_time_unix_nano, read.time_unix_nano), times);
            prop_assert_eq!(read.count, 10);
            expect(&read.attributes)?;
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
