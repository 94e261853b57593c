//! Why goals are missed, in people's words: a file for each in `bench/notes`, which the page of benchmarks includes. A note of a goal that
//! is met waits for the day when it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::goals::{GOALS, Goal, Verdict};

/// Texts by the names of their goals.
pub type Notes = BTreeMap<String, String>;

/// Reads them all. An error if one is of no goal, or says nothing.
pub fn read(directory: &Path) -> Result<Notes> {
    let mut notes = Notes::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".md"));
        let goal = stem.filter(|stem| GOALS.iter().any(|goal| goal.name == *stem));
        let goal = goal.with_context(|| format!("no goal is named as {} is", path.display()))?;
        ensure!(!text.trim().is_empty(), "{} is empty", path.display());
        notes.insert(goal.to_owned(), text);
    }
    Ok(notes)
}

/// An error that names each goal that is missed and has no note.
pub fn ensure_explained<'a>(
    verdicts: impl IntoIterator<Item = &'a (&'static Goal, Verdict)>,
    notes: &Notes,
) -> Result<()> {
    let missed = verdicts.into_iter().filter(|(_, verdict)| matches!(verdict, Verdict::Missed(_)));
    let unexplained: Vec<&str> =
        missed.map(|(goal, _)| goal.name).filter(|name| !notes.contains_key(*name)).collect();
    ensure!(
        unexplained.is_empty(),
        "missed and not explained: {}; say why in bench/notes/GOAL.md",
        unexplained.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_missed_goal_needs_a_note_and_others_do_not() {
        let results = fixtures::results();
        let verdicts: Vec<_> = GOALS.iter().map(|goal| (goal, goal.judge(&results).unwrap())).collect();
        let missed = ["keep-alive", "connection-per-request", "dns", "many-sockets"];
        let error = ensure_explained(&verdicts, &Notes::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("missed and not explained: {}; say why in bench/notes/GOAL.md", missed.join(", "))
        );
        let mut notes: Notes = missed.map(|name| (name.to_owned(), "because".to_owned())).into();
        assert!(ensure_explained(&verdicts, &notes).is_ok());
        notes.remove("dns");
        assert!(ensure_explained(&verdicts, &notes).unwrap_err().to_string().contains("explained: dns;"));
    }

    #[test]
    fn a_note_is_of_a_goal_and_says_something() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("dns.md"), "It is slow.\n").unwrap();
        assert_eq!(read(directory.path()).unwrap(), Notes::from([("dns".into(), "It is slow.\n".into())]));
        fs::write(directory.path().join("dns.md"), "\n").unwrap();
        assert!(read(directory.path()).unwrap_err().to_string().ends_with("dns.md is empty"));
        fs::write(directory.path().join("dns.md"), "It is slow.\n").unwrap();
        fs::write(directory.path().join("sdn.md"), "It is slow.\n").unwrap();
        assert!(read(directory.path()).unwrap_err().to_string().starts_with("no goal is named as "));
    }
}
