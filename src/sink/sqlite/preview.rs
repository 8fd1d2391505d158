//! Shows the value that SQLite would hold, decoded from the bytes of the encoder.

use super::encode::{SqliteEncoder, Value, take_value};
use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType};
use crate::sink::literal::{hexadecimal, literal};
use crate::sink::preview::{Held, Preview, Unheld, float, json_number};

impl Preview for SqliteEncoder {
    fn preview(&self, column_type: &ColumnType, cell: Cell<'_>) -> Result<Held, Unheld> {
        let mut bytes = Vec::new();
        self.cell(column_type, cell, &mut bytes);
        let value = take_value(&mut bytes.as_slice());
        let held = match value.expect("the encoder writes whole values") {
            Value::Null => Held::null(),
            Value::Integer(number) => Held::plain(number.to_string()),
            Value::Real(number) => Held::plain(float(number)),
            Value::Text(text) => of_text(column_type, &String::from_utf8_lossy(text)),
            Value::Blob(bytes) => Held::bytes(bytes, |digits| format!("X'{digits}'")),
            Value::Unfit(unfit) => return Err(Unheld { reason: unfit.reason(), message: unfit.to_string() }),
        };
        Ok(match cell {
            // SQLite has 0 and 1 for these.
            Cell::Bool(truth) => Held { json: truth.to_string(), ..held },
            _ => held,
        })
    }
}

fn of_text(column_type: &ColumnType, text: &str) -> Held {
    let sql = match text.contains('\0') {
        // A literal would end there.
        true => format!("CAST(X'{}' AS TEXT)", hexadecimal(text.as_bytes())),
        false => literal(text),
    };
    match column_type {
        ColumnType::Json | ColumnType::JsonText => Held::new(text.to_owned(), sql),
        ColumnType::Numeric(_) => Held::new(json_number(text), sql),
        _ => Held { sql, ..Held::text(text) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(column_type: &ColumnType, cell: Cell<'_>) -> (String, String) {
        let held = SqliteEncoder.preview(column_type, cell).unwrap();
        (held.json, held.sql)
    }

    fn pair(json: &str, sql: &str) -> (String, String) {
        (json.to_owned(), sql.to_owned())
    }

    #[test]
    fn a_value_is_shown_as_sqlite_would_hold_it() {
        let text = ColumnType::Text { max_chars: None };
        assert_eq!(shown(&ColumnType::Bool, Cell::Bool(true)), pair("true", "1"));
        assert_eq!(shown(&ColumnType::Float8, Cell::Float(21.5)), pair("21.5", "21.5"));
        assert_eq!(shown(&text, Cell::Text("it's")), pair("\"it's\"", "'it''s'"));
        assert_eq!(shown(&text, Cell::Text("a\0b")), pair("\"a\\u0000b\"", "CAST(X'610062' AS TEXT)"));
        assert_eq!(shown(&ColumnType::Json, Cell::Text(r#"{"a":1}"#)), pair(r#"{"a":1}"#, r#"'{"a":1}'"#));
        assert_eq!(shown(&ColumnType::Bytes, Cell::Bytes(b"\x00\xff")), pair("\"\\\\x00ff\"", "X'00ff'"));
        assert_eq!(shown(&ColumnType::Int8, Cell::Timestamp(1_500_999)), pair("1500", "1500"));
        let time = pair("\"1970-01-01T00:00:01.500Z\"", "'1970-01-01T00:00:01.500Z'");
        assert_eq!(shown(&ColumnType::TimestampText, Cell::Timestamp(1_500_999)), time);
        let long = "12345678901234567890.5";
        assert_eq!(
            shown(&ColumnType::Numeric(Some((38, 9))), Cell::Decimal(long)),
            (long.to_owned(), format!("'{long}'"))
        );
    }

    #[test]
    fn what_sqlite_cannot_hold_is_refused_with_the_letters_reason() {
        let refused = SqliteEncoder.preview(&ColumnType::Numeric(None), Cell::Decimal("12345678901234567890.5"));
        assert_eq!(refused.unwrap_err().reason, "value");
    }
}
