//! Which process it is: each record names the binary, the start and the parents that the process had at that time,
//! however short it lived and whatever became of its file.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netsonde_tests::cleanup::CleanUp;
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server, Swarm};
use netsonde_tests::report::{Moved, Process, Report};
use netsonde_tests::telemetry::{Event, Telemetry};

const OPENED_AND_CLOSED: &[&str] = &["netsonde.tcp.connect", "netsonde.tcp.close"];

/// The records of a client that made its connections under this path; each names that process.
fn records<'a>(telemetry: &'a Telemetry, report: &Report) -> Vec<&'a Event> {
    expect::assert_records(telemetry, OPENED_AND_CLOSED, Role::Client, &report.connections, report);
    let of = |connection| {
        OPENED_AND_CLOSED
            .iter()
            .flat_map(move |name| expect::of_connection(telemetry, name, Role::Client, connection))
    };
    report.connections.iter().flat_map(of).collect()
}

#[test]
fn a_thousand_short_lived_processes_have_all_their_names() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, swarm] = ["swarm-server", "swarm"].map(|name| programs.copy(name).unwrap());
    let paths: Vec<PathBuf> =
        (0..10).map(|number| programs.copy(&format!("short-lived-{number}")).unwrap()).collect();
    let daemon = Daemon::start("[events]\nrate_limit = 0\n").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let swarming = Swarm { children: 1000, concurrency: 8 }.start(&swarm, &paths, to).unwrap();
    let report = swarming.finish().unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();

    assert_eq!(report.workers.len(), 1000);
    let port = ("server.port", i64::from(to.port()).into());
    let client = ("netsonde.socket.role", Role::Client.name().into());
    for name in OPENED_AND_CLOSED {
        assert_eq!(telemetry.events(name, &[port.clone(), client.clone()]).len(), 1000, "{name}");
    }
    for child in &report.workers {
        let [connection] = child.connections[..] else { panic!("not one connection: {child:?}") };
        for name in OPENED_AND_CLOSED {
            // A port may have been used by two of them.
            let mut events = expect::of_connection(&telemetry, name, Role::Client, &connection);
            events.retain(|event| event.int("process.pid").ok() == Some(i64::from(child.process.pid)));
            assert_eq!(events.len(), 1, "{name} of {child:?}");
            expect::check_owner(events[0], &child.process, &child.ancestors).unwrap();
        }
    }
    for path in paths {
        let mut moved = Moved::default();
        let of_path = report.workers.iter().filter(|child| child.process.executable == path);
        let count = of_path.map(|child| moved.add(child.moved())).count();
        assert_eq!(count, 100);
        Subject::new(path, Role::Client).assert_exact(&telemetry, moved, count);
    }
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served.moved(), 1000);
    assert_eq!(telemetry.sum("netsonde.self.unattributed", &[]), 0);
}

#[test]
fn threads_are_their_process() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, client, first, then] = ["thread-server", "thread-client", "thread-first", "thread-then"]
        .map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    // Each of the eight connects on a thread of its own, none of which is the first.
    let report = program::connect(&client, None, to, "--connections 40 --concurrency 8").unwrap();
    // The thread that execs takes over the number of the process.
    let (before, after) = become_another(&first, &then, to, "--thread");
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for report in [&report, &before, &after] {
        records(&telemetry, report);
        Subject::new(&report.process.executable, Role::Client).assert_exact(
            &telemetry,
            report.moved(),
            report.connections.len(),
        );
    }
    // Accepted on threads as well.
    expect::assert_records(
        &telemetry,
        &["netsonde.tcp.accept", "netsonde.tcp.close"],
        Role::Server,
        &served.connections,
        &served,
    );
}

/// A program that connects and then is another; what it says before and after.
fn become_another(first: &Path, then: &Path, to: SocketAddr, how: &str) -> (Report, Report) {
    let arguments = format!("become --to {to} --program {} {how}", then.display());
    let mut running = Running::start(first, None, &arguments).unwrap();
    let before = running.read().unwrap();
    running.step().unwrap();
    (before, running.finish().unwrap())
}

#[test]
fn a_process_that_execs_again_is_two_programs() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, first, then] =
        ["exec-server", "exec-first", "exec-then"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut before = Vec::new();
    let mut after = Vec::new();
    // Each takes a few milliseconds, so that both programs share an interval and most of its sweeps see neither.
    for seed in 0..20 {
        let (one, other) = become_another(&first, &then, to, &format!("--seed {seed}"));
        assert_eq!(one.process.pid, other.process.pid);
        before.push(one);
        after.push(other);
    }
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (path, reports) in [(&first, before), (&then, after)] {
        let mut moved = Moved::default();
        for report in &reports {
            assert_eq!(report.process.executable, *path);
            records(&telemetry, report);
            moved.add(report.moved());
        }
        Subject::new(path, Role::Client).assert_exact(&telemetry, moved, reports.len());
    }
}

#[test]
fn a_script_is_told_of_with_its_interpreter() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("script-server").unwrap();
    let interpreter = interpreter();
    let modules = netsonde_tests::host::source("programs");
    let text = format!(
        "#!{}\nimport sys\nsys.path.insert(0, {:?})\nimport client\n",
        interpreter.display(),
        modules.display()
    );
    let script = programs.script("some/where/a-script", &text).unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let run = |command: &mut Command| {
        Running::start_command(command.arg(to.to_string())).unwrap().finish().unwrap()
    };
    let absolute = run(&mut Command::new(&script));
    // `exec` of a shell, so that the relative path reaches the kernel as it is.
    let relative = |path: &str| {
        let mut command = Command::new("/bin/sh");
        command.current_dir(programs.path("some").unwrap()).args(["-c", "exec \"$0\" \"$@\"", path]);
        run(&mut command)
    };
    let below = relative("where/a-script");
    let dotted = relative("./../some/where/a-script");
    // The interpreter by hand: no script for the kernel, which saw a program and its arguments.
    let by_hand = run(Command::new(&interpreter).arg(&script));
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for report in [&absolute, &below, &dotted] {
        assert_eq!(report.process.executable, interpreter);
        let events = records(&telemetry, report);
        expect::assert_attribute(&events, "netsonde.process.script.path", script.as_path());
    }
    expect::assert_absent(&records(&telemetry, &by_hand), "netsonde.process.script.path");
}

/// The Python binary itself, as /proc shows it: no link and no wrapper.
fn interpreter() -> PathBuf {
    let mut ask = Command::new("python3");
    ask.args(["-c", "import os; print(os.readlink('/proc/self/exe'))"]);
    command::output(&mut ask).unwrap().trim().into()
}

/// A client that waits, what was done to its file then, and what it reports.
fn held(program: &Path, to: SocketAddr, act: impl FnOnce()) -> Report {
    let mut running = program::start_connect(program, None, to, "--hold").unwrap();
    act();
    running.step().unwrap();
    running.finish().unwrap()
}

/// That the one connection of this process is known by its path, and by its file's being gone.
fn assert_deleted(telemetry: &Telemetry, report: &Report, path: &Path) {
    assert_eq!(report.process.executable, path);
    let events = records(telemetry, report);
    Subject::new(path, Role::Client).assert_exact(telemetry, report.moved(), 1);
    expect::assert_attribute(&events, "netsonde.process.executable.deleted", true);
    expect::assert_absent(&events, "netsonde.process.executable.memfd");
}

#[test]
fn a_binary_deleted_before_netsonde_came_keeps_its_path() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, older] = ["deleted-server", "deleted-before"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut running = program::start_connect(&older, None, to, "--hold").unwrap();
    fs::remove_file(&older).unwrap();
    let daemon = Daemon::start("").unwrap();
    running.step().unwrap();
    let report = running.finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    assert_deleted(&daemon.stop().unwrap(), &report, &older);
}

#[test]
fn a_binary_deleted_while_it_runs_keeps_its_path() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, replaced, deleted] =
        ["deleted-server", "replaced", "deleted-now"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let daemon = Daemon::start("").unwrap();
    let now = held(&deleted, to, || fs::remove_file(&deleted).unwrap());
    // An upgrade: another file takes the place of the one that runs.
    let upgraded = held(&replaced, to, || {
        let newer = programs.copy("newer").unwrap();
        fs::rename(newer, &replaced).unwrap();
    });
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_deleted(&telemetry, &now, &deleted);
    assert_deleted(&telemetry, &upgraded, &replaced);
}

#[test]
fn a_binary_deleted_before_its_exec_keeps_its_path() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, client] = ["deleted-server", "deleted-before-exec"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let daemon = Daemon::start("").unwrap();
    let words = format!("{} connect --to {to}", client.display());
    let mut command = program::python("exec_deleted.py", &words);
    let report = Running::start_command(&mut command).unwrap().finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    assert_deleted(&daemon.stop().unwrap(), &report, &client);
}

#[test]
fn a_binary_in_memory_is_told_by_its_name() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, client] = ["memory-server", "memory-source"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let run = |name: &str, hold: &str| {
        let words = format!("{} {name} connect --to {to} {hold}", client.display());
        Running::start_command(&mut program::python("in_memory.py", &words)).unwrap()
    };
    let mut older = run("older-payload", "--hold");
    wait_until_runs(older.pid(), "/memfd:older-payload (deleted)");
    let daemon = Daemon::start("").unwrap();
    older.step().unwrap();
    let older = older.finish().unwrap();
    let newer = run("payload", "").finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (report, path) in [(&older, "/memfd:older-payload"), (&newer, "/memfd:payload")] {
        assert_eq!(report.process.executable, Path::new(path));
        let events = records(&telemetry, report);
        expect::assert_attribute(&events, "process.executable.path", path);
        expect::assert_attribute(&events, "netsonde.process.executable.memfd", true);
        Subject::new(Path::new(path), Role::Client).assert_exact(&telemetry, report.moved(), 1);
    }
}

fn wait_until_runs(pid: u32, executable: &str) {
    let runs = command::until(Duration::from_secs(10), || {
        Ok(fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(executable)))
    });
    assert!(runs.unwrap(), "process {pid} does not run {executable}");
}

#[test]
fn a_binary_on_another_mount_has_its_whole_path() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("mount-server").unwrap();
    let mut cleanup = CleanUp::default();
    let mut mount = |kind: &str, name: &str| {
        let at = programs.path(name).unwrap();
        fs::create_dir_all(&at).unwrap();
        command::output(Command::new("mount").args(kind.split(' ')).arg(&at)).unwrap();
        cleanup.push(move || {
            if let Err(error) = command::output(Command::new("umount").arg("-l").arg(&at)) {
                panic!("a mount is left behind: {error:#}");
            }
        });
    };
    mount("-t tmpfs none", "outer");
    mount("-t tmpfs none", "outer/in/ner");
    fs::create_dir_all(programs.path("outer/source/deeper").unwrap()).unwrap();
    mount(&format!("--bind {}", programs.path("outer/source").unwrap().display()), "bound/here");
    let on_tmpfs = programs.copy("outer/in/ner/on-tmpfs").unwrap();
    let on_bind = programs.copy("bound/here/deeper/on-bind").unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let reports = [&on_tmpfs, &on_bind].map(|path| program::connect(path, None, to, "").unwrap());
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (report, path) in reports.iter().zip([&on_tmpfs, &on_bind]) {
        assert_eq!(report.process.executable, *path);
        records(&telemetry, report);
        Subject::new(path, Role::Client).assert_exact(&telemetry, report.moved(), 1);
    }
}

#[test]
fn a_path_may_be_deep_and_of_any_letters() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("path-server").unwrap();
    let deep: String = (0..40).map(|level| format!("directory-number-{level}/")).collect();
    let names = [
        format!("{deep}program"),
        "n".repeat(255),
        "with spaces  and\ttabs/and a\nnew line".into(),
        "žluťoučký kůň/程序/🦀 \"quoted\" (deleted) x".into(),
    ];
    let paths = names.map(|name| programs.copy(&name).unwrap());
    let older = programs.copy(&format!("{deep}older than netsonde/プログラム")).unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut held = program::start_connect(&older, None, to, "--hold").unwrap();
    let daemon = Daemon::start("").unwrap();
    held.step().unwrap();
    let mut reports = vec![held.finish().unwrap()];
    reports.extend(paths.iter().map(|path| program::connect(path, None, to, "").unwrap()));
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (report, path) in reports.iter().zip([&older].into_iter().chain(&paths)) {
        assert_eq!(report.process.executable, *path);
        let events = records(&telemetry, report);
        let name = path.file_name().unwrap().to_str().unwrap();
        expect::assert_attribute(&events, "process.executable.name", name);
        Subject::new(path, Role::Client).assert_exact(&telemetry, report.moved(), 1);
    }
}

#[test]
fn a_path_may_be_as_long_as_paths_can_be() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("long-server").unwrap();
    // Close to the longest that can be given to exec (PATH_MAX, 4096 with its end). It lives long enough to be asked
    // about in /proc.
    let client = programs.copy(&format!("{}program", format!("{}/", "l".repeat(250)).repeat(15))).unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let daemon = Daemon::start("").unwrap();
    let report = held(&client, to, || std::thread::sleep(Duration::from_secs(2)));
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(report.process.executable, client);
    records(&telemetry, &report);
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 1);
}

#[test]
fn parents_that_ended_are_still_in_the_chain() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, client] = ["chain-server", "chain-client"].map(|name| programs.copy(name).unwrap());
    // Prints itself, leaves its child behind and ends; the last generation's child is the client. `$$` in a subshell
    // would be the parent's: /proc/self of a program that the shell becomes would too, so it reads its own stat.
    let text = "exec 3<&0\n\
        read -r stat < /proc/$$/stat\n\
        set_aside=$1\nshift\n\
        echo \"$stat\"\n\
        if [ $set_aside -gt 1 ]; then /bin/sh \"$0\" $((set_aside - 1)) \"$@\" <&3 &\n\
        else \"$@\" <&3 &\nfi\n";
    let script = programs.script("generation.sh", text).unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut command = Command::new("/bin/sh");
    command.arg(&script).arg("3").arg(&client).args(["connect", "--hold", "--to", &to.to_string()]);
    let mut running = Running::start_command(&mut command).unwrap();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let mut shells: Vec<Process> = (0..3)
        .map(|_| {
            let stat = running.line().unwrap();
            let fields: Vec<&str> = stat.split_whitespace().collect();
            Process {
                pid: fields[0].parse().unwrap(),
                executable: shell.clone(),
                start_ticks: fields[21].parse().unwrap(),
                vpid: 0,
            }
        })
        .collect();
    shells.reverse();
    running.wait().unwrap();
    for shell in &shells {
        let gone =
            || Ok(Process::chain(shell.pid).map_or(true, |(now, _)| now.executable != shell.executable));
        assert!(command::until(Duration::from_secs(10), gone).unwrap(), "{shell:?} lives on");
    }
    running.step().unwrap();
    let report = running.finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_ne!(report.ancestors[0].pid, shells[0].pid, "it has been given to another parent");
    // This test is the parent of the first shell.
    let (this, above) = Process::own_chain().unwrap();
    shells.extend([Process { vpid: 0, ..this }]);
    shells.extend(above);
    let born = Report { ancestors: shells, ..report };
    records(&telemetry, &born);
    expect::assert_ancestry(&telemetry, "netsonde.flow.io", &born);
}
