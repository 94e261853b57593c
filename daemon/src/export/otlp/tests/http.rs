use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;

use super::*;

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
        let router = Router::new().fallback(any(take)).with_state(self.clone());
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
