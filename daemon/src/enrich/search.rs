//! Search suffixes: what a resolver library appends to names that it was asked for, from resolv.conf(5) and the
//! configuration. A name that does not exist and ends in one was hardly meant.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The file has a few lines.
const MAX_BYTES: u64 = 64 << 10;

/// Suffixes that are taken from it; glibc knew 6 until its version 2.26, and has no limit since.
const MAX_SUFFIXES: usize = 64;

/// A suffix, in the forms in which it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchSuffix {
    /// Without dots around it.
    pub suffix: Arc<str>,
    /// All names that end in it: `*.` and the suffix.
    pub folded: Arc<str>,
}

impl SearchSuffix {
    fn new(suffix: &str) -> Self {
        Self { suffix: suffix.into(), folded: format!("*.{suffix}").into() }
    }
}

/// The suffixes of this host.
#[derive(Debug)]
pub struct SearchSuffixes {
    path: PathBuf,
    seen: Option<Version>,
    /// It was said that the file cannot be read.
    complained: bool,
    configured: BTreeSet<String>,
    in_file: Vec<String>,
    /// The longest first.
    all: Vec<SearchSuffix>,
}

/// What changes when the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl SearchSuffixes {
    /// Those of a file in the form of resolv.conf(5), and those that are configured.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, configured: BTreeSet<String>) -> Self {
        let mut suffixes = Self {
            path: path.into(),
            seen: None,
            complained: false,
            configured,
            in_file: Vec::new(),
            all: Vec::new(),
        };
        suffixes.refresh();
        suffixes.arrange();
        suffixes
    }

    /// Takes others that are configured.
    pub fn configure(&mut self, configured: BTreeSet<String>) {
        self.configured = configured;
        self.arrange();
    }

    /// Reads the file again when it has changed. One that is not there has none.
    pub fn refresh(&mut self) {
        let changed = self.changed();
        let complained = std::mem::replace(&mut self.complained, changed.is_err());
        match changed {
            Ok(None) => {}
            Err(_) if complained => {}
            Ok(Some(text)) => {
                let mut found = parse(&text);
                if found.len() > MAX_SUFFIXES {
                    let refused = found.len() - MAX_SUFFIXES;
                    tracing::warn!(
                        refused,
                        "the resolver's configuration has more search suffixes than count"
                    );
                    found.truncate(MAX_SUFFIXES);
                }
                self.in_file = found;
                self.arrange();
            }
            Err(e) => {
                let path = self.path.display().to_string();
                tracing::warn!(path, error = %e, "cannot be read: the search suffixes stay as they were");
            }
        }
    }

    fn changed(&mut self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(self.seen.take().map(|_| String::new()));
            }
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        let version = Version { inode: meta.ino(), length: meta.len(), modified };
        if self.seen == Some(version) {
            return Ok(None);
        }
        // Also when reading fails: it is tried again, and complained of, when the file has changed.
        self.seen = Some(version);
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn arrange(&mut self) {
        let all: BTreeSet<&str> = self.configured.iter().chain(&self.in_file).map(String::as_str).collect();
        self.all = all.into_iter().map(SearchSuffix::new).collect();
        self.all.sort_by_key(|suffix| std::cmp::Reverse(suffix.suffix.len()));
    }

    /// The longest suffix that a name ends in, with something before it.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&SearchSuffix> {
        self.all.iter().find(|suffix| is_below(name, &suffix.suffix))
    }
}

/// Whether a name lies below a domain. A dot after a backslash belongs to a label.
fn is_below(name: &str, domain: &str) -> bool {
    let before = name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default();
    let backslashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
    !before.is_empty() && backslashes % 2 == 0
}

/// The suffixes of the last `search` or `domain` line, which is the one that counts (resolv.conf(5)).
fn parse(text: &str) -> Vec<String> {
    let mut suffixes = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let limit = match words.next() {
            Some("search") => usize::MAX,
            Some("domain") => 1,
            _ => continue,
        };
        suffixes = words
            .take_while(|word| !word.starts_with(['#', ';']))
            .map(|word| word.trim_matches('.').to_ascii_lowercase())
            .filter(|word| !word.is_empty())
            .take(limit)
            .collect();
    }
    suffixes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn suffixes(text: &str) -> SearchSuffixes {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, text).expect("written");
        SearchSuffixes::new(file.path(), BTreeSet::new())
    }

    fn of(suffixes: &SearchSuffixes, name: &str) -> Option<String> {
        suffixes.of(name).map(|suffix| suffix.folded.to_string())
    }

    #[test]
    fn the_last_line_counts_and_the_root_is_no_suffix() {
        for (text, expected) in [
            ("search a.example b.example\n", vec!["a.example", "b.example"]),
            ("search a\nnameserver 192.0.2.1\nsearch B.Example.\n", vec!["b.example"]),
            ("search a b\ndomain c d\n", vec!["c"]),
            ("search .\n", vec![]),
            ("#search a\n;search b\nsearching c\nsearch", vec![]),
            ("search a # b", vec!["a"]),
            ("options ndots:5\r\nsearch\ta\r\n", vec!["a"]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_longest_suffix_wins_and_a_name_is_not_below_itself() {
        let suffixes = suffixes("search cluster.local svc.cluster.local");
        assert_eq!(of(&suffixes, "db.svc.cluster.local").as_deref(), Some("*.svc.cluster.local"));
        assert_eq!(of(&suffixes, "db.cluster.local").as_deref(), Some("*.cluster.local"));
        for name in ["cluster.local", "mycluster.local", "local", ".", r"a\.cluster.local"] {
            assert_eq!(of(&suffixes, name), None, "{name}");
        }
        assert!(of(&suffixes, r"a\\.cluster.local").is_some(), "the backslash is the label's");
    }

    #[test]
    fn the_file_is_read_again_when_it_changes_and_may_be_missing() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("resolv.conf");
        let mut suffixes = SearchSuffixes::new(&path, ["always.example".to_owned()].into());
        assert!(of(&suffixes, "x.always.example").is_some());
        fs::write(&path, "search corp.example").expect("written");
        assert_eq!(of(&suffixes, "x.corp.example"), None);
        suffixes.refresh();
        assert!(of(&suffixes, "x.corp.example").is_some());
        fs::remove_file(&path).expect("removed");
        suffixes.refresh();
        assert_eq!(of(&suffixes, "x.corp.example"), None);
        suffixes.configure(BTreeSet::new());
        assert_eq!(of(&suffixes, "x.always.example"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), name in any::<String>()) {
            let suffixes: Vec<_> = parse(&text);
            prop_assert!(suffixes.iter().all(|s| !s.is_empty() && !s.starts_with('.')));
            for suffix in &suffixes {
                prop_assert!(!is_below(&name, suffix) || name.len() > suffix.len() + 1);
            }
        }

        #[test]
        fn a_name_below_a_suffix_is_found(name in "[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){0,2}", suffix in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}") {
            let found = suffixes(&format!("search {suffix}"));
            let expected = format!("*.{suffix}");
            let folded = of(&found, &format!("{name}.{suffix}"));
            prop_assert_eq!(folded.as_deref(), Some(expected.as_str()));
        }
    }
}
