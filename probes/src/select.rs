//! What of the selection of sockets the kernel can decide by itself: the shape of its rules, and what they mean.
//!
//! Owns the limits of the kernel's table and [`kernel_verdict`], which says in Rust what the BPF programs do.
//! Where rules come from, and all that takes a path, a unit or a container to decide, is the daemon's matter.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

/// Most rules that the kernel holds.
pub const MAX_RULES: usize = 32;
/// Most networks of one rule.
pub const MAX_NETWORKS: usize = 8;
/// Most port ranges of one rule.
pub const MAX_PORTS: usize = 8;
/// Most users of one rule.
pub const MAX_UIDS: usize = 8;

/// The bit of TCP in a set of transports.
pub const TCP: u8 = 1 << 0;
/// The bit of UDP in a set of transports.
pub const UDP: u8 = 1 << 1;

/// One rule, as far as the kernel knows it. It matches when each of its sets holds the socket's value; an empty
/// set holds any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelRule {
    /// What becomes of a socket that matches: not observed, or observed.
    pub exclude: bool,
    /// The rule asks for more than the kernel knows: a socket that matches is not decided here.
    pub needs_daemon: bool,
    /// [`TCP`], [`UDP`], both, or 0 for any.
    pub transports: u8,
    /// Networks of the other end; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), with a prefix length from 0 to 128.
    pub networks: Vec<(Ipv6Addr, u8)>,
    /// Ranges of the service's port.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Users, by number.
    pub uids: Vec<u32>,
}

/// What the kernel knows of a socket when it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFacts {
    /// [`TCP`] or [`UDP`].
    pub transport: u8,
    /// The other end, IPv4 as IPv4-mapped IPv6; a listener has none, and is in no network.
    pub remote: Option<Ipv6Addr>,
    /// Port of the service.
    pub port: u16,
    /// The owner's user; not known in a softirq.
    pub uid: Option<u32>,
}

/// What the kernel comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The socket is observed.
    Include,
    /// It is not.
    Exclude,
    /// The daemon has to decide, with what it knows of the process.
    Undecided,
}

/// Tries the rules in order. Returns the verdict and the rule that gave it; no rule when it is the default's.
///
/// A rule that certainly does not match is passed over. The first that is left decides, unless it needs the
/// daemon, or asks for a user who is not known: then nothing behind it can be decided either.
#[must_use]
pub fn kernel_verdict(
    rules: &[KernelRule],
    default_exclude: bool,
    facts: &KernelFacts,
) -> (Verdict, Option<usize>) {
    let decided = |exclude| if exclude { Verdict::Exclude } else { Verdict::Include };
    for (index, rule) in rules.iter().enumerate() {
        if !may_match(rule, facts) {
            continue;
        }
        let user_is_missing = !rule.uids.is_empty() && facts.uid.is_none();
        let verdict =
            if rule.needs_daemon || user_is_missing { Verdict::Undecided } else { decided(rule.exclude) };
        return (verdict, Some(index));
    }
    (decided(default_exclude), None)
}

fn may_match(rule: &KernelRule, facts: &KernelFacts) -> bool {
    let in_networks = || {
        let inside =
            |remote| rule.networks.iter().any(|&(network, prefix)| contains(network, prefix, remote));
        facts.remote.is_some_and(inside)
    };
    (rule.transports == 0 || rule.transports & facts.transport != 0)
        && (rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(&facts.port)))
        && (rule.networks.is_empty() || in_networks())
        && (rule.uids.is_empty() || facts.uid.is_none_or(|uid| rule.uids.contains(&uid)))
}

/// Whether the first `prefix` bits (0 to 128) of both addresses are the same.
#[must_use]
pub fn contains(network: Ipv6Addr, prefix: u8, address: Ipv6Addr) -> bool {
    // A shift by all 128 bits leaves nothing to compare, which is what a prefix of 0 means.
    let differing = network.to_bits() ^ address.to_bits();
    differing.checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    const FACTS: KernelFacts = KernelFacts { transport: TCP, remote: None, port: 443, uid: Some(0) };

    fn exclude() -> KernelRule {
        KernelRule { exclude: true, ..KernelRule::default() }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let other = KernelRule { ports: vec![80..=80], ..exclude() };
        let include = KernelRule { exclude: false, ..exclude() };
        let rules = [other, include, exclude()];
        assert_eq!(kernel_verdict(&rules, true, &FACTS), (Verdict::Include, Some(1)));
        assert_eq!(kernel_verdict(&rules[2..], false, &FACTS), (Verdict::Exclude, Some(0)));
        assert_eq!(kernel_verdict(&rules[..1], true, &FACTS), (Verdict::Exclude, None));
        assert_eq!(kernel_verdict(&[], false, &FACTS), (Verdict::Include, None));
    }

    #[test]
    fn every_set_of_a_rule_must_hold() {
        let rule = KernelRule {
            transports: UDP | TCP,
            networks: vec![(address("::ffff:10.0.0.0"), 104)],
            ports: vec![1..=2, 443..=443],
            uids: vec![33, 0],
            ..exclude()
        };
        let facts = KernelFacts { remote: Some(address("::ffff:10.1.2.3")), ..FACTS };
        fn verdict(rule: &KernelRule, facts: &KernelFacts) -> Verdict {
            kernel_verdict(std::slice::from_ref(rule), false, facts).0
        }
        assert_eq!(verdict(&rule, &facts), Verdict::Exclude);
        for other in [
            KernelFacts { remote: Some(address("::ffff:11.1.2.3")), ..facts },
            KernelFacts { remote: None, ..facts },
            KernelFacts { port: 444, ..facts },
            KernelFacts { uid: Some(1), ..facts },
        ] {
            assert_eq!(verdict(&rule, &other), Verdict::Include, "{other:?}");
        }
        assert_eq!(verdict(&KernelRule { transports: UDP, ..rule }, &facts), Verdict::Include);
    }

    #[test]
    fn what_the_kernel_cannot_know_is_left_to_the_daemon() {
        let asks = KernelRule { needs_daemon: true, ..exclude() };
        assert_eq!(kernel_verdict(&[asks, exclude()], false, &FACTS), (Verdict::Undecided, Some(0)));
        let user = KernelRule { uids: vec![0], ports: vec![443..=443], ..exclude() };
        let unknown = KernelFacts { uid: None, ..FACTS };
        assert_eq!(kernel_verdict(std::slice::from_ref(&user), false, &unknown).0, Verdict::Undecided);
        // Its port alone rules it out.
        let unknown = KernelFacts { port: 80, ..unknown };
        assert_eq!(kernel_verdict(&[user], false, &unknown), (Verdict::Include, None));
    }

    #[test]
    fn prefixes_of_every_length_compare() {
        let one = address("::1");
        assert!(contains(one, 128, one) && !contains(one, 128, address("::")));
        assert!(contains(one, 127, address("::")) && contains(one, 0, address("ffff::")));
        assert!(!contains(address("8000::"), 1, one));
    }
}
