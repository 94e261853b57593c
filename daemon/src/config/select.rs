//! `[select]`: which sockets are observed, by rules over who holds them and whom they talk to.
//!
//! Owns how rules are written and read. Trying them is the `select` module's matter.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use ipnet::IpNet;
pub use netsonde_audit::globs::Globs;
use netsonde_audit::globs::{glob, path_glob};
use netsonde_probes::select::{MAX_RULES, MAX_VALUES};

use super::document::join_key;
use super::raw;
use super::reader::{Place, Reader};
use super::words::Word;
use crate::enrich::id_of_user;
use crate::select::{canonical, in_kernel, is_ambiguous};

const PASSWD: &str = "/etc/passwd";
const LONGEST_NAME: usize = 100;

/// Which sockets are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectConfig {
    /// For a socket that no rule matches.
    pub default: Action,
    /// The daemon's own sockets are observed as the rules say; else not at all.
    pub own_traffic: bool,
    /// In the order in which they are tried; the first that matches decides.
    pub rules: Vec<RuleConfig>,
}

impl Default for SelectConfig {
    /// Everything is observed.
    fn default() -> Self {
        Self { default: Action::Include, own_traffic: true, rules: Vec::new() }
    }
}

/// One rule. It matches when each of its lists that is not empty has an entry that does; one of them is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConfig {
    /// What it is called; unique, not empty, at most 100 bytes.
    pub name: String,
    /// What becomes of a socket that matches.
    pub action: Action,
    /// Paths of the process's binary, or of the script that it runs.
    pub binaries: Globs,
    /// Owners of the process.
    pub users: Vec<User>,
    /// systemd units of the process, of the system or of a user.
    pub units: Globs,
    /// Ids of the process's container.
    pub containers: Globs,
    /// Paths of the binaries of any parent.
    pub ancestors: Globs,
    /// Networks of the other end, with no bits set behind the prefix.
    pub addresses: Vec<IpNet>,
    /// Ports of the service; none is 0.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Transports.
    pub transports: Vec<Transport>,
}

/// What becomes of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is observed.
    Include,
    /// It is not.
    Exclude,
}

/// A transport that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A user as it was written, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As in the file.
    pub written: String,
    /// The number that this was when the configuration was read.
    pub uid: u32,
}

impl RuleConfig {
    /// Each list by its key, as one would write it.
    pub fn written(&self) -> [(&'static str, Vec<String>); 8] {
        let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        };
        let network = |network: &IpNet| match network {
            host if host.prefix_len() == host.max_prefix_len() => host.addr().to_string(),
            _ => network.to_string(),
        };
        [
            ("binaries", self.binaries.patterns().to_vec()),
            ("users", self.users.iter().map(|user| user.written.clone()).collect()),
            ("units", self.units.patterns().to_vec()),
            ("containers", self.containers.patterns().to_vec()),
            ("ancestors", self.ancestors.patterns().to_vec()),
            ("addresses", self.addresses.iter().map(network).collect()),
            ("ports", self.ports.iter().map(range).collect()),
            ("transports", self.transports.iter().map(|transport| transport.word().to_owned()).collect()),
        ]
    }
}

/// Reads the table.
pub fn read(reader: &mut Reader<'_>, raw: raw::Select) -> SelectConfig {
    let default = reader.value("select.default", raw.default, Action::Include, |text| Word::parse(text));
    let own_traffic = reader.value("select.own_traffic", raw.own_traffic, true, |on| Ok(*on));
    let mut names = BTreeSet::new();
    if let Some(surplus) = raw.rule.get(MAX_RULES) {
        let message = format!("there are {} rules; there may be {MAX_RULES}", raw.rule.len());
        reader.problem("select.rule", &Place::File(surplus.span()), &message);
    }
    let rules = raw.rule.into_iter().filter_map(|raw| rule(reader, raw, &mut names)).collect();
    SelectConfig { default, own_traffic, rules }
}

/// One rule; `None` when what is wrong leaves nothing to go on with, which has been noted.
fn rule(
    reader: &mut Reader<'_>,
    raw: toml::Spanned<raw::Rule>,
    names: &mut BTreeSet<String>,
) -> Option<RuleConfig> {
    let place = Place::File(raw.span());
    let raw = raw.into_inner();
    let written = raw.name.as_ref().map(|name| name.get_ref().clone());
    let prefix = written.map_or_else(|| "select.rule".to_owned(), |name| join_key("select.rule", &name));
    let key = |name: &str| join_key(&prefix, name);
    if raw.name.is_none() {
        reader.problem(&key("name"), &place, "missing; give every rule a name of its own");
    }
    let name = reader.optional(&key("name"), raw.name, |name| rule_name(name, names));
    if raw.action.is_none() {
        reader.problem(&key("action"), &place, "missing; write \"include\" or \"exclude\"");
    }
    let action = reader.optional(&key("action"), raw.action, |text| Word::parse(text));

    let keys =
        [&raw.binaries, &raw.users, &raw.units, &raw.containers, &raw.ancestors, &raw.addresses, &raw.ports];
    if raw.transports.is_none() && keys.iter().all(|key| key.is_none()) {
        let message = "the rule has no key that says what it matches; give it binaries, users, units, containers, \
                       ancestors, addresses, ports or transports";
        reader.problem(&prefix, &place, message);
    }
    let binaries = globs(reader, &key("binaries"), raw.binaries, path_glob);
    let users = values(reader, &key("users"), raw.users, user);
    let units = globs(reader, &key("units"), raw.units, glob);
    let containers = globs(reader, &key("containers"), raw.containers, glob);
    let ancestors = globs(reader, &key("ancestors"), raw.ancestors, path_glob);
    let addresses = values(reader, &key("addresses"), raw.addresses, network);
    let ports = values(reader, &key("ports"), raw.ports, port_range);
    let networks = addresses.iter().map(|&network| in_kernel(network).len()).sum();
    for (name, count) in [("users", users.len()), ("addresses", networks), ("ports", ports.len())] {
        if count > MAX_VALUES {
            let message = format!(
                "{count} values are too many for the kernel, which holds {MAX_VALUES}; divide the rule into two"
            );
            reader.problem(&key(name), &place, &message);
        }
    }
    let transports = values(reader, &key("transports"), raw.transports, Transport::parse);
    Some(RuleConfig {
        name: name?,
        action: action?,
        binaries,
        users,
        units,
        containers,
        ancestors,
        addresses,
        ports,
        transports,
    })
}

fn rule_name(name: &str, names: &mut BTreeSet<String>) -> Result<String, String> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(format!("the name has {} bytes; it may have 1 to {LONGEST_NAME}", name.len()));
    }
    if !names.insert(name.to_owned()) {
        return Err("another rule has this name; give every rule a name of its own".to_owned());
    }
    Ok(name.to_owned())
}

fn values<T>(
    reader: &mut Reader<'_>,
    key: &str,
    raw: Option<raw::Texts>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let raw = raw.map(|raw::Texts(texts)| texts);
    if let Some(texts) = raw.as_ref().filter(|texts| texts.get_ref().is_empty()) {
        let message = "the list is empty, and would match nothing; leave the key out to match anything";
        reader.problem(key, &Place::File(texts.span()), message);
    }
    reader.list(key, raw, Vec::new(), parse)
}

fn globs(
    reader: &mut Reader<'_>,
    key: &str,
    raw: Option<raw::Texts>,
    check: impl Fn(&str) -> Result<String, String>,
) -> Globs {
    let patterns = values(reader, key, raw, check);
    let Some(place) = reader.place(key).cloned() else { return Globs::default() };
    reader.judge(key, &place, Globs::new(patterns)).unwrap_or_default()
}

fn user(text: &str) -> Result<User, String> {
    let uid = match text.parse() {
        // (uid_t) -1 stands for no user at all: setreuid(2).
        Ok(u32::MAX) => return Err(format!("{text:?} is no user; numbers go from 0 to 4294967294")),
        Ok(uid) => uid,
        Err(_) => id_of_user(Path::new(PASSWD), text)
            .map_err(|error| format!("{text:?} cannot be looked up: {PASSWD}: {error}"))?
            .ok_or_else(|| format!("{text:?} is not in {PASSWD}; write a name from there, or a number"))?,
    };
    Ok(User { written: text.to_owned(), uid })
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            format!(
                "{text:?} is neither an address nor a network; write it as \"192.0.2.1\", \"10.0.0.0/8\" or \
                 \"2001:db8::/32\""
            )
        })?,
    };
    if network.trunc() != network {
        return Err(format!("{text:?} has bits set behind its prefix; write \"{}\"", network.trunc()));
    }
    let network = canonical(network);
    if let IpNet::V6(network) = network
        && is_ambiguous(network)
    {
        return Err(format!(
            "{text:?} holds IPv4-mapped addresses; write \"::/0\" for all of IPv6, and IPv4 networks as such"
        ));
    }
    Ok(network)
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    let (Some(low), Some(high)) = (port(low), port(high)) else {
        return Err(format!(
            "{text:?} is not a port; write a number from 1 to 65535, or a range such as \"8000-8999\""
        ));
    };
    if low > high {
        return Err(format!("{text:?} is the wrong way round; write \"{high}-{low}\""));
    }
    Ok(low..=high)
}
