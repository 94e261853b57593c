//! Selection rules as far as the kernel can judge them, and putting them in force.
//!
//! What a rule asks of a process (its binary, unit, container, parents) is judged in the daemon, by the
//! mask of rules that comes with each measurement ([`crate::records::RuleMask`]).

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{ProbeError, Result};
use crate::records::{bytes_of, raw};

/// Most rules there can be.
pub const MAX_RULES: usize = raw::rule_mask::RULES.0 as usize;
/// Most values of one key of a rule.
pub const MAX_VALUES: usize = 16;

/// What the kernel can judge of a rule; an empty list asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelRule {
    /// The socket is not observed when the rule applies.
    pub exclude: bool,
    /// It also asks for something that only the daemon knows.
    pub needs_process: bool,
    /// TCP is one of the transports asked for.
    pub tcp: bool,
    /// UDP likewise.
    pub udp: bool,
    /// Of the other end: address (IPv4 as IPv4-mapped IPv6) and length of the prefix, 0 to 128 bits.
    pub networks: Vec<(Ipv6Addr, u8)>,
    /// Of the service.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Real user ids of the owner.
    pub users: Vec<u32>,
}

/// The rules in their order, and what holds where none applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelSelection {
    /// At most [`MAX_RULES`]; more are not looked at.
    pub rules: Vec<KernelRule>,
    /// What no rule applies to is not observed.
    pub exclude_by_default: bool,
}

fn mask(prefix: u8) -> [u64; 2] {
    let bits = match prefix {
        0 => 0,
        n => u128::MAX << (128 - u32::from(n.min(128))),
    };
    words(bits)
}

/// In network order, as the kernel compares them.
fn words(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    [word(0), word(8)]
}

fn bit(asked_for: bool, transport: raw::rule_transport) -> u8 {
    if asked_for { transport.0 as u8 } else { 0 }
}

fn layout(rule: &KernelRule) -> raw::select_rule {
    let mut to = raw::select_rule {
        transports: bit(rule.tcp, raw::rule_transport::RULE_TCP)
            | bit(rule.udp, raw::rule_transport::RULE_UDP),
        exclude: rule.exclude.into(),
        needs_process: rule.needs_process.into(),
        network_count: rule.networks.len().min(MAX_VALUES) as u8,
        port_count: rule.ports.len().min(MAX_VALUES) as u8,
        user_count: rule.users.len().min(MAX_VALUES) as u8,
        ..Default::default()
    };
    for (to, (address, prefix)) in to.networks.iter_mut().zip(&rule.networks) {
        to.mask = mask(*prefix);
        let address = words(address.to_bits());
        to.address = [address[0] & to.mask[0], address[1] & to.mask[1]];
    }
    for (to, ports) in to.ports.iter_mut().zip(&rule.ports) {
        (to.low, to.high) = (*ports.start(), *ports.end());
    }
    for (to, user) in to.users.iter_mut().zip(&rule.users) {
        *to = *user;
    }
    to
}

/// Sockets that the kernel decided by each rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleMatches {
    /// Which rules, as in [`crate::records::RuleMask::is_odd`].
    pub is_odd: bool,
    /// Since the rules are in force, in their order.
    pub counts: Vec<u64>,
}

/// The maps of rules, half of which are in force.
pub(crate) struct Rules {
    rules: MapHandle,
    matches: MapHandle,
    in_force: KernelSelection,
    base: u32,
}

impl Rules {
    pub(crate) fn new(rules: MapHandle, matches: MapHandle) -> Self {
        Self { rules, matches, in_force: KernelSelection::default(), base: 0 }
    }

    /// Writes other rules beside those in force; they take effect with the settings.
    pub(crate) fn prepare(
        &mut self,
        selection: &KernelSelection,
        settings: &mut raw::settings,
    ) -> Result<()> {
        if *selection == self.in_force {
            return Ok(());
        }
        let other = MAX_RULES as u32 - self.base;
        let none = vec![0u64.to_ne_bytes().to_vec(); libbpf_rs::num_possible_cpus().unwrap_or(1)];
        for (slot, rule) in (other..).zip(selection.rules.iter().take(MAX_RULES)) {
            let slot = slot.to_ne_bytes();
            let error = |source| ProbeError::Map { step: "update", map: "rules", source };
            self.rules.update(&slot, bytes_of(&layout(rule)), MapFlags::ANY).map_err(error)?;
            self.matches.update_percpu(&slot, &none, MapFlags::ANY).map_err(error)?;
        }
        settings.rule_base = other;
        settings.rule_count = selection.rules.len().min(MAX_RULES) as u32;
        settings.exclude_by_default = selection.exclude_by_default.into();
        settings.rule_generation += 1;
        self.base = other;
        self.in_force = selection.clone();
        Ok(())
    }

    /// What was decided since the rules are in force.
    pub(crate) fn matches(&self) -> Result<RuleMatches> {
        let slots = (self.base..).take(self.in_force.rules.len().min(MAX_RULES));
        let count = |slot: u32| {
            let per_cpu = self
                .matches
                .lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY)
                .map_err(|source| ProbeError::Map { step: "read", map: "rule_matches", source })?
                .unwrap_or_default();
            Ok(per_cpu
                .iter()
                .filter_map(|bytes| bytes.as_slice().try_into().ok())
                .map(u64::from_ne_bytes)
                .sum())
        };
        Ok(RuleMatches { is_odd: self.base != 0, counts: slots.map(count).collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_masked_address() {
        let rule = KernelRule {
            networks: vec![("::ffff:10.1.2.3".parse().expect("an address"), 96 + 8)],
            ports: vec![443..=443],
            tcp: true,
            ..KernelRule::default()
        };
        let to = layout(&rule);
        let bytes =
            [to.networks[0].address[0].to_ne_bytes(), to.networks[0].address[1].to_ne_bytes()].concat();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0]);
        assert_eq!((to.network_count, to.port_count, to.user_count, to.transports), (1, 1, 0, 1));
        assert_eq!((to.ports[0].low, to.ports[0].high), (443, 443));
    }

    #[test]
    fn a_prefix_of_any_length_has_its_mask() {
        assert_eq!(mask(0), [0, 0]);
        assert_eq!(mask(128), [u64::MAX, u64::MAX]);
        assert_eq!(mask(64), [u64::MAX, 0]);
        assert_eq!(mask(1)[0].to_ne_bytes()[0], 0x80);
    }

    #[test]
    fn the_layout_holds_what_is_promised() {
        let layout = raw::select_rule::default();
        assert_eq!([layout.networks.len(), layout.ports.len(), layout.users.len()], [MAX_VALUES; 3]);
    }
}
