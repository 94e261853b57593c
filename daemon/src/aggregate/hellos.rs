//! The first messages of TLS clients: read, and kept for the events of their connections.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use netsonde_probes::records::TlsHello;
use netsonde_tls::{Unreadable, read_hello};

/// Connections whose message is kept at a time.
const KEPT: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The name of the server.
    pub server_name: Option<Arc<str>>,
    /// The protocols that it offered, the one it likes best first.
    pub protocols: Vec<Arc<str>>,
}

/// What clients said, by the cookie of their connection.
pub struct Hellos {
    by_cookie: LruCache<u64, Said>,
    read: u64,
    evicted: u64,
    unreadable: [u64; Unreadable::ALL.len()],
}

impl Default for Hellos {
    fn default() -> Self {
        Self { by_cookie: LruCache::new(KEPT), read: 0, evicted: 0, unreadable: [0; Unreadable::ALL.len()] }
    }
}

impl Hellos {
    /// Reads a message; `None`, and counted, when it cannot be. One that is sent again says the same again.
    pub fn take(&mut self, hello: &TlsHello) -> Option<&Said> {
        match read_hello(&hello.data) {
            Ok(read) => {
                self.read += 1;
                let said = Said {
                    server_name: read.server_name.map(Into::into),
                    protocols: read.protocols.into_iter().map(Into::into).collect(),
                };
                let pushed = self.by_cookie.push(hello.cookie, said);
                self.evicted += u64::from(pushed.is_some_and(|(cookie, _)| cookie != hello.cookie));
                self.by_cookie.peek(&hello.cookie)
            }
            Err(why) => {
                self.unreadable[why as usize] += 1;
                None
            }
        }
    }

    /// What the client of a connection said.
    #[must_use]
    pub fn of(&self, cookie: u64) -> Option<&Said> {
        self.by_cookie.peek(&cookie)
    }

    /// The connection has ended.
    pub fn forget(&mut self, cookie: u64) {
        self.by_cookie.pop(&cookie);
    }

    /// Connections whose message is kept, and of how many it is at most.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.by_cookie.len(), KEPT.get())
    }

    /// What became of the messages, since the start.
    #[must_use]
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let unreadable = Unreadable::ALL.iter().map(|why| (why.as_str(), self.unreadable[*why as usize]));
        [("read", self.read), ("evicted", self.evicted)].into_iter().chain(unreadable).collect()
    }
}

#[cfg(test)]
mod tests {
    use netsonde_probes::records::{Owner, ProcessId, RuleMask};

    use super::*;

    fn hello(cookie: u64, data: &[u8]) -> TlsHello {
        TlsHello {
            time_ns: 1,
            owner: Owner { process: ProcessId { pid: 1, start_ns: 1 }, image: 0, uid: 0 },
            cookie,
            remote: ([192, 0, 2, 1].into(), 443),
            network_namespace: 1,
            rules: RuleMask::default(),
            data: data.to_vec(),
        }
    }

    const OPENSSL: &[u8] = include_bytes!("../../../tls/testdata/openssl.bin");

    #[test]
    fn a_connection_has_what_its_client_said_until_it_ends() {
        let mut hellos = Hellos::default();
        assert!(hellos.take(&hello(7, OPENSSL)).is_some());
        assert!(hellos.take(&hello(7, OPENSSL)).is_some(), "sent again");
        let said = hellos.of(7).expect("said");
        assert_eq!(said.server_name.as_deref(), Some("www.example.org"));
        assert_eq!(said.protocols, ["h2".into(), "http/1.1".into()]);
        hellos.forget(7);
        assert_eq!(hellos.of(7), None);
        assert_eq!(hellos.outcomes()[..2], [("read", 2), ("evicted", 0)]);
    }

    #[test]
    fn what_cannot_be_read_is_counted_with_its_reason() {
        let mut hellos = Hellos::default();
        assert_eq!(hellos.take(&hello(1, &OPENSSL[..99])), None);
        assert_eq!(hellos.take(&hello(2, b"SSH-2.0-x\r\n")), None);
        assert_eq!(hellos.outcomes()[2..], [("incomplete", 1), ("malformed", 1)]);
    }

    #[test]
    fn more_connections_than_are_kept_are_counted() {
        let mut hellos = Hellos::default();
        for cookie in 0..KEPT.get() as u64 + 3 {
            hellos.take(&hello(cookie, OPENSSL));
        }
        assert_eq!(hellos.outcomes()[1], ("evicted", 3));
        assert_eq!(hellos.of(0), None);
    }
}
