//! `/etc/hosts` as a source of names: the file that a name is looked up in before anybody is asked (hosts(5)).
//!
//! Reading it again when it changed is done here; when to look is the caller's matter.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What is read of a file: lists that block advertisers have some megabytes, for one address.
const MAX_BYTES: u64 = 8 << 20;

/// Addresses that are taken from it.
const MAX_ADDRESSES: usize = 65_536;

/// Names of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: HashMap<IpAddr, Arc<str>>,
    refused: usize,
}

impl Hosts {
    /// Reads the text of a file. Of several names of an address the first counts, as for glibc's reverse lookup. The
    /// unspecified address has none: it is written where a name is not to be reached.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let (Some(address), Some(name)) = (words.next(), words.next()) else { continue };
            // A zone (`fe80::1%eth0`) says where the address is, not which it is.
            let address = address.split('%').next().unwrap_or_default().parse::<IpAddr>();
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let Ok(address) = address.map(|a| a.to_canonical()) else { continue };
            if address.is_unspecified() || name.is_empty() {
                continue;
            }
            let is_full = hosts.names.len() >= MAX_ADDRESSES;
            match hosts.names.entry(address) {
                Entry::Occupied(_) => {}
                Entry::Vacant(_) if is_full => hosts.refused += 1,
                Entry::Vacant(entry) => {
                    entry.insert(name.into());
                }
            }
        }
        hosts
    }

    /// The name of an address.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.names.get(&address.to_canonical())
    }

    /// Lines that were refused because there were too many addresses.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Addresses that have a name.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The file, and what tells that it has changed.
#[derive(Debug)]
pub struct HostsFile {
    path: PathBuf,
    seen: Option<Version>,
}

/// Editors write in place or put a new file there; either changes one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl HostsFile {
    /// A file that was not looked at yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// What is in the file, if it has changed since the last look; a file that is not there is an empty one.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is larger than 8 MiB. What it said before goes on to count.
    pub fn changed(&mut self) -> io::Result<Option<Hosts>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(self.seen.take().map(|_| Hosts::default()));
            }
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        let version =
            Version { inode: meta.ino(), length: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) };
        if self.seen == Some(version) {
            return Ok(None);
        }
        // Also when reading fails: it is tried again, and complained of, when the file has changed.
        self.seen = Some(version);
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            let text = format!("{} is larger than {MAX_BYTES} bytes", self.path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(Some(Hosts::parse(&String::from_utf8_lossy(&bytes))))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn name(hosts: &Hosts, address: &str) -> Option<String> {
        hosts.name_of(address.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn the_first_name_of_an_address_counts() {
        let hosts = Hosts::parse(
            "# comment\n127.0.0.1\tlocalhost loopback\n\n10.0.0.5  DB.Corp. db # the database\n10.0.0.5 other\n\
             fe80::1%lo0 router\n::ffff:10.0.0.6 mapped\n0.0.0.0 blocked\nnot-an-address x\n10.0.0.7\n#10.0.0.8 x\n",
        );
        for (address, expected) in [
            ("127.0.0.1", Some("localhost")),
            ("10.0.0.5", Some("db.corp")),
            ("::ffff:10.0.0.5", Some("db.corp")),
            ("fe80::1", Some("router")),
            ("10.0.0.6", Some("mapped")),
            ("0.0.0.0", None),
            ("10.0.0.7", None),
            ("10.0.0.8", None),
        ] {
            assert_eq!(name(&hosts, address).as_deref(), expected, "{address}");
        }
        assert_eq!((hosts.len(), hosts.refused()), (4, 0));
    }

    #[test]
    fn too_many_addresses_are_refused_and_counted() {
        let line = |i: usize| format!("10.{}.{}.{} h{i}\n", i >> 16, i >> 8 & 255, i & 255);
        let hosts = Hosts::parse(&(0..MAX_ADDRESSES + 3).map(line).collect::<String>());
        assert_eq!((hosts.len(), hosts.refused()), (MAX_ADDRESSES, 3));
    }

    #[test]
    fn the_file_is_read_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let mut file = HostsFile::new(path.clone());
        assert_eq!(file.changed().unwrap(), None, "it is not there");
        fs::write(&path, "10.0.0.1 one\n").unwrap();
        assert_eq!(name(&file.changed().unwrap().unwrap(), "10.0.0.1").as_deref(), Some("one"));
        assert_eq!(file.changed().unwrap(), None);
        fs::write(&path, "10.0.0.1 three\n").unwrap();
        assert_eq!(name(&file.changed().unwrap().unwrap(), "10.0.0.1").as_deref(), Some("three"));
        // Two changes within one tick of the clock that the file system goes by.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "10.0.0.1 eleven\n").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(name(&file.changed().unwrap().unwrap(), "10.0.0.1").as_deref(), Some("eleven"));
        let beside = folder.path().join("new");
        fs::write(&beside, "10.0.0.1 seven\n").unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(name(&file.changed().unwrap().unwrap(), "10.0.0.1").as_deref(), Some("seven"));
        fs::remove_file(&path).unwrap();
        assert_eq!(file.changed().unwrap(), Some(Hosts::default()), "names of a file that is gone are gone");
        assert_eq!(file.changed().unwrap(), None);
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let mut file = HostsFile::new(path);
        assert_eq!(file.changed().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(file.changed().unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f.:%# \\n\\tA-Zé]{0,200}") {
            let hosts = Hosts::parse(&text);
            prop_assert!(hosts.len() <= text.lines().count());
        }

        #[test]
        fn what_is_written_is_found(address in any::<IpAddr>(), name in "[a-z][a-z0-9.-]{0,20}[a-z]") {
            let expected = (!address.to_canonical().is_unspecified()).then_some(name.as_str());
            let hosts = Hosts::parse(&format!(" {address} {name} alias"));
            prop_assert_eq!(hosts.name_of(address).map(|n| &**n), expected);
        }
    }
}
