//! What a record costs on its way through the spool, for `make instructions`; the kernel's part is not counted.

use std::time::Duration;

use netsonde_counted::count;

use crate::{Options, Spool};

const RECORDS: usize = 1000;
const BODY: usize = 16 << 10;

#[test]
fn append() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { sync_every: Duration::from_secs(3600), ..Options::new(64 << 20) };
    let mut spool = Spool::open(&directory.path().join("spool"), options).unwrap();
    let body = vec![7; BODY];
    count(RECORDS, "record of 16 KiB", || {
        for n in 0..RECORDS {
            spool.push(1, 100, &body, n as u64).unwrap();
        }
    });
    assert_eq!(spool.usage().records, RECORDS as u64);
}

#[test]
fn lease_and_settle() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { sync_every: Duration::from_secs(3600), ..Options::new(64 << 20) };
    let mut spool = Spool::open(&directory.path().join("spool"), options).unwrap();
    for n in 0..RECORDS {
        spool.push(1, 100, &vec![7; BODY], n as u64).unwrap();
    }
    let settled = count(RECORDS, "record of 16 KiB", || {
        let mut settled = 0;
        while spool.lease().unwrap().is_some() {
            spool.settle().unwrap();
            settled += 1;
        }
        settled
    });
    assert_eq!(settled, RECORDS);
}
