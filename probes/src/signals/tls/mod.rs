//! TLS: whom a client named in the first message of a connection. Read in user space; the programs are UDP's, which
//! see every packet anyway (`udp/payload.h`), and look at the payload only while nothing has been acknowledged.

use super::Signal;
use super::udp::PACKET_SENT;

/// TLS as netsonde sees it.
pub const SIGNAL: Signal = Signal {
    name: "tls",
    description: "names of servers from the first message of TLS clients",
    essential: false,
    hooks: &[PACKET_SENT],
    metrics: &[],
    events: &[],
};
