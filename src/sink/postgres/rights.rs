//! Which rights are missing, looked up once the server has refused for one (42501): its message names a sequence or a
//! table at best, in its own language, and one at a time.

use tokio_postgres::types::Type;

use super::failure::MISSING_RIGHT;
use super::session::Session;
use super::transaction::{Sql, around};
use crate::batch::{Batch, Verb};
use crate::schema::TableSchema;
use crate::sink::SinkError;

/// The GRANTs that are missing on the tables `$1.$2` that rows go into, which takes the rights `$4`, on the sequences that their defaults draw from, on
/// Rowbridge's own tables `$5` in schema `$3`, and on the schemas of all of them.
const MISSING: &str = include_str!("rights.sql");

/// The rights that the rows of a batch take on one of its tables. The arbiter's columns are read, and a row that goes in
/// another's place updates it.
pub(super) fn needed(batch: &Batch, table: &TableSchema) -> &'static str {
    let verbs = || batch.portions.iter().filter(|portion| portion.target.table.name == table.name);
    let verbs = || verbs().map(|portion| &portion.target.verb);
    match () {
        () if verbs().any(|verb| matches!(verb, Verb::Upsert(_))) => "INSERT, SELECT, UPDATE",
        () if verbs().any(|verb| matches!(verb, Verb::Ignore(_))) => "INSERT, SELECT",
        () => "INSERT",
    }
}

/// `refused` with the GRANTs that would mend it, if it was for a right that is found missing.
pub(super) async fn name_missing(
    session: &Session,
    sql: &Sql,
    tables: &[(&TableSchema, &str)],
    refused: SinkError,
) -> SinkError {
    if refused.code != MISSING_RIGHT {
        return refused;
    }
    let schemas: Vec<&str> =
        tables.iter().map(|(table, _)| table.name.schema.as_deref().unwrap_or(&sql.schema)).collect();
    let names: Vec<&str> = tables.iter().map(|(table, _)| table.name.name.as_str()).collect();
    let rights: Vec<&str> = tables.iter().map(|(_, rights)| *rights).collect();
    let mut own = vec!["rowbridge_offsets", "rowbridge_dead_letters"];
    // Only rules with `retained: changed` need it.
    own.extend(["rowbridge_retained"].into_iter().filter(|table| refused.message.contains(table)));
    let parameters = [
        (&schemas as _, Type::TEXT_ARRAY),
        (&names as _, Type::TEXT_ARRAY),
        (&sql.schema as _, Type::TEXT),
        (&rights as _, Type::TEXT_ARRAY),
        (&own as _, Type::TEXT_ARRAY),
    ];
    let client = session.client();
    let asking = around(client, &sql.begin_read, Box::pin(client.query_typed(MISSING, &parameters)));
    // What is wrong is known already; this only tells it better.
    let Ok(rows) = session.wait(3, "looking for missing rights", asking).await else { return refused };
    let grants: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if grants.is_empty() {
        return refused;
    }
    SinkError { message: format!("{}\n{}", refused.message, grants.join("\n")), ..refused }
}
