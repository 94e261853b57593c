//! UDP's attributes and metrics.

use crate::descriptor::{Attribute, AttributeType, Metric, MetricKind, Stability};

/// `netsonde.drop.reason`
pub static DROP_REASON: Attribute = Attribute {
    name: "netsonde.drop.reason",
    value_type: AttributeType::String,
    description: "the kernel's word (include/net/dropreason-core.h): SOCKET_RCVBUFF, the socket's receive buffer was full; PROTO_MEM, all memory of UDP was in use (net.ipv4.udp_mem); NOT_SPECIFIED, all else that the kernel counts on the socket, such as what a socket filter refused or a wrong checksum",
    stability: Stability::Stable,
};

/// `netsonde.socket.drops`
pub static SOCKET_DROPS: Metric = Metric {
    name: "netsonde.socket.drops",
    kind: MetricKind::Counter,
    unit: "{packet}",
    description: "Datagrams that reached their socket and were dropped there",
    stability: Stability::Stable,
    attributes: &[&DROP_REASON],
    of_flow: true,
};

/// `netsonde.udp.sockets.active`
pub static SOCKETS_ACTIVE: Metric = Metric {
    name: "netsonde.udp.sockets.active",
    kind: MetricKind::UpDownCounter,
    unit: "{socket}",
    description: "UDP sockets that are open and have sent or received, as of the last sweep",
    stability: Stability::Stable,
    attributes: &[],
    of_flow: true,
};

/// All of them.
pub const ALL: &[&Metric] = &[&SOCKET_DROPS, &SOCKETS_ACTIVE];
