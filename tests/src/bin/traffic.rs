//! A TCP program that moves known amounts and reports, as JSON on standard output, exactly what its own system
//! calls moved. It owns the protocol below and ends by itself: at its deadline, or when its starter is gone.
//!
//! A connection is one or more rounds. A round opens with a header of three little-endian u64: how many bytes
//! the client will send after it, how many it wants back, and flags.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use netsonde_tests::report::{Connection, Listening, Moved, Process, Report};
use rustix::net::{self, AddressFamily, Shutdown, SocketFlags, SocketType};
use std::os::fd::{AsFd, OwnedFd};

#[derive(Parser)]
enum Arguments {
    /// Serve until standard input ends, then report.
    Serve(Serve),
    /// Serve on the listening socket that is standard input, until somebody shuts it down.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        threads: usize,
        #[arg(long)]
        deadline: u64,
    },
    /// Make connections, move bytes, report.
    Connect(Connect),
    /// Begin connections and close them before any answer.
    Abandon {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, default_value_t = 1)]
        connections: usize,
    },
}

#[derive(clap::Args)]
struct Serve {
    #[arg(long)]
    listen: SocketAddr,
    /// Connections served at a time, by each process.
    #[arg(long, default_value_t = 32)]
    threads: usize,
    /// Leave accepting to this many child processes that inherit the listening socket.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Seconds after which the process ends whatever it is doing.
    #[arg(long, default_value_t = 120)]
    deadline: u64,
}

#[derive(clap::Args)]
struct Connect {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Connections open at a time.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Exchanges a connection.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Milliseconds between two rounds.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Wait for a line on standard input before every round but the first.
    #[arg(long)]
    step: bool,
    /// The most bytes to send a round; the amount is drawn anew each time.
    #[arg(long, default_value_t = 1000)]
    send: u64,
    /// The most bytes to ask for a round.
    #[arg(long, default_value_t = 1000)]
    receive: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value_t = Close::Client)]
    close: Close,
    #[arg(long, default_value_t = 120)]
    deadline: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Close {
    /// The client closes first.
    Client,
    /// The server closes first.
    Server,
    /// The client ends its sending half before the server answers.
    Half,
    /// By a reset from the client, after everything was read.
    ClientReset,
    /// By a reset from the server, after everything was read.
    ServerReset,
}

const LAST: u64 = 1;
const HALF_CLOSE: u64 = 2;
const SERVER_CLOSES: u64 = 4;
const SERVER_RESETS: u64 = 8;
const CHUNK: usize = 64 * 1024;

/// What all threads of this process did.
#[derive(Default)]
struct Tally {
    connections: Mutex<Vec<Connection>>,
    failures: Mutex<BTreeMap<String, u64>>,
}

/// A connected socket that counts what its calls return.
struct Stream {
    socket: TcpStream,
    moved: Moved,
    ends: (SocketAddr, SocketAddr),
}

impl Stream {
    fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, moved: Moved::default(), ends: (local, peer) })
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.socket.write(bytes)?;
            self.moved.sent += sent as u64;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn send_amount(&mut self, mut amount: u64) -> io::Result<()> {
        let chunk = [0x5a; CHUNK];
        while amount > 0 {
            let part = amount.min(CHUNK as u64) as usize;
            self.send(&chunk[..part])?;
            amount -= part as u64;
        }
        Ok(())
    }

    /// Fills the buffer; false when the peer had ended before its first byte.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.socket.read(&mut buffer[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => {
                    filled += more;
                    self.moved.received += more as u64;
                }
            }
        }
        Ok(true)
    }

    fn receive_amount(&mut self, mut amount: u64) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        while amount > 0 {
            let part = amount.min(CHUNK as u64) as usize;
            if !self.receive(&mut chunk[..part])? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            amount -= part as u64;
        }
        Ok(())
    }

    fn receive_end(&mut self) -> io::Result<()> {
        match self.receive(&mut [0])? {
            false => Ok(()),
            true => Err(io::Error::other("bytes where the end was due")),
        }
    }

    /// Makes the close that follows a reset (RFC 9293, 3.10.4 ABORT).
    fn reset_on_close(&self) -> io::Result<()> {
        Ok(net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))?)
    }
}

impl Tally {
    /// Counts an ended connection; it is closed here, so that a finished report means closed sockets.
    fn ended(&self, stream: Stream, outcome: io::Result<()>) {
        let connection = Connection { local: stream.ends.0, peer: stream.ends.1, moved: stream.moved };
        drop(stream);
        self.connections.lock().unwrap().push(connection);
        if let Err(error) = outcome {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &io::Error) {
        let name = match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused".into(),
            io::ErrorKind::ConnectionReset => "reset".into(),
            io::ErrorKind::TimedOut => "timed_out".into(),
            io::ErrorKind::HostUnreachable => "host_unreachable".into(),
            io::ErrorKind::NetworkUnreachable => "net_unreachable".into(),
            _ => error.to_string(),
        };
        *self.failures.lock().unwrap().entry(name).or_default() += 1;
    }

    fn report(self, identity: (Process, Vec<Process>), workers: Vec<Report>) -> Result<()> {
        let (process, ancestors) = identity;
        let connections = self.connections.into_inner().unwrap();
        let failures = self.failures.into_inner().unwrap();
        print(&Report { process, ancestors, connections, failures, workers })
    }
}

fn print(line: &impl serde::Serialize) -> Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, line)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

fn end_after(seconds: u64) {
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(seconds));
        eprintln!("traffic: still at work after {seconds} s, giving up");
        std::process::exit(3);
    });
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Serve(arguments) => serve(&arguments),
        Arguments::Worker { threads, deadline } => {
            end_after(deadline);
            let identity = Process::own_chain()?;
            let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
            let tally = Tally::default();
            accept_all(&listener, threads, &tally);
            tally.report(identity, Vec::new())
        }
        Arguments::Connect(arguments) => connect(&arguments),
        Arguments::Abandon { to, connections } => abandon(to, connections),
    }
}

fn serve(arguments: &Serve) -> Result<()> {
    end_after(arguments.deadline);
    let identity = Process::own_chain()?;
    let listener = TcpListener::bind(arguments.listen)?;
    // A shorter queue than the load makes the kernel drop SYNs, which would be a test of something else.
    net::listen(&listener, 4096)?;
    let address = listener.local_addr()?;
    let mut workers = Vec::new();
    for _ in 0..arguments.workers {
        let worker = Command::new(&identity.0.executable)
            .args(["worker", "--threads", &arguments.threads.to_string()])
            .args(["--deadline", &arguments.deadline.to_string()])
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)))
            .stdout(Stdio::piped())
            .spawn()?;
        workers.push(worker);
    }
    let tally = Tally::default();
    let pids = match workers.as_slice() {
        [] => vec![identity.0.pid],
        workers => workers.iter().map(|worker| worker.id() as i32).collect(),
    };
    thread::scope(|scope| -> Result<()> {
        let own =
            workers.is_empty().then(|| scope.spawn(|| accept_all(&listener, arguments.threads, &tally)));
        print(&Listening { address, pids })?;
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        // Wakes every accept() on this socket, in this process and in the workers.
        net::shutdown(&listener, Shutdown::Read)?;
        own.map(|thread| thread.join().expect("a serving thread"));
        Ok(())
    })?;
    let mut reports = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output()?;
        ensure!(output.status.success(), "a worker ended with {}", output.status);
        reports.push(serde_json::from_slice(&output.stdout)?);
    }
    tally.report(identity, reports)
}

fn accept_all(listener: &TcpListener, threads: usize, tally: &Tally) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Ok((socket, peer)) = listener.accept() {
                    match Stream::new(socket, peer) {
                        Ok(mut stream) => {
                            let outcome = answer(&mut stream);
                            tally.ended(stream, outcome);
                        }
                        Err(error) => tally.failed(&error),
                    }
                }
            });
        }
    });
}

/// The server's side of one connection.
fn answer(stream: &mut Stream) -> io::Result<()> {
    let mut header = [0; 24];
    while stream.receive(&mut header)? {
        let field =
            |index: usize| u64::from_le_bytes(header[index * 8..][..8].try_into().expect("eight bytes"));
        let (incoming, wanted, flags) = (field(0), field(1), field(2));
        stream.receive_amount(incoming)?;
        if flags & HALF_CLOSE != 0 {
            stream.receive_end()?;
        }
        stream.send_amount(wanted)?;
        if flags & SERVER_RESETS != 0 {
            // A reset may throw away what the client has not read: wait until it says that it has all.
            stream.receive_amount(1)?;
            stream.reset_on_close()?;
        }
        if flags & (SERVER_CLOSES | SERVER_RESETS | HALF_CLOSE) != 0 {
            return Ok(());
        }
    }
    Ok(())
}

fn connect(arguments: &Connect) -> Result<()> {
    end_after(arguments.deadline);
    let identity = Process::own_chain()?;
    ensure!(!arguments.step || arguments.concurrency == 1, "steps need one connection at a time");
    let tally = Tally::default();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..arguments.concurrency {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.connections as u64 {
                        break;
                    }
                    let opened =
                        TcpStream::connect(arguments.to).and_then(|socket| Stream::new(socket, arguments.to));
                    match opened {
                        Ok(mut stream) => {
                            let outcome = ask(&mut stream, arguments, number);
                            tally.ended(stream, outcome);
                        }
                        Err(error) => tally.failed(&error),
                    }
                }
            });
        }
    });
    tally.report(identity, Vec::new())
}

/// The client's side of one connection.
fn ask(stream: &mut Stream, arguments: &Connect, number: u64) -> io::Result<()> {
    // Every connection has its own numbers, so that the amounts do not depend on the threads' order.
    let mut random = fastrand::Rng::with_seed(arguments.seed.wrapping_mul(1_000_003).wrapping_add(number));
    for round in 1..=arguments.rounds {
        let last = round == arguments.rounds;
        let (outgoing, wanted) = (random.u64(0..=arguments.send), random.u64(0..=arguments.receive));
        let mut flags = 0;
        if last {
            flags |= LAST;
            flags |= match arguments.close {
                Close::Client | Close::ClientReset => 0,
                Close::Server => SERVER_CLOSES,
                Close::Half => HALF_CLOSE,
                Close::ServerReset => SERVER_RESETS,
            };
        }
        stream.send(&[outgoing, wanted, flags].map(u64::to_le_bytes).concat())?;
        stream.send_amount(outgoing)?;
        if flags & HALF_CLOSE != 0 {
            stream.socket.shutdown(std::net::Shutdown::Write)?;
        }
        stream.receive_amount(wanted)?;
        if arguments.step && !last {
            print(&stream.moved).map_err(io::Error::other)?;
            io::stdin().lock().read_line(&mut String::new())?;
        }
        if !last {
            thread::sleep(Duration::from_millis(arguments.pause));
        }
    }
    match arguments.close {
        Close::Client => Ok(()),
        Close::Server | Close::Half => stream.receive_end(),
        Close::ClientReset => stream.reset_on_close(),
        Close::ServerReset => {
            stream.send(&[0])?;
            stream.receive_end()
        }
    }
}

fn abandon(to: SocketAddr, connections: usize) -> Result<()> {
    let identity = Process::own_chain()?;
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    for _ in 0..connections {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        let begun = net::connect(&socket, &to);
        ensure!(begun == Err(rustix::io::Errno::INPROGRESS), "connect should be under way: {begun:?}");
    }
    let mut tally = Tally::default();
    tally.failures.get_mut().unwrap().insert("aborted".into(), connections as u64);
    tally.report(identity, Vec::new()).context("cannot report")
}
