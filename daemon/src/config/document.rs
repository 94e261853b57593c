//! A configuration file's text with the place of every key, and the problems found in it.
//!
//! Owns lines, columns and how a problem is shown. It knows nothing of what keys mean.

use std::fmt;
use std::ops::Range;

pub use netsonde_input::toml::join_key;
use netsonde_input::toml::{Keys, before, in_plain_words, place};
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::raw::Raw;

/// What is wrong with a configuration: one entry for everything that could be found in one go.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Each names its key, and its file and line, its environment variable or its flag; may take several
    /// lines. Never empty.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl From<String> for ConfigError {
    fn from(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// A text that is TOML.
pub struct Document<'a> {
    name: String,
    text: &'a str,
    keys: Keys,
}

impl<'a> Document<'a> {
    /// Parses `text`; `name` is what problems call the file.
    ///
    /// # Errors
    ///
    /// The text is not TOML, has a key that does not exist, or a value of another type than its key's.
    pub fn parse(name: &str, text: &'a str) -> Result<(Self, Raw), ConfigError> {
        let mut document = Self { name: name.to_owned(), text, keys: Keys::default() };
        let table = DeTable::parse(text).map_err(|error| document.syntax_problem(&error))?;
        document.keys = Keys::of(table.get_ref());
        let raw =
            Raw::deserialize(Deserializer::from(table)).map_err(|error| document.type_problem(&error))?;
        Ok((document, raw))
    }

    /// The line on which byte `offset` stands, from 1.
    pub fn line(&self, offset: usize) -> usize {
        place(self.text, offset).line
    }

    /// One problem, with the offending line below it.
    pub fn problem(&self, span: &Range<usize>, key: &str, message: &str) -> String {
        let secret = is_header(key) || self.line_text(span.start).contains("headers");
        self.show(span, &format!("{key}: {message}"), secret)
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or(0..0);
        let line = self.line_text(span.start);
        // A header's value can be a token, and what cannot be parsed has no key to tell it by: nothing is shown
        // from the word on to the end of its section.
        let before = before(self.text, span.start);
        let section = before.rfind("\n[").map_or(before, |start| &before[start..]);
        let secret = line.contains("headers") || section.contains("headers");
        self.show(&span, &format!("not valid TOML: {}", error.message()), secret)
    }

    fn type_problem(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or(0..0);
        let path = self.keys.path_at(&span);
        self.problem(&span, path, &plain(error.message(), path))
    }

    fn show(&self, span: &Range<usize>, message: &str, secret: bool) -> String {
        let at = place(self.text, span.start);
        let (line, column) = (at.line, at.column - 1);
        let text = self.line_text(span.start);
        let head = format!("{}:{line}:{}: {message}", self.name, at.column);
        // A URL with an @ has a password in it, more often than not.
        if secret || text.is_empty() || (text.contains("://") && text.contains('@')) {
            return head;
        }
        let width = span.len().min(text.chars().count().saturating_sub(column)).max(1);
        let margin = " ".repeat(line.to_string().len());
        format!("{head}\n{margin} |\n{line} | {text}\n{margin} | {}{}", " ".repeat(column), "^".repeat(width))
    }

    fn line_text(&self, offset: usize) -> &str {
        let start = before(self.text, offset).rfind('\n').map_or(0, |newline| newline + 1);
        self.text[start..].lines().next().unwrap_or("")
    }
}

/// What is wrong, without the value of a header.
fn plain(message: &str, path: &str) -> String {
    match message.split_once(", expected ") {
        Some((_, expected)) if is_header(path) && !message.starts_with("unknown field") => {
            in_plain_words(&format!("invalid type, expected {expected}"))
        }
        _ => in_plain_words(message),
    }
}

/// Also of one of several collectors, whose name stands between.
fn is_header(path: &str) -> bool {
    path.starts_with("export.otlp") && path.contains(".headers")
}
