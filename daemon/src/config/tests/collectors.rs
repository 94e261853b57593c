//! Several OTLP destinations, their secrets and certificates, and proxies.

use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

const SEVERAL: &str = include_str!("../fixtures/collectors.toml");

fn parse_in(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    parse(text, variables, Overrides::default())
}

/// A certificate with its key, another key, a token, and files that are none of these.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Self { directory };
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a".into()]).expect("a certificate");
        let other = generate_simple_self_signed(["b".into()]).expect("a certificate").signing_key;
        files.write("cert.pem", &cert.pem());
        files.write("key.pem", &signing_key.serialize_pem());
        files.write("other.key", &other.serialize_pem());
        files.write("both.pem", &format!("{}{}", cert.pem(), signing_key.serialize_pem()));
        files.write("token", "Bearer hunter2\n");
        files.write("empty", "");
        files.write("cut.pem", cert.pem().split("-----END").next().expect("a first part"));
        files.write("broken.pem", &cert.pem().replacen("\nMII", "\n!hunter2!MII", 1));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----\n";
        files.write("encrypted.key", encrypted);
        std::fs::write(files.path("cert.der"), cert.der()).expect("written");
        files.write("no.cert", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("written");
    }

    /// A text in which `@` stands for the directory.
    fn text(&self, text: &str) -> String {
        text.replace('@', &self.directory.path().display().to_string())
    }
}

#[test]
fn several_collectors_have_names_and_keys_of_their_own() {
    let loaded = parse_without_secrets(SEVERAL).expect("right");
    let otlp = &loaded.config.export.otlp;
    let names: Vec<&str> = otlp.iter().map(|otlp| otlp.name.as_str()).collect();
    assert_eq!(names, ["local", "otlp2", "vendor-eu"]);
    assert_eq!(otlp[0].metrics_url, "http://127.0.0.1:4318/v1/metrics");
    assert_eq!(otlp[1].timeout, Duration::from_secs(5));
    assert_eq!(otlp[1].tls.server_name.as_deref(), Some("collector.example"));
    assert_eq!(otlp[1].headers["authorization"].file(), Some(Path::new("/run/token")));
    assert_eq!(otlp[2].headers["api-key"].file(), Some(Path::new("/etc/netsonde/key")));
    assert_eq!(loaded.origins["export.otlp.otlp2.timeout"], Origin::File { line: 8 });
    assert_eq!(loaded.origins["export.otlp.local.timeout"], Origin::Default);
    let printed = render(&loaded);
    for line in [
        "[[export.otlp]]",
        "name = \"local\"  # file, line 2",
        "name = \"otlp2\"  # default",
        "timeout = \"5s\"  # file, line 8",
        "tls.certificate_file = \"/etc/netsonde/client.pem\"  # file, line 19",
        "headers = { api-key = { file = \"/etc/netsonde/key\" } }  # file, line 17",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in:\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn one_collector_may_have_a_name() {
    let otlp = |text| right(text).export.otlp.remove(0).name;
    assert_eq!(otlp("[export.otlp]\nendpoint = \"http://c:4317\""), "otlp");
    assert_eq!(otlp("[export.otlp]\nendpoint = \"http://c:4317\"\nname = \"Lab_1\""), "Lab_1");
}

#[test]
fn variables_are_about_the_first_collector_or_make_one() {
    const TWO: &str = "[[export.otlp]]\nname = \"a\"\n[[export.otlp]]\nendpoint = \"http://second:4317\"";
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
    ];
    let loaded = parse_in(TWO, &variables).expect("right");
    let otlp = &loaded.config.export.otlp;
    let urls: Vec<&str> = otlp.iter().map(|otlp| otlp.metrics_url.as_str()).collect();
    assert_eq!(urls, ["http://env:4317", "http://second:4317"]);
    assert_eq!((otlp[0].headers.len(), otlp[1].headers.len()), (1, 0));
    assert_eq!((otlp[0].timeout.as_secs(), otlp[1].timeout.as_secs()), (1, 10));
    assert_eq!(loaded.origins["export.otlp.a.endpoint"], Origin::Environment("OTEL_EXPORTER_OTLP_ENDPOINT"));
    for text in ["", "export.otlp = []"] {
        let made = parse_in(text, &variables).expect("right").config.export.otlp;
        assert_eq!((made.len(), made[0].name.as_str()), (1, "otlp"));
    }
}

#[test]
fn wrong_collectors_name_key_and_line() {
    const ONE: &str = "[[export.otlp]]\nname = \"a\"\nendpoint = \"http://a:1\"\n";
    for (text, line, part) in [
        (
            "[[export.otlp]]\nendpont = \"http://c:1\"",
            5,
            "export.otlp.endpont: unknown key; did you mean \"endpoint\"?",
        ),
        (
            "[[export.otlp]]\nname = \"b\"\ntls.ca = \"/x\"",
            6,
            "export.otlp.b.tls.ca: unknown key; did you mean",
        ),
        (
            "[[export.otlp]]\nname = \"a\"\nendpoint = \"http://b:1\"",
            5,
            "export.otlp.a.name: another collector is",
        ),
        ("[[export.otlp]]\nname = \"b\"", 4, "export.otlp.b.endpoint: missing"),
        ("[[export.otlp]]\ntimeout = \"1s\"", 4, "export.otlp.otlp2.endpoint: missing"),
        (
            "[[export.otlp]]\nname = \"b c\"\nendpoint = \"http://b:1\"",
            5,
            "export.otlp.name: \"b c\" is not a name",
        ),
        ("[[export.otlp]]\nname = \"..\"\nendpoint = \"http://b:1\"", 5, "letters, digits, - and _"),
        ("[[export.otlp]]\nname = \"file2\"\nendpoint = \"http://b:1\"", 5, "of another kind"),
        (
            "[[export.otlp]]\nname = \"b\"\nendpoint = \"ftp://b\"",
            6,
            "export.otlp.b.endpoint: the endpoint needs",
        ),
        (
            "[[export.otlp]]\nname = \"b\"\nendpoint = \"http://b:1\"\ntimeout = \"1\"",
            7,
            "export.otlp.b.timeout: ",
        ),
        ("[[export.otlp]]\nname = \"b\"\ntimeout = 1", 6, "export.otlp.b.timeout: invalid type"),
    ] {
        let error = wrong(&format!("{ONE}{text}"));
        assert!(error.starts_with(&format!("test.toml:{line}:")), "{error}");
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    assert!(wrong("export.otlp = 1").contains("expected a table or a list of tables"));
    assert!(wrong("export.otlp = [1]").starts_with("test.toml:1:16: export.otlp: invalid type"));
    let many = "[[export.otlp]]\nendpoint = \"http://c:1\"\n".repeat(17);
    assert!(wrong(&many).contains("test.toml:33:1: export.otlp: 17 collectors; there may be 16 at most"));
    assert!(
        wrong("[export.otlp]\nname = \"console\"\nendpoint = \"http://c:1\"").contains("of another kind")
    );
}

#[test]
fn values_of_headers_come_from_files_and_credentials() {
    let files = Files::new();
    let text = files.text(
        "[export.otlp]\nendpoint = \"http://c:4317\"\n[export.otlp.headers]\n\
         a = { file = \"@/token\" }\nb = { credential = \"token\" }\nc = \"plain\"",
    );
    let directory = files.directory.path().display().to_string();
    let loaded = parse_in(&text, &[("CREDENTIALS_DIRECTORY", &directory)]).expect("right");
    let headers = &loaded.config.export.otlp[0].headers;
    let values: Vec<&str> = headers.values().map(export::Secret::expose).collect();
    assert_eq!(values, ["Bearer hunter2", "Bearer hunter2", "plain"]);
    let shown = format!("{}{loaded:?}", render(&loaded));
    assert!(!shown.contains("hunter2"), "{shown}");
    // Somebody who only looks needs neither.
    std::fs::remove_file(files.path("token")).expect("removed");
    parse_without_secrets(&text).expect("right");
}

#[test]
fn wrong_secrets_name_key_line_and_file_and_stay_hidden() {
    let files = Files::new();
    files.write("lines", "hunter2\nhunter2");
    for (value, part) in [
        ("{ file = \"@/none\" }", "No such file"),
        ("{ file = \"@/empty\" }", "/empty is empty"),
        ("{ file = \"@/lines\" }", "/lines: the header's value has a character other than visible ASCII"),
        ("{ file = \"token\" }", "begin it with /"),
        ("{ file = \"@\" }", "is not a regular file"),
        ("{ file = \"@/token\", credential = \"token\" }", "write { file = \"/path\" } or { credential"),
        ("{}", "write { file = \"/path\" } or { credential"),
        ("{ fil = \"@/token\" }", "export.otlp.headers.a.fil: unknown key; did you mean \"file\"?"),
        ("{ credential = \"../token\" }", "is not the name of a credential"),
        ("{ credential = \"token\" }", "LoadCredential=token:/path"),
        ("[\"hunter2\"]", "invalid type, expected a text in quotes, { file = \"/path\" } or { credential"),
    ] {
        let error = wrong(&files.text(&format!("[export.otlp.headers]\na = {value}")));
        assert!(error.starts_with("test.toml:2:"), "{error}");
        assert!(
            error.contains("export.otlp.headers.a") && error.contains(part),
            "{part} is not in:\n{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn certificates_are_checked_and_taken_over() {
    let files = Files::new();
    let text = files.text(
        "[export.otlp]\nendpoint = \"https://c:4317\"\n[export.otlp.tls]\nca_file = \"@/cert.pem\"\n\
         certificate_file = \"@/both.pem\"\nkey_file = { credential = \"both.pem\" }\nserver_name = \"192.0.2.1\"",
    );
    let directory = files.directory.path().display().to_string();
    let loaded = parse_in(&text, &[("CREDENTIALS_DIRECTORY", &directory)]).expect("right");
    let tls = &loaded.config.export.otlp[0].tls;
    assert_eq!(tls.ca_file.as_deref(), Some(files.path("cert.pem").as_path()));
    let identity = tls.identity.as_ref().expect("configured");
    assert_eq!(identity.key_file, files.path("both.pem"));

    let path = |name: &str| files.path(name).display().to_string();
    let (ca, certificate, key) = (path("cert.pem"), path("cert.pem"), path("key.pem"));
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    let loaded = parse_in("", &variables).expect("right");
    let tls = &loaded.config.export.otlp[0].tls;
    assert_eq!(tls.ca_file.as_deref(), Some(files.path("cert.pem").as_path()));
    assert_eq!(tls.identity.as_ref().expect("configured").key_file, files.path("key.pem"));
    assert!(render(&loaded).contains("  # environment variable OTEL_EXPORTER_OTLP_CLIENT_KEY"));
}

#[test]
fn wrong_certificates_name_key_line_and_what_is_wrong() {
    let files = Files::new();
    for (written, part) in [
        ("ca_file = \"@/none\"", "tls.ca_file: cannot read "),
        ("ca_file = \"ca.pem\"", "tls.ca_file: \"ca.pem\" is not an absolute path"),
        ("ca_file = { file = \"ca.pem\" }", "begin it with /"),
        ("ca_file = \"@/empty\"", "holds no certificate: there is no block"),
        ("ca_file = \"@/key.pem\"", "-----BEGIN CERTIFICATE-----; it holds a private key"),
        ("ca_file = \"@/cert.der\"", "it looks like DER"),
        ("ca_file = \"@/cut.pem\"", "cut.pem is not valid PEM: a block in it does not end"),
        ("ca_file = \"@/broken.pem\"", "broken.pem is not valid PEM: a block in it is not base64"),
        ("ca_file = \"@/no.cert\"", "certificate 1 in "),
        ("certificate_file = \"@/cert.pem\"", "tls.key_file: missing"),
        ("certificate_file = \"@/cert.pem\", key_file = \"key.pem\"", "tls.key_file: \"key.pem\" is not"),
        ("key_file = \"@/key.pem\"", "tls.certificate_file: missing"),
        ("certificate_file = \"@/cert.pem\", key_file = \"@/other.key\"", "tls.key_file: the key in "),
        (
            "certificate_file = \"@/cert.pem\", key_file = \"@/other.key\"",
            "does not belong to the certificate in ",
        ),
        ("certificate_file = \"@/cert.pem\", key_file = \"@/cert.pem\"", "tls.key_file: "),
        (
            "certificate_file = \"@/cert.pem\", key_file = \"@/encrypted.key\"",
            "encrypted, and nobody is there",
        ),
        ("certificate_file = \"@/key.pem\", key_file = \"@/key.pem\"", "tls.certificate_file: "),
        ("certificate_file = \"@/no.cert\", key_file = \"@/key.pem\"", "tls.certificate_file: "),
        ("server_name = \"c:4317\"", "tls.server_name: \"c:4317\" is not the name of a server"),
    ] {
        let error = wrong(&files.text(&format!(
            "[[export.otlp]]\nname = \"x\"\nendpoint = \"https://c:4317\"\ntls = {{ {written} }}"
        )));
        assert!(error.starts_with("test.toml:4:"), "{error}");
        assert!(error.contains("export.otlp.x.tls.") && error.contains(part), "{part} is not in:\n{error}");
        // One mistake is told once.
        assert_eq!(error.lines().filter(|line| line.starts_with("test.toml")).count(), 1, "{error}");
        // No part of a file is shown.
        assert!(!error.contains("hunter2") && !error.contains("MII"), "{error}");
    }
    let error = parse_in("", &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent.pem")]).expect_err("missing");
    let expected = "environment variable OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read /nonexistent.pem: ";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn certificates_for_an_endpoint_that_has_none_are_told_where_they_were_meant() {
    let files = Files::new();
    let text = "[export.otlp]\nendpoint = \"http://c:4317\"\n[export.otlp.tls]\nserver_name = \"c\"";
    let error = wrong(text);
    assert!(error.starts_with("test.toml:4:15: export.otlp.tls: the endpoint is of http://"), "{error}");
    let ca = files.path("cert.pem").display().to_string();
    let plain = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)];
    parse_in("", &plain).expect("the variables of other programs do no harm");
}

#[test]
fn proxies_come_from_variables() {
    const HTTPS: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example:4317");
    let proxy = |variables: &[(&str, &str)]| {
        let loaded = parse_in("", &[&[HTTPS], variables].concat()).expect("right");
        let otlp = &loaded.config.export.otlp[0];
        let shown = format!("{}{loaded:?}", render(&loaded));
        assert!(!shown.contains("hunter2"), "{shown}");
        let proxy = otlp.proxies.of(&otlp.metrics_url).map(|proxy| proxy.uri().to_string());
        let line = format!("# metrics go to {} through the proxy ", otlp.metrics_url);
        assert_eq!(shown.contains(&line), proxy.is_some(), "{shown}");
        proxy
    };
    let found = |text: &str| Some(format!("http://{text}/"));
    assert_eq!(proxy(&[]), None);
    assert_eq!(proxy(&[("HTTP_PROXY", "http://p:1")]), None);
    assert_eq!(proxy(&[("HTTPS_PROXY", "http://me:hunter2@p:1")]), found("p:1"));
    assert_eq!(proxy(&[("https_proxy", "p:1"), ("ALL_PROXY", "http://q:1")]), found("p:1"));
    assert_eq!(proxy(&[("HTTPS_PROXY", ""), ("all_proxy", "http://q:1")]), found("q:1"));
    assert_eq!(proxy(&[("ALL_PROXY", "http://q:1"), ("NO_PROXY", "a,.example")]), None);
    assert_eq!(proxy(&[("ALL_PROXY", "http://q:1"), ("no_proxy", "*")]), None);

    for (name, value, part) in [
        ("HTTPS_PROXY", "http://me:hunter2@", "not the URL of a proxy"),
        ("https_proxy", "socks5://me:hunter2@p", "a proxy of the kind socks5://"),
        ("ALL_PROXY", "https://me:hunter2@p", "a proxy of the kind https://"),
    ] {
        let error = parse_in("", &[HTTPS, (name, value)]).expect_err(value).to_string();
        assert!(
            error.starts_with(&format!("environment variable {name}: ")) && error.contains(part),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        // What is not needed is not judged.
        parse_in("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), (name, value)]).expect("no collector");
    }
}

#[test]
fn a_token_in_the_query_of_an_endpoint_is_not_printed() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://c/m?key=hunter2"),
    ];
    let printed = render(&parse_in("", &variables).expect("right"));
    assert!(printed.contains("# metrics go to https://c/m?(hidden)\n"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}
