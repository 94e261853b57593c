use hickory_proto::op::{Edns, Message as Hickory, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, TXT};
use hickory_proto::rr::{Record, RecordType as HickoryType};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::{CAPTURED, captured};

/// A message in one line.
fn line(m: &Message) -> String {
    let mut line = if m.is_response { format!("{} {}", m.id, m.code) } else { format!("{} query", m.id) };
    for (set, word) in [(m.truncated, "tc"), (m.cut, "cut"), (m.opcode != 0, "other opcode")] {
        if set {
            write!(line, " {word}").unwrap();
        }
    }
    for q in &m.questions {
        write!(line, " | {} {}", q.name, q.record_type).unwrap();
    }
    for a in &m.answers {
        write!(line, " > {} {} ", a.name, a.ttl).unwrap();
        match &a.data {
            RecordData::A(address) => write!(line, "{address}"),
            RecordData::Aaaa(address) => write!(line, "{address}"),
            RecordData::Cname(name) => write!(line, "= {name}"),
            RecordData::Service(s) => write!(
                line,
                "{} {} {} {:?} {:?}",
                s.record_type, s.priority, s.target, s.ipv4_hints, s.ipv6_hints
            ),
            RecordData::Other(record_type) => write!(line, "({record_type})"),
        }
        .unwrap();
    }
    if let Some(reason) = m.defect {
        write!(line, " ! {}", reason.as_str()).unwrap();
    }
    line
}

#[test]
fn captured_messages_say_what_they_say() {
    let expected = [
        ("query_a", "417 query | web.example.com A"),
        ("query_aaaa", "50592 query | web.example.com AAAA"),
        (
            "cname_chain_a",
            "417 NOERROR | web.example.com A > web.example.com 300 = lb.example.net > lb.example.net 60 = \
             edge.cdn.example.org > edge.cdn.example.org 20 192.0.2.80 > edge.cdn.example.org 20 192.0.2.81",
        ),
        (
            "cname_chain_aaaa",
            "50592 NOERROR | web.example.com AAAA > web.example.com 300 = lb.example.net > lb.example.net 60 = \
             edge.cdn.example.org > edge.cdn.example.org 20 2001:db8::80",
        ),
        ("query_mixed_case", "5062 query | nothing.example.com A"),
        ("nxdomain", "5062 NXDOMAIN | nothing.example.com A"),
        ("a", "4097 NOERROR | example.com A > example.com 3600 192.0.2.1"),
        (
            "aaaa_edns_4096",
            "4098 NOERROR | example.com AAAA > example.com 3600 2001:db8::1 > example.com 3600 2001:db8::2",
        ),
        ("servfail_ede", "4099 SERVFAIL | bogus.example.com A"),
        ("truncated", "4100 NOERROR tc | big.example.com TXT"),
        ("badvers", "4101 BADVERS | example.com A"),
        (
            "https_hints",
            "4102 NOERROR | www.example.com HTTPS > www.example.com 300 HTTPS 1 . [192.0.2.10, 192.0.2.11] \
             [2001:db8::10] > www.example.com 300 HTTPS 2 backup.example.net [] []",
        ),
        ("https_alias", "4103 NOERROR | example.com HTTPS > example.com 300 HTTPS 0 svc.example.net [] []"),
        (
            "svcb",
            "4104 NOERROR | _dns.resolver.arpa SVCB > _dns.resolver.arpa 60 SVCB 1 dns.example.net [192.0.2.53] []",
        ),
        ("mdns_unicast_response", "0 query | printer.local A"),
        ("mdns_response", "0 NOERROR > printer.local 120 192.0.2.99"),
        ("llmnr_query", "4105 query | laptop A"),
        ("llmnr_response", "4105 NOERROR | laptop A > laptop 30 192.0.2.77"),
        ("root_query", "4106 query | . NS"),
        ("chaos", "4107 NOERROR | version.bind TXT > version.bind 0 (TXT)"),
        ("notify", "4108 query other opcode"),
        ("formerr_header_only", "4109 FORMERR"),
        (
            "odd_bytes",
            "4110 NOERROR | a\\.b\\\\c\\032\\195\\169.x\"y.example A > \
             a\\.b\\\\c\\032\\195\\169.x\"y.example 9 192.0.2.2",
        ),
        ("compression_loop", "8193 NOERROR | loop.example A ! compression_loop"),
    ];
    for (name, text) in expected {
        let message = parse(&captured(name)).unwrap_or_else(|e| panic!("{name}: {}", e.as_str()));
        assert_eq!(line(&message), text, "{name}");
    }
    assert_eq!(parse(&captured("compression_loop_question")), Err(Malformed::CompressionLoop));
    assert_eq!(expected.len() + 1, CAPTURED.len(), "each captured message is looked at");
}

#[test]
fn flags_and_classes_are_those_of_the_header_and_the_question() {
    let query = parse(&captured("query_a")).unwrap();
    assert!(query.recursion_desired && !query.recursion_available && !query.authoritative);
    let response = parse(&captured("a")).unwrap();
    assert!(response.recursion_desired && response.recursion_available);
    assert!(parse(&captured("mdns_response")).unwrap().authoritative);
    assert_eq!(parse(&captured("mdns_unicast_response")).unwrap().questions[0].class, CLASS_IN);
    assert_eq!(parse(&captured("chaos")).unwrap().questions[0].class, 3);
}

/// A header with counts, then what follows it.
fn message(counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x81, 0x80];
    bytes.extend(counts.iter().flat_map(|c| c.to_be_bytes()));
    bytes.extend_from_slice(body);
    bytes
}

const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";

fn with_answer(record: &[u8]) -> Vec<u8> {
    message([1, 1, 0, 0], &[QUESTION, record].concat())
}

#[test]
fn what_is_wrong_before_the_end_of_the_questions_is_an_error() {
    let long_name: Vec<u8> = [b"\x3f".to_vec(), vec![b'x'; 63]].concat().repeat(4);
    for (bytes, reason) in [
        (vec![], Malformed::TooShort),
        (message([0; 4], &[])[..11].to_vec(), Malformed::TooShort),
        (vec![0; 65_536], Malformed::TooLong),
        (message([1, 0, 0, 0], &[]), Malformed::TruncatedQuestion),
        (message([1, 0, 0, 0], b"\x05ab"), Malformed::TruncatedQuestion),
        (message([1, 0, 0, 0], b"\x01a\x00\x00\x01\x00"), Malformed::TruncatedQuestion),
        (message([2, 0, 0, 0], QUESTION), Malformed::TruncatedQuestion),
        (message([1, 0, 0, 0], b"\x41a\x00\x00\x01\x00\x01"), Malformed::BadLabel),
        (message([1, 0, 0, 0], b"\x81a\x00\x00\x01\x00\x01"), Malformed::BadLabel),
        (message([1, 0, 0, 0], &long_name), Malformed::NameTooLong),
        (message([1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"), Malformed::CompressionLoop),
        (message([1, 0, 0, 0], b"\xc0\xff\x00\x01\x00\x01"), Malformed::CompressionLoop),
    ] {
        assert_eq!(parse(&bytes), Err(reason), "{bytes:x?}");
    }
}

#[test]
fn what_is_wrong_after_the_questions_leaves_what_was_read() {
    let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\xc0\x00\x02\x01";
    let opt = b"\x00\x00\x29\x10\x00\x01\x00\x00\x00\x00\x00";
    let named_opt = b"\xc0\x0c\x00\x29\x10\x00\x01\x00\x00\x00\x00\x00";
    for (bytes, reason, answers) in [
        (with_answer(&a[..10]), Malformed::TruncatedRecord, 0),
        (with_answer(&a[..15]), Malformed::TruncatedRecord, 0),
        (message([1, 2, 0, 0], &[QUESTION, a].concat()), Malformed::TruncatedRecord, 1),
        (message([1, 1, 1, 0], &[QUESTION, a, b"\x80"].concat()), Malformed::BadLabel, 1),
        (with_answer(b"\xc0\x13\x00\x01\x00\x01"), Malformed::CompressionLoop, 0),
        (with_answer(&[a.as_slice(), b"\0"].concat()), Malformed::TrailingBytes, 1),
        (message([1, 1, 0, 2], &[QUESTION, a, opt, opt].concat()), Malformed::BadEdns, 1),
        (message([1, 1, 0, 1], &[QUESTION, a, named_opt].concat()), Malformed::BadEdns, 1),
    ] {
        let m = parse(&bytes).unwrap_or_else(|e| panic!("{}: {bytes:x?}", e.as_str()));
        assert_eq!((m.defect, m.answers.len()), (Some(reason), answers), "{bytes:x?}");
        assert_eq!(&*m.questions[0].name, "a");
    }
}

#[test]
fn a_record_that_cannot_be_decoded_does_not_hide_the_next() {
    let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\xc0\x00\x02\x01";
    for bad in [
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x09\x00\x03\x01\x02\x03".as_slice(), // A of three bytes
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x09\x00\x05\x01\x02\x03\x04\x05",    // and of five
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x09\x00\x00",                        // and of none
        b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x09\x00\x03\x01b\x01",               // CNAME that runs over
        // HTTPS with an ALPN that is not UTF-8, which hickory refuses
        b"\xc0\x0c\x00\x41\x00\x01\x00\x00\x00\x09\x00\x09\x00\x01\x00\x00\x01\x00\x02\x01\xff",
    ] {
        let m = parse(&message([1, 2, 0, 0], &[QUESTION, bad, a].concat())).unwrap();
        assert_eq!(m.defect, Some(Malformed::BadRecord), "{bad:x?}");
        assert!(matches!(m.answers[0].data, RecordData::Other(_)), "{:?}", m.answers);
        assert_eq!(m.answers[1].data, RecordData::A(Ipv4Addr::new(192, 0, 2, 1)));
    }
}

#[test]
fn a_time_to_live_with_its_top_bit_set_is_none() {
    let record = b"\xc0\x0c\x00\x01\x00\x01\x80\x00\x00\x09\x00\x04\xc0\x00\x02\x01";
    assert_eq!(parse(&with_answer(record)).unwrap().answers[0].ttl, 0);
}

#[test]
fn wherever_a_message_was_cut_its_beginning_is_read() {
    let whole = captured("cname_chain_a");
    let full = parse(&whole).unwrap();
    for kept in 0..whole.len() {
        let cut = parse_captured(&whole[..kept], whole.len());
        let Ok(cut) = cut else {
            assert!(kept < HEADER_LENGTH, "{kept}");
            continue;
        };
        assert!(cut.cut && cut.defect.is_none(), "{kept}: {cut:?}");
        assert_eq!((cut.id, cut.code), (full.id, full.code));
        assert_eq!(cut.questions.len(), usize::from(kept >= HEADER_LENGTH + 21), "{kept}");
        assert!(full.answers.starts_with(&cut.answers));
        // Without the knowledge that it was cut, each of these is malformed.
        let malformed = match parse(&whole[..kept]) {
            Ok(message) => message.defect,
            Err(reason) => Some(reason),
        };
        assert!(malformed.is_some(), "{kept}");
    }
}

#[test]
fn each_reason_has_its_own_word() {
    let words: std::collections::BTreeSet<_> = Malformed::ALL.iter().map(|m| m.as_str()).collect();
    assert_eq!(words.len(), Malformed::ALL.len());
}

/// Labels of any bytes, as many as fit into a name, now and then none.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 1..=30), 0..=8)
}

/// The text of a name by the rule of RFC 1035, written once more and differently.
fn expected_text(labels: &[Vec<u8>]) -> String {
    let escaped = |byte: &u8| match byte.to_ascii_lowercase() {
        b @ (b'.' | b'\\') => format!("\\{}", b as char),
        b if b.is_ascii_graphic() => (b as char).to_string(),
        b => format!("\\{}{}{}", b / 100, b / 10 % 10, b % 10),
    };
    let labels: Vec<String> = labels.iter().map(|l| l.iter().map(escaped).collect()).collect();
    if labels.is_empty() { ".".into() } else { labels.join(".") }
}

fn hickory_name(labels: &[Vec<u8>]) -> Name {
    let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
    name.set_fqdn(true);
    name
}

#[derive(Debug, Clone)]
enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(Vec<Vec<u8>>),
    Https(u16, Vec<Vec<u8>>, Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    Txt(String),
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Data::A),
        any::<Ipv6Addr>().prop_map(Data::Aaaa),
        labels().prop_map(Data::Cname),
        (any::<u16>(), labels(), vec(any::<Ipv4Addr>(), 1..4), vec(any::<Ipv6Addr>(), 1..4))
            .prop_map(|(p, t, four, six)| Data::Https(p, t, four, six)),
        "[a-z]{0,20}".prop_map(Data::Txt),
    ]
}

fn to_hickory(data: &Data) -> RData {
    match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(name) => RData::CNAME(CNAME(hickory_name(name))),
        Data::Https(priority, target, four, six) => {
            let four = SvcParamValue::Ipv4Hint(IpHint(four.iter().copied().map(A).collect()));
            let six = SvcParamValue::Ipv6Hint(IpHint(six.iter().copied().map(AAAA).collect()));
            let parameters = vec![(SvcParamKey::Ipv4Hint, four), (SvcParamKey::Ipv6Hint, six)];
            RData::HTTPS(HTTPS(SVCB::new(*priority, hickory_name(target), parameters)))
        }
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
    }
}

fn to_ours(data: &Data) -> RecordData {
    match data {
        Data::A(address) => RecordData::A(*address),
        Data::Aaaa(address) => RecordData::Aaaa(*address),
        Data::Cname(name) => RecordData::Cname(expected_text(name).into()),
        Data::Https(priority, target, four, six) => RecordData::Service(ServiceBinding {
            record_type: RecordType::HTTPS,
            priority: *priority,
            target: expected_text(target).into(),
            ipv4_hints: four.clone(),
            ipv6_hints: six.clone(),
        }),
        Data::Txt(_) => RecordData::Other(RecordType(16)),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..600), more in 0usize..600) {
        if let Ok(message) = parse(&bytes) {
            prop_assert!(!message.cut);
            prop_assert_eq!(message.id.to_be_bytes(), [bytes[0], bytes[1]]);
        }
        if let Ok(message) = parse_captured(&bytes, bytes.len() + more) {
            prop_assert_eq!(message.cut, more > 0);
        }
    }

    #[test]
    fn no_change_to_a_real_message_makes_it_panic(
        which in 0..CAPTURED.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut bytes = captured(CAPTURED[which].0);
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[at.index(length)] = byte;
        }
        // A message that reads without a defect as a whole reads the same, but for its end, when it is cut.
        if let Ok(whole) = parse(&bytes) {
            let kept = kept.index(length);
            match parse_captured(&bytes[..kept], length) {
                Ok(cut) => {
                    prop_assert!(whole.questions.starts_with(&cut.questions));
                    prop_assert!(whole.answers.starts_with(&cut.answers));
                }
                Err(reason) => prop_assert!(kept < HEADER_LENGTH && reason == Malformed::TooShort),
            }
        }
    }

    #[test]
    fn what_hickory_writes_is_read_as_it_was_meant(
        id in any::<u16>(),
        response in any::<bool>(),
        truncated in any::<bool>(),
        code in prop_oneof![0u16..12, 16u16..24, 0u16..4096],
        name in labels(),
        record_type in any::<u16>(),
        answers in vec((labels(), 0u32..=0x7fff_ffff, data()), 0..6),
    ) {
        let kind = if response { MessageType::Response } else { MessageType::Query };
        let mut theirs = Hickory::new(id, kind, OpCode::Query);
        theirs.metadata.truncation = truncated;
        theirs.metadata.response_code = code.into();
        theirs.set_edns(Edns::new());
        theirs.add_query(Query::query(hickory_name(&name), HickoryType::from(record_type)));
        for (name, ttl, data) in &answers {
            theirs.add_answer(Record::from_rdata(hickory_name(name), *ttl, to_hickory(data)));
        }
        let ours = parse(&theirs.to_vec().unwrap()).unwrap();
        let expected = Message {
            id,
            is_response: response,
            opcode: 0,
            authoritative: false,
            truncated,
            recursion_desired: false,
            recursion_available: false,
            code: ResponseCode(code),
            questions: vec![Question {
                name: expected_text(&name).into(),
                record_type: RecordType(record_type),
                class: CLASS_IN,
            }],
            answers: answers
                .iter()
                .map(|(name, ttl, data)| Answer {
                    name: expected_text(name).into(),
                    ttl: *ttl,
                    data: to_ours(data),
                })
                .collect(),
            cut: false,
            defect: None,
        };
        prop_assert_eq!(ours, expected);
    }

    #[test]
    fn different_names_have_different_texts(a in labels(), b in labels()) {
        let lower = |name: &[Vec<u8>]| name.iter().map(|l| l.to_ascii_lowercase()).collect::<Vec<_>>();
        let (same, texts) = (lower(&a) == lower(&b), (text(&hickory_name(&a)), text(&hickory_name(&b))));
        prop_assert_eq!(same, texts.0 == texts.1);
    }
}
