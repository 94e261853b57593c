//! Wrong files: each problem names its key, its file and its line.

use proptest::prelude::*;

use super::*;

#[test]
fn fixtures_are_answered_with_key_file_and_line() {
    for (file, line, parts) in [
        ("unknown-key.toml", 2, ["intervall: unknown key", "did you mean \"interval\"?"]),
        ("unknown-key-in-table.toml", 4, ["export.otlp.endpont: unknown key", "did you mean \"endpoint\"?"]),
        ("unknown-table.toml", 4, ["metric: unknown key", "did you mean \"metrics\"?"]),
        (
            "wrong-type.toml",
            3,
            ["events.rate_limit: invalid type: string \"many\"", "expected a whole number"],
        ),
        ("bare-duration.toml", 2, ["interval: invalid type: integer `10`", "such as \"10s\""]),
        ("wrong-duration.toml", 2, ["export.otlp.timeout: \"10 parsecs\"", "such as \"10s\""]),
        (
            "unknown-event.toml",
            4,
            ["events.enabled: \"conect\"", "listen, connect, accept, close, failure, dns"],
        ),
        (
            "unknown-metric.toml",
            1,
            ["metrics.override.\"netsonde.tcp.rt\"", "did you mean \"netsonde.tcp.rtt\"?"],
        ),
        (
            "wrong-glob.toml",
            6,
            ["select.rule.agents.binaries: \"/opt/[agents\" is not a glob", "missing ']'"],
        ),
        ("reversed-ports.toml", 4, ["select.rule.low.ports: \"9-3\"", "write \"3-9\""]),
        (
            "wrong-network.toml",
            4,
            ["select.rule.internal.addresses: \"10.0.0.0/33\"", "write it as \"192.0.2.1\""],
        ),
        ("unknown-user.toml", 4, ["select.rule.nobody-there.users: \"no.such.user\"", "/etc/passwd"]),
        ("rule-without-keys.toml", 4, ["select.rule.everything: ", "no key that says what it matches"]),
        ("duplicate-rule.toml", 7, ["select.rule.twice.name: ", "a name of its own"]),
        ("unknown-action.toml", 3, ["select.rule.web.action: \"exlude\"", "did you mean \"exclude\"?"]),
        ("wrong-policy.toml", 6, ["audit.rule.no-telnet.action: \"forbid\"", "known: allow, deny"]),
        ("unknown-policy-key.toml", 4, ["audit.rule.no-telnet.port: unknown key", "did you mean \"ports\"?"]),
        ("not-toml.toml", 2, ["not valid TOML", "[signals"]),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/fixtures").join(file);
        let error = load(Sources {
            file: Some(&path),
            environment: &|_| None,
            overrides: Overrides::default(),
            known_metrics: METRICS,
        })
        .expect_err(file)
        .to_string();
        assert!(error.contains(&format!("{file}:{line}:")), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part} is not in:\n{error}");
        }
    }
}

#[test]
fn all_wrong_values_are_told_at_once() {
    let error =
        parse(include_str!("../fixtures/several.toml"), &[], Overrides::default()).expect_err("wrong");
    let heads: Vec<&str> =
        error.problems.iter().map(|problem| problem.lines().next().unwrap_or("")).collect();
    assert_eq!(
        heads,
        [
            "test.toml:1:12: interval: \"2h\" is out of range; it may be from 100ms to 1h",
            "test.toml:3:9: limits.flows: 0 is out of range; it may be from 1 to 16777216",
            "test.toml:4:14: limits.event_ring: \"3MiB\" does not fit a ring buffer; it may be a power of two \
             from 4KiB to 1GiB",
            "test.toml:6:9: log.level: \"loud\" is not a known log level (known: off, error, warn, info, debug, \
             trace)",
        ]
    );
}

#[test]
fn all_wrong_rules_are_told_at_once() {
    let error = wrong(include_str!("../fixtures/several-rules.toml"));
    let heads: Vec<&str> = error.lines().filter(|line| line.starts_with("test.toml")).collect();
    assert_eq!(
        heads,
        [
            "test.toml:1:1: select.rule.name: missing; give every rule a name of its own",
            "test.toml:5:1: select.rule.internal.action: missing; write \"include\" or \"exclude\"",
            "test.toml:8:14: select.rule.internal.containers: the list is empty, and would match nothing; leave the \
             key out to match anything",
            "test.toml:7:13: select.rule.internal.addresses: \"10.1.2.3/8\" has bits set behind its prefix; write \
             \"10.0.0.0/8\"",
            "test.toml:13:12: select.rule.agents.binaries: \"nginx\" cannot match an absolute path; begin it with / \
             or **/",
        ]
    );
}

#[test]
fn wrong_values_of_rules_say_what_is_right() {
    for (written, part) in [
        (
            "ports = 443",
            "select.rule.r.ports: invalid type: integer `443`, expected a text in quotes or a list",
        ),
        ("ports = [\"80\", 443]", "select.rule.r.ports: invalid type: integer `443`, expected a string"),
        ("ports = \"0\"", "from 1 to 65535"),
        ("ports = \"80-\"", "from 1 to 65535"),
        ("ports = \"+80\"", "from 1 to 65535"),
        ("ports = \"1-65536\"", "from 1 to 65535"),
        ("ports = \"http\"", "such as \"8000-8999\""),
        ("addresses = \"example.com\"", "neither an address nor a network"),
        ("addresses = \"\"", "neither an address nor a network"),
        ("users = \"4294967295\"", "from 0 to 4294967294"),
        ("users = \"\"", "not in /etc/passwd"),
        ("units = \"\"", "it may have 1 to 8192"),
        ("units = \"{a,b\"", "is not a glob"),
        ("ancestors = \"~/bin/x\"", "begin it with / or **/"),
        ("transports = \"tpc\"", "is not a known transport (known: tcp, udp)"),
        ("port = \"443\"", "select.rule.r.port: unknown key; did you mean \"ports\"?"),
    ] {
        let error = wrong(&format!("[[select.rule]]\nname = \"r\"\naction = \"include\"\n{written}"));
        assert!(error.contains(part), "{part} is not in:\n{error}");
        assert!(error.starts_with("test.toml:4:"), "{error}");
    }
    assert!(wrong("[[select.rule]]\nname = \"\"\naction = \"include\"\nports = \"1\"").contains("1 to 100"));
    assert!(wrong("[select.rule]\nname = \"r\"").contains("select.rule: invalid type: map, expected a list"));
    assert!(wrong("[select]\ndefault = \"all\"").contains("known: include, exclude"));
}

#[test]
fn the_line_is_shown_and_marked() {
    assert_eq!(
        wrong("\n[log]\nlevel = \"inf\" # é\n"),
        "test.toml:3:9: log.level: \"inf\" is not a known log level; did you mean \"info\"? (known: off, error, \
         warn, info, debug, trace)\n  |\n3 | level = \"inf\" # é\n  |         ^^^^^"
    );
}

#[test]
fn wrong_values_say_what_is_right() {
    for (text, part) in [
        ("interval = \"50ms\"", "from 100ms to 1h"),
        ("interval = \"10\"", "such as \"10s\""),
        ("[export.otlp]\nendpoint = \"collector:4317\"", "write it as http://host:port"),
        ("[export.otlp]\nendpoint = \"127.0.0.1:4317\"", "write it as http://host:port"),
        ("[export.otlp]\nendpoint = \"ftp://collector\"", "scheme http or https"),
        ("[export.otlp]\nendpoint = \"http://c:4318/v1/metrics\"", "set the protocol to http/protobuf"),
        ("[export.otlp]\nprotocol = \"http\"", "known: grpc, http/protobuf"),
        ("[export.otlp]\ncompression = \"zstd\"", "known: gzip, none"),
        ("[export.otlp]\ntimeout = \"0s\"", "from 1ms to 10m"),
        ("[export.otlp.headers]\n\"a b\" = \"x\"", "letters, digits and hyphens"),
        ("[export.otlp.headers]\nA = \"x\"\na = \"y\"", "given twice"),
        ("[export.otlp.headers]\na-bin = \"x\"", "without -bin"),
        ("[export.otlp.headers]\na = \"é\"", "visible ASCII"),
        ("[export.file]\npath = \"netsonde.jsonl\"", "begin it with /"),
        ("[export.file]\npath = \"\"", "begin it with /"),
        ("[signals]\ntcp = 1", "signals.tcp: invalid type: integer `1`, expected a boolean"),
        ("signals = 1", "signals: invalid type: integer `1`, expected a table"),
        ("events.enabled = \"listen\"", "expected a list"),
        ("[signals]\nsctp = true", "signals.sctp: unknown key (known here: tcp, udp, dns, tls)"),
        ("[events]\nrate_limit = -1", "from 0 to 1000000"),
        (
            "[process]\ncommand_line = \"yes\"",
            "process.command_line: invalid type: string \"yes\", expected a boolean",
        ),
        ("[process]\nmask = [\"\"]", "at least two letters or digits"),
        ("[process]\nmask = [\"x-\"]", "at least two letters or digits"),
        ("[process]\nmask = [\"door code\"]", "process.mask: \"door code\""),
        ("[process]\nmask = \"door\"", "expected a list"),
        ("[process]\ncommandline = true", "did you mean \"command_line\"?"),
        ("[dns]\nports = []", "dns.ports: the list is empty"),
        ("[dns]\nports = [0]", "dns.ports: 0 is no port"),
        ("[dns]\nports = [53, 70000]", "from 1 to 65535"),
        ("[dns]\nports = 53", "dns.ports: invalid type: integer `53`, expected a list"),
        ("[dns]\nports = [\"53\"]", "expected a whole number"),
        ("[dns]\nports = [1, 2, 3, 4, 5, 6, 7, 8, 9]", "there may be 8 at most"),
        ("[tls]\nports = []", "tls.ports: the list is empty"),
        ("[tls]\nports = [443, 0]", "tls.ports: 0 is no port"),
        ("[tls]\nports = [1, 2, 3, 4, 5, 6, 7, 8, 9]", "there may be 8 at most"),
        ("[dns]\ntimeout = \"2m\"", "from 100ms to 1m"),
        ("[dns]\nquestion_names = -1", "from 0 to 10000"),
        ("[dns]\nsuffixes = [\"\"]", "dns.suffixes: \"\" is not a domain name"),
        ("[dns]\nsearch_suffixes = [\"a b\"]", "write it as \"corp.example\""),
        ("[dns]\nmessages_per_second = -1", "from 0 to 10000000"),
        ("[dns]\nnames = 0", "from 1 to 4194304"),
        ("[dns]\nhosts = \"hosts\"", "begin it with /"),
        ("[dns]\nport = [53]", "dns.port: unknown key; did you mean \"ports\"?"),
        ("[limits]\npayload_ring = \"3MiB\"", "power of two from"),
        ("[metrics]\ntemporality = \"Delta\"", "did you mean \"delta\"?"),
        ("[metrics]\nseries_limit = 0", "from 1 to 10000000"),
        ("interval = \"1m\"\n[metrics]\nseries_expiry = \"30s\"", "shorter than the interval"),
        ("[metrics]\nattributes = [\"server.adress\"]", "did you mean \"server.address\"?"),
        ("[metrics]\nattributes = \"server.address\"", "metrics.attributes: invalid type"),
        ("[metrics.override.\"netsonde.tcp.rtt\"]", "missing field `attributes`"),
        ("[limits]\nevent_ring = \"2KiB\"", "power of two from"),
        ("[limits]\nevent_ring = 4096", "such as \"1MiB\""),
        ("[limits]\nprocesses = 99999999999", "from 1 to 4194304"),
        ("[limits]\nmemory = \"much\"", "\"auto\", \"none\", or a size from 4MiB to 1024GiB"),
        ("[limits]\nmemory = \"3MiB\"", "a size from 4MiB"),
        ("[api]\nsocket = \"run/netsonde.sock\"", "begin it with /"),
        ("[api]\nlisten = \"9500\"", "no address with a port"),
        ("[api]\nlisten = \"0.0.0.0:9500\"", "set api.token_file, or listen on a loopback address"),
        ("[api]\ntoken_file = \"token\"", "begin it with /"),
        ("[api]\nclients = 0", "it may be from 1 to 4096"),
        ("[resource.attributes]\n\"\" = \"x\"", "the key is empty"),
        ("[resource.attributes]\na = 1", "resource.attributes.a: invalid type"),
    ] {
        let error = wrong(text);
        assert!(error.contains(part), "{part} is not in:\n{error}");
        assert!(error.starts_with("test.toml:"), "{error}");
    }
    let long = format!("[api]\nsocket = \"/{}\"", "x".repeat(107));
    assert!(wrong(&long).contains("108 bytes"));
}

#[test]
fn secrets_stay_out_of_messages() {
    for text in [
        include_str!("../fixtures/secret.toml"),
        "[export.otlp]\nheaders = { authorization = \"Bearer hunter2 }",
        "[export.otlp]\nheaders = \"hunter2\"",
        "[export.otlp.headers]\nauthorization = [\"hunter2\"]",
        "[export.otlp.headers]\nauthorization = \"hunter2\\u00e9\"",
        "[export.otlp]\nendpoint = \"http://me:hunter2@collector:4317\"",
    ] {
        let error = wrong(text);
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("test.toml:2:"), "{error}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.toml");
    let binary = directory.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).expect("written");
    for path in [missing.as_path(), directory.path(), &binary] {
        let error = load(Sources {
            file: Some(path),
            environment: &|_| None,
            overrides: Overrides::default(),
            known_metrics: METRICS,
        });
        let error = error.expect_err("unreadable").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text, &[], Overrides::default());
    }

    #[test]
    fn text_made_of_keys_never_panics(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "interval", "export", "otlp", "headers", "events", "enabled", "metrics", "override", "limits",
                "flows", "select", "rule", "name", "action", "ports", "[[select.rule]]", " = ", "[", "]", "{", "}", ".", ",", "\n", "\r\n", "\"", "\"10s\"", "'é'", "1", "true",
                "# x", "\"\"\"", "\u{0}", "\u{feff}", "unknown",
            ]),
            0..40,
        )
    ) {
        let _ = parse(&parts.concat(), &[], Overrides::default());
    }

    #[test]
    fn a_right_file_with_mistakes_never_panics_and_what_is_still_right_is_printed_right(
        file in prop::sample::select(vec![
            include_str!("../fixtures/collectors.toml"),
            include_str!("../fixtures/selection.toml"),
            include_str!("../../../../fuzz/corpus/config/every_key"),
        ]),
        mistakes in prop::collection::vec((any::<prop::sample::Index>(), 0..6usize, ".{0,3}"), 1..4),
    ) {
        let mut text: Vec<char> = file.chars().collect();
        for (place, removed, inserted) in mistakes {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(loaded) = parse_without_secrets(&text) {
            let printed = render(&loaded);
            prop_assert!(parse_without_secrets(&printed).is_ok(), "{}", printed);
        }
    }

    #[test]
    fn arbitrary_variables_never_panic(value in any::<String>()) {
        for name in [
            "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME",
            "OTEL_EXPORTER_OTLP_CERTIFICATE", "ALL_PROXY", "NO_PROXY",
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317");
            let first = if name.ends_with("_ENDPOINT") { (name, value.as_str()) } else { endpoint };
            if let Ok(loaded) = parse("", &[first, (name, &value)], Overrides::default()) {
                let _ = render(&loaded);
            }
        }
    }
}
