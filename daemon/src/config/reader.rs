//! Takes single values from the file, the environment and the command line, remembers where each came from,
//! and gathers what is wrong with them.
//!
//! Owns precedence of sources and the naming of places; the meaning of each key is the validation's matter.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::document::{ConfigError, Document};

/// Where an effective value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file, at this line (from 1).
    File {
        /// Line of the value.
        line: usize,
    },
    /// This environment variable.
    Environment(&'static str),
    /// This flag.
    CommandLine(&'static str),
}

/// A place that a problem can point to.
#[derive(Debug, Clone)]
pub enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    CommandLine(&'static str),
}

/// Looks up environment variables by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads values one by one; see [`Reader::finish`] for the outcome.
pub struct Reader<'a> {
    document: Option<Document<'a>>,
    environment: Environment<'a>,
    places: BTreeMap<String, Option<Place>>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader over these sources; without a document every key has its default.
    pub fn new(document: Option<Document<'a>>, environment: Environment<'a>) -> Self {
        Self { document, environment, places: BTreeMap::new(), problems: Vec::new() }
    }

    /// Reads one optional value of the file.
    pub fn optional<T, U>(
        &mut self,
        key: &str,
        raw: Option<Spanned<T>>,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        let place = raw.as_ref().map(|raw| Place::File(raw.span()));
        self.places.insert(key.to_owned(), place.clone());
        self.judge(key, place.as_ref()?, parse(raw?.get_ref()))
    }

    /// Reads one value of the file, or takes its default.
    pub fn value<T, U>(
        &mut self,
        key: &str,
        raw: Option<Spanned<T>>,
        default: U,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> U {
        self.optional(key, raw, parse).unwrap_or(default)
    }

    /// Reads a list of the file, each of its entries judged for itself, or takes its default.
    pub fn list<T, C: FromIterator<T>>(
        &mut self,
        key: &str,
        raw: Option<Spanned<Vec<Spanned<String>>>>,
        default: C,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> C {
        self.list_of(key, raw, default, |text: &String| parse(text))
    }

    /// Likewise, of entries of any kind.
    pub fn list_of<R, T, C: FromIterator<T>>(
        &mut self,
        key: &str,
        raw: Option<Spanned<Vec<Spanned<R>>>>,
        default: C,
        parse: impl Fn(&R) -> Result<T, String>,
    ) -> C {
        self.places.insert(key.to_owned(), raw.as_ref().map(|raw| Place::File(raw.span())));
        let Some(raw) = raw else { return default };
        let judged = raw.into_inner().into_iter().filter_map(|entry| {
            let place = Place::File(entry.span());
            self.judge(key, &place, parse(entry.get_ref()))
        });
        judged.collect()
    }

    /// Reads an environment variable that overrides `key`; an empty one counts as unset, as the
    /// OpenTelemetry specification has it.
    pub fn variable<T>(
        &mut self,
        name: &'static str,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.given(name)?;
        let place = Place::Environment(name);
        self.set_place(key, place.clone());
        self.judge(key, &place, parse(&text))
    }

    /// An environment variable that overrides no key; an empty one counts as unset.
    pub fn given(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|text| !text.is_empty())
    }

    /// Records that `key` was set at `place`, over whatever set it before.
    pub fn set_place(&mut self, key: &str, place: Place) {
        self.places.insert(key.to_owned(), Some(place));
    }

    /// Records where `key` is set in the file, or that it is not.
    pub fn set_origin(&mut self, key: &str, place: Option<Place>) {
        self.places.insert(key.to_owned(), place);
    }

    /// How many problems were noted so far.
    pub fn problems(&self) -> usize {
        self.problems.len()
    }

    /// Where `key` was set, if it was.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)?.as_ref()
    }

    /// The value, or a problem noted at `place`.
    pub fn judge<T>(&mut self, key: &str, place: &Place, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|message| self.problem(key, place, &message)).ok()
    }

    /// Notes a problem.
    pub fn problem(&mut self, key: &str, place: &Place, message: &str) {
        let problem = match (place, &self.document) {
            (Place::File(span), Some(document)) => document.problem(span, key, message),
            (Place::File(_), None) => format!("{key}: {message}"),
            (Place::Environment(name), _) => format!("environment variable {name}: {message}"),
            (Place::CommandLine(flag), _) => format!("{flag}: {message}"),
        };
        self.problems.push(problem);
    }

    /// The origins of all keys that were read.
    ///
    /// # Errors
    ///
    /// All problems that were noted.
    pub fn finish(self) -> Result<BTreeMap<String, Origin>, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError { problems: self.problems });
        }
        let origin = |place| match (place, &self.document) {
            (Some(Place::File(span)), Some(document)) => Origin::File { line: document.line(span.start) },
            (Some(Place::Environment(name)), _) => Origin::Environment(name),
            (Some(Place::CommandLine(flag)), _) => Origin::CommandLine(flag),
            (Some(Place::File(_)), None) | (None, _) => Origin::Default,
        };
        Ok(self.places.into_iter().map(|(key, place)| (key, origin(place))).collect())
    }
}
