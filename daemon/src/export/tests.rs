use std::io::Read as _;
use std::ops::ControlFlow;
use std::time::Duration;

use super::testing::{IO, metric, record};
use super::writer::Sink;
use super::*;
use crate::config::export::FileTarget;
use crate::telemetry::PointValue;

fn logs(records: usize) -> Telemetry {
    Telemetry::Logs(Arc::new(vec![record(vec![]); records]))
}

fn in_millis(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

#[tokio::test]
async fn every_destination_gets_everything_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let file =
        |path: &std::path::PathBuf| Destination::File(FileConfig { target: FileTarget::Path(path.clone()) });
    let exporters = Exporters::start(paths.iter().map(file).collect(), &[], &testing::NO_SPOOL).unwrap();
    exporters.send(&Telemetry::Metrics(Arc::new(vec![metric(&IO, vec![PointValue::Int(1); 3])])));
    exporters.send(&logs(2));
    exporters.reopen_files();
    let last = exporters.shutdown(in_millis(5000)).await;

    let names: Vec<&str> = last.iter().map(|destination| destination.name.as_str()).collect();
    assert_eq!(names, ["file", "file2"]);
    for (destination, path) in last.iter().zip(&paths) {
        assert_eq!((destination.metrics.delivered, destination.logs.delivered), (3, 2));
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
    }
}

#[tokio::test]
async fn a_file_that_does_not_open_is_told_at_start() {
    let target = FileTarget::Path("/nonexistent/lines".into());
    let error = Exporters::start(vec![Destination::File(FileConfig { target })], &[], &testing::NO_SPOOL)
        .unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot open /nonexistent/lines"), "{error:#}");
}

/// Writes nothing until the other end of its channel goes; then says that nobody reads.
struct Gate(std::sync::mpsc::Receiver<()>);

impl Sink for Gate {
    fn write(&mut self, telemetry: Telemetry, ledger: &Ledger) -> ControlFlow<()> {
        assert!(self.0.recv().is_err());
        let (signal, items) = Signal::of(&telemetry);
        ledger.lose(signal, LossReason::BrokenPipe, items);
        ControlFlow::Break(())
    }
}

fn gated() -> (Exporters, std::sync::mpsc::Sender<()>) {
    let (closed, gate) = std::sync::mpsc::channel();
    let ledger = Arc::new(Ledger::new("gate".into()));
    let (sender, inbox) = mpsc::channel(INBOX_BATCHES);
    let writer = writer::start(Gate(gate), "gate", inbox, Arc::clone(&ledger)).unwrap();
    let running = Running { ledger, inboxes: [sender.clone(), sender], worker: Worker::Writer(writer) };
    (Exporters { running: vec![running] }, closed)
}

#[tokio::test]
async fn a_destination_that_hangs_costs_its_own_telemetry_only_and_not_the_shutdown() {
    let (exporters, closed) = gated();
    for _ in 0..INBOX_BATCHES + 10 {
        exporters.send(&logs(1));
    }
    let full = exporters.statistics().remove(0).logs;
    // The writer may hold one more batch than its inbox.
    let lost = full.lost(LossReason::InboxFull);
    assert!((9..=10).contains(&lost), "{lost}");
    assert_eq!(full.pending(), INBOX_BATCHES as u64 + 10 - lost);

    let end = exporters.shutdown(in_millis(50)).await.remove(0).logs;
    assert_eq!(end.lost(LossReason::Shutdown), full.pending());
    assert_eq!(end.pending(), 0);
    drop(closed);
}

#[tokio::test]
async fn a_destination_that_nobody_reads_ends_and_counts_on() {
    let (exporters, closed) = gated();
    for _ in 0..3 {
        exporters.send(&logs(2));
    }
    assert!(tokio::time::timeout_at(in_millis(20), exporters.abandoned()).await.is_err());
    drop(closed);
    tokio::time::timeout_at(in_millis(5000), exporters.abandoned()).await.unwrap();
    exporters.send(&logs(2));
    let statistics = exporters.statistics().remove(0).logs;
    assert_eq!((statistics.lost(LossReason::BrokenPipe), statistics.pending()), (8, 0));
}

#[test]
fn a_pipe_that_is_closed_breaks_without_a_signal() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut sink = ConsoleSink::new(writer, false);
    let ledger = Ledger::new("console".into());
    assert!(sink.write(logs(1), &ledger).is_continue());
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    drop(reader);
    assert!(sink.write(logs(1), &ledger).is_break());
}
