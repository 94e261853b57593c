//! Counters across reloads and restarts: cumulative and delta come to what was sent, and none ever falls.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::telemetry::Telemetry;

/// What is sent to these addresses only, so that no traffic of others is in any sum.
fn configuration(temporality: &str, more: &str) -> String {
    format!(
        "[select]\ndefault = \"exclude\"\n\
         [[select.rule]]\nname = \"sent\"\naction = \"include\"\naddresses = [\"127.78.0.0/16\"]\n\
         [metrics]\ntemporality = \"{temporality}\"\nseries_expiry = \"2s\"\n{more}"
    )
}

/// Sends all the time, to some servers always and to one now and then, so that its series expire and come again.
struct Sending {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Sending {
    fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let client = |n| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect((Ipv4Addr::new(127, 78, 0, n), 9)).unwrap();
                socket
            };
            let always: Vec<UdpSocket> = (1..4).map(client).collect();
            let (mut sent, mut round) = (0, 0_u64);
            while !stop.load(Ordering::Relaxed) {
                // Nobody listens: an error that came back is told of by the next send, which then sends nothing.
                sent += always.iter().map(|socket| socket.send(&[1; 100]).unwrap_or(0) as u64).sum::<u64>();
                if round.is_multiple_of(1_000) {
                    sent += client(9).send(&[1; 1_000]).unwrap() as u64;
                }
                round += 1;
                thread::sleep(Duration::from_millis(5));
            }
            sent
        });
        Self { done, thread }
    }

    /// The bytes that it sent.
    fn end(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Temporality and further lines of each configuration, one after the other.
const RELOADS: [(&str, &str); 6] = [
    ("cumulative", ""),
    ("delta", ""),
    ("delta", "attributes = [\"server.address\"]\n"),
    ("cumulative", "attributes = [\"server.address\"]\n"),
    ("cumulative", ""),
    ("cumulative", "[dns]\nhosts = \"\"\n[events]\nenabled = []\n"),
];

fn transmitted(telemetry: &Telemetry) -> u64 {
    telemetry.sum("netsonde.flow.io", &[("network.io.direction", "transmit".into())]) as u64
}

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
        let sent = sending.end();
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
