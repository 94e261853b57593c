//! What netsonde's programs take for packets: for those of TCP, which they leave at once, for datagrams, for DNS messages, and for
//! the first message of a TLS client, which is copied.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Plan;
use crate::exchange;
use crate::results::{Content, Figure};
use crate::statistics::Statistics;
use crate::workloads::{self, Dns, Workload};

/// Both see every packet of this host.
const PROGRAMS: [&str; 2] = ["packet_sent", "packet_received"];
const LENGTH: Duration = Duration::from_secs(2);
/// Connections on which something is said: a hello, or as many bytes that are none.
const CONNECTIONS: u32 = 2_000;
const NAME: &str = "bench.example";

/// A daemon for each kind of load, as each may want a configuration of its own.
pub fn measure(plan: &Plan) -> Result<Content> {
    let mut figures = Vec::new();
    for (name, title, load) in [("tcp", "a packet of TCP", "keep-alive"), ("udp", "a datagram", "small-udp")]
    {
        let load = workloads::start(load)?;
        let taken = run(plan, &load.configuration(), || load.run(LENGTH).map(drop))?;
        figures.extend(taken.figures(name, title));
    }
    let dns = Dns::start()?;
    let taken = run(plan, &dns.configuration(), || dns.paced(LENGTH).map(drop))?;
    figures.extend(taken.figures("dns", "a DNS message"));
    figures.push(hello(plan)?);
    Ok(Content::Figures { figures })
}

/// Runs and nanoseconds of each of the programs.
#[derive(Debug)]
struct Taken([(u64, u64); 2]);

impl Taken {
    fn figures(&self, name: &str, title: &str) -> [Figure; 2] {
        let of = |index: usize| {
            let (runs, ns) = self.0[index];
            let program = PROGRAMS[index];
            let title = format!("{title}, in {program}");
            Figure::of(
                &format!("{name}-{program}").replace('_', "-"),
                &title,
                "ns",
                &[ns as f64 / runs as f64],
            )
        };
        [of(0), of(1)]
    }

    fn ns(&self) -> u64 {
        self.0.iter().map(|(_, ns)| ns).sum()
    }
}

/// What the programs of a daemon take meanwhile.
fn run(plan: &Plan, configuration: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<Taken> {
    let statistics = Statistics::enable()?;
    let daemon = plan.subject.start_for(configuration)?;
    let before = statistics.own()?;
    meanwhile()?;
    let after = statistics.own()?;
    daemon.stop()?;
    let mut taken = Taken([(0, 0); 2]);
    for (name, taken) in PROGRAMS.into_iter().zip(&mut taken.0) {
        let mut all = after.iter();
        let (id, now) = all
            .find(|(_, program)| program.is_named(name))
            .with_context(|| format!("netsonde has not loaded {name}"))?;
        let program = now.since(before.get(id));
        ensure!(program.runs > 0, "{name} did not run");
        *taken = (program.runs, program.ns);
    }
    Ok(taken)
}

/// What both programs take for a connection with a hello beyond one with as many other bytes.
fn hello(plan: &Plan) -> Result<Figure> {
    let hello = client_hello()?;
    let other = vec![0x5a; hello.len()];
    let server = exchange::serve(hello.len())?;
    let configuration = format!("[tls]\nports = [{}]\n", server.port());
    let of = |message: &[u8]| run(plan, &configuration, || say(message, server));
    let (plain, said) = (of(&other)?.ns(), of(&hello)?.ns());
    let beyond = (said as f64 - plain as f64) / f64::from(CONNECTIONS);
    let title =
        format!("the first message of a TLS client ({} bytes), beyond other bytes, in both", hello.len());
    Ok(Figure::of("tls-hello", &title, "ns", &[beyond]))
}

fn say(message: &[u8], to: SocketAddr) -> Result<()> {
    (0..CONNECTIONS).try_for_each(|_| exchange::send(message, to))
}

/// As rustls says it.
fn client_hello() -> Result<Vec<u8>> {
    let configuration =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(configuration), NAME.try_into()?)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_one() {
        let hello = client_hello().unwrap();
        // A record of handshake, and in it a message of the first type (RFC 8446, 4 and 5.1).
        assert_eq!((hello[0], hello[5]), (22, 1));
        assert!(hello.windows(NAME.len()).any(|part| part == NAME.as_bytes()));
    }

    #[test]
    fn packets_are_told_apart_by_their_way() {
        let [sent, received] = Taken([(10, 500), (5, 100)]).figures("udp", "a datagram");
        assert_eq!((sent.name.as_str(), sent.value.median), ("udp-packet-sent", 50.0));
        assert_eq!((received.name.as_str(), received.value.median), ("udp-packet-received", 20.0));
    }
}
