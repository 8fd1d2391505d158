//! Descriptions of live tables, and the values that fit their columns.
//!
//! Mapping produces the values, sinks write them; neither depends on the other. An engine's [`Dialect`] says what its
//! types are called and what its columns hold.

mod cell;
mod dialect;
pub mod json_value;
mod keys;
mod resolution;

use std::sync::Arc;

pub use cell::Cell;
pub use dialect::{Dialect, PostgresDialect, SqliteDialect};
pub use keys::Keys;
pub use resolution::{IntervalUnit, SecondDigits};

use crate::rule::{Statement, TableName};

/// A live column's type, as far as coercion and encoding need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `numeric(p,s)`, or any.
    Numeric(Option<(u16, i16)>),
    /// text, varchar(n), char(n), citext, name: at most that many characters.
    Text {
        max_chars: Option<u32>,
    },
    Json,
    Jsonb,
    /// SQLite: JSON in a column that keeps any text. Elsewhere a document that is a bare number becomes that number.
    JsonText,
    Bytes,
    Uuid,
    Date,
    /// `time(p)`, without zone.
    Time(SecondDigits),
    /// `timestamp(p)`, without zone.
    Timestamp(SecondDigits),
    Timestamptz(SecondDigits),
    Interval(IntervalUnit),
    /// inet or cidr.
    Inet,
    /// An enum with its labels.
    Enum(Arc<[String]>),
    /// One dimension of the element type, with its Postgres OID (arrays carry it on the wire).
    Array(Box<ColumnType>, u32),
    /// SQLite: a timestamp column declared with a text-like type: sortable UTC text with milliseconds.
    TimestampText,
    /// SQLite: a lower bound in an R-tree, a 32-bit float that is not above the value.
    LowerBound,
    /// SQLite: an upper bound in an R-tree, a 32-bit float that is not below the value.
    UpperBound,
    /// SQLite: a column without affinity, or one whose type says nothing: takes the value as it is.
    Any,
    /// SQLite: a bind without a declared type. As [`ColumnType::Any`], but a number is never text: SQLite holds every text for
    /// larger than every number.
    Operand,
    /// Postgres: a type that Rowbridge has no form of its own for. Its values go as text, and the server casts them.
    Cast(Arc<Cast>),
    /// A type that no source fits; the name as the database gives it.
    Unsupported(String),
}

/// How the server is to cast text into a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The type's name in SQL, quoted and qualified, without a length: the column itself demands its own, and refuses what
    /// a cast to it would cut off.
    pub sql_type: String,
    /// The text between the elements of an array's text; `None` if the type is no array.
    pub delimiter: Option<char>,
}

/// Postgres: how values of a column are announced in a statement's parameters. Zeros elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameter {
    /// OID of the column's type, under its domains; of `text` where the server casts.
    pub oid: u32,
    /// OID of the array type of that; 0 if there is none.
    pub array: u32,
    /// The column's collation in SQL, if it takes texts of different bytes for equal.
    pub collation: Option<Arc<str>>,
}

/// A live column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub column_type: ColumnType,
    /// As the database writes it, for messages: `character varying(20)`.
    pub type_name: String,
    pub not_null: bool,
    /// Has a default, is an identity or is generated: may be left out of an insert.
    pub has_default: bool,
    /// `GENERATED ALWAYS`: must be left out of an insert.
    pub generated: bool,
    pub parameter: Parameter,
}

/// A live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub name: TableName,
    pub columns: Vec<Column>,
    /// Column names of the primary key, in its order; empty if there is none. Of a table that is absent, the columns that it
    /// must have.
    pub primary_key: Vec<String>,
    pub keys: Keys,
    /// Postgres: the server empties it after a crash of its own.
    pub unlogged: bool,
    pub intake: Intake,
    pub witness: Witness,
}

/// What a table does with its rows, beyond storing them. In SQLite only views are marked, `by_insert`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Intake {
    /// It has rewrite rules, row-level security for this role, or is a view or a foreign table: rows must come by INSERT,
    /// for COPY passes rules by and the others do not take it, or count what they did not take.
    pub by_insert: bool,
    /// A rule puts rows elsewhere instead, so the server's count says nothing of how many were swallowed.
    pub diverts: bool,
}

/// By what a sink recognises, in the transaction that writes, that a table still is as it was described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// The table was not read from a database: there is nothing to compare with.
    None,
    /// The table does not exist yet. It has no columns; its first payload determines them.
    Absent,
    /// Postgres: the table's OID, the sum of the hashes of its rows in the catalogue, and OIDs and hashes of the domains and
    /// enums that its columns are made of.
    Catalogue { table: u32, sum: i128, types: Box<[(u32, i64)]> },
    /// SQLite: the version of the file's whole schema.
    SchemaVersion(i64),
    /// Postgres: this is no table but a statement's binds, with the types that the server gives them.
    Statement(Arc<Statement>),
}

impl TableSchema {
    /// What its name is to the database: SQLite has one schema, and distinguishes no case.
    pub fn identity(&self) -> TableName {
        match self.witness {
            Witness::SchemaVersion(_) => TableName { schema: None, name: self.name.name.to_ascii_lowercase() },
            _ => self.name.clone(),
        }
    }

    /// A table that was not read from a database.
    pub fn new(name: TableName, columns: Vec<Column>) -> TableSchema {
        TableSchema {
            name,
            columns,
            primary_key: Vec::new(),
            keys: Keys::Hidden,
            unlogged: false,
            intake: Intake::default(),
            witness: Witness::None,
        }
    }

    /// A table that is not there, and is to be made of the first payload that would go into it, if that has these columns.
    pub fn absent(name: TableName, needed: Vec<String>) -> TableSchema {
        TableSchema { witness: Witness::Absent, primary_key: needed, ..TableSchema::new(name, Vec::new()) }
    }

    pub fn is_absent(&self) -> bool {
        self.witness == Witness::Absent
    }

    /// The differences in `now`, for people: each a few words. Empty if only the witness differs.
    pub fn changes(&self, now: &TableSchema) -> Vec<String> {
        let named = |columns: &'_ [Column], name: &str| columns.iter().position(|column| column.name == name);
        let mut changes = Vec::new();
        for column in &self.columns {
            match named(&now.columns, &column.name).map(|index| &now.columns[index]) {
                None => changes.push(format!("column `{}` is gone", column.name)),
                Some(found) if found != column => changes.push(column.change(found)),
                Some(_) => {}
            }
        }
        let added = now.columns.iter().filter(|column| named(&self.columns, &column.name).is_none());
        changes.extend(added.map(|column| format!("column `{}` ({}) is new", column.name, column.type_name)));
        if changes.is_empty() && self.columns != now.columns {
            changes.push("its columns have another order".to_owned());
        }
        if self.unlogged != now.unlogged {
            changes.push(if now.unlogged { "it is unlogged".to_owned() } else { "it is logged".to_owned() });
        }
        changes
    }
}

impl Column {
    /// The difference between this column and `now`, a column of the same name.
    fn change(&self, now: &Column) -> String {
        let Column { name, type_name, .. } = self;
        if *type_name != now.type_name {
            return format!("column `{name}` is {} and no longer {type_name}", now.type_name);
        }
        if self.column_type != now.column_type {
            return format!("the type {type_name} of column `{name}` has changed");
        }
        if self.parameter != now.parameter {
            return format!("the type {type_name} of column `{name}` was created again, or its collation has changed");
        }
        let may = |not_null| if not_null { "may not be null" } else { "may be null" };
        if self.not_null != now.not_null {
            return format!("column `{name}` {}", may(now.not_null));
        }
        let has = |has_default| if has_default { "has a default" } else { "has no default" };
        if self.has_default != now.has_default {
            return format!("column `{name}` {}", has(now.has_default));
        }
        format!("column `{name}` is{} generated", if now.generated { "" } else { " not" })
    }
}
