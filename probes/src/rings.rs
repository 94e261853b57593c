//! The ring buffers: polled by time, read whole, decoded.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{AsRawLibbpf, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{ProbeError, Result};
use crate::records::{
    CgroupEvent, DnsPacket, Payload, ProcessEvent, ProcessRecord, SocketEvent, TlsHello, payload,
    process_record, raw::event_kind, socket_event,
};

/// Keys of the configuration, with the kinds that they stand for.
const EVENT_KEYS: &[(&str, &[event_kind])] = &[
    ("listen", &[event_kind::EVENT_LISTEN_OPEN, event_kind::EVENT_LISTEN_CLOSE]),
    ("connect", &[event_kind::EVENT_CONNECT]),
    ("accept", &[event_kind::EVENT_ACCEPT]),
    ("close", &[event_kind::EVENT_CLOSE]),
    ("failure", &[event_kind::EVENT_FAILURE]),
];

/// A bit for each kind of event that is wanted.
pub(crate) fn event_mask(enabled: &BTreeSet<String>) -> u32 {
    EVENT_KEYS
        .iter()
        .filter(|(key, _)| enabled.contains(*key))
        .flat_map(|(_, kinds)| kinds.iter())
        .fold(0, |mask, kind| mask | 1 << kind.0)
}

/// What one poll found.
#[derive(Debug, Default)]
pub struct Records {
    /// Events on sockets, in the order in which they were written.
    pub sockets: Vec<SocketEvent>,
    /// DNS messages and pieces of streams of them, likewise; apply these before the events on sockets, because a
    /// connection's name was asked for before it.
    pub dns: Vec<DnsPacket>,
    /// What clients of TLS sent first, likewise.
    pub hellos: Vec<TlsHello>,
    /// Events of processes, likewise; apply these first.
    pub processes: Vec<ProcessEvent>,
    /// Control groups that were made or removed, likewise; apply these before all.
    pub cgroups: Vec<CgroupEvent>,
}

impl Records {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
            && self.dns.is_empty()
            && self.hellos.is_empty()
            && self.processes.is_empty()
            && self.cgroups.is_empty()
    }
}

/// How full a ring was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingFill {
    /// Its key in the configuration.
    pub name: &'static str,
    /// The most that waited in it when its reader came, in bytes.
    pub fill: u64,
    /// What it holds.
    pub limit: u64,
}

pub(crate) struct Rings {
    /// Since they were asked for.
    fills: [RingFill; 3],
    sockets: RingBuffer<'static>,
    payloads: RingBuffer<'static>,
    processes: RingBuffer<'static>,
    records: Rc<RefCell<Records>>,
    undecodable: Rc<Cell<u64>>,
}

impl Rings {
    pub(crate) fn new(sockets: &MapHandle, payloads: &MapHandle, processes: &MapHandle) -> Result<Self> {
        let records = Rc::new(RefCell::new(Records::default()));
        let undecodable = Rc::new(Cell::new(0));
        let ring = |map: &MapHandle, take: fn(&[u8], &mut Records) -> bool| {
            let (records, undecodable) = (Rc::clone(&records), Rc::clone(&undecodable));
            let mut builder = RingBufferBuilder::new();
            builder
                .add(map, move |bytes| {
                    if !take(bytes, &mut records.borrow_mut()) {
                        undecodable.set(undecodable.get() + 1);
                    }
                    0
                })
                .map_err(map_error)?;
            builder.build().map_err(map_error)
        };
        let sockets =
            ring(sockets, |bytes, records| socket_event(bytes).map(|e| records.sockets.push(e)).is_some())?;
        let payloads = ring(payloads, |bytes, records| {
            match payload(bytes) {
                Some(Payload::Dns(packet)) => records.dns.push(packet),
                Some(Payload::Tls(hello)) => records.hellos.push(hello),
                None => return false,
            }
            true
        })?;
        let processes = ring(processes, |bytes, records| {
            match process_record(bytes) {
                Some(ProcessRecord::Process(event)) => records.processes.push(event),
                Some(ProcessRecord::Cgroup(event)) => records.cgroups.push(event),
                None => return false,
            }
            true
        })?;
        let named = |name, ring: &RingBuffer<'_>| RingFill { name, fill: 0, limit: level(ring).1 };
        let fills = [
            named("event_ring", &sockets),
            named("payload_ring", &payloads),
            named("process_ring", &processes),
        ];
        Ok(Self { fills, sockets, payloads, processes, records, undecodable })
    }

    /// How full the rings were since this was asked last.
    pub(crate) fn fills(&mut self) -> Vec<RingFill> {
        let fills = self.fills.to_vec();
        self.fills.iter_mut().for_each(|ring| ring.fill = 0);
        fills
    }

    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<Records> {
        self.wait(timeout)?;
        for (fill, ring) in self.fills.iter_mut().zip([&self.sockets, &self.payloads, &self.processes]) {
            fill.fill = fill.fill.max(level(ring).0);
        }
        self.sockets.consume().map_err(map_error)?;
        // A name is asked for before the connection is made.
        self.payloads.consume().map_err(map_error)?;
        self.processes.consume().map_err(map_error)?;
        Ok(self.records.take())
    }

    /// Until one of the rings wakes its reader, or the time is over; most records wake nobody.
    fn wait(&self, timeout: Duration) -> Result<()> {
        // SAFETY: each descriptor belongs to a ring that lives as long as `self`.
        let rings = [&self.sockets, &self.payloads, &self.processes]
            .map(|ring| unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) });
        let mut rings = rings.each_ref().map(|ring| PollFd::new(ring, PollFlags::IN));
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut rings, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(ProbeError::system("wait for the rings", std::io::Error::from(e))),
        }
    }

    pub(crate) fn undecodable(&self) -> u64 {
        self.undecodable.get()
    }
}

/// Bytes that wait in a ring, and those that it holds.
fn level(of: &RingBuffer<'_>) -> (u64, u64) {
    // SAFETY: libbpf's object lives as long as `of`, which has exactly one ring; the calls read its two positions and
    // its mask.
    unsafe {
        let ring = libbpf_sys::ring_buffer__ring(of.as_libbpf_object().as_ptr(), 0);
        if ring.is_null() {
            return (0, 0);
        }
        (libbpf_sys::ring__avail_data_size(ring), libbpf_sys::ring__size(ring))
    }
}

fn map_error(source: libbpf_rs::Error) -> ProbeError {
    ProbeError::Map { step: "read", map: "ring", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_switches_on_its_kinds() {
        let mask = |keys: &[&str]| event_mask(&keys.iter().map(ToString::to_string).collect());
        assert_eq!(mask(&[]), 0);
        assert_eq!(mask(&["listen"]), 0b11);
        assert_eq!(mask(&["close", "unheard_of"]), 1 << event_kind::EVENT_CLOSE.0);
        assert_eq!(
            mask(&["listen", "connect", "accept", "close", "failure"]),
            (1 << event_kind::EVENT_KINDS.0) - 1
        );
    }
}
