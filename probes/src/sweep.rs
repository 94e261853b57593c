//! One sweep: a walk over all processes, a visit to every network namespace to read its sockets, a look
//! for the holders of those that wait for an owner, and the drain of what all this and the closes since
//! the last sweep have added up to.

use std::io::Read;

use libbpf_rs::{Iter, MapCore, MapFlags};

use crate::Probes;
use crate::error::{ProbeError, Result};
use crate::namespaces::Namespaces;
use crate::records::{
    Flow, FlowCounts, Listener, ProcessEvent, bytes_of, listener, process_event, raw, read,
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
    /// Every listening socket.
    pub listeners: Vec<Listener>,
    /// Every process.
    pub processes: Vec<ProcessEvent>,
    /// What was met.
    pub totals: SweepTotals,
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
        let (mut listeners, mut totals) = self.visit_all(&namespaces)?;
        if totals.awaiting_owner > 0 {
            // Those connections have added nothing yet: the second visit gives it to the right process.
            self.find_holders()?;
            (listeners, totals) = self.visit_all(&namespaces)?;
        }
        Ok(Sweep { flows: self.flows.take()?, listeners, processes, totals })
    }

    fn visit_all(&self, namespaces: &Namespaces) -> Result<(Vec<Listener>, SweepTotals)> {
        self.totals_map
            .update(&0u32.to_ne_bytes(), bytes_of(&raw::sweep_totals::default()), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "reset", map: "totals", source })?;
        let mut listeners = Vec::new();
        let mut totals = SweepTotals::default();
        for inode in namespaces.inodes() {
            let visited = self.home.visit(namespaces, inode, || {
                self.iterate("tcp_sweep", size_of::<raw::listener_record>(), |bytes| {
                    listeners.extend(listener(bytes));
                })
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
        self.iterate("tcp_holders", 1, |_| {})
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
