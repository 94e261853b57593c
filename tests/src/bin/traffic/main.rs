//! A TCP program that moves known amounts and reports, as JSON on standard output, exactly what its own system
//! calls moved. It ends by itself: at its deadline, or when its starter is gone.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a small program that speaks to the test that started it")]

use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use netsonde_tests::report::{Listening, Process, Report};
use netsonde_tests::stream::{HALF_CLOSE, LAST, SERVER_CLOSES, SERVER_RESETS, Stream, Tally, answer, print};
use rustix::net::{self, AddressFamily, Shutdown, SocketFlags, SocketType};

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
    /// Let children that make one connection each come and go, and report what they reported.
    Swarm {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        children: u64,
        /// Children at a time.
        #[arg(long)]
        concurrency: usize,
        /// Whose copy of the traffic program the children run, in turn.
        #[arg(long, required = true)]
        program: Vec<PathBuf>,
    },
    /// Make a connection, report, wait for a line, and become another program, which makes one of its own.
    Become {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        program: PathBuf,
        /// Leave it the open connection, as its standard input, instead of closing it.
        #[arg(long, requires = "gate")]
        keep: bool,
        /// Leave the open connection to the exec, which closes it: it is FD_CLOEXEC, as every socket of Rust's.
        #[arg(long, conflicts_with = "keep")]
        leave: bool,
        /// By a thread that is not the first.
        #[arg(long)]
        thread: bool,
        /// The file that the program waits for then.
        #[arg(long, requires = "keep")]
        gate: Option<PathBuf>,
        /// The program's own.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Go on with the connection that is standard input: two rounds, the second when a file exists.
    #[command(hide = true)]
    Adopt {
        #[arg(long)]
        gate: PathBuf,
    },
    /// Listen for a few milliseconds on the loopback, on any port of TCP or on this one of UDP, and end.
    Brief {
        #[arg(long)]
        udp: Option<u16>,
        #[arg(long, default_value_t = 3)]
        milliseconds: u64,
    },
    /// Use no socket and all processors until standard input ends.
    Spin {
        #[arg(long, default_value_t = 60)]
        deadline: u64,
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
    /// Wait for a line on standard input before anything else.
    #[arg(long)]
    hold: bool,
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

/// Seconds after which those end that need not say when.
const DEADLINE: u64 = 120;

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

#[allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the deadline must hold whatever the rest is stuck in"
)]
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
        Arguments::Swarm { to, children, concurrency, program } => swarm(to, children, concurrency, &program),
        Arguments::Become { to, program, keep, leave, thread, gate, seed } => {
            let execute = move || become_another(to, &program, keep, leave, gate, seed);
            match thread {
                true => thread::spawn(execute).join().expect("no panic"),
                false => execute(),
            }
        }
        Arguments::Adopt { gate } => adopt(&gate),
        Arguments::Brief { udp, milliseconds } => brief(udp, Duration::from_millis(milliseconds)),
        Arguments::Spin { deadline } => spin(deadline),
    }
}

fn brief(udp: Option<u16>, time: Duration) -> Result<()> {
    match udp {
        Some(port) => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
            thread::sleep(time);
            drop(socket);
        }
        None => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            thread::sleep(time);
            drop(listener);
        }
    }
    Ok(())
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
        if let Some(thread) = own {
            thread.join().expect("a serving thread");
        }
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

fn connect(arguments: &Connect) -> Result<()> {
    end_after(arguments.deadline);
    if arguments.hold {
        io::stdin().lock().read_line(&mut String::new())?;
    }
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
        stream.ask(outgoing, wanted, flags)?;
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

fn swarm(to: SocketAddr, children: u64, concurrency: usize, programs: &[PathBuf]) -> Result<()> {
    end_after(DEADLINE);
    let identity = Process::own_chain()?;
    let next = AtomicU64::new(0);
    let breed = || -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= children {
                return Ok(reports);
            }
            let program = &programs[number as usize % programs.len()];
            let output = Command::new(program)
                .args(["connect", "--to", &to.to_string(), "--seed", &number.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()?;
            ensure!(output.status.success(), "a child ended with {}", output.status);
            reports.push(serde_json::from_slice(&output.stdout)?);
        }
    };
    let reports = thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrency).map(|_| scope.spawn(breed)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    Tally::default().report(identity, reports.concat())
}

fn become_another(
    to: SocketAddr,
    program: &Path,
    keep: bool,
    leave: bool,
    gate: Option<PathBuf>,
    seed: u64,
) -> Result<()> {
    end_after(DEADLINE);
    let identity = Process::own_chain()?;
    let mut stream = Stream::new(TcpStream::connect(to)?, to)?;
    stream.ask(1000 + seed, 2000 + seed, if keep || leave { 0 } else { LAST })?;
    let mut next = Command::new(program);
    let tally = Tally::default();
    let mut left = None;
    // The socket that is kept is held by `next` and put in place of standard input when it runs.
    if keep {
        tally.kept(&stream);
        next.arg("adopt")
            .arg("--gate")
            .arg(gate.context("a gate")?)
            .stdin(Stdio::from(OwnedFd::from(stream.socket)));
    } else {
        next.args(["connect", "--to", &to.to_string(), "--seed", &seed.to_string()]);
        if leave {
            tally.kept(&stream);
            left = Some(stream);
        } else {
            tally.ended(stream, Ok(()));
        }
    }
    tally.report(identity, Vec::new())?;
    io::stdin().lock().read_line(&mut String::new())?;
    let failed = next.exec();
    drop(left);
    Err(failed.into())
}

fn adopt(gate: &Path) -> Result<()> {
    end_after(DEADLINE);
    let identity = Process::own_chain()?;
    let socket = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let peer = socket.peer_addr()?;
    let mut stream = Stream::new(socket, peer)?;
    stream.ask(30_000, 40_000, 0)?;
    while !gate.exists() {
        thread::sleep(Duration::from_millis(20));
    }
    let outcome = stream.ask(50_000, 60_000, LAST);
    let tally = Tally::default();
    // Standard input still is the connection: the end of the process is what closes it.
    tally.ended(stream, outcome);
    tally.report(identity, Vec::new())
}

fn spin(deadline: u64) -> Result<()> {
    end_after(deadline);
    let identity = Process::own_chain()?;
    for _ in 0..thread::available_parallelism()?.get() {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Tally::default().report(identity, Vec::new())
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
    let tally = Tally::default();
    tally.count_failures("aborted", connections as u64);
    tally.report(identity, Vec::new()).context("cannot report")
}
