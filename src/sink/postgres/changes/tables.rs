//! The tables and the function of publications, created only if there are any, and their use by commands.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::capture;
use super::catalogue;
use super::held_back;
use crate::config::Events;
use crate::rule::quote;
use crate::sink::changes::{StoredPublication, trigger_name};
use crate::sink::postgres::session::Session;
use crate::sink::postgres::transaction::{Sql, around, commit};
use crate::sink::{Class, SinkError};

const STEP: &str = include_str!("../../../../migrations/postgres/publish/0001_changes.sql");

/// As for Rowbridge's other tables: bridges that start together make them once.
const LOCK: i32 = 0x726f_7763;

const DOING: &str = "preparing the tables of `publish`";
const ADVICE: &str = "run that SQL as an administrator, once";

/// Makes what is missing.
pub(super) async fn make(session: &Session, sql: &Sql) -> Result<(), SinkError> {
    const STANDING: &str = "SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname IN ('rowbridge_publications', 'rowbridge_changes')), \
        (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname = $1 AND p.proname = 'rowbridge_capture' AND p.pronargs = 0 AND p.prosrc = $2)";
    let client = session.client();
    let (schema, body) = (sql.schema.as_str(), capture::body(&sql.schema));
    let parameters = [(&schema as _, Type::TEXT), (&body as _, Type::TEXT)];
    let asking = around(client, &sql.begin_read, client.query_typed(STANDING, &parameters));
    let rows = session.wait(3, DOING, asking).await?;
    let count = |index| rows.first().and_then(|row| row.try_get::<_, i64>(index).ok()).unwrap_or(0);
    if (count(0), count(1)) == (2, 1) {
        return Ok(());
    }
    let function = capture::create_function(schema);
    let statements = format!(
        "SET LOCAL search_path = {}; SELECT pg_catalog.pg_advisory_xact_lock({LOCK}, \
         pg_catalog.hashtext(pg_catalog.current_setting('search_path'))); {STEP}; {function}",
        quote(schema)
    );
    let making = around(client, &sql.begin, client.batch_execute(&statements));
    session.wait(5, DOING, making).await.map_err(|error| match error.class {
        Class::Transient => error,
        _ => SinkError {
            message: format!(
                "{}\nSET search_path = {};\n{STEP}\n{function}\n{}",
                error.message,
                quote(schema),
                capture::given_to(schema, &sql.role)
            ),
            advice: ADVICE,
            ..error
        },
    })
}

/// The content of the tables; empty if there are none.
pub(super) async fn stored(session: &Session, sql: &Sql, bridge: &str) -> Result<Vec<StoredPublication>, SinkError> {
    const DOING: &str = "reading rowbridge_publications";
    let client = session.client();
    let schema = quote(&sql.schema);
    let is_there = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = $1 AND c.relname = 'rowbridge_publications'";
    let name = sql.schema.as_str();
    let parameters = [(&name as _, Type::TEXT)];
    let asking = around(client, &sql.begin_read, client.query_typed(is_there, &parameters));
    if session.wait(3, DOING, asking).await?.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT name, table_name, id, next_offset, published, skipped, \
         (SELECT count(*) FROM {schema}.rowbridge_changes c WHERE c.publication = p.id), {} \
         FROM {schema}.rowbridge_publications p WHERE bridge = $1 ORDER BY name",
        held_back::is_held_back(&sql.schema)
    );
    let parameters = [(&bridge as _, Type::TEXT)];
    let asking = around(client, &sql.begin_read, client.query_typed(&query, &parameters));
    let rows = session.wait(3, DOING, asking).await?;
    let is_waiting = |row: &Row| row.try_get(7).unwrap_or(false);
    let oldest = match rows.iter().any(is_waiting) {
        true => Some(held_back::oldest(session, sql).await?),
        false => None,
    };
    let stored = rows.iter().map(|row| {
        let number = |index| Ok::<u64, tokio_postgres::Error>(row.try_get::<_, i64>(index)?.max(0).unsigned_abs());
        Ok(StoredPublication {
            name: row.try_get(0)?,
            table: row.try_get(1)?,
            id: row.try_get(2)?,
            next_offset: number(3)?,
            published: number(4)?,
            skipped: number(5)?,
            pending: number(6)?,
            held_back: oldest.clone().filter(|_| is_waiting(row)),
        })
    });
    stored.collect::<Result<_, tokio_postgres::Error>>().map_err(|error| session.explain(&error, DOING))
}

/// Drops the triggers, wherever they are, the changes and the row, in one transaction.
pub(super) async fn remove(session: &Session, sql: &Sql, bridge: &str, name: &str) -> Result<bool, SinkError> {
    const DOING: &str = "removing a publication";
    let found = stored(session, sql, bridge).await?;
    let Some(id) = found.iter().find(|stored| stored.name == name).map(|stored| stored.id) else { return Ok(false) };
    let client = session.client();
    let schema = quote(&sql.schema);
    let names: Vec<String> = Events::NAMES.iter().map(|event| trigger_name(&sql.schema, id, event)).collect();
    let looking = around(client, &sql.begin_read, catalogue::triggers(client, &names, 0));
    let found = session.wait(3, DOING, looking).await?;
    let drops: String = found.iter().map(|(trigger, table)| capture::drop_trigger(trigger, table)).collect();
    let begin = format!("{}; {drops}", sql.begin);
    let changes = format!(
        "DELETE FROM {schema}.rowbridge_changes WHERE publication IN \
         (SELECT id FROM {schema}.rowbridge_publications WHERE bridge = $1 AND name = $2)"
    );
    let row = format!("DELETE FROM {schema}.rowbridge_publications WHERE bridge = $1 AND name = $2");
    let parameters = [(&bridge as _, Type::TEXT), (&name as _, Type::TEXT)];
    let work = async {
        client.batch_execute(&begin).await?;
        client.query_typed(&changes, &parameters).await?;
        client.query_typed(&row, &parameters).await?;
        commit(client).await
    };
    session.wait(5, DOING, work).await?;
    Ok(true)
}
