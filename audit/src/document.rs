//! A rule file's text with the place of every key, so that what is wrong can be told by line, column and key.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Deserializer};

use crate::words::did_you_mean;

/// A text that is TOML.
pub struct Document<'a> {
    name: &'a str,
    text: &'a str,
    /// Dotted path of each key, with where the key and its value stand, parents before children.
    keys: Vec<(String, Range<usize>, Range<usize>)>,
}

impl<'a> Document<'a> {
    /// Parses `text` into `T`; `name` is what problems call the file.
    ///
    /// # Errors
    ///
    /// One problem, with its place.
    pub fn parse<T: serde::de::DeserializeOwned>(name: &'a str, text: &'a str) -> Result<(Self, T), String> {
        let mut document = Self { name, text, keys: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| {
            document.problem(&error.span().unwrap_or(0..0), &format!("not valid TOML: {}", error.message()))
        })?;
        document.collect("", table.get_ref());
        let raw = T::deserialize(Deserializer::from(table)).map_err(|error| document.type_problem(&error))?;
        Ok((document, raw))
    }

    /// `file:line:column: message`, both from 1, columns in characters.
    pub fn problem(&self, span: &Range<usize>, message: &str) -> String {
        let mut end = span.start.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}: {message}", self.name)
    }

    fn type_problem(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or(0..0);
        let covers = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let innermost = self.keys.iter().rev().find(|(_, key, value)| covers(key) || covers(value));
        let path = innermost.map_or("top level", |(path, ..)| path);
        // serde tells an unknown field by its message only; a test holds this wording.
        let Some(rest) = error.message().strip_prefix("unknown field `") else {
            return self.problem(&span, &format!("{path}: {}", plain(error.message())));
        };
        let (field, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = did_you_mean(field, known.iter().copied());
        self.problem(&span, &format!("{path}: unknown key{hint} (known here: {})", known.join(", ")))
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
}

/// serde's message in the words of the file's reader.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    format!("{found}, expected {expected}")
}

/// Appends a key to a dotted path, quoted where TOML wants it.
pub fn join_key(prefix: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let key = if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}
