//! Names of addresses: what the programs of this host asked for, and the hosts file; and which name a flow goes by.
//!
//! A flow goes by one name as long as it is there. A name is decided when its process is first seen with the
//! address, and stays: neither the end of the answer's time nor another name of the same address, which many
//! servers share, moves what was counted to other series. Who had no name may still get one, and who had one that
//! others asked for the one that it asks for itself: a program that asks a name server has talked to that address
//! before it knows any name of it.
//!
//! What names there are, and which of several counts, is [`netsonde_dns::names`]'s matter.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lru::LruCache;
use netsonde_dns::hosts::HostsFile;
use netsonde_dns::message::{Answer, Question};
use netsonde_dns::names::{Asker, NameCache, NameLimits, NameSource, Named};
use netsonde_probes::records::ProcessId;

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peering {
    /// The process that connects; without a pid when it is not known.
    pub process: ProcessId,
    /// Inode number of its network namespace.
    pub namespace: u32,
    /// The address that it talks to.
    pub address: IpAddr,
}

impl Peering {
    fn asker(&self) -> Asker<ProcessId> {
        asker(self.process, self.namespace)
    }
}

fn asker(process: ProcessId, namespace: u32) -> Asker<ProcessId> {
    Asker { namespace, process: process.is_known().then_some(process) }
}

/// What is to be remembered, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesConfig {
    /// Entries of the cache.
    pub entries: usize,
    /// Names of flows that are decided.
    pub decisions: usize,
    /// A flow that was not seen for so long may get another name.
    pub idle_ns: u64,
    /// A file in the form of hosts(5).
    pub hosts: Option<PathBuf>,
}

/// What the names know of themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameStatistics {
    /// Addresses that are known to a process, a namespace or the host.
    pub held: u64,
    /// Those that were forgotten early because there were too many.
    pub evicted: u64,
    /// Addresses in answers that nothing led to from the question.
    pub unrelated: u64,
    /// Flows whose name is decided.
    pub decided: u64,
    /// At most.
    pub decisions: u64,
    /// Flows whose name was forgotten early because there were too many.
    pub undecided: u64,
}

#[derive(Debug)]
struct Decision {
    name: Arc<str>,
    /// The process asked for it itself.
    is_own: bool,
    /// Nanoseconds since boot.
    last_ns: u64,
}

/// Names of addresses, and those that were decided on.
pub struct Names {
    config: NamesConfig,
    cache: NameCache<ProcessId>,
    hosts: Option<HostsFile>,
    /// It was said that the file cannot be read.
    complained: bool,
    /// The one that was not seen for longest first to go.
    decided: LruCache<Peering, Decision>,
    undecided: u64,
}

fn limits(config: &NamesConfig) -> NameLimits {
    NameLimits { entries: config.entries, ..NameLimits::default() }
}

impl Names {
    /// Knows what the hosts file says.
    #[must_use]
    pub fn new(config: NamesConfig) -> Self {
        let mut names = Self {
            cache: NameCache::new(limits(&config)),
            hosts: config.hosts.clone().map(HostsFile::new),
            complained: false,
            decided: LruCache::unbounded(),
            undecided: 0,
            config,
        };
        names.refresh();
        names
    }

    /// Takes over another configuration; what was learnt and decided stays.
    pub fn reconfigure(&mut self, config: NamesConfig) {
        self.cache.set_limits(limits(&config));
        if config.hosts != self.config.hosts {
            self.hosts = config.hosts.clone().map(HostsFile::new);
            self.cache.set_hosts(netsonde_dns::hosts::Hosts::default());
        }
        self.config = config;
        self.make_room();
        self.refresh();
    }

    /// Reads the hosts file again when it has changed.
    pub fn refresh(&mut self) {
        let Some(file) = &mut self.hosts else { return };
        let changed = file.changed();
        let complained = std::mem::replace(&mut self.complained, changed.is_err());
        match changed {
            Ok(None) => {}
            Ok(Some(hosts)) => {
                if hosts.refused() > 0 {
                    let refused = hosts.refused();
                    tracing::warn!(refused, "the hosts file has more addresses than are taken from it");
                }
                self.cache.set_hosts(hosts);
            }
            Err(_) if complained => {}
            Err(e) => {
                tracing::warn!(error = %e, "the hosts file cannot be read: what it said before goes on to count");
            }
        }
    }

    /// Takes the addresses that an answer gave to what a process asked for.
    pub fn learn(
        &mut self,
        process: ProcessId,
        namespace: u32,
        question: &Question,
        answers: &[Answer],
        at_ns: u64,
    ) {
        self.cache.learn(asker(process, namespace), question, answers, at_ns);
    }

    /// The name that a flow goes by which was drained now, and not before `since_ns`. `told` is the one that it goes
    /// by as long as it has connections open.
    pub fn of_flow(
        &mut self,
        of: Peering,
        told: Option<&Arc<str>>,
        since_ns: u64,
        now_ns: u64,
    ) -> Option<Arc<str>> {
        let cache = &mut self.cache;
        let mut known = |at| cache.name_of(of.asker(), of.address, at);
        if let Some(decision) = self.decided.get_mut(&of) {
            decision.last_ns = decision.last_ns.max(now_ns);
            if let Some(told) = told {
                return Some(Arc::clone(told));
            }
            if !decision.is_own
                && let Some(own) = known(now_ns).filter(is_own)
            {
                decision.name = own.name;
                decision.is_own = true;
            }
            return Some(Arc::clone(&decision.name));
        }
        // It began between the two, most often after an answer of the same interval.
        let named = match told {
            Some(told) => Named { name: Arc::clone(told), source: NameSource::Process },
            None => known(now_ns).or_else(|| known(since_ns))?,
        };
        self.decide(of, &named.name, is_own(&named), now_ns);
        Some(named.name)
    }

    /// The name of the connection or lookup that an event is of, which began at a time. It may have another than the
    /// flow that it is part of: an address has several, and this one is known better.
    pub fn of_event(&mut self, of: Peering, began_ns: u64) -> Option<Arc<str>> {
        let known = self.cache.name_of(of.asker(), of.address, began_ns);
        let is_own = known.as_ref().is_some_and(is_own);
        let decided = self.decided.peek(&of);
        let decides = decided.is_none_or(|decision| is_own && !decision.is_own);
        let name = better(known, decided.map(|decision| &decision.name))?;
        if decides {
            self.decide(of, &name, is_own, began_ns);
        }
        Some(name)
    }

    /// Takes the name by which a client of TLS called the server, where no answer of DNS has named it.
    pub fn learn_from_hello(&mut self, of: Peering, name: &Arc<str>, at_ns: u64) {
        if self.decided.contains(&of) {
            return;
        }
        match self.cache.name_of(of.asker(), of.address, at_ns) {
            Some(known) if known.source != NameSource::HostsFile => {}
            _ => self.decide(of, name, true, at_ns),
        }
    }

    fn decide(&mut self, of: Peering, name: &Arc<str>, is_own: bool, now_ns: u64) {
        self.decided.put(of, Decision { name: Arc::clone(name), is_own, last_ns: now_ns });
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.decided.len() > self.config.decisions {
            self.decided.pop_lru();
            self.undecided += 1;
        }
    }

    /// Forgets the names of flows that were not seen for long.
    pub fn forget(&mut self, now_ns: u64) {
        let idle_ns = self.config.idle_ns;
        let rested = |d: &Decision| now_ns.saturating_sub(d.last_ns) >= idle_ns;
        while self.decided.peek_lru().is_some_and(|(_, decision)| rested(decision)) {
            self.decided.pop_lru();
        }
    }

    /// What the names know of themselves.
    #[must_use]
    pub fn statistics(&self) -> NameStatistics {
        let counts = self.cache.counts();
        NameStatistics {
            held: self.cache.len() as u64,
            evicted: counts.evicted,
            unrelated: counts.unrelated,
            decided: self.decided.len() as u64,
            decisions: self.config.decisions as u64,
            undecided: self.undecided,
        }
    }
}

fn is_own(named: &Named) -> bool {
    named.source == NameSource::Process
}

/// Of the name that was known when a connection began, and the one that was decided on: the latter only where the
/// former is none, or is what the hosts file says today.
fn better(known: Option<Named>, decided: Option<&Arc<str>>) -> Option<Arc<str>> {
    match known {
        Some(known) if known.source != NameSource::HostsFile => Some(known.name),
        known => decided.cloned().or(known.map(|known| known.name)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netsonde_dns::codes::RecordType;
    use netsonde_dns::message::{CLASS_IN, RecordData};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const ME: ProcessId = ProcessId { pid: 7, start_ns: 70 };
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn peering(process: ProcessId) -> Peering {
        Peering { process, namespace: 1, address: ADDRESS.into() }
    }

    fn names(decisions: usize) -> Names {
        Names::new(NamesConfig { entries: 100, decisions, idle_ns: 900 * SECOND, hosts: None })
    }

    fn learn(names: &mut Names, name: &str, at_ns: u64) {
        let question = Question { name: name.into(), record_type: RecordType::A, class: CLASS_IN };
        let answers = [Answer { name: name.into(), ttl: 1, data: RecordData::A(ADDRESS) }];
        names.learn(ME, 1, &question, &answers, at_ns);
    }

    fn of_flow(names: &mut Names, at_ns: u64) -> Option<String> {
        names.of_flow(peering(ME), None, at_ns.saturating_sub(10 * SECOND), at_ns).map(|n| n.to_string())
    }

    #[test]
    fn a_flow_keeps_its_name_though_another_is_asked_for_and_its_time_is_over() {
        let mut names = names(10);
        learn(&mut names, "one.example", 2 * SECOND);
        assert_eq!(of_flow(&mut names, 10 * SECOND).as_deref(), Some("one.example"));
        learn(&mut names, "two.example", 12 * SECOND);
        for at in (20..5000).step_by(600) {
            names.forget(at * SECOND);
            assert_eq!(of_flow(&mut names, at * SECOND).as_deref(), Some("one.example"), "after {at} s");
        }
    }

    #[test]
    fn a_flow_without_a_name_may_get_one() {
        let mut names = names(10);
        assert_eq!(of_flow(&mut names, 10 * SECOND), None);
        learn(&mut names, "late.example", 12 * SECOND);
        assert_eq!(of_flow(&mut names, 20 * SECOND).as_deref(), Some("late.example"));
    }

    #[test]
    fn a_name_that_others_asked_for_gives_way_to_the_process_own() {
        const OTHER: ProcessId = ProcessId { pid: 8, start_ns: 80 };
        for by_event in [false, true] {
            let mut names = names(10);
            let question =
                Question { name: "other.example".into(), record_type: RecordType::A, class: CLASS_IN };
            let answers = [Answer { name: "other.example".into(), ttl: 1, data: RecordData::A(ADDRESS) }];
            names.learn(OTHER, 1, &question, &answers, SECOND);
            // As when it asks a name server that has the address too.
            let name = names.of_event(peering(ME), 2 * SECOND);
            assert_eq!(name.as_deref(), Some("other.example"));
            assert_eq!(of_flow(&mut names, 3 * SECOND).as_deref(), Some("other.example"));
            learn(&mut names, "own.example", 4 * SECOND);
            names.learn(OTHER, 1, &question, &answers, 5 * SECOND);
            if by_event {
                let name = names.of_event(peering(ME), 6 * SECOND);
                assert_eq!(name.as_deref(), Some("own.example"));
            }
            assert_eq!(of_flow(&mut names, 7 * SECOND).as_deref(), Some("own.example"));
            let told: Arc<str> = "other.example".into();
            let open = names.of_flow(peering(ME), Some(&told), 0, 8 * SECOND);
            assert_eq!(open.as_deref(), Some("other.example"), "what is open keeps its name");
            learn(&mut names, "next.example", 9 * SECOND);
            assert_eq!(of_flow(&mut names, 10 * SECOND).as_deref(), Some("own.example"), "and is kept");
        }
    }

    #[test]
    fn a_flow_that_rested_long_gets_the_name_of_its_next_time() {
        let mut names = names(10);
        learn(&mut names, "one.example", SECOND);
        of_flow(&mut names, 10 * SECOND);
        learn(&mut names, "two.example", 905 * SECOND);
        names.forget(909 * SECOND);
        assert_eq!(of_flow(&mut names, 909 * SECOND).as_deref(), Some("one.example"), "not long enough");
        names.forget(1809 * SECOND);
        learn(&mut names, "two.example", 1809 * SECOND);
        assert_eq!(of_flow(&mut names, 1810 * SECOND).as_deref(), Some("two.example"));
    }

    #[test]
    fn an_open_connection_keeps_the_name_that_it_was_told_under() {
        let mut names = names(10);
        learn(&mut names, "new.example", SECOND);
        let told: Arc<str> = "old.example".into();
        let mut of_flow = |told| names.of_flow(peering(ME), told, 0, 2 * SECOND);
        assert_eq!(of_flow(None).as_deref(), Some("new.example"), "another flow with this address");
        assert_eq!(of_flow(Some(&told)).as_deref(), Some("old.example"));
    }

    #[test]
    fn an_interval_that_is_longer_than_a_name_is_valid_does_not_hide_it() {
        let mut names = names(10);
        learn(&mut names, "brief.example", SECOND);
        let name = names.of_flow(peering(ME), None, 2 * SECOND, 3600 * SECOND);
        assert_eq!(name.as_deref(), Some("brief.example"));
    }

    #[test]
    fn an_event_has_the_name_of_its_time_and_decides_for_a_flow_that_has_none() {
        let mut names = names(10);
        learn(&mut names, "one.example", SECOND);
        learn(&mut names, "two.example", 3 * SECOND);
        let of_event = |names: &mut Names, at: u64| names.of_event(peering(ME), at * SECOND);
        assert_eq!(of_event(&mut names, 2).as_deref(), Some("one.example"));
        assert_eq!(of_event(&mut names, 4).as_deref(), Some("two.example"));
        assert_eq!(of_flow(&mut names, 5 * SECOND).as_deref(), Some("one.example"), "the first decided");
        assert_eq!(of_event(&mut names, 50_000).as_deref(), Some("one.example"), "nothing better is known");
    }

    #[test]
    fn what_the_hosts_file_says_gives_way_to_what_was_decided() {
        let named = |source| Some(Named { name: "known".into(), source });
        let decided: Arc<str> = "decided".into();
        for (known, decided, expected) in [
            (named(NameSource::Process), Some(&decided), Some("known")),
            (named(NameSource::Host), Some(&decided), Some("known")),
            (named(NameSource::HostsFile), Some(&decided), Some("decided")),
            (named(NameSource::HostsFile), None, Some("known")),
            (None, Some(&decided), Some("decided")),
            (None, None, None),
        ] {
            assert_eq!(better(known, decided).as_deref(), expected);
        }
    }

    #[test]
    fn what_a_tls_client_calls_the_server_names_it_where_no_answer_did() {
        let mut names = names(10);
        let hello: Arc<str> = "hello.example".into();
        names.learn_from_hello(peering(ME), &hello, SECOND);
        assert_eq!(of_flow(&mut names, 2 * SECOND).as_deref(), Some("hello.example"));
        let other = ProcessId { pid: 8, start_ns: 80 };
        learn(&mut names, "asked.example", 3 * SECOND);
        names.learn_from_hello(peering(other), &hello, 4 * SECOND);
        let name = names.of_flow(peering(other), None, 0, 5 * SECOND);
        assert_eq!(name.as_deref(), Some("asked.example"), "an answer to somebody in its namespace");
    }

    #[test]
    fn decisions_are_bounded_and_what_is_forgotten_for_that_is_counted() {
        let mut names = names(2);
        let told: Arc<str> = "x".into();
        for pid in 1..=5 {
            names.of_flow(peering(ProcessId { pid, start_ns: 1 }), Some(&told), 0, SECOND);
        }
        assert_eq!((names.decided.len(), names.statistics().undecided), (2, 3));
    }

    #[test]
    fn the_hosts_file_names_what_nobody_asked_for() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "192.0.2.1 printer\n").expect("written");
        let config =
            NamesConfig { entries: 10, decisions: 10, idle_ns: SECOND, hosts: Some(file.path().to_owned()) };
        let mut names = Names::new(config.clone());
        assert_eq!(of_flow(&mut names, SECOND).as_deref(), Some("printer"));
        names.reconfigure(NamesConfig { hosts: None, ..config });
        names.forget(10 * SECOND);
        assert_eq!(of_flow(&mut names, 10 * SECOND), None);
    }
}
