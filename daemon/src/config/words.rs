//! The words a key may take: each closed set of values with its spelling, in one table a set.
//!
//! Owns the spelling; how a word is read is [`Word`]'s.

pub use netsonde_input::words::{Word, did_you_mean};
use tracing::level_filters::LevelFilter;

use super::export::{Compression, Protocol};
use super::select::{Action, Transport};
use crate::telemetry::Temporality;

/// A kind of log event, as `[events] enabled` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A listener opened or closed.
    Listen,
    /// A client's connection was established.
    Connect,
    /// A server's connection was accepted.
    Accept,
    /// A connection ended; carries its final counters.
    Close,
    /// A connection could not be established, or broke.
    Failure,
    /// A DNS query was answered, or was not in time.
    Dns,
}

impl Word for EventKind {
    const KIND: &'static str = "event";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("listen", Self::Listen),
        ("connect", Self::Connect),
        ("accept", Self::Accept),
        ("close", Self::Close),
        ("failure", Self::Failure),
        ("dns", Self::Dns),
    ];
}

/// An attribute that a flow's metrics can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowAttribute {
    /// `network.transport`: tcp or udp.
    NetworkTransport,
    /// `network.protocol.name`: quic.
    NetworkProtocolName,
    /// `network.type`: ipv4 or ipv6.
    NetworkType,
    /// `netsonde.socket.role`: client or server.
    SocketRole,
    /// `server.address`: of a client, the name that it asked for, else the remote address; of a server, the local
    /// address.
    ServerAddress,
    /// `server.port`: the service port.
    ServerPort,
    /// `network.peer.address`: of a client, the remote address.
    PeerAddress,
    /// `process.executable.path`: the owner's binary.
    ProcessExecutablePath,
    /// `process.executable.name`: the last part of that path.
    ProcessExecutableName,
    /// `netsonde.process.ancestry`: names of the parents' binaries, nearest first.
    ProcessAncestry,
    /// `process.user.name`: the owner's user.
    ProcessUserName,
    /// `netsonde.process.script.path`: the script that the binary interprets.
    ProcessScriptPath,
    /// `systemd.unit`: the owner's unit.
    SystemdUnit,
    /// `systemd.user_unit`: its unit of a user's manager.
    SystemdUserUnit,
    /// `systemd.slice`: the slice of its unit.
    SystemdSlice,
    /// `container.id`: the owner's container.
    ContainerId,
    /// `container.runtime.name`: what runs that container.
    ContainerRuntimeName,
    /// `process.pid`: one series a process.
    ProcessPid,
    /// `client.address`: one series a client.
    ClientAddress,
    /// `netsonde.network.namespace`: the inode number of the network namespace.
    NetworkNamespace,
}

impl FlowAttribute {
    /// What flow metrics carry unless the configuration says otherwise: nothing that grows with the number
    /// of processes or clients.
    pub const DEFAULT: [Self; 12] = [
        Self::NetworkTransport,
        Self::NetworkProtocolName,
        Self::NetworkType,
        Self::SocketRole,
        Self::ServerAddress,
        Self::ServerPort,
        Self::PeerAddress,
        Self::ProcessExecutablePath,
        Self::ProcessAncestry,
        Self::ProcessUserName,
        Self::SystemdUnit,
        Self::ContainerId,
    ];
}

impl Word for FlowAttribute {
    const KIND: &'static str = "attribute";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("network.transport", Self::NetworkTransport),
        ("network.protocol.name", Self::NetworkProtocolName),
        ("network.type", Self::NetworkType),
        ("netsonde.socket.role", Self::SocketRole),
        ("server.address", Self::ServerAddress),
        ("server.port", Self::ServerPort),
        ("network.peer.address", Self::PeerAddress),
        ("process.executable.path", Self::ProcessExecutablePath),
        ("process.executable.name", Self::ProcessExecutableName),
        ("netsonde.process.ancestry", Self::ProcessAncestry),
        ("process.user.name", Self::ProcessUserName),
        ("netsonde.process.script.path", Self::ProcessScriptPath),
        ("systemd.unit", Self::SystemdUnit),
        ("systemd.user_unit", Self::SystemdUserUnit),
        ("systemd.slice", Self::SystemdSlice),
        ("container.id", Self::ContainerId),
        ("container.runtime.name", Self::ContainerRuntimeName),
        ("process.pid", Self::ProcessPid),
        ("client.address", Self::ClientAddress),
        ("netsonde.network.namespace", Self::NetworkNamespace),
    ];
}

impl Word for Protocol {
    const KIND: &'static str = "protocol";
    const WORDS: &'static [(&'static str, Self)] =
        &[("grpc", Self::Grpc), ("http/protobuf", Self::HttpProtobuf)];
}

impl Word for Compression {
    const KIND: &'static str = "compression";
    const WORDS: &'static [(&'static str, Self)] = &[("gzip", Self::Gzip), ("none", Self::None)];
}

impl Word for Action {
    const KIND: &'static str = "action";
    const WORDS: &'static [(&'static str, Self)] = &[("include", Self::Include), ("exclude", Self::Exclude)];
}

impl Word for Transport {
    const KIND: &'static str = "transport";
    const WORDS: &'static [(&'static str, Self)] = &[("tcp", Self::Tcp), ("udp", Self::Udp)];
}

impl Word for Temporality {
    const KIND: &'static str = "temporality";
    const WORDS: &'static [(&'static str, Self)] =
        &[("cumulative", Self::Cumulative), ("delta", Self::Delta)];
}

/// How grave a line of the log is at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

impl Word for LogLevel {
    const KIND: &'static str = "log level";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self(LevelFilter::OFF)),
        ("error", Self(LevelFilter::ERROR)),
        ("warn", Self(LevelFilter::WARN)),
        ("info", Self(LevelFilter::INFO)),
        ("debug", Self(LevelFilter::DEBUG)),
        ("trace", Self(LevelFilter::TRACE)),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        fn check<T: Word + std::fmt::Debug>() {
            for (word, value) in T::WORDS {
                assert_eq!(T::parse(word), Ok(*value));
                assert_eq!(value.word(), *word);
            }
        }
        check::<EventKind>();
        check::<FlowAttribute>();
        check::<Action>();
        check::<Transport>();
        check::<Protocol>();
        check::<Compression>();
        check::<Temporality>();
        check::<LogLevel>();
        assert!(FlowAttribute::DEFAULT.iter().all(|attribute| !attribute.word().is_empty()));
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let message = EventKind::parse("conect").expect_err("misspelt");
        assert_eq!(
            message,
            "\"conect\" is not a known event; did you mean \"connect\"? \
             (known: listen, connect, accept, close, failure, dns)"
        );
    }
}
