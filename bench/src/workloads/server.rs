//! Server processes of the loads: started, awaited, killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsonde_tests::command;
use tempfile::TempDir;

/// A server in the foreground; killed on drop.
pub struct Server {
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    directory: TempDir,
}

/// What a server listens by, as `ss` spells it.
#[derive(Clone, Copy)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Server {
    /// Starts one, and waits until it listens. The directory is its own, and goes when it does.
    pub fn spawn(command: &mut Command, transport: Transport, port: u16, directory: TempDir) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {command:?}: `make deps-bench` installs it"))?;
        let server = Self { child, port, directory };
        let option = match transport {
            Transport::Tcp => 't',
            Transport::Udp => 'u',
        };
        // Asked of the kernel: iperf3 takes a connection for a client and complains when it says nothing.
        let listening = format!("ss -{option}lnH sport = :{port}");
        let up = command::until(Duration::from_secs(10), || Ok(!command::line(&listening)?.is_empty()))?;
        ensure!(up, "{command:?} does not listen");
        Ok(server)
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
