//! From a lookup to a log record.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use netsonde_dns::matching::{Lookup, Outcome};
use netsonde_dns::message::{Answer, RecordData};
use netsonde_probes::records::Role;
use netsonde_probes::signals::dns::metrics as dns;

use super::super::dns::{Asked, error_type};
use super::{Endpoints, Ownership, endpoint, int, push_ownership, seconds, subject, tcp, text};
use crate::enrich::Clock;
use crate::telemetry::{Attribute, AttributeValue, LogRecord, Severity};

/// Answers that a record carries; a whole message can have thousands.
const ANSWERS: usize = 64;

/// Answers that the sentence names.
const TOLD: usize = 3;

/// Which side of a lookup the process is on, and where its ends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Asked, or was asked.
    pub role: Role,
    /// Who was asked; of a query by multicast, who responded.
    pub server: (IpAddr, u16),
    /// Who asked.
    pub client: (IpAddr, u16),
}

impl Sides {
    /// Those of a lookup.
    #[must_use]
    pub fn of(lookup: &Lookup<Asked>) -> Self {
        let (local, remote) = (lookup.carried.local, (lookup.peer.ip(), lookup.peer.port()));
        match lookup.role {
            netsonde_dns::matching::Role::Client => {
                Self { role: Role::Client, server: remote, client: local }
            }
            netsonde_dns::matching::Role::Server => {
                Self { role: Role::Server, server: local, client: remote }
            }
        }
    }
}

/// What else is known of a lookup.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The name that the client asked for the server by.
    pub server_name: Option<&'a Arc<str>>,
    /// The search suffix that the name ends in, when it does not exist.
    pub suffix: Option<&'a Arc<str>>,
}

/// The data of an answer; `None` where it is not read.
fn data(answer: &Answer) -> Option<Arc<str>> {
    match &answer.data {
        RecordData::A(address) => Some(address.to_string().into()),
        RecordData::Aaaa(address) => Some(address.to_string().into()),
        RecordData::Cname(name) => Some(Arc::clone(name)),
        RecordData::Service(binding) => Some(Arc::clone(&binding.target)),
        RecordData::Other(_) => None,
    }
}

fn answers(lookup: &Lookup<Asked>) -> Vec<Arc<str>> {
    let mut answers: Vec<Arc<str>> = lookup.answers.iter().filter_map(data).take(ANSWERS + 1).collect();
    if answers.len() > ANSWERS {
        answers[ANSWERS] = "…".into();
    }
    answers
}

/// A log record of a lookup.
#[must_use]
pub fn record(lookup: &Lookup<Asked>, of: &Ownership<'_>, known: Known<'_>, clock: &Clock) -> LogRecord {
    let (asked, sides) = (&lookup.carried, Sides::of(lookup));
    let ends = Endpoints {
        transport: asked.transport,
        role: sides.role,
        server: sides.server,
        server_name: known.server_name,
        client: Some(sides.client),
        network_namespace: asked.network_namespace,
        cookie: lookup.socket.0,
    };
    let answers = answers(lookup);
    let mut attributes = Vec::with_capacity(40);
    ends.push(&mut attributes);
    push_lookup(lookup, &answers, known, &mut attributes);
    push_ownership(asked.owner, of, clock, &mut attributes);
    LogRecord {
        event: &dns::RESPONSE,
        time_unix_ns: clock.unix_of(lookup.sent_ns.saturating_add(lookup.latency_ns)),
        observed_unix_ns: clock.unix_ns(),
        severity: match lookup.outcome {
            Outcome::Timeout => Severity::Warn,
            Outcome::Answered(_) => Severity::Info,
        },
        body: sentence(lookup, &ends, &answers, &subject(of.process)),
        attributes,
    }
}

fn push_lookup(lookup: &Lookup<Asked>, answers: &[Arc<str>], known: Known<'_>, to: &mut Vec<Attribute>) {
    let mut push = |key: &netsonde_probes::descriptor::Attribute, value| to.push((key.name, value));
    let question = &lookup.question;
    push(&dns::QUESTION_NAME, text(Arc::clone(&question.name)));
    push(&dns::QUESTION_TYPE, text(&*question.record_type.mnemonic()));
    if let Outcome::Answered(code) = lookup.outcome {
        push(&dns::RESPONSE_CODE, text(&*code.mnemonic()));
        let answers = answers.iter().map(|answer| text(Arc::clone(answer))).collect();
        push(&dns::ANSWERS, AttributeValue::Array(answers));
    }
    if let Some(error) = error_type(lookup.outcome) {
        push(&tcp::ERROR_TYPE, text(&*error));
    }
    if lookup.truncated {
        push(&dns::TRUNCATED, AttributeValue::Bool(true));
    }
    if let Some(suffix) = known.suffix {
        push(&dns::SEARCH_SUFFIX, text(Arc::clone(suffix)));
    }
    push(&dns::DURATION, seconds(lookup.latency_ns));
    push(&dns::RETRIES, int(lookup.retries));
}

fn sentence(lookup: &Lookup<Asked>, ends: &Endpoints<'_>, answers: &[Arc<str>], who: &str) -> String {
    let question = format!("{} {}", lookup.question.record_type, lookup.question.name);
    let asked = match (ends.role, ends.client) {
        (Role::Server, Some(client)) => format!("was asked by {} for", endpoint(client)),
        _ => format!("asked {} for", ends.server()),
    };
    let mut said = format!("{who} {asked} {question}: ");
    match lookup.outcome {
        Outcome::Timeout => said.push_str("no response"),
        Outcome::Answered(code) => {
            // Writing to a String cannot fail.
            let _ = write!(said, "{code}");
            for answer in answers.iter().take(TOLD) {
                let _ = write!(said, ", {answer}");
            }
            if answers.len() > TOLD {
                said.push_str(", …");
            }
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netsonde_dns::SocketKey;
    use netsonde_dns::codes::{RecordType, ResponseCode};
    use netsonde_dns::message::{CLASS_IN, Question};
    use netsonde_probes::records::{Owner, ProcessId, RuleMask, Transport};

    use super::super::OF_EVERY_EVENT;
    use super::*;
    use crate::enrich::Process;

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn lookup(server: bool, outcome: Outcome, answers: usize) -> Lookup<Asked> {
        let owner = Owner { process: ProcessId { pid: 42, start_ns: 5 }, image: 1, uid: 0 };
        let data = RecordData::A(Ipv4Addr::new(10, 0, 0, 1));
        Lookup {
            socket: SocketKey(0xbeef),
            role: if server {
                netsonde_dns::matching::Role::Server
            } else {
                netsonde_dns::matching::Role::Client
            },
            peer: (ip(53), if server { 40_000 } else { 53 }).into(),
            carried: Asked {
                owner,
                rules: RuleMask::default(),
                transport: Transport::Udp,
                local: (ip(1), if server { 53 } else { 40_000 }),
                remote: (ip(53), 53),
                network_namespace: 1,
            },
            question: Question { name: "x.example".into(), record_type: RecordType::A, class: CLASS_IN },
            outcome,
            sent_ns: 1,
            latency_ns: 1_500_000,
            retries: 1,
            truncated: true,
            answers: vec![Answer { name: "x.example".into(), ttl: 60, data }; answers],
        }
    }

    fn told(lookup: &Lookup<Asked>) -> LogRecord {
        let process = Process::example(ProcessId { pid: 42, start_ns: 5 }, "/usr/bin/dig", None);
        let of = Ownership { process: Some(&process), user: "root".into(), holders: &[], own: false };
        let (name, suffix) = ("resolver.example".into(), "example".into());
        let known = Known { server_name: Some(&name), suffix: Some(&suffix) };
        record(lookup, &of, known, &Clock::read())
    }

    const NOERROR: Outcome = Outcome::Answered(ResponseCode::NOERROR);
    const NXDOMAIN: Outcome = Outcome::Answered(ResponseCode::NXDOMAIN);

    #[test]
    fn a_record_carries_only_what_its_descriptor_names() {
        for of in [lookup(false, NOERROR, 1), lookup(true, NXDOMAIN, 0), lookup(false, Outcome::Timeout, 0)] {
            for (key, _) in &told(&of).attributes {
                let declared = dns::RESPONSE.attributes.iter().chain(OF_EVERY_EVENT);
                assert!(declared.into_iter().any(|a| a.name == *key), "{key}");
            }
        }
    }

    #[test]
    fn the_sentence_says_who_asked_whom_for_what() {
        assert_eq!(
            told(&lookup(false, NOERROR, 1)).body,
            "dig[42] asked resolver.example:53 (192.0.2.53) for A x.example: NOERROR, 10.0.0.1"
        );
        assert_eq!(
            told(&lookup(true, NXDOMAIN, 0)).body,
            "dig[42] was asked by 192.0.2.53:40000 for A x.example: NXDOMAIN"
        );
        let unanswered = told(&lookup(false, Outcome::Timeout, 0));
        assert!(unanswered.body.ends_with("for A x.example: no response"), "{}", unanswered.body);
        assert_eq!(unanswered.severity, Severity::Warn);
    }

    #[test]
    fn more_answers_than_anybody_reads_are_cut() {
        let record = told(&lookup(false, NOERROR, 1000));
        let (_, answers) = record.attributes.iter().find(|(key, _)| *key == "dns.answers").expect("answers");
        let AttributeValue::Array(answers) = answers else { panic!("a list") };
        assert_eq!(answers.len(), ANSWERS + 1);
        assert_eq!(answers.last(), Some(&AttributeValue::String("…".into())));
        assert!(record.body.ends_with("10.0.0.1, 10.0.0.1, 10.0.0.1, …"));
    }
}
