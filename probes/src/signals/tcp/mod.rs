//! TCP connections and listeners: what is measured of them and under which names.

pub mod attributes;
pub mod events;
pub mod metrics;

use super::Signal;
use crate::descriptor::{Attribute, Metric};
use crate::records::{Failure, FlowCounts, raw};
use crate::verdict::{Hook, Need, Target};

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
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_state_twin",
            target: Target::Tracepoint("inet_sock_set_state"),
            need: Need::Optional("state changes inside an interrupted program can be missed"),
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_reset_received",
            target: Target::Tracepoint("tcp_receive_reset"),
            need: Need::Optional("received resets are not counted"),
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_reset_sent",
            target: Target::Tracepoint("tcp_send_reset"),
            need: Need::Optional("sent resets are not counted"),
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_synack_retransmitted",
            target: Target::Tracepoint("tcp_retransmit_synack"),
            need: Need::Optional("retransmitted SYN-ACKs are not counted"),
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_sweep",
            target: Target::Iterator("tcp"),
            need: Need::Required,
            uses_socket_storage: true,
        },
        Hook {
            program: "tcp_holders",
            target: Target::Iterator("task_file"),
            need: Need::Optional(
                "sockets older than netsonde and those of pre-forked workers have no owner, and those that are handed on keep the old one",
            ),
            uses_socket_storage: true,
        },
    ],
    metrics: metrics::ALL,
    events: events::ALL,
};

/// What was added to one series.
#[derive(Debug, Clone, Copy)]
pub struct Measurement<'a> {
    /// Which metric.
    pub metric: &'static Metric,
    /// What tells the series apart from others of its flow.
    pub label: Option<(&'static Attribute, &'static str)>,
    /// How much.
    pub value: MeasuredValue<'a>,
}

/// How much was added.
#[derive(Debug, Clone, Copy)]
pub enum MeasuredValue<'a> {
    /// To a sum; negative only for up-down counters.
    Sum(i64),
    /// To a histogram: observations per bucket and their sum in microseconds.
    Histogram {
        /// One count a bucket, as laid out by the metric.
        buckets: &'a [u32],
        /// Sum of the observations.
        sum_us: u64,
    },
}

/// By how much the number of open connections changed in a flow.
#[must_use]
pub fn active_change(counts: &FlowCounts) -> i64 {
    counts.0.active
}

/// So many more open connections, or fewer.
#[must_use]
pub fn active(change: i64) -> Measurement<'static> {
    Measurement { metric: &metrics::CONNECTIONS_ACTIVE, label: None, value: MeasuredValue::Sum(change) }
}

/// Calls `sink` with everything that the flow measured, and with nothing that it did not; but not with the change
/// in its open connections, for which there is [`active_change`].
pub fn measure<'a>(counts: &'a FlowCounts, mut sink: impl FnMut(Measurement<'a>)) {
    let v = &counts.0;
    let mut sum = |metric, label, n: u64| {
        if n != 0 {
            // A counter of one interval stays far below 2^63.
            sink(Measurement { metric, label, value: MeasuredValue::Sum(n.cast_signed()) });
        }
    };
    let transmit = Some((&attributes::IO_DIRECTION, "transmit"));
    let receive = Some((&attributes::IO_DIRECTION, "receive"));
    sum(&metrics::FLOW_IO, transmit, v.transmit_bytes);
    sum(&metrics::FLOW_IO, receive, v.receive_bytes);
    sum(&metrics::FLOW_PACKETS, transmit, v.transmit_segments);
    sum(&metrics::FLOW_PACKETS, receive, v.receive_segments);
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
    sum(&metrics::RESETS, transmit, v.resets_sent);
    sum(&metrics::RESETS, receive, v.resets_received);
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
