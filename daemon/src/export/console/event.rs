//! One event as one line.

use std::fmt::Write as _;

use super::format::{Values, basename, bytes, duration, endpoint, printable, time_of_day};
use crate::telemetry::{LogRecord, Severity};

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// What a line tells of.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// When it happened, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// The event's name.
    pub name: &'a str,
    /// How grave it is.
    pub severity: Severity,
    /// One readable sentence.
    pub body: &'a str,
    /// Who and what.
    pub attributes: Values<'a>,
}

impl<'a> From<&'a LogRecord> for Line<'a> {
    fn from(record: &'a LogRecord) -> Self {
        Self {
            time_unix_ns: record.time_unix_ns,
            name: record.event.name,
            severity: record.severity,
            body: &record.body,
            attributes: Values::Event(&record.attributes),
        }
    }
}

/// Appends the line of one event: time, what, who, between whom, and what else is known.
pub fn push_line(out: &mut String, event: &Line<'_>, color: bool) {
    let attributes = event.attributes;
    let name = event.name.strip_prefix("netsonde.").unwrap_or(event.name);
    let verb = name.strip_prefix("tcp.").unwrap_or(name);
    let path = ["netsonde.process.script.path", "process.executable.path"];
    let program = path.iter().find_map(|key| attributes.text(key)).map_or("?".into(), basename);
    let program = match attributes.int("process.pid") {
        Some(pid) => format!("{program}[{pid}]"),
        None => program.into_owned(),
    };
    let time = time_of_day(event.time_unix_ns, true);
    let (dim, paint, reset) = if color { (DIM, paint(verb, event.severity), RESET) } else { ("", "", "") };
    let what = endpoints(attributes).unwrap_or_else(|| printable(event.body).into_owned());
    // Written to a string, which takes everything.
    let _ = write!(out, "{dim}{time}{reset}  {paint}{verb:<12}{reset} {program:<24} {what}");
    push_details(out, attributes);
    out.push('\n');
}

fn paint(verb: &str, severity: Severity) -> &'static str {
    match (verb, severity) {
        ("failure", _) => RED,
        (_, Severity::Warn) => YELLOW,
        ("connect" | "accept" | "listen.open", _) => GREEN,
        _ => DIM,
    }
}

/// Who talks to whom: the local end first, the arrow from the client to the server.
fn endpoints(attributes: Values<'_>) -> Option<String> {
    let end = |address, port| endpoint(attributes.text(address), attributes.int(port));
    let client = end("client.address", "client.port");
    let server = end("server.address", "server.port");
    let (Some(client), Some(server)) = (&client, &server) else { return server.or(client) };
    Some(match attributes.text("netsonde.socket.role") {
        Some("server") => format!("{server} <- {client}"),
        _ => format!("{client} -> {server}"),
    })
}

fn push_details(out: &mut String, attributes: Values<'_>) {
    let mut push = |name: &str, value: &str| {
        let _ = write!(out, "  {name}={value}");
    };
    if let Some(transport) = attributes.text("network.transport").filter(|transport| *transport != "tcp") {
        push("transport", &printable(transport));
    }
    if let Some(error) = attributes.text("error.type") {
        push("error", &printable(error));
    }
    if let Some(name) = attributes.text("dns.question.name") {
        let kind = attributes.text("dns.question.type").unwrap_or("?");
        push("question", &printable(&format!("{kind} {name}")));
    }
    if let Some(code) =
        attributes.text("dns.response_code").filter(|_| attributes.text("error.type").is_none())
    {
        push("code", &printable(code));
    }
    let answers = attributes.texts("dns.answers");
    if let Some(first) = answers.first() {
        let more = if answers.len() > 1 { format!(" and {} more", answers.len() - 1) } else { String::new() };
        push("answer", &format!("{}{more}", printable(first)));
    }
    let amounts = [("tx", "netsonde.tcp.bytes.transmit"), ("rx", "netsonde.tcp.bytes.receive")];
    for (name, key) in amounts {
        if let Some(count) = attributes.int(key).and_then(|count| u64::try_from(count).ok()) {
            push(name, &bytes(count));
        }
    }
    let durations = [
        ("connect-time", "netsonde.tcp.connect.duration"),
        ("duration", "netsonde.tcp.connection.duration"),
        ("srtt", "netsonde.tcp.srtt"),
        ("time", "netsonde.dns.duration"),
    ];
    for (name, key) in durations {
        if let Some(seconds) = attributes.double(key) {
            push(name, &duration(seconds));
        }
    }
    if let Some(count) = attributes.int("netsonde.tcp.retransmits").filter(|count| *count > 0) {
        push("retransmits", &count.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{self, text};
    use crate::telemetry::Attribute;
    use crate::telemetry::AttributeValue::{Array, Double, Int};

    fn line(attributes: Vec<Attribute>, color: bool) -> String {
        let mut record = testing::record(attributes);
        record.time_unix_ns = 1_700_000_000_987_654_321;
        let mut out = String::new();
        push_line(&mut out, &(&record).into(), color);
        out
    }

    #[test]
    fn a_close_tells_all_it_knows() {
        let attributes = vec![
            ("process.executable.path", text("/usr/bin/curl")),
            ("process.pid", Int(4242)),
            ("netsonde.socket.role", text("client")),
            ("network.transport", text("tcp")),
            ("client.address", text("2001:db8::2")),
            ("client.port", Int(40000)),
            ("server.address", text("example.org")),
            ("server.port", Int(443)),
            ("netsonde.tcp.bytes.transmit", Int(517)),
            ("netsonde.tcp.bytes.receive", Int(1_572_864)),
            ("netsonde.tcp.connect.duration", Double(0.0123)),
            ("netsonde.tcp.connection.duration", Double(2.5)),
            ("netsonde.tcp.srtt", Double(0.000_25)),
            ("netsonde.tcp.retransmits", Int(3)),
            ("error.type", text("reset")),
        ];
        assert_eq!(
            line(attributes, false),
            "22:13:20.987  close        curl[4242]               \
             [2001:db8::2]:40000 -> example.org:443  error=reset  tx=517 B  rx=1.5 MiB  \
             connect-time=12.3ms  duration=2.50s  srtt=250us  retransmits=3\n"
        );
    }

    #[test]
    fn a_lookup_shows_question_and_answer() {
        let answers = ["192.0.2.1", "192.0.2.2"].map(text).to_vec();
        let mut attributes = vec![
            ("netsonde.socket.role", text("client")),
            ("client.address", text("192.0.2.7")),
            ("server.address", text("192.0.2.53")),
            ("network.transport", text("udp")),
            ("dns.question.name", text("example.org")),
            ("dns.question.type", text("A")),
            ("dns.response_code", text("NOERROR")),
            ("dns.answers", Array(answers)),
            ("netsonde.dns.duration", Double(0.012)),
        ];
        let shown = line(attributes.clone(), false);
        assert!(
            shown.ends_with(
                "  transport=udp  question=A example.org  code=NOERROR  answer=192.0.2.1 and 1 more  time=12.0ms\n"
            ),
            "{shown}"
        );
        attributes[6] = ("dns.response_code", text("NXDOMAIN"));
        attributes.push(("error.type", text("NXDOMAIN")));
        assert!(!line(attributes, false).contains("code="), "the error says it");
    }

    #[test]
    fn the_local_end_of_a_server_comes_first() {
        let attributes = vec![
            ("netsonde.socket.role", text("server")),
            ("client.address", text("192.0.2.7")),
            ("server.address", text("192.0.2.1")),
            ("server.port", Int(80)),
        ];
        assert!(line(attributes, false).ends_with(" ?                        192.0.2.1:80 <- 192.0.2.7\n"));
    }

    #[test]
    fn a_record_without_endpoints_shows_its_sentence() {
        assert!(line(vec![], false).ends_with(" curl[7] closed 192.0.2.1:443\n"));
    }

    #[test]
    fn colours_come_on_request_only() {
        assert!(!line(vec![], false).contains('\x1b'));
        assert!(line(vec![], true).starts_with("\x1b[2m22:13:20.987\x1b[0m  \x1b[2mclose       \x1b[0m "));
    }
}
