//! One sweep: a walk over all processes, a visit to every network namespace to read its sockets, a look
//! for the holders of those that wait for an owner, and the drain of what all this and the closes since
//! the last sweep have added up to.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::time::{Duration, Instant};

use libbpf_rs::{Iter, MapCore, MapFlags};

use crate::Probes;
use crate::error::{ProbeError, Result};
use crate::namespaces::Namespaces;
use crate::records::{
    Flow, FlowCounts, Held, LISTENER_BYTES, Listener, Owner, ProcessEvent, ProcessId, SpecialSocket,
    bytes_of, held, listener, process_event, raw, read,
};

/// What a sweep met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepTotals {
    /// Sockets of any state that the iterators showed.
    pub sockets: u64,
    /// Connections among them.
    pub connections: u64,
    /// Connections and listeners that still wait for their owner to be found.
    pub awaiting_owner: u64,
    /// Connections and listeners for which no process was found.
    pub unowned: u64,
    /// Network namespaces that were visited.
    pub namespaces: u64,
    /// Network namespaces that were gone, or could not be entered.
    pub namespaces_missed: u64,
}

/// What a sweep brings home.
#[derive(Debug)]
pub struct Sweep {
    /// What each flow did since the last sweep.
    pub flows: Vec<(Flow, FlowCounts)>,
    /// Every listening socket of TCP, and every socket of UDP that is bound to a port.
    pub listeners: Vec<Listener>,
    /// Every process.
    pub processes: Vec<ProcessEvent>,
    /// What the newest walk over open files found, if there was one.
    pub holders: Option<Holders>,
    /// What was met.
    pub totals: SweepTotals,
}

/// Sockets that several processes hold, as a walk over open files found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holders {
    /// By cookie of the socket, each process once.
    pub by_cookie: HashMap<u64, Vec<Owner>>,
    /// Raw and packet sockets and listening ones of SCTP, once for each process that holds them.
    pub special: Vec<SpecialSocket>,
}

/// Most holders that a walk remembers. Thousands of connections that dozens of workers inherited come to
/// this; beyond it, only the list of holders is incomplete, not the owner.
const HOLDERS: usize = 65_536;

/// Holders while a walk finds them.
#[derive(Default)]
struct Finding {
    found: Holders,
    /// One that holds a socket by several descriptors comes once for each, and a thread with files of its own long after
    /// the others. A set, as a listener may have been left to thousands of processes.
    known: HashSet<(u64, ProcessId)>,
}

impl Finding {
    fn add(&mut self, cookie: u64, holder: Owner) {
        if self.known.insert((cookie, holder.process)) {
            self.found.by_cookie.entry(cookie).or_default().push(holder);
        }
    }
}

/// When the open files of all processes were walked last, and what that took.
#[derive(Debug, Default)]
pub(crate) struct HolderWalks {
    last: Option<(Instant, Duration)>,
    sweeps_since: u32,
    /// Not handed on yet.
    found: Option<Holders>,
    /// Holders that were left out of it, since the start.
    pub(crate) dropped: u64,
}

/// A socket that is inherited or handed on to another process shows only in a walk over open files, so each
/// sweep begins with one. Where there are so many files that it would take more than this part of the time,
/// it is made less often, but with each third sweep.
const TIME_FOR_WALKS: u32 = 100;
const SWEEPS_BETWEEN_WALKS: u32 = 3;

impl HolderWalks {
    fn is_due(&self, now: Instant) -> bool {
        let Some((last, took)) = self.last else { return true };
        self.sweeps_since >= SWEEPS_BETWEEN_WALKS || took * TIME_FOR_WALKS <= now.duration_since(last)
    }
}

/// The kernel hands out an iterator's output in pieces of at most this size (bpf_seq_read()).
const PIECE: usize = 64 * 1024;

impl Probes {
    /// Reads all sockets and takes what has been measured since the last time.
    ///
    /// # Errors
    ///
    /// When an iterator or a map cannot be read. What had been measured stays in the kernel for the next
    /// sweep.
    pub fn sweep(&mut self) -> Result<Sweep> {
        let mut processes = Vec::new();
        self.iterate("process_walk", size_of::<raw::process_record>(), |bytes| {
            processes.extend(process_event(bytes));
        })?;
        let namespaces = Namespaces::find(&processes);
        self.holders.sweeps_since += 1;
        if self.holders.is_due(Instant::now()) {
            self.find_holders()?;
        }
        let (mut listeners, mut totals) = self.visit_all(&namespaces)?;
        if totals.awaiting_owner > 0 {
            // Those connections have added nothing yet: the second visit gives it to the right process.
            self.find_holders()?;
            (listeners, totals) = self.visit_all(&namespaces)?;
        }
        let holders = self.holders.found.take();
        Ok(Sweep { flows: self.flows.take()?, listeners, processes, holders, totals })
    }

    fn visit_all(&self, namespaces: &Namespaces) -> Result<(Vec<Listener>, SweepTotals)> {
        self.totals_map
            .update(&0u32.to_ne_bytes(), bytes_of(&raw::sweep_totals::default()), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "reset", map: "totals", source })?;
        let mut listeners = Vec::new();
        let mut totals = SweepTotals::default();
        for inode in namespaces.inodes() {
            let visited = self.home.visit(namespaces, inode, || {
                for program in ["tcp_sweep", "udp_sweep"] {
                    self.iterate(program, LISTENER_BYTES, |bytes| listeners.extend(listener(bytes)))?;
                }
                Ok(())
            })?;
            match visited {
                Some(()) => totals.namespaces += 1,
                None => totals.namespaces_missed += 1,
            }
        }
        let bytes = self
            .totals_map
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "read", map: "totals", source })?
            .unwrap_or_default();
        let met: raw::sweep_totals =
            read(&bytes).ok_or(ProbeError::Undecodable { what: "sweep totals", length: bytes.len() })?;
        totals.sockets = met.sockets;
        totals.connections = met.connections;
        totals.awaiting_owner = met.awaiting_owner;
        totals.unowned = met.unowned;
        Ok((listeners, totals))
    }

    /// Walks over all open files, so that the next sweep can give each socket to who holds it.
    pub(crate) fn find_holders(&mut self) -> Result<()> {
        self.settings.holder_generation += 1;
        self.write_settings()?;
        let began = Instant::now();
        let mut finding = Finding::default();
        let (mut seen, mut dropped) = (0, self.holders.dropped);
        self.iterate("socket_holders", size_of::<raw::holder_record>(), |bytes| {
            seen += 1;
            match held(bytes) {
                Some(Held::BySeveral(cookie, owner)) if seen <= HOLDERS => finding.add(cookie, owner),
                Some(Held::Special(socket)) if seen <= HOLDERS => finding.found.special.push(socket),
                Some(Held::Nothing) => {}
                _ => dropped += 1,
            }
        })?;
        let last = Some((began, began.elapsed()));
        self.holders = HolderWalks { last, sweeps_since: 0, found: Some(finding.found), dropped };
        Ok(())
    }

    /// Runs an iterator to its end and hands over its records. One that could not be attached has none:
    /// its signal says so.
    fn iterate(&self, program: &str, record: usize, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let Some(link) = self.loaded.iterators.get(program) else { return Ok(()) };
        let mut iterator = Iter::new(link)
            .map_err(|source| ProbeError::Load { step: format!("start the iterator {program}"), source })?;
        let mut buffer = vec![0u8; PIECE];
        let mut held = 0;
        loop {
            let n = match iterator.read(&mut buffer[held..]) {
                Ok(0) => break,
                Ok(n) => n,
                // EAGAIN: a million objects in a row had nothing to say (MAX_ITER_OBJECTS); go on.
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock
                    ) =>
                {
                    continue;
                }
                Err(e) => return Err(ProbeError::system(format!("read the iterator {program}"), e)),
            };
            held += n;
            let whole = held - held % record;
            buffer[..whole].chunks_exact(record).for_each(&mut sink);
            buffer.copy_within(whole..held, 0);
            held -= whole;
        }
        if held != 0 {
            return Err(ProbeError::Undecodable { what: "the rest of an iterator", length: held });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_a_socket_by_several_descriptors_is_one_holder() {
        let holder = |pid| Owner { process: ProcessId { pid, start_ns: 1 }, image: 0, uid: 0 };
        let mut finding = Finding::default();
        for (cookie, pid) in [(7, 1), (7, 1), (7, 2), (8, 1), (7, 1), (8, 1)] {
            finding.add(cookie, holder(pid));
        }
        let by_cookie = [(7, vec![holder(1), holder(2)]), (8, vec![holder(1)])];
        assert_eq!(finding.found.by_cookie, by_cookie.into());
    }

    #[test]
    fn open_files_are_walked_with_each_sweep_unless_that_takes_long() {
        let start = Instant::now();
        let walked = |took, sweeps_since| HolderWalks {
            last: Some((start, took)),
            sweeps_since,
            ..HolderWalks::default()
        };
        let second = Duration::from_secs(1);
        assert!(HolderWalks::default().is_due(start));
        assert!(walked(Duration::from_millis(5), 1).is_due(start + second));
        assert!(!walked(Duration::from_millis(50), 1).is_due(start + second));
        assert!(walked(Duration::from_millis(50), 1).is_due(start + 10 * second));
        assert!(walked(Duration::from_millis(50), 3).is_due(start + 3 * second));
    }
}
