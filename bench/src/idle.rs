//! Many connections with next to nothing on them, both ends in this process.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open connections; closed on drop.
pub struct Idle {
    sockets: Vec<TcpStream>,
    /// Who comes later learns from it which ends are the server's.
    _listener: TcpListener,
}

impl Idle {
    /// Opens so many connections, which are twice as many sockets.
    pub fn open(connections: usize) -> Result<Self> {
        allow_files()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let to = listener.local_addr()?;
        let mut sockets = Vec::with_capacity(2 * connections);
        for _ in 0..connections {
            let client = TcpStream::connect(to).context("cannot open that many connections")?;
            sockets.extend([client, listener.accept()?.0]);
        }
        Ok(Self { sockets, _listener: listener })
    }

    /// A byte there and a byte back on one of the connections.
    pub fn exchange(&mut self, connection: usize) -> io::Result<()> {
        let [client, server] = &mut self.sockets[2 * connection..2 * connection + 2] else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        client.write_all(&[1])?;
        server.read_exact(&mut [0])?;
        server.write_all(&[1])?;
        client.read_exact(&mut [0])
    }

    /// How many sockets they are.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}

/// Lets this process open as many files as it may let itself.
pub fn allow_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_open() {
        let mut idle = Idle::open(10).unwrap();
        assert_eq!(idle.sockets(), 20);
        idle.exchange(9).unwrap();
        let [client, server] = &idle.sockets[..2] else { panic!("no pair") };
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    }
}
