//! The destination of a round: a SQLite file or a schema of a Postgres that all rounds share.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::support::oracle::sqlite;
use crate::support::postgres::Postgres;
use crate::support::wait_for;

use super::message::{REFUSED_EVERY, REFUSED_REST};

/// The Postgres database of all rounds.
pub(crate) const SHARED_DATABASE: &str = "kills";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Where the rows go.
pub(crate) enum Database {
    Sqlite { file: PathBuf },
    Postgres { server: Arc<Postgres>, schema: String },
}

/// What the database holds of a message: as a row, or as a dead letter with its payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    Row { seq: u64, id: u64, device: String, temp: f64 },
    Letter { seq: u64, topic: String, payload: String, reason: String },
}

impl Kept {
    pub(crate) fn seq(&self) -> u64 {
        let (Kept::Row { seq, .. } | Kept::Letter { seq, .. }) = self;
        *seq
    }
}

/// All that was found in the database.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) kept: Vec<Kept>,
    /// `next_seq` of every row of `rowbridge_offsets`.
    pub(crate) offsets: Vec<u64>,
}

/// Columns that make rows wide.
pub(crate) fn fillers(is_wide: bool) -> impl Iterator<Item = String> {
    (0..if is_wide { 65 } else { 0 }).map(|number| format!("filler_{number}"))
}

/// Keeps every writer out of the rows' table until it is dropped.
pub(crate) enum Lock {
    Sqlite(rusqlite::Connection),
    Postgres { server: Arc<Postgres>, table: String, holder: Option<JoinHandle<()>> },
}

impl Database {
    /// The `databases` section's entry.
    pub(crate) fn entry(&self) -> String {
        match self {
            Database::Sqlite { file } => format!("url: 'sqlite:{}'", file.display()),
            Database::Postgres { server, schema } => {
                format!("url: '{}', schema: {schema}", server.url(SHARED_DATABASE))
            }
        }
    }

    /// Makes the table, which refuses some of the messages.
    pub(crate) fn prepare(&self, is_wide: bool) {
        let fillers: String = fillers(is_wide).map(|name| format!(", {name} bigint")).collect();
        let columns = format!(
            "(seq bigint, id bigint CHECK (id % {REFUSED_EVERY} <> {REFUSED_REST}), device text, \
             temp double precision{fillers})"
        );
        match self {
            Database::Sqlite { file } => {
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.execute_batch(&format!("CREATE TABLE readings {columns}")).unwrap();
            }
            Database::Postgres { server, schema } => {
                let sql = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.readings {columns}");
                server.psql(SHARED_DATABASE, &sql);
            }
        }
    }

    pub(crate) fn found(&self) -> Found {
        match self {
            Database::Sqlite { file } => {
                let connection = sqlite(file);
                let has_tables = connection.prepare("SELECT 1 FROM rowbridge_offsets").is_ok();
                let query = query("", "CAST(payload AS TEXT)", has_tables);
                let mut statement = connection.prepare(&query).unwrap();
                let lines = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
                parse(lines.map(Result::unwrap))
            }
            Database::Postgres { server, schema } => {
                let query = query(&format!("{schema}."), "convert_from(payload, 'UTF8')", true);
                let output = server.try_psql(SHARED_DATABASE, &query);
                // Before the first contact there are no tables; and the server may be down just now.
                if !output.status.success() {
                    return Found::default();
                }
                parse(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned))
            }
        }
    }

    /// Until it is put back, there is no table for the rows.
    pub(crate) fn take_table_away(&self) {
        self.run("ALTER TABLE readings RENAME TO readings_away");
    }

    pub(crate) fn put_table_back(&self) {
        self.run("ALTER TABLE readings_away RENAME TO readings");
    }

    fn run(&self, sql: &str) {
        match self {
            Database::Sqlite { file } => sqlite(file).execute_batch(sql).unwrap(),
            Database::Postgres { server, schema } => {
                server.psql(SHARED_DATABASE, &format!("SET search_path = {schema}; {sql}"));
            }
        }
    }

    /// Keeps the bridge from committing anything until the lock is dropped.
    pub(crate) fn lock(&self) -> Lock {
        match self {
            Database::Sqlite { file } => {
                let connection = sqlite(file);
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                Lock::Sqlite(connection)
            }
            Database::Postgres { server, schema } => {
                let (holding, table) = (Arc::clone(server), format!("{schema}.readings"));
                let sql = format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(60)");
                let holder = std::thread::spawn(move || drop(holding.try_psql(SHARED_DATABASE, &sql)));
                wait_for("the table is locked", || {
                    let count = format!("SELECT count(*) {}", holders(&table));
                    (server.psql(SHARED_DATABASE, &count) == "1").then_some(())
                });
                Lock::Postgres { server: Arc::clone(server), table, holder: Some(holder) }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        match self {
            Lock::Sqlite(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            Lock::Postgres { server, table, holder } => {
                server.try_psql(SHARED_DATABASE, &format!("SELECT pg_terminate_backend(pid) {}", holders(table)));
                holder.take().map(JoinHandle::join);
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Database::Postgres { server, schema } = self
            && !std::thread::panicking()
        {
            server.try_psql(SHARED_DATABASE, &format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
        }
    }
}

fn holders(table: &str) -> String {
    format!(
        "FROM pg_locks WHERE relation = '{table}'::regclass AND granted AND mode = 'AccessExclusiveLock' \
         AND pid <> pg_backend_pid()"
    )
}

/// One line of text for each row, dead letter and offset.
fn query(schema: &str, payload: &str, has_tables: bool) -> String {
    let mut query = format!("SELECT 'r|' || seq || '|' || id || '|' || device || '|' || temp FROM {schema}readings");
    if has_tables {
        query.push_str(&format!(
            " UNION ALL SELECT 'd|' || seq || '|' || topic || '|' || reason || '|' || {payload} \
             FROM {schema}rowbridge_dead_letters WHERE reason <> 'table' \
             UNION ALL SELECT 'o|' || next_seq FROM {schema}rowbridge_offsets"
        ));
    }
    query
}

fn parse(lines: impl Iterator<Item = String>) -> Found {
    let mut found = Found::default();
    for line in lines {
        let parts: Vec<&str> = line.splitn(5, '|').collect();
        match parts[..] {
            ["r", seq, id, device, temp] => found.kept.push(Kept::Row {
                seq: seq.parse().unwrap(),
                id: id.parse().unwrap(),
                device: device.to_owned(),
                temp: temp.parse().unwrap(),
            }),
            ["d", seq, topic, reason, payload] => found.kept.push(Kept::Letter {
                seq: seq.parse().unwrap(),
                topic: topic.to_owned(),
                payload: payload.to_owned(),
                reason: reason.to_owned(),
            }),
            ["o", next_seq] => found.offsets.push(next_seq.parse().unwrap()),
            _ => panic!("a line that was not asked for: {line:?}"),
        }
    }
    found.kept.sort_by_key(Kept::seq);
    found
}
