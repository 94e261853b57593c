//! What it costs: printed, not asserted. `cargo test --release -p netsonde-history -- --ignored --nocapture speed`

use std::ops::ControlFlow;
use std::time::Instant;

use netsonde_history::{History, Limits, Query, Record};

use crate::support::{Listener, SECOND, closed, limits, opened};

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn count(history: &History, query: Query) -> u64 {
    let mut count = 0;
    history
        .each(query, |_: Record<Listener>| {
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    count
}

#[test]
#[ignore = "a measurement, of a minute"]
fn speed_of_a_million_records() {
    // On the disk that builds: /tmp may be of memory.
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let limits = Limits { size: 1 << 40, ..limits() };
    let (history, _) = History::open(state.path(), limits).unwrap();
    let mut history = Some(history);
    let mut times = Vec::new();
    let began = Instant::now();
    for batch in 0..1_000_u64 {
        let numbers = batch * 1_000..(batch + 1) * 1_000;
        let events: Vec<_> =
            numbers.flat_map(|number| [opened(number), closed(number, number + 1)]).collect();
        let before = Instant::now();
        history.as_ref().unwrap().append(&events).unwrap();
        times.push(milliseconds(before));
        if batch == 99 || batch == 999 {
            let size = history.as_ref().unwrap().size().unwrap();
            let bytes = size.content / size.records;
            println!("{} records: {bytes} bytes of content a record, {size:?}", size.records);
            let killed = state.path().join("killed");
            std::fs::create_dir(&killed).unwrap();
            std::fs::copy(state.path().join("history.redb"), killed.join("history.redb")).unwrap();
            let before = Instant::now();
            let reader = History::read_only(&killed).unwrap();
            println!("  open what a kill leaves, for reading: {:.1} ms", milliseconds(before));
            drop(reader);
            let before = Instant::now();
            let (opened, found) = History::open(&killed, limits).unwrap();
            println!("  open what a kill leaves: {:.1} ms, {found:?}", milliseconds(before));
            drop(opened);
            std::fs::remove_dir_all(&killed).unwrap();
            drop(history.take());
            let before = Instant::now();
            let (opened, found) = History::open(state.path(), limits).unwrap();
            println!("  open with check: {:.1} ms, {found:?}", milliseconds(before));
            let before = Instant::now();
            let all = count(&opened, Query::All);
            println!("  read {all}: {:.1} ms", milliseconds(before));
            let before = Instant::now();
            let late = count(&opened, Query::OpenedOrClosedSince((batch * 1_000 + 900) * SECOND));
            println!("  the last {late}: {:.2} ms", milliseconds(before));
            history = Some(opened);
        }
    }
    println!("1,000,000 in {:.1} s", began.elapsed().as_secs_f64());
    for (what, part) in [("first 100", &mut times[..100].to_vec()), ("last 100", &mut times[900..].to_vec())]
    {
        part.sort_by(f64::total_cmp);
        println!(
            "a batch of 1,000 openings and closings, {what}: median {:.2} ms, worst {:.2} ms",
            part[50], part[99]
        );
    }
    let history = history.unwrap();
    let mut small = Vec::new();
    for number in 0..100 {
        let before = Instant::now();
        history.append(&[opened(2_000_000 + number)]).unwrap();
        small.push(milliseconds(before));
    }
    small.sort_by(f64::total_cmp);
    println!("a batch of 1: median {:.2} ms, worst {:.2} ms", small[50], small[99]);
    drop(history);

    let limits = Limits { size: 64 << 20, ..limits };
    let (history, _) = History::open(state.path(), limits).unwrap();
    let before = Instant::now();
    let (mut calls, mut worst) = (0, 0.0_f64);
    loop {
        let call = Instant::now();
        let retained = history.retain(0).unwrap();
        calls += 1;
        if retained.by_size == 0 {
            println!("the last call: {retained:?} {:.1} ms", milliseconds(call));
            break;
        }
        worst = worst.max(milliseconds(call));
    }
    println!("retention: {calls} calls, {:.1} ms, worst removal {worst:.1} ms", milliseconds(before));
    println!("after: {:?}", history.size().unwrap());
}
