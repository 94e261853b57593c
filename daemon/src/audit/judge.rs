//! Judging listeners as they open, so that each violation is told once.
//!
//! Pure. A listener is judged again when the rules have changed, when its port has become known, and when others are
//! answerable for it: a socket can be handed to a program that may not have it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use netsonde_audit::model::{Listener, Process};
use netsonde_audit::policy::{Action, Policy};

/// How one listener has been judged.
#[derive(Debug, Default)]
pub struct Mark {
    /// What it was judged by: the rules, and who was answerable.
    judged: Option<u64>,
    /// Under these rules.
    generation: u64,
    /// Rules that were told to deny it; few, as it has few owners.
    told: Vec<Arc<str>>,
}

/// The rules, and how often each was violated.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    generation: u64,
    violations: BTreeMap<Arc<str>, u64>,
}

impl Judge {
    /// Judges by a policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let mut judge = Self { policy: Policy::default(), generation: 0, violations: BTreeMap::new() };
        judge.replace(policy);
        judge
    }

    /// Other rules are in force; whether they differ from those before.
    pub fn replace(&mut self, policy: &Policy) -> bool {
        if self.policy == *policy {
            return false;
        }
        let denies = policy.rules.iter().filter(|rule| rule.action == Action::Deny);
        let names = denies.map(|rule| rule.name.as_str());
        let names = names.chain((policy.default == Action::Deny).then_some("default"));
        // A rule that denied nothing says so.
        let count = |name| (Arc::from(name), self.violations.get(name).copied().unwrap_or(0));
        self.violations = names.map(count).collect();
        self.policy = policy.clone();
        self.generation += 1;
        true
    }

    /// Whether everything may listen, so that there is nothing to judge.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        self.policy.default == Action::Allow
            && self.policy.rules.iter().all(|rule| rule.action == Action::Allow)
    }

    /// The rule that denies a listener, when that is news.
    pub fn judge(&mut self, listener: &Listener, mark: &mut Mark) -> Option<Arc<str>> {
        if self.allows_everything() {
            return None;
        }
        let by = self.circumstances(listener);
        if mark.judged == Some(by) {
            return None;
        }
        if mark.generation != self.generation {
            mark.told.clear();
        }
        (mark.judged, mark.generation) = (Some(by), self.generation);
        let verdict = self.policy.judge(listener);
        if verdict.action == Action::Allow || mark.told.iter().any(|told| **told == *verdict.rule_name()) {
            return None;
        }
        let rule: Arc<str> = verdict.rule_name().into();
        mark.told.push(Arc::clone(&rule));
        *self.violations.entry(Arc::clone(&rule)).or_default() += 1;
        Some(rule)
    }

    /// How often each rule was violated since the start; `default` for what no rule matched.
    pub fn violations(&self) -> impl Iterator<Item = (&str, u64)> {
        self.violations.iter().map(|(rule, count)| (&**rule, *count))
    }

    /// A number for the rules, and for what may change of a listener that they ask for.
    fn circumstances(&self, listener: &Listener) -> u64 {
        let mut hasher = DefaultHasher::new();
        // A port that the kernel chose comes later than the rest.
        (self.generation, listener.port).hash(&mut hasher);
        for process in listener.answerable() {
            let Process { path, script, user_id, user, unit, user_unit, container, .. } = process;
            (path, script, user_id, user, unit, user_unit, container).hash(&mut hasher);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use netsonde_audit::model::Transport;

    use super::*;

    const NO_TELNET: &str = "[[audit.rule]]\nname = \"no-telnet\"\naction = \"deny\"\nports = \"23\"\n";

    fn policy(text: &str) -> Policy {
        Policy::parse("test.toml", text).expect("rules")
    }

    fn listener(port: u16, holders: &[&str]) -> Listener {
        let process = |path: &&str| Process { path: Some((*path).to_owned()), ..Process::default() };
        let holders = holders.iter().map(process).collect();
        Listener { holders, ..Listener::new(Transport::Tcp, None, Some(port)) }
    }

    #[test]
    fn a_violation_is_told_once_and_counted() {
        let mut judge = Judge::new(&policy(NO_TELNET));
        let mut mark = Mark::default();
        assert_eq!(judge.judge(&listener(23, &[]), &mut mark).as_deref(), Some("no-telnet"));
        assert_eq!(judge.judge(&listener(23, &[]), &mut mark), None);
        assert_eq!(judge.judge(&listener(24, &[]), &mut Mark::default()), None);
        judge.judge(&listener(23, &[]), &mut Mark::default());
        assert_eq!(judge.violations().collect::<Vec<_>>(), [("no-telnet", 2)]);
    }

    #[test]
    fn other_rules_judge_what_is_open_again() {
        let mut judge = Judge::new(&policy(NO_TELNET));
        let mut mark = Mark::default();
        judge.judge(&listener(23, &[]), &mut mark);
        assert!(!judge.replace(&policy(NO_TELNET)));
        assert_eq!(judge.judge(&listener(23, &[]), &mut mark), None);
        assert!(judge.replace(&policy(&format!("[audit]\ndefault = \"deny\"\n{NO_TELNET}"))));
        assert_eq!(judge.judge(&listener(23, &[]), &mut mark).as_deref(), Some("no-telnet"));
        assert_eq!(judge.judge(&listener(24, &[]), &mut Mark::default()).as_deref(), Some("default"));
        assert!(judge.replace(&Policy::default()) && judge.allows_everything());
        assert_eq!(judge.judge(&listener(23, &[]), &mut mark), None);
        assert_eq!(judge.violations().count(), 0, "counts go with their rules");
    }

    #[test]
    fn a_listener_that_is_handed_on_is_judged_by_who_has_it() {
        let rule = "[[audit.rule]]\nname = \"no-nc\"\naction = \"deny\"\nbinaries = \"/usr/bin/nc\"\n";
        let mut judge = Judge::new(&policy(rule));
        let mut mark = Mark::default();
        assert_eq!(judge.judge(&listener(80, &["/bin/init"]), &mut mark), None);
        assert_eq!(judge.judge(&listener(80, &["/usr/bin/nc"]), &mut mark).as_deref(), Some("no-nc"));
        assert_eq!(
            judge.judge(&listener(80, &["/usr/bin/nc", "/bin/init"]), &mut mark),
            None,
            "told already"
        );
    }
}
