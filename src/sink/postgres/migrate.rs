//! Migrates Rowbridge's own tables at connect.
//!
//! Each file of `migrations/postgres/` is one step; `rowbridge_schema_version` holds a row per applied step. All
//! missing steps run in one transaction under an advisory lock, so bridges that start together apply them once. A role
//! that may not create tables is sufficient once the tables exist: an administrator can run the files by hand.

use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::failure::own;
use super::session::Session;
use super::transaction::{Sql, commit};
use crate::rule::quote;
use crate::sink::{Class, SinkError};

/// The steps, in order; the first is version 1.
pub(super) const STEPS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_offsets_and_dead_letters.sql"),
    include_str!("../../../migrations/postgres/0002_parked_messages.sql"),
    include_str!("../../../migrations/postgres/0003_retained.sql"),
];

/// First key of the advisory lock ("rowb"); the second is the schema's hash.
const LOCK: i32 = 0x726f_7762;

const VERSION_TABLE: &str = "rowbridge_schema_version";
/// The first two are those of the first step.
const OWN_TABLES: [&str; 3] = ["rowbridge_offsets", "rowbridge_dead_letters", "rowbridge_retained"];

/// Of the dead letters: tells whether tables that were made by hand are of the last step.
const NEWEST_COLUMN: &str = "envelope";

/// SQLSTATE: there is no such schema.
const INVALID_SCHEMA_NAME: &str = "3F000";

const DOING: &str = "preparing Rowbridge's own tables";

const ADVICE: &str =
    "run that SQL as an administrator, once; or make the tables with `rowbridge schema sql`, and grant them";

/// Brings the tables up to date.
pub(super) async fn migrate(session: &Session, sql: &Sql) -> Result<(), SinkError> {
    let standing = standing(session, sql).await?;
    if standing == Standing::Current {
        return Ok(());
    }
    match apply(session, sql).await {
        Err(error) if error.class != Class::Transient => Err(SinkError {
            message: match standing {
                Standing::MadeByHand => format!("{}\n{}", error.message, later_steps(&sql.schema)),
                _ => format!("{}\n{}", error.message, by_hand(&sql.schema, &sql.role, &error.code)),
            },
            advice: ADVICE,
            ..error
        }),
        result => result,
    }
}

/// How far the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// They are of this program's version, or were made by hand and have all that it needs.
    Current,
    /// They were made by hand, and lack what a later step adds.
    MadeByHand,
    Behind,
}

async fn standing(session: &Session, sql: &Sql) -> Result<Standing, SinkError> {
    const STANDING: &str = "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
        WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) ANY ($2) \
        UNION ALL SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a \
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
        WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) 'rowbridge_dead_letters' \
        AND a.attname OPERATOR(pg_catalog.=) 'envelope'";
    let names = [VERSION_TABLE, OWN_TABLES[0], OWN_TABLES[1], OWN_TABLES[2]];
    let (schema, names) = (sql.schema.as_str(), names.as_slice());
    let parameters = [(&schema as _, Type::TEXT), (&names as _, Type::TEXT_ARRAY)];
    let rows = session.wait(1, DOING, session.client().query_typed(STANDING, &parameters)).await?;
    let standing: Vec<&str> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if !standing.contains(&VERSION_TABLE) {
        let has_tables = OWN_TABLES[..2].iter().all(|table| standing.contains(table));
        let has_later = standing.contains(&NEWEST_COLUMN) && standing.contains(&OWN_TABLES[2]);
        return Ok(match (has_tables, has_later) {
            (true, true) => Standing::Current,
            (true, false) => Standing::MadeByHand,
            (false, _) => Standing::Behind,
        });
    }
    let version = session.wait(1, DOING, version(session, sql)).await?;
    if version > 0 && !standing.contains(&OWN_TABLES[0]) {
        return Err(offsets_dropped(session, sql));
    }
    if version > STEPS.len() {
        return Err(own(
            Class::Table,
            "schema_version",
            format!("{DOING} ({}): they are of version {version}, this Rowbridge knows {}", session.at(), STEPS.len()),
            "a newer version of Rowbridge has migrated the tables: run that version",
        ));
    }
    let is_current = version == STEPS.len() && OWN_TABLES[1..].iter().all(|table| standing.contains(table));
    Ok(if is_current { Standing::Current } else { Standing::Behind })
}

async fn version(session: &Session, sql: &Sql) -> Result<usize, Error> {
    let query = format!(
        "SELECT COALESCE(pg_catalog.max(version), 0)::pg_catalog.int8 FROM {}.{VERSION_TABLE}",
        quote(&sql.schema)
    );
    let rows = session.client().query_typed(&query, &[]).await?;
    let version: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    // A negative version is nobody's; then nothing has been applied.
    Ok(usize::try_from(version).unwrap_or(0))
}

async fn apply(session: &Session, sql: &Sql) -> Result<(), SinkError> {
    let client = session.client();
    // The lock first; only then the version, which a rival may just have changed. A table that was dropped
    // is made again by all steps: they leave alone what stands.
    let begin = format!(
        "{}; SELECT pg_catalog.pg_advisory_xact_lock({LOCK}, pg_catalog.hashtext(pg_catalog.current_setting(\
         'search_path'))); CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version integer PRIMARY KEY, \
         applied_at timestamptz NOT NULL DEFAULT now()); \
         DELETE FROM {VERSION_TABLE} WHERE pg_catalog.to_regclass('{}') IS NULL \
         OR pg_catalog.to_regclass('{}') IS NULL",
        sql.begin.clone() + "; SET LOCAL search_path = " + &quote(&sql.schema),
        OWN_TABLES[1],
        OWN_TABLES[2],
    );
    let reading = async { tokio::try_join!(biased; client.batch_execute(&begin), version(session, sql)) };
    let ((), done) = session.wait(4, DOING, reading).await?;
    crash_point!("postgres.migration.begun");
    let mut statements = String::new();
    for (index, step) in STEPS.iter().enumerate().skip(done) {
        crash_point!("postgres.migration.half", client.batch_execute(&format!("{statements}{step}")).await);
        statements += &format!("{step}; INSERT INTO {VERSION_TABLE} (version) VALUES ({});", index + 1);
    }
    crash_point!("postgres.migration.stepped", client.batch_execute(&statements).await);
    let applying = async { tokio::join!(biased; client.batch_execute(&statements), commit(client)) };
    let (applied, committed) = session.patience(4, DOING, applying).await?;
    applied.and(committed).map_err(|error| session.explain(&error, DOING))?;
    crash_point!("postgres.migration.committed");
    Ok(())
}

/// Made again, the table would be empty, and delivery would begin at the oldest message that the journal keeps: rows twice.
fn offsets_dropped(session: &Session, sql: &Sql) -> SinkError {
    let message = format!(
        "{DOING} ({}): {} was there and was dropped; what is stored is known no more\n\
         SET search_path = {}; -- then run migrations/postgres/*.sql in order, which make what is missing\n\
         INSERT INTO {} (bridge, journal_id, next_seq) VALUES (…); -- `rowbridge status --json` shows bridge, journal.id and \
         the database's next_seq; without this row delivery begins at the oldest message that the journal keeps",
        session.at(),
        sql.offsets,
        quote(&sql.schema),
        sql.offsets,
    );
    own(Class::Table, "offsets_dropped", message, "create the table again, with the row that holds the offset")
}

/// What an administrator would run who made the tables with the first step.
fn later_steps(schema: &str) -> String {
    format!("SET search_path = {};\n{}", quote(schema), STEPS[1..].join("\n"))
}

/// What an administrator would run, so that Rowbridge can make its tables itself.
fn by_hand(schema: &str, role: &str, code: &str) -> String {
    let (schema, role) = (quote(schema), quote(role));
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};");
    if code == INVALID_SCHEMA_NAME {
        // The server says so as well of a schema that is there and that the role may not use.
        return format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role};\n{grant}");
    }
    grant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sql_for_an_administrator_names_the_schema_and_the_role() {
        let grant = r#"GRANT USAGE, CREATE ON SCHEMA "my ""own""" TO "bridge";"#;
        assert_eq!(by_hand("my \"own\"", "bridge", "42501"), grant);
        let create = "CREATE SCHEMA IF NOT EXISTS \"nosuch\" AUTHORIZATION \"bridge\";\n\
                      GRANT USAGE, CREATE ON SCHEMA \"nosuch\" TO \"bridge\";";
        assert_eq!(by_hand("nosuch", "bridge", INVALID_SCHEMA_NAME), create);
    }
}
