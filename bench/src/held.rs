//! More open sockets than one process may have: connections that several processes hold, both ends in the same one, and that
//! are used now and then.

use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netsonde_tests::program::Running;

use crate::idle::Idle;

/// Sockets of one process: below the 20,000 files that it may open on a small host.
const PER_PROCESS: usize = 18_000;
/// Connections that are used in a second, of all.
const ACTIVE_SHARE: f64 = 0.01;
/// How often in a second some of them are used.
const TICKS: usize = 10;

/// Sockets of processes that end on drop, and when this process does.
pub struct Held {
    _processes: Vec<Running>,
    sockets: usize,
}

impl Held {
    /// So many sockets, or one more, and nothing on them.
    pub fn idle(sockets: usize) -> Result<Self> {
        Self::start(sockets, false)
    }

    /// Likewise; a hundredth of the connections is used each second, each in its turn.
    pub fn active(sockets: usize) -> Result<Self> {
        Self::start(sockets, true)
    }

    fn start(sockets: usize, active: bool) -> Result<Self> {
        let mut processes = Vec::new();
        let parts = parts(sockets.div_ceil(2), PER_PROCESS / 2);
        for connections in &parts {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--hold").arg(connections.to_string());
            if active {
                command.arg("--active");
            }
            processes.push(Running::start_command(&mut command)?);
        }
        for process in &mut processes {
            process.line().context("not all sockets can be opened")?;
        }
        Ok(Self { _processes: processes, sockets: 2 * parts.iter().sum::<usize>() })
    }

    /// How many there are.
    pub fn sockets(&self) -> usize {
        self.sockets
    }
}

/// As few parts as can be, of at most so many, as equal as can be.
fn parts(all: usize, most: usize) -> Vec<usize> {
    let count = all.div_ceil(most);
    (0..count).map(|part| all * (part + 1) / count - all * part / count).collect()
}

/// What each of these processes does, until its standard input ends.
#[allow(clippy::print_stdout, reason = "the process that started it waits for a line")]
pub fn hold(connections: usize, active: bool) -> Result<()> {
    let mut idle = Idle::open(connections)?;
    println!("{}", idle.sockets());
    if active {
        thread::spawn(move || use_some(&mut idle, connections));
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    } else {
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        drop(idle);
    }
    Ok(())
}

/// Goes on until the process ends, or a connection breaks.
fn use_some(idle: &mut Idle, connections: usize) -> io::Result<()> {
    let (mut next, begun) = (0, Instant::now());
    for tick in 1_u32.. {
        let due = due(connections, tick);
        while next < due {
            idle.exchange(next % connections)?;
            next += 1;
        }
        let at = begun + Duration::from_secs(1) / TICKS as u32 * tick;
        thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// How many connections are to have been used after so many ticks.
fn due(connections: usize, tick: u32) -> usize {
    (connections as f64 * ACTIVE_SHARE * f64::from(tick) / TICKS as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_connections_evenly() {
        assert_eq!(parts(50_000, 9_000), [8333, 8333, 8334, 8333, 8333, 8334]);
        assert_eq!(parts(9_000, 9_000), [9_000]);
        assert_eq!(parts(9_001, 9_000), [4500, 4501]);
    }

    #[test]
    fn a_hundredth_is_used_each_second() {
        assert_eq!(due(5_000, 10), 50);
        assert_eq!(due(8_333, 600), 4_999);
        assert_eq!(due(50, 10), 0);
    }
}
