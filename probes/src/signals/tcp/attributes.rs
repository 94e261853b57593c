//! The attributes of TCP's metrics and events.

use crate::descriptor::{Attribute, AttributeType, Stability};

macro_rules! attributes {
    ($($name:ident = $key:literal, $kind:ident, $stability:ident, $text:literal;)*) => {
        $(
            #[doc = $text]
            pub static $name: Attribute = Attribute {
                name: $key,
                value_type: AttributeType::$kind,
                description: $text,
                stability: Stability::$stability,
            };
        )*
    };
}

attributes! {
    RETRANSMIT_KIND = "netsonde.tcp.retransmit.kind", String, Stable,
        "what was sent again: syn, data (a FIN counts as data) or syn_ack";
    CONNECTION_EVENT = "netsonde.connection.event", String, Stable,
        "opened (by the process), accepted or closed";
    ERROR_TYPE = "error.type", String, Convention,
        "refused, reset, timed_out, host_unreachable, net_unreachable, aborted (the process gave up) or _OTHER; of a DNS lookup timeout, or its response code unless that is NOERROR";
    ADDRESS_CLASS = "netsonde.address.class", String, Stable,
        "reach of a listening address: loopback, private, any or public";
    NETWORK_TRANSPORT = "network.transport", String, Convention, "tcp or udp";
    NETWORK_TYPE = "network.type", String, Convention,
        "ipv4 or ipv6; an IPv4-mapped IPv6 address is ipv4";
    SOCKET_ROLE = "netsonde.socket.role", String, Stable, "client or server";
    SERVER_ADDRESS = "server.address", String, Convention, "the serving side, the one that was connected to, or was sent to first: of a client, the name that it was asked for by, if this host saw that lookup or /etc/hosts has one; else the address";
    SERVER_PORT = "server.port", Int, Convention, "port of the serving side";
    PEER_ADDRESS = "network.peer.address", String, Convention,
        "of a client: the address of the serving side, whether or not server.address is a name";
    PEER_PORT = "network.peer.port", Int, Convention, "of a client: the port of the serving side";
    CLIENT_ADDRESS = "client.address", String, Convention, "address of the other side";
    CLIENT_PORT = "client.port", Int, Convention, "port of the other side";
    NETWORK_NAMESPACE = "netsonde.network.namespace", Int, Stable,
        "inode number of the network namespace, as in /proc/PID/ns/net";
    SOCKET_COOKIE = "netsonde.socket.cookie", String, Stable,
        "the kernel's number of the socket: the same on all events of one connection";
    CONNECT_DURATION = "netsonde.tcp.connect.duration", Double, Stable,
        "seconds from the SYN to the established connection, or to the failure";
    CONNECTION_DURATION = "netsonde.tcp.connection.duration", Double, Stable,
        "seconds from established to closed";
    BYTES_TRANSMIT = "netsonde.tcp.bytes.transmit", Int, Stable, "application bytes sent";
    BYTES_RECEIVE = "netsonde.tcp.bytes.receive", Int, Stable, "application bytes received";
    SEGMENTS_TRANSMIT = "netsonde.tcp.segments.transmit", Int, Stable, "segments sent";
    SEGMENTS_RECEIVE = "netsonde.tcp.segments.receive", Int, Stable, "segments received";
    RETRANSMITS = "netsonde.tcp.retransmits", Int, Stable, "segments sent again";
    SRTT = "netsonde.tcp.srtt", Double, Stable,
        "smoothed round-trip time at the end, seconds (RFC 6298)";
    PARTIAL = "netsonde.connection.partial", Bool, Stable,
        "the connection is older than netsonde: bytes are those since its start";
    BACKLOG = "netsonde.listen.backlog", Int, Stable, "limit of the accept queue";
    LISTEN_DURATION = "netsonde.listen.duration", Double, Stable, "seconds that the socket listened";
}
