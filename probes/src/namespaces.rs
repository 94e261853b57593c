//! Network namespaces: finding them, and running something inside one. An iterator over sockets sees the
//! namespace of the thread that opens it, so a sweep of the host visits each in turn.
//!
//! No namespace is held open between sweeps: that would keep a container's network alive after its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{ProbeError, Result};
use crate::records::ProcessEvent;

/// Where each namespace can be entered, by inode number. Several ways, because processes end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    doors: BTreeMap<u32, Vec<PathBuf>>,
}

/// How many processes are remembered for each namespace.
const DOORS: usize = 4;

impl Namespaces {
    /// The namespaces of the processes, and those that are mounted somewhere (`ip netns add`).
    #[must_use]
    pub fn find(processes: &[ProcessEvent]) -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found = Self::default();
        for process in processes {
            found.add(process.network_namespace, || format!("/proc/{}/ns/net", process.process.pid).into());
        }
        for (inode, path) in mounted_namespaces(&mountinfo) {
            found.add(inode, || path);
        }
        found
    }

    fn add(&mut self, inode: u32, door: impl FnOnce() -> PathBuf) {
        if inode == 0 {
            return;
        }
        let doors = self.doors.entry(inode).or_default();
        if doors.len() < DOORS {
            doors.push(door());
        }
    }

    /// Inode numbers of all of them.
    pub fn inodes(&self) -> impl Iterator<Item = u32> + '_ {
        self.doors.keys().copied()
    }

    /// Opens one; `None` when it is gone.
    #[must_use]
    pub fn open(&self, inode: u32) -> Option<File> {
        self.doors.get(&inode)?.iter().find_map(|door| {
            let file = File::open(door).ok()?;
            // The process may have ended and its number been used again.
            (file.metadata().ok()?.ino() == u64::from(inode)).then_some(file)
        })
    }
}

/// Inode numbers and paths of the network namespaces in a mountinfo (proc_pid_mountinfo(5)).
fn mounted_namespaces(mountinfo: &str) -> impl Iterator<Item = (u32, PathBuf)> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let inode = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
        Some((inode, PathBuf::from(fields.next()?)))
    })
}

/// The namespace that the calling thread was in when it was made, to return to.
pub struct Home {
    file: File,
    inode: u32,
}

impl Home {
    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// When `/proc` is not there.
    pub fn of_this_thread() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let open = || {
            let file = File::open(path)?;
            let inode = u32::try_from(file.metadata()?.ino()).unwrap_or(0);
            Ok(Self { file, inode })
        };
        open().map_err(|e: std::io::Error| ProbeError::system(format!("open {path}"), e))
    }

    /// Runs `work` in the namespace with this inode number; `None` when it is gone.
    ///
    /// # Errors
    ///
    /// Those of `work`; and when the thread cannot come home, which nothing can mend.
    pub fn visit<T>(
        &self,
        namespaces: &Namespaces,
        inode: u32,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        if inode == self.inode {
            return work().map(Some);
        }
        let Some(there) = namespaces.open(inode) else { return Ok(None) };
        if let Err(e) = enter(&there) {
            // Gone between the open and now, or not ours to enter: the next sweep may find it open.
            tracing::debug!(namespace = inode, error = %e, "cannot enter a network namespace");
            return Ok(None);
        }
        let result = work();
        enter(&self.file).map_err(|e| ProbeError::system("return to the own network namespace", e))?;
        result.map(Some)
    }
}

fn enter(namespace: &File) -> std::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces_are_read_from_mountinfo() {
        let mountinfo = "26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            300 26 0:4 net:[4026532281] /run/netns/blue rw shared:2 - nsfs nsfs rw\n\
            301 26 0:4 mnt:[4026532999] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n";
        let found: Vec<_> = mounted_namespaces(mountinfo).collect();
        assert_eq!(found, [(4_026_532_281, PathBuf::from("/run/netns/blue"))]);
    }

    #[test]
    fn a_namespace_that_is_gone_cannot_be_opened() {
        let mut namespaces = Namespaces::default();
        namespaces.add(17, || "/proc/self/ns/net".into());
        assert!(namespaces.open(17).is_none(), "another namespace has taken its place");
        assert!(namespaces.open(18).is_none());
    }
}
