//! Tables as they are in the database, and as `create: true` declares them.

use std::fmt;
use std::sync::Arc;

/// A table's name, optionally qualified by a schema. SQLite knows no schema but `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for TableName {
    /// As a person writes it, unquoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl TableName {
    /// Quoted for SQL, for both engines.
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.name)),
            None => quote(&self.name),
        }
    }
}

/// An identifier in double quotes, as SQL has it.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A column type as the configuration declares it (CONTRACT §1, "Column types").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredType {
    Bool,
    /// 32 bits.
    Int,
    /// 64 bits.
    Bigint,
    /// 32-bit float.
    Real,
    /// 64-bit float.
    Double,
    /// `decimal(p,s)`; bare `decimal` has neither.
    Decimal(Option<(u16, i16)>),
    Text,
    Json,
    Bytes,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Inet,
    Array(Box<DeclaredType>),
}

/// A live column's type, as far as coercion and encoding need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    Bytes,
    Uuid,
    Date,
    Time,
    /// Without zone.
    Timestamp,
    Timestamptz,
    Interval,
    /// inet or cidr.
    Inet,
    /// An enum with its labels.
    Enum(Arc<[String]>),
    /// One dimension of the element type, whose Postgres OID stands beside it (arrays carry it on the wire).
    Array(Box<ColumnType>, u32),
    /// SQLite: a timestamp column declared with a text-like type: sortable UTC text with milliseconds.
    TimestampText,
    /// SQLite: a column without affinity, or one whose type says nothing: takes the value as it is.
    Any,
    /// A type that no source fits; the name as the database gives it.
    Unsupported(String),
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
}

/// A live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub name: TableName,
    pub columns: Vec<Column>,
    /// Column names of the primary key, in its order; empty if there is none.
    pub primary_key: Vec<String>,
}
