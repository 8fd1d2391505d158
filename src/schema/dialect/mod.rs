//! The differences between the SQL of the engines, as far as mapping, DDL and previews need them. Nothing here connects
//! to a database; a contract test compares the dialect with live tables.

mod postgres;
mod sqlite;

pub use postgres::PostgresDialect;
pub use sqlite::SqliteDialect;

use super::{Column, ColumnType, Parameter};
use crate::rule::DeclaredType;

/// One engine's ways with types and names.
pub trait Dialect {
    /// Whether a text column takes the NUL character.
    const TEXT_TAKES_NUL: bool;
    /// Whether column names compare without regard to case.
    const NAMES_FOLD_CASE: bool;
    /// Whether there is `ALTER TABLE … ALTER COLUMN`.
    const ALTERS_COLUMNS: bool;
    /// Names that no column can have.
    const RESERVED_COLUMNS: &'static [&'static str] = &[];
    /// Names that no column can have which is added to a table.
    const UNADDABLE_COLUMNS: &'static [&'static str] = Self::RESERVED_COLUMNS;

    /// The type in SQL, for `CREATE TABLE` and `ADD COLUMN`.
    fn type_sql(declared: &DeclaredType) -> String;

    /// What a live column that was made of [`Dialect::type_sql`] is described as.
    fn column_type(declared: &DeclaredType) -> ColumnType;

    /// That column's type as the database writes it, for messages.
    fn type_name(declared: &DeclaredType) -> String;

    /// That column as it is described.
    fn column(name: &str, declared: &DeclaredType) -> Column {
        Column {
            name: name.to_owned(),
            column_type: Self::column_type(declared),
            type_name: Self::type_name(declared),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: Parameter::default(),
        }
    }
}
