//! The traffic programs' protocol, over a socket that counts what its calls return, and the sum of all sockets of a
//! process.
//!
//! A connection is one or more rounds. A round opens with a header of three little-endian u64: how many bytes
//! the client will send after it, how many it wants back, and flags.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use rustix::net;

use crate::report::{Connection, Moved, Process, Report};

const CHUNK: usize = 64 * 1024;

/// Flag: no round follows.
pub const LAST: u64 = 1;
/// Flag: the client ends its sending half before the server answers.
pub const HALF_CLOSE: u64 = 2;
/// Flag: the server closes first.
pub const SERVER_CLOSES: u64 = 4;
/// Flag: the server closes by a reset, after everything was read.
pub const SERVER_RESETS: u64 = 8;

/// What all threads of this process did.
#[derive(Default)]
pub struct Tally {
    connections: Mutex<Vec<Connection>>,
    failures: Mutex<BTreeMap<String, u64>>,
}

/// A connected socket that counts what its calls return.
pub struct Stream {
    /// The socket itself.
    pub socket: TcpStream,
    /// What was moved until now.
    pub moved: Moved,
    ends: (SocketAddr, SocketAddr),
}

impl Stream {
    /// Takes a connected socket.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, moved: Moved::default(), ends: (local, peer) })
    }

    fn connection(&self) -> Connection {
        Connection { local: self.ends.0, peer: self.ends.1, moved: self.moved }
    }

    /// Sends all of these bytes.
    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.socket.write(bytes)?;
            self.moved.sent += sent as u64;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends so many bytes.
    pub fn send_amount(&mut self, mut amount: u64) -> io::Result<()> {
        let chunk = [0x5a; CHUNK];
        while amount > 0 {
            let part = amount.min(CHUNK as u64) as usize;
            self.send(&chunk[..part])?;
            amount -= part as u64;
        }
        Ok(())
    }

    /// Fills the buffer; false when the peer had ended before its first byte.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
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

    /// Receives so many bytes, or fails.
    pub fn receive_amount(&mut self, mut amount: u64) -> io::Result<()> {
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

    /// The client's side of one round.
    pub fn ask(&mut self, outgoing: u64, wanted: u64, flags: u64) -> io::Result<()> {
        self.send(&[outgoing, wanted, flags].map(u64::to_le_bytes).concat())?;
        self.send_amount(outgoing)?;
        if flags & HALF_CLOSE != 0 {
            self.socket.shutdown(std::net::Shutdown::Write)?;
        }
        self.receive_amount(wanted)
    }

    /// Receives nothing but the peer's end.
    pub fn receive_end(&mut self) -> io::Result<()> {
        match self.receive(&mut [0])? {
            false => Ok(()),
            true => Err(io::Error::other("bytes where the end was due")),
        }
    }

    /// Makes the close that follows a reset (RFC 9293, 3.10.4 ABORT).
    pub fn reset_on_close(&self) -> io::Result<()> {
        Ok(net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))?)
    }
}

impl Tally {
    /// Counts an ended connection; it is closed here, so that a finished report means closed sockets.
    pub fn ended(&self, stream: Stream, outcome: io::Result<()>) {
        let connection = stream.connection();
        drop(stream);
        self.connections.lock().expect("no thread has panicked").push(connection);
        if let Err(error) = outcome {
            self.failed(&error);
        }
    }

    /// Counts a connection that stays open when this program is done with it.
    pub fn kept(&self, stream: &Stream) {
        self.connections.lock().expect("no thread has panicked").push(stream.connection());
    }

    /// Counts an error by netsonde's word for it.
    pub fn failed(&self, error: &io::Error) {
        let name = match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::ConnectionReset => "reset",
            io::ErrorKind::TimedOut => "timed_out",
            io::ErrorKind::HostUnreachable => "host_unreachable",
            io::ErrorKind::NetworkUnreachable => "net_unreachable",
            _ => &error.to_string(),
        };
        self.count_failures(name, 1);
    }

    /// Counts failures by a name.
    pub fn count_failures(&self, name: &str, count: u64) {
        *self.failures.lock().expect("no thread has panicked").entry(name.into()).or_default() += count;
    }

    /// Prints the report of this process.
    pub fn report(self, identity: (Process, Vec<Process>), workers: Vec<Report>) -> Result<()> {
        let (process, ancestors) = identity;
        let connections = self.connections.into_inner().expect("no thread has panicked");
        let failures = self.failures.into_inner().expect("no thread has panicked");
        print(&Report { process, ancestors, connections, failures, workers })
    }
}

/// Writes one JSON line.
pub fn print(line: &impl serde::Serialize) -> Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, line)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

/// The server's side of one connection.
pub fn answer(stream: &mut Stream) -> io::Result<()> {
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
