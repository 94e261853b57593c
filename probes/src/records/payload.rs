//! Payloads that are read in user space: messages of DNS, and what clients of TLS send first.

use std::net::IpAddr;

use super::{Owner, RuleMask, Transport, address, raw, read};

/// A DNS message over UDP, or a piece of a stream of them over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPacket {
    /// When it passed its socket, nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Whose socket.
    pub owner: Owner,
    /// The kernel's number for the socket, never used twice until reboot.
    pub cookie: u64,
    /// This end, as the packet has it.
    pub local: (IpAddr, u16),
    /// The other end.
    pub remote: (IpAddr, u16),
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Over what.
    pub transport: Transport,
    /// Out of the socket, or into it.
    pub sent: bool,
    /// TCP: sequence number of the first byte (RFC 9293, section 3.4). A segment that is sent again comes again.
    pub sequence: u32,
    /// Bytes of the whole payload.
    pub length: usize,
    /// Which selection rules may apply.
    pub rules: RuleMask,
    /// The payload: all of it, or its first 4,096 bytes.
    pub data: Vec<u8>,
}

/// What a client of TLS sent first on a connection: a ClientHello (RFC 8446, section 4.1.2), in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsHello {
    /// When it passed its socket, nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Whose socket.
    pub owner: Owner,
    /// The kernel's number for the socket, as in events.
    pub cookie: u64,
    /// Whom it is for.
    pub remote: (IpAddr, u16),
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Which selection rules may apply.
    pub rules: RuleMask,
    /// The payload: all of it, or its first 4,096 bytes.
    pub data: Vec<u8>,
}

/// A record of the ring of payloads.
pub(crate) enum Payload {
    Dns(DnsPacket),
    Tls(TlsHello),
}

/// Decodes one record of the ring of payloads; `None` when it is none that we know.
pub(crate) fn payload(bytes: &[u8]) -> Option<Payload> {
    let r: raw::payload_record = read(bytes)?;
    let data = bytes.get(size_of::<raw::payload_record>()..)?.get(..usize::from(r.captured))?.to_vec();
    let (owner, remote) = (r.owner.into(), (address(r.remote_address), r.remote_port));
    match raw::payload_kind(r.kind.into()) {
        raw::payload_kind::PAYLOAD_DNS => Some(Payload::Dns(DnsPacket {
            time_ns: r.time_ns,
            owner,
            cookie: r.socket_cookie,
            local: (address(r.local_address), r.local_port),
            remote,
            network_namespace: r.network_namespace,
            transport: Transport::from_raw(r.transport),
            sent: r.sent != 0,
            sequence: r.sequence,
            length: usize::try_from(r.length).ok()?,
            rules: RuleMask(r.rules),
            data,
        })),
        raw::payload_kind::PAYLOAD_TLS_HELLO => Some(Payload::Tls(TlsHello {
            time_ns: r.time_ns,
            owner,
            cookie: r.socket_cookie,
            remote,
            network_namespace: r.network_namespace,
            rules: RuleMask(r.rules),
            data,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::bytes_of;

    #[test]
    fn a_record_that_is_shorter_than_it_says_is_none() {
        let record =
            raw::payload_record { captured: 3, length: 900, transport: 17, kind: 1, ..Default::default() };
        let mut bytes = bytes_of(&record).to_vec();
        bytes.extend(b"ab");
        assert!(payload(&bytes).is_none());
        bytes.extend(b"c and room that was left");
        let Some(Payload::Dns(packet)) = payload(&bytes) else { panic!("no packet") };
        assert_eq!((packet.data.as_slice(), packet.length), (b"abc".as_slice(), 900));
        assert_eq!(packet.transport, Transport::Udp);
    }

    #[test]
    fn a_payload_of_a_kind_that_we_do_not_know_is_none() {
        let record = raw::payload_record { kind: 7, ..Default::default() };
        assert!(payload(bytes_of(&record)).is_none());
    }
}
