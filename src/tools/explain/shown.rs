//! The encoder of a preview: it wraps a sink's own encoder and writes each cell as JSON, as SQL and, if the sink
//! would refuse it, as the reason.
//!
//! ```text
//! cell = 0 | json | sql                 held
//!      | 1 | reason | message           refused
//! text = len u32 | UTF-8 bytes
//! ```

use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType};
use crate::sink::{Held, Preview};

const HELD: u8 = 0;
const REFUSED: u8 = 1;

/// Encodes rows for [`read`].
#[derive(Debug, Clone)]
pub(super) struct Shown<R>(pub(super) R);

/// One value of a row: what the column would hold, or the refusal's reason and words.
pub(super) type ShownCell = Result<Held, (String, String)>;

impl<R: Preview> RowEncoder for Shown<R> {
    type Dialect = R::Dialect;

    /// As JSON and as SQL.
    const SPREAD: usize = 2;

    fn begin_row(&self, _column_count: usize, _out: &mut Vec<u8>) {}

    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        match self.0.preview(column_type, cell) {
            Ok(Held { json, sql }) => put(HELD, &json, &sql, out),
            Err(unheld) => put(REFUSED, unheld.reason, &unheld.message, out),
        }
    }
}

fn put(tag: u8, first: &str, second: &str, out: &mut Vec<u8>) {
    out.push(tag);
    for text in [first, second] {
        // A payload is smaller than 256 MiB, and escaping makes six bytes of one at most.
        out.extend_from_slice(&u32::try_from(text.len()).expect("a cell is below 4 GiB").to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

/// The cells of a row that [`Shown`] wrote.
pub(super) fn read(mut row: &[u8]) -> Vec<ShownCell> {
    let mut cells = Vec::new();
    while let Some((&tag, rest)) = row.split_first() {
        row = rest;
        let (first, second) = (take(&mut row), take(&mut row));
        cells.push(match tag {
            HELD => Ok(Held { json: first, sql: second }),
            _ => Err((first, second)),
        });
    }
    cells
}

fn take(row: &mut &[u8]) -> String {
    const WHOLE: &str = "rows of our own encoder are whole";
    let (len, rest) = row.split_first_chunk::<4>().expect(WHOLE);
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).expect(WHOLE);
    *row = rest;
    String::from_utf8(text.to_vec()).expect(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SqliteEncoder;

    #[test]
    fn cells_come_back_as_they_were_written() {
        let mut row = Vec::new();
        let encoder = Shown(SqliteEncoder);
        encoder.cell(&ColumnType::Text { max_chars: None }, Cell::Text("a"), &mut row);
        encoder.cell(&ColumnType::Any, Cell::Array(&[]), &mut row);
        let cells = read(&row);
        assert_eq!(cells[0], Ok(Held { json: "\"a\"".to_owned(), sql: "'a'".to_owned() }));
        assert!(matches!(&cells[1], Err((reason, message)) if reason == "value" && message.contains("no arrays")));
    }
}
