//! The commented default file, and the effective configuration as it is printed.

use super::*;
use crate::cli::check_config::check_config;
use crate::cli::{CheckConfigArgs, ConfigArgs};
use crate::config::export::OtlpTls;
use crate::exit::Exit;

const SHIPPED: &str = include_str!("../../../../config/netsonde.toml");

/// Turns every commented key of the shipped file into a key; its prose has a space after the `#`.
fn uncommented() -> String {
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(right(SHIPPED), right(""));
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let loaded = parse_without_secrets(&uncommented()).expect("every commented key is right");
    for (key, origin) in &loaded.origins {
        assert!(matches!(origin, Origin::File { .. }), "{key} is not in config/netsonde.toml");
    }
    let mut config = loaded.config;
    let default = right("");
    let otlp = config.export.otlp.remove(0);
    let bare = right(&format!("[export.otlp]\nendpoint = \"{}\"", otlp.metrics_url)).export.otlp.remove(0);
    assert_eq!(OtlpConfig { headers: BTreeMap::new(), tls: OtlpTls::default(), ..otlp }, bare);
    // Examples stand for keys that have no default.
    config.export = default.export.clone();
    config.select.rules = Vec::new();
    config.audit.rules = Vec::new();
    config.metrics.overrides = BTreeMap::new();
    config.resource = default.resource.clone();
    assert_eq!(config, default);
}

#[test]
fn every_key_has_its_range_or_words_in_the_shipped_file() {
    for word in FlowAttribute::WORDS.iter().map(|(word, _)| word) {
        assert!(SHIPPED.contains(word), "{word}");
    }
    for word in ["100ms to 1h", "1ms to 10m", "0 to 1000000", "1 to 10000000", "1s to 24h", "1 to 16777216"] {
        assert!(SHIPPED.contains(word), "{word}");
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let texts = [
        "",
        SHIPPED,
        &uncommented(),
        include_str!("../fixtures/selection.toml"),
        include_str!("../fixtures/policy.toml"),
        "[process]\ncommand_line = true\nmask = [\"Door_Code\", \"pin\"]",
        "[export.otlp]\nprotocol = \"http/protobuf\"\nendpoint = \"http://c/p\"",
        include_str!("../fixtures/collectors.toml"),
    ];
    for text in texts {
        let loaded = parse_without_secrets(text).expect("right");
        let printed = render(&loaded);
        let mut again = parse_without_secrets(&printed).expect("right").config;
        let mut config = loaded.config;
        for config in [&mut again, &mut config] {
            for otlp in &mut config.export.otlp {
                otlp.headers.retain(|_, value| value.file().is_some());
            }
        }
        assert_eq!(again, config, "{printed}");
    }
}

#[test]
fn origins_are_printed_and_secrets_are_not() {
    let text = "\n[export.otlp]\nendpoint = \"http://c:4317\"\nheaders = { authorization = \"hunter2\" }";
    let variables = [("OTEL_SERVICE_NAME", "edge"), ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:1")];
    let overrides = Overrides { interval: Some(Duration::from_secs(1)), ..Overrides::default() };
    let loaded = parse(text, &variables, overrides).expect("right");
    let printed = render(&loaded);
    for line in [
        "# read from test.toml",
        "interval = \"1s\"  # command line, --interval",
        "# metrics go to http://c:4317",
        "# logs go to http://l:1",
        "headers = { authorization = \"(hidden)\" }  # file, line 4",
        "tcp = true  # default",
        "\"service.name\" = \"edge\"  # environment variable OTEL_SERVICE_NAME",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in:\n{printed}");
    }
    assert!(!printed.contains("hunter2") && !format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn rules_are_printed_with_their_origins() {
    let loaded = parse(include_str!("../fixtures/selection.toml"), &[], Overrides::default()).expect("right");
    let printed = render(&loaded);
    let expected = "[select]\ndefault = \"exclude\"  # file, line 2\nown_traffic = true  # default\n\n\
        [[select.rule]]\nname = 'web \"out\"'  # file, line 5\naction = \"include\"  # file, line 6\n\
        addresses = [\"10.0.0.0/8\", \"::1\"]  # file, line 7\n\
        ports = [\"443\", \"8000-8999\"]  # file, line 8\n\n\
        [[select.rule]]\nname = \"agents\"  # file, line 11\naction = \"exclude\"  # file, line 12\n\
        binaries = [\"/opt/agents/**\"]  # file, line 13\nusers = [\"root\", \"1000\"]  # file, line 14\n";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn the_policy_is_printed_with_its_origins() {
    let loaded = parse(include_str!("../fixtures/policy.toml"), &[], Overrides::default()).expect("right");
    let printed = render(&loaded);
    let expected = "[audit]\ndefault = \"deny\"  # file, line 2\n\n\
        [[audit.rule]]\nname = \"web\"  # file, line 5\naction = \"allow\"  # file, line 6\n\
        ports = [\"80\", \"8000-8099\"]  # file, line 7\ntransports = [\"tcp\"]  # file, line 8\n\
        classes = [\"any\"]  # file, line 9\nbinaries = [\"/usr/sbin/**\"]  # file, line 10\n\
        users = [\"www\", \"33\"]  # file, line 11\nunits = [\"nginx*.service\"]  # file, line 12\n\
        containers = [\"none\", \"*\", \"3f2a\"]  # file, line 13\n\
        namespaces = [\"initial\", \"other\", \"blue\", \"4026531840\"]  # file, line 14\n";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn check_config_prints_or_explains() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("netsonde.toml");
    let check = |text: &str, quiet| {
        let args = CheckConfigArgs { config: ConfigArgs { config: Some(path.clone()) }, quiet };
        std::fs::write(&path, text).expect("written");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = check_config(&args, &|_| None, METRICS, &mut out, &mut err).expect("written to memory");
        (exit, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
    };
    let (exit, out, err) = check("interval = \"1s\"", false);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(out.contains("interval = \"1s\"  # file, line 1"), "{out}");
    assert_eq!(check("interval = \"1s\"", true), (Exit::Ok, String::new(), String::new()));
    for quiet in [false, true] {
        let (exit, out, err) = check("interval = \"1\"", quiet);
        assert_eq!((exit, out.as_str()), (Exit::Config, ""));
        assert!(err.contains("netsonde.toml:1:12: interval: "), "{err}");
    }
}
