//! Keeps the documents true: the committed reference is what the code declares, and what the other documents
//! name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{configuration, packaged, pages, prometheus};
use crate::config::{self, Overrides, Sources};
use crate::registry;

const GENERATED: &str = "packaging/generated";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document that people wrote, with its name.
fn documents() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("docs")).expect("docs can be read");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.push(root().join("README.md"));
    paths.retain(|path| path.exists());
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("text"));
    paths.into_iter().map(read).collect()
}

/// Longest runs of characters that a dotted name is made of, without dots at its end.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/')))
        .map(|word| word.trim_end_matches('.'))
}

/// The text between each pair of backquotes within a line, fenced blocks left out.
fn spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

#[test]
fn the_committed_pages_are_what_the_code_declares() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make reference` says that the pages are to be written"
    )]
    let bless = std::env::var("NETSONDE_BLESS").is_ok_and(|value| value == "1");
    let of_packages =
        packaged::files().into_iter().map(|(name, made)| (root().join(GENERATED).join(name), made));
    let of_reference =
        pages().into_iter().map(|(name, made)| (root().join("docs/reference").join(name), made));
    for (path, made) in of_reference.chain(of_packages) {
        if bless {
            let folder = path.parent().expect("a file is in a folder");
            fs::create_dir_all(folder).expect("the folder can be made");
            fs::write(&path, &made).expect("the page can be written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        // Not assert_eq: two whole pages side by side show nobody what differs.
        let differs = committed.lines().zip(made.lines()).find(|(a, b)| a != b);
        assert!(committed == made, "{} is out of date; run `make reference`\n{differs:#?}", path.display());
    }
}

#[test]
fn packages_carry_no_page_of_a_command_that_is_gone() {
    let made: BTreeSet<PathBuf> =
        packaged::files().into_iter().map(|(name, _)| root().join(GENERATED).join(name)).collect();
    for folder in ["man", "completions"] {
        for entry in fs::read_dir(root().join(GENERATED).join(folder)).expect("it can be read") {
            let path = entry.expect("an entry").path();
            assert!(made.contains(&path), "nothing makes {}", path.display());
        }
    }
}

#[test]
fn shipped_examples_are_right() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("config/examples")).expect("it can be read") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let sources = Sources {
                file: Some(&file),
                environment: &|_| None,
                overrides: Overrides::default(),
                known_metrics: &registry::flow_metrics(),
            };
            if let Err(error) = config::load(sources) {
                panic!("{error}");
            }
            count += 1;
        }
    }
    assert!(count > 0);
}

/// Every metric, event and attribute that is published.
fn published() -> BTreeSet<&'static str> {
    let metrics = registry::metrics();
    let events = registry::events();
    let of_metrics = metrics.iter().flat_map(|m| m.attributes);
    let of_events = events.iter().flat_map(|e| e.attributes);
    let attributes = of_metrics.chain(of_events).chain(registry::event_attributes()).map(|a| a.name);
    let of_flows = registry::flow_attributes().into_iter().map(|(_, a)| a.name);
    let names = metrics.iter().map(|m| m.name).chain(events.iter().map(|e| e.name));
    names.chain(attributes).chain(of_flows).collect()
}

#[test]
fn names_in_the_documents_exist() {
    let known = published();
    let files = [".toml", ".sock", ".jsonl", ".service", ".conf"];
    for (document, text) in documents() {
        for word in words(&text).filter(|word| word.starts_with("netsonde.")) {
            let known = known.contains(word)
                // `netsonde.self.*`
                || text.contains(&format!("{word}.*")) && known.iter().any(|name| name.starts_with(word))
                || files.iter().any(|extension| word.ends_with(extension));
            assert!(known, "{document} names {word}, which does not exist");
        }
    }
}

#[test]
fn keys_and_variables_in_the_documents_exist() {
    let keys = configuration::paths();
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| key.split_once('.')).map(|(t, _)| t).collect();
    let variables = configuration::variables();
    let published = published();
    for (document, text) in documents() {
        for span in spans(&text).into_iter().filter(|span| !span.contains(' ')) {
            let is_key =
                span.split_once('.').is_some_and(|(table, key)| tables.contains(table) && key != "rs");
            // `process.` begins keys and attributes.
            let known = published.contains(span)
                || keys.iter().any(|key| key == span || key.starts_with(&format!("{span}.")));
            assert!(!is_key || known, "{document} names the key {span}, which does not exist");
        }
        for word in words(&text).filter(|word| word.starts_with("OTEL_")) {
            let known = variables
                .iter()
                .any(|(name, _)| name == word || word.ends_with('_') && name.starts_with(word));
            assert!(known, "{document} names the variable {word}, which netsonde does not read");
        }
    }
}

#[test]
fn configurations_in_the_documents_are_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("netsonde.toml");
    for (document, text) in documents() {
        for block in text.split("\n```toml\n").skip(1) {
            let block = block.split("\n```").next().unwrap_or_default();
            fs::write(&file, block).expect("written");
            let sources = Sources {
                file: Some(&file),
                environment: &|_| None,
                overrides: Overrides::default(),
                known_metrics: &registry::flow_metrics(),
            };
            // The files with secrets that it names are not here.
            if let Err(error) = config::load_without_secrets(sources) {
                panic!("{document}: {error}\n{block}");
            }
        }
    }
}

#[test]
fn prometheus_names_follow_unit_and_instrument() {
    let metrics = registry::metrics();
    let name = |name| prometheus::name(metrics.iter().find(|m| m.name == name).expect("a metric"));
    assert_eq!(name("netsonde.flow.io"), "netsonde_flow_io_bytes_total");
    assert_eq!(name("netsonde.tcp.rtt"), "netsonde_tcp_rtt_seconds");
    assert_eq!(name("netsonde.tcp.connections.active"), "netsonde_tcp_connections_active");
    assert_eq!(name("netsonde.self.signal.state"), "netsonde_self_signal_state");
    assert_eq!(name("netsonde.self.program.run_time"), "netsonde_self_program_run_time_seconds_total");
}
