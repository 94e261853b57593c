//! All cgroups of the v2 hierarchy by the kernel's id, and every context that is in use, each kept once.
//!
//! The kernel's id of a cgroup is that of its directory's kernfs node, which is also the directory's inode
//! number where inode numbers have 64 bits (`kernfs_ino()` in include/linux/kernfs.h). Ids of the v1
//! hierarchies are numbers of their own and must not be put in here. Nothing moves in v2: it has no rename
//! (`cgroup_kf_syscall_ops` in kernel/cgroup/cgroup.c).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, of_process_cgroups};

struct Known {
    context: Arc<Context>,
    /// The cgroup is gone since this sweep.
    removed: Option<u64>,
}

/// What the table knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupStatistics {
    /// Cgroups in the table, removed ones that are still kept included.
    pub tracked: u64,
    /// Contexts that are kept once for all who have them.
    pub contexts: u64,
    /// Cgroups forgotten early because the table was full.
    pub evicted: u64,
    /// Contexts handed out that are not kept because too many are in use.
    pub unshared: u64,
}

/// What a walk over the directories came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Cgroups met.
    pub found: usize,
    /// Directories that could not be read, though they are there.
    pub unread: usize,
    /// There were more than the table takes, and the walk ended there.
    pub cut: bool,
}

/// All cgroups of the v2 hierarchy, and the contexts of processes.
pub struct Cgroups {
    known: HashMap<u64, Known>,
    contexts: HashSet<Arc<Context>>,
    limit: usize,
    sweep: u64,
    /// Too many contexts are in use; nothing can change that before the next sweep.
    crowded: bool,
    statistics: CgroupStatistics,
}

impl Cgroups {
    /// An empty table for at most `limit` cgroups and twice as many contexts, give or take an eighth.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            known: HashMap::new(),
            contexts: HashSet::new(),
            limit,
            sweep: 0,
            crowded: false,
            statistics: CgroupStatistics::default(),
        }
    }

    /// Changes the limit from the next sweep on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// What the table knows of itself.
    #[must_use]
    pub fn statistics(&self) -> CgroupStatistics {
        CgroupStatistics {
            tracked: self.known.len() as u64,
            contexts: self.contexts.len() as u64,
            ..self.statistics
        }
    }

    /// Learns all cgroups from the directories below the mount that `mountinfo`, the text of
    /// `/proc/self/mountinfo`, names: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid host. What
    /// was known and is not there any more counts as removed, so a scan also makes up for lost events.
    /// `None` when nothing is mounted.
    pub fn scan(&mut self, mountinfo: &str) -> Option<Scan> {
        let mount = unified_mount(mountinfo)?;
        Some(self.scan_tree(&mount.point, &mount.root))
    }

    /// Walks the directories below `top`, whose path within the hierarchy is `path`, upper ones first.
    fn scan_tree(&mut self, top: &Path, path: &str) -> Scan {
        let mut scan = Scan::default();
        let mut met = HashSet::new();
        let mut waiting = VecDeque::from([(top.to_owned(), path.trim_end_matches('/').to_owned())]);
        while let Some((directory, path)) = waiting.pop_front() {
            // One that is gone by now, at either step, was removed and its event is on the way.
            match fs::symlink_metadata(&directory) {
                Ok(metadata) => {
                    self.made(metadata.ino(), &path);
                    met.insert(metadata.ino());
                    scan.found += 1;
                }
                Err(error) => {
                    scan.unread += usize::from(!is_gone(&error));
                    continue;
                }
            }
            match subdirectories(&directory) {
                Ok(names) => {
                    for name in names {
                        if scan.found + waiting.len() >= self.limit {
                            scan.cut = true;
                            break;
                        }
                        let path = format!("{path}/{}", name.display());
                        waiting.push_back((directory.join(name), path));
                    }
                }
                Err(error) => scan.unread += usize::from(!is_gone(&error)),
            }
        }
        if scan.unread == 0 && !scan.cut {
            let sweep = self.sweep;
            let vanished = self.known.iter_mut().filter(|(id, _)| !met.contains(id));
            vanished.for_each(|(_, known)| _ = known.removed.get_or_insert(sweep));
        }
        scan
    }

    /// A cgroup was made: `path` is from the root of the hierarchy.
    pub fn made(&mut self, id: u64, path: &str) {
        let context = self.of_path(path);
        self.known.insert(id, Known { context, removed: None });
        // Room is made in bulk, so that many new cgroups do not each pay for it.
        if self.known.len() > self.limit + self.limit / 8 {
            self.evict();
        }
    }

    /// A cgroup was removed. It stays known for one whole sweep more, because measurements of the processes
    /// that were in it are still on their way.
    pub fn removed(&mut self, id: u64) {
        if let Entry::Occupied(mut entry) = self.known.entry(id) {
            entry.get_mut().removed.get_or_insert(self.sweep);
        }
    }

    /// What is known of a cgroup.
    #[must_use]
    pub fn context(&self, id: u64) -> Option<Arc<Context>> {
        self.known.get(&id).map(|known| Arc::clone(&known.context))
    }

    /// The context of a path within its hierarchy; the same one for the same path.
    pub fn of_path(&mut self, path: &str) -> Arc<Context> {
        self.share(Context::of_path(path))
    }

    /// The context of a process by its `/proc/PID/cgroup`; the same one for all that are in the same place.
    pub fn of_process(&mut self, proc_pid_cgroup: &str) -> Arc<Context> {
        self.share(of_process_cgroups(proc_pid_cgroup))
    }

    /// To be called after each sweep: lets go of cgroups that were removed before the previous one, and of
    /// contexts that nobody else holds.
    pub fn prune(&mut self) {
        self.sweep += 1;
        let sweep = self.sweep;
        self.known.retain(|_, known| known.removed.is_none_or(|removed| sweep < removed + 2));
        self.evict();
        self.contexts.retain(is_held);
        self.crowded = false;
        // A burst of cgroups must not hold its memory for ever.
        if self.known.capacity() > 4 * self.known.len().max(64) {
            self.known.shrink_to_fit();
        }
        if self.contexts.capacity() > 4 * self.contexts.len().max(64) {
            self.contexts.shrink_to_fit();
        }
    }

    fn share(&mut self, context: Context) -> Arc<Context> {
        if let Some(known) = self.contexts.get(&context) {
            return Arc::clone(known);
        }
        let context = Arc::new(context);
        let most = 2 * (self.limit + self.limit / 8);
        if self.contexts.len() >= most && !self.crowded {
            self.contexts.retain(is_held);
            self.crowded = self.contexts.len() >= most / 8 * 7;
        }
        if self.contexts.len() < most {
            self.contexts.insert(Arc::clone(&context));
        } else {
            self.statistics.unshared += 1;
        }
        context
    }

    /// Brings the table back to its limit: removed cgroups go first, then those whose context nobody uses,
    /// then the oldest. The kernel gives out ids in order.
    fn evict(&mut self) {
        let surplus = self.known.len().saturating_sub(self.limit);
        if surplus == 0 {
            return;
        }
        let mut order: Vec<(u64, bool, u64)> = self
            .known
            .iter()
            .map(|(id, known)| {
                // One reference is the table's, and one the set's of all contexts.
                (known.removed.unwrap_or(u64::MAX), Arc::strong_count(&known.context) > 2, *id)
            })
            .collect();
        order.sort_unstable();
        for (.., id) in order.into_iter().take(surplus) {
            self.known.remove(&id);
        }
        self.statistics.evicted += surplus as u64;
    }
}

fn is_held(context: &Arc<Context>) -> bool {
    Arc::strong_count(context) > 1
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn subdirectories(directory: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // The type comes with the name, so the files of a cgroup cost nothing.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Where cgroup v2 is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// Path within the hierarchy of what is mounted there.
    root: String,
}

/// Finds it in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)): the first mount of the whole
/// hierarchy, else the first of a part.
fn unified_mount(mountinfo: &str) -> Option<Mount> {
    let mounts = || mountinfo.lines().filter_map(cgroup2_mount);
    mounts().find(|mount| mount.root == "/").or_else(|| mounts().next())
}

fn cgroup2_mount(line: &str) -> Option<Mount> {
    // The number of optional fields before the separator varies.
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    Some(Mount { point: unescape_octal(point).into(), root: unescape_octal(root) })
}

/// Undoes the `\040` and the like of mangle_path() in fs/seq_file.c; what is not valid text afterwards is
/// replaced.
fn unescape_octal(field: &str) -> String {
    let mut pieces = field.split('\\');
    let mut bytes = Vec::with_capacity(field.len());
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        match piece.split_at_checked(3).and_then(|(code, rest)| Some((octal(code)?, rest))) {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            None => {
                bytes.push(b'\\');
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(code: &str) -> Option<u8> {
    code.bytes().all(|b| b.is_ascii_digit()).then(|| u8::from_str_radix(code, 8).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(cgroups: &Cgroups, id: u64) -> Option<String> {
        cgroups.context(id)?.unit.as_deref().map(str::to_owned)
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).expect("it is there").ino()
    }

    #[test]
    fn the_same_path_has_the_same_context() {
        let mut cgroups = Cgroups::new(100);
        let path = cgroups.of_path("/system.slice/ssh.service");
        cgroups.made(7, "/system.slice/ssh.service");
        let process = cgroups.of_process("1:name=systemd:/\n0::/system.slice/ssh.service\n");
        assert!(Arc::ptr_eq(&path, &process));
        assert!(Arc::ptr_eq(&path, &cgroups.context(7).expect("known")));
        assert!(!Arc::ptr_eq(&path, &cgroups.of_path("/system.slice/cron.service")));
        assert_eq!(cgroups.statistics().contexts, 2);
    }

    #[test]
    fn a_removed_cgroup_is_known_for_one_whole_sweep_more() {
        let mut cgroups = Cgroups::new(100);
        cgroups.made(7, "/a.service");
        cgroups.made(8, "/b.service");
        cgroups.removed(7);
        cgroups.removed(99);
        assert_eq!(unit(&cgroups, 7).as_deref(), Some("a.service"));
        cgroups.prune();
        assert_eq!(unit(&cgroups, 7).as_deref(), Some("a.service"));
        // A second word of the same does not start it anew.
        cgroups.removed(7);
        cgroups.prune();
        assert_eq!(unit(&cgroups, 7), None);
        assert_eq!(unit(&cgroups, 8).as_deref(), Some("b.service"));
        assert_eq!(
            cgroups.statistics(),
            CgroupStatistics { tracked: 1, contexts: 1, ..CgroupStatistics::default() }
        );
    }

    #[test]
    fn a_context_lives_as_long_as_somebody_has_it() {
        let mut cgroups = Cgroups::new(100);
        let held = cgroups.of_path("/held.service");
        cgroups.of_path("/other.service");
        cgroups.prune();
        assert_eq!(cgroups.statistics().contexts, 1);
        assert!(Arc::ptr_eq(&held, &cgroups.of_path("/held.service")));
        drop(held);
        cgroups.prune();
        assert_eq!(cgroups.statistics().contexts, 0);
    }

    #[test]
    fn a_full_table_lets_removed_and_unused_cgroups_go_first() {
        let mut cgroups = Cgroups::new(8);
        for id in 1..=9 {
            cgroups.made(id, &format!("/{id}.service"));
        }
        let used: Vec<_> = (1..=7).map(|id| cgroups.context(id)).collect();
        cgroups.removed(5);
        cgroups.made(10, "/10.service");
        let left: Vec<u64> = (1..=10).filter(|id| cgroups.context(*id).is_some()).collect();
        assert_eq!(left, [1, 2, 3, 4, 6, 7, 9, 10]);
        assert_eq!((cgroups.statistics().tracked, cgroups.statistics().evicted), (8, 2));
        drop(used);
    }

    #[test]
    fn contexts_beyond_the_limit_are_handed_out_and_not_kept() {
        let mut cgroups = Cgroups::new(8);
        let held: Vec<_> = (0..30).map(|n| cgroups.of_path(&format!("/{n}.service"))).collect();
        assert_eq!(held[29].unit.as_deref(), Some("29.service"));
        let statistics = cgroups.statistics();
        assert_eq!((statistics.contexts, statistics.unshared), (18, 12));
        drop(held);
        cgroups.prune();
        let one = cgroups.of_path("/29.service");
        assert!(Arc::ptr_eq(&one, &cgroups.of_path("/29.service")));
    }

    #[test]
    fn contexts_that_nobody_has_make_room_before_the_next_sweep() {
        let mut cgroups = Cgroups::new(8);
        for n in 0..1000 {
            cgroups.of_path(&format!("/{n}.service"));
        }
        assert!(cgroups.statistics().contexts <= 18);
        assert_eq!(cgroups.statistics().unshared, 0);
    }

    #[test]
    fn a_scan_learns_directories_and_not_files() {
        let top = tempfile::tempdir().expect("a directory");
        let service = top.path().join("system.slice/ssh.service");
        fs::create_dir_all(&service).expect("made");
        fs::write(service.join("cgroup.procs"), "1\n").expect("written");
        std::os::unix::fs::symlink(&service, top.path().join("again")).expect("linked");
        let mut cgroups = Cgroups::new(100);
        let scan = cgroups.scan_tree(top.path(), "/");
        assert_eq!(scan, Scan { found: 3, ..Scan::default() });
        assert_eq!(cgroups.statistics().tracked, 3);
        assert_eq!(&*cgroups.context(inode(top.path())).expect("known").cgroup, "/");
        let context = cgroups.context(inode(&service)).expect("known");
        assert_eq!(&*context.cgroup, "/system.slice/ssh.service");
        assert_eq!(context.unit.as_deref(), Some("ssh.service"));
    }

    #[test]
    fn what_a_scan_misses_was_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let (a, b) = (top.path().join("a.service"), top.path().join("b.service"));
        fs::create_dir(&a).expect("made");
        let mut cgroups = Cgroups::new(100);
        cgroups.scan_tree(top.path(), "/");
        let gone = inode(&a);
        // Made before the other is removed, so that it cannot get its inode.
        fs::create_dir(&b).expect("made");
        fs::remove_dir(&a).expect("removed");
        cgroups.scan_tree(top.path(), "/");
        assert_eq!(unit(&cgroups, gone).as_deref(), Some("a.service"), "kept for a sweep");
        cgroups.prune();
        cgroups.prune();
        assert_eq!(unit(&cgroups, gone), None);
        assert_eq!(unit(&cgroups, inode(&b)).as_deref(), Some("b.service"));
    }

    #[test]
    fn a_scan_ends_at_the_limit_with_the_upper_cgroups_and_forgets_nothing() {
        let top = tempfile::tempdir().expect("a directory");
        for n in 0..10 {
            fs::create_dir_all(top.path().join(format!("{n}.service/below"))).expect("made");
        }
        let mut cgroups = Cgroups::new(8);
        cgroups.made(u64::MAX, "/known.service");
        let scan = cgroups.scan_tree(top.path(), "/");
        assert_eq!(scan, Scan { found: 8, unread: 0, cut: true });
        assert!(cgroups.known.values().all(|k| k.removed.is_none() && !k.context.cgroup.ends_with("below")));
        assert_eq!(unit(&cgroups, u64::MAX).as_deref(), Some("known.service"));
    }

    #[test]
    fn a_tree_that_is_gone_is_no_error() {
        let top = tempfile::tempdir().expect("a directory");
        let mut cgroups = Cgroups::new(8);
        assert_eq!(cgroups.scan_tree(&top.path().join("gone"), "/"), Scan::default());
        let file = top.path().join("file");
        fs::write(&file, "").expect("written");
        assert_eq!(cgroups.scan_tree(&file, "/").unread, 1);
    }

    #[test]
    fn a_part_of_the_hierarchy_keeps_its_path() {
        let top = tempfile::tempdir().expect("a directory");
        fs::create_dir(top.path().join("a.service")).expect("made");
        let mut cgroups = Cgroups::new(8);
        cgroups.scan_tree(top.path(), "/machine.slice");
        let context = cgroups.context(inode(&top.path().join("a.service"))).expect("known");
        assert_eq!(&*context.cgroup, "/machine.slice/a.service");
    }

    #[test]
    fn the_unified_hierarchy_is_found_among_the_mounts() {
        let pure = "22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
                    25 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let part_first = "50 1 0:38 /system.slice /mnt/a\\040part rw - cgroup2 none rw\n\
                          51 1 0:38 / /mnt/whole rw master:1 shared:9 - cgroup2 none rw\n";
        for (text, point, root) in [
            (pure, "/sys/fs/cgroup", "/"),
            (hybrid, "/sys/fs/cgroup/unified", "/"),
            (part_first, "/mnt/whole", "/"),
            (part_first.lines().next().expect("a line"), "/mnt/a part", "/system.slice"),
        ] {
            assert_eq!(unified_mount(text), Some(Mount { point: point.into(), root: root.to_owned() }));
        }
        for text in ["", "40 31 0:37 / /x rw - cgroup cgroup rw", "40 - cgroup2", "a - cgroup2 b c"] {
            assert_eq!(unified_mount(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_mounted_is_nothing_scanned() {
        let mut cgroups = Cgroups::new(8);
        assert_eq!(cgroups.scan("22 1 0:20 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn octal_escapes_are_undone_and_others_kept() {
        assert_eq!(unescape_octal("/a\\040b\\134c"), "/a b\\c");
        for same in ["/a\\", "/a\\04", "/a\\999", "/a\\+12", "/\\é"] {
            assert_eq!(unescape_octal(same), same);
        }
    }
}
