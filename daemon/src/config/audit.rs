//! `[audit]`: what may listen.
//!
//! Owns the places of its keys. How rules are written, and what they mean, is the audit crate's matter.

use netsonde_audit::policy::{Policy, RawAudit, RawRule, Texts, validate};
use toml::Spanned;

use super::document::join_key;
use super::reader::{Place, Reader};

/// Reads the table.
pub fn read(reader: &mut Reader<'_>, raw: RawAudit) -> Policy {
    note(reader, "audit.default", raw.default.as_ref());
    for rule in &raw.rule {
        note_rule(reader, rule.get_ref());
    }
    validate(raw.default, raw.rule).unwrap_or_else(|problems| {
        for problem in problems {
            reader.problem(&problem.key, &Place::File(problem.span), &problem.message);
        }
        Policy::default()
    })
}

fn note<T>(reader: &mut Reader<'_>, key: &str, raw: Option<&Spanned<T>>) {
    if let Some(raw) = raw {
        reader.set_place(key, Place::File(raw.span()));
    }
}

fn note_rule(reader: &mut Reader<'_>, rule: &RawRule) {
    // One without a name is refused, and has no origins to show.
    let Some(name) = &rule.name else { return };
    let key = |key: &str| join_key(&join_key("audit.rule", name.get_ref()), key);
    note(reader, &key("name"), Some(name));
    note(reader, &key("action"), rule.action.as_ref());
    for (list, texts) in [
        ("ports", &rule.ports),
        ("transports", &rule.transports),
        ("classes", &rule.classes),
        ("binaries", &rule.binaries),
        ("users", &rule.users),
        ("units", &rule.units),
        ("containers", &rule.containers),
        ("namespaces", &rule.namespaces),
    ] {
        note(reader, &key(list), texts.as_ref().map(|Texts(texts)| texts));
    }
}
