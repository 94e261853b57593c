//! The dashboards and alert rules as files: written by their generator, with all that a reader needs, and understood by
//! Prometheus' own tool. Whether they find data is `dashboards.rs`' matter.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::Command;

use netsonde_tests::command;
use netsonde_tests::dashboards::{self, Dashboard, Rule};
use netsonde_tests::host;
use netsonde_tests::store;
use serde_json::json;

#[test]
fn committed_dashboards_are_what_the_generator_writes() {
    command::output(Command::new(dashboards::config("grafana/generate.py")).arg("--check")).unwrap();
}

#[test]
fn no_dashboard_knows_a_data_source() {
    let all = Dashboard::all().unwrap();
    assert_eq!(all.len(), 7);
    for dashboard in &all {
        let sources = dashboard.panels().flat_map(|panel| {
            panel["targets"]
                .as_array()
                .into_iter()
                .flatten()
                .chain([panel])
                .map(|one| &one["datasource"]["uid"])
        });
        for source in
            sources.chain(dashboard.variables("query").map(|variable| &variable["datasource"]["uid"]))
        {
            assert_eq!(source, "${datasource}", "{}", dashboard.name);
        }
        for panel in dashboard.panels() {
            let described = |name: &str| panel[name].as_str().is_some_and(|text| !text.is_empty());
            assert!(described("title") && described("description"), "{}: {panel}", dashboard.name);
        }
    }
}

#[test]
fn every_alert_has_its_severity_its_words_and_its_lines_in_the_guide() {
    let guide = std::fs::read_to_string(host::source("../docs/fleet.md")).unwrap();
    for rule in Rule::all().unwrap().iter().filter(|rule| rule.alert.is_some()) {
        let name = rule.alert.as_deref().unwrap();
        assert!(["critical", "warning", "info"].contains(&rule.labels["severity"].as_str()), "{name}");
        for words in ["summary", "description"] {
            assert!(rule.annotations.get(words).is_some_and(|text| !text.is_empty()), "{name}: {words}");
        }
        let anchor = name.to_lowercase();
        assert_eq!(rule.annotations["runbook_url"], format!("docs/fleet.md#{anchor}"));
        assert!(guide.contains(&format!("\n### {name}\n")), "no lines on {name}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let Some(package) = store::debian_package("promtool").unwrap() else { return };
    let promtool = package.join("usr/bin/promtool");
    let folder = dashboards::config("prometheus");
    let check = |kind: &str, files: &[&str]| {
        let files = files.iter().map(|file| folder.join(file));
        command::output(Command::new(&promtool).args([kind, "rules"]).args(files)).unwrap()
    };
    let checked = check("check", &["alerts.yml", "slo.yml"]);
    assert_eq!(checked.matches("SUCCESS").count(), 2, "{checked}");
    check("test", &["tests/alerts.yml", "tests/slo.yml"]);
}

#[test]
fn panels_ask_what_prometheus_understands() {
    let Some(package) = store::debian_package("promtool").unwrap() else { return };
    let mut rules = Vec::new();
    for dashboard in Dashboard::all().unwrap() {
        let values = dashboard.values();
        for target in dashboard.panels().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            let expression = dashboards::fill_in(target["expr"].as_str().unwrap(), &values).unwrap();
            rules.push(json!({"record": format!("panel:{}", rules.len()), "expr": expression}));
        }
    }
    // JSON is YAML.
    let file = tempfile::NamedTempFile::new().unwrap();
    let count = rules.len();
    std::fs::write(&file, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    let mut promtool = Command::new(package.join("usr/bin/promtool"));
    let checked = command::output(promtool.args(["check", "rules"]).arg(file.path())).unwrap();
    assert!(checked.contains(&format!("SUCCESS: {count} rules found")), "{checked}");
}
