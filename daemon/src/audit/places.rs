//! Names of network namespaces and interfaces, as far as the host tells them without entering a namespace.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use netsonde_audit::model::Namespace;

/// Where ip-netns(8) mounts the namespaces that it names.
const NAMED: &str = "/run/netns";
/// Most names that are read; `ip netns` knows one of each namespace as a rule.
const MOST_NAMES: usize = 65_536;

/// The names at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The host's own namespace.
    pub initial: Option<u64>,
    /// The one that this process is in.
    pub own: Option<u64>,
    /// Names of `ip netns`, by inode number.
    pub names: HashMap<u64, String>,
    /// Names of the own namespace's interfaces, by index.
    pub interfaces: HashMap<u32, String>,
}

impl Places {
    /// Reads what the host tells. What cannot be read is not known: a number takes the place of a name.
    #[must_use]
    pub fn read() -> Self {
        let inode = |path: &str| fs::metadata(path).ok().map(|found| found.ino());
        let own = inode("/proc/self/ns/net");
        Self {
            initial: inode("/proc/1/ns/net").or(own),
            own,
            names: named_namespaces(Path::new(NAMED)),
            interfaces: interfaces(Path::new("/sys/class/net")),
        }
    }

    /// What is known of a namespace.
    #[must_use]
    pub fn namespace(&self, inode: u32) -> Namespace {
        let inode = u64::from(inode);
        Namespace {
            inode,
            initial: self.initial.map(|initial| initial == inode),
            name: self.names.get(&inode).cloned(),
        }
    }

    /// Whether a namespace is the own one, or has a name.
    #[must_use]
    pub fn has_name(&self, inode: u32) -> bool {
        let inode = u64::from(inode);
        self.own == Some(inode) || self.names.contains_key(&inode)
    }

    /// Name of an interface. Indices mean another interface in each namespace, and sysfs shows those of one: in any
    /// other than that, the index stands for the name.
    #[must_use]
    pub fn interface(&self, namespace: u32, index: u32) -> String {
        let known = self.interfaces.get(&index).filter(|_| self.own == Some(u64::from(namespace)));
        known.map_or_else(|| index.to_string(), Clone::clone)
    }
}

fn named_namespaces(directory: &Path) -> HashMap<u64, String> {
    // Nobody has used ip netns on a host without the directory.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(MOST_NAMES);
    let named = entries.filter_map(|entry| {
        let inode = fs::metadata(entry.path()).ok()?.ino();
        Some((inode, entry.file_name().into_string().ok()?))
    });
    let mut names: HashMap<u64, String> = HashMap::new();
    for (inode, name) in named {
        // Of several names the first in the alphabet, so that it stays the same.
        let known = names.entry(inode).or_insert_with(|| name.clone());
        if name < *known {
            *known = name;
        }
    }
    names
}

fn interfaces(directory: &Path) -> HashMap<u32, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let index = fs::read_to_string(entry.path().join("ifindex")).ok()?.trim().parse().ok()?;
        Some((index, entry.file_name().into_string().ok()?))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_of_this_process_knows_its_loopback() {
        let places = Places::read();
        let own = u32::try_from(places.own.expect("/proc")).expect("inode numbers of nsfs have 32 bits");
        let (index, name) = places.interfaces.iter().next().expect("every namespace has a loopback");
        assert_eq!(&places.interface(own, *index), name);
        assert_eq!(places.interface(own ^ 1, *index), index.to_string(), "another namespace's is not known");
    }

    #[test]
    fn namespaces_have_the_first_of_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("blue");
        fs::write(&file, "").expect("written");
        fs::hard_link(&file, directory.path().join("azure")).expect("linked");
        let inode = fs::metadata(&file).expect("it is there").ino();
        let names = named_namespaces(directory.path());
        assert_eq!(names, HashMap::from([(inode, "azure".to_owned())]));
        assert_eq!(named_namespaces(&directory.path().join("nowhere")), HashMap::new());
    }

    #[test]
    fn a_namespace_is_the_hosts_or_another_or_not_known() {
        let mut places =
            Places { initial: Some(7), names: HashMap::from([(8, "blue".to_owned())]), ..Places::default() };
        assert_eq!(places.namespace(7), Namespace { inode: 7, initial: Some(true), name: None });
        let other = Namespace { inode: 8, initial: Some(false), name: Some("blue".to_owned()) };
        assert_eq!(places.namespace(8), other);
        places.initial = None;
        assert_eq!(places.namespace(7).initial, None);
    }
}
