use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use prost::Message as _;

use super::*;
use crate::export::otlp::split::MAX_REQUEST_BYTES;
use crate::telemetry::AttributeValue;

type Seen = (String, HeaderMap, Bytes);

/// Gives the prepared answers in turn, then takes everything.
#[derive(Clone, Default)]
pub struct Collector {
    answers: Arc<Mutex<VecDeque<Response>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn take(State(collector): State<Collector>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    collector.seen.lock().unwrap().push((uri.path().into(), headers, body));
    let answer = collector.answers.lock().unwrap().pop_front();
    answer.unwrap_or_else(|| protobuf(StatusCode::OK, Vec::new()))
}

fn protobuf(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [("content-type", "application/x-protobuf")], body).into_response()
}

impl Collector {
    fn new(answers: impl IntoIterator<Item = Response>) -> Self {
        let collector = Self::default();
        collector.answers.lock().unwrap().extend(answers);
        collector
    }

    pub async fn config(&self) -> OtlpConfig {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router =
            Router::new().fallback(any(take)).with_state(self.clone()).layer(DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        config(Protocol::HttpProtobuf, &origin)
    }
}

#[tokio::test]
async fn each_signal_arrives_at_its_path_with_headers_and_compressed() {
    let collector = Collector::default();
    let exporters = start(collector.config().await);
    exporters.send(&metrics(1000));
    settled(&exporters).await;
    exporters.send(&logs(5));
    let statistics = end(exporters, Duration::from_secs(5)).await;
    assert_eq!((statistics.metrics.delivered, statistics.logs.delivered), (1000, 5));

    let seen = collector.seen.lock().unwrap();
    let (path, headers, body) = &seen[0];
    assert_eq!((path.as_str(), seen[1].0.as_str()), ("/v1/metrics", "/v1/logs"));
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["authorization"], "Bearer token");
    assert_eq!(headers["user-agent"], concat!("netsonde/", env!("CARGO_PKG_VERSION")));
    assert_eq!(statistics.metrics.bytes_sent, body.len() as u64);
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut message).unwrap();
    let request = ExportMetricsServiceRequest::decode(&message[..]).unwrap();
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].name, "netsonde.flow.io");
}

#[tokio::test]
async fn without_compression_the_body_is_the_message() {
    let collector = Collector::default();
    let mut config = collector.config().await;
    config.compression = Compression::None;
    let exporters = start(config);
    exporters.send(&metrics(3));
    settled(&exporters).await;
    let seen = collector.seen.lock().unwrap();
    assert!(!seen[0].1.contains_key("content-encoding"));
    ExportMetricsServiceRequest::decode(seen[0].2.clone()).unwrap();
}

#[tokio::test]
async fn a_batch_of_many_requests_arrives_whole_and_one_of_them_waits_at_a_time() {
    const RECORDS: i64 = 400;
    let collector = Collector::default();
    let mut config = collector.config().await;
    config.compression = Compression::None;
    config.timeout = Duration::from_secs(10);
    let exporters = start(config);
    let filler = text(&"x".repeat(100_000));
    let records = (0..RECORDS)
        .map(|n| testing::record(vec![("n", AttributeValue::Int(n)), ("filler", filler.clone())]))
        .collect();
    exporters.send(&Telemetry::Logs(Arc::new(records)));
    let most = AtomicU64::new(0);
    until(&exporters, |statistics| {
        most.fetch_max(statistics.logs.queue_bytes, Ordering::Relaxed);
        statistics.logs.delivered == RECORDS as u64
    })
    .await;
    let most = most.into_inner();
    assert!(most > 0 && most <= MAX_REQUEST_BYTES as u64, "{most}");
    let seen = collector.seen.lock().unwrap();
    assert!(seen.len() >= 10, "{} requests", seen.len());
    let mut arrived = Vec::new();
    for (_, _, body) in seen.iter() {
        let request = ExportLogsServiceRequest::decode(body.clone()).unwrap();
        for record in &request.resource_logs[0].scope_logs[0].log_records {
            let value = record.attributes[0].value.as_ref().and_then(|value| value.value.clone());
            let Some(any_value::Value::IntValue(n)) = value else { panic!("not a number: {value:?}") };
            arrived.push(n);
        }
    }
    assert_eq!(arrived, (0..RECORDS).collect::<Vec<_>>());
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let busy = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "").into_response();
    let collector = Collector::new([busy]);
    let exporters = start(collector.config().await);
    let begun = Instant::now();
    exporters.send(&metrics(2));
    let statistics = settled(&exporters).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((statistics.metrics.delivered, statistics.metrics.requests_failed), (2, 1));
    assert_eq!(collector.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected() {
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 3, error_message: "too old".into() };
    let answer = ExportMetricsServiceResponse { partial_success: Some(partial) };
    let collector = Collector::new([protobuf(StatusCode::OK, answer.encode_to_vec())]);
    let exporters = start(collector.config().await);
    exporters.send(&metrics(10));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.rejected), (7, 3));
    assert_eq!(statistics.last_error.as_deref(), Some("too old"));
}

#[tokio::test]
async fn refusals_are_dropped_and_a_redirect_is_one() {
    let status = tonic_types::Status { message: "bad field".into(), ..tonic_types::Status::default() };
    let bad = protobuf(StatusCode::BAD_REQUEST, status.encode_to_vec());
    let elsewhere = (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:1/")], "");
    let collector = Collector::new([elsewhere.into_response(), bad]);
    let exporters = start(collector.config().await);
    for points in [1, 2, 4] {
        exporters.send(&metrics(points));
    }
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.lost(LossReason::Refused)), (4, 3));
    assert_eq!(statistics.last_error.as_deref(), Some("400 Bad Request: bad field"));
}

#[tokio::test]
async fn an_answer_that_is_no_otlp_still_means_taken() {
    let json = (StatusCode::OK, [("content-type", "application/json")], "{}").into_response();
    let collector = Collector::new([json, protobuf(StatusCode::OK, vec![0xff; 9])]);
    let exporters = start(collector.config().await);
    exporters.send(&metrics(1));
    exporters.send(&metrics(1));
    assert_eq!(settled(&exporters).await.metrics.delivered, 2);
}
