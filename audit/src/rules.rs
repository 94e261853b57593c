//! `[[audit.rule]]` as written, and what makes a rule of it.
//!
//! Owns the keys, the forms of their values and what is said of wrong ones. Trying rules is the policy's matter.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use netsonde_input::toml::join_key;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use crate::globs::{Globs, glob, path_glob};
use crate::policy::{Action, ContainerMatch, NamespaceMatch, Policy, Rule, UserMatch};
use crate::words::Word;

/// Most rules of a policy.
pub const MAX_RULES: usize = 4096;
/// Most entries of one list.
pub const MAX_VALUES: usize = 1000;
const LONGEST_NAME: usize = 100;

/// `[audit]` as far as it is policy: for a file of rules. The daemon, whose table has more keys, embeds
/// [`RawRule`] and calls [`validate`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAudit {
    /// What becomes of a listener that no rule matches: allow or deny.
    pub default: Option<Spanned<String>>,
    /// The rules, in the order in which they are tried.
    pub rule: Vec<Spanned<RawRule>>,
}

/// One `[[audit.rule]]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    /// What it is called.
    pub name: Option<Spanned<String>>,
    /// allow or deny.
    pub action: Option<Spanned<String>>,
    /// Ports and ranges.
    pub ports: Option<Texts>,
    /// Transports.
    pub transports: Option<Texts>,
    /// Address classes.
    pub classes: Option<Texts>,
    /// Globs over paths of binaries or scripts.
    pub binaries: Option<Texts>,
    /// Names or numbers of users.
    pub users: Option<Texts>,
    /// Globs over units.
    pub units: Option<Texts>,
    /// Beginnings of container ids, `*` or `none`.
    pub containers: Option<Texts>,
    /// `initial`, `other`, a name or an inode number.
    pub namespaces: Option<Texts>,
}

/// A text, or a list of texts: `"443"` is the same as `["443"]`.
#[derive(Debug)]
pub struct Texts(pub Spanned<Vec<Spanned<String>>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is visited does not know where it stands, so a single text takes the place of the whole.
        let written = Spanned::<OneOrMore>::deserialize(deserializer)?;
        let span = written.span();
        let texts = match written.into_inner() {
            OneOrMore::One(text) => vec![Spanned::new(span.clone(), text)],
            OneOrMore::More(texts) => texts,
        };
        Ok(Self(Spanned::new(span, texts)))
    }
}

enum OneOrMore {
    One(String),
    More(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes or a list of them")
            }
            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = entries.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore::More(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What is wrong with a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key; a rule's name stands for its place in the list.
    pub key: String,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// One sentence for the user that says what to write instead.
    pub message: String,
}

/// Makes a policy of what was written.
///
/// # Errors
///
/// Everything that is wrong, in the order of the text; never empty.
pub fn validate(
    default: Option<Spanned<String>>,
    rules: Vec<Spanned<RawRule>>,
) -> Result<Policy, Vec<Problem>> {
    let mut reader = Reader { problems: Vec::new(), names: BTreeSet::new() };
    let default = reader.word("audit.default", default).unwrap_or(Action::Allow);
    if let Some(surplus) = rules.get(MAX_RULES) {
        let message = format!("there are {} rules; there may be {MAX_RULES}", rules.len());
        reader.problem("audit.rule", surplus.span(), message);
    }
    let rules = rules.into_iter().filter_map(|raw| reader.rule(raw)).collect();
    if reader.problems.is_empty() { Ok(Policy { rules, default }) } else { Err(reader.problems) }
}

struct Reader {
    problems: Vec<Problem>,
    names: BTreeSet<String>,
}

impl Reader {
    fn problem(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), span, message: message.into() });
    }

    fn judge<T>(&mut self, key: &str, span: Range<usize>, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|message| self.problem(key, span, message)).ok()
    }

    fn word<T: Word>(&mut self, key: &str, raw: Option<Spanned<String>>) -> Option<T> {
        let raw = raw?;
        self.judge(key, raw.span(), T::parse(raw.get_ref()))
    }

    /// One rule; `None` when what is wrong leaves nothing to go on with, which has been noted.
    fn rule(&mut self, raw: Spanned<RawRule>) -> Option<Rule> {
        let whole = raw.span();
        let raw = raw.into_inner();
        let written = raw.name.as_ref().map(|name| name.get_ref().clone());
        let prefix = written.map_or_else(|| "audit.rule".to_owned(), |name| join_key("audit.rule", &name));
        let key = |name: &str| join_key(&prefix, name);
        if raw.name.is_none() {
            self.problem(&key("name"), whole.clone(), "missing; give every rule a name of its own");
        }
        if raw.action.is_none() {
            self.problem(&key("action"), whole.clone(), "missing; write \"allow\" or \"deny\"");
        }
        let name = raw.name.and_then(|name| {
            let outcome = rule_name(name.get_ref(), &mut self.names);
            self.judge(&key("name"), name.span(), outcome)
        });
        let action = self.word(&key("action"), raw.action);
        let lists = [
            &raw.ports,
            &raw.transports,
            &raw.classes,
            &raw.binaries,
            &raw.users,
            &raw.units,
            &raw.containers,
            &raw.namespaces,
        ];
        if lists.iter().all(|list| list.is_none()) {
            let message = "the rule has no key that says what it matches; give it ports, transports, classes, \
                           binaries, users, units, containers or namespaces";
            self.problem(&prefix, whole, message);
        }
        let rule = Rule {
            name: name.unwrap_or_default(),
            action: action.unwrap_or(Action::Deny),
            ports: self.list(&key("ports"), raw.ports, port_range),
            transports: self.list(&key("transports"), raw.transports, Word::parse),
            classes: self.list(&key("classes"), raw.classes, Word::parse),
            binaries: self.globs(&key("binaries"), raw.binaries, path_glob),
            users: self.list(&key("users"), raw.users, user),
            units: self.globs(&key("units"), raw.units, glob),
            containers: self.list(&key("containers"), raw.containers, container),
            namespaces: self.list(&key("namespaces"), raw.namespaces, namespace),
        };
        (!rule.name.is_empty()).then_some(rule)
    }

    fn list<T>(
        &mut self,
        key: &str,
        raw: Option<Texts>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(Texts(texts)) = raw else { return Vec::new() };
        let (span, count) = (texts.span(), texts.get_ref().len());
        if count == 0 {
            let message = "the list is empty, and would match nothing; leave the key out to match anything";
            self.problem(key, span, message);
        } else if count > MAX_VALUES {
            self.problem(key, span, format!("the list has {count} entries; it may have {MAX_VALUES}"));
        }
        let judged = texts
            .into_inner()
            .into_iter()
            .filter_map(|text| self.judge(key, text.span(), parse(text.get_ref())));
        judged.collect()
    }

    fn globs(
        &mut self,
        key: &str,
        raw: Option<Texts>,
        check: impl Fn(&str) -> Result<String, String>,
    ) -> Globs {
        let Some(span) = raw.as_ref().map(|Texts(texts)| texts.span()) else { return Globs::default() };
        let patterns = self.list(key, raw, check);
        self.judge(key, span, Globs::new(patterns)).unwrap_or_default()
    }
}

fn rule_name(name: &str, names: &mut BTreeSet<String>) -> Result<String, String> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(format!("the name has {} bytes; it may have 1 to {LONGEST_NAME}", name.len()));
    }
    if name == "default" {
        return Err("\"default\" stands for what no rule matches; choose another name".to_owned());
    }
    if !names.insert(name.to_owned()) {
        return Err("another rule has this name; give every rule a name of its own".to_owned());
    }
    Ok(name.to_owned())
}

/// Reads a port or a range of ports.
///
/// # Errors
///
/// One sentence for the user.
pub fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    let (Some(low), Some(high)) = (port(low), port(high)) else {
        return Err(format!(
            "{text:?} is not a port; write a number from 1 to 65535, or a range such as \"8000-8999\""
        ));
    };
    if low > high {
        return Err(format!("{text:?} is the wrong way round; write \"{high}-{low}\""));
    }
    Ok(low..=high)
}

fn user(text: &str) -> Result<UserMatch, String> {
    match text.parse() {
        // (uid_t) -1 stands for no user at all: setreuid(2).
        Ok(u32::MAX) => Err(format!("{text:?} is no user; numbers go from 0 to 4294967294")),
        Ok(id) if !text.starts_with('+') => Ok(UserMatch::Id(id)),
        _ if text.is_empty() => Err("the user is empty; write a name or a number".to_owned()),
        _ => Ok(UserMatch::Name(text.to_owned())),
    }
}

fn container(text: &str) -> Result<ContainerMatch, String> {
    match text {
        "" => Err("the container is empty; write the beginning of an id, \"*\" or \"none\"".to_owned()),
        "*" => Ok(ContainerMatch::Any),
        "none" => Ok(ContainerMatch::None),
        _ if text.contains('*') => {
            Err(format!("{text:?} is no beginning of an id; leave the star out, or write \"*\" for any"))
        }
        _ => Ok(ContainerMatch::Prefix(text.to_owned())),
    }
}

/// Reads what a network namespace is to be.
///
/// # Errors
///
/// One sentence for the user.
pub fn namespace(text: &str) -> Result<NamespaceMatch, String> {
    match text {
        "" => Err("the namespace is empty; write \"initial\", \"other\", a name or a number".to_owned()),
        "initial" => Ok(NamespaceMatch::Initial),
        "other" => Ok(NamespaceMatch::Other),
        _ => Ok(text.parse().map_or_else(|_| NamespaceMatch::Name(text.to_owned()), NamespaceMatch::Inode)),
    }
}
