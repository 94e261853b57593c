use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tokio::time::Instant;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

pub enum Answer {
    Taken { rejected: i64 },
    Error(Status),
    Silence,
}

/// Gives the prepared answers in turn, then takes everything.
#[derive(Clone, Default)]
pub struct Collector {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(super) metrics: Arc<Mutex<Vec<(MetadataMap, ExportMetricsServiceRequest)>>>,
    pub(super) records: Arc<Mutex<usize>>,
}

impl Collector {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let collector = Self::default();
        collector.answers.lock().unwrap().extend(answers);
        collector
    }

    async fn answer(&self) -> Result<i64, Status> {
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            None => Ok(0),
            Some(Answer::Taken { rejected }) => Ok(rejected),
            Some(Answer::Error(status)) => Err(status),
            Some(Answer::Silence) => std::future::pending().await,
        }
    }

    /// Serves on `port`, or on any if that is 0.
    pub fn serve(&self, port: u16) -> SocketAddr {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        let address = incoming.local_addr().unwrap();
        let metrics = MetricsServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        let logs = LogsServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        let server = Server::builder().add_service(metrics).add_service(logs);
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    fn exporters(&self) -> Exporters {
        start(config(Protocol::Grpc, &format!("http://{}", self.serve(0))))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.metrics.lock().unwrap().push((metadata, message));
        let rejected_data_points = self.answer().await?;
        let error_message = if rejected_data_points > 0 { "too old".into() } else { String::new() };
        let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let rejected_log_records = self.answer().await?;
        *self.records.lock().unwrap() +=
            request.into_inner().resource_logs[0].scope_logs[0].log_records.len();
        let partial_success = ExportLogsPartialSuccess { rejected_log_records, error_message: String::new() };
        Ok(Response::new(ExportLogsServiceResponse { partial_success: Some(partial_success) }))
    }
}

#[tokio::test]
async fn both_signals_arrive_with_headers_and_compressed() {
    let collector = Collector::default();
    let exporters = collector.exporters();
    exporters.send(&metrics(1000));
    exporters.send(&logs(5));
    let statistics = end(exporters, Duration::from_secs(5)).await;

    assert_eq!((statistics.metrics.delivered, statistics.logs.delivered), (1000, 5));
    assert_eq!((statistics.metrics.requests_ok, statistics.metrics.requests_failed), (1, 0));
    assert!(statistics.last_success.is_some());
    assert_eq!(*collector.records.lock().unwrap(), 5);

    let seen = collector.metrics.lock().unwrap();
    let (metadata, request) = &seen[0];
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer token");
    assert_eq!(metadata.get("grpc-encoding").unwrap(), "gzip");
    assert!(metadata.get("user-agent").unwrap().to_str().unwrap().starts_with("netsonde/0.1.0"));
    let encoded = prost::Message::encoded_len(request) as u64;
    assert!(statistics.metrics.bytes_sent > 100 && statistics.metrics.bytes_sent < encoded / 2);

    let resource = &request.resource_metrics[0];
    assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let scope = resource.scope_metrics[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("netsonde", env!("CARGO_PKG_VERSION")));
    assert_eq!(resource.schema_url, crate::export::otlp::encode::SCHEMA_URL);
}

#[tokio::test]
async fn a_throttled_request_is_sent_again_after_the_time_asked_for() {
    let wait = Duration::from_millis(400);
    let details = ErrorDetails::with_retry_info(Some(wait));
    let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
    let collector = Collector::new([Answer::Error(busy)]);
    let begun = Instant::now();
    let exporters = collector.exporters();
    exporters.send(&metrics(2));
    let statistics = settled(&exporters).await;

    assert!(begun.elapsed() >= wait);
    assert_eq!(statistics.metrics.delivered, 2);
    assert_eq!((statistics.metrics.requests_ok, statistics.metrics.requests_failed), (1, 1));
    assert_eq!(statistics.last_error.as_deref(), Some("ResourceExhausted: busy"));
    let seen = collector.metrics.lock().unwrap();
    assert_eq!(seen[0].1, seen[1].1);
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected() {
    let exporters = Collector::new([Answer::Taken { rejected: 3 }]).exporters();
    exporters.send(&metrics(10));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.rejected), (7, 3));
    assert_eq!(statistics.last_error.as_deref(), Some("too old"));
}

#[tokio::test]
async fn a_refused_request_is_dropped_and_the_next_one_goes() {
    let collector = Collector::new([Answer::Error(Status::invalid_argument("no"))]);
    let exporters = collector.exporters();
    exporters.send(&metrics(4));
    exporters.send(&metrics(5));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.lost(LossReason::Refused)), (5, 4));
    assert_eq!(collector.metrics.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_collector_that_hangs_or_comes_late_gets_everything() {
    let port = free_port();
    let exporters = start(config(Protocol::Grpc, &format!("http://127.0.0.1:{port}")));
    exporters.send(&metrics(3));
    until(&exporters, |statistics| statistics.metrics.requests_failed > 0).await;
    Collector::new([Answer::Silence]).serve(port);
    let statistics = settled(&exporters).await;
    assert_eq!(statistics.metrics.delivered, 3);
    assert!(statistics.metrics.requests_failed >= 2);
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_is_no_loss_while_the_collector_answers() {
    let collector = Collector::default();
    let mut config = config(Protocol::Grpc, &format!("http://{}", collector.serve(0)));
    config.compression = Compression::None;
    config.timeout = Duration::from_secs(20);
    let exporters = start(config);
    exporters.send(&large_logs(6000, 4000));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.logs.delivered, *collector.records.lock().unwrap()), (6000, 6000));
    assert!(statistics.logs.requests_ok >= 6);
}
