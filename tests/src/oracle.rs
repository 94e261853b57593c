//! What the kernel itself says of TCP, read by tools that share nothing with netsonde: `ss` and /proc/net.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::namespace::Namespace;

/// Counters of one network namespace, as `Tcp:OutSegs` or `TcpExt:TCPSynRetrans`.
pub struct Counters(HashMap<String, u64>);

impl Counters {
    /// Reads /proc/net/snmp and /proc/net/netstat of a namespace.
    pub fn read(namespace: &Namespace) -> Result<Self> {
        Ok(Self(parse_counters(&namespace.run("cat /proc/net/snmp /proc/net/netstat")?)?))
    }

    /// How much a counter has grown since an earlier reading.
    pub fn since(&self, earlier: &Counters, name: &str) -> Result<u64> {
        let of =
            |counters: &Counters| counters.0.get(name).copied().with_context(|| format!("no counter {name}"));
        Ok(of(self)? - of(earlier)?)
    }
}

/// Both files hold pairs of lines: names, then values, each after the protocol's name.
fn parse_counters(text: &str) -> Result<HashMap<String, u64>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = HashMap::new();
    for pair in lines.chunks(2) {
        let [names, values] = pair else { anyhow::bail!("names without values: {pair:?}") };
        let protocol = names.split_once(' ').context("no protocol")?.0;
        for (name, value) in names.split(' ').zip(values.split(' ')).skip(1) {
            // MaxConn is -1; nothing else here is negative.
            counters.insert(format!("{protocol}{name}"), value.parse().unwrap_or(0));
        }
    }
    Ok(counters)
}

/// One socket as `ss` prints it.
#[derive(Debug)]
pub struct Socket {
    /// `ESTAB`, `FIN-WAIT-1` and so on.
    pub state: String,
    words: Vec<String>,
}

impl Socket {
    /// A number that `ss -i` prints as `name:value`; 0 when it leaves the name out, as it does for zero.
    pub fn number(&self, name: &str) -> u64 {
        let find = |word: &String| word.strip_prefix(name)?.strip_prefix(':')?.parse().ok();
        self.words.iter().find_map(find).unwrap_or(0)
    }
}

/// Sockets with this port at either end that still are sockets: TIME-WAIT is only a note of one that was.
pub fn sockets(place: Option<&Namespace>, port: u16) -> Result<Vec<Socket>> {
    let words = format!(
        "ss -tinHO state connected exclude time-wait exclude syn-recv ( sport = :{port} or dport = :{port} )"
    );
    let text = match place {
        Some(namespace) => namespace.run(&words),
        None => command::line(&words),
    }?;
    Ok(parse_sockets(&text))
}

/// Waits until something listens on a port.
pub fn wait_until_listening(place: Option<&Namespace>, port: u16) -> Result<()> {
    let words = format!("ss -tnlHO sport = :{port}");
    let listening = command::until(Duration::from_secs(20), || {
        let text = match place {
            Some(namespace) => namespace.run(&words),
            None => command::line(&words),
        }?;
        Ok(!text.is_empty())
    })?;
    ensure!(listening, "nothing listens on port {port}");
    Ok(())
}

fn parse_sockets(text: &str) -> Vec<Socket> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Socket { state: words.next()?, words: words.collect() })
    };
    text.lines().filter_map(parse).collect()
}

/// Waits until the last socket on a port is gone: a FIN may be under way after both programs ended.
pub fn wait_until_closed(place: Option<&Namespace>, port: u16) -> Result<()> {
    let closed = command::until(Duration::from_secs(20), || Ok(sockets(place, port)?.is_empty()))?;
    ensure!(closed, "sockets on port {port} did not close: {:?}", sockets(place, port)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_by_protocol() {
        let text = "Tcp: MaxConn OutSegs\nTcp: -1 1234\nTcpExt: TCPSynRetrans\nTcpExt: 7\n";
        let counters = parse_counters(text).unwrap();
        assert_eq!(counters["Tcp:OutSegs"], 1234);
        assert_eq!(counters["TcpExt:TCPSynRetrans"], 7);
    }

    #[test]
    fn socket_numbers_are_whole_words() {
        let line = "ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 cubic data_segs_out:3 segs_out:9 retrans:0/2";
        let sockets = parse_sockets(line);
        assert_eq!(sockets[0].state, "ESTAB");
        assert_eq!(sockets[0].number("segs_out"), 9);
        assert_eq!(sockets[0].number("segs_in"), 0);
    }
}
