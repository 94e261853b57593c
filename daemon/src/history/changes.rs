//! From what is stored of one opening to the changes that are told of it.

use netsonde_audit::model::{Change, ChangeKind, Listener};
use netsonde_history::{End, Record};

/// The opening and the closing of a record, as far as they were from `since` to `until` (Unix nanoseconds). What nobody
/// saw is placed where it was noticed. A record that does not tell what listened has none.
#[must_use]
pub fn changes(record: &Record<Listener>, since: u64, until: u64) -> Vec<Change> {
    let Some(listener) = record.opening.as_ref().or(record.closing.as_ref()) else { return Vec::new() };
    let window = since..=until;
    let change = |kind| Change {
        kind,
        closed_unix_ns: record.end.map(End::at),
        close_unseen: matches!(record.end, Some(End::Unwatched { .. })),
        first_seen_unix_ns: record.opened_at.is_none().then_some(record.id.began),
        listener: Listener { opened_unix_ns: record.opened_at, ..listener.clone() },
    };
    // One that only its closing tells of has an id of that time, and did not open then.
    let opened = window.contains(&record.id.began) && record.opening.is_some();
    let closed = record.end.is_some_and(|end| window.contains(&end.at()));
    let kinds = [opened.then_some(ChangeKind::Opened), closed.then_some(ChangeKind::Closed)];
    kinds.into_iter().flatten().map(change).collect()
}

#[cfg(test)]
mod tests {
    use netsonde_audit::model::Transport;
    use netsonde_history::{BootId, OpeningId};

    use super::*;

    fn record(opened_at: Option<u64>, end: Option<End>) -> Record<Listener> {
        Record {
            id: OpeningId { began: 50, boot: BootId([0; 16]), cookie: 7 },
            opened_at,
            end,
            opening: Some(Listener::new(Transport::Tcp, None, Some(23))),
            closing: None,
        }
    }

    fn kinds(record: &Record<Listener>, since: u64, until: u64) -> Vec<(ChangeKind, Option<u64>)> {
        changes(record, since, until).iter().map(|change| (change.kind, change.unix_ns())).collect()
    }

    #[test]
    fn each_change_is_told_when_it_was_in_the_window() {
        let short = record(Some(50), Some(End::Seen(55)));
        let (opened, closed) = ((ChangeKind::Opened, Some(50)), (ChangeKind::Closed, Some(55)));
        assert_eq!(kinds(&short, 0, 99), [opened, closed]);
        assert_eq!(kinds(&short, 51, 99), [closed]);
        assert_eq!(kinds(&short, 0, 54), [opened]);
        assert_eq!(kinds(&short, 56, 99), []);
        assert_eq!(kinds(&record(Some(50), None), 0, 99), [opened]);
    }

    #[test]
    fn what_nobody_saw_says_so() {
        let found = changes(&record(None, Some(End::Unwatched { before: 60 })), 0, 99);
        assert_eq!(found.len(), 2);
        for change in &found {
            assert!(change.close_unseen && change.listener.opened_unix_ns.is_none());
            assert_eq!((change.first_seen_unix_ns, change.closed_unix_ns), (Some(50), Some(60)));
        }
        assert_eq!(found[0].unix_ns(), Some(50));
    }

    #[test]
    fn a_closing_alone_is_no_opening() {
        let listener = Listener::new(Transport::Tcp, None, Some(23));
        let mut alone =
            Record { opening: None, closing: Some(listener), ..record(None, Some(End::Seen(50))) };
        assert_eq!(kinds(&alone, 0, 99), [(ChangeKind::Closed, Some(50))]);
        alone.closing = None;
        assert_eq!(kinds(&alone, 0, 99), []);
    }
}
