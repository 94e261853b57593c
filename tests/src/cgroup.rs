//! Control groups that a test makes under names of systemd's and of container runtimes', and that are gone after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// `sed` runs in the group of the shell that starts it; it takes the line, and a backslash of a unit's name is two
/// in JSON.
const ENTER: &str = r#"
    echo $$ > "$0"
    sed -n '/^0::/{ s/\\/\\\\/g; s/.*/"&"/p }' /proc/self/cgroup
    exec "$@""#;

/// Which tree of groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hierarchy {
    /// cgroup2.
    Unified,
    /// Of version 1, with no controller, as systemd has one on hosts that are not all cgroup2.
    Systemd,
    /// Of version 1, with the controller of memory.
    Memory,
}

impl Hierarchy {
    /// Where it is mounted; `None` where it is not.
    pub fn mounted(self) -> Result<Option<PathBuf>> {
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        for line in text.lines() {
            // proc_pid_mountinfo(5): the fields of the mount, a dash, those of the file system.
            let (mount, system) = line.split_once(" - ").context("a line without its dash")?;
            let (mount, system): (Vec<_>, Vec<_>) = (mount.split(' ').collect(), system.split(' ').collect());
            let [kind, _, options] = system[..] else { bail!("not a mount: {line}") };
            let wanted = match self {
                Self::Unified => kind == "cgroup2",
                Self::Systemd | Self::Memory => {
                    let own = if self == Self::Memory { "memory" } else { "name=systemd" };
                    kind == "cgroup" && options.split(',').any(|option| option == own)
                }
            };
            // Another root than `/` is a part of the tree, which the names below would not be true of.
            if wanted && mount.get(3) == Some(&"/") {
                return Ok(Some(mount.get(4).context("no mount point")?.into()));
            }
        }
        Ok(None)
    }
}

/// A group; removed on drop, with the directories above it that were made for it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a group by its path below the mount.
    pub fn new(hierarchy: Hierarchy, path: &str) -> Result<Self> {
        let root = hierarchy.mounted()?.with_context(|| format!("no {hierarchy:?} hierarchy is mounted"))?;
        let directory = root.join(path);
        ensure!(directory != root, "the root is no group of its own");
        let mut group = Self { directory: directory.clone(), made: Vec::new() };
        let missing: Vec<&Path> = directory.ancestors().take_while(|at| !at.exists()).collect();
        for at in missing.into_iter().rev() {
            fs::create_dir(at).with_context(|| format!("cannot make {}", at.display()))?;
            group.made.push(at.to_owned());
        }
        Ok(group)
    }

    /// A command that will run in it: a shell that enters, prints the line of cgroup2 in /proc/self/cgroup as a JSON
    /// string, and becomes the program.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", ENTER]).arg(self.directory.join("cgroup.procs")).arg(program);
        command
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Moves a running process into it.
    pub fn take(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.directory.join("cgroup.procs"), pid.to_string())?)
    }

    /// Removes it. A process that was in it may be on its way out for a moment.
    pub fn remove(&mut self) -> Result<()> {
        while let Some(last) = self.made.last() {
            let removed = command::until(Duration::from_secs(5), || Ok(fs::remove_dir(last).is_ok()))?;
            ensure!(removed, "{} cannot be removed", last.display());
            self.made.pop();
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("a group is left behind: {error:#}");
        }
    }
}
