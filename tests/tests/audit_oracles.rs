//! The inventory beside other programs' word: who holds each socket by `ss -p`, which ports are open by `nmap`; and beside
//! what the test did: connections accepted, and from where.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::Namespace;
use netsonde_tests::oracle;
use netsonde_tests::program::{Running, Server, python};
use netsonde_tests::rotel::free_ports;
use serde_json::Value;

/// What the promise "within about a second" may take on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(3);
const IN_TIME: Duration = Duration::from_secs(20);

fn audit(configuration: &Path, words: &str) -> Vec<Value> {
    let mut command = Command::new(host::netsonde().unwrap());
    command.args(["audit", "--format", "json", "--config"]).arg(configuration).args(words.split_whitespace());
    serde_json::from_str(&command::output(&mut command).unwrap()).unwrap()
}

fn inside(place: Option<&Namespace>, command: &Command) -> Command {
    let mut moved = match place {
        Some(namespace) => namespace.command(Path::new(command.get_program())),
        None => Command::new(command.get_program()),
    };
    moved.args(command.get_args());
    moved
}

fn inode(place: Option<&Namespace>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    place.map_or_else(|| fs::metadata("/proc/self/ns/net").unwrap().ino(), |place| place.inode().unwrap())
}

/// One line of `ss`: where, and which processes hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    local: String,
    pids: BTreeSet<u64>,
    /// As the kernel calls them (`comm`).
    names: BTreeSet<String>,
}

fn ss(place: Option<&Namespace>, words: &str) -> Vec<Line> {
    let words = format!("ss {words} -H");
    let text = match place {
        None => command::line(&words),
        Some(namespace) => namespace.run(&words),
    };
    let mut lines: Vec<Line> = text.unwrap().lines().map(ss_line).collect();
    lines.sort();
    lines
}

/// `users:(("python3",pid=7,fd=3),("python3",pid=8,fd=3))` is the last word, if there are any that `ss` may see.
fn ss_line(line: &str) -> Line {
    let words: Vec<&str> = line.split_whitespace().collect();
    // With a column for the protocol where several are asked for.
    let local = if matches!(words[0], "tcp" | "udp") {
        format!("{} {}", words[0], words[4])
    } else {
        format!("udp {}", words[3])
    };
    let users = line.split_once("users:(").map_or("", |(_, users)| users);
    let pids = users.split("pid=").skip(1).map(|rest| rest.split(',').next().unwrap().parse().unwrap());
    let names = users.split("(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    Line { local, pids: pids.collect(), names: names.collect() }
}

/// The rows as `ss -l` would write them: those that are connected left out.
fn as_ss_has_them(rows: &[Value], namespace: u64) -> Vec<Line> {
    let is_asked_for = |row: &&Value| {
        row["netsonde.network.namespace"] == namespace
            && matches!(row["network.transport"].as_str(), Some("tcp" | "udp"))
            && row.get("network.peer.address").is_none()
    };
    let line = |row: &Value| {
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
        let holders = row["netsonde.socket.holders"].as_array().cloned().unwrap_or_default();
        let name = |holder: &Value| {
            let path = holder["process.executable.path"].as_str().unwrap_or_default();
            path.rsplit('/').next().unwrap_or_default().to_owned()
        };
        Line {
            local: format!(
                "{} {address}{interface}:{}",
                row["network.transport"].as_str().unwrap(),
                row["server.port"]
            ),
            pids: holders.iter().map(|holder| holder["process.pid"].as_u64().unwrap()).collect(),
            names: holders.iter().map(name).collect(),
        }
    };
    let mut lines: Vec<Line> = rows.iter().filter(is_asked_for).map(line).collect();
    lines.sort();
    lines
}

/// What one has and the other does not. Where `ss` sees nobody, as of the kernel's own sockets, only the place counts;
/// a name of `ss` may be that of a link to the binary, python3 for python3.11, and is cut to 15 bytes.
fn differences(found: &[Line], expected: &[Line]) -> Vec<String> {
    let mut left: Vec<&Line> = found.iter().collect();
    let mut missing = Vec::new();
    let agree = |line: &Line, wanted: &Line| {
        let named = |name: &String| line.names.iter().any(|path| path.starts_with(name.as_str()));
        line.local == wanted.local
            && (wanted.pids.is_empty() || (line.pids == wanted.pids && wanted.names.iter().all(named)))
    };
    // Those with holders first: the others may take any at that place.
    let (named, nameless): (Vec<&Line>, Vec<&Line>) = expected.iter().partition(|line| !line.pids.is_empty());
    for wanted in named.into_iter().chain(nameless) {
        match left.iter().position(|line| agree(line, wanted)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(format!("ss has {wanted:?}")),
        }
    }
    missing.extend(left.into_iter().map(|line| format!("netsonde has {line:?}")));
    missing
}

#[test]
fn every_holder_is_the_one_that_ss_names() {
    let _host = Host::acquire().unwrap();
    let elsewhere = Namespace::new().unwrap();
    let daemon = Daemon::start("").unwrap();
    let mut servers = Vec::new();
    let mut held = Vec::new();
    for place in [None, Some(&elsewhere)] {
        // Inherited by workers, a group of one socket each, and sockets of every kind.
        servers.push(Server::run(&mut inside(place, &python("prefork.py", "3"))).unwrap());
        servers.push(Server::run(&mut inside(place, &python("reuse_port.py", "3"))).unwrap());
        let mut kinds = Running::start_command(&mut inside(place, &python("listeners.py", ""))).unwrap();
        kinds.line().unwrap();
        held.push(kinds);
    }
    let [port] = free_ports().unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.env("SYSTEMD_LOG_LEVEL", "warning").args(["--listen", &format!("127.0.0.1:{port}"), "python3"]);
    let activator = Running::start_command(command.arg(host::source("programs/activated.py"))).unwrap();
    oracle::wait_until_listening(None, port).unwrap();

    let compare = |what: &str, configuration: &Path| {
        let mut differs = Vec::new();
        let equal = command::until(IN_TIME, || {
            differs.clear();
            for (place, words) in
                [(None, "-lntup"), (Some(&elsewhere), "-lntup"), (None, "-lnup"), (Some(&elsewhere), "-lnup")]
            {
                let expected = ss(place, words);
                let mut found = as_ss_has_them(&audit(configuration, "--listening"), inode(place));
                if words == "-lnup" {
                    found.retain(|line| line.local.starts_with("udp "));
                }
                differs.extend(differences(&found, &expected));
            }
            Ok(differs.is_empty())
        });
        assert!(equal.unwrap(), "{what}: {differs:#?}");
    };
    compare("the daemon", &daemon.configuration());

    // The first connection starts the service in the activator's place.
    let of_port = format!("--port {port} --transport tcp");
    let before = audit(&daemon.configuration(), &of_port);
    assert!(before[0]["process.executable.path"].as_str().unwrap().ends_with("systemd-socket-activate"));
    let mut client = python("connect_from.py", &format!("127.0.0.1:{port} 127.0.0.1"));
    command::output(&mut client).unwrap();
    let service = Server::listening(activator).unwrap();
    let mut rows = Vec::new();
    let is_the_services = command::until(IN_TIME, || {
        rows = audit(&daemon.configuration(), &of_port);
        Ok(rows.len() == 1
            && rows[0]["process.executable.path"].as_str().is_some_and(|p| p.contains("python3")))
    });
    assert!(is_the_services.unwrap(), "{rows:#?}");
    assert_eq!(rows[0]["process.pid"], service.pid(), "it goes on as the same process");
    let opener = &rows[0]["netsonde.listen.opened_by"]["process.executable.path"];
    assert!(opener.as_str().unwrap().ends_with("systemd-socket-activate"), "{opener}");
    compare("the daemon, after an activation", &daemon.configuration());
    assert!(daemon.stop().unwrap().points.len() > 1);

    let directory = tempfile::tempdir().unwrap();
    let nobody = directory.path().join("netsonde.toml");
    fs::write(&nobody, format!("[api]\nsocket = \"{}\"\n", directory.path().join("api.sock").display()))
        .unwrap();
    compare("one reading", &nobody);
    drop((service, servers, held));
}

/// Open ports by a scan that connects to each.
fn nmap(place: &Namespace, words: &str) -> BTreeSet<u64> {
    let text = place.run(&format!("nmap -sT -n -Pn -p- -T5 -oG - {words}")).unwrap();
    let ports = text.lines().find_map(|line| line.split_once("Ports: ")).map_or("", |(_, ports)| ports);
    let open = ports.split(", ").filter(|port| port.contains("/open/tcp"));
    open.map(|port| port.split('/').next().unwrap().trim().parse().unwrap()).collect()
}

#[test]
fn open_ports_are_those_that_nmap_finds() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start("").unwrap();
    let mut kinds = Running::start_command(&mut inside(Some(&place), &python("listeners.py", ""))).unwrap();
    kinds.line().unwrap();
    let server = Server::run(&mut inside(Some(&place), &python("reuse_port.py", "2"))).unwrap();
    let rows = || {
        audit(
            &daemon.configuration(),
            &format!("--listening --transport tcp --namespace {}", inode(Some(&place))),
        )
    };
    // The sweep has been there when it is known whether `::` takes IPv4.
    let known = |rows: &[Value]| rows.iter().all(|row| row["netsonde.listen.queued"].is_number());
    assert!(command::until(IN_TIME, || Ok(rows().len() == 12 && known(&rows()))).unwrap(), "{:#?}", rows());
    for (words, reached) in [("127.0.0.1", ["0.0.0.0", "127.0.0.1", "::"]), ("-6 ::1", ["::1", "::", "::"])] {
        let expected: BTreeSet<u64> = rows()
            .iter()
            .filter(|row| reached.contains(&row["server.address"].as_str().unwrap()))
            .filter(|row| row["netsonde.socket.ipv6_only"] != true || words.starts_with("-6"))
            .map(|row| row["server.port"].as_u64().unwrap())
            .collect();
        assert!(expected.len() >= 3, "{expected:?}");
        let mut found = BTreeSet::new();
        // A scan may connect to itself where it gets the port that it asks for as its own, and takes that for open.
        let equal = (0..3).any(|_| {
            found = nmap(&place, words);
            found == expected
        });
        assert!(equal, "nmap {words}: {found:?}, netsonde {expected:?}");
    }
    drop((server, kinds));
}

#[test]
fn what_was_accepted_is_what_the_clients_did() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let daemon = Daemon::start("").unwrap();
    let serve = |address: &str| {
        Server::run(&mut inside(Some(&place), &python("server.py", &format!("{address}:0")))).unwrap()
    };
    let (few, many) = (serve("127.0.0.1"), serve("0.0.0.0"));
    let connect = |server: &Server, sources: &[String]| {
        let to = format!("127.0.0.1:{}", server.address.port());
        let mut command =
            inside(Some(&place), &python("connect_from.py", &format!("{to} {}", sources.join(" "))));
        let began = Timestamp::now();
        command::output(&mut command).unwrap();
        (began, Timestamp::now())
    };
    // Three networks, two addresses in each, one of which comes twice.
    let addresses =
        ["127.1.1.1", "127.1.1.2", "127.1.2.1", "127.1.2.2", "127.1.3.1", "127.1.3.2", "127.1.1.1"];
    let sources: Vec<String> = addresses.iter().map(|text| (*text).to_owned()).collect();
    let (began, ended) = connect(&few, &sources);
    // More networks than are remembered.
    let sources: Vec<String> = (1..=12).map(|number| format!("127.4.{number}.1")).collect();
    connect(&many, &sources);

    let row = |server: &Server| {
        let words =
            format!("--transport tcp --port {} --namespace {}", server.address.port(), inode(Some(&place)));
        audit(&daemon.configuration(), &words).remove(0)
    };
    let complete = command::until(IN_TIME, || {
        Ok(row(&few)["netsonde.listen.accepted"] == 7 && row(&many)["netsonde.listen.accepted"] == 12)
    });
    assert!(complete.unwrap(), "{:#?} {:#?}", row(&few), row(&many));
    let (few_row, many_row) = (row(&few), row(&many));
    assert_eq!(few_row["netsonde.listen.peers"], 6);
    assert_eq!(
        few_row["netsonde.listen.client_networks"],
        serde_json::json!(["127.1.1.0/24", "127.1.2.0/24", "127.1.3.0/24"])
    );
    assert!(few_row.get("netsonde.listen.further_networks").is_none(), "{few_row:#?}");
    let last: Timestamp = few_row["netsonde.listen.last_accepted"].as_str().unwrap().parse().unwrap();
    // Of two clocks, one of which is read a moment later, to the millisecond.
    let slack = SignedDuration::from_millis(5);
    assert!(last >= began - slack && last <= ended + slack, "{began} {last} {ended}");
    let peers = many_row["netsonde.listen.peers"].as_u64().unwrap();
    assert!((10..=14).contains(&peers), "an estimate, with a standard error of 9 %: {peers}");
    assert_eq!(many_row["netsonde.listen.client_networks"].as_array().unwrap().len(), 8);
    assert_eq!(many_row["netsonde.listen.further_networks"], true);
}

#[test]
fn openings_and_closings_are_seen_without_a_sweep() {
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    // Its first sweep is its only one.
    let daemon = Daemon::start_without_sweeps("[events]\nenabled = []\n").unwrap();
    let rows = || audit(&daemon.configuration(), &format!("--listening --namespace {}", inode(Some(&place))));
    assert!(rows().is_empty());
    let mut kinds =
        Running::start_command(&mut inside(Some(&place), &python("listeners.py", "5353"))).unwrap();
    let opened: Value = kinds.read().unwrap();
    let listening = Instant::now();
    let expected = opened["sockets"].as_array().unwrap().iter();
    // UDP on a port that clients use as well is told of when it serves, and by a sweep.
    // A listener that nobody bound gets its port when it has begun to listen: a sweep sees which.
    let port = |socket: &Value| socket["port"].as_u64().filter(|_| socket["kind"] != "automatic");
    let expected: Vec<(&str, Option<u64>)> = expected
        .filter(|socket| socket["transport"] == "tcp" || socket["kind"] == "named")
        .map(|socket| (socket["transport"].as_str().unwrap(), port(socket)))
        .collect();
    let of = |rows: &[Value]| {
        let of = |row: &Value| {
            (row["network.transport"].as_str().unwrap().to_owned(), row["server.port"].as_u64())
        };
        let mut all: Vec<_> = rows.iter().map(of).collect();
        all.sort();
        all
    };
    let mut expected: Vec<(String, Option<u64>)> =
        expected.into_iter().map(|(t, port)| (t.to_owned(), port)).collect();
    expected.sort();
    let mut found = Vec::new();
    let complete = command::until(SOON, || {
        found = rows();
        Ok(of(&found) == expected)
    });
    assert!(complete.unwrap(), "expected {expected:?}: {found:#?}");
    println!("openings were seen after {:?}", listening.elapsed());
    for row in &found {
        assert_eq!(row["process.pid"], opened["pid"]);
        assert_eq!(row["netsonde.listen.opened_by"]["process.pid"], opened["pid"]);
        assert!(row["netsonde.listen.opened"].is_string(), "{row:#?}");
        let Some(port) = row["server.port"].as_u64() else {
            assert_eq!(row["netsonde.listen.port_automatic"], true);
            continue;
        };
        let sockets = opened["sockets"].as_array().unwrap();
        let kind = sockets.iter().find(|socket| socket["port"] == port && socket["transport"] == "tcp");
        let Some(kind) = kind.and_then(|socket| socket["kind"].as_str()) else { continue };
        // Of a group, only the first asked for any port.
        if kind != "reuseport" {
            assert_eq!(row["netsonde.listen.port_automatic"], true);
        }
        assert_eq!(row["netsonde.socket.reuse_port"], kind == "reuseport");
        let only = row["netsonde.socket.ipv6_only"].as_bool();
        let expected = match kind {
            "v6only" | "ipv6" => Some(true),
            "dual-stack" => Some(false),
            _ => None,
        };
        assert_eq!(only, expected, "{row:#?}");
    }
    drop(kinds);
    let closed = Instant::now();
    assert!(command::until(SOON, || Ok(rows().is_empty())).unwrap(), "{:#?}", rows());
    println!("closings were seen after {:?}", closed.elapsed());
    let telemetry = daemon.stop().unwrap();
    assert!(
        telemetry.events.is_empty(),
        "they are not logged when nobody asked for that: {:#?}",
        telemetry.events
    );
}
