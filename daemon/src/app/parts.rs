//! From the configuration to what each part is built with.

use std::io::IsTerminal;
use std::num::NonZeroU32;

use netsonde_probes::{Options, Settings, Sizes};

use crate::config::{Config, Environment, EventKind, FlowAttribute, Word};
use crate::enrich::legacy_hierarchy;
use crate::export::{Destination, Exporters};
use crate::select::Selection;
use crate::telemetry::AttributeValue;

/// What running probes can take over.
pub fn settings(config: &Config) -> Settings {
    // What listens is audited whether or not events of it are written.
    let events = config.events.enabled.iter().chain([&EventKind::Listen]);
    Settings {
        events: events.map(|kind| kind.word().to_owned()).collect(),
        events_per_second: config.events.rate_limit.map_or(0, |limit| limit.get().into()),
        keep_client_address: config.metrics.any_carries(FlowAttribute::ClientAddress),
        dns_ports: config.dns.all_ports(),
        tls_ports: config.tls.ports.clone(),
        payloads_per_second: config.dns.messages_per_second.map_or(0, NonZeroU32::get),
        keep_arguments: config.process.command_line,
        program_statistics: config.own.program_statistics,
        selection: Selection::new(&config.select).in_kernel(),
    }
}

/// How the probes are loaded.
pub fn options(config: &Config) -> Options {
    let switches = [
        ("tcp", config.signals.tcp),
        ("udp", config.signals.udp),
        ("dns", config.signals.dns),
        ("tls", config.signals.tls),
    ];
    let disabled = switches.into_iter().filter(|(_, on)| !on).map(|(name, _)| name.to_owned()).collect();
    Options {
        disabled,
        sweep_only: false,
        sizes: Sizes {
            flows: config.limits.flows.get(),
            event_ring: config.limits.event_ring.get(),
            payload_ring: config.limits.payload_ring.get(),
            process_ring: config.limits.process_ring.get(),
        },
        legacy_hierarchy: legacy_hierarchy(),
        settings: settings(config),
    }
}

/// Starts all destinations.
///
/// # Errors
///
/// When one cannot be used as configured.
pub fn exporters(config: &Config, environment: Environment<'_>) -> anyhow::Result<Exporters> {
    let mut destinations = Vec::new();
    destinations.extend(config.export.otlp.iter().cloned().map(Box::new).map(Destination::Otlp));
    destinations.extend(config.export.files.iter().cloned().map(Destination::File));
    if config.export.console {
        // https://no-color.org
        let plain = environment("NO_COLOR").is_some_and(|v| !v.is_empty());
        destinations.push(Destination::Console { color: !plain && std::io::stdout().is_terminal() });
    }
    Exporters::start(destinations, &resource(config), &config.export.spool)
}

/// Name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The host and this service; what was configured wins.
pub fn resource(config: &Config) -> Vec<(String, AttributeValue)> {
    let host = rustix::system::uname();
    let host_name = host_name();
    let arch = match host.machine().to_str() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        _ => std::env::consts::ARCH,
    };
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let found = [
        ("service.name", "netsonde"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host_name.as_str()),
        ("host.id", machine_id.trim()),
        ("host.arch", arch),
        ("os.type", "linux"),
        ("os.version", &host.release().to_string_lossy()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all: std::collections::BTreeMap<String, String> =
        found.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    all.extend(config.resource.clone());
    all.into_iter().map(|(key, value)| (key, AttributeValue::String(value.into()))).collect()
}

/// Keys whose change cannot be taken over by running probes.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (&old.limits, &new.limits);
    let changed = [
        ("limits.flows", a.flows != b.flows),
        ("limits.event_ring", a.event_ring != b.event_ring),
        ("limits.payload_ring", a.payload_ring != b.payload_ring),
        ("limits.process_ring", a.process_ring != b.process_ring),
        ("signals", old.signals != new.signals),
        ("api", old.api != new.api),
        ("history", old.history != new.history),
        ("log.level", old.log != new.log),
    ];
    changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}
