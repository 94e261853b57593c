use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::export::otlp;
use crate::export::testing::{self, ACTIVE, IO, RTT, SHARE, text};
use crate::telemetry::{AttributeValue, MetricData, PointValue};

/// Takes `room` bytes, then says that the disk is full.
#[derive(Default)]
struct Small {
    content: Vec<u8>,
    room: usize,
    keeps: bool,
}

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= count;
        self.content.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Small {
    fn take_back(&mut self, bytes: u64) -> io::Result<()> {
        if self.keeps {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.content.truncate(self.content.len() - usize::try_from(bytes).unwrap());
        Ok(())
    }
}

fn small(keeps: bool) -> Lines<Small> {
    Lines { output: Small { room: 8, keeps, ..Small::default() }, torn: false, exclusive: true }
}

#[test]
fn a_torn_line_is_taken_back() {
    let mut lines = small(false);
    lines.write(b"first\n").unwrap();
    assert_eq!(lines.write(b"second\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    lines.output.room = 100;
    lines.write(b"third\n").unwrap();
    assert_eq!(lines.output.content, b"first\nthird\n");
}

#[test]
fn a_torn_line_that_stays_is_ended_before_the_next() {
    let mut lines = small(true);
    lines.write(b"first\n").unwrap();
    assert!(lines.write(b"second\n").is_err());
    assert!(lines.write(b"lost\n").is_err());
    lines.output.room = 100;
    lines.write(b"third\n").unwrap();
    assert_eq!(lines.output.content, b"first\nse\nthird\n");
}

#[test]
fn what_a_file_takes_back_is_what_was_written_last() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let mut lines = open(&path).unwrap();
    lines.write(b"whole\n").unwrap();
    lines.output.write_all(b"torn").unwrap();
    lines.output.take_back(4).unwrap();
    lines.write(b"next\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole\nnext\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
}

#[test]
fn a_line_cut_by_a_crash_is_ended_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    fs::write(&path, "{\"resource").unwrap();
    open(&path).unwrap().write(b"next\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{\"resource\nnext\n");
}

fn sink(path: &Path) -> FileSink {
    let resource = otlp::resource(&[("service.name".into(), text("netsonde"))]);
    FileSink::open(&FileConfig { target: FileTarget::Path(path.into()) }, resource).unwrap()
}

fn lines_of(path: &Path) -> Vec<Value> {
    assert!(!fs::read_to_string(path).unwrap().contains("null"));
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn metrics_are_proto3_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let ledger = Ledger::new("file".into());
    let histogram = PointValue::Histogram { sum: 0.5, counts: vec![1, 0, 2, 3] };
    let metrics = vec![
        testing::metric(&IO, vec![PointValue::Int(i64::MAX)]),
        testing::metric(&ACTIVE, vec![PointValue::Int(-1)]),
        testing::metric(&SHARE, vec![PointValue::Double(0.25)]),
        testing::metric(&RTT, vec![histogram]),
    ];
    let batch = Telemetry::Metrics(Arc::new(metrics));
    ledger.accept(Signal::Metrics, 4);
    assert!(sink(&path).write(batch, &ledger).is_continue());
    assert_eq!((ledger.snapshot().metrics.delivered, ledger.snapshot().metrics.pending()), (4, 0));
    assert_eq!(ledger.snapshot().metrics.bytes_sent, fs::metadata(&path).unwrap().len());

    let line = lines_of(&path).remove(0);
    let scope = &line["resourceMetrics"][0]["scopeMetrics"][0];
    assert_eq!(scope["scope"]["name"], "netsonde");
    let metrics = &scope["metrics"];
    let point = &metrics[0]["sum"]["dataPoints"][0];
    assert_eq!(point["asInt"], "9223372036854775807");
    assert_eq!((&point["startTimeUnixNano"], &point["timeUnixNano"]), (&json!("1000"), &json!("2000")));
    assert_eq!(point["attributes"][0], json!({"key": "network.transport", "value": {"stringValue": "tcp"}}));
    assert_eq!(metrics[0]["sum"]["aggregationTemporality"], 2);
    assert_eq!(metrics[0]["sum"]["isMonotonic"], true);
    assert_eq!(metrics[1]["sum"]["dataPoints"][0]["asInt"], "-1");
    assert_eq!(metrics[2]["gauge"]["dataPoints"][0]["asDouble"], 0.25);
    let point = &metrics[3]["histogram"]["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&json!("6"), &json!(0.5)));
    assert_eq!(point["bucketCounts"], json!(["1", "0", "2", "3"]));
    assert_eq!(point["explicitBounds"], json!([0.001_024, 0.002_048, 0.004_096]));
}

#[test]
fn logs_are_proto3_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let ledger = Ledger::new("file".into());
    let parent = AttributeValue::Map(vec![("pid", AttributeValue::Int(1)), ("path", text("/sbin/init"))]);
    let record = testing::record(vec![
        ("parents", AttributeValue::Array(vec![parent])),
        ("duration", AttributeValue::Double(1.5)),
        ("forked", AttributeValue::Bool(true)),
        ("share", AttributeValue::Double(f64::NAN)),
    ]);
    assert!(sink(&path).write(Telemetry::Logs(Arc::new(vec![record])), &ledger).is_continue());

    let line = lines_of(&path).remove(0);
    let record = &line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["eventName"], "netsonde.tcp.close");
    assert_eq!((&record["severityNumber"], &record["severityText"]), (&json!(9), &json!("INFO")));
    assert_eq!((&record["timeUnixNano"], &record["observedTimeUnixNano"]), (&json!("3000"), &json!("4000")));
    assert_eq!(record["body"]["stringValue"], "curl[7] closed 192.0.2.1:443");
    let map = &record["attributes"][0]["value"]["arrayValue"]["values"][0]["kvlistValue"]["values"];
    assert_eq!(map[0], json!({"key": "pid", "value": {"intValue": "1"}}));
    assert_eq!(record["attributes"][1]["value"], json!({"doubleValue": 1.5}));
    assert_eq!(record["attributes"][2]["value"], json!({"boolValue": true}));
    assert_eq!(record["attributes"][3]["value"], json!({"stringValue": "NaN"}));
}

#[test]
fn a_full_disk_is_counted_and_not_the_end() {
    let ledger = Ledger::new("file".into());
    ledger.accept(Signal::Logs, 2);
    let batch = Telemetry::Logs(Arc::new(vec![testing::record(vec![]); 2]));
    assert!(sink(Path::new("/dev/full")).write(batch, &ledger).is_continue());
    let logs = ledger.snapshot().logs;
    assert_eq!((logs.lost(LossReason::DiskFull), logs.pending()), (2, 0));
    assert!(ledger.snapshot().last_error.unwrap().contains("No space left"));
}

#[test]
fn a_large_batch_becomes_several_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let value = "x".repeat(1000);
    let points =
        (0..6000).map(|i| testing::point_with(vec![("key", text(&value))], PointValue::Int(i))).collect();
    let metrics = vec![MetricData { points, ..testing::metric(&IO, vec![]) }];
    let ledger = Ledger::new("file".into());
    assert!(sink(&path).write(Telemetry::Metrics(Arc::new(metrics)), &ledger).is_continue());
    assert_eq!((ledger.snapshot().metrics.requests_ok, lines_of(&path).len()), (2, 2));
}

#[test]
fn after_a_rename_lines_go_to_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let rotated = directory.path().join("lines.1");
    let ledger = Ledger::new("file".into());
    let batch = || Telemetry::Logs(Arc::new(vec![testing::record(vec![])]));
    let mut sink = sink(&path);
    assert!(sink.write(batch(), &ledger).is_continue());
    fs::rename(&path, &rotated).unwrap();
    assert!(sink.write(batch(), &ledger).is_continue());
    sink.reopen();
    assert!(sink.write(batch(), &ledger).is_continue());
    assert_eq!((lines_of(&rotated).len(), lines_of(&path).len()), (2, 1));

    // What cannot be opened anew is written on under its old name.
    fs::rename(&path, &rotated).unwrap();
    fs::create_dir(&path).unwrap();
    sink.reopen();
    assert!(sink.write(batch(), &ledger).is_continue());
    assert_eq!(lines_of(&rotated).len(), 2);
}
