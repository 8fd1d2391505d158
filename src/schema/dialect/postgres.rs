//! Postgres' types.

use super::Dialect;
use crate::rule::DeclaredType;
use crate::schema::{ColumnType, SecondDigits};

/// Postgres.
#[derive(Debug, Clone, Copy)]
pub struct PostgresDialect;

impl Dialect for PostgresDialect {
    /// The server refuses a NUL in any text.
    const TEXT_TAKES_NUL: bool = false;
    /// Names are always quoted.
    const NAMES_FOLD_CASE: bool = false;
    const ALTERS_COLUMNS: bool = true;
    /// The server's own columns.
    const RESERVED_COLUMNS: &'static [&'static str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

    fn type_sql(declared: &DeclaredType) -> String {
        match declared {
            DeclaredType::Bool => "boolean".into(),
            DeclaredType::Int => "integer".into(),
            DeclaredType::Bigint => "bigint".into(),
            DeclaredType::Real => "real".into(),
            DeclaredType::Double => "double precision".into(),
            DeclaredType::Decimal(None) => "numeric".into(),
            DeclaredType::Decimal(Some((precision, scale))) => format!("numeric({precision},{scale})"),
            DeclaredType::Text => "text".into(),
            // jsonb: it can be indexed, and queried without parsing again.
            DeclaredType::Json => "jsonb".into(),
            DeclaredType::Bytes => "bytea".into(),
            DeclaredType::Uuid => "uuid".into(),
            DeclaredType::Date => "date".into(),
            DeclaredType::Time => "time".into(),
            DeclaredType::Timestamp => "timestamp".into(),
            DeclaredType::Timestamptz => "timestamptz".into(),
            DeclaredType::Inet => "inet".into(),
            DeclaredType::Array(element) => format!("{}[]", Self::type_sql(element)),
        }
    }

    fn column_type(declared: &DeclaredType) -> ColumnType {
        with_oid(declared).0
    }

    fn type_name(declared: &DeclaredType) -> String {
        match declared {
            DeclaredType::Time => "time without time zone".into(),
            DeclaredType::Timestamp => "timestamp without time zone".into(),
            DeclaredType::Timestamptz => "timestamp with time zone".into(),
            DeclaredType::Array(element) => format!("{}[]", Self::type_name(element)),
            plain => Self::type_sql(plain),
        }
    }
}

/// With the type's OID, which an array carries; the OIDs of built-in types never change (`pg_type.dat`).
fn with_oid(declared: &DeclaredType) -> (ColumnType, u32) {
    match declared {
        DeclaredType::Bool => (ColumnType::Bool, 16),
        DeclaredType::Int => (ColumnType::Int4, 23),
        DeclaredType::Bigint => (ColumnType::Int8, 20),
        DeclaredType::Real => (ColumnType::Float4, 700),
        DeclaredType::Double => (ColumnType::Float8, 701),
        DeclaredType::Decimal(limits) => (ColumnType::Numeric(*limits), 1700),
        DeclaredType::Text => (ColumnType::Text { max_chars: None }, 25),
        DeclaredType::Json => (ColumnType::Jsonb, 3802),
        DeclaredType::Bytes => (ColumnType::Bytes, 17),
        DeclaredType::Uuid => (ColumnType::Uuid, 2950),
        DeclaredType::Date => (ColumnType::Date, 1082),
        DeclaredType::Time => (ColumnType::Time(SecondDigits::MICROS), 1083),
        DeclaredType::Timestamp => (ColumnType::Timestamp(SecondDigits::MICROS), 1114),
        DeclaredType::Timestamptz => (ColumnType::Timestamptz(SecondDigits::MICROS), 1184),
        DeclaredType::Inet => (ColumnType::Inet, 869),
        // Arrays of arrays are not declared, so an array's own OID is not needed.
        DeclaredType::Array(element) => {
            let (element, oid) = with_oid(element);
            (ColumnType::Array(Box::new(element), oid), 0)
        }
    }
}
