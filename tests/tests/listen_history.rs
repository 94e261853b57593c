//! The history of what listens: nothing is too short for it, a kill leaves it whole, and a store that cannot be used
//! is set aside, reported, and keeps nobody from going on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use netsonde_tests::audit;
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::program::{Programs, Running, python};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);
/// Children that listen at a time.
const AT_ONCE: usize = 8;

/// One that has listened for a few milliseconds.
#[derive(Debug)]
struct Brief {
    pid: u32,
    program: PathBuf,
    transport: &'static str,
    ended: Instant,
}

/// Runs so many short programs that listen, until told to stop; every tenth is bound to a port of UDP.
fn listen_briefly(programs: &[PathBuf], count: usize, mut go_on: impl FnMut() -> bool) -> Vec<Brief> {
    let mut running: Vec<(Child, PathBuf, &str)> = Vec::new();
    let mut ended = Vec::new();
    let mut end = |(mut child, program, transport): (Child, PathBuf, &'static str)| {
        assert!(child.wait().unwrap().success());
        ended.push(Brief { pid: child.id(), program, transport, ended: Instant::now() });
    };
    for number in 0..count {
        if !go_on() {
            break;
        }
        if running.len() == AT_ONCE {
            end(running.remove(0));
        }
        let program = &programs[number % programs.len()];
        let mut command = Command::new(program);
        command.arg("brief");
        let transport = if number % 10 == 0 { "udp" } else { "tcp" };
        if transport == "udp" {
            command.args(["--udp", &(20_000 + number % 5_000).to_string()]);
        }
        running.push((command.spawn().unwrap(), program.clone(), transport));
    }
    running.into_iter().for_each(&mut end);
    ended
}

fn programs() -> (Programs, Vec<PathBuf>) {
    let programs = Programs::new().unwrap();
    let paths = (0..4).map(|number| programs.copy(&format!("brief-{number}")).unwrap()).collect();
    (programs, paths)
}

/// Rows of one kind of change, by pid, of these programs.
fn by_pid<'a>(rows: &'a [Value], name: &str, programs: &[PathBuf]) -> BTreeMap<u64, Vec<&'a Value>> {
    let mut found: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["event.name"] == name) {
        let path = row["process.executable.path"].as_str().unwrap_or_default();
        if programs.iter().any(|program| program == Path::new(path)) {
            found.entry(row["process.pid"].as_u64().unwrap()).or_default().push(row);
        }
    }
    found
}

/// That the row is of this program.
fn check(row: &Value, of: &Brief) {
    assert_eq!(row["process.executable.path"], of.program.to_str().unwrap(), "{row:#}");
    assert_eq!(row["network.transport"], of.transport, "{row:#}");
    assert_eq!(row["server.address"], "127.0.0.1");
    assert_eq!(row["process.user.name"], "root");
    assert!(row["netsonde.listen.opened"].is_string(), "{row:#}");
    assert!(row["server.port"].as_u64().unwrap() > 0);
    assert!(!row["netsonde.process.ancestors"].as_array().unwrap().is_empty());
}

/// What the daemon says of its history.
fn history(daemon: &Daemon) -> Value {
    audit::status(&daemon.configuration()).unwrap()["status"]["history"].clone()
}

fn with_store(store: &TempDir) -> String {
    format!("[history]\ndirectory = \"{}\"\n", store.path().display())
}

#[test]
fn a_thousand_listeners_of_a_few_milliseconds_are_all_there_with_their_programs() {
    let _host = Host::acquire().unwrap();
    let (_directory, paths) = programs();
    let store = tempfile::tempdir().unwrap();
    // Neither a choice of events nor a limit of their rate has a say in it.
    let configuration = format!("[events]\nenabled = []\nrate_limit = 1\n{}", with_store(&store));
    let daemon = Daemon::start(&configuration).unwrap();
    let briefs = listen_briefly(&paths, 1_000, || true);
    assert_eq!(briefs.len(), 1_000);
    // Asked first because that is cheaper.
    let stored = command::until(LIMIT, || Ok(history(&daemon)["stored"].as_u64() >= Some(2_000)));
    assert!(stored.unwrap(), "{:#}", history(&daemon));
    let mut rows = Vec::new();
    let all = command::until(LIMIT, || {
        rows = audit::rows(&daemon.configuration(), "--since 10m")?;
        Ok(by_pid(&rows, "netsonde.listen.close", &paths).len() == 1_000)
    });
    let opened = by_pid(&rows, "netsonde.listen.open", &paths);
    let closed = by_pid(&rows, "netsonde.listen.close", &paths);
    assert!(all.unwrap(), "{} opened, {} closed", opened.len(), closed.len());
    for brief in &briefs {
        for changes in [&opened, &closed] {
            let of: &[&Value] = &changes[&u64::from(brief.pid)];
            assert_eq!(of.len(), 1, "{of:#?}");
            check(of[0], brief);
            assert_eq!(of[0]["netsonde.audit.source"], "daemon");
            let lived = of[0]["netsonde.listen.duration"].as_f64().unwrap();
            assert!((0.003..10.0).contains(&lived), "{lived} s");
        }
    }
    // Pages are put together, filters choose, and every format has the rows.
    let udp =
        audit::rows(&daemon.configuration(), "--since 10m --transport udp --binary /**/brief-0").unwrap();
    let count = briefs.iter().filter(|b| b.transport == "udp" && b.program == paths[0]).count();
    assert_eq!(udp.len(), 2 * count);
    for (format, wanted) in
        [("table", "brief-1"), ("csv", "netsonde.listen.close"), ("html", "closed"), ("sarif", "2.1.0")]
    {
        let output = audit::run(&daemon.configuration(), &format!("--since 10m --format {format}")).unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(wanted), "{format}");
    }
    let until = audit::rows(&daemon.configuration(), "--since 20m --until 10m").unwrap();
    assert!(by_pid(&until, "netsonde.listen.open", &paths).is_empty());

    let telemetry = daemon.stop().unwrap();
    assert!(
        telemetry.events.iter().all(|event| !event.name.starts_with("netsonde.listen")),
        "none was asked for"
    );
    assert_eq!(telemetry.sum("netsonde.self.history.losses", &[]), 0);
    assert!(telemetry.sum("netsonde.self.history.stored", &[]) >= 2_000);

    // Without a daemon, what it wrote down says the same, and that it is no more than that.
    let nowhere = store.path().join("netsonde.toml");
    let socket = store.path().join("no.sock");
    fs::write(&nowhere, format!("[api]\nsocket = \"{}\"\n{configuration}", socket.display())).unwrap();
    let output = audit::run(&nowhere, "--since 10m --format json").unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("what it wrote down"), "{output:?}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(by_pid(&rows, "netsonde.listen.close", &paths).len(), 1_000);
    assert!(rows.iter().all(|row| row["netsonde.audit.source"] == "store"));
}

#[test]
fn a_kill_loses_nothing_that_opened_more_than_a_second_before() {
    let _host = Host::acquire().unwrap();
    let (_directory, paths) = programs();
    let store = tempfile::tempdir().unwrap();
    let mut lasting = Running::start_command(&mut python("many.py", "20")).unwrap();
    let pid: u64 = lasting.read().unwrap();
    lasting.tell("").unwrap();
    let _: u64 = lasting.read().unwrap();

    let daemon = Daemon::start(&with_store(&store)).unwrap();
    let began = Instant::now();
    let mut killed = None;
    let briefs = listen_briefly(&paths, 100_000, || {
        if began.elapsed() > Duration::from_secs(4) && killed.is_none() {
            daemon.signal(Signal::KILL).unwrap();
            killed = Some(Instant::now());
        }
        // What comes after the kill is nobody's.
        killed.is_none_or(|at| at.elapsed() < Duration::from_millis(300))
    });
    let killed = killed.unwrap();
    drop(daemon);

    let daemon = Daemon::start(&with_store(&store)).unwrap();
    let reconciled = command::until(LIMIT, || {
        let history = history(&daemon);
        Ok(history["state"] == "open" && history["open"].as_u64() >= Some(20))
    });
    assert!(reconciled.unwrap(), "{:#}", history(&daemon));
    let mut rows = audit::rows(&daemon.configuration(), "--since 10m").unwrap();
    let opened = by_pid(&rows, "netsonde.listen.open", &paths);
    let before: Vec<&Brief> =
        briefs.iter().filter(|brief| brief.ended + Duration::from_secs(1) < killed).collect();
    assert!(before.len() > 100, "only {}", before.len());
    let missing: Vec<_> = before.iter().filter(|brief| !opened.contains_key(&u64::from(brief.pid))).collect();
    let newest = briefs.iter().filter(|brief| opened.contains_key(&u64::from(brief.pid)));
    let newest = newest.map(|brief| brief.ended).max().map(|ended| killed.saturating_duration_since(ended));
    let (count, all) = (missing.len(), before.len());
    assert!(missing.is_empty(), "{count} of {all} are missing; the newest there ended {newest:?} before");
    for brief in before {
        check(opened[&u64::from(brief.pid)][0], brief);
    }
    // What is still there is one and the same as before, not opened again.
    let still: Vec<&Value> =
        rows.iter().filter(|row| row["process.pid"] == pid && row["network.transport"] == "tcp").collect();
    assert_eq!(still.len(), 20, "{still:#?}");
    for row in &still {
        assert_eq!(row["event.name"], "netsonde.listen.open");
        assert!(row["netsonde.listen.first_seen"].is_string() && row.get("netsonde.listen.closed").is_none());
    }
    // And its end is told by the name that the store knows it by.
    lasting.end().unwrap();
    let closed = command::until(LIMIT, || {
        rows = audit::rows(&daemon.configuration(), "--since 1m --binary /**/python3*")?;
        let is = |row: &&Value| row["process.pid"] == pid && row["event.name"] == "netsonde.listen.close";
        Ok(rows.iter().filter(is).count() == 20)
    });
    assert!(closed.unwrap(), "{rows:#?}");
    daemon.stop().unwrap();
}

#[test]
fn a_port_that_listen_chose_is_told() {
    let _host = Host::acquire().unwrap();
    // Between two sweeps, and over one.
    let script = "import json, os, socket, sys, time\n\
        for t in (0.005, 2.5):\n l = socket.socket()\n l.listen()\n print(l.getsockname()[1], flush=True)\n\
        \x20time.sleep(t)\n l.close()";
    let port_of = |line: String| line.trim().parse::<u64>().unwrap();
    let daemon = Daemon::start(
        "[[audit.rule]]\nname = \"automatic\"\naction = \"deny\"\nports = \"32768-60999\"\nbinaries = \"/**/python3*\"\n",
    )
    .unwrap();
    let mut running = Running::start_command(Command::new("python3").args(["-c", script])).unwrap();
    let pid = u64::from(running.pid());
    let mut ports = vec![port_of(running.line().unwrap()), port_of(running.line().unwrap())];
    running.wait().unwrap();
    let mut rows = Vec::new();
    let closed = command::until(LIMIT, || {
        rows = audit::rows(&daemon.configuration(), "--since 1m --binary /**/python3*")?;
        rows.retain(|row| row["process.pid"] == pid);
        Ok(rows.len() == 4)
    });
    assert!(closed.unwrap(), "{rows:#?}");
    let mut found: Vec<u64> = rows.iter().map(|row| row["server.port"].as_u64().unwrap_or(0)).collect();
    found.sort_unstable();
    found.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(found, ports, "{rows:#?}");
    let telemetry = daemon.stop().unwrap();
    let told =
        telemetry.events("netsonde.listen.violation", &[("process.pid", i64::try_from(pid).unwrap().into())]);
    let mut told: Vec<u64> = told.iter().map(|event| event.int("server.port").unwrap() as u64).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ports);
}

#[test]
fn what_closed_while_nobody_watched_has_ended_some_time_before() {
    let _host = Host::acquire().unwrap();
    let store = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&with_store(&store)).unwrap();
    let mut lasting = Running::start_command(&mut python("many.py", "3")).unwrap();
    let pid: u64 = lasting.read().unwrap();
    lasting.tell("").unwrap();
    let _: u64 = lasting.read().unwrap();
    let of = |rows: &[Value], name: &str| -> Vec<Value> {
        rows.iter().filter(|row| row["process.pid"] == pid && row["event.name"] == name).cloned().collect()
    };
    let there = command::until(LIMIT, || {
        let rows = audit::rows(&daemon.configuration(), "--since 10m")?;
        Ok(of(&rows, "netsonde.listen.open").len() == 3)
    });
    assert!(there.unwrap());
    daemon.stop().unwrap();
    lasting.end().unwrap();
    let daemon = Daemon::start(&with_store(&store)).unwrap();
    let mut closed = Vec::new();
    let ended = command::until(LIMIT, || {
        closed = of(&audit::rows(&daemon.configuration(), "--since 10m")?, "netsonde.listen.close");
        Ok(closed.len() == 3)
    });
    assert!(ended.unwrap(), "{closed:#?}");
    for row in closed {
        assert_eq!(row["netsonde.listen.close_unseen"], true, "{row:#}");
        assert!(row.get("netsonde.listen.duration").is_none());
    }
    daemon.stop().unwrap();
}

#[test]
fn listeners_whose_event_was_lost_are_made_good_by_a_sweep() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start("[limits]\nevent_ring = \"4KiB\"\n").unwrap();
    let mut many = Running::start_command(&mut python("many.py", "300")).unwrap();
    let pid: u64 = many.read().unwrap();
    // Nobody reads the ring, which holds some twenty of them.
    daemon.signal(Signal::STOP).unwrap();
    many.tell("").unwrap();
    let _: u64 = many.read().unwrap();
    daemon.signal(Signal::CONT).unwrap();
    let mut found = BTreeSet::new();
    let all = command::until(LIMIT, || {
        let rows = audit::rows(&daemon.configuration(), "--since 10m")?;
        let of = |row: &&Value| row["process.pid"] == pid && row["event.name"] == "netsonde.listen.open";
        found = rows
            .iter()
            .filter(of)
            .map(|row| (row["server.port"].as_u64(), row["netsonde.listen.opened"].is_string()))
            .collect();
        Ok(found.len() == 300)
    });
    assert!(all.unwrap(), "{} of 300", found.len());
    assert!(found.iter().all(|(_, when)| *when), "the kernel remembers when they opened");
    many.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    let lost = telemetry.sum("netsonde.self.losses", &[("netsonde.loss.reason", "event_ring_full".into())]);
    assert!(lost > 100, "{lost}");
}

/// Listens, and waits until the history has it.
fn is_recorded(daemon: &Daemon, paths: &[PathBuf]) {
    let briefs = listen_briefly(paths, 5, || true);
    let recorded = command::until(LIMIT, || {
        let rows = audit::rows(&daemon.configuration(), "--since 10m")?;
        let opened = by_pid(&rows, "netsonde.listen.open", paths);
        Ok(briefs.iter().all(|brief| opened.contains_key(&u64::from(brief.pid))))
    });
    assert!(recorded.unwrap(), "{:#}", audit::status(&daemon.configuration()).unwrap());
}

#[test]
fn a_corrupted_store_is_set_aside_and_the_daemon_records_anew() {
    let _host = Host::acquire().unwrap();
    let (_directory, paths) = programs();
    let store = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&with_store(&store)).unwrap();
    is_recorded(&daemon, &paths);
    daemon.stop().unwrap();
    let file = store.path().join("history.redb");
    let mut bytes = fs::read(&file).unwrap();
    // Whole pages of it, behind the header.
    bytes.iter_mut().skip(4096).step_by(7).for_each(|byte| *byte = !*byte);
    fs::write(&file, bytes).unwrap();

    let daemon = Daemon::start(&with_store(&store)).unwrap();
    let mut status = Value::Null;
    let reported = command::until(LIMIT, || {
        status = audit::status(&daemon.configuration())?;
        Ok(status["status"]["history"]["set_aside"] == 1)
    });
    assert!(reported.unwrap(), "{status:#}");
    assert_eq!(status["grade"], "degraded");
    let finding =
        status["findings"].as_array().unwrap().iter().find(|of| of["subject"] == "history").unwrap();
    assert!(finding["text"].as_str().unwrap().contains("set aside"), "{finding:#}");
    let aside = fs::read_dir(store.path()).unwrap();
    let aside = aside.filter(|of| of.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 1);
    is_recorded(&daemon, &paths);
    assert!(daemon.errors().contains("set aside"), "{}", daemon.errors());
    let telemetry = daemon.stop().unwrap();
    assert_eq!(telemetry.sum("netsonde.self.history.set_aside", &[]), 1);
}

/// A small file system of memory.
struct Small(TempDir);

impl Small {
    fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        command::line(&format!("mount -t tmpfs -o size={size},mode=0700 netsonde-test {at}")).unwrap();
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        command::line(&format!("umount -l {}", self.0.path().display())).unwrap();
    }
}

#[test]
fn a_full_disk_is_reported_and_the_history_goes_on_when_there_is_room() {
    let _host = Host::acquire().unwrap();
    let (_directory, paths) = programs();
    let small = Small::new("8m");
    let daemon = Daemon::start(&with_store(&small.0)).unwrap();
    is_recorded(&daemon, &paths);
    let ballast = small.0.path().join("ballast");
    // Until not a byte more fits.
    let _ = fs::write(&ballast, vec![1; 16 << 20]);
    let mut status = Value::Null;
    let mut briefs = Vec::new();
    let reported = command::until(LIMIT, || {
        // The store has some room of its own.
        briefs.extend(listen_briefly(&paths, 200, || true));
        status = audit::status(&daemon.configuration())?;
        let history = &status["status"]["history"];
        Ok(history["state"] == "failing"
            && history["last_error"].as_str().is_some_and(|e| e.contains("No space")))
    });
    assert!(reported.unwrap(), "{:#}", status["status"]["history"]);
    assert_eq!(status["grade"], "degraded");
    let told = |telemetry: &netsonde_tests::telemetry::Telemetry| {
        telemetry.sum("netsonde.self.sweep.sockets", &[]) > 0
    };
    daemon.wait("what it measures", told).unwrap();

    fs::remove_file(&ballast).unwrap();
    let mut opened = 0;
    let caught_up = command::until(LIMIT, || {
        let rows = audit::rows(&daemon.configuration(), "--since 10m").unwrap_or_default();
        let known = by_pid(&rows, "netsonde.listen.open", &paths);
        opened = briefs.iter().filter(|brief| known.contains_key(&u64::from(brief.pid))).count();
        Ok(opened == briefs.len())
    });
    assert!(caught_up.unwrap(), "{opened} of {}: what waited is lost", briefs.len());
    is_recorded(&daemon, &paths);
    let telemetry = daemon.stop().unwrap();
    assert_eq!(telemetry.sum("netsonde.self.history.losses", &[]), 0);
}
