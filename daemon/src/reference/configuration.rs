//! The page on the configuration: prose and examples from the shipped file, defaults and variables from the
//! code that reads them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Page, code};
use crate::config::{self, Loaded, Origin, Overrides, Sources};
use crate::registry;

const SHIPPED: &str = include_str!("../../../config/netsonde.toml");

/// Flags of `netsonde run` by the key that they override.
const FLAGS: [(&str, &str); 3] =
    [("interval", "--interval"), ("export.otlp.endpoint", "--output"), ("export.file.path", "--output")];

/// How each variable is written, with a value that is right beside the defaults.
const VARIABLES: [(&str, &str, &str); 28] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317", "a URL, as in the file"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http://c:4317",
        "the URL for metrics; over HTTP it is used as it is",
    ),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:4317", "the URL for logs; over HTTP it is used as it is"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "a word, as in the file"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc", SAME),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "a word, as in the file"),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip", SAME),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "a whole number of milliseconds"),
    ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10000", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "10000", SAME),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=b", PAIRS),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "", SAME),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", PATH),
    ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "", SAME),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/client.pem", PATH),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "", SAME),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/client.key", PATH),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "", SAME),
    ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "", SAME),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "delta",
        "a word, as in the file, in letters of any case",
    ),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b", PAIRS),
    ("OTEL_SERVICE_NAME", "edge", "the name alone"),
    (
        "STATE_DIRECTORY",
        "/var/lib/netsonde",
        "set by systemd, the first of several counts; where the file names no place. `/spool` is appended for the spool",
    ),
];
const SAME: &str = "accepted when metrics and logs come to the same";
const PATH: &str = "an absolute path";
const PAIRS: &str = "`key1=value1,key2=value2`, values percent-encoded";

/// A key, or a commented table, of the shipped file.
struct Key {
    path: String,
    /// The table it stands in, as written.
    table: String,
    example: String,
    meaning: String,
}

/// A table, or a member of a list of tables, of the shipped file with the comment above it.
struct Table {
    name: String,
    /// With its brackets, single or double.
    header: String,
    meaning: String,
}

/// Everything in the shipped file, in its order: its opening comment, tables, keys.
fn shipped() -> (String, Vec<Table>, Vec<Key>) {
    let (mut opening, mut tables, mut keys) = (String::new(), Vec::new(), Vec::<Key>::new());
    let (mut table, mut prose, mut described) = (String::new(), Vec::<&str>::new(), String::new());
    for line in SHIPPED.lines() {
        if line.is_empty() {
            if opening.is_empty() {
                opening = prose.join(" ").replace(" \n\n ", "\n\n");
            }
            prose.clear();
            described.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            prose.push(text);
        } else if line == "#" {
            prose.push("\n\n");
        } else {
            let written = line.strip_prefix('#').unwrap_or(line);
            // A line without a comment of its own shares the one above.
            if !prose.is_empty() {
                described = std::mem::take(&mut prose).join(" ");
            }
            if written.starts_with('[') && written.ends_with(']') {
                let header = written.to_owned();
                table = written.trim_start_matches('[').trim_end_matches(']').to_owned();
                tables.push(Table { name: table.clone(), header, meaning: std::mem::take(&mut described) });
            } else {
                let (name, example) = written.split_once(" = ").expect("a key has a value");
                let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
                let meaning = described.clone();
                keys.push(Key { path, table: table.clone(), example: example.to_owned(), meaning });
            }
        }
    }
    (opening, tables, keys)
}

/// Loads the shipped file, all of which is comment, under an environment of these variables.
fn load(variables: &[(&str, &str)]) -> (Loaded, BTreeSet<String>) {
    let asked = RefCell::new(BTreeSet::new());
    let environment = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
    };
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/netsonde.toml"));
    let known = registry::flow_metrics();
    let sources = Sources {
        file: Some(file),
        environment: &environment,
        overrides: Overrides::default(),
        known_metrics: &known,
    };
    // Samples name files that need not exist.
    let loaded = config::load_without_secrets(sources).expect("the shipped file is right");
    (loaded, asked.into_inner())
}

/// Every key that has a default, with it.
fn defaults() -> BTreeMap<String, String> {
    // The keys of the collector are printed only when there is one.
    let (loaded, _) = load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]);
    let mut table = String::new();
    let mut defaults = BTreeMap::new();
    for line in config::render(&loaded).lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((name, value)) = line.strip_suffix("  # default").and_then(|l| l.split_once(" = "))
        {
            defaults.insert(format!("{table}{name}"), value.to_owned());
        }
    }
    defaults
}

/// Every variable that the configuration asks for, with the keys that it overrides.
pub fn variables() -> Vec<(String, Vec<String>)> {
    let (_, asked) = load(&[]);
    let written: BTreeSet<String> = VARIABLES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(asked, written, "the variables that are read and those that are described");
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, sample, _) in VARIABLES.iter().filter(|(_, sample, _)| !sample.is_empty()) {
        // A certificate and its key are wrong without each other.
        let other = match *name {
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" => ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/client.key"),
            _ => ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/client.pem"),
        };
        let variables = [(*name, *sample), other];
        let used = if name.contains("_CLIENT_") { &variables[..] } else { &variables[..1] };
        let (loaded, _) = load(used);
        let found = loaded.origins.iter().filter(|(_, origin)| **origin == Origin::Environment(name));
        let mut found: Vec<String> = found.map(|(key, _)| key.clone()).collect();
        assert!(!found.is_empty(), "{name} overrides nothing");
        found.sort();
        keys.insert(name, found);
    }
    let key_of = |name: &str| {
        // For one signal alone it is refused, so there is no sample; its key is that of both signals.
        let both = name.replace("_METRICS_", "_").replace("_LOGS_", "_");
        keys.get(name).or_else(|| keys.get(both.as_str())).expect("a variable for both signals").clone()
    };
    VARIABLES.iter().map(|(name, ..)| ((*name).to_owned(), key_of(name))).collect()
}

/// Every variable about proxies that is asked for.
fn proxy_variables() -> BTreeSet<String> {
    let (_, plain) = load(&[]);
    let proxy = ("all_proxy", "http://p:3128");
    let mut asked = BTreeSet::new();
    for endpoint in ["http://c:4317", "https://c:4317"] {
        asked.extend(load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), proxy]).1);
    }
    asked.into_iter().filter(|name| !plain.contains(name)).collect()
}

/// Every key and table that the file can have, by dotted path.
pub fn paths() -> BTreeSet<String> {
    let (_, tables, keys) = shipped();
    tables.into_iter().map(|t| t.name).chain(keys.into_iter().map(|k| k.path)).collect()
}

/// A table as it is described, with its keys.
pub struct DescribedTable {
    /// With its brackets; empty for keys that are in none.
    pub header: String,
    pub meaning: String,
    pub keys: Vec<DescribedKey>,
}

/// A key as it is described.
pub struct DescribedKey {
    pub path: String,
    pub meaning: String,
    /// Its default or an example, and what overrides it; a sentence each, without the full stop.
    pub facts: Vec<String>,
}

/// What the shipped file says of all keys.
pub fn introduction() -> String {
    shipped().0.split_once("\n\n").expect("a title and a text").1.to_owned()
}

/// Every key by its table, in the order of the shipped file.
pub fn described() -> Vec<DescribedTable> {
    let (_, tables, keys) = shipped();
    let (defaults, variables) = (defaults(), variables());
    let mut described: Vec<DescribedTable> = Vec::new();
    let mut open = None;
    for key in keys {
        if open.as_ref() != Some(&key.table) {
            let table = tables.iter().find(|t| t.name == key.table);
            described.push(DescribedTable {
                header: table.map(|t| t.header.clone()).unwrap_or_default(),
                meaning: table.map(|t| t.meaning.clone()).unwrap_or_default(),
                keys: Vec::new(),
            });
            open = Some(key.table.clone());
        }
        let facts = facts(&key, &defaults, &variables);
        let key = DescribedKey { path: key.path, meaning: key.meaning, facts };
        described.last_mut().expect("just pushed").keys.push(key);
    }
    described
}

/// Variable, keys and form.
pub fn variable_rows() -> Vec<(String, Vec<String>, String)> {
    let row = |((name, keys), (.., form)): ((String, Vec<String>), (_, _, &str))| {
        let keys = keys.iter().map(|key| key.split(" for ").next().unwrap_or(key).to_owned());
        (name, keys.collect(), form.to_owned())
    };
    variables().into_iter().zip(VARIABLES).map(row).collect()
}

/// The page.
pub fn page() -> String {
    let mut page = Page::new(
        "Configuration",
        "The file is `/etc/netsonde/netsonde.toml`, or the one that `--config` names. `config/netsonde.toml` shows \
         every key with its default.",
    );
    page.paragraph(&introduction());
    for table in described() {
        if !table.header.is_empty() {
            page.heading(2, &code(&table.header));
        }
        if !table.meaning.is_empty() {
            page.paragraph(&table.meaning);
        }
        for key in table.keys {
            page.heading(3, &code(&key.path));
            if !key.meaning.is_empty() {
                page.paragraph(&key.meaning);
            }
            page.paragraph(&format!("- {}", key.facts.join("\n- ")));
        }
    }
    page.heading(2, "Environment variables");
    page.paragraph("One that is empty counts as not set.");
    let rows = variable_rows().into_iter().map(|(name, keys, form)| {
        let keys: Vec<String> = keys.iter().map(|key| code(key)).collect();
        [code(&name), keys.join(", "), form]
    });
    page.table(["Variable", "Key", "Form"], rows);
    let proxies: Vec<String> = proxy_variables().iter().map(|name| code(name)).collect();
    page.paragraph(&format!(
        "{} say through which proxy a collector is reached, as \
         [the guide](../guide.md#send-through-a-proxy) tells.",
        proxies.join(", ")
    ));
    page.paragraph(
        "The variables of OTLP are about the first collector where the file has several, and make one where it has \
         none. `CREDENTIALS_DIRECTORY`, which systemd sets, is where credentials are looked for.",
    );
    page.paragraph(
        "`NO_COLOR`, when it is not empty, keeps colours out of the console's lines and of the daemon's own log \
         (<https://no-color.org>).",
    );
    page.0
}

fn facts(key: &Key, defaults: &BTreeMap<String, String>, variables: &[(String, Vec<String>)]) -> Vec<String> {
    let mut facts = vec![match defaults.get(&key.path) {
        Some(default) => format!("Default: `{default}`"),
        None if key.meaning.starts_with("Required") => format!("Such as `{}`", key.example),
        None => format!("No default; such as `{}`", key.example),
    }];
    let of_key = |of: &str| of.split(" for ").next() == Some(key.path.as_str()) || of == key.table;
    let names = variables.iter().filter(|(_, of)| of.iter().any(|of| of_key(of))).map(|(name, _)| code(name));
    let flags = FLAGS.iter().filter(|(of, _)| *of == key.path).map(|(_, flag)| code(flag));
    let overridden: Vec<String> = names.chain(flags).collect();
    if !overridden.is_empty() {
        facts.push(format!("Overridden by: {}", overridden.join(", ")));
    }
    facts
}
