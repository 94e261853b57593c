//! The API against clients that are slow, huge, malformed or many, over real sockets.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;

use super::serve::PATIENCE_TO_ASK;
use super::*;
use crate::aggregate::SweepStatus;
use crate::config;
use crate::registry;
use crate::telemetry::{MetricData, Point, PointValue, Temporality};
use crate::view::Recorder;

mod description;

const LIMIT: Duration = Duration::from_secs(20);

struct Server {
    directory: TempDir,
    api: Option<Api>,
    status: watch::Sender<Status>,
    reloads: mpsc::Receiver<Reload>,
    counts: Arc<Counts>,
    view: View,
    _recorder: Recorder,
    remote: Option<SocketAddr>,
}

impl Server {
    fn start(keys: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("api.sock");
        std::fs::write(directory.path().join("token"), "0123456789abcdef\n").expect("written");
        let token = directory.path().join("token");
        let keys = keys.replace("TOKEN", &token.display().to_string());
        let config =
            config::right(&format!("[api]\nsocket = \"{}\"\ngroup = \"\"\n{keys}", socket.display()));
        let listening = Listening::new(&config).expect("it listens");
        let remote = listening.remote.as_ref().map(|l| l.local_addr().expect("an address"));
        let (status, shown) = watch::channel(Status::default());
        let (reload, reloads) = mpsc::channel(1);
        let counts = Arc::new(Counts::default());
        let recorder = crate::view::tests::example();
        let view = recorder.view();
        let shown = Shown {
            status: shown,
            inventory: watch::channel(None).1,
            archive: None,
            progress: Arc::new(Progress::new()),
            reload,
            counts: Arc::clone(&counts),
            view: view.clone(),
        };
        let api = Some(Api::start(listening, shown).expect("it starts"));
        Self { directory, api, status, reloads, counts, view, _recorder: recorder, remote }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        stream
    }

    /// Sends bytes and reads to the end.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have refused before all is sent.
        let _ = stream.write_all(bytes);
        read(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    fn remote(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.remote.expect("it listens")).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).expect("sent");
        read(&mut stream)
    }

    fn refused(&self, word: &str) -> u64 {
        let refused = self.counts.refused();
        refused.into_iter().find(|(known, _)| *known == word).expect("a known word").1
    }

    fn wait_refused(&self, word: &str, n: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.refused(word) < n {
            assert!(Instant::now() < deadline, "{word}: {:?}", self.counts.refused());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(api) = self.api.take() {
            api.stop();
        }
    }
}

fn read(stream: &mut impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn health_readiness_and_status_are_told() {
    let server = Server::start("");
    assert_eq!(code(&server.get("/healthz")), "200");
    assert_eq!(code(&server.get("/readyz")), "503");
    server.status.send_modify(|s| s.sweep = SweepStatus { count: 1, ..s.sweep.clone() });
    assert_eq!(code(&server.get("/readyz")), "200");
    let status = server.get("/api/v1/status");
    assert!(status.contains("\"findings\""), "{status}");
    assert_eq!(code(&server.get("/nowhere")), "404");
    assert_eq!(code(&server.get("/api/v1/reload")), "405");
    assert_eq!(server.counts.requests(), 6);
    assert!(server.counts.refused().iter().all(|(_, n)| *n == 0));
}

#[test]
fn the_socket_is_gone_after_the_end() {
    let mut server = Server::start("");
    let path = server.path();
    assert!(path.exists());
    server.api.take().expect("it runs").stop();
    assert!(!path.exists());
}

#[test]
fn a_reload_is_answered_with_what_came_of_it() {
    let mut server = Server::start("");
    let mut reloads = std::mem::replace(&mut server.reloads, mpsc::channel(1).1);
    let answers = std::thread::spawn(move || {
        for outcome in [Ok(()), Err("line 3 is wrong".to_owned())] {
            reloads.blocking_recv().expect("a wish").send(outcome).expect("it waits");
        }
    });
    let ask = || server.exchange(b"POST /api/v1/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(code(&ask()), "200");
    let wrong = ask();
    assert_eq!(code(&wrong), "422");
    assert!(wrong.contains("line 3 is wrong"), "{wrong}");
    answers.join().expect("answered");
    assert_eq!(code(&ask()), "503", "nobody is there any more");
}

#[test]
fn a_head_of_any_size_and_rubbish_are_refused_and_counted() {
    let server = Server::start("");
    let huge = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    assert!(["431", "none"].contains(&code(&server.exchange(huge.as_bytes()))));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    assert!(["414", "431", "none"].contains(&code(&server.exchange(endless.as_bytes()))));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert!(["431", "none"].contains(&code(&server.exchange(many.as_bytes()))));
    server.wait_refused("head_too_large", 3);
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        &[0; 4096],
        b"\xff\xfe\r\n\r\n",
    ] {
        assert!(["400", "none"].contains(&code(&server.exchange(rubbish))));
    }
    server.wait_refused("malformed", 4);
    assert_eq!(code(&server.get("/healthz")), "200");
}

#[test]
fn who_does_not_ask_in_time_is_cut_off() {
    let server = Server::start("");
    let began = Instant::now();
    let mut slow: Vec<_> = (0..20).map(|_| server.connect()).collect();
    // A byte now and then keeps nobody's place.
    for byte in b"GET /heal" {
        slow.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
        std::thread::sleep(PATIENCE_TO_ASK / 6);
    }
    for stream in &mut slow {
        read(stream);
    }
    assert!(began.elapsed() < PATIENCE_TO_ASK * 4, "{:?}", began.elapsed());
    server.wait_refused("timeout", 20);
    assert_eq!(code(&server.get("/healthz")), "200");
}

#[test]
fn a_connection_that_is_kept_after_an_answer_ends_without_a_refusal() {
    let server = Server::start("");
    let mut kept = server.connect();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    // Until the daemon ends it.
    assert_eq!(code(&read(&mut kept)), "200");
    assert_eq!(server.refused("timeout"), 0);
}

#[test]
fn who_does_not_take_its_answer_is_cut_off() {
    let server = Server::start("");
    // More than the socket holds.
    server.status.send_modify(|s| {
        s.lacking = vec![crate::aggregate::Lacking { capability: "x", without: "y" }; 20_000];
    });
    let mut stalled: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut stalled {
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    }
    server.wait_refused("stalled", 3);
    assert_eq!(code(&server.get("/healthz")), "200");
    assert_eq!(code(&server.get("/api/v1/status")), "200");
}

#[test]
fn bodies_are_not_taken() {
    let server = Server::start("");
    let mut endless =
        b"POST /api/v1/reload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    endless.extend(b"400\r\n".iter().copied().chain([b'a'; 0x400]).chain(*b"\r\n").cycle().take(1 << 20));
    assert!(["413", "none"].contains(&code(&server.exchange(&endless))));
    let claimed = b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\n";
    let answer = server.exchange(claimed);
    assert!(["413", "431"].contains(&code(&answer)), "{answer}");
    server.wait_refused("body", 1);
    assert_eq!(code(&server.get("/healthz")), "200");
}

#[test]
fn thousands_of_connections_do_not_keep_health_from_answering() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");
    let server = Server::start("");
    let idle: Vec<_> = (0..2000).map(|_| server.connect()).collect();
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(code(&server.get("/healthz")), "200");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(server.refused("too_many") >= 1900);
    assert!(server.counts.clients() <= 64);
    drop(idle);
}

#[test]
fn over_tcp_a_token_is_asked_for_and_nothing_can_be_changed() {
    let server = Server::start("listen = \"127.0.0.1:0\"\ntoken_file = \"TOKEN\"\n");
    let with = |token: &str, request: &str| {
        server.remote(&format!("{request} HTTP/1.1\r\nhost: any.example\r\nauthorization: {token}\r\n"))
    };
    let right = "Bearer 0123456789abcdef";
    assert_eq!(code(&with(right, "GET /healthz")), "200");
    assert_eq!(code(&with("Bearer 0123456789abcdeF", "GET /healthz")), "401");
    assert_eq!(code(&server.remote("GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n")), "401");
    assert_eq!(code(&with(right, "POST /api/v1/reload")), "403");
    assert_eq!((server.refused("unauthorized"), server.refused("forbidden")), (2, 1));
    assert_eq!(code(&server.get("/healthz")), "200", "no token is needed on the Unix socket");
}

#[test]
fn the_page_comes_without_a_token_and_nothing_else_does() {
    let server = Server::start("listen = \"127.0.0.1:0\"\ntoken_file = \"TOKEN\"\n");
    let page = server.remote("GET / HTTP/1.1\r\nhost: x.example\r\n");
    assert_eq!(code(&page), "200");
    assert!(
        page.contains("content-security-policy: default-src 'none'") && page.contains("<title>netsonde"),
        "{page}"
    );
    assert_eq!(code(&server.remote("GET /page/js/main.js HTTP/1.1\r\nhost: x\r\n")), "200");
    for path in ["/api/v1/status", "/page/", "/page/../api/v1/status", "//", "/page/js/none.js"] {
        assert_eq!(code(&server.remote(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n"))), "401", "{path}");
    }
    assert_eq!(code(&server.remote("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n")), "405");
}

#[test]
fn on_the_unix_socket_pages_of_other_sites_are_refused() {
    let server = Server::start("");
    let ask = |head: &str| {
        server.exchange(format!("POST /api/v1/reload HTTP/1.1\r\n{head}connection: close\r\n\r\n").as_bytes())
    };
    assert_eq!(code(&ask("host: evil.example:9500\r\n")), "421");
    assert_eq!(code(&ask("host: localhost:9500\r\nsec-fetch-site: cross-site\r\n")), "421");
    assert_eq!(server.refused("host"), 2);
}

#[test]
fn over_tcp_without_a_token_pages_of_others_cannot_ask() {
    let server = Server::start("listen = \"127.0.0.1:0\"\n");
    assert_eq!(code(&server.remote("GET /healthz HTTP/1.1\r\nhost: localhost\r\n")), "200");
    assert_eq!(code(&server.remote("GET /healthz HTTP/1.1\r\nhost: evil.example\r\n")), "421");
    assert_eq!(code(&server.remote("POST /api/v1/reload HTTP/1.1\r\nhost: localhost\r\n")), "403");
    assert_eq!((server.refused("host"), server.refused("forbidden")), (1, 1));
}

#[test]
fn without_a_key_nothing_listens_over_tcp() {
    let server = Server::start("");
    assert_eq!(server.remote, None);
}

/// Follows events, and has read the head of the answer.
fn follow(server: &Server, query: &str) -> UnixStream {
    let mut stream = server.connect();
    stream
        .write_all(format!("GET /api/v1/events{query} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
        .expect("sent");
    wait_for(&mut stream, "\r\n\r\n");
    stream
}

/// Reads until these words were there.
fn wait_for(stream: &mut UnixStream, words: &str) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains(words) {
        std::io::Read::read_exact(stream, &mut byte).unwrap_or_else(|e| panic!("{e}: {text}"));
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn whoever_follows_keeps_its_place_and_half_of_all_may() {
    let server = Server::start("clients = 4\n");
    let mut followers = [follow(&server, ""), follow(&server, "?type=tcp.close&port=443")];
    let full = server.get("/api/v1/events");
    assert_eq!(code(&full), "503", "{full}");
    std::thread::sleep(Duration::from_millis(1200));
    // Longer than anybody else may stay, and with more who want its place than there are places.
    let idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for _ in 0..5 {
        assert_eq!(code(&server.get("/healthz")), "200");
    }
    let port = |port| vec![("server.port", crate::telemetry::AttributeValue::Int(port))];
    server.view.events().tell(&[443, 80].map(port).map(crate::export::example_record));
    let all = wait_for(&mut followers[0], "\"server.port\":80");
    assert!(all.contains("event: netsonde.tcp.close\ndata: {") && all.contains(":443"), "{all}");
    assert!(!wait_for(&mut followers[1], "\n\n").contains(":80"));
    drop((idle, followers));
    let deadline = Instant::now() + LIMIT;
    while server.view.events().followers() > 0 {
        assert!(Instant::now() < deadline, "who has gone is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    follow(&server, "");
}

#[test]
fn a_filter_that_is_wrong_is_answered_with_what_there_is() {
    let server = Server::start("");
    for (query, named) in [("type=opened", "tcp.close"), ("port=http", "port"), ("colour=red", "binary")] {
        let answer = server.get(&format!("/api/v1/events?{query}"));
        assert!(code(&answer) == "400" && answer.contains(named), "{answer}");
    }
}

#[test]
fn metrics_have_the_format_that_is_asked_for() {
    let server = Server::start("");
    assert_eq!(code(&server.get("/metrics")), "503");
    let metric = registry::metrics().into_iter().find(|m| m.name == "netsonde.flow.io").expect("there");
    let (attributes, value) = (Vec::new().into(), PointValue::Int(7));
    let point = Point { attributes, start_unix_ns: 1, time_unix_ns: 2, value };
    let temporality = Temporality::Cumulative;
    server.view.show_metrics(vec![MetricData { metric, temporality, points: vec![point] }].into());
    let plain = server.get("/metrics");
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{plain}");
    assert!(plain.contains("_total 7\n") && !plain.contains("# EOF"), "{plain}");
    let open = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0\r\nconnection: close\r\n\r\n";
    let open = server.exchange(open.as_bytes());
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open}");
    assert!(open.contains("# EOF\n"), "{open}");
}

#[test]
fn what_was_measured_of_late_is_told_and_a_wrong_query_is_named() {
    let server = Server::start("");
    for path in ["history", "history?since=7", "flows", "flows?limit=3", "dns", "processes"] {
        let answer = server.get(&format!("/api/v1/{path}"));
        assert!(code(&answer) == "200" && answer.contains("application/json"), "{path}: {answer}");
    }
    for path in ["history?since=x", "history?until=3", "flows?limit=100001", "dns?limit=-1", "processes?a"] {
        assert_eq!(code(&server.get(&format!("/api/v1/{path}"))), "400", "{path}");
    }
    assert_eq!(code(&server.get("/api/v1/processes/7")), "200");
    assert_eq!(code(&server.get("/api/v1/processes/1")), "404");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a fuzz target would do, with the requests' parser and all that follows it: this crate has no library that
    /// one could link.
    #[test]
    fn no_request_does_harm(
        method in "(GET|POST|HEAD|PUT|OPTIONS|[A-Z]{1,9}|\\PC{0,6})",
        path in "(/healthz|/api/v1/status|/api/v1/reload|/[ -~]{0,60}|\\PC{0,20})",
        headers in proptest::collection::vec(("[a-zA-Z-]{1,20}|\\PC{0,8}", "[ -~]{0,60}|\\PC{0,20}"), 0..8),
        tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        use std::sync::OnceLock;
        static SERVER: OnceLock<std::sync::Mutex<Server>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Server::start("").into()).lock().expect("not poisoned");
        let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(tail);
        let mut stream = server.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        read(&mut stream);
        let answer = server.get("/healthz");
        prop_assert_eq!(code(&answer), "200");
    }
}
