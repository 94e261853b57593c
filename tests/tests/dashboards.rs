//! The dashboards and alert rules that netsonde ships: every query gives data when netsonde sends what this test does to
//! a real store, and what they add up to is what was moved.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use netsonde_tests::cgroup::{Cgroup, Hierarchy};
use netsonde_tests::command;
use netsonde_tests::daemon::Daemon;
use netsonde_tests::dashboards::{self, Dashboard, Rule};
use netsonde_tests::datagrams::{Agent, Making};
use netsonde_tests::dns::{Authority, Client};
use netsonde_tests::host::Host;
use netsonde_tests::namespace::{Namespace, Pair};
use netsonde_tests::oracle::{self, Counters};
use netsonde_tests::program::{self, Programs, Running, Server};
use netsonde_tests::report::Report;
use netsonde_tests::store::{self, Store};
use serde_json::json;

const CONTAINER: &str = "docker-89abcdef89abcdef89abcdef89abcdef89abcdef89abcdef89abcdef89abcdef.scope";
/// Rounds of the small traffic: at its end there are rates to be seen.
const ROUNDS: usize = 8;
const ROUND: Duration = Duration::from_millis(800);
/// Longer than `dns.timeout` below.
const PATIENCE: Duration = Duration::from_millis(400);
/// SOL_SOCKET and SO_RCVBUF.
const SMALL_BUFFER: (i32, i32, i32) = (1, 8, 20_000);
/// A user that no host knows.
const USER: u32 = 64_999;
/// What of the past there is in a store as young as this test's.
const AN_HOUR_AGO: &str = "offset 5s";

/// What was sent and received by what this test knows of it.
struct Moved {
    client: Report,
    /// Segments sent again at both ends, by the kernel.
    retransmitted: u64,
    refused: usize,
    missing_names: usize,
    udp: (u64, u64),
    udp_drops: u64,
}

/// What goes on listening while panels are asked.
struct Listening {
    serving: Server,
    _violating: Server,
    _authority: Authority,
    _agents: [Agent; 2],
    // After those that are in it.
    _group: Cgroup,
}

fn configuration(store: &Store, host: &str, rest: &str) -> String {
    format!(
        "[export.otlp]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n\
         [resource.attributes]\n\"host.name\" = \"{host}\"\n{rest}",
        store.endpoint()
    )
}

fn denying(binary: &Path) -> String {
    format!(
        "[dns]\nhosts = \"\"\ntimeout = \"300ms\"\nsearch_suffixes = [\"corp.test\"]\n\
         [limits]\nmemory = \"512MiB\"\n[self]\nprogram_statistics = true\n\
         [[audit.rule]]\nname = \"not-this\"\naction = \"deny\"\nbinaries = \"{}\"\n",
        binary.display()
    )
}

/// Starts a traffic program in a namespace and in a group.
fn in_container(group: &Cgroup, place: &Namespace, program: &Path, arguments: &str) -> Running {
    let inside = place.command(program);
    let mut command = group.command(Path::new(inside.get_program()));
    command.args(inside.get_args()).args(arguments.split(' '));
    let mut running = Running::start_command(&mut command).unwrap();
    // The shell's line on its own group.
    running.line().unwrap();
    running
}

/// Sends and receives for some ten seconds, in every way that a panel shows.
fn traffic(programs: &Programs, pair: &Pair, denied: &Path) -> (Moved, Listening) {
    for end in [&pair.client, &pair.server] {
        end.drop_incoming("iifname cable meta l4proto tcp numgen random mod 100 < 4").unwrap();
    }
    let group = Cgroup::new(Hierarchy::Unified, &format!("system.slice/{CONTAINER}")).unwrap();
    let [client, server, hasty, nearby] =
        ["client", "server", "hasty", "nearby"].map(|name| programs.copy(name).unwrap());
    let before = [&pair.client, &pair.server].map(|end| Counters::read(end).unwrap());
    let serving = Server::start(&server, Some(&pair.server), "[::]:0", "").unwrap();
    let to = serving.at("10.77.0.2").unwrap();
    let arguments = "--connections 10 --concurrency 4 --rounds 12 --pause 150 --send 80000 --receive 80000";
    let running = in_container(&group, &pair.client, &client, &format!("connect --to {to} {arguments}"));
    // Where nothing is lost: a reset is sent once.
    let near = Server::start(&nearby, Some(&pair.client), "127.0.0.1:0", "").unwrap();
    let violating = in_container(&group, &pair.server, denied, "serve --listen [::]:0");
    let violating = Server::listening(violating).unwrap();
    let authority = Authority::start(&pair.server, "10.77.0.2:53").unwrap();
    let mut asking = Client::start(&pair.client).unwrap();
    group.take(asking.identity.process.pid.try_into().unwrap()).unwrap();
    let [mut sender, mut receiver] = [&pair.client, &pair.server].map(|end| Agent::start(Some(end)).unwrap());
    let (level, name, size) = SMALL_BUFFER;
    let making = Making {
        bind: Some("10.77.0.2:443".parse().unwrap()),
        options: &[(level, name, json!(size))],
        ..Making::default()
    };
    let receiving = receiver.open(&making).unwrap();
    let sending = sender.connect(receiving.local).unwrap();
    // The first bytes of a QUIC Initial (RFC 9000, 17.2.2).
    sender.send_data(sending, None, &[1200], "c300000001").unwrap();
    receiver.echo(receiving, 1).unwrap();
    sender.receive(sending, 1).unwrap();
    let nobody: SocketAddr = "10.77.0.2:9".parse().unwrap();
    let mut refused = 0;
    // The same names each time: a series that never grows has no rate.
    let names = ["fine", "missing", "servfail", "slow"].map(|name| format!("{name}.zone.test"));
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        asking.ask("10.77.0.2:53", "A", &names.each_ref().map(String::as_str)).unwrap();
        asking.ask("10.77.0.2:53", "AAAA", &["missing.corp.test"]).unwrap();
        asking.ask_for("10.77.0.2:53", "A", &["dropped.zone.test"], PATIENCE, 0).unwrap();
        let failed = program::connect(&hasty, Some(&pair.client), nobody, "--connections 3").unwrap();
        refused += usize::try_from(failed.failures["refused"]).unwrap();
        let reset = "--connections 2 --close client-reset";
        program::connect(&hasty, Some(&pair.client), near.address, reset).unwrap();
        sender.send(sending, None, &[1000; 60]).unwrap();
        receiver.receive_all(receiving).unwrap();
        std::thread::sleep(ROUND.saturating_sub(begun.elapsed()));
    }
    let report = running.finish().unwrap();
    let udp_drops = receiver.drops(receiving).unwrap();
    let (sent, received) = (sender.counts.sent_bytes, receiver.counts.received_bytes);
    for end in [&pair.client, &pair.server] {
        oracle::wait_until_closed(Some(end), to.port()).unwrap();
    }
    let after = [&pair.client, &pair.server].map(|end| Counters::read(end).unwrap());
    let again =
        before.iter().zip(&after).map(|(before, after)| after.since(before, "Tcp:RetransSegs").unwrap());
    asking.end().unwrap();
    near.stop().unwrap();
    let moved = Moved {
        client: report,
        retransmitted: again.sum(),
        refused,
        missing_names: 2 * ROUNDS,
        udp: (sent, received),
        udp_drops,
    };
    let agents = [sender, receiver];
    (
        moved,
        Listening { serving, _violating: violating, _authority: authority, _agents: agents, _group: group },
    )
}

/// What is asked adds up to what was moved. Both daemons see this machine, so one is asked for.
fn assert_sums(store: &Store, moved: &Moved, served: &Report) {
    let expect = |expression: &str, wanted: f64| {
        let mut seen = f64::NAN;
        let same = command::until(Duration::from_secs(15), || {
            seen = store.number(expression)?;
            Ok(seen == wanted)
        });
        assert!(same.unwrap(), "{expression} is {seen}, not {wanted}");
    };
    for (report, role) in [(&moved.client, "client"), (served, "server")] {
        let path = report.process.executable.display();
        let of =
            format!("host_name=\"web-1\",process_executable_path=\"{path}\",netsonde_socket_role=\"{role}\"");
        let bytes =
            |way: &str| format!("sum(netsonde_flow_io_bytes_total{{{of},network_io_direction=\"{way}\"}})");
        expect(&bytes("transmit"), report.moved().sent as f64);
        expect(&bytes("receive"), report.moved().received as f64);
    }
    let client = moved.client.process.executable.display();
    let opened = "netsonde_connection_event=\"opened\"";
    expect(
        &format!(
            "sum(netsonde_tcp_connections_total{{host_name=\"web-1\",process_executable_path=\"{client}\",{opened}}})"
        ),
        moved.client.connections.len() as f64,
    );
    expect(
        &format!(
            "count(count by (container_id) (netsonde_flow_io_bytes_total{{host_name=\"web-1\",process_executable_path=\"{client}\",systemd_unit=\"{CONTAINER}\"}}))"
        ),
        1.0,
    );
    assert!(moved.retransmitted > 0, "nothing was lost");
    expect(
        "sum(netsonde_tcp_retransmits_total{host_name=\"web-1\",server_address=\"10.77.0.2\"})",
        moved.retransmitted as f64,
    );
    expect(
        "sum(netsonde_tcp_connection_failures_total{host_name=\"web-1\",server_port=\"9\",error_type=\"refused\"})",
        moved.refused as f64,
    );
    let lookups = "dns_lookup_duration_seconds_count{host_name=\"web-1\",network_peer_address=\"10.77.0.2\",netsonde_socket_role=\"client\"";
    expect(&format!("sum({lookups},dns_response_code=\"NXDOMAIN\"}})"), moved.missing_names as f64);
    expect(&format!("sum({lookups},error_type=\"timeout\"}})"), ROUNDS as f64);
    let udp = |role: &str, way: &str| {
        format!(
            "sum(netsonde_flow_io_bytes_total{{host_name=\"web-1\",network_transport=\"udp\",server_port=\"443\",\
             netsonde_socket_role=\"{role}\",network_io_direction=\"{way}\"}})"
        )
    };
    expect(&udp("client", "transmit"), moved.udp.0 as f64);
    expect(&udp("server", "receive"), moved.udp.1 as f64);
    assert!(moved.udp_drops > 0, "nothing was dropped");
    expect(
        "sum(netsonde_socket_drops_total{host_name=\"web-1\",server_port=\"443\"})",
        moved.udp_drops as f64,
    );
    expect("sum(netsonde_listen_violations_total{netsonde_audit_rule=\"not-this\"})", 1.0);
}

/// Every query of every panel, and every variable, gives data.
fn assert_panels(store: &Store) {
    let (mut queries, mut without) = (0, Vec::new());
    for dashboard in Dashboard::all().unwrap() {
        let values = dashboard.values();
        for variable in dashboard.variables("query") {
            let query = variable["query"]["query"].as_str().unwrap();
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let selector = dashboards::fill_in(selector, &values).unwrap();
            if store.label_values(&selector, label).unwrap().is_empty() {
                without.push(format!("{}: variable {query}", dashboard.name));
            }
        }
        for panel in dashboard.panels() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = dashboards::fill_in(target["expr"].as_str().unwrap(), &values).unwrap();
                let series = match target["instant"].as_bool().unwrap() {
                    true => store.query(&expression),
                    false => store.query_range(&expression, 20),
                };
                queries += 1;
                let series: Vec<_> =
                    series.unwrap().into_iter().filter(|one| !one.values.is_empty()).collect();
                let what = || format!("{}: {} {}", dashboard.name, panel["title"], target["refId"]);
                if series.is_empty() {
                    without.push(format!("{}: {expression}", what()));
                    continue;
                }
                for label in dashboards::shown_labels(panel, target) {
                    if !series.iter().any(|one| one.labels[&label].is_string()) {
                        without.push(format!("{}: the label {label}", what()));
                    }
                }
            }
        }
    }
    assert!(queries > 100, "only {queries} queries");
    assert!(without.is_empty(), "{} of {queries} without data:\n{}", without.len(), without.join("\n"));
}

/// Every end of an edge of the service map is a node, and the traffic's own are among them.
fn assert_service_map(store: &Store, client: &Report, server: &Path) {
    let all = Dashboard::all().unwrap();
    let map = all.iter().find(|one| one.name == "service-map").unwrap();
    let graph = map.panels().find(|panel| panel["type"] == "nodeGraph").unwrap();
    let ask = |name: &str| {
        let target = graph["targets"].as_array().unwrap().iter().find(|one| one["refId"] == name).unwrap();
        let expression = dashboards::fill_in(target["expr"].as_str().unwrap(), &map.values()).unwrap();
        let series = store.query(&expression).unwrap();
        series.into_iter().map(|one| one.labels).collect::<Vec<_>>()
    };
    let (nodes, edges) = (ask("nodes"), ask("edges"));
    let text = |labels: &serde_json::Value, name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    let ids: Vec<_> = nodes.iter().map(|node| text(node, "id")).collect();
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:#?}");
    for name in ["id", "title", "subtitle"] {
        assert!(nodes.iter().all(|node| !text(node, name).is_empty()), "{name}: {nodes:#?}");
    }
    let ends: Vec<_> = edges.iter().map(|edge| (text(edge, "source"), text(edge, "target"))).collect();
    assert!(ends.iter().all(|(from, to)| unique.contains(from) && unique.contains(to)), "{ids:#?} {ends:#?}");
    let port = client.connections[0].peer.port();
    let on = |binary: &Path| format!("{} on web-1", binary.display());
    let service = format!("10.77.0.2:{port}");
    assert!(ends.contains(&(on(&client.process.executable), service.clone())), "{ends:#?}");
    assert!(ends.contains(&(service, on(server))), "{ends:#?}");
}

/// Every alert and recording evaluates, and what it compares is there. Gives the alerts that this traffic sets off.
fn assert_rules(store: &Store) -> BTreeSet<String> {
    let (mut firing, mut without) = (BTreeSet::new(), Vec::new());
    let rules = Rule::all().unwrap();
    for rule in &rules {
        let expression = rule.expr.replace("offset 1h", AN_HOUR_AGO);
        let name = rule.alert.as_ref().or(rule.record.as_ref()).unwrap();
        if !store.query(&expression).unwrap().is_empty() && rule.alert.is_some() {
            firing.insert(name.clone());
        }
        for vector in dashboards::vectors(&expression) {
            if !store.query(vector).unwrap().iter().any(|one| !one.values.is_empty()) {
                without.push(format!("{name}: {vector}"));
            }
        }
    }
    assert!(rules.len() > 30, "only {} rules", rules.len());
    assert!(without.is_empty(), "without data:\n{}", without.join("\n"));
    firing
}

#[test]
fn every_panel_and_every_alert_has_data_of_a_real_store() {
    let Some(package) = store::debian_package("victoria-metrics").unwrap() else { return };
    let _host = Host::acquire().unwrap();
    let store = Store::start(&package).unwrap();
    let programs = Programs::new().unwrap();
    let pair = Pair::new().unwrap();
    pair.shape().unwrap();
    let denied = programs.copy("denied").unwrap();
    let daemon = Daemon::start(&configuration(&store, "web-1", &denying(&denied))).unwrap();
    // One that lacks what it needs, on a host of its own by its word.
    let lean = Daemon::start_as(USER, &["bpf", "perfmon", "sys_ptrace"], &configuration(&store, "web-2", ""))
        .unwrap();
    daemon.status().unwrap();
    let (moved, listening) = traffic(&programs, &pair, &denied);
    assert_panels(&store);
    assert_service_map(&store, &moved.client, &programs.path("server").unwrap());
    let firing = assert_rules(&store);
    let served = listening.serving.stop().unwrap();
    assert_sums(&store, &moved, &served);
    lean.stop().unwrap();
    daemon.stop().unwrap();
    for alert in [
        "NetsondeRetransmits",
        "NetsondeConnectFailures",
        "NetsondeDnsErrors",
        "NetsondeListenViolation",
        "NetsondeSignalDegraded",
        "NetsondePrivilegesMissing",
        "NetsondeConnectBudgetBurns",
        "NetsondeDnsBudgetBurns",
        // The store has no place for logs.
        "NetsondeExportFailures",
    ] {
        assert!(firing.contains(alert), "{alert} is not set off: {firing:?}");
    }
    for alert in ["NetsondeDown", "NetsondeSpoolFilling", "NetsondeMemoryShort", "NetsondeLag"] {
        assert!(!firing.contains(alert), "{alert} is set off");
    }
}
