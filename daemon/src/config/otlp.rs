//! The OTLP destination: from the file's keys and the standard `OTEL_EXPORTER_OTLP_*` variables to complete
//! URLs.
//!
//! The rules are those of the OpenTelemetry specification, "OpenTelemetry Protocol Exporter": a base endpoint
//! gets each signal's path over HTTP, a signal's own endpoint is used as it is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::export::{Compression, OtlpConfig, Protocol, Secret};
use super::raw;
use super::reader::{Place, Reader};
use super::units::{format_duration, parse_duration};
use super::words::Word;

/// Limit of one attempt when nothing else is said; the specification's default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);

const ENDPOINT: &str = "export.otlp.endpoint";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const LOGS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT";

/// Reads the destination; `None` when no endpoint is given anywhere.
pub fn read(reader: &mut Reader<'_>, raw: raw::Otlp) -> Option<OtlpConfig> {
    let protocol =
        reader.value("export.otlp.protocol", raw.protocol, Protocol::Grpc, |text| Word::parse(text));
    let compression =
        reader.value("export.otlp.compression", raw.compression, Compression::Gzip, |text| Word::parse(text));
    let timeout = reader.value("export.otlp.timeout", raw.timeout, DEFAULT_TIMEOUT, |text| {
        parse_duration(&text.0, &TIMEOUT_RANGE)
    });
    let mut headers = file_headers(reader, raw.headers);

    let protocol = Standard::PROTOCOL.read(reader, Word::parse, protocol);
    let compression = Standard::COMPRESSION.read(reader, Word::parse, compression);
    let timeout = Standard::TIMEOUT.read(reader, parse_timeout, timeout);
    if let Some(given) = Standard::HEADERS.read(reader, |text| parse_headers(text).map(Some), None) {
        headers = given;
    }

    let (metrics_url, logs_url) = read_urls(reader, raw.endpoint, protocol)?;
    Some(OtlpConfig { protocol, metrics_url, logs_url, headers, compression, timeout })
}

fn read_urls(
    reader: &mut Reader<'_>,
    endpoint: Option<toml::Spanned<String>>,
    protocol: Protocol,
) -> Option<(String, String)> {
    let urls = reader.optional(ENDPOINT, endpoint, |text| signal_urls(text, protocol));
    let urls =
        reader.variable("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT, |text| signal_urls(text, protocol)).or(urls);
    let as_is = |text: &str| signal_url(text, protocol);
    let metrics = reader.variable(METRICS_ENDPOINT, "export.otlp.endpoint for metrics", as_is);
    let logs = reader.variable(LOGS_ENDPOINT, "export.otlp.endpoint for logs", as_is);
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

/// The URLs for metrics and logs under one base endpoint.
fn signal_urls(text: &str, protocol: Protocol) -> Result<(String, String), String> {
    let url = parse_url(text)?;
    if protocol == Protocol::Grpc {
        let origin = grpc_origin(&url)?;
        return Ok((origin.clone(), origin));
    }
    if url.query().is_some() {
        return Err(
            "a base endpoint can have no query: /v1/metrics and /v1/logs are appended to it".to_owned()
        );
    }
    let base = url.as_str().trim_end_matches('/');
    Ok((format!("{base}/v1/metrics"), format!("{base}/v1/logs")))
}

/// The URL for one signal, from its own endpoint.
fn signal_url(text: &str, protocol: Protocol) -> Result<String, String> {
    let url = parse_url(text)?;
    match protocol {
        Protocol::Grpc => grpc_origin(&url),
        Protocol::HttpProtobuf => Ok(url.into()),
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    const FORM: &str = "write it as http://host:port or https://host:port";
    // The text itself stays out of the messages: it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("not a URL ({error}); {FORM}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the endpoint needs the scheme http or https; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the endpoint can hold no user or password; send them as a header, such as authorization".into(),
        );
    }
    if url.fragment().is_some() {
        return Err(format!("the endpoint can have no fragment; {FORM}"));
    }
    Ok(url)
}

fn grpc_origin(url: &Url) -> Result<String, String> {
    if url.path() != "/" || url.query().is_some() {
        return Err("a gRPC endpoint has neither path nor query; leave them out, or set the protocol to \
                    http/protobuf"
            .to_owned());
    }
    Ok(url.origin().ascii_serialization())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().map(Duration::from_millis).filter(|time| TIMEOUT_RANGE.contains(time));
    duration.ok_or_else(|| {
        let longest = TIMEOUT_RANGE.end().as_millis();
        format!(
            "{text:?} is not a timeout; it is a whole number of milliseconds from 1 to {longest} ({})",
            format_duration(*TIMEOUT_RANGE.end())
        )
    })
}

fn file_headers(reader: &mut Reader<'_>, raw: raw::Table<toml::Spanned<String>>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    for (name, value) in raw {
        let (name_place, value_place) = (Place::File(name.span()), Place::File(value.span()));
        let key = super::document::join_key("export.otlp.headers", name.get_ref());
        let name = reader.judge(&key, &name_place, header_name(name.get_ref()));
        let value = reader.judge(&key, &value_place, header_value(value.get_ref()));
        let (Some(name), Some(value)) = (name, value) else { continue };
        reader.set_place("export.otlp.headers", name_place.clone());
        if headers.insert(name, value).is_some() {
            reader.problem(&key, &name_place, "given twice; the case of letters makes no difference");
        }
    }
    headers
}

fn parse_headers(text: &str) -> Result<BTreeMap<String, Secret>, String> {
    let pairs = parse_pairs(text)?;
    pairs.into_iter().map(|(name, value)| Ok((header_name(&name)?, header_value(&value)?))).collect()
}

fn header_name(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not a header name; use letters, digits and hyphens"))?;
    if name.as_str().ends_with("-bin") {
        return Err(format!(
            "{text:?} is a binary header, and those are not supported; use one without -bin"
        ));
    }
    Ok(name.as_str().to_owned())
}

fn header_value(text: &str) -> Result<Secret, String> {
    // Visible ASCII is what HTTP headers and gRPC metadata have in common.
    match HeaderValue::from_str(text) {
        Ok(value) if value.to_str().is_ok() => Ok(Secret::new(text)),
        _ => Err("the header's value has a character other than visible ASCII and space".to_owned()),
    }
}

/// Reads `key1=value1,key2=value2`, values percent-encoded: the form of `OTEL_EXPORTER_OTLP_HEADERS` and
/// `OTEL_RESOURCE_ATTRIBUTES`. A later pair replaces an earlier one.
///
/// # Errors
///
/// One sentence that names the pair by its place, never by its value.
pub fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for (index, pair) in text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
        let place = index + 1;
        let form = "write key1=value1,key2=value2 with , and = in values as %2C and %3D";
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("entry {place} has no =; {form}"))?;
        let decode = |part: &str| {
            let bytes = percent_encoding::percent_decode_str(part.trim());
            bytes.decode_utf8().map(std::borrow::Cow::into_owned)
        };
        let (Ok(key), Ok(value)) = (decode(key), decode(value)) else {
            return Err(format!("entry {place} is not UTF-8 once percent-decoded; {form}"));
        };
        if key.is_empty() {
            return Err(format!("entry {place} has no key; {form}"));
        }
        pairs.insert(key, value);
    }
    Ok(pairs)
}

/// A standard option: its variable for all signals and those for single ones.
struct Standard {
    key: &'static str,
    all: &'static str,
    metrics: &'static str,
    logs: &'static str,
}

macro_rules! standard {
    ($key:literal, $suffix:literal) => {
        Self {
            key: concat!("export.otlp.", $key),
            all: concat!("OTEL_EXPORTER_OTLP_", $suffix),
            metrics: concat!("OTEL_EXPORTER_OTLP_METRICS_", $suffix),
            logs: concat!("OTEL_EXPORTER_OTLP_LOGS_", $suffix),
        }
    };
}

impl Standard {
    const PROTOCOL: Self = standard!("protocol", "PROTOCOL");
    const COMPRESSION: Self = standard!("compression", "COMPRESSION");
    const TIMEOUT: Self = standard!("timeout", "TIMEOUT");
    const HEADERS: Self = standard!("headers", "HEADERS");

    /// The option's value for both signals. One destination has one value, so a signal's own variable is
    /// accepted where both signals come to the same, and refused where they differ.
    fn read<T: Clone + PartialEq>(
        &self,
        reader: &mut Reader<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
        from_file: T,
    ) -> T {
        let all = reader.variable(self.all, self.key, &parse).unwrap_or(from_file);
        let metrics = reader.variable(self.metrics, self.key, &parse);
        let logs = reader.variable(self.logs, self.key, &parse);
        let named = if metrics.is_some() { self.metrics } else { self.logs };
        let (metrics, logs) = (metrics.unwrap_or_else(|| all.clone()), logs.unwrap_or(all));
        if metrics != logs {
            let message = format!("metrics and logs need the same value; set {} instead", self.all);
            reader.problem(self.key, &Place::Environment(named), &message);
        }
        metrics
    }
}
