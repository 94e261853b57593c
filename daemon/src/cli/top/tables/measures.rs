//! What programs and flows are measured by, and what lookups take.

use netsonde_view::model::{Buckets, FlowFrame};
use netsonde_view::quantiles::quantiles;

use super::{Cell, Column, Row, Tone, number};
use crate::cli::top::text::{duration, frequency, percentage, quantity};

/// A share of retransmitted segments that is worth a look, and one that is wrong.
const RETRANSMITS: [f64; 2] = [0.01, 0.05];

/// The columns that programs and flows have alike; [`Sums::cells`] fills them.
pub const MEASURES: [Column; 13] = [
    number("bytes", "BYTES", 6, 7),
    number("tx", "TX/s", 6, 9),
    number("rx", "RX/s", 6, 9),
    number("retransmits", "RETR", 6, 6),
    number("p50", "p50", 7, 3),
    number("p95", "p95", 7, 5),
    number("p99", "p99", 7, 3),
    number("active", "OPEN", 5, 6),
    number("opened", "CONN/s", 6, 5),
    number("failures", "FAIL", 5, 5),
    number("resets", "RST", 5, 2),
    number("drops", "DROP", 5, 2),
    number("packets", "PKT/s", 6, 1),
];

/// What is measured of one flow or several within a window.
#[derive(Debug, Clone, Copy)]
pub struct Sums<'a> {
    /// What it comes to.
    pub sum: &'a FlowFrame,
    /// How long the window is.
    pub seconds: f64,
    /// Upper bounds of round-trip times.
    pub bounds: &'a [f64],
}

impl Sums<'_> {
    fn a_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }

    /// The share of segments that were sent again, where any were sent.
    pub fn retransmitted(&self) -> Option<f64> {
        let sent = self.sum.tx_packets;
        (sent > 0 || self.sum.retransmits > 0).then(|| self.sum.retransmits as f64 / sent.max(1) as f64)
    }

    /// Connections that failed.
    pub fn failures(&self) -> u64 {
        self.sum.failures.values().sum()
    }

    /// Cells of [`MEASURES`].
    pub fn cells(&self) -> Vec<Cell> {
        let sum = self.sum;
        let whole = |count: u64| Cell::number(count as f64, quantity);
        let mut cells = vec![
            whole(sum.tx + sum.rx),
            Cell::number(self.a_second(sum.tx), quantity),
            Cell::number(self.a_second(sum.rx), quantity),
            Cell::maybe(self.retransmitted(), percentage),
        ];
        cells.extend(latencies(&sum.rtt, self.bounds));
        cells.extend([
            whole(sum.active),
            Cell::number(self.a_second(sum.opened + sum.accepted), frequency),
            whole(self.failures()),
            whole(sum.resets),
            whole(sum.drops.values().sum()),
            Cell::number(self.a_second(sum.tx_packets + sum.rx_packets), frequency),
        ]);
        cells
    }

    fn tone(&self) -> Tone {
        let share = self.retransmitted().unwrap_or(0.0);
        if share >= RETRANSMITS[1] {
            Tone::Bad
        } else if share >= RETRANSMITS[0] || self.failures() > 0 {
            Tone::Warning
        } else {
            Tone::Plain
        }
    }

    /// A row that begins with these cells.
    pub fn row(&self, key: String, mut cells: Vec<Cell>) -> Row {
        cells.extend(self.cells());
        Row { key, cells, tone: self.tone() }
    }
}

/// Half, 95 and 99 of 100 are no greater.
pub fn latencies(buckets: &Buckets, bounds: &[f64]) -> [Cell; 3] {
    let found = quantiles(buckets, bounds);
    [found.map(|q| q.p50), found.map(|q| q.p95), found.map(|q| q.p99)]
        .map(|seconds| Cell::maybe(seconds, duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sum: &FlowFrame, seconds: f64) -> Vec<String> {
        let bounds = [0.001, 0.01, 0.1];
        let sums = Sums { sum, seconds, bounds: &bounds };
        let cells = sums.cells();
        assert_eq!(cells.len(), MEASURES.len());
        cells.into_iter().map(|cell| cell.text).collect()
    }

    #[test]
    fn a_flow_is_measured() {
        let sum = FlowFrame {
            tx: 10_240,
            rx: 20_480,
            tx_packets: 50,
            rx_packets: 50,
            retransmits: 5,
            opened: 3,
            accepted: 2,
            active: 4,
            failures: [("refused".to_owned(), 2), ("reset".to_owned(), 1)].into(),
            resets: 1,
            rtt: vec![(0, 90), (1, 8), (2, 2)],
            ..FlowFrame::default()
        };
        let expected = [
            "30.0K", "1.0K", "2.0K", "10.0%", "1.0ms", "10.0ms", "100.0ms", "4", "0.50", "3", "1", "0",
            "10.0",
        ];
        assert_eq!(texts(&sum, 10.0), expected);
    }

    #[test]
    fn what_was_not_measured_is_not_shown_as_nought() {
        let texts = texts(&FlowFrame::default(), 0.0);
        assert_eq!(texts[..7], ["0", "0", "0", "-", "-", "-", "-"]);
    }
}
