//! What was counted beside what is recorded, and whether the difference is one.

use std::collections::BTreeSet;
use std::fmt;

use crate::recorded::{FILE, Recorded};

/// By so many thousandths a path may differ from what is recorded. Seeds of hash tables make runs on one machine differ by
/// one at most; the rest is for what other hosts have in `/etc/passwd` and `/sys` (DECISIONS 56). A BPF program may not
/// differ at all.
const TOLERANCE: u64 = 20;

/// How a count compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Holds,
    /// More than is recorded.
    Grown,
    /// Less: the record is not true any more, and would let it grow back.
    Shrunk,
    /// Nothing is recorded.
    New,
    /// Nothing was counted.
    Gone,
}

/// Judges one count. `tolerance` is in thousandths of what is recorded.
pub fn judge(recorded: Option<u64>, counted: Option<u64>, tolerance: u64) -> Option<Verdict> {
    Some(match (recorded?, counted) {
        (_, None) => Verdict::Gone,
        (recorded, Some(counted)) => {
            let limit = u128::from(recorded) * u128::from(tolerance);
            if u128::from(recorded.abs_diff(counted)) * 1000 <= limit {
                Verdict::Holds
            } else if counted > recorded {
                Verdict::Grown
            } else {
                Verdict::Shrunk
            }
        }
    })
}

struct Row {
    name: String,
    /// What a path's count is divided by.
    unit: Option<String>,
    recorded: Option<u64>,
    counted: Option<u64>,
    verdict: Verdict,
}

/// Counts of one kind, or why they cannot be compared.
struct Table {
    title: &'static str,
    rows: Vec<Row>,
    /// Tools that differ from those that are recorded, each told with both.
    differing: Vec<String>,
}

/// All of it.
pub struct Comparison([Table; 2]);

impl Comparison {
    /// Compares what was counted with what is recorded.
    #[must_use]
    pub fn new(recorded: &Recorded, counted: &Recorded) -> Self {
        let (with, before) = (&counted.counted_with, &recorded.counted_with);
        let programs = names(recorded.programs.keys(), counted.programs.keys()).map(|name| {
            row(name, None, recorded.programs.get(name).copied(), counted.programs.get(name).copied(), 0)
        });
        let paths = names(recorded.paths.keys(), counted.paths.keys()).map(|name| {
            let (old, new) = (recorded.paths.get(name), counted.paths.get(name));
            let unit = new.or(old).map(|path| path.unit.clone());
            // Divided by something else it is another count.
            let old = old.filter(|old| new.is_none_or(|new| new.unit == old.unit));
            row(name, unit, old.map(|p| p.instructions), new.map(|p| p.instructions), TOLERANCE)
        });
        Self([
            Table {
                title: "BPF program, with what it calls",
                rows: programs.collect(),
                differing: before.differs_for_programs(with),
            },
            Table {
                title: "path in user space, for each",
                rows: paths.collect(),
                differing: before.differs_for_paths(with),
            },
        ])
    }

    /// Whether everything that can be compared is as recorded.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.iter().all(|table| {
            !table.differing.is_empty() || table.rows.iter().all(|row| row.verdict == Verdict::Holds)
        })
    }
}

fn names<'a>(
    recorded: impl Iterator<Item = &'a String>,
    counted: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = &'a String> {
    recorded.chain(counted).collect::<BTreeSet<_>>().into_iter()
}

fn row(name: &str, unit: Option<String>, recorded: Option<u64>, counted: Option<u64>, tolerance: u64) -> Row {
    let verdict = judge(recorded, counted, tolerance).unwrap_or(Verdict::New);
    Row { name: name.to_owned(), unit, recorded, counted, verdict }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.0 {
            writeln!(f, "{table}")?;
        }
        if self.holds() {
            return Ok(());
        }
        write!(
            f,
            "Instructions differ from {FILE}. If that is meant, NETSONDE_BLESS=1 make instructions writes it anew: commit it \
             with the change, and say why."
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |row: &Row| match &row.unit {
            Some(unit) => format!("{}, {unit}", row.name),
            None => row.name.clone(),
        };
        let width = self.rows.iter().map(|row| label(row).len()).chain([self.title.len()]).max();
        let width = width.unwrap_or_default();
        writeln!(f, "{:width$} {:>10} {:>10} {:>10}", self.title, "recorded", "counted", "difference")?;
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for row in &self.rows {
            let (recorded, counted) = (number(row.recorded), number(row.counted));
            write!(f, "{:width$} {recorded:>10} {counted:>10} {:>10}", label(row), difference(row))?;
            let word = match row.verdict {
                Verdict::Holds => "",
                Verdict::Grown => " grown",
                Verdict::Shrunk => " shrunk",
                Verdict::New => " new",
                Verdict::Gone => " gone",
            };
            writeln!(f, "{word}")?;
        }
        if !self.differing.is_empty() {
            writeln!(f, "Not judged: what is recorded was counted with another")?;
            for tool in &self.differing {
                writeln!(f, "  {tool}")?;
            }
        }
        Ok(())
    }
}

fn difference(row: &Row) -> String {
    let (Some(recorded), Some(counted)) = (row.recorded, row.counted) else { return String::new() };
    if recorded == counted {
        return "=".to_owned();
    }
    format!("{:+.2} %", (counted as f64 / recorded as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::Counted;
    use crate::tools::Tools;

    #[test]
    fn a_count_beyond_the_tolerance_is_refused_in_either_direction() {
        let of = |counted, tolerance| judge(Some(1000), Some(counted), tolerance);
        assert_eq!(of(1020, 20), Some(Verdict::Holds));
        assert_eq!(of(1021, 20), Some(Verdict::Grown));
        assert_eq!(of(980, 20), Some(Verdict::Holds));
        assert_eq!(of(979, 20), Some(Verdict::Shrunk));
        assert_eq!(of(1000, 0), Some(Verdict::Holds));
        assert_eq!(of(1001, 0), Some(Verdict::Grown));
        assert_eq!(judge(Some(u64::MAX), Some(0), 20), Some(Verdict::Shrunk));
        assert_eq!(judge(Some(1), None, 20), Some(Verdict::Gone));
        assert_eq!(judge(None, Some(1), 20), None);
    }

    fn counts(program: u64, path: u64) -> Recorded {
        let counted = Counted { unit: "flow".to_owned(), instructions: path };
        Recorded {
            counted_with: Tools::example(),
            programs: [("packet_sent".to_owned(), program)].into(),
            paths: [("netsonde::sweep".to_owned(), counted)].into(),
        }
    }

    #[test]
    fn one_instruction_more_in_a_program_is_refused_and_the_message_says_how_to_bless() {
        let recorded = counts(500, 10_000);
        assert!(Comparison::new(&recorded, &counts(500, 10_199)).holds());
        for grown in [counts(501, 10_000), counts(500, 10_201), counts(499, 10_000), counts(500, 9799)] {
            let comparison = Comparison::new(&recorded, &grown);
            assert!(!comparison.holds());
            assert!(comparison.to_string().contains("NETSONDE_BLESS=1 make instructions"), "{comparison}");
        }
    }

    #[test]
    fn what_comes_or_goes_is_refused_as_well() {
        let recorded = counts(500, 10_000);
        let mut other = counts(500, 10_000);
        other.programs.clear();
        assert!(!Comparison::new(&recorded, &other).holds());
        assert!(!Comparison::new(&other, &recorded).holds());
        let mut other = counts(500, 10_000);
        other.paths.values_mut().for_each(|path| path.unit = "socket".to_owned());
        assert!(!Comparison::new(&recorded, &other).holds(), "it is divided by something else");
    }

    #[test]
    fn another_compiler_is_said_and_only_its_counts_are_not_judged() {
        let recorded = counts(500, 10_000);
        let mut other = counts(600, 10_000);
        "clang 19".clone_into(&mut other.counted_with.clang);
        let comparison = Comparison::new(&recorded, &other);
        assert!(comparison.holds());
        assert!(comparison.to_string().contains("clang 19"), "{comparison}");
        other.paths.values_mut().for_each(|path| path.instructions = 20_000);
        assert!(!Comparison::new(&recorded, &other).holds());
    }
}
