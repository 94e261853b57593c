//! Selectors: what is left out is told of nowhere, what is left in stays exact, and each rule counts its matches.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::{Moved, Report};
use netsonde_tests::telemetry::{Attributes, Telemetry};

const TRAFFIC: &str = "--connections 20 --concurrency 2 --send 5000";
const USER: &str = "nobody";

/// Fails if any metric of flows or any record has these attributes.
fn assert_untold(telemetry: &Telemetry, what: &str, is: impl Fn(&Attributes) -> bool) {
    let points: Vec<_> = telemetry.points.iter().filter(|point| is(&point.attributes)).collect();
    let events: Vec<_> = telemetry.events.iter().filter(|event| is(&event.attributes)).collect();
    assert!(points.is_empty() && events.is_empty(), "{what} is told of: {points:?} {events:?}");
}

fn assert_path_untold(telemetry: &Telemetry, path: &Path) {
    let value = path.into();
    assert_untold(telemetry, &path.display().to_string(), |attributes| {
        attributes.get("process.executable.path") == Some(&value)
    });
}

/// That a client is told of like any other.
fn assert_told(telemetry: &Telemetry, report: &Report) {
    let path = &report.process.executable;
    let count = report.connections.len();
    Subject::new(path, Role::Client).assert_exact(telemetry, report.moved(), count);
    let names = &["netsonde.tcp.connect", "netsonde.tcp.close"];
    expect::assert_records(telemetry, names, Role::Client, &report.connections, report);
}

fn matches(telemetry: &Telemetry, rule: &str) -> i64 {
    telemetry.sum("netsonde.self.selector.matches", &[("netsonde.selector.rule", rule.into())])
}

fn as_user(program: &Path, to: SocketAddr) -> Report {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), "--regid=nogroup", "--clear-groups"]).arg(program);
    command.args(["connect", "--to", &to.to_string()]).args(TRAFFIC.split_whitespace());
    Running::start_command(&mut command).unwrap().finish().unwrap()
}

#[test]
fn traffic_is_left_out_by_port_address_and_user() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    programs.open_to_all().unwrap();
    let [server, hidden_server] = ["plain-server", "port-server"].map(|name| programs.copy(name).unwrap());
    let [plain, by_port, by_address, by_user] =
        ["plain", "by-port", "by-address", "by-user"].map(|name| programs.copy(name).unwrap());
    let listening = Server::start(&server, None, "0.0.0.0:0", "").unwrap();
    let hidden = Server::start(&hidden_server, None, "127.0.0.1:0", "").unwrap();
    let (to, away) = (listening.at("127.0.0.1").unwrap(), listening.at("127.77.1.2").unwrap());
    let daemon = Daemon::start(&format!(
        "[select]\ndefault = \"include\"\n\
        [[select.rule]]\nname = \"that-port\"\naction = \"exclude\"\nports = \"{}\"\n\
        [[select.rule]]\nname = \"those-addresses\"\naction = \"exclude\"\naddresses = [\"127.77.0.0/16\", \"::77\"]\n\
        [[select.rule]]\nname = \"that-user\"\naction = \"exclude\"\nusers = \"{USER}\"\n\
        [[select.rule]]\nname = \"nothing\"\naction = \"exclude\"\nports = [\"1\", \"2-3\"]\ntransports = \"tcp\"\n",
        hidden.address.port(),
    ))
    .unwrap();
    let told = program::connect(&plain, None, to, TRAFFIC).unwrap();
    let to_hidden = program::connect(&by_port, None, hidden.address, TRAFFIC).unwrap();
    let from_away = program::connect(&by_address, None, away, TRAFFIC).unwrap();
    let by_nobody = as_user(&by_user, to);
    let hidden_port = hidden.address.port();
    for server in [listening, hidden] {
        let port = server.address.port();
        server.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for report in [&to_hidden, &from_away, &by_nobody] {
        assert_eq!(report.connections.len(), 20, "{:?}", report.failures);
        assert_path_untold(&telemetry, &report.process.executable);
    }
    assert_untold(&telemetry, "the port", |attributes| {
        attributes.get("server.port") == Some(&i64::from(hidden_port).into())
    });
    assert_path_untold(&telemetry, &hidden_server);
    assert_told(&telemetry, &told);
    // The other ends are root's, and have the client's address at theirs.
    let served = [&told, &from_away, &by_nobody].into_iter().fold(Moved::default(), |mut total, report| {
        total.add(report.moved().peer());
        total
    });
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served, 60);
    for rule in ["that-port", "those-addresses", "that-user"] {
        assert!(matches(&telemetry, rule) > 0, "{rule} matched nothing");
    }
    assert_eq!(matches(&telemetry, "nothing"), 0);
}

#[test]
fn traffic_is_left_out_by_binary_ancestor_and_unit() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("server").unwrap();
    let [plain, by_binary, by_pattern, by_ancestor, by_unit, by_container] =
        ["plain", "by-binary", "pattern/by-pattern", "by-ancestor", "by-unit", "by-container"]
            .map(|name| programs.copy(name).unwrap());
    let shell = programs.path("marked-shell").unwrap();
    std::fs::copy("/bin/sh", &shell).unwrap();
    let id = "fedcba9876543210".repeat(4);
    let daemon = Daemon::start(&format!(
        "[[select.rule]]\nname = \"that-binary\"\naction = \"exclude\"\nbinaries = \"{}\"\n\
        [[select.rule]]\nname = \"that-directory\"\naction = \"exclude\"\nbinaries = [\"/no/such\", \"{}/*\"]\n\
        [[select.rule]]\nname = \"that-parent\"\naction = \"exclude\"\nancestors = [\"{}\"]\n\
        [[select.rule]]\nname = \"that-unit\"\naction = \"exclude\"\nunits = \"netsonde-hidden.service\"\n\
        [[select.rule]]\nname = \"that-container\"\naction = \"exclude\"\ncontainers = [\"{id}\"]\n",
        by_binary.display(),
        by_pattern.parent().unwrap().display(),
        shell.display(),
    ))
    .unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let told = program::connect(&plain, None, to, TRAFFIC).unwrap();
    let mut hidden: Vec<Report> =
        [&by_binary, &by_pattern].map(|path| program::connect(path, None, to, TRAFFIC).unwrap()).into();
    let arguments = |command: &mut Command| {
        command.args(["connect", "--to", &to.to_string()]).args(TRAFFIC.split_whitespace());
    };
    // Two generations below the shell, which must not become the program itself.
    let mut below = Command::new(&shell);
    below.args(["-c", "/bin/sh -c '\"$0\" \"$@\"; exit $?' \"$0\" \"$@\"; exit $?"]).arg(&by_ancestor);
    arguments(&mut below);
    hidden.push(Running::start_command(&mut below).unwrap().finish().unwrap());
    for (path, group) in [
        (&by_unit, "system.slice/netsonde-hidden.service".into()),
        (&by_container, format!("system.slice/docker-{id}.scope")),
    ] {
        let group = Cgroup::new(Hierarchy::Unified, &group).unwrap();
        let mut command = group.command(path);
        arguments(&mut command);
        let mut running = Running::start_command(&mut command).unwrap();
        let _: String = running.read().unwrap();
        hidden.push(running.finish().unwrap());
    }
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert!(hidden[2].ancestors.iter().any(|parent| parent.executable == shell));
    for report in &hidden {
        assert_eq!(report.connections.len(), 20, "{:?}", report.failures);
        assert_path_untold(&telemetry, &report.process.executable);
    }
    assert_told(&telemetry, &told);
    // The other end of all of it is left in.
    Subject::new(&server, Role::Server).assert_exact(&telemetry, served.moved(), 120);
    for rule in ["that-binary", "that-directory", "that-parent", "that-unit", "that-container"] {
        assert!(matches(&telemetry, rule) > 0, "{rule} matched nothing");
    }
}

#[test]
fn only_what_is_named_is_left_in() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, chosen, other, both] =
        ["server", "chosen", "other", "both"].map(|name| programs.copy(name).unwrap());
    let first = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let second = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    // The first rule that matches decides, and all that a rule names has to hold.
    let daemon = Daemon::start(&format!(
        "[select]\ndefault = \"exclude\"\n\
        [[select.rule]]\nname = \"but-not-there\"\naction = \"exclude\"\nbinaries = \"{both}\"\nports = [\"{port}\"]\n\
        [[select.rule]]\nname = \"chosen\"\naction = \"include\"\nbinaries = [\"{chosen}\", \"{both}\"]\n",
        both = both.display(),
        chosen = chosen.display(),
        port = second.address.port(),
    ))
    .unwrap();
    let told = program::connect(&chosen, None, first.address, TRAFFIC).unwrap();
    program::connect(&other, None, first.address, TRAFFIC).unwrap();
    let here = program::connect(&both, None, first.address, TRAFFIC).unwrap();
    program::connect(&both, None, second.address, TRAFFIC).unwrap();
    for server in [first, second] {
        let port = server.address.port();
        server.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for report in [&told, &here] {
        assert_told(&telemetry, report);
    }
    for path in [&server, &other] {
        assert_path_untold(&telemetry, path);
    }
    for rule in ["but-not-there", "chosen"] {
        assert!(matches(&telemetry, rule) > 0, "{rule} matched nothing");
    }
}

#[test]
fn open_connections_follow_a_change_of_rules() {
    const ACTIVE: &str = "netsonde.tcp.connections.active";
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, client] = ["reload-server", "reload-client"].map(|name| programs.copy(name).unwrap());
    let rule = |key: &str, value: &str| {
        format!("[[select.rule]]\nname = \"a\"\naction = \"exclude\"\n{key} = \"{value}\"\n")
    };
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut running = program::start_connect(&client, None, to, "--rounds 6 --step --send 5000").unwrap();
    let subject = Subject::new(&client, Role::Client);
    let mut rounds = vec![running.round().unwrap()];
    daemon.wait("the connection", |telemetry| subject.sum(telemetry, ACTIVE) == 1).unwrap();
    // By what only the daemon knows, by nothing, by what the kernel knows, and by nothing again.
    let rules = [rule("binaries", &client.display().to_string()), rule("ports", &to.port().to_string())];
    let [by_binary, by_port] = &rules;
    for (configuration, told) in [(by_binary.as_str(), 0), ("", 1), (by_port.as_str(), 0), ("", 1)] {
        daemon.reload(configuration).unwrap();
        daemon
            .wait(&format!("{told} connections after {configuration:?}"), |telemetry| {
                subject.sum(telemetry, ACTIVE) == told
            })
            .unwrap();
        running.step().unwrap();
        rounds.push(running.round().unwrap());
    }
    running.step().unwrap();
    let report = running.finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(subject.sum(&telemetry, ACTIVE), 0);
    // At least what was moved while nothing was left out, at the beginning and the end, and not all.
    let found = subject.moved(&telemetry).sent;
    let last = report.moved().sent - rounds[4].sent;
    assert!(found >= rounds[0].sent + last && found < report.moved().sent, "{found} of {report:?}");
}
