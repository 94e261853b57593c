//! Values that are never shown, and the files that they stand in.
//!
//! Owns reading such files within bounds and saying what is wrong with one without telling what is in it. What a
//! value is for is the matter of whoever asked for it.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a file with one value; a header of HTTP/2 is refused by servers long before that.
const LARGEST_VALUE: u64 = 64 << 10;

/// A value that is never shown: tokens and the like.
#[derive(Clone)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// Reads the value that is a file's whole content, without the line breaks at its end.
    ///
    /// # Errors
    ///
    /// One sentence that names the file: it cannot be read, is empty, too long or no UTF-8.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let bytes = read_file(path, LARGEST_VALUE)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
        let value = text.trim_end_matches(['\n', '\r']);
        if value.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(Self { value: value.to_owned(), file: Some(path.to_owned()) })
    }

    /// A value in a file that was left alone, because nobody is going to use it.
    pub fn unread(path: PathBuf) -> Self {
        Self { value: String::new(), file: Some(path) }
    }

    /// The value itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The file that it came from, which may have a new one by now.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Two of one file are the same, whatever was in it when each was read: it is read again whenever it changes. So a reload
/// after a token was replaced leaves its destination alone.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && (self.file.is_some() || self.value == other.value)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Reads a regular file of at most `largest` bytes.
///
/// # Errors
///
/// One sentence that names the file.
pub fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Asked before it is opened: opening a pipe would wait for whoever writes to it.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(largest + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > largest {
        return Err(format!("{} is longer than {} KiB", path.display(), largest >> 10));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_before_its_line_break_and_is_not_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        fs::write(&path, "hunter2 \r\n\n").expect("written");
        let secret = Secret::from_file(&path).expect("right");
        assert_eq!((secret.expose(), secret.file()), ("hunter2 ", Some(path.as_path())));
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_with_another_value_is_still_the_same_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = |name: &str, value: &str| {
            let path = directory.path().join(name);
            fs::write(&path, value).expect("written");
            Secret::from_file(&path).expect("right")
        };
        let first = read("token", "one");
        assert_eq!(first, read("token", "two"));
        assert_ne!(first, read("other", "one"));
        assert_ne!(first, Secret::new("one"));
        assert_ne!(Secret::new("one"), Secret::new("two"));
        assert_eq!(Secret::new("one"), Secret::new("one"));
    }

    #[test]
    fn what_is_no_value_is_told_by_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let wrong = |content: &[u8]| {
            fs::write(&path, content).expect("written");
            let message = Secret::from_file(&path).expect_err("wrong");
            assert!(message.contains(&path.display().to_string()), "{message}");
            message
        };
        assert!(wrong(b"\n").ends_with("is empty"));
        assert!(wrong(b"hunter2\xff").ends_with("is not UTF-8"));
        assert!(wrong(&[b'x'; (64 << 10) + 1]).ends_with("is longer than 64 KiB"));
        let message = Secret::from_file(directory.path()).expect_err("a directory");
        assert!(message.ends_with("is not a regular file"), "{message}");
        let message = Secret::from_file(&directory.path().join("none")).expect_err("missing");
        assert!(message.starts_with("cannot read ") && message.contains("No such file"), "{message}");
    }
}
