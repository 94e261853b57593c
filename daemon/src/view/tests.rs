//! From what is measured to what readers get.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netsonde_probes::records::{Owner, ProcessId, Role, Transport};
use netsonde_probes::signals::dns::metrics::QUESTION_NAME;
use netsonde_probes::signals::flow::{FLOW_IO, IO_DIRECTION, MeasuredValue, Measurement};
use netsonde_probes::signals::tcp::attributes::ERROR_TYPE;
use netsonde_probes::signals::tcp::metrics::{CONNECTION_FAILURES, RTT};
use netsonde_view::model::{FlowFrame, History, Quantiles};

use super::recorder::Losses;
use super::*;
use crate::aggregate::{LabelValue, NamedFlow};
use crate::config::ViewBounds;
use crate::enrich::{Clock, Process};

const SECOND: u64 = 1_000_000_000;
const BOUNDS: ViewBounds = ViewBounds { age: Duration::from_secs(100), bytes: 1 << 20 };

fn process(pid: u32) -> Arc<Process> {
    let init = Arc::new(Process::example(ProcessId { pid: 1, start_ns: 1 }, "/sbin/init", None));
    Arc::new(Process::example(ProcessId { pid, start_ns: 5 }, "/usr/bin/curl", Some(init)))
}

fn owner(pid: u32) -> Owner {
    Owner { process: ProcessId { pid, start_ns: 5 }, image: 0, uid: 0 }
}

fn flow(port: u16) -> NamedFlow {
    NamedFlow {
        process: Some(process(7)),
        user: Some("alice".into()),
        transport: Transport::Tcp,
        application: None,
        role: Role::Client,
        server: (IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        server_name: None,
        client: None,
        network_namespace: 4,
    }
}

fn bytes(direction: &'static str, n: i64) -> Measurement<'static> {
    Measurement { metric: &FLOW_IO, label: Some((&IO_DIRECTION, direction)), value: MeasuredValue::Sum(n) }
}

struct Scene {
    recorder: Recorder,
    clock: Clock,
    seconds: u64,
}

impl Scene {
    fn new(bounds: ViewBounds) -> Self {
        Self { recorder: Recorder::new(bounds, 1000 * SECOND), clock: Clock::read(), seconds: 1000 }
    }

    fn add(&mut self, flow: &NamedFlow, measured: &[Measurement<'_>]) -> Arc<Named> {
        self.recorder.add(flow, measured.iter().copied(), &self.clock)
    }

    fn close(&mut self, open: &[(u32, &Arc<Named>, u64)]) {
        self.seconds += 1;
        let open = open.iter().map(|(pid, named, n)| (owner(*pid), Some(*named), *n));
        self.recorder.close(open, 1.0, self.seconds * SECOND);
    }

    fn history(&self, since: u64) -> History {
        let json: String = self.recorder.view().history(since).collect();
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"))
    }
}

/// Two intervals with all that readers can get.
pub fn example() -> Recorder {
    let mut scene = Scene::new(BOUNDS);
    let mut buckets = [0; 24];
    buckets[3] = 2;
    let value = MeasuredValue::Histogram { buckets: &buckets, sum_us: 9 };
    let rtt = Measurement { metric: &RTT, label: None, value };
    let failed = (&CONNECTION_FAILURES, Some((&ERROR_TYPE, "refused")));
    let failed = Measurement { metric: failed.0, label: failed.1, value: MeasuredValue::Sum(1) };
    let name = vec![(&QUESTION_NAME, LabelValue::Text("a.example".into()))];
    for _ in 0..2 {
        let named = scene.add(&flow(80), &[bytes("transmit", 10), bytes("receive", 300), rtt, failed]);
        scene.add(&flow(443), &[]);
        scene.recorder.add_lookups(&flow(53), &name, &[0, 2, 1]);
        scene.close(&[(7, &named, 2)]);
    }
    scene.recorder
}

#[test]
fn intervals_have_what_was_added_in_them_and_who_it_was() {
    let mut scene = Scene::new(BOUNDS);
    let mut buckets = [0; 24];
    buckets[3] = 2;
    let rtt = Measurement {
        metric: &RTT,
        label: None,
        value: MeasuredValue::Histogram { buckets: &buckets, sum_us: 9 },
    };
    let failure = Measurement {
        metric: &CONNECTION_FAILURES,
        label: Some((&ERROR_TYPE, "refused")),
        value: MeasuredValue::Sum(1),
    };
    let named = scene.add(&flow(80), &[bytes("transmit", 10), bytes("receive", 300), rtt, failure]);
    scene.add(&flow(80), &[bytes("transmit", 5)]);
    scene.close(&[(7, &named, 2)]);
    scene.add(&flow(443), &[bytes("receive", 1)]);
    scene.close(&[(7, &named, 1)]);
    let history = scene.history(0);
    assert_eq!((history.interval, history.frames.len()), (1.0, 2));
    assert_eq!((history.frames[0].time, history.frames[0].seconds), (1_001_000, 1.0));
    let first = FlowFrame {
        id: 1,
        tx: 15,
        rx: 300,
        active: 2,
        failures: [("refused".to_owned(), 1)].into(),
        rtt: vec![(3, 2)],
        ..FlowFrame::default()
    };
    assert_eq!(history.frames[0].flows, [first]);
    let of = |id| history.frames[1].flows.iter().find(|flow| flow.id == id).expect("there");
    assert_eq!((of(1).active, of(1).tx, of(2).rx), (1, 0, 1));
    let identity = &history.flows[0];
    assert_eq!(identity.id, 1);
    assert_eq!(identity.attributes["process.executable.path"], "/usr/bin/curl");
    assert_eq!(identity.attributes["netsonde.process.ancestry"], serde_json::json!(["init"]));
    assert_eq!(identity.attributes["server.port"], 80);
    assert_eq!(identity.attributes["process.user.name"], "alice");
    assert_eq!(history.bounds.rtt.len(), 23);
}

#[test]
fn who_asks_since_a_moment_gets_what_ended_later_and_its_names_only() {
    let mut scene = Scene::new(BOUNDS);
    scene.add(&flow(80), &[bytes("transmit", 1)]);
    scene.close(&[]);
    scene.add(&flow(443), &[bytes("transmit", 1)]);
    scene.close(&[]);
    let history = scene.history(1_001_000);
    assert_eq!(history.frames.len(), 1);
    assert_eq!(history.flows.iter().map(|flow| flow.id).collect::<Vec<_>>(), [2]);
    let none = scene.history(9_999_999_999);
    assert!(none.frames.is_empty() && none.flows.is_empty());
}

#[test]
fn a_flow_of_which_nothing_is_left_is_in_no_interval() {
    let mut scene = Scene::new(BOUNDS);
    let named = scene.add(&flow(80), &[bytes("transmit", 1)]);
    scene.close(&[(7, &named, 1)]);
    scene.close(&[]);
    assert!(scene.history(0).frames[1].flows.is_empty());
}

#[test]
fn what_udp_takes_back_is_taken_off_what_comes_next() {
    let mut scene = Scene::new(BOUNDS);
    scene.add(&flow(53), &[bytes("receive", 100)]);
    scene.close(&[]);
    scene.add(&flow(53), &[bytes("receive", -30)]);
    scene.close(&[]);
    scene.add(&flow(53), &[bytes("receive", 50)]);
    scene.close(&[]);
    let history = scene.history(0);
    let received = |n: usize| history.frames[n].flows.iter().map(|flow| flow.rx).sum::<u64>();
    assert_eq!([received(0), received(1), received(2)], [100, 0, 20]);
}

#[test]
fn the_oldest_intervals_go_by_age_and_by_size_and_the_latter_is_counted() {
    let mut scene = Scene::new(BOUNDS);
    for _ in 0..150 {
        scene.add(&flow(80), &[bytes("transmit", 1)]);
        scene.close(&[]);
    }
    assert_eq!(scene.history(0).frames.len(), 100);
    assert_eq!(scene.recorder.losses(), Losses::default());

    let mut scene = Scene::new(ViewBounds { age: Duration::from_secs(100), bytes: 64 << 10 });
    for _ in 0..150 {
        for port in 1..40 {
            scene.add(&flow(port), &[bytes("transmit", 1), bytes("receive", 1000)]);
        }
        scene.close(&[]);
        let [(bytes, limit), _] = scene.recorder.fills();
        assert!(bytes <= limit, "{bytes} of {limit}");
    }
    let left = scene.history(0).frames.len() as u64;
    let lost = scene.recorder.losses();
    assert!(left < 60 && left > 5, "{left}");
    assert_eq!(lost, Losses { frames: lost.frames, ..Losses::default() });
    assert!(lost.frames >= 90 - left, "{lost:?}");
}

#[test]
fn flows_that_find_no_room_are_summed_and_counted() {
    let mut scene = Scene::new(ViewBounds { age: Duration::from_secs(100), bytes: 32 << 10 });
    for port in 1..=100 {
        scene.add(&flow(port), &[bytes("transmit", 1)]);
    }
    scene.close(&[]);
    let frame = &scene.history(0).frames[0];
    let told: u64 = frame.flows.iter().map(|flow| flow.tx).sum();
    let folded = frame.flows.iter().find(|flow| flow.id == 0).expect("there").tx;
    assert_eq!((told, folded), (100, scene.recorder.losses().flows));
    assert_eq!(scene.history(0).flows[0].attributes["otel.metric.overflow"], true);
    // Once those before are forgotten there is room again.
    for _ in 0..150 {
        scene.close(&[]);
    }
    assert_ne!(scene.add(&flow(101), &[]).id, 0);
}

#[test]
fn flows_that_nearly_fill_the_room_of_names_cost_no_history() {
    let mut scene = Scene::new(ViewBounds { age: Duration::from_secs(100), bytes: 256 << 10 });
    let room = (256 << 10) / 8 * 3;
    let bytes_of_one = scene.add(&flow(1), &[]).bytes();
    let flows = u16::try_from(room / bytes_of_one * 95 / 100).expect("few");
    for _ in 0..100 {
        for port in 1..=flows {
            scene.add(&flow(port), &[bytes("transmit", 1)]);
        }
        scene.close(&[]);
    }
    let history = scene.history(0);
    assert!(history.frames.len() > 10, "{} intervals of {flows} flows", history.frames.len());
    assert_eq!((history.flows.len(), scene.recorder.losses().flows), (usize::from(flows), 0));
}

#[test]
fn tables_say_what_the_history_comes_to() {
    let mut scene = Scene::new(BOUNDS);
    let mut buckets = [0; 24];
    buckets[3] = 10;
    let value = MeasuredValue::Histogram { buckets: &buckets, sum_us: 9 };
    let rtt = Measurement { metric: &RTT, label: None, value };
    scene.add(&flow(80), &[bytes("transmit", 100), rtt]);
    scene.add(&flow(443), &[bytes("transmit", 1)]);
    scene.close(&[]);
    let named = scene.add(&flow(443), &[bytes("transmit", 50)]);
    scene.close(&[(7, &named, 3)]);
    let flows = scene.recorder.view().flows(10);
    let row = |n: usize| {
        let row = &flows.flows[n];
        (row.attributes["server.port"].as_u64(), row.sum.tx, row.last.tx, row.sum.active)
    };
    assert_eq!((row(0), row(1)), ((Some(80), 100, 0, 0), (Some(443), 51, 50, 3)));
    let bound = answers::bounds().rtt[3];
    assert_eq!(flows.flows[0].rtt, Some(Quantiles { p50: bound, p95: bound, p99: bound }));
    assert_eq!((flows.time, flows.truncated), (1_002_000, 0));
    let first = scene.recorder.view().flows(1);
    assert_eq!((first.flows.len(), first.truncated), (1, 1));
}

#[test]
fn lookups_are_told_apart_by_their_labels() {
    let mut scene = Scene::new(BOUNDS);
    let labels = |name: &str| vec![(&QUESTION_NAME, LabelValue::Text(name.into()))];
    scene.recorder.add_lookups(&flow(53), &labels("a.example"), &[0, 2, 1]);
    scene.recorder.add_lookups(&flow(53), &labels("b.example"), &[1]);
    scene.close(&[]);
    scene.recorder.add_lookups(&flow(53), &labels("a.example"), &[1]);
    scene.close(&[]);
    let history = scene.history(0);
    assert_eq!(history.frames[0].lookups[0].latency, [(1, 2), (2, 1)]);
    assert_eq!(history.lookups[1].attributes["dns.question.name"], "b.example");
    let dns = scene.recorder.view().dns(10);
    let rows: Vec<_> = dns
        .lookups
        .iter()
        .map(|row| (row.attributes["dns.question.name"].as_str().expect("text"), row.last, row.sum))
        .collect();
    assert_eq!(rows, [("a.example", 1, 4), ("b.example", 0, 1)]);
}

#[test]
fn a_process_has_its_totals_its_parents_and_its_flows() {
    let mut scene = Scene::new(BOUNDS);
    let named = scene.add(&flow(80), &[bytes("transmit", 10), bytes("receive", 3)]);
    scene.add(&flow(443), &[bytes("transmit", 5)]);
    scene.close(&[(7, &named, 2)]);
    let view = scene.recorder.view();
    let process = view.process("7").expect("known");
    assert_eq!((process.tx, process.rx, process.active), (15, 3, 2));
    assert_eq!(process.flows, [2, 1]);
    let parents = &process.attributes["netsonde.process.ancestors"];
    assert_eq!(parents[0]["process.executable.path"], "/sbin/init");
    assert_eq!(view.process(&process.id), Some(process.clone()));
    assert_eq!(view.processes(10).processes, [process]);
    for unknown in ["8", "7-1", "x", "", "-", "7-", "99999999999"] {
        assert_eq!(view.process(unknown), None, "{unknown}");
    }
    scene.close(&[]);
    assert_eq!(view.process("7").map(|process| process.active), Some(0));
}

#[test]
fn of_too_many_processes_those_that_rest_are_forgotten_and_counted() {
    let mut scene = Scene::new(BOUNDS);
    let limit = processes::LIMIT.get() as u32;
    for pid in 10..10 + limit + 5 {
        scene.recorder.meet(&process(pid), &scene.clock);
    }
    scene.close(&[]);
    let view = scene.recorder.view();
    assert_eq!((view.process("14"), scene.recorder.losses().processes), (None, 5));
    assert!(view.process("15").is_some());
    assert_eq!(view.processes(10).truncated, u64::from(limit) - 10);
}

#[test]
fn where_memory_runs_short_the_history_goes_and_what_comes_is_still_told() {
    let mut scene = Scene::new(BOUNDS);
    for _ in 0..90 {
        for port in 1..200 {
            scene.add(&flow(port), &[bytes("transmit", 1)]);
        }
        scene.close(&[]);
    }
    let before = scene.history(0).frames.len();
    scene.recorder.shed(4);
    let [(held, limit), _] = scene.recorder.fills();
    assert_eq!(limit, 1 << 16);
    let left = scene.history(0).frames.len();
    assert!(left < before && left >= 1, "{left} of {before}, {held} bytes");
    scene.add(&flow(1), &[bytes("transmit", 7)]);
    scene.close(&[]);
    assert_eq!(scene.history(1_090_000).frames[0].flows.iter().map(|flow| flow.tx).sum::<u64>(), 7);
}

#[test]
fn intervals_that_the_clock_took_back_are_forgotten() {
    let mut scene = Scene::new(BOUNDS);
    scene.close(&[]);
    scene.recorder.clock_was_set_back(500 * SECOND);
    scene.seconds = 500;
    scene.close(&[]);
    let history = scene.history(0);
    assert_eq!((history.frames.len(), history.frames[0].time), (1, 501_000));
    assert_eq!(history.frames[0].seconds, 1.0);
}
