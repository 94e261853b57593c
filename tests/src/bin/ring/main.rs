//! The traffic program's protocol on sockets that io_uring(7) accepts and connects: the kernel does both outside
//! the system call of that name, and where it is told to on a thread of its own. Reading and writing is ordinary.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::thread;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use io_uring::{IoUring, opcode, squeue, types};
use netsonde_tests::report::{Listening, Process};
use netsonde_tests::stream::{LAST, Stream, Tally, answer, print};
use rustix::net::{self, AddressFamily, Shutdown, SocketType};

#[derive(Parser)]
enum Arguments {
    /// Serve one connection after the other until standard input ends, then report.
    Serve {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        how: How,
    },
    /// Make connections one after the other, move bytes, report.
    Connect {
        #[arg(long)]
        to: SocketAddrV4,
        #[arg(long)]
        connections: u64,
        #[arg(long)]
        how: How,
    },
}

/// Who does the work.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum How {
    /// The caller, when it enters the ring or is woken.
    Caller,
    /// A worker thread of the kernel's (IOSQE_ASYNC).
    Worker,
    /// A polling thread of the kernel's (IORING_SETUP_SQPOLL).
    Poller,
}

/// A ring with one operation under way at a time.
struct Ring {
    ring: IoUring,
    flags: squeue::Flags,
}

impl Ring {
    fn new(how: How) -> io::Result<Self> {
        let ring = match how {
            How::Poller => IoUring::builder().setup_sqpoll(1000).build(4),
            How::Caller | How::Worker => IoUring::new(4),
        }?;
        let flags = if how == How::Worker { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        Ok(Self { ring, flags })
    }

    /// Does one operation and gives its result.
    ///
    /// # Safety
    ///
    /// What the operation points to and the descriptors it names must be valid until this returns.
    unsafe fn run(&mut self, operation: squeue::Entry) -> io::Result<i32> {
        // SAFETY: what the operation refers to is valid until this returns, by this function's contract, and this
        // waits for its completion: nothing else is under way in this ring, and an interrupted wait is repeated.
        let pushed = unsafe { self.ring.submission().push(&operation.flags(self.flags)) };
        pushed.map_err(io::Error::other)?;
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if let Some(completion) = self.ring.completion().next() {
                return match completion.result() {
                    error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
                    result => Ok(result),
                };
            }
        }
    }
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Serve { listen, how } => serve(listen, how),
        Arguments::Connect { to, connections, how } => connect(to, connections, how),
    }
}

fn serve(listen: SocketAddr, how: How) -> Result<()> {
    let identity = Process::own_chain()?;
    let listener = TcpListener::bind(listen)?;
    let tally = Tally::default();
    let mut ring = Ring::new(how)?;
    thread::scope(|scope| -> Result<()> {
        let accepting = scope.spawn(|| -> Result<()> {
            loop {
                let accept = opcode::Accept::new(
                    types::Fd(listener.as_raw_fd()),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                );
                // SAFETY: null pointers ask for no address, and the listener outlives this scope.
                let accepted = match unsafe { ring.run(accept.build()) } {
                    Ok(accepted) => accepted,
                    // Shut down: the end.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
                    Err(error) => bail!("accept: {error}"),
                };
                // SAFETY: the kernel has just given this descriptor to nobody else.
                let socket = unsafe { TcpStream::from_raw_fd(accepted) };
                let peer = socket.peer_addr()?;
                let mut stream = Stream::new(socket, peer)?;
                let outcome = answer(&mut stream);
                tally.ended(stream, outcome);
            }
        });
        print(&Listening { address: listener.local_addr()?, pids: vec![identity.0.pid] })?;
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        net::shutdown(&listener, Shutdown::Read)?;
        accepting.join().expect("no panic")
    })?;
    tally.report(identity, Vec::new())
}

fn connect(to: SocketAddrV4, connections: u64, how: How) -> Result<()> {
    let identity = Process::own_chain()?;
    let tally = Tally::default();
    let mut ring = Ring::new(how)?;
    for number in 0..connections {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // struct sockaddr_in, ip(7): family, port, address, padding.
        let mut address = [0_u8; 16];
        address[..2].copy_from_slice(&AddressFamily::INET.as_raw().to_ne_bytes());
        address[2..4].copy_from_slice(&to.port().to_be_bytes());
        address[4..8].copy_from_slice(&to.ip().octets());
        let operation = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), 16);
        // SAFETY: the address and the socket live until the end of this block, and the address is 16 bytes long. It
        // is not aligned as a sockaddr_in, and need not be: the kernel copies it.
        unsafe { ring.run(operation.build()) }?;
        let mut stream = Stream::new(socket.into(), to.into())?;
        let outcome = stream.ask(1000 + number, 2000 + number, LAST);
        tally.ended(stream, outcome);
    }
    tally.report(identity, Vec::new())
}
