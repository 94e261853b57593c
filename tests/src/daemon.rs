//! The daemon under test: started with a configuration of its own, awaited by its own word, stopped and read.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::command;
use crate::host;
use crate::telemetry::Telemetry;

/// How long loading and attaching may take on a busy machine, or on one that is emulated.
const START_LIMIT: Duration = Duration::from_secs(90);
/// What the daemon promises for its end.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

const OUTPUT: &str = "output.jsonl";
const SOCKET: &str = "api.sock";

/// A daemon that has given up root must still be able to read its configuration again.
fn directory() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("netsonde-test-").tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// A netsonde that runs; killed on drop, and its words are shown when the test fails.
pub struct Daemon {
    child: Child,
    notifications: UnixDatagram,
    directory: TempDir,
}

impl Daemon {
    /// Starts netsonde with these lines in its configuration and OTLP/JSON to a file, and waits until it is ready.
    pub fn start(configuration: &str) -> Result<Self> {
        Self::start_binary(&host::netsonde()?, configuration, |_| {})
    }

    /// Likewise; another binary may be given, and the command be changed before it is run.
    pub fn start_binary(
        netsonde: &Path,
        configuration: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::start_sweeping(netsonde, configuration, "1s", change)
    }

    /// Likewise, with an hour from one sweep to the next: what it knows after the first comes from events.
    pub fn start_without_sweeps(configuration: &str) -> Result<Self> {
        Self::start_sweeping(&host::netsonde()?, configuration, "1h", |_| {})
    }

    /// Likewise; it sweeps so often.
    pub fn start_sweeping(
        netsonde: &Path,
        configuration: &str,
        interval: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::launch(directory()?, Command::new(netsonde), configuration, interval, change)
    }

    /// Starts netsonde as a user who is not root, with these capabilities and no way to others.
    pub fn start_as(user: u32, capabilities: &[&str], configuration: &str) -> Result<Self> {
        let directory = directory()?;
        let binary = directory.path().join("netsonde");
        fs::copy(host::netsonde()?, &binary)?;
        chown(directory.path(), Some(user), Some(user))?;
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        let given: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        command.args(["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}=-all{given}")));
        command.arg(binary);
        Self::launch(directory, command, configuration, "1s", |_| {})
    }

    fn launch(
        directory: TempDir,
        mut command: Command,
        configuration: &str,
        interval: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let notify = directory.path().join("notify");
        let notifications = UnixDatagram::bind(&notify)?;
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777))?;
        write_configuration(directory.path(), configuration)?;
        command
            .args(["run", "--interval", interval, "--config"])
            .arg(directory.path().join("netsonde.toml"))
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("errors"))?);
        change(&mut command);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut daemon = Self { child, notifications, directory };
        daemon.wait_notification("READY=1", START_LIMIT)?;
        Ok(daemon)
    }

    /// Runs a netsonde that is expected to refuse this configuration, or what its command prefix leaves it; gives its
    /// exit code, the path of its configuration and what it wrote to standard error.
    pub fn refused(prefix: &str, configuration: &str) -> Result<(Option<i32>, PathBuf, String)> {
        // Readable for others, and so is a copy of the binary: the prefix may give up root.
        let directory = directory()?;
        write_configuration(directory.path(), configuration)?;
        let (binary, path) = (directory.path().join("netsonde"), directory.path().join("netsonde.toml"));
        fs::copy(host::netsonde()?, &binary)?;
        let mut words = prefix.split_whitespace().chain([binary.to_str().context("a path in UTF-8")?]);
        let errors = directory.path().join("errors");
        let mut child = Command::new(words.next().context("no program")?)
            .args(words)
            .args(["run", "--output", "console", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?)
            .spawn()?;
        let status = command::wait_at_most(&mut child, START_LIMIT)?;
        if status.is_none() {
            child.kill()?;
            child.wait()?;
        }
        let status = status.context("netsonde went on where it should have refused")?;
        Ok((status.code(), path, fs::read_to_string(errors)?))
    }

    /// Waits for a line that the daemon sends to its service manager.
    pub fn wait_notification(&mut self, wanted: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        // Short reads, so that the end of the process is noticed as well.
        self.notifications.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            if let Ok(length) = self.notifications.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == wanted)
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("netsonde ended with {status} before {wanted}: {}", self.errors());
            }
        }
        bail!("netsonde did not say {wanted} within {limit:?}: {}", self.errors())
    }

    /// Everything that it wrote to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file, which names its socket.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("netsonde.toml")
    }

    /// A command of netsonde that asks this daemon.
    pub fn asking(&self, words: &str) -> Result<Command> {
        let mut command = Command::new(host::netsonde()?);
        command
            .args(words.split_whitespace())
            .arg("--config")
            .arg(self.directory.path().join("netsonde.toml"));
        Ok(command)
    }

    /// What `netsonde status --json` says.
    pub fn status(&self) -> Result<serde_json::Value> {
        let output = self.asking("status --json")?.stdin(Stdio::null()).output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no status: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// Replaces its configuration, and leaves it to others to have it read.
    pub fn write_configuration(&self, configuration: &str) -> Result<()> {
        write_configuration(self.directory.path(), configuration)
    }

    /// The file of OTLP/JSON lines.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join(OUTPUT)
    }

    /// What it has exported until now.
    pub fn telemetry(&self) -> Result<Telemetry> {
        Telemetry::parse(&fs::read_to_string(self.output()).unwrap_or_default())
    }

    /// Waits for an export after which the condition holds.
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&Telemetry) -> bool) -> Result<Telemetry> {
        let mut last = Telemetry::default();
        let held = command::until(Duration::from_secs(15), || {
            last = self.telemetry()?;
            Ok(condition(&last))
        })?;
        ensure!(held, "netsonde did not export {what}");
        Ok(last)
    }

    /// Replaces its configuration and asks it to read it again.
    pub fn reload(&self, configuration: &str) -> Result<()> {
        write_configuration(self.directory.path(), configuration)?;
        self.signal(Signal::HUP)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("process 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to end; its exit status, and how it took.
    pub fn end(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let status = command::wait_at_most(&mut self.child, STOP_LIMIT)?;
        status.with_context(|| format!("netsonde did not end within {STOP_LIMIT:?} of SIGTERM"))
    }

    /// Ends it and takes all that it exported, its last words included.
    pub fn stop(mut self) -> Result<Telemetry> {
        let status = self.end()?;
        ensure!(status.success(), "netsonde ended with {status}: {}", self.errors());
        let telemetry = self.telemetry()?;
        telemetry.check_counters()?;
        Ok(telemetry)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- netsonde said ----\n{}-----------------------", self.errors());
        }
    }
}

fn write_configuration(directory: &Path, configuration: &str) -> Result<()> {
    // A file and not `--output`, which takes the place of every configured exporter. A place of its own for all that a
    // netsonde which serves this host has as well, unless the test has chosen one.
    let own = [
        // What this host's hosts file calls 127.0.0.1 is no test's matter.
        ("[dns]", "hosts", PathBuf::new()),
        ("[history]", "directory", directory.join("state")),
        ("[export.spool]", "path", directory.join("spool")),
        ("[export.file]", "path", directory.join(OUTPUT)),
    ];
    let mut text = format!("{configuration}\n");
    for (table, key, place) in own.iter().filter(|(table, ..)| !configuration.contains(table)) {
        writeln!(text, "{table}\n{key} = \"{}\"", place.display())?;
    }
    let api = format!("[api]\nsocket = \"{}\"\n", directory.join(SOCKET).display());
    // With what the test has chosen of it.
    text = if text.contains("[api]\n") { text.replace("[api]\n", &api) } else { text + &api };
    Ok(fs::write(directory.join("netsonde.toml"), text)?)
}
