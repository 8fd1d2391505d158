//! Rows between mapping and [`super::write`]: SQLite's five kinds of value, tagged, one after the other.
//!
//! ```text
//! value = 0                                NULL
//!       | 1 | i64                          INTEGER
//!       | 2 | f64                          REAL
//!       | 3 | len u32 | UTF-8 bytes        TEXT
//!       | 4 | len u32 | bytes              BLOB
//!       | 5 | reason u8                    SQLite has no exact value for this: the row is refused when written
//! ```
//! All numbers are little-endian. [`SqliteDialect`] lists what each column type holds.
//!
//! Invariant: text is written only where SQLite keeps it. A column of a type such as UUID or JSON may have NUMERIC
//! affinity, which turns text that looks like a number into a number; for such a column the text is sent as that number
//! or refused.

use thiserror::Error;

use super::number::{ExactNumber, exact_number, exact_number_as_text, looks_numeric};
use super::time_text;
use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType, SqliteDialect};

const TAG_NULL: u8 = 0;
const TAG_INTEGER: u8 = 1;
const TAG_REAL: u8 = 2;
const TAG_TEXT: u8 = 3;
const TAG_BLOB: u8 = 4;
const TAG_UNFIT: u8 = 5;

/// Writes rows in the form above.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteEncoder;

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// UTF-8.
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Unfit(Unfit),
}

/// Why a value has no exact form in SQLite. Becomes the text of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(u8)]
pub(super) enum Unfit {
    #[error("SQLite stores NaN as NULL; filter it out or make the column TEXT")]
    NotANumber = 1,
    #[error("the number has more digits than a NUMERIC column of SQLite keeps exactly; make the column TEXT")]
    TooPrecise = 2,
    #[error("text that looks like a number would be changed in a column of this type; make the column TEXT")]
    NumericText = 3,
    #[error("the time is outside the years 0000 to 9999, in which its text sorts")]
    OutsideCalendar = 4,
    #[error("SQLite has no arrays; make the column JSON")]
    Array = 5,
    #[error("the value is longer than 4 GiB")]
    TooLong = 6,
}

/// Bytes that [`SqliteEncoder`] did not write: a bug of ours, never the message's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the encoded row is malformed")]
pub(super) struct Malformed;

impl RowEncoder for SqliteEncoder {
    type Dialect = SqliteDialect;

    fn begin_row(&self, _column_count: usize, _out: &mut Vec<u8>) {}

    // Put into each branch of coercion, where cell and type are known: one line is left of it there.
    #[inline(always)]
    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        match cell {
            Cell::Null => out.push(TAG_NULL),
            Cell::Bool(value) => put_integer(i64::from(value), out),
            Cell::Int(value) => put_integer(value, out),
            Cell::Float(value) => put_real(value, out),
            Cell::Decimal(text) => put_decimal(column_type, text, out),
            Cell::Text(text) => put_column_text(column_type, text, out),
            Cell::Bytes(bytes) => put_bytes(TAG_BLOB, bytes, out),
            Cell::Uuid(bytes) => {
                let mut buffer = uuid::Uuid::encode_buffer();
                let text = uuid::Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut buffer);
                put_bytes(TAG_TEXT, text.as_bytes(), out);
            }
            Cell::Date(days) => put_time_text(out, |out| time_text::date(i64::from(days), out)),
            Cell::Time(micros) => put_time_text(out, |out| time_text::time(micros, out)),
            Cell::Timestamp(micros) if matches!(column_type, ColumnType::Int8) => {
                put_integer(micros.div_euclid(1000), out);
            }
            Cell::Timestamp(micros) => put_time_text(out, |out| time_text::timestamp(micros, out)),
            Cell::Interval { months, days, micros } => {
                put_time_text(out, |out| time_text::interval(months, days, micros, out));
            }
            Cell::Array(_) => put_unfit(Unfit::Array, out),
        }
    }

    #[inline(always)]
    fn misfit(&self, written: &[u8]) -> Option<String> {
        match *written {
            [TAG_UNFIT, reason, ..] => Some(Unfit::from_code(reason)?.to_string()),
            _ => None,
        }
    }
}

fn put_integer(value: i64, out: &mut Vec<u8>) {
    put_eight(TAG_INTEGER, value.to_le_bytes(), out);
}

fn put_real(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return put_unfit(Unfit::NotANumber, out);
    }
    put_eight(TAG_REAL, value.to_bits().to_le_bytes(), out);
}

fn put_eight(tag: u8, bytes: [u8; 8], out: &mut Vec<u8>) {
    let mut value = [tag; 9];
    value[1..].copy_from_slice(&bytes);
    out.extend_from_slice(&value);
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    match u32::try_from(bytes.len()) {
        Ok(len) => {
            out.push(tag);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Err(_) => put_unfit(Unfit::TooLong, out),
    }
}

fn put_unfit(reason: Unfit, out: &mut Vec<u8>) {
    out.extend_from_slice(&[TAG_UNFIT, reason as u8]);
}

fn put_number(number: ExactNumber, out: &mut Vec<u8>) {
    match number {
        ExactNumber::Integer(value) => put_integer(value, out),
        ExactNumber::Real(value) => put_real(value, out),
    }
}

fn put_decimal(column_type: &ColumnType, text: &str, out: &mut Vec<u8>) {
    match column_type {
        // Precision is given only for DECIMAL_TEXT columns, which keep the digits as they are.
        ColumnType::Numeric(Some(_)) | ColumnType::Text { .. } | ColumnType::Any | ColumnType::Operand => {
            put_bytes(TAG_TEXT, text.as_bytes(), out);
        }
        _ => match exact_number(text) {
            Some(number) => put_number(number, out),
            None if text.eq_ignore_ascii_case("nan") => put_unfit(Unfit::NotANumber, out),
            None => put_unfit(Unfit::TooPrecise, out),
        },
    }
}

fn put_column_text(column_type: &ColumnType, text: &str, out: &mut Vec<u8>) {
    match column_type {
        // TEXT affinity, or none.
        ColumnType::Text { .. } | ColumnType::JsonText | ColumnType::Any | ColumnType::Operand => {
            put_bytes(TAG_TEXT, text.as_bytes(), out);
        }
        // A JSON document that is nothing but a number: the same number, whichever affinity the column has.
        ColumnType::Json if looks_numeric(text) => match exact_number_as_text(text) {
            Some(number) => put_number(number, out),
            None => put_unfit(Unfit::TooPrecise, out),
        },
        _ if looks_numeric(text) => put_unfit(Unfit::NumericText, out),
        _ => put_bytes(TAG_TEXT, text.as_bytes(), out),
    }
}

/// Puts what `write` appends, which says whether there is such a text.
fn put_time_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let start = out.len();
    out.extend_from_slice(&[TAG_TEXT, 0, 0, 0, 0]);
    if !write(out) {
        out.truncate(start);
        return put_unfit(Unfit::OutsideCalendar, out);
    }
    // The longest, an interval's, has 48 characters.
    out[start + 1] = (out.len() - start - 5) as u8;
}

/// Reads one value off the front of `row`.
pub(super) fn take_value<'a>(row: &mut &'a [u8]) -> Result<Value<'a>, Malformed> {
    let (&tag, rest) = row.split_first().ok_or(Malformed)?;
    *row = rest;
    Ok(match tag {
        TAG_NULL => Value::Null,
        TAG_INTEGER => Value::Integer(i64::from_le_bytes(take_array(row)?)),
        TAG_REAL => Value::Real(f64::from_bits(u64::from_le_bytes(take_array(row)?))),
        TAG_TEXT => Value::Text(take_bytes(row)?),
        TAG_BLOB => Value::Blob(take_bytes(row)?),
        TAG_UNFIT => Value::Unfit(Unfit::from_code(take_array::<1>(row)?[0]).ok_or(Malformed)?),
        _ => return Err(Malformed),
    })
}

fn take_array<const N: usize>(row: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = row.split_first_chunk::<N>().ok_or(Malformed)?;
    *row = rest;
    Ok(*head)
}

fn take_bytes<'a>(row: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = u32::from_le_bytes(take_array(row)?) as usize;
    let (bytes, rest) = row.split_at_checked(len).ok_or(Malformed)?;
    *row = rest;
    Ok(bytes)
}

impl Unfit {
    fn from_code(code: u8) -> Option<Unfit> {
        [Unfit::NotANumber, Unfit::TooPrecise, Unfit::NumericText, Unfit::OutsideCalendar, Unfit::Array, Unfit::TooLong]
            .into_iter()
            .find(|reason| *reason as u8 == code)
    }

    /// A dead letter's short code.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Unfit::TooLong => "size",
            _ => "value",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::SecondDigits;

    fn encoded(column_type: ColumnType, cell: Cell<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        SqliteEncoder.cell(&column_type, cell, &mut out);
        out
    }

    #[track_caller]
    fn becomes(column_type: ColumnType, cell: Cell<'_>, expected: Value<'_>) {
        let bytes = encoded(column_type, cell);
        let mut rest = bytes.as_slice();
        assert_eq!(take_value(&mut rest), Ok(expected));
        assert!(rest.is_empty());
    }

    #[test]
    fn text_that_looks_numeric_stays_text_only_where_sqlite_keeps_it() {
        becomes(ColumnType::Text { max_chars: None }, Cell::Text("007"), Value::Text(b"007"));
        becomes(ColumnType::Any, Cell::Text("007"), Value::Text(b"007"));
        becomes(ColumnType::Inet, Cell::Text("007"), Value::Unfit(Unfit::NumericText));
        becomes(ColumnType::Json, Cell::Text("\"007\""), Value::Text(b"\"007\""));
        becomes(ColumnType::Json, Cell::Text("21.5"), Value::Real(21.5));
        becomes(ColumnType::Json, Cell::Text(&"1".repeat(40)), Value::Unfit(Unfit::TooPrecise));
        becomes(ColumnType::JsonText, Cell::Text("1.10"), Value::Text(b"1.10"));
        becomes(ColumnType::JsonText, Cell::Text("1e400"), Value::Text(b"1e400"));
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        becomes(ColumnType::Numeric(None), Cell::Decimal("12.50"), Value::Real(12.5));
        becomes(ColumnType::Numeric(None), Cell::Decimal(&"1".repeat(40)), Value::Unfit(Unfit::TooPrecise));
        becomes(ColumnType::Numeric(None), Cell::Decimal("NaN"), Value::Unfit(Unfit::NotANumber));
        let digits = "1".repeat(40);
        becomes(ColumnType::Numeric(Some((40, 0))), Cell::Decimal(&digits), Value::Text(digits.as_bytes()));
    }

    #[test]
    fn values_without_an_exact_form_are_refused() {
        becomes(ColumnType::Float8, Cell::Float(f64::NAN), Value::Unfit(Unfit::NotANumber));
        becomes(ColumnType::Date, Cell::Date(i32::MAX), Value::Unfit(Unfit::OutsideCalendar));
        becomes(ColumnType::TimestampText, Cell::Timestamp(i64::MIN), Value::Unfit(Unfit::OutsideCalendar));
        becomes(ColumnType::Json, Cell::Array(&[]), Value::Unfit(Unfit::Array));
    }

    #[test]
    fn a_timestamp_is_text_or_milliseconds() {
        becomes(ColumnType::Int8, Cell::Timestamp(-1), Value::Integer(-1));
        becomes(ColumnType::TimestampText, Cell::Timestamp(0), Value::Text(b"1970-01-01T00:00:00.000Z"));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(integer: i64, real in prop::num::f64::ANY.prop_filter("number", |x| !x.is_nan()),
                                  text: String, blob: Vec<u8>) {
            let mut row = Vec::new();
            SqliteEncoder.cell(&ColumnType::Int8, Cell::Int(integer), &mut row);
            SqliteEncoder.cell(&ColumnType::Float8, Cell::Float(real), &mut row);
            SqliteEncoder.cell(&ColumnType::Text { max_chars: None }, Cell::Text(&text), &mut row);
            SqliteEncoder.cell(&ColumnType::Bytes, Cell::Bytes(&blob), &mut row);
            SqliteEncoder.cell(&ColumnType::Any, Cell::Null, &mut row);
            let mut rest = row.as_slice();
            prop_assert_eq!(take_value(&mut rest), Ok(Value::Integer(integer)));
            prop_assert_eq!(take_value(&mut rest), Ok(Value::Real(real)));
            prop_assert_eq!(take_value(&mut rest), Ok(Value::Text(text.as_bytes())));
            prop_assert_eq!(take_value(&mut rest), Ok(Value::Blob(&blob)));
            prop_assert_eq!(take_value(&mut rest), Ok(Value::Null));
            prop_assert_eq!(take_value(&mut rest), Err(Malformed));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while take_value(&mut rest).is_ok() {}
            prop_assert!(rest.len() <= bytes.len());
        }

        #[test]
        fn no_time_panics(days: i32, micros: i64, text: String) {
            for bytes in [
                encoded(ColumnType::Date, Cell::Date(days)),
                encoded(ColumnType::Time(SecondDigits::MICROS), Cell::Time(micros)),
                encoded(ColumnType::TimestampText, Cell::Timestamp(micros)),
                encoded(ColumnType::Numeric(None), Cell::Decimal(&text)),
                encoded(ColumnType::Json, Cell::Text(&text)),
            ] {
                prop_assert!(take_value(&mut bytes.as_slice()).is_ok());
            }
        }
    }
}
