use std::cell::Cell;

use netsonde_probes::select::MAX_RULES;
use proptest::prelude::*;

use super::*;
use crate::config::select::User;

/// What is known of a socket. A fact that is not known matches no rule that asks for it.
#[derive(Clone, Copy)]
struct Facts<'a> {
    transport: Transport,
    port: u16,
    remote: Option<IpAddr>,
    uid: Option<u32>,
    process: Option<ProcessFacts<'a>>,
}

/// What the kernel makes of a socket: its mask, or its own decision. In the words of `include/select.h`.
fn kernel(selection: &Selection, facts: &Facts<'_>, knows_user: bool) -> Result<RuleMask, Decision> {
    let rules = selection.in_kernel();
    let mut candidates = Vec::new();
    for (index, rule) in rules.rules.iter().enumerate() {
        let transport = rule.tcp || !rule.udp;
        let port = rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(&facts.port));
        let remote = facts.remote.map(|remote| match remote {
            IpAddr::V4(remote) => remote.to_ipv6_mapped(),
            IpAddr::V6(remote) => remote,
        });
        let inside = |(network, prefix): &(Ipv6Addr, u8)| {
            let differing = remote.map(|remote| remote.to_bits() ^ network.to_bits());
            differing.is_some_and(|bits| bits.checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0)
        };
        let network = rule.networks.is_empty() || rule.networks.iter().any(inside);
        if !(transport && port && network) {
            continue;
        }
        let known = facts.uid.filter(|_| knows_user);
        let open = match (rule.users.is_empty(), known) {
            (true, _) => rule.needs_process,
            (false, None) => true,
            (false, Some(uid)) if rule.users.contains(&uid) => rule.needs_process,
            (false, Some(_)) => continue,
        };
        if !open && candidates.is_empty() {
            return Err(Decision { included: !rule.exclude, rule: Some(index) });
        }
        candidates.push(index);
        if !open {
            break;
        }
    }
    if candidates.is_empty() {
        return Err(Decision { included: !rules.exclude_by_default, rule: None });
    }
    Ok(RuleMask::of(candidates))
}

/// Kernel and daemon together.
fn decide_where(selection: &Selection, facts: &Facts<'_>, knows_user: bool) -> Decision {
    match kernel(selection, facts, knows_user) {
        Ok(mask) => selection.decide(mask, facts.uid, facts.process),
        Err(decision) => decision,
    }
}

fn decide(selection: &Selection, facts: &Facts<'_>) -> Decision {
    decide_where(selection, facts, true)
}

/// The rules as they are written, tried by one who knows everything.
fn meant(selection: &Selection, facts: &Facts<'_>) -> Decision {
    let within = |network: &IpNet, remote: IpAddr| network.contains(&remote.to_canonical());
    let rule = selection.rules.iter().position(|rule| {
        (rule.transports.is_empty() || rule.transports.contains(&facts.transport))
            && (rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(&facts.port)))
            && (rule.addresses.is_empty()
                || facts.remote.is_some_and(|remote| rule.addresses.iter().any(|n| within(n, remote))))
            && suits(rule, facts.uid, facts.process)
    });
    let action = rule.map_or(selection.default, |index| selection.rules[index].action);
    Decision { included: action == Action::Include, rule }
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).expect("globs")
}

fn named(name: &str, action: Action) -> RuleConfig {
    RuleConfig {
        name: name.to_owned(),
        action,
        binaries: Globs::default(),
        users: Vec::new(),
        units: Globs::default(),
        containers: Globs::default(),
        ancestors: Globs::default(),
        addresses: Vec::new(),
        ports: Vec::new(),
        transports: Vec::new(),
    }
}

fn exclude() -> RuleConfig {
    named("rule", Action::Exclude)
}

fn users(uids: impl IntoIterator<Item = u32>) -> Vec<User> {
    uids.into_iter().map(|uid| User { written: uid.to_string(), uid }).collect()
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| canonical(text.parse().expect("a network"))).collect()
}

fn selection(rules: Vec<RuleConfig>) -> Selection {
    Selection::new(&SelectConfig { default: Action::Include, own_traffic: true, rules })
}

fn process<'a>(path: &'a str, ancestors: &'a AnyAncestor<'a>) -> Option<ProcessFacts<'a>> {
    Some(ProcessFacts { path, script: None, unit: None, user_unit: None, container: None, ancestors })
}

fn orphan(_: &dyn Fn(&str) -> bool) -> bool {
    false
}

fn ssh_session(test: &dyn Fn(&str) -> bool) -> bool {
    ["/bin/bash", "/usr/sbin/sshd"].into_iter().any(test)
}

const FACTS: Facts<'static> =
    Facts { transport: Transport::Tcp, port: 443, remote: None, uid: Some(0), process: None };

fn is_excluded(rule: &RuleConfig, facts: &Facts<'_>) -> bool {
    !decide(&selection(vec![rule.clone()]), facts).included
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = vec![
        RuleConfig { ports: vec![80..=80], ..named("web", Action::Exclude) },
        RuleConfig { ports: vec![443..=443], ..named("tls", Action::Include) },
        RuleConfig { ports: vec![1..=1000], ..named("low", Action::Exclude) },
    ];
    let selection = Selection::new(&SelectConfig { default: Action::Exclude, own_traffic: true, rules });
    let decide = |port| decide(&selection, &Facts { port, ..FACTS });
    assert_eq!(decide(443), Decision { included: true, rule: Some(1) });
    assert_eq!(decide(22), Decision { included: false, rule: Some(2) });
    assert_eq!(decide(8080), Decision { included: false, rule: None });
    assert_eq!(selection.names().collect::<Vec<_>>(), ["web", "tls", "low"]);
    assert!(selection.in_kernel().exclude_by_default);
}

#[test]
fn globs_stay_within_a_part_of_a_path_unless_doubled() {
    let with = |pattern, path| {
        let rule = RuleConfig { binaries: globs(&["/nowhere", pattern]), ..exclude() };
        is_excluded(&rule, &Facts { process: process(path, &orphan), ..FACTS })
    };
    assert!(with("/usr/bin/nginx", "/usr/bin/nginx") && !with("/usr/bin/nginx", "/usr/bin/nginx2"));
    assert!(with("/usr/*/nginx", "/usr/bin/nginx") && !with("/usr/*", "/usr/bin/nginx"));
    assert!(with("/opt/agents/**", "/opt/agents/a/b") && !with("/opt/agents/**", "/opt/agents2"));
    assert!(with("**/nginx", "/usr/bin/nginx") && with("/usr/{bin,sbin}/ngin[x]", "/usr/sbin/nginx"));
    assert!(!with("**", ""), "a path that is not known matches nothing");
}

#[test]
fn a_script_counts_as_a_binary_and_a_users_unit_as_a_unit() {
    let facts = ProcessFacts {
        script: Some("/opt/job.py"),
        unit: Some("user@1000.service"),
        user_unit: Some("sync.service"),
        container: Some("3f2a9c"),
        ..process("/usr/bin/python3", &orphan).expect("facts")
    };
    let facts = Facts { process: Some(facts), ..FACTS };
    for rule in [
        RuleConfig { binaries: globs(&["/opt/*.py"]), ..exclude() },
        RuleConfig { binaries: globs(&["/usr/bin/python3"]), ..exclude() },
        RuleConfig { units: globs(&["sync.service"]), ..exclude() },
        RuleConfig { units: globs(&["user@*.service"]), ..exclude() },
        RuleConfig { containers: globs(&["3f2a*"]), ..exclude() },
    ] {
        assert!(is_excluded(&rule, &facts), "{rule:?}");
        let and = RuleConfig { containers: globs(&["no-such"]), ..rule.clone() };
        assert!(!is_excluded(&and, &facts), "keys are ANDed");
        assert!(!is_excluded(&rule, &FACTS), "without a process there is nothing to match");
    }
}

#[test]
fn parents_are_walked_only_when_all_else_matches() {
    let walks = Cell::new(0);
    let ancestors = |test: &dyn Fn(&str) -> bool| {
        walks.set(walks.get() + 1);
        ssh_session(test)
    };
    let facts = Facts { process: process("/usr/bin/curl", &ancestors), ..FACTS };
    let rule = RuleConfig { ancestors: globs(&["/usr/sbin/sshd"]), ..exclude() };
    assert!(is_excluded(&rule, &facts));
    assert_eq!(walks.replace(0), 1);
    assert!(!is_excluded(&RuleConfig { ports: vec![1..=1], ..rule.clone() }, &facts));
    assert!(!is_excluded(&RuleConfig { binaries: globs(&["/usr/bin/wget"]), ..rule }, &facts));
    assert!(is_excluded(&RuleConfig { ports: vec![443..=443], ..exclude() }, &facts));
    assert_eq!(walks.get(), 0);
}

#[test]
fn an_address_is_of_its_family_however_it_is_written() {
    let with = |network, remote: &str| {
        let rule = RuleConfig { addresses: networks(&[network]), ..exclude() };
        is_excluded(&rule, &Facts { remote: Some(remote.parse().expect("an address")), ..FACTS })
    };
    assert!(with("10.0.0.0/8", "10.1.2.3") && !with("10.0.0.0/8", "11.1.2.3"));
    assert!(with("10.0.0.0/8", "::ffff:10.1.2.3") && with("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert!(with("::1/128", "::1") && with("0.0.0.0/0", "192.0.2.1"));
    assert!(!with("0.0.0.0/0", "::1") && !with("::/0", "192.0.2.1") && !with("::/0", "::ffff:192.0.2.1"));
    let rule = RuleConfig { addresses: networks(&["0.0.0.0/0", "::/0"]), ..exclude() };
    assert!(!is_excluded(&rule, &FACTS), "a listener has no other end");
}

#[test]
fn a_user_who_is_not_known_matches_no_rule_on_users() {
    let rule = RuleConfig { users: users([0, 33]), ..exclude() };
    assert!(is_excluded(&rule, &FACTS));
    assert!(!is_excluded(&rule, &Facts { uid: Some(1), ..FACTS }));
    assert!(!is_excluded(&rule, &Facts { uid: None, ..FACTS }));
}

#[test]
fn the_kernel_gets_what_it_can_know() {
    let rule = RuleConfig {
        users: users([0]),
        addresses: networks(&["10.0.0.0/8", "2001:db8::/32"]),
        ports: vec![1..=9],
        transports: vec![Transport::Tcp],
        ..exclude()
    };
    let kernel = |rule: RuleConfig| selection(vec![rule]).in_kernel().rules.remove(0);
    let known = KernelRule {
        exclude: true,
        needs_process: false,
        tcp: true,
        udp: false,
        networks: vec![
            ("::ffff:10.0.0.0".parse().expect("an address"), 104),
            ("2001:db8::".parse().expect("an address"), 32),
        ],
        ports: vec![1..=9],
        users: vec![0],
    };
    assert_eq!(kernel(rule.clone()), known);
    for asks in [
        RuleConfig { binaries: globs(&["/a"]), ..rule.clone() },
        RuleConfig { units: globs(&["a"]), ..rule.clone() },
        RuleConfig { containers: globs(&["a"]), ..rule.clone() },
        RuleConfig { ancestors: globs(&["/a"]), ..rule.clone() },
    ] {
        assert_eq!(kernel(asks), KernelRule { needs_process: true, ..known.clone() });
    }
}

#[test]
fn a_network_that_could_mean_ipv4_is_ambiguous() {
    let ambiguous = |text: &str| is_ambiguous(text.parse().expect("a network"));
    assert!(ambiguous("::/1") && ambiguous("::/64"));
    assert!(!ambiguous("::/0") && !ambiguous("::1/128") && !ambiguous("2000::/3"));
}

const PATHS: &[&str] = &["", "/a", "/a/b", "/c/b"];
const GLOBS: &[&str] = &["/a", "/a/**", "/*/b", "**"];
const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.9.0.1", "::ffff:10.0.0.1", "192.0.2.1", "::1", "2001:db8::1", "fe80::1"];
const NETWORKS: &[&str] =
    &["10.0.0.0/16", "10.0.0.1/32", "0.0.0.0/0", "::/0", "::1/128", "2000::/3", "::ffff:10.0.0.0/104"];

/// None or some of these.
fn some<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    let values = |count| prop::collection::vec(prop::sample::select(of), count);
    prop_oneof![4 => Just(Vec::new()), 4 => values(1..3), 1 => values(5..8)]
}

fn some_globs() -> impl Strategy<Value = Globs> {
    some(GLOBS).prop_map(|patterns| globs(&patterns))
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![Action::Include, Action::Exclude])
}

fn rule() -> impl Strategy<Value = RuleConfig> {
    let ports = some(&[80..=80, 1..=100, 443..=8080]);
    // Half of them ask for nothing that only the daemon knows.
    let of_process = prop_oneof![
        Just(None),
        (some_globs(), some_globs(), some_globs(), some_globs()).prop_map(|all| Some(all.into())),
    ];
    (action(), some(&[0u32, 1, 1000]), some(NETWORKS), ports, some(&[Transport::Tcp]), of_process).prop_map(
        |(action, uids, addresses, ports, transports, of_process)| {
            let [binaries, units, containers, ancestors]: [Globs; 4] = of_process.unwrap_or_default();
            let (users, addresses) = (users(uids), networks(&addresses));
            let rule = named("rule", action);
            RuleConfig { users, addresses, ports, transports, binaries, units, containers, ancestors, ..rule }
        },
    )
}

fn of<T: Clone + std::fmt::Debug>(values: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, prop::sample::select(values))
}

proptest! {
    #[test]
    fn kernel_and_daemon_together_decide_what_is_meant(
        default in action(),
        rules in prop_oneof![3 => prop::collection::vec(rule(), 0..6), 1 => prop::collection::vec(rule(), MAX_RULES)],
        port in prop::sample::select(vec![1u16, 80, 443, 8000, 9000]),
        remote in of(ADDRESSES),
        uid in of(&[0, 1, 2]),
        kernel_knows_user in any::<bool>(),
        known in any::<bool>(),
        (path, script, unit, container, parent) in (of(PATHS), of(PATHS), of(PATHS), of(PATHS), of(PATHS)),
    ) {
        let selection = Selection::new(&SelectConfig { default, own_traffic: true, rules });
        let remote: Option<IpAddr> = remote.map(|text| text.parse().expect("an address"));
        let ancestors = |test: &dyn Fn(&str) -> bool| parent.is_some_and(test);
        let process = ProcessFacts {
            path: path.unwrap_or_default(), script, unit, user_unit: None, container, ancestors: &ancestors,
        };
        let facts =
            Facts { transport: Transport::Tcp, port, remote, uid, process: known.then_some(process) };
        let together = decide_where(&selection, &facts, kernel_knows_user);
        prop_assert_eq!(together, meant(&selection, &facts));
    }
}
