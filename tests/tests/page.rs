//! The web page in a real browser, on live traffic: what it shows is what the kernel counted, and it asks nobody but the
//! daemon.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netsonde_tests::browser;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Running, Server};
use serde_json::{Value, json};

fn reached(script: &mut Running, step: &str) -> Value {
    let said: Value = script.read().unwrap();
    assert_eq!(said["step"], step, "{said}");
    said
}

fn answer(script: &mut Running, answer: &Value) {
    script.tell(&answer.to_string()).unwrap();
}

/// What the kernel itself measures of a connection just now, in seconds: `rtt:` of `ss -i`, in milliseconds there.
fn round_trip(place: &Namespace, port: u16) -> f64 {
    let text = place.run(&format!("ss -tinHO state established dport = :{port}")).unwrap();
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix("rtt:")?.split_once('/'));
    words.filter_map(|(rtt, _)| rtt.parse::<f64>().ok()).fold(0.0, f64::max) / 1e3
}

/// The slowest round trip that `ss` shows until `enough`, for two minutes at most: a queue drains as soon as its sender rests, and
/// what is shown is of the whole time, so one look at the end is no measure of it.
fn slowest_round_trip(place: &Namespace, port: u16, enough: &AtomicBool) -> f64 {
    let last = Instant::now() + Duration::from_secs(120);
    let mut slowest = round_trip(place, port);
    while !enough.load(Ordering::Relaxed) && Instant::now() < last {
        thread::sleep(Duration::from_millis(20));
        slowest = slowest.max(round_trip(place, port));
    }
    slowest
}

#[test]
fn shows_live_traffic_as_the_kernel_counted_it() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [slow, lossy, server, brief] =
        ["page-slow", "page-lossy", "page-server", "page-brief"].map(|name| programs.copy(name).unwrap());
    let pair = Pair::new().unwrap();
    pair.shape().unwrap();
    let api = browser::free_port().unwrap();
    let daemon = Daemon::start(&format!("[api]\nlisten = \"127.0.0.1:{api}\"\n")).unwrap();
    let listening = Server::start(&server, Some(&pair.server), "0.0.0.0:0", "").unwrap();
    let (to, port) = (listening.at("10.77.0.2").unwrap(), listening.address.port());

    let mut script = browser::script(
        "live.mjs",
        &json!({
            "origin": format!("http://127.0.0.1:{api}"),
            "slow": "page-slow", "lossy": "page-lossy", "server": "page-server", "port": port,
        }),
    )
    .unwrap();
    reached(&mut script, "loaded");

    let before = Counters::read(&pair.client).unwrap();
    let short = "--connections 2 --rounds 2 --send 200 --receive 200";
    program::connect(&lossy, Some(&pair.client), to, short).unwrap();
    let early = Counters::read(&pair.client).unwrap().since(&before, "Tcp:RetransSegs").unwrap();
    // The queue of the cable fills: a round trip takes as long as the queue.
    let bulk = "--connections 1 --rounds 100000 --send 8000000 --receive 10 --deadline 100";
    let mut filling = program::start_connect(&slow, Some(&pair.client), to, bulk).unwrap();
    answer(&mut script, &json!({}));

    let enough = AtomicBool::new(false);
    let (shown, measured) = thread::scope(|scope| {
        let watched = scope.spawn(|| slowest_round_trip(&pair.client, port, &enough));
        let shown = reached(&mut script, "latency");
        enough.store(true, Ordering::Relaxed);
        (shown, watched.join().unwrap())
    });
    let p99 = shown["p99"].as_f64().unwrap();
    // Buckets are no finer than powers of two, and what both see of the queue are samples.
    assert!(
        measured > 0.01 && p99 > measured / 4.0 && p99 < measured * 8.0,
        "{shown}, and the kernel {measured}"
    );
    filling.terminate().unwrap();
    let _ = filling.wait();
    oracle::wait_until_closed(Some(&pair.client), port).unwrap();

    // From here on the cable loses, and only the other program uses it.
    let quiet = Counters::read(&pair.client).unwrap();
    pair.server.drop_incoming("meta l4proto tcp numgen random mod 100 < 8").unwrap();
    let much = "--connections 4 --concurrency 2 --rounds 3 --send 400000 --receive 1000";
    program::connect(&lossy, Some(&pair.client), to, much).unwrap();
    oracle::wait_until_closed(Some(&pair.client), port).unwrap();
    let segments = Counters::read(&pair.client).unwrap().since(&quiet, "Tcp:RetransSegs").unwrap();
    assert!(segments > 0, "nothing was sent again");
    answer(&mut script, &json!({ "segments": early + segments }));

    reached(&mut script, "baseline");
    let second = Server::start(&brief, None, "127.0.0.1:0", "").unwrap();
    answer(&mut script, &json!({ "port": second.address.port() }));
    reached(&mut script, "new");
    second.stop().unwrap();
    answer(&mut script, &json!({}));
    let done = reached(&mut script, "done");
    assert_eq!(done["problems"], json!([]), "{done}");
    assert!(done["asked"].as_u64().unwrap() > 30, "{done}");
    script.end().unwrap();
    listening.stop().unwrap();
    daemon.stop().unwrap();
}

#[test]
fn asks_for_the_token_and_says_when_nobody_answers() {
    let _host = Host::acquire().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "correct-horse-battery\n").unwrap();
    let api = browser::free_port().unwrap();
    let keys = format!("[api]\nlisten = \"127.0.0.1:{api}\"\ntoken_file = \"{}\"\n", file.display());
    let daemon = Daemon::start(&keys).unwrap();
    let mut script = browser::script(
        "token.mjs",
        &json!({ "origin": format!("http://127.0.0.1:{api}"), "token": "correct-horse-battery" }),
    )
    .unwrap();
    reached(&mut script, "in");
    daemon.stop().unwrap();
    answer(&mut script, &json!({}));
    let done = reached(&mut script, "done");
    assert_eq!(done["problems"], json!([]), "{done}");
    script.end().unwrap();
}
