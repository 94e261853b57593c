//! The local API as users of the host meet it: who is answered, and what a reload does.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::{self, Host};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};

/// Nobody on any host.
const USER: u32 = 64_999;
const OUTSIDER: u32 = 64_998;
const CAPABILITIES: [&str; 2] = ["sys_admin", "sys_ptrace"];

/// Asks with curl as a user in a group, who is nobody else.
fn ask_as(daemon: &Daemon, user: u32, groups: &str, arguments: &str) -> Output {
    Command::new("setpriv")
        .args([&format!("--reuid={user}"), &format!("--regid={user}")])
        .args(groups.split_whitespace())
        .args([
            "--inh-caps=-all",
            "--bounding-set=-all",
            "curl",
            "-s",
            "-m",
            "10",
            "-w",
            "%{http_code}",
            "-o",
        ])
        .args(["/dev/null", "--unix-socket"])
        .arg(daemon.socket())
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(daemon: &Daemon, word: &str) -> u64 {
    // Once a second.
    std::thread::sleep(Duration::from_millis(2500));
    let status = daemon.status().unwrap();
    let refused = status["status"]["api"]["refused"].as_array().unwrap();
    refused.iter().find(|one| one[0] == word).unwrap()[1].as_u64().unwrap()
}

#[test]
fn answers_its_group_and_nobody_else() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start_as(USER, &CAPABILITIES, "").unwrap();
    let file = fs::metadata(daemon.socket()).unwrap();
    assert_eq!((file.mode() & 0o777, file.gid()), (0o660, USER), "{}", daemon.errors());
    let status = "http://localhost/api/v1/status";
    let reload = "-X POST http://localhost/api/v1/reload";
    // By the socket's mode.
    let outside = ask_as(&daemon, OUTSIDER, "--clear-groups", status);
    assert_eq!((code(&outside).as_str(), outside.status.success()), ("000", false));
    // Members read, and change nothing.
    let member = format!("--groups={USER}");
    assert_eq!(code(&ask_as(&daemon, OUTSIDER, &member, status)), "200");
    assert_eq!(code(&ask_as(&daemon, OUTSIDER, &member, reload)), "403");
    assert_eq!(code(&ask_as(&daemon, USER, "--clear-groups", reload)), "200");
    assert_eq!(refused(&daemon, "forbidden"), 1);
    // By the peer's credentials, where somebody has changed the mode.
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(code(&ask_as(&daemon, OUTSIDER, "--clear-groups", status)), "403");
    assert_eq!(code(&ask_as(&daemon, OUTSIDER, "--clear-groups", reload)), "403");
    assert_eq!(code(&ask_as(&daemon, OUTSIDER, &member, status)), "200");
    assert_eq!(refused(&daemon, "forbidden"), 3);
    daemon.stop().unwrap();
}

#[test]
fn hostile_clients_harm_nothing() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) =
        (programs.copy("guarded-client").unwrap(), programs.copy("guarded-server").unwrap());
    let daemon = Daemon::start("").unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = descriptors();
    let connect = || UnixStream::connect(daemon.socket()).unwrap();
    let mut silent: Vec<_> = (0..500).map(|_| connect()).collect();
    for stream in &mut silent {
        // Those that had to make room are gone.
        let _ = stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nx: ");
    }
    for bytes in [vec![0xff; 100_000], [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 100_000]].concat()] {
        let mut stream = connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(descriptors() <= before + 70, "{before} and {}", descriptors());
    assert_eq!(code(&ask_as(&daemon, 0, "--clear-groups", "http://localhost/healthz")), "200");
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let port = listening.address.port();
    let report = program::connect(&client, None, listening.address, "--connections 20").unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    assert!(refused(&daemon, "too_many") >= 400);
    drop(silent);
    let telemetry = daemon.stop().unwrap();
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 20);
}

#[test]
fn reloads_lose_no_count_and_a_bad_file_changes_nothing() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (client, server) =
        (programs.copy("reloaded-client").unwrap(), programs.copy("reloaded-server").unwrap());
    let only = |event: &str| format!("[events]\nrate_limit = 0\nenabled = [\"{event}\"]\n");
    let mut daemon = Daemon::start(&only("close")).unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let port = listening.address.port();
    let arguments = "--connections 400 --concurrency 4 --rounds 3 --pause 10";
    let running = program::start_connect(&client, None, listening.address, arguments).unwrap();
    for _ in 0..10 {
        for event in ["connect", "close"] {
            daemon.write_configuration(&only(event)).unwrap();
            let output = daemon.asking("reload").unwrap().output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            // Who does not read what the service manager is told has it wait.
            daemon.wait_notification("READY=1", Duration::from_secs(10)).unwrap();
        }
    }
    let report = running.finish().unwrap();
    // The command judges the file that it reads itself, the daemon the one that it was started with.
    daemon.write_configuration(&only("nonsense")).unwrap();
    let output = daemon.asking("reload").unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonsense"), "{output:?}");
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("netsonde.toml");
    fs::write(&path, format!("[api]\nsocket = \"{}\"\n", daemon.socket().display())).unwrap();
    let mut asking = Command::new(host::netsonde().unwrap());
    let output = asking.args(["reload", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonsense"), "{output:?}");
    listening.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    let telemetry = daemon.stop().unwrap();
    Subject::new(&client, Role::Client).assert_exact(&telemetry, report.moved(), 400);
}
