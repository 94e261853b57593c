//! Everything that netsonde publishes, in one list: what the signals declare and what the daemon adds. The
//! configuration, the exporters and the reference page read names from here.

use netsonde_probes::descriptor::{Event, Metric};
use netsonde_probes::signals;
#[cfg(test)]
use netsonde_probes::{descriptor::Attribute, loss};

use crate::aggregate::{LISTEN_VIOLATION, OWN_METRICS};
#[cfg(test)]
use crate::{
    aggregate::{
        DNS_EVENT_RATE_LIMITED, EVENT_ATTRIBUTES, LISTENERS_UNTRACKED, MEMORY_SHORT, PROCESS_ANCESTRY,
    },
    config::{FlowAttribute, Word},
};

/// Every metric.
#[must_use]
pub fn metrics() -> Vec<&'static Metric> {
    signals::metrics().into_iter().chain(OWN_METRICS.iter().copied()).collect()
}

/// Names of the metrics whose attributes can be chosen.
#[must_use]
pub fn flow_metrics() -> Vec<&'static str> {
    metrics().into_iter().filter(|m| m.of_flow).map(|m| m.name).collect()
}

/// What the metrics of flows can carry, each with its descriptor.
#[cfg(test)]
#[must_use]
pub fn flow_attributes() -> Vec<(FlowAttribute, &'static Attribute)> {
    let mut described = signals::attributes();
    described.extend(EVENT_ATTRIBUTES.iter().chain([&&PROCESS_ANCESTRY]));
    let descriptor =
        |word| described.iter().find(|a| a.name == word).expect("every flow attribute is described");
    FlowAttribute::WORDS.iter().map(|&(word, attribute)| (attribute, *descriptor(word))).collect()
}

/// Every log event.
#[must_use]
pub fn events() -> Vec<&'static Event> {
    signals::REGISTRY.iter().flat_map(|s| s.events).copied().chain([&LISTEN_VIOLATION]).collect()
}

/// What every log event carries.
#[cfg(test)]
#[must_use]
pub fn event_attributes() -> &'static [&'static Attribute] {
    EVENT_ATTRIBUTES
}

/// Every reason in `netsonde.loss.reason`, with its meaning.
#[cfg(test)]
pub fn losses() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kernel = loss::REASONS.iter().map(|(_, reason, meaning)| (*reason, *meaning));
    kernel.chain([
        (loss::UNDECODABLE, "a record that these probes cannot have written"),
        (
            loss::HOLDERS,
            "more holders of shared sockets than are remembered: lists of holders are incomplete",
        ),
        (DNS_EVENT_RATE_LIMITED, "more DNS lookups than `events.rate_limit` allows events of"),
        (
            LISTENERS_UNTRACKED,
            "more listeners are open than are followed: what opened of these is in the history when it closes",
        ),
        (MEMORY_SHORT, "events that were not written because memory ran short (`limits.memory`)"),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use netsonde_probes::descriptor::Stability;

    use super::*;

    #[test]
    fn metric_names_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for metric in metrics() {
            assert!(seen.insert(metric.name), "{} is declared twice", metric.name);
            let is_ours = metric.stability != Stability::Convention;
            assert_eq!(metric.name.starts_with("netsonde."), is_ours, "{}", metric.name);
            assert!(
                metric.name.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_'),
                "{}",
                metric.name
            );
        }
    }
}
