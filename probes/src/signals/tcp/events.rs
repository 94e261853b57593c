//! TCP's log events. The attributes that every event carries (the process, its parents, its user) are the
//! daemon's to add.

use super::attributes::{
    BACKLOG, BYTES_RECEIVE, BYTES_TRANSMIT, CLIENT_ADDRESS, CLIENT_PORT, CONNECT_DURATION,
    CONNECTION_DURATION, ERROR_TYPE, LISTEN_DURATION, NETWORK_NAMESPACE, NETWORK_TRANSPORT, NETWORK_TYPE,
    PARTIAL, PEER_ADDRESS, PEER_PORT, RETRANSMITS, SEGMENTS_RECEIVE, SEGMENTS_TRANSMIT, SERVER_ADDRESS,
    SERVER_PORT, SOCKET_COOKIE, SOCKET_ROLE, SRTT, TLS_PROTOCOLS,
};
use crate::descriptor::Event;

macro_rules! listener_and {
    ($($own:expr),*) => {
        &[
            &NETWORK_TRANSPORT, &NETWORK_TYPE, &SERVER_ADDRESS, &SERVER_PORT, &NETWORK_NAMESPACE,
            &SOCKET_COOKIE, &BACKLOG, $($own),*
        ]
    };
}

macro_rules! endpoints_and {
    ($($own:expr),*) => {
        &[
            &NETWORK_TRANSPORT, &NETWORK_TYPE, &SOCKET_ROLE, &SERVER_ADDRESS, &SERVER_PORT,
            &PEER_ADDRESS, &PEER_PORT, &CLIENT_ADDRESS, &CLIENT_PORT, &NETWORK_NAMESPACE, &SOCKET_COOKIE,
            $($own),*
        ]
    };
}

/// `netsonde.listen.open`
pub static LISTEN_OPEN: Event = Event {
    name: "netsonde.listen.open",
    config_key: Some("listen"),
    description: "A process called listen()",
    attributes: listener_and!(),
};
/// `netsonde.listen.close`
pub static LISTEN_CLOSE: Event = Event {
    name: "netsonde.listen.close",
    config_key: Some("listen"),
    description: "A listening socket was closed by its last holder",
    attributes: listener_and!(&LISTEN_DURATION),
};
/// `netsonde.tcp.connect`
pub static CONNECT: Event = Event {
    name: "netsonde.tcp.connect",
    config_key: Some("connect"),
    description: "A connection that the process asked for was established",
    attributes: endpoints_and!(&CONNECT_DURATION, &TLS_PROTOCOLS),
};
/// `netsonde.tcp.accept`
pub static ACCEPT: Event = Event {
    name: "netsonde.tcp.accept",
    config_key: Some("accept"),
    description: "A connection to a listening socket of the process was established",
    attributes: endpoints_and!(),
};
/// `netsonde.tcp.close`
pub static CLOSE: Event = Event {
    name: "netsonde.tcp.close",
    config_key: Some("close"),
    description: "A connection ended; its final counters",
    attributes: endpoints_and!(
        &CONNECTION_DURATION,
        &BYTES_TRANSMIT,
        &BYTES_RECEIVE,
        &SEGMENTS_TRANSMIT,
        &SEGMENTS_RECEIVE,
        &RETRANSMITS,
        &SRTT,
        &PARTIAL,
        &TLS_PROTOCOLS
    ),
};
/// `netsonde.tcp.failure`
pub static FAILURE: Event = Event {
    name: "netsonde.tcp.failure",
    config_key: Some("failure"),
    description: "A connection could not be established, or broke",
    attributes: endpoints_and!(&ERROR_TYPE, &CONNECT_DURATION, &TLS_PROTOCOLS),
};

/// All of them.
pub const ALL: &[&Event] = &[&LISTEN_OPEN, &LISTEN_CLOSE, &CONNECT, &ACCEPT, &CLOSE, &FAILURE];
