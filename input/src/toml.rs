//! A TOML text with the place of every key, so that what is wrong can be told by line, column and key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::words::did_you_mean;

/// Where something stands in a text, both from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Where byte `offset` of a text stands. One within a character, or beyond the end, is taken for what is before it.
#[must_use]
pub fn place(text: &str, offset: usize) -> Place {
    let before = before(text, offset);
    Place {
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
    }
}

/// All of a text that is before byte `offset`.
#[must_use]
pub fn before(text: &str, offset: usize) -> &str {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Dotted paths of all keys, with where each key and its value stand, parents before children. The members of a list of
/// tables are told apart by their `name`, as if that were a key.
#[derive(Debug, Default)]
pub struct Keys(Vec<(String, Range<usize>, Range<usize>)>);

impl Keys {
    /// Those of a parsed text.
    #[must_use]
    pub fn of(table: &DeTable<'_>) -> Self {
        let mut keys = Self::default();
        keys.collect("", table);
        keys
    }

    fn collect(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join_key(prefix, key.get_ref());
            self.0.push((path.clone(), key.span(), value.span()));
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

    /// The path of the innermost key that bytes of the text belong to; `top level` if to none.
    #[must_use]
    pub fn path_at(&self, span: &Range<usize>) -> &str {
        let covers = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let innermost = self.0.iter().rev().find(|(_, key, value)| covers(key) || covers(value));
        innermost.map_or("top level", |(path, ..)| path)
    }
}

/// What serde says of a value or a key that does not fit, in the words of the file's reader.
#[must_use]
pub fn in_plain_words(message: &str) -> String {
    // serde tells an unknown field by its message only; a test holds this wording.
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (field, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = did_you_mean(field, known.iter().copied());
        return format!("unknown key{hint} (known here: {})", known.join(", "));
    }
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "i64" => "a whole number",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    format!("{found}, expected {expected}")
}

/// Appends a key to a dotted path, quoted where TOML wants it.
#[must_use]
pub fn join_key(prefix: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let key = if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[\"ü\"]\nb = 1\n[[rule]]\nname = \"x y\"\nports = [ 22 ]\n";

    #[test]
    fn keys_have_paths_and_places() {
        let table = DeTable::parse(TEXT).expect("TOML");
        let keys = Keys::of(table.get_ref());
        let at = TEXT.find("22").expect("there");
        assert_eq!(keys.path_at(&(at..at + 2)), "rule.\"x y\".ports");
        assert_eq!(place(TEXT, at), Place { line: 5, column: 11 });
        assert_eq!(place("ü = 1", 1), Place { line: 1, column: 1 });
        assert_eq!(place("ü = 1", 99), Place { line: 1, column: 6 });
        assert_eq!(keys.path_at(&(TEXT.len()..TEXT.len())), "top level");
        assert_eq!(join_key("a", "b.c"), "a.\"b.c\"");
    }

    #[test]
    fn serde_is_put_into_plain_words() {
        let unknown = "unknown field `prots`, expected one of `name`, `ports`";
        assert_eq!(in_plain_words(unknown), "unknown key; did you mean \"ports\"? (known here: name, ports)");
        let wrong = "invalid type: string \"a\", expected i64";
        assert_eq!(in_plain_words(wrong), "invalid type: string \"a\", expected a whole number");
        assert_eq!(in_plain_words("missing field `name`"), "missing field `name`");
    }
}
