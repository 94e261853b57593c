//! Messages of DNS, as their sockets sent and received them.

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

/// Decodes one record of the DNS ring; `None` when it is none that we know.
pub(crate) fn dns_packet(bytes: &[u8]) -> Option<DnsPacket> {
    let r: raw::dns_record = read(bytes)?;
    let data = bytes.get(size_of::<raw::dns_record>()..)?.get(..usize::from(r.captured))?;
    Some(DnsPacket {
        time_ns: r.time_ns,
        owner: r.owner.into(),
        cookie: r.socket_cookie,
        local: (address(r.local_address), r.local_port),
        remote: (address(r.remote_address), r.remote_port),
        network_namespace: r.network_namespace,
        transport: Transport::from_raw(r.transport),
        sent: r.sent != 0,
        sequence: r.sequence,
        length: usize::try_from(r.length).ok()?,
        rules: RuleMask(r.rules),
        data: data.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::bytes_of;

    #[test]
    fn a_record_that_is_shorter_than_it_says_is_none() {
        let record = raw::dns_record { captured: 3, length: 900, transport: 17, ..Default::default() };
        let mut bytes = bytes_of(&record).to_vec();
        bytes.extend(b"ab");
        assert_eq!(dns_packet(&bytes), None);
        bytes.extend(b"c and room that was left");
        let packet = dns_packet(&bytes).expect("whole");
        assert_eq!((packet.data.as_slice(), packet.length), (b"abc".as_slice(), 900));
        assert_eq!(packet.transport, Transport::Udp);
    }
}
