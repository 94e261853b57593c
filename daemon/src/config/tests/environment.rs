//! Environment variables and flags over the file.

use super::super::export::SpoolConfig;
use super::*;
use crate::config::export::{Compression, FileTarget, Protocol};

fn with(text: &str, variables: &[(&str, &str)]) -> Config {
    parse(text, variables, Overrides::default()).expect("right").config
}

fn urls(text: &str, variables: &[(&str, &str)]) -> Option<(String, String)> {
    with(text, variables).export.otlp.into_iter().next().map(|otlp| (otlp.metrics_url, otlp.logs_url))
}

#[test]
fn the_token_of_the_api_may_be_a_credential_of_systemd() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("netsonde-api-token");
    let variables = [("CREDENTIALS_DIRECTORY", directory.path().to_str().expect("text"))];
    let open = "[api]\nlisten = \"0.0.0.0:9500\"\n";
    assert!(parse(open, &variables, Overrides::default()).is_err(), "there is no such credential");
    std::fs::write(&path, "0123456789abcdef").expect("written");
    assert_eq!(with(open, &variables).api.token_file.as_ref(), Some(&path));
    let named = with(&format!("{open}token_file = \"/other\""), &variables);
    assert_eq!(named.api.token_file, Some("/other".into()));
    assert_eq!(with("", &variables).api.token_file, None, "nothing listens");
}

#[test]
fn endpoints_follow_the_specification() {
    const GRPC: &str = "[export.otlp]\nendpoint = \"http://file:4317\"";
    const HTTP: &str = "[export.otlp]\nendpoint = \"http://file:4318/\"\nprotocol = \"http/protobuf\"";
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318/otlp/");
    let metrics = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m/x?key=1");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:1");
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(&'a str, &'a str)>);
    let cases: [Case<'_>; 9] = [
        ("", &[], None),
        ("", &[http], None),
        ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
        (GRPC, &[], Some(("http://file:4317", "http://file:4317"))),
        (HTTP, &[], Some(("http://file:4318/v1/metrics", "http://file:4318/v1/logs"))),
        (HTTP, &[base], Some(("http://env:4318/otlp/v1/metrics", "http://env:4318/otlp/v1/logs"))),
        ("", &[base, http, metrics], Some(("https://m/x?key=1", "http://env:4318/otlp/v1/logs"))),
        ("", &[http, logs], Some(("http://localhost:4318/v1/metrics", "http://l:1/"))),
        (GRPC, &[logs], Some(("http://file:4317", "http://l:1"))),
    ];
    for (text, variables, expected) in cases {
        let expected = expected.map(|(metrics, logs)| (metrics.to_owned(), logs.to_owned()));
        assert_eq!(urls(text, variables), expected, "{text} {variables:?}");
    }
}

#[test]
fn options_come_from_variables() {
    let mut config = with(
        "[export.otlp]\nendpoint = \"http://file:4317\"\ntimeout = \"1s\"\nheaders = { a = \"file\" }",
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20Zm9v%3D, x-tenant = t1 ,"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA"),
        ],
    );
    let otlp = config.export.otlp.remove(0);
    assert_eq!(otlp.protocol, Protocol::Grpc);
    assert_eq!(otlp.compression, Compression::None);
    assert_eq!(otlp.timeout, Duration::from_millis(2500));
    let headers: Vec<_> = otlp.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("authorization", "Basic Zm9v="), ("x-tenant", "t1")]);
    assert_eq!(config.metrics.temporality, Temporality::Delta);
}

#[test]
fn resource_attributes_are_merged() {
    let file = "[resource.attributes]\n\"service.name\" = \"file\"\nsite = \"a\"\nrack = \"1\"";
    let given = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=env,site=b%2Cc,deployment.environment.name=test");
    let resource = |variables: &[(&str, &str)]| with(file, variables).resource;
    assert_eq!(resource(&[])["service.name"], "file");
    let merged = resource(&[given]);
    let pairs: Vec<_> = merged.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let expected =
        [("deployment.environment.name", "test"), ("rack", "1"), ("service.name", "env"), ("site", "b,c")];
    assert_eq!(pairs, expected);
    assert_eq!(resource(&[given, ("OTEL_SERVICE_NAME", "name")])["service.name"], "name");
    assert_eq!(right("").resource["service.name"], "netsonde");
}

#[test]
fn a_signals_own_variable_must_fit_both_signals() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1");
    let metrics = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf");
    let both = with("", &[endpoint, metrics, logs]).export.otlp.remove(0);
    assert_eq!(both.protocol, Protocol::HttpProtobuf);
    let error = parse("", &[endpoint, metrics], Overrides::default()).expect_err("differs").to_string();
    assert_eq!(
        error,
        "environment variable OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: metrics and logs need the same value; \
         set OTEL_EXPORTER_OTLP_PROTOCOL instead"
    );
}

#[test]
fn wrong_variables_are_named() {
    for (name, value, part) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "write it as http://host:port"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "nothing", "not a URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "known: grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json", "known: grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number of milliseconds from 1 to 600000"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "whole number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "known: gzip, none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,hunter2", "entry 2 has no ="),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2", "entry 1 has no key"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%FFhunter2", "entry 1 is not UTF-8"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0A", "visible ASCII"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "entry 1 has no ="),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory", "known: cumulative, delta"),
    ] {
        let error = parse("", &[(name, value)], Overrides::default()).expect_err(value).to_string();
        assert!(error.starts_with(&format!("environment variable {name}: ")), "{error}");
        assert!(error.contains(part), "{part} is not in: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn flags_come_last() {
    let text = "interval = \"1m\"\n[export.otlp]\nendpoint = \"http://c:4317\"\n[export.file]\npath = \"/a\"";
    let output = |text: &str| text.parse::<Output>().expect("an output");
    let overrides = Overrides {
        outputs: vec![output("otlp-json:/b"), output("otlp-json:/b"), output("console")],
        interval: Some(Duration::from_secs(1)),
    };
    let loaded = parse(text, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:1")], overrides).expect("right");
    let files = vec![FileConfig { target: FileTarget::Path("/b".into()) }];
    assert_eq!(loaded.config.export, Export { otlp: vec![], files, console: true, spool: default_spool() });
    assert_eq!(loaded.config.interval, Duration::from_secs(1));
    assert_eq!(loaded.origins["interval"], Origin::CommandLine("--interval"));

    let both = Overrides { outputs: vec![output("otlp-json:-"), Output::Console], interval: None };
    let error = parse(text, &[], both).expect_err("one standard output").to_string();
    assert!(error.starts_with("--output: "), "{error}");
}

#[test]
fn without_an_exporter_there_is_the_console() {
    assert_eq!(
        right("").export,
        Export { otlp: vec![], files: vec![], console: true, spool: default_spool() }
    );
    let file = right("[export.file]\npath = \"-\"").export;
    assert_eq!((file.files[0].target.clone(), file.console), (FileTarget::Stdout, false));
}

#[test]
fn a_long_interval_carries_the_default_expiry_along() {
    assert_eq!(right("interval = \"1h\"").metrics.series_expiry, Duration::from_secs(3600));
    assert_eq!(right("").metrics.series_expiry, Duration::from_secs(900));
}

fn default_spool() -> SpoolConfig {
    SpoolConfig { path: Some("/var/lib/netsonde/spool".into()), size: 256 << 20 }
}

#[test]
fn the_spool_is_where_the_file_says_else_where_systemd_says() {
    let spool = |text: &str, variables: &[(&str, &str)]| {
        parse(text, variables, Overrides::default()).expect("right").config.export.spool
    };
    assert_eq!(spool("", &[]), default_spool());
    let given = [("STATE_DIRECTORY", "/state/a:/state/b")];
    assert_eq!(spool("", &given).path, Some("/state/a/spool".into()));
    let text = "[export.spool]\npath = \"/disk/netsonde\"\nsize = \"1GiB\"";
    let written = SpoolConfig { path: Some("/disk/netsonde".into()), size: 1 << 30 };
    assert_eq!(spool(text, &given), written);
    assert_eq!(spool("[export.spool]\npath = \"\"", &given).path, None);
    for (text, part) in
        [("path = \"spool\"", "absolute path"), ("size = \"1MiB\"", "may be from 16MiB to 1024GiB")]
    {
        let error = wrong(&format!("[export.spool]\n{text}"));
        assert!(error.contains(part), "{error}");
    }
}
