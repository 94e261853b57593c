//! Totals stay exact while events are lost: as many connections as the host can make, and a ring with no room.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::Namespace;
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Server};
use netsonde_tests::report::Moved;

const CONNECTIONS: usize = 20_000;

#[test]
fn twenty_thousand_connections_with_a_tiny_ring() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("load-server").unwrap();
    // Nothing but the ring may lose events here.
    let configuration = "[events]\nrate_limit = 1000000\n[limits]\nevent_ring = \"4KiB\"\n";
    let daemon = Daemon::start(configuration).unwrap();
    // A namespace of its own, so that the ports in TIME-WAIT are nobody else's.
    let place = Namespace::new().unwrap();
    place.sysctl("net.ipv4.ip_local_port_range", "1025 65000").unwrap();
    let listening = Server::start(&server, Some(&place), "127.0.0.1:1024", "--threads 24").unwrap();
    let port = listening.address.port();
    let clients = ["client", "server"].map(|close| {
        let path = programs.copy(&format!("load-closes-by-{close}")).unwrap();
        let arguments = format!(
            "--connections {} --concurrency 12 --send 3000 --receive 3000 --close {close}",
            CONNECTIONS / 2
        );
        let running = program::start_connect(&path, Some(&place), listening.address, &arguments).unwrap();
        (path, running)
    });
    let mut total = Moved::default();
    let reports = clients.map(|(path, running)| (path, running.finish().unwrap()));
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(Some(&place), port).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (path, report) in &reports {
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        Subject::new(path, Role::Client).assert_exact(&telemetry, report.moved(), CONNECTIONS / 2);
        total.add(report.moved());
    }
    assert_eq!(served.moved(), total.peer());
    Subject::new(&server, Role::Server).assert_exact(&telemetry, total.peer(), CONNECTIONS);
    let lost = telemetry.sum("netsonde.self.losses", &[("netsonde.loss.reason", "event_ring_full".into())]);
    let kept = telemetry.events.len() as i64;
    assert!(lost > 0, "a ring of 4 KiB lost none of {kept} events");
    // Each connection has one event when it opens and one when it closes, at both ends.
    let expected = 4 * CONNECTIONS as i64;
    assert!(kept + lost >= expected, "{kept} kept and {lost} counted as lost, of {expected}");
}
