//! `netsonde audit`: what listens, as a report, a baseline, the drift from one, or rules. Asks the daemon, or reads the
//! kernel once.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use netsonde_audit::baseline::{Baseline, Options};
use netsonde_audit::compact;
use netsonde_audit::drift::{self, Drift};
use netsonde_audit::filter::{Filter, FilterText};
use netsonde_audit::format::{self, Format, TableOptions};
use netsonde_audit::model::Listener;
use netsonde_audit::policy::{NamespaceMatch, Policy};
use netsonde_audit::report::{Report, Source, truncated_sentence};
use netsonde_audit::stable::DEFAULT_EPHEMERAL_PORTS;
use netsonde_audit::suggest::suggest_policy;

use super::ask::{ask, not_allowed};
use super::since::{self, Window};
use super::{AuditArgs, FilterArgs, Moment};
use crate::api::{COMPACT_LISTENERS, ListenersAnswer};
use crate::app;
use crate::audit::{self, Inventory};
use crate::config::Config;
use crate::enrich::Clock;
use crate::exit::Exit;

/// 100,000 sockets with a chain of a dozen parents come near it.
const LARGEST_ANSWER: usize = 512 << 20;
/// The ports that the kernel chooses from (ip(7)).
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Writes what was asked for to `out`, and what is to be known about it to `err`.
///
/// # Errors
///
/// Neither the daemon nor the kernel could be read, or a file or `out` could not be used.
pub fn audit(
    args: &AuditArgs,
    config: &Config,
    table: TableOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<Exit> {
    let filter = match filter(&args.filter, args.diff.is_some()) {
        Ok(filter) => filter,
        Err(problem) => {
            writeln!(err, "netsonde: {problem}")?;
            return Ok(Exit::Usage);
        }
    };
    if let Some(since) = args.since {
        return changes(args, since, config, &filter, table, out, err);
    }
    if let Some(Some(path)) = &args.suggest_policy {
        let mut right = baseline(path)?;
        right.retain(|listener| filter.matches(listener));
        return finished(
            out.write_all(suggest_policy(&right.listeners()).as_bytes()).map(|()| Exit::Ok),
            out,
        );
    }
    // What is wrong with the file is told before anything is read.
    let before = args.diff.as_deref().map(baseline).transpose()?;
    let (source, inventory) = match read(config, err)? {
        Ok(read) => read,
        Err(exit) => return Ok(exit),
    };
    if let Some(sentence) = truncated_sentence(inventory.truncated) {
        writeln!(err, "netsonde: {sentence}")?;
    }
    let listeners = inventory.listeners.into_iter().filter(|listener| filter.matches(listener)).collect();
    let options = Options { ephemeral_ports: ephemeral_ports(), with_ephemeral: args.with_ephemeral };
    let mut now = Now {
        host: app::host_name(),
        taken_unix_ns: inventory.taken_unix_ns,
        truncated: inventory.truncated,
        source,
        listeners,
        options,
        policy: &config.audit,
    };
    let written = if let Some(path) = &args.save_baseline {
        let count = now.save(path)?;
        writeln!(err, "netsonde: {count} listeners are in {}", path.display())?;
        Ok(Exit::Ok)
    } else if args.suggest_policy.is_some() {
        out.write_all(suggest_policy(&now.listeners).as_bytes()).map(|()| Exit::Ok)
    } else if let Some(mut before) = before {
        before.retain(|listener| filter.matches(listener));
        now.compare(&before, args.format, table, out)
    } else {
        format::write(&now.report(), args.format, table, out).map(|()| Exit::Ok)
    };
    finished(written, out)
}

/// Writes what opened and closed.
fn changes(
    args: &AuditArgs,
    since: Moment,
    config: &Config,
    filter: &Filter,
    table: TableOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<Exit> {
    let now = Clock::read().unix_ns();
    let until = args.until.map_or(now, |until| until.unix_ns(now));
    let since = since.unix_ns(now);
    if since > until {
        writeln!(err, "netsonde: --until is before --since")?;
        return Ok(Exit::Usage);
    }
    let mut report = since::report(config, Window { since, until }, filter, now, err)?;
    if config.audit != Policy::default() {
        report.judge(&config.audit);
    }
    finished(format::write(&report, args.format, table, out).map(|()| Exit::Ok), out)
}

/// Who has seen enough closes the pipe.
fn finished(written: io::Result<Exit>, out: &mut impl Write) -> anyhow::Result<Exit> {
    match written.and_then(|exit| out.flush().map(|()| exit)) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        written => Ok(written?),
    }
}

/// What listens, and what is needed to compare it.
struct Now<'a> {
    host: String,
    taken_unix_ns: u64,
    truncated: u64,
    source: Source,
    listeners: Vec<Listener>,
    options: Options,
    policy: &'a Policy,
}

impl Now<'_> {
    /// The report, which takes the listeners with it.
    fn report(&mut self) -> Report {
        let listeners = std::mem::take(&mut self.listeners);
        let mut report = Report::of_listeners(&self.host, self.taken_unix_ns, self.source, listeners);
        report.truncated = self.truncated;
        // Without any rule everything may listen, and a verdict would say nothing.
        if *self.policy != Policy::default() {
            report.judge(self.policy);
        }
        report
    }

    fn baseline(&self) -> Baseline {
        Baseline::take(&self.host, self.taken_unix_ns, &self.listeners, &self.options)
    }

    /// Writes the baseline; how many listeners it has.
    fn save(&self, path: &Path) -> anyhow::Result<usize> {
        let baseline = self.baseline();
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            baseline.write(&mut file)?;
            file.into_inner()?.sync_all()
        };
        write().with_context(|| format!("cannot write the baseline {}", path.display()))?;
        Ok(baseline.entries.len())
    }

    /// Writes what differs.
    fn compare(
        &mut self,
        before: &Baseline,
        format: Format,
        table: TableOptions,
        out: &mut impl Write,
    ) -> io::Result<Exit> {
        let drift: Drift = drift::diff(before, &self.baseline());
        let mut report = self.report();
        report.mark(&drift, &self.options);
        report.rows.retain(|row| row.drift.is_some() || row.is_violation());
        if report.rows.is_empty() && format == Format::Table {
            writeln!(out, "nothing differs from the baseline of {} listeners", before.entries.len())?;
        } else {
            format::write(&report, format, table, out)?;
        }
        Ok(if drift.is_empty() { Exit::Ok } else { Exit::Drift })
    }
}

fn filter(args: &FilterArgs, compares: bool) -> Result<Filter, String> {
    let text = FilterText {
        ports: &args.port,
        binaries: &args.binary,
        units: &args.unit,
        classes: &args.class,
        namespaces: &args.namespace,
        transports: &args.transport,
    };
    let filter = Filter::parse(&text)?;
    let is_inode = |namespace: &NamespaceMatch| matches!(namespace, NamespaceMatch::Inode(_));
    if compares && filter.namespaces.iter().any(is_inode) {
        // It would match nothing of the baseline, and all in that namespace would be new.
        return Err(
            "a baseline has no inode numbers, which change at each restart: write the name that `ip netns` \
                    gives the namespace, or \"other\""
                .to_owned(),
        );
    }
    Ok(filter)
}

fn baseline(path: &Path) -> anyhow::Result<Baseline> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the baseline {}", path.display()))?;
    Baseline::read(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

type Read = (Source, Inventory);

/// Asks the daemon; without one, reads the kernel. The exit code when this host or user could do neither, which has
/// been said.
fn read(config: &Config, err: &mut impl Write) -> anyhow::Result<Result<Read, Exit>> {
    let socket = &config.api.socket;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let error = match runtime.block_on(ask_for_listeners(socket)) {
        Ok(inventory) => return Ok(Ok((Source::Daemon, inventory))),
        Err(error) => error,
    };
    let shown = socket.display();
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        Some(io::ErrorKind::PermissionDenied) => {
            return Err(error.context(not_allowed(socket)));
        }
        _ => return Err(error.context(format!("the daemon at {shown} does not say what listens"))),
    }
    match audit::read(config, app::options(config)) {
        Ok(inventory) => {
            writeln!(
                err,
                "netsonde: no daemon answers at {shown}: this is one reading of the kernel, which does not know who \
                 opened a socket, when, and what it accepted"
            )?;
            Ok(Ok((Source::Kernel, inventory)))
        }
        Err(e) if e.is_unsupported_host() => {
            writeln!(err, "netsonde: no daemon answers at {shown}, and the kernel cannot be read: {e}")?;
            Ok(Err(Exit::CannotRun))
        }
        Err(e) => Err(anyhow::Error::from(e)
            .context(format!("no daemon answers at {shown}, and the kernel cannot be read"))),
    }
}

/// Asks in the form that is read fastest, and in that of everybody when the daemon is of another version.
async fn ask_for_listeners(socket: &Path) -> anyhow::Result<Inventory> {
    match ask(socket, COMPACT_LISTENERS, LARGEST_ANSWER).await {
        Ok(body) => {
            if let Ok(inventory) = compact::read(&body) {
                return Ok(inventory);
            }
        }
        Err(error) if error.is::<io::Error>() => return Err(error),
        Err(_) => {}
    }
    inventory(&ask(socket, "/api/v1/listeners", LARGEST_ANSWER).await?)
}

fn inventory(body: &[u8]) -> anyhow::Result<Inventory> {
    let answer: ListenersAnswer =
        serde_json::from_slice(body).context("the daemon's answer cannot be read")?;
    let time: Timestamp = answer.time.parse().context("the time of the daemon's answer cannot be read")?;
    let taken_unix_ns = u64::try_from(time.as_nanosecond()).unwrap_or(0);
    Ok(Inventory { taken_unix_ns, listeners: answer.listeners, truncated: answer.truncated })
}

fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string(PORT_RANGE).unwrap_or_default();
    port_range(&text).unwrap_or(DEFAULT_EPHEMERAL_PORTS)
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.trim().split_once(char::is_whitespace)?;
    Some(low.parse().ok()?..=high.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use netsonde_audit::model::Transport;
    use netsonde_audit::policy::Action;

    use super::*;

    fn tcp(address: &str) -> Listener {
        let address: SocketAddr = address.parse().expect("an address");
        Listener::new(Transport::Tcp, Some(address.ip()), Some(address.port()))
    }

    static EVERYTHING: Policy = Policy { rules: Vec::new(), default: Action::Allow };

    fn now(listeners: Vec<Listener>) -> Now<'static> {
        Now {
            policy: &EVERYTHING,
            host: "host".to_owned(),
            taken_unix_ns: 0,
            truncated: 0,
            source: Source::Daemon,
            listeners,
            options: Options::default(),
        }
    }

    fn compared(before: &[Listener], after: Vec<Listener>, format: Format) -> (Exit, String) {
        let before = now(before.to_vec()).baseline();
        let mut out = Vec::new();
        let exit =
            now(after).compare(&before, format, TableOptions::default(), &mut out).expect("memory takes all");
        (exit, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn drift_has_an_exit_code_of_its_own_and_shows_only_what_differs() {
        let before = [tcp("0.0.0.0:22"), tcp("0.0.0.0:80")];
        let (exit, text) = compared(&before, before.to_vec(), Format::Table);
        assert_eq!((exit, text.as_str()), (Exit::Ok, "nothing differs from the baseline of 2 listeners\n"));
        let (exit, text) = compared(&before, vec![tcp("0.0.0.0:22"), tcp("0.0.0.0:23")], Format::Ndjson);
        assert_eq!(exit, Exit::Drift);
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let told: Vec<_> =
            rows.iter().map(|row| (&row["server.port"], &row["netsonde.audit.drift"])).collect();
        assert_eq!(told, [(&23.into(), &"new".into()), (&80.into(), &"gone".into())]);
        let (exit, text) = compared(&before, before.to_vec(), Format::Json);
        assert_eq!((exit, text.as_str()), (Exit::Ok, "[]\n"));
    }

    #[test]
    fn rows_are_judged_when_there_is_a_policy() {
        let verdict = |mut now: Now<'_>| now.report().rows[0].verdict.as_ref().map(|verdict| verdict.action);
        let listening = || now(vec![tcp("0.0.0.0:22")]);
        assert_eq!(verdict(listening()), None);
        let policy = Policy { default: Action::Deny, ..Policy::default() };
        assert_eq!(verdict(Now { policy: &policy, ..listening() }), Some(Action::Deny));
    }

    #[test]
    fn a_saved_baseline_is_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("baseline");
        assert_eq!(now(vec![tcp("0.0.0.0:22")]).save(&path).expect("saved"), 1);
        assert_eq!(baseline(&path).expect("read").entries.len(), 1);
        fs::write(&path, "{}\n").expect("written");
        let problem = format!("{:#}", baseline(&path).expect_err("no baseline"));
        assert!(problem.contains("baseline: line 1: "), "{problem}");
    }

    #[test]
    fn a_filter_by_inode_number_does_not_go_with_a_baseline() {
        let args = |namespace: &str| FilterArgs {
            port: Vec::new(),
            binary: Vec::new(),
            unit: Vec::new(),
            class: Vec::new(),
            namespace: vec![namespace.to_owned()],
            transport: Vec::new(),
        };
        assert!(filter(&args("4026531840"), false).is_ok());
        assert!(filter(&args("4026531840"), true).is_err());
        assert!(filter(&args("other"), true).is_ok());
    }

    #[test]
    fn a_daemons_answer_in_the_form_of_everybody_is_read() {
        let body = br#"{"time":"2023-11-14T22:13:20Z","listeners":[],"truncated":3}"#;
        let read = inventory(body).expect("an answer");
        assert_eq!((read.taken_unix_ns, read.truncated), (1_700_000_000_000_000_000, 3));
        assert!(inventory(b"{}").is_err());
    }

    #[test]
    fn the_kernels_ports_are_read() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(port_range("32768"), None);
    }
}
