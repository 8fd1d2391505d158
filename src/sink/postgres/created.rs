//! Creation of tables with their indexes, and the indexes of live tables.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::rule::{NewIndex, NewTable, columns_sql, primary_key_sql, quote};
use crate::schema::{Dialect, PostgresDialect};
use crate::sink::LiveIndex;

/// Of the table `$1.$2`: each index with its columns, an empty name for an expression; without any if it is partial, or was
/// not finished.
const INDEXES: &str = "\
SELECT i.relname::text, CASE WHEN x.indisvalid AND x.indpred IS NULL THEN ARRAY(
    SELECT coalesce(a.attname::text, '')
    FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum AND k.attnum > 0
    WHERE k.place <= x.indnkeyatts ORDER BY k.place) ELSE ARRAY[]::pg_catalog.text[] END
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = $1 AND t.relname = $2
ORDER BY 1";

/// Several statements, for one transaction. Postgres names the indexes, and takes no name twice.
pub(super) fn table_sql(schema: &str, name: &str, new: &NewTable<'_>) -> String {
    let table = format!("{}.{}", quote(schema), quote(name));
    let columns = new
        .columns
        .iter()
        .map(|(name, declared)| format!("    {} {}", quote(name), PostgresDialect::type_sql(declared)));
    let columns: Vec<_> = columns.chain(primary_key_sql(&new.key)).collect();
    // A table that is there by now would get the indexes once more.
    let condition = if new.indexes.is_empty() { " IF NOT EXISTS" } else { "" };
    let mut sql = format!("CREATE TABLE{condition} {table} (\n{}\n)", columns.join(",\n"));
    for index in &new.indexes {
        sql = format!("{sql};\nCREATE INDEX ON {table} ({})", columns_sql(&index.columns));
    }
    sql
}

/// For a table that is written to meanwhile.
pub(super) fn add_index_sql(schema: &str, name: &str, index: &NewIndex<'_>) -> String {
    format!("CREATE INDEX CONCURRENTLY ON {}.{} ({})", quote(schema), quote(name), columns_sql(&index.columns))
}

pub(super) async fn indexes(client: &Client, schema: &str, name: &str) -> Result<Vec<LiveIndex>, Error> {
    let rows = client.query_typed(INDEXES, &[(&schema as _, Type::TEXT), (&name as _, Type::TEXT)]).await?;
    let read = |row: &tokio_postgres::Row| {
        let columns: Vec<String> = row.try_get(1)?;
        let columns = columns.into_iter().take_while(|column| !column.is_empty()).collect();
        Ok(LiveIndex { name: row.try_get(0)?, columns })
    };
    rows.iter().map(read).collect()
}
