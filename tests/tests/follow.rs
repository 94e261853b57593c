//! Events as they come: to several readers at once, whole and filtered, and past one that never reads.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::Moved;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

/// A `netsonde events` whose words go to files.
struct Reader {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Reader {
    fn start(daemon: &Daemon, directory: &TempDir, name: &str, words: &str) -> Self {
        let (output, errors) = (directory.path().join(name), directory.path().join(format!("{name}.errors")));
        let mut command = daemon.asking(&format!("events {words}")).unwrap();
        command.stdin(Stdio::null()).stdout(File::create(&output).unwrap());
        let child = command.stderr(File::create(&errors).unwrap()).spawn().unwrap();
        Self { child, output, errors }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Lines that are whole.
    fn lines(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(ToOwned::to_owned).collect()
    }

    fn events(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(mut self) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
        let status = command::wait_at_most(&mut self.child, LIMIT).unwrap().expect("it ends");
        assert_eq!((status.code(), fs::read_to_string(&self.errors).unwrap()), (Some(0), String::new()));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(program: &Path, to: SocketAddr, connections: usize) -> Moved {
    let arguments = format!("--connections {connections} --concurrency 4 --send 10 --receive 10");
    program::connect(program, None, to, &arguments).unwrap().moved()
}

/// Connects until each has seen something: from then on it follows.
fn wait_until_following(readers: &[&Reader], program: &Path, to: SocketAddr) {
    let all = command::until(LIMIT, || {
        connect(program, to, 1);
        Ok(readers.iter().all(|reader| !reader.lines().is_empty()))
    });
    assert!(all.unwrap(), "{:?}", readers.iter().map(|r| r.lines().len()).collect::<Vec<_>>());
}

#[test]
fn several_readers_get_all_that_they_want() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let (first, client) = (programs.copy("follow-first").unwrap(), programs.copy("follow-client").unwrap());
    let server = programs.copy("follow-server").unwrap();
    let daemon = Daemon::start("[events]\nrate_limit = 0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let (to, port) = (listening.address, listening.address.port());
    let start = |name, words: &str| Reader::start(&daemon, &directory, name, words);
    let all = start("all", "--json");
    let filtered = start("filtered", &format!("--json --type close --port {port} --binary **/follow-*"));
    let lines = start("lines", &format!("--port {port}"));
    let other = start("other", "--json --unit nobody-has-this-unit.service");
    wait_until_following(&[&all, &filtered, &lines], &first, to);

    let moved = connect(&client, to, 200);
    let of_client = |events: &[Value], name: &str| {
        let ours = |event: &&Value| {
            event["event"] == name
                && event["attributes"]["process.executable.path"] == client.to_str().unwrap()
        };
        events.iter().filter(ours).count()
    };
    let whole = command::until(LIMIT, || {
        let events = all.events();
        Ok(of_client(&events, "netsonde.tcp.connect") == 200
            && of_client(&events, "netsonde.tcp.close") == 200
            && of_client(&filtered.events(), "netsonde.tcp.close") == 200)
    });
    assert!(whole.unwrap(), "{} events", all.events().len());
    // With the keys of the records that are exported, and nothing that was not asked for.
    let filtered_events = filtered.events();
    assert!(filtered_events.iter().all(|event| event["event"] == "netsonde.tcp.close"));
    let mut told = Moved::default();
    for event in &filtered_events {
        let attributes = &event["attributes"];
        if attributes["process.executable.path"] == client.to_str().unwrap() {
            let bytes = |key: &str| attributes[key].as_u64().unwrap();
            let (sent, received) =
                (bytes("netsonde.tcp.bytes.transmit"), bytes("netsonde.tcp.bytes.receive"));
            told.add(Moved { sent, received });
            assert!(event["body"].as_str().unwrap().contains("follow-client["), "{event}");
        }
    }
    assert_eq!(told, moved);
    let shown = command::until(LIMIT, || {
        let closed = |line: &&String| line.contains("close ") && line.contains("follow-client[");
        Ok(lines.lines().iter().filter(closed).count() == 200)
    });
    assert!(shown.unwrap(), "{:.2000}", lines.text());
    assert_eq!(other.text(), "");
    for reader in [all, filtered, lines, other] {
        reader.interrupt();
    }
    listening.stop().unwrap();
    daemon.stop().unwrap();
}

#[test]
fn readers_end_cleanly() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("follow-client").unwrap();
    let mut daemon = Daemon::start("").unwrap();
    let listening = Server::start(&client, None, "127.0.0.1:0", "").unwrap();
    // As `| head -1` ends: nobody reads any more.
    let mut command = daemon.asking("events --json").unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    std::thread::scope(|scope| {
        let line = scope.spawn(|| {
            let mut line = String::new();
            output.read_line(&mut line).map(|_| line)
        });
        while !line.is_finished() {
            connect(&client, listening.address, 1);
        }
        let event: Value = serde_json::from_str(&line.join().unwrap().unwrap()).unwrap();
        assert!(event["event"].as_str().unwrap().starts_with("netsonde."), "{event}");
    });
    drop(output);
    let ended = command::until(LIMIT, || {
        connect(&client, listening.address, 1);
        Ok(child.try_wait()?.is_some())
    });
    assert!(ended.unwrap(), "it goes on writing to nobody");
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let wrong = daemon.asking("events --type opened").unwrap().output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("tcp.connect"), "{wrong:?}");

    let directory = tempfile::tempdir().unwrap();
    let mut left = Reader::start(&daemon, &directory, "left", "--json");
    wait_until_following(&[&left], &client, listening.address);
    listening.stop().unwrap();
    assert!(daemon.end().unwrap().success());
    let status = command::wait_at_most(&mut left.child, LIMIT).unwrap().expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert!(fs::read_to_string(&left.errors).unwrap().contains("the daemon has ended"));
    let away = daemon.asking("events").unwrap().output().unwrap();
    assert_eq!(away.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&away.stderr).contains("no netsonde answers"), "{away:?}");
}

#[test]
fn who_never_reads_makes_nobody_wait_and_is_told_what_it_missed() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("flood-client").unwrap();
    let mut daemon = Daemon::start("[events]\nrate_limit = 0").unwrap();
    let listening = Server::start(&client, None, "127.0.0.1:0", "").unwrap();
    let mut stuck = UnixStream::connect(daemon.socket()).unwrap();
    stuck.set_read_timeout(Some(LIMIT)).unwrap();
    stuck.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut head = [0; 12];
    stuck.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    for _ in 0..20 {
        connect(&client, listening.address, 200);
        // Others are served meanwhile, though it is there.
        let healthy = Command::new("curl")
            .args(["-sf", "-m", "5", "--unix-socket"])
            .arg(daemon.socket())
            .arg("http://localhost/healthz")
            .stdout(Stdio::null())
            .status();
        assert!(healthy.unwrap().success());
    }
    let mut stuck = BufReader::new(stuck);
    let missed = std::iter::from_fn(|| {
        let mut line = String::new();
        stuck.read_line(&mut line).ok().filter(|length| *length > 0).map(|_| line)
    })
    .skip_while(|line| line.trim() != "event: missed")
    .nth(1)
    .expect("it is told");
    let missed: Value = serde_json::from_str(missed.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert!(missed["missed"].as_u64().unwrap() > 0, "{missed}");
    drop(stuck);
    let counted = command::until(LIMIT, || {
        let status = daemon.status()?;
        let missed = status["status"]["view"].as_array().unwrap().iter().find(|loss| loss[0] == "events");
        Ok(missed.unwrap()[1].as_u64().unwrap() > 0)
    });
    assert!(counted.unwrap(), "what was missed is not counted");
    listening.stop().unwrap();
    assert!(daemon.end().unwrap().success());
}
