//! DNS: the messages that sockets sent and received on the ports that it is spoken on, as they passed. They are read
//! and joined in user space. The programs are UDP's, which see every packet anyway (`udp/payload.h`).

pub mod metrics;

use super::Signal;
use super::udp::{PACKET_RECEIVED, PACKET_SENT};
use crate::verdict::{Hook, Need, SocketState, Target};

/// DNS as netsonde sees it.
pub const SIGNAL: Signal = Signal {
    name: "dns",
    description: "DNS lookups over UDP and TCP, and the names of addresses",
    essential: false,
    hooks: &[
        PACKET_SENT,
        PACKET_RECEIVED,
        Hook {
            program: "udp_created",
            target: Target::Cgroup("cgroup/sock_create"),
            need: Need::Optional("lookups over UDP have no process"),
            sockets: SocketState::WithSocket,
        },
    ],
    metrics: metrics::METRICS,
    events: &[&metrics::RESPONSE],
};
