//! Traffic programs as the tests start them: each role under its own path, so that netsonde's numbers for it can
//! be told from everything else on the host.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::host;
use crate::namespace::Namespace;
use crate::report::{Listening, Moved, Report};

/// A directory of copies of the traffic program.
pub struct Programs {
    directory: TempDir,
}

impl Programs {
    /// An empty directory.
    pub fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("netsonde-test-").tempdir()? })
    }

    /// A copy of the traffic program under this name. A copy and not a link: /proc shows the file itself.
    pub fn copy(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().canonicalize()?.join(name);
        fs::copy(host::built("traffic")?, &path)?;
        Ok(path)
    }
}

/// A running traffic program; killed on drop.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a program on the host or in a namespace; arguments are separated by spaces.
    pub fn start(program: &Path, place: Option<&Namespace>, arguments: &str) -> Result<Self> {
        let mut command = match place {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        };
        command.args(arguments.split_whitespace());
        Self::start_command(&mut command)
    }

    /// Starts any program that speaks the traffic program's JSON lines.
    pub fn start_command(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, input, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a traffic program ended without a word: {:?}", self.child.wait());
        serde_json::from_str(&line).with_context(|| format!("not what was expected: {line}"))
    }

    /// Waits until a stepping client has done a round; what it has moved until then.
    pub fn round(&mut self) -> Result<Moved> {
        self.read()
    }

    /// Lets a stepping client go on.
    pub fn step(&mut self) -> Result<()> {
        Ok(self.input.as_mut().context("its input is closed")?.write_all(b"\n")?)
    }

    /// Waits for its end, and for its report.
    pub fn finish(mut self) -> Result<Report> {
        self.input = None;
        let report = self.read()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a traffic program ended with {status}");
        Ok(report)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that listens.
pub struct Server {
    running: Running,
    /// Where.
    pub address: SocketAddr,
    /// Every process that may accept there.
    pub pids: Vec<i32>,
}

impl Server {
    /// Starts the traffic program as a server and waits until it listens.
    pub fn start(program: &Path, place: Option<&Namespace>, listen: &str, arguments: &str) -> Result<Self> {
        Self::listening(Running::start(program, place, &format!("serve --listen {listen} {arguments}"))?)
    }

    /// Waits until a program that was started listens.
    pub fn listening(mut running: Running) -> Result<Self> {
        let Listening { address, pids } = running.read()?;
        Ok(Self { running, address, pids })
    }

    /// The same port at another address, for a server that listens on any.
    pub fn at(&self, address: &str) -> Result<SocketAddr> {
        Ok(SocketAddr::new(address.parse()?, self.address.port()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Lets it end its connections and takes its report.
    pub fn stop(self) -> Result<Report> {
        self.running.finish()
    }
}

/// Runs a client to its end.
pub fn connect(program: &Path, place: Option<&Namespace>, to: SocketAddr, arguments: &str) -> Result<Report> {
    start_connect(program, place, to, arguments)?.finish()
}

/// Starts a client.
pub fn start_connect(
    program: &Path,
    place: Option<&Namespace>,
    to: SocketAddr,
    arguments: &str,
) -> Result<Running> {
    Running::start(program, place, &format!("connect --to {to} {arguments}"))
}
