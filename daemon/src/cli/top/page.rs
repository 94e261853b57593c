//! A page of text about one thing: lines that are wrapped to the screen, so that nothing of a long path is lost.

use netsonde_view::model::Attributes;
use unicode_width::UnicodeWidthChar as _;

use super::tables::Tone;
use super::text::{clean, value_text, width};

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it is shown; clean.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

/// Lines of so many columns at most.
#[derive(Debug)]
pub struct Page {
    columns: usize,
    lines: Vec<Line>,
}

impl Page {
    /// An empty one.
    pub fn new(columns: usize) -> Self {
        Self { columns: columns.max(8), lines: Vec::new() }
    }

    /// What was written.
    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    /// A heading, with a line above it.
    pub fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.add(String::new(), Tone::Plain);
        }
        self.add(clean(text), Tone::Good);
    }

    /// A text, and what does not fit behind it below, so far from the edge.
    pub fn text(&mut self, indent: usize, text: &str, tone: Tone) {
        let indent = indent.min(self.columns / 2);
        let room = self.columns - indent;
        let mut line = String::new();
        let mut taken = 0;
        for c in clean(text).chars() {
            let columns = c.width().unwrap_or(0);
            if taken + columns > room {
                self.add(" ".repeat(indent) + &line, tone);
                (line, taken) = (String::new(), 0);
            }
            line.push(c);
            taken += columns;
        }
        self.add(" ".repeat(indent) + &line, tone);
    }

    /// A name and its value; the value below its name, where both are too long for one line.
    pub fn pair(&mut self, name: &str, value: &str) {
        const NAMES: usize = 30;
        if self.columns >= NAMES + 20 || width(value) + NAMES <= self.columns {
            let first = format!("{name:<NAMES$}");
            let room = self.columns.saturating_sub(NAMES).max(8);
            for (index, part) in parts(value, room).into_iter().enumerate() {
                let name = if index == 0 { first.clone() } else { " ".repeat(NAMES) };
                self.add(name + &part, Tone::Plain);
            }
        } else {
            self.text(0, name, Tone::Dim);
            self.text(2, value, Tone::Plain);
        }
    }

    /// All attributes but those named.
    pub fn attributes(&mut self, attributes: &Attributes, except: &[&str]) {
        for (name, value) in attributes.iter().filter(|(name, _)| !except.contains(&name.as_str())) {
            self.pair(&clean(name), &value_text(value));
        }
    }

    fn add(&mut self, text: String, tone: Tone) {
        self.lines.push(Line { text, tone });
    }
}

/// A text in pieces of so many columns at most; at least one.
fn parts(text: &str, columns: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > columns {
            parts.push(String::new());
            taken = 0;
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        taken += wide;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_page_and_nothing_is_lost() {
        for columns in [8, 20, 40, 80] {
            let mut page = Page::new(columns);
            page.heading("Flow");
            page.pair("process.executable.path", "/usr/lib/日本語/a-rather-long-name-of-a-program");
            page.text(4, &"x".repeat(100), Tone::Plain);
            let lines = page.into_lines();
            if columns >= 20 {
                assert!(lines.iter().all(|line| width(&line.text) <= columns), "{columns}: {lines:?}");
            }
            let all: String = lines.iter().map(|line| line.text.replace(' ', "")).collect();
            assert!(all.contains("/usr/lib/日本語/a-rather-long-name-of-a-program"), "{all}");
            assert!(all.contains(&"x".repeat(100)), "{all}");
        }
    }

    #[test]
    fn headings_stand_apart_and_texts_are_clean() {
        let mut page = Page::new(80);
        page.heading("One");
        page.text(0, "a\u{1b}b", Tone::Plain);
        page.heading("Two");
        let texts: Vec<String> = page.into_lines().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["One", "a?b", "", "Two"]);
    }
}
