//! `[dns]`: where DNS is looked for, how lookups are told of, and whose names addresses get.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use netsonde_probes::MAX_DNS_PORTS;

use super::raw;
use super::reader::{Place, Reader};
use super::units::parse_duration;
use super::validate::{absolute, positive, whole};

const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_MESSAGES: u32 = 20_000;
const DEFAULT_QUESTIONS: u32 = 100;
const DEFAULT_NAMES: NonZeroU32 = NonZeroU32::new(16_384).unwrap();
const DEFAULT_HOSTS: &str = "/etc/hosts";

/// Multicast DNS (RFC 6762, section 3) and LLMNR (RFC 4795, section 2).
const MULTICAST_PORTS: [u16; 2] = [5353, 5355];

/// How DNS is observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Ports on which it is spoken; no more than [`MAX_DNS_PORTS`], those of multicast included.
    pub ports: BTreeSet<u16>,
    /// Queries to multicast addresses are followed as well.
    pub multicast: bool,
    /// A query without a response for so long has timed out; 100 ms to 60 s.
    pub timeout: Duration,
    /// Question names with series of their own at a time.
    pub question_names: u32,
    /// Domains whose names share a series each; in lower case, without dots around them.
    pub suffixes: BTreeSet<String>,
    /// Search suffixes besides those of `/etc/resolv.conf`; likewise.
    pub search_suffixes: BTreeSet<String>,
    /// Messages a second that the kernel hands on; `None`: no limit.
    pub messages_per_second: Option<NonZeroU32>,
    /// Entries of the cache of names.
    pub names: NonZeroU32,
    /// A file in the form of hosts(5) with names of addresses; `None`: not read.
    pub hosts: Option<PathBuf>,
}

impl Dns {
    /// Ports on which messages are looked for.
    #[must_use]
    pub fn all_ports(&self) -> BTreeSet<u16> {
        let multicast = MULTICAST_PORTS.into_iter().filter(|_| self.multicast);
        self.ports.iter().copied().chain(multicast).collect()
    }
}

/// Reads the section.
pub fn read(reader: &mut Reader<'_>, raw: raw::Dns) -> Dns {
    let ports: BTreeSet<u16> = reader.list_of("dns.ports", raw.ports, [53].into(), |n| port(*n));
    let multicast = reader.value("dns.multicast", raw.multicast, false, |on| Ok(*on));
    let timeout = reader
        .value("dns.timeout", raw.timeout, DEFAULT_TIMEOUT, |text| parse_duration(&text.0, &TIMEOUT_RANGE));
    let question_names =
        reader.value("dns.question_names", raw.question_names, DEFAULT_QUESTIONS, |n| whole(*n, 0, 10_000));
    let suffixes = reader.list("dns.suffixes", raw.suffixes, BTreeSet::new(), domain);
    let search_suffixes = reader.list("dns.search_suffixes", raw.search_suffixes, BTreeSet::new(), domain);
    let messages = reader.value("dns.messages_per_second", raw.messages_per_second, DEFAULT_MESSAGES, |n| {
        whole(*n, 0, 10_000_000)
    });
    let names = reader.value("dns.names", raw.names, DEFAULT_NAMES, |n| positive(*n, 4_194_304));
    let hosts =
        reader.value("dns.hosts", raw.hosts, Some(DEFAULT_HOSTS.into()), |text| match text.as_str() {
            "" => Ok(None),
            path => absolute(path).map(Some),
        });
    let messages_per_second = NonZeroU32::new(messages);
    let dns = Dns {
        ports,
        multicast,
        timeout,
        question_names,
        suffixes,
        search_suffixes,
        messages_per_second,
        names,
        hosts,
    };
    if let Some(place @ Place::File(_)) = reader.place("dns.ports").cloned()
        && let Some(message) = wrong_number_of_ports(&dns)
    {
        reader.problem("dns.ports", &place, &message);
    }
    dns
}

fn wrong_number_of_ports(dns: &Dns) -> Option<String> {
    let count = dns.all_ports().len();
    match count {
        0 => Some("the list is empty; to observe no DNS, set signals.dns to false".to_owned()),
        _ if count > MAX_DNS_PORTS => {
            Some(format!("{count} ports, those of multicast included; there may be {MAX_DNS_PORTS} at most"))
        }
        _ => None,
    }
}

fn port(number: i64) -> Result<u16, String> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{number} is no port; it may be from 1 to 65535"))
}

/// A domain name, in lower case and without dots around it. Labels of letters, digits, - and _ are all that host
/// names and services have (RFC 1123, section 2.1; RFC 8552).
fn domain(text: &str) -> Result<String, String> {
    let name = text.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{text:?} is not a domain name; write it as \"corp.example\""));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{right, wrong};

    #[test]
    fn multicast_adds_its_ports() {
        assert_eq!(right("").dns.all_ports(), [53].into());
        assert_eq!(right("[dns]\nmulticast = true").dns.all_ports(), [53, 5353, 5355].into());
        let eight = "ports = [53, 54, 55, 56, 57, 58, 59, 60]";
        assert_eq!(right(&format!("[dns]\n{eight}")).dns.ports.len(), 8);
        let error = wrong(&format!("[dns]\n{eight}\nmulticast = true"));
        assert!(error.contains("test.toml:2:9: dns.ports: 10 ports"), "{error}");
    }

    #[test]
    fn domains_are_kept_in_one_form() {
        let dns = right("[dns]\nsuffixes = [\"*.Corp.Example.\", \".corp.example\", \"_tcp.x\"]").dns;
        assert_eq!(dns.suffixes, ["corp.example".to_owned(), "_tcp.x".to_owned()].into());
    }

    #[test]
    fn no_file_of_hosts_is_a_choice() {
        assert_eq!(right("").dns.hosts, Some("/etc/hosts".into()));
        assert_eq!(right("[dns]\nhosts = \"\"").dns.hosts, None);
    }
}
