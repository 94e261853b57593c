//! Name servers and clients whose lookups are known: Debian's dnsmasq, a server and a client of our own, and what
//! netsonde must have said of each of their lookups.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command;
use crate::expect::{self, Role};
use crate::host;
use crate::namespace::Namespace;
use crate::program::{Running, python};
use crate::report::{Process, Report};
use crate::telemetry::{Attribute, Event, Telemetry};

/// A lookup that ended.
pub const RESPONSE: &str = "netsonde.dns.response";
/// How long lookups took.
pub const DURATION: &str = "dns.lookup.duration";
/// The clocks of a client and of the kernel are one; what is read of them lies so far apart at most.
const CLOCK_SECONDS: f64 = 20e-6;

/// Who a program is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The process.
    pub process: Process,
    /// Its parents.
    pub ancestors: Vec<Process>,
}

impl Identity {
    /// A process that runs.
    pub fn of(pid: u32) -> Result<Self> {
        let (process, ancestors) = Process::chain(pid.try_into()?)?;
        Ok(Self { process, ancestors })
    }
}

impl From<Report> for Identity {
    fn from(report: Report) -> Self {
        Self { process: report.process, ancestors: report.ancestors }
    }
}

/// How netsonde's duration differs from a client's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Difference {
    /// It is the client's, as exactly as promised.
    None,
    /// The client was given no processor for a while, by its own account.
    Explained,
    /// It is wrong.
    Wrong,
}

/// What a client had of one of its queries.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// As it was asked for.
    pub name: String,
    /// `A` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The client's.
    pub port: u16,
    /// `NOERROR` and so on; none where no response came.
    pub code: Option<String>,
    /// Addresses and targets of aliases.
    pub answers: Vec<String>,
    /// TC was set.
    pub truncated: bool,
    /// From before the query was sent until the response was read.
    seconds: f64,
    /// How much of that the calls took that sent the query.
    sending: f64,
    /// How long the response had lain in the client's socket, by the kernel's own time of its arrival.
    waited: f64,
}

impl Answer {
    /// Compares with what netsonde told. The kernel sees the query within the call that sends it, and the response
    /// when it arrives, so its interval lies within the client's; what is promised is that it is shorter by 1 ms or
    /// 5 % at most (of a machine's own speed; an emulated one is given its patience). A client that is given no processor, on a machine with more to do, measures longer. How much
    /// longer can be told by the client alone: while its call to send lasts the query may already be gone, and the
    /// kernel marks when a datagram arrives. Nothing else is an excuse.
    pub fn difference(&self, duration: f64) -> Difference {
        let tolerance = f64::from(host::patience()) * f64::max(0.001, 0.05 * self.seconds);
        let longest = self.seconds + CLOCK_SECONDS;
        if (self.seconds - tolerance..=longest).contains(&duration) {
            Difference::None
        } else if (self.seconds - self.sending - self.waited - tolerance..=longest).contains(&duration) {
            Difference::Explained
        } else {
            Difference::Wrong
        }
    }

    /// By how many seconds a duration lies outside of what the client knows of the kernel's interval: it begins within
    /// the client's call to send, and ends when the response arrives.
    pub fn off(&self, duration: f64) -> f64 {
        let longest = self.seconds - self.waited;
        f64::max(duration - longest, longest - self.sending - duration).max(0.0)
    }

    /// The same query, had its client given up before the response came.
    pub fn in_vain(&self) -> Self {
        Self { code: None, answers: Vec::new(), ..self.clone() }
    }

    /// Whether a duration is one that the server may have had for the same query.
    pub fn encloses(&self, duration: f64) -> bool {
        duration <= self.seconds + CLOCK_SECONDS
    }
}

/// A program that asks what it is told.
pub struct Client {
    running: Running,
    /// Who it is.
    pub identity: Identity,
}

impl Client {
    /// Starts one in a namespace, with the files of the namespace.
    pub fn start(place: &Namespace) -> Result<Self> {
        let program = python("dns_client.py", "");
        let mut command = place.command_with_files(Path::new(program.get_program()));
        let mut running = Running::start_command(command.args(program.get_args()))?;
        let identity = running.read::<Report>()?.into();
        Ok(Self { running, identity })
    }

    fn order<T: DeserializeOwned>(&mut self, order: &Value) -> Result<T> {
        self.running.tell(&order.to_string())?;
        self.running.read()
    }

    /// Asks over UDP, once, each name from a connected socket of its own.
    pub fn ask(&mut self, server: &str, kind: &str, names: &[&str]) -> Result<Vec<Answer>> {
        self.ask_for(server, kind, names, Duration::from_secs(5), 0)
    }

    /// Likewise, from sockets that are not connected.
    pub fn ask_unconnected(&mut self, server: &str, kind: &str, names: &[&str]) -> Result<Vec<Answer>> {
        self.order(&json!({
            "act": "ask", "server": server, "type": kind, "names": names, "connected": false,
            "patience": 5, "repeats": 0,
        }))
    }

    /// Asks several servers for one name at once from one socket; their answers in the order in which they came.
    pub fn ask_all(&mut self, servers: &[&str], kind: &str, name: &str) -> Result<Vec<Answer>> {
        self.order(&json!({
            "act": "ask_all", "servers": servers, "type": kind, "names": [name], "patience": 5,
        }))
    }

    /// Asks over UDP, waits so long for each answer, and asks again as often as is allowed.
    pub fn ask_for(
        &mut self,
        server: &str,
        kind: &str,
        names: &[&str],
        patience: Duration,
        repeats: usize,
    ) -> Result<Vec<Answer>> {
        self.order(&json!({
            "act": "ask", "server": server, "type": kind, "names": names, "edns": 4096, "connected": true,
            "patience": patience.as_secs_f64(), "repeats": repeats,
        }))
    }

    /// Asks over one TCP connection: queries `together` in one segment, `each` in its own, or cut into `pieces`.
    pub fn stream(&mut self, server: &str, how: &str, names: &[&str]) -> Result<Vec<Answer>> {
        self.order(&json!({
            "act": "stream", "server": server, "type": "A", "how": how, "names": names, "patience": 5,
        }))
    }

    /// Asks so many different questions at a rate, a few of them at a time.
    pub fn bulk(&mut self, server: &str, count: usize, rate: usize, log: &Path) -> Result<Vec<Answer>> {
        let order = json!({
            "act": "bulk", "server": server, "count": count, "rate": rate, "sockets": 16, "log": log,
        });
        self.order::<Value>(&order)?;
        fs::read_to_string(log)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Asks the C library for the addresses of a name.
    pub fn lookup(&mut self, name: &str, family: &str) -> Result<Found> {
        self.order(&json!({"act": "lookup", "name": name, "family": family}))
    }

    /// Sends so many messages that are none, the first of them over TCP too.
    pub fn throw(&mut self, server: &str, count: usize, streams: usize, seed: u64) -> Result<()> {
        let order =
            json!({"act": "throw", "server": server, "count": count, "streams": streams, "seed": seed});
        self.order::<Value>(&order).map(drop)
    }

    /// Asks by multicast, as one that has joined the group or as one that has not.
    pub fn multicast(&mut self, name: &str, interface: &str, address: &str, joined: bool) -> Result<Answer> {
        self.order(&json!({
            "act": "multicast", "server": "224.0.0.251:5353", "name": name, "interface": interface,
            "address": address, "joined": joined, "patience": 5,
        }))
    }

    /// Ends it.
    pub fn end(self) -> Result<()> {
        self.running.end()
    }
}

/// What the C library found.
#[derive(Debug, Deserialize)]
pub struct Found {
    /// Addresses.
    pub found: Vec<String>,
    /// Why there are none.
    pub error: Option<String>,
}

/// One query that a server of our own was asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// As it came.
    pub name: String,
    /// `A` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// `udp` or `tcp`.
    pub transport: String,
}

/// The name server of our own, `dns_server.py`, which does what the first label of a name says.
pub struct Authority {
    running: Running,
    /// Who it is.
    pub identity: Identity,
}

impl Authority {
    /// Starts it in a namespace, and waits until it listens.
    pub fn start(place: &Namespace, listen: &str) -> Result<Self> {
        Self::run(place, &python("dns_server.py", listen))
    }

    /// Starts a responder of multicast DNS at the interface with this address.
    pub fn responder(place: &Namespace, interface: &str) -> Result<Self> {
        Self::run(place, &python("dns_responder.py", interface))
    }

    fn run(place: &Namespace, program: &Command) -> Result<Self> {
        let mut command = place.command(Path::new(program.get_program()));
        let mut running = Running::start_command(command.args(program.get_args()))?;
        let identity = running.read::<Report>()?.into();
        Ok(Self { running, identity })
    }

    /// Ends a responder.
    pub fn end(self) -> Result<()> {
        self.running.end()
    }

    /// Ends it; what it was asked.
    pub fn stop(mut self) -> Result<Vec<Asked>> {
        self.running.close_input();
        let asked = self.running.read()?;
        self.running.wait()?;
        Ok(asked)
    }
}

/// Debian's dnsmasq in a namespace; killed on drop.
pub struct Dnsmasq {
    child: Child,
    directory: TempDir,
    /// Who it is.
    pub identity: Identity,
}

impl Dnsmasq {
    /// Starts it at an address, and waits until it listens.
    pub fn start(place: &Namespace, listen: SocketAddr, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("netsonde-test-").tempdir()?;
        let mut command = place.command(Path::new("dnsmasq"));
        command
            // Nothing of this machine's: no files, no user that could be missing, no D-Bus.
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args(["--pid-file=", "--log-facility=-", "--bind-interfaces"])
            .arg(format!("--listen-address={}", listen.ip()))
            .arg(format!("--port={}", listen.port()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("said"))?);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut dnsmasq = Self { child, directory, identity: Identity::of(std::process::id())? };
        let words = format!("ss -unlHO src {}", listen.ip());
        let wanted = format!("{listen}");
        let listening = command::until(Duration::from_secs(10), || {
            Ok(place.run(&words)?.split_whitespace().any(|word| word == wanted))
        })?;
        ensure!(listening, "dnsmasq does not listen: {}", dnsmasq.said());
        dnsmasq.identity = Identity::of(dnsmasq.child.id())?;
        Ok(dnsmasq)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- dnsmasq said ----\n{}----------------------", self.said());
        }
    }
}

/// What curl said of one request.
#[derive(Debug)]
pub struct Fetched {
    /// Its process.
    pub pid: u32,
    /// Bytes of the request.
    pub sent: u64,
    /// Bytes of the response, with its head.
    pub received: u64,
    /// Its own port.
    pub port: u16,
}

/// Runs a curl, or a copy of it, in a namespace, with the files of the namespace.
pub fn curl(place: &Namespace, program: &Path, url: &str) -> Result<Fetched> {
    let mut command = place.command_with_files(program);
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--output", "/dev/null"])
        .args(["--write-out", "%{size_request} %{size_header} %{size_download} %{local_port}", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let child = command.spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split(' ').map(|word| Ok(word.parse()?)).collect::<Result<Vec<u64>>>()?;
    let [sent, head, body, port] = numbers[..] else { anyhow::bail!("not four numbers: {text}") };
    Ok(Fetched { pid, sent, received: head + body, port: port.try_into()? })
}

/// What a dig printed.
#[derive(Debug)]
pub struct Dug {
    /// Its process; dig is one program and has no children.
    pub pid: u32,
    /// All of it.
    pub text: String,
    /// Its last query's time.
    pub seconds: f64,
}

/// Runs dig in a namespace.
pub fn dig(place: &Namespace, arguments: &str) -> Result<Dug> {
    let mut command = place.command(Path::new("dig"));
    // Of the time, microseconds; no file of the caller's.
    command.args(["-r", "-u"]).args(arguments.split_whitespace());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{command:?} ended with {}: {text}", output.status);
    let time = text.lines().find_map(|line| line.strip_prefix(";; Query time: ")?.strip_suffix(" usec"));
    let microseconds: f64 = time.with_context(|| format!("no time: {text}"))?.parse()?;
    Ok(Dug { pid, text, seconds: microseconds / 1e6 })
}

/// Where a program of Debian's lies.
pub fn path_of(program: &str) -> Result<PathBuf> {
    Ok(Path::new("/usr/bin").join(program).canonicalize()?)
}

/// All lookups that were told of a process in a role.
pub fn lookups(telemetry: &Telemetry, pid: i32, role: Role) -> Vec<&Event> {
    let filter = [("process.pid", i64::from(pid).into()), ("netsonde.socket.role", role.name().into())];
    telemetry.events(RESPONSE, &filter)
}

/// How many lookups of a process in a role the metric counts; metrics must carry `process.pid`.
pub fn counted(telemetry: &Telemetry, pid: i32, role: Role, more: &[(&str, Attribute)]) -> u64 {
    let mut filter =
        vec![("process.pid", i64::from(pid).into()), ("netsonde.socket.role", role.name().into())];
    filter.extend(more.iter().cloned());
    telemetry.observations(DURATION, &filter)
}

fn text<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.attributes.get(name).and_then(Attribute::text)
}

/// Seconds that a lookup took.
pub fn duration(event: &Event) -> f64 {
    event.attributes.get("netsonde.dns.duration").and_then(Attribute::number).unwrap_or(f64::NAN)
}

/// Whether a lookup is of this question, over this transport.
pub fn is_of(event: &Event, answer: &Answer) -> bool {
    // RFC 4343: case is none of a name's meaning.
    text(event, "dns.question.name") == Some(&answer.name.to_lowercase())
        && text(event, "dns.question.type") == Some(&answer.kind)
        && text(event, "network.transport") == Some(&answer.transport)
}

/// Fails unless exactly one of these lookups is this one, as its client or its server had it; gives it.
pub fn check<'a>(told: &[&'a Event], answer: &Answer, role: Role, owner: &Identity) -> Result<&'a Event> {
    let found: Vec<&Event> = told.iter().copied().filter(|event| is_of(event, answer)).collect();
    let [event] = found[..] else {
        anyhow::bail!("told {} times and not once, {answer:?}: {found:?}", found.len())
    };
    let context = || format!("{answer:?}, {} and {event:?}", role.name());
    ensure!(text(event, "netsonde.socket.role") == Some(role.name()), "another role: {}", context());
    ensure!(text(event, "dns.response_code") == answer.code.as_deref(), "another code: {}", context());
    let error = match answer.code.as_deref() {
        None => Some("timeout"),
        Some("NOERROR") => None,
        code => code,
    };
    ensure!(text(event, "error.type") == error, "another error: {}", context());
    let answers: Vec<&str> = match event.attributes.get("dns.answers") {
        Some(list) => list.list().iter().filter_map(Attribute::text).collect(),
        None => Vec::new(),
    };
    ensure!(answers == answer.answers, "other answers: {}", context());
    let truncated = event.attributes.get("netsonde.dns.truncated");
    let is_truncated = answer.truncated.then_some(Attribute::Bool(true));
    ensure!(truncated == is_truncated.as_ref(), "truncated or not: {}", context());
    ensure!(event.int("client.port")? == i64::from(answer.port), "another client: {}", context());
    expect::check_owner(event, &owner.process, &owner.ancestors).with_context(context)?;
    if answer.code.is_some() {
        let fits = match role {
            Role::Client => answer.difference(duration(event)) != Difference::Wrong,
            Role::Server => answer.encloses(duration(event)),
        };
        ensure!(fits, "another duration: {}", context());
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(seconds: f64, sending: f64, waited: f64) -> Answer {
        Answer {
            name: "Name.Test".into(),
            kind: "A".into(),
            transport: "udp".into(),
            port: 1,
            code: None,
            answers: Vec::new(),
            truncated: false,
            seconds,
            sending,
            waited,
        }
    }

    #[test]
    fn only_what_a_client_waited_for_itself_explains_a_difference() {
        let quick = answer(0.002, 0.0, 0.0);
        assert_eq!(quick.difference(0.0019), Difference::None);
        assert_eq!(quick.difference(0.0011), Difference::None);
        assert_eq!(quick.difference(0.0009), Difference::Wrong);
        assert_eq!(quick.difference(0.0021), Difference::Wrong);
        assert_eq!(answer(0.010, 0.003, 0.004).difference(0.004), Difference::Explained);
        assert_eq!(answer(0.010, 0.003, 0.004).difference(0.001), Difference::Wrong);
        assert_eq!(answer(0.100, 0.0, 0.0).difference(0.096), Difference::None);
        assert_eq!(answer(0.100, 0.0, 0.0).difference(0.094), Difference::Wrong);
        assert_eq!(quick.difference(f64::NAN), Difference::Wrong, "there was none");
    }
}
