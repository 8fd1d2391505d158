//! Reads the live table from the catalogue.
//!
//! Names match exactly, as the configuration writes them. Domains are resolved to their base type (their NOT NULL and
//! default count as the column's), arrays to their element type, whose OID goes on the wire. Tables, partitioned and
//! foreign tables and views are all treated as tables; if a view takes no rows, the server says so on the first write.
//! [`Intake`] says which of them take rows by INSERT only.

mod binds;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

pub(super) use self::binds::columns as columns_of_binds;
use self::types::{TYPE_DEPTH_MAX, TypeRow, resolve, type_row};
use super::witness::{column_hash, table_hash};
use crate::rule::TableName;
use crate::schema::{Column, ColumnType, Intake, Keys, Parameter, TableSchema, Witness};

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
/// name it. It cannot where an index is partial, deferrable, invalid, on expressions or `WITHOUT OVERLAPS`. An index that compares otherwise
/// than its columns do (a collation, an operator class) is left out as well: rows of one batch are told apart as the columns
/// compare.
const KEYS: &str = "\
SELECT i.indisprimary,
       i.indisvalid AND i.indimmediate AND NOT i.indisexclusion AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
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

/// One of the statements, `$1` and `$2` of which are a table's schema and name, for arrays of them: planning it takes the
/// server as long as some tables. The last column of each row is the place of its table, from 1.
fn of_tables(statement: &str, order: &str) -> String {
    let of_one = statement.replace("$1", "t.of_schema").replace("$2", "t.named");
    format!(
        "SELECT q.*, t.place \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS t(of_schema, named, place) \
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
