//! A row of SQLite in the form of an answer. A column has its declared type; a value of another type is shown as what
//! it is.

use rusqlite::Statement;
use rusqlite::types::ValueRef;

use crate::schema::{ColumnType, SqliteDialect};
use crate::sink::query::{AnswerColumn, AnswerValue, Kind, QueryError};

/// By what is declared; of an expression nothing is.
pub(super) fn columns(statement: &Statement<'_>) -> Vec<AnswerColumn> {
    let of = |column: rusqlite::Column<'_>| AnswerColumn {
        name: column.name().to_owned(),
        kind: column.decl_type().map_or(Kind::Any, kind_of),
    };
    statement.columns().map(of).collect()
}

fn kind_of(declared: &str) -> Kind {
    match SqliteDialect::type_of(declared, false) {
        ColumnType::Bool => Kind::Bool,
        ColumnType::Int8 => Kind::Int64,
        ColumnType::Float8 => Kind::Double,
        ColumnType::Numeric(_) => Kind::Decimal,
        ColumnType::Json | ColumnType::JsonText => Kind::Json,
        ColumnType::Bytes => Kind::Bytes,
        ColumnType::Uuid => Kind::Uuid,
        ColumnType::Date => Kind::Date,
        ColumnType::Time(_) => Kind::Time,
        ColumnType::TimestampText => Kind::Timestamptz,
        ColumnType::Inet => Kind::Inet,
        ColumnType::Text { .. } | ColumnType::Interval(_) => Kind::Text,
        _ => Kind::Any,
    }
}

/// A value as its column's type has it, where it is of that type: SQLite's columns may hold others.
pub(super) fn answer_value(column: &mut AnswerColumn, value: ValueRef<'_>) -> Result<AnswerValue, QueryError> {
    let seen = match value {
        ValueRef::Null => return Ok(AnswerValue::Null),
        ValueRef::Integer(_) => Kind::Int64,
        ValueRef::Real(_) => Kind::Double,
        ValueRef::Text(_) => Kind::Text,
        ValueRef::Blob(_) => Kind::Bytes,
    };
    if column.kind == Kind::Any {
        column.kind = seen;
    }
    Ok(match value {
        ValueRef::Null => AnswerValue::Null,
        ValueRef::Integer(truth @ (0 | 1)) if column.kind == Kind::Bool => AnswerValue::Bool(truth == 1),
        ValueRef::Integer(number) => AnswerValue::Number(number.to_string()),
        ValueRef::Real(number) if number.is_finite() => AnswerValue::Number(crate::schema::json_value::float(number)),
        ValueRef::Real(number) => AnswerValue::Text(if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()),
        ValueRef::Blob(bytes) => AnswerValue::Bytes(bytes.to_vec()),
        ValueRef::Text(bytes) => {
            let Ok(text) = std::str::from_utf8(bytes) else {
                let problem = format!("column {} holds text that is not UTF-8; cast it to blob", column.name);
                return Err(QueryError::Refused(problem));
            };
            let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            match column.kind {
                Kind::Json if is_json() => AnswerValue::Json(text.to_owned()),
                // Digits that SQLite has no number for are kept as text.
                Kind::Decimal if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && is_json() => {
                    AnswerValue::Number(text.to_owned())
                }
                Kind::Timestamptz => AnswerValue::Time(text.to_owned()),
                _ => AnswerValue::Text(text.to_owned()),
            }
        }
    })
}
