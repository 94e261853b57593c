//! The effective configuration as commented TOML, for `netsonde check-config`.
//!
//! Owns the text only. Values of headers never appear in it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use super::document::join_key;
use super::export::{FileTarget, OtlpConfig, Protocol, Secret};
use super::units::{format_duration, format_size};
use super::words::Word;
use super::{Config, Loaded, MemoryLimit, Origin};

/// Writes every key with its effective value, and where that comes from as a comment. What comes out can be
/// read as a configuration file again, headers excepted.
#[must_use]
pub fn render(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut page = Page { loaded, text: String::new(), section: String::new() };
    match &loaded.file {
        Some(file) => page.line(&format!("# read from {}", file.display())),
        None => page.line("# no configuration file"),
    }
    page.key("interval", quoted(&format_duration(config.interval)));
    exporters(&mut page, config);
    page.section("signals");
    page.key("signals.tcp", config.signals.tcp);
    page.key("signals.udp", config.signals.udp);
    page.key("signals.dns", config.signals.dns);
    page.key("signals.tls", config.signals.tls);
    selection(&mut page, config);
    policy(&mut page, config);
    let history = &config.history;
    page.section("history");
    page.key("history.enabled", history.enabled);
    page.key("history.directory", quoted(&history.directory.display().to_string()));
    page.key("history.retention", quoted(&format_duration(history.retention)));
    page.key("history.size", quoted(&format_size(history.size)));
    page.section("events");
    page.key("events.enabled", words(&config.events.enabled));
    page.key("events.rate_limit", config.events.rate_limit.map_or(0, u32::from));
    page.section("process");
    page.key("process.command_line", config.process.command_line);
    page.key("process.mask", list(config.process.mask.iter().map(|name| quoted(name))));
    dns(&mut page, config);
    page.section("tls");
    page.key("tls.ports", list(config.tls.ports.iter().map(ToString::to_string)));
    let metrics = &config.metrics;
    page.section("metrics");
    page.key("metrics.temporality", quoted(metrics.temporality.word()));
    page.key("metrics.series_limit", metrics.series_limit);
    page.key("metrics.series_expiry", quoted(&format_duration(metrics.series_expiry)));
    page.key("metrics.attributes", words(&metrics.attributes));
    for (metric, attributes) in &metrics.overrides {
        let section = join_key("metrics.override", metric);
        page.section(&section);
        page.key(&format!("{section}.attributes"), words(attributes));
    }
    let limits = &config.limits;
    page.section("limits");
    page.key("limits.flows", limits.flows);
    page.key("limits.event_ring", quoted(&format_size(limits.event_ring.get().into())));
    page.key("limits.payload_ring", quoted(&format_size(limits.payload_ring.get().into())));
    page.key("limits.process_ring", quoted(&format_size(limits.process_ring.get().into())));
    page.key("limits.processes", limits.processes);
    page.key("limits.listeners", limits.listeners);
    let memory = match limits.memory {
        MemoryLimit::Auto => "auto".to_owned(),
        MemoryLimit::None => "none".to_owned(),
        MemoryLimit::Bytes(bytes) => format_size(bytes),
    };
    page.key("limits.memory", quoted(&memory));
    page.section("api");
    let api = &config.api;
    page.key("api.socket", quoted(&api.socket.display().to_string()));
    page.key("api.group", quoted(api.group.as_deref().unwrap_or_default()));
    page.key("api.listen", quoted(&api.listen.map_or(String::new(), |address| address.to_string())));
    let token_file = api.token_file.as_ref().map_or(String::new(), |path| path.display().to_string());
    page.key("api.token_file", quoted(&token_file));
    page.key("api.clients", api.clients);
    page.key("api.history", quoted(&format_duration(api.history.age)));
    page.key("api.history_size", quoted(&format_size(api.history.bytes)));
    page.section("self");
    page.key("self.program_statistics", config.own.program_statistics);
    page.section("log");
    page.key("log.level", quoted(config.log.level.word()));
    page.section("resource.attributes");
    for (name, value) in &config.resource {
        page.key(&join_key("resource.attributes", name), quoted(value));
    }
    page.text
}

fn selection(page: &mut Page<'_>, config: &Config) {
    page.section("select");
    page.key("select.default", quoted(config.select.default.word()));
    page.key("select.own_traffic", config.select.own_traffic);
    for rule in &config.select.rules {
        page.element("select.rule", &rule.name);
        let key = |key: &str| join_key(&join_key("select.rule", &rule.name), key);
        page.key(&key("name"), quoted(&rule.name));
        page.key(&key("action"), quoted(rule.action.word()));
        for (name, values) in rule.written() {
            if !values.is_empty() {
                page.key(&key(name), list(values.iter().map(|value| quoted(value))));
            }
        }
    }
}

fn policy(page: &mut Page<'_>, config: &Config) {
    page.section("audit");
    page.key("audit.default", quoted(config.audit.default.word()));
    for rule in &config.audit.rules {
        page.element("audit.rule", &rule.name);
        let key = |key: &str| join_key(&join_key("audit.rule", &rule.name), key);
        page.key(&key("name"), quoted(&rule.name));
        page.key(&key("action"), quoted(rule.action.word()));
        for (name, values) in rule.written() {
            if !values.is_empty() {
                page.key(&key(name), list(values.iter().map(|value| quoted(value))));
            }
        }
    }
}

fn dns(page: &mut Page<'_>, config: &Config) {
    let dns = &config.dns;
    page.section("dns");
    page.key("dns.ports", list(dns.ports.iter().map(ToString::to_string)));
    page.key("dns.multicast", dns.multicast);
    page.key("dns.timeout", quoted(&format_duration(dns.timeout)));
    page.key("dns.question_names", dns.question_names);
    page.key("dns.suffixes", list(dns.suffixes.iter().map(|suffix| quoted(suffix))));
    page.key("dns.search_suffixes", list(dns.search_suffixes.iter().map(|suffix| quoted(suffix))));
    page.key("dns.messages_per_second", dns.messages_per_second.map_or(0, u32::from));
    page.key("dns.names", dns.names);
    let hosts = dns.hosts.as_ref().map_or(String::new(), |path| path.display().to_string());
    page.key("dns.hosts", quoted(&hosts));
}

fn exporters(page: &mut Page<'_>, config: &Config) {
    if config.export.console {
        let why = match page.loaded.origins.get("export.otlp.endpoint") {
            Some(Origin::CommandLine(flag)) => flag,
            _ => "no other exporter is configured",
        };
        page.line(&format!("# console output on standard output  # {why}"));
    }
    let several = config.export.otlp.len() > 1 || config.export.otlp.iter().any(|otlp| page.has(otlp));
    for otlp in &config.export.otlp {
        if several {
            page.element("export.otlp", &otlp.name);
        } else {
            page.section("export.otlp");
        }
        collector(page, otlp);
    }
    if !config.export.otlp.is_empty() {
        let spool = &config.export.spool;
        page.section("export.spool");
        let path = spool.path.as_ref().map_or(String::new(), |path| path.display().to_string());
        page.key("export.spool.path", quoted(&path));
        page.key("export.spool.size", quoted(&format_size(spool.size)));
    }
    for (index, file) in config.export.files.iter().enumerate() {
        let target = match &file.target {
            FileTarget::Stdout => "-".to_owned(),
            FileTarget::Path(path) => path.display().to_string(),
        };
        if index == 0 {
            page.section("export.file");
            page.key("export.file.path", quoted(&target));
        } else {
            page.line(&format!("# and {}", quoted(&target)));
        }
    }
}

fn collector(page: &mut Page<'_>, otlp: &OtlpConfig) {
    page.open_key("name", quoted(&otlp.name));
    endpoint(page, otlp);
    page.open_key("protocol", quoted(otlp.protocol.word()));
    page.open_key("compression", quoted(otlp.compression.word()));
    page.open_key("timeout", quoted(&format_duration(otlp.timeout)));
    if !otlp.headers.is_empty() {
        let pairs: Vec<String> = otlp.headers.iter().map(|(name, value)| header(name, value)).collect();
        page.open_key("headers", format!("{{ {} }}", pairs.join(", ")));
    }
    let path = |path: &Path| quoted(&path.display().to_string());
    if let Some(file) = &otlp.tls.ca_file {
        page.open_key("tls.ca_file", path(file));
    }
    if let Some(identity) = &otlp.tls.identity {
        page.open_key("tls.certificate_file", path(&identity.certificate_file));
        page.open_key("tls.key_file", path(&identity.key_file));
    }
    if let Some(name) = &otlp.tls.server_name {
        page.open_key("tls.server_name", quoted(name));
    }
}

fn header(name: &str, value: &Secret) -> String {
    let value = match value.file() {
        Some(file) => format!("{{ file = {} }}", quoted(&file.display().to_string())),
        None => "\"(hidden)\"".to_owned(),
    };
    format!("{} = {value}", join_key("", name))
}

/// The endpoint as a base where the two URLs have one; else both URLs, which no single key can say.
fn endpoint(page: &mut Page<'_>, otlp: &OtlpConfig) {
    let base = match otlp.protocol {
        Protocol::Grpc => Some((otlp.metrics_url.as_str(), otlp.logs_url.as_str())),
        Protocol::HttpProtobuf => {
            otlp.metrics_url.strip_suffix("/v1/metrics").zip(otlp.logs_url.strip_suffix("/v1/logs"))
        }
    };
    match base {
        Some((metrics, logs)) if metrics == logs => page.open_key("endpoint", quoted(metrics)),
        _ => page.line("# each signal has its own endpoint, from the environment"),
    }
    for (what, url) in [("metrics", &otlp.metrics_url), ("logs", &otlp.logs_url)] {
        // Some collectors take a token there.
        let shown = url.split_once('?').map_or(url.clone(), |(url, _)| format!("{url}?(hidden)"));
        let proxy =
            otlp.proxies.of(url).map_or(String::new(), |proxy| format!(" through the proxy {}", proxy.uri()));
        page.line(&format!("# {what} go to {shown}{proxy}"));
    }
}

struct Page<'a> {
    loaded: &'a Loaded,
    text: String,
    section: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.line(&format!("\n[{name}]"));
        self.section = format!("{name}.");
    }

    /// Opens a table of a list of tables, which is told from the others by its name.
    fn element(&mut self, list: &str, name: &str) {
        self.line(&format!("\n[[{list}]]"));
        self.section = format!("{}.", join_key(list, name));
    }

    /// Whether a collector stands in a list of collectors.
    fn has(&self, otlp: &OtlpConfig) -> bool {
        self.loaded.origins.contains_key(&join_key(&join_key("export.otlp", &otlp.name), "name"))
    }

    /// One key of the open section, which may be dotted itself.
    fn open_key(&mut self, key: &str, value: impl Display) {
        let path = format!("{}{key}", self.section);
        self.key(&path, value);
    }

    /// One key, whose dotted path begins with the open section's.
    fn key(&mut self, path: &str, value: impl Display) {
        let origin = match self.loaded.origins.get(path) {
            None | Some(Origin::Default) => "default".to_owned(),
            Some(Origin::File { line }) => format!("file, line {line}"),
            Some(Origin::Environment(name)) => format!("environment variable {name}"),
            Some(Origin::CommandLine(flag)) => format!("command line, {flag}"),
        };
        let key = path.strip_prefix(&self.section).unwrap_or(path);
        self.line(&format!("{key} = {value}  # {origin}"));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn words<T: Word>(values: &BTreeSet<T>) -> String {
    list(values.iter().map(|value| quoted(value.word())))
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}
