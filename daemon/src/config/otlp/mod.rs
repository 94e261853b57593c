//! The OTLP destinations: from the file's keys and the standard `OTEL_EXPORTER_OTLP_*` variables to complete
//! URLs, secrets and checked certificates.
//!
//! The rules are those of the OpenTelemetry specification, "OpenTelemetry Protocol Exporter": a base endpoint
//! gets each signal's path over HTTP, a signal's own endpoint is used as it is. The variables know one
//! destination: with several in the file they are about the first.

mod secrets;
mod values;

use std::time::Duration;

use toml::Spanned;

use super::document::join_key;
use super::export::{Compression, OtlpConfig, Protocol};
use super::reader::{Place, Reader};
use super::units::parse_duration;
use super::words::Word;
use super::{Secrets, proxy, raw};

pub use values::{header_from_file, parse_pairs};

use values::{TIMEOUT_RANGE, collector_name, parse_headers, parse_timeout, signal_url, signal_urls};

/// Limit of one attempt when nothing else is said; the specification's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Each has connections and queues of its own.
const MAX_COLLECTORS: usize = 16;

const KEY: &str = "export.otlp";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const LOGS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT";

/// Reads the destinations; none when no endpoint is given anywhere.
pub fn read(reader: &mut Reader<'_>, raw: raw::Collectors, secrets: Secrets) -> Vec<OtlpConfig> {
    let written = match raw {
        raw::Collectors::One(one) => return read_one(reader, *one, secrets).into_iter().collect(),
        raw::Collectors::Many(many) if many.is_empty() => {
            return read_one(reader, raw::Otlp::default(), secrets).into_iter().collect();
        }
        raw::Collectors::Many(many) => many,
    };
    if let Some(excess) = written.get(MAX_COLLECTORS) {
        let message = format!("{} collectors; there may be {MAX_COLLECTORS} at most", written.len());
        reader.problem(KEY, &Place::File(excess.span()), &message);
    }
    let mut collectors: Vec<OtlpConfig> = Vec::new();
    for (index, entry) in written.into_iter().enumerate() {
        let whole = Place::File(entry.span());
        let mut entry = entry.into_inner();
        let (name, place) = name(reader, entry.name.take(), index);
        let key = join_key(KEY, &name);
        let name_key = join_key(&key, "name");
        reader.set_origin(&name_key, place.clone());
        if collectors.iter().any(|other| other.name == name) {
            let message = format!("another collector is called {name:?}; give each a name of its own");
            reader.problem(&name_key, place.as_ref().unwrap_or(&whole), &message);
        }
        let before = reader.problems();
        let first = index == 0;
        match (Collector { reader, key: key.clone(), first, secrets }).read(name, entry) {
            Some(collector) => collectors.push(collector),
            None if reader.problems() == before => {
                reader.problem(&join_key(&key, "endpoint"), &whole, "missing; say where the collector is");
            }
            None => {}
        }
    }
    collectors
}

/// The table that stands alone. Without an endpoint it only prepares what the variables may complete.
fn read_one(reader: &mut Reader<'_>, mut raw: raw::Otlp, secrets: Secrets) -> Option<OtlpConfig> {
    let (name, place) = name(reader, raw.name.take(), 0);
    reader.set_origin(&join_key(KEY, "name"), place);
    Collector { reader, key: KEY.to_owned(), first: true, secrets }.read(name, raw)
}

/// The name of the collector at this place in the list, from 0, and where it is written.
fn name(reader: &mut Reader<'_>, written: Option<Spanned<String>>, index: usize) -> (String, Option<Place>) {
    let place = written.as_ref().map(|name| Place::File(name.span()));
    let judged = written.zip(place.as_ref()).and_then(|(name, place)| {
        reader.judge(&join_key(KEY, "name"), place, collector_name(name.get_ref()))
    });
    let default = || if index == 0 { "otlp".to_owned() } else { format!("otlp{}", index + 1) };
    (judged.unwrap_or_else(default), place)
}

/// Reads one destination.
struct Collector<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// The path of its table, with the name behind it where there are several.
    key: String,
    /// Whether the variables are about it.
    first: bool,
    secrets: Secrets,
}

impl Collector<'_, '_> {
    fn key(&self, name: &str) -> String {
        join_key(&self.key, name)
    }

    fn read(&mut self, name: String, raw: raw::Otlp) -> Option<OtlpConfig> {
        let key = self.key("protocol");
        let protocol = self.reader.value(&key, raw.protocol, Protocol::Grpc, |text| Word::parse(text));
        let key = self.key("compression");
        let compression =
            self.reader.value(&key, raw.compression, Compression::Gzip, |text| Word::parse(text));
        let key = self.key("timeout");
        let timeout = self
            .reader
            .value(&key, raw.timeout, DEFAULT_TIMEOUT, |text| parse_duration(&text.0, &TIMEOUT_RANGE));
        let mut headers = self.headers(raw.headers);

        let protocol = self.standard(&PROTOCOL, Word::parse, protocol);
        let compression = self.standard(&COMPRESSION, Word::parse, compression);
        let timeout = self.standard(&TIMEOUT, parse_timeout, timeout);
        if let Some(given) = self.standard(&HEADERS, |text| parse_headers(text).map(Some), None) {
            headers = given;
        }
        let written = [&raw.tls.ca_file, &raw.tls.certificate_file, &raw.tls.key_file]
            .into_iter()
            .filter_map(|file| file.as_ref().map(Spanned::span))
            .chain(raw.tls.server_name.as_ref().map(Spanned::span))
            .next();
        let tls = self.tls(raw.tls);

        let (metrics_url, logs_url) = self.urls(raw.endpoint, protocol)?;
        let urls = [metrics_url.as_str(), logs_url.as_str()];
        // The variables may stand there for other programs; what is in the file was meant for this one.
        if let Some(span) = written
            && urls.iter().all(|url| url.starts_with("http:"))
        {
            let message = "the endpoint is of http://, which knows no certificates; write it as https://, or \
                           leave this out";
            self.reader.problem(&self.key("tls"), &Place::File(span), message);
        }
        let proxies = proxy::read(self.reader, &urls);
        Some(OtlpConfig {
            name,
            protocol,
            metrics_url,
            logs_url,
            headers,
            compression,
            timeout,
            tls,
            proxies,
        })
    }

    /// A standard option's value for both signals. One destination has one value, so a signal's own variable is
    /// accepted where both signals come to the same, and refused where they differ.
    fn standard<T: Clone + PartialEq>(
        &mut self,
        option: &Standard,
        parse: impl Fn(&str) -> Result<T, String>,
        from_file: T,
    ) -> T {
        if !self.first {
            return from_file;
        }
        let key = format!("{}.{}", self.key, option.key);
        let all = self.reader.variable(option.all, &key, &parse).unwrap_or(from_file);
        let metrics = self.reader.variable(option.metrics, &key, &parse);
        let logs = self.reader.variable(option.logs, &key, &parse);
        let named = if metrics.is_some() { option.metrics } else { option.logs };
        let (metrics, logs) = (metrics.unwrap_or_else(|| all.clone()), logs.unwrap_or(all));
        if metrics != logs {
            let message = format!("metrics and logs need the same value; set {} instead", option.all);
            self.reader.problem(&key, &Place::Environment(named), &message);
        }
        metrics
    }

    fn urls(&mut self, endpoint: Option<Spanned<String>>, protocol: Protocol) -> Option<(String, String)> {
        let key = self.key("endpoint");
        let mut urls = self.reader.optional(&key, endpoint, |text| signal_urls(text, protocol));
        if !self.first {
            return urls;
        }
        let given =
            self.reader.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &key, |text| signal_urls(text, protocol));
        urls = given.or(urls);
        let as_is = |text: &str| signal_url(text, protocol);
        let metrics = self.reader.variable(METRICS_ENDPOINT, &format!("{key} for metrics"), as_is);
        let logs = self.reader.variable(LOGS_ENDPOINT, &format!("{key} for logs"), as_is);
        match (urls, metrics, logs) {
            (None, None, None) => None,
            (Some((base_metrics, base_logs)), metrics, logs) => {
                Some((metrics.unwrap_or(base_metrics), logs.unwrap_or(base_logs)))
            }
            // With one signal's endpoint alone, the other goes to the specification's default.
            (None, metrics, logs) => {
                let (base_metrics, base_logs) = match protocol {
                    Protocol::Grpc => ("http://localhost:4317", "http://localhost:4317"),
                    Protocol::HttpProtobuf => {
                        ("http://localhost:4318/v1/metrics", "http://localhost:4318/v1/logs")
                    }
                };
                Some((
                    metrics.unwrap_or_else(|| base_metrics.to_owned()),
                    logs.unwrap_or_else(|| base_logs.to_owned()),
                ))
            }
        }
    }
}

/// A standard option: the key, its variable for all signals and those for single ones.
struct Standard {
    key: &'static str,
    all: &'static str,
    metrics: &'static str,
    logs: &'static str,
}

macro_rules! standard {
    ($name:ident, $key:literal, $suffix:literal) => {
        const $name: Standard = Standard {
            key: $key,
            all: concat!("OTEL_EXPORTER_OTLP_", $suffix),
            metrics: concat!("OTEL_EXPORTER_OTLP_METRICS_", $suffix),
            logs: concat!("OTEL_EXPORTER_OTLP_LOGS_", $suffix),
        };
    };
}

standard!(PROTOCOL, "protocol", "PROTOCOL");
standard!(COMPRESSION, "compression", "COMPRESSION");
standard!(TIMEOUT, "timeout", "TIMEOUT");
standard!(HEADERS, "headers", "HEADERS");
standard!(CERTIFICATE, "tls.ca_file", "CERTIFICATE");
standard!(CLIENT_CERTIFICATE, "tls.certificate_file", "CLIENT_CERTIFICATE");
standard!(CLIENT_KEY, "tls.key_file", "CLIENT_KEY");
