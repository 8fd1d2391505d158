//! INSERT of a few rows, and of rows into tables that COPY would treat differently: COPY ignores rewrite rules, and does not
//! work with row-level security, plain views and many foreign tables. [`Intake`](crate::schema::Intake) says which tables
//! these are.
//!
//! ```text
//! INSERT INTO t (a, b) VALUES ($1,$2),($3,$4),…
//! ```
//! All statements of a table are sent before the first answer. The bytes of a field in binary COPY, after its length,
//! are also the bytes of a binary parameter. The statements name no types, so every parameter has its column's type,
//! and the driver need not look up any.

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::copy::Rows;
use super::transaction::pipelined;
use crate::batch::Target;
use crate::rule::quote;

/// Parameters of one statement. The protocol counts up to 65,535; the server plans each of them, at a cost that grows with
/// their number, and a few thousand already make the statement's own cost vanish.
const PARAMETERS_MAX: usize = 8_192;

/// Bytes of cells in one statement, unless a row alone has more: it is held in memory three times, here, in the driver's
/// buffer and in the server.
pub(super) const BYTES_MAX: usize = 8 << 20;

/// A cell that does not fit its column, which mapping never makes: [`in_place_of`] sees it.
static UNFIT: [u8; 32] = [0xff; 32];

/// Bytes of cells that the server takes in one message. The driver does not even send one of twice the size: the COMMIT that
/// was sent behind it would do without the rows.
const MESSAGE_BYTES_MAX: usize = (1 << 30) - (1 << 20);

/// Refused with the code that the server has for what is beyond its limits (54000), and for a value of another type (22P02).
const BEYOND_LIMITS: &str = "SELECT pg_catalog.repeat('x', 2147483647)";
const OF_ANOTHER_TYPE: &str = "SELECT 'a value that does not fit its column'::pg_catalog.int4";

/// A cell as a binary parameter; `None` is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameter<'a>(Option<&'a [u8]>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = self.0 else { return Ok(IsNull::Yes) };
        out.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Inserts the rows within the transaction that `client` is in; how many the server counted.
pub(super) async fn insert(client: &Client, rows: &Rows<'_>) -> Result<u64, Error> {
    let Target { table, columns, .. } = &**rows.target();
    let names: Vec<String> = columns.iter().map(|&index| quote(&table.columns[index].name)).collect();
    let into = format!("INSERT INTO {} ({}) VALUES ", table.name.quoted(), names.join(", "));
    let statements = portions(rows, columns.len()).into_iter().map(async |parameters| {
        if let Some(refused) = in_place_of(&parameters) {
            return client.execute_typed(refused, &[]).await;
        }
        let sql = into.clone() + &values(parameters.len() / columns.len(), columns.len());
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().map(|parameter| (parameter as &(dyn ToSql + Sync), Type::UNKNOWN)).collect();
        client.execute_typed(&sql, &typed).await
    });
    // Every answer is awaited, and the first error is the cause of the others.
    pipelined(statements).await.into_iter().sum()
}

/// The statement to send in place of one with these cells, which cannot be sent: the server refuses it, and with it all that
/// follows.
pub(super) fn in_place_of(cells: &[Parameter<'_>]) -> Option<&'static str> {
    let is_unfit = |cell: &Parameter<'_>| cell.0.is_some_and(|bytes| std::ptr::eq(bytes, &UNFIT[..]));
    match cells.iter().any(is_unfit) {
        true => Some(OF_ANOTHER_TYPE),
        false => beyond_limits(cells.iter().filter_map(|cell| cell.0).map(<[u8]>::len).sum()),
    }
}

/// As [`in_place_of`], for one with so many bytes.
pub(super) fn beyond_limits(bytes: usize) -> Option<&'static str> {
    (bytes > MESSAGE_BYTES_MAX).then_some(BEYOND_LIMITS)
}

/// How many statements [`insert`] makes of so many rows, at least.
pub(super) fn statement_count(row_count: u64, column_count: usize) -> u32 {
    let rows_per_statement = (PARAMETERS_MAX / column_count.max(1)).max(1) as u64;
    u32::try_from(row_count.div_ceil(rows_per_statement)).unwrap_or(u32::MAX)
}

/// The cells of each statement, row after row.
pub(super) fn portions<'a>(rows: &Rows<'a>, column_count: usize) -> Vec<Vec<Parameter<'a>>> {
    let mut portions: Vec<Vec<Parameter<'a>>> = Vec::new();
    let mut bytes = 0;
    for mut rest in rows.bytes() {
        while let Some((row, after)) = take_row(rest) {
            let row_bytes = rest.len() - after.len();
            rest = after;
            let fits = |portion: &&mut Vec<_>| {
                portion.len() + column_count <= PARAMETERS_MAX && bytes + row_bytes <= BYTES_MAX
            };
            match portions.last_mut().filter(fits) {
                Some(portion) => portion.extend(row),
                None => {
                    bytes = 0;
                    portions.push(row);
                }
            }
            bytes += row_bytes;
        }
    }
    portions
}

/// The cells of the first of these rows in COPY's form, and what follows it; `None` at the end.
pub(super) fn take_row(bytes: &[u8]) -> Option<(Vec<Parameter<'_>>, &[u8])> {
    let (count, mut rest) = bytes.split_first_chunk::<2>()?;
    let count = usize::try_from(i16::from_be_bytes(*count)).ok()?;
    let mut row = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        rest = after;
        row.push(Parameter(match usize::try_from(length) {
            Ok(length) => {
                let (cell, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(cell)
            }
            Err(_) if length == -1 => None,
            Err(_) => Some(&UNFIT),
        }));
    }
    Some((row, rest))
}

/// `($1,$2),($3,$4)` for two rows of two columns.
fn values(row_count: usize, column_count: usize) -> String {
    let mut text = String::with_capacity(row_count * (2 + 7 * column_count));
    for parameter in 0..row_count * column_count {
        text.push_str(match parameter {
            0 => "($",
            _ if parameter % column_count == 0 => "),($",
            _ => ",$",
        });
        write!(text, "{}", parameter + 1).expect("writing to a String cannot fail");
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_copy_is_its_cells() {
        let bytes = [0, 3, 0, 0, 0, 2, 7, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        let (row, rest) = take_row(&bytes).unwrap();
        assert_eq!(row, [Parameter(Some(&[7, 8])), Parameter(None), Parameter(Some(&[]))]);
        assert_eq!(rest, [0, 0]);
        assert_eq!(take_row(&[]), None);
        let misfit = [[0, 1].as_slice(), &(-2i32).to_be_bytes()].concat();
        let (misfit, _) = take_row(&misfit).unwrap();
        assert_eq!(misfit, [Parameter(Some(&UNFIT))]);
        assert_eq!(in_place_of(&misfit), Some(OF_ANOTHER_TYPE));
        assert_eq!(
            in_place_of(&[Parameter(Some(&std::iter::repeat_n(0xff, 32).collect::<Vec<u8>>())), Parameter(None)]),
            None,
            "a value that looks like it"
        );
        assert_eq!((beyond_limits(MESSAGE_BYTES_MAX), beyond_limits(1 << 30)), (None, Some(BEYOND_LIMITS)));
    }

    #[test]
    fn parameters_are_numbered_row_by_row() {
        assert_eq!(values(2, 2), "($1,$2),($3,$4)");
        assert_eq!(values(1, 1), "($1)");
        assert_eq!(values(3, 1), "($1),($2),($3)");
    }

    #[test]
    fn patience_counts_at_least_one_statement_for_any_row() {
        assert_eq!([statement_count(0, 3), statement_count(1, 1_600), statement_count(5, 8_000)], [0, 1, 5]);
        assert_eq!(statement_count(8_193, 1), 2);
    }
}
