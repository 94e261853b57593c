//! Made-up measurements for the renderer's tests: some of each form, goals met and missed, names that SVG and Markdown must escape.

use super::goals::{GOALS, Results};
use super::notes::Notes;
use crate::growth::fit;
use crate::results::{Comparison, Content, Figure, Host, Measurement, Scope, Side, Spread, Told};

/// A measurement of this content.
pub fn measurement(name: &str, content: Content) -> Measurement {
    let versions = [("netsonde", "netsonde 0.1.0 (abcdef1)"), ("wrk", "4.1.0"), ("nethogs", "0.8.7")];
    Measurement {
        name: name.to_owned(),
        time: "2026-11-28T22:40:00Z".to_owned(),
        scope: Scope::Full,
        host: Host {
            kernel: "6.18.5".to_owned(),
            processor: "A Processor of 3 GHz".to_owned(),
            processors: 2,
            memory: 8 << 30,
            distribution: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            versions: versions.map(|(name, version)| (name.to_owned(), version.to_owned())).into(),
        },
        configuration: String::new(),
        content,
    }
}

/// Figures by name, unit and values.
pub fn figures(name: &str, figures: &[(&str, &str, &[f64])]) -> Measurement {
    let figures =
        figures.iter().map(|(name, unit, values)| Figure::of(name, &format!("the {name}"), unit, values));
    measurement(name, Content::Figures { figures: figures.collect() })
}

/// A load at this bare rate, with the ratios of each observer.
pub fn compared(name: &str, unit: &str, bare: f64, observers: &[(&str, &[f64])]) -> Measurement {
    let rounds = observers[0].1.len();
    let latency = |factor: f64| vec![120.0 * factor; rounds];
    let bare_side = Side {
        observer: "bare".to_owned(),
        rates: vec![bare; rounds],
        p50_us: latency(1.0),
        p99_us: latency(7.5),
        ratio: None,
        cpu_seconds: vec![0.0; rounds],
        told: Vec::new(),
    };
    let sides = observers.iter().map(|(observer, ratios)| {
        let middle = Spread::of(ratios).median;
        Side {
            observer: (*observer).to_owned(),
            rates: ratios.iter().map(|ratio| ratio * bare).collect(),
            p50_us: latency(1.0 / middle),
            p99_us: latency(8.0 / middle),
            ratio: Some(Spread::of(ratios)),
            cpu_seconds: vec![0.06; rounds],
            told: vec![Told { what: "connections".to_owned(), truth: 40_000, told: 39_876 }],
        }
    });
    let sides = std::iter::once(bare_side).chain(sides).collect();
    let title = format!("{name}, <made> & up");
    measurement(name, Content::Comparison(Comparison { title, unit: unit.to_owned(), seconds: 3, sides }))
}

/// What grows with this exponent beyond a cost at rest, over two decades.
pub fn growth(name: &str, of: &str, cost: &str, unit: &str, power: f64) -> Measurement {
    let points = [1_000.0_f64, 3_000.0, 10_000.0, 30_000.0, 100_000.0].map(|n| {
        let cost = 300.0 + 0.27 * n.powf(power);
        (n, vec![cost * 0.98, cost, cost * 1.03])
    });
    measurement(name, Content::Growth(fit::growth(of, cost, unit, &[299.0, 300.0, 301.0], &points)))
}

/// Some of each form.
pub fn results() -> Results {
    let all = [
        compared("keep-alive", "requests/s", 109_845.0, &[("netsonde", &[0.951, 0.971, 0.99])]),
        compared("connection-per-request", "requests/s", 20_496.0, &[("netsonde", &[0.80, 0.822, 0.915])]),
        compared("bulk", "Mbit/s", 24_576.0, &[("netsonde", &[0.98, 0.997, 1.06])]),
        compared("small-udp", "round trips/s", 18_984.0, &[("netsonde", &[0.98, 1.011, 1.022])]),
        compared("dns", "queries/s", 126_000.0, &[("netsonde", &[0.87, 0.943, 0.99])]),
        compared(
            "peers-connection-per-request",
            "requests/s",
            20_000.0,
            &[
                ("netsonde", &[0.9, 0.93, 0.95]),
                ("nethogs", &[0.4, 0.5, 0.7]),
                ("ss -tinp", &[0.6, 0.7, 0.72]),
            ],
        ),
        figures(
            "bpf",
            &[
                ("connection", "ns", &[3700.0, 3812.0, 4000.0]),
                ("swept-socket", "ns", &[260.0, 270.0, 300.0]),
            ],
        ),
        figures("sweep", &[("sockets-100000-socket", "ns", &[290.0, 310.0, 390.0])]),
        figures(
            "memory",
            &[("rest", "bytes", &[14_680_064.0]), ("sockets-100000", "bytes", &[104_857_600.0])],
        ),
        figures(
            "export-size",
            &[
                ("small-flows", "flows", &[20.0]),
                ("small-series", "series", &[199.0]),
                ("small-metrics", "bytes", &[121_000.0]),
                ("small-metrics-gzip", "bytes", &[10_800.0]),
                ("small-record", "bytes", &[1130.0]),
                ("small-record-gzip", "bytes", &[69.0]),
                ("medium-flows", "flows", &[200.0]),
                ("medium-series", "series", &[1910.0]),
                ("medium-metrics", "bytes", &[922_000.0]),
                ("medium-metrics-gzip", "bytes", &[39_000.0]),
                ("medium-record", "bytes", &[1130.0]),
                ("medium-record-gzip", "bytes", &[69.0]),
            ],
        ),
        growth("growth-sockets-time", "open sockets", "one sweep", "us", 1.0),
        growth("growth-sockets-memory", "open sockets", "resident memory", "KiB", 1.3),
    ];
    all.into_iter().map(|one| (one.name.clone(), one)).collect()
}

/// A note for each goal and growth that the made-up results miss.
pub fn notes() -> Notes {
    let names = GOALS.iter().map(|goal| goal.name).chain(["growth-sockets-memory"]);
    names.map(|name| (name.to_owned(), format!("It is the fault of *{name}*.\n"))).collect()
}
