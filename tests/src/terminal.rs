//! A terminal that can be read and typed into: tmux's, with a server of its own, so that no other session is met.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command;

/// How long a screen may take to show what is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// A shell in a terminal; ended on drop.
pub struct Terminal {
    directory: TempDir,
}

impl Terminal {
    /// Of so many columns and rows, which shows UTF-8 and colours.
    pub fn start(columns: u16, rows: u16) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("netsonde-test-").tempdir()?;
        let terminal = Self { directory };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // What the shell's user has configured is no test's matter.
        let shell = "env PS1=ready: ENV= HISTFILE= sh";
        let start =
            ["-u", "-f", "/dev/null", "new-session", "-d", "-s", "test", "-x", &columns, "-y", &rows, shell];
        terminal.tmux(&start)?;
        terminal.wait("the shell", |screen| screen.contains("ready:"))?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut tmux = Command::new("tmux");
        // The socket has its name within the directory of this variable.
        tmux.env("TMUX_TMPDIR", self.directory.path()).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        command::output(tmux.args(["-L", "netsonde-test"]).args(arguments).stdin(Stdio::null()))
    }

    /// What its screen shows, a line a row, without spaces at their ends.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-t", "test"])
    }

    /// Types a text as it is.
    pub fn write(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-t", "test", "-l", text]).map(drop)
    }

    /// Presses keys by the names that tmux(1) has for them.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[["send-keys", "-t", "test"].as_slice(), keys].concat()).map(drop)
    }

    /// Gives it another size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-t", "test", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// A fact that tmux(1) knows of it, such as `cursor_flag` or `alternate_on`.
    pub fn fact(&self, name: &str) -> Result<String> {
        let fact = self.tmux(&["display-message", "-p", "-t", "test", &format!("#{{{name}}}")])?;
        Ok(fact.trim().to_owned())
    }

    /// The process that the shell runs.
    pub fn running(&self) -> Result<u32> {
        let shell = self.fact("pane_pid")?;
        let children = fs::read_to_string(PathBuf::from(format!("/proc/{shell}/task/{shell}/children")))?;
        children.split_whitespace().next().context("the shell runs nothing")?.parse().map_err(Into::into)
    }

    /// Waits until a condition holds of its screen, and gives that.
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&str) -> bool) -> Result<String> {
        let mut screen = String::new();
        let held = command::until(LIMIT, || {
            screen = self.screen()?;
            Ok(condition(&screen))
        })?;
        ensure!(held, "{what} did not come to be seen:\n{screen}");
        Ok(screen)
    }

    /// Runs a command line in its shell and waits for the end; what it wrote.
    pub fn run(&self, line: &str) -> Result<String> {
        self.write(&format!("{line}; echo ended-$((40 + 2))"))?;
        self.press(&["Enter"])?;
        self.wait(line, |screen| screen.contains("ended-42"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended with its shell.
        let _ = self.tmux(&["kill-server"]);
    }
}
