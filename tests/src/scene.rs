//! One daemon's world for the fault tests: a spool, a collector that can fail, programs that talk, and what must have
//! arrived of their traffic. Metrics are deltas, so that one that is missing or twice makes a sum wrong.
//!
//! Panics where something does not hold: it is made for tests.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::collector::{Collector, Ports, Taken, taken};
use crate::command;
use crate::daemon::Daemon;
use crate::expect::{Role, Subject};
use crate::host::Host;
use crate::oracle;
use crate::program::{self, Programs, Server};
use crate::python::Python;
use crate::report::Report;
use crate::telemetry::Telemetry;

/// Of each traffic.
const CONNECTIONS: usize = 25;
/// The longest wait between two attempts is 30 s, and other tests may have this machine too.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Both ways to a collector.
pub const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// One daemon's world: its spool, its collector's ports and output, programs that talk.
pub struct Scene {
    _host: Host,
    /// What collectors run on.
    pub python: Python,
    directory: TempDir,
    programs: Programs,
    /// Those of the collector.
    pub ports: Ports,
    protocol: &'static str,
    /// Limit of one attempt, longer than a busy machine may take for an answer: a request that is answered too late
    /// is sent twice, and rightly so.
    pub timeout: &'static str,
    /// Requests of each signal that may be there twice.
    interruptions: Cell<usize>,
    daemons: Cell<usize>,
}

impl Scene {
    /// For one protocol. Has the host alone.
    pub fn new(protocol: &'static str) -> Self {
        Self {
            _host: Host::acquire().unwrap(),
            python: Python::prepare().unwrap(),
            directory: tempfile::Builder::new().prefix("netsonde-faults-").tempdir().unwrap(),
            programs: Programs::new().unwrap(),
            ports: Ports::free().unwrap(),
            protocol,
            timeout: "60s",
            interruptions: Cell::new(0),
            daemons: Cell::new(0),
        }
    }

    /// Where the daemon expects its collector.
    pub fn port(&self) -> u16 {
        if self.protocol == "grpc" { self.ports.grpc } else { self.ports.http }
    }

    /// The directory of its spool.
    pub fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// What the daemon is told, with its collector at this port.
    pub fn configuration(&self, port: u16) -> String {
        format!(
            "[metrics]\ntemporality = \"delta\"\n[export.otlp]\nendpoint = \"http://127.0.0.1:{port}\"\n\
             protocol = \"{}\"\ntimeout = \"{}\"\n[export.spool]\npath = \"{}\"\nsize = \"16MiB\"\n",
            self.protocol,
            self.timeout,
            self.spool().display()
        )
    }

    /// Starts netsonde. The end of the one before it was an interruption.
    pub fn daemon(&self) -> Daemon {
        if self.daemons.replace(self.daemons.get() + 1) > 0 {
            self.interrupted();
        }
        Daemon::start(&self.configuration(self.port())).unwrap()
    }

    /// A collector with these answers.
    pub fn collector(&self, answers: &str) -> Collector {
        Collector::start(&self.python, &self.output(), self.ports, answers).unwrap()
    }

    /// Where all of this lies.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file that collectors write to.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join("taken")
    }

    /// From now on one more request of each signal may be there twice: the one that was under way when its answer could
    /// no longer be heard. Nobody can know whether it arrived.
    pub fn interrupted(&self) {
        self.interruptions.set(self.interruptions.get() + 1);
    }

    /// What the collector has taken, and which requests were sent again. Nothing else is there twice.
    pub fn taken_with_repeats(&self) -> Taken {
        let taken = taken(&self.output()).unwrap();
        let allowed = self.interruptions.get();
        assert!(
            taken.repeated.iter().all(|n| *n <= allowed),
            "{:?} sent again, of {allowed}",
            taken.repeated
        );
        taken.telemetry.check_unique().unwrap();
        taken
    }

    /// What the collector has taken; nothing is there twice but what [`Scene::interrupted`] allows.
    pub fn taken(&self) -> Telemetry {
        self.taken_with_repeats().telemetry
    }

    /// Traffic between two programs of this test, ended and closed.
    pub fn traffic(&self, name: &str) -> Traffic {
        let (client, server) = (format!("{name}-client"), format!("{name}-server"));
        let (client, server) = (self.programs.copy(&client).unwrap(), self.programs.copy(&server).unwrap());
        let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
        let port = listening.address.port();
        let arguments = format!("--connections {CONNECTIONS} --send 70000 --receive 50000");
        let sent = program::connect(&client, None, listening.address, &arguments).unwrap();
        let received = listening.stop().unwrap();
        oracle::wait_until_closed(None, port).unwrap();
        Traffic { reports: [sent, received] }
    }

    /// Waits until the collector has all of the traffic, and fails if it has more or less.
    pub fn assert_arrives(&self, traffic: &Traffic) {
        let arrived = command::until(PATIENCE, || Ok(traffic.is_in(&self.taken()))).unwrap();
        assert!(arrived, "{}: {}", self.protocol, traffic.told(&self.taken()));
    }
}

/// What two programs exchanged, by their own word.
pub struct Traffic {
    reports: [Report; 2],
}

impl Traffic {
    fn found(&self, telemetry: &Telemetry) -> Vec<(u64, u64, i64, usize)> {
        let subjects = self.reports.iter().zip([Role::Client, Role::Server]);
        let found = subjects.map(|(report, role)| {
            let subject = Subject::new(&report.process.executable, role);
            let moved = subject.moved(telemetry);
            let closed = subject.connections(telemetry, "closed");
            (moved.sent, moved.received, closed, subject.events(telemetry, "netsonde.tcp.close").len())
        });
        found.collect()
    }

    fn expected(&self) -> Vec<(u64, u64, i64, usize)> {
        let moved = self.reports.iter().map(Report::moved);
        moved.map(|moved| (moved.sent, moved.received, CONNECTIONS as i64, CONNECTIONS)).collect()
    }

    /// Whether telemetry has all of it, and no more.
    pub fn is_in(&self, telemetry: &Telemetry) -> bool {
        self.found(telemetry) == self.expected()
    }

    /// What telemetry has, and what it should have.
    pub fn told(&self, telemetry: &Telemetry) -> String {
        format!("(sent, received, closed, events) {:?} is not {:?}", self.found(telemetry), self.expected())
    }

    /// Waits until the daemon has handed it to its destinations, and these had a moment to take it.
    pub fn wait_until_exported(&self, daemon: &Daemon) {
        let written = || Telemetry::parse(&fs::read_to_string(daemon.output()).unwrap_or_default());
        let exported = command::until(PATIENCE, || Ok(self.is_in(&written()?))).unwrap();
        assert!(exported, "{}", self.told(&written().unwrap()));
        // These write it down at once, unless the machine is busy; then the daemon's next sweeps are late as well.
        let sweeps = || anyhow::Ok(daemon.status()?["status"]["sweep"]["count"].as_u64().unwrap());
        let begun = sweeps().unwrap();
        assert!(command::until(PATIENCE, || Ok(sweeps()? >= begun + 2)).unwrap(), "no sweeps");
        std::thread::sleep(Duration::from_millis(500));
    }
}
