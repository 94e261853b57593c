//! A program that does with UDP sockets what a test tells it, call by call, and says what its calls returned.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::program::{Running, python};
use crate::report::{Process, Report};

/// Level and name of an option of a socket, and its value.
pub type SocketOption = (i32, i32, Value);

/// What `send` and `recv` returned, as bytes and as datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Datagrams sent; with segmentation offload, those that the data was to be cut into.
    pub sent: u64,
    /// Accepted by `send`.
    pub sent_bytes: u64,
    /// Datagrams received; with receive offload, those that the data was joined of.
    pub received: u64,
    /// Given by `recv`.
    pub received_bytes: u64,
}

impl Counts {
    /// The same amounts as the other end sees them.
    pub fn peer(self) -> Self {
        Self {
            sent: self.received,
            sent_bytes: self.received_bytes,
            received: self.sent,
            received_bytes: self.sent_bytes,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
    }
}

/// How a socket is made.
#[derive(Debug, Default)]
pub struct Making<'a> {
    /// Not of the family of the address that it is bound or connected to, but of IPv6.
    pub ipv6: bool,
    /// The address that it is bound to.
    pub bind: Option<SocketAddr>,
    /// The address that it is connected to.
    pub connect: Option<SocketAddr>,
    /// Set before either.
    pub options: &'a [SocketOption],
}

/// A socket of an agent.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Socket {
    /// Its descriptor.
    socket: i32,
    /// Its own end.
    pub local: SocketAddr,
}

/// The running program; it knows nothing of netsonde.
pub struct Agent {
    running: Running,
    /// Who it is now.
    pub process: Process,
    /// All that it has sent and received, under whatever name.
    pub counts: Counts,
}

impl Agent {
    /// Starts one on the host or in a namespace.
    pub fn start(place: Option<&Namespace>) -> Result<Self> {
        let mut command = python("datagrams.py", "");
        if let Some(place) = place {
            let mut inside = place.command(Path::new(command.get_program()));
            inside.args(command.get_args());
            command = inside;
        }
        let mut running = Running::start_command(&mut command)?;
        let Report { process, .. } = running.read()?;
        Ok(Self { running, process, counts: Counts::default() })
    }

    fn ask<T: DeserializeOwned>(&mut self, order: &Value) -> Result<T> {
        self.running.tell(&order.to_string())?;
        self.running.read()
    }

    fn count(&mut self, order: &Value) -> Result<Counts> {
        let counts: Counts = self.ask(order)?;
        self.counts += counts;
        Ok(counts)
    }

    /// Opens a socket.
    pub fn open(&mut self, making: &Making) -> Result<Socket> {
        let is_ipv6 = |address: &Option<SocketAddr>| address.is_some_and(|address| address.is_ipv6());
        let ipv6 = making.ipv6 || is_ipv6(&making.bind) || is_ipv6(&making.connect);
        self.ask(&json!({
            "act": "open",
            "family": if ipv6 { "ipv6" } else { "ipv4" },
            "bind": making.bind.map(|address| address.to_string()),
            "connect": making.connect.map(|address| address.to_string()),
            "options": making.options,
        }))
    }

    /// Opens a socket that is bound.
    pub fn bind(&mut self, address: &str) -> Result<Socket> {
        self.open(&Making { bind: Some(address.parse()?), ..Making::default() })
    }

    /// Opens a socket that is connected.
    pub fn connect(&mut self, address: SocketAddr) -> Result<Socket> {
        self.open(&Making { connect: Some(address), ..Making::default() })
    }

    /// Sends by one call each so many bytes; to the peer of a connected socket if no other is named.
    pub fn send(&mut self, from: Socket, to: Option<SocketAddr>, sizes: &[usize]) -> Result<Counts> {
        self.send_data(from, to, sizes, "")
    }

    /// Likewise; what is sent begins with these bytes, in hexadecimal.
    pub fn send_data(
        &mut self,
        from: Socket,
        to: Option<SocketAddr>,
        sizes: &[usize],
        prefix: &str,
    ) -> Result<Counts> {
        let to = to.map(|address| address.to_string());
        self.count(&json!({"act": "send", "socket": from.socket, "to": to, "sizes": sizes, "prefix": prefix}))
    }

    /// Receives so many datagrams.
    pub fn receive(&mut self, at: Socket, count: u64) -> Result<Counts> {
        self.count(&json!({"act": "receive", "socket": at.socket, "count": count, "echo": false}))
    }

    /// Receives so many datagrams and sends each back.
    pub fn echo(&mut self, at: Socket, count: u64) -> Result<Counts> {
        self.count(&json!({"act": "receive", "socket": at.socket, "count": count, "echo": true}))
    }

    /// Receives what is there.
    pub fn receive_all(&mut self, at: Socket) -> Result<Counts> {
        self.count(&json!({"act": "receive", "socket": at.socket, "count": null, "echo": false}))
    }

    /// How many datagrams the kernel says that it dropped at this socket.
    pub fn drops(&mut self, at: Socket) -> Result<u64> {
        self.ask(&json!({"act": "drops", "socket": at.socket}))
    }

    /// Has the kernel refuse, from now on, datagrams of more bytes than these.
    pub fn refuse(&mut self, at: Socket, above: usize) -> Result<()> {
        self.ask::<Counts>(&json!({"act": "refuse", "socket": at.socket, "above": above})).map(drop)
    }

    /// Puts a socket where no process holds it.
    pub fn stow(&mut self, socket: Socket) -> Result<()> {
        self.ask::<Counts>(&json!({"act": "stow", "socket": socket.socket})).map(drop)
    }

    /// Takes it back.
    pub fn fetch(&mut self, socket: Socket) -> Result<()> {
        self.ask::<Counts>(&json!({"act": "fetch", "socket": socket.socket})).map(drop)
    }

    /// Closes a socket.
    pub fn close(&mut self, socket: Socket) -> Result<()> {
        self.ask::<Counts>(&json!({"act": "close", "socket": socket.socket})).map(drop)
    }

    /// Forks, and ends: from now on this is the child.
    pub fn orphan(&mut self) -> Result<()> {
        let Report { process, .. } = self.ask(&json!({"act": "orphan"}))?;
        self.process = process;
        self.running.wait()
    }

    /// Becomes another program, another Python, that has these sockets.
    pub fn become_program(&mut self, program: &Path, sockets: &[Socket]) -> Result<()> {
        let sockets: Vec<i32> = sockets.iter().map(|one| one.socket).collect();
        let Report { process, .. } =
            self.ask(&json!({"act": "become", "program": program, "sockets": sockets}))?;
        self.process = process;
        Ok(())
    }

    /// Forks so many processes, one after the other, that each open a socket, send three datagrams and end; after
    /// each fifty of them, `pause` is called. Gives their ids and what each of them sent.
    pub fn swarm(
        &mut self,
        to: SocketAddr,
        children: usize,
        mut pause: impl FnMut() -> Result<()>,
    ) -> Result<Vec<(i32, Counts)>> {
        self.running
            .tell(&json!({"act": "swarm", "to": to.to_string(), "children": children}).to_string())?;
        let mut all = Vec::new();
        while all.len() < children {
            all.extend(self.running.read::<Vec<(i32, Counts)>>()?);
            pause()?;
            self.running.step()?;
        }
        self.running.read::<Vec<(i32, Counts)>>()?;
        Ok(all)
    }

    /// Ends it, and with it its sockets.
    pub fn end(self) -> Result<Counts> {
        let counts = self.counts;
        self.running.end()?;
        Ok(counts)
    }
}
