//! Column types as a rule declares them.

use std::fmt;

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
