//! `netsonde events`: follows the events of the running daemon.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use netsonde_view::model::{Event, Missed};
use tokio::signal::unix::{SignalKind, signal};

use super::EventsArgs;
use super::ask::open;
use crate::exit::Exit;
use crate::export::{Line, Values, push_line};
use crate::telemetry::Severity;

/// A refusal is a line; an event with 64 parents and long arguments has some 100 KiB.
const LARGEST: usize = 16 << 20;

/// Writes events to `out` until Ctrl-C, the end of the daemon, or nobody reads `out`.
///
/// # Errors
///
/// No daemon answers, its answer is none, or `out` cannot be written to.
pub async fn events(
    args: &EventsArgs,
    socket: &Path,
    color: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<Exit> {
    // Before anything is shown: whoever sees it may send them at once.
    let mut asked_to_end = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let response = open(socket, Method::GET, &path(args))
        .await
        .with_context(|| format!("no netsonde answers at {}", socket.display()))?;
    let code = response.status();
    if code != StatusCode::OK {
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let text = body.map(Collected::to_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if code == StatusCode::BAD_REQUEST {
            writeln!(err, "netsonde: {}", text.trim())?;
            return Ok(Exit::Usage);
        }
        bail!("it answered {code}: {}", text.trim());
    }
    let mut printer = Printer { json: args.json, color, missed: 0 };
    let mut body = response.into_body();
    let mut messages = Messages::default();
    let [interrupt, terminate] = &mut asked_to_end;
    let ended = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = interrupt.recv() => break Ok(Exit::Ok),
            _ = terminate.recv() => break Ok(Exit::Ok),
        };
        match frame {
            None => break Err(anyhow::anyhow!("the daemon has ended")),
            Some(Err(error)) => break Err(anyhow::Error::new(error).context("the daemon has ended")),
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                let mut text = String::new();
                for message in messages.push(&bytes)? {
                    printer.print(&message, &mut text)?;
                }
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    Ok(()) => {}
                    // Nobody reads any more, which is how `| head` ends.
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => break Ok(Exit::Ok),
                    Err(e) => break Err(e.into()),
                }
            }
        }
    };
    if printer.missed > 0 {
        writeln!(
            err,
            "netsonde: {} events were missed: they came faster than they were read",
            printer.missed
        )?;
    }
    ended
}

/// What is asked for.
fn path(args: &EventsArgs) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, values) in
        [("type", &args.r#type), ("binary", &args.binary), ("port", &args.port), ("unit", &args.unit)]
    {
        query.extend_pairs(values.iter().map(|value| (key, value)));
    }
    match query.finish() {
        query if query.is_empty() => "/api/v1/events".to_owned(),
        query => format!("/api/v1/events?{query}"),
    }
}

/// One message of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    data: String,
}

/// Reads a stream of server-sent events (WHATWG HTML, 9.2.6) as far as the daemon uses it: pieces may end anywhere.
#[derive(Debug, Default)]
struct Messages {
    line: Vec<u8>,
    message: Message,
}

impl Messages {
    /// The messages that a piece completes.
    fn push(&mut self, piece: &[u8]) -> anyhow::Result<Vec<Message>> {
        let mut whole = Vec::new();
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.line.extend_from_slice(part);
            if self.line.len() > LARGEST {
                bail!("the daemon sent a line without end");
            }
            if lines.peek().is_none() {
                break;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    let message = std::mem::take(&mut self.message);
                    if !message.data.is_empty() {
                        whole.push(message);
                    }
                }
                "event" => value.clone_into(&mut self.message.event),
                "data" => self.message.data.push_str(value),
                // A comment keeps the connection alive.
                _ => {}
            }
        }
        Ok(whole)
    }
}

struct Printer {
    json: bool,
    color: bool,
    missed: u64,
}

impl Printer {
    fn print(&mut self, message: &Message, to: &mut String) -> anyhow::Result<()> {
        let wrong = || format!("an event that is none: {:.200}", message.data);
        if message.event == "missed" {
            let Missed { missed } = serde_json::from_str(&message.data).with_context(wrong)?;
            self.missed = self.missed.saturating_add(missed);
            return Ok(());
        }
        if self.json {
            to.push_str(&message.data);
            to.push('\n');
            return Ok(());
        }
        let event: Event = serde_json::from_str(&message.data).with_context(wrong)?;
        let time: Timestamp = event.time.parse().with_context(wrong)?;
        let line = Line {
            time_unix_ns: time.as_nanosecond().try_into().unwrap_or(0),
            name: &event.event,
            severity: if event.severity == "WARN" { Severity::Warn } else { Severity::Info },
            body: &event.body,
            attributes: Values::Json(&event.attributes),
        };
        push_line(to, &line, self.color);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_come_in_pieces_of_any_size() {
        let stream =
            ": hello\n\nevent: a\ndata: {\"é\":1}\n\n:\n\nevent: missed\ndata: {\"missed\":3}\n\nevent: b";
        for size in [1, 2, 3, 7, 1000] {
            let mut messages = Messages::default();
            let mut all = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                all.extend(messages.push(piece).expect("right"));
            }
            assert_eq!(all, [message("a", "{\"é\":1}"), message("missed", "{\"missed\":3}")]);
        }
    }

    #[test]
    fn what_is_asked_for_is_written_as_a_query() {
        let none = EventsArgs::default();
        assert_eq!(path(&none), "/api/v1/events");
        let args = EventsArgs {
            r#type: vec!["close".into()],
            binary: vec!["/usr/bin/{a b}&c".into()],
            port: vec!["80".into(), "443".into()],
            ..EventsArgs::default()
        };
        let expected = "/api/v1/events?type=close&binary=%2Fusr%2Fbin%2F%7Ba+b%7D%26c&port=80&port=443";
        assert_eq!(path(&args), expected);
    }

    #[test]
    fn events_are_lines_and_what_was_missed_is_counted() {
        let data = r#"{"time":"2023-11-14T22:13:20.987000000Z","event":"netsonde.tcp.close","severity":"INFO","body":"b","attributes":{"process.pid":7,"process.executable.path":"/usr/bin/curl","client.address":"192.0.2.1","client.port":4,"server.address":"a.example","server.port":443,"netsonde.socket.role":"client"}}"#;
        let mut printer = Printer { json: false, color: false, missed: 0 };
        let mut text = String::new();
        printer.print(&message("netsonde.tcp.close", data), &mut text).expect("right");
        printer.print(&message("missed", "{\"missed\":3}"), &mut text).expect("right");
        assert_eq!(
            (text.as_str(), printer.missed),
            ("22:13:20.987  close        curl[7]                  192.0.2.1:4 -> a.example:443\n", 3)
        );
        let (mut json, mut text) = (Printer { json: true, ..printer }, String::new());
        json.print(&message("netsonde.tcp.close", data), &mut text).expect("right");
        assert_eq!(text, format!("{data}\n"));
        assert!(json.print(&message("missed", "x"), &mut text).is_err());
    }
}
