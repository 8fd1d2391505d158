//! Reads the live table from the catalogue.
//!
//! Names match exactly, as the configuration writes them. Domains are resolved to their base type (their NOT NULL and
//! default count as the column's), arrays to their element type, whose OID goes on the wire. Tables, partitioned and
//! foreign tables and views are all treated as tables; if a view takes no rows, the server says so on the first write.
//! [`Intake`] says which of them take rows by INSERT only.

mod binds;

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

pub(super) use self::binds::columns as columns_of_binds;
use super::witness::{column_hash, table_hash};
use crate::rule::{TableName, quote};
use crate::schema::{
    Cast, Column, ColumnType, Intake, IntervalUnit, Keys, Parameter, SecondDigits, TableSchema, Witness,
};

/// Domains over domains over arrays …: Postgres allows any depth, nobody uses more than two.
const TYPE_DEPTH_MAX: usize = 16;

/// Column numbers, names, types and what an INSERT may leave out. This and the following statements give what one table has;
/// [`of_tables`] runs them for many.
const COLUMNS: &str = concat!(
    "\
SELECT a.attname::text, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef OR a.attidentity <> '', a.attidentity = 'a' OR a.attgenerated <> '',
       ",
    column_hash!(),
    ",
       (SELECT pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(l.collname)
        FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace
        WHERE l.oid = a.attcollation AND NOT l.collisdeterministic),
       a.attnum AS position
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f') AND a.attnum > 0 AND NOT a.attisdropped"
);

pub(super) const TYPES: &str = include_str!("catalogue.sql");

/// The columns of every unique index in its order, the primary key's first: whether it is that, and whether ON CONFLICT can
/// name it. It cannot where an index is partial, deferrable, invalid or on expressions. An index that compares otherwise
/// than its columns do (a collation, an operator class) is left out as well: rows of one batch are told apart as the columns
/// compare.
const KEYS: &str = "\
SELECT i.indisprimary,
       i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
           SELECT 1 FROM ROWS FROM (pg_catalog.unnest(i.indcollation::oid[]), pg_catalog.unnest(i.indkey::int2[]))
                       AS k(collation_of, attnum)
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.collation_of <> 0 AND k.collation_of <> a.attcollation
       ) AND NOT EXISTS (
           SELECT 1 FROM pg_catalog.unnest(i.indclass::oid[]) AS k(opclass)
           JOIN pg_catalog.pg_opclass o ON o.oid = k.opclass WHERE NOT o.opcdefault
       ),
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.position <= i.indnkeyatts ORDER BY k.position),
       row_number() OVER (ORDER BY i.indisprimary DESC, i.indexrelid) AS position
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique";

/// The table itself, if it is there (it may have no column): its witness, whether rows must come by INSERT, whether a rule
/// puts them elsewhere, and whether it or a partition of it is unlogged. Any rule counts for the first, a disabled one too:
/// to enable it changes nothing that the witness has. Rules of events other than INSERT (`ev_type` 3) put no rows anywhere,
/// nor does `DO INSTEAD NOTHING`.
const TABLE: &str = concat!(
    "\
SELECT c.oid, ",
    table_hash!(),
    ",
       c.relkind IN ('v', 'f') OR c.relhasrules OR pg_catalog.row_security_active(c.oid), r.diverts,
       c.relpersistence = 'u' OR c.relkind = 'p' AND EXISTS (
           SELECT 1 FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid
           WHERE l.relpersistence = 'u'),
       c.relkind IN ('v', 'f')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT COALESCE(pg_catalog.bool_or(w.is_instead AND pg_catalog.pg_get_ruledef(w.oid) NOT LIKE '%DO INSTEAD NOTHING;'),
                    false) AS diverts
    FROM pg_catalog.pg_rewrite w
    WHERE w.ev_class = c.oid AND w.ev_type = '3' AND w.ev_enabled IN ('O', 'A')
) r
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')"
);

/// A row of `pg_type`, as far as columns need it.
#[derive(Debug, Clone, Default)]
struct TypeRow {
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
struct Resolved {
    column_type: ColumnType,
    /// Of the type that is left, and of its arrays.
    oid: u32,
    array: u32,
    not_null: bool,
    has_default: bool,
}

/// One of the statements, `$1` and `$2` of which are a table's schema and name, for arrays of them: planning it takes the
/// server as long as some tables. The last column of each row is the place of its table, from 1.
fn of_tables(statement: &str, order: &str) -> String {
    let of_one = statement.replace("$1", "t.of_schema").replace("$2", "t.named");
    format!(
        "SELECT q.*, t.place FROM (SELECT given.of_schema::name AS of_schema, given.named::name AS named, given.place \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS given(of_schema, named, place)) t \
         CROSS JOIN LATERAL (\n{of_one}\n) q{order}"
    )
}

/// Rows of [`of_tables`] by table, in their order.
fn by_table(rows: Vec<Row>, count: usize) -> Result<Vec<Vec<Row>>, Error> {
    let mut tables: Vec<Vec<Row>> = Vec::new();
    tables.resize_with(count, Vec::new);
    for row in rows {
        let place: i64 = row.try_get(row.len() - 1)?;
        if let Some(table) = usize::try_from(place - 1).ok().and_then(|at| tables.get_mut(at)) {
            table.push(row);
        }
    }
    Ok(tables)
}

/// Reads the tables (schema and name of each) within the transaction that `client` is in; one round trip.
pub(super) async fn describe(client: &Client, tables: &[(String, String)]) -> Result<Vec<Option<TableSchema>>, Error> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let names = [(&schemas as _, Type::TEXT_ARRAY), (&names as _, Type::TEXT_ARRAY)];
    let ordered = " ORDER BY t.place, q.position";
    let [of_table, of_columns, of_types, of_keys] =
        [(TABLE, ""), (COLUMNS, ordered), (TYPES, ""), (KEYS, ordered)].map(|(sql, order)| of_tables(sql, order));
    // Every answer is awaited: the first error is the cause of the others, which only say that the transaction failed.
    let (found, columns, types, indexes) = tokio::join!(
        biased;
        client.query_typed(&of_table, &names),
        client.query_typed(&of_columns, &names),
        client.query_typed(&of_types, &names),
        client.query_typed(&of_keys, &names),
    );
    let (found, columns, types, indexes) = (
        by_table(found?, tables.len())?,
        by_table(columns?, tables.len())?,
        by_table(types?, tables.len())?,
        by_table(indexes?, tables.len())?,
    );
    let described = tables.iter().zip(found.iter().zip(columns).zip(types.iter().zip(indexes)));
    described
        .map(|((schema, name), ((table, columns), (types, indexes)))| match table.first() {
            Some(table) => table_schema(schema, name, table, &columns, types, &indexes).map(Some),
            None => Ok(None),
        })
        .collect()
}

/// From the rows of [`TABLE`], [`COLUMNS`], [`TYPES`] and [`KEYS`].
fn table_schema(
    schema: &str,
    name: &str,
    table: &Row,
    columns: &[Row],
    types: &[Row],
    indexes: &[Row],
) -> Result<TableSchema, Error> {
    let witness = witness(table, columns, types)?;
    let types = types.iter().map(type_row).collect::<Result<HashMap<u32, TypeRow>, Error>>()?;
    let columns = columns.iter().map(|row| column(row, &types)).collect::<Result<Vec<Column>, Error>>()?;
    let (primary_key, keys) = keys(indexes, &columns)?;
    Ok(TableSchema {
        name: TableName { schema: Some(schema.to_owned()), name: name.to_owned() },
        primary_key,
        keys: if table.try_get(5)? { Keys::Hidden } else { keys },
        columns,
        intake: Intake { by_insert: table.try_get(2)?, diverts: table.try_get(3)? },
        unlogged: table.try_get(4)?,
        witness,
    })
}

/// From the rows of [`TABLE`], [`COLUMNS`] and [`TYPES`].
fn witness(table: &Row, columns: &[Row], types: &[Row]) -> Result<Witness, Error> {
    let mut sum = i128::from(table.try_get::<_, i64>(1)?);
    for column in columns {
        sum += i128::from(column.try_get::<_, i64>(7)?);
    }
    let hashes = types.iter().map(|row| Ok((row.try_get(0)?, row.try_get(10)?)));
    let hashes: Vec<(u32, Option<i64>)> = hashes.collect::<Result<_, Error>>()?;
    let types = hashes.into_iter().filter_map(|(oid, hash)| Some((oid, hash?))).collect();
    Ok(Witness::Catalogue { table: table.try_get(0)?, sum, types })
}

/// The primary key's columns, and what ON CONFLICT can name; from the rows of [`KEYS`].
fn keys(indexes: &[Row], columns: &[Column]) -> Result<(Vec<String>, Keys), Error> {
    let mut primary_key = Vec::new();
    let mut known = Vec::new();
    for row in indexes {
        let (is_primary, can_be_named, names): (bool, bool, Vec<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        if can_be_named && let Some(key) = names.iter().map(place).collect() {
            known.push(key);
        }
        if is_primary {
            primary_key = names;
        }
    }
    Ok((primary_key, Keys::Known(known)))
}

fn type_row(row: &Row) -> Result<(u32, TypeRow), Error> {
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

fn column(row: &Row, types: &HashMap<u32, TypeRow>) -> Result<Column, Error> {
    let resolved = resolve(row.try_get(1)?, row.try_get(2)?, types, TYPE_DEPTH_MAX);
    let not_null: bool = row.try_get(4)?;
    let has_default: bool = row.try_get(5)?;
    let collation: Option<String> = row.try_get(8)?;
    let (oid, array) = match &resolved.column_type {
        ColumnType::Cast(_) => (Type::TEXT.oid(), Type::TEXT_ARRAY.oid()),
        _ => (resolved.oid, resolved.array),
    };
    Ok(Column {
        name: row.try_get(0)?,
        column_type: resolved.column_type,
        type_name: row.try_get(3)?,
        not_null: not_null || resolved.not_null,
        has_default: has_default || resolved.has_default,
        generated: row.try_get(6)?,
        parameter: Parameter { oid, array, collation: collation.map(Arc::from) },
    })
}

/// Follows domains and array elements to a type that values can be made for.
fn resolve(oid: u32, modifier: i32, types: &HashMap<u32, TypeRow>, depth: usize) -> Resolved {
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
