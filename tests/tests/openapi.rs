//! The local API answers as its description says: schemathesis asks a running daemon all that the description allows, and
//! what it does not.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::python::Python;
use netsonde_tests::rotel::free_ports;
use netsonde_tests::{api, command};

const TOKEN: &str = "0123456789abcdef";
/// The whole run ends by itself before this.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn answers_are_as_described() {
    let _host = Host::acquire().unwrap();
    let python = Python::with("requirements-openapi.txt").unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("described").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let [port] = free_ports().unwrap();
    let configuration =
        format!("[api]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"{}\"\n", token.display());
    let daemon = Daemon::start(&configuration).unwrap();
    // So that there is something to answer with.
    let listening = Server::start(&client, None, "127.0.0.1:0", "").unwrap();
    program::connect(&client, None, listening.address, "--connections 9 --send 99 --receive 99").unwrap();
    api::wait(&daemon, "/api/v1/flows", |flows| {
        flows["flows"].to_string().contains(client.to_str().unwrap())
    })
    .unwrap();
    let output = directory.path().join("output");
    let mut child = python
        .installed("schemathesis")
        .args(["run", &format!("http://127.0.0.1:{port}/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--seed", "1"])
        // Events have no end; tests/follow.rs is about them.
        .args(["--exclude-path", "/api/v1/events", "--max-time", "25", "--max-examples", "25"])
        .args(["--checks", "all", "--request-timeout", "10", "--no-shrink", "--no-color"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = command::wait_at_most(&mut child, LIMIT).unwrap();
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = fs::read_to_string(&output).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}");
    // It did ask: the operations that it has tried are counted by the daemon, not by itself.
    let status = daemon.status().unwrap();
    assert!(status["status"]["api"]["requests"].as_u64().unwrap() > 100, "{said}");
    listening.stop().unwrap();
    daemon.stop().unwrap();
}
