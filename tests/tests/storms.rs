//! Storms of processes: what is remembered stays bounded, and every connection keeps its owner.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "how large a storm was is worth knowing")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::{self, Host};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server, Swarm};
use netsonde_tests::report::Report;
use netsonde_tests::telemetry::Telemetry;

const NAMES: &[&str] = &["netsonde.tcp.connect", "netsonde.tcp.close"];

/// Fork loops, one for each processor; killed on drop.
struct Storm {
    loops: Vec<Child>,
    began: Instant,
}

impl Storm {
    /// So many forks a second in all, each followed by an exec if there is a program to become.
    fn start(rate: usize, seconds: u64, program: Option<&str>) -> Self {
        let count = thread::available_parallelism().unwrap().get();
        let loops = (0..count).map(|_| {
            Command::new("/bin/sh")
                .arg(host::source("programs/storm.sh"))
                .args([(rate / count).to_string(), seconds.to_string()])
                .args(program)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        Self { loops: loops.collect(), began: Instant::now() }
    }

    /// Waits for its end; how many processes it made.
    fn finish(mut self) -> u64 {
        let mut total = 0;
        for child in std::mem::take(&mut self.loops) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            total += String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap();
        }
        let seconds = self.began.elapsed().as_secs_f64();
        eprintln!("a storm of {total} processes in {seconds:.1} s, {:.0} a second", total as f64 / seconds);
        total
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        for child in &mut self.loops {
            // Both fail when it has ended and was waited for, which is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Fails unless the records of a client's connections name it. A port may have been used by several.
fn assert_owned(telemetry: &Telemetry, client: &Report) {
    assert!(!client.connections.is_empty(), "nothing is compared");
    for connection in &client.connections {
        for name in NAMES {
            let mut events = expect::of_connection(telemetry, name, Role::Client, connection);
            assert!(!events.is_empty(), "no {name} of {connection:?}");
            events.retain(|event| event.int("process.pid").ok() == Some(i64::from(client.process.pid)));
            assert_eq!(events.len(), 1, "{name} of {connection:?} and {:?}", client.process);
            expect::check_owner(events[0], &client.process, &client.ancestors).unwrap();
        }
    }
}

#[test]
fn forks_by_the_thousand_cost_no_connection_its_owner() {
    const LIMIT: f64 = 16384.0;
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server, swarm, short] = ["storm-client", "storm-server", "storm-swarm", "storm-short"]
        .map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("[events]\nrate_limit = 0\n[limits]\nprocesses = 16384\n").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let storm = Storm::start(5000, 10, None);
    let arguments = "--connections 160 --concurrency 2 --rounds 2 --pause 100";
    let running = program::start_connect(&client, None, to, arguments).unwrap();
    let mut shorts = Vec::new();
    for _ in 0..4 {
        let swarming = Swarm { children: 75, concurrency: 2 }.start(&swarm, &[&short], to).unwrap();
        shorts.extend(swarming.finish().unwrap().workers);
        thread::sleep(Duration::from_millis(500));
    }
    let report = running.finish().unwrap();
    let forks = storm.finish();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();

    assert!(forks as f64 > LIMIT, "{forks} processes are no storm");
    let usage = telemetry.points.iter().filter(|point| point.metric == "netsonde.self.processes.usage");
    let highest = usage.map(|point| point.number).fold(0.0, f64::max);
    assert!(highest > 0.0 && highest <= LIMIT * 9.0 / 8.0, "{highest} processes are held, of {LIMIT}");
    assert_eq!((report.connections.len(), shorts.len()), (160, 300));
    assert_owned(&telemetry, &report);
    shorts.iter().for_each(|child| assert_owned(&telemetry, child));
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 160);
    assert_eq!(Subject::new(&short, Role::Client).connections(&telemetry, "opened"), 300);
}

#[test]
fn a_process_whose_exec_was_lost_is_repaired() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("lost-server").unwrap();
    let paths: Vec<PathBuf> =
        (0..20).map(|number| programs.copy(&format!("lost-{number}")).unwrap()).collect();
    let configuration = "[events]\nrate_limit = 0\n[limits]\nprocess_ring = \"4KiB\"\n";
    let daemon = Daemon::start(configuration).unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let lost = |seen: &Telemetry| {
        seen.sum("netsonde.self.losses", &[("netsonde.loss.reason", "process_ring_full".into())])
    };
    let storm = Storm::start(1000, 5, Some("/bin/true"));
    daemon.wait("lost process events", |seen| lost(seen) > 0).unwrap();
    // What is known of each may be its fork or the shell that it was first; neither is what connects.
    let start = |path: &PathBuf| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\""]).arg(path).args([
            "connect",
            "--hold",
            "--to",
            &to.to_string(),
        ]);
        thread::sleep(Duration::from_millis(50));
        Running::start_command(&mut command).unwrap()
    };
    let before = lost(&daemon.telemetry().unwrap());
    let held: Vec<_> = paths.iter().map(start).collect();
    storm.finish();
    daemon.wait("process events lost meanwhile", |seen| lost(seen) > before).unwrap();
    for running in &held {
        let pid = running.pid();
        assert!(paths.contains(&std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()));
    }
    let reports: Vec<_> = held
        .into_iter()
        .map(|mut running| {
            running.step().unwrap();
            running.finish().unwrap()
        })
        .collect();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    let repaired = telemetry.sum("netsonde.self.processes.repaired", &[]);
    eprintln!("{} process events lost, {repaired} processes repaired", lost(&telemetry));
    let of_path = |path: &Path| reports.iter().find(|report| report.process.executable == path).unwrap();
    for path in &paths {
        let report = of_path(path);
        assert_owned(&telemetry, report);
        Subject::new(path, Role::Client).assert_exact(&telemetry, report.moved(), 1);
    }
}
