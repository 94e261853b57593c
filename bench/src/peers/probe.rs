//! Connections of our own, by which a peer shows that it looks on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::Result;

/// Short connections at a time: enough of them that a peer whose output is buffered has something to say soon.
const SHORT: usize = 4;
const MESSAGE: [u8; 64] = [0x5a; 64];

/// A server and its clients, all within this thread.
pub struct Probe {
    listener: TcpListener,
    lasting: (TcpStream, TcpStream),
    /// Of the server.
    pub port: u16,
}

impl Probe {
    /// Listens, and opens a connection that lasts, for peers that only look now and then.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let lasting = connect(&listener)?;
        Ok(Self { listener, lasting, port })
    }

    /// A few short connections.
    pub fn connect(&self) -> Result<()> {
        (0..SHORT).try_for_each(|_| exchange(&mut connect(&self.listener)?))
    }

    /// Some bytes on the lasting one.
    pub fn exchange(&mut self) -> Result<()> {
        exchange(&mut self.lasting)
    }
}

/// Both ends of a new connection: it waits in the backlog until it is accepted.
fn connect(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

fn exchange((client, server): &mut (TcpStream, TcpStream)) -> Result<()> {
    let mut message = MESSAGE;
    client.write_all(&message)?;
    server.read_exact(&mut message)?;
    server.write_all(&message)?;
    Ok(client.read_exact(&mut message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_without_anybody_else() {
        let mut probe = Probe::new().unwrap();
        probe.connect().unwrap();
        probe.exchange().unwrap();
        probe.exchange().unwrap();
        assert_ne!(probe.port, 0);
    }
}
