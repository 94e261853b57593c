//! A minute or more in which everything that netsonde remembers is turned over many times: its memory must not grow
//! with it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "how much was turned over, and how memory went, is worth knowing")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netsonde_tests::daemon::Daemon;
use netsonde_tests::host::{self, Host};

/// Until every cache is full and the allocator has what it wants.
const WARM_UP: Duration = Duration::from_secs(40);
/// What is judged at a time.
const WINDOW: Duration = Duration::from_secs(35);
/// So many windows at most. What leaks grows in all of them; a backlog, when the machine is busy with something else,
/// raises the heap once, and the next window is flat again.
const WINDOWS: usize = 4;
/// How much memory may seem to grow over that, of what it is on the average. A cache without a limit that is turned over
/// ten times grows by more.
const GROWTH: f64 = 0.10;

const PROCESSES: u64 = 500;
const SERIES: u64 = 400;
const NAMES: u64 = 200;
/// Every cache is turned over so often at least.
const TURNS: u64 = 10;

/// Threads that talk until they are told to stop, and how much they did.
#[derive(Default)]
struct Churn {
    stop: AtomicBool,
    connections: AtomicU64,
    lookups: AtomicU64,
}

impl Churn {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Connections, each to a port that nobody had just before: series of their own.
    fn connect(&self) {
        while self.goes_on() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"to").unwrap();
            server.read_exact(&mut [0; 2]).unwrap();
            self.connections.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lookups of names that nobody asked for before, of addresses that nobody had.
    fn look_up(&self, server: SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        while self.goes_on() {
            let number = self.lookups.fetch_add(1, Ordering::Relaxed) as u32;
            socket.send_to(&query(number), server).unwrap();
            // One that is lost is asked no more.
            let _ = socket.recv(&mut [0; 512]);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Answers each question with an address that is made of its number.
    fn answer(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut message = [0; 512];
        while self.goes_on() {
            let Ok((length, from)) = socket.recv_from(&mut message) else { continue };
            socket.send_to(&response(&message[..length]), from).unwrap();
        }
    }
}

/// RFC 1035, section 4: a question for the A record of `n<number>.soak.test`.
fn query(number: u32) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend((number as u16).to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [&format!("n{number}"), "soak", "test"] {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The question, and one address for an hour.
fn response(query: &[u8]) -> Vec<u8> {
    let digits = query[14..].iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let mut message = query.to_vec();
    message[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
    message.extend((0x0a00_0000 | number & 0x00ff_ffff).to_be_bytes());
    message
}

/// A fork loop; killed on drop.
struct Forks(Child);

impl Forks {
    fn start(rate: u64, seconds: u64) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg(host::source("programs/storm.sh")).args([rate.to_string(), seconds.to_string()]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Forks {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Anonymous memory of a process, in KiB: its heap and stacks, without the rings that it shares with the kernel.
fn memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Growth over the samples, as a part of their mean: the median of the slopes between every two of them (Theil 1950, Sen
/// 1968). A heap keeps the room of its largest moment, so one step is no growth; many are.
fn growth(samples: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (later, to) in samples.iter().enumerate() {
        slopes
            .extend(samples[..later].iter().enumerate().map(|(at, from)| (to - from) / (later - at) as f64));
    }
    slopes.sort_by(f64::total_cmp);
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    slopes[slopes.len() / 2] * (samples.len() - 1) as f64 / mean
}

#[test]
fn steady_growth_is_told_from_a_step() {
    let near = |samples: &[f64], expected: f64| assert!((growth(samples) - expected).abs() < 1e-9);
    near(&[10.0, 10.0, 10.0], 0.0);
    near(&[9.0, 10.0, 11.0], 0.2);
    near(&[10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 13.0, 13.0], 0.0);
    let stairs: Vec<f64> = (0..60).map(|at| 100.0 + f64::from(at / 10) * 10.0).collect();
    assert!(growth(&stairs) > 0.3, "{}", growth(&stairs));
}

#[test]
fn memory_stays_flat_while_everything_is_turned_over() {
    let _host = Host::acquire().unwrap();
    let responder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = responder.local_addr().unwrap();
    let configuration = format!(
        "interval = \"1s\"\n[metrics]\nseries_limit = {SERIES}\nseries_expiry = \"1s\"\n[limits]\nprocesses = {PROCESSES}\n\
         [events]\nrate_limit = 0\n[dns]\nhosts = \"\"\nports = [{}]\nnames = {NAMES}\nquestion_names = 50\n\
         messages_per_second = 0\n",
        server.port()
    );
    // What is freed is given back at once, so that what is measured is what is held; mallopt(3).
    let daemon = Daemon::start_binary(&host::netsonde().unwrap(), &configuration, |command| {
        command.env("MALLOC_ARENA_MAX", "1");
        command.env("MALLOC_TRIM_THRESHOLD_", "65536").env("MALLOC_MMAP_THRESHOLD_", "65536");
    })
    .unwrap();
    let pid = daemon.pid();
    let churn = Arc::new(Churn::default());
    let mut threads = Vec::new();
    let answering = Arc::clone(&churn);
    threads.push(thread::spawn(move || answering.answer(&responder)));
    let asking = Arc::clone(&churn);
    threads.push(thread::spawn(move || asking.look_up(server)));
    let connecting = Arc::clone(&churn);
    threads.push(thread::spawn(move || connecting.connect()));
    let forks = Forks::start(400, (WARM_UP + WINDOW * WINDOWS as u32).as_secs() + 30);

    let counts = || {
        let status = daemon.status().unwrap();
        let status = &status["status"];
        let names: u64 =
            status["dns"]["names_evicted"].as_array().unwrap().iter().map(|of| of[1].as_u64().unwrap()).sum();
        [
            ("processes", status["processes"]["evicted"].as_u64().unwrap(), PROCESSES),
            ("series", status["series"]["expired"].as_u64().unwrap(), SERIES),
            ("names", names, NAMES),
        ]
    };
    thread::sleep(WARM_UP);
    let before = counts();
    let mut windows = Vec::new();
    while windows.len() < WINDOWS && windows.last().is_none_or(|last: &Vec<f64>| growth(last).abs() >= GROWTH)
    {
        let begun = Instant::now();
        let mut samples = Vec::new();
        while begun.elapsed() < WINDOW {
            samples.push(memory(pid));
            thread::sleep(Duration::from_millis(500));
        }
        eprintln!(
            "{:.0} KiB at first, {:.0} at last, {:+.1} % of growth",
            samples[0],
            samples[samples.len() - 1],
            growth(&samples) * 100.0
        );
        windows.push(samples);
    }
    let after = counts();
    churn.stop.store(true, Ordering::Relaxed);
    drop(forks);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let (connections, lookups) = (&churn.connections, &churn.lookups);
    eprintln!("{connections:?} connections, {lookups:?} lookups; {after:?}");
    for ((what, now, limit), (_, then, _)) in after.into_iter().zip(before) {
        assert!(now - then >= TURNS * limit, "{what}: {} gone of {limit} is not {TURNS} turns", now - then);
    }
    let flat = windows.last().is_some_and(|last| growth(last).abs() < GROWTH);
    assert!(flat, "memory goes on growing: {windows:?}");
    daemon.stop().unwrap();
}
