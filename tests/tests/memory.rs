//! Memory under a limit: detail goes first, totals stay exact, and netsonde lives.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::program::Programs;
use netsonde_tests::telemetry::Telemetry;

/// Only what is sent to these addresses is observed, so that overflow has nothing of anybody else. Deltas, or each export
/// would tell of all series again.
const CONFIGURATION: &str = "[select]\ndefault = \"exclude\"\n\
    [[select.rule]]\nname = \"flood\"\naction = \"include\"\naddresses = [\"127.77.0.0/16\"]\n\
    [metrics]\nseries_limit = 1000000\ntemporality = \"delta\"\n";

const MEBIBYTE: u64 = 1 << 20;

/// One flow a server, and a series or more of each metric a flow. The last 20 move 50 times as much as the others.
const FLOWS: u32 = 12_000;
const HEAVY: u32 = 20;

/// Sends datagrams to every server, a few hundred servers at a time, and at last to those that get most; gives the bytes.
fn flood() -> u64 {
    let mut sent = 0;
    let heavy: Vec<UdpSocket> = (0..HEAVY).map(|n| client(FLOWS + n)).collect();
    // Nobody listens: an error that came back is told of by the next send, which then sends nothing.
    let send = |socket: &UdpSocket| (0..10).map(|_| socket.send(&[7; 500]).unwrap_or(0) as u64).sum::<u64>();
    for wave in 0..FLOWS / 500 {
        for n in 0..500 {
            sent += client(wave * 500 + n).send(&[7; 100]).unwrap() as u64;
        }
        sent += heavy.iter().map(send).sum::<u64>();
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(Duration::from_millis(2_500));
    sent + heavy.iter().map(send).sum::<u64>()
}

fn client(number: u32) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let [.., high, low] = (number / 200).to_be_bytes();
    socket.connect((Ipv4Addr::new(127, 77, high, low), 20_000 + (number % 200) as u16)).unwrap();
    socket
}

/// The most that is read while it is asked.
struct Peak {
    peak: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Peak {
    fn watch(read: impl Fn() -> u64 + Send + 'static) -> Self {
        let (peak, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (highest, stop) = (Arc::clone(&peak), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                highest.fetch_max(read(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { peak, done, thread }
    }

    fn end(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.peak.load(Ordering::Relaxed)
    }
}

/// Resident memory of a process that no file backs, of /proc/PID/status (proc_pid_status(5)).
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().map_or(0, |kibibytes| kibibytes.parse::<u64>().unwrap() << 10)
}

fn transmitted(telemetry: &Telemetry) -> u64 {
    telemetry.sum("netsonde.flow.io", &[("network.io.direction", "transmit".into())]) as u64
}

fn highest(telemetry: &Telemetry, metric: &str) -> u64 {
    let points = telemetry.points.iter().filter(|point| point.metric == metric);
    points.map(|point| point.number as u64).max().unwrap_or(0)
}

/// Ends it and takes all that it exported.
fn end(mut daemon: Daemon) -> Telemetry {
    assert!(daemon.end().unwrap().success(), "{}", daemon.errors());
    daemon.telemetry().unwrap()
}

/// Sums, stages and series as they must be after a flood.
fn assert_held(telemetry: &Telemetry, sent: u64, limit: u64) {
    assert_eq!(transmitted(telemetry), sent, "bytes, those that were folded included");
    telemetry.check_sequences().unwrap();
    let overflow = telemetry.sum("netsonde.flow.io", &[("otel.metric.overflow", true.into())]);
    assert!(overflow > 0, "nothing was folded");
    assert!(highest(telemetry, "netsonde.self.memory.stage") > 0);
    assert!(highest(telemetry, "netsonde.self.series.shed") > 0);
    assert_eq!(highest(telemetry, "netsonde.self.memory.limit"), limit);
    let usage = highest(telemetry, "netsonde.self.memory.usage");
    assert!(usage < limit, "{usage} of {limit}");
    // Those that move most keep series of their own: seen in the newest export, with all that they moved there.
    let moved = || telemetry.points.iter().filter(|point| point.metric == "netsonde.flow.io");
    let newest = moved().map(|point| point.time).max().unwrap();
    let heavy = moved().filter(|point| {
        point.time == newest
            && (0..HEAVY).any(|n| {
                let [.., high, low] = ((FLOWS + n) / 200).to_be_bytes();
                let address = format!("127.77.{high}.{low}");
                point.attributes.get("server.address").and_then(|a| a.text()) == Some(&address)
            })
    });
    assert_eq!(heavy.count(), HEAVY as usize, "of those that move most");
}

#[test]
fn a_limit_of_its_own_is_kept_by_letting_detail_go() {
    let _host = Host::acquire().unwrap();
    let unlimited = Daemon::start(&format!("{CONFIGURATION}[limits]\nmemory = \"none\"\n")).unwrap();
    let pid = unlimited.pid();
    let rest = anonymous(pid);
    let peak = Peak::watch(move || anonymous(pid));
    let sent = flood();
    unlimited.wait("the flood", |seen| transmitted(seen) == sent).unwrap();
    let without = peak.end();
    end(unlimited);
    // Three fifths of what it would take beyond what it needs at rest, and a quarter above that as it begins earlier: what
    // cannot be let go of, the flows of an interval as they are read, is most of the rest.
    let limit = ((rest + (without - rest) * 3 / 5) * 5 / 4).next_multiple_of(MEBIBYTE);
    println!("{rest} at rest, {without} at most without a limit, limit {limit}");
    assert!(
        without > limit * 6 / 5,
        "a flood that does not need the limit says nothing: {without} of {limit}"
    );
    let limits = format!("[limits]\nmemory = \"{}MiB\"\n", limit / MEBIBYTE);
    let daemon = Daemon::start(&format!("{CONFIGURATION}{limits}")).unwrap();
    let pid = daemon.pid();
    let peak = Peak::watch(move || anonymous(pid));
    let sent = flood();
    daemon.wait("the flood", |seen| transmitted(seen) == sent).unwrap();
    let with = peak.end();
    println!("{with} at most with it");
    let status = String::from_utf8(daemon.asking("status").unwrap().output().unwrap().stdout).unwrap();
    assert!(status.contains("memory") && status.contains(" of 6: the history "), "{status}");
    assert!(daemon.errors().contains("memory runs short"), "{}", daemon.errors());
    assert_held(&end(daemon), sent, limit);
    assert!(with < limit, "{with} of {limit}");
}

/// A daemon in a group of its own, as a script that enters it and becomes netsonde.
fn start_in(group: &Cgroup, programs: &Programs, configuration: &str) -> Daemon {
    let (procs, netsonde) = (group.file("cgroup.procs"), host::netsonde().unwrap());
    let text = format!("#!/bin/sh -e\necho $$ > {}\nexec {} \"$@\"\n", procs.display(), netsonde.display());
    let script = programs.script("enter", &text).unwrap();
    Daemon::start_binary(&script, configuration, |_| {}).unwrap()
}

fn number(file: &Path) -> u64 {
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[test]
fn the_limit_of_its_control_group_is_kept_by_letting_detail_go() {
    let _host = Host::acquire().unwrap();
    if Hierarchy::Memory.mounted().unwrap().is_none() {
        eprintln!(
            "no controller of memory to make a group with: the limit of its own is what is tested here"
        );
        return;
    }
    // Below the group of this test, whose limits go on to hold.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path)).unwrap();
    let path = format!("{}/netsonde-test-{}", own.trim_start_matches('/'), std::process::id());
    let mut group = Cgroup::new(Hierarchy::Memory, path.trim_start_matches('/')).unwrap();
    let programs = Programs::new().unwrap();
    let unlimited = start_in(&group, &programs, &format!("{CONFIGURATION}[limits]\nmemory = \"none\"\n"));
    let rest = unlimited.wait("its use", |seen| highest(seen, "netsonde.self.memory.usage") > 0).unwrap();
    let rest = highest(&rest, "netsonde.self.memory.usage");
    let sent = flood();
    let seen = unlimited.wait("the flood", |seen| transmitted(seen) == sent).unwrap();
    let without = highest(&seen, "netsonde.self.memory.usage");
    end(unlimited);
    let limit = ((rest + (without - rest) * 3 / 5) * 5 / 4).next_multiple_of(MEBIBYTE);
    println!("{rest} at rest, {without} at most without a limit, limit {limit}");
    assert!(without > limit, "a flood that does not need the limit says nothing: {without} of {limit}");
    let limit_file = group.file("memory.limit_in_bytes");
    fs::write(&limit_file, limit.to_string()).unwrap();
    let daemon = start_in(&group, &programs, CONFIGURATION);
    let sent = flood();
    daemon.wait("the flood", |seen| transmitted(seen) == sent).unwrap();
    let killed = fs::read_to_string(group.file("memory.oom_control")).unwrap();
    assert!(killed.lines().any(|line| line == "oom_kill 0"), "{killed}");
    assert_held(&end(daemon), sent, number(&limit_file));
    group.remove().unwrap();
}

#[test]
fn what_was_let_go_of_comes_back_when_there_is_room() {
    let _host = Host::acquire().unwrap();
    let mut daemon = Daemon::start(&format!("{CONFIGURATION}[limits]\nmemory = \"4MiB\"\n")).unwrap();
    let stage = |daemon: &Daemon| daemon.status().unwrap()["status"]["memory"]["stage"].as_u64().unwrap();
    let last = || Ok(stage(&daemon) == 6);
    assert!(command::until(Duration::from_secs(20), last).unwrap(), "less than netsonde needs at rest");
    // A limit that is far away: a stage for five calm exports.
    daemon.reload(&format!("{CONFIGURATION}[limits]\nmemory = \"4GiB\"\n")).unwrap();
    daemon.wait_notification("READY=1", Duration::from_secs(10)).unwrap();
    let mut seen = vec![stage(&daemon)];
    let down = command::until(Duration::from_secs(60), || {
        let now = stage(&daemon);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        Ok(now == 0)
    });
    assert!(down.unwrap(), "{seen:?}");
    assert_eq!(seen, [6, 5, 4, 3, 2, 1, 0], "step by step");
    end(daemon);
}
