//! The keys, over everything else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget as _};

use super::Pen;
use crate::cli::top::filter::FIELDS;
use crate::cli::top::page::Page;
use crate::cli::top::tables::Tone;
use crate::cli::top::text::{Align, fit};

/// A key and what it does, both short: they stand in two columns on a narrow terminal.
const KEYS: [(&str, &str); 12] = [
    ("1-6 Tab", "tables"),
    ("< >", "sort column"),
    ("Up Down", "move"),
    ("r", "turn order"),
    ("PgUp PgDn", "page"),
    ("w", "window"),
    ("Enter", "go into"),
    ("p Space", "pause"),
    ("Esc", "back"),
    ("?", "this help"),
    ("/", "filter"),
    ("q", "quit"),
];
const KEY: usize = 9;
const ENTRY: usize = 20;

/// Draws over the area.
pub fn draw(buffer: &mut Buffer, area: Rect, pen: Pen) {
    Clear.render(area, buffer);
    let beside = (usize::from(area.width) / ENTRY).clamp(1, 2);
    let entries: Vec<String> = KEYS.iter().map(|(key, does)| format!("{key:<KEY$} {does}")).collect();
    let mut lines: Vec<String> = entries
        .chunks(beside)
        .map(|row| {
            row.iter()
                .map(|entry| fit(entry, ENTRY.max(usize::from(area.width) / 4), Align::Left, ' '))
                .collect()
        })
        .collect();
    let mut page = Page::new(area.width.into());
    let fields: Vec<&str> = FIELDS.iter().map(|field| field.word).collect();
    let text = format!("Filter: words, field:word or !word; fields: {}, attributes", fields.join(" "));
    page.text(0, &text, Tone::Plain);
    lines.push(String::new());
    lines.extend(page.into_lines().into_iter().map(|line| line.text));
    for (y, line) in (area.y..area.bottom()).zip(&lines) {
        pen.write(buffer, Rect { y, height: 1, ..area }, line, Style::new());
    }
}
