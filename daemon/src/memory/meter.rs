//! The facts: the limit that applies, and what counts against it.
//!
//! `MemoryMax=` of systemd is `memory.max` of a control group, and counts what its processes and the kernel took on their
//! behalf: BPF maps and rings, which are a good part of netsonde and in no resident set, as well. So the group's own
//! count is what is read, less what the kernel takes back by itself before it would kill anybody: the file cache and
//! slabs that can be reclaimed (Documentation/admin-guide/cgroup-v2.rst, "memory.stat"). Shared memory is part of "file"
//! there and cannot be taken back without swap, so it is added again. Where others live in the group too, or it has no
//! count, netsonde's own resident memory counts: what neighbours take is not netsonde's to give back.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::MemoryLimit;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Bytes in use.
    pub usage: u64,
    /// Bytes at most; `None` without a limit.
    pub limit: Option<u64>,
}

/// Files of one version of the memory controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names {
    /// Any of them may be absent.
    limits: &'static [&'static str],
    usage: &'static str,
    /// In `memory.stat`: what is added to the usage, and what is taken off.
    more: &'static str,
    less: [&'static str; 2],
}

const V2: Names = Names {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    more: "shmem",
    less: ["file", "slab_reclaimable"],
};

/// Documentation/admin-guide/cgroup-v1/memory.rst; `total_` is of the group with those below it, as is the usage.
const V1: Names = Names {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    more: "total_shmem",
    less: ["total_cache", "total_slab_reclaimable"],
};

/// A v1 group without a limit has the largest number of pages there is, in bytes.
const NO_LIMIT: u64 = 1 << 62;

/// Reads both.
#[derive(Debug)]
pub struct Meter {
    configured: MemoryLimit,
    /// The directory of the own group and those of its parents, nearest first; none when there is no controller.
    groups: Vec<PathBuf>,
    names: Names,
}

impl Meter {
    /// Finds the group of this process.
    #[must_use]
    pub fn new(configured: MemoryLimit) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let found = own_groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let (names, groups) = found.unwrap_or((V2, Vec::new()));
        Self { configured, groups, names }
    }

    /// Reads now. Without a limit the usage is read all the same.
    #[must_use]
    pub fn read(&self) -> Reading {
        let limit = match self.configured {
            MemoryLimit::None => None,
            MemoryLimit::Auto => self.limit_of_groups(),
            MemoryLimit::Bytes(bytes) => Some(self.limit_of_groups().map_or(bytes, |found| found.min(bytes))),
        };
        let usage = self.usage_of_group().unwrap_or_else(resident);
        Reading { usage, limit }
    }

    fn limit_of_groups(&self) -> Option<u64> {
        let files =
            self.groups.iter().flat_map(|group| self.names.limits.iter().map(|name| group.join(name)));
        // "max" is no number.
        let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
        limits.filter(|limit| *limit < NO_LIMIT).min()
    }

    /// What the own group has in use, if it is netsonde's alone.
    fn usage_of_group(&self) -> Option<u64> {
        let own = self.groups.first()?;
        is_alone(own)?;
        let used: u64 = fs::read_to_string(own.join(self.names.usage)).ok()?.trim().parse().ok()?;
        Some(in_use(used, &fs::read_to_string(own.join("memory.stat")).ok()?, self.names))
    }
}

/// Whether this process is the only one in a group; the list may be long, and its beginning tells.
fn is_alone(group: &Path) -> Option<()> {
    let mut begin = String::new();
    fs::File::open(group.join("cgroup.procs")).ok()?.take(64).read_to_string(&mut begin).ok()?;
    (begin.trim() == std::process::id().to_string()).then_some(())
}

/// Usage less what the kernel takes back by itself.
fn in_use(used: u64, stat: &str, names: Names) -> u64 {
    let of = |wanted: &str| {
        let pairs = stat.lines().filter_map(|line| line.split_once(' '));
        pairs.filter(|(name, _)| *name == wanted).find_map(|(_, n)| n.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let reclaimable = names.less.iter().map(|name| of(name)).sum::<u64>().saturating_sub(of(names.more));
    used.saturating_sub(reclaimable)
}

/// Resident memory that no file backs, of `/proc/self/statm` (proc_pid_statm(5)); 0 when it cannot be read.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ').skip(1).map(|n| n.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// The directories of a process's memory group and of its parents, from the texts of `/proc/PID/cgroup` (cgroups(7)) and
/// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). A v1 hierarchy that has the controller counts before v2, which then
/// has none.
fn own_groups(cgroup: &str, mountinfo: &str) -> Option<(Names, Vec<PathBuf>)> {
    let entries: Vec<[&str; 3]> = cgroup
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some([parts.next()?, parts.next()?, parts.next()?])
        })
        .collect();
    let is_v1 = |controllers: &str| controllers.split(',').any(|name| name == "memory");
    let v1 = entries.iter().find(|[_, controllers, _]| is_v1(controllers));
    let (names, [.., path]) = match v1 {
        Some(entry) => (V1, entry),
        None => (V2, entries.iter().find(|[hierarchy, ..]| *hierarchy == "0")?),
    };
    let (root, mount) = mountinfo.lines().find_map(|line| {
        let (of_mount, of_system) = line.split_once(" - ")?;
        let (mut of_mount, mut of_system) = (of_mount.split(' ').skip(3), of_system.split(' '));
        let wanted = match of_system.next()? {
            "cgroup2" => names == V2,
            "cgroup" => names == V1 && is_v1(of_system.next_back()?),
            _ => false,
        };
        wanted.then_some((of_mount.next()?, of_mount.next()?))
    })?;
    // A container may see its own group as the root of the mount, under whatever path.
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let mount = Path::new(mount);
    let own = mount.join(below);
    let groups = own.ancestors().take_while(|at| at.starts_with(mount)).map(Path::to_owned).collect();
    Some((names, groups))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const UNIFIED: &str = "22 1 0:20 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    fn groups(cgroup: &str, mountinfo: &str) -> Vec<String> {
        let (_, groups) = own_groups(cgroup, mountinfo).expect("found");
        groups.iter().map(|group| group.display().to_string().trim_end_matches('/').to_owned()).collect()
    }

    #[test]
    fn the_group_and_its_parents_are_found() {
        let expected =
            ["/sys/fs/cgroup/system.slice/n.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"];
        assert_eq!(groups("0::/system.slice/n.service\n", UNIFIED), expected);
    }

    #[test]
    fn the_first_version_counts_where_it_has_the_controller() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 1 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let both = format!("{UNIFIED}{mounts}");
        assert_eq!(
            groups("4:memory:/a\n0::/b\n", &both),
            ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"]
        );
        assert_eq!(groups("4:cpu:/a\n0::/b\n", &both), ["/sys/fs/cgroup/b", "/sys/fs/cgroup"]);
    }

    #[test]
    fn a_container_s_group_may_be_the_root_of_the_mount() {
        let mount = "22 1 0:20 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(groups("0::/docker/1\n", mount), ["/sys/fs/cgroup"]);
        assert_eq!(groups("0::/\n", mount), ["/sys/fs/cgroup"]);
        assert_eq!(own_groups("0::/a\n", ""), None);
    }

    #[test]
    fn what_the_kernel_takes_back_does_not_count() {
        let stat = "anon 500\nfile 300\nshmem 100\nslab_reclaimable 50\nslab 70\n";
        assert_eq!(in_use(1_000, stat, V2), 750);
        assert_eq!(in_use(1_000, "total_cache 300\ntotal_shmem 0\n", V1), 700);
        assert_eq!(in_use(10, stat, V2), 0, "read at another moment");
    }

    #[test]
    fn the_smallest_limit_counts_and_what_was_configured_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (parent, own) = (directory.path().to_owned(), directory.path().join("own"));
        fs::create_dir(&own).expect("made");
        fs::write(parent.join("memory.max"), "4096000\n").expect("written");
        fs::write(own.join("memory.max"), "max\n").expect("written");
        fs::write(own.join("memory.high"), "5000000\n").expect("written");
        let meter = |configured| Meter { configured, groups: vec![own.clone(), parent.clone()], names: V2 };
        assert_eq!(meter(MemoryLimit::Auto).read().limit, Some(4_096_000));
        assert_eq!(meter(MemoryLimit::Bytes(9_000_000)).read().limit, Some(4_096_000));
        assert_eq!(meter(MemoryLimit::Bytes(1_000)).read().limit, Some(1_000));
        assert_eq!(meter(MemoryLimit::None).read().limit, None);
        fs::write(parent.join("memory.max"), "max\n").expect("written");
        assert_eq!(meter(MemoryLimit::Auto).read().limit, Some(5_000_000));
    }

    #[test]
    fn the_group_counts_when_it_is_netsonde_s_alone_and_else_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("memory.current", "7000\n");
        write("memory.stat", "file 2000\nshmem 0\n");
        write("cgroup.procs", &format!("{}\n", std::process::id()));
        let groups = vec![directory.path().to_owned()];
        let meter = Meter { configured: MemoryLimit::Auto, groups, names: V2 };
        assert_eq!(meter.read().usage, 5_000);
        write("cgroup.procs", &format!("1\n{}\n", std::process::id()));
        let usage = meter.read().usage;
        assert!(usage > 100_000, "the resident memory of this test: {usage}");
        let without = Meter { configured: MemoryLimit::Auto, groups: Vec::new(), names: V2 };
        assert!(without.read().usage > 100_000);
        assert_eq!(without.read().limit, None);
        // Something that is no text.
        fs::remove_file(directory.path().join("memory.stat")).expect("removed");
        symlink("/nonexistent", directory.path().join("memory.stat")).expect("made");
        assert!(meter.read().usage > 100_000);
    }

    proptest! {
        #[test]
        fn no_text_panics(cgroup in "\\PC{0,60}", mountinfo in "\\PC{0,80}", stat in "\\PC{0,60}") {
            let _ = own_groups(&cgroup, &format!("{mountinfo} - cgroup2"));
            let _ = in_use(5, &stat, V2);
        }
    }
}
