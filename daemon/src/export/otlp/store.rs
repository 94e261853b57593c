//! Where encoded requests wait for a collector: in the spool on disk, and in memory while that cannot be used.
//!
//! Owns the order between the two and the books on what is where. Everything in the spool is older than everything
//! in memory: what waits in memory moves to the disk before anything else does. All calls may block on the disk;
//! `keeper` sees to it that nothing else waits for them.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use netsonde_spool::{Loss, OpenError, Options, PushError, Spool};

use super::queue::{Queue, Request};
use crate::export::statistics::{LossReason, Signal, SpoolState, SpoolStatistics};

/// How long to wait before a directory that could not be used is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(10);
/// Likewise where another has it, such as our own predecessor after a reload, and where there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The directory of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// For this lane alone.
    pub directory: PathBuf,
    /// Bytes that its segments may have.
    pub limit: u64,
}

/// What a store holds, and what happened to it since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Items that an earlier process left.
    pub restored: u64,
    /// Items lost, by reason.
    pub lost: Vec<(LossReason, u64)>,
    /// Bytes of bodies that wait, wherever.
    pub queue_bytes: u64,
    /// Whether nothing waits.
    pub is_empty: bool,
    /// Bytes that fit without a loss.
    pub room: u64,
    /// The disk's part.
    pub spool: SpoolStatistics,
}

#[derive(Debug)]
struct Disk {
    settings: SpoolSettings,
    spool: Option<Spool>,
    /// Items that were in the spool when it had to be closed.
    closed_items: u64,
    /// A record that was delivered while the spool was closed, so that it could not be told.
    settled: Option<u64>,
    retry_at: Instant,
    state: SpoolState,
    error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Lent {
    Memory,
    /// With its sequence number and items.
    Disk(u64, u64),
}

/// The requests of one lane.
#[derive(Debug)]
pub struct Store {
    signal: Signal,
    memory: Queue,
    disk: Option<Disk>,
    lent: Option<Lent>,
    restored: u64,
    lost: Vec<(LossReason, u64)>,
}

impl Store {
    /// A store of at most `memory` bytes of bodies in memory. The disk is first touched by [`Self::tick`].
    pub fn new(signal: Signal, memory: usize, spool: Option<SpoolSettings>) -> Self {
        let disk = spool.map(|settings| Disk {
            settings,
            spool: None,
            closed_items: 0,
            settled: None,
            retry_at: Instant::now(),
            state: SpoolState::Unavailable,
            error: None,
        });
        Self { signal, memory: Queue::new(memory), disk, lent: None, restored: 0, lost: Vec::new() }
    }

    /// Appends a request; what makes room for it is in the next report.
    pub fn push(&mut self, request: Request) {
        self.drain();
        let request = if self.memory.is_empty() { self.push_to_disk(request) } else { Some(request) };
        let Some(request) = request else { return };
        // The oldest go first, and they are on disk; without them there may be room for what is in memory.
        while !self.memory.has_room(request.body.len()) && self.evict() {
            self.drain();
        }
        let reason = match &self.disk {
            Some(Disk { state: SpoolState::DiskFull, .. }) => LossReason::DiskFull,
            _ => LossReason::QueueFull,
        };
        let lost = self.memory.push(request);
        self.lose(reason, lost);
    }

    /// Lends the oldest request; `None` if there is none or one is out.
    pub fn lease(&mut self) -> Option<Request> {
        if self.lent.is_some() {
            return None;
        }
        if let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut()) {
            match spool.lease() {
                Ok(Some(record)) => {
                    self.count_losses();
                    self.lent = Some(Lent::Disk(record.sequence, record.items.into()));
                    return Some(Request { body: record.body, items: record.items.into() });
                }
                Ok(None) => self.count_losses(),
                Err(error) => self.trouble(&error),
            }
        }
        let request = self.memory.lease()?;
        self.lent = Some(Lent::Memory);
        Some(request)
    }

    /// The request on lease is done with.
    pub fn settle(&mut self) {
        match self.lent.take() {
            None => {}
            Some(Lent::Memory) => self.memory.settle(),
            Some(Lent::Disk(sequence, items)) => {
                let Some(disk) = &mut self.disk else { return };
                if let Some(spool) = &mut disk.spool {
                    if let Err(error) = spool.settle() {
                        disk.settled = Some(sequence);
                        self.trouble(&error);
                    }
                } else {
                    disk.settled = Some(sequence);
                    disk.closed_items = disk.closed_items.saturating_sub(items);
                }
            }
        }
    }

    /// The request on lease is to be lent again.
    pub fn release(&mut self) {
        match self.lent.take() {
            Some(Lent::Memory) => self.memory.release(),
            Some(Lent::Disk(..)) => {
                if let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut()) {
                    spool.release();
                }
            }
            None => {}
        }
    }

    /// To be called about once a second: opens what could not be opened before, moves what waits in memory to the
    /// disk, and syncs what is due.
    pub fn tick(&mut self) {
        self.open();
        self.drain();
        if let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut())
            && let Err(error) = spool.maintain(Instant::now())
        {
            self.trouble(&error);
        }
    }

    /// Moves to the disk what it takes and makes it safe there.
    pub fn close(&mut self) {
        self.release();
        if let Some(disk) = &mut self.disk {
            disk.retry_at = Instant::now();
        }
        self.tick();
        let Some(disk) = &mut self.disk else { return };
        if let Some(spool) = disk.spool.take() {
            let usage = spool.usage();
            disk.closed_items = usage.items - usage.unsaved_items;
            if let Err(error) = spool.close() {
                tracing::warn!(directory = %disk.settings.directory.display(), %error, "the spool could not be synced");
            }
        }
    }

    /// What it holds, and what happened since the last report.
    pub fn report(&mut self) -> Report {
        self.count_losses();
        let mut report = Report {
            restored: std::mem::take(&mut self.restored),
            lost: std::mem::take(&mut self.lost),
            queue_bytes: self.memory.bytes() as u64,
            is_empty: self.memory.is_empty(),
            room: self.memory.room() as u64,
            spool: SpoolStatistics::default(),
        };
        if let Some(disk) = &self.disk {
            let usage = disk.spool.as_ref().map(Spool::usage).unwrap_or_default();
            report.spool = SpoolStatistics {
                state: disk.state,
                error: disk.error.clone(),
                bytes: usage.bytes,
                limit: disk.settings.limit,
                records: usage.records,
                kept_items: match &disk.spool {
                    Some(_) => usage.items - usage.unsaved_items,
                    None => disk.closed_items,
                },
                oldest: usage.oldest_unix_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)),
            };
            report.queue_bytes += usage.waiting_bytes;
            report.is_empty &= usage.records == 0;
            if disk.state == SpoolState::Active {
                report.room = disk.settings.limit.saturating_sub(usage.bytes);
            }
        }
        report
    }

    /// Gives the request back if the disk did not take it.
    fn push_to_disk(&mut self, request: Request) -> Option<Request> {
        let now = Instant::now();
        let Some(disk) = self.disk.as_mut().filter(|disk| disk.retry_at <= now) else { return Some(request) };
        let Some(spool) = &mut disk.spool else { return Some(request) };
        let items = u32::try_from(request.items).unwrap_or(u32::MAX);
        match spool.push(self.signal as u8, items, &request.body, unix_ms()) {
            Ok(()) => {
                if disk.state != SpoolState::Active {
                    tracing::info!(directory = %disk.settings.directory.display(), "the spool takes records again");
                    (disk.state, disk.error) = (SpoolState::Active, None);
                }
                self.count_losses();
                None
            }
            Err(PushError::TooLarge) => {
                self.lose(LossReason::SpoolFull, request.items);
                None
            }
            Err(PushError::Io(error)) => {
                self.trouble(&error);
                Some(request)
            }
        }
    }

    /// Moves what waits in memory to the disk, in order, unless its oldest is on lease.
    fn drain(&mut self) {
        if self.disk.is_none() || matches!(self.lent, Some(Lent::Memory)) {
            return;
        }
        while let Some(request) = self.memory.lease() {
            if self.push_to_disk(request).is_some() {
                self.memory.release();
                return;
            }
            self.memory.settle();
        }
    }

    /// Gives up the oldest segment. Answers whether there was one.
    fn evict(&mut self) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        let Some(spool) = &mut disk.spool else { return false };
        let evicted = spool.evict();
        let evicted = evicted.unwrap_or_else(|error| {
            self.trouble(&error);
            false
        });
        self.count_losses();
        if let Some(disk) = self.disk.as_mut().filter(|disk| evicted && disk.spool.is_some()) {
            disk.retry_at = Instant::now();
        }
        evicted
    }

    /// Opens the spool, if it is time to.
    fn open(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        if disk.spool.is_some() || disk.retry_at > Instant::now() {
            return;
        }
        let directory = disk.settings.directory.display();
        match Spool::open(&disk.settings.directory, Options::new(disk.settings.limit)) {
            Ok(mut spool) => {
                let losses = spool.take_losses();
                let damaged: u64 = Loss::ALL.iter().map(|&loss| losses.items(loss)).sum();
                let records: u64 = Loss::ALL.iter().map(|&loss| losses.records(loss)).sum();
                let found = spool.usage();
                if let Some(settled) = disk.settled.take() {
                    match spool.lease() {
                        Ok(Some(record)) if record.sequence == settled => {
                            if let Err(error) = spool.settle() {
                                tracing::warn!(%directory, %error, "what was sent may be sent again");
                            }
                        }
                        _ => spool.release(),
                    }
                }
                let usage = spool.usage();
                if records > 0 {
                    tracing::warn!(%directory, records, items = damaged, "the spool was damaged");
                }
                if spool.foreign() > 0 {
                    tracing::warn!(%directory, files = spool.foreign(), "files that are not the spool's are left alone");
                }
                if found.records > 0 {
                    tracing::info!(%directory, records = found.records, items = found.items, "found in the spool");
                } else if disk.error.is_some() {
                    tracing::info!(%directory, "the spool is in use");
                }
                (disk.state, disk.error) = (SpoolState::Active, None);
                let expected = std::mem::take(&mut disk.closed_items);
                disk.spool = Some(spool);
                let all = usage.items.saturating_add(damaged).max(expected);
                self.restored = self.restored.saturating_add(all - expected);
                self.lose(LossReason::SpoolDamaged, all - usage.items);
            }
            Err(error) => {
                let wait = if matches!(error, OpenError::Locked) { RETRY_AFTER } else { REOPEN_AFTER };
                disk.retry_at = Instant::now() + wait;
                let text = error.to_string();
                if disk.error.as_ref() != Some(&text) {
                    tracing::warn!(%directory, error = text, "no spool: what waits for the collector is kept in memory");
                }
                (disk.state, disk.error) = (SpoolState::Unavailable, Some(text));
            }
        }
    }

    /// The disk has failed. A lack of room may pass; after anything else the spool is opened anew.
    fn trouble(&mut self, error: &io::Error) {
        self.count_losses();
        let Some(disk) = &mut self.disk else { return };
        let full = lacks_room(error);
        let (state, wait) =
            if full { (SpoolState::DiskFull, RETRY_AFTER) } else { (SpoolState::Unavailable, REOPEN_AFTER) };
        disk.retry_at = Instant::now() + wait;
        if disk.state != state {
            let directory = disk.settings.directory.display();
            tracing::warn!(%directory, %error, "the spool fails: what waits for the collector is kept in memory");
        }
        (disk.state, disk.error) = (state, Some(error.to_string()));
        if !full && let Some(spool) = disk.spool.take() {
            let usage = spool.usage();
            let settled = disk.settled.is_some();
            disk.closed_items = usage.items - usage.unsaved_items;
            // What only the lease has is delivered or lost with it.
            if usage.unsaved_items > 0 && !settled {
                self.lose(LossReason::SpoolFull, usage.unsaved_items);
            }
        }
    }

    fn count_losses(&mut self) {
        let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut()) else { return };
        let losses = spool.take_losses();
        for loss in Loss::ALL {
            let reason = match loss {
                Loss::Full => LossReason::SpoolFull,
                Loss::Torn | Loss::Corrupt | Loss::Missing => LossReason::SpoolDamaged,
            };
            self.lose(reason, losses.items(loss));
        }
    }

    fn lose(&mut self, reason: LossReason, items: u64) {
        if items == 0 {
            return;
        }
        match self.lost.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count = count.saturating_add(items),
            None => self.lost.push((reason, items)),
        }
    }
}

/// Whether the disk may take it another time.
fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MEMORY: usize = 1000;

    fn request(len: usize, items: u64) -> Request {
        Request { body: Bytes::from(vec![items as u8; len]), items }
    }

    fn store(directory: &std::path::Path, limit: u64) -> Store {
        let settings = SpoolSettings { directory: directory.join("otlp/logs"), limit };
        let mut store = Store::new(Signal::Logs, MEMORY, Some(settings));
        store.tick();
        store
    }

    /// Takes everything: items, in order.
    fn drain(store: &mut Store) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(request) = store.lease() {
            assert!(request.body.iter().all(|byte| *byte == request.items as u8));
            all.push(request.items);
            store.settle();
        }
        assert!(store.report().is_empty);
        all
    }

    #[test]
    fn what_waits_is_there_after_a_kill_and_what_was_settled_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = store(directory.path(), 1 << 20);
        for items in 1..=4 {
            first.push(request(100, items));
        }
        first.lease().unwrap();
        first.settle();
        first.lease().unwrap();
        let report = first.report();
        assert_eq!(
            (report.spool.state, report.spool.records, report.spool.kept_items),
            (SpoolState::Active, 3, 9)
        );
        assert!(report.queue_bytes > 300 && !report.is_empty && report.lost.is_empty());
        drop(first);

        let mut second = store(directory.path(), 1 << 20);
        let report = second.report();
        assert_eq!((report.restored, report.is_empty), (9, false));
        assert_eq!(second.report().restored, 0, "told once");
        assert_eq!(drain(&mut second), [2, 3, 4]);
    }

    #[test]
    fn without_a_directory_it_waits_in_memory_and_moves_to_the_disk_later() {
        let directory = tempfile::tempdir().unwrap();
        // A file where the directory should be, which root cannot make one either.
        std::fs::write(directory.path().join("otlp"), "").unwrap();
        let mut store = store(directory.path(), 1 << 20);
        store.push(request(100, 1));
        store.push(request(100, 2));
        let report = store.report();
        assert_eq!((report.spool.state, report.queue_bytes), (SpoolState::Unavailable, 200));
        assert!(report.spool.error.is_some());
        assert_eq!(report.spool.kept_items, 0);
        assert_eq!(store.lease().unwrap().items, 1);

        std::fs::remove_file(directory.path().join("otlp")).unwrap();
        store.tick();
        assert_eq!(store.report().spool.records, 0, "not before the time has come");
        store.disk.as_mut().unwrap().retry_at = Instant::now();
        store.tick();
        store.push(request(100, 3));
        assert_eq!(store.report().spool.records, 0, "the oldest is on lease and must stay the first");
        store.release();
        store.tick();
        let report = store.report();
        assert_eq!((report.spool.records, report.spool.kept_items), (3, 6));
        assert_eq!((report.restored, report.lost.is_empty()), (0, true));
        assert_eq!(drain(&mut store), [1, 2, 3]);
    }

    #[test]
    fn a_full_spool_loses_the_oldest_by_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(directory.path(), 4000);
        for items in 1..=40 {
            store.push(request(200, items));
        }
        let report = store.report();
        let kept = report.spool.kept_items;
        assert_eq!(report.lost, [(LossReason::SpoolFull, 820 - kept)]);
        assert!(report.spool.bytes <= 4000 && report.spool.records > 10);
        let left = drain(&mut store);
        assert_eq!(left, Vec::from_iter(41 - left.len() as u64..=40));
        assert_eq!(left.iter().sum::<u64>(), kept);
        store.push(request(5000, 7));
        assert_eq!(store.report().lost, [(LossReason::SpoolFull, 7)]);
    }

    #[test]
    fn a_successor_waits_for_the_directory_and_takes_over_what_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut old = store(directory.path(), 1 << 20);
        old.push(request(10, 1));
        let mut new = store(directory.path(), 1 << 20);
        new.push(request(10, 2));
        let report = new.report();
        assert_eq!((report.spool.state, report.queue_bytes), (SpoolState::Unavailable, 10));
        old.close();
        assert_eq!(old.report().spool.kept_items, 1);
        new.disk.as_mut().unwrap().retry_at = Instant::now();
        new.tick();
        assert_eq!(new.report().restored, 1);
        assert_eq!(drain(&mut new), [1, 2]);
    }

    #[test]
    fn damage_is_lost_by_count_and_the_books_balance() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = store(directory.path(), 1 << 20);
        for items in 1..=3 {
            first.push(request(100, items));
        }
        drop(first);
        let lane = directory.path().join("otlp/logs");
        let path = lane.join("0000000000000000.seg");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[24 + 148 + 60] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut second = store(directory.path(), 1 << 20);
        let report = second.report();
        assert_eq!((report.restored, &report.lost[..]), (6, &[(LossReason::SpoolDamaged, 2)][..]));
        // And while it runs.
        bytes[24 + 60] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(second.lease().unwrap().items, 3);
        second.settle();
        assert!(second.lease().is_none());
        let report = second.report();
        assert_eq!((report.is_empty, &report.lost[..]), (true, &[(LossReason::SpoolDamaged, 1)][..]));
    }

    #[test]
    fn a_disk_that_fails_under_a_lease_does_not_send_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(directory.path(), 1 << 20);
        store.push(request(10, 1));
        store.push(request(10, 2));
        assert_eq!(store.lease().unwrap().items, 1);
        store.trouble(&io::Error::other("broken"));
        store.push(request(10, 3));
        let report = store.report();
        assert_eq!((report.spool.state, report.spool.kept_items), (SpoolState::Unavailable, 3));
        store.settle();
        store.disk.as_mut().unwrap().retry_at = Instant::now();
        store.tick();
        let report = store.report();
        assert_eq!((report.restored, report.lost.is_empty(), report.spool.kept_items), (0, true, 5));
        assert_eq!(drain(&mut store), [2, 3]);
    }

    #[test]
    fn without_room_on_the_disk_memory_takes_over_and_then_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(directory.path(), 100_000);
        // Three to a segment of 12,500 bytes.
        for items in 1..=6 {
            store.push(request(4000, items));
        }
        store.trouble(&io::Error::from(io::ErrorKind::StorageFull));
        store.push(request(600, 7));
        let report = store.report();
        assert_eq!((report.spool.state, report.spool.records), (SpoolState::DiskFull, 6));
        store.push(request(600, 8));
        let report = store.report();
        // The first segment made room, and with it the disk could take what waited in memory.
        assert_eq!(report.lost, [(LossReason::SpoolFull, 1 + 2 + 3)]);
        assert_eq!(report.spool.state, SpoolState::Active);
        store.tick();
        assert_eq!(store.report().spool.kept_items, 4 + 5 + 6 + 7 + 8);
        assert_eq!(drain(&mut store), [4, 5, 6, 7, 8]);
    }
}
