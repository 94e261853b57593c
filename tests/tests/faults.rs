//! Collectors that are away, slow, refusing or dying, disks that fill and files that rot, daemons that are killed:
//! everything arrives exactly once, or its loss is counted.
//!
//! The receiver is `programs/collector.py`, which shares no code with netsonde. Metrics are exported as deltas, so
//! that one that is missing or twice makes a sum wrong, and nothing may be there twice in any case.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::proxy::{Mode, Proxy};
use netsonde_tests::scene::{PATIENCE, PROTOCOLS, Scene};
use netsonde_tests::telemetry::Telemetry;
use rustix::process::Signal;

/// The newest value of a daemon's own counter at its destination, summed over what is not asked for.
fn own(telemetry: &Telemetry, metric: &str, filter: &[(&str, &str)]) -> i64 {
    let filter: Vec<_> = filter.iter().map(|(name, value)| (*name, (*value).into())).collect();
    telemetry.sum(metric, &filter)
}

fn lost(telemetry: &Telemetry, reason: &str, signal: &str) -> i64 {
    let filter = [("netsonde.export.outcome", reason), ("netsonde.export.signal", signal)];
    own(telemetry, "netsonde.self.export.items", &filter)
}

/// Whether a spool was ever said to be in a state.
fn was_in_state(telemetry: &Telemetry, state: &str) -> bool {
    !telemetry.newest("netsonde.self.spool.state", &[("netsonde.spool.state", state.into())]).is_empty()
}

#[test]
fn a_collector_that_was_away_gets_everything_once() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let mut daemon = scene.daemon();
        let before = scene.traffic("before");
        before.wait_until_exported(&daemon);
        let collector = scene.collector("[]");
        scene.assert_arrives(&before);
        // Away again, and what happens meanwhile outlives the daemon's end too.
        drop(collector);
        let meanwhile = scene.traffic("meanwhile");
        meanwhile.wait_until_exported(&daemon);
        assert!(!meanwhile.is_in(&scene.taken()));
        assert!(daemon.end().unwrap().success(), "{}", daemon.errors());
        assert!(daemon.errors().contains("kept in the spool"), "{}", daemon.errors());
        let _collector = scene.collector("[]");
        let _daemon = scene.daemon();
        scene.assert_arrives(&meanwhile);
        assert!(before.is_in(&scene.taken()));
    }
}

#[test]
fn a_killed_daemon_sends_what_it_had_when_it_comes_back() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let daemon = scene.daemon();
        let traffic = scene.traffic("killed");
        traffic.wait_until_exported(&daemon);
        daemon.signal(Signal::KILL).unwrap();
        drop(daemon);
        let _collector = scene.collector("[]");
        let mut daemon = scene.daemon();
        scene.assert_arrives(&traffic);
        // And it is gone for good.
        assert!(daemon.end().unwrap().success());
        let _daemon = scene.daemon();
        let after = scene.traffic("after");
        scene.assert_arrives(&after);
        assert!(traffic.is_in(&scene.taken()));
    }
}

#[test]
fn of_what_was_under_way_when_the_daemon_was_killed_one_request_a_signal_is_there_twice() {
    for protocol in PROTOCOLS {
        let mut scene = Scene::new(protocol);
        // The end of the daemon is to be what cuts the requests off.
        scene.timeout = "10m";
        let mut collector = scene.collector("[]");
        let daemon = scene.daemon();
        let before = scene.traffic("before");
        scene.assert_arrives(&before);
        collector.answer(r#"[{"hold": 600}, {"hold": 600}]"#).unwrap();
        let traffic = scene.traffic("held");
        traffic.wait_until_exported(&daemon);
        daemon.signal(Signal::KILL).unwrap();
        drop(daemon);
        let _daemon = scene.daemon();
        scene.assert_arrives(&traffic);
        assert!(before.is_in(&scene.taken()));
        assert_eq!(scene.taken_with_repeats().repeated, [1, 1]);
    }
}

#[test]
fn a_collector_that_dies_in_the_middle_of_a_request_gets_it_again() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let mut collector = scene.collector("[]");
        let daemon = scene.daemon();
        let first = scene.traffic("first");
        scene.assert_arrives(&first);
        collector.answer("[\"die\"]").unwrap();
        let second = scene.traffic("second");
        collector.wait_until_dead(PATIENCE).unwrap();
        second.wait_until_exported(&daemon);
        let _collector = scene.collector("[]");
        scene.assert_arrives(&second);
        assert!(first.is_in(&scene.taken()));
    }
}

#[test]
fn throttling_and_failures_are_waited_out() {
    for protocol in PROTOCOLS {
        let mut scene = Scene::new(protocol);
        scene.timeout = "6s";
        let answers = r#"[{"status": 429, "retry_after": "1"}, {"status": 503, "retry_after": "2"},
            {"status": 429, "retry_after": "1"}, {"status": 503, "retry_after": "1"}]"#;
        let mut collector = scene.collector(&answers.replace('\n', " "));
        let daemon = scene.daemon();
        let traffic = scene.traffic("throttled");
        scene.assert_arrives(&traffic);
        // One that answers neither yes nor no, for longer than an attempt may take.
        collector.answer(r#"[{"stall": 9}, {"stall": 9}]"#).unwrap();
        let stalled = scene.traffic("stalled");
        scene.assert_arrives(&stalled);
        assert!(daemon.errors().contains("export fails"), "nothing failed: {}", daemon.errors());
    }
}

#[test]
fn connections_that_are_reset_or_not_read_are_left_and_nothing_is_twice() {
    for protocol in PROTOCOLS {
        let mut scene = Scene::new(protocol);
        scene.timeout = "6s";
        let _collector = scene.collector("[]");
        let proxy = Proxy::start(scene.port()).unwrap();
        let daemon = Daemon::start(&scene.configuration(proxy.address.port())).unwrap();
        for (mode, name) in [(Mode::Reset, "reset"), (Mode::Stall, "unread")] {
            let before = proxy.struck();
            proxy.set(mode);
            let traffic = scene.traffic(name);
            traffic.wait_until_exported(&daemon);
            let struck = command::until(PATIENCE, || Ok(proxy.struck() > before + 1)).unwrap();
            assert!(struck, "{protocol}: {name} met no connection");
            proxy.set(Mode::Pass);
            scene.assert_arrives(&traffic);
        }
    }
}

#[test]
fn what_a_collector_rejects_or_refuses_is_counted_and_the_rest_arrives() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let _collector = scene.collector(r#"[{"reject": 3}, {"refuse": true}]"#);
        let daemon = scene.daemon();
        // Both answers are for requests of the daemon's start, not for those that tell of the traffic.
        let told = || {
            ["rejected part of a request", "it is dropped"]
                .iter()
                .all(|words| daemon.errors().contains(words))
        };
        assert!(command::until(PATIENCE, || Ok(told())).unwrap(), "{}", daemon.errors());
        let traffic = scene.traffic("rejected");
        scene.assert_arrives(&traffic);
        let said = |telemetry: &Telemetry| {
            let outcome = |outcome| {
                own(
                    telemetry,
                    "netsonde.self.export.items",
                    &[("netsonde.export.outcome", outcome), ("netsonde.export.destination", "otlp")],
                )
            };
            (outcome("rejected"), outcome("refused"))
        };
        let counted = command::until(PATIENCE, || {
            let (rejected, refused) = said(&scene.taken());
            Ok(rejected == 3 && refused > 0)
        });
        assert!(counted.unwrap(), "{protocol}: {:?}", said(&scene.taken()));
        drop(daemon);
    }
}

#[test]
fn requests_over_the_collectors_limit_arrive_in_parts() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let _collector = scene.collector(r#"[{"too_large": 8000}]"#);
        let mut daemon = scene.daemon();
        let traffic = scene.traffic("large");
        scene.assert_arrives(&traffic);
        assert!(!daemon.errors().contains("it is dropped"), "{}", daemon.errors());
        assert!(daemon.end().unwrap().success());
        let longest = fs::read_to_string(daemon.output()).unwrap().lines().map(str::len).max().unwrap();
        assert!(longest > 16_000, "no request was ever large");
    }
}

/// A file system in memory at a directory; unmounted on drop.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        command::line(&format!("mount -t tmpfs -o {options} tmpfs {}", path.display())).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a daemon that a failing test leaves behind may still have it open.
        let _ = command::line(&format!("umount -l {}", self.0.display()));
    }
}

#[test]
fn a_full_disk_costs_nothing_while_memory_has_room() {
    let scene = Scene::new("grpc");
    let _disk = Mounted::new(&scene.spool(), "size=256k,mode=700");
    let daemon = scene.daemon();
    let traffic = scene.traffic("full");
    traffic.wait_until_exported(&daemon);
    let full = command::until(PATIENCE, || Ok(daemon.errors().contains("the spool fails")));
    assert!(full.unwrap(), "256 KiB were enough: {}", daemon.errors());
    let late = scene.traffic("late");
    late.wait_until_exported(&daemon);
    let _collector = scene.collector("[]");
    scene.assert_arrives(&traffic);
    scene.assert_arrives(&late);
    let telemetry = scene.taken();
    assert!(was_in_state(&telemetry, "disk_full"));
    // Once it is sent, there is room again.
    let recovered =
        command::until(PATIENCE, || Ok(daemon.errors().contains("the spool takes records again")));
    assert!(recovered.unwrap(), "{}", daemon.errors());
    assert_eq!([lost(&telemetry, "spool_full", "logs"), lost(&telemetry, "disk_full", "logs")], [0, 0]);
}

#[test]
fn without_a_disk_to_write_to_everything_still_arrives() {
    for broken in ["read-only", "a file"] {
        let scene = Scene::new("http/protobuf");
        let _disk = if broken == "a file" {
            fs::write(scene.spool(), "").unwrap();
            None
        } else {
            Some(Mounted::new(&scene.spool(), "ro,size=1m,mode=700"))
        };
        let mut daemon = scene.daemon();
        let traffic = scene.traffic("diskless");
        traffic.wait_until_exported(&daemon);
        assert!(daemon.errors().contains("no spool"), "{}", daemon.errors());
        let _collector = scene.collector("[]");
        scene.assert_arrives(&traffic);
        assert!(was_in_state(&scene.taken(), "unavailable"));
        assert!(daemon.end().unwrap().success());
    }
}

#[test]
fn damaged_files_cost_the_records_they_had_and_these_are_counted() {
    let scene = Scene::new("grpc");
    let mut daemon = scene.daemon();
    let traffic = scene.traffic("damaged");
    traffic.wait_until_exported(&daemon);
    assert!(daemon.end().unwrap().success());
    let written = Telemetry::parse(&fs::read_to_string(daemon.output()).unwrap()).unwrap();
    let newest = |signal: &str| {
        let files = fs::read_dir(scene.spool().join("otlp").join(signal)).unwrap();
        let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        segments.sort();
        segments.pop().unwrap()
    };
    // One bit in the body of the first record of logs, and the last bytes of the metrics.
    let logs = newest("logs");
    let mut bytes = fs::read(&logs).unwrap();
    bytes[24 + 48 + 20] ^= 4;
    fs::write(&logs, bytes).unwrap();
    let metrics = newest("metrics");
    let bytes = fs::read(&metrics).unwrap();
    fs::write(&metrics, &bytes[..bytes.len() - 10]).unwrap();

    let _collector = scene.collector("[]");
    let daemon = scene.daemon();
    let points = |telemetry: &Telemetry| -> BTreeSet<String> {
        telemetry
            .points
            .iter()
            .map(|p| format!("{} {:?} {} {}", p.metric, p.attributes, p.start, p.time))
            .collect()
    };
    let events = |telemetry: &Telemetry| -> BTreeSet<String> {
        telemetry.events.iter().map(|e| format!("{} {:?} {}", e.name, e.attributes, e.time)).collect()
    };
    let of_first = |all: BTreeSet<String>, first: &BTreeSet<String>| all.intersection(first).count() as i64;
    let (all_points, all_events) = (points(&written), events(&written));
    let books = || {
        let telemetry = scene.taken();
        let lost = ["metrics", "logs"].map(|signal| lost(&telemetry, "spool_damaged", signal));
        (
            of_first(points(&telemetry), &all_points),
            lost[0],
            of_first(events(&telemetry), &all_events),
            lost[1],
        )
    };
    let balanced = command::until(PATIENCE, || {
        let (points, lost_points, records, lost_records) = books();
        let whole = points + lost_points == all_points.len() as i64
            && records + lost_records == all_events.len() as i64;
        Ok(whole && lost_points > 0 && lost_records > 0)
    });
    assert!(balanced.unwrap(), "{:?} of {} and {}", books(), all_points.len(), all_events.len());
    assert!(daemon.errors().contains("the spool was damaged"), "{}", daemon.errors());
}

#[test]
fn a_reload_hands_the_spool_on() {
    let scene = Scene::new("grpc");
    let mut daemon = scene.daemon();
    let before = scene.traffic("before");
    before.wait_until_exported(&daemon);
    daemon.reload(&scene.configuration(scene.port()).replace("\"60s\"", "\"59s\"")).unwrap();
    daemon.wait_notification("READY=1", Duration::from_secs(20)).unwrap();
    let after = scene.traffic("after");
    after.wait_until_exported(&daemon);
    let begun = Instant::now();
    let _collector = scene.collector("[]");
    scene.assert_arrives(&before);
    scene.assert_arrives(&after);
    assert!(begun.elapsed() < PATIENCE);
    let telemetry = scene.taken();
    let shutdown = ["metrics", "logs"].map(|signal| lost(&telemetry, "shutdown", signal));
    assert_eq!(shutdown, [0, 0]);
}
