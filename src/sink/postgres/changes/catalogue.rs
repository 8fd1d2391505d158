//! The table of a publication, read from the catalogue.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::sink::Unfit;

/// A table that is there.
#[derive(Debug, Clone)]
pub(super) struct LiveTable {
    pub(super) oid: i64,
    /// Why no statement trigger with transition tables can be put on it.
    pub(super) unfit: Option<Unfit>,
    /// `[{"name":…,"type":…},…]`
    pub(super) definition: String,
    /// Names of the triggers of ours that are switched on and know the table by its name, of whichever publication, each with
    /// that publication's id behind a space.
    pub(super) triggers: Vec<String>,
    /// The primary key's columns.
    pub(super) key: Vec<String>,
}

const TABLE: &str = "SELECT c.oid::int8, c.relkind::text, \
    (SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum) \
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text, \
    ARRAY(SELECT t.tgname || ' ' || split_part(encode(t.tgargs, 'escape'), E'\\\\000', 1) FROM pg_trigger t \
          WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname LIKE 'rowbridge\\_%' AND t.tgenabled <> 'D' \
          AND (t.tgnargs = 1 OR position(decode('00', 'hex') || convert_to(n.nspname, getdatabaseencoding()) || decode('00', 'hex') \
               || convert_to(c.relname, getdatabaseencoding()) || decode('00', 'hex') IN t.tgargs) > 0)), \
    ARRAY(SELECT a.attname::text FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) \
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
          WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

/// The table, in a transaction that reads the catalogue.
pub(super) async fn table(client: &Client, schema: &str, name: &str) -> Result<Option<LiveTable>, Error> {
    let rows = client.query_typed(TABLE, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let kind: String = row.try_get(1)?;
    let unfit = match kind.as_str() {
        "r" | "p" => None,
        "v" => Some(Unfit::VIEW),
        "m" => Some(Unfit { kind: "a materialized view", remedy: "publish the tables behind it" }),
        "f" => Some(Unfit { kind: "a foreign table", remedy: "publish it where it is stored" }),
        _ => Some(Unfit { kind: "no table", remedy: "correct the name" }),
    };
    let definition: Option<String> = row.try_get(2)?;
    Ok(Some(LiveTable {
        oid: row.try_get(0)?,
        unfit,
        definition: definition.unwrap_or_else(|| "[]".to_owned()),
        triggers: row.try_get(3)?,
        key: row.try_get(4)?,
    }))
}

const TRIGGERS: &str = "SELECT t.tgname::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE t.tgname = ANY ($1) AND c.oid::int8 <> $2 AND NOT t.tgisinternal";

/// Triggers of these names on all tables but one, 0 for none, each with its table in quotes.
pub(super) async fn triggers(client: &Client, names: &[String], but: i64) -> Result<Vec<(String, String)>, Error> {
    let rows = client.query_typed(TRIGGERS, &[(&names, Type::TEXT_ARRAY), (&but, Type::INT8)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// JSON without what lies between its parts.
pub(super) fn compact(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}
