//! netsonde does its whole job as a user of its own with the capabilities that the guide lists, gives up what it needs
//! for the start only, and says what is missing without each.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::{Duration, Instant};

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::datagrams::Agent;
use netsonde_tests::dns::{self, Authority, Client};
use netsonde_tests::expect::{Role, Subject, Transport};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};

/// A user that no host knows.
const USER: u32 = 64_999;
/// docs/guide.md, "Privileges".
const DOCUMENTED: [&str; 5] = ["bpf", "perfmon", "net_admin", "sys_admin", "sys_ptrace"];

/// include/uapi/linux/capability.h
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const NET_ADMIN: u64 = 1 << 12;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
const DAC_OVERRIDE: u64 = 1 << 1;
const AT_START: u64 = BPF | PERFMON | NET_ADMIN | SYS_ADMIN | SYS_PTRACE;

/// Version of the running kernel, of which the guide says from which on a capability covers another.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// What each thread of a process may do, by the thread's name; all sets that it could use or hand on.
fn capabilities(pid: u32) -> BTreeMap<String, Vec<u64>> {
    let mut threads: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let set = |name| u64::from_str_radix(&field(name), 16).unwrap();
        assert_eq!((set("CapInh"), set("CapAmb")), (0, 0), "{status}");
        assert_eq!(set("CapEff"), set("CapPrm"), "{status}");
        assert_eq!(field("NoNewPrivs"), "1", "{status}");
        threads.entry(field("Name")).or_default().push(set("CapPrm"));
    }
    threads
}

/// That only the threads that need something have it, and only that.
fn assert_given_up(pid: u32, main: u64) {
    let threads = capabilities(pid);
    let mut rest = threads.clone();
    assert_eq!(rest.remove("collect").unwrap(), [SYS_ADMIN | SYS_PTRACE]);
    assert_eq!(rest.remove("aggregate").unwrap(), [SYS_PTRACE]);
    assert_eq!(rest.remove("arguments").unwrap(), [SYS_PTRACE], "command lines are on");
    assert!(rest.values().map(Vec::len).sum::<usize>() >= 4, "main, runtime, API and exporter: {threads:?}");
    for (name, held) in rest {
        let writes = ["netsonde", "export-file", "history", "spool"].contains(&name.as_str());
        let kept = if writes { main } else { 0 };
        assert!(held.iter().all(|held| *held == kept), "{name}: {threads:x?}");
    }
    let all = threads.values().flatten().fold(0, |all, held| all | held);
    assert_eq!(all & !(SYS_ADMIN | SYS_PTRACE | main), 0);
    assert!((all & AT_START).count_ones() < AT_START.count_ones(), "fewer than at the start");
}

#[test]
fn does_its_whole_job_with_the_documented_capabilities() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let names = ["earlier-server", "inner-client", "outer-client", "outer-server"];
    let [earlier, inner, client, server] = names.map(|name| programs.copy(name).unwrap());
    let pair = Pair::new().unwrap();
    // Nothing but /proc tells of who is there already, and it belongs to root.
    let listening = Server::start(&earlier, Some(&pair.server), "10.77.0.2:0", "").unwrap();
    let configuration = "[process]\ncommand_line = true\n[events]\nrate_limit = 0\n";
    let daemon = Daemon::start_as(USER, &DOCUMENTED, configuration).unwrap();
    assert_given_up(daemon.pid(), 0);

    // Of an open connection in another network namespace only a visit there tells.
    let to = listening.address;
    let arguments = "--rounds 3 --step --send 100000 --receive 100000";
    let mut running = program::start_connect(&inner, Some(&pair.client), to, arguments).unwrap();
    let moved = running.round().unwrap();
    let subject = Subject::new(&inner, Role::Client).with("server.port", i64::from(to.port()));
    daemon.wait("an open connection of a namespace", |seen| subject.moved(seen) == moved).unwrap();
    // What is in force after a reload was done without the privileges of the start.
    daemon.write_configuration(&configuration.replace("true", "true\nmask = [\"hush\"]")).unwrap();
    assert!(daemon.asking("reload").unwrap().status().unwrap().success(), "{}", daemon.errors());
    running.step().unwrap();
    running.round().unwrap();
    running.step().unwrap();
    let inner_report = running.finish().unwrap();

    let outer = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let report = program::connect(&client, None, outer.address, "--connections 20 --concurrency 4").unwrap();
    let port = outer.address.port();
    let outer_report = outer.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();

    let (mut near, mut far) =
        (Agent::start(Some(&pair.client)).unwrap(), Agent::start(Some(&pair.server)).unwrap());
    let bound = far.bind("10.77.0.2:0").unwrap();
    let connected = near.connect(bound.local).unwrap();
    near.send(connected, None, &[1, 100, 1400]).unwrap();
    far.echo(bound, 3).unwrap();
    near.receive(connected, 3).unwrap();
    let (near_process, far_process) = (near.process.clone(), far.process.clone());
    let (near, far) = (near.end().unwrap(), far.end().unwrap());

    let authority = Authority::start(&pair.server, "10.77.0.2:53").unwrap();
    let mut asking = Client::start(&pair.client).unwrap();
    let answers = asking.ask("10.77.0.2:53", "A", &["plain.zone.test", "missing.zone.test"]).unwrap();
    let asker = asking.identity.clone();
    daemon.wait("lookups", |seen| dns::lookups(seen, asker.process.pid, Role::Client).len() == 2).unwrap();
    asking.end().unwrap();
    authority.stop().unwrap();

    let earlier_report = listening.stop().unwrap();
    oracle::wait_until_closed(Some(&pair.server), to.port()).unwrap();
    let listeners = [("process.executable.path", earlier.to_str().unwrap().into())];
    assert_given_up(daemon.pid(), 0);
    let telemetry = daemon.stop().unwrap();

    subject.assert_exact(&telemetry, inner_report.moved(), 1);
    Subject::new(&earlier, Role::Server).assert_exact(&telemetry, earlier_report.moved(), 1);
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 20);
    Subject::new(&server, Role::Server).assert_exact(&telemetry, outer_report.moved(), 20);
    let udp = |path, role, server: SocketAddr| {
        Subject::over(Transport::Udp, path, role).with("server.port", i64::from(server.port()))
    };
    udp(&near_process.executable, Role::Client, bound.local).assert_datagrams(&telemetry, near, 0);
    udp(&far_process.executable, Role::Server, bound.local).assert_datagrams(&telemetry, far, 0);
    let told = dns::lookups(&telemetry, asker.process.pid, Role::Client);
    for answer in &answers {
        dns::check(&told, answer, Role::Client, &asker).unwrap();
    }
    assert!(telemetry.points.iter().any(|p| p.metric == "netsonde.listeners"
        && listeners.iter().all(|(name, value)| p.attributes.get(*name) == Some(value))));
}

#[test]
fn a_missing_capability_costs_what_is_documented() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server, inner] =
        ["lean-client", "lean-server", "lean-inner"].map(|n| programs.copy(n).unwrap());
    let place = Namespace::new().unwrap();
    let all: &[_] = if kernel() < (6, 9) {
        &["sys_admin", "sys_ptrace", "net_admin"]
    } else {
        &["sys_admin", "sys_ptrace"]
    };
    for (given, missing, namespaces, udp) in [
        (all, &[][..], true, "active"),
        (&["bpf", "perfmon", "net_admin"], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"], false, "active"),
        (&["bpf", "perfmon", "sys_ptrace"], &["CAP_NET_ADMIN", "CAP_SYS_ADMIN"], false, "failed"),
    ] {
        let daemon = Daemon::start_as(USER, given, "").unwrap();
        let outer = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let report = program::connect(&client, None, outer.address, "--connections 5").unwrap();
        let port = outer.address.port();
        outer.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        let there = Server::start(&server, Some(&place), "127.0.0.1:0", "").unwrap();
        let inside = program::connect(&inner, Some(&place), there.address, "--connections 5").unwrap();
        let inner_port = there.address.port();
        there.stop().unwrap();
        oracle::wait_until_closed(Some(&place), inner_port).unwrap();
        let status = daemon.status().unwrap();
        let lacking = status["status"]["lacking"].as_array().unwrap();
        let names: Vec<_> = lacking.iter().map(|one| one["capability"].as_str().unwrap()).collect();
        assert_eq!(names, missing, "{given:?}");
        let code = daemon.asking("status").unwrap().status().unwrap().code();
        assert_eq!(code, Some(if missing.is_empty() { 0 } else { 4 }), "{status:#}");
        assert_eq!(status["status"]["sweep"]["namespaces"].as_u64().unwrap() > 1, namespaces, "{given:?}");
        let signals = status["status"]["signals"].as_array().unwrap();
        let signal = signals.iter().find(|signal| signal["name"] == "udp").unwrap();
        assert_eq!(signal["state"], udp, "{given:?}: {signal}");
        let telemetry = daemon.stop().unwrap();
        let of = |path, port: u16| Subject::new(path, Role::Client).with("server.port", i64::from(port));
        of(&client, port).assert_exact(&telemetry, report.moved(), 5);
        // What closes is told of wherever it is.
        of(&inner, inner_port).assert_exact(&telemetry, inside.moved(), 5);
    }
}

#[test]
fn root_gives_up_its_capabilities_but_the_one_for_files() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start("[process]\ncommand_line = true\n").unwrap();
    assert_given_up(daemon.pid(), DAC_OVERRIDE);
    daemon.stop().unwrap();
}

/// Waits for a request with this header, and leaves it without an answer.
fn request_with(collector: &TcpListener, header: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut last = String::new();
    while Instant::now() < deadline {
        let (stream, _) = collector.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        last = BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        if last.contains(header) {
            return;
        }
    }
    panic!("no request with {header}; the last was {last}");
}

#[test]
fn secrets_and_the_spool_are_its_users_after_privileges_were_given_up() {
    let _host = Host::acquire().unwrap();
    for (user, main) in [(USER, 0), (0, 0)] {
        let place = tempfile::tempdir().unwrap();
        chown(place.path(), Some(user), Some(user)).unwrap();
        let (token, spool) = (place.path().join("token"), place.path().join("spool"));
        let write_token = |value: &str| {
            fs::write(&token, value).unwrap();
            fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&token, Some(user), Some(user)).unwrap();
        };
        write_token("Bearer first");
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let configuration = format!(
            "[process]\ncommand_line = true\n[export.otlp]\nendpoint = \"http://{}\"\nprotocol = \"http/protobuf\"\n\
             headers = {{ authorization = {{ file = \"{}\" }} }}\n[export.spool]\npath = \"{}\"\n",
            collector.local_addr().unwrap(),
            token.display(),
            spool.display()
        );
        let mut daemon = Daemon::start_as(user, &DOCUMENTED, &configuration).unwrap();
        assert_given_up(daemon.pid(), main);
        request_with(&collector, "Bearer first");
        // Read again by threads that have nothing left but their user.
        write_token("Bearer second");
        request_with(&collector, "Bearer second");
        daemon.reload(&configuration.replace("command_line", "mask = [\"hush\"]\ncommand_line")).unwrap();
        daemon.wait_notification("READY=1", Duration::from_secs(20)).unwrap();
        let status = daemon.status().unwrap();
        let otlp = status["status"]["destinations"][0].clone();
        for signal in otlp["signals"].as_array().unwrap() {
            assert_eq!(signal["spool"]["state"], "active", "{signal}");
        }
        // Nothing is delivered, and the next sweep tells of that.
        let degraded = || Ok(daemon.asking("status")?.output()?.status.code() == Some(4));
        assert!(command::until(Duration::from_secs(20), degraded).unwrap(), "{otlp:#}");
        assert!(daemon.end().unwrap().success());
        let kept =
            fs::read_dir(spool.join("otlp/metrics")).unwrap().map(|file| file.unwrap().metadata().unwrap());
        let kept: Vec<_> = kept.collect();
        assert!(kept.iter().map(MetadataExt::size).sum::<u64>() > 0, "nothing was kept");
        assert!(kept.iter().all(|file| file.uid() == user && file.mode() & 0o777 == 0o600));
        assert_eq!(fs::metadata(&spool).unwrap().mode() & 0o777, 0o700);
    }
}
