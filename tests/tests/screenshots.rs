//! `make screenshots`: pictures of the web page's views, from traffic made here that looks like a small shop's. No test:
//! it writes `docs/screenshots`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use netsonde_tests::browser;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::dns::{Client, Dnsmasq};
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::Pair;
use netsonde_tests::program::{self, Programs, Running, Server};
use serde_json::{Value, json};

const LENGTH: Duration = Duration::from_secs(100);
const RESOLVER: &str = "10.77.0.2:53";
/// Names of elsewhere, and the addresses that they have there.
const REMOTES: [(&str, &str); 4] = [
    ("api.payments.example", "10.77.0.10"),
    ("storage.example", "10.77.0.11"),
    ("mail.example", "10.77.0.12"),
    ("mirror.example", "10.77.0.13"),
];

struct Scene {
    programs: Programs,
    pair: Pair,
    servers: Vec<Server>,
    clients: Vec<Running>,
}

impl Scene {
    fn program(&self, name: &str) -> PathBuf {
        let path = self.programs.path(name).unwrap();
        if path.exists() { path } else { self.programs.copy(name).unwrap() }
    }

    fn serve(&mut self, name: &str, listen: &str) {
        let program = self.program(name);
        let limit = format!("--deadline {}", LENGTH.as_secs() + 60);
        self.servers.push(Server::start(&program, Some(&self.pair.client), listen, &limit).unwrap());
    }

    fn connect(&mut self, name: &str, to: &str, arguments: &str) {
        let program = self.program(name);
        let limit = format!("{arguments} --deadline {}", LENGTH.as_secs() + 60);
        let to = to.parse().unwrap();
        self.clients.push(program::start_connect(&program, Some(&self.pair.client), to, &limit).unwrap());
    }
}

#[test]
#[ignore = "writes docs/screenshots; run by make screenshots"]
fn of_every_view() {
    let _host = Host::acquire().unwrap();
    let mut scene = Scene {
        programs: Programs::new().unwrap(),
        pair: Pair::new().unwrap(),
        servers: Vec::new(),
        clients: Vec::new(),
    };
    scene.pair.shape().unwrap();
    for (_, address) in REMOTES {
        scene.pair.server.ip(&format!("address add {address}/24 dev cable")).unwrap();
    }
    // What is elsewhere is no part of this host's picture, though it is on this machine.
    let away = scene.programs.copy("elsewhere/away").unwrap();
    let here = away.parent().unwrap().parent().unwrap().display().to_string();
    let api = browser::free_port().unwrap();
    let mut keys = format!("[api]\nlisten = \"127.0.0.1:{api}\"\n[select]\ndefault = \"exclude\"\n");
    let mut rule = |name: &str, action: &str, binaries: &str| {
        write!(
            keys,
            "[[select.rule]]\nname = \"{name}\"\naction = \"{action}\"\nbinaries = \"{binaries}\"\n"
        )
        .unwrap();
    };
    rule("elsewhere", "exclude", &format!("{here}/elsewhere/**"));
    rule("shop", "include", &format!("{here}/*"));
    rule("lookups", "include", "/**/python3*");
    let daemon = Daemon::start(&keys).unwrap();

    let far = Server::start(&away, Some(&scene.pair.server), "0.0.0.0:443", "--deadline 200").unwrap();
    let names: Vec<String> = REMOTES.iter().map(|(name, at)| format!("--address=/{name}/{at}")).collect();
    let names: Vec<&str> =
        names.iter().map(String::as_str).chain(["--local-ttl=600", "--local=/example/"]).collect();
    let _resolver = Dnsmasq::start(&scene.pair.server, RESOLVER.parse().unwrap(), &names).unwrap();
    let mut lookups = Client::start(&scene.pair.client).unwrap();
    for (name, _) in REMOTES {
        lookups.ask(RESOLVER, "A", &[name]).unwrap();
    }
    scene.serve("gateway", "0.0.0.0:8443");
    scene.serve("checkout", "127.0.0.1:8080");
    scene.serve("search", "127.0.0.1:9200");
    scene.serve("orders-db", "127.0.0.1:5432");
    scene.serve("session-cache", "127.0.0.1:6379");

    let directory = host::source("../docs/screenshots");
    fs::create_dir_all(&directory).unwrap();
    let centre = format!("p:{here}/checkout");
    let origin = format!("http://127.0.0.1:{api}");
    let arguments = json!({ "origin": origin, "directory": directory, "centre": centre });
    let mut script = browser::script("screenshots.mjs", &arguments).unwrap();
    let said: Value = script.read().unwrap();
    assert_eq!(said["step"], "baseline", "{said}");

    traffic(&mut scene, &mut lookups, &away);
    scene.serve("debug-shell", "0.0.0.0:4444");
    script.tell("{}").unwrap();
    let done: Value = script.read().unwrap();
    assert_eq!((&done["step"], &done["problems"]), (&json!("done"), &json!([])), "{done}");
    script.end().unwrap();
    drop((scene, far));
    daemon.stop().unwrap();
}

/// A shop's traffic: steady requests, a backup that fills the uplink, mail that is lost, a service that is down.
fn traffic(scene: &mut Scene, lookups: &mut Client, away: &std::path::Path) {
    let steady = |pause: u64, send: u64, receive: u64, connections: usize| {
        format!(
            "--connections {connections} --concurrency {connections} --rounds 100000 --pause {pause} --send {send} --receive {receive}"
        )
    };
    scene
        .pair
        .server
        .drop_incoming("ip daddr 10.77.0.12 meta l4proto tcp numgen random mod 100 < 4")
        .unwrap();
    scene.connect("gateway", "127.0.0.1:8080", &steady(25, 9_000, 60_000, 6));
    scene.connect("gateway", "127.0.0.1:9200", &steady(40, 2_000, 90_000, 4));
    scene.connect("checkout", "127.0.0.1:5432", &steady(30, 6_000, 40_000, 5));
    scene.connect("checkout", "127.0.0.1:6379", &steady(20, 800, 9_000, 4));
    scene.connect("checkout", "10.77.0.10:443", &steady(120, 4_000, 6_000, 3));
    scene.connect("search", "127.0.0.1:6379", &steady(50, 600, 30_000, 3));
    scene.connect("mailer", "127.0.0.1:5432", &steady(200, 900, 20_000, 1));
    scene.connect("mailer", "10.77.0.12:443", &steady(90, 60_000, 900, 3));
    scene.connect("updater", "10.77.0.13:443", &steady(400, 600, 300_000, 1));
    let customers = format!("connect --to 10.77.0.1:8443 {} --deadline 160", steady(35, 4_000, 70_000, 8));
    scene.clients.push(Running::start(away, Some(&scene.pair.server), &customers).unwrap());

    let begin = Instant::now();
    let mut backup: Option<Running> = None;
    let mut turn = 0_usize;
    while begin.elapsed() < LENGTH {
        let (name, _) = REMOTES[turn % REMOTES.len()];
        let missing = format!("{name}.shop.internal.example");
        lookups.ask(RESOLVER, "A", &[name, name, name]).unwrap();
        if turn.is_multiple_of(3) {
            lookups.ask(RESOLVER, "A", &["old-host.example", &missing]).unwrap();
        }
        let part = begin.elapsed().as_secs_f64() / LENGTH.as_secs_f64();
        if backup.is_none() && part > 0.4 && part < 0.7 {
            let program = scene.program("backup");
            let bulk = "--rounds 100000 --send 4000000 --receive 10 --deadline 120";
            let to = "10.77.0.11:443".parse().unwrap();
            backup = Some(program::start_connect(&program, Some(&scene.pair.client), to, bulk).unwrap());
        }
        if part > 0.7 {
            backup = None;
        }
        if turn.is_multiple_of(4) {
            // Nobody listens there: refused.
            let reports = scene.program("reports");
            let mut refused = program::start_connect(
                &reports,
                Some(&scene.pair.client),
                "127.0.0.1:9000".parse().unwrap(),
                "--connections 1",
            )
            .unwrap();
            let _ = refused.wait();
        }
        std::thread::sleep(Duration::from_millis(500));
        turn += 1;
    }
}
