//! Sockets that take what nobody of this host asked for, and who holds them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Owner, Plain, RuleMask, Transport, address, raw, read};

// SAFETY: generated `repr(C)` structs of integers and arrays of integers.
unsafe impl Plain for raw::accept_totals {}

/// A listening socket of TCP, or one of UDP that is bound to a port, as a sweep found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Over what.
    pub transport: Transport,
    /// Whose socket: of several holders the oldest.
    pub owner: Owner,
    /// Who opened it, running which program; `None` when that was before netsonde, or for UDP, whose owner did.
    pub opener: Option<Owner>,
    /// When it was opened, nanoseconds of `CLOCK_BOOTTIME`; `None` when that was before netsonde.
    pub opened_ns: Option<u64>,
    /// The kernel's number for the socket.
    pub cookie: u64,
    /// Where it listens.
    pub address: IpAddr,
    /// On which port.
    pub port: u16,
    /// Index of the device that it is bound to (`SO_BINDTODEVICE`).
    pub interface: Option<u32>,
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
    /// Connections in the accept queue.
    pub queued: u32,
    /// Sockets that share the port with `SO_REUSEPORT`; `None` where that has not been set.
    pub reuseport_group: Option<u16>,
    /// UDP: it is connected, and takes datagrams of this peer only.
    pub peer: Option<SocketAddr>,
    /// bind(2) named the port; else the kernel took one that was free.
    pub port_chosen: bool,
    /// An IPv6 socket that takes no IPv4.
    pub ipv6_only: bool,
    /// Several processes hold it, or may.
    pub shared: bool,
    /// TCP: what it has accepted since netsonde knows it.
    pub accepts: Accepts,
    /// Which selection rules may apply.
    pub rules: RuleMask,
}

/// What a listener has accepted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Accepts {
    /// Connections.
    pub count: u64,
    /// When the last one came, nanoseconds of `CLOCK_BOOTTIME`.
    pub last_ns: Option<u64>,
    /// From how many addresses: an estimate, whose standard error is 9 % (HyperLogLog of 128 registers); small
    /// numbers are nearly exact.
    pub peers: u64,
    /// Networks of the clients, in the order in which they came: 24 bits of IPv4, 64 of IPv6.
    pub networks: Vec<(IpAddr, u8)>,
    /// There were more than these.
    pub further_networks: bool,
}

impl From<&raw::accept_totals> for Accepts {
    fn from(a: &raw::accept_totals) -> Self {
        Self {
            count: a.accepted,
            last_ns: (a.last_ns != 0).then_some(a.last_ns),
            peers: distinct(&a.peers),
            networks: a.networks.iter().copied().filter(|n| *n != 0).map(network).collect(),
            further_networks: a.further_networks != 0,
        }
    }
}

/// How many different values a HyperLogLog has seen (Flajolet, Fusy, Gandouet and Meunier, 2007, figure 3). With 64
/// bits of hash there is nothing to correct at the far end.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate"
)]
fn distinct(registers: &[u8]) -> u64 {
    let m = registers.len() as f64;
    let unused = registers.iter().filter(|r| **r == 0).count();
    let alpha = 0.7213 / (1.0 + 1.079 / m);
    let estimate = alpha * m * m / registers.iter().map(|r| 2f64.powi(-i32::from(*r))).sum::<f64>();
    if estimate <= 2.5 * m && unused > 0 {
        return (m * (m / unused as f64).ln()).round() as u64;
    }
    estimate.round() as u64
}

/// As the kernel's side packs them (`struct accept_totals`).
fn network(packed: u64) -> (IpAddr, u8) {
    if packed >> 32 == 0xffff {
        return (IpAddr::V4(((packed & 0xffff_ffff) as u32).into()), 24);
    }
    (IpAddr::V6(Ipv6Addr::from(u128::from(packed) << 64)), 64)
}

/// Bytes of a listener's record: the record and what was accepted.
pub(crate) const LISTENER_BYTES: usize = size_of::<raw::listener_record>() + size_of::<raw::accept_totals>();

pub(crate) fn listener(bytes: &[u8]) -> Option<Listener> {
    let r: raw::listener_record = read(bytes)?;
    let accepts: raw::accept_totals = read(bytes.get(size_of::<raw::listener_record>()..)?)?;
    let opener: Owner = r.opener.into();
    Some(Listener {
        transport: Transport::from_raw(r.transport),
        owner: r.owner.into(),
        opener: opener.process.is_known().then_some(opener),
        opened_ns: (r.opened_ns != 0).then_some(r.opened_ns),
        cookie: r.socket_cookie,
        address: address(r.address),
        port: r.port,
        interface: (r.interface != 0).then_some(r.interface),
        network_namespace: r.network_namespace,
        backlog: r.backlog,
        queued: r.queued,
        reuseport_group: (r.reuseport_group != 0).then_some(r.reuseport_group),
        peer: (r.connected != 0).then(|| SocketAddr::new(address(r.peer_address), r.peer_port)),
        port_chosen: r.port_chosen != 0,
        ipv6_only: r.ipv6_only != 0,
        shared: r.shared != 0,
        accepts: (&accepts).into(),
        rules: RuleMask(r.rules),
    })
}

/// What a socket without port and connections is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialKind {
    /// A raw socket: takes packets of a protocol of IP (raw(7)).
    Raw {
        /// The protocol's number (<https://www.iana.org/assignments/protocol-numbers>).
        protocol: u16,
        /// It is bound to this address; unspecified for all.
        address: IpAddr,
    },
    /// A packet socket: takes frames of a device (packet(7)).
    Packet {
        /// Type of Ethernet (<https://www.iana.org/assignments/ieee-802-numbers>), 3 for all; 0 takes none.
        protocol: u16,
    },
    /// A listening socket of SCTP.
    Sctp {
        /// It is bound to this address.
        address: IpAddr,
        /// And this port.
        port: u16,
    },
}

/// A raw or packet socket, or one of SCTP, with one of its holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialSocket {
    /// What it is.
    pub kind: SpecialKind,
    /// One who holds it; each of several comes by itself.
    pub holder: Owner,
    /// The kernel's number for the socket.
    pub cookie: u64,
    /// Index of the device that it is bound to.
    pub interface: Option<u32>,
    /// Inode number of the network namespace.
    pub network_namespace: u32,
}

/// What a walk over open files tells.
pub(crate) enum Held {
    /// One of several processes that hold a socket: its cookie and who.
    BySeveral(u64, Owner),
    Special(SpecialSocket),
    /// A socket of SCTP that does not listen.
    Nothing,
}

/// `IPPROTO_SCTP` (RFC 9260).
const PROTOCOL_SCTP: u16 = 132;

pub(crate) fn held(bytes: &[u8]) -> Option<Held> {
    let r: raw::holder_record = read(bytes)?;
    let address = match address(r.address) {
        IpAddr::V6(v6) if v6.is_unspecified() && r.ipv6 == 0 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        address => address,
    };
    let kind = match raw::held_kind(r.kind.into()) {
        raw::held_kind::HELD_BY_SEVERAL => {
            return Some(Held::BySeveral(r.socket_cookie, r.owner.into()));
        }
        raw::held_kind::HELD_RAW if r.protocol == PROTOCOL_SCTP && r.port != 0 => {
            if r.listens == 0 {
                return Some(Held::Nothing);
            }
            SpecialKind::Sctp { address, port: r.port }
        }
        raw::held_kind::HELD_RAW => SpecialKind::Raw { protocol: r.protocol, address },
        raw::held_kind::HELD_PACKET => SpecialKind::Packet { protocol: r.protocol },
        _ => return None,
    };
    Some(Held::Special(SpecialSocket {
        kind,
        holder: r.owner.into(),
        cookie: r.socket_cookie,
        interface: (r.interface != 0).then_some(r.interface),
        network_namespace: r.network_namespace,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's side in Rust: `count_accept()` in `include/core.h`.
    fn registers(addresses: impl Iterator<Item = u64>) -> [u8; 128] {
        fn mix(mut v: u64) -> u64 {
            v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            v ^ (v >> 31)
        }
        let mut registers = [0u8; 128];
        for address in addresses {
            let hash = mix(mix(address));
            let register = &mut registers[(hash % 128) as usize];
            *register = (*register).max(hash.leading_zeros() as u8 + 1);
        }
        registers
    }

    #[test]
    fn a_few_peers_are_counted_one_by_one() {
        for n in 0..=8 {
            assert_eq!(distinct(&registers(1..=n)), n);
        }
    }

    #[test]
    fn many_peers_are_estimated() {
        for n in [100u64, 1_000, 100_000] {
            let estimate = distinct(&registers((1..=n).map(|i| i << 32 | 0xffff)));
            assert!(estimate.abs_diff(n) * 100 / n < 27, "three standard errors: {estimate} for {n}");
        }
    }

    #[test]
    fn networks_are_of_their_family() {
        let network = |packed| {
            let (address, prefix) = network(packed);
            format!("{address}/{prefix}")
        };
        assert_eq!(network(0xffff_c0a8_0100), "192.168.1.0/24");
        assert_eq!(network(0x2001_0db8_0000_0001), "2001:db8:0:1::/64");
    }
}
