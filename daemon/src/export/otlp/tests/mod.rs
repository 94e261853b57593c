//! The exporters against real servers in this process: tonic's generated services and axum.

mod grpc;
mod http;
mod proxy;
mod secrets;
mod spooled;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::export::{Compression, OtlpConfig, OtlpTls, Protocol, Proxies, Secret, SpoolConfig};
use crate::export::statistics::{DestinationStatistics, LossReason, Signal};
use crate::export::testing::{self, IO, text};
use crate::export::{Destination, Exporters};
use crate::telemetry::{PointValue, Telemetry};

fn config(protocol: Protocol, origin: &str) -> OtlpConfig {
    let url = |path: &str| match protocol {
        Protocol::Grpc => origin.to_owned(),
        Protocol::HttpProtobuf => format!("{origin}{path}"),
    };
    OtlpConfig {
        name: "otlp".into(),
        protocol,
        metrics_url: url("/v1/metrics"),
        logs_url: url("/v1/logs"),
        headers: BTreeMap::from([("authorization".into(), Secret::new("Bearer token"))]),
        compression: Compression::Gzip,
        timeout: Duration::from_millis(500),
        tls: OtlpTls::default(),
        proxies: Proxies::default(),
    }
}

fn start(config: OtlpConfig) -> Exporters {
    let resource = [("service.name".into(), text("netsonde"))];
    Exporters::start(vec![Destination::Otlp(Box::new(config))], &resource, &testing::NO_SPOOL).unwrap()
}

/// With a spool in this directory.
fn start_spooled(config: OtlpConfig, directory: &std::path::Path) -> Exporters {
    let spool = SpoolConfig { path: Some(directory.to_owned()), size: 64 << 20 };
    Exporters::start(vec![Destination::Otlp(Box::new(config))], &[], &spool).unwrap()
}

fn metrics(points: i64) -> Telemetry {
    Telemetry::Metrics(Arc::new(vec![testing::metric(&IO, (0..points).map(PointValue::Int).collect())]))
}

fn logs(records: usize) -> Telemetry {
    Telemetry::Logs(Arc::new(vec![testing::record(vec![]); records]))
}

/// A batch of `records` records of about `bytes` bytes each.
fn large_logs(records: usize, bytes: usize) -> Telemetry {
    let record = testing::record(vec![("filler", text(&"x".repeat(bytes)))]);
    Telemetry::Logs(Arc::new(vec![record; records]))
}

async fn until(
    exporters: &Exporters,
    done: impl Fn(&DestinationStatistics) -> bool,
) -> DestinationStatistics {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let statistics = exporters.statistics().remove(0);
        if done(&statistics) {
            return statistics;
        }
        assert!(Instant::now() < deadline, "still {statistics:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing is pending.
async fn settled(exporters: &Exporters) -> DestinationStatistics {
    until(exporters, |statistics| Signal::ALL.iter().all(|&signal| statistics.signal(signal).pending() == 0))
        .await
}

async fn end(exporters: Exporters, within: Duration) -> DestinationStatistics {
    exporters.shutdown(Instant::now() + within).await.remove(0)
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// The address of a collector that takes everything, without encryption.
async fn plain_collector(protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::Grpc => grpc::Collector::default().serve(0),
        Protocol::HttpProtobuf => {
            let config = http::Collector::default().config().await;
            let url = url::Url::parse(&config.metrics_url).unwrap();
            url.socket_addrs(|| None).unwrap()[0]
        }
    }
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn configurations_that_cannot_work_are_told_at_start() {
    let start = |config| {
        Exporters::start(vec![Destination::Otlp(Box::new(config))], &[], &testing::NO_SPOOL).unwrap_err()
    };
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let error = start(config(protocol, "not a url"));
        assert!(format!("{error:#}").contains("not a url"), "{error:#}");
        let mut config = config(protocol, "http://127.0.0.1:1");
        config.headers = BTreeMap::from([("x-token".into(), Secret::new("line\nbreak"))]);
        let error = format!("{:#}", start(config));
        assert!(error.contains("x-token") && !error.contains("break"), "{error}");
    }
    assert!(format!("{:#}", start(config(Protocol::Grpc, "ftp://127.0.0.1"))).contains("neither http://"));
}

#[tokio::test]
async fn https_is_spoken_by_both_protocols() {
    // The peer speaks no TLS: the handshake fails, and as a failure of the way there it is retried.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let first_bytes = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0; 1];
            // The shutdown can cut an attempt short before it says anything.
            if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await.is_ok() {
                seen.push(byte[0]);
            }
        }
        seen
    });
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let exporters = start(config(protocol, &origin));
        exporters.send(&metrics(1));
        until(&exporters, |statistics| statistics.metrics.requests_failed > 0).await;
        assert_eq!(end(exporters, Duration::ZERO).await.metrics.lost(LossReason::Shutdown), 1);
    }
    // 22: a TLS handshake record.
    assert_eq!(first_bytes.await.unwrap(), [22, 22]);
}

#[tokio::test]
async fn what_an_absent_collector_never_got_is_lost_to_the_shutdown() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let exporters = start(config(protocol, &format!("http://127.0.0.1:{}", free_port())));
        exporters.send(&metrics(7));
        exporters.send(&logs(3));
        let failing = until(&exporters, |statistics| {
            statistics.metrics.requests_failed > 0 && statistics.logs.requests_failed > 0
        })
        .await;
        assert!(failing.metrics.queue_bytes > 0);
        assert!(failing.last_error.unwrap().to_lowercase().contains("refused"));

        let begun = Instant::now();
        let last = end(exporters, Duration::from_secs(1)).await;
        assert!(begun.elapsed() < Duration::from_millis(1500));
        assert_eq!(last.metrics.lost(LossReason::Shutdown), 7);
        assert_eq!(last.logs.lost(LossReason::Shutdown), 3);
        assert_eq!((last.metrics.queue_bytes, last.last_success), (0, None));
    }
}

#[tokio::test]
async fn a_full_queue_loses_the_oldest_by_count() {
    let exporters = start(config(Protocol::Grpc, &format!("http://127.0.0.1:{}", free_port())));
    for _ in 0..6 {
        exporters.send(&large_logs(800, 5000));
    }
    let full = until(&exporters, |statistics| statistics.logs.lost(LossReason::QueueFull) > 0).await;
    assert!(full.logs.queue_bytes <= super::lane::QUEUE_BYTES as u64);
    let last = end(exporters, Duration::from_millis(10)).await;
    assert_eq!(last.logs.lost(LossReason::QueueFull) + last.logs.lost(LossReason::Shutdown), 4800);
    assert_eq!(last.metrics.lost_total(), 0);
}
