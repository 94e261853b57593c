//! The signals, one folder each: its C, its decoding, its metrics and events. Adding one is a folder and a
//! line in [`REGISTRY`].

pub mod dns;
pub mod flow;
pub mod process;
pub mod tcp;
pub mod tls;
pub mod udp;

use crate::descriptor::{Attribute, Event, Metric};
use crate::verdict::Hook;

/// What a signal declares of itself.
#[derive(Debug)]
pub struct Signal {
    /// Its name, as in the configuration and in `netsonde status`.
    pub name: &'static str,
    /// What it tells, one sentence without a full stop.
    pub description: &'static str,
    /// Other signals rest on it: it cannot be switched off.
    pub essential: bool,
    /// Its programs, in the order in which they attach.
    pub hooks: &'static [Hook],
    /// Its metrics.
    pub metrics: &'static [&'static Metric],
    /// Its log events.
    pub events: &'static [&'static Event],
}

/// Every signal there is.
pub const REGISTRY: &[&Signal] = &[&process::SIGNAL, &tcp::SIGNAL, &udp::SIGNAL, &dns::SIGNAL, &tls::SIGNAL];

/// Every metric of the signals, those of every transport first.
#[must_use]
pub fn metrics() -> Vec<&'static Metric> {
    flow::METRICS.iter().chain(REGISTRY.iter().flat_map(|s| s.metrics)).copied().collect()
}

/// Every attribute of the signals' metrics and events, each once, in order of first use.
#[must_use]
pub fn attributes() -> Vec<&'static Attribute> {
    let mut all: Vec<&'static Attribute> = Vec::new();
    let of_metrics = metrics().into_iter().flat_map(|m| m.attributes);
    let of_events = REGISTRY.iter().flat_map(|s| s.events).flat_map(|e| e.attributes);
    for attribute in of_metrics.chain(of_events).copied().chain([&flow::PROTOCOL_NAME]) {
        if !all.iter().any(|a| a.name == attribute.name) {
            all.push(attribute);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn names_are_used_once_and_mean_one_thing() {
        let mut metrics = HashSet::new();
        let mut programs = HashMap::new();
        for signal in REGISTRY {
            for metric in signal.metrics {
                assert!(metrics.insert(metric.name), "{} is declared twice", metric.name);
                assert!(!metric.description.ends_with('.'), "{}", metric.name);
            }
            for hook in signal.hooks {
                let target = programs.entry(hook.program).or_insert(hook.target);
                assert_eq!(*target, hook.target, "{} attaches in two places", hook.program);
            }
        }
        let of_metrics = REGISTRY.iter().flat_map(|s| s.metrics).flat_map(|m| m.attributes);
        let of_events = REGISTRY.iter().flat_map(|s| s.events).flat_map(|e| e.attributes);
        let all: Vec<_> = attributes();
        for attribute in of_metrics.chain(of_events) {
            let known = all.iter().find(|a| a.name == attribute.name).expect("listed");
            assert_eq!(known, attribute, "two descriptions of {}", attribute.name);
        }
    }
}
