//! A socket that counts what its calls return, and the sum of all sockets of this process.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use netsonde_tests::report::{Connection, Moved, Process, Report};
use rustix::net;

const CHUNK: usize = 64 * 1024;

/// What all threads of this process did.
#[derive(Default)]
pub struct Tally {
    connections: Mutex<Vec<Connection>>,
    failures: Mutex<BTreeMap<String, u64>>,
}

/// A connected socket that counts what its calls return.
pub struct Stream {
    pub socket: TcpStream,
    pub moved: Moved,
    ends: (SocketAddr, SocketAddr),
}

impl Stream {
    pub fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, moved: Moved::default(), ends: (local, peer) })
    }

    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.socket.write(bytes)?;
            self.moved.sent += sent as u64;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

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
        let connection = Connection { local: stream.ends.0, peer: stream.ends.1, moved: stream.moved };
        drop(stream);
        self.connections.lock().expect("no thread has panicked").push(connection);
        if let Err(error) = outcome {
            self.failed(&error);
        }
    }

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

    pub fn count_failures(&self, name: &str, count: u64) {
        *self.failures.lock().expect("no thread has panicked").entry(name.into()).or_default() += count;
    }

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
