//! Tells whether files are still those that were read.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes with a file: its device, inode, size and time of change; `None` for one that is not there. Symbolic
/// links are followed, so a link that points elsewhere is a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<[i128; 4]>>);

impl Stamp {
    /// Takes it of these files. Taken before they are read, it misses no later change.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let of = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            let changed = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
            Some([found.dev().into(), found.ino().into(), found.size().into(), changed])
        };
        Self(files.into_iter().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_removed_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let [path, link] = ["file", "link"].map(|name| directory.path().join(name));
        let mut seen = vec![Stamp::of([path.as_path()])];
        let mut next = |link: &Path| {
            let stamp = Stamp::of([link]);
            assert_eq!(stamp, Stamp::of([link]));
            assert!(!seen.contains(&stamp), "{stamp:?}");
            seen.push(stamp);
        };
        std::fs::write(&path, "a").unwrap();
        next(&path);
        std::fs::write(&path, "bb").unwrap();
        next(&path);
        let other = directory.path().join("other");
        std::fs::write(&other, "cc").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        next(&link);
        std::fs::rename(&link, &path).unwrap();
        assert_eq!(Stamp::of([path.as_path()]), Stamp::of([other.as_path()]));
    }
}
