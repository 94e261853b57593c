//! The OTLP destinations: from the file's keys and the standard `OTEL_EXPORTER_OTLP_*` variables to complete
//! URLs, secrets and checked certificates.
//!
//! The rules are those of the OpenTelemetry specification, "OpenTelemetry Protocol Exporter": a base endpoint
//! gets each signal's path over HTTP, a signal's own endpoint is used as it is. The variables know one
//! destination: with several in the file they are about the first.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use toml::Spanned;
use url::Url;

use super::certificates::{IdentityFile, read_identity, read_roots};
use super::document::join_key;
use super::export::{Compression, Identity, OtlpConfig, OtlpTls, Protocol, Secret};
use super::reader::{Place, Reader};
use super::units::{format_duration, parse_duration};
use super::validate::absolute;
use super::words::Word;
use super::{Secrets, proxy, raw};

/// Limit of one attempt when nothing else is said; the specification's default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);

/// Each has connections and queues of its own.
const MAX_COLLECTORS: usize = 16;
const LONGEST_NAME: usize = 32;
/// What destinations of other kinds are called, with or without a number behind it.
const OTHER_KINDS: [&str; 2] = ["file", "console"];

const SERVICE_CREDENTIALS: &str = "/run/credentials/netsonde.service";

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

fn collector_name(text: &str) -> Result<String, String> {
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
        let proxies = proxy::read(self.reader, urls.into_iter());
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

    fn headers(&mut self, raw: raw::Table<Spanned<raw::Sourced>>) -> BTreeMap<String, Secret> {
        let mut headers = BTreeMap::new();
        let table = self.key("headers");
        for (name, value) in raw {
            let (name_place, value_place) = (Place::File(name.span()), Place::File(value.span()));
            let key = join_key(&table, name.get_ref());
            let name = self.reader.judge(&key, &name_place, header_name(name.get_ref()));
            let value = self.header(value.into_inner());
            let value = self.reader.judge(&key, &value_place, value);
            let (Some(name), Some(value)) = (name, value) else { continue };
            self.reader.set_place(&table, name_place.clone());
            if headers.insert(name, value).is_some() {
                let message = "given twice; the case of letters makes no difference";
                self.reader.problem(&key, &name_place, message);
            }
        }
        headers
    }

    fn header(&self, value: raw::Sourced) -> Result<Secret, String> {
        let path = match value {
            raw::Sourced::Text(text) => return header_value(&text),
            raw::Sourced::Elsewhere(source) => self.source(*source)?,
        };
        match self.secrets {
            Secrets::Read => header_from_file(&path),
            Secrets::Leave => Ok(Secret::unread(path)),
        }
    }

    /// The path that a table with `file` or `credential` means.
    fn source(&self, source: raw::Source) -> Result<PathBuf, String> {
        match (source.file, source.credential) {
            (Some(file), None) => absolute(file.get_ref()),
            (None, Some(name)) => self.credential(name.get_ref()),
            _ => Err("write { file = \"/path\" } or { credential = \"name\" }".to_owned()),
        }
    }

    /// The file of a systemd credential: systemd.exec(5), "Credentials".
    fn credential(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
            return Err(format!("{name:?} is not the name of a credential; it has no / and is no path"));
        }
        match self.reader.given("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(absolute(&directory)?.join(name)),
            // Not read; where systemd would have it.
            None if self.secrets == Secrets::Leave => Ok(Path::new(SERVICE_CREDENTIALS).join(name)),
            None => Err(format!(
                "there is no credential {name:?}: CREDENTIALS_DIRECTORY is not set, as systemd does for a service \
                 with LoadCredential={name}:/path; to check by hand, set it to a folder with such a file"
            )),
        }
    }

    fn tls(&mut self, raw: raw::OtlpTls) -> OtlpTls {
        let ca_file = self.pem_file("tls.ca_file", raw.ca_file, &CERTIFICATE);
        let certificate_file =
            self.pem_file("tls.certificate_file", raw.certificate_file, &CLIENT_CERTIFICATE);
        let key_file = self.pem_file("tls.key_file", raw.key_file, &CLIENT_KEY);
        let key = format!("{}.tls.server_name", self.key);
        let server_name = self.reader.optional(&key, raw.server_name, |text| server_name(text));
        if self.secrets == Secrets::Read
            && let Some((path, place)) = &ca_file
        {
            let key = format!("{}.tls.ca_file", self.key);
            self.reader.judge(&key, place, read_roots(path));
        }
        let identity = match (certificate_file, key_file) {
            (Some(certificate), Some(key)) => self.identity(certificate, key),
            (None, None) => None,
            (Some((_, place)), None) => {
                let key = format!("{}.tls.key_file", self.key);
                self.reader.problem(&key, &place, "missing; a certificate is of no use without its key");
                None
            }
            (None, Some((_, place))) => {
                let key = format!("{}.tls.certificate_file", self.key);
                self.reader.problem(&key, &place, "missing; a key is of no use without its certificate");
                None
            }
        };
        OtlpTls { ca_file: ca_file.map(|(path, _)| path), identity, server_name }
    }

    fn identity(&mut self, certificate: (PathBuf, Place), key: (PathBuf, Place)) -> Option<Identity> {
        let (certificate_place, key_place) = (certificate.1, key.1);
        let identity = Identity { certificate_file: certificate.0, key_file: key.0 };
        if self.secrets == Secrets::Read
            && let Err((file, message)) = read_identity(&identity)
        {
            let (key, place) = match file {
                IdentityFile::Certificate => ("certificate_file", certificate_place),
                IdentityFile::Key => ("key_file", key_place),
            };
            self.reader.problem(&format!("{}.tls.{key}", self.key), &place, &message);
            return None;
        }
        Some(identity)
    }

    /// The path of a PEM file, with where it was said.
    fn pem_file(
        &mut self,
        key: &'static str,
        raw: Option<Spanned<raw::Sourced>>,
        variable: &Standard,
    ) -> Option<(PathBuf, Place)> {
        let full = format!("{}.{key}", self.key);
        let place = raw.as_ref().map(|raw| Place::File(raw.span()));
        let path = match raw.map(Spanned::into_inner) {
            None => None,
            Some(raw::Sourced::Text(text)) => Some(absolute(&text)),
            Some(raw::Sourced::Elsewhere(source)) => Some(self.source(*source)),
        };
        self.reader.set_origin(&full, place.clone());
        let path = path.and_then(|path| self.reader.judge(&full, place.as_ref()?, path));
        let path = self.standard(variable, |text| absolute(text).map(Some), path);
        path.zip(self.reader.place(&full).cloned())
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

fn server_name(text: &str) -> Result<String, String> {
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
