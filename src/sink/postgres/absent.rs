//! What exists in place of a missing table, or under a similar name.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

/// Objects of this name that are not tables, and tables whose names differ in case or that are in another schema; the
/// nearest first.
const NEAR: &str = "\
SELECT n.nspname::text, c.relname::text, c.relkind::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
   OR c.relkind IN ('r', 'p', 'v', 'f')
      AND pg_catalog.lower(c.relname) = pg_catalog.lower($2)
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY n.nspname = $1 DESC, c.relname = $2 DESC, 1, 2
LIMIT 1";

/// A sentence about what is found instead of the table `schema.name`, with what to write; `None` if nothing is near.
pub(super) async fn instead(client: &Client, schema: &str, name: &str) -> Result<Option<String>, Error> {
    let rows = client.query_typed(NEAR, &[(&schema as _, Type::TEXT), (&name as _, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (found_schema, found, kind): (&str, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    // Somebody has made it meanwhile.
    if (found_schema, found) == (schema, name) && matches!(kind, "r" | "p" | "v" | "f") {
        return Ok(None);
    }
    Ok(Some(match kind {
        _ if found_schema != schema => {
            format!("schema {found_schema} has a table {found}: write `table: {found_schema}.{found}`")
        }
        "r" | "p" | "v" | "f" => format!("there is {found}, and Postgres tells cases apart: write `table: {found}`"),
        "m" => format!("{found} is a materialized view, which takes no rows: name the table that it is made of"),
        "S" => format!("{found} is a sequence"),
        "i" | "I" => format!("{found} is an index"),
        "c" => format!("{found} is a composite type"),
        _ => format!("{found} is no table"),
    }))
}

/// The names (schema, table) that something has, each in its place.
pub(super) async fn present(
    client: &Client,
    names: Vec<(String, String)>,
) -> Result<Vec<Option<(String, String)>>, Error> {
    const SQL: &str =
        "SELECT t.place FROM ROWS FROM (unnest($1), unnest($2)) WITH ORDINALITY AS t(of_schema, named, place)
        WHERE EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE c.relname = t.named AND n.nspname = t.of_schema)";
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        names.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let rows = client.query_typed(SQL, &[(&schemas, Type::TEXT_ARRAY), (&tables, Type::TEXT_ARRAY)]).await?;
    let mut is_there = vec![false; names.len()];
    for row in rows {
        let place: i64 = row.try_get(0)?;
        // Counted from 1.
        if let Some(found) = usize::try_from(place - 1).ok().and_then(|place| is_there.get_mut(place)) {
            *found = true;
        }
    }
    Ok(names.into_iter().zip(is_there).map(|(name, is_there)| is_there.then_some(name)).collect())
}
