//! Traffic that makes many series: connections from this process to itself, to one service after the other.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::idle::allow_files;

/// Services that make about 10,000 series: two flows each, since both ends are on this host.
pub const SERVICES: usize = 520;
/// Connections that come and go in a round.
const SHORT: usize = 10;
/// Application bytes of a message, either way.
const MESSAGE: [u8; 100] = [0x5a; 100];

/// Connections between this process and itself, to one address for each service.
pub struct Traffic {
    listener: TcpListener,
    lasting: Vec<(TcpStream, TcpStream)>,
    next: usize,
}

impl Traffic {
    /// From one round to the next.
    pub const PERIOD: Duration = Duration::from_millis(500);

    /// Opens the connections that last.
    pub fn start(services: usize) -> Result<Self> {
        allow_files()?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let mut traffic = Self { listener, lasting: Vec::new(), next: 0 };
        for number in 0..services {
            let pair = traffic.connect(number)?;
            traffic.lasting.push(pair);
        }
        Ok(traffic)
    }

    fn connect(&self, number: usize) -> io::Result<(TcpStream, TcpStream)> {
        let [high, low] = u16::try_from(number).map_err(io::Error::other)?.to_be_bytes();
        let to =
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 9, high, low)), self.listener.local_addr()?.port());
        let client = TcpStream::connect(to)?;
        Ok((client, self.listener.accept()?.0))
    }

    /// A message and its answer on each connection that lasts, and on a short one to each of the next few services.
    pub fn round(&mut self) -> io::Result<()> {
        for pair in &mut self.lasting {
            exchange(pair)?;
        }
        for _ in 0..SHORT.min(self.lasting.len()) {
            exchange(&mut self.connect(self.next)?)?;
            self.next = (self.next + 1) % self.lasting.len();
        }
        Ok(())
    }
}

fn exchange((client, server): &mut (TcpStream, TcpStream)) -> io::Result<()> {
    let mut buffer = MESSAGE;
    client.write_all(&MESSAGE)?;
    server.read_exact(&mut buffer)?;
    server.write_all(&MESSAGE)?;
    client.read_exact(&mut buffer)
}

/// That traffic, round after round, until it is dropped.
pub struct Series {
    ending: Option<Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Series {
    /// What else this host has of series is not to fold them.
    pub const CONFIGURATION: &str = "[metrics]\nseries_limit = 20000\n";

    /// Begins.
    pub fn start() -> Result<Self> {
        let mut traffic = Traffic::start(SERVICES)?;
        let (ending, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            loop {
                let next = Instant::now() + Traffic::PERIOD;
                traffic.round()?;
                let wait = next.saturating_duration_since(Instant::now());
                if ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return Ok(());
                }
            }
        });
        Ok(Self { ending: Some(ending), thread: Some(thread) })
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.ending = None;
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the traffic beside the load broke: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_addresses_of_their_own_and_are_used_in_turn() {
        let mut traffic = Traffic::start(20).unwrap();
        let mut addresses: Vec<_> =
            traffic.lasting.iter().map(|(client, _)| client.peer_addr().unwrap()).collect();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
        traffic.round().unwrap();
        assert_eq!(traffic.next, SHORT);
        traffic.round().unwrap();
        assert_eq!(traffic.next, 0);
    }

    #[test]
    fn it_ends_when_it_is_dropped() {
        drop(Series::start().unwrap());
    }
}
