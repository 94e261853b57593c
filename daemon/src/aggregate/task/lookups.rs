//! The part of the task that is about DNS and names: lookups become measurements and events, and servers get the
//! names that they were asked for by. How messages become lookups is [`super::super::dns`]'s matter, which name counts
//! that of [`Names`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use netsonde_dns::codes::ResponseCode;
use netsonde_dns::matching::{Lookup, Outcome};
use netsonde_dns::questions::{QuestionLimits, QuestionNames};
use netsonde_probes::records::{Owner, Role, SocketEvent, TlsHello};
use netsonde_probes::signals::dns::metrics::LOOKUP_DURATION;
use netsonde_probes::signals::flow::{MeasuredValue, Measurement};

use super::super::dns::{Asked, Dns, Observation, labels};
use super::super::identity::NamedFlow;
use super::super::logs;
use super::super::logs::Ownership;
use super::super::logs::dns::{Known, Sides};
use super::super::status::DnsStatus;
use super::{Aggregation, active_limit, nanoseconds};
use crate::config::{Config, EventKind, FlowAttribute};
use crate::enrich::{Clock, Names, NamesConfig, Peering, Process, SearchSuffix, SearchSuffixes};

pub(super) fn question_limits(config: &Config) -> QuestionLimits {
    QuestionLimits { names: config.dns.question_names as usize, ..QuestionLimits::default() }
}

/// A flow's name is forgotten when its series are.
pub(super) fn names_config(config: &Config) -> NamesConfig {
    NamesConfig {
        entries: config.dns.names.get() as usize,
        decisions: active_limit(config),
        idle_ns: nanoseconds(config.metrics.series_expiry),
        hosts: config.dns.hosts.clone(),
    }
}

pub(super) fn rate_limit(config: &Config) -> u32 {
    config.events.rate_limit.map_or(0, NonZeroU32::get)
}

impl Aggregation {
    pub(super) fn reconfigure_dns(&mut self, config: &Config) {
        self.dns.reconfigure(nanoseconds(config.dns.timeout), config.dns.multicast);
        let old = &self.config.dns;
        if (old.question_names, &old.suffixes) != (config.dns.question_names, &config.dns.suffixes) {
            self.questions.reconfigure(question_limits(config), &config.dns.suffixes);
        }
        self.search.configure(config.dns.search_suffixes.clone());
        self.names.reconfigure(names_config(config));
        self.dns_events.set(rate_limit(config));
    }

    pub(super) fn take_hello(&mut self, hello: &TlsHello) {
        let Some(name) = self.hellos.take(hello).and_then(|said| said.server_name.clone()) else { return };
        let of = Peering {
            process: hello.owner.process,
            namespace: hello.network_namespace,
            address: hello.remote.0,
        };
        self.names.learn_from_hello(of, &name, hello.time_ns);
    }

    /// The name that a client asked for the server of its connection by.
    pub(super) fn name_for_event(&mut self, event: &SocketEvent) -> Option<Arc<str>> {
        if event.role != Role::Client {
            return None;
        }
        let of = Peering {
            process: event.owner.process,
            namespace: event.network_namespace,
            address: event.remote.0,
        };
        // Since the SYN, or since it was established: its name was known before either.
        self.names.of_event(of, event.time_ns.saturating_sub(event.duration_ns))
    }

    pub(super) fn tell_lookup(&mut self, lookup: &Lookup<Asked>, clock: &Clock) {
        let (asked, sides) = (&lookup.carried, Sides::of(lookup));
        let process = self.name(asked.owner);
        if !self.is_observed(asked.rules, asked.owner, process.as_deref()) {
            return;
        }
        let ended_ns = lookup.sent_ns.saturating_add(lookup.latency_ns);
        let (owner, namespace) = (asked.owner.process, asked.network_namespace);
        if sides.role == Role::Client && !asked.is_multicast() {
            self.names.learn(owner, namespace, &lookup.question, &lookup.answers, ended_ns);
        }
        let searched = searched(&self.search, lookup);
        let suffix = searched.map(|searched| Arc::clone(&searched.suffix));
        let question = match searched {
            Some(searched) => Arc::clone(&searched.folded),
            None => self.questions.fold(&lookup.question.name, ended_ns),
        };
        self.tell_lookup_event(lookup, process.as_deref(), suffix.as_ref(), clock);
        let keeps_client =
            self.config.metrics.attributes_of(LOOKUP_DURATION.name).contains(&FlowAttribute::ClientAddress);
        let of = Observation {
            owner: asked.owner,
            transport: asked.transport,
            role: sides.role,
            server: sides.server,
            client: keeps_client.then_some(sides.client.0),
            network_namespace: namespace,
            question,
            record_type: lookup.question.record_type,
            outcome: lookup.outcome,
            truncated: lookup.truncated,
            suffix,
        };
        self.lookups.add(of, process, lookup.latency_ns);
        if self.lookups.len() > self.config.limits.flows.get() as usize {
            self.take_lookups(clock);
        }
    }

    pub(super) fn tell_lookup_event(
        &mut self,
        lookup: &Lookup<Asked>,
        process: Option<&Process>,
        suffix: Option<&Arc<str>>,
        clock: &Clock,
    ) {
        if !self.config.events.enabled.contains(&EventKind::Dns) {
            return;
        }
        if !self.dns_events.allows(clock.boot_ns()) {
            self.dns_events_dropped += 1;
            return;
        }
        let (asked, sides) = (&lookup.carried, Sides::of(lookup));
        let of = Peering {
            process: asked.owner.process,
            namespace: asked.network_namespace,
            address: sides.server.0,
        };
        let name = match sides.role {
            Role::Client => self.names.of_event(of, lookup.sent_ns),
            Role::Server | Role::Unknown => None,
        };
        let holders = self.holders_of(lookup.socket.0);
        let user = self.users.name(asked.owner.uid);
        let of = Ownership { process, user, holders: &holders, own: self.is_own(asked.owner) };
        let known = Known { server_name: name.as_ref(), suffix };
        self.pending_logs.push(logs::dns::record(lookup, &of, known, clock));
    }

    /// Lookups become measurements of their series.
    pub(super) fn take_lookups(&mut self, clock: &Clock) {
        let (since, now) = (self.last_sweep_unix_ns, clock.unix_ns());
        for (of, sum) in self.lookups.take() {
            let user = self.user(of.owner);
            let flow = NamedFlow {
                process: sum.process,
                user,
                transport: of.transport,
                application: None,
                role: of.role,
                server: of.server,
                server_name: self.name_for_flow(
                    of.role,
                    of.owner,
                    of.network_namespace,
                    of.server.0,
                    None,
                    clock,
                ),
                client: of.client,
                network_namespace: of.network_namespace,
            };
            let value = MeasuredValue::Histogram { buckets: &sum.buckets, sum_us: sum.sum_us };
            let measurement = Measurement { metric: &LOOKUP_DURATION, label: None, value };
            let labels = labels(&of);
            self.series.add_labelled(&flow, &labels, measurement, since, now);
            self.view.add_lookups(&flow, &labels, &sum.buckets);
        }
    }

    /// The name that a client's flow goes by which was measured since the last sweep. `told` is the one that it goes
    /// by already.
    pub(super) fn name_for_flow(
        &mut self,
        role: Role,
        owner: Owner,
        namespace: u32,
        address: IpAddr,
        told: Option<&Arc<str>>,
        clock: &Clock,
    ) -> Option<Arc<str>> {
        if role != Role::Client {
            return None;
        }
        let passed = clock.unix_ns().saturating_sub(self.last_sweep_unix_ns);
        let now = clock.boot_ns();
        let of = Peering { process: owner.process, namespace, address };
        self.names.of_flow(of, told, now.saturating_sub(passed), now)
    }
}

/// The search suffix that a name ends in which does not exist.
pub(super) fn searched<'a>(search: &'a SearchSuffixes, lookup: &Lookup<Asked>) -> Option<&'a SearchSuffix> {
    match lookup.outcome {
        Outcome::Answered(ResponseCode::NXDOMAIN) => search.of(&lookup.question.name),
        _ => None,
    }
}

pub(super) fn dns_status(dns: &Dns, questions: &QuestionNames, names: &Names) -> DnsStatus {
    let (seen, questions, names) = (dns.counts(), questions.counts(), names.statistics());
    let matching = seen.matching;
    DnsStatus {
        lookups: vec![
            ("answered", matching.answered),
            ("timed_out", matching.timed_out - seen.unknown - seen.silent),
            ("unknown", seen.unknown),
            ("silent", seen.silent),
            ("dropped", matching.dropped),
        ],
        pending: seen.pending,
        unmatched: vec![
            ("late", matching.late_responses),
            ("duplicate", matching.duplicate_responses),
            ("unsolicited", matching.unsolicited_responses),
        ],
        malformed: seen.malformed,
        skipped: vec![
            ("multicast", seen.multicast_skipped),
            ("other_opcode", matching.other_opcodes),
            ("without_question", matching.without_question),
        ],
        streams: seen.streams.by_reason().to_vec(),
        folded: vec![("suffix", questions.under_suffix), ("other", questions.other)],
        names: names.held,
        names_limit: 0,
        names_evicted: vec![("address", names.evicted), ("flow", names.undecided)],
        unrelated: names.unrelated,
    }
}
