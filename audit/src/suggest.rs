//! Rules that allow what is there: a beginning for a policy, to be read before it is used.
//!
//! Owns what is put into one rule. A rule is of one set of programs (binary, unit, user, container) in one kind of network
//! namespace, and allows exactly the combinations of transport, address class and port that were seen of it: what does not
//! combine becomes a rule of its own. Two things are widened, because they change at each start: ports that the
//! kernel chose become all unprivileged ones, and ids of containers and counters in units become `*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::globs::{escaped, escaped_path, glob, path_glob};
use crate::model::{AddressClass, Listener, Namespace, Process, Transport};
use crate::rules::MAX_VALUES;
use crate::stable::{DEFAULT_EPHEMERAL_PORTS, is_ephemeral, stable_container, stable_unit};
use crate::words::Word;

/// Most endpoints that a comment tells.
const TOLD: usize = 6;
const LONGEST_NAME: usize = 60;
/// What a program without privileges can be given.
const UNPRIVILEGED: (u16, u16) = (1024, u16::MAX);

/// Writes `[[audit.rule]]` tables that allow each of these listeners, for a policy with `default = "deny"`.
#[must_use]
pub fn suggest_policy<'a>(listeners: impl IntoIterator<Item = &'a Listener>) -> String {
    let mut groups: BTreeMap<Who, Group> = BTreeMap::new();
    for listener in listeners {
        groups.entry(Who::of(listener)).or_default().add(listener);
    }
    let mut text = "# Suggested by netsonde from what was found listening. Read each rule before you keep it: it allows what\n\
                    # was there, wanted or not. Below [audit], set default = \"deny\" to be told of everything else.\n"
        .to_owned();
    let mut names = BTreeSet::from(["default".to_owned()]);
    for (who, group) in &groups {
        for what in group.rules() {
            let name = unique(&who.base_name(), &mut names);
            write_rule(&mut text, &name, who, &what);
        }
    }
    text
}

/// Programs and the network namespace, as rules tell them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    programs: BTreeSet<Told>,
    namespace: Option<String>,
}

/// A process as a rule tells it. What is not known, or a rule cannot tell, is none.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    binary: Option<String>,
    user: Option<String>,
    unit: Option<String>,
    container: String,
}

impl Who {
    fn of(listener: &Listener) -> Self {
        Self {
            programs: listener.answerable().map(Told::of).collect(),
            namespace: told_namespace(&listener.namespace),
        }
    }

    /// The values of one key, if every program has one: one that has none would not be allowed.
    fn values(&self, value: impl Fn(&Told) -> Option<&String>) -> Vec<String> {
        let all: Option<BTreeSet<&String>> = self.programs.iter().map(value).collect();
        all.unwrap_or_default().into_iter().cloned().collect()
    }

    fn base_name(&self) -> String {
        let told = self.programs.first();
        let path = told.and_then(|told| told.binary.as_deref()).and_then(|path| path.rsplit('/').next());
        let unit = told.and_then(|told| told.unit.as_deref());
        let source = path.or(unit).unwrap_or("listener");
        let kept = source.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        let name: String = kept.take(LONGEST_NAME).collect();
        if name.is_empty() { "listener".to_owned() } else { name }
    }
}

impl Told {
    fn of(process: &Process) -> Self {
        let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let binary = known(&process.script).or_else(|| known(&process.path)).map(|path| escaped_path(&path));
        let unit = known(&process.unit).or_else(|| known(&process.user_unit)).map(|unit| unit_pattern(&unit));
        let container = known(&process.container).map(|id| stable_container(&id));
        Self {
            binary: binary.filter(|pattern| path_glob(pattern).is_ok()),
            user: told_user(process),
            unit: unit.filter(|pattern| glob(pattern).is_ok()),
            container: match container {
                None => "none".to_owned(),
                // What has a meaning of its own cannot be told as a name.
                Some(name) if name == "none" || name.contains('*') => "*".to_owned(),
                Some(name) => name,
            },
        }
    }
}

fn told_user(process: &Process) -> Option<String> {
    let is_number = |name: &str| name.parse::<u32>().is_ok();
    let name = process.user.as_ref().filter(|name| !name.is_empty() && !is_number(name));
    let number = || process.user_id.filter(|id| *id != u32::MAX).map(|id| id.to_string());
    let numeric_name = || {
        let id = process.user.as_ref()?.parse::<u32>().ok()?;
        (process.user_id.is_none() && id != u32::MAX).then(|| id.to_string())
    };
    name.cloned().or_else(number).or_else(numeric_name)
}

fn unit_pattern(unit: &str) -> String {
    let stable = stable_unit(unit);
    if stable == unit {
        return escaped(unit);
    }
    let parts: Vec<String> = stable.split('*').filter(|part| !part.is_empty()).map(escaped).collect();
    let begin = if stable.starts_with('*') { "*" } else { "" };
    let end = if stable.ends_with('*') && !parts.is_empty() { "*" } else { "" };
    format!("{begin}{}{end}", parts.join("*"))
}

fn told_namespace(namespace: &Namespace) -> Option<String> {
    let has_meaning =
        |name: &str| name.is_empty() || matches!(name, "initial" | "other") || name.parse::<u64>().is_ok();
    match (namespace.initial, &namespace.name) {
        (Some(true), _) => Some("initial".to_owned()),
        (_, Some(name)) if !has_meaning(name) => Some(name.clone()),
        (Some(false), _) => Some("other".to_owned()),
        (None, _) => None,
    }
}

type Ports = BTreeSet<(u16, u16)>;
/// Transport and class; a packet socket has no class.
type Reach = (Transport, Option<AddressClass>);

#[derive(Default)]
struct Group {
    reaches: BTreeMap<Reach, (Ports, BTreeSet<String>)>,
}

/// One rule: all its combinations were seen.
struct What {
    transports: BTreeSet<Transport>,
    classes: BTreeSet<AddressClass>,
    ports: Ports,
    endpoints: BTreeSet<String>,
}

impl Group {
    fn add(&mut self, listener: &Listener) {
        let (ports, endpoints) = self.reaches.entry((listener.transport, listener.class())).or_default();
        let automatic =
            listener.automatic_port == Some(true) || is_ephemeral(listener, &DEFAULT_EPHEMERAL_PORTS);
        match listener.port {
            Some(port) if automatic && port >= UNPRIVILEGED.0 => drop(ports.insert(UNPRIVILEGED)),
            Some(port) => drop(ports.insert((port, port))),
            // Of a baseline, which does not keep the number.
            None if automatic && listener.protocol.is_none() => drop(ports.insert(UNPRIVILEGED)),
            None => {}
        }
        endpoints.insert(format!("{} {}", listener.transport.word(), listener.endpoint()));
    }

    /// Reaches with the same ports become one rule where each combination of theirs was seen.
    fn rules(&self) -> Vec<What> {
        type Merged = (BTreeSet<Option<AddressClass>>, BTreeSet<String>);
        let mut by_ports: BTreeMap<(Transport, Ports), Merged> = BTreeMap::new();
        for (&(transport, class), (ports, endpoints)) in &self.reaches {
            let (classes, told) = by_ports.entry((transport, joined(ports))).or_default();
            classes.insert(class);
            told.extend(endpoints.iter().cloned());
        }
        let mut by_reach: BTreeMap<(Ports, BTreeSet<Option<AddressClass>>), What> = BTreeMap::new();
        for ((transport, ports), (classes, told)) in by_ports {
            let what = by_reach.entry((ports.clone(), classes.clone())).or_insert_with(|| What {
                transports: BTreeSet::new(),
                classes: classes.into_iter().flatten().collect(),
                ports,
                endpoints: BTreeSet::new(),
            });
            what.transports.insert(transport);
            what.endpoints.extend(told);
        }
        by_reach.into_values().collect()
    }
}

/// Neighbouring and overlapping ranges as one; all of them as one where they are too many for a rule.
fn joined(ports: &Ports) -> Ports {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &(low, high) in ports {
        match ranges.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = (*end).max(high),
            _ => ranges.push((low, high)),
        }
    }
    if ranges.len() > MAX_VALUES
        && let (Some(first), Some(last)) = (ranges.first(), ranges.last())
    {
        ranges = vec![(first.0, last.1)];
    }
    ranges.into_iter().collect()
}

fn unique(base: &str, names: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
    let mut candidates = std::iter::once(base.to_owned()).chain(numbered);
    candidates.find(|name| names.insert(name.clone())).unwrap_or_default()
}

fn write_rule(text: &mut String, name: &str, who: &Who, what: &What) {
    let told: Vec<&str> = what.endpoints.iter().take(TOLD).map(String::as_str).collect();
    let more = what.endpoints.len().saturating_sub(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let range = |&(low, high): &(u16, u16)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    let lists = [
        ("transports", words(what.transports.iter().map(|transport| transport.word()).collect())),
        ("classes", words(what.classes.iter().map(|class| class.word()).collect())),
        ("ports", what.ports.iter().map(range).collect()),
        ("binaries", who.values(|told| told.binary.as_ref())),
        ("users", who.values(|told| told.user.as_ref())),
        ("units", who.values(|told| told.unit.as_ref())),
        ("containers", who.values(|told| Some(&told.container))),
        ("namespaces", who.namespace.iter().cloned().collect()),
    ];
    // Writing to a String cannot fail.
    let _ = write!(text, "\n# {}{more}\n[[audit.rule]]\n", told.join(", "));
    let _ = write!(text, "name = {}\naction = \"allow\"\n", quoted(name));
    for (key, values) in lists {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        let _ = match values.as_slice() {
            [] => Ok(()),
            [one] => writeln!(text, "{key} = {one}"),
            several => writeln!(text, "{key} = [{}]", several.join(", ")),
        };
    }
}

/// A TOML basic string on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            _ if c.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Action, Policy};
    use crate::testing::{any_listener, process, tcp, udp};

    fn policy(suggested: &str) -> Policy {
        let text = format!("[audit]\ndefault = \"deny\"\n{suggested}");
        Policy::parse("suggested", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    proptest! {
        #[test]
        fn a_suggested_policy_allows_what_it_was_made_from(listeners in vec(any_listener(), 0..8)) {
            let text = suggest_policy(&listeners);
            let policy = policy(&text);
            for listener in &listeners {
                let verdict = policy.judge(listener);
                prop_assert_eq!(verdict.action, Action::Allow, "{:?}\n{}", listener, text);
            }
        }

        #[test]
        fn any_text_is_quoted_so_that_it_is_read_back(text in any::<String>()) {
            let read: toml::Table = toml::from_str(&format!("k = {}", quoted(&text))).expect("TOML");
            prop_assert_eq!(read["k"].as_str(), Some(text.as_str()));
        }
    }

    fn held(path: &str, listener: Listener) -> Listener {
        Listener { holders: vec![process(path)], ..listener }
    }

    #[test]
    fn ports_and_classes_of_a_program_come_together() {
        let listeners = [
            held("/usr/sbin/sshd", tcp("0.0.0.0:22")),
            held("/usr/sbin/sshd", tcp("[::]:22")),
            held("/usr/sbin/sshd", tcp("0.0.0.0:23")),
        ];
        let text = suggest_policy(&listeners);
        let (_, rule) = text.split_once("\n\n").expect("a rule");
        assert_eq!(
            rule,
            "# tcp 0.0.0.0:22, tcp 0.0.0.0:23, tcp [::]:22\n[[audit.rule]]\nname = \"sshd\"\naction = \"allow\"\n\
             transports = \"tcp\"\nclasses = \"any\"\nports = \"22-23\"\nbinaries = \"/usr/sbin/sshd\"\n\
             users = \"root\"\ncontainers = \"none\"\nnamespaces = \"initial\"\n"
        );
    }

    #[test]
    fn no_combination_is_allowed_that_was_not_seen() {
        let listeners = [
            held("/usr/sbin/named", udp("0.0.0.0:53")),
            held("/usr/sbin/named", tcp("127.0.0.1:53")),
            held("/usr/sbin/named", tcp("127.0.0.1:953")),
        ];
        let policy = policy(&suggest_policy(&listeners));
        assert_eq!(policy.rules.len(), 2);
        for other in [tcp("0.0.0.0:53"), udp("127.0.0.1:53"), udp("0.0.0.0:953")] {
            assert_eq!(policy.judge(&held("/usr/sbin/named", other)).action, Action::Deny);
        }
        assert_eq!(policy.judge(&held("/bin/nc", udp("0.0.0.0:53"))).action, Action::Deny);
    }

    #[test]
    fn units_are_written_as_they_are_called() {
        let mut listener = held("/usr/sbin/sshd", tcp("0.0.0.0:22"));
        listener.holders[0].unit = Some("ssh.service".to_owned());
        assert!(suggest_policy(&[listener.clone()]).contains("\nunits = \"ssh.service\"\n"));
        listener.holders[0].unit = Some(format!("docker-{}.scope", "ab12".repeat(16)));
        assert!(suggest_policy(&[listener]).contains("\nunits = \"docker-*.scope\"\n"));
    }

    #[test]
    fn names_are_unique() {
        let listeners = [held("/a/x", tcp("0.0.0.0:1")), held("/b/x", tcp("0.0.0.0:1")), tcp("0.0.0.0:1")];
        let names: Vec<String> =
            policy(&suggest_policy(&listeners)).rules.into_iter().map(|rule| rule.name).collect();
        assert_eq!(names, ["listener", "x", "x-2"]);
    }

    #[test]
    fn what_changes_at_each_start_is_widened() {
        let mut listener = Listener { automatic_port: Some(true), ..held("/x", tcp("0.0.0.0:40000")) };
        listener.holders[0].unit = Some(format!("docker-{}.scope", "ab12".repeat(16)));
        listener.holders[0].container = Some("ab12".repeat(16));
        let policy = policy(&suggest_policy(&[listener.clone()]));
        listener.port = Some(50_000);
        listener.holders[0].unit = Some(format!("docker-{}.scope", "cd34".repeat(16)));
        listener.holders[0].container = Some("cd34".repeat(16));
        assert_eq!(policy.judge(&listener).action, Action::Allow);
    }

    #[test]
    fn an_interpreter_is_told_by_its_script() {
        let mut listener = held("/usr/bin/python3", tcp("0.0.0.0:8000"));
        listener.holders[0].script = Some("/opt/serve.py".to_owned());
        let policy = policy(&suggest_policy(&[listener.clone()]));
        listener.holders[0].script = Some("/tmp/other.py".to_owned());
        assert_eq!(policy.judge(&listener).action, Action::Deny);
    }
}
