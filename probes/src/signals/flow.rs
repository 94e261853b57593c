//! What flows of every transport measure, and how a measurement looks.

use super::{tcp, udp};
use crate::descriptor::{Attribute, AttributeType, Metric, MetricKind, Stability};
use crate::records::{FlowCounts, Transport};

/// `network.io.direction`
pub static IO_DIRECTION: Attribute = Attribute {
    name: "network.io.direction",
    value_type: AttributeType::String,
    description: "transmit or receive, seen from the process",
    stability: Stability::Convention,
};

/// `network.protocol.name`
pub static PROTOCOL_NAME: Attribute = Attribute {
    name: "network.protocol.name",
    value_type: AttributeType::String,
    description: "quic, where datagrams on port 443 begin as QUIC's do (RFC 9000, 17.2); else absent",
    stability: Stability::Convention,
};

/// A label of a series: its attribute and value.
type Label = Option<(&'static Attribute, &'static str)>;

pub(super) const TRANSMIT: Label = Some((&IO_DIRECTION, "transmit"));
pub(super) const RECEIVE: Label = Some((&IO_DIRECTION, "receive"));

const fn of_flow(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    description: &'static str,
    attributes: &'static [&'static Attribute],
) -> Metric {
    Metric { name, kind, unit, description, stability: Stability::Stable, attributes, of_flow: true }
}

/// `netsonde.flow.io`
pub static FLOW_IO: Metric = of_flow(
    "netsonde.flow.io",
    MetricKind::Counter,
    "By",
    "Application bytes moved; a byte that TCP sends again counts once",
    &[&IO_DIRECTION],
);
/// `netsonde.flow.packets`
pub static FLOW_PACKETS: Metric = of_flow(
    "netsonde.flow.packets",
    MetricKind::Counter,
    "{packet}",
    "Sent and received by sockets: TCP segments, acknowledgements and retransmits included; UDP datagrams",
    &[&IO_DIRECTION],
);
/// Metrics of every transport.
pub const METRICS: &[&Metric] = &[&FLOW_IO, &FLOW_PACKETS];

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

/// By how much the number of open connections changed in a flow, or of UDP sockets.
#[must_use]
pub fn active_change(counts: &FlowCounts) -> i64 {
    counts.0.active
}

/// The metric of what is open.
#[must_use]
pub fn active_metric(transport: Transport) -> &'static Metric {
    match transport {
        Transport::Tcp => &tcp::metrics::CONNECTIONS_ACTIVE,
        Transport::Udp => &udp::metrics::SOCKETS_ACTIVE,
    }
}

/// So many more that are open, or fewer.
#[must_use]
pub fn active(transport: Transport, change: i64) -> Measurement<'static> {
    Measurement { metric: active_metric(transport), label: None, value: MeasuredValue::Sum(change) }
}

/// Calls `sink` with everything that the flow measured, and with nothing that it did not; but not with the change
/// in what it has open, for which there is [`active_change`].
pub fn measure<'a>(counts: &'a FlowCounts, mut sink: impl FnMut(Measurement<'a>)) {
    let v = &counts.0;
    for (metric, label, n) in [
        (&FLOW_IO, TRANSMIT, v.transmit_bytes),
        (&FLOW_IO, RECEIVE, v.receive_bytes),
        (&FLOW_PACKETS, TRANSMIT, v.transmit_segments),
        (&FLOW_PACKETS, RECEIVE, v.receive_segments),
    ] {
        if n != 0 {
            // A counter of one interval stays far below 2^63. Below zero is one of UDP that was drained between a
            // datagram's arrival and its drop.
            sink(Measurement { metric, label, value: MeasuredValue::Sum(n.cast_signed()) });
        }
    }
    tcp::measure(v, &mut sink);
    udp::measure(v, &mut sink);
}
