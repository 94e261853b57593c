//! From what was written to what is meant: every key's default, range and relation to others.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::document::{ConfigError, Document, join_key};
use super::export::{FileConfig, FileTarget, SpoolConfig};
use super::otlp::{self, parse_pairs};
use super::raw::{self, Raw};
use super::reader::{Environment, Origin, Place, Reader};
use super::select;
use super::units::{format_size, parse_duration, parse_size};
use super::words::{EventKind, FlowAttribute, LogLevel, Word, did_you_mean};
use super::{
    Config, Events, Export, Limits, Log, MemoryLimit, Metrics, Output, Overrides, Own, ProcessConfig,
    Secrets, Signals,
};
use super::{api, audit, dns, history, tls};
use crate::telemetry::Temporality;

/// What an interval may be.
pub const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const EXPIRY_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_EXPIRY: Duration = Duration::from_secs(900);
const DEFAULT_RATE_LIMIT: u32 = 200;
const DEFAULT_SERIES: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
const DEFAULT_FLOWS: NonZeroU32 = NonZeroU32::new(16_384).unwrap();
const DEFAULT_PROCESSES: NonZeroU32 = NonZeroU32::new(32_768).unwrap();
const DEFAULT_LISTENERS: NonZeroU32 = NonZeroU32::new(16_384).unwrap();
const DEFAULT_RING: NonZeroU32 = NonZeroU32::new(1 << 20).unwrap();
/// Messages have up to 1.5 KiB each, and a burst of them must find room until the next reading.
const DEFAULT_DNS_RING: NonZeroU32 = NonZeroU32::new(4 << 20).unwrap();
const DEFAULT_SPOOL: &str = "/var/lib/netsonde/spool";
const DEFAULT_SPOOL_SIZE: u64 = 256 << 20;
/// A request has up to 4 MiB, and each signal has half of it.
const SPOOL_SIZES: RangeInclusive<u64> = 16 << 20..=1 << 40;

/// Checks a file's text (its name and content, if there is a file), the environment and the flags.
///
/// # Errors
///
/// Every problem of the first stage that has any: syntax, keys and types, values.
pub fn validate(
    written: Option<(&str, &str)>,
    environment: Environment<'_>,
    overrides: Overrides,
    known_metrics: &[&str],
    secrets: Secrets,
) -> Result<(Config, BTreeMap<String, Origin>), ConfigError> {
    let (document, raw) = match written {
        Some((name, text)) => Document::parse(name, text).map(|(document, raw)| (Some(document), raw))?,
        None => (None, Raw::default()),
    };
    let mut reader = Reader::new(document, environment);
    let interval = interval(&mut reader, raw.interval, overrides.interval);
    let config = Config {
        interval,
        export: export(&mut reader, raw.export, overrides.outputs, secrets),
        signals: Signals {
            tcp: reader.value("signals.tcp", raw.signals.tcp, true, |on| Ok(*on)),
            udp: reader.value("signals.udp", raw.signals.udp, true, |on| Ok(*on)),
            dns: reader.value("signals.dns", raw.signals.dns, true, |on| Ok(*on)),
            tls: reader.value("signals.tls", raw.signals.tls, true, |on| Ok(*on)),
        },
        select: select::read(&mut reader, raw.select),
        audit: audit::read(&mut reader, raw.audit),
        history: history::read(&mut reader, raw.history),
        events: events(&mut reader, raw.events),
        process: process(&mut reader, raw.process),
        dns: dns::read(&mut reader, raw.dns),
        tls: tls::read(&mut reader, raw.tls),
        metrics: metrics(&mut reader, raw.metrics, interval, known_metrics),
        limits: limits(&mut reader, raw.limits),
        api: api::read(&mut reader, raw.api),
        own: Own {
            program_statistics: reader.value(
                "self.program_statistics",
                raw.own.program_statistics,
                false,
                |on| Ok(*on),
            ),
        },
        log: Log {
            level: reader
                .value("log.level", raw.log.level, LogLevel(LevelFilter::INFO), |text| Word::parse(text)),
        },
        resource: resource(&mut reader, raw.resource),
    };
    Ok((config, reader.finish()?))
}

fn interval(
    reader: &mut Reader<'_>,
    raw: Option<toml::Spanned<raw::DurationText>>,
    flag: Option<Duration>,
) -> Duration {
    let configured =
        reader.value("interval", raw, DEFAULT_INTERVAL, |text| parse_duration(&text.0, &INTERVAL_RANGE));
    if flag.is_some() {
        reader.set_place("interval", Place::CommandLine("--interval"));
    }
    flag.unwrap_or(configured)
}

fn export(reader: &mut Reader<'_>, raw: raw::Export, outputs: Vec<Output>, secrets: Secrets) -> Export {
    // Read in any case: what is wrong in the file is wrong with and without flags.
    let otlp = otlp::read(reader, raw.otlp, secrets);
    let file = reader.optional("export.file.path", raw.file.path, |text| file_target(text));
    let spool = spool(reader, raw.spool);
    let mut export = Export { otlp, files: file.into_iter().collect(), console: false, spool };
    if !outputs.is_empty() {
        export = Export {
            otlp: Vec::new(),
            files: Vec::new(),
            console: outputs.contains(&Output::Console),
            spool: export.spool,
        };
        for key in ["export.file.path", "export.otlp.endpoint"] {
            reader.set_place(key, Place::CommandLine("--output"));
        }
        for output in outputs {
            let Output::OtlpJson(target) = output else { continue };
            let file = FileConfig { target };
            if !export.files.contains(&file) {
                export.files.push(file);
            }
        }
    }
    let to_stdout = export.files.iter().any(|file| file.target == FileTarget::Stdout);
    if export.console && to_stdout {
        let message =
            "console and otlp-json:- would both write to standard output; choose one, or give a path";
        reader.problem("export", &Place::CommandLine("--output"), message);
    }
    export.console |= export.otlp.is_empty() && export.files.is_empty();
    export
}

fn spool(reader: &mut Reader<'_>, raw: raw::Spool) -> SpoolConfig {
    let written = reader.optional("export.spool.path", raw.path, |text| {
        if text.is_empty() { Ok(None) } else { absolute(text).map(Some) }
    });
    // What the file says goes before what systemd offers, which is a place and not a wish.
    let path = written.unwrap_or_else(|| {
        let offered = reader.variable("STATE_DIRECTORY", "export.spool.path", |text| {
            state_directory(text).map(|path| path.join("spool"))
        });
        Some(offered.unwrap_or_else(|| DEFAULT_SPOOL.into()))
    });
    let size = reader.value("export.spool.size", raw.size, DEFAULT_SPOOL_SIZE, |text| {
        let size = parse_size(&text.0)?;
        if SPOOL_SIZES.contains(&size) {
            return Ok(size);
        }
        let (low, high) = (format_size(*SPOOL_SIZES.start()), format_size(*SPOOL_SIZES.end()));
        Err(format!("{:?} is out of range; it may be from {low} to {high}", text.0))
    });
    SpoolConfig { path, size }
}

/// The first of systemd's state directories: absolute paths with colons between them (systemd.exec(5),
/// `StateDirectory=`).
pub(super) fn state_directory(text: &str) -> Result<PathBuf, String> {
    absolute(text.split(':').next().unwrap_or_default())
}

fn file_target(text: &str) -> Result<FileConfig, String> {
    let target = match text {
        "-" => FileTarget::Stdout,
        _ => FileTarget::Path(absolute(text)?),
    };
    Ok(FileConfig { target })
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    // systemd starts the daemon in /, a shell anywhere: a relative path would mean different files.
    if !Path::new(text).is_absolute() || text.contains('\0') {
        return Err(format!("{text:?} is not an absolute path; begin it with /"));
    }
    Ok(PathBuf::from(text))
}

fn events(reader: &mut Reader<'_>, raw: raw::Events) -> Events {
    let all = EventKind::WORDS.iter().map(|(_, kind)| *kind).collect();
    let enabled = reader.list("events.enabled", raw.enabled, all, EventKind::parse);
    let limit =
        reader.value("events.rate_limit", raw.rate_limit, DEFAULT_RATE_LIMIT, |n| whole(*n, 0, 1_000_000));
    Events { enabled, rate_limit: NonZeroU32::new(limit) }
}

fn process(reader: &mut Reader<'_>, raw: raw::Process) -> ProcessConfig {
    let command_line = reader.value("process.command_line", raw.command_line, false, |on| Ok(*on));
    ProcessConfig { command_line, mask: reader.list("process.mask", raw.mask, Vec::new(), masked_name) }
}

fn masked_name(text: &str) -> Result<String, String> {
    // One letter is part of nearly every name.
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric).count();
    let others = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if letters < 2 || !others {
        return Err(format!(
            "{text:?} is no part of a name; write at least two letters or digits, with - and _ between them"
        ));
    }
    Ok(text.to_owned())
}

fn metrics(reader: &mut Reader<'_>, raw: raw::Metrics, interval: Duration, known: &[&str]) -> Metrics {
    let temporality = reader
        .value("metrics.temporality", raw.temporality, Temporality::Cumulative, |text| Word::parse(text));
    let temporality = reader
        .variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "metrics.temporality", |text| {
            Word::parse(&text.to_ascii_lowercase())
        })
        .unwrap_or(temporality);
    let series_limit =
        reader.value("metrics.series_limit", raw.series_limit, DEFAULT_SERIES, |n| positive(*n, 10_000_000));
    let expiry = reader
        .optional("metrics.series_expiry", raw.series_expiry, |text| parse_duration(&text.0, &EXPIRY_RANGE));
    if let (Some(expiry), Some(place)) = (expiry, reader.place("metrics.series_expiry").cloned())
        && expiry < interval
    {
        let message = "shorter than the interval, so that series would be forgotten between two exports; \
                       raise it or shorten the interval";
        reader.problem("metrics.series_expiry", &place, message);
    }
    let attributes = reader.list(
        "metrics.attributes",
        raw.attributes,
        FlowAttribute::DEFAULT.into(),
        FlowAttribute::parse,
    );
    let mut overrides = BTreeMap::new();
    for (metric, chosen) in raw.r#override {
        let key = join_key("metrics.override", metric.get_ref());
        let chosen = reader.list(
            &join_key(&key, "attributes"),
            Some(chosen.attributes),
            BTreeSet::new(),
            FlowAttribute::parse,
        );
        if known.contains(&metric.get_ref().as_str()) {
            overrides.insert(metric.into_inner(), chosen);
        } else {
            let hint = did_you_mean(metric.get_ref(), known.iter().copied());
            let message = format!(
                "no metric of that name has attributes to choose{hint} (known: {})",
                known.join(", ")
            );
            reader.problem(&key, &Place::File(metric.span()), &message);
        }
    }
    let series_expiry = expiry.unwrap_or(DEFAULT_EXPIRY.max(interval));
    Metrics { temporality, series_limit, series_expiry, attributes, overrides }
}

fn limits(reader: &mut Reader<'_>, raw: raw::Limits) -> Limits {
    Limits {
        flows: reader.value("limits.flows", raw.flows, DEFAULT_FLOWS, |n| positive(*n, 16_777_216)),
        event_ring: reader.value("limits.event_ring", raw.event_ring, DEFAULT_RING, ring_size),
        payload_ring: reader.value("limits.payload_ring", raw.payload_ring, DEFAULT_DNS_RING, ring_size),
        process_ring: reader.value("limits.process_ring", raw.process_ring, DEFAULT_RING, ring_size),
        processes: reader
            .value("limits.processes", raw.processes, DEFAULT_PROCESSES, |n| positive(*n, 4_194_304)),
        listeners: reader
            .value("limits.listeners", raw.listeners, DEFAULT_LISTENERS, |n| positive(*n, 1_048_576)),
        memory: reader.value("limits.memory", raw.memory, MemoryLimit::Auto, |text| memory(text)),
    }
}

fn memory(text: &str) -> Result<MemoryLimit, String> {
    const RANGE: RangeInclusive<u64> = 4 << 20..=1 << 40;
    match text {
        "auto" => return Ok(MemoryLimit::Auto),
        "none" => return Ok(MemoryLimit::None),
        _ => {}
    }
    let (low, high) = (format_size(*RANGE.start()), format_size(*RANGE.end()));
    match parse_size(text) {
        Ok(bytes) if RANGE.contains(&bytes) => Ok(MemoryLimit::Bytes(bytes)),
        _ => Err(format!("{text:?} is no limit; write \"auto\", \"none\", or a size from {low} to {high}")),
    }
}

fn ring_size(text: &raw::SizeText) -> Result<NonZeroU32, String> {
    const LARGEST: u64 = 1 << 30;
    let bytes = parse_size(&text.0)?;
    // The kernel's own rule for BPF_MAP_TYPE_RINGBUF; the page is 64 KiB on some arm64 and ppc64 kernels.
    let page = rustix::param::page_size() as u64;
    let smallest = page.max(4096);
    let fits = bytes.is_power_of_two() && (smallest..=LARGEST).contains(&bytes);
    u32::try_from(bytes).ok().and_then(NonZeroU32::new).filter(|_| fits).ok_or_else(|| {
        format!(
            "{:?} does not fit a ring buffer; it may be a power of two from {} to {}",
            text.0,
            format_size(smallest),
            format_size(LARGEST)
        )
    })
}

fn resource(reader: &mut Reader<'_>, raw: raw::Resource) -> BTreeMap<String, String> {
    const KEY: &str = "resource.attributes";
    const SERVICE: &str = "service.name";
    let mut attributes = BTreeMap::from([(SERVICE.to_owned(), "netsonde".to_owned())]);
    for (name, value) in raw.attributes {
        let key = join_key(KEY, name.get_ref());
        let judge = |text: &String| {
            if name.get_ref().is_empty() { Err("the key is empty".to_owned()) } else { Ok(text.clone()) }
        };
        if let Some(value) = reader.optional(&key, Some(value), judge) {
            attributes.insert(name.into_inner(), value);
        }
    }
    let given = reader.variable("OTEL_RESOURCE_ATTRIBUTES", KEY, parse_pairs);
    for (name, value) in given.unwrap_or_default() {
        reader.set_place(&join_key(KEY, &name), Place::Environment("OTEL_RESOURCE_ATTRIBUTES"));
        attributes.insert(name, value);
    }
    let service = join_key(KEY, SERVICE);
    if let Some(name) = reader.variable("OTEL_SERVICE_NAME", &service, |text| Ok(text.to_owned())) {
        attributes.insert(SERVICE.to_owned(), name);
    }
    attributes
}

/// A whole number from `low` to `high`.
pub(super) fn whole(number: i64, low: u32, high: u32) -> Result<u32, String> {
    let value = u32::try_from(number).ok().filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| format!("{number} is out of range; it may be from {low} to {high}"))
}

/// A whole number from 1 to `high`.
pub(super) fn positive(number: i64, high: u32) -> Result<NonZeroU32, String> {
    whole(number, 1, high).map(|value| NonZeroU32::MIN.saturating_add(value - 1))
}
