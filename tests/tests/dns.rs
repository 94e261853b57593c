//! Lookups are told as their clients had them, and addresses by the names that they were asked for.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "how many differences had to be explained is worth knowing")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::dns::{self, Answer, Authority, Client, Difference, Dnsmasq};
use netsonde_tests::expect::{self, Role, Subject, Transport};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::nginx::Nginx;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::{Moved, Process};
use netsonde_tests::telemetry::{Event, Telemetry};

/// Processes of one binary are told apart by their ids, names by the addresses that they stand for.
const BY_PROCESS: &str = "[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\", \
    \"network.peer.address\", \"server.address\", \"server.port\", \"process.executable.path\", \"process.pid\"]\n";
/// All that happens, of lookups and of connections.
const EVENTS: &str = "[events]\nrate_limit = 0\nenabled = [\"dns\", \"connect\", \"accept\", \"close\"]\n";
const SERVER: &str = "10.77.0.2:53";
const BOTH: &str = "10.77.0.2:53 [fd00:77::2]:53";

fn configuration(dns: &str) -> String {
    format!("{EVENTS}{BY_PROCESS}[dns]\n{dns}\n")
}

/// A client and a server of our own on both ends of a cable.
fn start_both(pair: &Pair) -> (Client, Authority) {
    (Client::start(&pair.client).unwrap(), Authority::start(&pair.server, BOTH).unwrap())
}

/// What was told until both sides of so many lookups were.
fn wait_for(daemon: &Daemon, sides: &[(i32, Role)], count: usize) -> Telemetry {
    daemon
        .wait(&format!("{count} lookups"), |seen| {
            sides.iter().all(|(pid, role)| dns::lookups(seen, *pid, *role).len() >= count)
        })
        .unwrap()
}

/// Fails unless these answers, and no others, were told of a process, once each, by the log and by the metric.
fn assert_told(telemetry: &Telemetry, answers: &[Answer], role: Role, owner: &dns::Identity) {
    assert!(!answers.is_empty(), "nothing is compared");
    let pid = owner.process.pid;
    let told = dns::lookups(telemetry, pid, role);
    for answer in answers {
        if let Err(error) = dns::check(&told, answer, role, owner) {
            panic!("{error:#}");
        }
    }
    assert_eq!(told.len(), answers.len(), "{told:?}");
    assert_eq!(dns::counted(telemetry, pid, role, &[]), answers.len() as u64);
    for answer in answers {
        let same =
            |one: &&Answer| one.name == answer.name && one.kind == answer.kind && one.code == answer.code;
        let mut filter = vec![
            ("dns.question.name", answer.name.to_lowercase().as_str().into()),
            ("dns.question.type", answer.kind.as_str().into()),
        ];
        filter.extend(answer.code.as_deref().map(|code| ("dns.response_code", code.into())));
        let counted = dns::counted(telemetry, pid, role, &filter);
        assert_eq!(counted, answers.iter().filter(same).count() as u64, "{filter:?}");
    }
}

#[test]
fn lookups_over_udp_are_told_as_both_ends_had_them() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration("")).unwrap();
    let (mut client, server) = start_both(&pair);
    let names = ["plain.zone.test", "alias.zone.test", "missing.zone.test", "servfail.zone.test"];
    let more = ["refused.zone.test", "MiXeD.zone.test", "slow-1.zone.test", "truncated.zone.test"];
    let mut answers = client.ask(SERVER, "A", &[names, more].concat()).unwrap();
    answers.extend(client.ask("[fd00:77::2]:53", "AAAA", &names).unwrap());
    answers.extend(client.ask(SERVER, "TXT", &["plain.zone.test"]).unwrap());
    for (server, kind) in [(SERVER, "A"), ("[fd00:77::2]:53", "AAAA")] {
        let names = ["plain-unconnected.zone.test", "missing-unconnected.zone.test"];
        answers.extend(client.ask_unconnected(server, kind, &names).unwrap());
    }
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    client.end().unwrap();
    let asked = server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!((answers.len(), asked.len()), (17, 17), "nothing is compared");
    assert!(answers.iter().all(|answer| answer.code.is_some()));
    assert!(
        answers.iter().any(|answer| answer.truncated) && answers.iter().any(|one| one.answers.len() == 2)
    );
    assert_told(&telemetry, &answers, Role::Client, &asking);
    assert_told(&telemetry, &answers, Role::Server, &answering);
    for (pid, role) in [(asking.process.pid, Role::Client), (answering.process.pid, Role::Server)] {
        let events = dns::lookups(&telemetry, pid, role);
        expect::assert_attribute(&events, "server.port", 53);
        expect::assert_attribute(&events, "netsonde.dns.retries", 0);
    }
    let slow = |event: &&Event| event.attributes.get("dns.question.name") == Some(&"slow-1.zone.test".into());
    let events = dns::lookups(&telemetry, answering.process.pid, Role::Server);
    let slow = dns::duration(events.into_iter().find(slow).unwrap());
    assert!((0.150..0.200).contains(&slow), "the server took its time, and not {slow} s");
}

#[test]
fn one_question_to_two_servers_is_two_lookups() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    pair.server.ip("address add 10.77.0.3/24 dev cable").unwrap();
    let daemon = Daemon::start(&configuration("")).unwrap();
    let one = Authority::start(&pair.server, SERVER).unwrap();
    let other = Authority::start(&pair.server, "10.77.0.3:53").unwrap();
    let mut client = Client::start(&pair.client).unwrap();
    let answers = client.ask_all(&[SERVER, "10.77.0.3:53"], "A", "slow-1.zone.test").unwrap();
    let asking = client.identity.clone();
    client.end().unwrap();
    let servers = [(one.identity.clone(), "10.77.0.2"), (other.identity.clone(), "10.77.0.3")];
    one.stop().unwrap();
    other.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(dns::counted(&telemetry, asking.process.pid, Role::Client, &[]), 2);
    let told = dns::lookups(&telemetry, asking.process.pid, Role::Client);
    for (server, address) in &servers {
        let of = |event: &&Event| event.attributes.get("network.peer.address") == Some(&(*address).into());
        let here: Vec<_> = told.iter().copied().filter(of).collect();
        dns::check(&here, &answers[1], Role::Client, &asking).unwrap();
        let there = dns::lookups(&telemetry, server.process.pid, Role::Server);
        dns::check(&there, &answers[1], Role::Server, server).unwrap();
        expect::assert_attribute(&there, "server.address", *address);
    }
}

#[test]
fn a_response_that_is_larger_than_a_frame_is_read() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration("")).unwrap();
    let before = oracle::Counters::read(&pair.server).unwrap();
    let (mut client, server) = start_both(&pair);
    let answers = client.ask(SERVER, "A", &["large.zone.test", "plain.zone.test"]).unwrap();
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    client.end().unwrap();
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    let fragments = oracle::Counters::read(&pair.server).unwrap().since(&before, "Ip:FragCreates").unwrap();
    assert!(fragments > 0 && answers[0].answers.len() == 90, "nothing is compared");
    for (role, owner) in [(Role::Client, &asking), (Role::Server, &answering)] {
        let told = dns::lookups(&telemetry, owner.process.pid, role);
        dns::check(&told, &answers[1], role, owner).unwrap();
        let large: Vec<_> = told.iter().filter(|event| dns::is_of(event, &answers[0])).copied().collect();
        let [event] = large[..] else { panic!("told {} times: {large:?}", large.len()) };
        assert_eq!(event.attributes.get("dns.response_code"), Some(&"NOERROR".into()));
        // How many of them are told is bounded: those that are told are the first ones, and a mark for the others.
        let list = event.get("dns.answers").unwrap().list();
        let list: Vec<_> = list.iter().filter_map(|one| one.text()).collect();
        let (mark, list) = list.split_last().unwrap();
        assert!(*mark == "…" && list.len() > 50, "{event:?}");
        assert!(list.iter().zip(&answers[0].answers).all(|(found, expected)| found == expected), "{event:?}");
    }
}

#[test]
fn lookups_over_tcp_are_whole_however_they_are_cut() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration("")).unwrap();
    let (mut client, server) = start_both(&pair);
    let mut answers = Vec::new();
    for how in ["each", "together", "pieces"] {
        for what in ["plain", "split", "reversed"] {
            let names: Vec<String> = (0..4).map(|number| format!("{what}-{number}.{how}.test")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            answers.extend(client.stream(SERVER, how, &names).unwrap());
        }
    }
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    client.end().unwrap();
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(answers.len(), 36);
    assert_told(&telemetry, &answers, Role::Client, &asking);
    assert_told(&telemetry, &answers, Role::Server, &answering);
}

#[test]
fn lookups_over_tcp_are_told_where_tcp_is_not_measured() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    // One server is older than netsonde, the other is not.
    for older in [true, false] {
        let before = older.then(|| Authority::start(&pair.server, BOTH).unwrap());
        let daemon = Daemon::start(&format!("{}[signals]\ntcp = false\n", configuration(""))).unwrap();
        let server = before.unwrap_or_else(|| Authority::start(&pair.server, BOTH).unwrap());
        let mut client = Client::start(&pair.client).unwrap();
        let mut answers = Vec::new();
        for how in ["each", "together", "pieces"] {
            answers.extend(client.stream(SERVER, how, &[&format!("{older}.{how}.test")]).unwrap());
        }
        let (asking, answering) = (client.identity.clone(), server.identity.clone());
        client.end().unwrap();
        server.stop().unwrap();
        let telemetry = daemon.stop().unwrap();
        assert_told(&telemetry, &answers, Role::Client, &asking);
        assert_told(&telemetry, &answers, Role::Server, &answering);
        assert_eq!(telemetry.sum("netsonde.flow.io", &[("network.transport", "tcp".into())]), 0);
    }
}

#[test]
fn dig_asks_again_over_tcp_what_was_truncated() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration("")).unwrap();
    let server = Authority::start(&pair.server, BOTH).unwrap();
    let cases = [
        ("slow-1.dig.test A", "NOERROR", vec!["udp"]),
        ("slow-2.dig.test A +tcp", "NOERROR", vec!["tcp"]),
        ("truncated.dig.test A", "NOERROR", vec!["udp", "tcp"]),
        ("missing.dig.test AAAA", "NXDOMAIN", vec!["udp"]),
    ];
    let dug: Vec<_> = cases
        .iter()
        .map(|(what, ..)| dns::dig(&pair.client, &format!("@10.77.0.2 {what} +nosearch")).unwrap())
        .collect();
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    let path = dns::path_of("dig").unwrap();
    for ((what, code, transports), dug) in cases.iter().zip(&dug) {
        let mut words = what.split(' ').map(Into::into);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let told = dns::lookups(&telemetry, dug.pid as i32, Role::Client);
        assert_eq!(told.len(), transports.len(), "{what}: {told:?}, of {}", dug.text);
        assert!(dug.text.contains(&format!("status: {code},")), "{}", dug.text);
        for (event, transport) in told.iter().zip(transports) {
            let values = [
                ("dns.question.name", &name),
                ("dns.question.type", &kind),
                ("dns.response_code", &(*code).into()),
                ("network.transport", &(*transport).into()),
                ("process.executable.path", &path.as_path().into()),
            ];
            for (attribute, value) in values {
                assert_eq!(event.attributes.get(attribute), Some(value), "{attribute} of {event:?}");
            }
        }
        let is_truncated = told[0].attributes.contains_key("netsonde.dns.truncated");
        assert_eq!(is_truncated, transports.len() == 2, "{told:?}");
        // It is a small program that waits in the kernel: of a lookup of 150 ms, 5 % are 7 ms.
        if what.starts_with("slow") {
            let duration = dns::duration(told[0]);
            assert!(duration <= dug.seconds + 0.001 && duration >= 0.95 * dug.seconds, "{duration}: {dug:?}");
        }
    }
}

#[test]
fn each_of_ten_thousand_lookups_is_told_once() {
    const COUNT: usize = 10_000;
    let _host = Host::acquire().unwrap();
    let place = Namespace::new().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["--address=/bulk.test/10.9.9.9", "--local=/bulk.test/", "--address=/missing.test/"];
    let server = Dnsmasq::start(&place, ([127, 0, 0, 1], 53).into(), &arguments).unwrap();
    let more = "messages_per_second = 1000000\n[limits]\npayload_ring = \"16MiB\"";
    let daemon = Daemon::start(&configuration(more)).unwrap();
    let mut client = Client::start(&place).unwrap();
    let answers = client.bulk("127.0.0.1:53", COUNT, 4000, log.path()).unwrap();
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    client.end().unwrap();
    // A netsonde that was built for debugging writes more slowly than they come, and has its time to end. Searched and
    // not parsed: that takes as long again.
    let written = || fs::read_to_string(daemon.output()).unwrap().matches(dns::RESPONSE).count();
    command::until(Duration::from_secs(60), || Ok(written() >= 2 * COUNT)).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(answers.len(), COUNT);
    let codes = |code: &str| answers.iter().filter(|answer| answer.code.as_deref() == Some(code)).count();
    assert_eq!((codes("NOERROR"), codes("NXDOMAIN")), (COUNT * 3 / 4, COUNT / 4), "nothing is compared");
    for (role, owner) in [(Role::Client, &asking), (Role::Server, &answering)] {
        let mut told: HashMap<_, Vec<&Event>> = HashMap::new();
        for event in dns::lookups(&telemetry, owner.process.pid, role) {
            let word = |name| event.attributes[name].text().unwrap().to_owned();
            told.entry((word("dns.question.name"), word("dns.question.type"))).or_default().push(event);
        }
        let (mut explained, mut off) = (0, Vec::new());
        for answer in &answers {
            let found = told.remove(&(answer.name.clone(), answer.kind.clone())).unwrap_or_default();
            // Neither a wrong duration nor another number than one passes this.
            let event = dns::check(&found, answer, role, owner).unwrap();
            explained += usize::from(answer.difference(dns::duration(event)) == Difference::Explained);
            off.push(answer.off(dns::duration(event)));
        }
        assert!(told.is_empty(), "of nobody's: {told:?}");
        let counted = dns::counted(&telemetry, owner.process.pid, role, &[]);
        assert_eq!(counted, COUNT as u64, "{}", role.name());
        let missing = [("error.type", "NXDOMAIN".into()), ("dns.response_code", "NXDOMAIN".into())];
        let counted = dns::counted(&telemetry, owner.process.pid, role, &missing);
        assert_eq!(counted, COUNT as u64 / 4, "{}", role.name());
        if role == Role::Client {
            off.sort_by(f64::total_cmp);
            let (middle, most, worst) = (off[COUNT / 2], off[COUNT * 99 / 100], off[COUNT - 1]);
            eprintln!("{explained} of {COUNT} times are the client's only with its own reasons");
            eprintln!("half are off by {middle:.6} s, 99 of 100 by {most:.6} s, all by {worst:.6} s");
            // Most of these lookups take less than a millisecond, which would let any short duration pass.
            assert!(middle < 0.000_050 && most < 0.001);
        }
    }
}

#[test]
fn a_query_without_an_answer_times_out_once() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration("timeout = \"1s\"")).unwrap();
    let (mut client, server) = start_both(&pair);
    let moment = Duration::from_millis(100);
    let dropped = ["dropped-1.zone.test", "dropped-2.zone.test", "dropped-3.zone.test"];
    let mut answers = client.ask_for(SERVER, "A", &dropped, moment, 0).unwrap();
    answers.extend(client.ask_for(SERVER, "A", &["dropped-4.zone.test"], moment, 2).unwrap());
    // Its response comes, but too late.
    let late = client.ask(SERVER, "A", &["late.zone.test"]).unwrap();
    assert!(answers.iter().all(|answer| answer.code.is_none()) && late[0].code.is_some());
    answers.push(late[0].in_vain());
    // Its first query is lost.
    let lossy = client.ask_for(SERVER, "A", &["lossy.zone.test"], moment, 1).unwrap();
    answers.extend(lossy);
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    let sides = [(asking.process.pid, Role::Client), (answering.process.pid, Role::Server)];
    wait_for(&daemon, &sides, answers.len());
    client.end().unwrap();
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    for (role, owner) in [(Role::Client, &asking), (Role::Server, &answering)] {
        assert_told(&telemetry, &answers, role, owner);
        let timeout = [("error.type", "timeout".into())];
        assert_eq!(dns::counted(&telemetry, owner.process.pid, role, &timeout), 5);
        for event in dns::lookups(&telemetry, owner.process.pid, role) {
            let retries = match event.get("dns.question.name").unwrap().text() {
                Some("dropped-4.zone.test") => 2,
                Some("lossy.zone.test") => 1,
                _ => 0,
            };
            assert_eq!(event.int("netsonde.dns.retries").unwrap(), retries, "{event:?}");
            if event.attributes.get("error.type") == Some(&"timeout".into()) {
                assert!((dns::duration(event) - 1.0).abs() < 1e-6, "{event:?}");
            }
        }
    }
}

#[test]
fn what_the_c_library_asks_is_told_with_its_search_suffixes() {
    let _host = Host::acquire().unwrap();
    let mut pair = Pair::new().unwrap();
    let resolv_conf = "nameserver 10.77.0.2\nsearch corp.test lab.test\noptions ndots:3 timeout:5\n";
    pair.client.resolve_by(resolv_conf, "127.0.0.1 localhost\n").unwrap();
    let arguments = [
        "--host-record=www.web.test,10.9.9.2,fd00:9::2",
        "--cname=short.web.test,www.web.test",
        "--address=/corp.test/",
        "--address=/lab.test/",
        "--local=/web.test/",
    ];
    let server = Dnsmasq::start(&pair.server, ([10, 77, 0, 2], 53).into(), &arguments).unwrap();
    let suffixes = "search_suffixes = [\"corp.test\", \"lab.test\"]";
    let daemon = Daemon::start(&configuration(suffixes)).unwrap();
    let mut client = Client::start(&pair.client).unwrap();
    let both = client.lookup("www.web.test", "any").unwrap();
    let short = client.lookup("short.web.test.", "ipv4").unwrap();
    let none = client.lookup("none.web.test.", "ipv6").unwrap();
    let asking = client.identity.clone();
    client.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!((both.found, both.error), (vec!["10.9.9.2".to_owned(), "fd00:9::2".to_owned()], None));
    assert_eq!((short.found, none.found), (vec!["10.9.9.2".to_owned()], Vec::new()));
    let mut expected = vec![
        ("short.web.test", "A", "NOERROR", None, vec!["www.web.test", "10.9.9.2"]),
        ("none.web.test", "AAAA", "NXDOMAIN", None, vec![]),
        ("www.web.test", "A", "NOERROR", None, vec!["10.9.9.2"]),
        ("www.web.test", "AAAA", "NOERROR", None, vec!["fd00:9::2"]),
    ];
    for kind in ["A", "AAAA"] {
        expected.push(("www.web.test.corp.test", kind, "NXDOMAIN", Some("corp.test"), vec![]));
        expected.push(("www.web.test.lab.test", kind, "NXDOMAIN", Some("lab.test"), vec![]));
    }
    let told = dns::lookups(&telemetry, asking.process.pid, Role::Client);
    assert_eq!(told.len(), expected.len(), "{told:?}");
    let answered = dns::lookups(&telemetry, server.identity.process.pid, Role::Server);
    assert_eq!(answered.len(), expected.len(), "{answered:?}");
    for (name, kind, code, suffix, answers) in expected {
        let of = |event: &&&Event| {
            event.attributes.get("dns.question.name") == Some(&name.into())
                && event.attributes.get("dns.question.type") == Some(&kind.into())
        };
        for side in [&told, &answered] {
            let found: Vec<_> = side.iter().filter(of).collect();
            let [event] = found[..] else { panic!("{name} {kind} was told {} times", found.len()) };
            assert_eq!(event.attributes.get("dns.response_code"), Some(&code.into()), "{event:?}");
            assert_eq!(event.attributes.get("netsonde.dns.search_suffix"), suffix.map(Into::into).as_ref());
            let list = event.attributes.get("dns.answers").map(|list| list.list().to_vec());
            let list: Vec<_> = list.iter().flatten().filter_map(|one| one.text()).collect();
            assert_eq!(list, answers, "{event:?}");
        }
        // Names that nobody meant are one series.
        let series = suffix.map_or(name.to_owned(), |suffix| format!("*.{suffix}"));
        let mut filter =
            vec![("dns.question.name", series.as_str().into()), ("dns.question.type", kind.into())];
        filter.extend(suffix.map(|suffix| ("netsonde.dns.search_suffix", suffix.into())));
        assert_eq!(dns::counted(&telemetry, asking.process.pid, Role::Client, &filter), 1, "{filter:?}");
    }
    for event in &told {
        expect::check_owner(event, &asking.process, &asking.ancestors).unwrap();
    }
}

#[test]
fn a_resolver_of_the_hosts_own_is_told_as_client_and_as_server() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let port = 5300;
    let upstream = format!("--server=10.77.0.2#{port}");
    let local = Dnsmasq::start(
        &pair.client,
        ([127, 0, 0, 53], 53).into(),
        &[&upstream, "--cache-size=0", "--all-servers"],
    )
    .unwrap();
    let daemon = Daemon::start(&configuration(&format!("ports = [53, {port}]"))).unwrap();
    let server = Authority::start(&pair.server, &format!("10.77.0.2:{port}")).unwrap();
    let mut client = Client::start(&pair.client).unwrap();
    let names = ["plain.zone.test", "slow-1.zone.test", "missing.zone.test", "alias.zone.test"];
    let answers = client.ask("127.0.0.53:53", "A", &names).unwrap();
    let (asking, answering) = (client.identity.clone(), server.identity.clone());
    client.end().unwrap();
    assert_eq!(server.stop().unwrap().len(), names.len());
    let telemetry = daemon.stop().unwrap();
    assert_told(&telemetry, &answers, Role::Client, &asking);
    assert_told(&telemetry, &answers, Role::Server, &local.identity);
    let pid = local.identity.process.pid;
    let forwarded = dns::lookups(&telemetry, pid, Role::Client);
    assert_eq!(forwarded.len(), names.len(), "{forwarded:?}");
    assert_eq!(dns::counted(&telemetry, pid, Role::Client, &[]), names.len() as u64);
    let received = dns::lookups(&telemetry, answering.process.pid, Role::Server);
    assert_eq!(received.len(), names.len(), "{received:?}");
    for answer in &answers {
        for (events, owner) in [(&forwarded, &local.identity), (&received, &answering)] {
            let event = events.iter().find(|event| dns::is_of(event, answer)).unwrap();
            expect::check_owner(event, &owner.process, &owner.ancestors).unwrap();
            assert_eq!(event.int("server.port").unwrap(), i64::from(port));
            assert_eq!(
                event.attributes.get("dns.response_code"),
                answer.code.as_deref().map(Into::into).as_ref()
            );
            assert!(answer.encloses(dns::duration(event)), "{answer:?} {event:?}");
        }
    }
    let slow = forwarded.iter().find(|event| dns::is_of(event, &answers[1])).unwrap();
    assert!(dns::duration(slow) >= 0.150, "{slow:?}");
}

/// One curl, or a copy of it, that had an address by a name.
struct Browsed {
    program: PathBuf,
    name: String,
    fetched: Vec<dns::Fetched>,
}

impl Browsed {
    fn moved(&self) -> Moved {
        let sum = |of: fn(&dns::Fetched) -> u64| self.fetched.iter().map(of).sum();
        Moved { sent: sum(|one| one.sent), received: sum(|one| one.received) }
    }

    /// Fails unless all that it did is under its name, with the address.
    fn assert_named(&self, telemetry: &Telemetry, address: &str) {
        let all = || Subject::new(&self.program, Role::Client);
        let named = all().with("server.address", self.name.as_str()).with("network.peer.address", address);
        for subject in [all(), named] {
            subject.assert_exact(telemetry, self.moved(), self.fetched.len());
        }
        for name in ["netsonde.tcp.connect", "netsonde.tcp.close"] {
            let events = all().events(telemetry, name);
            assert_eq!(events.len(), self.fetched.len(), "{name}");
            expect::assert_attribute(&events, "server.address", self.name.as_str());
            expect::assert_attribute(&events, "network.peer.address", address);
        }
    }
}

/// Another address than that of the web server.
const NAME_SERVER: &str = "10.77.0.3";

/// Two places: curl in one, in the other a dnsmasq that knows these names and a web server.
struct Web {
    pair: Pair,
    nginx: Nginx,
    server: Dnsmasq,
    programs: Programs,
}

impl Web {
    fn start(name_server: &str, arguments: &[&str]) -> Self {
        let mut pair = Pair::new().unwrap();
        pair.server.ip("address add 10.77.0.3/24 dev cable").unwrap();
        pair.client.resolve_by(&format!("nameserver {name_server}\n"), "127.0.0.1 localhost\n").unwrap();
        let nginx = Nginx::start_in(Some(&pair.server), Ipv4Addr::new(10, 77, 0, 2), 1).unwrap();
        let listen = SocketAddr::new(name_server.parse().unwrap(), 53);
        let server = Dnsmasq::start(&pair.server, listen, arguments).unwrap();
        Self { pair, nginx, server, programs: Programs::new().unwrap() }
    }

    fn port(&self) -> u16 {
        self.nginx.address.port()
    }

    /// A curl under a name of its own that has fetched nothing yet.
    fn browser(&self, program: &str, name: &str) -> Browsed {
        let path = self.programs.path(program).unwrap();
        fs::copy(dns::path_of("curl").unwrap(), &path).unwrap();
        Browsed { program: path, name: name.to_owned(), fetched: Vec::new() }
    }

    fn fetch(&self, browsed: &mut Browsed) {
        let url = format!("http://{}:{}/", browsed.name, self.port());
        browsed.fetched.push(dns::curl(&self.pair.client, &browsed.program, &url).unwrap());
    }

    fn end(self, daemon: Daemon) -> Telemetry {
        oracle::wait_until_closed(Some(&self.pair.client), self.port()).unwrap();
        oracle::wait_until_closed(Some(&self.pair.server), self.port()).unwrap();
        self.nginx.stop().unwrap();
        let telemetry = daemon.stop().unwrap();
        drop(self.server);
        telemetry
    }
}

#[test]
fn a_connection_has_the_name_that_its_program_asked_for() {
    let _host = Host::acquire().unwrap();
    let arguments = ["--host-record=web.test,10.77.0.2", "--cname=alias.test,web.test", "--local=/test/"];
    let web = Web::start(NAME_SERVER, &arguments);
    let daemon = Daemon::start(&configuration("")).unwrap();
    let mut direct = web.browser("curl-direct", "web.test");
    let mut alias = web.browser("curl-alias", "alias.test");
    let mut unnamed = web.browser("curl-by-address", "10.77.0.2");
    // Before any name of this address is known.
    web.fetch(&mut unnamed);
    let by_address =
        Subject::new(&unnamed.program, Role::Client).with("server.address", unnamed.name.as_str());
    daemon.wait("a flow by its address", |seen| by_address.moved(seen) == unnamed.moved()).unwrap();
    for browsed in [&mut direct, &mut alias] {
        (0..3).for_each(|_| web.fetch(browsed));
    }
    let telemetry = web.end(daemon);
    for browsed in [&direct, &alias, &unnamed] {
        browsed.assert_named(&telemetry, "10.77.0.2");
    }
    for browsed in [&direct, &alias] {
        for fetched in &browsed.fetched {
            let told = dns::lookups(&telemetry, fetched.pid as i32, Role::Client);
            assert_eq!(told.len(), 2, "one of A and one of AAAA: {told:?}");
            expect::assert_attribute(&told, "dns.question.name", browsed.name.as_str());
        }
    }
}

/// Two programs that fetch the same page, each by a name of its own.
fn assert_two_names(name_server: &str) {
    let arguments =
        ["--host-record=one.test,10.77.0.2", "--host-record=two.test,10.77.0.2", "--local=/test/"];
    let web = Web::start(name_server, &arguments);
    let daemon = Daemon::start(&configuration("")).unwrap();
    let mut one = web.browser("curl-one", "one.test");
    let mut two = web.browser("curl-two", "two.test");
    for _ in 0..5 {
        web.fetch(&mut one);
        web.fetch(&mut two);
    }
    // Both at once.
    thread::scope(|scope| {
        for browsed in [&mut one, &mut two] {
            scope.spawn(|| (0..10).for_each(|_| web.fetch(browsed)));
        }
    });
    let telemetry = web.end(daemon);
    one.assert_named(&telemetry, "10.77.0.2");
    two.assert_named(&telemetry, "10.77.0.2");
}

#[test]
fn two_programs_keep_two_names_of_one_address() {
    let _host = Host::acquire().unwrap();
    assert_two_names(NAME_SERVER);
}

#[test]
fn they_keep_them_where_the_name_server_has_that_address_too() {
    let _host = Host::acquire().unwrap();
    assert_two_names("10.77.0.2");
}

#[test]
fn an_address_that_nobody_asked_for_here_has_its_neighbours_name_or_that_of_a_hosts_file() {
    let _host = Host::acquire().unwrap();
    let web = Web::start(NAME_SERVER, &["--host-record=web.test,10.77.0.2", "--local=/test/"]);
    let hosts = web.programs.path("hosts").unwrap();
    fs::write(&hosts, "10.77.0.2 from-hosts.test other.test\nfd00:77::2 six.test\n").unwrap();
    fs::set_permissions(&hosts, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    web.programs.open_to_all().unwrap();
    let [by_hosts, by_six, by_neighbour, server] =
        ["by-hosts", "by-six", "by-neighbour", "server"].map(|name| web.programs.copy(name).unwrap());
    let daemon = Daemon::start(&configuration(&format!("hosts = \"{}\"", hosts.display()))).unwrap();
    let listening = Server::start(&server, Some(&web.pair.server), "[::]:0", "").unwrap();
    let place = Some(&web.pair.client);
    let connect = |program: &Path, address: &str| {
        program::connect(program, place, listening.at(address).unwrap(), "--connections 3").unwrap()
    };
    let mut cases = Vec::new();
    let four = "10.77.0.2";
    cases.push((&by_hosts, connect(&by_hosts, four), "from-hosts.test", four));
    cases.push((&by_six, connect(&by_six, "fd00:77::2"), "six.test", "fd00:77::2"));
    let mut asking = web.browser("curl-that-asks", "web.test");
    web.fetch(&mut asking);
    cases.push((&by_neighbour, connect(&by_neighbour, four), "web.test", four));
    oracle::wait_until_closed(place, listening.address.port()).unwrap();
    listening.stop().unwrap();
    let telemetry = web.end(daemon);
    asking.assert_named(&telemetry, four);
    for (program, report, name, address) in cases {
        let all = || Subject::new(program, Role::Client);
        let named = all().with("server.address", name).with("network.peer.address", address);
        for subject in [all(), named] {
            subject.assert_exact(&telemetry, report.moved(), report.connections.len());
        }
        let events = all().events(&telemetry, "netsonde.tcp.close");
        assert_eq!(events.len(), 3);
        expect::assert_attribute(&events, "server.address", name);
        expect::assert_attribute(&events, "network.peer.address", address);
    }
}

#[test]
fn what_is_no_message_is_counted_and_harms_nothing() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let server =
        Dnsmasq::start(&pair.server, ([10, 77, 0, 2], 53).into(), &["--address=/zone.test/10.9.9.9"])
            .unwrap();
    // Each name has a series of its own, those of broken messages too.
    let daemon = Daemon::start(&configuration("timeout = \"1s\"\nquestion_names = 10000")).unwrap();
    // Broken queries to a real server, and broken responses of ours.
    let authority = Authority::start(&pair.server, "[fd00:77::2]:53").unwrap();
    let mut thrower = Client::start(&pair.client).unwrap();
    for seed in 0..4 {
        thrower.throw(SERVER, 1000, 20, seed).unwrap();
    }
    let garbage: Vec<String> = (0..200).map(|number| format!("garbage-{number}.zone.test")).collect();
    let names: Vec<&str> = garbage.iter().map(String::as_str).collect();
    thrower.ask("[fd00:77::2]:53", "A", &names).unwrap();
    let mut client = Client::start(&pair.client).unwrap();
    let mut answers = client.ask(SERVER, "A", &["after.zone.test", "again.zone.test"]).unwrap();
    answers.extend(client.stream(SERVER, "each", &["stream.zone.test"]).unwrap());
    let asking = client.identity.clone();
    thrower.end().unwrap();
    client.end().unwrap();
    assert_eq!(authority.stop().unwrap().len(), garbage.len(), "nothing is compared");
    drop(server);
    let telemetry = daemon.stop().unwrap();
    assert!(answers.iter().all(|answer| answer.answers == ["10.9.9.9"]), "{answers:?}");
    assert_told(&telemetry, &answers, Role::Client, &asking);
    let malformed = telemetry.sum("netsonde.self.dns.messages.malformed", &[]);
    // Of six messages three cannot be anything else: at the client and at the server.
    let certainly = 4 * (1000 / 6) * 3 * 2;
    assert!(malformed >= certainly, "{malformed} of {certainly} or more were counted");
}

/// RFC 1035, 4.1.1: not even an id.
#[test]
fn a_byte_is_no_message_and_counts_at_both_ends() {
    let _host = Host::acquire().unwrap();
    let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = server.local_addr().unwrap();
    let daemon = Daemon::start(&format!("[dns]\nports = [{}]\n", to.port())).unwrap();
    for _ in 0..3 {
        client.send_to(b"?", to).unwrap();
        assert_eq!(server.recv(&mut [0; 9]).unwrap(), 1);
    }
    let telemetry = daemon.stop().unwrap();
    assert_eq!(telemetry.sum("netsonde.self.dns.messages.malformed", &[]), 6);
}

#[test]
fn a_lookup_that_a_rule_excludes_is_not_told() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let server =
        Dnsmasq::start(&pair.server, ([10, 77, 0, 2], 53).into(), &["--address=/zone.test/10.9.9.9"])
            .unwrap();
    let path = dns::path_of("dig").unwrap();
    let rule = format!(
        "[[select.rule]]\nname = \"no-digging\"\naction = \"exclude\"\nbinaries = \"{}\"\n",
        path.display()
    );
    let daemon = Daemon::start(&format!("{}{rule}", configuration(""))).unwrap();
    let mut client = Client::start(&pair.client).unwrap();
    for transport in ["+notcp", "+tcp"] {
        dns::dig(&pair.client, &format!("@10.77.0.2 hidden.zone.test A {transport}")).unwrap();
    }
    let mut answers = client.ask(SERVER, "A", &["shown.zone.test"]).unwrap();
    answers.extend(client.stream(SERVER, "each", &["shown.zone.test"]).unwrap());
    let asking = client.identity.clone();
    client.end().unwrap();
    let telemetry = daemon.stop().unwrap();
    let (told, udp) = (dns::lookups(&telemetry, asking.process.pid, Role::Client), &answers[0]);
    dns::check(&told, udp, Role::Client, &asking).unwrap();
    dns::check(&told, &answers[1], Role::Client, &asking).unwrap();
    let dig = ("process.executable.path", path.as_path().into());
    let hidden = telemetry.events(dns::RESPONSE, std::slice::from_ref(&dig));
    assert!(hidden.is_empty() && telemetry.newest(dns::DURATION, &[dig]).is_empty(), "{hidden:?}");
    // The server is another program, of which no rule says anything. Of TCP, it is a child that answers.
    let served = |name: &str| {
        let path = server.identity.process.executable.as_path().into();
        let server = ("netsonde.socket.role", "server".into());
        let filter = [("process.executable.path", path), ("dns.question.name", name.into()), server];
        telemetry.events(dns::RESPONSE, &filter).len()
    };
    assert_eq!((served("hidden.zone.test"), served("shown.zone.test")), (2, 2));
}

/// Lookups of a client that are not to be told; what else was, and the client.
fn assert_untold(configuration: &str) -> (Telemetry, Process) {
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(configuration).unwrap();
    let (mut client, server) = start_both(&pair);
    let answers = client.ask(SERVER, "A", &["plain.zone.test"]).unwrap();
    client.stream(SERVER, "each", &["plain.zone.test"]).unwrap();
    let asking = client.identity.process.clone();
    client.end().unwrap();
    server.stop().unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(answers[0].code.as_deref(), Some("NOERROR"));
    let (events, points) = (telemetry.events(dns::RESPONSE, &[]), telemetry.newest(dns::DURATION, &[]));
    assert!(events.is_empty() && points.is_empty(), "{events:?} {points:?}");
    (telemetry, asking)
}

#[test]
fn a_rule_for_its_port_leaves_dns_out() {
    let _host = Host::acquire().unwrap();
    let rule = "[[select.rule]]\nname = \"no-dns\"\naction = \"exclude\"\nports = \"53\"\n";
    let (telemetry, _) = assert_untold(&format!("{}{rule}", configuration("")));
    let rule = [("netsonde.selector.rule", "no-dns".into())];
    assert!(telemetry.sum("netsonde.self.selector.matches", &rule) > 0);
}

#[test]
fn a_signal_that_is_off_and_a_port_that_is_not_named_tell_no_lookups() {
    let _host = Host::acquire().unwrap();
    let off = format!("{}[signals]\ndns = false\n", configuration(""));
    for configuration in [off, configuration("ports = [5300]")] {
        let (telemetry, client) = assert_untold(&configuration);
        for transport in [Transport::Udp, Transport::Tcp] {
            let flow = Subject::over(transport, &client.executable, Role::Client)
                .with("process.pid", i64::from(client.pid))
                .with("server.address", "10.77.0.2")
                .with("server.port", 53);
            assert!(flow.moved(&telemetry).received > 0, "its flow over {transport:?} is none the less told");
        }
    }
}

/// Asks by multicast as a one-shot client and as one that has joined; who asked, who answered, what was told.
fn multicast(more: &str) -> (Vec<(Answer, dns::Identity)>, dns::Identity, Telemetry) {
    let pair = Pair::new().unwrap();
    let daemon = Daemon::start(&configuration(more)).unwrap();
    let responder = Authority::responder(&pair.server, "10.77.0.2").unwrap();
    let mut asked = Vec::new();
    for (name, joined) in [("one-shot.local", false), ("joined.local", true)] {
        let mut client = Client::start(&pair.client).unwrap();
        let answer = client.multicast(name, "10.77.0.1", "10.77.0.2", joined).unwrap();
        asked.push((answer, client.identity.clone()));
        client.end().unwrap();
    }
    let answering = responder.identity.clone();
    responder.end().unwrap();
    (asked, answering, daemon.stop().unwrap())
}

#[test]
fn multicast_is_told_where_it_is_asked_for() {
    let _host = Host::acquire().unwrap();
    let (asked, _, telemetry) = multicast("");
    assert_eq!(asked.len(), 2);
    assert!(telemetry.events(dns::RESPONSE, &[]).is_empty(), "{:?}", telemetry.events(dns::RESPONSE, &[]));
    let (asked, answering, telemetry) = multicast("multicast = true");
    for (answer, client) in &asked {
        let told = dns::lookups(&telemetry, client.process.pid, Role::Client);
        let told: Vec<_> = told.into_iter().filter(|event| dns::is_of(event, answer)).collect();
        dns::check(&told, answer, Role::Client, client).unwrap();
        expect::assert_attribute(&told, "server.port", 5353);
        let told = dns::lookups(&telemetry, answering.process.pid, Role::Server);
        let event = dns::check(&told, answer, Role::Server, &answering).unwrap();
        expect::assert_attribute(&[event], "client.address", "10.77.0.1");
    }
}

#[test]
fn the_programs_of_these_tests_are_what_they_seem() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    let (mut client, server) = start_both(&pair);
    let answers = client.ask(SERVER, "A", &["plain.zone.test", "servfail.zone.test"]).unwrap();
    // By a client and for a server that are not ours.
    let dug = dns::dig(&pair.client, "@10.77.0.2 alias.zone.test AAAA").unwrap();
    assert!(dug.text.contains("target.alias.zone.test.") && dug.text.contains("fd00:9::1"), "{}", dug.text);
    assert_eq!(answers[0].answers, ["10.9.9.1"]);
    assert_eq!(answers[1].code.as_deref(), Some("SERVFAIL"));
    assert_eq!(server.stop().unwrap().len(), 3);
    client.end().unwrap();
    command::line("dnsmasq --version").unwrap();
}
