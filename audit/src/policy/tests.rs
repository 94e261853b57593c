use proptest::prelude::*;

use super::*;
use crate::testing::{any_listener, process, tcp, udp};

/// A policy of one denying rule with these keys.
fn deny(keys: &str) -> Policy {
    parse(&format!("[[audit.rule]]\nname = \"r\"\naction = \"deny\"\n{keys}\n"))
}

fn allow(keys: &str) -> Policy {
    parse(&format!("[audit]\ndefault = \"deny\"\n[[audit.rule]]\nname = \"r\"\naction = \"allow\"\n{keys}\n"))
}

fn parse(text: &str) -> Policy {
    Policy::parse("rules.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn problem(text: &str) -> String {
    Policy::parse("rules.toml", text).expect_err("wrong").to_string()
}

fn hits(keys: &str, listener: &Listener) -> bool {
    deny(keys).judge(listener).action == Action::Deny
}

fn held(edit: impl FnOnce(&mut Process)) -> Listener {
    let mut holder = process("/usr/sbin/sshd");
    edit(&mut holder);
    Listener { holders: vec![holder], ..tcp("0.0.0.0:22") }
}

fn nobodys() -> Listener {
    tcp("0.0.0.0:22")
}

#[test]
fn ports_match_by_number_and_range() {
    assert!(hits("ports = \"22\"", &nobodys()));
    assert!(hits("ports = [\"1\", \"20-22\"]", &nobodys()));
    assert!(!hits("ports = \"23-65535\"", &nobodys()));
    let raw = Listener { transport: Transport::Raw, port: None, protocol: Some(1), ..nobodys() };
    assert!(!hits("ports = \"1-65535\"", &raw), "a raw socket has no port");
}

#[test]
fn transports_match() {
    assert!(hits("transports = [\"udp\", \"tcp\"]", &nobodys()));
    assert!(!hits("transports = \"udp\"", &nobodys()));
    assert!(hits("transports = \"udp\"", &udp("0.0.0.0:53")));
    assert!(hits("transports = \"packet\"", &Listener::new(Transport::Packet, None, None)));
}

#[test]
fn classes_match() {
    assert!(hits("classes = \"any\"", &nobodys()));
    assert!(!hits("classes = [\"loopback\", \"private\", \"public\"]", &nobodys()));
    let packet = Listener::new(Transport::Packet, None, None);
    assert!(!hits("classes = [\"loopback\", \"private\", \"any\", \"public\"]", &packet));
}

#[test]
fn binaries_match_the_program_or_its_script() {
    assert!(hits("binaries = \"/usr/*/sshd\"", &held(|_| ())));
    assert!(!hits("binaries = \"/usr/sshd\"", &held(|_| ())));
    assert!(!hits("binaries = \"**\"", &held(|process| process.path = None)));
    assert!(!hits("binaries = \"**\"", &nobodys()));
    let script = held(|process| process.script = Some("/opt/serve.py".to_owned()));
    assert!(hits("binaries = \"/opt/*.py\"", &script));
}

#[test]
fn users_match_by_name_or_number() {
    assert!(hits("users = \"root\"", &held(|_| ())));
    assert!(hits("users = \"0\"", &held(|_| ())));
    assert!(!hits("users = [\"1\", \"daemon\"]", &held(|_| ())));
    assert!(!hits("users = \"root\"", &held(|process| process.user = None)));
    assert!(!hits("users = \"root\"", &nobodys()));
    let nameless = held(|process| (process.user_id, process.user) = (None, Some("1000".to_owned())));
    assert!(hits("users = \"1000\"", &nameless));
}

#[test]
fn units_match_those_of_the_system_and_of_a_user() {
    let unit = held(|process| process.unit = Some("ssh@1.service".to_owned()));
    assert!(hits("units = \"ssh@*.service\"", &unit));
    assert!(!hits("units = \"ssh.service\"", &unit));
    assert!(!hits("units = \"*\"", &held(|_| ())));
    assert!(hits("units = \"app.service\"", &held(|p| p.user_unit = Some("app.service".to_owned()))));
}

#[test]
fn containers_match_by_beginning_any_and_none() {
    let inside = held(|process| process.container = Some("deadbeef".to_owned()));
    assert!(hits("containers = \"dead\"", &inside) && hits("containers = \"*\"", &inside));
    assert!(!hits("containers = \"beef\"", &inside) && !hits("containers = \"none\"", &inside));
    assert!(hits("containers = \"none\"", &held(|_| ())) && !hits("containers = \"*\"", &held(|_| ())));
    assert!(!hits("containers = [\"none\", \"*\"]", &nobodys()), "it is not known who holds it");
}

#[test]
fn namespaces_match_by_kind_name_and_inode() {
    let named = Listener {
        namespace: Namespace { inode: 7, initial: Some(false), name: Some("blue".to_owned()) },
        ..nobodys()
    };
    for (keys, here, there) in [
        ("\"initial\"", true, false),
        ("\"other\"", false, true),
        ("\"blue\"", false, true),
        ("\"7\"", false, true),
    ] {
        let keys = format!("namespaces = {keys}");
        assert_eq!((hits(&keys, &nobodys()), hits(&keys, &named)), (here, there), "{keys}");
    }
    let unknown = Listener { namespace: Namespace::default(), ..nobodys() };
    assert!(!hits("namespaces = [\"initial\", \"other\"]", &unknown));
}

#[test]
fn all_keys_must_match_and_of_one_and_the_same_process() {
    let mut listener = held(|process| process.unit = Some("ssh.service".to_owned()));
    listener.holders.push(process("/bin/nc"));
    assert!(hits("binaries = \"/bin/nc\"\nports = \"22\"", &listener));
    assert!(!hits("binaries = \"/bin/nc\"\nports = \"23\"", &listener));
    assert!(!hits("binaries = \"/bin/nc\"\nunits = \"ssh.service\"", &listener));
}

#[test]
fn one_of_several_holders_is_enough_to_deny_and_all_are_needed_to_allow() {
    let mut listener = held(|_| ());
    listener.holders.push(process("/bin/nc"));
    assert!(hits("binaries = \"/bin/nc\"", &listener));
    assert_eq!(allow("binaries = \"/usr/sbin/sshd\"").judge(&listener).action, Action::Deny);
    assert_eq!(allow("binaries = [\"/usr/sbin/sshd\", \"/bin/nc\"]").judge(&listener).action, Action::Allow);
}

#[test]
fn a_socket_activated_service_is_judged_without_its_manager() {
    let mut listener = held(|_| ());
    listener.holders.insert(0, Process { pid: 1, ..process("/usr/lib/systemd/systemd") });
    assert_eq!(allow("binaries = \"/usr/sbin/sshd\"").judge(&listener).action, Action::Allow);
}

#[test]
fn the_first_rule_that_matches_decides_and_the_default_the_rest() {
    let policy = parse(
        "[audit]\ndefault = \"deny\"\n\
         [[audit.rule]]\nname = \"ssh\"\naction = \"allow\"\nports = \"22\"\n\
         [[audit.rule]]\nname = \"no-tcp\"\naction = \"deny\"\ntransports = \"tcp\"\n",
    );
    assert_eq!(policy.judge(&nobodys()), Verdict { rule: Some("ssh".to_owned()), action: Action::Allow });
    assert_eq!(policy.judge(&tcp("0.0.0.0:23")).rule_name(), "no-tcp");
    let rest = policy.judge(&udp("0.0.0.0:53"));
    assert_eq!((rest.rule_name(), rest.action), ("default", Action::Deny));
    assert_eq!(Policy::default().judge(&nobodys()).action, Action::Allow);
}

#[test]
fn what_is_wrong_is_told_with_line_column_and_key() {
    let rule = "[[audit.rule]]\nname = \"r\"\naction = \"deny\"\n";
    for (text, expected) in [
        ("[audit\n", "rules.toml:1:7: not valid TOML"),
        (
            "[audit]\ndefualt = \"deny\"\n",
            "rules.toml:2:1: audit.defualt: unknown key; did you mean \"default\"?",
        ),
        ("[audit]\ndefault = \"maybe\"\n", "rules.toml:2:11: audit.default: \"maybe\" is not a known action"),
        ("[audit]\ndefault = 1\n", "rules.toml:2:11: audit.default: invalid type"),
        ("[[audit.rule]]\naction = \"deny\"\nports = \"1\"\n", "rules.toml:1:1: audit.rule.name: missing"),
        ("[[audit.rule]]\nname = \"r\"\nports = \"1\"\n", "rules.toml:1:1: audit.rule.r.action: missing"),
        (
            &format!("{rule}port = \"23\"\n"),
            "rules.toml:4:1: audit.rule.r.port: unknown key; did you mean \"ports\"?",
        ),
        (
            &format!("{rule}ports = 23\n"),
            "rules.toml:4:9: audit.rule.r.ports: invalid type: integer `23`, expected a text in quotes",
        ),
        (
            &format!("{rule}ports = [\"1\", \"0\"]\n"),
            "rules.toml:4:15: audit.rule.r.ports: \"0\" is not a port",
        ),
        (
            &format!("{rule}ports = \"9-8\"\n"),
            "rules.toml:4:9: audit.rule.r.ports: \"9-8\" is the wrong way round",
        ),
        (&format!("{rule}ports = []\n"), "rules.toml:4:9: audit.rule.r.ports: the list is empty"),
        (
            &format!("{rule}transports = \"packt\"\n"),
            "rules.toml:4:14: audit.rule.r.transports: \"packt\" is not a known transport; did you mean \"packet\"?",
        ),
        (
            &format!("{rule}classes = \"all\"\n"),
            "rules.toml:4:11: audit.rule.r.classes: \"all\" is not a known address class",
        ),
        (
            &format!("{rule}binaries = \"sshd\"\n"),
            "rules.toml:4:12: audit.rule.r.binaries: \"sshd\" cannot match",
        ),
        (&format!("{rule}units = \"[\"\n"), "rules.toml:4:9: audit.rule.r.units: \"[\" is not a glob"),
        (
            &format!("{rule}users = \"4294967295\"\n"),
            "rules.toml:4:9: audit.rule.r.users: \"4294967295\" is no user",
        ),
        (
            &format!("{rule}containers = \"ab*\"\n"),
            "rules.toml:4:14: audit.rule.r.containers: \"ab*\" is no beginning",
        ),
        (
            &format!("{rule}namespaces = \"\"\n"),
            "rules.toml:4:14: audit.rule.r.namespaces: the namespace is empty",
        ),
        (rule, "rules.toml:1:1: audit.rule.r: the rule has no key"),
        (
            &format!("{rule}ports = \"1\"\n{rule}ports = \"1\"\n"),
            "rules.toml:6:8: audit.rule.r.name: another rule has this name",
        ),
        (
            "[[audit.rule]]\nname = \"default\"\naction = \"deny\"\nports = \"1\"\n",
            "rules.toml:2:8: audit.rule.default.name: \"default\" stands",
        ),
        ("[export]\n", "rules.toml:1:2: export: unknown key"),
    ] {
        let found = problem(text);
        assert!(found.starts_with(expected), "{found}\ninstead of\n{expected}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text =
        "[audit]\ndefault = \"x\"\n[[audit.rule]]\nname = \"r\"\naction = \"y\"\nports = [\"a\", \"b\"]\n";
    let error = Policy::parse("rules.toml", text).expect_err("wrong");
    assert_eq!(error.problems.len(), 4, "{error}");
}

#[test]
fn too_many_rules_or_values_are_refused() {
    let many: String = (0..=MAX_RULES)
        .map(|i| format!("[[audit.rule]]\nname = \"r{i}\"\naction = \"deny\"\nports = \"1\"\n"))
        .collect();
    assert!(problem(&many).contains("there are 4097 rules; there may be 4096"));
    let ports = vec!["\"1\""; MAX_VALUES + 1].join(",");
    let text = format!("[[audit.rule]]\nname = \"r\"\naction = \"deny\"\nports = [{ports}]\n");
    assert!(problem(&text).contains("the list has 1001 entries; it may have 1000"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[\\[audit\\.rule\\]\\]\\n|name|ports| = |\"[a-z0-9*-]{0,4}\"|\\[|\\]|,|\\n|é){0,20}") {
        let _ = Policy::parse("rules.toml", &text);
    }

    #[test]
    fn opposite_rules_of_sockets_agree_on_whom_they_match(listener in any_listener(), port in 1_u16..) {
        let keys = format!("ports = \"{}-{}\"", port.min(500), port.max(500));
        let denied = deny(&keys).judge(&listener).rule.is_some();
        prop_assert_eq!(denied, allow(&keys).judge(&listener).rule.is_some());
    }
}
