//! What single values of an OTLP destination may be, in the file and in variables.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use url::Url;

use crate::config::export::{Protocol, Secret};
use crate::config::units::format_duration;

/// What a timeout may be.
pub const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);

const LONGEST_NAME: usize = 32;
/// What destinations of other kinds are called, with or without a number behind it.
const OTHER_KINDS: [&str; 2] = ["file", "console"];

pub fn collector_name(text: &str) -> Result<String, String> {
    let fits = (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !fits {
        return Err(format!(
            "{text:?} is not a name; it may have 1 to {LONGEST_NAME} letters, digits, - and _"
        ));
    }
    if OTHER_KINDS.contains(&text.trim_end_matches(|c: char| c.is_ascii_digit())) {
        return Err(format!("{text:?} is what a destination of another kind is called; choose another name"));
    }
    Ok(text.to_owned())
}

/// The URLs for metrics and logs under one base endpoint.
pub fn signal_urls(text: &str, protocol: Protocol) -> Result<(String, String), String> {
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
pub fn signal_url(text: &str, protocol: Protocol) -> Result<String, String> {
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

pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().map(Duration::from_millis).filter(|time| TIMEOUT_RANGE.contains(time));
    duration.ok_or_else(|| {
        let longest = TIMEOUT_RANGE.end().as_millis();
        format!(
            "{text:?} is not a timeout; it is a whole number of milliseconds from 1 to {longest} ({})",
            format_duration(*TIMEOUT_RANGE.end())
        )
    })
}

pub fn parse_headers(text: &str) -> Result<BTreeMap<String, Secret>, String> {
    let pairs = parse_pairs(text)?;
    pairs.into_iter().map(|(name, value)| Ok((header_name(&name)?, header_value(&value)?))).collect()
}

pub fn header_name(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not a header name; use letters, digits and hyphens"))?;
    if name.as_str().ends_with("-bin") {
        return Err(format!(
            "{text:?} is a binary header, and those are not supported; use one without -bin"
        ));
    }
    Ok(name.as_str().to_owned())
}

pub fn header_value(text: &str) -> Result<Secret, String> {
    // Visible ASCII is what HTTP headers and gRPC metadata have in common.
    match HeaderValue::from_str(text) {
        Ok(value) if value.to_str().is_ok() => Ok(Secret::new(text)),
        _ => Err("the header's value has a character other than visible ASCII and space".to_owned()),
    }
}

/// Reads a header's value that stands in a file of its own.
///
/// # Errors
///
/// One sentence that names the file, never the value.
pub fn header_from_file(path: &Path) -> Result<Secret, String> {
    let secret = Secret::from_file(path)?;
    header_value(secret.expose()).map_err(|message| format!("{}: {message}", path.display()))?;
    Ok(secret)
}

pub fn server_name(text: &str) -> Result<String, String> {
    let name = ServerName::try_from(text);
    name.map(|_| text.to_owned()).map_err(|_| {
        format!("{text:?} is not the name of a server; write a DNS name or an address, without port")
    })
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
