//! Rules of the audit: what opens against them is told at once, by name, with who it was; and what is there is judged
//! when the rules change.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use netsonde_tests::api;
use netsonde_tests::audit;
use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect;
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Namespace;
use netsonde_tests::program::{Programs, Running, Server, python};
use netsonde_tests::telemetry::{Event, Telemetry};

const VIOLATION: &str = "netsonde.listen.violation";
const METRIC: &str = "netsonde.listen.violations";
const USER: &str = "nobody";

fn rule(name: &str, keys: &str) -> String {
    format!("[[audit.rule]]\nname = \"{name}\"\naction = \"deny\"\n{keys}\n")
}

fn by<'a>(telemetry: &'a Telemetry, name: &str) -> Vec<&'a Event> {
    telemetry.events(VIOLATION, &[("netsonde.audit.rule", name.into())])
}

/// The violation that comes, and how long after what it tells of. The time is the kernel's, of listen(2).
fn wait(daemon: &Daemon, name: &str) -> (Event, Duration) {
    let telemetry = daemon.wait(name, |telemetry| !by(telemetry, name).is_empty()).unwrap();
    let now = UNIX_EPOCH.elapsed().unwrap();
    let event = by(&telemetry, name)[0].clone();
    let took = now.checked_sub(Duration::from_nanos(event.time)).unwrap();
    (event, took)
}

fn count(telemetry: &Telemetry, name: &str) -> i64 {
    telemetry.sum(METRIC, &[("netsonde.audit.rule", name.into())])
}

#[test]
fn a_violation_is_told_within_a_second_with_rule_and_identity() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [telnet, brief] = ["in.telnetd", "brief"].map(|name| programs.copy(name).unwrap());
    // No event is asked for, and a violation is told all the same.
    let configuration = format!(
        "[events]\nenabled = []\n{}{}{}",
        rule("no-telnet", &format!("binaries = \"{}\"", telnet.display())),
        rule("not-for-a-moment", &format!("binaries = \"{}\"", brief.display())),
        rule("unused", "ports = \"1\""),
    );
    let daemon = Daemon::start(&configuration).unwrap();
    let started = UNIX_EPOCH.elapsed().unwrap();
    let server = Server::start(&telnet, None, "127.0.0.1:0", "").unwrap();
    let (event, took) = wait(&daemon, "no-telnet");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(Duration::from_nanos(event.time) > started, "it is the time of listen()");
    expect::assert_attribute(&[&event], "process.pid", i64::from(server.pid()));
    expect::assert_attribute(&[&event], "process.executable.path", telnet.as_path());
    expect::assert_attribute(&[&event], "process.user.name", "root");
    expect::assert_attribute(&[&event], "server.address", "127.0.0.1");
    expect::assert_attribute(&[&event], "server.port", i64::from(server.address.port()));
    expect::assert_attribute(&[&event], "network.transport", "tcp");
    expect::assert_attribute(&[&event], "netsonde.address.class", "loopback");
    assert!(!event.get("netsonde.process.ancestors").unwrap().list().is_empty());
    let status = Command::new(&brief).args(["brief", "--milliseconds", "5"]).status().unwrap();
    assert!(status.success());
    let (event, took) = wait(&daemon, "not-for-a-moment");
    assert!(took < Duration::from_secs(1), "{took:?}");
    expect::assert_attribute(&[&event], "process.executable.path", brief.as_path());
    // Sweeps come and go, and nothing is told twice.
    std::thread::sleep(Duration::from_millis(2_500));
    let answer = api::json(&daemon, "/api/v1/listeners").unwrap();
    let rows = answer["listeners"].as_array().unwrap();
    let verdict = |row: &serde_json::Value| {
        let (action, rule) = (&row["netsonde.audit.action"], &row["netsonde.audit.rule"]);
        (action.as_str().unwrap().to_owned(), rule.as_str().unwrap().to_owned())
    };
    let (ours, others): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row["server.port"] == server.address.port());
    assert!(!ours.is_empty());
    assert!(ours.into_iter().all(|row| verdict(row) == ("deny".to_owned(), "no-telnet".to_owned())));
    assert!(others.into_iter().all(|row| verdict(row) == ("allow".to_owned(), "default".to_owned())));
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    for name in ["no-telnet", "not-for-a-moment"] {
        assert_eq!((by(&telemetry, name).len(), count(&telemetry, name)), (1, 1), "{name}");
    }
    assert_eq!(telemetry.newest(METRIC, &[("netsonde.audit.rule", "unused".into())]).len(), 1);
    assert_eq!(count(&telemetry, "unused"), 0);
    assert_eq!(telemetry.events.len(), 2, "{:#?}", telemetry.events);
}

fn serve(command: &mut Command, address: &str) -> Server {
    Server::run(command.args(["serve", "--listen", address])).unwrap()
}

/// A copy that every user can run.
fn copy(programs: &Programs, name: &str) -> PathBuf {
    programs.open_to_all().unwrap();
    programs.copy(name).unwrap()
}

#[test]
fn every_key_of_a_rule_finds_its_listener_and_no_other() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let place = Namespace::new().unwrap();
    let inode = place.inode().unwrap();
    let id = "fedcba9876543210".repeat(4);
    let names = ["port", "class", "binary", "user", "unit", "container", "namespace", "plain"];
    let paths = names.map(|name| copy(&programs, name));
    let of = |name: &str| paths[names.iter().position(|known| *known == name).unwrap()].as_path();
    // What else runs on this host is no test's matter: every rule asks for our programs too.
    let ours = paths.iter().map(|path| format!("\"{}\"", path.display())).collect::<Vec<_>>().join(", ");
    let ours = format!("binaries = [{ours}]");
    let port = free_port();
    let configuration = [
        rule("by-port", &format!("ports = \"{port}\"\n{ours}")),
        rule("by-class", &format!("classes = \"any\"\n{ours}")),
        rule("by-binary", &format!("binaries = \"{}\"", of("binary").display())),
        rule("by-user", &format!("users = \"{USER}\"\n{ours}")),
        rule("by-unit", &format!("units = \"netsonde-test*.service\"\n{ours}")),
        rule("by-container", &format!("containers = \"fedcba98\"\n{ours}")),
        rule("by-namespace", &format!("namespaces = \"{inode}\"\n{ours}")),
        rule("by-transport", "transports = \"raw\"\nbinaries = \"/**/python3*\""),
    ]
    .concat();
    let daemon = Daemon::start(&configuration).unwrap();

    let mut servers = vec![
        (of("port"), "by-port", serve(&mut Command::new(of("port")), &format!("127.0.0.1:{port}"))),
        (of("class"), "by-class", serve(&mut Command::new(of("class")), "0.0.0.0:0")),
        (of("binary"), "by-binary", serve(&mut Command::new(of("binary")), "127.0.0.1:0")),
        (of("namespace"), "by-namespace", serve(&mut place.command(of("namespace")), "127.0.0.1:0")),
        (of("plain"), "", serve(&mut Command::new(of("plain")), "127.0.0.1:0")),
    ];
    let mut as_user = Command::new("setpriv");
    as_user.args([&format!("--reuid={USER}"), "--regid=nogroup", "--clear-groups"]).arg(of("user"));
    servers.push((of("user"), "by-user", serve(&mut as_user, "127.0.0.1:0")));
    let groups =
        [("unit", "netsonde-test-audit.service".to_owned()), ("container", format!("docker-{id}.scope"))]
            .map(|(name, group)| {
                let group = Cgroup::new(Hierarchy::Unified, &format!("system.slice/{group}")).unwrap();
                let mut command = group.command(of(name));
                command.args(["serve", "--listen", "127.0.0.1:0"]);
                let mut running = Running::start_command(&mut command).unwrap();
                let _: String = running.read().unwrap();
                (name, group, Server::listening(running).unwrap())
            });
    let (_special, _) = special();

    let rules = ["by-port", "by-class", "by-binary", "by-user", "by-unit", "by-container", "by-namespace"];
    let all = |telemetry: &Telemetry| {
        rules.iter().chain([&"by-transport"]).all(|name| !by(telemetry, name).is_empty())
    };
    daemon.wait("all violations", all).unwrap();
    // Each row of the inventory has the same verdict.
    let rows = audit::rows(&daemon.configuration(), "--transport tcp").unwrap();
    for (path, name, server) in &servers {
        let row = rows.iter().find(|row| row["process.pid"] == server.pid()).unwrap();
        let expected = if name.is_empty() { "default" } else { *name };
        assert_eq!(row["netsonde.audit.rule"], expected, "{}", path.display());
    }
    let mut expected: Vec<(PathBuf, &str)> =
        servers.iter().map(|(path, name, _)| ((*path).to_owned(), *name)).collect();
    for (_, _, server) in servers {
        server.stop().unwrap();
    }
    for (name, mut group, server) in groups {
        expected.push((of(name).to_owned(), if name == "unit" { "by-unit" } else { "by-container" }));
        server.stop().unwrap();
        group.remove().unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for name in rules {
        let events = by(&telemetry, name);
        assert_eq!(events.len(), 1, "{name}: {events:#?}");
        let (path, _) = expected.iter().find(|(_, rule)| *rule == name).unwrap();
        expect::assert_attribute(&events, "process.executable.path", path.as_path());
        assert_eq!(count(&telemetry, name), 1, "{name}");
    }
    expect::assert_attribute(&by(&telemetry, "by-user"), "process.user.name", USER);
    expect::assert_attribute(&by(&telemetry, "by-unit"), "systemd.unit", "netsonde-test-audit.service");
    expect::assert_attribute(&by(&telemetry, "by-container"), "container.id", id.as_str());
    expect::assert_attribute(
        &by(&telemetry, "by-namespace"),
        "netsonde.network.namespace",
        i64::try_from(inode).unwrap(),
    );
    expect::assert_attribute(&by(&telemetry, "by-transport"), "netsonde.socket.protocol", 253);
    let plain = telemetry.events(VIOLATION, &[("process.executable.path", of("plain").into())]);
    assert!(plain.is_empty(), "{plain:#?}");
}

/// A port that nobody has at the moment, below those that the kernel gives.
fn free_port() -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (21_000..22_000).find(is_free).unwrap()
}

/// Sockets of every kind, a raw one among them.
fn special() -> (Running, serde_json::Value) {
    let mut running = Running::start_command(&mut python("listeners.py", "")).unwrap();
    let told = running.read().unwrap();
    (running, told)
}

#[test]
fn what_is_there_is_judged_at_the_start_and_when_the_rules_change() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let path = programs.copy("older").unwrap();
    let server = Server::start(&path, None, "127.0.0.1:0", "").unwrap();
    let binaries = format!("binaries = \"{}\"", path.display());
    let daemon = Daemon::start(&rule("first", &binaries)).unwrap();
    let (event, _) = wait(&daemon, "first");
    expect::assert_attribute(&[&event], "process.pid", i64::from(server.pid()));

    let younger_path = programs.copy("younger").unwrap();
    let younger = Server::start(&younger_path, None, "127.0.0.1:0", "").unwrap();
    let both = format!("binaries = [\"{}\", \"{}\"]", path.display(), younger_path.display());
    let began = Instant::now();
    daemon.reload(&rule("second", &both)).unwrap();
    let judged = daemon.wait("both", |telemetry| by(telemetry, "second").len() == 2).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut pids: Vec<i64> =
        by(&judged, "second").iter().map(|event| event.int("process.pid").unwrap()).collect();
    pids.sort_unstable();
    let mut expected = [i64::from(server.pid()), i64::from(younger.pid())];
    expected.sort_unstable();
    assert_eq!(pids, expected);

    // Nothing has changed: nothing is told again. A wrong rule leaves those before.
    daemon.reload(&rule("second", &both)).unwrap();
    daemon.reload(&rule("second", "ports = \"9-3\"")).unwrap();
    let refused = command::until(Duration::from_secs(10), || Ok(daemon.errors().contains("9-3")));
    assert!(refused.unwrap(), "{}", daemon.errors());
    assert!(daemon.errors().contains("netsonde.toml:"), "{}", daemon.errors());
    std::thread::sleep(Duration::from_millis(2_500));
    for server in [server, younger] {
        server.stop().unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    assert_eq!((by(&telemetry, "first").len(), by(&telemetry, "second").len()), (1, 2));
}

#[test]
fn a_default_that_denies_is_called_default_and_an_allow_excuses() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [allowed, denied] = ["allowed", "denied"].map(|name| programs.copy(name).unwrap());
    let allow = format!(
        "[[audit.rule]]\nname = \"these\"\naction = \"allow\"\nbinaries = \"{}\"\n",
        allowed.display()
    );
    let daemon = Daemon::start(&format!("[audit]\ndefault = \"deny\"\n{allow}")).unwrap();
    let servers = [&allowed, &denied].map(|path| Server::start(path, None, "127.0.0.1:0", "").unwrap());
    // Bound to a port of UDP: this program's, which nothing allows.
    let bound = UdpSocket::bind(("127.0.0.1", 23_456)).unwrap();
    let of = |telemetry: &Telemetry, path: &Path| {
        telemetry.events(VIOLATION, &[("process.executable.path", path.into())]).len()
    };
    let own = std::env::current_exe().unwrap();
    daemon
        .wait("both violations", |telemetry| of(telemetry, &denied) == 1 && of(telemetry, &own) == 1)
        .unwrap();
    drop(bound);
    for server in servers {
        server.stop().unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    assert_eq!((of(&telemetry, &allowed), of(&telemetry, &denied), of(&telemetry, &own)), (0, 1, 1));
    expect::assert_attribute(
        &telemetry.events(VIOLATION, &[("process.executable.path", denied.as_path().into())]),
        "netsonde.audit.rule",
        "default",
    );
}
