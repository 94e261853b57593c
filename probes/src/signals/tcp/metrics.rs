//! TCP's metrics.

use super::attributes::{ADDRESS_CLASS, CONNECTION_EVENT, ERROR_TYPE, RETRANSMIT_KIND};
use crate::descriptor::{Attribute, HistogramLayout, Metric, MetricKind, Stability};
use crate::records::raw::histogram_layout as layout;
use crate::signals::flow::IO_DIRECTION;

const fn doubling(base: layout) -> MetricKind {
    MetricKind::Histogram(HistogramLayout {
        base_exponent: base.0,
        buckets: layout::HISTOGRAM_BUCKETS.0 as usize,
    })
}

const fn of_flow(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    description: &'static str,
    attributes: &'static [&'static Attribute],
) -> Metric {
    Metric { name, kind, unit, description, stability: Stability::Stable, attributes, of_flow: true }
}

/// `netsonde.tcp.rtt`
pub static RTT: Metric = of_flow(
    "netsonde.tcp.rtt",
    doubling(layout::RTT_BASE_EXPONENT),
    "s",
    "Smoothed round-trip time, sampled once an interval and at the close from each connection that received",
    &[],
);
/// `netsonde.tcp.retransmits`
pub static RETRANSMITS: Metric = of_flow(
    "netsonde.tcp.retransmits",
    MetricKind::Counter,
    "{segment}",
    "Segments sent again",
    &[&RETRANSMIT_KIND],
);
/// `netsonde.tcp.connections`
pub static CONNECTIONS: Metric = of_flow(
    "netsonde.tcp.connections",
    MetricKind::Counter,
    "{connection}",
    "Connections opened, accepted and closed",
    &[&CONNECTION_EVENT],
);
/// `netsonde.tcp.connections.active`
pub static CONNECTIONS_ACTIVE: Metric = of_flow(
    "netsonde.tcp.connections.active",
    MetricKind::UpDownCounter,
    "{connection}",
    "Connections that are established and not yet closed",
    &[],
);
/// `netsonde.tcp.connection.duration`
pub static CONNECTION_DURATION: Metric = of_flow(
    "netsonde.tcp.connection.duration",
    doubling(layout::DURATION_BASE_EXPONENT),
    "s",
    "How long closed connections had been established",
    &[],
);
/// `netsonde.tcp.connect.duration`
pub static CONNECT_DURATION: Metric = of_flow(
    "netsonde.tcp.connect.duration",
    doubling(layout::CONNECT_BASE_EXPONENT),
    "s",
    "Time from the first SYN to the established connection",
    &[],
);
/// `netsonde.tcp.connection.failures`
pub static CONNECTION_FAILURES: Metric = of_flow(
    "netsonde.tcp.connection.failures",
    MetricKind::Counter,
    "{connection}",
    "Connections that could not be established, or that broke",
    &[&ERROR_TYPE],
);
/// `netsonde.tcp.resets`
pub static RESETS: Metric = of_flow(
    "netsonde.tcp.resets",
    MetricKind::Counter,
    "{reset}",
    "Resets sent and received; those sent for no socket have no process",
    &[&IO_DIRECTION],
);
/// `netsonde.listeners`
pub static LISTENERS: Metric = of_flow(
    "netsonde.listeners",
    MetricKind::Gauge,
    "{socket}",
    "Listening sockets of TCP, and those of UDP that are bound to a port and not connected",
    &[&ADDRESS_CLASS],
);

/// All of them.
pub const ALL: &[&Metric] = &[
    &RTT,
    &RETRANSMITS,
    &CONNECTIONS,
    &CONNECTIONS_ACTIVE,
    &CONNECTION_DURATION,
    &CONNECT_DURATION,
    &CONNECTION_FAILURES,
    &RESETS,
    &LISTENERS,
];
