//! What readers of the last hour cost, for `make instructions`.

use netsonde_counted::count;
use netsonde_view::model::FlowFrame;

use super::answers::HistoryPieces;
use super::*;

const FLOWS: u32 = 1000;
const INTERVALS: u64 = 10;

/// Intervals in each of which every flow measured something.
fn view() -> View {
    let named: Vec<Arc<Named>> = (1..=FLOWS)
        .map(|id| {
            let attributes = format!("{{\"server.address\":\"host-{id}.example.com\",\"server.port\":443}}");
            Arc::new(Named { id, attributes: attributes.into() })
        })
        .collect();
    let view = View::default();
    for time in 1..=INTERVALS {
        let flows = named.iter().map(|named| {
            let id = named.id;
            let flow = FlowFrame {
                id,
                tx: 1000 * time,
                rx: 200,
                tx_packets: 5,
                rx_packets: 6,
                ..FlowFrame::default()
            };
            (Arc::clone(named), FlowFrame { rtt: vec![(3, 2), (5, 1)], active: 1, ..flow })
        });
        let frame = StoredFrame::new(time * 1000, 1.0, flows.collect(), Vec::new());
        view.shared().frames.push_back(Arc::new(frame));
    }
    view
}

#[test]
fn history_page() {
    let view = view();
    let bytes = count(INTERVALS as usize, "interval of 1,000 flows", || {
        let pieces: HistoryPieces = view.history(0);
        pieces.map(|piece| piece.len()).sum::<usize>()
    });
    assert!(bytes > (u64::from(FLOWS) * INTERVALS * 50) as usize, "{bytes}");
}

#[test]
fn flows_page() {
    let view = view();
    let flows = count(FLOWS as usize, "flow of 10 intervals", || view.flows(FLOWS as usize));
    assert_eq!(flows.flows.len(), FLOWS as usize);
}
