//! What the kernel side could not record as meant, by reason.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{ProbeError, Result};
use crate::records::raw::{self, loss};
use crate::records::read;

/// A record came out of the kernel that these probes cannot have written.
pub const UNDECODABLE: &str = "undecodable_record";

/// A walk over open files found more holders of shared sockets than are remembered.
pub const HOLDERS: &str = "holders_dropped";

/// Every reason that the kernel counts, as exported in `netsonde.loss.reason`, with its meaning.
pub const REASONS: &[(loss, &str, &str)] = &[
    (
        loss::LOSS_EVENT_RING_FULL,
        "event_ring_full",
        "the ring of socket events was full: an event is missing",
    ),
    (
        loss::LOSS_EVENT_RATE_LIMITED,
        "event_rate_limited",
        "more events of a kind than `events.rate_limit` allows",
    ),
    (
        loss::LOSS_PROCESS_RING_FULL,
        "process_ring_full",
        "the ring of process events was full: the next sweep repairs",
    ),
    (
        loss::LOSS_FLOW_TABLE_FULL,
        "flow_table_full",
        "folded into the overflow series: totals hold, detail is gone",
    ),
    (
        loss::LOSS_FLOW_DROPPED,
        "flow_dropped",
        "not even the overflow entry could be had: measurements are missing",
    ),
    (
        loss::LOSS_SOCKET_STORAGE,
        "socket_storage",
        "no memory for a socket's state: it is measured from the next sweep on",
    ),
    (
        loss::LOSS_UNOWNED,
        "unowned",
        "a connection closed, or a datagram passed, before any process could be found for it",
    ),
    (
        loss::LOSS_STATE_MISSING,
        "state_missing",
        "a connection closed that had no state: neither its bytes nor its end are counted",
    ),
    (
        loss::LOSS_IMAGES_FULL,
        "images_full",
        "a process with open sockets executed another program: they stay with the earlier one",
    ),
    (
        loss::LOSS_PAYLOAD_RING_FULL,
        "payload_ring_full",
        "the ring of payloads was full: a DNS message, or the first of a TLS client, is missing",
    ),
    (
        loss::LOSS_PAYLOAD_RATE_LIMITED,
        "payload_rate_limited",
        "more DNS messages than `dns.messages_per_second` allows: their lookups are not followed",
    ),
    (
        loss::LOSS_PAYLOAD_UNREADABLE,
        "payload_unreadable",
        "the bytes of a DNS message, or of the first of a TLS client, could not be copied from its packet",
    ),
    (
        loss::LOSS_LISTENERS_FULL,
        "listeners_full",
        "too many listeners: what one more accepted is not counted",
    ),
];

/// The kernel's counters.
pub(crate) struct Losses {
    map: MapHandle,
    shed: MapHandle,
}

impl Losses {
    pub(crate) fn new(map: MapHandle, shed: MapHandle) -> Self {
        Self { map, shed }
    }

    /// Totals since the probes were loaded.
    pub(crate) fn read(&self) -> Result<Vec<(&'static str, u64)>> {
        REASONS.iter().map(|(index, reason, _)| Ok((*reason, self.total(*index)?))).collect()
    }

    /// The total of one of them.
    pub(crate) fn total(&self, index: loss) -> Result<u64> {
        if index == loss::LOSS_PAYLOAD_RATE_LIMITED {
            return self.shed();
        }
        let per_cpu = self
            .map
            .lookup_percpu(&index.0.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "read", map: "losses", source })?
            .unwrap_or_default();
        let counts = per_cpu.iter().filter_map(|bytes| bytes.as_slice().try_into().ok());
        Ok(counts.map(u64::from_ne_bytes).sum())
    }

    fn shed(&self) -> Result<u64> {
        let bytes = self
            .shed
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "read", map: "shed", source })?
            .unwrap_or_default();
        let counts: raw::shed_counts = read(&bytes)
            .ok_or(ProbeError::Undecodable { what: "counts of what was shed", length: bytes.len() })?;
        Ok(counts.of.iter().map(|processor| processor.count).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_of_the_kernel_has_its_reason() {
        for (i, (index, ..)) in REASONS.iter().enumerate() {
            assert_eq!(index.0 as usize, i);
        }
        assert_eq!(REASONS.len(), loss::LOSS_KINDS.0 as usize);
    }
}
