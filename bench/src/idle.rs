//! Many connections with nothing on them, both ends in this process.

use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open connections; closed on drop.
pub struct Idle {
    sockets: Vec<TcpStream>,
}

impl Idle {
    /// Opens so many connections, which are twice as many sockets.
    pub fn open(connections: usize) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let to = listener.local_addr()?;
        let mut sockets = Vec::with_capacity(2 * connections);
        for _ in 0..connections {
            let client = TcpStream::connect(to).context("cannot open that many connections")?;
            sockets.extend([client, listener.accept()?.0]);
        }
        Ok(Self { sockets })
    }

    /// How many sockets they are.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_open() {
        let idle = Idle::open(10).unwrap();
        assert_eq!(idle.sockets(), 20);
        let [client, server] = &idle.sockets[..2] else { panic!("no pair") };
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    }
}
