//! What may listen: rules that allow or deny, of which the first that matches decides.
//!
//! Owns what rules mean. How they are written is the `rules` module's matter, who is told of a violation the daemon's.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::document::Document;
use crate::globs::Globs;
use crate::model::{AddressClass, Listener, Namespace, Process, Transport};
pub use crate::rules::{
    MAX_RULES, MAX_VALUES, Problem, RawAudit, RawRule, Texts, namespace, port_range, validate,
};
use crate::words::Word;

/// What becomes of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It may listen.
    Allow,
    /// It is a violation.
    Deny,
}

impl Word for Action {
    const KIND: &'static str = "action";
    const WORDS: &'static [(&'static str, Self)] = &[("allow", Self::Allow), ("deny", Self::Deny)];
}

/// Whose process it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserMatch {
    /// The user of this number.
    Id(u32),
    /// The user of this name.
    Name(String),
}

impl UserMatch {
    fn matches(&self, process: &Process) -> bool {
        match self {
            Self::Id(id) => match process.user_id {
                Some(known) => known == *id,
                // A user without a name is told by the number.
                None => process.user.as_ref().is_some_and(|name| name.parse() == Ok(*id)),
            },
            Self::Name(name) => process.user.as_ref() == Some(name),
        }
    }
}

/// In which container the process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerMatch {
    /// In any.
    Any,
    /// In none.
    None,
    /// In one whose id, or name, begins so.
    Prefix(String),
}

impl ContainerMatch {
    fn matches(&self, container: Option<&str>) -> bool {
        match self {
            Self::Any => container.is_some(),
            Self::None => container.is_none(),
            Self::Prefix(prefix) => container.is_some_and(|id| id.starts_with(prefix)),
        }
    }
}

/// In which network namespace the listener is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceMatch {
    /// The host's own.
    Initial,
    /// Any other than that.
    Other,
    /// The one that `ip netns` knows by this name.
    Name(String),
    /// The one of this inode number.
    Inode(u64),
}

impl NamespaceMatch {
    /// Whether it is this one. A namespace of which it is not known whether it is the host's own is neither `Initial`
    /// nor `Other`.
    #[must_use]
    pub fn matches(&self, namespace: &Namespace) -> bool {
        match self {
            Self::Initial => namespace.initial == Some(true),
            Self::Other => namespace.initial == Some(false),
            Self::Name(name) => namespace.name.as_ref() == Some(name),
            Self::Inode(inode) => namespace.inode == *inode,
        }
    }
}

/// One rule. It matches when each of its lists that is not empty has an entry that does; one of them is not.
///
/// Of a listener that several processes hold, an *allow* asks that all who are answerable match, so that nobody can
/// hide behind another's permission; a *deny* is content with one. A service manager that keeps the socket for
/// its service is not among them. What is not known matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is called; unique, not empty, at most 100 bytes, not `default`.
    pub name: String,
    /// What becomes of a listener that matches.
    pub action: Action,
    /// Local ports. Raw and packet sockets have none.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Transports.
    pub transports: Vec<Transport>,
    /// Reach of the local address. Packet sockets have none.
    pub classes: Vec<AddressClass>,
    /// Paths of the process's binary, or of the script that it runs.
    pub binaries: Globs,
    /// Users of the process.
    pub users: Vec<UserMatch>,
    /// systemd units of the process, of the system or of a user.
    pub units: Globs,
    /// Containers of the process.
    pub containers: Vec<ContainerMatch>,
    /// Network namespaces.
    pub namespaces: Vec<NamespaceMatch>,
}

impl Rule {
    /// Whether this rule decides over the listener, if none before it does.
    #[must_use]
    pub fn matches(&self, listener: &Listener) -> bool {
        let has = |port: u16| self.ports.iter().any(|range| range.contains(&port));
        let socket = (self.ports.is_empty() || listener.port.is_some_and(has))
            && (self.transports.is_empty() || self.transports.contains(&listener.transport))
            && (self.classes.is_empty()
                || listener.class().is_some_and(|class| self.classes.contains(&class)))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|n| n.matches(&listener.namespace)));
        socket && (!self.asks_for_process() || self.matches_holders(listener))
    }

    /// Each list by its key, as one would write it.
    #[must_use]
    pub fn written(&self) -> [(&'static str, Vec<String>); 8] {
        fn words<T: Word>(values: &[T]) -> Vec<String> {
            values.iter().map(|value| value.word().to_owned()).collect()
        }
        let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        };
        let user = |user: &UserMatch| match user {
            UserMatch::Id(id) => id.to_string(),
            UserMatch::Name(name) => name.clone(),
        };
        let container = |container: &ContainerMatch| match container {
            ContainerMatch::Any => "*".to_owned(),
            ContainerMatch::None => "none".to_owned(),
            ContainerMatch::Prefix(prefix) => prefix.clone(),
        };
        let namespace = |namespace: &NamespaceMatch| match namespace {
            NamespaceMatch::Initial => "initial".to_owned(),
            NamespaceMatch::Other => "other".to_owned(),
            NamespaceMatch::Name(name) => name.clone(),
            NamespaceMatch::Inode(inode) => inode.to_string(),
        };
        [
            ("ports", self.ports.iter().map(range).collect()),
            ("transports", words(&self.transports)),
            ("classes", words(&self.classes)),
            ("binaries", self.binaries.patterns().to_vec()),
            ("users", self.users.iter().map(user).collect()),
            ("units", self.units.patterns().to_vec()),
            ("containers", self.containers.iter().map(container).collect()),
            ("namespaces", self.namespaces.iter().map(namespace).collect()),
        ]
    }

    fn asks_for_process(&self) -> bool {
        !(self.binaries.is_empty()
            && self.users.is_empty()
            && self.units.is_empty()
            && self.containers.is_empty())
    }

    fn matches_holders(&self, listener: &Listener) -> bool {
        let mut answerable = listener.answerable().peekable();
        answerable.peek().is_some()
            && match self.action {
                Action::Allow => answerable.all(|process| self.matches_process(process)),
                Action::Deny => answerable.any(|process| self.matches_process(process)),
            }
    }

    fn matches_process(&self, process: &Process) -> bool {
        let either = |globs: &Globs, known: [&Option<String>; 2]| {
            globs.is_empty()
                || known.into_iter().any(|text| text.as_deref().is_some_and(|text| globs.matches(text)))
        };
        let container = process.container.as_deref().filter(|id| !id.is_empty());
        either(&self.binaries, [&process.path, &process.script])
            && either(&self.units, [&process.unit, &process.user_unit])
            && (self.users.is_empty() || self.users.iter().any(|user| user.matches(process)))
            && (self.containers.is_empty() || self.containers.iter().any(|c| c.matches(container)))
    }
}

/// What was decided of a listener, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the rule; none when the default decided.
    pub rule: Option<String>,
    /// What becomes of the listener.
    pub action: Action,
}

impl Verdict {
    /// Name of the rule, or `default`, which no rule is called.
    #[must_use]
    pub fn rule_name(&self) -> &str {
        self.rule.as_deref().unwrap_or("default")
    }
}

/// Rules, and what becomes of a listener that none of them matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    /// For a listener that no rule matches.
    pub default: Action,
}

impl Default for Policy {
    /// Everything may listen.
    fn default() -> Self {
        Self { rules: Vec::new(), default: Action::Allow }
    }
}

impl Policy {
    /// Decides over a listener: by the first rule that matches, else by the default.
    #[must_use]
    pub fn judge(&self, listener: &Listener) -> Verdict {
        match self.rules.iter().find(|rule| rule.matches(listener)) {
            Some(rule) => Verdict { rule: Some(rule.name.clone()), action: rule.action },
            None => Verdict { rule: None, action: self.default },
        }
    }

    /// Reads a file with `[audit] default` and `[[audit.rule]]` tables and nothing else; `name` is what problems call
    /// the file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct File {
            audit: RawAudit,
        }
        let (document, file) =
            Document::parse::<File>(name, text).map_err(|problem| PolicyError { problems: vec![problem] })?;
        validate(file.audit.default, file.audit.rule).map_err(|problems| PolicyError {
            problems: problems
                .iter()
                .map(|problem| {
                    document.problem(&problem.span, &format!("{}: {}", problem.key, problem.message))
                })
                .collect(),
        })
    }
}

/// What is wrong with a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Each as `file:line:column: key: what is wrong`. Never empty.
    pub problems: Vec<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests;
