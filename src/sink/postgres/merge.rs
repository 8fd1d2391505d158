//! INSERT … SELECT: rows that are written by key (`mode: ignore` and `upsert`), and rows with values that the server
//! casts.
//!
//! ```text
//! INSERT INTO t (a, b)
//! SELECT DISTINCT ON (v.c1) v.c1, v.c2::macaddr
//! FROM ROWS FROM (unnest($1), unnest($2)) WITH ORDINALITY AS v (c1, c2, n)
//! ORDER BY v.c1, v.n DESC
//! ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b
//! ```
//! A column's values are one parameter, a binary array. An array element has the bytes of a COPY field, so the encoded
//! rows are only rearranged. There are no arrays of arrays, so rows with an array column are written as a list of
//! values instead: `FROM (VALUES ($1,$2,0),($3,$4,1)) AS v (c1, c2, n)`.
//!
//! If several rows of a statement have equal keys, the last one counts. Equality is the server's: `1.0` and `1.00` are
//! one numeric, `a` and `A` one citext. (An INSERT that affected a row twice would fail.) A type is named without its
//! length, because a cast to `varbit(3)` cuts off surplus bits, while the column refuses them.
//!
//! The session stays unchanged: the statements are unnamed, and no table is created for them.

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::copy::Rows;
use super::insert::{self, BYTES_MAX};
use super::transaction::pipelined;
use crate::batch::{Target, Verb};
use crate::rule::quote;
use crate::schema::{Column, ColumnType};

/// Whether rows go in this way.
pub(super) fn takes(target: &Target) -> bool {
    !target.has_statement() && (target.verb != Verb::Insert || casts(target).is_some())
}

/// Inserts the rows within the transaction that `client` is in; how many the server counted.
pub(super) async fn insert(client: &Client, rows: &Rows<'_>) -> Result<u64, Error> {
    let target = rows.target();
    let statements = if is_laid_out(target) {
        let sql = statement(target, &unnested(target.columns.len()));
        let chunks = arrays(rows, target);
        pipelined(chunks.into_iter().map(|arrays| {
            let sql = &sql;
            async move {
                if let Some(refused) = insert::beyond_limits(arrays.iter().map(|array| array.elements.len()).sum()) {
                    return client.execute_typed(refused, &[]).await;
                }
                let typed: Vec<(&(dyn ToSql + Sync), Type)> =
                    arrays.iter().map(|array| (array as &(dyn ToSql + Sync), typed(array.array))).collect();
                client.execute_typed(sql, &typed).await
            }
        }))
        .await
    } else {
        let types: Vec<Type> = columns(target).map(|column| typed(column.parameter.oid)).collect();
        let chunks = insert::portions(rows, types.len());
        pipelined(chunks.into_iter().map(|parameters| {
            let sql = statement(target, &spelt_out(parameters.len() / types.len(), types.len()));
            let types = &types;
            async move {
                if let Some(refused) = insert::in_place_of(&parameters) {
                    return client.execute_typed(refused, &[]).await;
                }
                let types = types.iter().cycle().cloned();
                let typed: Vec<(&(dyn ToSql + Sync), Type)> =
                    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).zip(types).collect();
                client.execute_typed(&sql, &typed).await
            }
        }))
        .await
    };
    // Every answer was awaited, and the first error is the cause of the others.
    statements.into_iter().sum()
}

/// Casts the rows' values without putting them anywhere: what the server refuses here, no table is to blame for. Of what cannot
/// be sent it says nothing.
pub(super) async fn cast_alone(client: &Client, rows: &Rows<'_>) -> Result<(), Error> {
    let target = rows.target();
    let casts: Vec<String> = values(target).into_iter().map(|value| format!("({value}) IS NULL")).collect();
    // The binds of a statement have their own types there, and the text of such values here.
    let types: Vec<Type> =
        columns(target).map(|column| if is_cast(column) { Type::TEXT } else { typed(column.parameter.oid) }).collect();
    // All are sent at once: what follows is to take them back, whichever of them fails.
    let statements = insert::portions(rows, types.len()).into_iter().map(|parameters| {
        let (types, casts) = (&types, &casts);
        async move {
            if insert::in_place_of(&parameters).is_some() {
                return Ok(());
            }
            let from = spelt_out(parameters.len() / types.len(), types.len());
            let typed: Vec<(&(dyn ToSql + Sync), Type)> = parameters
                .iter()
                .map(|parameter| parameter as &(dyn ToSql + Sync))
                .zip(types.iter().cycle().cloned())
                .collect();
            client.execute_typed(&format!("SELECT {} FROM {from}", casts.join(", ")), &typed).await.map(drop)
        }
    });
    pipelined(statements).await.into_iter().collect()
}

/// The casts of such rows without a value: what the server refuses here, no value is at fault for. Two rows, because the
/// planner would compute one without looking for the right to call a function.
pub(super) async fn cast_nothing(client: &Client, target: &Target) -> Result<(), Error> {
    let casts: Vec<String> = columns(target).filter_map(|column| cast_of("v.c", column)).collect();
    let sql = format!("SELECT {} FROM (VALUES (NULL::pg_catalog.text), (NULL)) AS v (c)", casts.join(", "));
    client.execute_typed(&sql, &[]).await.map(drop)
}

/// The columns whose values the server casts, with their types: `hstore (column tags)`. `None` if there are none.
pub(super) fn casts(target: &Target) -> Option<String> {
    let casts = columns(target).filter(|column| is_cast(column));
    let named: Vec<String> = casts.map(|column| format!("{} (column {})", column.type_name, column.name)).collect();
    (!named.is_empty()).then(|| named.join(" or "))
}

fn is_cast(column: &Column) -> bool {
    matches!(column.column_type, ColumnType::Cast(_))
}

/// The cast of a column's text, if it has one.
fn cast_of(text: &str, column: &Column) -> Option<String> {
    match &column.column_type {
        ColumnType::Cast(cast) => Some(format!("{text}::{}", cast.sql_type)),
        _ => None,
    }
}

/// How many statements [`insert`] makes of so many rows and bytes, about.
pub(super) fn statement_count(target: &Target, row_count: u64, byte_count: usize) -> u32 {
    match is_laid_out(target) {
        true => u32::try_from(byte_count / BYTES_MAX).unwrap_or(u32::MAX).saturating_add(1),
        false => insert::statement_count(row_count, target.columns.len()),
    }
}

fn columns(target: &Target) -> impl Iterator<Item = &Column> {
    target.columns.iter().map(|&column| &target.table.columns[column])
}

/// Whether the values of every column go as one array.
fn is_laid_out(target: &Target) -> bool {
    columns(target).all(|column| column.parameter.array != 0 && !matches!(column.column_type, ColumnType::Array(..)))
}

/// A type that is known by its OID only: the driver needs no more if a statement has no result.
pub(super) fn typed(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new()))
}

/// The statement over rows that come as `from`.
fn statement(target: &Target, from: &str) -> String {
    let names: Vec<String> = columns(target).map(|column| quote(&column.name)).collect();
    let values = values(target);
    let mut sql = format!("INSERT INTO {} ({}) SELECT ", target.table.name.quoted(), names.join(", "));
    let key = match &target.verb {
        Verb::Insert | Verb::Statement(_) => None,
        Verb::Ignore(key) | Verb::Upsert(key) => Some(key),
    };
    let key_names = || {
        let names = key.into_iter().flat_map(|key| key.iter()).map(|&column| quote(&target.table.columns[column].name));
        names.collect::<Vec<_>>().join(", ")
    };
    let updates: Vec<String> = match &target.verb {
        Verb::Upsert(key) => {
            let others = target.columns.iter().zip(&names).filter(|(column, _)| !key.contains(column));
            others.map(|(_, name)| format!("{name} = EXCLUDED.{name}")).collect()
        }
        _ => Vec::new(),
    };
    let last_counts = !updates.is_empty();
    let distinct = match key {
        Some(key) if last_counts => {
            let place = |column: &usize| target.columns.iter().position(|filled| filled == column);
            let comparable = |column: &usize| {
                let value = place(column).map(|position| values[position].as_str()).unwrap_or("NULL");
                match &target.table.columns[*column].parameter.collation {
                    Some(collation) => format!("{value} COLLATE {collation}"),
                    None => value.to_owned(),
                }
            };
            key.iter().map(comparable).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    if last_counts {
        let _ = write!(sql, "DISTINCT ON ({distinct}) ");
    }
    let order = if last_counts { format!("{distinct}, v.n DESC") } else { "v.n".to_owned() };
    let _ = write!(sql, "{} FROM {from} ORDER BY {order}", values.join(", "));
    if key.is_some() {
        let _ = write!(sql, " ON CONFLICT ({}) DO ", key_names());
        sql += &if last_counts { format!("UPDATE SET {}", updates.join(", ")) } else { "NOTHING".to_owned() };
    }
    sql
}

/// The columns' values as expressions over `v`.
fn values(target: &Target) -> Vec<String> {
    let value = |(position, column): (usize, &Column)| {
        let text = format!("v.c{}", position + 1);
        cast_of(&text, column).unwrap_or(text)
    };
    columns(target).enumerate().map(value).collect()
}

/// Rows of so many columns, each an array.
fn unnested(column_count: usize) -> String {
    let arrays: Vec<String> = (1..=column_count).map(|column| format!("pg_catalog.unnest(${column})")).collect();
    format!("ROWS FROM ({}) WITH ORDINALITY AS v ({}, n)", arrays.join(", "), names(column_count))
}

/// Rows whose values are parameters of their own.
fn spelt_out(row_count: usize, column_count: usize) -> String {
    let mut text = String::from("(VALUES ");
    for row in 0..row_count {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 1..=column_count {
            let _ = write!(text, "${},", row * column_count + column);
        }
        let _ = write!(text, "{row})");
    }
    let _ = write!(text, ") AS v ({}, n)", names(column_count));
    text
}

fn names(column_count: usize) -> String {
    let names: Vec<String> = (1..=column_count).map(|column| format!("c{column}")).collect();
    names.join(", ")
}

/// The values of one column.
#[derive(Debug, PartialEq, Eq)]
struct Array {
    /// OIDs of the array's type and of its elements'.
    array: u32,
    element: u32,
    count: i32,
    has_null: bool,
    /// Each value as in COPY: its length, −1 for NULL, and its bytes. A length that COPY would refuse is refused here too.
    elements: Vec<u8>,
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.reserve(20 + self.elements.len());
        out.put_i32(1);
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element);
        out.put_i32(self.count);
        out.put_i32(1);
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The rows' columns, for one statement after the other.
fn arrays(rows: &Rows<'_>, target: &Target) -> Vec<Vec<Array>> {
    let empty = || -> Vec<Array> {
        let of = |column: &Column| Array {
            array: column.parameter.array,
            element: column.parameter.oid,
            count: 0,
            has_null: false,
            elements: Vec::new(),
        };
        columns(target).map(of).collect()
    };
    let mut statements: Vec<Vec<Array>> = Vec::new();
    let mut bytes = 0;
    for run in rows.bytes() {
        let mut rest = run;
        while !rest.is_empty() {
            if statements.is_empty() || bytes >= BYTES_MAX {
                statements.push(empty());
                bytes = 0;
            }
            let arrays = statements.last_mut().expect("one was added where there was none");
            let Some(after) = take_row(rest, arrays) else { break };
            bytes += rest.len() - after.len();
            rest = after;
        }
    }
    statements
}

/// Appends the fields of the first of these rows in COPY's form to the columns; what follows it.
fn take_row<'r>(row: &'r [u8], columns: &mut [Array]) -> Option<&'r [u8]> {
    // How many fields it has is known.
    let mut rest = row.get(2..)?;
    for column in columns {
        let length = i32::from_be_bytes(*rest.first_chunk::<4>()?);
        let (field, after) = rest.split_at_checked(4 + usize::try_from(length).unwrap_or(0))?;
        column.elements.extend_from_slice(field);
        column.has_null |= length == -1;
        column.count += 1;
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rule::TableName;
    use crate::schema::{Cast, Parameter, TableSchema};

    fn column(name: &str, column_type: ColumnType, oid: u32, array: u32, collation: Option<&str>) -> Column {
        Column {
            name: name.to_owned(),
            column_type,
            type_name: String::new(),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: Parameter { oid, array, collation: collation.map(Arc::from) },
        }
    }

    fn target(columns: Vec<Column>, verb: Verb) -> Target {
        let filled = (0..columns.len()).collect();
        let table = TableSchema::new(TableName { schema: Some("s".to_owned()), name: "t".to_owned() }, columns);
        Target { verb, ..Target::insert(0, Arc::new(table), filled) }
    }

    fn columns() -> Vec<Column> {
        let text = ColumnType::Text { max_chars: None };
        let cast = Cast { sql_type: "\"pg_catalog\".\"macaddr\"".to_owned(), delimiter: None };
        vec![
            column("k", text, 25, 1009, Some("public.ci")),
            column("m", ColumnType::Cast(Arc::new(cast)), 25, 1009, None),
            column("n", ColumnType::Int8, 20, 1016, None),
        ]
    }

    #[test]
    fn the_last_of_equal_keys_is_chosen_by_the_columns_own_equality() {
        let from = "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY AS v (c1, \
                    c2, c3, n)";
        assert_eq!(unnested(3), from);
        let sql = |verb| statement(&target(columns(), verb), &unnested(3));
        let into = "INSERT INTO \"s\".\"t\" (\"k\", \"m\", \"n\") SELECT ";
        let values = "v.c1, v.c2::\"pg_catalog\".\"macaddr\", v.c3";
        assert_eq!(sql(Verb::Insert), format!("{into}{values} FROM {from} ORDER BY v.n"));
        assert_eq!(
            sql(Verb::Ignore([0].into())),
            format!("{into}{values} FROM {from} ORDER BY v.n ON CONFLICT (\"k\") DO NOTHING")
        );
        let key = "v.c1 COLLATE public.ci, v.c2::\"pg_catalog\".\"macaddr\"";
        assert_eq!(
            sql(Verb::Upsert([0, 1].into())),
            format!(
                "{into}DISTINCT ON ({key}) {values} FROM {from} ORDER BY {key}, v.n DESC ON CONFLICT (\"k\", \"m\") DO UPDATE SET \
                 \"n\" = EXCLUDED.\"n\""
            )
        );
        assert!(
            sql(Verb::Upsert([2, 1, 0].into())).ends_with("ORDER BY v.n ON CONFLICT (\"n\", \"m\", \"k\") DO NOTHING")
        );
    }

    #[test]
    fn rows_with_arrays_are_spelt_out() {
        let array = ColumnType::Array(Box::new(ColumnType::Int4), 23);
        let with_array = target(vec![column("a", array, 1007, 0, None)], Verb::Insert);
        assert!(!is_laid_out(&with_array) && is_laid_out(&target(columns(), Verb::Insert)));
        assert!(!takes(&with_array) && takes(&target(columns(), Verb::Insert)));
        assert_eq!(spelt_out(2, 2), "(VALUES ($1,$2,0),($3,$4,1)) AS v (c1, c2, n)");
    }

    #[test]
    fn the_fields_of_a_row_become_elements_as_they_are() {
        let empty = || Array { array: 1016, element: 20, count: 0, has_null: false, elements: Vec::new() };
        let mut arrays = [empty(), empty()];
        let rows = [0, 2, 0, 0, 0, 1, 9, 0xff, 0xff, 0xff, 0xff, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8];
        let rest = take_row(&rows, &mut arrays).unwrap();
        assert_eq!(take_row(rest, &mut arrays), Some(&[][..]));
        assert_eq!(arrays[0].elements, [0, 0, 0, 1, 9, 0, 0, 0, 0]);
        assert_eq!((arrays[0].count, arrays[0].has_null), (2, false));
        assert_eq!(arrays[1].elements, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 7, 8]);
        assert_eq!((arrays[1].count, arrays[1].has_null), (2, true));
        let mut out = BytesMut::new();
        arrays[0].to_sql(&Type::INT8_ARRAY, &mut out).unwrap();
        assert_eq!(out[..20], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(out[20..], arrays[0].elements);
    }
}
