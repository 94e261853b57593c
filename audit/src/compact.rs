//! Listeners as the daemon hands them to its own command line: processes and network namespaces, of which there are
//! fewer than of sockets, are written once and referred to by number. A tenth of the bytes of the flat rows, and read
//! about as much faster.
//!
//! Owns that form only; it is between two programs of one version, and no format of a report. A reader takes the flat
//! rows instead when it cannot read it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Listener, Namespace, Process, Transport};
use crate::words::Word;

/// What listened at one time.
#[derive(Debug, Serialize, Deserialize)]
struct Compact<'a> {
    taken_unix_ns: u64,
    truncated: u64,
    processes: Vec<Cow<'a, Process>>,
    namespaces: Vec<Cow<'a, Namespace>>,
    rows: Vec<Row<'a>>,
}

/// A [`Listener`]; processes and namespaces by their place in the lists.
#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    transport: Cow<'a, str>,
    address: Option<IpAddr>,
    port: Option<u16>,
    protocol: Option<u16>,
    peer: Option<SocketAddr>,
    automatic_port: Option<bool>,
    ipv6_only: Option<bool>,
    namespace: usize,
    interface: Option<Cow<'a, str>>,
    backlog: Option<u32>,
    queued: Option<u32>,
    reuse_port: Option<bool>,
    reuse_port_sockets: Option<u32>,
    cookie: Option<u64>,
    opened_unix_ns: Option<u64>,
    opened_by: Option<usize>,
    holders: Vec<usize>,
    accepted: Option<u64>,
    last_accepted_unix_ns: Option<u64>,
    peers: Option<u64>,
    client_networks: Vec<(IpAddr, u8)>,
    further_networks: bool,
}

/// What is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// When it was read: nanoseconds since 1970, UTC.
    pub taken_unix_ns: u64,
    /// Each socket once.
    pub listeners: Vec<Listener>,
    /// Sockets that are not among them because they were too many.
    pub truncated: u64,
}

/// Numbers values in the order in which they come.
struct Numbered<'a, T: Clone> {
    numbers: HashMap<&'a T, usize>,
    values: Vec<Cow<'a, T>>,
}

impl<'a, T: Clone + Eq + Hash> Numbered<'a, T> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }

    fn number(&mut self, value: &'a T) -> usize {
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(Cow::Borrowed(value));
            self.values.len() - 1
        })
    }
}

/// Writes listeners as JSON in this form.
///
/// # Errors
///
/// serde's own; none is known.
pub fn write<'a>(
    taken_unix_ns: u64,
    truncated: u64,
    listeners: impl Iterator<Item = &'a Listener>,
) -> serde_json::Result<Vec<u8>> {
    let (mut processes, mut namespaces) = (Numbered::new(), Numbered::new());
    let rows = listeners
        .map(|listener| Row {
            transport: listener.transport.word().into(),
            address: listener.address,
            port: listener.port,
            protocol: listener.protocol,
            peer: listener.peer,
            automatic_port: listener.automatic_port,
            ipv6_only: listener.ipv6_only,
            namespace: namespaces.number(&listener.namespace),
            interface: listener.interface.as_deref().map(Cow::from),
            backlog: listener.backlog,
            queued: listener.queued,
            reuse_port: listener.reuse_port,
            reuse_port_sockets: listener.reuse_port_sockets,
            cookie: listener.cookie,
            opened_unix_ns: listener.opened_unix_ns,
            opened_by: listener.opened_by.as_ref().map(|process| processes.number(process)),
            holders: listener.holders.iter().map(|process| processes.number(process)).collect(),
            accepted: listener.accepted,
            last_accepted_unix_ns: listener.last_accepted_unix_ns,
            peers: listener.peers,
            client_networks: listener.client_networks.iter().map(|n| (n.addr(), n.prefix_len())).collect(),
            further_networks: listener.further_networks,
        })
        .collect();
    let (processes, namespaces) = (processes.values, namespaces.values);
    serde_json::to_vec(&Compact { taken_unix_ns, truncated, processes, namespaces, rows })
}

/// Reads them back.
///
/// # Errors
///
/// One sentence: it is not this form, or refers to what it does not have.
pub fn read(bytes: &[u8]) -> Result<Listeners, String> {
    let compact: Compact<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Compact { taken_unix_ns, truncated, processes, namespaces, rows } = compact;
    let listener = |row: Row<'_>| listener(row, &processes, &namespaces);
    let listeners = rows.into_iter().map(listener).collect::<Result<_, _>>()?;
    Ok(Listeners { taken_unix_ns, listeners, truncated })
}

fn listener(
    row: Row<'_>,
    processes: &[Cow<'_, Process>],
    namespaces: &[Cow<'_, Namespace>],
) -> Result<Listener, String> {
    fn at<T: Clone>(values: &[Cow<'_, T>], number: usize) -> Result<T, String> {
        let value = values.get(number).ok_or_else(|| format!("nothing has the number {number}"))?;
        Ok(T::clone(value))
    }
    let network =
        |(address, bits)| IpNet::new(address, bits).map_err(|_| format!("{address}/{bits} is no network"));
    Ok(Listener {
        transport: Transport::parse(&row.transport)?,
        address: row.address,
        port: row.port,
        protocol: row.protocol,
        peer: row.peer,
        automatic_port: row.automatic_port,
        ipv6_only: row.ipv6_only,
        namespace: at(namespaces, row.namespace)?,
        interface: row.interface.map(Cow::into_owned),
        backlog: row.backlog,
        queued: row.queued,
        reuse_port: row.reuse_port,
        reuse_port_sockets: row.reuse_port_sockets,
        cookie: row.cookie,
        opened_unix_ns: row.opened_unix_ns,
        opened_by: row.opened_by.map(|number| at(processes, number)).transpose()?,
        holders: row.holders.into_iter().map(|number| at(processes, number)).collect::<Result<_, _>>()?,
        accepted: row.accepted,
        last_accepted_unix_ns: row.last_accepted_unix_ns,
        peers: row.peers,
        client_networks: row.client_networks.into_iter().map(network).collect::<Result<_, _>>()?,
        further_networks: row.further_networks,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_listener, process, tcp};

    proptest! {
        #[test]
        fn listeners_are_read_as_they_were_written(
            listeners in vec(any_listener().boxed(), 0..4), taken_unix_ns in any::<u64>(), truncated in any::<u64>(),
        ) {
            let written = write(taken_unix_ns, truncated, listeners.iter()).expect("JSON");
            prop_assert_eq!(read(&written), Ok(Listeners { taken_unix_ns, listeners, truncated }));
        }

        #[test]
        fn other_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..64)) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn a_process_is_written_once() {
        let held = |port: &str| Listener { holders: vec![process("/usr/sbin/nginx")], ..tcp(port) };
        let listeners = [held("0.0.0.0:80"), held("0.0.0.0:443")];
        let text = String::from_utf8(write(1, 0, listeners.iter()).expect("JSON")).expect("UTF-8");
        assert_eq!(text.matches("/usr/sbin/nginx").count(), 1);
    }

    #[test]
    fn a_number_that_nothing_has_is_refused() {
        let listener = Listener { holders: vec![process("/usr/sbin/nginx")], ..tcp("0.0.0.0:80") };
        let text = String::from_utf8(write(1, 0, [&listener].into_iter()).expect("JSON")).expect("UTF-8");
        let wrong = text.replace("\"holders\":[0]", "\"holders\":[1]");
        assert_eq!(read(wrong.as_bytes()), Err("nothing has the number 1".to_owned()));
    }
}
