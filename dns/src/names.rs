//! Which name an address was asked for by: the name that a program wanted to talk to, where the kernel shows an
//! address only.
//!
//! Names come from the answers that programs of this host got, and from `/etc/hosts`. Nobody is asked: a reverse
//! lookup would tell what the owner of an address calls it, not what the program asked for, and would be traffic of
//! ours.
//!
//! **Whose name.** The name that counts is the one that was asked for. Aliases on the way (CNAME) and targets of
//! service bindings lend it their addresses. An answer that no such way leads to is not believed. Of several names of
//! an address, in this order:
//!
//! 1. what the same process asked for, the latest first;
//! 2. what any process in the same network namespace asked for, the latest first;
//! 3. what anybody on the host asked for, the latest first;
//! 4. what `/etc/hosts` says.
//!
//! A loopback address is answered for names that are blocked or served locally. It has such a name for the process
//! that asked, and for no other.
//!
//! **How long.** As long as the answer may be kept, but no less than [`NameLimits::ttl_floor_ns`], because programs
//! connect a while after they asked, and no more than [`NameLimits::ttl_cap_ns`], because an address changes hands in
//! the end (RFC 8767, section 4, suggests a cap of days). A connection that begins within [`NameLimits::grace_ns`]
//! after that still gets the name, unless another of the same rank is valid.
//!
//! Times are given, by one clock. A name is not known before its answer came.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use lru::LruCache;

use crate::SECOND_NS;
use crate::codes::RecordType;
use crate::hosts::Hosts;
use crate::message::{Answer, Question, RecordData};

/// Aliases that are followed from one name.
const MAX_ALIASES: usize = 16;

/// Names that are kept of one address for one process, namespace or host.
const NAMES_AT_ONCE: usize = 4;

/// How many names are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct NameLimits {
    /// Addresses as they are known to a process, a namespace or the host: an answer makes up to three of these for an
    /// address. About 350 bytes each.
    pub entries: usize,
    /// Answers are kept for this long at least.
    pub ttl_floor_ns: u64,
    /// And for this long at most.
    pub ttl_cap_ns: u64,
    /// So long after its time a name goes to connections that would have none.
    pub grace_ns: u64,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self {
            entries: 32_768,
            ttl_floor_ns: 60 * SECOND_NS,
            ttl_cap_ns: 24 * 3600 * SECOND_NS,
            grace_ns: 300 * SECOND_NS,
        }
    }
}

/// Who asked, or who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker<P> {
    /// The network namespace, by a number that the caller does not use for another.
    pub namespace: u32,
    /// The process, if it is known.
    pub process: Option<P>,
}

/// A name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, in the form that [`Message`](crate::message::Message) describes.
    pub name: Arc<str>,
    /// How it is known.
    pub source: NameSource,
}

/// How a name is known, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameSource {
    /// The process asked for it.
    Process,
    /// Another process of the same network namespace asked for it.
    Namespace,
    /// A process in another network namespace asked for it.
    Host,
    /// It is in `/etc/hosts`.
    HostsFile,
}

/// What was done, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// Addresses that an answer gave to a name.
    pub learned: u64,
    /// Entries that went although their names were valid, because there were too many.
    pub evicted: u64,
    /// Addresses in answers that nothing leads to from the question.
    pub unrelated: u64,
}

/// Names of addresses. `P` tells processes apart, such as a pid together with its start.
#[derive(Debug)]
pub struct NameCache<P: Eq + Hash> {
    limits: NameLimits,
    /// Least recently learned or looked up first to go.
    entries: LruCache<(Scope<P>, IpAddr), Vec<Claim>>,
    hosts: Hosts,
    counts: NameCounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope<P> {
    Process(u32, P),
    Namespace(u32),
    Host,
}

/// A name that was asked for and gave this address.
#[derive(Debug, Clone)]
struct Claim {
    name: Arc<str>,
    /// When the address was learned first, and never forgotten since.
    first_ns: u64,
    /// When it was learned last.
    asked_ns: u64,
    expires_ns: u64,
}

impl<P: Copy + Eq + Hash> NameCache<P> {
    /// No names yet.
    #[must_use]
    pub fn new(limits: NameLimits) -> Self {
        Self {
            limits,
            entries: LruCache::unbounded(),
            hosts: Hosts::default(),
            counts: NameCounts::default(),
        }
    }

    /// Keeps as many names for so long, from the next one on.
    pub fn set_limits(&mut self, limits: NameLimits) {
        self.limits = limits;
        // What has run out by now is not known here: all that goes counts.
        self.make_room(0);
    }

    fn make_room(&mut self, now_ns: u64) {
        while self.entries.len() > self.limits.entries {
            let Some((_, claims)) = self.entries.pop_lru() else { break };
            self.counts.evicted += u64::from(claims.iter().any(|c| c.expires_ns > now_ns));
        }
    }

    /// Takes the names of `/etc/hosts` in place of those from before.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Takes the addresses that `answers`, at a time, gave to the name that was asked for.
    pub fn learn(&mut self, asker: Asker<P>, question: &Question, answers: &[Answer], now_ns: u64) {
        let owners = owners(question, answers);
        let name = asked_name(question);
        for answer in answers {
            let ttl = owners.iter().find(|(owner, _)| *owner == answer.name).map(|(_, ttl)| *ttl);
            for address in addresses(&answer.data) {
                match ttl {
                    Some(ttl) => self.learn_one(asker, &name, address, ttl.min(answer.ttl), now_ns),
                    None => self.counts.unrelated += 1,
                }
            }
        }
    }

    /// The name of the address that somebody connects to, or is connected to, at a time.
    pub fn name_of(&mut self, asker: Asker<P>, address: IpAddr, at_ns: u64) -> Option<Named> {
        let address = address.to_canonical();
        let grace_ns = self.limits.grace_ns;
        let scopes = [
            asker.process.map(|p| (Scope::Process(asker.namespace, p), NameSource::Process)),
            Some((Scope::Namespace(asker.namespace), NameSource::Namespace)),
            Some((Scope::Host, NameSource::Host)),
        ];
        // What was in time in a wider scope does not win over what was asked for by the process itself: the
        // process may well go on with what it was told.
        for (scope, source) in scopes.into_iter().flatten() {
            if let Some(claims) = self.entries.get(&(scope, address))
                && let Some(claim) = choose(claims, at_ns, grace_ns)
            {
                return Some(Named { name: claim.name.clone(), source });
            }
        }
        let name = self.hosts.name_of(address)?.clone();
        Some(Named { name, source: NameSource::HostsFile })
    }

    /// What was done, since the start.
    #[must_use]
    pub fn counts(&self) -> NameCounts {
        self.counts
    }

    /// Addresses as they are known to a process, a namespace or the host.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn learn_one(&mut self, asker: Asker<P>, name: &Arc<str>, address: IpAddr, ttl: u32, now_ns: u64) {
        let address = address.to_canonical();
        // What is blocked is often answered with the unspecified address.
        if address.is_unspecified() || address.is_multicast() {
            return;
        }
        self.counts.learned += 1;
        let kept_ns = (u64::from(ttl) * SECOND_NS).max(self.limits.ttl_floor_ns).min(self.limits.ttl_cap_ns);
        let claim = Claim {
            name: name.clone(),
            first_ns: now_ns,
            asked_ns: now_ns,
            expires_ns: now_ns.saturating_add(kept_ns),
        };
        let wider =
            [Scope::Host, Scope::Namespace(asker.namespace)].into_iter().filter(|_| !address.is_loopback());
        let process = asker.process.map(|p| Scope::Process(asker.namespace, p));
        // The narrowest last, so that it is the last to go.
        for scope in wider.chain(process) {
            let claims = self.entries.get_or_insert_mut((scope, address), Vec::new);
            add(claims, claim.clone(), self.limits.grace_ns);
        }
        self.make_room(now_ns);
    }
}

/// The names that lead from a question to addresses: its own, and those that it is an alias of, each with the least
/// time to live on the way.
fn owners(question: &Question, answers: &[Answer]) -> Vec<(Arc<str>, u32)> {
    let mut owners = vec![(question.name.clone(), u32::MAX)];
    while owners.len() <= MAX_ALIASES {
        let Some((name, ttl)) = owners.last() else { break };
        let next = answers.iter().find_map(|answer| match &answer.data {
            RecordData::Cname(target) if answer.name == *name => Some((target.clone(), answer.ttl.min(*ttl))),
            _ => None,
        });
        match next {
            Some(next) if owners.iter().all(|(name, _)| *name != next.0) => owners.push(next),
            _ => break,
        }
    }
    owners
}

/// The name that a question is about: service bindings of a port are asked for by `_port._scheme.` and the name
/// (RFC 9460, section 2.3).
fn asked_name(question: &Question) -> Arc<str> {
    let is_service = matches!(question.record_type, RecordType::HTTPS | RecordType::SVCB);
    let mut name = &*question.name;
    while is_service
        && name.starts_with('_')
        && let Some((_, rest)) = name.split_once('.')
    {
        name = rest;
    }
    if name.len() == question.name.len() { question.name.clone() } else { name.into() }
}

fn addresses(data: &RecordData) -> Vec<IpAddr> {
    match data {
        RecordData::A(address) => vec![IpAddr::V4(*address)],
        RecordData::Aaaa(address) => vec![IpAddr::V6(*address)],
        // An alias has no hints of its own (RFC 9460, section 2.4.2).
        RecordData::Service(binding) if binding.priority != 0 => {
            let four = binding.ipv4_hints.iter().map(|a| IpAddr::V4(*a));
            four.chain(binding.ipv6_hints.iter().map(|a| IpAddr::V6(*a))).collect()
        }
        RecordData::Service(_) | RecordData::Cname(_) | RecordData::Other(_) => Vec::new(),
    }
}

/// Adds a claim, or renews the one of the same name. The one asked for longest ago makes room.
fn add(claims: &mut Vec<Claim>, claim: Claim, grace_ns: u64) {
    if let Some(known) = claims.iter_mut().find(|c| c.name == claim.name) {
        if claim.asked_ns > known.expires_ns.saturating_add(grace_ns) {
            known.first_ns = claim.first_ns;
        }
        known.asked_ns = known.asked_ns.max(claim.asked_ns);
        known.expires_ns = known.expires_ns.max(claim.expires_ns);
        return;
    }
    if claims.len() >= NAMES_AT_ONCE
        && let Some((oldest, _)) = claims.iter().enumerate().min_by_key(|(_, c)| c.asked_ns)
    {
        claims.remove(oldest);
    }
    claims.push(claim);
}

/// The claim that counts at a time: one that is valid before one that was lately, then the latest. One that was
/// renewed since counts from its first time.
fn choose(claims: &[Claim], at_ns: u64, grace_ns: u64) -> Option<&Claim> {
    claims
        .iter()
        .enumerate()
        .filter(|(_, c)| c.first_ns <= at_ns && at_ns <= c.expires_ns.saturating_add(grace_ns))
        .max_by_key(|(i, c)| {
            let asked_ns = if c.asked_ns <= at_ns { c.asked_ns } else { c.first_ns };
            (at_ns <= c.expires_ns, asked_ns, *i)
        })
        .map(|(_, claim)| claim)
}

#[cfg(test)]
mod tests;
