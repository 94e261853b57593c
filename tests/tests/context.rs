//! Where a process runs: in which pid namespace, unit, slice and container; and, only when asked for, its command
//! line.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::daemon::Daemon;
use netsonde_tests::expect::{self, Role, Subject};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle;
use netsonde_tests::program::{self, Programs, Running, Server, python};
use netsonde_tests::report::Report;
use netsonde_tests::telemetry::{Event, Telemetry};

const CONNECT: &str = "netsonde.tcp.connect";
const CLOSE: &str = "netsonde.tcp.close";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The records of all connections of a client or server; each names its process.
fn records<'a>(telemetry: &'a Telemetry, report: &Report, role: Role) -> Vec<&'a Event> {
    let opened = if role == Role::Client { CONNECT } else { "netsonde.tcp.accept" };
    expect::assert_records(telemetry, &[opened, CLOSE], role, &report.connections, report);
    let of = |connection| {
        [opened, CLOSE]
            .into_iter()
            .flat_map(move |name| expect::of_connection(telemetry, name, role, connection))
    };
    report.connections.iter().flat_map(of).collect()
}

/// A program that runs as in a container: with users, processes and mounts of its own, and its binary where nobody
/// else can see it. It keeps the host's /proc, by which it knows what it is on the host.
fn contained(place: &Namespace, script: &str, mount: &Path, program: &Path, arguments: &str) -> Running {
    let mut command = place.command(Path::new("unshare"));
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount"]);
    command.args(["/bin/sh", "-ec", script]).arg(mount).arg(program).args(arguments.split_whitespace());
    Running::start_command(&mut command).unwrap()
}

fn assert_contained(script: &str, seen_as: impl Fn(&Path) -> std::path::PathBuf) {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["contained-client", "contained-server"].map(|name| programs.copy(name).unwrap());
    let mount = programs.path("mount").unwrap();
    std::fs::create_dir(&mount).unwrap();
    let daemon = Daemon::start("").unwrap();
    let pair = Pair::new().unwrap();
    let serving = contained(&pair.server, script, &mount, &server, "serve --listen 10.77.0.2:0");
    let listening = Server::listening(serving).unwrap();
    let to = listening.address;
    let arguments = format!("connect --to {to} --connections 5 --send 5000");
    let report = contained(&pair.client, script, &mount, &client, &arguments).finish().unwrap();
    let served = listening.stop().unwrap();
    for end in [&pair.client, &pair.server] {
        oracle::wait_until_closed(Some(end), to.port()).unwrap();
    }
    let telemetry = daemon.stop().unwrap();
    for (report, role) in [(&report, Role::Client), (&served, Role::Server)] {
        let own = &report.process;
        assert_eq!(own.executable, seen_as(&mount.join("app")));
        assert_ne!(own.pid, own.vpid, "it is in no namespace of its own: nothing is compared");
        let events = records(&telemetry, report, role);
        expect::assert_attribute(&events, "process.vpid", i64::from(own.vpid));
        let subject = Subject::new(&own.executable, role).with("server.port", i64::from(to.port()));
        subject.assert_exact(&telemetry, report.moved(), 5);
    }
    let opened = telemetry.events("netsonde.listen.open", &[("server.port", i64::from(to.port()).into())]);
    assert_eq!(opened.len(), 1);
    expect::check_owner(opened[0], &served.process, &served.ancestors).unwrap();
    expect::assert_attribute(&opened, "process.vpid", i64::from(served.process.vpid));
}

#[test]
fn a_process_in_a_container_is_known_by_both_its_ids() {
    let script =
        "mount -t tmpfs none \"$0\"; cp \"$1\" \"$0\"/app; app=\"$0\"/app; shift; exec \"$app\" \"$@\"";
    assert_contained(script, Path::to_owned);
}

#[test]
fn a_path_in_a_container_is_as_the_container_sees_it() {
    let script = "mount -t tmpfs none \"$0\"; cp \"$1\" \"$0\"/app; cd \"$0\"; shift\n\
        mkdir usr proc old; mount --rbind /usr usr; mount --rbind /proc proc; cp -a /bin /lib* .\n\
        pivot_root . old; cd /; exec /app \"$@\"";
    assert_contained(script, |_| "/app".into());
}

#[test]
fn a_process_on_the_host_has_one_id() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["host-client", "host-server"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let report = program::connect(&client, None, to, "").unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    let events = records(&telemetry, &report, Role::Client);
    for absent in ["process.vpid", "container.id", "container.runtime.name", "process.command_args"] {
        expect::assert_absent(&events, absent);
    }
}

/// What the name of a group says.
#[derive(Default, Clone, Copy)]
struct Context<'a> {
    group: &'a str,
    unit: Option<&'a str>,
    user_unit: Option<&'a str>,
    slice: Option<&'a str>,
    container: Option<&'a str>,
    runtime: Option<&'a str>,
}

impl Context<'_> {
    fn assert(&self, events: &[&Event]) {
        let expected = [
            ("systemd.unit", self.unit),
            ("systemd.user_unit", self.user_unit),
            ("systemd.slice", self.slice),
            ("container.id", self.container),
            ("container.runtime.name", self.runtime),
        ];
        for (name, value) in expected {
            match value {
                Some(value) => expect::assert_attribute(events, name, value),
                None => expect::assert_absent(events, name),
            }
        }
    }
}

/// Runs a client in a group; the line of cgroup2 that it saw of itself, and its report.
fn grouped(group: &Cgroup, client: &Path, to: SocketAddr) -> (String, Report) {
    let mut command = group.command(client);
    command.args(["connect", "--to", &to.to_string()]);
    let mut running = Running::start_command(&mut command).unwrap();
    (running.read().unwrap(), running.finish().unwrap())
}

fn assert_groups(hierarchy: Hierarchy, contexts: &[Context]) {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("grouped-server").unwrap();
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut reports = Vec::new();
    for (number, context) in contexts.iter().enumerate() {
        let client = programs.copy(&format!("grouped-{number}")).unwrap();
        let group = Cgroup::new(hierarchy, context.group).unwrap();
        let (seen, report) = grouped(&group, &client, to);
        match hierarchy {
            Hierarchy::Unified => assert_eq!(seen, format!("0::/{}", context.group)),
            Hierarchy::Systemd | Hierarchy::Memory => {
                assert!(!seen.contains(context.group), "it should be in another group there");
            }
        }
        reports.push((seen, report));
    }
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (context, (seen, report)) in contexts.iter().zip(&reports) {
        let events = records(&telemetry, report, Role::Client);
        context.assert(&events);
        if hierarchy == Hierarchy::Unified {
            expect::assert_attribute(&events, "process.linux.cgroup", seen.as_str());
        }
    }
}

#[test]
fn units_are_told_from_the_group() {
    let (system, user) = (Some("system.slice"), Some("user-4711.slice"));
    let none = Context::default();
    assert_groups(
        Hierarchy::Unified,
        &[
            Context {
                group: "system.slice/netsonde-test-1.service",
                unit: Some("netsonde-test-1.service"),
                slice: system,
                ..none
            },
            // What a service makes below its own group is the service's.
            Context {
                group: "system.slice/netsonde-test-2.service/below/it",
                unit: Some("netsonde-test-2.service"),
                slice: system,
                ..none
            },
            Context {
                group: r"system.slice/system-netsonde\x2dtest.slice/netsonde-test@a\x2db.service",
                unit: Some(r"netsonde-test@a\x2db.service"),
                slice: Some(r"system-netsonde\x2dtest.slice"),
                ..none
            },
            Context {
                group: "user.slice/user-4711.slice/session-netsonde.scope",
                unit: Some("session-netsonde.scope"),
                slice: user,
                ..none
            },
            Context {
                group: "user.slice/user-4711.slice/user@4711.service/app.slice/netsonde-test.service",
                unit: Some("user@4711.service"),
                user_unit: Some("netsonde-test.service"),
                slice: user,
                ..none
            },
            Context { group: "netsonde-test/neither.unit/nor.slicer", ..none },
        ],
    );
}

#[test]
fn containers_are_told_from_the_group() {
    let container = Some(ID);
    let scope = |prefix: &str| format!("{prefix}-{ID}.scope");
    let [docker, podman, containerd, crio] = ["docker", "libpod", "cri-containerd", "crio"].map(scope);
    let too_short = format!("docker-{}.scope", &ID[1..]);
    let pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4711.slice";
    let groups = [
        format!("system.slice/{docker}"),
        format!("docker/{ID}"),
        format!("machine.slice/{podman}"),
        format!("{pod}/{containerd}"),
        format!("{pod}/{crio}"),
        format!("system.slice/{too_short}"),
    ];
    let [by_docker, by_docker_alone, by_podman, by_containerd, by_crio, by_nobody] =
        groups.each_ref().map(|group| Context { group, container, ..Context::default() });
    let pod_slice = Some("kubepods-burstable-pod4711.slice");
    assert_groups(
        Hierarchy::Unified,
        &[
            Context {
                unit: Some(&docker),
                slice: Some("system.slice"),
                runtime: Some("docker"),
                ..by_docker
            },
            Context { runtime: Some("docker"), ..by_docker_alone },
            Context {
                unit: Some(&podman),
                slice: Some("machine.slice"),
                runtime: Some("podman"),
                ..by_podman
            },
            Context {
                unit: Some(&containerd),
                slice: pod_slice,
                runtime: Some("containerd"),
                ..by_containerd
            },
            Context { unit: Some(&crio), slice: pod_slice, runtime: Some("cri-o"), ..by_crio },
            Context { unit: Some(&too_short), slice: Some("system.slice"), container: None, ..by_nobody },
        ],
    );
}

#[test]
fn units_are_told_from_the_old_hierarchy_where_systemd_uses_it() {
    if Hierarchy::Systemd.mounted().unwrap().is_none() {
        eprintln!("nothing to see: this host is all cgroup2");
        return;
    }
    let docker = format!("docker-{ID}.scope");
    let group = format!("system.slice/{docker}");
    let slice = Some("system.slice");
    assert_groups(
        Hierarchy::Systemd,
        &[
            Context {
                group: "system.slice/netsonde-old-1.service",
                unit: Some("netsonde-old-1.service"),
                slice,
                ..Context::default()
            },
            Context {
                group: &group,
                unit: Some(&docker),
                slice,
                container: Some(ID),
                runtime: Some("docker"),
                ..Context::default()
            },
        ],
    );
}

#[test]
fn a_group_that_was_there_for_a_moment_is_still_named() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["moment-client", "moment-server"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let mut shortest = None;
    let runs: Vec<_> = (0..10)
        .map(|number| {
            let began = Instant::now();
            let unit = format!("netsonde-moment-{number}.service");
            let mut group = Cgroup::new(Hierarchy::Unified, &format!("system.slice/{unit}")).unwrap();
            let (_, report) = grouped(&group, &client, to);
            group.remove().unwrap();
            let lasted = began.elapsed().as_millis();
            shortest = Some(shortest.unwrap_or(lasted).min(lasted));
            (unit, report)
        })
        .collect();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert!(shortest.unwrap() <= 50, "no group was there for less than {shortest:?} ms");
    for (unit, report) in &runs {
        let events = records(&telemetry, report, Role::Client);
        expect::assert_attribute(&events, "systemd.unit", unit.as_str());
        expect::assert_attribute(&events, "systemd.slice", "system.slice");
        let line = format!("0::/system.slice/{unit}");
        expect::assert_attribute(&events, "process.linux.cgroup", line.as_str());
    }
}

#[test]
fn metrics_carry_the_context_when_asked_to() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["metric-client", "metric-server"].map(|name| programs.copy(name).unwrap());
    let daemon = Daemon::start(
        "[metrics]\nattributes = [\"network.transport\", \"netsonde.socket.role\", \"process.executable.path\", \
            \"process.pid\", \"systemd.unit\", \"container.id\"]\n",
    )
    .unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let docker = format!("docker-{ID}.scope");
    let units = ["netsonde-metric-1.service", "netsonde-metric-2.service", &docker];
    let reports = units.map(|unit| {
        let group = Cgroup::new(Hierarchy::Unified, &format!("system.slice/{unit}")).unwrap();
        grouped(&group, &client, to).1
    });
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    for (unit, report) in units.iter().zip(&reports) {
        let mut subject = Subject::new(&client, Role::Client)
            .with("systemd.unit", *unit)
            .with("process.pid", i64::from(report.process.pid));
        if *unit == docker {
            subject = subject.with("container.id", ID);
        }
        subject.assert_exact(&telemetry, report.moved(), 1);
    }
}

#[test]
fn an_open_connection_moves_with_its_process() {
    const ACTIVE: &str = "netsonde.tcp.connections.active";
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let [client, server] = ["moved-client", "moved-server"].map(|name| programs.copy(name).unwrap());
    let units = ["netsonde-before.service", "netsonde-after.service"];
    let groups = units.map(|unit| Cgroup::new(Hierarchy::Unified, &format!("system.slice/{unit}")).unwrap());
    let daemon = Daemon::start("").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let arguments = "--rounds 3 --step --send 5000";
    let mut running = program::start_connect(&client, None, to, arguments).unwrap();
    groups[0].take(running.pid()).unwrap();
    let active = |telemetry: &Telemetry| {
        units
            .map(|unit| Subject::new(&client, Role::Client).with("systemd.unit", unit).sum(telemetry, ACTIVE))
    };
    running.round().unwrap();
    daemon.wait("a connection of the first unit", |telemetry| active(telemetry) == [1, 0]).unwrap();
    groups[1].take(running.pid()).unwrap();
    running.step().unwrap();
    running.round().unwrap();
    daemon.wait("a connection of the second unit", |telemetry| active(telemetry) == [0, 1]).unwrap();
    running.step().unwrap();
    let report = running.finish().unwrap();
    listening.stop().unwrap();
    oracle::wait_until_closed(None, to.port()).unwrap();
    let telemetry = daemon.stop().unwrap();
    assert_eq!(active(&telemetry), [0, 0]);
    assert_eq!(Subject::new(&client, Role::Client).moved(&telemetry), report.moved());
}

#[test]
fn a_command_line_is_told_only_when_asked_for_and_without_its_secrets() {
    let _host = Host::acquire().unwrap();
    let programs = Programs::new().unwrap();
    let server = programs.copy("command-line-server").unwrap();
    let listening = Server::start(&server, None, "127.0.0.1:0", "").unwrap();
    let to = listening.address;
    let run = |configuration: &str| {
        let daemon = Daemon::start(configuration).unwrap();
        let words = format!("{to} --verbose --password=hunter2-a --api-token hunter2-b with-plain-words");
        let mut command = python("client.py", &words);
        let report = Running::start_command(&mut command).unwrap().finish().unwrap();
        oracle::wait_until_closed(None, to.port()).unwrap();
        let output = daemon.output();
        let text = || std::fs::read_to_string(&output).unwrap();
        daemon
            .wait("the close", |seen| {
                !expect::of_connection(seen, CLOSE, Role::Client, &report.connections[0]).is_empty()
            })
            .unwrap();
        let text = text();
        (report, text, daemon.stop().unwrap())
    };
    let (report, text, telemetry) = run("");
    expect::assert_absent(&records(&telemetry, &report, Role::Client), "process.command_args");
    assert!(!text.contains("with-plain-words"), "told without being asked");

    let (report, text, telemetry) = run("[process]\ncommand_line = true\n");
    for event in records(&telemetry, &report, Role::Client) {
        let arguments = event.get("process.command_args").unwrap().list();
        let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.text()).collect();
        assert_eq!(words.len(), arguments.len(), "text only: {arguments:?}");
        // The first two are the interpreter, as it was called, and the program.
        assert!(words[1].ends_with("/client.py"), "{words:?}");
        let address = to.to_string();
        let expected =
            [&address, "--verbose", "--password=[REDACTED]", "--api-token", "[REDACTED]", "with-plain-words"];
        assert_eq!(words[2..], expected);
    }
    assert!(!text.contains("hunter2"), "a secret is told");
}
