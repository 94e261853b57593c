//! The metrics, events and attributes of DNS.
//!
//! Names are those of the semantic conventions where they have one
//! (<https://opentelemetry.io/docs/specs/semconv/dns/dns-metrics/>).

use crate::descriptor::{Attribute, AttributeType, Event, HistogramLayout, Metric, MetricKind, Stability};
use crate::records::raw::histogram_layout;
use crate::signals::tcp::attributes as socket;

const fn attribute(
    name: &'static str,
    value_type: AttributeType,
    stability: Stability,
    description: &'static str,
) -> Attribute {
    Attribute { name, value_type, description, stability }
}

/// `dns.question.name`
pub static QUESTION_NAME: Attribute = attribute(
    "dns.question.name",
    AttributeType::String,
    Stability::Convention,
    "name that was asked for, in lower case without the last dot; in metrics bounded by `dns.question_names` and `dns.suffixes`, the rest is _other",
);
/// `dns.question.type`
pub static QUESTION_TYPE: Attribute = attribute(
    "dns.question.type",
    AttributeType::String,
    Stability::Stable,
    "type of the records that were asked for, as IANA names it: A, AAAA, HTTPS; one without a name is TYPE65280 in events, _other in metrics",
);
/// `dns.response_code`
pub static RESPONSE_CODE: Attribute = attribute(
    "dns.response_code",
    AttributeType::String,
    Stability::Stable,
    "code of the response, as IANA names it: NOERROR, NXDOMAIN, SERVFAIL; one without a name is RCODE12 in events, _other in metrics; absent when there was no response",
);
/// `dns.answers`
pub static ANSWERS: Attribute = attribute(
    "dns.answers",
    AttributeType::StringArray,
    Stability::Convention,
    "data of the answers in their order: addresses, target names of CNAME and of service bindings",
);
/// `netsonde.dns.truncated`
pub static TRUNCATED: Attribute = attribute(
    "netsonde.dns.truncated",
    AttributeType::Bool,
    Stability::Stable,
    "the response did not fit and said so (RFC 1035, 4.1.1); absent otherwise",
);
/// `netsonde.dns.search_suffix`
pub static SEARCH_SUFFIX: Attribute = attribute(
    "netsonde.dns.search_suffix",
    AttributeType::String,
    Stability::Stable,
    "the search suffix that the name which does not exist ends in: it was probably appended by the resolver library (resolv.conf(5))",
);
/// `netsonde.dns.duration`
pub static DURATION: Attribute = attribute(
    "netsonde.dns.duration",
    AttributeType::Double,
    Stability::Stable,
    "seconds from the query to the response, by the kernel's clock; `dns.timeout` when there was none",
);
/// `netsonde.dns.retries`
pub static RETRIES: Attribute = attribute(
    "netsonde.dns.retries",
    AttributeType::Int,
    Stability::Stable,
    "how often the same query was sent again before the lookup ended",
);

/// `dns.lookup.duration`
pub static LOOKUP_DURATION: Metric = Metric {
    name: "dns.lookup.duration",
    kind: MetricKind::Histogram(HistogramLayout {
        base_exponent: 6,
        buckets: histogram_layout::HISTOGRAM_BUCKETS.0 as usize,
    }),
    unit: "s",
    description: "Time from a query to its response; for one that had none, to the end of `dns.timeout`",
    stability: Stability::Convention,
    attributes: &[
        &QUESTION_NAME,
        &QUESTION_TYPE,
        &RESPONSE_CODE,
        &socket::ERROR_TYPE,
        &TRUNCATED,
        &SEARCH_SUFFIX,
    ],
    of_flow: true,
};

/// All of them.
pub const METRICS: &[&Metric] = &[&LOOKUP_DURATION];

/// `netsonde.dns.response`
pub static RESPONSE: Event = Event {
    name: "netsonde.dns.response",
    config_key: Some("dns"),
    description: "a DNS query was answered, or was not answered in time",
    attributes: &[
        &socket::NETWORK_TRANSPORT,
        &socket::NETWORK_TYPE,
        &socket::SOCKET_ROLE,
        &socket::SERVER_ADDRESS,
        &socket::SERVER_PORT,
        &socket::PEER_ADDRESS,
        &socket::PEER_PORT,
        &socket::CLIENT_ADDRESS,
        &socket::CLIENT_PORT,
        &socket::NETWORK_NAMESPACE,
        &socket::SOCKET_COOKIE,
        &QUESTION_NAME,
        &QUESTION_TYPE,
        &RESPONSE_CODE,
        &ANSWERS,
        &socket::ERROR_TYPE,
        &TRUNCATED,
        &SEARCH_SUFFIX,
        &DURATION,
        &RETRIES,
    ],
};
