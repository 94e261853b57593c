//! A TCP relay that breaks what passes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are relayed.
    Pass = 0,
    /// They are reset once the client has sent so many bytes that a request is under way.
    Reset = 1,
    /// They stay open, and nothing is read from the client.
    Stall = 2,
}

/// Bytes of a client after which [`Mode::Reset`] strikes: beyond HTTP/2's preface and settings.
const RESET_AFTER: u64 = 600;

/// A relay; its threads end with the test.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: Arc<AtomicU8>,
    struck: Arc<AtomicU64>,
}

impl Proxy {
    /// Relays connections to a port of this host.
    pub fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self { address: listener.local_addr()?, mode: Arc::default(), struck: Arc::default() };
        let (mode, struck) = (Arc::clone(&proxy.mode), Arc::clone(&proxy.struck));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (mode, struck) = (Arc::clone(&mode), Arc::clone(&struck));
                thread::spawn(move || relay(client, port, &mode, &struck));
            }
        });
        Ok(proxy)
    }

    /// What becomes of connections from now on, open ones included.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Connections that were reset or left unread until now.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::SeqCst)
    }
}

fn relay(mut client: TcpStream, port: u16, mode: &AtomicU8, struck: &AtomicU64) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let (mut passed, mut buffer) = (0, [0; 256]);
    loop {
        if mode.load(Ordering::SeqCst) == Mode::Stall as u8 {
            struck.fetch_add(1, Ordering::SeqCst);
            // What was not forwarded never is: the peer's bytes die with this connection.
            while mode.load(Ordering::SeqCst) == Mode::Stall as u8 {
                thread::sleep(Duration::from_millis(20));
            }
            break;
        }
        let Ok(read @ 1..) = client.read(&mut buffer) else { break };
        match mode.load(Ordering::SeqCst) {
            // Read while it was told to stall: back to the top, without these bytes.
            stall if stall == Mode::Stall as u8 => continue,
            reset if reset == Mode::Reset as u8 && passed + read as u64 > RESET_AFTER => {
                struck.fetch_add(1, Ordering::SeqCst);
                let _ = sockopt::set_socket_linger(&client, Some(Duration::ZERO));
                let _ = server.shutdown(Shutdown::Both);
                // Not shut down but closed, which with this option is a reset; the other thread's handle goes too.
                return;
            }
            _ => {}
        }
        passed += read as u64;
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
