//! A peer's processes: started in a control group of their own, their output in files, ended so that they can say their last words.

use std::fs;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::command;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// One at a time: the benchmark has the host to itself.
const GROUP: &str = "netsonde-bench-peer";
/// In a mount namespace of its own, so that what is mounted there goes with it.
const WITH_TRACING: &str = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
    mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
    exec \"$@\"";
/// What a peer has for each of the ways in which it may be asked to end.
const END: Duration = Duration::from_secs(3);
const BLOCK: usize = 64 * 1024;
/// Bytes of each of its outputs that are shown when something goes wrong.
const LAST_WORDS: usize = 4096;

/// Killed on drop, with all its children.
pub struct Process {
    child: Child,
    group: Cgroup,
    output: Tail,
    errors: Tail,
}

impl Process {
    /// Starts it. `tracing`: with tracefs and debugfs where tools look for them, on hosts that have not mounted them too.
    pub fn start(words: &[String], tracing: bool) -> Result<Self> {
        let group = Cgroup::new(Hierarchy::Unified, GROUP)?;
        let mut command = if tracing {
            let mut command = group.command(Path::new("unshare"));
            command.args(["--mount", "--propagation", "private", "sh", "-ec", WITH_TRACING, "sh"]);
            command.args(words);
            command
        } else {
            let (program, arguments) = words.split_first().context("an empty command line")?;
            let mut command = group.command(Path::new(program));
            command.args(arguments);
            command
        };
        let (output, errors) = (Tail::new()?, Tail::new()?);
        let child = command
            .stdin(Stdio::null())
            .stdout(output.writer()?)
            .stderr(errors.writer()?)
            .spawn()
            .with_context(|| format!("cannot run {words:?}"))?;
        Ok(Self { child, group, output, errors })
    }

    /// Processor seconds of all that it is and was.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(self.group.file("cpu.stat"))?;
        let usage = parse_usage(&text).with_context(|| format!("no usage in {text:?}"))?;
        Ok(usage as f64 / 1e6)
    }

    /// Hands over all whole lines that it has printed since the last time.
    pub fn read(&mut self, mut each: impl FnMut(&str)) -> Result<()> {
        self.output.read(&mut each)?;
        self.errors.read(&mut each)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The end of what it has said so far, errors last.
    pub fn last_words(&self) -> Result<String> {
        let mut words = String::new();
        for tail in [&self.output, &self.errors] {
            let said = fs::read(tail.path.path())?;
            let end = &said[said.len().saturating_sub(LAST_WORDS)..];
            words.push_str(&String::from_utf8_lossy(end));
        }
        Ok(words.trim().to_owned())
    }

    /// Ends it, from the politest way on, and hands over what it had left to say.
    pub fn end(mut self, mut each: impl FnMut(&str)) -> Result<()> {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            if self.child.try_wait()?.is_none() {
                let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
                kill_process(pid.context("no process")?, signal)?;
            }
            if command::wait_at_most(&mut self.child, END)?.is_some() {
                self.read(&mut each)?;
                self.output.rest(&mut each);
                self.errors.rest(&mut each);
                return Ok(());
            }
        }
        bail!("it cannot be stopped")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All of them fail when there is nobody left, or, of `cgroup.kill`, before Linux 5.14.
        let _ = fs::write(self.group.file("cgroup.kill"), "1");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `usage_usec` of a group's `cpu.stat`, which is there without the controller too.
fn parse_usage(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

/// A file that grows, read from where it was left.
struct Tail {
    path: NamedTempFile,
    reader: File,
    /// The begin of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Tail {
    fn new() -> Result<Self> {
        let path = NamedTempFile::new()?;
        let reader = path.reopen()?;
        Ok(Self { path, reader, begun: Vec::new() })
    }

    fn writer(&self) -> Result<File> {
        Ok(File::options().append(true).open(self.path.path())?)
    }

    fn read(&mut self, each: &mut impl FnMut(&str)) -> Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            let length = match self.reader.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.begun.extend_from_slice(&block[..length]);
            let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.begun.split_off(end + 1);
            String::from_utf8_lossy(&self.begun).lines().for_each(&mut *each);
            self.begun = rest;
        }
    }

    /// A last line without an end.
    fn rest(&mut self, each: &mut impl FnMut(&str)) {
        if !self.begun.is_empty() {
            each(&String::from_utf8_lossy(&self.begun));
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn processor_time_is_that_of_the_group() {
        let text = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 0\n";
        assert_eq!(parse_usage(text), Some(1_500_000));
        assert_eq!(parse_usage("user_usec 1\n"), None);
    }

    #[test]
    fn lines_are_handed_over_once_and_whole() {
        let mut tail = Tail::new().unwrap();
        let mut writer = tail.writer().unwrap();
        let mut lines: Vec<String> = Vec::new();
        for text in ["one\ntw", "o\n", "", "three"] {
            writer.write_all(text.as_bytes()).unwrap();
            tail.read(&mut |line: &str| lines.push(line.to_owned())).unwrap();
        }
        assert_eq!(lines, ["one", "two"]);
        tail.rest(&mut |line: &str| lines.push(line.to_owned()));
        assert_eq!(lines, ["one", "two", "three"]);
    }
}
