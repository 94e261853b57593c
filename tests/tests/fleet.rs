//! The collector configurations of `config/fleet`, as far as that can be told without the collector: what pipelines name
//! is there, what is there is used, keys are those of the component, and nothing that a host hands over waits in memory
//! alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use netsonde_tests::command;
use netsonde_tests::dashboards;
use netsonde_tests::host;
use netsonde_tests::program::python;
use serde_json::Value;

const QUEUED: [&str; 3] = ["timeout", "retry_on_failure", "sending_queue"];

/// The keys of each component that are used here, from its documentation; of exporters with [`QUEUED`].
const KEYS: [(&str, &[&str]); 7] = [
    ("health_check", &["endpoint"]),
    ("file_storage", &["directory", "create_directory", "fsync"]),
    (
        "memory_limiter",
        &["check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage"],
    ),
    // Of the receiver, and of the exporter.
    ("otlp", &["protocols", "endpoint", "compression", "tls"]),
    ("otlphttp", &["endpoint", "compression"]),
    ("prometheusremotewrite", &["endpoint", "resource_to_telemetry_conversion", "remote_write_queue"]),
    ("clickhouse", &["endpoint", "username", "password", "database", "create_schema", "ttl", "compress"]),
];
const QUEUE_KEYS: [&str; 6] =
    ["storage", "sizer", "queue_size", "num_consumers", "block_on_overflow", "batch"];
const RETRY_KEYS: [&str; 3] = ["initial_interval", "max_interval", "max_elapsed_time"];

/// Written down as another way, and in no pipeline.
const ALTERNATIVES: [&str; 1] = ["prometheusremotewrite"];

fn read(path: &Path) -> Value {
    serde_json::from_str(&command::output(python("yaml_to_json.py", "").arg(path)).unwrap()).unwrap()
}

fn names(of: &Value) -> BTreeSet<String> {
    of.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn words(of: &Value) -> BTreeSet<String> {
    of.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn check_keys(file: &str, component: &str, settings: &Value) {
    let kind = component.split('/').next().unwrap();
    let (_, known) =
        KEYS.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("{file}: {component}"));
    let within = |given: BTreeSet<String>, allowed: &[&[&str]]| {
        for key in given {
            assert!(
                allowed.iter().any(|keys| keys.contains(&key.as_str())),
                "{file}: {component} has no {key}"
            );
        }
    };
    within(names(settings), &[known, &QUEUED]);
    within(names(&settings["sending_queue"]), &[&QUEUE_KEYS]);
    within(names(&settings["retry_on_failure"]), &[&RETRY_KEYS]);
}

#[test]
fn collector_configurations_hold_together() {
    let mut checked = 0;
    for entry in fs::read_dir(dashboards::config("fleet")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let (file, content) = (path.display().to_string(), read(&path));
        assert_eq!(
            names(&content),
            ["exporters", "extensions", "processors", "receivers", "service"].map(Into::into).into()
        );
        assert_eq!(names(&content["extensions"]), words(&content["service"]["extensions"]), "{file}");
        let pipelines = content["service"]["pipelines"].as_object().unwrap();
        assert_eq!(pipelines.keys().collect::<Vec<_>>(), ["logs", "metrics"], "{file}");
        for section in ["receivers", "processors", "exporters"] {
            let named: BTreeSet<_> =
                pipelines.values().flat_map(|pipeline| words(&pipeline[section])).collect();
            let mut there = names(&content[section]);
            there.retain(|name| !ALTERNATIVES.contains(&name.as_str()));
            assert_eq!(named, there, "{file}: {section}");
        }
        for pipeline in pipelines.values() {
            assert_eq!(pipeline["processors"][0], "memory_limiter", "{file}: it must come first");
        }
        for section in ["extensions", "receivers", "processors", "exporters"] {
            for (component, settings) in content[section].as_object().unwrap() {
                check_keys(&file, component, settings);
            }
        }
        for (name, exporter) in content["exporters"].as_object().unwrap() {
            assert_eq!(exporter["retry_on_failure"]["max_elapsed_time"], "0s", "{file}: {name} gives up");
            if !ALTERNATIVES.contains(&name.as_str()) {
                let queue = &exporter["sending_queue"];
                assert_eq!(
                    (&queue["storage"], &queue["block_on_overflow"]),
                    (&"file_storage".into(), &true.into()),
                    "{file}: {name}"
                );
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 4, "agent and three gateways");
}

#[test]
fn netsonde_takes_its_own_part() {
    let path = dashboards::config("fleet/netsonde.toml");
    let directory = tempfile::tempdir().unwrap();
    // The certificates are not there.
    let text = fs::read_to_string(path).unwrap();
    let [ca, certificate, key] = ["/etc/netsonde/ca.pem", "/etc/netsonde/host.pem", "/etc/netsonde/host.key"];
    let made = rcgen::generate_simple_self_signed(vec!["host.example".to_owned()]).unwrap();
    let mut own = text.clone();
    for (known, content) in
        [(ca, made.cert.pem()), (certificate, made.cert.pem()), (key, made.signing_key.serialize_pem())]
    {
        let file = directory.path().join(Path::new(known).file_name().unwrap());
        fs::write(&file, content).unwrap();
        assert!(own.contains(known), "{known}");
        own = own.replace(known, file.to_str().unwrap());
    }
    let configuration = directory.path().join("netsonde.toml");
    fs::write(&configuration, own).unwrap();
    let checked = std::process::Command::new(host::netsonde().unwrap())
        .args(["check-config", "--quiet", "--config"])
        .arg(&configuration)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
