//! Shell patterns over paths, units and the like, as the daemon's selection rules have them.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Longest pattern: twice `PATH_MAX` of Linux, so that a path fits with each character escaped.
const LONGEST: usize = 8192;

/// Shell patterns, any of which may match: `*` and `?` stay within a part of a path, `**` crosses its slashes,
/// `[a-z]` and `{a,b}` are choices and `\` takes the next character as it is.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Globs {
    /// Compiles patterns.
    ///
    /// # Errors
    ///
    /// One sentence for the user: a pattern is none, or all together need more than a set may.
    pub fn new(patterns: Vec<String>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| e.to_string())?);
        }
        let set = set.build().map_err(|error| format!("too much for one key: {}", error.kind()))?;
        Ok(Self { patterns, set })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether one of them matches the whole text. None matches an empty text, which is one that is not known.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        !text.is_empty() && self.set.is_match(text)
    }

    /// The patterns as they were written.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Globs {}

/// Checks a pattern over any text.
///
/// # Errors
///
/// One sentence for the user.
pub fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST {
        return Err(format!("the glob has {} bytes; it may have 1 to {LONGEST}", text.len()));
    }
    match GlobBuilder::new(text).literal_separator(true).build() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is not a glob: {}", error.kind())),
    }
}

/// Checks a pattern over absolute paths.
///
/// # Errors
///
/// One sentence for the user.
pub fn path_glob(text: &str) -> Result<String, String> {
    // A bare name looks right and matches nothing: paths are absolute.
    if text.starts_with(is_bare) {
        return Err(format!("{text:?} cannot match an absolute path; begin it with / or **/"));
    }
    glob(text)
}

fn is_bare(first: char) -> bool {
    first.is_ascii_alphanumeric() || matches!(first, '.' | '_' | '-' | '~')
}

/// A pattern that matches this text and no other.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!' | ',') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A pattern over paths that matches this one and no other.
#[must_use]
pub fn escaped_path(path: &str) -> String {
    let mut pattern = escaped(path);
    // What is no absolute path (of a memfd, say) must not look like a bare name to `path_glob`.
    if pattern.starts_with(is_bare) {
        pattern.insert(0, '\\');
    }
    pattern
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_escaped_text_matches_itself_only(text in "\\PC{1,12}|[/*?\\[\\]{},!a\\\\~.-]{1,12}", other in "[a-z*?]{1,4}") {
            let globs = Globs::new(vec![path_glob(&escaped_path(&text)).expect("a glob")]).expect("a set");
            prop_assert!(globs.matches(&text));
            prop_assert!(Globs::new(vec![escaped(&text)]).expect("a set").matches(&text));
            prop_assert_eq!(globs.matches(&other), other == text);
        }

        #[test]
        fn any_text_is_a_glob_or_a_problem(text in any::<String>()) {
            if let Ok(pattern) = glob(&text) {
                prop_assert!(Globs::new(vec![pattern]).is_ok());
            }
        }
    }

    #[test]
    fn a_star_stays_within_a_part_of_the_path() {
        let globs = Globs::new(vec!["/usr/*/sshd".to_owned()]).expect("a set");
        assert!(globs.matches("/usr/sbin/sshd") && !globs.matches("/usr/local/sbin/sshd"));
    }

    #[test]
    fn what_is_not_known_is_matched_by_nothing() {
        assert!(!Globs::new(vec!["**".to_owned()]).expect("a set").matches(""));
    }

    #[test]
    fn a_bare_name_is_no_path_glob() {
        assert!(path_glob("sshd").expect_err("bare").contains("begin it with /"));
        assert!(path_glob("**/sshd").is_ok());
    }
}
