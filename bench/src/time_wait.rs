//! Sockets that closed connections leave for a minute (TIME_WAIT): each sweep meets them, so what a load leaves would be counted to
//! the next one.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How many of them change nothing.
pub const FEW: u64 = 200;
/// The kernel's own minute (`TCP_TIMEWAIT_LEN` of include/net/tcp.h), and more for the last of them.
const PATIENCE: Duration = Duration::from_secs(75);
const LOOK: Duration = Duration::from_millis(500);

/// Waits until next to none are left; how many are, where somebody else goes on making them.
pub fn drain() -> Result<u64> {
    let begun = Instant::now();
    loop {
        let left = left()?;
        if left <= FEW || begun.elapsed() > PATIENCE {
            return Ok(left);
        }
        thread::sleep(LOOK);
    }
}

/// Of this network namespace.
fn left() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    parse(&text).with_context(|| format!("no TIME_WAIT in {text:?}"))
}

/// The line `TCP: inuse 5 orphan 0 tw 7 alloc 9 mem 1`.
fn parse(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_of_tcp_count() {
        let text = "sockets: used 12\nTCP: inuse 5 orphan 0 tw 7 alloc 9 mem 1\nUDP: inuse 3 mem 4\n";
        assert_eq!(parse(text), Some(7));
        assert_eq!(parse("UDP: inuse 3 tw 4\n"), None);
        assert!(left().is_ok());
    }
}
