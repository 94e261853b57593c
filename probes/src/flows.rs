//! The two flow tables: which one is being filled, and draining the other without losing an update.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{ProbeError, Result};
use crate::records::{Flow, FlowCounts, Plain, bytes_of, raw, read};

/// Entries asked for in one call; the buffer grows when one hash bucket holds more.
const BATCH: usize = 512;

/// The pair of tables and the slot that says which one the programs fill.
pub(crate) struct FlowTables {
    slot: MapHandle,
    tables: [MapHandle; 2],
    filling: usize,
    capacity: u32,
}

fn map_error(step: &'static str, map: &'static str) -> impl FnOnce(libbpf_rs::Error) -> ProbeError {
    move |source| ProbeError::Map { step, map, source }
}

impl FlowTables {
    pub(crate) fn new(slot: MapHandle, even: MapHandle, odd: MapHandle) -> Result<Self> {
        let capacity = even.max_entries();
        let tables = Self { slot, tables: [even, odd], filling: 0, capacity };
        tables.put_overflow_entry(0)?;
        Ok(tables)
    }

    /// How many flows one table can hold.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The entry that takes what no longer fits must be there before the table fills up.
    fn put_overflow_entry(&self, table: usize) -> Result<()> {
        let key = raw::flow_key::default();
        let value = raw::flow_value::default();
        self.tables[table]
            .update(bytes_of(&key), bytes_of(&value), MapFlags::ANY)
            .map_err(map_error("prepare", "flow table"))
    }

    /// Lets the programs fill the other table and hands over what is in this one.
    ///
    /// The kernel returns from the update of the slot only after each program that may still hold the
    /// old table has ended, so what is read afterwards is final.
    pub(crate) fn take(&mut self) -> Result<Vec<(Flow, FlowCounts)>> {
        let full = self.filling;
        let empty = 1 - full;
        self.put_overflow_entry(empty)?;
        let fd = self.tables[empty].as_fd().as_raw_fd();
        self.slot
            .update(&0u32.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .map_err(map_error("flip", "flows"))?;
        self.filling = empty;
        let mut taken = Vec::new();
        drain(&self.tables[full], |key: raw::flow_key, value: raw::flow_value| {
            taken.push((Flow::from(&key), FlowCounts(value)));
        })?;
        Ok(taken)
    }
}

/// Removes every entry of a hash map that nobody writes to, a batch at a time.
///
/// libbpf-rs 0.27 has an iterator for this which takes a short batch for the last one and an `ENOSPC`
/// for the end; the kernel means neither (`__htab_map_lookup_and_delete_batch()`), and flows were lost.
fn drain<K: Plain, V: Plain>(map: &MapHandle, mut sink: impl FnMut(K, V)) -> Result<()> {
    let (key_size, value_size) = (size_of::<K>(), size_of::<V>());
    assert_eq!((map.key_size() as usize, map.value_size() as usize), (key_size, value_size));
    let mut capacity = BATCH;
    let mut keys = vec![0u8; capacity * key_size];
    let mut values = vec![0u8; capacity * value_size];
    // The kernel's cursor: a bucket number for hash maps, at most as long as a key.
    let mut cursor = vec![0u8; key_size.max(8)];
    let mut started = false;
    loop {
        let mut count = u32::try_from(capacity).expect("a batch is small");
        let options = libbpf_sys::bpf_map_batch_opts {
            sz: size_of::<libbpf_sys::bpf_map_batch_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let next = cursor.as_mut_ptr();
        let current = if started { next } else { std::ptr::null_mut() };
        // SAFETY: keys and values have room for `count` entries of the map's sizes, as was checked
        // above; the cursor is as long as the kernel may write; all of them outlive the call.
        let status = unsafe {
            libbpf_sys::bpf_map_lookup_and_delete_batch(
                map.as_fd().as_raw_fd(),
                current.cast(),
                next.cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                &raw const options,
            )
        };
        let error = (status != 0).then(std::io::Error::last_os_error);
        let no_entry = rustix::io::Errno::NOENT.raw_os_error();
        let no_space = rustix::io::Errno::NOSPC.raw_os_error();
        let interrupted = rustix::io::Errno::INTR.raw_os_error();
        match error.as_ref().and_then(std::io::Error::raw_os_error) {
            Some(code) if code == interrupted => continue,
            Some(code) if code == no_space => {
                capacity *= 2;
                keys.resize(capacity * key_size, 0);
                values.resize(capacity * value_size, 0);
                continue;
            }
            Some(code) if code != no_entry => {
                return Err(ProbeError::system("drain the flow table", error.expect("there is one")));
            }
            _ => {}
        }
        let entries = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
        for (key, value) in entries.take(count as usize) {
            let (Some(key), Some(value)) = (read(key), read(value)) else { continue };
            sink(key, value);
        }
        if error.is_some() {
            return Ok(());
        }
        started = true;
    }
}
