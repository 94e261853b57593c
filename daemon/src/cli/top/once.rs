//! One table as plain text, for scripts.

use std::io::{self, Write};

use super::draw::columns;
use super::tables::{Kind, Row};
use super::text::{Align, fit, width};

/// Writes a table with all its columns, each as wide as its texts need.
///
/// # Errors
///
/// When `out` takes no more.
pub fn write(kind: Kind, rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let placed = columns::fit(kind.columns(), rows, 0, None);
    let mut line = |cell: &dyn Fn(usize) -> String| {
        let cells = placed.iter().map(|place| {
            let text = cell(place.column);
            fit(&text, place.width.max(width(&text)), kind.columns()[place.column].align, ' ')
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())
    };
    line(&|column| kind.columns()[column].title.to_owned())?;
    for row in rows {
        let text = |column: usize| {
            let text = row.cells.get(column).map_or("", |cell| &cell.text);
            // So that fields can be counted.
            let empty = text.is_empty() && kind.columns()[column].align == Align::Left;
            if empty { "-".to_owned() } else { text.to_owned() }
        };
        line(&text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::tables::{Cell, Tone};

    #[test]
    fn every_column_is_there_and_no_text_is_cut() {
        let cells = ["ok", "", "a long text that is wider than its column"];
        let cells = cells.map(|text| Cell::text(text.to_owned())).to_vec();
        let rows = [Row { key: String::new(), cells, tone: Tone::Plain }];
        let mut out = Vec::new();
        write(Kind::Status, &rows, &mut out).expect("memory takes all");
        let text = String::from_utf8(out).expect("UTF-8");
        let expected = "STATE     SUBJECT       WHAT\nok        -             a long text that is wider than its column\n";
        assert_eq!(text, expected);
    }
}
