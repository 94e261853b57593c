//! What is shown and what is not, by words that people type.
//!
//! A filter is words between spaces, and shows what all of them match. A word is looked for in all attributes, in small
//! or capital letters; `field:word` looks in that field alone, and `!` or `-` before a word turns it round. A field is
//! one of [`FIELDS`] or an attribute's whole name.

use netsonde_view::model::Attributes;

use super::text::value_text;

/// A short name of some attributes.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// As it is typed.
    pub word: &'static str,
    /// What it stands for.
    attributes: &'static [&'static str],
    /// A number is that number, and not one that contains its digits.
    whole: bool,
}

const fn field(word: &'static str, attributes: &'static [&'static str]) -> Field {
    Field { word, attributes, whole: false }
}

const fn number(word: &'static str, attributes: &'static [&'static str]) -> Field {
    Field { word, attributes, whole: true }
}

/// The short names.
pub const FIELDS: &[Field] = &[
    field("binary", &["process.executable.path", "process.executable.name", "netsonde.process.script.path"]),
    field("unit", &["systemd.unit", "systemd.user_unit", "systemd.slice"]),
    field("container", &["container.id", "container.runtime.name"]),
    field("user", &["process.user.name"]),
    field("remote", &["server.address", "network.peer.address"]),
    number("port", &["server.port"]),
    number("pid", &["process.pid"]),
    field("parent", &["netsonde.process.ancestry", "netsonde.process.ancestors"]),
    field("transport", &["network.transport"]),
    field("role", &["netsonde.socket.role"]),
    field("namespace", &["netsonde.network.namespace", "netsonde.namespace.name"]),
    field("name", &["dns.question.name"]),
    field("type", &["dns.question.type"]),
    field("code", &["dns.response_code"]),
    field("error", &["error.type"]),
    field("class", &["netsonde.address.class"]),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Anywhere,
    Field(&'static Field),
    Attribute(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    place: Place,
    text: String,
    turned: bool,
}

/// What is looked for; matches everything while it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    terms: Vec<Term>,
}

impl Filter {
    /// Reads what was typed; whatever it is has a meaning.
    pub fn parse(text: &str) -> Self {
        Self { text: text.to_owned(), terms: text.split_whitespace().filter_map(term).collect() }
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether something with these attributes is shown.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.terms.iter().all(|term| term.finds(attributes) != term.turned)
    }
}

impl Term {
    fn finds(&self, attributes: &Attributes) -> bool {
        let has = |name: &str, whole: bool| {
            attributes.get(name).is_some_and(|value| {
                let text = value_text(value).to_lowercase();
                if whole { text == self.text } else { text.contains(&self.text) }
            })
        };
        match &self.place {
            Place::Anywhere => attributes.keys().any(|name| has(name, false)),
            Place::Field(field) => field.attributes.iter().any(|name| has(name, field.whole)),
            Place::Attribute(name) => has(name, false),
        }
    }
}

fn term(word: &str) -> Option<Term> {
    let turned = word.len() > 1 && word.starts_with(['!', '-']);
    let word = if turned { &word[1..] } else { word };
    let (place, text) = match word.split_once(':') {
        Some((name, text)) => match FIELDS.iter().find(|field| field.word == name) {
            Some(field) => (Place::Field(field), text),
            None if is_attribute(name) => (Place::Attribute(name.to_owned()), text),
            // An address has colons as well.
            None => (Place::Anywhere, word),
        },
        None => (Place::Anywhere, word),
    };
    // A field without its word yet: somebody types.
    (!text.is_empty()).then(|| Term { place, text: text.to_lowercase(), turned })
}

/// Whether it is written as names of attributes are, such as `systemd.unit`, and not as a host or an address.
fn is_attribute(name: &str) -> bool {
    const FIRST: [&str; 8] =
        ["process", "systemd", "container", "network", "netsonde", "server", "dns", "error"];
    name.split_once('.').is_some_and(|(first, _)| FIRST.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Attributes {
        let json = serde_json::json!({
            "process.executable.path": "/usr/sbin/Nginx",
            "systemd.unit": "web.service",
            "server.address": "db.example.org",
            "network.peer.address": "2001:db8::7",
            "server.port": 5432,
            "netsonde.process.ancestry": ["bash", "sshd"],
        });
        serde_json::from_value(json).expect("attributes")
    }

    #[test]
    fn words_are_found_where_they_are_looked_for() {
        for (text, shown) in [
            ("", true),
            ("nginx", true),
            ("NGINX web", true),
            ("nginx mail", false),
            ("sshd", true),
            ("binary:nginx", true),
            ("binary:web", false),
            ("unit:web.service port:5432", true),
            ("port:543", false),
            ("543", true),
            ("remote:example", true),
            ("remote:2001:db8::7", true),
            ("2001:db8::7", true),
            ("parent:bash", true),
            ("systemd.unit:web", true),
            ("systemd.unit:mail", false),
            ("server.port:54", true),
            ("!nginx", false),
            ("-unit:mail", true),
            ("!port:5432", false),
            ("db.example.org:5432", false),
        ] {
            assert_eq!(Filter::parse(text).matches(&facts()), shown, "{text}");
        }
    }

    #[test]
    fn what_is_being_typed_hides_nothing() {
        for text in ["binary:", "  ", "unit: ", "!unit:"] {
            let filter = Filter::parse(text);
            assert!(filter.is_empty() && filter.matches(&facts()), "{text}");
            assert_eq!(filter.text(), text);
        }
        assert!(!Filter::parse("!").matches(&facts()), "a sign alone is a word");
    }
}
