//! The types of columns: domains followed to their base, arrays to their elements, modifiers to lengths and digits.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{Error, Row};

use crate::rule::quote;
use crate::schema::{Cast, ColumnType, IntervalUnit, SecondDigits};

/// Domains over domains over arrays …: Postgres allows any depth, nobody uses more than two.
pub(super) const TYPE_DEPTH_MAX: usize = 16;

/// A row of `pg_type`, as far as columns need it.
#[derive(Debug, Clone, Default)]
pub(super) struct TypeRow {
    name: String,
    schema: String,
    /// `pg_type.typtype`: b base, d domain, e enum …
    kind: String,
    /// Of a domain.
    base: u32,
    modifier: i32,
    not_null: bool,
    has_default: bool,
    /// Of a true array; 0 otherwise.
    element: u32,
    labels: Vec<String>,
    /// Of its arrays; 0 if there are none.
    array: u32,
    /// Between elements of the text of such an array.
    delimiter: String,
}

/// A column's type with its domains peeled off.
pub(super) struct Resolved {
    pub(super) column_type: ColumnType,
    /// Of the type that is left, and of its arrays.
    pub(super) oid: u32,
    pub(super) array: u32,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
}

pub(super) fn type_row(row: &Row) -> Result<(u32, TypeRow), Error> {
    let described = TypeRow {
        name: row.try_get(1)?,
        schema: row.try_get(2)?,
        kind: row.try_get(3)?,
        base: row.try_get(4)?,
        modifier: row.try_get(5)?,
        not_null: row.try_get(6)?,
        has_default: row.try_get(7)?,
        element: row.try_get(8)?,
        labels: row.try_get(9)?,
        array: row.try_get(11)?,
        delimiter: row.try_get(12)?,
    };
    Ok((row.try_get(0)?, described))
}

/// Follows domains and array elements to a type that values can be made for.
pub(super) fn resolve(oid: u32, modifier: i32, types: &HashMap<u32, TypeRow>, depth: usize) -> Resolved {
    let Some(described) = types.get(&oid).filter(|_| depth > 0) else {
        let column_type = ColumnType::Unsupported(format!("type {oid}"));
        return Resolved { column_type, oid, array: 0, not_null: false, has_default: false };
    };
    if described.kind == "d" {
        let base = resolve(described.base, described.modifier, types, depth - 1);
        return Resolved {
            not_null: base.not_null || described.not_null,
            has_default: base.has_default || described.has_default,
            ..base
        };
    }
    let column_type = match described.element {
        0 => base_type(described, modifier),
        element => match resolve(element, modifier, types, depth - 1).column_type {
            ColumnType::Unsupported(name) => ColumnType::Unsupported(format!("{name}[]")),
            ColumnType::Cast(_) | ColumnType::Array(..) => {
                let delimiter = types.get(&element).and_then(|element| element.delimiter.chars().next());
                cast(described, Some(delimiter.unwrap_or(',')))
            }
            of_element => ColumnType::Array(Box::new(of_element), element),
        },
    };
    Resolved { column_type, oid, array: described.array, not_null: false, has_default: false }
}

fn cast(described: &TypeRow, delimiter: Option<char>) -> ColumnType {
    let sql_type = format!("{}.{}", quote(&described.schema), quote(&described.name));
    ColumnType::Cast(Arc::new(Cast { sql_type, delimiter }))
}

/// A type that is neither a domain nor an array.
fn base_type(described: &TypeRow, modifier: i32) -> ColumnType {
    let name = described.name.as_str();
    if described.kind == "e" {
        return ColumnType::Enum(Arc::from(described.labels.as_slice()));
    }
    // citext is an extension's and may live in any schema.
    if name == "citext" && described.kind == "b" {
        return ColumnType::Text { max_chars: None };
    }
    // A pseudo-type has no values, "char" keeps the first byte of whatever it is given, and the numbers of transactions are 0
    // where the text is none (before PostgreSQL 16).
    const TAKES_ANYTHING: [&str; 4] = ["char", "xid", "xid8", "cid"];
    if described.kind == "p" || described.schema == "pg_catalog" && TAKES_ANYTHING.contains(&name) {
        return ColumnType::Unsupported(name.to_owned());
    }
    if described.schema != "pg_catalog" {
        return cast(described, None);
    }
    match name {
        "bool" => ColumnType::Bool,
        "int2" => ColumnType::Int2,
        "int4" => ColumnType::Int4,
        "int8" => ColumnType::Int8,
        "float4" => ColumnType::Float4,
        "float8" => ColumnType::Float8,
        "numeric" => ColumnType::Numeric(numeric_modifier(modifier)),
        "text" => ColumnType::Text { max_chars: None },
        // The modifier counts the four bytes of a length word that is no longer there.
        "varchar" | "bpchar" => ColumnType::Text { max_chars: u32::try_from(modifier.saturating_sub(4)).ok() },
        // 64 bytes with the final NUL.
        "name" => ColumnType::Text { max_chars: Some(63) },
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        "bytea" => ColumnType::Bytes,
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time(second_digits(modifier)),
        "timestamp" => ColumnType::Timestamp(second_digits(modifier)),
        "timestamptz" => ColumnType::Timestamptz(second_digits(modifier)),
        "interval" => ColumnType::Interval(interval_unit(modifier)),
        "inet" | "cidr" => ColumnType::Inet,
        _ => cast(described, None),
    }
}

/// Precision and scale from `numeric`'s modifier: precision in the upper half, scale in 11 bits with a sign.
fn numeric_modifier(modifier: i32) -> Option<(u16, i16)> {
    let packed = modifier.checked_sub(4).filter(|&packed| packed >= 0)?;
    let precision = u16::try_from(packed >> 16).ok()?;
    let scale = i16::try_from(((packed & 0x7ff) ^ 1024) - 1024).ok()?;
    Some((precision, scale))
}

/// The precision of a time type, which is its modifier as it stands; negative where none is given.
fn second_digits(modifier: i32) -> SecondDigits {
    u8::try_from(modifier).map_or(SecondDigits::MICROS, SecondDigits::new)
}

/// The smallest field of `interval`'s modifier: a bit for each field in the upper half, the precision in the lower.
fn interval_unit(modifier: i32) -> IntervalUnit {
    const FIELDS: [(u32, IntervalUnit); 5] = [
        (11, IntervalUnit::Minute),
        (10, IntervalUnit::Hour),
        (3, IntervalUnit::Day),
        (1, IntervalUnit::Month),
        (2, IntervalUnit::Year),
    ];
    const SECOND: u32 = 12;
    let has = |field: u32| (modifier >> 16) & (1 << field) != 0;
    // Without a modifier all bits are set.
    match FIELDS.into_iter().find(|(field, _)| has(*field)).filter(|_| !has(SECOND)) {
        Some((_, unit)) => unit,
        None => IntervalUnit::Second(u8::try_from(modifier & 0xffff).map_or(SecondDigits::MICROS, SecondDigits::new)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn builtin(name: &str) -> TypeRow {
        TypeRow { name: name.into(), schema: "pg_catalog".into(), kind: "b".into(), ..TypeRow::default() }
    }

    #[test]
    fn a_domain_is_its_base_type_with_its_own_length_and_not_null() {
        let domain = TypeRow { kind: "d".into(), base: 1043, modifier: 24, not_null: true, ..builtin("code") };
        let outer = TypeRow { kind: "d".into(), base: 1, modifier: -1, has_default: true, ..builtin("outer") };
        let types = HashMap::from([(1, domain), (2, outer), (1043, builtin("varchar"))]);
        let resolved = resolve(2, -1, &types, TYPE_DEPTH_MAX);
        assert_eq!(resolved.column_type, ColumnType::Text { max_chars: Some(20) });
        assert!(resolved.not_null && resolved.has_default);
    }

    #[test]
    fn an_array_of_a_domain_carries_the_domains_oid() {
        let domain = TypeRow { kind: "d".into(), base: 23, ..builtin("positive") };
        let array = TypeRow { element: 7, ..builtin("_positive") };
        let types = HashMap::from([(7, domain), (8, array), (23, builtin("int4"))]);
        let resolved = resolve(8, -1, &types, TYPE_DEPTH_MAX);
        assert_eq!(resolved.column_type, ColumnType::Array(Box::new(ColumnType::Int4), 7));
    }

    #[test]
    fn a_type_that_keeps_something_of_any_text_is_unsupported() {
        for name in ["char", "xid", "xid8", "cid"] {
            assert_eq!(base_type(&builtin(name), -1), ColumnType::Unsupported(name.to_owned()));
        }
        let own = TypeRow { schema: "public".into(), ..builtin("xid") };
        assert!(matches!(base_type(&own, -1), ColumnType::Cast(_)), "somebody's own type");
    }

    #[test]
    fn a_type_that_refers_to_itself_ends() {
        let types = HashMap::from([(1, TypeRow { kind: "d".into(), base: 1, ..builtin("loop") })]);
        assert!(matches!(resolve(1, -1, &types, TYPE_DEPTH_MAX).column_type, ColumnType::Unsupported(_)));
    }

    #[test]
    fn the_modifier_of_numeric_holds_precision_and_a_signed_scale() {
        assert_eq!(numeric_modifier(-1), None);
        assert_eq!(numeric_modifier((10 << 16 | 2) + 4), Some((10, 2)));
        assert_eq!(numeric_modifier((5 << 16 | (-3 & 0x7ff)) + 4), Some((5, -3)));
    }

    #[test]
    fn the_modifiers_of_times_and_intervals_say_how_fine_they_are() {
        assert_eq!(base_type(&builtin("timestamptz"), -1), ColumnType::Timestamptz(SecondDigits::MICROS));
        assert_eq!(base_type(&builtin("timestamp"), 0), ColumnType::Timestamp(SecondDigits::new(0)));
        assert_eq!(base_type(&builtin("time"), 3), ColumnType::Time(SecondDigits::MILLIS));
        // As `atttypmod` shows them.
        for (modifier, unit) in [
            (-1, IntervalUnit::Second(SecondDigits::MICROS)),
            (0x7fff_0000, IntervalUnit::Second(SecondDigits::new(0))),
            (0x1c08_0002, IntervalUnit::Second(SecondDigits::new(2))),
            (0x0004_ffff, IntervalUnit::Year),
            (0x0006_ffff, IntervalUnit::Month),
            (0x0008_ffff, IntervalUnit::Day),
            (0x0408_ffff, IntervalUnit::Hour),
            (0x0c08_ffff, IntervalUnit::Minute),
            (0x1000_ffff, IntervalUnit::Second(SecondDigits::MICROS)),
        ] {
            assert_eq!(interval_unit(modifier), unit, "{modifier:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_modifier_panics(modifier: i32, name in "numeric|varchar|bpchar|text|odd|time|timestamptz|interval") {
            let _ = base_type(&builtin(&name), modifier);
        }
    }
}
