//! The wall clock is set forward and back while netsonde runs: its own clock is put in place of the C library's, as the
//! host's is everybody's. What was sent is told, once, and no counter falls.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::sending::{Sending, configuration, transmitted};

/// Seconds that the clock of the daemon is ahead of the host's, one after the other: an hour forward, three back, a
/// little back as by a first synchronisation, and right again.
const AHEAD: [i64; 5] = [0, 3_600, -7_200, -7_203, 0];

/// libfaketime's offset from the real time, in the file that it reads at each call.
struct WallClock {
    file: PathBuf,
}

impl WallClock {
    fn set(&self, ahead: i64) {
        // By rename: a reader never meets half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }
}

fn library() -> PathBuf {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let path = Path::new(&multiarch).join("faketime/libfaketimeMT.so.1");
    assert!(path.is_file(), "no {}: `make deps-test` installs it", path.display());
    path
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

#[test]
fn what_is_sent_is_told_whatever_the_wall_clock_does() {
    let _host = Host::acquire().unwrap();
    let directory = tempfile::tempdir().unwrap();
    for temporality in ["cumulative", "delta"] {
        let clock = WallClock { file: directory.path().join("offset") };
        clock.set(AHEAD[0]);
        let mut daemon =
            Daemon::start_binary(&host::netsonde().unwrap(), &configuration(temporality, ""), |command| {
                command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &clock.file);
                command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            })
            .unwrap();
        let sending = Sending::start();
        let mut until = Vec::new();
        for ahead in AHEAD {
            clock.set(ahead);
            // Some intervals, and not in step with them.
            thread::sleep(Duration::from_millis(2_700));
            until.push(unix_seconds() + ahead);
        }
        let sent = sending.end().unwrap();
        thread::sleep(Duration::from_millis(1_500));
        assert!(daemon.end().unwrap().success(), "{}", daemon.errors());
        let telemetry = daemon.telemetry().unwrap();
        assert_eq!(transmitted(&telemetry), sent, "{temporality}: {}", daemon.errors());
        telemetry.check_totals().unwrap();
        // A point without a past would count for nothing: its start would be unknown (OTLP data model, resets and gaps).
        let mut of_flow = telemetry.points.iter().filter(|point| point.metric == "netsonde.flow.io");
        assert!(of_flow.all(|point| point.start < point.time));
        let told_at = |about: i64| {
            let near = |time: u64| (time / 1_000_000_000).cast_signed().abs_diff(about) <= 2;
            telemetry.points.iter().any(|point| point.metric == "netsonde.flow.io" && near(point.time))
        };
        assert!(until.iter().all(|about| told_at(*about)), "the clock was not set for {temporality}");
        assert!(daemon.errors().contains("the clock was set back"), "{}", daemon.errors());
    }
}
