use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::parse;
use crate::testing::captured;

const MS: u64 = 1_000_000;
const SERVER: &str = "192.0.2.53:53";

fn question(name: &str) -> Question {
    Question { name: name.into(), record_type: RecordType::A, class: CLASS_IN }
}

fn message(id: u16, is_response: bool, names: &[&str]) -> Message {
    let mut message = parse(&captured("notify")).unwrap();
    message.opcode = 0;
    message.id = id;
    message.is_response = is_response;
    message.questions = names.iter().map(|n| question(n)).collect();
    message
}

fn seen(direction: Direction, peer: &str, time_ns: u64, message: Message) -> Sighting {
    Sighting { socket: SocketKey(1), peer: peer.parse().unwrap(), direction, time_ns, message }
}

fn sent(time_ns: u64, message: Message) -> Sighting {
    seen(Direction::Sent, SERVER, time_ns, message)
}

fn received(time_ns: u64, message: Message) -> Sighting {
    seen(Direction::Received, SERVER, time_ns, message)
}

fn lookups() -> Lookups<u32> {
    Lookups::new(MatchLimits::default())
}

#[test]
fn a_response_ends_its_query_with_code_answers_and_latency() {
    let mut lookups = lookups();
    let query = parse(&captured("query_a")).unwrap();
    let response = parse(&captured("cname_chain_a")).unwrap();
    assert!(lookups.observe(sent(5 * MS, query.clone()), || 77).is_empty());
    let ended = lookups.observe(received(12 * MS, response.clone()), || unreachable!());
    let expected = Lookup {
        socket: SocketKey(1),
        role: Role::Client,
        peer: SERVER.parse().unwrap(),
        carried: 77,
        question: query.questions[0].clone(),
        outcome: Outcome::Answered(ResponseCode::NOERROR),
        sent_ns: 5 * MS,
        latency_ns: 7 * MS,
        retries: 0,
        truncated: false,
        answers: response.answers,
    };
    assert_eq!(ended, [expected]);
    assert_eq!(lookups.counts(), MatchCounts { queries: 1, answered: 1, ..MatchCounts::default() });
    assert_eq!((lookups.pending(), lookups.next_timeout_ns()), (0, None));
}

#[test]
fn a_response_that_differs_in_anything_belongs_to_another_query() {
    let base = received(MS, message(1, true, &["a.example"]));
    let other_type = Question { record_type: RecordType::AAAA, ..question("a.example") };
    let mut typed = base.clone();
    typed.message.questions = vec![other_type];
    for (what, response) in [
        ("socket", Sighting { socket: SocketKey(2), ..base.clone() }),
        ("address", Sighting { peer: "192.0.2.54:53".parse().unwrap(), ..base.clone() }),
        ("port", Sighting { peer: "192.0.2.53:54".parse().unwrap(), ..base.clone() }),
        ("direction", Sighting { direction: Direction::Sent, ..base.clone() }),
        ("id", received(MS, message(2, true, &["a.example"]))),
        ("name", received(MS, message(1, true, &["b.example"]))),
        ("type", typed),
    ] {
        let mut lookups = lookups();
        lookups.observe(sent(0, message(1, false, &["a.example"])), || 0);
        assert!(lookups.observe(response, || 0).is_empty(), "{what}");
        assert_eq!(lookups.counts().unsolicited_responses, 1, "{what}");
        assert_eq!(lookups.observe(base.clone(), || 0).len(), 1, "{what}");
    }
}

#[test]
fn a_socket_that_is_asked_is_a_server() {
    let mut lookups = lookups();
    let client = "127.0.0.1:40000";
    lookups.observe(seen(Direction::Received, client, 0, message(1, false, &["a"])), || 1);
    // The same socket asks on, with the id and the question of its client.
    lookups.observe(seen(Direction::Sent, client, MS, message(1, false, &["a"])), || 2);
    let by_server = lookups.observe(seen(Direction::Sent, client, 4 * MS, message(1, true, &["a"])), || 0);
    let by_client =
        lookups.observe(seen(Direction::Received, client, 9 * MS, message(1, true, &["a"])), || 0);
    let told = |l: &[Lookup<u32>]| (l.len(), l[0].role, l[0].carried, l[0].latency_ns);
    assert_eq!(told(&by_server), (1, Role::Server, 1, 4 * MS));
    assert_eq!(told(&by_client), (1, Role::Client, 2, 8 * MS));
}

#[test]
fn a_repeated_query_is_measured_from_the_first() {
    let mut lookups = lookups();
    lookups.observe(sent(0, message(1, false, &["a"])), || 1);
    lookups.observe(sent(1000 * MS, message(1, false, &["a"])), || 2);
    lookups.observe(sent(2000 * MS, message(1, false, &["a"])), || 3);
    let ended = lookups.observe(received(2010 * MS, message(1, true, &["a"])), || 0);
    assert_eq!((ended[0].carried, ended[0].latency_ns, ended[0].retries), (1, 2010 * MS, 2));
    assert!(lookups.observe(received(2011 * MS, message(1, true, &["a"])), || 0).is_empty());
    let counts = lookups.counts();
    assert_eq!((counts.queries, counts.retried, counts.duplicate_responses), (1, 2, 1));
    assert_eq!(counts.unsolicited_responses, 0);
}

#[test]
fn a_query_that_is_asked_again_after_its_answer_is_another() {
    let mut lookups = lookups();
    for round in 0..2 {
        lookups.observe(sent(round * MS, message(1, false, &["a"])), || 0);
        assert_eq!(lookups.observe(received(round * MS + 1, message(1, true, &["a"])), || 0).len(), 1);
    }
    assert_eq!((lookups.counts().queries, lookups.counts().retried), (2, 0));
}

#[test]
fn what_is_not_answered_in_time_times_out_once() {
    let mut lookups = lookups();
    lookups.observe(sent(3, message(1, false, &["a"])), || 5);
    assert_eq!(lookups.next_timeout_ns(), Some(5 * SECOND_NS + 3));
    assert!(lookups.expire(5 * SECOND_NS + 2).is_empty());
    let ended = lookups.expire(5 * SECOND_NS + 3);
    assert_eq!(ended.len(), 1);
    let lookup = &ended[0];
    assert_eq!((lookup.outcome, lookup.carried, lookup.sent_ns), (Outcome::Timeout, 5, 3));
    assert_eq!((lookup.latency_ns, lookup.peer), (5 * SECOND_NS, SERVER.parse().unwrap()));
    assert!(lookups.observe(received(6 * SECOND_NS, message(1, true, &["a"])), || 0).is_empty());
    assert!(lookups.expire(u64::MAX).is_empty());
    let counts = lookups.counts();
    assert_eq!((counts.timed_out, counts.late_responses, counts.unsolicited_responses), (1, 1, 0));
}

#[test]
fn another_timeout_counts_for_what_is_in_flight() {
    let mut lookups = lookups();
    lookups.observe(sent(0, message(1, false, &["a.example"])), || 1);
    lookups.set_limits(MatchLimits { timeout_ns: 60_000 * MS, ..MatchLimits::default() });
    assert!(lookups.expire(59_999 * MS).is_empty());
    assert_eq!(lookups.expire(60_000 * MS).len(), 1);
}

#[test]
fn the_outcome_does_not_depend_on_when_timeouts_are_looked_for() {
    let mut lookups = lookups();
    lookups.observe(sent(0, message(1, false, &["late"])), || 1);
    let ended = lookups.observe(received(5 * SECOND_NS, message(1, true, &["late"])), || 0);
    assert_eq!((ended[0].outcome, ended[0].latency_ns), (Outcome::Timeout, 5 * SECOND_NS));
    // glibc repeats a query after five seconds: that is another lookup, and the first has failed.
    lookups.observe(sent(10 * SECOND_NS, message(2, false, &["b"])), || 2);
    let ended = lookups.observe(sent(15 * SECOND_NS, message(2, false, &["b"])), || 3);
    assert_eq!((ended.len(), ended[0].outcome, ended[0].carried), (1, Outcome::Timeout, 2));
    let ended = lookups.observe(received(15 * SECOND_NS + 1, message(2, true, &["b"])), || 0);
    assert_eq!((ended[0].carried, ended[0].latency_ns), (3, 1));
    assert_eq!((lookups.counts().late_responses, lookups.counts().timed_out), (1, 2));
}

#[test]
fn too_many_in_flight_cost_the_oldest() {
    let mut lookups = Lookups::new(MatchLimits { pending: 2, ..MatchLimits::default() });
    for id in 1..=3 {
        lookups.observe(sent(u64::from(id), message(id, false, &["a"])), || id);
    }
    assert_eq!((lookups.pending(), lookups.counts().dropped), (2, 1));
    assert!(lookups.observe(received(9, message(1, true, &["a"])), || 0).is_empty());
    let ended = lookups.expire(u64::MAX);
    assert_eq!(ended.iter().map(|l| l.carried).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_response_without_its_question_ends_the_only_query_it_can_belong_to() {
    let mut lookups = lookups();
    let response = |id| {
        let mut m = parse(&captured("formerr_header_only")).unwrap();
        m.id = id;
        m
    };
    lookups.observe(sent(0, message(7, false, &["a"])), || 1);
    lookups.observe(sent(0, message(8, false, &["a"])), || 2);
    let ended = lookups.observe(received(MS, response(7)), || 0);
    assert_eq!((ended.len(), ended[0].carried), (1, 1));
    assert_eq!(ended[0].outcome, Outcome::Answered(ResponseCode::FORMERR));
    lookups.observe(sent(0, message(8, false, &["b"])), || 3);
    assert!(lookups.observe(received(MS, response(8)), || 0).is_empty(), "there are two");
    assert_eq!((lookups.pending(), lookups.counts().unsolicited_responses), (2, 1));
}

#[test]
fn anyone_may_answer_what_was_asked_by_multicast() {
    let mut lookups = lookups();
    let llmnr = parse(&captured("llmnr_query")).unwrap();
    lookups.observe(seen(Direction::Sent, "224.0.0.252:5355", 0, llmnr), || 1);
    let response = parse(&captured("llmnr_response")).unwrap();
    let from = |peer| seen(Direction::Received, peer, MS, response.clone());
    assert!(lookups.observe(from("192.0.2.9:53"), || 0).is_empty(), "another port");
    let ended = lookups.observe(from("192.0.2.9:5355"), || 0);
    assert_eq!((ended[0].carried, ended[0].peer), (1, "192.0.2.9:5355".parse().unwrap()));
    assert!(lookups.observe(from("192.0.2.10:5355"), || 0).is_empty());
    assert_eq!(lookups.counts().duplicate_responses, 1);
}

#[test]
fn multicast_dns_answers_without_a_question() {
    let mut lookups = lookups();
    let mut query = parse(&captured("mdns_unicast_response")).unwrap();
    query.questions.push(question("other.local"));
    lookups.observe(seen(Direction::Sent, "[ff02::fb]:5353", 0, query), || 1);
    let response = parse(&captured("mdns_response")).unwrap();
    let ended = lookups.observe(seen(Direction::Received, "[fe80::1]:5353", MS, response.clone()), || 0);
    assert_eq!((ended.len(), &*ended[0].question.name), (1, "printer.local"));
    assert!(lookups.observe(seen(Direction::Received, "[fe80::1]:5353", MS, response), || 0).is_empty());
    assert_eq!((lookups.counts().unsolicited_responses, lookups.pending()), (1, 1));
}

#[test]
fn a_response_by_multicast_answers_all_who_asked_for_it() {
    let mut lookups = lookups();
    let query = |id, names: &[&str]| message(id, false, names);
    let heard = |peer, time, message| seen(Direction::Received, peer, time, message);
    lookups.observe(heard("[fe80::1]:5353", 0, query(0, &["printer.local", "other.local"])), || 1);
    lookups.observe(heard("[fe80::2]:5353", MS, query(9, &["printer.local"])), || 2);
    lookups.observe(heard("[fe80::3]:1024", MS, query(0, &["printer.local"])), || 3);
    let elsewhere = heard("[fe80::4]:5353", MS, query(0, &["printer.local"]));
    lookups.observe(Sighting { socket: SocketKey(77), ..elsewhere }, || 4);
    let response = parse(&captured("mdns_response")).unwrap();
    let told = seen(Direction::Sent, "[ff02::fb]:5353", 3 * MS, response);
    let ended = lookups.observe(told.clone(), || 0);
    let found: Vec<_> = ended.iter().map(|one| (one.carried, one.peer, one.latency_ns)).collect();
    let expected = [("[fe80::1]:5353", 3 * MS), ("[fe80::2]:5353", 2 * MS)];
    assert_eq!(
        found,
        [1, 2].map(|n: u32| {
            let (peer, latency) = expected[n as usize - 1];
            (n, peer.parse().unwrap(), latency)
        })
    );
    assert!(ended.iter().all(|one| one.role == Role::Server && &*one.question.name == "printer.local"));
    // It is said again for good measure (RFC 6762, section 8.3), and of its own accord.
    assert!(lookups.observe(told, || 0).is_empty());
    assert_eq!((lookups.counts().answered, lookups.pending()), (2, 3));
}

#[test]
fn other_messages_are_counted_and_nothing_else() {
    let mut lookups = lookups();
    lookups.observe(sent(0, parse(&captured("notify")).unwrap()), || 0);
    lookups.observe(sent(0, message(1, false, &[])), || 0);
    let counts = MatchCounts { other_opcodes: 1, without_question: 1, ..MatchCounts::default() };
    assert_eq!((lookups.counts(), lookups.pending()), (counts, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Message {
        socket: u64,
        multicast: bool,
        sent: bool,
        id: u16,
        response: bool,
        names: Vec<usize>,
        answers: usize,
    },
    Wait(u64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let message =
        (0u64..2, any::<bool>(), any::<bool>(), 0u16..3, any::<bool>(), vec(0usize..3, 0..3), 0usize..3);
    prop_oneof![
        6 => message.prop_map(|(socket, multicast, sent, id, response, names, answers)| {
            Step::Message { socket, multicast, sent, id, response, names, answers }
        }),
        2 => (0u64..40).prop_map(Step::Wait),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn each_question_ends_exactly_once(steps in vec(step(), 0..120), limit in 1usize..8) {
        let limits = MatchLimits { pending: limit, timeout_ns: 100 };
        let mut lookups = Lookups::new(limits);
        let (mut now, mut given, mut responses) = (0u64, 0u64, 0u64);
        let mut ended_as = BTreeSet::new();
        let (mut answered, mut timed_out) = (0, 0);
        for step in steps {
            let ended = match step {
                Step::Wait(time) => { now += time; Vec::new() }
                Step::Expire => lookups.expire(now),
                Step::Message { socket, multicast, sent, id, response, names, answers } => {
                    let names: Vec<_> = names.iter().map(|n| ["a", "b", "c"][*n]).collect();
                    let mut message = message(id, response, &names);
                    let answer = parse(&captured("mdns_response")).unwrap().answers.remove(0);
                    message.answers = vec![answer; answers];
                    for answer in &mut message.answers {
                        answer.name = "a".into();
                    }
                    responses += u64::from(response);
                    let sighting = Sighting {
                        socket: SocketKey(socket),
                        peer: if multicast { "224.0.0.251:53" } else { SERVER }.parse().unwrap(),
                        direction: if sent { Direction::Sent } else { Direction::Received },
                        time_ns: now,
                        message,
                    };
                    lookups.observe(sighting, || { given += 1; given })
                }
            };
            for lookup in ended {
                prop_assert!(ended_as.insert(lookup.carried), "{} ended twice", lookup.carried);
                match lookup.outcome {
                    Outcome::Answered(_) => {
                        answered += 1;
                        prop_assert!(lookup.latency_ns < limits.timeout_ns);
                    }
                    Outcome::Timeout => {
                        timed_out += 1;
                        prop_assert!(lookup.sent_ns + limits.timeout_ns <= now);
                    }
                }
            }
            prop_assert!(lookups.pending() <= limit);
            prop_assert_eq!(lookups.pending(), lookups.by_age.len());
            let counts = lookups.counts();
            prop_assert_eq!((counts.answered, counts.timed_out, counts.queries), (answered, timed_out, given));
            let pending = lookups.pending() as u64;
            prop_assert_eq!(counts.queries, answered + timed_out + counts.dropped + pending);
            prop_assert!(counts.unsolicited_responses <= responses);
        }
        lookups.expire(u64::MAX);
        prop_assert_eq!(lookups.pending(), 0);
    }

    #[test]
    fn timeouts_do_not_depend_on_how_often_they_are_looked_for(steps in vec(step(), 0..80)) {
        let run = |often: bool| {
            let mut lookups = Lookups::new(MatchLimits { pending: 1000, timeout_ns: 50 });
            let (mut now, mut given, mut ended) = (0u64, 0u64, Vec::new());
            for step in &steps {
                match step.clone() {
                    Step::Wait(time) => now += time,
                    Step::Expire => {}
                    Step::Message { socket, sent, id, response, names, .. } => {
                        let names: Vec<_> = names.iter().map(|n| ["a", "b", "c"][*n]).collect();
                        let direction = if sent { Direction::Sent } else { Direction::Received };
                        let mut sighting = seen(direction, SERVER, now, message(id, response, &names));
                        sighting.socket = SocketKey(socket);
                        ended.extend(lookups.observe(sighting, || { given += 1; given }));
                    }
                }
                if often {
                    ended.extend(lookups.expire(now));
                }
            }
            ended.extend(lookups.expire(u64::MAX));
            ended.sort_by_key(|l| l.carried);
            (ended, lookups.counts())
        };
        prop_assert_eq!(run(true), run(false));
    }
}
