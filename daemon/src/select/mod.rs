//! Which sockets are observed: the rules of `[select]`.
//!
//! The kernel judges what it knows of a socket (address, port, transport, user) by each rule and hands on a mask of
//! those that may apply; here is judged what they ask of the process, and which of them decides. How rules are
//! written is the configuration's matter, who holds a socket `enrich`'s, and what follows from a decision the
//! caller's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use netsonde_probes::records::RuleMask;
use netsonde_probes::select::{KernelRule, KernelSelection, RuleMatches};

use crate::config::select::{Action, Globs, RuleConfig, SelectConfig, Transport};

mod facts;
#[cfg(test)]
mod tests;

pub use facts::{user_id, with_facts};

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
    /// The rule that decided here, from 0 in the order of the configuration; none when it is the default's, or the
    /// kernel decided.
    pub rule: Option<usize>,
}

/// The rules, ready to be tried. Two are equal when their configurations are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    default: Action,
    rules: Vec<RuleConfig>,
}

impl Selection {
    /// Takes the rules from the configuration.
    #[must_use]
    pub fn new(config: &SelectConfig) -> Self {
        Self { default: config.default, rules: config.rules.clone() }
    }

    /// Decides over a socket for which the kernel found these rules: the first of them that the user and the
    /// process match as well. A user or process that is not known matches no rule that asks for one. A mask
    /// without rules is of a socket that the kernel has let in.
    #[must_use]
    pub fn decide(
        &self,
        candidates: RuleMask,
        uid: Option<u32>,
        process: Option<ProcessFacts<'_>>,
    ) -> Decision {
        if !candidates.is_open() {
            return Decision { included: true, rule: None };
        }
        let rule = candidates
            .rules()
            .find(|&index| self.rules.get(index).is_some_and(|rule| suits(rule, uid, process)));
        let action = rule.map_or(self.default, |index| self.rules[index].action);
        Decision { included: action == Action::Include, rule }
    }

    /// Decides over a socket that has neither a port nor another end, as a raw one: by the first rule that asks for
    /// none of both, nor for a transport, and that the user and the process match.
    #[must_use]
    pub fn includes_portless(&self, uid: Option<u32>, process: Option<ProcessFacts<'_>>) -> bool {
        let asks_for_less = |rule: &RuleConfig| {
            rule.ports.is_empty() && rule.addresses.is_empty() && rule.transports.is_empty()
        };
        let rule = self.rules.iter().find(|rule| asks_for_less(rule) && suits(rule, uid, process));
        rule.map_or(self.default, |rule| rule.action) == Action::Include
    }

    /// Names of the rules, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// What the kernel can judge.
    #[must_use]
    pub fn in_kernel(&self) -> KernelSelection {
        KernelSelection {
            rules: self.rules.iter().map(kernel_rule).collect(),
            exclude_by_default: self.default == Action::Exclude,
        }
    }
}

/// The rules in force and those before them: a socket that was judged by the latter says so in its mask.
#[derive(Debug)]
pub struct Selections {
    by_parity: [Selection; 2],
    /// Whether the rules in force are the second ones, as in [`RuleMask::is_odd`].
    odd: bool,
    /// What each rule decided here, by name.
    decided: BTreeMap<String, u64>,
    /// What the kernel decided by each rule before the rules were changed, by name.
    in_kernel_before: BTreeMap<String, u64>,
    /// Likewise, since then, in the order of the rules.
    in_kernel: Vec<u64>,
}

impl Selections {
    /// With these rules in force.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        // The probes begin with none.
        let none = Selection::new(&SelectConfig::default());
        let mut selections = Self {
            by_parity: [none.clone(), none],
            odd: false,
            decided: BTreeMap::new(),
            in_kernel_before: BTreeMap::new(),
            in_kernel: Vec::new(),
        };
        selections.replace(selection);
        selections
    }

    fn in_force(&self) -> &Selection {
        &self.by_parity[usize::from(self.odd)]
    }

    /// Puts other rules in force, as the probes do: where the kernel's part stays the same, masks keep their
    /// meaning.
    pub fn replace(&mut self, selection: Selection) {
        if selection.in_kernel() != self.in_force().in_kernel() {
            for (name, count) in self.by_parity[usize::from(self.odd)].names().zip(&self.in_kernel) {
                *self.in_kernel_before.entry(name.to_owned()).or_default() += count;
            }
            self.in_kernel.clear();
            self.odd = !self.odd;
        }
        self.by_parity[usize::from(self.odd)] = selection;
    }

    /// Whether a socket is observed for which the kernel found these rules; counts the rule that decides.
    pub fn includes(
        &mut self,
        candidates: RuleMask,
        uid: Option<u32>,
        process: Option<ProcessFacts<'_>>,
    ) -> bool {
        let selection = &self.by_parity[usize::from(candidates.is_odd())];
        let decision = selection.decide(candidates, uid, process);
        if let Some(name) = decision.rule.and_then(|rule| selection.names().nth(rule)) {
            match self.decided.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(self.decided.insert(name.to_owned(), 1)),
            }
        }
        decision.included
    }

    /// Whether a socket is observed that has neither a port nor another end; by the rules in force, and not counted:
    /// each look at it would count it again.
    #[must_use]
    pub fn includes_portless(&self, uid: Option<u32>, process: Option<ProcessFacts<'_>>) -> bool {
        self.in_force().includes_portless(uid, process)
    }

    /// Takes the kernel's counts, if they are of the rules in force.
    pub fn count_in_kernel(&mut self, matches: &RuleMatches) {
        if matches.is_odd == self.odd {
            self.in_kernel.clone_from(&matches.counts);
        }
    }

    /// What each rule in force has decided, by its name: a socket where the kernel could tell by itself, else an
    /// event or an interval's sum.
    pub fn matches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.in_force().names().enumerate().map(|(rule, name)| {
            let by_name = |counts: &BTreeMap<String, u64>| counts.get(name).copied().unwrap_or(0);
            let now = self.in_kernel.get(rule).copied().unwrap_or(0);
            (name, now + by_name(&self.in_kernel_before) + by_name(&self.decided))
        })
    }
}

/// What the kernel left open. Cheap facts first, the walk over the parents last.
fn suits(rule: &RuleConfig, uid: Option<u32>, process: Option<ProcessFacts<'_>>) -> bool {
    let user = rule.users.is_empty() || uid.is_some_and(|uid| rule.users.iter().any(|user| user.uid == uid));
    user && (!asks_for_process(rule) || process.is_some_and(|process| process_matches(rule, process)))
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
    KernelRule {
        exclude: rule.action == Action::Exclude,
        needs_process: asks_for_process(rule),
        tcp: rule.transports.contains(&Transport::Tcp),
        udp: rule.transports.contains(&Transport::Udp),
        networks: rule.addresses.iter().flat_map(|&network| in_kernel(network)).collect(),
        ports: rule.ports.clone(),
        users: rule.users.iter().map(|user| user.uid).collect(),
    }
}

/// Bits of the prefix of all IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network as the kernel compares it, where an IPv4 address is an IPv4-mapped one.
#[must_use]
pub fn in_kernel(network: IpNet) -> Vec<(Ipv6Addr, u8)> {
    match network {
        IpNet::V4(network) => vec![(network.addr().to_ipv6_mapped(), MAPPED_BITS + network.prefix_len())],
        // All of IPv6 and no IPv4: its halves, quarters and so on that do not hold the mapped addresses, down to
        // what is left of 0::/8, which is reserved but for the loopback address (RFC 4291, 2.4).
        IpNet::V6(network) if network.prefix_len() == 0 => (1..=8)
            .map(|bits: u8| (Ipv6Addr::from_bits(1 << (128 - u32::from(bits))), bits))
            .chain([(Ipv6Addr::LOCALHOST, 128)])
            .collect(),
        IpNet::V6(network) => vec![(network.addr(), network.prefix_len())],
    }
}

/// Whether an IPv6 network other than all of IPv6 holds IPv4-mapped addresses beside others, so that it is not clear
/// whether IPv4 is meant.
#[must_use]
pub fn is_ambiguous(network: Ipv6Net) -> bool {
    let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    (1..MAPPED_BITS).contains(&network.prefix_len()) && network.contains(&mapped)
}

/// IPv4 that was written as IPv4-mapped IPv6 is IPv4.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(address) = network.addr().to_canonical() else { return network };
    let IpNet::V6(_) = network else { return network };
    let bits = network.prefix_len().checked_sub(MAPPED_BITS);
    bits.and_then(|bits| IpNet::new(address.into(), bits).ok()).unwrap_or(network)
}
