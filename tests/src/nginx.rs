//! A real nginx with several workers, and what its access log says of each connection.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::report::{Connection, Moved};
use crate::{command, oracle, rotel};

/// The user that its workers run as.
pub const USER: &str = "nobody";
const GROUP: &str = "nogroup";

/// An nginx that answers every request with a few bytes and closes the connection; killed on drop.
pub struct Nginx {
    child: Child,
    directory: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

/// One line of its log.
#[derive(Debug)]
pub struct Request {
    /// The worker.
    pub pid: i32,
    /// The connection as the worker had it.
    pub connection: Connection,
}

impl Nginx {
    /// Starts it on the host's loopback and waits until it listens.
    pub fn start(workers: usize) -> Result<Self> {
        Self::start_in(None, Ipv4Addr::LOCALHOST, workers)
    }

    /// Starts it at an address of a namespace.
    pub fn start_in(place: Option<&Namespace>, address: Ipv4Addr, workers: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("netsonde-test-").tempdir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        let [port] = rotel::free_ports()?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", at(name)))
            .concat();
        // Connections go to any worker that wakes, and each is closed after its answer.
        let configuration = format!(
            "daemon off;\nuser {USER} {GROUP};\nworker_processes {workers};\npid {};\nerror_log {};\n\
            events {{ accept_mutex off; multi_accept off; }}\n\
            http {{\n{temporary}\
            log_format exact '$pid $remote_port $bytes_sent $request_length';\naccess_log {} exact;\n\
            server {{ listen {address}:{port}; location / {{ return 200 'an answer to $request_uri\\n'; }} }}\n}}\n",
            at("pid"),
            at("errors"),
            at("access"),
        );
        fs::write(directory.path().join("nginx.conf"), configuration)?;
        let mut command = match place {
            Some(place) => place.command(Path::new("nginx")),
            None => Command::new("nginx"),
        };
        let child = command
            .args(["-c", &at("nginx.conf"), "-e", &at("errors"), "-p", &at("")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("said"))?)
            .spawn()
            .context("cannot run nginx")?;
        let nginx = Self { child, directory, address: (address, port).into() };
        oracle::wait_until_listening(place, port).with_context(|| {
            format!("nginx: {}", fs::read_to_string(nginx.directory.path().join("said")).unwrap_or_default())
        })?;
        // The master listens before it forks.
        let up = command::until(Duration::from_secs(10), || Ok(nginx.workers()?.len() == workers))?;
        ensure!(up, "nginx has not {workers} workers but {:?}", nginx.workers()?);
        Ok(nginx)
    }

    /// The process that was started.
    pub fn master(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its children.
    pub fn workers(&self) -> Result<Vec<i32>> {
        let master = self.master();
        let text = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        text.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
    }

    /// Ends it and takes its log.
    pub fn stop(mut self) -> Result<Vec<Request>> {
        kill_process(Pid::from_raw(self.master()).context("process 0")?, Signal::QUIT)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "nginx ended with {status}");
        let log = fs::read_to_string(self.directory.path().join("access"))?;
        log.lines().map(|line| self.request(line).with_context(|| line.to_owned())).collect()
    }

    fn request(&self, line: &str) -> Result<Request> {
        let numbers = line.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?;
        let [pid, port, sent, received] = numbers[..] else { anyhow::bail!("not four numbers") };
        let peer = SocketAddr::new(self.address.ip(), port.try_into()?);
        let connection = Connection { local: self.address, peer, moved: Moved { sent, received } };
        Ok(Request { pid: pid.try_into()?, connection })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers with it only when it is asked. All of it fails when it has ended already.
        if let Some(master) =
            Pid::from_raw(self.master()).filter(|_| matches!(self.child.try_wait(), Ok(None)))
        {
            let _ = kill_process(master, Signal::TERM);
            let _ = command::wait_at_most(&mut self.child, Duration::from_secs(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
