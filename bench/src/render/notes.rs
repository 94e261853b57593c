//! Why goals are missed and what grows worse than linear, in people's words: a file for each goal or growth in `bench/notes`, which the page of
//! benchmarks includes. A note of what is as it should be waits for the day when it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::goals::{GOALS, Goal, Measured, Results, Verdict};
use super::place;
use crate::results::Content;

/// Texts by the names of their goals, or of their measurements of growth.
pub type Notes = BTreeMap<String, String>;

/// Reads them all. An error if one is of nothing that can be missed, or says nothing.
pub fn read(directory: &Path) -> Result<Notes> {
    let mut notes = Notes::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".md"));
        let growth = |stem: &str| stem.starts_with("growth-") && place(stem).is_some();
        let name = stem.filter(|stem| GOALS.iter().any(|goal| goal.name == *stem) || growth(stem));
        let name = name.with_context(|| format!("no goal or growth is named as {} is", path.display()))?;
        ensure!(!text.trim().is_empty(), "{} is empty", path.display());
        notes.insert(name.to_owned(), text);
    }
    Ok(notes)
}

/// An error that names each goal that is missed, and each growth that is worse than linear, without a note.
pub fn ensure_explained(
    verdicts: &[(&'static Goal, Verdict)],
    results: &Results,
    notes: &Notes,
) -> Result<()> {
    let missed = verdicts.iter().filter_map(|(goal, verdict)| match verdict {
        Verdict::Missed(Measured { spread, unit }) => {
            Some((goal.name, format!("{}, goal {}", unit.show(spread.median), goal.limit())))
        }
        Verdict::Met(_) | Verdict::Unmeasured => None,
    });
    let worse = results.values().filter_map(|one| match &one.content {
        Content::Growth(growth) if growth.is_worse_than_linear() => {
            Some((one.name.as_str(), format!("exponent {:.2}", growth.upper_exponent)))
        }
        _ => None,
    });
    let unexplained: Vec<String> = missed
        .chain(worse)
        .filter(|(name, _)| !notes.contains_key(*name))
        .map(|(name, how)| format!("{name} ({how})"))
        .collect();
    ensure!(
        unexplained.is_empty(),
        "missed and not explained: {}; say why in bench/notes/NAME.md",
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
        let missed = ["keep-alive", "connection-per-request", "dns", "many-sockets", "growth-sockets-memory"];
        let error = ensure_explained(&verdicts, &results, &Notes::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "missed and not explained: keep-alive (0.971, goal ≥ 0.995), connection-per-request (0.822, goal ≥ 0.970), \
             dns (0.943, goal ≥ 0.970), many-sockets (100 MiB, goal ≤ 80 MiB), \
             growth-sockets-memory (exponent 1.30); say why in bench/notes/NAME.md"
        );
        let mut notes: Notes = missed.map(|name| (name.to_owned(), "because".to_owned())).into();
        assert!(ensure_explained(&verdicts, &results, &notes).is_ok());
        notes.remove("dns");
        assert!(
            ensure_explained(&verdicts, &results, &notes)
                .unwrap_err()
                .to_string()
                .contains("explained: dns (0.943")
        );
    }

    #[test]
    fn a_note_is_of_a_goal_and_says_something() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("dns.md"), "It is slow.\n").unwrap();
        fs::write(directory.path().join("growth-flows-time.md"), "It is a square.\n").unwrap();
        let notes = read(directory.path()).unwrap();
        assert_eq!(notes.keys().collect::<Vec<_>>(), ["dns", "growth-flows-time"]);
        assert_eq!(notes["dns"], "It is slow.\n");
        fs::write(directory.path().join("dns.md"), "\n").unwrap();
        assert!(read(directory.path()).unwrap_err().to_string().ends_with("dns.md is empty"));
        fs::write(directory.path().join("dns.md"), "It is slow.\n").unwrap();
        fs::write(directory.path().join("sdn.md"), "It is slow.\n").unwrap();
        assert!(
            read(directory.path()).unwrap_err().to_string().starts_with("no goal or growth is named as ")
        );
    }
}
