//! TCP connections and listeners: what is measured of them and under which names.

pub mod attributes;
pub mod events;
pub mod metrics;

use super::Signal;
use super::flow::{MeasuredValue, Measurement, RECEIVE, TRANSMIT};
use crate::records::{Failure, raw};
use crate::verdict::{Hook, Need, Shape, SocketState, Target};

/// TCP as netsonde sees it.
pub const SIGNAL: Signal = Signal {
    name: "tcp",
    description: "connections and listeners: bytes, segments, retransmits, round-trip times, failures",
    essential: false,
    hooks: &[
        Hook {
            program: "tcp_state_changed",
            target: Target::Tracepoint("inet_sock_set_state"),
            need: Need::Required,
            sockets: SocketState::WithSocketOrByAddress,
        },
        Hook {
            program: "tcp_state_twin",
            target: Target::Tracepoint("inet_sock_set_state"),
            need: Need::Optional("state changes inside an interrupted program can be missed"),
            sockets: SocketState::WithSocketOrByAddress,
        },
        understudy("tcp_state_third"),
        understudy("tcp_state_fourth"),
        Hook {
            program: "tcp_socket_ended",
            target: Target::Tracepoint("tcp_destroy_sock"),
            need: Need::Required,
            sockets: SocketState::ByAddress,
        },
        Hook {
            program: "tcp_reset_received",
            target: Target::Tracepoint("tcp_receive_reset"),
            need: Need::Optional("received resets are not counted"),
            sockets: SocketState::WithSocketOrByAddress,
        },
        Hook {
            program: "tcp_reset_sent",
            target: Target::Tracepoint("tcp_send_reset"),
            need: Need::Optional("sent resets are not counted"),
            sockets: SocketState::WithSocketOrByAddress,
        },
        Hook {
            program: "tcp_synack_retransmitted",
            target: Target::Tracepoint("tcp_retransmit_synack"),
            need: Need::Optional("retransmitted SYN-ACKs are not counted"),
            sockets: SocketState::WithSocketOrByAddress,
        },
        Hook {
            program: "tcp_sweep",
            target: Target::Iterator("tcp"),
            need: Need::Required,
            sockets: SocketState::WithSocketOrByAddress,
        },
    ],
    metrics: metrics::ALL,
    events: events::ALL,
};

/// For kernels that skip a program for as long as a task lies preempted in it.
const fn understudy(program: &'static str) -> Hook {
    Hook {
        program,
        target: Target::TracepointWhere("inet_sock_set_state", Shape::PreemptsTracepoints),
        need: Need::Optional(
            "state changes can be missed while tasks are preempted in all other programs for them",
        ),
        sockets: SocketState::WithSocket,
    }
}

/// What a TCP flow measured, beyond what every flow does.
pub(super) fn measure<'a>(v: &'a raw::flow_value, sink: &mut impl FnMut(Measurement<'a>)) {
    let mut sum = |metric, label, n: u64| {
        if n != 0 {
            // A counter of one interval stays far below 2^63.
            sink(Measurement { metric, label, value: MeasuredValue::Sum(n.cast_signed()) });
        }
    };
    for (kind, n) in
        [("syn", v.retransmits_syn), ("data", v.retransmits_data), ("syn_ack", v.retransmits_synack)]
    {
        sum(&metrics::RETRANSMITS, Some((&attributes::RETRANSMIT_KIND, kind)), n);
    }
    for (event, n) in [("opened", v.opened), ("accepted", v.accepted), ("closed", v.closed)] {
        sum(&metrics::CONNECTIONS, Some((&attributes::CONNECTION_EVENT, event)), n);
    }
    for (failure, n) in Failure::ALL.iter().zip(v.failures) {
        sum(&metrics::CONNECTION_FAILURES, Some((&attributes::ERROR_TYPE, failure.as_str())), n);
    }
    sum(&metrics::RESETS, TRANSMIT, v.resets_sent);
    sum(&metrics::RESETS, RECEIVE, v.resets_received);
    let mut histogram = |metric, h: &'a raw::histogram, sum_us| {
        if h.buckets.iter().any(|&n| n != 0) {
            let value = MeasuredValue::Histogram { buckets: &h.buckets, sum_us };
            sink(Measurement { metric, label: None, value });
        }
    };
    histogram(&metrics::RTT, &v.rtt, v.rtt_sum_us);
    histogram(&metrics::CONNECT_DURATION, &v.connect_duration, v.connect_sum_us);
    histogram(&metrics::CONNECTION_DURATION, &v.connection_duration, v.duration_sum_us);
}
