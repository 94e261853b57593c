//! DNS as an observer sees it, who is neither client nor server: reading [messages](message), putting those of TCP
//! together ([stream]), joining queries with their responses ([matching]), bounding what becomes a metric
//! ([questions]), and remembering which name an address was asked for by ([names]).
//!
//! Everything here is a pure function of what it is given, times included, and bounded. Where payloads come from,
//! which process a socket belongs to and what is exported is the daemon's matter. What does not fit, and what
//! cannot be understood, is counted here and reported there.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod codes;
#[cfg(test)]
mod counted;
pub mod hosts;
pub mod matching;
pub mod message;
pub mod names;
pub mod questions;
pub mod stream;
#[cfg(test)]
mod testing;

/// A socket, by the kernel's cookie for it, which is never used twice while the host runs
/// (`bpf_get_socket_cookie()`, `SO_COOKIE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketKey(pub u64);

/// Which way a message or a piece of a stream went, seen from the socket it was observed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Out of the socket.
    Sent,
    /// Into the socket.
    Received,
}

const SECOND_NS: u64 = 1_000_000_000;
