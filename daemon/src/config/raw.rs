//! The configuration file as written: every key optional, every value with its place in the text.
//!
//! Owns which keys exist and their TOML types; what a value means is the validation's matter.

use std::collections::BTreeMap;

use netsonde_audit::policy::RawAudit;
pub use netsonde_audit::policy::Texts;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

type Field<T> = Option<Spanned<T>>;
/// A table whose keys are the user's own.
pub type Table<T> = BTreeMap<Spanned<String>, T>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    pub interval: Field<DurationText>,
    pub export: Export,
    pub signals: Signals,
    pub select: Select,
    pub audit: RawAudit,
    pub history: History,
    pub events: Events,
    pub process: Process,
    pub dns: Dns,
    pub tls: Tls,
    pub metrics: Metrics,
    pub limits: Limits,
    pub api: Api,
    #[serde(rename = "self")]
    pub own: Own,
    pub log: Log,
    pub resource: Resource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    pub otlp: Collectors,
    pub file: File,
    pub spool: Spool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    pub name: Field<String>,
    pub endpoint: Field<String>,
    pub protocol: Field<String>,
    pub headers: Table<Spanned<Sourced>>,
    pub compression: Field<String>,
    pub timeout: Field<DurationText>,
    pub tls: OtlpTls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpTls {
    pub ca_file: Field<Sourced>,
    pub certificate_file: Field<Sourced>,
    pub key_file: Field<Sourced>,
    pub server_name: Field<String>,
}

/// Where a value stands instead of here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    pub file: Field<String>,
    pub credential: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub path: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    pub path: Field<String>,
    pub size: Field<SizeText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signals {
    pub tcp: Field<bool>,
    pub udp: Field<bool>,
    pub dns: Field<bool>,
    pub tls: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    pub default: Field<String>,
    pub own_traffic: Field<bool>,
    pub rule: Vec<Spanned<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    pub name: Field<String>,
    pub action: Field<String>,
    pub binaries: Option<Texts>,
    pub users: Option<Texts>,
    pub units: Option<Texts>,
    pub containers: Option<Texts>,
    pub ancestors: Option<Texts>,
    pub addresses: Option<Texts>,
    pub ports: Option<Texts>,
    pub transports: Option<Texts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    pub enabled: Field<bool>,
    pub directory: Field<String>,
    pub retention: Field<DurationText>,
    pub size: Field<SizeText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    pub enabled: Field<Vec<Spanned<String>>>,
    pub rate_limit: Field<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    pub command_line: Field<bool>,
    pub mask: Field<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub ports: Field<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    pub ports: Field<Vec<Spanned<i64>>>,
    pub multicast: Field<bool>,
    pub timeout: Field<DurationText>,
    pub question_names: Field<i64>,
    pub suffixes: Field<Vec<Spanned<String>>>,
    pub search_suffixes: Field<Vec<Spanned<String>>>,
    pub messages_per_second: Field<i64>,
    pub names: Field<i64>,
    pub hosts: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub temporality: Field<String>,
    pub series_limit: Field<i64>,
    pub series_expiry: Field<DurationText>,
    pub attributes: Field<Vec<Spanned<String>>>,
    pub r#override: Table<Override>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub attributes: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub flows: Field<i64>,
    pub event_ring: Field<SizeText>,
    pub payload_ring: Field<SizeText>,
    pub process_ring: Field<SizeText>,
    pub processes: Field<i64>,
    pub listeners: Field<i64>,
    pub memory: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    pub socket: Field<String>,
    pub group: Field<String>,
    pub listen: Field<String>,
    pub token_file: Field<String>,
    pub clients: Field<i64>,
    pub history: Field<DurationText>,
    pub history_size: Field<SizeText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    pub program_statistics: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub level: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resource {
    pub attributes: Table<Spanned<String>>,
}

/// A text of its own type, so that `interval = 10` is answered with what to write instead.
macro_rules! quoted {
    ($name:ident, $expecting:literal) => {
        #[derive(Debug)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E>(self, text: &str) -> Result<$name, E> {
                        Ok($name(text.to_owned()))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

quoted!(DurationText, "a duration in quotes, such as \"10s\"");
quoted!(SizeText, "a size in quotes, such as \"1MiB\"");

/// `[export.otlp]`, or any number of `[[export.otlp]]`.
#[derive(Debug)]
pub enum Collectors {
    One(Box<Otlp>),
    Many(Vec<Spanned<Otlp>>),
}

impl Default for Collectors {
    fn default() -> Self {
        Self::One(Box::default())
    }
}

impl<'de> Deserialize<'de> for Collectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not serde's untagged enum: that would forget where in the file a wrong key stands.
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Collectors;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table or a list of tables")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Collectors, A::Error> {
                Otlp::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(Collectors::One)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Collectors, A::Error> {
                let mut collectors = Vec::new();
                while let Some(collector) = entries.next_element()? {
                    collectors.push(collector);
                }
                Ok(Collectors::Many(collectors))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A text, or a table that says where the text stands: `{ file = "/path" }` or `{ credential = "name" }`.
pub enum Sourced {
    Text(String),
    Elsewhere(Box<Source>),
}

impl std::fmt::Debug for Sourced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // It may be a token.
            Self::Text(_) => f.write_str("(hidden)"),
            Self::Elsewhere(source) => source.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Sourced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Sourced;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text in quotes, { file = \"/path\" } or { credential = \"name\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Sourced, E> {
                Ok(Sourced::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sourced, A::Error> {
                let source = Source::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Sourced::Elsewhere(Box::new(source)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
