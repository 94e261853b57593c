//! Where a process belongs: its systemd unit and slice and its container, read from cgroup paths alone.
//! Nobody is asked, neither systemd nor a container runtime: what a path does not say is not known.
//!
//! How a process came to be in a cgroup, and which process that is, is not known here.

mod container;
mod table;
mod unit;

use std::sync::Arc;

pub use container::{Container, Runtime};
pub use table::Cgroups;

use container::Nested;
use unit::Units;

/// Where a process belongs. Immutable, shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Context {
    /// Path within its hierarchy, from the root: `/` for the root itself.
    pub cgroup: Arc<str>,
    /// Unit of the system's manager, such as `ssh.service` or `session-3.scope`; journald's
    /// `_SYSTEMD_UNIT`. A user's manager is itself one, `user@1000.service`.
    pub unit: Option<Arc<str>>,
    /// Unit of a user's manager; journald's `_SYSTEMD_USER_UNIT`.
    pub user_unit: Option<Arc<str>>,
    /// Innermost slice of the system's manager; journald's `_SYSTEMD_SLICE`, but absent for the root slice.
    pub slice: Option<Arc<str>>,
    /// The innermost container.
    pub container: Option<Container>,
}

impl Context {
    /// Reads a path within its hierarchy.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        Self::new(path, container::innermost(path).map(|nested| nested.container))
    }

    fn new(path: &str, container: Option<Container>) -> Self {
        let units = Units::of_path(path);
        Self {
            cgroup: from_root(path),
            unit: units.unit.map(Arc::from),
            user_unit: units.user_unit.map(Arc::from),
            slice: units.slice.map(Arc::from),
            container,
        }
    }
}

fn from_root(path: &str) -> Arc<str> {
    let path = path.trim_end_matches('/');
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}

/// Reads a `/proc/PID/cgroup` (cgroups(7)) with any number of hierarchies.
///
/// The units are those of the unified hierarchy when it says more than the root, else those of
/// `name=systemd`: systemd itself looks at the one or the other (`cg_pid_get_path()` in
/// src/basic/cgroup-util.c). The container is the most deeply nested one that any line names, because on a
/// hybrid host a runtime may use the other hierarchies only. `cgroup` is the path that named the units; when
/// that is the root, the one that named the container.
#[must_use]
pub fn of_process_cgroups(text: &str) -> Context {
    let is_elsewhere = |line: &Line<'_>| line.path != "/";
    let home = lines(text)
        .find(|line| line.is_unified() && is_elsewhere(line))
        .or_else(|| lines(text).find(|line| line.has("name=systemd") && is_elsewhere(line)));
    let mut found: Option<(Nested, &str)> = None;
    for line in home.into_iter().chain(lines(text)) {
        if let Some(nested) = container::innermost(line.path)
            && found.as_ref().is_none_or(|(known, _)| says_more(&nested, known))
        {
            found = Some((nested, line.path));
        }
    }
    let path = home.map(|line| line.path).or(found.as_ref().map(|(_, path)| *path));
    Context::new(path.unwrap_or("/"), found.map(|(nested, _)| nested.container))
}

fn says_more(nested: &Nested, known: &Nested) -> bool {
    let rank = |n: &Nested| (n.depth, n.container.runtime.is_some());
    rank(nested) > rank(known)
}

/// The cgroup v1 hierarchy in which a process's moves tell most on this host, by its number in
/// `/proc/self/cgroup`: `name=systemd`, else that of the pids or of the memory controller, else the one with
/// the lowest number. `None` where there is none, which is a host with cgroup v2 alone.
#[must_use]
pub fn legacy_hierarchy(proc_self_cgroup: &str) -> Option<u32> {
    let legacy = || lines(proc_self_cgroup).filter(|line| !line.is_unified());
    ["name=systemd", "pids", "memory"]
        .into_iter()
        .find_map(|controller| legacy().find(|line| line.has(controller)))
        .or_else(|| legacy().min_by_key(|line| line.hierarchy))
        .map(|line| line.hierarchy)
}

/// A line of `/proc/PID/cgroup`.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    hierarchy: u32,
    controllers: &'a str,
    path: &'a str,
}

impl Line<'_> {
    /// Whether it is about cgroup v2.
    fn is_unified(&self) -> bool {
        self.hierarchy == 0
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|c| c == controller)
    }
}

/// The lines in the form `number:controllers:path`; what is in another form is passed over. No path has a
/// line break (cgroup_mkdir() in kernel/cgroup/cgroup.c), but it may have colons.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let hierarchy = fields.next()?.parse().ok()?;
        let (controllers, path) = (fields.next()?, fields.next()?);
        // What proc_cgroup_show() in kernel/cgroup/cgroup.c appends when a process that has ended has
        // outlived its cgroup, in v2 only.
        let path = if hierarchy == 0 { path.strip_suffix(" (deleted)").unwrap_or(path) } else { path };
        path.starts_with('/').then_some(Line { hierarchy, controllers, path })
    })
}

#[cfg(test)]
mod tests;
