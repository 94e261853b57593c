//! The store's promises, each with a small flow or two.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use netsonde_probes::records::{Role, Transport};
use netsonde_probes::signals::dns::metrics::{LOOKUP_DURATION, QUESTION_NAME, TRUNCATED};
use netsonde_probes::signals::flow::{FLOW_IO, IO_DIRECTION};
use netsonde_probes::signals::tcp::metrics;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn config(limit: u32) -> Metrics {
    Metrics {
        temporality: Temporality::Cumulative,
        series_limit: NonZeroU32::new(limit).expect("not zero"),
        series_expiry: Duration::from_secs(60),
        attributes: FlowAttribute::DEFAULT.into(),
        overrides: BTreeMap::new(),
    }
}

fn flow(port: u16) -> NamedFlow {
    NamedFlow {
        process: None,
        user: Some("root".into()),
        transport: Transport::Tcp,
        application: None,
        role: Role::Client,
        server: (IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        server_name: None,
        client: None,
        network_namespace: 1,
    }
}

fn sent(n: i64) -> Measurement<'static> {
    Measurement { metric: &FLOW_IO, label: Some((&IO_DIRECTION, "transmit")), value: MeasuredValue::Sum(n) }
}

fn active(n: i64) -> Measurement<'static> {
    Measurement { metric: &metrics::CONNECTIONS_ACTIVE, label: None, value: MeasuredValue::Sum(n) }
}

fn sums(data: &[MetricData], metric: &str) -> Vec<i64> {
    let points = data.iter().filter(|d| d.metric.name == metric).flat_map(|d| &d.points);
    let mut sums: Vec<i64> = points
        .map(|p| match p.value {
            PointValue::Int(n) => n,
            _ => panic!("a sum"),
        })
        .collect();
    sums.sort_unstable();
    sums
}

#[test]
fn totals_grow_from_the_start_of_their_series() {
    let mut store = Store::new(config(100), SECOND);
    store.add(Some(&flow(80)), [sent(5)].into_iter(), SECOND, 2 * SECOND);
    store.collect(2 * SECOND);
    store.add(Some(&flow(80)), [sent(7)].into_iter(), 2 * SECOND, 3 * SECOND);
    store.add(Some(&flow(81)), [sent(1)].into_iter(), 2 * SECOND, 3 * SECOND);
    let data = store.collect(3 * SECOND);
    assert_eq!(sums(&data, "netsonde.flow.io"), [1, 12]);
    let starts: BTreeSet<u64> = data[0].points.iter().map(|p| p.start_unix_ns).collect();
    assert_eq!(starts, [SECOND, 2 * SECOND].into());
}

#[test]
fn deltas_add_up_to_the_totals_and_silence_exports_nothing() {
    let mut store = Store::new(Metrics { temporality: Temporality::Delta, ..config(100) }, SECOND);
    let mut total = 0;
    for (at, n) in [(2, 5), (3, 0), (4, 8)] {
        if n != 0 {
            store.add(Some(&flow(80)), [sent(n), active(1)].into_iter(), (at - 1) * SECOND, at * SECOND);
        }
        let data = store.collect(at * SECOND);
        assert_eq!(sums(&data, "netsonde.flow.io").len(), usize::from(n != 0));
        total += sums(&data, "netsonde.flow.io").iter().sum::<i64>();
        let levels: Vec<_> = data.iter().filter(|d| d.metric.kind == MetricKind::UpDownCounter).collect();
        assert!(levels.iter().all(|d| d.temporality == Temporality::Cumulative));
        for point in data.iter().filter(|d| d.metric.name == "netsonde.flow.io").flat_map(|d| &d.points) {
            assert_eq!(point.start_unix_ns, (at - 1) * SECOND, "intervals join without a gap");
        }
    }
    assert_eq!(total, 13);
    assert_eq!(sums(&store.collect(9 * SECOND), "netsonde.tcp.connections.active"), [2]);
}

#[test]
fn where_deltas_are_exported_sums_are_kept_for_whoever_wants_them() {
    let mut store = Store::new(Metrics { temporality: Temporality::Delta, ..config(100) }, SECOND);
    for (at, n, sum, level) in [(2, 5, 5, 1), (3, 0, 5, 1), (4, 8, 13, 2)] {
        if n != 0 {
            store.add(Some(&flow(80)), [sent(n), active(1)].into_iter(), (at - 1) * SECOND, at * SECOND);
        }
        store.collect(at * SECOND);
        let data = store.sums(at * SECOND).expect("they differ from what was collected");
        assert_eq!(sums(&data, "netsonde.flow.io"), [sum]);
        assert_eq!(sums(&data, "netsonde.tcp.connections.active"), [level]);
        assert!(data.iter().all(|d| d.temporality == Temporality::Cumulative));
        let points = data.iter().flat_map(|d| &d.points);
        assert!(points.into_iter().all(|p| (p.start_unix_ns, p.time_unix_ns) == (SECOND, at * SECOND)));
    }
    // Counters begin anew where the clock was set back, as exported sums do; levels stay.
    store.clock_was_set_back(SECOND / 2);
    store.add(Some(&flow(80)), [sent(4)].into_iter(), SECOND / 2, SECOND);
    store.collect(SECOND);
    let data = store.sums(SECOND).expect("likewise");
    assert_eq!(sums(&data, "netsonde.flow.io"), [4]);
    assert_eq!(sums(&data, "netsonde.tcp.connections.active"), [2]);
    let mut cumulative = Store::new(config(100), SECOND);
    assert!(cumulative.sums(SECOND).is_none(), "these were collected");
}

#[test]
fn above_the_limit_points_fold_and_nothing_is_lost() {
    let mut store = Store::new(config(2), SECOND);
    for port in 1..=10 {
        store.add(Some(&flow(port)), [sent(100)].into_iter(), SECOND, 2 * SECOND);
    }
    store.add(None, [sent(3)].into_iter(), SECOND, 2 * SECOND);
    let data = store.collect(2 * SECOND);
    assert_eq!(sums(&data, "netsonde.flow.io"), [100, 100, 803]);
    let overflow = data[0].points.iter().filter(|p| p.attributes.iter().any(|(k, _)| *k == OVERFLOW));
    assert_eq!(overflow.count(), 1);
    assert_eq!(store.statistics(), StoreStatistics { series: 2, folded: 9, expired: 0, shed: 0 });
}

#[test]
fn a_series_that_rests_expires_unless_it_holds_a_connection() {
    let mut store = Store::new(config(100), 0);
    store.add(Some(&flow(80)), [sent(5)].into_iter(), 0, SECOND);
    store.add(Some(&flow(81)), [sent(5), active(1)].into_iter(), 0, SECOND);
    store.collect(62 * SECOND);
    let data = store.collect(63 * SECOND);
    assert_eq!(sums(&data, "netsonde.flow.io"), [5], "the flow with an open connection stays");
    assert_eq!(store.statistics(), StoreStatistics { series: 2, folded: 0, expired: 1, shed: 0 });
    store.add(Some(&flow(80)), [sent(2)].into_iter(), 63 * SECOND, 64 * SECOND);
    let data = store.collect(64 * SECOND);
    let back = data[0].points.iter().find(|p| p.value == PointValue::Int(2)).expect("a new series");
    assert_eq!(back.start_unix_ns, 63 * SECOND);
}

#[test]
fn each_metric_carries_the_attributes_chosen_for_it() {
    let mut config = config(100);
    config.overrides.insert("netsonde.flow.io".to_owned(), [FlowAttribute::SocketRole].into());
    let mut store = Store::new(config, 0);
    store.add(Some(&flow(80)), [sent(5), active(1)].into_iter(), 0, SECOND);
    store.add(Some(&flow(81)), [sent(6), active(1)].into_iter(), 0, SECOND);
    let data = store.collect(SECOND);
    assert_eq!(sums(&data, "netsonde.flow.io"), [11]);
    assert_eq!(sums(&data, "netsonde.tcp.connections.active"), [1, 1]);
    let keys: Vec<_> = data.iter().find(|d| d.metric.name == "netsonde.flow.io").expect("there").points[0]
        .attributes
        .iter()
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(keys, ["netsonde.socket.role", "network.io.direction"]);
}

#[test]
fn a_reload_that_changes_nothing_of_a_series_keeps_its_total() {
    let mut store = Store::new(config(100), 0);
    store.add(Some(&flow(80)), [sent(5)].into_iter(), 0, SECOND);
    store.reconfigure(Metrics { series_limit: NonZeroU32::new(7).expect("seven"), ..config(100) }, SECOND);
    assert_eq!(sums(&store.collect(SECOND), "netsonde.flow.io"), [5]);
    store.reconfigure(Metrics { attributes: [FlowAttribute::SocketRole].into(), ..config(100) }, SECOND);
    assert_eq!(sums(&store.collect(2 * SECOND), "netsonde.flow.io"), [0; 0]);
}

#[test]
fn histograms_add_bucket_by_bucket() {
    let mut store = Store::new(config(100), 0);
    let mut buckets = [0u32; 24];
    buckets[3] = 2;
    let rtt = |buckets, sum_us| Measurement {
        metric: &metrics::RTT,
        label: None,
        value: MeasuredValue::Histogram { buckets, sum_us },
    };
    store.add(Some(&flow(80)), [rtt(&buckets, 100), rtt(&buckets, 50)].into_iter(), 0, SECOND);
    let data = store.collect(SECOND);
    let PointValue::Histogram { sum, counts } = &data[0].points[0].value else { panic!("a histogram") };
    assert!((sum - 150e-6).abs() < 1e-12);
    assert_eq!((counts[3], counts.iter().sum::<u64>(), counts.len()), (4, 4, 24));
}

fn looked_up(name: &str) -> ([Label; 2], Measurement<'static>) {
    let buckets: &'static [u32] = &[1, 0, 2];
    let value = MeasuredValue::Histogram { buckets, sum_us: 7 };
    let labels = [(&QUESTION_NAME, LabelValue::Text(name.into())), (&TRUNCATED, LabelValue::True)];
    (labels, Measurement { metric: &LOOKUP_DURATION, label: None, value })
}

fn look_up(store: &mut Store, name: &str, since: u64) {
    let (labels, measurement) = looked_up(name);
    store.add_labelled(&flow(53), &labels, measurement, since * SECOND, (since + 1) * SECOND);
}

/// How many observations each question name has, overflow without one.
fn lookups(data: &[MetricData]) -> BTreeMap<String, u64> {
    let points = data.iter().filter(|d| d.metric.name == LOOKUP_DURATION.name).flat_map(|d| &d.points);
    let of = |p: &Point| {
        let name = p.attributes.iter().find_map(|(key, value)| match value {
            AttributeValue::String(name) if *key == QUESTION_NAME.name => Some(name.to_string()),
            _ => None,
        });
        let PointValue::Histogram { counts, .. } = &p.value else { panic!("a histogram") };
        (name.unwrap_or_default(), counts.iter().sum())
    };
    points.map(of).collect()
}

#[test]
fn labels_tell_series_of_one_flow_apart() {
    let mut store = Store::new(config(100), 0);
    for (name, since) in [("a", 0), ("b", 0), ("a", 1)] {
        look_up(&mut store, name, since);
    }
    store.add(Some(&flow(53)), [sent(1)].into_iter(), 0, SECOND);
    let data = store.collect(2 * SECOND);
    assert_eq!(lookups(&data), [("a".to_owned(), 6), ("b".to_owned(), 3)].into());
    assert_eq!(store.statistics().series, 3);
    let point = &data.iter().find(|d| d.metric.name == LOOKUP_DURATION.name).expect("there").points[0];
    assert!(point.attributes.iter().any(|a| *a == ("netsonde.dns.truncated", AttributeValue::Bool(true))));
    assert!(point.attributes.iter().any(|a| *a == ("server.port", AttributeValue::Int(53))));
}

#[test]
fn labelled_series_above_the_limit_fold() {
    let mut store = Store::new(config(2), 0);
    for name in ["a", "b", "c", "d", "a"] {
        look_up(&mut store, name, 0);
    }
    let expected = [("a", 6), ("b", 3), ("", 6)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(lookups(&store.collect(2 * SECOND)), expected.into());
    assert_eq!(store.statistics(), StoreStatistics { series: 2, folded: 2, expired: 0, shed: 0 });
}

#[test]
fn a_labelled_series_that_rests_expires_beside_others_of_its_flow() {
    let mut store = Store::new(config(100), 0);
    look_up(&mut store, "once", 0);
    for at in 0..70 {
        look_up(&mut store, "always", at);
    }
    store.collect(70 * SECOND);
    assert_eq!(store.statistics(), StoreStatistics { series: 1, folded: 0, expired: 1, shed: 0 });
    assert_eq!(lookups(&store.collect(71 * SECOND)).len(), 1);
    store.collect(200 * SECOND);
    assert_eq!(store.statistics(), StoreStatistics { series: 0, folded: 0, expired: 2, shed: 0 });
}

/// Bytes by port, overflow under 0.
fn by_port(data: &[MetricData], metric: &str) -> BTreeMap<i64, (i64, u64)> {
    let points = data.iter().filter(|d| d.metric.name == metric).flat_map(|d| &d.points);
    let of = |p: &Point| {
        let port = p.attributes.iter().find_map(|(key, value)| match value {
            AttributeValue::Int(port) if *key == "server.port" => Some(*port),
            _ => None,
        });
        let PointValue::Int(n) = p.value else { panic!("a sum") };
        (port.unwrap_or(0), (n, p.start_unix_ns))
    };
    points.map(of).collect()
}

#[test]
fn the_flows_that_move_most_keep_their_series_and_the_others_fold() {
    let mut store = Store::new(config(100), 0);
    let measure = |store: &mut Store, at: u64| {
        for port in 1..=10_u16 {
            let moved = [sent(i64::from(port) * 100)];
            store.add(Some(&flow(port)), moved.into_iter(), (at - 1) * SECOND, at * SECOND);
        }
        by_port(&store.collect(at * SECOND), "netsonde.flow.io")
    };
    assert_eq!(measure(&mut store, 1).len(), 10);
    store.set_cap(Some(4));
    assert_eq!((store.limit(), store.shed()), (4, 6));
    assert_eq!((store.statistics().series, store.statistics().shed), (4, 6));
    let seen = measure(&mut store, 2);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 7, 8, 9, 10]);
    assert_eq!(seen[&10], (2000, 0), "a series that is kept goes on");
    assert_eq!(seen[&0], (100 + 200 + 300 + 400 + 500 + 600, SECOND), "and the others are in one");
    // There is room again: what comes begins where it was told of last.
    store.set_cap(None);
    assert_eq!(store.shed(), 0);
    assert_eq!(measure(&mut store, 3)[&1], (100, 2 * SECOND));
    assert_eq!(store.statistics().folded, 6);
}

#[test]
fn an_eighth_has_room_for_those_that_move_more_and_the_past_is_forgotten() {
    let mut store = Store::new(config(100), 0);
    store.set_cap(Some(16));
    let mut at = 0;
    let mut round = |store: &mut Store, ports: std::ops::Range<u16>, n| {
        at += 1;
        for port in ports {
            store.add(Some(&flow(port)), [sent(n)].into_iter(), (at - 1) * SECOND, at * SECOND);
        }
        let seen = by_port(&store.collect(at * SECOND), "netsonde.flow.io");
        store.shed();
        seen.keys().filter(|port| **port > 100).count()
    };
    assert_eq!(round(&mut store, 1..17, 1_000), 0);
    let mut seen = 0;
    for _ in 0..12 {
        seen = round(&mut store, 101..117, 10_000);
    }
    assert_eq!(seen, 16, "those that were there first gave way");
    assert!(store.statistics().series <= 16);
}

#[test]
fn a_flow_with_open_connections_keeps_their_number_and_nothing_else() {
    let mut store = Store::new(config(100), 0);
    for port in 1..=4 {
        store.add(Some(&flow(port)), [sent(100), active(2)].into_iter(), 0, SECOND);
    }
    store.collect(SECOND);
    store.set_cap(Some(0));
    assert_eq!(store.shed(), 4);
    for port in 1..=4 {
        store.add(Some(&flow(port)), [sent(10), active(-1)].into_iter(), SECOND, 2 * SECOND);
    }
    let data = store.collect(2 * SECOND);
    assert_eq!(sums(&data, "netsonde.tcp.connections.active"), [1, 1, 1, 1]);
    assert_eq!(sums(&data, "netsonde.flow.io"), [40], "folded");
}

mod sequences {
    //! Whatever is done in whatever order, a receiver that follows the rules of OTLP counts what was measured.

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Measure(u16, i64),
        Look(u8),
        Collect,
        Wait(u64),
        Cap(Option<u64>),
        /// Temporality, and whether attributes change.
        Reload(Temporality, bool),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let temporality = prop_oneof![Just(Temporality::Cumulative), Just(Temporality::Delta)];
        prop_oneof![
            8 => (0u16..9, 1i64..1000).prop_map(|(port, n)| Step::Measure(port, n)),
            2 => (0u8..4).prop_map(Step::Look),
            6 => Just(Step::Collect),
            2 => (1u64..80).prop_map(Step::Wait),
            2 => proptest::option::of(0u64..8).prop_map(Step::Cap),
            1 => (temporality, any::<bool>()).prop_map(|(t, change)| Step::Reload(t, change)),
            1 => Just(Step::Restart),
        ]
    }

    /// Adds up deltas, and the last of each stretch of cumulative points with one start.
    #[derive(Default)]
    struct Receiver {
        deltas: i64,
        deltas_until: u64,
        /// By attributes: start, time and value of the last point.
        cumulative: BTreeMap<String, (u64, u64, i64)>,
        ended: i64,
    }

    impl Receiver {
        fn take(&mut self, data: &[MetricData]) -> Result<(), TestCaseError> {
            let mut seen = BTreeSet::new();
            let mut deltas_until = self.deltas_until;
            for of in data {
                prop_assert!(seen.insert(of.metric.name), "a metric is there twice");
                for point in &of.points {
                    let n = match &point.value {
                        PointValue::Int(n) => *n,
                        PointValue::Histogram { counts, .. } => counts.iter().sum::<u64>().cast_signed(),
                        PointValue::Double(_) => panic!("neither"),
                    };
                    prop_assert!(point.start_unix_ns <= point.time_unix_ns, "{:?}", point);
                    let key = format!("{} {:?}", of.metric.name, point.attributes);
                    if of.temporality == Temporality::Delta {
                        prop_assert!(n > 0, "nothing new");
                        prop_assert!(
                            point.start_unix_ns >= self.deltas_until,
                            "intervals overlap: {:?}",
                            point
                        );
                        deltas_until = deltas_until.max(point.time_unix_ns);
                        self.deltas += n;
                        continue;
                    }
                    let now = (point.start_unix_ns, point.time_unix_ns, n);
                    if let Some((start, time, before)) = self.cumulative.insert(key, now) {
                        if start == now.0 {
                            prop_assert!(before <= n, "fell from {before}: {:?}", point);
                        } else {
                            prop_assert!(
                                time <= now.0,
                                "a series began before its predecessor ended: {:?}",
                                point
                            );
                            self.ended += before;
                        }
                    }
                }
            }
            self.deltas_until = deltas_until;
            Ok(())
        }

        fn sum(&self) -> i64 {
            self.deltas + self.ended + self.cumulative.values().map(|(.., n)| n).sum::<i64>()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn nothing_is_counted_twice_or_lost(steps in proptest::collection::vec(step(), 1..80), limit in 1u32..20) {
            let mut now = 1_000 * SECOND;
            let mut since = now;
            let mut config = config(limit);
            let mut store = Store::new(config.clone(), now);
            let (mut receiver, mut measured) = (Receiver::default(), 0);
            for step in steps.into_iter().chain([Step::Collect]) {
                now += SECOND / 10;
                match step {
                    Step::Measure(port, n) => {
                        let flow = (port > 0).then(|| flow(port));
                        store.add(flow.as_ref(), [sent(n)].into_iter(), since, now);
                        measured += n;
                    }
                    Step::Look(name) => {
                        let (labels, measurement) = looked_up(&name.to_string());
                        store.add_labelled(&flow(53), &labels, measurement, since, now);
                        measured += 3;
                    }
                    Step::Collect => {
                        receiver.take(&store.collect(now))?;
                        store.shed();
                        since = now;
                    }
                    Step::Wait(seconds) => now += seconds * SECOND,
                    Step::Cap(cap) => store.set_cap(cap),
                    Step::Reload(temporality, change) => {
                        config.temporality = temporality;
                        if change {
                            config.attributes = if config.attributes.len() > 1 {
                                [FlowAttribute::ServerPort].into()
                            } else {
                                FlowAttribute::DEFAULT.into()
                            };
                        }
                        // As the task does.
                        if !store.goes_on_under(&config) {
                            receiver.take(&store.collect(now))?;
                            since = now;
                        }
                        store.reconfigure(config.clone(), now);
                    }
                    Step::Restart => {
                        receiver.take(&store.collect(now))?;
                        now += SECOND;
                        since = now;
                        store = Store::new(config.clone(), now);
                    }
                }
            }
            prop_assert_eq!(receiver.sum(), measured);
        }
    }
}

fn starts(data: &[MetricData]) -> Vec<(u64, u64)> {
    data.iter().flat_map(|d| &d.points).map(|p| (p.start_unix_ns, p.time_unix_ns)).collect()
}

#[test]
fn a_clock_that_is_set_back_makes_counters_begin_anew_and_keeps_levels() {
    let mut store = Store::new(config(10), 1_000 * SECOND);
    let measured = |n| [sent(n), active(n)].into_iter();
    store.add(Some(&flow(80)), measured(5), 1_000 * SECOND, 1_001 * SECOND);
    assert_eq!(sums(&store.collect(1_001 * SECOND), FLOW_IO.name), [5]);
    // An hour back and on again: what is told by then adds up to what was measured.
    for (hour, expected) in [(700, 3), (2_000, 6)] {
        let now = hour * SECOND;
        if hour == 700 {
            store.clock_was_set_back(now);
        }
        store.add(Some(&flow(80)), measured(3), now, now);
        let data = store.collect(now + SECOND);
        assert_eq!(sums(&data, FLOW_IO.name), [expected]);
        assert!(starts(&data).iter().all(|&(start, time)| start == 700 * SECOND && time == now + SECOND));
        assert_eq!(sums(&data, metrics::CONNECTIONS_ACTIVE.name), [5 + expected]);
    }
}

#[test]
fn a_clock_that_jumps_loses_no_delta() {
    let delta = Metrics { temporality: Temporality::Delta, ..config(10) };
    let mut store = Store::new(delta, 1_000 * SECOND);
    let (mut told, mut added) = (0, 0);
    let mut last = 1_000 * SECOND;
    for (n, now) in [1_001, 1_002, 400, 401, 90_000, 90_001, 2].into_iter().enumerate() {
        let (n, now) = (n as i64 + 1, now * SECOND);
        // Something comes before the jump is noticed.
        store.add(Some(&flow(80)), [sent(n)].into_iter(), last, now);
        if now < last {
            store.clock_was_set_back(now);
        }
        store.add(Some(&flow(80)), [sent(10 * n)].into_iter(), last, now);
        added += 11 * n;
        let data = store.collect(now);
        told += sums(&data, FLOW_IO.name).iter().sum::<i64>();
        assert!(starts(&data).iter().all(|(start, time)| start <= time), "{:?}", starts(&data));
        last = now;
    }
    assert_eq!(told, added);
}
