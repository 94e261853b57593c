//! What a host can do to netsonde itself: stop it for half a minute, leave it no file descriptor, no room for flows, no
//! collector that can be trusted. It goes on, and in the end the totals are right.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use netsonde_tests::collector::Collector;
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::Moved;
use netsonde_tests::scene::{PATIENCE, PROTOCOLS, Scene};
use netsonde_tests::telemetry::Telemetry;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

#[test]
fn a_daemon_that_was_stopped_for_half_a_minute_has_missed_nothing() {
    const STOPPED: Duration = Duration::from_secs(30);
    let mut scene = Scene::new("grpc");
    // As it is by default: a request that was under way meanwhile may be too late when it goes on.
    scene.timeout = "10s";
    let _collector = scene.collector("[]");
    let daemon = scene.daemon();
    let before = scene.traffic("before");
    scene.assert_arrives(&before);
    daemon.signal(Signal::STOP).unwrap();
    let stopped = Instant::now();
    let meanwhile = scene.traffic("meanwhile");
    std::thread::sleep(STOPPED.saturating_sub(stopped.elapsed()));
    assert!(!meanwhile.is_in(&scene.taken()), "it was not stopped");
    scene.interrupted();
    daemon.signal(Signal::CONT).unwrap();
    scene.assert_arrives(&meanwhile);
    let after = scene.traffic("after");
    scene.assert_arrives(&after);
    assert!(before.is_in(&scene.taken()));
}

/// Leaves a daemon no further file descriptor, or as many as before.
fn set_descriptors(daemon: &Daemon, limit: Rlimit) {
    let pid = Pid::from_raw(daemon.pid().try_into().unwrap());
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

#[test]
fn without_file_descriptors_it_says_so_and_recovers() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let mut daemon = scene.daemon();
        let before = scene.traffic("before");
        before.wait_until_exported(&daemon);
        let usual = getrlimit(Resource::Nofile);
        // Those that are open stay so.
        set_descriptors(&daemon, Rlimit { current: Some(3), ..usual });
        let _collector = scene.collector("[]");
        let meanwhile = scene.traffic("meanwhile");
        let told = || Ok(daemon.errors().contains("Too many open files"));
        assert!(command::until(PATIENCE, told).unwrap(), "{}", daemon.errors());
        // Some intervals, and attempts to send.
        std::thread::sleep(Duration::from_secs(4));
        assert!(!before.is_in(&scene.taken()), "it still had descriptors");
        set_descriptors(&daemon, usual);
        scene.assert_arrives(&before);
        scene.assert_arrives(&meanwhile);
        let after = scene.traffic("after");
        scene.assert_arrives(&after);
        assert!(daemon.end().unwrap().success(), "{}", daemon.errors());
    }
}

#[test]
fn with_room_for_four_flows_the_totals_are_right() {
    const PAIRS: usize = 8;
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let daemon = Daemon::start("[limits]\nflows = 4\n[select]\nown_traffic = false\n").unwrap();
    let pairs: Vec<_> = (0..PAIRS)
        .map(|number| {
            let [client, server] =
                ["client", "server"].map(|role| programs.copy(&format!("few-{role}-{number}")).unwrap());
            let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
            let arguments = "--connections 10 --send 400000 --receive 400000";
            let running = program::start_connect(&client, None, listening.address, arguments).unwrap();
            (client, server, listening, running)
        })
        .collect();
    let (mut expected, mut subjects) = (Moved::default(), Vec::new());
    for (client, server, listening, running) in pairs {
        let port = listening.address.port();
        let sent = running.finish().unwrap().moved();
        let served = listening.stop().unwrap().moved();
        oracle::wait_until_closed(None, port).unwrap();
        subjects.push((Subject::new(&client, Role::Client), sent));
        subjects.push((Subject::new(&server, Role::Server), served));
        expected.add(sent);
        expected.add(served);
    }
    let telemetry = daemon.stop().unwrap();
    let losses =
        |reason: &str| telemetry.sum("netsonde.self.losses", &[("netsonde.loss.reason", reason.into())]);
    assert!(losses("flow_table_full") > 0, "four flows were enough");
    assert_eq!(losses("flow_dropped"), 0);
    let mut found = folded(&telemetry);
    assert!(found.sent > 0 && found.received > 0);
    for (subject, moved) in &subjects {
        let own = subject.moved(&telemetry);
        assert!(own.sent <= moved.sent && own.received <= moved.received, "{own:?} of {moved:?}");
        found.add(own);
    }
    // Whatever else moves on this host meanwhile is folded as well, but is not much.
    let whole = |found: u64, expected: u64| (expected..=expected + expected / 20).contains(&found);
    assert!(
        whole(found.sent, expected.sent) && whole(found.received, expected.received),
        "{found:?} is not {expected:?}"
    );
}

/// What found no room of its own.
fn folded(telemetry: &Telemetry) -> Moved {
    let bytes = |direction: &str| {
        let filter = [("otel.metric.overflow", true.into()), ("network.io.direction", direction.into())];
        telemetry.sum("netsonde.flow.io", &filter) as u64
    };
    Moved { sent: bytes("transmit"), received: bytes("receive") }
}

/// What signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate for this host and its key to a directory.
    fn identify(&self, directory: &Path, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

#[test]
fn a_collector_that_cannot_be_trusted_gets_nothing_and_the_right_one_everything() {
    for protocol in PROTOCOLS {
        let scene = Scene::new(protocol);
        let identity = scene.directory().join("identity");
        let authority = Authority::new("ours");
        let root = scene.directory().join("root.pem");
        fs::write(&root, authority.certificate.pem()).unwrap();
        let configuration = scene.configuration(scene.port()).replace("http://", "https://").replace(
            "[export.spool]",
            &format!("[export.otlp.tls]\nca_file = \"{}\"\n[export.spool]", root.display()),
        );
        let daemon = Daemon::start(&configuration).unwrap();
        let collector = || {
            let output = scene.directory().join("taken");
            Collector::start_behind(&scene.python, &output, scene.ports, "[]", Some(&identity)).unwrap()
        };
        let traffic = scene.traffic("secret");
        traffic.wait_until_exported(&daemon);
        let last_error = || {
            let destinations = daemon.status()?["status"]["destinations"].as_array().unwrap().clone();
            let otlp = destinations.iter().find(|destination| destination["name"] == "otlp").unwrap();
            anyhow::Ok(otlp["last_error"].as_str().unwrap_or_default().to_owned())
        };
        let says = |words: &str| {
            let said = command::until(PATIENCE, || Ok(last_error()?.contains(words))).unwrap();
            assert!(said, "{protocol}: {:?} says nothing of {words}", last_error());
        };
        Authority::new("others").identify(&identity, |_| ());
        let stranger = collector();
        says("UnknownIssuer");
        let verdict = daemon.asking("status").unwrap().output().unwrap();
        assert_eq!(verdict.status.code(), Some(4), "{}", String::from_utf8_lossy(&verdict.stdout));
        drop(stranger);
        authority.identify(&identity, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        let expired = collector();
        says("expired");
        drop(expired);
        assert!(scene.taken().points.is_empty(), "somebody else got something");
        authority.identify(&identity, |_| ());
        let _collector = collector();
        scene.assert_arrives(&traffic);
    }
}
