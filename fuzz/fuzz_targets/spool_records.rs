//! Any bytes as a segment of the spool, in a directory that is opened, sent from, and opened again.
//!
//! `cargo +nightly fuzz run spool_records -- -max_len=4096 -max_total_time=300`

#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use netsonde_spool::{Found, Options, Spool, scan};

fuzz_target!(|input: &[u8]| {
    let (mut offset, mut records) = (0, 0);
    while let Some(found) = scan(input, offset) {
        assert!(found.end() > offset && found.end() <= input.len());
        offset = found.end();
        records += u64::from(matches!(found, Found::Record { .. }));
    }
    assert_eq!(offset, input.len());

    // In memory where there is such a place: this is about bytes, not about a disk.
    let root = if fs::metadata("/dev/shm").is_ok() { "/dev/shm" } else { "/tmp" };
    let directory = PathBuf::from(root).join(format!("netsonde-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    // The first byte decides whether the position is of this input too.
    let (position, segment) = match input {
        [first, rest @ ..] if first % 2 == 1 => rest.split_at(rest.len().min(80)),
        _ => (&[][..], input),
    };
    if !position.is_empty() {
        fs::write(directory.join("position"), position).expect("room");
    }
    fs::write(directory.join("0000000000000000.seg"), segment).expect("room");
    let mut spool = Spool::open(&directory, Options::new(1 << 20)).expect("a spool");
    let waiting = spool.usage().records;
    assert!(waiting <= records);
    spool.push(0, 1, b"new", 1).expect("room");
    let mut sent = 0;
    while let Some(record) = spool.lease().expect("readable") {
        sent += 1;
        // Killed with half of it sent: what was settled does not come again.
        if sent == waiting / 2 {
            drop(spool);
            spool = Spool::open(&directory, Options::new(1 << 20)).expect("a spool");
            assert_eq!(spool.lease().expect("readable").map(|again| again.sequence), Some(record.sequence));
        }
        spool.settle().expect("writable");
    }
    assert_eq!(sent, waiting + 1);
    assert_eq!(spool.usage().records, 0);
    let _ = fs::remove_dir_all(&directory);
});
