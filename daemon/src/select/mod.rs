//! Which sockets are observed: the rules of `[select]`, tried in order on what is known of a socket.
//!
//! Owns the decision, and its translation into what the kernel can decide by itself. How rules are written is the
//! configuration's matter, who holds a socket `enrich`'s, and what follows from a decision the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netsonde_probes::select::{self, KernelRule, MAX_NETWORKS, MAX_PORTS, MAX_RULES, MAX_UIDS};

use crate::config::select::{Action, Globs, RuleConfig, SelectConfig, Transport};

#[cfg(test)]
mod tests;

/// What is known of a socket. A fact that is not known matches no rule that asks for it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Its transport.
    pub transport: Transport,
    /// Port of the service: the remote one of a client, the local one of a server.
    pub port: u16,
    /// The other end; a listener has none.
    pub remote: Option<IpAddr>,
    /// The owner's user.
    pub uid: Option<u32>,
    /// The owner.
    pub process: Option<ProcessFacts<'a>>,
}

/// What is known of a process. A text that is empty is not known.
#[derive(Clone, Copy)]
pub struct ProcessFacts<'a> {
    /// Absolute path of its binary.
    pub path: &'a str,
    /// Absolute path of the script that an interpreter runs.
    pub script: Option<&'a str>,
    /// Its unit of the system's systemd.
    pub unit: Option<&'a str>,
    /// Its unit of a user's systemd.
    pub user_unit: Option<&'a str>,
    /// Id of its container, in full.
    pub container: Option<&'a str>,
    /// Says whether any parent's path passes a test. Asked only when a rule has `ancestors`, and all else of it
    /// matches: the walk costs.
    pub ancestors: &'a AnyAncestor<'a>,
}

/// Tells whether any parent's path passes the test that it is given.
pub type AnyAncestor<'a> = dyn Fn(&dyn Fn(&str) -> bool) -> bool + 'a;

/// What becomes of a socket, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is observed.
    pub included: bool,
    /// The rule that decided, from 0 in the order of the configuration; none when it is the default's.
    pub rule: Option<usize>,
}

/// The rules, ready to be tried. Two are equal when their configurations are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    default: Action,
    /// Each with `addresses` in canonical form: IPv4 that was written as IPv4-mapped IPv6 is IPv4.
    rules: Vec<RuleConfig>,
}

impl Selection {
    /// Takes the rules from the configuration.
    #[must_use]
    pub fn new(config: &SelectConfig) -> Self {
        let mut rules = config.rules.clone();
        for address in rules.iter_mut().flat_map(|rule| &mut rule.addresses) {
            *address = canonical(*address);
        }
        Self { default: config.default, rules }
    }

    /// Decides over one socket.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let rule = self.rules.iter().position(|rule| matches(rule, facts));
        let action = rule.map_or(self.default, |index| self.rules[index].action);
        Decision { included: action == Action::Include, rule }
    }

    /// Whether every socket is observed, with nothing to decide.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.rules.is_empty() && self.default == Action::Include
    }

    /// Whether a socket that no rule matches stays unobserved.
    #[must_use]
    pub fn excludes_by_default(&self) -> bool {
        self.default == Action::Exclude
    }

    /// Names of the rules, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// What the kernel can decide by itself; at most [`MAX_RULES`], each at the index that it has here. Where
    /// there are more rules than that, the last stands for all that are left, and leaves them to the daemon.
    #[must_use]
    pub fn kernel_rules(&self) -> Vec<KernelRule> {
        if self.rules.len() <= MAX_RULES {
            return self.rules.iter().map(kernel_rule).collect();
        }
        let mut rules: Vec<KernelRule> = self.rules[..MAX_RULES - 1].iter().map(kernel_rule).collect();
        rules.push(KernelRule { needs_daemon: true, ..KernelRule::default() });
        rules
    }
}

/// Cheap facts first, the walk over the parents last.
fn matches(rule: &RuleConfig, facts: &Facts<'_>) -> bool {
    (rule.transports.is_empty() || rule.transports.contains(&facts.transport))
        && (rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(&facts.port)))
        && (rule.addresses.is_empty() || facts.remote.is_some_and(|remote| is_in(rule, remote)))
        && (rule.users.is_empty()
            || facts.uid.is_some_and(|uid| rule.users.iter().any(|user| user.uid == uid)))
        && (!asks_for_process(rule) || facts.process.is_some_and(|process| process_matches(rule, process)))
}

fn is_in(rule: &RuleConfig, remote: IpAddr) -> bool {
    let remote = remote.to_canonical();
    rule.addresses.iter().any(|network| network.contains(&remote))
}

fn asks_for_process(rule: &RuleConfig) -> bool {
    [&rule.binaries, &rule.units, &rule.containers, &rule.ancestors].iter().any(|globs| !globs.is_empty())
}

fn process_matches(rule: &RuleConfig, process: ProcessFacts<'_>) -> bool {
    let either = |globs: &Globs, known: [Option<&str>; 2]| {
        globs.is_empty() || known.into_iter().flatten().any(|text| globs.matches(text))
    };
    either(&rule.binaries, [Some(process.path), process.script])
        && either(&rule.units, [process.unit, process.user_unit])
        && either(&rule.containers, [process.container, None])
        && (rule.ancestors.is_empty() || (process.ancestors)(&|path| rule.ancestors.matches(path)))
}

fn kernel_rule(rule: &RuleConfig) -> KernelRule {
    let mut needs_daemon = asks_for_process(rule);
    // A list that the kernel cannot hold is left out: the rule then matches more, and the daemon looks again.
    let mut fits = |count: usize, most: usize| {
        needs_daemon |= count > most;
        count <= most
    };
    let bounded = fits(rule.addresses.len(), MAX_NETWORKS);
    let networks = rule.addresses.iter().filter(|_| bounded).map(|network| mapped(*network)).collect();
    let bounded = fits(rule.ports.len(), MAX_PORTS);
    let ports = rule.ports.iter().filter(|_| bounded).cloned().collect();
    let bounded = fits(rule.users.len(), MAX_UIDS);
    let uids = rule.users.iter().filter(|_| bounded).map(|user| user.uid).collect();
    let transports = rule.transports.iter().fold(0, |bits, transport| bits | transport_bit(*transport));
    // "::/0" is not meant to hold IPv4, but its prefix holds all that is mapped.
    needs_daemon |= rule.addresses.iter().any(holds_mapped);
    KernelRule { exclude: rule.action == Action::Exclude, needs_daemon, transports, networks, ports, uids }
}

/// The bit of a transport in the kernel's sets.
#[must_use]
pub fn transport_bit(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => select::TCP,
    }
}

/// Bits of the prefix of all IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(address) = network.addr().to_canonical() else { return network };
    let IpNet::V6(_) = network else { return network };
    let bits = network.prefix_len().checked_sub(MAPPED_BITS);
    bits.and_then(|bits| IpNet::new(address.into(), bits).ok()).unwrap_or(network)
}

fn mapped(network: IpNet) -> (Ipv6Addr, u8) {
    match network {
        IpNet::V4(network) => (network.addr().to_ipv6_mapped(), MAPPED_BITS + network.prefix_len()),
        IpNet::V6(network) => (network.addr(), network.prefix_len()),
    }
}

fn holds_mapped(network: &IpNet) -> bool {
    let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    matches!(network, IpNet::V6(network) if select::contains(network.addr(), network.prefix_len(), mapped))
}
