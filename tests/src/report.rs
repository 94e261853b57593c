//! What a traffic program says of itself: who it is and what its own system calls moved.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The first line a server prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Where it listens, with the port that it got.
    pub address: SocketAddr,
    /// Every process that may accept there.
    pub pids: Vec<i32>,
}

/// Bytes as returned by `send` and `recv`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Accepted by `send`.
    pub sent: u64,
    /// Given by `recv`.
    pub received: u64,
}

impl Moved {
    /// Adds another amount.
    pub fn add(&mut self, other: Moved) {
        self.sent += other.sent;
        self.received += other.received;
    }

    /// What was moved since an earlier reading.
    pub fn since(self, earlier: Moved) -> Moved {
        Moved { sent: self.sent - earlier.sent, received: self.received - earlier.received }
    }

    /// The same amounts as the other end sees them.
    pub fn peer(self) -> Moved {
        Moved { sent: self.received, received: self.sent }
    }
}

/// One connection that was established.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// What went through it.
    #[serde(flatten)]
    pub moved: Moved,
}

/// The last line a traffic program prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The program itself.
    pub process: Process,
    /// Its parents, the nearest first, up to process 1.
    pub ancestors: Vec<Process>,
    /// Every established connection, in the order in which they ended.
    pub connections: Vec<Connection>,
    /// Errors of `connect`, `send` and `recv`, by the words that netsonde has for them.
    pub failures: BTreeMap<String, u64>,
    /// Reports of worker processes; this report's own connections do not repeat theirs.
    #[serde(default)]
    pub workers: Vec<Report>,
}

impl Report {
    /// Everything that this process moved.
    pub fn moved(&self) -> Moved {
        let mut total = Moved::default();
        self.connections.iter().for_each(|connection| total.add(connection.moved));
        total
    }
}

/// A process as procfs shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// The absolute path of its binary; empty where procfs does not tell, as for kernel threads.
    pub executable: PathBuf,
    /// When it started, clock ticks after boot.
    pub start_ticks: u64,
    /// Its process id inside its own namespace, where it told that itself; 0 where it did not.
    #[serde(default)]
    pub vpid: i32,
}

impl Process {
    /// Reads one process and the id of its parent.
    fn read(pid: i32) -> Result<(Self, i32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command name stands in brackets and may itself hold brackets and spaces.
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("a stat line without a name")?.1.split_whitespace().collect();
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        // What the kernel appends when the file has been unlinked is no part of its path.
        let executable = match executable.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
            Some(path) => path.into(),
            None => executable,
        };
        Ok((Self { pid, executable, start_ticks: fields[19].parse()?, vpid: 0 }, fields[1].parse()?))
    }

    /// This process and its parents. By /proc/self, whose ids are those of the namespace that procfs was mounted in:
    /// a program in a pid namespace of its own that sees the host's /proc knows itself as the host does.
    pub fn own_chain() -> Result<(Self, Vec<Self>)> {
        let own = fs::read_link("/proc/self")?;
        let pid = own.to_str().context("a process id")?.parse()?;
        let (mut own, ancestors) = Self::chain(pid)?;
        own.vpid = std::process::id().try_into()?;
        Ok((own, ancestors))
    }

    /// A process that runs, and its parents.
    pub fn chain(pid: i32) -> Result<(Self, Vec<Self>)> {
        let (own, mut parent) = Self::read(pid)?;
        let mut ancestors = Vec::new();
        while parent > 0 {
            let (process, next) = Self::read(parent)?;
            ancestors.push(process);
            parent = next;
        }
        Ok((own, ancestors))
    }

    /// The file name of its binary.
    pub fn name(&self) -> String {
        self.executable.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// When it started by the wall clock; good to two seconds, since the kernel rounds its boot time.
    pub fn started(&self) -> Result<SystemTime> {
        let stat = fs::read_to_string("/proc/stat")?;
        let boot =
            stat.lines().find_map(|line| line.strip_prefix("btime ")).context("no btime in /proc/stat")?;
        let ticks = rustix::param::clock_ticks_per_second();
        let since_boot = Duration::from_millis(self.start_ticks * 1000 / ticks);
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(boot.parse()?) + since_boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_chain_ends_at_process_one() {
        let (own, ancestors) = Process::own_chain().unwrap();
        assert_eq!(own.executable, std::env::current_exe().unwrap());
        assert_eq!(ancestors.last().unwrap().pid, 1);
        assert!(own.started().unwrap() <= SystemTime::now() + Duration::from_secs(2));
    }
}
