//! How netsonde is doing: its verdict on itself, a line a subject.

use super::{Cell, Column, Order, Row, Tone, text};
use crate::aggregate::Grade;
use crate::api::StatusAnswer;
use crate::cli::top::text::clean;

/// Columns of the verdict.
pub const COLUMNS: &[Column] = &[
    Column { grows: false, ..text("state", "STATE", 8, 9) },
    Column { grows: false, ..text("subject", "SUBJECT", 12, 9) },
    text("text", "WHAT", 15, 9),
];

/// A row a finding, and one a line that the probes of this process wrote.
pub fn rows(answer: Option<&StatusAnswer>, messages: &[String]) -> Vec<Row> {
    let findings = answer.iter().flat_map(|answer| &answer.findings);
    let messages = messages.iter().enumerate().map(|(index, text)| {
        let state = Cell { text: "log".to_owned(), order: Order::Nothing };
        let cells = vec![state, Cell::text("netsonde top".to_owned()), Cell::text(clean(text))];
        Row { key: format!("log {index:03}"), cells, tone: Tone::Dim }
    });
    findings
        .enumerate()
        .map(|(index, finding)| {
            let (word, gravity, tone) = match finding.grade {
                Grade::Ok => ("ok", 0.0, Tone::Good),
                Grade::Degraded => ("degraded", 1.0, Tone::Warning),
                Grade::Failed => ("failed", 2.0, Tone::Bad),
            };
            let state = Cell { text: word.to_owned(), order: Order::Number(gravity) };
            let cells = vec![state, Cell::text(clean(&finding.subject)), Cell::text(clean(&finding.text))];
            Row { key: format!("{index:03} {}", finding.subject), cells, tone }
        })
        .chain(messages)
        .collect()
}
