//! Connections between this process and itself, each to an address of its own: both ends of each are a flow.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Application bytes of a message, either way.
const MESSAGE: [u8; 100] = [0x5a; 100];
/// Twice in each interval of the daemon, so that no sweep comes between two rounds and finds nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// Open connections.
pub struct Pairs {
    listener: TcpListener,
    pairs: Vec<(TcpStream, TcpStream)>,
}

impl Pairs {
    pub fn new() -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?, pairs: Vec::new() })
    }

    /// Opens more until there are so many.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        let port = self.listener.local_addr()?.port();
        while self.pairs.len() < count {
            let [high, low] = u16::try_from(self.pairs.len())?.to_be_bytes();
            let client = TcpStream::connect(SocketAddr::from((Ipv4Addr::new(127, 9, high, low), port)))?;
            self.pairs.push((client, self.listener.accept()?.0));
        }
        Ok(())
    }

    /// A message and its answer on each.
    pub fn exchange(&mut self) -> io::Result<()> {
        let mut buffer = MESSAGE;
        for (client, server) in &mut self.pairs {
            client.write_all(&MESSAGE)?;
            server.read_exact(&mut buffer)?;
            server.write_all(&MESSAGE)?;
            client.read_exact(&mut buffer)?;
        }
        Ok(())
    }
}

/// Pairs that a thread keeps busy.
pub struct Busy {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Pairs>>,
}

impl Busy {
    pub fn start(mut pairs: Pairs) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            while !told.load(Ordering::Relaxed) {
                pairs.exchange()?;
                next += PAUSE;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(pairs)
        });
        Self { ends, thread }
    }

    /// Lets them rest.
    pub fn stop(self) -> Result<Pairs> {
        self.ends.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| anyhow!("the thread that exchanges messages panicked"))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_an_address_of_its_own_and_they_are_busy_until_they_are_stopped() {
        let mut pairs = Pairs::new().unwrap();
        pairs.grow(300).unwrap();
        let mut addresses: Vec<_> =
            pairs.pairs.iter().map(|(client, _)| client.peer_addr().unwrap()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 300);
        assert_eq!(Busy::start(pairs).stop().unwrap().pairs.len(), 300);
    }
}
