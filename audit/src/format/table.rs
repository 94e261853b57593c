//! The table for people: one block a network namespace, columns aligned, long paths shortened in the middle.
//!
//! What programs and users are called is shown without control characters, so that no name can move the cursor or
//! colour the terminal.

use std::io::{self, Write};

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{plain, title};
use crate::drift::DriftKind;
use crate::model::{AddressClass, ChangeKind, Listener};
use crate::report::{Report, ReportRow};
use crate::stable::stable_unit;
use crate::words::Word;

/// How a table is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// With colours, by ANSI escape sequences (ECMA-48).
    pub colour: bool,
    /// Columns of the terminal; `None` for no limit.
    pub width: Option<usize>,
}

const HEADINGS: [&str; 11] =
    ["", "PROTO", "LISTENS ON", "CLASS", "PROGRAM", "PID", "USER", "UNIT", "CONTAINER", "OPENED", "ACCEPTED"];
const MARK: usize = 0;
const CLASS: usize = 3;
/// Columns that may be shortened, in this order, and down to how much.
const SHORTENED: [(usize, usize); 4] = [(4, 16), (7, 12), (8, 12), (6, 8)];
/// Characters of a container's id that are shown, as runtimes do.
const ID_SHOWN: usize = 12;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

pub fn write(report: &Report, options: TableOptions, out: &mut dyn Write) -> io::Result<()> {
    let rows = report.grouped();
    let cells: Vec<[String; 11]> = rows.iter().copied().map(cells).collect();
    let widths = fitted(natural(&cells), options.width);
    let what = if report.rows.iter().any(|row| row.event.is_some()) { "changes" } else { "listeners" };
    let count = report.rows.len();
    writeln!(out, "{count} {what} on {}, {}", plain(&report.host), report.source.sentence())?;
    let mut shown = None;
    for (row, cells) in rows.into_iter().zip(&cells) {
        let title = title(&row.listener.namespace);
        if shown.as_ref() != Some(&title) {
            writeln!(out, "\n{}", painted(&title, BOLD, options.colour))?;
            let headings = HEADINGS.map(str::to_owned);
            writeln!(out, "{}", painted(&line(&headings, &widths, |_, text| text), DIM, options.colour))?;
            shown = Some(title);
        }
        let paint = |column: usize, text: String| match colour_of(row, column) {
            Some(colour) => painted(&text, colour, options.colour),
            None => text,
        };
        writeln!(out, "{}", line(cells, &widths, paint))?;
        for detail in details(row) {
            writeln!(out, "{}", painted(&format!("    {}", plain(&detail)), DIM, options.colour))?;
        }
    }
    summary(report, out)
}

fn summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (violations, differences) = (report.violations(), report.differences());
    if violations > 0 {
        writeln!(out, "\n{violations} denied by the policy (marked !)")?;
    }
    if differences > 0 {
        writeln!(out, "\n{differences} different from the baseline (+ new, - gone, ~ changed)")?;
    }
    if let Some(sentence) = report.truncated_sentence() {
        writeln!(out, "\n{sentence}")?;
    }
    Ok(())
}

fn cells(row: &ReportRow) -> [String; 11] {
    let listener = &row.listener;
    let owner = listener.owner();
    let of = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| plain(text));
    let unit = owner.and_then(|owner| owner.unit.as_ref().or(owner.user_unit.as_ref()));
    let container = owner.and_then(|owner| owner.container.as_ref());
    let program = owner.and_then(|owner| owner.script.as_ref().or(owner.path.as_ref()));
    // A listener of a baseline has no processes, only programs.
    let pid = owner.map(|owner| owner.pid).filter(|pid| *pid > 0);
    let others = listener.answerable().count().saturating_sub(1);
    let more = if others > 0 { format!(" +{others}") } else { String::new() };
    [
        mark(row),
        listener.transport.word().to_owned(),
        endpoint(listener),
        listener.class().map_or("-", Word::word).to_owned(),
        of(program),
        pid.map_or_else(|| "-".to_owned(), |pid| format!("{pid}{more}")),
        of(owner.and_then(|owner| owner.user.as_ref())),
        // The container's id has a column of its own.
        unit.map_or_else(|| "-".to_owned(), |unit| plain(&stable_unit(unit))),
        container.map_or_else(|| "-".to_owned(), |id| plain(&id.chars().take(ID_SHOWN).collect::<String>())),
        times(row),
        listener.accepted.map_or_else(|| "-".to_owned(), |count| count.to_string()),
    ]
}

/// `!` denied; `+` new, `-` gone, `~` changed, or `+` opened and `-` closed.
fn mark(row: &ReportRow) -> String {
    let drift = row.drift.as_ref().map(|drift| match drift.kind {
        DriftKind::New => '+',
        DriftKind::Gone => '-',
        DriftKind::Changed => '~',
    });
    let event = row.event.map(|event| match event {
        ChangeKind::Opened => '+',
        ChangeKind::Closed => '-',
    });
    let verdict = row.is_violation().then_some('!');
    [verdict, drift, event].into_iter().flatten().collect()
}

fn endpoint(listener: &Listener) -> String {
    let automatic =
        if listener.port.is_none() && listener.automatic_port == Some(true) { ":automatic" } else { "" };
    let interface = listener.interface.as_ref().map(|name| format!("%{}", plain(name))).unwrap_or_default();
    let only = if listener.ipv6_only == Some(true) { " v6only" } else { "" };
    let peer = listener.peer.map(|peer| format!(" from {peer}")).unwrap_or_default();
    format!("{}{automatic}{interface}{only}{peer}", listener.endpoint())
}

fn times(row: &ReportRow) -> String {
    let text = |unix_ns: u64| {
        let time = Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
        time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
    };
    let first_seen = || row.first_seen_unix_ns.map(|at| format!("before {}", text(at)));
    let opened = row.listener.opened_unix_ns.map(text).or_else(first_seen).unwrap_or_else(|| "-".to_owned());
    match (row.closed_unix_ns, row.listener.opened_unix_ns) {
        (Some(closed), _) if row.close_unseen => format!("{opened}, gone by {}", text(closed)),
        (Some(closed), Some(opened_ns)) => {
            let ms = closed.saturating_sub(opened_ns) / 1_000_000;
            format!("{opened} for {}.{:03} s", ms / 1000, ms % 1000)
        }
        (Some(closed), None) => format!("{opened}, closed {}", text(closed)),
        (None, _) => opened,
    }
}

fn details(row: &ReportRow) -> Vec<String> {
    let rule = row.verdict.as_ref().filter(|_| row.is_violation());
    let rule = rule.map(|verdict| format!("denied by {}", verdict.rule_name()));
    let fields = row.drift.iter().flat_map(|drift| drift.fields.iter().cloned());
    rule.into_iter().chain(fields).collect()
}

fn colour_of(row: &ReportRow, column: usize) -> Option<&'static str> {
    match (column, row.listener.class()) {
        (MARK, _) if row.is_violation() => Some(RED),
        (MARK, _) => Some(YELLOW),
        (CLASS, Some(AddressClass::Loopback)) => Some(GREEN),
        (CLASS, Some(AddressClass::Private)) => Some(YELLOW),
        (CLASS, _) => Some(RED),
        _ => None,
    }
}

fn painted(text: &str, colour: &str, on: bool) -> String {
    if on && !text.trim().is_empty() { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn natural(cells: &[[String; 11]]) -> [usize; 11] {
    let mut widths = HEADINGS.map(UnicodeWidthStr::width);
    for row in cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    widths
}

/// Makes columns narrower until the line fits, as far as they may be.
fn fitted(mut widths: [usize; 11], limit: Option<usize>) -> [usize; 11] {
    let Some(limit) = limit else { return widths };
    for (column, least) in SHORTENED {
        let total = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let surplus = total.saturating_sub(limit);
        widths[column] = widths[column].saturating_sub(surplus).max(least.min(widths[column]));
    }
    widths
}

fn line(cells: &[String; 11], widths: &[usize; 11], paint: impl Fn(usize, String) -> String) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = shortened(cell, *width);
        let padding = " ".repeat(width.saturating_sub(shown.width()));
        let last = column + 1 == cells.len();
        text.push_str(&paint(column, shown));
        if !last {
            text.push_str(&padding);
            text.push_str("  ");
        }
    }
    text
}

/// At most `width` columns, with … in the middle where something is left out: a path's end tells the most.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let end_room = room - room / 3;
    let take = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let mut taken = Vec::new();
        for c in chars {
            used += c.width().unwrap_or(0);
            if used > room {
                break;
            }
            taken.push(c);
        }
        taken
    };
    let begin: String = take(&mut text.chars(), room / 3).into_iter().collect();
    let end: String = take(&mut text.chars().rev(), end_room).into_iter().rev().collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Format;
    use super::super::tests::{any_report, full, text};
    use super::*;
    use crate::model::Namespace;
    use crate::testing::{process, tcp};

    fn table(report: &Report, options: TableOptions) -> String {
        let mut out = Vec::new();
        write(report, options, &mut out).expect("memory takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn no_name_reaches_the_terminal_as_more_than_text(report in any_report()) {
            let text = text(&report, Format::Table);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
        }

        #[test]
        fn a_shortened_text_fits(text in "\\PC{0,20}", width in 1_usize..12) {
            prop_assert!(shortened(&text, width).width() <= width);
        }

        #[test]
        fn colour_changes_nothing_but_colour(report in any_report()) {
            let bare = table(&report, TableOptions::default());
            let coloured = table(&report, TableOptions { colour: true, width: None });
            let mut stripped = coloured;
            for sequence in [BOLD, DIM, RED, GREEN, YELLOW, "0"] {
                stripped = stripped.replace(&format!("\u{1b}[{sequence}m"), "");
            }
            prop_assert_eq!(stripped, bare);
        }
    }

    #[test]
    fn a_table_is_aligned_and_marked() {
        let ssh = Listener { holders: vec![process("/usr/sbin/sshd")], ..tcp("0.0.0.0:22") };
        let report = full(vec![ssh.clone(), tcp("127.0.0.1:50000")], &[ssh]);
        let expected = "\
2 listeners on host <1>, one reading of the kernel without the daemon: who opened them, and when, is not known

Network of the host
   PROTO  LISTENS ON       CLASS     PROGRAM         PID  USER  UNIT  CONTAINER  OPENED  ACCEPTED
!  tcp    0.0.0.0:22       any       /usr/sbin/sshd  812  root  -     -          -       -
    denied by low <ports>
+  tcp    127.0.0.1:50000  loopback  -               -    -     -     -          -       -

1 denied by the policy (marked !)

1 different from the baseline (+ new, - gone, ~ changed)
";
        assert_eq!(text(&report, Format::Table), expected);
    }

    #[test]
    fn long_paths_are_shortened_to_the_width() {
        let path = "/opt/a/very/long/path/to/some/program/that/listens/serverd";
        let listener = Listener { holders: vec![process(path)], ..tcp("0.0.0.0:40000") };
        let shown = table(&full(vec![listener], &[]), TableOptions { colour: false, width: Some(110) });
        let row = shown.lines().find(|line| line.contains("0.0.0.0")).expect("a row");
        assert!(row.width() <= 110 && row.contains('…') && row.contains("serverd"), "{row}");
    }

    #[test]
    fn a_containers_id_is_told_once_and_short() {
        let mut listener = Listener { holders: vec![process("/usr/sbin/nginx")], ..tcp("0.0.0.0:40000") };
        let id = "ab12".repeat(16);
        listener.holders[0].unit = Some(format!("docker-{id}.scope"));
        listener.holders[0].container = Some(id);
        let text = text(&full(vec![listener], &[]), Format::Table);
        assert!(text.contains("docker-*.scope  ab12ab12ab12  "), "{text}");
    }

    #[test]
    fn a_row_that_is_denied_and_new_has_both_marks() {
        let text = text(&full(vec![tcp("0.0.0.0:23")], &[]), Format::Table);
        assert!(text.contains("\n!+  tcp"), "{text}");
    }

    #[test]
    fn each_namespace_has_a_block() {
        let blue = Namespace { inode: 7, initial: Some(false), name: Some("blue".to_owned()) };
        let listeners = vec![tcp("0.0.0.0:1"), Listener { namespace: blue, ..tcp("0.0.0.0:2") }];
        let text = text(&full(listeners, &[]), Format::Table);
        let (host, blue) = (text.find("Network of the host"), text.find("Network namespace blue (7)"));
        assert!(host.is_some() && host < blue, "{text}");
    }
}
