//! One HTML page that needs nothing else: no script, no outside request (its policy forbids both), light and dark by what
//! the reader's system prefers.
//!
//! Everything that is not the page's own passes through [`Text`], which escapes it for element contents as well as for
//! quoted attributes.

use std::fmt;
use std::io::{self, Write};

use super::{plain, title};
use crate::model::{Ancestor, ChangeKind, Listener, Process};
use crate::report::{Report, ReportRow};
use crate::row::time_text;
use crate::words::Word;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--bad:#b3261e;--warn:#8a5a00;--good:#1b6e3c}\
@media(prefers-color-scheme:dark){:root{--bad:#ff897d;--warn:#f0c060;--good:#7bd89a}}\
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:110rem;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line)}\
th{font-weight:600;white-space:nowrap}code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}\
tr.deny{background:var(--soft)}.bad{color:var(--bad)}.warn{color:var(--warn)}.good{color:var(--good)}\
summary{cursor:pointer}ul{margin:.2rem 0;padding-left:1.2rem}";

/// Text that was not written here.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in plain(self.0).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let what = if report.rows.iter().any(|row| row.event.is_some()) { "Changes" } else { "Listeners" };
    let host = Text(&report.host);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{what} on {host}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{what} on {host}</h1>\n"
    )?;
    let taken = time_text(report.taken_unix_ns);
    writeln!(
        out,
        "<p>{} rows, read at {}, {}.</p>",
        report.rows.len(),
        Text(&taken),
        report.source.sentence()
    )?;
    let (violations, differences) = (report.violations(), report.differences());
    if report.rows.iter().any(|row| row.verdict.is_some()) {
        let class = if violations > 0 { "bad" } else { "good" };
        writeln!(out, "<p class=\"{class}\">{violations} denied by the policy.</p>")?;
    }
    if let Some(sentence) = report.truncated_sentence() {
        writeln!(out, "<p class=\"bad\">{}</p>", Text(&sentence))?;
    }
    if differences > 0 {
        writeln!(out, "<p class=\"warn\">{differences} different from the baseline.</p>")?;
    }
    let titled = |row: &ReportRow| title(&row.listener.namespace);
    for rows in report.grouped().chunk_by(|one, other| titled(one) == titled(other)) {
        block(rows, out)?;
    }
    writeln!(out, "</body>\n</html>")
}

fn block(rows: &[&ReportRow], out: &mut dyn Write) -> io::Result<()> {
    if let Some(first) = rows.first() {
        writeln!(out, "<h2>{}</h2>", Text(&title(&first.listener.namespace)))?;
    }
    out.write_all(b"<div class=\"wide\"><table>\n<thead><tr>")?;
    for heading in
        ["", "Protocol", "Listens on", "Class", "Program", "User", "Unit", "Container", "Opened", "Accepted"]
    {
        write!(out, "<th scope=\"col\">{heading}</th>")?;
    }
    out.write_all(b"</tr></thead>\n<tbody>\n")?;
    for row in rows {
        line(row, out)?;
    }
    out.write_all(b"</tbody></table></div>\n")
}

fn line(row: &ReportRow, out: &mut dyn Write) -> io::Result<()> {
    let listener = &row.listener;
    let owner = listener.owner();
    let class = if row.is_violation() { " class=\"deny\"" } else { "" };
    write!(out, "<tr{class}><td>")?;
    marks(row, out)?;
    let interface = listener.interface.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let only = if listener.ipv6_only == Some(true) { " (IPv6 only)" } else { "" };
    write!(
        out,
        "</td><td>{}</td><td><code>{}</code>{}{only}</td><td>{}</td><td>",
        listener.transport.word(),
        Text(&listener.endpoint()),
        Text(&interface),
        listener.class().map_or("", Word::word),
    )?;
    programs(listener, out)?;
    let of = |text: Option<&String>| text.cloned().unwrap_or_default();
    let unit = of(owner.and_then(|owner| owner.unit.as_ref().or(owner.user_unit.as_ref())));
    let first_seen = || row.first_seen_unix_ns.map(|at| format!("before {}", time_text(at)));
    let opened = listener.opened_unix_ns.map(time_text).or_else(first_seen).unwrap_or_default();
    let end = if row.close_unseen { "gone by" } else { "closed" };
    let closed = row.closed_unix_ns.map(|at| format!(", {end} {}", time_text(at))).unwrap_or_default();
    writeln!(
        out,
        "</td><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}{}</td><td>{}</td></tr>",
        Text(&of(owner.and_then(|owner| owner.user.as_ref()))),
        Text(&unit),
        Text(&of(owner.and_then(|owner| owner.container.as_ref()))),
        Text(&opened),
        Text(&closed),
        Text(&accepted(listener)),
    )
}

/// How many, from whom and when the last time.
fn accepted(listener: &Listener) -> String {
    let Some(count) = listener.accepted else { return String::new() };
    let mut text = count.to_string();
    if let Some(peers) = listener.peers.filter(|peers| *peers > 0) {
        let networks: Vec<String> = listener.client_networks.iter().map(ToString::to_string).collect();
        let more = if listener.further_networks { " and further ones" } else { "" };
        let of =
            if networks.is_empty() { String::new() } else { format!(" of {}{more}", networks.join(", ")) };
        let word = if peers == 1 { "address" } else { "addresses" };
        text.push_str(&format!(" from {peers} {word}{of}"));
    }
    if let Some(last) = listener.last_accepted_unix_ns {
        text.push_str(&format!(", last at {}", time_text(last)));
    }
    text
}

fn marks(row: &ReportRow, out: &mut dyn Write) -> io::Result<()> {
    if let Some(verdict) = row.verdict.as_ref().filter(|_| row.is_violation()) {
        write!(out, "<span class=\"bad\">denied by {}</span> ", Text(verdict.rule_name()))?;
    }
    if let Some(drift) = &row.drift {
        write!(out, "<span class=\"warn\">{}</span>", drift.kind.word())?;
        if !drift.fields.is_empty() {
            out.write_all(b"<ul>")?;
            for field in &drift.fields {
                write!(out, "<li><code>{}</code></li>", Text(field))?;
            }
            out.write_all(b"</ul>")?;
        }
    }
    match row.event {
        Some(ChangeKind::Opened) => out.write_all(b"opened"),
        Some(ChangeKind::Closed) => out.write_all(b"closed"),
        None => Ok(()),
    }
}

fn programs(listener: &Listener, out: &mut dyn Write) -> io::Result<()> {
    let Some(owner) = listener.owner() else { return Ok(()) };
    write!(out, "<details><summary><code>{}</code></summary><ul>", Text(name(owner)))?;
    for holder in &listener.holders {
        process("held by", holder, out)?;
    }
    if let Some(opener) = &listener.opened_by {
        process("opened by", opener, out)?;
    }
    out.write_all(b"</ul></details>")
}

fn name(process: &Process) -> &str {
    process.script.as_deref().or(process.path.as_deref()).unwrap_or("unknown")
}

fn process(what: &str, process: &Process, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "<li>{what} <code>{}</code> ({})", Text(name(process)), process.pid)?;
    for Ancestor { pid, path, .. } in &process.ancestors {
        write!(out, " ← <code>{}</code> ({pid})", Text(path.as_deref().unwrap_or("unknown")))?;
    }
    out.write_all(b"</li>")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Format;
    use super::super::tests::{any_report, full, text};
    use super::*;
    use crate::testing::{process, tcp};

    /// Every tag of a page, as it is written.
    fn tags(page: &str) -> Vec<&str> {
        page.split('<').skip(1).map(|rest| rest.split_once('>').expect("each < has its >").0).collect()
    }

    proptest! {
        #[test]
        fn no_value_becomes_a_tag_or_an_attribute(report in any_report()) {
            const KNOWN: &[&str] = &[
                "!DOCTYPE html", "html lang=\"en\"", "/html", "head", "/head", "meta charset=\"utf-8\"",
                "meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"",
                "meta name=\"viewport\" content=\"width=device-width\"", "title", "/title", "style", "/style", "body",
                "/body", "h1", "/h1", "h2", "/h2", "p", "/p", "p class=\"bad\"", "p class=\"good\"",
                "p class=\"warn\"", "div class=\"wide\"", "/div", "table", "/table", "thead", "/thead", "tbody",
                "/tbody", "tr", "/tr", "tr class=\"deny\"", "th scope=\"col\"", "/th", "td", "/td", "code", "/code",
                "span class=\"bad\"", "span class=\"warn\"", "/span", "details", "/details", "summary",
                "/summary", "ul", "/ul", "li", "/li",
            ];
            for tag in tags(&text(&report, Format::Html)) {
                prop_assert!(KNOWN.contains(&tag), "{}", tag);
            }
        }

        #[test]
        fn tags_are_closed_in_the_order_in_which_they_were_opened(report in any_report()) {
            let page = text(&report, Format::Html);
            let mut open = Vec::new();
            for tag in tags(&page) {
                let name = tag.split(' ').next().unwrap_or(tag);
                match name.strip_prefix('/') {
                    Some(name) => prop_assert_eq!(open.pop(), Some(name)),
                    None if matches!(name, "meta" | "!DOCTYPE") => {}
                    None => open.push(name),
                }
            }
            prop_assert!(open.is_empty());
        }

        #[test]
        fn an_escaped_text_has_nothing_left_to_escape(text in any::<String>()) {
            let escaped = Text(&text).to_string();
            let left = escaped.contains(['<', '>', '"', '\'', '\0', '\u{1b}']);
            prop_assert!(!left);
            let unescaped = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(unescaped, plain(&text));
        }
    }

    #[test]
    fn a_page_tells_host_verdict_and_drift_and_asks_for_nothing_from_outside() {
        let mut listener = tcp("0.0.0.0:22");
        listener.holders = vec![process("/tmp/<script>alert(1)</script>")];
        let page = text(&full(vec![listener], &[]), Format::Html);
        for part in [
            "<h1>Listeners on host &lt;1&gt;</h1>",
            "denied by low &lt;ports&gt;",
            "<span class=\"warn\">new</span>",
            "/tmp/&lt;script&gt;alert(1)&lt;/script&gt;",
            "prefers-color-scheme:dark",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        for outside in ["src=", "href=", "url(", "@import", "http:", "https:", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
