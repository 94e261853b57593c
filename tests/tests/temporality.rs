//! Counters across reloads and restarts: cumulative and delta come to what was sent, and none ever falls.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::thread;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::sending::{Sending, configuration, transmitted};

/// Temporality and further lines of each configuration, one after the other.
const RELOADS: [(&str, &str); 6] = [
    ("cumulative", ""),
    ("delta", ""),
    ("delta", "attributes = [\"server.address\"]\n"),
    ("cumulative", "attributes = [\"server.address\"]\n"),
    ("cumulative", ""),
    ("cumulative", "[dns]\nhosts = \"\"\n[events]\nenabled = []\n"),
];

#[test]
fn sums_come_to_what_was_sent_across_reloads_and_a_restart() {
    let _host = Host::acquire().unwrap();
    let mut ended = 0;
    for reloads in [RELOADS.len(), 2] {
        let mut daemon = Daemon::start(&configuration("delta", "")).unwrap();
        let sending = Sending::start();
        for &(temporality, more) in &RELOADS[..reloads] {
            // Not in step with the exports.
            thread::sleep(Duration::from_millis(2_700));
            daemon.reload(&configuration(temporality, more)).unwrap();
            daemon.wait_notification("READY=1", Duration::from_secs(10)).unwrap();
        }
        thread::sleep(Duration::from_millis(1_500));
        let sent = sending.end().unwrap();
        assert!(daemon.end().unwrap().success(), "{}", daemon.errors());
        let telemetry = daemon.telemetry().unwrap();
        assert_eq!(transmitted(&telemetry), sent);
        telemetry.check_sequences().unwrap();
        let of_flow = || telemetry.points.iter().filter(|point| point.metric == "netsonde.flow.io");
        assert!(of_flow().any(|point| point.is_delta) && of_flow().any(|point| !point.is_delta));
        assert!(of_flow().all(|point| point.start >= ended), "nothing of before the restart is told again");
        assert!(
            reloads < RELOADS.len() || telemetry.sum("netsonde.self.series.expired", &[]) > 0,
            "no series has expired and come again"
        );
        ended = telemetry.points.iter().map(|point| point.time).max().unwrap();
    }
}
