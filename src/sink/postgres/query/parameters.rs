//! Parameters of a query, from the encoded row to the server. They are sent as text, which the server parses as the
//! type that it determined for them.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::batch::RowEncoder;
use crate::schema::{Cell, ColumnType, PostgresDialect};
use crate::sink::literal::hexadecimal;
use crate::sink::postgres::encode::PostgresEncoder;
use crate::sink::preview::Preview;
use crate::sink::query::{Parameter, ParameterEncoder};

/// A parameter in the text that the server's input functions read.
#[derive(Debug)]
pub(super) struct AsText(Option<String>);

impl AsText {
    pub(super) fn of(parameter: &Parameter) -> AsText {
        AsText(match parameter {
            Parameter::Null => None,
            Parameter::Bool(truth) => Some(truth.to_string()),
            Parameter::Integer(number) => Some(number.to_string()),
            Parameter::Real(number) => Some(ryu::Buffer::new().format(*number).to_owned()),
            Parameter::Text(text) => Some(text.clone()),
            Parameter::Bytes(bytes) => Some(format!("\\x{}", hexadecimal(bytes))),
        })
    }
}

impl ToSql for AsText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Writes parameters as [`PostgresParameters`] reads them: 0 for NULL; 1, a length and text; 2, a length and why it does not
/// fit.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresParameters;

impl RowEncoder for PostgresParameters {
    type Dialect = PostgresDialect;

    fn begin_row(&self, _column_count: usize, _out: &mut Vec<u8>) {}

    fn cell(&self, column_type: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        if cell == Cell::Null {
            return out.push(0);
        }
        let (tag, text) = match PostgresEncoder.preview(column_type, cell) {
            Ok(held) => match held.sql.strip_prefix('\'').and_then(|quoted| quoted.strip_suffix('\'')) {
                Some(quoted) => (1, quoted.replace("''", "'")),
                None => (1, held.sql),
            },
            Err(unheld) => (2, unheld.message),
        };
        out.push(tag);
        out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

impl ParameterEncoder for PostgresParameters {
    /// The server determines it.
    const UNTYPED: ColumnType = ColumnType::Any;

    fn parameters(mut row: &[u8]) -> Result<Vec<Parameter>, (usize, String)> {
        let mut parameters = Vec::new();
        while let Some((tag, rest)) = row.split_first() {
            if *tag == 0 {
                parameters.push(Parameter::Null);
                row = rest;
                continue;
            }
            let (len, rest) = rest.split_first_chunk::<8>().expect("the encoder writes whole values");
            let (text, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
            let text = String::from_utf8_lossy(text).into_owned();
            if *tag == 2 {
                return Err((parameters.len(), text));
            }
            parameters.push(Parameter::Text(text));
            row = rest;
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SecondDigits;

    #[test]
    fn parameters_are_the_text_that_the_server_reads() {
        let mut row = Vec::new();
        let text = ColumnType::Text { max_chars: None };
        let cells = [
            (ColumnType::Any, Cell::Int(7)),
            (ColumnType::Any, Cell::Null),
            (text, Cell::Text("it's")),
            (ColumnType::Bytes, Cell::Bytes(b"\x00\xff")),
            (ColumnType::Timestamptz(SecondDigits::MICROS), Cell::Timestamp(1_500_000)),
        ];
        for (column_type, cell) in &cells {
            PostgresParameters.cell(column_type, *cell, &mut row);
        }
        let text = |text: &str| Parameter::Text(text.to_owned());
        let expected = [text("7"), Parameter::Null, text("it's"), text("\\x00ff"), text("1970-01-01T00:00:01.5Z")];
        assert_eq!(PostgresParameters::parameters(&row).unwrap(), expected);
    }
}
