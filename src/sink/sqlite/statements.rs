//! A rule's own statement: compiled to test whether the file accepts it, and run once for each row.
//!
//! SQLite gives binds no types. A bind has the type of the rule's column (`type`, or the type that its source always
//! has), else it takes the value unchanged; the table may convert it, as in any INSERT. After a change of any table the
//! statement is compiled again, because the version of the schema differs.

use std::sync::Arc;

use rusqlite::Connection;

use super::codes::{Moment, sink_error};
use super::witness;
use crate::rule::{DeclaredType, Statement, TableName};
use crate::schema::{Column, ColumnType, Dialect, Keys, Parameter, SqliteDialect, TableSchema, Witness};
use crate::sink::{Class, SinkError};

/// The statement as SQLite numbers its parameters.
pub(super) fn sql(statement: &Statement) -> String {
    statement.with(|bind| format!("?{}", bind + 1))
}

/// A column for each bind; or why the file does not take the statement.
pub(super) fn describe(
    connection: &Connection,
    name: &TableName,
    statement: &Statement,
    declared: &[Option<DeclaredType>],
) -> Result<TableSchema, SinkError> {
    let what = name.described();
    let failed = |error: rusqlite::Error| sink_error(&what, &error, Moment::Elsewhere);
    // The version and what was compiled under it, of one moment.
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let version = witness::schema_version(&transaction).map_err(failed)?;
    let is_idle = transaction.prepare(&sql(statement)).map_err(failed)?.readonly();
    if is_idle {
        return Err(SinkError {
            class: Class::Table,
            code: "statement".to_owned(),
            message: format!("{what}: it changes nothing in the database"),
            advice: "write a statement that inserts, updates or deletes rows",
        });
    }
    let column = |(at, bind): (usize, &Arc<str>)| match declared.get(at).and_then(Option::as_ref) {
        Some(declared) => SqliteDialect::column(bind, declared),
        None => Column {
            name: bind.to_string(),
            column_type: ColumnType::Operand,
            type_name: "any type".to_owned(),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: Parameter::default(),
        },
    };
    let columns = statement.binds().iter().enumerate().map(column).collect();
    let keys = Keys::Never("is a statement");
    Ok(TableSchema { keys, witness: Witness::SchemaVersion(version), ..TableSchema::new(name.clone(), columns) })
}
