//! Where the rows go, and how far they have come.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use super::bench::{Bench, Result};
use super::load::TABLE;
use super::support::postgres::Postgres;

/// Rowbridge's own count, which is committed together with the rows.
const DELIVERED: &str = "SELECT coalesce(max(next_seq), 1) FROM rowbridge_offsets";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub(crate) const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Sqlite => "SQLite",
            Engine::Postgres => "Postgres",
        }
    }
}

/// An empty database. Postgres' is dropped with it.
pub(crate) enum Store {
    Sqlite(PathBuf),
    Postgres { server: Arc<Postgres>, database: String },
}

impl Store {
    /// SQLite's file is `rows.db` in `folder`.
    pub(crate) fn create(engine: Engine, bench: &Bench, folder: &Path) -> Store {
        match engine {
            Engine::Sqlite => Store::Sqlite(folder.join("rows.db")),
            Engine::Postgres => {
                let server = bench.postgres();
                let database = server.create_database();
                Store::Postgres { server, database }
            }
        }
    }

    /// For `databases.NAME.url`.
    pub(crate) fn url(&self) -> String {
        match self {
            Store::Sqlite(path) => format!("sqlite:{}", path.display()),
            Store::Postgres { server, database } => server.url(database),
        }
    }

    /// An error while the table is missing.
    pub(crate) fn rows(&self) -> Result<u64> {
        self.rows_in(&[TABLE.to_owned()])
    }

    /// The rows of all these tables together. An error while one is missing.
    pub(crate) fn rows_in(&self, tables: &[String]) -> Result<u64> {
        match self {
            Store::Sqlite(path) => {
                let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                let mut rows = 0;
                for table in tables {
                    let sql = format!("SELECT count(*) FROM \"{table}\"");
                    rows += database.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
                }
                Ok(rows)
            }
            Store::Postgres { server, database } => {
                let counts: Vec<_> = tables.iter().map(|table| format!("SELECT count(*) FROM \"{table}\"")).collect();
                let sql = format!("SELECT sum(count) FROM ({}) counts", counts.join(" UNION ALL "));
                let output = server.try_psql(database, &sql);
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into());
                }
                Ok(String::from_utf8(output.stdout)?.trim().parse()?)
            }
        }
    }

    /// Makes tables like the first.
    pub(crate) fn make_more(&self, tables: &[String]) -> Result<()> {
        match self {
            Store::Sqlite(path) => {
                let database = Connection::open(path)?;
                let known = "SELECT sql FROM sqlite_schema WHERE name = 'telemetry'";
                let sql: String = database.query_row(known, [], |row| row.get(0))?;
                let (_, columns) = sql.split_once('(').ok_or("a table without columns")?;
                let more = tables.iter().map(|table| format!("CREATE TABLE \"{table}\" ({columns};\n"));
                Ok(database.execute_batch(&more.collect::<String>())?)
            }
            Store::Postgres { server, database } => {
                let more = tables.iter().map(|table| format!("CREATE TABLE \"{table}\" (LIKE {TABLE});\n"));
                server.psql(database, &more.collect::<String>());
                Ok(())
            }
        }
    }

    pub(crate) fn reader(&self) -> Result<Reader> {
        Ok(match self {
            Store::Sqlite(path) => Reader::Sqlite { path: path.clone(), open: None, version: 0, delivered: 0 },
            Store::Postgres { server, database } => Reader::Postgres(Question::ask(server, database, DELIVERED)?),
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Store::Postgres { server, database } = self {
            // Whoever is still connected belongs to a measurement that has failed.
            server.try_psql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
        }
    }
}

/// Asks, over one open connection, how many messages the bridge has delivered.
pub(crate) enum Reader {
    Sqlite { path: PathBuf, open: Option<Connection>, version: i64, delivered: u64 },
    Postgres(Question),
}

/// A query for one number, asked again and again over one connection to Postgres.
pub(crate) struct Question {
    runtime: Runtime,
    client: Client,
    /// The server's process that answers.
    process: u32,
    sql: &'static str,
    statement: Option<Statement>,
}

impl Reader {
    /// Messages whose rows are committed; 0 before Rowbridge has made its tables.
    pub(crate) fn delivered(&mut self) -> u64 {
        match self {
            Reader::Sqlite { path, open, version, delivered } => {
                *delivered = sqlite_delivered(path, open, version).ok().flatten().unwrap_or(*delivered);
                *delivered
            }
            Reader::Postgres(question) => question.answer().map_or(0, |next| next.unsigned_abs() - 1),
        }
    }

    /// The server's process that answers, if there is a server.
    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Reader::Sqlite { .. } => None,
            Reader::Postgres(question) => Some(question.process()),
        }
    }
}

/// `None` if nothing was committed since the last question.
fn sqlite_delivered(path: &Path, open: &mut Option<Connection>, version: &mut i64) -> rusqlite::Result<Option<u64>> {
    let database = match open {
        Some(database) => database,
        None => open.insert(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?),
    };
    let now: i64 = database.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    if now == *version {
        return Ok(None);
    }
    let next: i64 = database.prepare_cached(DELIVERED)?.query_row([], |row| row.get(0))?;
    *version = now;
    Ok(Some(next.unsigned_abs() - 1))
}

impl Question {
    pub(crate) fn ask(server: &Postgres, database: &str, sql: &'static str) -> Result<Question> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = format!("host=127.0.0.1 port={} user=postgres dbname={database}", server.port());
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&config, NoTls))?;
        runtime.spawn(connection);
        let process: i32 =
            runtime.block_on(client.query_one("SELECT pg_backend_pid()", &[])).and_then(|row| row.try_get(0))?;
        Ok(Question { runtime, client, process: process.unsigned_abs(), sql, statement: None })
    }

    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// An error while a table is missing.
    pub(crate) fn answer(&mut self) -> std::result::Result<i64, tokio_postgres::Error> {
        let Question { runtime, client, sql, statement, .. } = self;
        runtime.block_on(async {
            let prepared = match statement {
                Some(prepared) => prepared,
                None => statement.insert(client.prepare(sql).await?),
            };
            client.query_one(prepared, &[]).await?.try_get(0)
        })
    }
}
