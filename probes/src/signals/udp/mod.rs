//! UDP sockets: bytes and datagrams both ways, and what found no room.

pub mod metrics;

use super::Signal;
use super::flow::{MeasuredValue, Measurement};
use crate::records::raw;
use crate::verdict::{Hook, Need, Shape, SocketState, Target};

/// Sees each packet that a socket sends; other signals read it as well.
pub(super) const PACKET_SENT: Hook = Hook {
    program: "packet_sent",
    target: Target::Cgroup("cgroup_skb/egress"),
    need: Need::Required,
    sockets: SocketState::WithSocket,
};

/// Likewise each that a socket receives.
pub(super) const PACKET_RECEIVED: Hook = Hook {
    program: "packet_received",
    target: Target::Cgroup("cgroup_skb/ingress"),
    need: Need::Required,
    sockets: SocketState::WithSocket,
};

/// Since 6.10 the tracepoint has the packet, of either family.
const TELLS_THE_PACKET: Shape = Shape::Carries("udp_fail_queue_rcv_skb", 3);
/// Before, it is told of IPv4 alone, right behind `kfree_skb` on the same processor, so the function that puts datagrams
/// into a socket's queue is watched in its place wherever the kernel allows that.
const HAS_FREED_THE_PACKET: Shape = Shape::Lacks("udp_fail_queue_rcv_skb", 3);
const QUEUEING: &str = "udp_not_queued";
const DROPS_COUNT_AS_RECEIVED: &str = "datagrams that found no room count as received";
const IPV4_DROPS_COUNT_AS_RECEIVED: &str =
    "datagrams over IPv4 that found no room count as received, and their drops have no reason";

/// UDP as netsonde sees it.
pub const SIGNAL: Signal = Signal {
    name: "udp",
    description: "UDP sockets: bytes, datagrams, drops",
    essential: false,
    hooks: &[
        PACKET_SENT,
        PACKET_RECEIVED,
        Hook {
            program: "udp_created",
            target: Target::Cgroup("cgroup/sock_create"),
            need: Need::Optional("new sockets have no owner before the next sweep"),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_bound",
            target: Target::Cgroup("cgroup/post_bind4"),
            need: Need::Optional("what binds a port of IPv4 is not told of before the next sweep"),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_bound_ipv6",
            target: Target::Cgroup("cgroup/post_bind6"),
            need: Need::Optional("what binds a port of IPv6 is not told of before the next sweep"),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_released",
            target: Target::Cgroup("cgroup/sock_release"),
            need: Need::Optional("what a socket moved since the last sweep before its end is missing"),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_dropped",
            target: Target::TracepointWhere("udp_fail_queue_rcv_skb", TELLS_THE_PACKET),
            need: Need::Optional(DROPS_COUNT_AS_RECEIVED),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: QUEUEING,
            target: Target::FunctionWhere("__udp_enqueue_schedule_skb", HAS_FREED_THE_PACKET),
            need: Need::Optional(
                "datagrams over IPv6 that found no room count as received, and their drops have no reason",
            ),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_packet_freed",
            target: Target::TracepointWhere("kfree_skb", HAS_FREED_THE_PACKET),
            need: Need::InsteadOf(QUEUEING, IPV4_DROPS_COUNT_AS_RECEIVED),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_freed_dropped",
            target: Target::TracepointWhere("udp_fail_queue_rcv_skb", HAS_FREED_THE_PACKET),
            need: Need::InsteadOf(QUEUEING, IPV4_DROPS_COUNT_AS_RECEIVED),
            sockets: SocketState::WithSocket,
        },
        Hook {
            program: "udp_sweep",
            target: Target::Iterator("udp"),
            need: Need::Required,
            sockets: SocketState::WithSocket,
        },
    ],
    metrics: metrics::ALL,
    events: &[],
};

/// The kernel's words for the reasons, in the order of `enum drop_kind`.
const DROP_REASONS: [&str; raw::drop_kind::DROP_KINDS.0 as usize] =
    ["SOCKET_RCVBUFF", "PROTO_MEM", "NOT_SPECIFIED"];

/// What a UDP flow measured, beyond what every flow does.
pub(super) fn measure<'a>(v: &'a raw::flow_value, sink: &mut impl FnMut(Measurement<'a>)) {
    for (reason, n) in DROP_REASONS.into_iter().zip(v.drops).filter(|(_, n)| *n != 0) {
        sink(Measurement {
            metric: &metrics::SOCKET_DROPS,
            label: Some((&metrics::DROP_REASON, reason)),
            value: MeasuredValue::Sum(n.cast_signed()),
        });
    }
}
