//! DNS messages on their way to lookups: put together, read, joined, and what became of each of them.
//!
//! Who asked and whether that is told of is decided when a lookup ends, once for each, and not here: what is carried
//! along is what the kernel said. Times are nanoseconds since boot.

mod limit;
mod shed;
mod sums;

use std::net::{IpAddr, SocketAddr};

use netsonde_dns::matching::{Lookup, Lookups, MatchCounts, MatchLimits, Outcome, Role, Sighting};
use netsonde_dns::message::{Malformed, Message, parse_captured};
use netsonde_dns::stream::{Segment, StreamKey, StreamLimits, StreamLosses, Streams};
use netsonde_dns::{Direction, SocketKey};
use netsonde_probes::records::{DnsPacket, Owner, RuleMask, Transport};

use crate::collect::Reading;
pub use limit::RateLimit;
use shed::Shed;
pub use sums::{Observation, Sums, labels};

/// What is known of a query and wanted again when its lookup ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whose socket.
    pub owner: Owner,
    /// Which selection rules may apply.
    pub rules: RuleMask,
    /// Over what.
    pub transport: Transport,
    /// This end.
    pub local: (IpAddr, u16),
    /// The other end, which the query went to or came from.
    pub remote: (IpAddr, u16),
    /// Inode number of the network namespace.
    pub network_namespace: u32,
}

impl Asked {
    fn of(packet: &DnsPacket) -> Self {
        Self {
            owner: packet.owner,
            rules: packet.rules,
            transport: packet.transport,
            local: packet.local,
            remote: packet.remote,
            network_namespace: packet.network_namespace,
        }
    }

    /// Whose socket it is, from the packet that ended the lookup, where that was not known of the query: a connection
    /// finds its owner a little after it was accepted.
    fn complete(&mut self, packet: &DnsPacket) {
        if !self.owner.process.is_known() && packet.owner.process.is_known() {
            (self.owner, self.rules) = (packet.owner, packet.rules);
        }
    }

    /// Everybody on the link was asked.
    #[must_use]
    pub fn is_multicast(&self) -> bool {
        self.local.0.is_multicast() || self.remote.0.is_multicast()
    }
}

/// What was seen, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsCounts {
    /// Questions and responses.
    pub matching: MatchCounts,
    /// Lookups without a response that messages are missing from: it may be among them.
    pub unknown: u64,
    /// Queries by multicast that this host did not respond to, as it has nothing to say to most (RFC 6762, section 6).
    pub silent: u64,
    /// Questions in flight.
    pub pending: u64,
    /// Messages that could not be read, or not in all their parts, by reason.
    pub malformed: Vec<(&'static str, u64)>,
    /// Pieces of streams that could not be put together, by reason.
    pub streams: StreamLosses,
    /// Messages by multicast that were not asked for.
    pub multicast_skipped: u64,
}

/// All lookups in flight.
pub struct Dns {
    streams: Streams,
    lookups: Lookups<Asked>,
    shed: Shed,
    multicast: bool,
    malformed: [u64; Malformed::ALL.len()],
    unknown: u64,
    silent: u64,
    multicast_skipped: u64,
}

fn limits(timeout_ns: u64) -> MatchLimits {
    MatchLimits { timeout_ns, ..MatchLimits::default() }
}

fn direction(packet: &DnsPacket) -> Direction {
    if packet.sent { Direction::Sent } else { Direction::Received }
}

impl Dns {
    /// None in flight. A query without a response for `timeout_ns` has timed out.
    #[must_use]
    pub fn new(timeout_ns: u64, multicast: bool) -> Self {
        Self {
            streams: Streams::new(StreamLimits::default()),
            lookups: Lookups::new(limits(timeout_ns)),
            shed: Shed::new(timeout_ns),
            multicast,
            malformed: [0; Malformed::ALL.len()],
            unknown: 0,
            silent: 0,
            multicast_skipped: 0,
        }
    }

    /// Takes over other settings, for lookups in flight as well.
    pub fn reconfigure(&mut self, timeout_ns: u64, multicast: bool) {
        self.lookups.set_limits(limits(timeout_ns));
        self.shed.set_timeout(timeout_ns);
        self.multicast = multicast;
    }

    /// Lookups in flight and streams that are followed, each with its limit.
    #[must_use]
    pub fn fills(&self) -> [(usize, usize); 2] {
        let pending = (self.lookups.pending(), MatchLimits::default().pending);
        [pending, (self.streams.len(), StreamLimits::default().streams)]
    }

    /// Takes note of what is missing from the messages that come with this reading. To be called before them.
    pub fn begin(&mut self, reading: &Reading) {
        self.shed.note(reading);
    }

    /// Takes a message, or a piece of a stream of them. Gives the lookups that it ends.
    pub fn take(&mut self, packet: &DnsPacket) -> Vec<Lookup<Asked>> {
        let by_multicast = packet.remote.0.is_multicast() || packet.local.0.is_multicast();
        if by_multicast && !self.multicast {
            self.multicast_skipped += 1;
            return Vec::new();
        }
        let mut ended = Vec::new();
        match packet.transport {
            Transport::Udp => self.read(packet, &packet.data, packet.length, &mut ended),
            Transport::Tcp => {
                let key = StreamKey { socket: SocketKey(packet.cookie), direction: direction(packet) };
                let segment =
                    Segment { sequence: Some(packet.sequence), bytes: &packet.data, length: packet.length };
                for message in self.streams.push(key, segment) {
                    self.read(packet, &message.bytes, message.length, &mut ended);
                }
            }
        }
        self.known(ended)
    }

    fn read(&mut self, packet: &DnsPacket, bytes: &[u8], length: usize, ended: &mut Vec<Lookup<Asked>>) {
        let read = parse_captured(bytes, length);
        let defect = match &read {
            Ok(message) => message.defect,
            Err(reason) => Some(*reason),
        };
        if let Some(reason) = defect {
            self.malformed[reason as usize] += 1;
        }
        if let Ok(message) = read {
            let mut now = self.lookups.observe(sighting(packet, message), || Asked::of(packet));
            now.iter_mut().for_each(|lookup| lookup.carried.complete(packet));
            ended.append(&mut now);
        }
    }

    /// Ends what has timed out by the end of a reading, all of which has been taken.
    pub fn expire(&mut self, reading: &Reading) -> Vec<Lookup<Asked>> {
        let ended = self.lookups.expire(reading.until_ns);
        let ended = self.known(ended);
        self.shed.forget(reading.until_ns);
        ended
    }

    /// Leaves out, and counts, what looks like a timeout and is none.
    fn known(&mut self, mut ended: Vec<Lookup<Asked>>) -> Vec<Lookup<Asked>> {
        ended.retain(|lookup| {
            let verdict = verdict(lookup, &self.shed);
            self.unknown += u64::from(verdict == Verdict::Unknown);
            self.silent += u64::from(verdict == Verdict::Silent);
            verdict == Verdict::Known
        });
        ended
    }

    /// The connection has ended.
    pub fn forget(&mut self, cookie: u64) {
        self.streams.forget(SocketKey(cookie));
    }

    /// What was seen, since the start.
    #[must_use]
    pub fn counts(&self) -> DnsCounts {
        let reasons = Malformed::ALL.iter().map(|reason| (reason.as_str(), self.malformed[*reason as usize]));
        DnsCounts {
            matching: self.lookups.counts(),
            unknown: self.unknown,
            silent: self.silent,
            pending: self.lookups.pending() as u64,
            malformed: reasons.collect(),
            streams: self.streams.losses(),
            multicast_skipped: self.multicast_skipped,
        }
    }
}

/// What can be said of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It ended as it seems.
    Known,
    /// Its response may be among the messages that are missing.
    Unknown,
    /// It was not for this host to respond.
    Silent,
}

fn verdict(lookup: &Lookup<Asked>, shed: &Shed) -> Verdict {
    let end_ns = lookup.sent_ns.saturating_add(lookup.latency_ns);
    match lookup.outcome {
        Outcome::Answered(_) => Verdict::Known,
        Outcome::Timeout if lookup.role == Role::Server && lookup.carried.is_multicast() => Verdict::Silent,
        Outcome::Timeout if shed.touches(lookup.sent_ns, end_ns) => Verdict::Unknown,
        Outcome::Timeout => Verdict::Known,
    }
}

fn sighting(packet: &DnsPacket, message: Message) -> Sighting {
    Sighting {
        socket: SocketKey(packet.cookie),
        peer: SocketAddr::new(packet.remote.0, packet.remote.1),
        direction: direction(packet),
        time_ns: packet.time_ns,
        message,
    }
}

/// The value of `error.type`: of a lookup that did not go well, why.
#[must_use]
pub fn error_type(outcome: Outcome) -> Option<std::borrow::Cow<'static, str>> {
    use netsonde_dns::codes::ResponseCode;
    match outcome {
        Outcome::Timeout => Some("timeout".into()),
        Outcome::Answered(ResponseCode::NOERROR) => None,
        Outcome::Answered(code) => Some(code.mnemonic()),
    }
}

#[cfg(test)]
mod tests;
