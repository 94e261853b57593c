//! The tables: of each kind its columns, and its rows as made from what is known.
//!
//! Owns what a column is and how rows are put in order. What fits on a screen is the drawing's matter.

pub mod dns;
pub mod flows;
pub mod listeners;
mod measures;
pub mod processes;
pub mod status;

use std::cmp::Ordering;

use super::text::Align;

pub use measures::Sums;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// As the command line and the reference call it.
    pub word: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Columns of the terminal that it takes, at least.
    pub width: u16,
    /// Where texts stand in it.
    pub align: Align,
    /// The lower, the sooner it is left out where there is no room; what has 9 is always there.
    pub priority: u8,
    /// Whether it takes what room is left.
    pub grows: bool,
}

const fn text(word: &'static str, title: &'static str, width: u16, priority: u8) -> Column {
    Column { word, title, width, align: Align::Left, priority, grows: true }
}

const fn number(word: &'static str, title: &'static str, width: u16, priority: u8) -> Column {
    Column { word, title, width, align: Align::Right, priority, grows: false }
}

/// What a cell is put in order by.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Nothing is known: comes last, whichever way.
    Nothing,
    /// A number.
    Number(f64),
    /// A text, as it is shown.
    Text,
}

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// As it is shown; clean.
    pub text: String,
    /// As it is put in order.
    pub order: Order,
}

impl Cell {
    /// A clean text.
    pub fn text(text: String) -> Self {
        let order = if text.is_empty() { Order::Nothing } else { Order::Text };
        Self { text, order }
    }

    /// A number, as it is written by `write`.
    pub fn number(value: f64, write: impl Fn(f64) -> String) -> Self {
        Self { text: write(value), order: Order::Number(value) }
    }

    /// Likewise; what is not known is `-`.
    pub fn maybe(value: Option<f64>, write: impl Fn(f64) -> String) -> Self {
        value.map_or_else(|| Self { text: "-".to_owned(), order: Order::Nothing }, |v| Self::number(v, write))
    }
}

/// How a row is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// As any other.
    #[default]
    Plain,
    /// It is there for another's sake, or a heading.
    Dim,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What it is, for as long as the daemon runs.
    pub key: String,
    /// One a column.
    pub cells: Vec<Cell>,
    /// How it is meant.
    pub tone: Tone,
}

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Programs, with all their flows.
    Programs,
    /// Flows.
    Flows,
    /// DNS lookups.
    Dns,
    /// What listens.
    Listeners,
    /// Processes as a tree.
    Processes,
    /// How netsonde is doing.
    Status,
}

impl Kind {
    /// In the order of their tabs.
    pub const ALL: [Self; 6] =
        [Self::Programs, Self::Flows, Self::Dns, Self::Listeners, Self::Processes, Self::Status];

    /// As the command line calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Flows => "flows",
            Self::Dns => "dns",
            Self::Listeners => "listeners",
            Self::Processes => "processes",
            Self::Status => "status",
        }
    }

    /// As its tab is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Programs => "Programs",
            Self::Flows => "Flows",
            Self::Dns => "DNS",
            Self::Listeners => "Listeners",
            Self::Processes => "Processes",
            Self::Status => "Status",
        }
    }

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Programs => flows::PROGRAM_COLUMNS,
            Self::Flows => flows::FLOW_COLUMNS,
            Self::Dns => dns::COLUMNS,
            Self::Listeners => listeners::COLUMNS,
            Self::Processes => processes::COLUMNS,
            Self::Status => status::COLUMNS,
        }
    }

    /// How it is put in order unless somebody chooses: what moves most comes first.
    pub fn sorting(self) -> Sorting {
        let (word, descending) = match self {
            Self::Programs | Self::Flows | Self::Processes => ("bytes", true),
            Self::Dns => ("count", true),
            Self::Listeners => ("port", false),
            Self::Status => ("state", true),
        };
        Sorting { column: self.column(word).unwrap_or(0), descending }
    }

    /// The column of that name.
    pub fn column(self, word: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.word == word)
    }
}

/// The order of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sorting {
    /// Which column.
    pub column: usize,
    /// The greatest first.
    pub descending: bool,
}

impl Sorting {
    /// By a column, in the direction in which it is of most use.
    pub fn by(kind: Kind, column: usize) -> Self {
        let descending = kind.columns().get(column).is_some_and(|column| column.align == Align::Right);
        Self { column, descending }
    }
}

/// Puts rows in order; those that are alike, by their keys, so that they keep their places.
pub fn sort(rows: &mut [Row], sorting: Sorting) {
    rows.sort_by(|a, b| compare(a, b, sorting));
}

/// Which of two rows comes first.
pub fn compare(a: &Row, b: &Row, sorting: Sorting) -> Ordering {
    let (Some(left), Some(right)) = (a.cells.get(sorting.column), b.cells.get(sorting.column)) else {
        return a.key.cmp(&b.key);
    };
    let turned = |order: Ordering| if sorting.descending { order.reverse() } else { order };
    let order = match (&left.order, &right.order) {
        (Order::Nothing, Order::Nothing) => Ordering::Equal,
        (Order::Nothing, _) => Ordering::Greater,
        (_, Order::Nothing) => Ordering::Less,
        (Order::Number(a), Order::Number(b)) => turned(a.total_cmp(b)),
        _ => turned(left.text.to_lowercase().cmp(&right.text.to_lowercase())),
    };
    order.then_with(|| a.key.cmp(&b.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::text::frequency;

    fn row(key: &str, value: Option<f64>) -> Row {
        Row { key: key.to_owned(), cells: vec![Cell::maybe(value, frequency)], tone: Tone::Plain }
    }

    fn keys(rows: &[Row]) -> String {
        rows.iter().map(|row| row.key.as_str()).collect()
    }

    #[test]
    fn rows_are_put_in_order_and_what_is_not_known_comes_last() {
        let mut rows = [row("a", Some(2.0)), row("b", None), row("c", Some(10.0)), row("d", Some(2.0))];
        sort(&mut rows, Sorting { column: 0, descending: true });
        assert_eq!(keys(&rows), "cadb");
        sort(&mut rows, Sorting { column: 0, descending: false });
        assert_eq!(keys(&rows), "adcb");
        sort(&mut rows, Sorting { column: 7, descending: true });
        assert_eq!(keys(&rows), "abcd", "a column that is not there orders nothing");
    }

    #[test]
    fn tables_hold_together() {
        for kind in Kind::ALL {
            let columns = kind.columns();
            assert!(columns.iter().any(|column| column.priority == 9), "{kind:?} is never empty");
            let always: u16 = columns.iter().filter(|c| c.priority == 9).map(|c| c.width + 1).sum();
            assert!(always <= 40, "{kind:?} fits a narrow terminal");
            for (index, column) in columns.iter().enumerate() {
                assert_eq!(kind.column(column.word), Some(index), "{kind:?} has {} once", column.word);
                assert!(usize::from(column.width) >= column.title.len(), "{kind:?}: {}", column.title);
            }
            assert!(kind.sorting().column < columns.len());
            assert_eq!(kind.column("nonsense"), None);
        }
    }
}
