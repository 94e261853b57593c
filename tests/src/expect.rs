//! What netsonde must have said of a program, compared with what the program said of itself.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;

use crate::datagrams::Counts;
use crate::report::{Connection, Moved, Process, Report};
use crate::telemetry::{Attribute, Attributes, Event, Telemetry};

/// Datagrams that found no room.
pub const SOCKET_DROPS: &str = "netsonde.socket.drops";
/// UDP sockets that are open.
pub const UDP_ACTIVE: &str = "netsonde.udp.sockets.active";

/// `netsonde.socket.role`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    Client,
    Server,
}

impl Role {
    /// As it stands in the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// `network.transport`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// As it stands in the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What netsonde is asked about: one program in one role, or less of it.
pub struct Subject {
    role: Role,
    filter: Vec<(&'static str, Attribute)>,
}

impl Subject {
    /// A program in a role, over TCP.
    pub fn new(program: &Path, role: Role) -> Self {
        Self::over(Transport::Tcp, program, role)
    }

    /// A program in a role, over any transport.
    pub fn over(transport: Transport, program: &Path, role: Role) -> Self {
        let filter = vec![
            ("process.executable.path", program.into()),
            ("netsonde.socket.role", role.name().into()),
            ("network.transport", transport.name().into()),
        ];
        Self { role, filter }
    }

    /// Only where an attribute has this value.
    pub fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.filter.push((name, value.into()));
        self
    }

    /// Sum of a metric over its series.
    pub fn sum(&self, telemetry: &Telemetry, metric: &str) -> i64 {
        telemetry.sum(metric, &self.filter)
    }

    /// Sum of a metric's series with one more attribute.
    pub fn sum_where(&self, telemetry: &Telemetry, metric: &str, name: &'static str, value: &str) -> i64 {
        let mut filter = self.filter.clone();
        filter.push((name, value.into()));
        telemetry.sum(metric, &filter)
    }

    /// Observations of a histogram.
    pub fn observations(&self, telemetry: &Telemetry, metric: &str) -> u64 {
        telemetry.observations(metric, &self.filter)
    }

    /// Its log records of a name.
    pub fn events<'a>(&self, telemetry: &'a Telemetry, name: &str) -> Vec<&'a Event> {
        telemetry.events(name, &self.filter)
    }

    /// Application bytes by direction.
    pub fn moved(&self, telemetry: &Telemetry) -> Moved {
        let bytes = |direction| {
            self.sum_where(telemetry, "netsonde.flow.io", "network.io.direction", direction) as u64
        };
        Moved { sent: bytes("transmit"), received: bytes("receive") }
    }

    /// Bytes and packets by direction; of UDP, a packet is a datagram.
    pub fn datagrams(&self, telemetry: &Telemetry) -> Counts {
        let Moved { sent: sent_bytes, received: received_bytes } = self.moved(telemetry);
        let packets = |direction| {
            self.sum_where(telemetry, "netsonde.flow.packets", "network.io.direction", direction) as u64
        };
        Counts { sent: packets("transmit"), sent_bytes, received: packets("receive"), received_bytes }
    }

    /// Fails unless bytes and datagrams are exactly these, so many were dropped for want of room, and no socket is
    /// open any more.
    pub fn assert_datagrams(&self, telemetry: &Telemetry, counts: Counts, drops: u64) {
        let full = self.sum_where(telemetry, SOCKET_DROPS, "netsonde.drop.reason", "SOCKET_RCVBUFF");
        let found = (self.datagrams(telemetry), full, self.sum(telemetry, UDP_ACTIVE));
        let expected = (counts, drops as i64, 0);
        assert_eq!(
            found,
            expected,
            "(datagrams, drops, active), found and expected, for {:?}; every flow that was told of:\n{}",
            self.filter,
            told(telemetry, &["netsonde.flow.packets", SOCKET_DROPS, UDP_ACTIVE, "netsonde.self.losses"])
        );
        // A drop for another reason would be one that the program does not know of.
        assert_eq!(self.sum(telemetry, SOCKET_DROPS), full);
    }

    /// Connections of a kind: opened, accepted, closed.
    pub fn connections(&self, telemetry: &Telemetry, event: &str) -> i64 {
        self.sum_where(telemetry, "netsonde.tcp.connections", "netsonde.connection.event", event)
    }

    /// Failures of a kind.
    pub fn failures(&self, telemetry: &Telemetry, kind: &str) -> i64 {
        self.sum_where(telemetry, "netsonde.tcp.connection.failures", "error.type", kind)
    }

    /// Retransmitted segments of a kind: syn, data, syn_ack.
    pub fn retransmits(&self, telemetry: &Telemetry, kind: &str) -> i64 {
        self.sum_where(telemetry, "netsonde.tcp.retransmits", "netsonde.tcp.retransmit.kind", kind)
    }

    /// Fails unless bytes and connection counts are exactly these, and nothing is open any more.
    pub fn assert_exact(&self, telemetry: &Telemetry, moved: Moved, connections: usize) {
        let begun = match self.role {
            Role::Client => "opened",
            Role::Server => "accepted",
        };
        let found = (
            self.moved(telemetry),
            self.connections(telemetry, begun),
            self.connections(telemetry, "closed"),
            self.sum(telemetry, "netsonde.tcp.connections.active"),
            self.observations(telemetry, "netsonde.tcp.connection.duration"),
        );
        let count = connections as i64;
        let expected = (moved, count, count, 0, connections as u64);
        assert_eq!(
            found,
            expected,
            "(bytes, {begun}, closed, active, durations), found and expected, for {:?}; every flow that was told of:\n{}",
            self.filter,
            every_connection(telemetry)
        );
    }
}

/// The log records of a name that tell of one connection, seen from the end of this role.
pub fn of_connection<'a>(
    telemetry: &'a Telemetry,
    name: &str,
    role: Role,
    connection: &Connection,
) -> Vec<&'a Event> {
    let (client, server) = match role {
        Role::Client => (connection.local, connection.peer),
        Role::Server => (connection.peer, connection.local),
    };
    let filter = [
        ("netsonde.socket.role", role.name().into()),
        ("client.port", i64::from(client.port()).into()),
        ("server.port", i64::from(server.port()).into()),
    ];
    telemetry.events(name, &filter)
}

/// Fails unless each connection of a report has one log record of each name, and that record names this process.
pub fn assert_records(
    telemetry: &Telemetry,
    names: &[&str],
    role: Role,
    connections: &[Connection],
    owner: &Report,
) {
    assert!(!connections.is_empty(), "nothing is compared");
    for connection in connections {
        for name in names {
            let events = of_connection(telemetry, name, role, connection);
            assert_eq!(events.len(), 1, "{name} of {connection:?} should be one: {events:?}");
            if let Err(error) = check_owner(events[0], &owner.process, &owner.ancestors) {
                panic!("{name}: {error:#}");
            }
        }
    }
}

/// Fails unless all of these log records have this value.
pub fn assert_attribute(events: &[&Event], name: &str, expected: impl Into<Attribute>) {
    assert!(!events.is_empty(), "nothing is compared");
    let expected = expected.into();
    for event in events {
        assert_eq!(event.attributes.get(name), Some(&expected), "{name} of {event:?}");
    }
}

/// Fails if any of these log records has this attribute.
pub fn assert_absent(events: &[&Event], name: &str) {
    assert!(!events.is_empty(), "nothing is compared");
    for event in events {
        assert_eq!(event.attributes.get(name), None, "{name} of {event:?}");
    }
}

/// The connections of every flow and all that netsonde says it lost, so that what is missing here can be found there.
fn every_connection(telemetry: &Telemetry) -> String {
    let metrics = [
        "netsonde.tcp.connections",
        "netsonde.self.losses",
        "netsonde.self.program.skipped",
        "netsonde.self.sweep.namespaces",
        "netsonde.self.sweep.sockets",
        "netsonde.self.flows.usage",
    ];
    told(telemetry, &metrics)
}

/// The newest readings of these metrics, one a line.
fn told(telemetry: &Telemetry, metrics: &[&str]) -> String {
    let points = metrics.iter().flat_map(|metric| telemetry.newest(metric, &[]));
    points.map(|point| format!("{} {:?}: {}\n", point.metric, point.attributes, point.number)).collect()
}

/// The parents that must be told of. Some sandboxes run a process 1 that is hidden even from root: procfs does not
/// tell its binary nor BPF iterators the process, so the chain may end before it.
fn visible(ancestors: &[Process], told: usize) -> &[Process] {
    match ancestors.split_last() {
        Some((first, others)) if first.executable.as_os_str().is_empty() && told == others.len() => others,
        _ => ancestors,
    }
}

/// Fails unless a log record names this process and its parents.
pub fn check_owner(event: &Event, process: &Process, ancestors: &[Process]) -> Result<()> {
    check(event, process, ancestors).map_err(|error| anyhow!("{error:#}, in {event:?}"))
}

fn check(event: &Event, process: &Process, ancestors: &[Process]) -> Result<()> {
    ensure!(event.int("process.pid")? == i64::from(process.pid), "not process {}", process.pid);
    check_process(&event.attributes, process)?;
    let chain = event.get("netsonde.process.ancestors")?.list();
    let ancestors = visible(ancestors, chain.len());
    ensure!(chain.len() == ancestors.len(), "not the parents {ancestors:?}");
    for (found, expected) in chain.iter().zip(ancestors) {
        let Attribute::Map(found) = found else { bail!("a parent that is no map: {found:?}") };
        let pid = found.get("process.pid").and_then(Attribute::int);
        ensure!(pid == Some(i64::from(expected.pid)), "not parent {expected:?}: {found:?}");
        check_process(found, expected).with_context(|| format!("of parent {}", expected.pid))?;
    }
    Ok(())
}

/// Fails unless a log record lists exactly these processes as holders of its socket, in any order.
pub fn check_holders(event: &Event, holders: &[&Process]) -> Result<()> {
    let told = event.get("netsonde.socket.holders")?.list();
    ensure!(told.len() == holders.len(), "{} holders and not {}: {event:?}", told.len(), holders.len());
    for holder in holders {
        let pid = Attribute::Int(holder.pid.into());
        let is = |map: &&Attributes| map.get("process.pid") == Some(&pid);
        let maps = told.iter().filter_map(|one| if let Attribute::Map(map) = one { Some(map) } else { None });
        let [found] = maps.filter(is).collect::<Vec<_>>()[..] else {
            bail!("not holder {holder:?}: {event:?}")
        };
        check_process(found, holder).with_context(|| format!("of holder {}", holder.pid))?;
    }
    Ok(())
}

/// Compares path and start; the path only where procfs tells it to anybody.
fn check_process(found: &Attributes, expected: &Process) -> Result<()> {
    let text = |name: &str| found.get(name).and_then(Attribute::text);
    if !expected.executable.as_os_str().is_empty() {
        let path = text("process.executable.path").context("no process.executable.path")?;
        ensure!(Path::new(path) == expected.executable, "{path} is not {}", expected.executable.display());
    }
    let created = text("process.creation.time").context("no process.creation.time")?;
    let found: Timestamp = created.parse().with_context(|| format!("not ISO 8601: {created}"))?;
    let started = Timestamp::try_from(expected.started()?)?;
    // The boot time in /proc/stat is whole seconds, and the wall clock may have been set since.
    ensure!(started.duration_until(found).abs().as_secs() < 3, "created {created}, not {started}");
    Ok(())
}

/// Fails unless every series of a program carries the executable names of its parents.
pub fn assert_ancestry(telemetry: &Telemetry, metric: &str, report: &Report) {
    let path = report.process.executable.as_path();
    let points = telemetry.newest(metric, &[("process.executable.path", path.into())]);
    assert!(!points.is_empty(), "no {metric} of {}", path.display());
    for point in points {
        let names: Vec<_> =
            point.attributes["netsonde.process.ancestry"].list().iter().filter_map(Attribute::text).collect();
        let expected = visible(&report.ancestors, names.len());
        assert_eq!(names.len(), expected.len(), "{point:?}, parents should be {expected:?}");
        for (found, expected) in names.iter().zip(expected.iter().map(Process::name)) {
            // An empty name is one that procfs tells to nobody.
            assert!(expected.is_empty() || *found == expected, "{found} is not {expected}: {point:?}");
        }
    }
}
