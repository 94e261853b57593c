//! From a listener that the policy denies to a log record.

use netsonde_audit::model::{Listener, Process as Holder};
use netsonde_audit::words::Word as _;
use netsonde_probes::descriptor::{Attribute as Key, AttributeType, Event, Stability};
use netsonde_probes::records::Owner;

use super::{
    EXECUTABLE_PATH, Ownership, PID, SCRIPT_PATH, UNIT, USER_ID, USER_NAME, USER_UNIT, int, push_ownership,
    tcp, text,
};
use crate::aggregate::identity::network_type;
use crate::enrich::Clock;
use crate::telemetry::{Attribute, AttributeValue, LogRecord, Severity};

macro_rules! keys {
    ($($name:ident = $key:literal, $kind:ident, $text:literal;)*) => {
        $(pub static $name: Key = Key {
            name: $key,
            value_type: AttributeType::$kind,
            description: $text,
            stability: Stability::Stable,
        };)*
    };
}

keys! {
    RULE = "netsonde.audit.rule", String,
        "name of the rule of the audit that denies the listener; default when none matches it";
    PROTOCOL = "netsonde.socket.protocol", Int,
        "of a raw socket the IP protocol, of a packet socket the EtherType";
    NAMESPACE_NAME = "netsonde.namespace.name", String, "name that ip netns knows the network namespace by";
    INTERFACE = "network.interface.name", String, "interface that the socket is bound to";
    BOUND_PEER = "netsonde.listen.peer", String, "the only peer of a UDP socket that is connected";
}

/// `netsonde.listen.violation`
pub static LISTEN_VIOLATION: Event = Event {
    name: "netsonde.listen.violation",
    config_key: None,
    description: "Something listens that the rules of the audit deny: when it opens, at the start, when the rules have changed, and when another program has got it",
    attributes: &[
        &RULE,
        &tcp::NETWORK_TRANSPORT,
        &tcp::NETWORK_TYPE,
        &tcp::SERVER_ADDRESS,
        &tcp::SERVER_PORT,
        &tcp::ADDRESS_CLASS,
        &PROTOCOL,
        &BOUND_PEER,
        &INTERFACE,
        &tcp::NETWORK_NAMESPACE,
        &NAMESPACE_NAME,
        &tcp::SOCKET_COOKIE,
    ],
};

/// A log record of a violation, at a time in Unix nanoseconds. `owned` is who has it, where the kernel tells.
#[must_use]
pub fn violation(
    listener: &Listener,
    rule: &str,
    owned: Option<(Owner, &Ownership<'_>)>,
    time_unix_ns: u64,
    clock: &Clock,
) -> LogRecord {
    let mut attributes = vec![(RULE.name, text(rule))];
    socket(listener, &mut attributes);
    match owned {
        Some((owner, ownership)) => push_ownership(owner, ownership, clock, &mut attributes),
        None => holder(listener, &mut attributes),
    }
    let owner = listener.owner();
    let program = owner.and_then(|owner| owner.script.as_deref().or(owner.path.as_deref()));
    let program = program.map_or("(unknown process)", |path| path.rsplit('/').next().unwrap_or(path));
    let pid = owner.map(|owner| format!("[{}]", owner.pid)).unwrap_or_default();
    LogRecord {
        event: &LISTEN_VIOLATION,
        time_unix_ns,
        observed_unix_ns: clock.unix_ns(),
        severity: Severity::Warn,
        body: format!(
            "{program}{pid} listens on {} {}, which the rule {rule} denies",
            listener.transport.word(),
            listener.endpoint()
        ),
        attributes,
    }
}

fn socket(listener: &Listener, to: &mut Vec<Attribute>) {
    to.push((tcp::NETWORK_TRANSPORT.name, text(listener.transport.word())));
    if let Some(address) = listener.address {
        to.push((tcp::NETWORK_TYPE.name, text(network_type(address))));
        to.push((tcp::SERVER_ADDRESS.name, text(address.to_string())));
    }
    if let Some(port) = listener.port {
        to.push((tcp::SERVER_PORT.name, int(port)));
    }
    if let Some(class) = listener.class() {
        to.push((tcp::ADDRESS_CLASS.name, text(class.word())));
    }
    if let Some(protocol) = listener.protocol {
        to.push((PROTOCOL.name, int(protocol)));
    }
    if let Some(peer) = listener.peer {
        to.push((BOUND_PEER.name, text(peer.to_string())));
    }
    if let Some(interface) = &listener.interface {
        to.push((INTERFACE.name, text(interface.as_str())));
    }
    to.push((tcp::NETWORK_NAMESPACE.name, int(listener.namespace.inode)));
    if let Some(name) = &listener.namespace.name {
        to.push((NAMESPACE_NAME.name, text(name.as_str())));
    }
    if let Some(cookie) = listener.cookie {
        to.push((tcp::SOCKET_COOKIE.name, text(format!("{cookie:x}"))));
    }
}

/// What the row of a socket without a kernel's owner tells of who holds it.
fn holder(listener: &Listener, to: &mut Vec<Attribute>) {
    let Some(Holder { pid, path, script, user_id, user, unit, user_unit, container, .. }) = listener.owner()
    else {
        return;
    };
    to.push((PID.name, int(*pid)));
    for (key, value) in [
        (&EXECUTABLE_PATH, path),
        (&SCRIPT_PATH, script),
        (&USER_NAME, user),
        (&UNIT, unit),
        (&USER_UNIT, user_unit),
        (&super::CONTAINER_ID, container),
    ] {
        if let Some(value) = value {
            to.push((key.name, text(value.as_str())));
        }
    }
    if let Some(id) = user_id {
        to.push((USER_ID.name, AttributeValue::Int(i64::from(*id))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netsonde_audit::model::{Namespace, Transport};
    use netsonde_probes::records::ProcessId;

    use super::super::OF_EVERY_EVENT;
    use super::*;
    use crate::enrich::Process;

    fn listener() -> Listener {
        let holder = Holder {
            pid: 42,
            path: Some("/usr/sbin/in.telnetd".to_owned()),
            user_id: Some(1000),
            user: Some("me".to_owned()),
            unit: Some("telnet.service".to_owned()),
            container: Some("c0ffee".to_owned()),
            ..Holder::default()
        };
        Listener {
            holders: vec![holder],
            protocol: Some(1),
            interface: Some("lo".to_owned()),
            peer: Some("192.0.2.1:9".parse().expect("an address")),
            namespace: Namespace { inode: 7, initial: Some(false), name: Some("blue".to_owned()) },
            cookie: Some(0xbeef),
            ..Listener::new(Transport::Tcp, Some("0.0.0.0".parse().expect("an address")), Some(23))
        }
    }

    fn value<'a>(record: &'a LogRecord, key: &str) -> Option<&'a AttributeValue> {
        record.attributes.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn check(record: &LogRecord) {
        for (key, _) in &record.attributes {
            let declared = record.event.attributes.iter().chain(OF_EVERY_EVENT);
            assert!(declared.into_iter().any(|a| a.name == *key), "{key}");
        }
        assert_eq!(record.severity, Severity::Warn);
        assert_eq!(value(record, "netsonde.audit.rule"), Some(&text("no-telnet")));
        assert_eq!(value(record, "netsonde.address.class"), Some(&text("any")));
        assert_eq!(value(record, "netsonde.socket.cookie"), Some(&text("beef")));
        assert_eq!(value(record, "process.executable.path"), Some(&text("/usr/sbin/in.telnetd")));
        assert_eq!(value(record, "process.pid"), Some(&AttributeValue::Int(42)));
        assert_eq!(value(record, "process.user.id"), Some(&AttributeValue::Int(1000)));
        assert_eq!(record.body, "in.telnetd[42] listens on tcp 0.0.0.0:23, which the rule no-telnet denies");
    }

    #[test]
    fn a_violation_tells_socket_rule_and_who() {
        let clock = Clock::read();
        check(&violation(&listener(), "no-telnet", None, 5, &clock));
        let id = ProcessId { pid: 42, start_ns: 5 };
        let parent = Arc::new(Process::example(ProcessId { pid: 1, start_ns: 1 }, "/sbin/init", None));
        let process = Process::example(id, "/usr/sbin/in.telnetd", Some(parent));
        let ownership = Ownership { process: Some(&process), user: "me".into(), holders: &[], own: false };
        let owner = Owner { process: id, image: 0, uid: 1000 };
        let record = violation(&listener(), "no-telnet", Some((owner, &ownership)), 5, &clock);
        check(&record);
        assert!(value(&record, "netsonde.process.ancestors").is_some());
        assert_eq!(record.time_unix_ns, 5);
    }
}
