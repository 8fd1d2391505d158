//! Verifies that the tables of a transaction still match the descriptions for which its rows were encoded.
//!
//! SQLite numbers every change of a file's schema. The number is read under the write lock, so nobody can change the
//! schema until COMMIT, and compared with the number at each table's description. Every change of any table counts,
//! also VACUUM: the tables are then described again, which takes less than a millisecond each.

use rusqlite::Connection;

use super::codes::{Moment, sink_error};
use crate::schema::{TableSchema, Witness};
use crate::sink::{Class, SinkError};

/// The number, as of the transaction that is open.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// As [`schema_version`], where a transaction is about to write.
pub(super) fn current(connection: &Connection) -> Result<i64, SinkError> {
    schema_version(connection)
        .map_err(|error| sink_error("cannot read the schema's version", &error, Moment::Elsewhere))
}

/// Whether `tables` were described under the schema of this version.
pub(super) fn check<'a>(version: i64, mut tables: impl Iterator<Item = &'a TableSchema>) -> Result<(), SinkError> {
    let is_other = |table: &TableSchema| matches!(table.witness, Witness::SchemaVersion(then) if then != version);
    let Some(changed) = tables.find(|table| is_other(table)) else { return Ok(()) };
    Err(SinkError {
        class: Class::TableChanged,
        code: "table_changed".to_owned(),
        message: format!("the file's schema was changed since table {} was described", changed.name),
        advice: "nothing: the rules are compiled again",
    })
}
