//! `netsonde top` in a real terminal: live traffic, keys, sizes, and what it leaves behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::Moved;
use netsonde_tests::terminal::Terminal;
use rustix::process::{Pid, Signal, kill_process};

const WIDE: (u16, u16) = (130, 50);

/// A client that has done one round with a server and holds its connection, and the server.
struct Traffic {
    _programs: Programs,
    server: Server,
    client: Running,
    path: PathBuf,
    moved: Moved,
}

impl Traffic {
    fn start(name: &str) -> Self {
        let programs = Programs::new().unwrap();
        let (path, server) =
            (programs.copy(name).unwrap(), programs.copy(&format!("{name}-server")).unwrap());
        let server = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let arguments = "--rounds 3 --step --send 3000000 --receive 2000000";
        let mut client = program::start_connect(&path, None, server.address, arguments).unwrap();
        let moved = client.round().unwrap();
        assert!(moved.sent > 0 && moved.received > 0, "{moved:?}");
        Self { _programs: programs, server, client, path, moved }
    }

    fn step(&mut self) {
        self.client.step().unwrap();
        self.moved = self.client.round().unwrap();
    }
}

/// Whether a line of a flow's page has this count for the last hour.
fn counts(screen: &str, name: &str, count: u64) -> bool {
    let line = screen.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().last()) == Some(count.to_string().as_str())
}

fn moved_as_shown(screen: &str, moved: Moved) -> bool {
    counts(screen, "bytes sent", moved.sent) && counts(screen, "bytes received", moved.received)
}

fn start_top(terminal: &Terminal, configuration: &Path, arguments: &str) {
    let netsonde = host::netsonde().unwrap();
    terminal.write("clear; echo before").unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal.wait("the shell", |screen| screen.lines().any(|line| line == "before")).unwrap();
    let line = format!("{} top --config {} {arguments}", netsonde.display(), configuration.display());
    terminal.write(&line).unwrap();
    terminal.press(&["Enter"]).unwrap();
}

/// The screen of the shell is back, with nothing on it that was not there before, and the shell works.
fn assert_clean(terminal: &Terminal) {
    let screen = terminal.wait("the shell", |screen| screen.trim_end().ends_with("ready:")).unwrap();
    assert!(screen.lines().any(|line| line == "before") && !screen.contains("PROGRAM"), "{screen}");
    assert_eq!(terminal.fact("alternate_on").unwrap(), "0", "{screen}");
    assert_eq!(terminal.fact("cursor_flag").unwrap(), "1", "{screen}");
    let modes = terminal.run("stty -a").unwrap();
    for mode in ["icanon", "echo", "isig", "opost"] {
        assert!(modes.split_whitespace().any(|word| word == mode), "{mode} is missing: {modes}");
    }
}

/// The kind of table, as the headings of its first column say it.
fn has_table(screen: &str, heading: &str) -> bool {
    screen.lines().nth(3).is_some_and(|line| line.trim_start_matches([' ', '▲', '▼']).starts_with(heading))
}

/// Whether a row begins with this word, or has it second.
fn has_row(screen: &str, word: &str) -> bool {
    screen.lines().skip(4).any(|line| line.split_whitespace().take(3).any(|part| part == word))
        && has_rows(screen)
}

fn has_rows(screen: &str) -> bool {
    screen.lines().nth(4).is_some_and(|line| line.starts_with(' ') && !line.contains("nothing"))
}

#[test]
fn live_traffic_is_seen_sorted_filtered_and_gone_into() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start("").unwrap();
    let mut traffic = Traffic::start("top-client");
    let port = traffic.server.address.port().to_string();
    let terminal = Terminal::start(WIDE.0, WIDE.1).unwrap();
    start_top(&terminal, &daemon.configuration(), "");
    terminal.wait("the program", |screen| has_row(screen, "top-client")).unwrap();
    assert_eq!(terminal.fact("alternate_on").unwrap(), "1");

    // A filter takes effect as it is typed, and holds for all tables.
    terminal.write("/binary:top-client !binary:server").unwrap();
    terminal.press(&["Enter"]).unwrap();
    let filtered = |screen: &str| {
        let rows: Vec<&str> = screen.lines().skip(4).take_while(|line| !line.is_empty()).collect();
        rows.len() == 1 && rows[0].trim_start().starts_with("top-client ")
    };
    terminal.wait("the program alone", filtered).unwrap();
    // The whole hour: bytes stay in sight.
    terminal.write("w").unwrap();
    terminal.wait("the window", |screen| screen.contains(" min: tx")).unwrap();

    // From the program to its flow, and to its processes with their parents.
    terminal.press(&["Enter"]).unwrap();
    terminal.wait("the flow", |screen| has_table(screen, "REMOTE") && screen.contains(&port)).unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal.wait("the bytes", |screen| moved_as_shown(screen, traffic.moved)).unwrap();
    let client = format!("{} ({}, since", traffic.path.display(), traffic.client.pid());
    let test = format!("({}, since", std::process::id());
    terminal.press(&["End"]).unwrap();
    terminal.wait("the parents", |screen| screen.contains(&client) && screen.contains(&test)).unwrap();

    // While it is paused, nothing new is shown, and nothing is lost.
    terminal.press(&["Home", "p"]).unwrap();
    terminal.wait("the pause", |screen| screen.contains("PAUSED at ")).unwrap();
    let before = traffic.moved;
    traffic.step();
    // Three sweeps, and as many questions if it asked.
    std::thread::sleep(Duration::from_secs(3));
    let screen = terminal.screen().unwrap();
    assert!(moved_as_shown(&screen, before), "{screen}");
    terminal.press(&["Space"]).unwrap();
    terminal.wait("what came meanwhile", |screen| moved_as_shown(screen, traffic.moved)).unwrap();

    // Back, and in another order.
    terminal.press(&["Escape"]).unwrap();
    terminal.wait("the flows", |screen| has_table(screen, "REMOTE")).unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal
        .wait("the programs", |screen| has_table(screen, "PROGRAM") && screen.contains("▼BYTES"))
        .unwrap();
    terminal.write(">").unwrap();
    terminal.wait("the order", |screen| screen.contains("▼TX/s")).unwrap();
    terminal.write("r").unwrap();
    terminal.wait("the other direction", |screen| screen.contains("▲TX/s")).unwrap();
    terminal.press(&["Left"]).unwrap();
    terminal.wait("the order", |screen| screen.contains("▼BYTES")).unwrap();

    // The other tables; without the filter first.
    terminal.press(&["Escape", "Tab"]).unwrap();
    terminal.wait("the flows", |screen| has_table(screen, "REMOTE") && !screen.contains("filter: ")).unwrap();
    terminal.write("3").unwrap();
    terminal.wait("lookups", |screen| has_table(screen, "NAME")).unwrap();
    terminal.write(&format!("4/port:{port}")).unwrap();
    terminal.press(&["Enter"]).unwrap();
    let listens = |screen: &str| has_table(screen, "LISTENS ON") && screen.contains("top-client-server");
    terminal.wait("the listener", listens).unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal.write("5/binary:top-client").unwrap();
    terminal.press(&["Enter"]).unwrap();
    let tree = |screen: &str| {
        let depth = |pid: u32| {
            let pid = pid.to_string();
            let has = |line: &&str| line.split_whitespace().any(|word| word == pid);
            screen.lines().find(has).and_then(|line| line.find("└─"))
        };
        depth(traffic.client.pid()) > depth(std::process::id()) && depth(std::process::id()).is_some()
    };
    terminal.wait("the tree", tree).unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal.write("6").unwrap();
    terminal.wait("the state", |screen| has_table(screen, "STATE") && screen.contains("sweep")).unwrap();

    terminal.write("?").unwrap();
    terminal.wait("the help", |screen| screen.contains("this help")).unwrap();
    terminal.write("x").unwrap();
    terminal.wait("the state", |screen| has_table(screen, "STATE")).unwrap();

    // Sizes, while it runs.
    terminal.write("1").unwrap();
    terminal.resize(40, 12).unwrap();
    let small = |screen: &str| screen.lines().nth(1) == Some("1 Prog 2 Flow 3 DNS 4 List 5 Proc 6 Stat");
    let screen = terminal.wait("the small screen", small).unwrap();
    assert!(screen.lines().all(|line| line.chars().count() <= 40) && screen.contains("q quit"), "{screen}");
    terminal.resize(WIDE.0, WIDE.1).unwrap();
    let large = |screen: &str| screen.contains(" 1 Programs ") && screen.contains("CONN/s");
    terminal.wait("the large screen", large).unwrap();

    terminal.write("q").unwrap();
    assert_clean(&terminal);
    daemon.stop().unwrap();
}

/// Killed on drop.
struct Restarted(Child);

impl Drop for Restarted {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_that_goes_is_missed_and_found_again() {
    let _host = Host::acquire().unwrap();
    let mut daemon = Daemon::start("").unwrap();
    let mut traffic = Traffic::start("top-waiting");
    let terminal = Terminal::start(WIDE.0, WIDE.1).unwrap();
    start_top(
        &terminal,
        &daemon.configuration(),
        "--tab flows --filter binary:top-waiting$ --interval 500ms",
    );
    terminal.wait("the filter", |screen| screen.contains("nothing matches")).unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal.wait("the program", |screen| has_row(screen, "top-waiting")).unwrap();
    assert!(daemon.end().unwrap().success());
    let lost = |screen: &str| screen.contains("no daemon answers") && has_row(screen, "top-waiting");
    terminal.wait("the loss, and what was known", lost).unwrap();
    let again = Command::new(host::netsonde().unwrap())
        .args(["run", "--interval", "1s", "--config"])
        .arg(daemon.configuration())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _again = Restarted(again);
    terminal.wait("the daemon", |screen| !screen.contains("no daemon answers")).unwrap();
    let before = traffic.moved;
    traffic.step();
    terminal.write("w/binary:top-waiting !binary:server").unwrap();
    terminal.press(&["Enter"]).unwrap();
    let alone = |screen: &str| has_row(screen, "top-waiting") && !has_row(screen, "top-waiting-server");
    terminal.wait("the flow", alone).unwrap();
    terminal.press(&["Enter"]).unwrap();
    // The new daemon counts from its own start.
    terminal.wait("the bytes", |screen| moved_as_shown(screen, traffic.moved.since(before))).unwrap();
    let pid = Pid::from_raw(terminal.running().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_clean(&terminal);
}

/// A configuration whose socket nobody listens on.
fn lonely() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netsonde.toml");
    let socket = directory.path().join("api.sock");
    fs::write(&path, format!("[api]\nsocket = \"{}\"\n[dns]\nhosts = \"\"\n", socket.display())).unwrap();
    (directory, path)
}

#[test]
fn without_a_daemon_it_has_probes_of_its_own() {
    let _host = Host::acquire().unwrap();
    let (directory, configuration) = lonely();
    let mut traffic = Traffic::start("top-alone");
    let terminal = Terminal::start(WIDE.0, WIDE.1).unwrap();
    start_top(&terminal, &configuration, "--tab flows --filter 'binary:top-alone !binary:server'");
    terminal
        .wait("its own probes", |screen| screen.contains("its own probes, as no daemon answers at"))
        .unwrap();
    terminal.wait("the flow", |screen| has_row(screen, "top-alone")).unwrap();
    let before = traffic.moved;
    traffic.step();
    terminal.write("w").unwrap();
    terminal.wait("the window", |screen| screen.contains(" min: tx")).unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal.wait("the bytes", |screen| moved_as_shown(screen, traffic.moved.since(before))).unwrap();
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["netsonde.toml"], "nobody else is served, and nothing is written");
    terminal.write("q").unwrap();
    assert_clean(&terminal);
    // A connection of its own begins and ends as the others do: what was loaded is gone.
    let words = "top --once --tab flows --sort rx --filter binary:top-alone --config";
    let mut once = Command::new(host::netsonde().unwrap());
    let output = once.args(words.split(' ')).arg(&configuration).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let port = traffic.server.address.port().to_string();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("REMOTE"), "{text}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    // The client's flow and the server's.
    assert!(rows.len() == 2 && rows.iter().all(|row| row[1] == port), "{text}");
}

#[test]
fn who_may_not_is_told_so() {
    let _host = Host::acquire().unwrap();
    let (directory, configuration) = lonely();
    let binary = directory.path().join("netsonde");
    fs::copy(host::netsonde().unwrap(), &binary).unwrap();
    for path in [directory.path(), configuration.as_path()] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=64998", "--regid=64998", "--clear-groups", "--bounding-set=-all"]).arg(&binary);
    let output = command.args(["top", "--once", "--config"]).arg(&configuration).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("no daemon answers at"), "{said}");
    let mut command = Command::new(host::netsonde().unwrap());
    let output = command.args(["top", "--config"]).arg(&configuration).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--once"), "{said}");
}
