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
use netsonde_tests::program::{Programs, Running, Server, python};
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
    assert!(code == Some(1) && errors.contains("run it as root, or as a member"), "{code:?} {errors}");
}

/// A copy of netsonde that everybody may run, run as a user that is not root.
struct Unprivileged {
    directory: TempDir,
}

impl Unprivileged {
    const USER: &str = "65534";

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(host::netsonde().unwrap(), directory.path().join("netsonde")).unwrap();
        Self { directory }
    }

    fn audit(&self, configuration: &Path, group: &str, words: &str) -> Output {
        // The daemon's own configuration may be for root alone.
        let copy = self.directory.path().join("netsonde.toml");
        fs::copy(configuration, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            Self::USER,
            "--regid",
            Self::USER,
            "--groups",
            group,
            "--bounding-set",
            "-all",
        ]);
        command.arg(self.directory.path().join("netsonde")).args(["audit", "--config"]).arg(copy);
        command.args(words.split_whitespace()).output().unwrap()
    }
}

#[test]
fn members_of_the_sockets_group_see_everything() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let (_running, _) = open(Some(&place));
    // Debian has it on every host, and nobody is in it.
    let daemon = Daemon::start("[api]\ngroup = \"games\"\n").unwrap();
    let socket = daemon.configuration().with_file_name("api.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let members = fs::metadata(&socket).unwrap().gid().to_string();

    let user = Unprivileged::new();
    let words = format!("--namespace {}", place.inode().unwrap());
    let whole =
        |row: &Value| row.get("netsonde.socket.holders").is_some() && row.get("process.pid").is_some();
    let equal = command::until(Duration::from_secs(10), || {
        let as_member = user.audit(&daemon.configuration(), &members, &format!("{words} --format json"));
        assert!(as_member.status.success(), "{as_member:?}");
        let seen: Vec<Value> = serde_json::from_slice(&as_member.stdout)?;
        Ok(seen.len() > 15 && seen.iter().all(whole) && seen == rows(&daemon.configuration(), &words))
    });
    assert!(equal.unwrap(), "a member does not see what root sees");

    let stranger = user.audit(&daemon.configuration(), "65533", "");
    let errors = String::from_utf8(stranger.stderr).unwrap();
    assert_eq!((stranger.status.code(), stranger.stdout.len()), (Some(1), 0));
    let expected = "run it as root, or as a member of the group games";
    assert!(errors.contains(expected) && errors.contains(&socket.display().to_string()), "{errors}");
}

#[test]
fn what_does_not_fit_is_counted_and_said() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let limit = "[limits]\nlisteners = 6\n";
    let (older, _) = open(Some(&place));
    let daemon = Daemon::start(limit).unwrap();
    let nobody = Nobody::new();
    let text = fs::read_to_string(nobody.configuration()).unwrap();
    fs::write(nobody.configuration(), format!("{text}{limit}")).unwrap();
    for configuration in [daemon.configuration(), nobody.configuration()] {
        let output = audit(&configuration, "--listening");
        let (text, errors) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(text.starts_with("6 listeners on "), "{text}");
        let said = text.lines().find(|line| line.starts_with("truncated: ")).unwrap();
        let left: u64 = said.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(left >= 12, "{said}");
        assert!(errors.contains(said) && said.contains("limits.listeners"), "{errors}");
        let output = audit(&configuration, "--format json");
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows.len(), 6);
        assert!(String::from_utf8(output.stderr).unwrap().contains("truncated: "));
    }
    drop(older);
    let fits = command::until(Duration::from_secs(10), || {
        Ok(!String::from_utf8(audit(&daemon.configuration(), "").stdout)?.contains("truncated"))
    });
    assert!(fits.unwrap(), "there is room again");
}

#[test]
fn another_program_on_the_same_port_is_a_change() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (first, second) = (programs.copy("first").unwrap(), programs.copy("second").unwrap());
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start("").unwrap();
    let file = daemon.configuration().with_file_name("baseline");
    let here = format!("--namespace {}", place.name());
    let run = |words: &str| {
        let output = audit(&daemon.configuration(), &format!("{here} {words}"));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let serve = |program: &Path| Server::start(program, Some(&place), "127.0.0.1:4711", "").unwrap();
    let is_there = |program: &Path| {
        let shown = || rows(&daemon.configuration(), &here);
        let path = program.to_str().unwrap();
        let is_there = || Ok(shown().len() == 1 && shown()[0]["process.executable.path"] == path);
        assert!(command::until(Duration::from_secs(10), is_there).unwrap(), "{:#?}", shown());
    };

    let server = serve(&first);
    is_there(&first);
    assert_eq!(run(&format!("--save-baseline {}", file.display())).0, Some(0));
    server.stop().unwrap();
    let diff = format!("--diff {} --format json", file.display());
    let is_gone = command::until(Duration::from_secs(10), || Ok(run(&diff).0 == Some(3))).unwrap();
    assert!(is_gone, "what is gone is no drift");
    let drift = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap().remove(0);
    assert_eq!(drift(&run(&diff).1)["netsonde.audit.drift"], "gone");

    let server = serve(&second);
    is_there(&second);
    let (code, text) = run(&diff);
    let row = drift(&text);
    assert_eq!((code, &row["netsonde.audit.drift"]), (Some(3), &"changed".into()));
    let change = format!("process.executable.path: -{} +{}", first.display(), second.display());
    assert_eq!(row["netsonde.audit.differences"], serde_json::json!([change]));
    server.stop().unwrap();

    let server = serve(&first);
    is_there(&first);
    assert_eq!(run(&diff), (Some(0), "[]\n".to_owned()), "the same program with another pid is what was");
    server.stop().unwrap();
}

#[test]
fn suggested_rules_allow_what_they_were_made_from_and_nothing_else() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let place = Namespace::new().unwrap();
    let (_running, _) = open(Some(&place));
    let daemon = Daemon::start("").unwrap();
    let here = format!("--namespace {}", place.name());
    // Not before a sweep has told what only a sweep can tell.
    let known = |row: &Value| {
        row.get("netsonde.listen.port_automatic").is_some() || row["network.transport"] != "udp"
    };
    let settled = command::until(Duration::from_secs(10), || {
        let rows = rows(&daemon.configuration(), &here);
        Ok(rows.len() > 15 && rows.iter().all(known))
    });
    assert!(settled.unwrap());
    let suggested = audit(&daemon.configuration(), &format!("{here} --suggest-policy"));
    assert_eq!(suggested.status.code(), Some(0));
    let baseline = daemon.configuration().with_file_name("baseline");
    let words = format!("{here} --with-ephemeral --save-baseline {}", baseline.display());
    assert_eq!(audit(&daemon.configuration(), &words).status.code(), Some(0));
    let from_baseline = audit(&daemon.configuration(), &format!("--suggest-policy {}", baseline.display()));
    assert_eq!(from_baseline.status.code(), Some(0), "{from_baseline:?}");
    // Comments name ports, and a baseline leaves out those that the kernel chose.
    let rules_of = |output: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(output);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(
        rules_of(&from_baseline.stdout),
        rules_of(&suggested.stdout),
        "a baseline has all that rules are made from"
    );

    let text = fs::read_to_string(daemon.configuration()).unwrap();
    let rules = String::from_utf8(suggested.stdout).unwrap();
    let judged = daemon.configuration().with_file_name("judged.toml");
    fs::write(&judged, format!("{text}\n[audit]\ndefault = \"deny\"\n{rules}")).unwrap();
    let mut check = Command::new(host::netsonde().unwrap());
    let checked = check.arg("check-config").arg("--config").arg(&judged).output().unwrap();
    assert!(checked.status.success(), "{checked:?}\n{rules}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("[[audit.rule]]"), "{checked:?}");

    let verdicts = || {
        let verdict =
            |row: &Value| (row["netsonde.audit.action"].clone(), row["process.executable.path"].clone());
        rows(&judged, &here).iter().map(verdict).collect::<Vec<_>>()
    };
    let clean = verdicts();
    assert!(clean.len() > 15 && clean.iter().all(|(action, _)| action == "allow"), "{clean:#?}\n{rules}");
    let other = programs.copy("other").unwrap();
    let server = Server::start(&other, Some(&place), "127.0.0.1:4711", "").unwrap();
    let denied = (Value::from("deny"), Value::from(other.to_str().unwrap()));
    let is_denied = command::until(Duration::from_secs(10), || Ok(verdicts().contains(&denied)));
    assert!(is_denied.unwrap(), "{:#?}\n{rules}", verdicts());
    server.stop().unwrap();
}

#[test]
fn exit_codes_are_what_the_help_says() {
    let _host = Host::acquire().unwrap();
    let nobody = Nobody::new();
    let configuration = nobody.configuration();
    let mut help = Command::new(host::netsonde().unwrap());
    let help = command::output(help.args(["audit", "--help"])).unwrap();
    let codes = help.split_once("Exit codes:").unwrap().1;
    // 3, and 77 without the right to read the kernel, have tests of their own.
    for code in ["0", "1", "2", "3", "77", "78"] {
        assert!(codes.lines().any(|line| line.split_whitespace().next() == Some(code)), "{code}: {codes}");
    }
    let code = |configuration: &Path, words: &str| audit(configuration, words).status.code();
    assert_eq!(code(&configuration, "--listening"), Some(0));
    assert_eq!(code(&configuration, "--diff /nowhere/baseline"), Some(1));
    assert_eq!(code(&configuration, "--save-baseline /nowhere/baseline"), Some(1));
    assert_eq!(code(&configuration, "--colour"), Some(2));
    assert_eq!(code(Path::new("/nowhere/netsonde.toml"), ""), Some(78));
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, format!("{text}[[audit.rule]]\nname = \"x\"\naction = \"forbid\"\n")).unwrap();
    let output = audit(&configuration, "");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(errors.contains(&format!("{}:5:", configuration.display())), "{errors}");
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
