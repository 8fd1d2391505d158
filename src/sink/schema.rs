//! Tables as they are in the database, and as `create: true` declares them.

use std::fmt;
use std::sync::Arc;

use super::resolution::{IntervalUnit, SecondDigits};

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

impl DeclaredType {
    /// The names without parameters.
    pub const NAMES: [&'static str; 15] = [
        "bool",
        "int",
        "bigint",
        "real",
        "double",
        "decimal",
        "text",
        "json",
        "bytes",
        "uuid",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "inet",
    ];

    /// What [`DeclaredType::parse`] accepts, for messages.
    pub const FORMS: &'static str = "bool, int, bigint, real, double, decimal(p,s), text, json, bytes, uuid, date, time, \
                                     timestamp, timestamptz, inet, or an array such as text[]";

    /// Reads a type as the configuration writes it: `real`, `decimal(10,2)`, `text[]`.
    pub fn parse(text: &str) -> Option<DeclaredType> {
        let text = text.trim();
        if let Some(element) = text.strip_suffix("[]") {
            // One dimension: an array of arrays has no column type of its own in Postgres.
            let element = DeclaredType::parse(element)?;
            let is_array = matches!(element, DeclaredType::Array(_));
            return (!is_array).then(|| DeclaredType::Array(Box::new(element)));
        }
        Some(match text {
            "bool" => DeclaredType::Bool,
            "int" => DeclaredType::Int,
            "bigint" => DeclaredType::Bigint,
            "real" => DeclaredType::Real,
            "double" => DeclaredType::Double,
            "decimal" => DeclaredType::Decimal(None),
            "text" => DeclaredType::Text,
            "json" => DeclaredType::Json,
            "bytes" => DeclaredType::Bytes,
            "uuid" => DeclaredType::Uuid,
            "date" => DeclaredType::Date,
            "time" => DeclaredType::Time,
            "timestamp" => DeclaredType::Timestamp,
            "timestamptz" => DeclaredType::Timestamptz,
            "inet" => DeclaredType::Inet,
            _ => return parse_decimal(text),
        })
    }

    /// The name here of a type that goes by another name in SQL.
    pub fn meant_by(text: &str) -> Option<String> {
        let text = text.trim().to_ascii_lowercase();
        let (name, brackets) = match text.strip_suffix("[]") {
            Some(name) => (name, "[]"),
            None => (text.as_str(), ""),
        };
        let meant = match name.split('(').next().unwrap_or_default().trim() {
            "boolean" => "bool",
            "integer" | "int4" | "int2" | "smallint" | "serial" => "int",
            "int8" | "long" | "bigserial" => "bigint",
            "float4" => "real",
            "float" | "float8" | "double precision" => "double",
            "numeric" => "decimal",
            "string" | "varchar" | "char" | "character varying" | "citext" => "text",
            "jsonb" | "object" => "json",
            "bytea" | "blob" | "binary" => "bytes",
            "datetime" | "timestamp with time zone" => "timestamptz",
            "timestamp without time zone" => "timestamp",
            _ => return None,
        };
        Some(format!("{meant}{brackets}"))
    }
}

impl fmt::Display for DeclaredType {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeclaredType::Decimal(Some((precision, scale))) => return write!(f, "decimal({precision},{scale})"),
            DeclaredType::Array(element) => return write!(f, "{element}[]"),
            DeclaredType::Bool => "bool",
            DeclaredType::Int => "int",
            DeclaredType::Bigint => "bigint",
            DeclaredType::Real => "real",
            DeclaredType::Double => "double",
            DeclaredType::Decimal(None) => "decimal",
            DeclaredType::Text => "text",
            DeclaredType::Json => "json",
            DeclaredType::Bytes => "bytes",
            DeclaredType::Uuid => "uuid",
            DeclaredType::Date => "date",
            DeclaredType::Time => "time",
            DeclaredType::Timestamp => "timestamp",
            DeclaredType::Timestamptz => "timestamptz",
            DeclaredType::Inet => "inet",
        })
    }
}

/// `decimal(p)` or `decimal(p,s)`, within Postgres's bounds.
fn parse_decimal(text: &str) -> Option<DeclaredType> {
    // A scale of more digits than a precision, or below zero, is Postgres 15's alone.
    const PRECISION_MAX: u16 = 1000;
    let inside = text.strip_prefix("decimal")?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    let precision: u16 = precision.trim().parse().ok()?;
    let scale: i16 = scale.trim().parse().ok()?;
    let fits = (1..=PRECISION_MAX).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    fits.then_some(DeclaredType::Decimal(Some((precision, scale))))
}

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
    /// One dimension of the element type, whose Postgres OID stands beside it (arrays carry it on the wire).
    Array(Box<ColumnType>, u32),
    /// SQLite: a timestamp column declared with a text-like type: sortable UTC text with milliseconds.
    TimestampText,
    /// SQLite: a lower bound in an R-tree, a 32-bit float that is not above the value.
    LowerBound,
    /// SQLite: an upper bound in an R-tree, a 32-bit float that is not below the value.
    UpperBound,
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
    /// Postgres: the server empties it after a crash of its own.
    pub unlogged: bool,
    pub intake: Intake,
    pub witness: Witness,
}

/// What a table does with rows that it is given, beyond holding them. Of SQLite's, views alone are marked, `by_insert`.
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
    /// Postgres: the table's OID, the sum of the hashes of its rows in the catalogue, and OIDs and hashes of the domains and
    /// enums that its columns are made of.
    Catalogue { table: u32, sum: i128, types: Box<[(u32, i64)]> },
    /// SQLite: the version of the file's whole schema.
    SchemaVersion(i64),
}

impl TableSchema {
    /// A table that was not read from a database.
    pub fn new(name: TableName, columns: Vec<Column>) -> TableSchema {
        TableSchema {
            name,
            columns,
            primary_key: Vec::new(),
            unlogged: false,
            intake: Intake::default(),
            witness: Witness::None,
        }
    }

    /// What is different in `now`, for people: each a few words. Empty if only the witness differs.
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
    /// What is different in `now`, a column of the same name.
    fn change(&self, now: &Column) -> String {
        let Column { name, type_name, .. } = self;
        if *type_name != now.type_name {
            return format!("column `{name}` is {} and no longer {type_name}", now.type_name);
        }
        if self.column_type != now.column_type {
            return format!("the type {type_name} of column `{name}` has changed");
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
