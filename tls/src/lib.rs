//! The first message of a TLS client, read as a bystander: whom it wants to talk to (Server Name Indication, RFC 6066,
//! section 3) and in which protocol (ALPN, RFC 7301). Decoding is rustls's, as a server does it; nothing is answered,
//! and nothing that comes later is looked at.
//!
//! Where the bytes come from, and what a name is used for, is the daemon's matter.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::io::Read;

use rustls::server::Acceptor;

/// What a ClientHello says in clear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The name of the server, in lower case without a last dot; `None` when the client gave none, or an address.
    pub server_name: Option<String>,
    /// The protocols that the client offers, the one it likes best first, as IANA registers them
    /// (<https://www.iana.org/assignments/tls-extensiontype-values>). Those that are not ASCII are left out.
    pub protocols: Vec<String>,
}

/// Why there is no [`Hello`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is longer than what there is of it.
    Incomplete,
    /// It is not what a server would take for a ClientHello.
    Malformed,
}

impl Unreadable {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Incomplete, Self::Malformed];

    /// The word for it in counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
        }
    }
}

/// Reads a ClientHello from what a client sent first: TLS records, of which the end may be missing.
///
/// # Errors
///
/// [`Unreadable`], with the reason.
pub fn read_hello(mut bytes: &[u8]) -> Result<Hello, Unreadable> {
    let mut acceptor = Acceptor::default();
    loop {
        // A slice gives what it has: 0 bytes are its end.
        let read = acceptor.read_tls(bytes.by_ref()).map_err(|_| Unreadable::Malformed)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(said(&accepted.client_hello())),
            Ok(None) if read == 0 => return Err(Unreadable::Incomplete),
            Ok(None) => {}
            Err(_) => return Err(Unreadable::Malformed),
        }
    }
}

fn said(hello: &rustls::server::ClientHello<'_>) -> Hello {
    let server_name = hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let protocols = hello.alpn().into_iter().flatten().filter(|p| p.is_ascii());
    Hello {
        server_name: server_name.filter(|name| !name.is_empty()),
        protocols: protocols.map(|p| String::from_utf8_lossy(p).into_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of Python 3.11 with OpenSSL 3.0, for www.example.org, offering h2 and http/1.1.
    const OPENSSL: &[u8] = include_bytes!("../testdata/openssl.bin");

    #[test]
    fn a_real_hello_tells_name_and_protocols() {
        let hello = read_hello(OPENSSL).expect("a hello");
        assert_eq!(hello.server_name.as_deref(), Some("www.example.org"));
        assert_eq!(hello.protocols, ["h2", "http/1.1"]);
    }

    #[test]
    fn what_follows_the_hello_does_not_matter() {
        let more = [OPENSSL, b"\x17\x03\x03\x00\x05early"].concat();
        assert_eq!(read_hello(&more), read_hello(OPENSSL));
    }

    #[test]
    fn a_hello_in_two_records_is_one() {
        // The handshake message, without the header of its record, cut in two.
        let (first, second) = OPENSSL[5..].split_at(100);
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).expect("short").to_be_bytes();
            [&[22, 3, 1], length.as_slice(), part].concat()
        };
        assert_eq!(read_hello(&[record(first), record(second)].concat()), read_hello(OPENSSL));
    }

    #[test]
    fn other_talk_on_the_port_is_malformed() {
        assert_eq!(
            read_hello(b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"),
            Err(Unreadable::Malformed)
        );
        assert_eq!(read_hello(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"), Err(Unreadable::Malformed));
    }

    proptest! {
        #[test]
        fn a_hello_that_was_cut_is_incomplete(cut in 0..OPENSSL.len()) {
            prop_assert_eq!(read_hello(&OPENSSL[..cut]), Err(Unreadable::Incomplete));
        }

        #[test]
        fn one_wrong_byte_is_survived(at in 0..OPENSSL.len(), byte: u8) {
            let mut bytes = OPENSSL.to_vec();
            bytes[at] = byte;
            let _ = read_hello(&bytes);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_hello(&bytes);
        }
    }
}
