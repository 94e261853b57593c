use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::filter::{Filter, FilterText};
use crate::policy::{Action, Policy};
use crate::suggest::suggest_policy;
use crate::testing::{any_listener, process, tcp, udp};

const TIME: u64 = 1_700_000_000_000_000_000;

fn written(baseline: &Baseline) -> String {
    let mut out = Vec::new();
    baseline.write(&mut out).expect("memory takes all");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn taken(listeners: &[Listener]) -> Baseline {
    Baseline::take("host", TIME, listeners, &Options::default())
}

proptest! {
    #[test]
    fn a_baseline_is_read_as_it_was_written(listeners in vec(any_listener(), 0..5)) {
        let options = Options { with_ephemeral: true, ..Options::default() };
        let baseline = Baseline::take("host \"a\"\n", TIME, &listeners, &options);
        prop_assert_eq!(Baseline::read(&written(&baseline)), Ok(baseline));
    }

    #[test]
    fn the_order_of_listeners_does_not_matter(listeners in vec(any_listener(), 0..5)) {
        let reversed: Vec<Listener> = listeners.iter().rev().cloned().collect();
        prop_assert_eq!(written(&taken(&listeners)), written(&taken(&reversed)));
    }

    #[test]
    fn a_file_that_was_cut_is_refused(listeners in vec(any_listener(), 1..4), part in 0.0..1.0) {
        let options = Options { with_ephemeral: true, ..Options::default() };
        let text = written(&Baseline::take("host", TIME, &listeners, &options));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any place of a short text")]
        let mut end = ((text.len() - 2) as f64 * part) as usize;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        prop_assert!(Baseline::read(&text[..end]).is_err());
    }
}

#[test]
fn the_file_reads_well_and_has_nothing_that_changes() {
    let mut listener = tcp("0.0.0.0:22");
    listener.cookie = Some(1);
    listener.opened_unix_ns = Some(TIME);
    listener.holders = vec![process("/usr/sbin/sshd")];
    assert_eq!(
        written(&taken(&[listener])),
        "{\"netsonde.baseline.version\":1,\"host.name\":\"host\",\"time\":\"2023-11-14T22:13:20Z\",\"listeners\":1}\n\
         {\"namespace\":\"initial\",\"network.transport\":\"tcp\",\"server.address\":\"0.0.0.0\",\
         \"server.port\":22,\"netsonde.address.class\":\"any\",\"programs\":[{\
         \"process.executable.path\":\"/usr/sbin/sshd\",\"process.user.name\":\"root\"}]}\n"
    );
}

#[test]
fn a_reuse_port_group_is_one_entry_with_all_its_programs() {
    let one = Listener { holders: vec![process("/a")], ..tcp("0.0.0.0:80") };
    let two = Listener { holders: vec![process("/b")], ..one.clone() };
    let baseline = taken(&[one.clone(), two, one]);
    assert_eq!(baseline.entries.len(), 1);
    assert_eq!(baseline.entries.values().next().expect("one").programs.len(), 2);
}

#[test]
fn ephemeral_sockets_are_left_out_unless_asked_for() {
    let client = udp("0.0.0.0:40000");
    assert!(taken(std::slice::from_ref(&client)).entries.is_empty());
    let options = Options { with_ephemeral: true, ..Options::default() };
    assert_eq!(Baseline::take("host", TIME, [&client], &options).entries.len(), 1);
    let options = Options { ephemeral_ports: 50_000..=60_000, ..Options::default() };
    assert_eq!(Baseline::take("host", TIME, [&client], &options).entries.len(), 1);
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let good = written(&taken(&[tcp("0.0.0.0:22"), tcp("0.0.0.0:23")]));
    let with = |line: usize, text: &str| {
        let mut lines: Vec<&str> = good.lines().collect();
        lines[line - 1] = text;
        lines.join("\n")
    };
    let entry = good.lines().nth(1).expect("an entry");
    for (text, line, reason) in [
        (String::new(), 1, "empty"),
        ("hello".to_owned(), 1, "no header"),
        (with(1, "{}"), 1, "missing field `netsonde.baseline.version`"),
        (good.replace("version\":1", "version\":9"), 1, "format 9"),
        (good.replace("2023-", "20x3-"), 1, "time"),
        (with(2, "{"), 2, "EOF"),
        (with(3, &entry.replace("tcp", "tpc")), 3, "\"tpc\" is not a known transport"),
        (with(3, &entry.replace("\"programs\"", "\"pids\"")), 3, "unknown field `pids`"),
        (with(3, &entry.replace("22", "99999")), 3, "99999"),
        (with(3, &entry.replace("22", "22,\"netsonde.socket.protocol\":1")), 3, "not several"),
        (with(3, entry), 3, "same listener"),
        (with(3, ""), 2, "1 of the 2 listeners"),
    ] {
        let error = Baseline::read(&text).expect_err("wrong");
        assert!(error.line == line && error.reason.contains(reason), "{error}\ninstead of {line}: {reason}");
    }
}

#[test]
fn a_baseline_of_its_own_listeners_is_the_same() {
    let mut listener = tcp("[::]:22");
    listener.ipv6_only = Some(true);
    listener.holders = vec![process("/usr/sbin/sshd")];
    let baseline = taken(&[listener]);
    assert_eq!(taken(&baseline.listeners()).entries, baseline.entries);
}

#[test]
fn a_baseline_can_be_filtered_as_listeners_are() {
    let ports = ["22".to_owned()];
    let text = FilterText { ports: &ports, ..FilterText::default() };
    let filter = Filter::parse(&text).expect("a filter");
    let mut baseline = taken(&[tcp("0.0.0.0:22"), tcp("0.0.0.0:23")]);
    baseline.retain(|listener| filter.matches(listener));
    assert_eq!(baseline.entries, taken(&[tcp("0.0.0.0:22")]).entries);
}

#[test]
fn a_policy_suggested_from_a_baseline_allows_what_it_was_taken_of() {
    let mut listener = Listener { automatic_port: Some(true), ..tcp("0.0.0.0:40000") };
    listener.holders = vec![process("/usr/sbin/rpc.statd")];
    let mut other = tcp("[::1]:631");
    other.holders = vec![process("/usr/sbin/cupsd")];
    other.holders[0].container = Some("ab12".repeat(16));
    let listeners = [listener, other];
    let rules = suggest_policy(&taken(&listeners).listeners());
    let policy = Policy::parse("rules", &format!("[audit]\ndefault = \"deny\"\n{rules}")).expect("a policy");
    for listener in &listeners {
        assert_eq!(policy.judge(listener).action, Action::Allow, "{rules}");
    }
}
