//! Many processes that do nothing but live, all children of one shell.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::cleanup::CleanUp;
use netsonde_tests::command;

/// Forking them may take so long on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(10);

/// What each of them has done before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only been forked.
    Forked,
    /// Also run another program.
    Executed,
}

impl Kind {
    /// The shell's command for one child. It sleeps in read(2) until the pipe closes.
    fn command(self) -> &'static str {
        match self {
            Self::Forked => "read -r line",
            Self::Executed => "cat >/dev/null",
        }
    }

    /// What the kernel calls such a child (`comm`).
    fn name(self) -> &'static str {
        match self {
            Self::Forked => "sh",
            Self::Executed => "cat",
        }
    }
}

/// The shell and its children. They end on drop, and also when this process is killed: the pipe that they all
/// read from has its other end here and nowhere else.
pub struct Living {
    kind: Kind,
    parent: u32,
    _cleanup: CleanUp,
}

impl Living {
    /// Starts so many and waits until all of them sleep, or at least are what they are to be.
    pub fn start(kind: Kind, count: usize) -> Result<Self> {
        let command = kind.command();
        // By another descriptor: a shell without job control gives background commands /dev/null.
        let script = format!(
            "exec 3<&0; i=0; while [ $i -lt {count} ]; do {command} <&3 & i=$((i+1)); done; exec 3<&-; wait"
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let parent = shell.id();
        let mut cleanup = CleanUp::default();
        cleanup.push(move || {
            drop(shell.stdin.take());
            match command::wait_at_most(&mut shell, END_LIMIT) {
                Ok(Some(_)) => {}
                ended => {
                    eprintln!("a shell had to be killed with its children: {ended:?}");
                    // Both fail when it has ended and was waited for, which is as well.
                    let _ = shell.kill();
                    let _ = shell.wait();
                }
            }
        });
        let living = Self { kind, parent, _cleanup: cleanup };
        let mut started = 0;
        let all = command::until(START_LIMIT, || {
            started = living.count()?;
            Ok(started == count)
        })?;
        ensure!(all, "{started} of {count} processes could be started");
        Ok(living)
    }

    /// How many of them there are now.
    pub fn count(&self) -> Result<usize> {
        Ok(self.children()?.len())
    }

    /// Their directories in /proc.
    fn children(&self) -> Result<Vec<PathBuf>> {
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            // What cannot be read has ended, or is no process.
            let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
            if parse_stat(&stat) == Some((self.kind.name(), self.parent)) {
                children.push(path);
            }
        }
        Ok(children)
    }
}

/// Name and parent of a living process, from /proc/PID/stat (proc_pid_stat(5)). The name may hold anything,
/// closing brackets too.
fn parse_stat(stat: &str) -> Option<(&str, u32)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    Some((name, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        assert_eq!(parse_stat("12 (cat) S 7 12 7 0"), Some(("cat", 7)));
        assert_eq!(parse_stat("12 (a (b) S 1) R 7 12"), Some(("a (b) S 1", 7)));
    }

    #[test]
    fn the_dead_and_what_is_no_process_are_not_counted() {
        assert_eq!(parse_stat("12 (cat) Z 7 12 7 0"), None);
        assert_eq!(parse_stat("cpu  1 2 3"), None);
        assert_eq!(parse_stat("12 (cat)"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn they_live_until_they_are_dropped() {
        for kind in [Kind::Forked, Kind::Executed] {
            let living = Living::start(kind, 5).unwrap();
            let children = living.children().unwrap();
            assert_eq!(children.len(), 5);
            drop(living);
            assert!(children.iter().all(|child| !child.exists()));
        }
    }
}
