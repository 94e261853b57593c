//! A rule file's text with the place of every key, so that what is wrong can be told by line, column and key.

use std::ops::Range;

use netsonde_input::toml::{Keys, in_plain_words, place};
use toml::de::{DeTable, Deserializer};

/// A text that is TOML.
pub struct Document<'a> {
    name: &'a str,
    text: &'a str,
    keys: Keys,
}

impl<'a> Document<'a> {
    /// Parses `text` into `T`; `name` is what problems call the file.
    ///
    /// # Errors
    ///
    /// One problem, with its place.
    pub fn parse<T: serde::de::DeserializeOwned>(name: &'a str, text: &'a str) -> Result<(Self, T), String> {
        let mut document = Self { name, text, keys: Keys::default() };
        let table = DeTable::parse(text).map_err(|error| {
            document.problem(&error.span().unwrap_or(0..0), &format!("not valid TOML: {}", error.message()))
        })?;
        document.keys = Keys::of(table.get_ref());
        let raw = T::deserialize(Deserializer::from(table)).map_err(|error| document.type_problem(&error))?;
        Ok((document, raw))
    }

    /// `file:line:column: message`, both from 1, columns in characters.
    pub fn problem(&self, span: &Range<usize>, message: &str) -> String {
        let at = place(self.text, span.start);
        format!("{}:{}:{}: {message}", self.name, at.line, at.column)
    }

    fn type_problem(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or(0..0);
        self.problem(&span, &format!("{}: {}", self.keys.path_at(&span), in_plain_words(error.message())))
    }
}
