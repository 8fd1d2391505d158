//! Which rights are missing, looked up once the server has refused for one (42501): its message names a sequence or a
//! table at best, in its own language, and one at a time.

use tokio_postgres::types::Type;

use super::failure::MISSING_RIGHT;
use super::session::Session;
use super::transaction::{Sql, around};
use crate::schema::TableSchema;
use crate::sink::SinkError;

/// The GRANTs that are missing on the tables `$1.$2` that rows go into, on the sequences that their defaults draw from, on
/// Rowbridge's own tables in schema `$3`, and on the schemas of all of them.
const MISSING: &str = include_str!("rights.sql");

/// `refused` with the GRANTs that would mend it, if it was for a right that is found missing.
pub(super) async fn name_missing(
    session: &Session,
    sql: &Sql,
    tables: &[&TableSchema],
    refused: SinkError,
) -> SinkError {
    if refused.code != MISSING_RIGHT {
        return refused;
    }
    let schemas: Vec<&str> = tables.iter().map(|table| table.name.schema.as_deref().unwrap_or(&sql.schema)).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.name.as_str()).collect();
    let parameters =
        [(&schemas as _, Type::TEXT_ARRAY), (&names as _, Type::TEXT_ARRAY), (&sql.schema as _, Type::TEXT)];
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
