use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::{CLASS_IN, parse};
use crate::testing::captured;

const S: u64 = SECOND_NS;
const ALICE: Asker<u32> = Asker { namespace: 1, process: Some(100) };
const BOB: Asker<u32> = Asker { namespace: 1, process: Some(200) };
const ELSEWHERE: Asker<u32> = Asker { namespace: 2, process: Some(300) };

fn question(name: &str) -> Question {
    Question { name: name.into(), record_type: RecordType::A, class: CLASS_IN }
}

fn answer(name: &str, ttl: u32, data: RecordData) -> Answer {
    Answer { name: name.into(), ttl, data }
}

fn a(name: &str, ttl: u32, address: &str) -> Answer {
    answer(name, ttl, RecordData::A(address.parse().unwrap()))
}

fn cname(name: &str, ttl: u32, target: &str) -> Answer {
    answer(name, ttl, RecordData::Cname(target.into()))
}

struct Cache(NameCache<u32>);

impl Cache {
    fn new() -> Self {
        Self(NameCache::new(NameLimits::default()))
    }

    fn asked(&mut self, asker: Asker<u32>, name: &str, ttl: u32, address: &str, now_ns: u64) {
        self.0.learn(asker, &question(name), &[a(name, ttl, address)], now_ns);
    }

    fn name(&mut self, asker: Asker<u32>, address: &str, at_ns: u64) -> Option<(String, NameSource)> {
        self.0.name_of(asker, address.parse().unwrap(), at_ns).map(|n| (n.name.to_string(), n.source))
    }

    fn text(&mut self, asker: Asker<u32>, address: &str, at_ns: u64) -> String {
        self.name(asker, address, at_ns).map_or_else(|| "-".into(), |(name, _)| name)
    }
}

#[test]
fn the_name_that_was_asked_for_names_all_that_it_leads_to() {
    let mut cache = Cache::new();
    for message in ["cname_chain_a", "cname_chain_aaaa", "https_hints", "svcb"] {
        let message = parse(&captured(message)).unwrap();
        cache.0.learn(ALICE, &message.questions[0], &message.answers, 0);
    }
    for (address, name) in [
        ("192.0.2.80", "web.example.com"),
        ("192.0.2.81", "web.example.com"),
        ("2001:db8::80", "web.example.com"),
        ("192.0.2.10", "www.example.com"),
        ("192.0.2.11", "www.example.com"),
        ("2001:db8::10", "www.example.com"),
        ("::ffff:192.0.2.10", "www.example.com"),
        ("192.0.2.53", "resolver.arpa"),
        ("192.0.2.1", "-"),
    ] {
        assert_eq!(cache.text(ALICE, address, 1), name, "{address}");
    }
    assert_eq!(cache.0.counts(), NameCounts { learned: 7, ..NameCounts::default() });
}

#[test]
fn aliases_may_come_in_any_order_and_in_circles() {
    let mut cache = Cache::new();
    let answers = [
        a("c", 9, "10.0.0.1"),
        cname("b", 9, "c"),
        cname("a", 9, "b"),
        cname("c", 9, "a"),
        a("b", 9, "10.0.0.2"),
    ];
    cache.0.learn(ALICE, &question("a"), &answers, 0);
    assert_eq!(cache.text(ALICE, "10.0.0.1", 1), "a");
    assert_eq!(cache.text(ALICE, "10.0.0.2", 1), "a");
}

#[test]
fn an_answer_to_something_else_is_not_believed() {
    let mut cache = Cache::new();
    let answers =
        [a("a", 9, "10.0.0.1"), a("bank.example", 9, "10.0.0.2"), cname("x", 9, "y"), a("y", 9, "10.0.0.3")];
    cache.0.learn(ALICE, &question("a"), &answers, 0);
    assert_eq!(cache.text(ALICE, "10.0.0.2", 1), "-");
    assert_eq!(cache.text(ALICE, "10.0.0.3", 1), "-");
    assert_eq!(cache.0.counts(), NameCounts { learned: 1, unrelated: 2, evicted: 0 });
}

#[test]
fn an_alias_of_a_service_has_no_hints() {
    let mut message = parse(&captured("https_hints")).unwrap();
    for answer in &mut message.answers {
        if let RecordData::Service(binding) = &mut answer.data {
            binding.priority = 0;
        }
    }
    let mut cache = Cache::new();
    cache.0.learn(ALICE, &message.questions[0], &message.answers, 0);
    assert!(cache.0.is_empty());
}

#[test]
fn only_questions_for_services_have_prefixes() {
    let https = |name: &str| Question { record_type: RecordType::HTTPS, ..question(name) };
    for (question, name) in [
        (https("_8443._https.www.example.com"), "www.example.com"),
        (https("www.example.com"), "www.example.com"),
        (https("_only"), "_only"),
        (question("_8443._https.www.example.com"), "_8443._https.www.example.com"),
    ] {
        assert_eq!(&*asked_name(&question), name);
    }
}

#[test]
fn of_two_names_each_process_keeps_its_own() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "alice.example", 300, "10.0.0.1", 0);
    cache.asked(BOB, "bob.example", 300, "10.0.0.1", S);
    assert_eq!(cache.name(ALICE, "10.0.0.1", 2 * S), Some(("alice.example".into(), NameSource::Process)));
    assert_eq!(cache.name(BOB, "10.0.0.1", 2 * S), Some(("bob.example".into(), NameSource::Process)));
    let carol = Asker { process: Some(999), ..ALICE };
    assert_eq!(cache.name(carol, "10.0.0.1", 2 * S), Some(("bob.example".into(), NameSource::Namespace)));
    let nobody = Asker { process: None, ..ALICE };
    assert_eq!(cache.name(nobody, "10.0.0.1", 2 * S), Some(("bob.example".into(), NameSource::Namespace)));
    assert_eq!(cache.name(ELSEWHERE, "10.0.0.1", 2 * S), Some(("bob.example".into(), NameSource::Host)));
}

#[test]
fn a_namespace_has_its_own_names_before_those_of_the_host() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "here.example", 300, "10.0.0.1", 0);
    cache.asked(ELSEWHERE, "there.example", 300, "10.0.0.1", S);
    assert_eq!(cache.text(BOB, "10.0.0.1", 2 * S), "here.example");
    let third = Asker { namespace: 3, process: Some(1) };
    assert_eq!(cache.name(third, "10.0.0.1", 2 * S), Some(("there.example".into(), NameSource::Host)));
}

#[test]
fn the_same_number_in_another_namespace_is_another_process() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "one.example", 300, "10.0.0.1", 0);
    cache.asked(Asker { namespace: 2, ..ALICE }, "two.example", 300, "10.0.0.1", 0);
    assert_eq!(cache.text(ALICE, "10.0.0.1", 1), "one.example");
}

#[test]
fn of_two_names_of_a_process_the_one_asked_for_last_counts_at_each_time() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "a", 300, "10.0.0.1", 10 * S);
    cache.asked(ALICE, "b", 300, "10.0.0.1", 20 * S);
    cache.asked(ALICE, "a", 300, "10.0.0.1", 30 * S);
    for (at, name) in [(9, "-"), (10, "a"), (15, "a"), (20, "b"), (29, "b"), (30, "a"), (300, "a")] {
        assert_eq!(cache.text(ALICE, "10.0.0.1", at * S), name, "at {at}");
    }
}

#[test]
fn a_name_is_kept_for_its_time_and_a_little_longer() {
    let limits = NameLimits::default();
    for (ttl, kept_ns) in
        [(0, limits.ttl_floor_ns), (59, 60 * S), (300, 300 * S), (u32::MAX, limits.ttl_cap_ns)]
    {
        let mut cache = Cache::new();
        cache.asked(ALICE, "a", ttl, "10.0.0.1", 7);
        let last = 7 + kept_ns + limits.grace_ns;
        assert_eq!(cache.text(ALICE, "10.0.0.1", last), "a", "{ttl}");
        assert_eq!(cache.text(ALICE, "10.0.0.1", last + 1), "-", "{ttl}");
    }
}

#[test]
fn a_name_that_was_forgotten_in_between_is_not_known_for_then() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "a", 60, "10.0.0.1", 0);
    cache.asked(ALICE, "a", 60, "10.0.0.1", 1000 * S);
    for (at, name) in [(500, "-"), (999, "-"), (1000, "a")] {
        assert_eq!(cache.text(ALICE, "10.0.0.1", at * S), name, "at {at}");
    }
}

#[test]
fn the_shortest_time_on_the_way_counts() {
    let mut cache = Cache::new();
    let answers = [cname("a", 100, "b"), cname("b", 3600, "c"), a("c", 7200, "10.0.0.1")];
    cache.0.learn(ALICE, &question("a"), &answers, 0);
    assert_eq!(cache.text(ALICE, "10.0.0.1", 400 * S), "a");
    assert_eq!(cache.text(ALICE, "10.0.0.1", 400 * S + 1), "-");
}

#[test]
fn a_name_that_is_valid_comes_before_a_later_one_that_was() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "long", 3600, "10.0.0.1", 0);
    cache.asked(ALICE, "short", 60, "10.0.0.1", S);
    assert_eq!(cache.text(ALICE, "10.0.0.1", 61 * S), "short");
    assert_eq!(cache.text(ALICE, "10.0.0.1", 62 * S), "long");
}

#[test]
fn loopback_has_a_name_for_who_asked_and_the_unspecified_address_none() {
    let mut cache = Cache::new();
    cache.asked(ALICE, "ads.example", 300, "127.0.0.1", 0);
    cache.asked(ALICE, "ads.example", 300, "0.0.0.0", 0);
    cache.asked(ALICE, "group.example", 300, "224.0.0.5", 0);
    assert_eq!(cache.text(ALICE, "127.0.0.1", 1), "ads.example");
    assert_eq!(cache.text(BOB, "127.0.0.1", 1), "-");
    assert_eq!(cache.text(ALICE, "0.0.0.0", 1), "-");
    assert_eq!(cache.text(ALICE, "224.0.0.5", 1), "-");
}

#[test]
fn the_hosts_file_comes_last() {
    let mut cache = Cache::new();
    cache.0.set_hosts(Hosts::parse("10.0.0.1 db\n127.0.0.1 localhost"));
    assert_eq!(cache.name(ALICE, "10.0.0.1", 0), Some(("db".into(), NameSource::HostsFile)));
    cache.asked(ELSEWHERE, "there.example", 60, "10.0.0.1", 0);
    assert_eq!(cache.name(ALICE, "10.0.0.1", 0), Some(("there.example".into(), NameSource::Host)));
    assert_eq!(cache.text(ALICE, "10.0.0.1", 3600 * S), "db");
    cache.0.set_hosts(Hosts::default());
    assert_eq!(cache.text(ALICE, "10.0.0.1", 3600 * S), "-");
}

#[test]
fn too_many_addresses_cost_those_that_rest_longest() {
    let mut cache = Cache(NameCache::new(NameLimits { entries: 6, ..NameLimits::default() }));
    cache.asked(ALICE, "one", 60, "10.0.0.1", 0);
    cache.asked(ALICE, "two", 60, "10.0.0.2", 0);
    assert_eq!((cache.0.len(), cache.0.counts().evicted), (6, 0));
    assert_eq!(cache.text(ALICE, "10.0.0.1", 1), "one");
    cache.asked(ALICE, "three", 60, "10.0.0.3", 1);
    assert_eq!((cache.0.len(), cache.0.counts().evicted), (6, 3));
    assert_eq!(cache.text(ALICE, "10.0.0.1", 2), "one", "it was looked up lately");
    assert_eq!(cache.text(ALICE, "10.0.0.3", 2), "three");
    // What has had its time is no loss.
    cache.asked(ALICE, "four", 60, "10.0.0.4", 3600 * S);
    assert_eq!(cache.0.counts().evicted, 3);
}

#[test]
fn an_address_keeps_the_names_asked_for_last() {
    let mut cache = Cache::new();
    for i in 0..100 {
        cache.asked(ALICE, &format!("n{i}"), 300, "10.0.0.1", i);
    }
    assert_eq!(cache.0.len(), 3);
    assert!(cache.0.entries.iter().all(|(_, claims)| claims.len() == NAMES_AT_ONCE));
    assert_eq!(cache.text(ALICE, "10.0.0.1", 100), "n99");
    assert_eq!(cache.text(ALICE, "10.0.0.1", 96), "n96");
}

proptest! {
    /// Against a model that keeps everything: who asked for which name when, of one address.
    #[test]
    fn the_latest_valid_name_of_the_nearest_who_asked_is_found(
        lookups in vec((0u32..2, 0u32..3, 0usize..3, 0u32..400, 1u64..200), 1..40),
        asker in (0u32..3, 0u32..3),
        later in 0u64..800,
    ) {
        let limits = NameLimits { grace_ns: 100 * S, ..NameLimits::default() };
        let mut cache = NameCache::new(limits);
        // By scope and name: when it was asked for last, and until when it is kept.
        type Scoped = (Option<u32>, Option<u32>, usize);
        let mut model: HashMap<Scoped, (usize, u64)> = HashMap::new();
        let mut now = 0;
        for (order, (namespace, process, name, ttl, wait)) in lookups.into_iter().enumerate() {
            now += wait * S;
            let text = format!("n{name}");
            let asker = Asker { namespace, process: Some(process) };
            cache.learn(asker, &question(&text), &[a(&text, ttl, "10.0.0.1")], now);
            let until = now + u64::from(ttl.max(60)) * S;
            for scope in [(Some(namespace), Some(process)), (Some(namespace), None), (None, None)] {
                let entry = model.entry((scope.0, scope.1, name)).or_default();
                *entry = (order, entry.1.max(until));
            }
        }
        let at = now + later * S;
        let scopes = [(Some(asker.0), Some(asker.1)), (Some(asker.0), None), (None, None)];
        let expected = scopes.iter().find_map(|scope| {
            (0..3)
                .filter_map(|name| model.get(&(scope.0, scope.1, name)).map(|m| (name, m)))
                .filter(|(_, (_, until))| at <= until + 100 * S)
                .max_by_key(|(_, (order, until))| (at <= *until, *order))
                .map(|(name, _)| format!("n{name}"))
        });
        let who = Asker { namespace: asker.0, process: Some(asker.1) };
        let found = cache.name_of(who, "10.0.0.1".parse().unwrap(), at).map(|n| n.name.to_string());
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_answers_make_it_panic_or_grow(
        messages in vec((0usize..crate::testing::CAPTURED.len(), 0u32..3, any::<Option<u32>>(), any::<u64>()), 0..40),
        limit in 0usize..9,
    ) {
        let mut cache = NameCache::new(NameLimits { entries: limit, ..NameLimits::default() });
        for (which, namespace, process, now_ns) in messages {
            let Ok(message) = parse(&captured(crate::testing::CAPTURED[which].0)) else { continue };
            let asker = Asker { namespace, process };
            for question in &message.questions {
                cache.learn(asker, question, &message.answers, now_ns);
            }
            cache.name_of(asker, "192.0.2.80".parse().unwrap(), now_ns);
            prop_assert!(cache.len() <= limit);
        }
    }
}
