//! A file system without room, of memory. It wants root, to mount it.

use std::fs;
use std::path::Path;

use netsonde_history::{History, Opened, Query};

use crate::support::{by_id, closed, id, limits, listener, opened, records};

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_history_goes_on_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a file system wants root");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let size = c"size=6m,mode=0700";
    rustix::mount::mount("tmpfs", state.path(), "tmpfs", rustix::mount::MountFlags::empty(), size).unwrap();
    let mounted = Mounted(state.path());
    let ballast = state.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();

    let directory = state.path().join("history");
    let (history, _) = History::open(&directory, limits()).unwrap();
    let mut stored = 0;
    let failed = (0..200).find_map(|batch| {
        let numbers = batch * 100..(batch + 1) * 100;
        let events: Vec<_> = numbers.map(opened).collect();
        match history.append(&events) {
            Ok(appended) => {
                stored += appended.stored;
                None
            }
            Err(error) => Some((batch, error)),
        }
    });
    let (batch, error) = failed.expect("3 MiB do not hold 20,000 listeners");
    assert!(error.is_no_space(), "{error:?}");
    for _ in 0..3 {
        let again = history.append(&[opened(90_000), closed(90_000, 90_001)]);
        println!("on a full disk after {stored} listeners: {again:?}");
    }
    let statistics = history.statistics();
    assert!(statistics.failed_no_space > 0 && statistics.failed_events >= 100, "{statistics:?}");

    fs::remove_file(&ballast).unwrap();
    let events: Vec<_> = (batch * 100..(batch + 1) * 100).map(opened).collect();
    history.append(&events).unwrap();
    let kept = by_id(records(&history, Query::All));
    for number in 0..(batch + 1) * 100 {
        assert_eq!(kept[&id(number)].opening, Some(listener(number)));
    }
    assert_eq!(history.statistics().set_aside, 0);
    drop(history);
    let (history, found) = History::open(&directory, limits()).unwrap();
    assert!(matches!(found, Opened::Found { .. }), "{found:?}");
    assert_eq!(records(&history, Query::All).len(), kept.len());
    drop((history, mounted));
}
