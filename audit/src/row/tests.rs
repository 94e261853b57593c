use proptest::prelude::*;
use serde_json::{Value, from_str, from_value, json, to_string, to_value};

use super::*;
use crate::testing::{any_change, any_listener, process, tcp};

proptest! {
    #[test]
    fn a_listener_is_read_as_it_was_written(listener in any_listener()) {
        let text = to_string(&listener).expect("no map has other keys than texts");
        prop_assert_eq!(from_str::<Listener>(&text).expect("our own"), listener);
    }

    #[test]
    fn a_change_is_read_as_it_was_written(change in any_change()) {
        let text = to_string(&change).expect("no map has other keys than texts");
        prop_assert_eq!(from_str::<Change>(&text).expect("our own"), change);
    }

    #[test]
    fn every_key_is_known_and_in_order(listener in any_listener()) {
        let text = to_string(&listener).expect("no map has other keys than texts");
        let written: Value = from_str(&text).expect("JSON");
        for key in written.as_object().expect("one object").keys() {
            prop_assert!(KEYS.contains(&key.as_str()), "{}", key);
        }
    }

    #[test]
    fn other_json_is_refused_without_a_panic(text in "\\{(\"(network.transport|server.port|netsonde.network.namespace|netsonde.listen.opened)\":(\"tcp\"|1|-1|\"\"|null),?){0,4}\\}") {
        let _ = from_str::<Listener>(&text);
    }
}

#[test]
fn the_first_holder_is_flat_and_all_are_in_the_list() {
    let mut listener = tcp("127.0.0.1:631");
    listener.opened_unix_ns = Some(1_700_000_000_123_456_789);
    listener.holders = vec![process("/usr/sbin/cupsd"), process("/usr/bin/worker")];
    listener.holders[0].unit = Some("cups.service".to_owned());
    listener.holders[0].ancestors =
        vec![Ancestor { pid: 1, started_unix_ns: None, path: Some("/usr/lib/systemd/systemd".to_owned()) }];
    let written = to_value(&listener).expect("JSON");
    assert_eq!(written["process.executable.path"], "/usr/sbin/cupsd");
    assert_eq!(written["systemd.unit"], "cups.service");
    assert_eq!(written["netsonde.process.ancestry"], json!(["systemd"]));
    assert_eq!(written["netsonde.socket.holders"][1]["process.executable.path"], "/usr/bin/worker");
    assert_eq!(written["netsonde.listen.opened"], "2023-11-14T22:13:20.123456789Z");
    assert_eq!(written["netsonde.address.class"], "loopback");
    assert_eq!(written["network.type"], "ipv4");
}

#[test]
fn what_is_not_known_is_absent() {
    let written = to_value(tcp("0.0.0.0:1")).expect("JSON");
    let keys: Vec<_> = written.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "netsonde.address.class",
            "netsonde.namespace.initial",
            "netsonde.network.namespace",
            "network.transport",
            "network.type",
            "server.address",
            "server.port"
        ]
    );
}

#[test]
fn a_row_without_a_list_of_holders_still_has_its_process() {
    let row = json!({"network.transport": "tcp", "netsonde.network.namespace": 1, "server.port": 22,
        "process.pid": 7, "process.executable.path": "/usr/sbin/sshd", "added.later": 1});
    let listener: Listener = from_value(row).expect("a row");
    assert_eq!(listener.holders[0].path.as_deref(), Some("/usr/sbin/sshd"));
}

#[test]
fn what_is_wrong_is_named() {
    for (key, value) in [
        ("netsonde.listen.opened", json!("yesterday")),
        ("netsonde.listen.opened", json!("1969-12-31T23:59:59Z")),
        ("netsonde.socket.cookie", json!("x")),
        ("netsonde.listen.client_networks", json!(["10.0.0.0/33"])),
        ("network.peer.port", json!(1)),
    ] {
        let mut row = to_value(tcp("0.0.0.0:1")).expect("JSON");
        row[key] = value;
        let error = from_value::<Listener>(row).expect_err("wrong").to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_closed_listener_tells_both_times_and_the_seconds_between() {
    let listener = Listener { opened_unix_ns: Some(1_000_000_000), ..tcp("0.0.0.0:23") };
    let change = Change {
        kind: ChangeKind::Closed,
        closed_unix_ns: Some(1_005_000_000),
        close_unseen: false,
        first_seen_unix_ns: None,
        listener,
    };
    let written = to_value(&change).expect("JSON");
    assert_eq!(written["event.name"], "netsonde.listen.close");
    assert_eq!(written["netsonde.listen.opened"], "1970-01-01T00:00:01Z");
    assert_eq!(written["netsonde.listen.closed"], "1970-01-01T00:00:01.005Z");
    assert_eq!(written["netsonde.listen.duration"], 0.005);
}
