//! Rows of a simulated table as bytes, and back. A row that was encoded for another definition of the table decodes to
//! another number.

use crate::batch::{RowEncoder, Target};
use crate::schema::{Cell, ColumnType, SqliteDialect};
use crate::simulation::database::Row;

/// With an odd definition, the number is of this type and every bit of it is turned.
pub(super) const TURNED: ColumnType = ColumnType::Int4;

/// Cells one after the other: numbers as i64, texts with a length u32 before.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct SimEncoder;

impl RowEncoder for SimEncoder {
    type Dialect = SqliteDialect;

    fn begin_row(&self, _: usize, _: &mut Vec<u8>) {}

    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        match cell {
            Cell::Int(number) if *column_type == TURNED => out.extend_from_slice(&(!number).to_le_bytes()),
            Cell::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
            Cell::Text(text) => {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            // What a row without the column would hold; every message of this world has it.
            Cell::Null => {}
            cell => panic!("no column of this world takes {cell:?}"),
        }
    }
}

/// Whatever the bytes were made for, they mean what the table is now.
pub(super) fn decode(mut bytes: &[u8], target: &Target, definition: i64) -> Row {
    let number = |bytes: &mut &[u8]| i64::from_le_bytes(*bytes.split_off(..8).unwrap().first_chunk().unwrap());
    let text = |bytes: &mut &[u8]| {
        let len = u32::from_le_bytes(*bytes.split_off(..4).unwrap().first_chunk().unwrap()) as usize;
        String::from_utf8(bytes.split_off(..len).unwrap().to_vec()).unwrap()
    };
    let mut row = Row::default();
    for &column in &*target.columns {
        match target.table.columns[column].name.as_str() {
            "seq" => row.seq = number(&mut bytes),
            "n" if definition % 2 == 0 => row.number = number(&mut bytes),
            "n" => row.number = !number(&mut bytes),
            "topic" => row.topic = text(&mut bytes),
            "pad" => row.pad = text(&mut bytes),
            "part" => row.part = number(&mut bytes),
            "extra" => row.extra = Some(number(&mut bytes)),
            other => panic!("no column is called {other}"),
        }
    }
    assert!(bytes.is_empty(), "a row ends with its last cell");
    row
}
