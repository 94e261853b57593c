//! Traffic programs as the tests start them: each role under its own path, so that netsonde's numbers for it can
//! be told from everything else on the host.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
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

    /// A copy of the traffic program under this name, which may hold directories. A copy and not a link: /proc shows
    /// the file itself.
    pub fn copy(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name)?;
        fs::create_dir_all(path.parent().context("a directory")?)?;
        fs::copy(host::built("traffic")?, &path)?;
        Ok(path)
    }

    /// Where something of this name would lie.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.directory.path().canonicalize()?.join(name))
    }

    /// Lets every user run what lies here.
    pub fn open_to_all(&self) -> Result<()> {
        Ok(fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755))?)
    }

    /// An executable text under this name.
    pub fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name)?;
        fs::create_dir_all(path.parent().context("a directory")?)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// A command that runs one of this crate's Python programs with the machine's Python.
pub fn python(name: &str, arguments: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(host::source("programs").join(name)).args(arguments.split_whitespace());
    command
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

    /// Reads one line of what it prints.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a traffic program ended without a word: {:?}", self.child.wait());
        Ok(line)
    }

    /// Reads one line of JSON.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not what was expected: {line}"))
    }

    /// Waits until a stepping client has done a round; what it has moved until then.
    pub fn round(&mut self) -> Result<Moved> {
        self.read()
    }

    /// Lets a stepping client go on.
    pub fn step(&mut self) -> Result<()> {
        self.tell("")
    }

    /// Writes one line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(self.input.as_mut().context("its input is closed")?.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends its standard input, and waits until it and what it left behind have ended their standard output.
    pub fn end(mut self) -> Result<()> {
        self.input = None;
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        ensure!(rest.is_empty(), "a program that was to end had more to say: {rest}");
        self.wait()
    }

    /// Waits for the end of the process that was started; others that it left behind may go on printing.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "a traffic program ended with {status}");
        Ok(())
    }

    /// Asks it to end by SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("process 0")?;
        Ok(kill_process(pid, Signal::TERM)?)
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

    /// Starts any server that speaks the traffic program's JSON lines, and waits until it listens.
    pub fn run(command: &mut Command) -> Result<Self> {
        Self::listening(Running::start_command(command)?)
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

/// Many short-lived clients, children of one process.
pub struct Swarm {
    /// How many, each with one connection.
    pub children: u64,
    /// How many at a time.
    pub concurrency: usize,
}

impl Swarm {
    /// Starts them: `parent` is their parent, and they run `programs` in turn.
    pub fn start(&self, parent: &Path, programs: &[&Path], to: SocketAddr) -> Result<Running> {
        let mut command = Command::new(parent);
        command.args(["swarm", "--to", &to.to_string(), "--children", &self.children.to_string()]);
        command.args(["--concurrency", &self.concurrency.to_string()]);
        for program in programs {
            command.arg("--program").arg(program);
        }
        Running::start_command(&mut command)
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
