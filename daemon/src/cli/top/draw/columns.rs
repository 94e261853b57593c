//! Which columns a terminal has room for, and how wide they are.

use crate::cli::top::tables::{Column, Row};
use crate::cli::top::text::width;

/// A column that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its index in the table.
    pub column: usize,
    /// Columns of the terminal, without the gap before it.
    pub width: usize,
}

/// A name is to have so many columns of the terminal before details are shown.
const NAME: usize = 32;
/// What is less important is a detail.
const DETAIL: u8 = 4;

/// Leaves out columns of little importance until the rest fits, the one that rows are sorted by last of all; what room
/// is left goes to the columns whose texts need it. Each has a gap of one before it. `limit` is the terminal's width,
/// if there is one.
pub fn fit(columns: &[Column], rows: &[Row], sorted: usize, limit: Option<usize>) -> Vec<Placed> {
    let mut placed: Vec<Placed> = columns
        .iter()
        .enumerate()
        .map(|(column, of)| Placed { column, width: usize::from(of.width) })
        .collect();
    let needs = |column: usize| {
        rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| width(&cell.text)).max().unwrap_or(0)
    };
    let Some(limit) = limit else {
        for place in &mut placed {
            place.width = place.width.max(needs(place.column));
        }
        return placed;
    };
    let taken = |placed: &[Placed]| placed.iter().map(|place| place.width + 1).sum::<usize>();
    // The rightmost of the least important.
    let least = |placed: &[Placed], below: u8| {
        let droppable = (0..placed.len()).filter(|&at| columns[placed[at].column].priority < below);
        let importance = |&at: &usize| {
            let column = placed[at].column;
            (column == sorted, columns[column].priority, usize::MAX - at)
        };
        droppable.min_by_key(importance)
    };
    while taken(&placed) > limit
        && let Some(at) = least(&placed, 9)
    {
        placed.remove(at);
    }
    // What a row is called is worth more than the details.
    let name = columns.iter().position(|column| column.grows).unwrap_or(0);
    let missing = needs(name).min(NAME).saturating_sub(usize::from(columns[name].width));
    while taken(&placed) + missing > limit
        && let Some(at) = least(&placed, DETAIL).filter(|&at| placed[at].column != sorted)
    {
        placed.remove(at);
    }
    let mut room = limit.saturating_sub(taken(&placed));
    let wants: Vec<usize> = placed.iter().map(|place| needs(place.column)).collect();
    while room > 0 {
        // In turn, so that no long name takes all.
        let hungry = (0..placed.len()).filter(|&at| placed[at].width < wants[at]);
        let Some(at) = hungry.max_by_key(|&at| wants[at] - placed[at].width) else { break };
        placed[at].width += 1;
        room -= 1;
    }
    // The rest keeps numbers at the right edge.
    let grower = placed.iter_mut().find(|place| columns[place.column].grows);
    if let Some(place) = grower {
        place.width += room;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::tables::{Cell, Kind, Tone};

    fn words(kind: Kind, rows: &[Row], sorted: &str, limit: usize) -> Vec<&'static str> {
        let sorted = kind.column(sorted).expect("a column");
        let placed = fit(kind.columns(), rows, sorted, Some(limit));
        let taken: usize = placed.iter().map(|place| place.width + 1).sum();
        assert!(taken <= limit, "{kind:?} at {limit}: {placed:?}");
        placed.iter().map(|place| kind.columns()[place.column].word).collect()
    }

    #[test]
    fn what_matters_least_goes_first() {
        let shown = words(Kind::Programs, &[], "bytes", 40);
        assert_eq!(shown, ["program", "bytes", "tx", "rx"]);
        let shown = words(Kind::Programs, &[], "bytes", 80);
        assert!(
            shown.contains(&"retransmits") && shown.contains(&"p95") && !shown.contains(&"drops"),
            "{shown:?}"
        );
        assert_eq!(words(Kind::Programs, &[], "bytes", 300).len(), Kind::Programs.columns().len());
    }

    #[test]
    fn the_order_is_seen_as_long_as_there_is_room() {
        let shown = words(Kind::Programs, &[], "drops", 40);
        assert_eq!(shown, ["program", "tx", "rx", "drops"]);
    }

    #[test]
    fn every_table_fits_every_terminal() {
        for kind in Kind::ALL {
            for limit in 40..250 {
                for column in kind.columns() {
                    words(kind, &[], column.word, limit);
                }
            }
        }
    }

    #[test]
    fn a_name_is_worth_more_than_details() {
        let name = "a-name-of-some-thirty-characters";
        let mut cells = vec![Cell::text(String::new()); Kind::Programs.columns().len()];
        cells[0] = Cell::text(name.to_owned());
        let rows = [Row { key: String::new(), cells, tone: Tone::Plain }];
        for limit in [80, 100, 140] {
            let placed = fit(Kind::Programs.columns(), &rows, 4, Some(limit));
            assert!(placed[0].width >= 26 || limit < 100, "{limit}: {placed:?}");
        }
        let shown = words(Kind::Programs, &rows, "bytes", 112);
        assert!(
            !shown.contains(&"p99") && words(Kind::Programs, &[], "bytes", 112).contains(&"p99"),
            "{shown:?}"
        );
    }

    #[test]
    fn long_names_get_the_room_that_is_left() {
        let text = |text: &str| Cell::text(text.to_owned());
        let cells = vec![text("degraded"), text("a-long-subject-of-30-characters"), text("short")];
        let row = Row { key: String::new(), cells, tone: Tone::Plain };
        let placed = fit(Kind::Status.columns(), &[row], 0, Some(100));
        assert_eq!(placed[1].width, 31);
        assert_eq!(placed.iter().map(|place| place.width + 1).sum::<usize>(), 100);
    }
}
