//! User names, from `/etc/passwd` alone: a look-up through NSS could wait for a network whose state is
//! what we are asked about.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Names of users by id.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    modified: Option<SystemTime>,
    names: HashMap<u32, Arc<str>>,
}

impl Users {
    /// Reads the names from a file in the form of passwd(5).
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let mut users = Self { path: path.into(), modified: None, names: HashMap::new() };
        users.refresh();
        users
    }

    /// Reads the file again when it has changed.
    pub fn refresh(&mut self) {
        let modified = std::fs::metadata(&self.path).and_then(|m| m.modified()).ok();
        if modified.is_some() && modified == self.modified {
            return;
        }
        // A host without the file has users all the same: they keep their numbers.
        let text = std::fs::read(&self.path).unwrap_or_default();
        self.names = parse(&String::from_utf8_lossy(&text));
        self.modified = modified;
    }

    /// The user's name; the number when there is none.
    pub fn name(&mut self, uid: u32) -> Arc<str> {
        Arc::clone(self.names.entry(uid).or_insert_with(|| uid.to_string().into()))
    }
}

/// The number of the user of this name, from a file in the form of passwd(5); `None` when nobody has it.
///
/// # Errors
///
/// The file cannot be read.
pub fn id_of_user(path: &Path, name: &str) -> io::Result<Option<u32>> {
    let text = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    // Of several numbers for one name the first counts, as getpwnam(3) has it.
    Ok(entries(&text).find(|(known, _)| *known == name).map(|(_, uid)| uid))
}

fn parse(passwd: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for (name, uid) in entries(passwd) {
        // Of several names for one number the first counts, as getpwuid(3) has it.
        names.entry(uid).or_insert_with(|| name.into());
    }
    names
}

fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, uid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names =
            parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n#x\nbad:x:no:0\nwww:x:33:33::/:/\n");
        assert_eq!(&*names[&0], "root");
        assert_eq!(&*names[&33], "www");
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_name_has_a_number() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "root:x:0:0::/:/bin/sh\nbad:x:no:0\nwww:x:33:33::/:/\nwww:x:34:33::/:/\n")
            .expect("written");
        let id = |name| id_of_user(file.path(), name).expect("read");
        assert_eq!((id("root"), id("www"), id("bad"), id("")), (Some(0), Some(33), None, None));
        assert!(id_of_user(Path::new("/nonexistent/passwd"), "root").is_err());
    }

    #[test]
    fn a_user_without_a_name_keeps_the_number() {
        let mut users = Users::new("/nonexistent/passwd");
        assert_eq!(&*users.name(4711), "4711");
    }
}
