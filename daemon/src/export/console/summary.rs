//! One reading of all metrics as a table of what flowed since the last one.
//!
//! Owns the previous totals, because cumulative series tell the whole; a series that begins anew tells what
//! is new by itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use netsonde_probes::descriptor::{HistogramLayout, MetricKind};

use super::format::{Values, basename, bytes, duration, endpoint, printable, time_of_day};
use crate::telemetry::{MetricData, Point, PointValue, Temporality};

/// Rows shown of a table.
const TOP: usize = 20;
/// Readings that a series may be absent from before its previous total is forgotten.
const MEMORY: u64 = 300;
/// Characters of a program's name and of a server's that are shown.
const WIDEST: (usize, usize) = (24, 46);

/// Makes the tables, one after another.
#[derive(Debug, Default)]
pub struct Summary {
    previous: HashMap<String, Previous>,
    reading: u64,
    /// When the last reading was taken, Unix nanoseconds.
    last_time: Option<u64>,
}

#[derive(Debug)]
struct Previous {
    start_unix_ns: u64,
    value: PointValue,
    reading: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    /// Full path: programs of one name are not one program.
    program: String,
    role: String,
    server: String,
}

#[derive(Debug, Default)]
struct Row {
    transmit: u64,
    receive: u64,
    retransmits: u64,
    active: i64,
    rtt: Vec<u64>,
    rtt_bounds: Vec<f64>,
}

impl Row {
    fn bytes(&self) -> u64 {
        self.transmit.saturating_add(self.receive)
    }

    fn is_idle(&self) -> bool {
        self.bytes() == 0 && self.retransmits == 0 && self.active == 0
    }
}

impl Summary {
    /// Appends the table of one reading.
    pub fn push_table(&mut self, out: &mut String, metrics: &[MetricData], color: bool) {
        let points = || metrics.iter().flat_map(|data| &data.points);
        let Some(now) = points().map(|point| point.time_unix_ns).max() else { return };
        let since = self.last_time.or_else(|| points().map(|point| point.start_unix_ns).min());
        let nanos = now.saturating_sub(since.unwrap_or(now));
        self.last_time = Some(now);

        let mut rows: Vec<(Flow, Row)> =
            self.rows(metrics).into_iter().filter(|(_, row)| !row.is_idle()).collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse((row.bytes(), row.active)));
        push_rows(out, &rows, now, nanos, color);
    }

    fn rows(&mut self, metrics: &[MetricData]) -> BTreeMap<Flow, Row> {
        self.reading += 1;
        let mut rows: BTreeMap<Flow, Row> = BTreeMap::new();
        for data in metrics {
            let name = data.metric.name;
            let shown = [
                "netsonde.flow.io",
                "netsonde.tcp.retransmits",
                "netsonde.tcp.connections.active",
                "netsonde.tcp.rtt",
            ];
            if !shown.contains(&name) {
                continue;
            }
            for point in &data.points {
                let attributes = Values::Series(&point.attributes);
                let row = rows.entry(flow(attributes)).or_default();
                // What is active is a level, not an amount.
                if let ("netsonde.tcp.connections.active", PointValue::Int(active)) = (name, &point.value) {
                    row.active += active;
                    continue;
                }
                match (name, self.added(data, point), data.metric.kind) {
                    ("netsonde.flow.io", PointValue::Int(added), _) => {
                        let added = u64::try_from(added).unwrap_or(0);
                        match attributes.text("network.io.direction") {
                            Some("receive") => row.receive += added,
                            _ => row.transmit += added,
                        }
                    }
                    ("netsonde.tcp.retransmits", PointValue::Int(added), _) => {
                        row.retransmits += u64::try_from(added).unwrap_or(0);
                    }
                    (_, PointValue::Histogram { counts, .. }, MetricKind::Histogram(layout)) => {
                        row.add_rtt(&counts, layout);
                    }
                    _ => {}
                }
            }
        }
        let reading = self.reading;
        self.previous.retain(|_, previous| reading - previous.reading < MEMORY);
        rows
    }

    /// What a point adds to the last reading of its series.
    fn added(&mut self, data: &MetricData, point: &Point) -> PointValue {
        if data.temporality == Temporality::Delta {
            return point.value.clone();
        }
        let key = format!("{} {:?}", data.metric.name, point.attributes);
        let current = Previous {
            start_unix_ns: point.start_unix_ns,
            value: point.value.clone(),
            reading: self.reading,
        };
        match self.previous.insert(key, current) {
            Some(previous) if previous.start_unix_ns == point.start_unix_ns => {
                difference(&point.value, &previous.value)
            }
            _ => point.value.clone(),
        }
    }
}

impl Row {
    fn add_rtt(&mut self, counts: &[u64], layout: HistogramLayout) {
        if self.rtt_bounds.is_empty() {
            self.rtt_bounds = layout.bounds_seconds();
            self.rtt = vec![0; layout.buckets];
        }
        for (sum, count) in self.rtt.iter_mut().zip(counts) {
            *sum += count;
        }
    }
}

fn difference(now: &PointValue, before: &PointValue) -> PointValue {
    match (now, before) {
        (PointValue::Int(now), PointValue::Int(before)) => PointValue::Int(now.saturating_sub(*before)),
        (
            PointValue::Histogram { sum, counts },
            PointValue::Histogram { sum: sum_before, counts: before },
        ) if counts.len() == before.len() => {
            let counts = counts.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect();
            PointValue::Histogram { sum: sum - sum_before, counts }
        }
        (now, _) => now.clone(),
    }
}

fn flow(attributes: Values<'_>) -> Flow {
    let program = match attributes.text("process.executable.path") {
        _ if attributes.is_true("otel.metric.overflow") => "(overflow)",
        path => path.unwrap_or("?"),
    };
    let server = endpoint(attributes.text("server.address"), attributes.int("server.port"));
    Flow {
        program: program.into(),
        role: printable(attributes.text("netsonde.socket.role").unwrap_or("-")).into_owned(),
        server: server.unwrap_or_else(|| "-".into()),
    }
}

/// The median of a histogram in seconds, taken as evenly spread within its bucket; `Err` gives the last
/// bound if it lies beyond.
#[expect(clippy::cast_precision_loss, reason = "an estimate of two digits")]
fn median(counts: &[u64], bounds: &[f64]) -> Option<Result<f64, f64>> {
    let total: u64 = counts.iter().sum();
    let half = total as f64 / 2.0;
    let mut below = 0;
    for (index, &count) in counts.iter().enumerate() {
        if count > 0 && (below + count) as f64 >= half {
            let lower = if index == 0 { 0.0 } else { bounds[index - 1] };
            return Some(match bounds.get(index) {
                Some(upper) => Ok(lower + (upper - lower) * (half - below as f64) / count as f64),
                None => Err(lower),
            });
        }
        below += count;
    }
    None
}

/// A name of at most `width` characters; the end of a long one tells more than its start.
fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.into();
    }
    std::iter::once('…').chain(text.chars().skip(length - width + 1)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a tenth of a second is shown")]
fn push_rows(out: &mut String, rows: &[(Flow, Row)], now: u64, nanos: u64, color: bool) {
    let (bold, reset) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let time = time_of_day(now, false);
    let seconds = nanos as f64 / 1e9;
    let transmit = bytes(rows.iter().map(|(_, row)| row.transmit).sum());
    let receive = bytes(rows.iter().map(|(_, row)| row.receive).sum());
    let flows = match rows.len() {
        1 => "1 flow".into(),
        count => format!("{count} flows"),
    };
    // Written to a string, which takes everything.
    let _ = writeln!(
        out,
        "{bold}--- {time} UTC, last {seconds:.1}s: {flows}, tx {transmit}, rx {receive}{reset}"
    );
    if rows.is_empty() {
        return;
    }
    let cells: Vec<[String; 10]> = rows.iter().take(TOP).map(|(flow, row)| cells(flow, row, nanos)).collect();
    let head = ["PROGRAM", "ROLE", "SERVER", "TX", "RX", "TX/s", "RX/s", "ACTIVE", "RETRANS", "RTT p50"];
    let mut widths = head.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    push_row(out, &head.map(String::from), &widths);
    for row in &cells {
        push_row(out, row, &widths);
    }
    if rows.len() > TOP {
        let _ = writeln!(out, "… {} more", rows.len() - TOP);
    }
}

fn push_row(out: &mut String, cells: &[String; 10], widths: &[usize; 10]) {
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        // Names to the left, quantities to the right.
        let _ = if index < 3 { write!(out, "{cell:<width$}  ") } else { write!(out, "{cell:>width$}  ") };
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

fn cells(flow: &Flow, row: &Row, nanos: u64) -> [String; 10] {
    let rate = |count: u64| match u128::from(count) * 1_000_000_000 {
        _ if nanos == 0 => "-".into(),
        scaled => bytes(u64::try_from(scaled / u128::from(nanos)).unwrap_or(u64::MAX)),
    };
    let rtt = match median(&row.rtt, &row.rtt_bounds) {
        Some(Ok(seconds)) => duration(seconds),
        Some(Err(bound)) => format!(">{}", duration(bound)),
        None => "-".into(),
    };
    [
        fit(&basename(&flow.program), WIDEST.0),
        flow.role.clone(),
        fit(&flow.server, WIDEST.1),
        bytes(row.transmit),
        bytes(row.receive),
        rate(row.transmit),
        rate(row.receive),
        row.active.to_string(),
        row.retransmits.to_string(),
        rtt,
    ]
}

#[cfg(test)]
mod tests;
