//! Choosing among listeners, and putting together what two readings know of the same ones.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::globs::{Globs, glob, path_glob};
use crate::model::{AddressClass, Listener, Process, Transport};
use crate::policy::NamespaceMatch;
use crate::rules::{namespace, port_range};
use crate::words::Word;

/// What is asked for. A listener passes when each list that is not empty has an entry that it matches. What is not
/// known matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Local ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Paths of the binaries or scripts of any holder.
    pub binaries: Globs,
    /// Units of any holder.
    pub units: Globs,
    /// Reach of the local address.
    pub classes: Vec<AddressClass>,
    /// Network namespaces.
    pub namespaces: Vec<NamespaceMatch>,
    /// Transports.
    pub transports: Vec<Transport>,
}

/// A filter as it is given on a command line: texts of the same forms as in rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterText<'a> {
    /// Numbers and ranges.
    pub ports: &'a [String],
    /// Globs over absolute paths.
    pub binaries: &'a [String],
    /// Globs.
    pub units: &'a [String],
    /// Words.
    pub classes: &'a [String],
    /// `initial`, `other`, names or inode numbers.
    pub namespaces: &'a [String],
    /// Words.
    pub transports: &'a [String],
}

impl Filter {
    /// Reads texts.
    ///
    /// # Errors
    ///
    /// One sentence for the user: the first text that is wrong.
    pub fn parse(text: &FilterText<'_>) -> Result<Self, String> {
        fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
            texts.iter().map(|text| parse(text)).collect()
        }
        Ok(Self {
            ports: each(text.ports, port_range)?,
            binaries: Globs::new(each(text.binaries, path_glob)?)?,
            units: Globs::new(each(text.units, glob)?)?,
            classes: each(text.classes, AddressClass::parse)?,
            namespaces: each(text.namespaces, namespace)?,
            transports: each(text.transports, Transport::parse)?,
        })
    }

    /// Whether the listener passes.
    #[must_use]
    pub fn matches(&self, listener: &Listener) -> bool {
        let holder = |globs: &Globs, texts: fn(&Process) -> [&Option<String>; 2]| {
            globs.is_empty()
                || listener
                    .holders
                    .iter()
                    .any(|holder| texts(holder).into_iter().flatten().any(|text| globs.matches(text)))
        };
        let port = |port: u16| self.ports.iter().any(|range| range.contains(&port));
        (self.ports.is_empty() || listener.port.is_some_and(port))
            && (self.classes.is_empty()
                || listener.class().is_some_and(|class| self.classes.contains(&class)))
            && (self.transports.is_empty() || self.transports.contains(&listener.transport))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|n| n.matches(&listener.namespace)))
            && holder(&self.binaries, |process| [&process.path, &process.script])
            && holder(&self.units, |process| [&process.unit, &process.user_unit])
    }
}

/// Puts a second reading into a first one: of a socket that both have, told by its cookie, what the first does not know
/// is taken from the second, and one that the first does not have is added. Sockets without a cookie are taken from
/// both.
#[must_use]
pub fn merge(first: Vec<Listener>, second: Vec<Listener>) -> Vec<Listener> {
    let mut merged = first;
    let mut by_cookie: HashMap<u64, usize> = HashMap::new();
    for (index, listener) in merged.iter().enumerate() {
        if let Some(cookie) = listener.cookie {
            by_cookie.entry(cookie).or_insert(index);
        }
    }
    for listener in second {
        match listener.cookie.and_then(|cookie| by_cookie.get(&cookie)) {
            Some(&index) => complete(&mut merged[index], listener),
            None => merged.push(listener),
        }
    }
    merged
}

fn complete(known: &mut Listener, other: Listener) {
    fn fill<T>(known: &mut Option<T>, other: Option<T>) {
        if known.is_none() {
            *known = other;
        }
    }
    fill(&mut known.address, other.address);
    fill(&mut known.port, other.port);
    fill(&mut known.protocol, other.protocol);
    fill(&mut known.peer, other.peer);
    fill(&mut known.automatic_port, other.automatic_port);
    fill(&mut known.ipv6_only, other.ipv6_only);
    fill(&mut known.namespace.initial, other.namespace.initial);
    fill(&mut known.namespace.name, other.namespace.name);
    fill(&mut known.interface, other.interface);
    fill(&mut known.backlog, other.backlog);
    fill(&mut known.queued, other.queued);
    fill(&mut known.reuse_port, other.reuse_port);
    fill(&mut known.reuse_port_sockets, other.reuse_port_sockets);
    fill(&mut known.opened_unix_ns, other.opened_unix_ns);
    fill(&mut known.opened_by, other.opened_by);
    fill(&mut known.accepted, other.accepted);
    fill(&mut known.last_accepted_unix_ns, other.last_accepted_unix_ns);
    fill(&mut known.peers, other.peers);
    for holder in other.holders {
        if !known.holders.iter().any(|one| one.pid == holder.pid) {
            known.holders.push(holder);
        }
    }
    known.further_networks |= other.further_networks;
    for network in other.client_networks {
        if !known.client_networks.contains(&network) {
            known.client_networks.push(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_listener, process, tcp};

    fn passes(edit: impl FnOnce(&mut FilterText<'_>), listener: &Listener) -> bool {
        let mut text = FilterText::default();
        edit(&mut text);
        Filter::parse(&text).expect("a filter").matches(listener)
    }

    fn sshd() -> Listener {
        let mut listener = Listener { holders: vec![process("/usr/sbin/sshd")], ..tcp("0.0.0.0:22") };
        listener.holders[0].unit = Some("ssh.service".to_owned());
        listener
    }

    #[test]
    fn each_key_lets_through_what_matches_and_nothing_else() {
        let texts = |text: &str| [text.to_owned()];
        for (right, wrong, key) in [
            ("20-22", "23", "ports"),
            ("**/sshd", "/bin/*", "binaries"),
            ("ssh.*", "cron.service", "units"),
            ("any", "public", "classes"),
            ("initial", "other", "namespaces"),
            ("tcp", "udp", "transports"),
        ] {
            for (text, expected) in [(right, true), (wrong, false)] {
                let texts = texts(text);
                let mut filter = FilterText::default();
                match key {
                    "ports" => filter.ports = &texts,
                    "binaries" => filter.binaries = &texts,
                    "units" => filter.units = &texts,
                    "classes" => filter.classes = &texts,
                    "namespaces" => filter.namespaces = &texts,
                    _ => filter.transports = &texts,
                }
                let filter = Filter::parse(&filter).expect("a filter");
                assert_eq!(filter.matches(&sshd()), expected, "{key} {text}");
                let unknown = Listener::new(Transport::Packet, None, None);
                assert!(!filter.matches(&unknown), "{key} {text}");
            }
        }
    }

    #[test]
    fn an_empty_filter_lets_all_through() {
        assert!(passes(|_| (), &Listener::new(Transport::Packet, None, None)));
    }

    #[test]
    fn a_wrong_text_is_named() {
        let ports = ["http".to_owned()];
        let error = Filter::parse(&FilterText { ports: &ports, ..FilterText::default() });
        assert!(error.expect_err("no port").contains("\"http\" is not a port"));
    }

    #[test]
    fn two_readings_of_a_socket_make_one() {
        let first = Listener { cookie: Some(7), backlog: Some(1), ..sshd() };
        let mut second = Listener { cookie: Some(7), backlog: Some(2), accepted: Some(3), ..sshd() };
        second.holders.push(Process { pid: 9, ..process("/usr/sbin/sshd") });
        let other = Listener { cookie: Some(8), ..sshd() };
        let merged = merge(vec![first], vec![second, other]);
        assert_eq!(merged.len(), 2);
        assert_eq!((merged[0].backlog, merged[0].accepted, merged[0].holders.len()), (Some(1), Some(3), 2));
    }

    proptest! {
        #[test]
        fn a_reading_merged_with_nothing_stays_what_it_is(listeners in vec(any_listener(), 0..4)) {
            prop_assert_eq!(&merge(listeners.clone(), Vec::new()), &listeners);
            prop_assert_eq!(merge(Vec::new(), listeners.clone()).len(), listeners.len());
        }
    }
}
