//! Whose socket it is, however a process came to it: by fork, by exec, from another process, from systemd, from
//! io_uring; and from the kernel itself.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::{self, Host};
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::nginx::{self, Nginx};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server, python};
use netsonde_tests::report::{Connection, Moved, Process, Report};
use netsonde_tests::rotel;
use netsonde_tests::telemetry::Telemetry;

/// Processes of one binary are told apart by their ids.
const BY_PROCESS: &str = "[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\", \
    \"server.port\", \"process.executable.path\", \"process.pid\", \"process.user.name\"]\n";
const CLOSE: &str = "netsonde.tcp.close";
const ACCEPTED_AND_CLOSED: &[&str] = &["netsonde.tcp.accept", CLOSE];
/// After so long, every walk over open files has seen who holds what.
const SEEN: Duration = Duration::from_secs(5);

/// One process in one role on one port.
fn subject(process: &Process, role: Role, port: u16) -> Subject {
    Subject::new(&process.executable, role)
        .with("server.port", i64::from(port))
        .with("process.pid", i64::from(process.pid))
}

/// Fails unless netsonde says of each worker what it said of itself.
fn assert_workers(telemetry: &Telemetry, served: &Report, port: u16) {
    let busy = served.workers.iter().filter(|worker| !worker.connections.is_empty()).count();
    assert!(busy > 1, "one worker took everything: nothing is compared");
    for worker in &served.workers {
        subject(&worker.process, Role::Server, port).assert_exact(
            telemetry,
            worker.moved(),
            worker.connections.len(),
        );
        if !worker.connections.is_empty() {
            expect::assert_records(telemetry, ACCEPTED_AND_CLOSED, Role::Server, &worker.connections, worker);
        }
    }
}

#[test]
fn nginx_workers_own_what_they_accept_and_the_master_listens() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let nginx = Nginx::start(3).unwrap();
    let to = nginx.address;
    let (master, above) = Process::chain(nginx.master()).unwrap();
    let workers: Vec<_> =
        nginx.workers().unwrap().into_iter().map(|pid| Process::chain(pid).unwrap()).collect();
    // Several at a time, so that several workers have something to do.
    let clients: Vec<_> = (0..4)
        .map(|_| Running::start_command(&mut python("fetch.py", &format!("{to} 30"))).unwrap())
        .collect();
    let reports: Vec<_> = clients.into_iter().map(|client| client.finish().unwrap()).collect();
    let requests = nginx.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();

    let total = requests.iter().fold(Moved::default(), |mut total, request| {
        total.add(request.connection.moved);
        total
    });
    let asked = reports.iter().fold(Moved::default(), |mut total, report| {
        total.add(report.moved());
        total
    });
    assert_eq!(total, asked.peer(), "nginx's log and its clients differ: nothing can be compared with them");
    assert_eq!(requests.len(), 120);
    let reports = workers.into_iter().map(|(process, ancestors)| {
        let own = requests.iter().filter(|request| request.pid == process.pid);
        let connections = own.map(|request| request.connection).collect();
        Report { process, ancestors, connections, failures: [].into(), workers: Vec::new() }
    });
    let served = Report {
        process: master,
        ancestors: above,
        connections: Vec::new(),
        failures: [].into(),
        workers: reports.collect(),
    };
    assert_workers(&telemetry, &served, to.port());
    for worker in &served.workers {
        assert_eq!(worker.ancestors[0].pid, served.process.pid);
        let by_user =
            subject(&worker.process, Role::Server, to.port()).with("process.user.name", nginx::USER);
        assert_eq!(by_user.moved(&telemetry), worker.moved());
    }
    let of_port = [("server.port", i64::from(to.port()).into())];
    for name in ["netsonde.listen.open", "netsonde.listen.close"] {
        let events = telemetry.events(name, &of_port);
        assert_eq!(events.len(), 1, "{name}");
        expect::check_owner(events[0], &served.process, &served.ancestors).unwrap();
    }
}

#[test]
fn listeners_that_share_a_port_have_each_their_process() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("to-shared-port").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let listening = Server::run(&mut python("reuse_port.py", "4")).unwrap();
    let to = listening.address;
    program::connect(&client, None, to, "--connections 120 --concurrency 6 --send 5000").unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_workers(&telemetry, &served, to.port());
    for worker in &served.workers {
        let filter = [
            ("server.port", i64::from(to.port()).into()),
            ("process.pid", i64::from(worker.process.pid).into()),
        ];
        for name in ["netsonde.listen.open", "netsonde.listen.close"] {
            let events = telemetry.events(name, &filter);
            assert_eq!(events.len(), 1, "{name} of {:?}", worker.process);
            expect::check_owner(events[0], &worker.process, &worker.ancestors).unwrap();
        }
    }
}

#[test]
fn a_thread_accepts_for_its_process() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["to-threads", "threads"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    // The listener came to the workers over fork and exec, and none of their threads is the first.
    let listening = Server::start(&server, None, "127.0.0.1:0", "--workers 2 --threads 4").unwrap();
    let to = listening.address;
    program::connect(&client, None, to, "--connections 100 --concurrency 10 --send 5000 --close server")
        .unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_workers(&telemetry, &served, to.port());
}

#[test]
fn a_process_outlives_its_first_thread() {
    let _host = Host::acquire().unwrap();
    let older = Server::run(&mut python("without_first_thread.py", "")).unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let newer = Server::run(&mut python("without_first_thread.py", "")).unwrap();
    // Long enough for netsonde to forget what it takes for ended.
    thread::sleep(SEEN);
    for server in [older, newer] {
        let to = server.address;
        let arguments = to.to_string();
        let mut running = python("without_first_thread.py", &arguments);
        let client = Running::start_command(&mut running).unwrap().finish().unwrap();
        let served = server.stop().unwrap();
        oracle::wait_until_closed(None, to.port()).unwrap();
        for (report, role) in [(&client, Role::Client), (&served, Role::Server)] {
            let what = format!("the bytes of {role:?} {:?}", report.process);
            let subject = subject(&report.process, role, to.port());
            daemon.wait(&what, |telemetry| subject.moved(telemetry) == report.moved()).unwrap();
        }
        let telemetry = daemon.telemetry().unwrap();
        let names = &["netsonde.tcp.connect", CLOSE];
        expect::assert_records(&telemetry, names, Role::Client, &client.connections, &client);
        expect::assert_records(&telemetry, ACCEPTED_AND_CLOSED, Role::Server, &served.connections, &served);
    }
    daemon.stop().unwrap();
}

#[test]
fn io_uring_accepts_and_connects_for_its_process() {
    let _host = Host::acquire().unwrap();
    let ring = host::built("ring").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let run = |how: &str| {
        let listen = format!("serve --listen 127.0.0.1:0 --how {how}");
        let listening = Server::listening(Running::start(&ring, None, &listen).unwrap()).unwrap();
        let to = listening.address;
        let arguments = format!("connect --to {to} --connections 10 --how {how}");
        let client = Running::start(&ring, None, &arguments).unwrap().finish().unwrap();
        let served = listening.stop().unwrap();
        oracle::wait_until_closed(None, to.port()).unwrap();
        (how.to_owned(), to.port(), client, served)
    };
    let runs = ["caller", "worker", "poller"].map(run);
    let telemetry = daemon.stop().unwrap();
    for (how, port, client, served) in &runs {
        assert_eq!((client.connections.len(), served.connections.len()), (10, 10), "{how}");
        subject(&client.process, Role::Client, *port).assert_exact(&telemetry, client.moved(), 10);
        subject(&served.process, Role::Server, *port).assert_exact(&telemetry, served.moved(), 10);
        let names = &["netsonde.tcp.connect", CLOSE];
        expect::assert_records(&telemetry, names, Role::Client, &client.connections, client);
        expect::assert_records(&telemetry, ACCEPTED_AND_CLOSED, Role::Server, &served.connections, served);
    }
}

/// What became of a connection that went from one process to another.
struct Handed {
    port: u16,
    first: Report,
    second: Report,
}

impl Handed {
    /// Lets a connection change hands. With bytes to move by the first, a sweep sees them before the second has it,
    /// and another sees the second's before it closes.
    fn run(daemon: &Daemon, server: &Path, how: &str, amount: u64) -> Self {
        let listening = Server::start(server, None, "127.0.0.1:0", "").unwrap();
        let to = listening.address;
        let mut running =
            Running::start_command(&mut python("hand_over.py", &format!("{how} {to} {amount}"))).unwrap();
        let first = running.round().unwrap();
        let seen = |what: &str, wanted: Moved| {
            let of_port = [
                ("server.port", i64::from(to.port()).into()),
                ("netsonde.socket.role", Role::Client.name().into()),
                ("network.io.direction", "transmit".into()),
            ];
            let sum = |telemetry: &Telemetry| telemetry.sum("netsonde.flow.io", &of_port) as u64;
            daemon.wait(what, |telemetry| sum(telemetry) == wanted.sent).unwrap();
        };
        if amount > 0 {
            seen("what the first moved", first);
        }
        running.step().unwrap();
        assert_eq!(running.round().unwrap(), Moved::default());
        running.step().unwrap();
        let mut total = running.round().unwrap();
        total.add(first);
        if amount > 0 {
            seen("what the second moved", total);
        }
        running.step().unwrap();
        let report = running.finish().unwrap();
        listening.stop().unwrap();
        oracle::wait_until_closed(None, to.port()).unwrap();
        let [second] = &report.workers[..] else { panic!("not two processes: {report:?}") };
        Self { port: to.port(), second: second.clone(), first: report }
    }

    /// Each has its own bytes, the first opened it and the second closed it.
    fn assert(&self, telemetry: &Telemetry) {
        let Self { port, first, second } = self;
        for report in [first, second] {
            let found = subject(&report.process, Role::Client, *port).moved(telemetry);
            assert_eq!(found, report.moved(), "of {:?}, found and expected", report.process);
        }
        expect::assert_records(telemetry, &["netsonde.tcp.connect"], Role::Client, &first.connections, first);
        expect::assert_records(telemetry, &[CLOSE], Role::Client, &second.connections, second);
        let both =
            Subject::new(&first.process.executable, Role::Client).with("server.port", i64::from(*port));
        let counts = ["opened", "closed"].map(|event| both.connections(telemetry, event));
        assert_eq!(counts, [1, 1]);
        assert_eq!(both.sum(telemetry, "netsonde.tcp.connections.active"), 0);
    }
}

fn assert_handed_over(how: &str) {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("handed-over-to").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let unused_by_the_first = Handed::run(&daemon, &server, how, 0);
    let used_by_both = Handed::run(&daemon, &server, how, 5000);
    let telemetry = daemon.stop().unwrap();
    unused_by_the_first.assert(&telemetry);
    used_by_both.assert(&telemetry);
}

#[test]
fn a_connection_inherited_by_fork_is_the_childs_when_the_parent_closes_it() {
    assert_handed_over("fork");
}

#[test]
fn a_connection_inherited_by_fork_is_the_childs_when_the_parent_ends() {
    assert_handed_over("orphan");
}

#[test]
fn a_connection_passed_to_another_process_is_that_ones() {
    assert_handed_over("pass");
}

#[test]
fn accepted_connections_passed_to_workers_are_the_workers() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("to-passed").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let listening = Server::run(&mut python("pass_accepted.py", "3")).unwrap();
    let to = listening.address;
    program::connect(&client, None, to, "--connections 60 --concurrency 6 --send 5000 --close server")
        .unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for worker in &served.workers {
        assert_eq!(subject(&worker.process, Role::Server, to.port()).moved(&telemetry), worker.moved());
        expect::assert_records(&telemetry, &[CLOSE], Role::Server, &worker.connections, worker);
    }
    let all =
        Subject::new(&served.process.executable, Role::Server).with("server.port", i64::from(to.port()));
    let counts = ["accepted", "closed"].map(|event| all.connections(&telemetry, event));
    assert_eq!(counts, [60, 60]);
}

#[test]
fn a_connection_kept_over_exec_is_the_next_programs() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, first, then] =
        ["kept-server", "kept-first", "kept-then"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let gate = programs.path("gate").unwrap();
    let arguments = format!("become --to {to} --program {} --keep --gate {}", then.display(), gate.display());
    let mut running = Running::start(&first, None, &arguments).unwrap();
    let before: Report = running.read().unwrap();
    let moved = |path| Subject::new(path, Role::Client);
    daemon.wait("the first's bytes", |seen| moved(&first).moved(seen) == before.moved()).unwrap();
    running.step().unwrap();
    // A first round, and the second one when the gate is there; 24 is a round's header.
    let round = Moved { sent: 30_024, received: 40_000 };
    daemon.wait("the second's bytes while it is open", |seen| moved(&then).moved(seen) == round).unwrap();
    std::fs::write(&gate, "").unwrap();
    let after = running.finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(before.process.pid, after.process.pid);
    for (path, report) in [(&first, &before), (&then, &after)] {
        assert_eq!(moved(path).moved(&telemetry), report.moved());
    }
    expect::assert_records(&telemetry, &["netsonde.tcp.connect"], Role::Client, &before.connections, &before);
    expect::assert_records(&telemetry, &[CLOSE], Role::Client, &after.connections, &after);
}

#[test]
fn a_connection_that_an_exec_closes_was_the_program_befores() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, first, then] =
        ["left-server", "left-first", "left-then"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let arguments = format!("become --to {to} --program {} --leave", then.display());
    let runs: Vec<_> = (0..10)
        .map(|_| {
            let mut running = Running::start(&first, None, &arguments).unwrap();
            let before: Report = running.read().unwrap();
            running.step().unwrap();
            (before, running.finish().unwrap())
        })
        .collect();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    let names = &["netsonde.tcp.connect", CLOSE];
    for (path, reports) in [
        (&first, runs.iter().map(|(before, _)| before).collect::<Vec<_>>()),
        (&then, runs.iter().map(|(_, after)| after).collect()),
    ] {
        let mut moved = Moved::default();
        for report in reports {
            expect::assert_records(&telemetry, names, Role::Client, &report.connections, report);
            moved.add(report.moved());
        }
        Subject::new(path, Role::Client).assert_exact(&telemetry, moved, 10);
    }
}

#[test]
fn a_connection_kept_over_exec_between_two_sweeps_is_closed_by_the_next_program() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [server, first, then] =
        ["kept-server", "soon-first", "soon-then"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let gate = programs.path("gate").unwrap();
    std::fs::write(&gate, "").unwrap();
    let arguments = format!("become --to {to} --program {} --keep --gate {}", then.display(), gate.display());
    // Each takes a few milliseconds, so that no sweep sees most of them.
    let runs: Vec<_> = (0..10)
        .map(|_| {
            let mut running = Running::start(&first, None, &arguments).unwrap();
            let before: Report = running.read().unwrap();
            running.step().unwrap();
            (before, running.finish().unwrap())
        })
        .collect();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (before, after) in &runs {
        expect::assert_records(
            &telemetry,
            &["netsonde.tcp.connect"],
            Role::Client,
            &before.connections,
            before,
        );
        expect::assert_records(&telemetry, &[CLOSE], Role::Client, &after.connections, after);
    }
    // Nobody has read the counters at the exec: which part is whose cannot be told, but none is lost.
    let mut moved = Moved::default();
    for path in [&first, &then] {
        moved.add(Subject::new(path, Role::Client).moved(&telemetry));
    }
    assert_eq!(moved, served.moved().peer());
}

#[test]
fn both_holders_of_a_socket_are_listed() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("alone").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let listening = Server::run(&mut python("prefork.py", "2")).unwrap();
    let to = listening.address;
    let mut running =
        Running::start_command(&mut python("hand_over.py", &format!("share {to} 100"))).unwrap();
    running.round().unwrap();
    running.step().unwrap();
    running.round().unwrap();
    thread::sleep(SEEN);
    running.step().unwrap();
    running.round().unwrap();
    // The connection is over, and both still have its socket.
    oracle::wait_until_closed(None, to.port()).unwrap();
    running.step().unwrap();
    let report = running.finish().unwrap();
    let alone = program::connect(&client, None, to, "").unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();

    let [connection] = report.connections[..] else { panic!("not one connection: {report:?}") };
    let events = |name, connection: &Connection| {
        let events = expect::of_connection(&telemetry, name, Role::Client, connection);
        assert_eq!(events.len(), 1, "{name}");
        events[0]
    };
    let close = events(CLOSE, &connection);
    let holders = [&report.process, &report.workers[0].process];
    expect::check_holders(close, &holders).unwrap();
    let owner = close.int("process.pid").unwrap();
    assert!(holders.iter().any(|holder| i64::from(holder.pid) == owner), "{owner} holds nothing");
    expect::assert_absent(&[events("netsonde.tcp.connect", &connection)], "netsonde.socket.holders");
    for name in ["netsonde.tcp.connect", CLOSE] {
        expect::assert_absent(&[events(name, &alone.connections[0])], "netsonde.socket.holders");
    }
    let listen = telemetry.events("netsonde.listen.close", &[("server.port", i64::from(to.port()).into())]);
    let [listen] = listen[..] else { panic!("not one listener closed: {listen:?}") };
    let workers = served.workers.iter().map(|worker| &worker.process);
    expect::check_holders(listen, &workers.chain([&served.process]).collect::<Vec<_>>()).unwrap();
}

#[test]
fn sockets_that_changed_hands_before_netsonde_came_have_their_holder() {
    let _host = Host::acquire().unwrap();
    let listening = Server::run(&mut python("prefork.py", "2")).unwrap();
    let to = listening.address;
    let mut running =
        Running::start_command(&mut python("hand_over.py", &format!("fork {to} 5000"))).unwrap();
    let before = running.round().unwrap();
    running.step().unwrap();
    running.round().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    running.step().unwrap();
    let after = running.round().unwrap();
    running.step().unwrap();
    let report = running.finish().unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    let client = &report.workers[0];
    let worker = served.workers.iter().find(|worker| !worker.connections.is_empty()).unwrap();
    assert_eq!(subject(&client.process, Role::Client, to.port()).moved(&telemetry), after);
    let expected = worker.moved().since(before.peer());
    assert_eq!(subject(&worker.process, Role::Server, to.port()).moved(&telemetry), expected);
    expect::assert_records(&telemetry, &[CLOSE], Role::Client, &client.connections, client);
    expect::assert_records(&telemetry, &[CLOSE], Role::Server, &worker.connections, worker);
}

/// `systemd-socket-activate` on a port, in front of the Python service.
fn activator(port: u16, options: &[&str]) -> Running {
    let mut command = Command::new("systemd-socket-activate");
    command.env("SYSTEMD_LOG_LEVEL", "warning");
    command.args(options).args(["--listen", &format!("127.0.0.1:{port}"), "python3"]);
    let running = Running::start_command(command.arg(host::source("programs/activated.py"))).unwrap();
    oracle::wait_until_listening(None, port).unwrap();
    running
}

#[test]
fn a_socket_activated_service_owns_its_connections() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("to-activated").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let [port] = rotel::free_ports().unwrap();
    let activator = activator(port, &[]);
    let (process, above) = Process::chain(activator.pid() as i32).unwrap();
    assert_eq!(process.name(), "systemd-socket-activate");
    // The first of them starts the service, under the pid of the activator.
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let report = program::connect(&client, None, to, "--connections 10 --send 5000").unwrap();
    let service = Server::listening(activator).unwrap();
    let served = service.stop().unwrap();
    oracle::wait_until_closed(None, port).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!((served.process.pid, served.connections.len()), (process.pid, 10));
    assert_ne!(served.process.executable, process.executable);
    assert_eq!(served.moved(), report.moved().peer());
    subject(&served.process, Role::Server, port).assert_exact(&telemetry, served.moved(), 10);
    expect::assert_records(&telemetry, ACCEPTED_AND_CLOSED, Role::Server, &served.connections, &served);
    let of_port = [("server.port", i64::from(port).into())];
    for (name, owner) in [("netsonde.listen.open", &process), ("netsonde.listen.close", &served.process)] {
        let events = telemetry.events(name, &of_port);
        assert_eq!(events.len(), 1, "{name}: {events:#?}");
        expect::check_owner(events[0], owner, &above).unwrap();
    }
}

#[test]
fn a_service_started_for_each_connection_owns_it() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("to-instances").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let [port] = rotel::free_ports().unwrap();
    let mut activator = activator(port, &["--accept"]);
    let (process, _) = Process::chain(activator.pid() as i32).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let report = program::connect(&client, None, to, "--connections 6 --concurrency 2 --send 5000").unwrap();
    let instances: Vec<Report> = report.connections.iter().map(|_| activator.read().unwrap()).collect();
    oracle::wait_until_closed(None, port).unwrap();
    drop(activator);
    let telemetry = daemon.stop().unwrap();
    let pids: BTreeSet<i32> = instances.iter().map(|instance| instance.process.pid).collect();
    assert_eq!(pids.len(), 6, "a process for each connection");
    let total = instances.iter().fold(Moved::default(), |mut total, instance| {
        total.add(instance.moved());
        total
    });
    assert_eq!(total, report.moved().peer());
    for instance in &instances {
        assert_eq!(instance.ancestors[0].pid, process.pid);
        assert_eq!(subject(&instance.process, Role::Server, port).moved(&telemetry), instance.moved());
        expect::assert_records(&telemetry, &[CLOSE], Role::Server, &instance.connections, instance);
    }
}

/// Both hold it for some sweeps, as they may on a busy host.
#[test]
fn a_manager_that_is_slow_to_close_leaves_connections_to_whom_it_started() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let client = programs.copy("to-started").unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let listening = Server::run(&mut python("start_each.py", "3")).unwrap();
    let to = listening.address;
    program::connect(&client, None, to, "--connections 3 --concurrency 3 --send 5000").unwrap();
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(served.workers.len(), 3);
    for started in &served.workers {
        assert_eq!(subject(&started.process, Role::Server, to.port()).moved(&telemetry), started.moved());
        expect::assert_records(&telemetry, &[CLOSE], Role::Server, &started.connections, started);
    }
}

#[test]
fn multipath_tcp_belongs_to_its_programs() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    // IPPROTO_MPTCP: the kernel makes the TCP sockets below by itself.
    let listening = Server::run(&mut python("server.py", "127.0.0.1:0 262")).unwrap();
    let to = listening.address;
    // The last one to the same server without.
    let reports = ["--protocol 262", "--protocol 262", ""].map(|protocol| {
        let mut client = python("client.py", &format!("{to} {protocol}"));
        Running::start_command(&mut client).unwrap().finish().unwrap()
    });
    let served = listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for report in &reports {
        subject(&report.process, Role::Client, to.port()).assert_exact(&telemetry, report.moved(), 1);
        let names = &["netsonde.tcp.connect", CLOSE];
        expect::assert_records(&telemetry, names, Role::Client, &report.connections, report);
    }
    subject(&served.process, Role::Server, to.port()).assert_exact(&telemetry, served.moved(), 3);
    expect::assert_records(&telemetry, ACCEPTED_AND_CLOSED, Role::Server, &served.connections, &served);
    let opened = telemetry.events("netsonde.listen.open", &[("server.port", i64::from(to.port()).into())]);
    assert_eq!(opened.len(), 1);
    expect::check_owner(opened[0], &served.process, &served.ancestors).unwrap();
}

#[test]
fn a_path_that_the_kernel_adds_belongs_to_the_programs_of_the_connection() {
    let _host = Host::acquire().unwrap();
    let pair = Pair::new().unwrap();
    // The server's kernel offers its second address, and a worker of the client's kernel connects to that
    // (mptcp_pm_nl_add_addr_received() in net/mptcp/pm_kernel.c).
    pair.server.ip("address add 10.77.0.3/24 dev cable").unwrap();
    pair.server.run("ip mptcp endpoint add 10.77.0.3 dev cable signal").unwrap();
    for end in [&pair.client, &pair.server] {
        end.run("ip mptcp limits set subflows 2 add_addr_accepted 2").unwrap();
    }
    let run = |place: &Namespace, name: &str, words: &str| {
        let wrapped = python(name, words);
        let mut command = place.command(Path::new(wrapped.get_program()));
        command.args(wrapped.get_args());
        Running::start_command(&mut command).unwrap()
    };
    let daemon = Daemon::start(BY_PROCESS).unwrap();
    let listening = Server::listening(run(&pair.server, "server.py", "0.0.0.0:0 262")).unwrap();
    let to = listening.at("10.77.0.2").unwrap();
    let client = run(&pair.client, "client.py", &format!("{to} --protocol 262 --pause 2"));
    let joined = netsonde_tests::command::until(Duration::from_secs(2), || {
        Ok(oracle::sockets(Some(&pair.client), to.port())?.len() > 1)
    });
    let report = client.finish().unwrap();
    let served = listening.stop().unwrap();
    for end in [&pair.client, &pair.server] {
        oracle::wait_until_closed(Some(end), to.port()).unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    assert!(joined.unwrap(), "the kernel has added no path: nothing is compared");
    for (report, role, opened) in
        [(&report, Role::Client, "netsonde.tcp.connect"), (&served, Role::Server, "netsonde.tcp.accept")]
    {
        for name in [opened, CLOSE] {
            let of_role =
                [("server.port", i64::from(to.port()).into()), ("netsonde.socket.role", role.name().into())];
            let events = telemetry.events(name, &of_role);
            assert_eq!(events.len(), 2, "{name} at the {role:?}");
            for event in events {
                expect::check_owner(event, &report.process, &report.ancestors).unwrap();
            }
        }
        // What the kernel sends again on the other path is no error, so the bytes may be more.
        let found = subject(&report.process, role, to.port()).moved(&telemetry);
        assert!(found.sent >= report.moved().sent && found.received >= report.moved().received, "{found:?}");
    }
}

#[test]
fn sockets_of_the_kernel_itself_are_the_kernels() {
    let _host = Host::acquire().unwrap();
    let daemon = Daemon::start("").unwrap();
    let place = Namespace::new().unwrap();
    // A port for subflows that others may join: no program has that listener, though `ip` is there when it opens
    // (mptcp_pm_nl_create_listen_socket() in net/mptcp/pm_kernel.c).
    place.run("ip mptcp endpoint add 127.0.0.1 id 7 signal port 4711").unwrap();
    oracle::wait_until_listening(Some(&place), 4711).unwrap();
    let kernel = [("process.executable.path", "[kernel]".into()), ("server.port", 4711.into())];
    daemon
        .wait("a listener of the kernel", |seen| !seen.events("netsonde.listen.open", &kernel).is_empty())
        .unwrap();
    // Walks over open files find no holder of it, and that changes nothing.
    thread::sleep(SEEN);
    place.run("ip mptcp endpoint flush").unwrap();
    let telemetry = daemon.stop().unwrap();
    for name in ["netsonde.listen.open", "netsonde.listen.close"] {
        let all = telemetry.events(name, &[("server.port", 4711.into())]);
        assert_eq!(all.len(), 1, "{name}");
        expect::assert_attribute(&all, "process.executable.path", "[kernel]");
        expect::assert_absent(&all, "process.pid");
        expect::assert_absent(&all, "netsonde.process.ancestors");
        expect::assert_absent(&all, "netsonde.socket.holders");
    }
}
