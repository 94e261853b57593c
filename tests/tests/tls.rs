//! The name of the server in the first message of TLS clients, against what the client was told to say.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::program::{Running, python};
use netsonde_tests::report::{Connection, Moved, Report};
use netsonde_tests::telemetry::{Attribute, Event, Telemetry};
use serde::Deserialize;

const NAME: &str = "Shop.Example";

/// Has no name in a hosts file, unlike 127.0.0.1.
const ADDRESS: &str = "127.0.0.9";

/// Hangs up on the first that comes, since it speaks no TLS, and counts all that the client has to say.
fn listen(address: &str, times: usize) -> (SocketAddr, JoinHandle<Vec<usize>>) {
    let listener = TcpListener::bind(address).unwrap();
    let local = listener.local_addr().unwrap();
    let hear = move || {
        let (mut client, _) = listener.accept().unwrap();
        let first = client.read(&mut vec![0; 16 * 1024]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        first + client.read_to_end(&mut Vec::new()).unwrap()
    };
    let server = std::thread::spawn(move || (0..times).map(|_| hear()).collect());
    (local, server)
}

#[derive(Deserialize)]
struct Said {
    local: SocketAddr,
    peer: SocketAddr,
    #[serde(flatten)]
    report: Report,
}

fn say_hello(to: SocketAddr, name: &str, protocols: &str) -> Said {
    let arguments = format!("{} {} {name} {protocols}", to.ip(), to.port());
    Running::start_command(&mut python("tls_client.py", &arguments)).unwrap().read().unwrap()
}

fn configuration(ports: &[u16]) -> String {
    format!(
        "[dns]\nhosts = \"\"\n[tls]\nports = {ports:?}\n[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\", \
         \"server.address\", \"network.peer.address\", \"process.executable.path\", \"process.pid\"]\n"
    )
}

fn closed<'a>(telemetry: &'a Telemetry, said: &Said) -> Vec<&'a Event> {
    let connection = Connection { local: said.local, peer: said.peer, moved: Moved::default() };
    expect::of_connection(telemetry, "netsonde.tcp.close", Role::Client, &connection)
}

fn client_of(said: &Said) -> Subject {
    Subject::new(&said.report.process.executable, Role::Client)
        .with("process.pid", i64::from(said.report.process.pid))
}

#[test]
fn a_server_has_the_name_that_a_client_says_first() {
    let _host = Host::acquire().unwrap();
    for address in [format!("{ADDRESS}:0"), "[::1]:0".to_owned()] {
        let (server, serving) = listen(&address, 2);
        let daemon = Daemon::start(&configuration(&[server.port()])).unwrap();
        let both = say_hello(server, NAME, "h2 http/1.1");
        let plain = say_hello(server, "other.example", "");
        let heard = serving.join().unwrap();
        let telemetry = daemon.stop().unwrap();
        for (said, name, heard) in [(&both, "shop.example", heard[0]), (&plain, "other.example", heard[1])] {
            let moved = client_of(said)
                .with("server.address", name)
                .with("network.peer.address", server.ip().to_string().as_str())
                .moved(&telemetry);
            assert_eq!(moved.sent, heard as u64, "all that {name} was sent");
            expect::assert_attribute(&closed(&telemetry, said), "server.address", name);
        }
        expect::assert_attribute(
            &closed(&telemetry, &both),
            "netsonde.tls.client.protocols",
            Attribute::List(vec!["h2".into(), "http/1.1".into()]),
        );
        expect::assert_absent(&closed(&telemetry, &plain), "netsonde.tls.client.protocols");
    }
}

#[test]
fn other_ports_and_a_signal_that_is_off_leave_the_address() {
    let _host = Host::acquire().unwrap();
    let (server, serving) = listen(&format!("{ADDRESS}:0"), 2);
    for configuration in
        [configuration(&[1]), format!("[signals]\ntls = false\n{}", configuration(&[server.port()]))]
    {
        let daemon = Daemon::start(&configuration).unwrap();
        let said = say_hello(server, NAME, "h2");
        let telemetry = daemon.stop().unwrap();
        expect::assert_attribute(&closed(&telemetry, &said), "server.address", ADDRESS);
        let moved = client_of(&said).with("server.address", ADDRESS).moved(&telemetry);
        assert!(moved.sent > 0);
    }
    serving.join().unwrap();
}
