//! A configuration file's text with the place of every key, and the problems found in it.
//!
//! Owns lines, columns and how a problem is shown. It knows nothing of what keys mean.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};

use super::raw::Raw;
use super::words::did_you_mean;

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
    /// Dotted path of each key, with where the key and its value stand, parents before children. The members of
    /// a list of tables are told apart by their `name`, as if that were a key.
    keys: Vec<(String, Range<usize>, Range<usize>)>,
}

impl<'a> Document<'a> {
    /// Parses `text`; `name` is what problems call the file.
    ///
    /// # Errors
    ///
    /// The text is not TOML, has a key that does not exist, or a value of another type than its key's.
    pub fn parse(name: &str, text: &'a str) -> Result<(Self, Raw), ConfigError> {
        let mut document = Self { name: name.to_owned(), text, keys: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| document.syntax_problem(&error))?;
        document.collect("", table.get_ref());
        let raw =
            Raw::deserialize(Deserializer::from(table)).map_err(|error| document.type_problem(&error))?;
        Ok((document, raw))
    }

    /// The line on which byte `offset` stands, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.before(offset).matches('\n').count() + 1
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
        let before = self.before(span.start);
        let section = before.rfind("\n[").map_or(before, |start| &before[start..]);
        let secret = line.contains("headers") || section.contains("headers");
        self.show(&span, &format!("not valid TOML: {}", error.message()), secret)
    }

    fn type_problem(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or(0..0);
        let path = self.path_at(&span);
        // serde tells an unknown field by its message only; a test holds this wording.
        let Some(rest) = error.message().strip_prefix("unknown field `") else {
            return self.problem(&span, path, &plain(error.message(), path));
        };
        let (field, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = did_you_mean(field, known.iter().copied());
        self.problem(&span, path, &format!("unknown key{hint} (known here: {})", known.join(", ")))
    }

    fn path_at(&self, span: &Range<usize>) -> &str {
        let covers = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let innermost = self.keys.iter().rev().find(|(_, key, value)| covers(key) || covers(value));
        innermost.map_or("top level", |(path, ..)| path)
    }

    fn collect(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join_key(prefix, key.get_ref());
            self.keys.push((path.clone(), key.span(), value.span()));
            match value.get_ref() {
                DeValue::Table(inner) => self.collect(&path, inner),
                DeValue::Array(items) => {
                    for item in items {
                        let DeValue::Table(inner) = item.get_ref() else { continue };
                        let name = inner.get("name").and_then(|name| name.get_ref().as_str());
                        self.collect(&name.map_or_else(|| path.clone(), |name| join_key(&path, name)), inner);
                    }
                }
                _ => {}
            }
        }
    }

    fn show(&self, span: &Range<usize>, message: &str, secret: bool) -> String {
        let line = self.line(span.start);
        let text = self.line_text(span.start);
        let column = self.before(span.start).chars().rev().take_while(|c| *c != '\n').count();
        let head = format!("{}:{line}:{}: {message}", self.name, column + 1);
        // A URL with an @ has a password in it, more often than not.
        if secret || text.is_empty() || (text.contains("://") && text.contains('@')) {
            return head;
        }
        let width = span.len().min(text.chars().count().saturating_sub(column)).max(1);
        let margin = " ".repeat(line.to_string().len());
        format!("{head}\n{margin} |\n{line} | {text}\n{margin} | {}{}", " ".repeat(column), "^".repeat(width))
    }

    fn before(&self, offset: usize) -> &str {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }

    fn line_text(&self, offset: usize) -> &str {
        let start = self.before(offset).rfind('\n').map_or(0, |newline| newline + 1);
        self.text[start..].lines().next().unwrap_or("")
    }
}

/// serde's message in the words of this file's reader, and without the value of a header.
fn plain(message: &str, path: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "i64" => "a whole number",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    let found = if is_header(path) { "invalid type" } else { found };
    format!("{found}, expected {expected}")
}

/// Also of one of several collectors, whose name stands between.
fn is_header(path: &str) -> bool {
    path.starts_with("export.otlp") && path.contains(".headers")
}

/// Appends a key to a dotted path, quoted where TOML wants it.
pub fn join_key(prefix: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let key = if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}
