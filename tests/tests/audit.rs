//! The inventory of what listens equals what `ss` says in each network namespace, from the daemon and without one; and
//! baselines have their exit codes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::Namespace;
use netsonde_tests::program::{Running, Server, python};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// What `listeners.py` opened.
#[derive(Debug, Deserialize)]
struct Opened {
    pid: u32,
    sockets: Vec<Socket>,
}

#[derive(Debug, Deserialize)]
struct Socket {
    kind: String,
    transport: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    protocol: Option<u16>,
}

fn open(place: Option<&Namespace>) -> (Running, Opened) {
    let command = python("listeners.py", "");
    let mut command = match place {
        None => command,
        Some(namespace) => {
            let mut inside = namespace.command(Path::new(command.get_program()));
            inside.args(command.get_args());
            inside
        }
    };
    let mut running = Running::start_command(&mut command).unwrap();
    let opened = running.read().unwrap();
    (running, opened)
}

/// A configuration whose socket nobody listens on.
struct Nobody(TempDir);

impl Nobody {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("[api]\nsocket = \"{}\"\n", directory.path().join("api.sock").display());
        fs::write(directory.path().join("netsonde.toml"), text).unwrap();
        Self(directory)
    }

    fn configuration(&self) -> PathBuf {
        self.0.path().join("netsonde.toml")
    }
}

fn audit(configuration: &Path, words: &str) -> Output {
    let mut command = Command::new(host::netsonde().unwrap());
    command.arg("audit").arg("--config").arg(configuration).args(words.split_whitespace());
    command.output().unwrap()
}

fn rows(configuration: &Path, words: &str) -> Vec<Value> {
    let output = audit(configuration, &format!("{words} --format json"));
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn own_namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").unwrap().ino()
}

/// Transport and local end as `ss` writes them, sorted; those that are connected left out, as `ss -l` does.
fn as_ss_has_it(rows: &[Value], namespace: u64) -> Vec<String> {
    let is_asked_for = |row: &&Value| {
        let transport = row["network.transport"].as_str();
        row["netsonde.network.namespace"] == namespace
            && matches!(transport, Some("tcp" | "udp"))
            && row.get("network.peer.address").is_none()
    };
    let written = |row: &Value| {
        let address = row["server.address"].as_str().unwrap();
        let address = match (address, row["netsonde.socket.ipv6_only"].as_bool()) {
            ("::", Some(false)) => "*".to_owned(),
            (v6, Some(_)) => format!("[{v6}]"),
            (v4, None) => v4.to_owned(),
        };
        // The loopback is the first interface of every namespace.
        let interface =
            row["network.interface.name"].as_str().map(|name| if name == "1" { "lo" } else { name });
        let interface = interface.map_or(String::new(), |name| format!("%{name}"));
        let transport = row["network.transport"].as_str().unwrap();
        format!("{transport} {address}{interface}:{}", row["server.port"])
    };
    let mut all: Vec<String> = rows.iter().filter(is_asked_for).map(written).collect();
    all.sort();
    all
}

fn ss(place: Option<&Namespace>) -> Vec<String> {
    let words = "ss -lntuH";
    let text = match place {
        None => command::line(words),
        Some(namespace) => namespace.run(words),
    };
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", words[0], words[4])
    };
    let mut all: Vec<String> = text.unwrap().lines().map(line).collect();
    all.sort();
    all
}

/// The rows once they are what `ss` says of each place; what else runs on this host may open and close meanwhile.
fn rows_that_equal_ss(configuration: &Path, places: &[Option<&Namespace>]) -> Vec<Value> {
    let mut last = Vec::new();
    let mut differs = Vec::new();
    let equal = command::until(Duration::from_secs(20), || {
        let before: Vec<_> = places.iter().map(|place| ss(*place)).collect();
        last = rows(configuration, "--listening");
        differs = places
            .iter()
            .zip(before)
            .filter_map(|(place, expected)| {
                let inode = place.map_or_else(own_namespace, |namespace| namespace.inode().unwrap());
                let found = as_ss_has_it(&last, inode);
                (found != expected).then_some((found, expected))
            })
            .collect();
        Ok(differs.is_empty())
    });
    assert!(equal.unwrap(), "found and expected: {differs:#?}");
    last
}

/// The rows of one socket of the program; several for a group.
fn of<'a>(rows: &'a [Value], opened: &Opened, socket: &Socket) -> Vec<&'a Value> {
    let of = |row: &&Value| {
        row["network.transport"] == socket.transport.as_str()
            && row["process.pid"] == opened.pid
            && socket.port.is_none_or(|port| row["server.port"] == port)
            && socket.protocol.is_none_or(|protocol| row["netsonde.socket.protocol"] == protocol)
    };
    rows.iter().filter(of).collect()
}

/// What `ss` cannot say, or says elsewhere.
fn check(rows: &[Value], opened: &Opened, namespace: u64, named: Option<bool>) {
    for socket in &opened.sockets {
        let found = of(rows, opened, socket);
        let expected = match socket.kind.as_str() {
            "client" => 0,
            "reuseport" => 3,
            _ => 1,
        };
        assert_eq!(found.len(), expected, "{socket:?} in {rows:#?}");
        for row in found {
            assert_eq!(row["netsonde.network.namespace"], namespace);
            assert_eq!(row["netsonde.namespace.initial"], namespace == own_namespace());
            assert_eq!(row.get("netsonde.namespace.name").is_some(), named == Some(true), "{row:#?}");
            let path = row["process.executable.path"].as_str().unwrap();
            assert!(path.contains("python3"), "{path}");
            assert_eq!(row["process.user.name"], "root");
            assert!(!row["netsonde.process.ancestors"].as_array().unwrap().is_empty());
            match socket.kind.as_str() {
                "reuseport" => assert_eq!(row["netsonde.listen.reuse_port_sockets"], 3),
                "device" => {
                    let name = if namespace == own_namespace() { "lo" } else { "1" };
                    assert_eq!(row["network.interface.name"], name);
                }
                "connected" => {
                    assert_eq!(row["network.peer.address"], "127.0.0.1");
                    assert_eq!(row["network.peer.port"], 9);
                    assert_eq!(row["netsonde.listen.port_automatic"], false);
                }
                "automatic" => {
                    assert_eq!(row["netsonde.listen.port_automatic"], true);
                    assert_eq!(row["netsonde.listen.backlog"], 3);
                }
                "ipv4" if socket.transport == "tcp" => assert_eq!(row["netsonde.listen.backlog"], 7),
                _ => {}
            }
        }
    }
}

#[test]
fn the_inventory_is_what_ss_says_in_every_namespace() {
    let _host = Host::acquire().unwrap();
    let elsewhere = Namespace::new().unwrap();
    let (older, here) = open(None);
    let daemon = Daemon::start("").unwrap();
    let (running, there) = open(Some(&elsewhere));
    let places = [None, Some(&elsewhere)];
    let inode = elsewhere.inode().unwrap();

    let known = rows_that_equal_ss(&daemon.configuration(), &places);
    check(&known, &here, own_namespace(), None);
    check(&known, &there, inode, Some(true));
    let opened = |row: &&Value| row["process.pid"] == there.pid && row["network.transport"] == "tcp";
    for row in known.iter().filter(opened) {
        assert_eq!(row["netsonde.audit.source"], "daemon");
        assert!(
            row["netsonde.listen.opened"].is_string() && row["netsonde.listen.accepted"] == 0,
            "{row:#?}"
        );
        assert_eq!(row["netsonde.listen.opened_by"]["process.pid"], there.pid);
    }
    assert!(daemon.stop().unwrap().points.len() > 1);

    let nobody = Nobody::new();
    let output = audit(&nobody.configuration(), "");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("one reading of the kernel"), "{output:?}");
    let read = rows_that_equal_ss(&nobody.configuration(), &places);
    check(&read, &here, own_namespace(), None);
    check(&read, &there, inode, Some(true));
    for row in &read {
        assert_eq!(row["netsonde.audit.source"], "kernel");
        assert!(row.get("netsonde.listen.accepted").is_none());
    }
    drop((older, running));
}

#[test]
fn filters_choose_and_formats_are_written() {
    let _host = Host::acquire().unwrap();
    let (_running, opened) = open(None);
    let daemon = Daemon::start("").unwrap();
    let configuration = daemon.configuration();
    let port = |kind: &str, transport: &str| {
        let of = |socket: &&Socket| socket.kind == kind && socket.transport == transport;
        opened.sockets.iter().find(of).unwrap().port.unwrap()
    };
    let loopback = port("loopback", "tcp");
    for (words, count) in [
        (format!("--port {loopback} --transport tcp"), 1),
        (format!("--port {loopback} --transport tcp --class loopback --namespace initial"), 1),
        (format!("--port {loopback} --transport tcp --class any"), 0),
        (format!("--port {loopback} --transport tcp --namespace other"), 0),
        (format!("--port {loopback} --transport tcp --binary /**/python3*"), 1),
        (format!("--port {loopback} --transport tcp --binary /bin/none"), 0),
        (format!("--port {loopback} --transport tcp --unit no-such.service"), 0),
        (format!("--port {loopback},{} --transport tcp", port("reuseport", "tcp")), 4),
    ] {
        assert_eq!(rows(&configuration, &words).len(), count, "{words}");
    }
    for (format, beginning) in [
        ("table", "1 listeners on "),
        ("ndjson", "{\"network.transport\":\"tcp\""),
        ("csv", "event.name,"),
        ("html", "<!DOCTYPE html>"),
        ("sarif", "{"),
    ] {
        let output = audit(&configuration, &format!("--port {loopback} --transport tcp --format {format}"));
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(beginning), "{format}: {text}");
    }
    for words in ["--port 70000", "--class near", "--format xml", "--diff a --save-baseline b"] {
        let output = audit(&configuration, words);
        assert_eq!(output.status.code(), Some(2), "{words}: {output:?}");
    }
    let suggested = audit(&configuration, &format!("--port {loopback} --transport tcp --suggest-policy"));
    let text = String::from_utf8(suggested.stdout).unwrap();
    assert!(text.contains("[[audit.rule]]") && text.contains("python3"), "{text}");
}

#[test]
fn rules_of_the_configuration_are_shown() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let (_running, opened) = open(Some(&place));
    let socket = opened.sockets.iter().find(|socket| socket.kind == "dual-stack").unwrap();
    let rules = format!(
        "[[audit.rule]]\nname = \"no-snakes\"\naction = \"deny\"\nports = \"{}\"\nbinaries = \"/**/python3*\"\n",
        socket.port.unwrap()
    );
    let daemon = Daemon::start(&rules).unwrap();
    let inode = place.inode().unwrap();
    let rows = rows(&daemon.configuration(), &format!("--namespace {inode} --transport tcp"));
    assert!(!rows.is_empty());
    for row in rows {
        let is_it = row["server.port"] == socket.port.unwrap();
        let expected = if is_it { ("deny", "no-snakes") } else { ("allow", "default") };
        assert_eq!(
            (&row["netsonde.audit.action"], &row["netsonde.audit.rule"]),
            (&expected.0.into(), &expected.1.into())
        );
    }
    let output = audit(&daemon.configuration(), &format!("--namespace {inode} --format sarif"));
    let sarif: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);

    let (code, path, errors) =
        Daemon::refused("", "[[audit.rule]]\nname = \"x\"\naction = \"deny\"\nports = \"9-3\"\n").unwrap();
    assert_eq!(code, Some(78));
    assert!(errors.contains(&format!("{}:4:", path.display())), "{errors}");
}

#[test]
fn all_holders_of_a_listener_are_told() {
    let _host = Host::acquire().unwrap();
    let server = Server::run(&mut python("prefork.py", "3")).unwrap();
    let port = server.address.port();
    let daemon = Daemon::start("").unwrap();
    let nobody = Nobody::new();
    for configuration in [daemon.configuration(), nobody.configuration()] {
        let words = format!("--port {port} --transport tcp");
        let rows = rows(&configuration, &words);
        assert_eq!(rows.len(), 1, "{rows:#?}");
        let holders = rows[0]["netsonde.socket.holders"].as_array().unwrap();
        let pids: Vec<_> = holders.iter().map(|holder| holder["process.pid"].as_u64().unwrap()).collect();
        assert_eq!(pids.len(), 4, "the parent and its workers: {pids:?}");
        assert_eq!(rows[0]["process.pid"], pids[0], "it counts for the first");
    }
    server.stop().unwrap();
}

#[test]
fn who_may_not_read_the_kernel_is_told_so() {
    let _host = Host::acquire().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (binary, file) = (directory.path().join("netsonde"), directory.path().join("netsonde.toml"));
    fs::copy(host::netsonde().unwrap(), &binary).unwrap();
    let run = |socket: &Path| {
        fs::write(&file, format!("[api]\nsocket = \"{}\"\n", socket.display())).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
        let output = command.args(["audit", "--config"]).arg(&file).output().unwrap();
        assert!(output.stdout.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, errors) = run(&directory.path().join("nobody.sock"));
    assert!(code == Some(77) && errors.contains("CAP_BPF"), "{code:?} {errors}");
    let daemon = Daemon::start("").unwrap();
    let (code, errors) = run(&daemon.configuration().with_file_name("api.sock"));
    assert!(code == Some(1) && errors.contains("group"), "{code:?} {errors}");
}

#[test]
fn drift_has_its_exit_code() {
    let _host = Host::acquire().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("baseline");
    let place = Namespace::new().unwrap();
    let (running, _) = open(Some(&place));
    let daemon = Daemon::start("").unwrap();
    let configuration = daemon.configuration();
    // Only our own namespace: others on this host may open and close what they like.
    let inode = place.inode().unwrap();
    let name = rows(&configuration, &format!("--namespace {inode}"))[0]["netsonde.namespace.name"].clone();
    let here = format!("--namespace {}", name.as_str().unwrap());
    let run = |words: &str| {
        let output = audit(&configuration, &format!("{here} {words}"));
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), output.stderr)
    };
    let (code, text, errors) = run(&format!("--save-baseline {}", file.display()));
    assert_eq!((code, text.as_str()), (Some(0), ""), "{}", String::from_utf8_lossy(&errors));
    let diff = format!("--diff {}", file.display());
    let (code, text, _) = run(&diff);
    assert!(code == Some(0) && text.starts_with("nothing differs"), "{code:?} {text}");

    let (more, opened) = open(Some(&place));
    let is_new = command::until(Duration::from_secs(10), || Ok(run(&diff).0 == Some(3))).unwrap();
    assert!(is_new, "new listeners are no drift");
    let (code, text, _) = run(&format!("{diff} --format json"));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(3));
    assert!(rows.iter().all(|row| row["netsonde.audit.drift"] == "new" && row["process.pid"] == opened.pid));
    let (code, text, _) = run(&format!("{diff} --format sarif"));
    let sarif: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &sarif["version"]), (Some(3), &"2.1.0".into()));
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), rows.len());

    drop(more);
    let is_clean = command::until(Duration::from_secs(10), || Ok(run(&diff).0 == Some(0))).unwrap();
    assert!(is_clean, "what is gone again is still drift");
    drop(running);
    let is_gone = command::until(Duration::from_secs(10), || Ok(run(&diff).0 == Some(3))).unwrap();
    assert!(is_gone, "what is gone is no drift");

    fs::write(&file, "nonsense\n").unwrap();
    let (code, _, errors) = run(&diff);
    assert_eq!(code, Some(1));
    assert!(String::from_utf8_lossy(&errors).contains("line 1"), "{}", String::from_utf8_lossy(&errors));
}
