//! `[tls]`: where the first message of TLS clients is read for the name of the server.

use std::collections::BTreeSet;

use netsonde_probes::MAX_PAYLOAD_PORTS;

use super::dns::{MAX_DNS_PORTS, port};
use super::raw;
use super::reader::{Place, Reader};

/// On how many ports TLS may be looked for.
const MAX_TLS_PORTS: usize = 8;
const _: () =
    assert!(MAX_DNS_PORTS + MAX_TLS_PORTS <= MAX_PAYLOAD_PORTS, "the kernel's side has room for all");

/// How TLS is observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Ports that clients speak it to; no more than eight.
    pub ports: BTreeSet<u16>,
}

/// Reads the section.
pub fn read(reader: &mut Reader<'_>, raw: raw::Tls) -> Tls {
    let ports: BTreeSet<u16> = reader.list_of("tls.ports", raw.ports, [443].into(), |n| port(*n));
    if let Some(place @ Place::File(_)) = reader.place("tls.ports").cloned()
        && let Some(message) = wrong_number(ports.len())
    {
        reader.problem("tls.ports", &place, &message);
    }
    Tls { ports }
}

fn wrong_number(count: usize) -> Option<String> {
    match count {
        0 => Some("the list is empty; to observe no TLS, set signals.tls to false".to_owned()),
        _ if count > MAX_TLS_PORTS => Some(format!("{count} ports; there may be {MAX_TLS_PORTS} at most")),
        _ => None,
    }
}
