//! With a spool: what waits outlives the exporters.

use tonic::Status;

use super::grpc::{Answer, Collector};
use super::*;
use crate::export::statistics::SpoolState;

fn away() -> OtlpConfig {
    config(Protocol::Grpc, &format!("http://127.0.0.1:{}", free_port()))
}

/// How many points each request had, as the collector saw them.
fn points(collector: &Collector) -> Vec<usize> {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let seen = collector.metrics.lock().unwrap();
    let count = |data: &Option<Data>| match data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        other => panic!("unexpected {other:?}"),
    };
    let metrics = seen.iter().map(|(_, request)| &request.resource_metrics[0].scope_metrics[0].metrics);
    metrics.map(|metrics| metrics.iter().map(|metric| count(&metric.data)).sum()).collect()
}

#[tokio::test]
async fn what_an_absent_collector_never_got_is_kept_for_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let exporters = start_spooled(away(), directory.path());
    for points in [1, 2, 4] {
        exporters.send(&metrics(points));
    }
    exporters.send(&logs(3));
    let begun = Instant::now();
    let last = end(exporters, Duration::from_secs(5)).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "it need not wait for a collector that is away");
    assert_eq!((last.metrics.pending(), last.metrics.lost_total()), (7, 0));
    assert_eq!((last.logs.pending(), last.logs.lost_total()), (3, 0));

    let collector = Collector::default();
    let origin = format!("http://{}", collector.serve(0));
    let exporters = start_spooled(config(Protocol::Grpc, &origin), directory.path());
    let restored = until(&exporters, |statistics| {
        let removed = statistics.metrics.spool.records == 0;
        statistics.metrics.delivered == 7 && statistics.logs.delivered == 3 && removed
    })
    .await;
    assert_eq!((restored.metrics.accepted, restored.metrics.restored), (7, 7));
    assert_eq!(restored.metrics.spool.state, SpoolState::Active);
    exporters.send(&metrics(8));
    settled(&exporters).await;
    end(exporters, Duration::from_secs(1)).await;
    assert_eq!(points(&collector), [1, 2, 4, 8]);

    let exporters = start_spooled(config(Protocol::Grpc, &origin), directory.path());
    exporters.send(&metrics(16));
    until(&exporters, |statistics| statistics.metrics.delivered == 16).await;
    assert_eq!(points(&collector), [1, 2, 4, 8, 16], "nothing comes twice");
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_encoded() {
    let directory = tempfile::tempdir().unwrap();
    let exporters = start_spooled(away(), directory.path());
    exporters.send(&metrics(5));
    until(&exporters, |statistics| statistics.metrics.requests_failed > 0).await;
    let killed = end(exporters, Duration::ZERO).await;
    assert_eq!((killed.metrics.pending(), killed.metrics.lost_total()), (5, 0));

    let collector = Collector::default();
    let exporters =
        start_spooled(config(Protocol::Grpc, &format!("http://{}", collector.serve(0))), directory.path());
    until(&exporters, |statistics| statistics.metrics.delivered == 5).await;
}

#[tokio::test]
async fn a_request_that_is_too_large_arrives_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let large = || Answer::Error(Status::resource_exhausted("received message larger than max (9 vs. 8)"));
    let collector = Collector::new([large(), large()]);
    let exporters =
        start_spooled(config(Protocol::Grpc, &format!("http://{}", collector.serve(0))), directory.path());
    exporters.send(&metrics(9));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.lost_total()), (9, 0));
    assert_eq!((statistics.metrics.requests_ok, statistics.metrics.requests_failed), (3, 2));
    assert_eq!(points(&collector), [9, 4, 2, 2, 5]);
    until(&exporters, |statistics| statistics.metrics.spool.records == 0).await;
}

#[tokio::test]
async fn what_arrived_in_part_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let large = Answer::Error(Status::resource_exhausted("received message larger than max (9 vs. 8)"));
    let collector = Collector::new([large, Answer::Taken { rejected: 0 }, Answer::Silence]);
    let mut config = config(Protocol::Grpc, &format!("http://{}", collector.serve(0)));
    config.timeout = Duration::from_secs(60);
    let exporters = start_spooled(config.clone(), directory.path());
    exporters.send(&metrics(9));
    until(&exporters, |statistics| statistics.metrics.delivered == 4).await;
    let last = end(exporters, Duration::from_secs(1)).await;
    assert_eq!((last.metrics.pending(), last.metrics.lost_total()), (5, 0));

    let exporters = start_spooled(config, directory.path());
    let rest = until(&exporters, |statistics| statistics.metrics.delivered > 0).await;
    assert_eq!((rest.metrics.delivered, rest.metrics.restored), (5, 5));
}

#[tokio::test]
async fn a_single_item_that_is_too_large_is_refused_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let large = Answer::Error(Status::out_of_range("decoded message length too large"));
    let collector = Collector::new([large]);
    let exporters =
        start_spooled(config(Protocol::Grpc, &format!("http://{}", collector.serve(0))), directory.path());
    exporters.send(&metrics(1));
    exporters.send(&metrics(2));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.lost(LossReason::Refused)), (2, 1));
    until(&exporters, |statistics| statistics.metrics.spool.records == 0).await;
}

#[tokio::test]
async fn without_its_directory_everything_still_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    let collector = Collector::default();
    let exporters = start_spooled(config(Protocol::Grpc, &format!("http://{}", collector.serve(0))), &path);
    exporters.send(&metrics(6));
    let statistics = settled(&exporters).await;
    assert_eq!((statistics.metrics.delivered, statistics.metrics.spool.state), (6, SpoolState::Unavailable));
    assert!(statistics.metrics.spool.error.is_some());
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_neither_the_caller_nor_the_end() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let directory = tempfile::tempdir().unwrap();
    for signal in Signal::ALL {
        // Opening it for writing waits for a reader, as for a disk that does not answer.
        let lane = directory.path().join("otlp").join(signal.name());
        std::fs::create_dir_all(&lane).unwrap();
        mknodat(CWD, lane.join("lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let exporters = start_spooled(away(), directory.path());
    let begun = Instant::now();
    for _ in 0..200 {
        exporters.send(&metrics(1));
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let last = end(exporters, Duration::from_millis(300)).await.metrics;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(last.lost(LossReason::InboxFull) > 100, "the inbox is bounded");
    assert_eq!((last.lost_total(), last.pending()), (200, 0));
    // The threads end with their disk.
    for signal in Signal::ALL {
        drop(std::fs::File::open(directory.path().join("otlp").join(signal.name()).join("lock")).unwrap());
    }
}
