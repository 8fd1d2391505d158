//! The SQLite sink against real files.

mod files;
mod rows;
mod series;
mod swallowed;
mod values;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rowbridge::config::{Batch as BatchLimits, Database, DatabaseUrl, Retry};
use rowbridge::message::Seq;
use rowbridge::schema::TableSchema;
use rowbridge::sink::{Sink, SqliteSink};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::sink_contract::{BRIDGE, JOURNAL, TestDatabase, connected, schema_of, sink_contract};

struct SqliteFile {
    directory: TempDir,
}

impl SqliteFile {
    fn new() -> SqliteFile {
        SqliteFile { directory: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("rowbridge.db")
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    fn sink_of(path: PathBuf, statement_timeout: Duration) -> SqliteSink {
        SqliteSink::new(&Database {
            name: "local".into(),
            url: DatabaseUrl::Sqlite(path),
            batch: BatchLimits { max_rows: 5000, max_bytes: 8 << 20, max_wait: Duration::from_millis(5) },
            retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) },
            statement_timeout,
            park_after: Duration::from_secs(30),
        })
    }

    /// The values of the only row of `table`, with the class that SQLite stored each as.
    fn row(&self, table: &str) -> Vec<Value> {
        let connection = self.connection();
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let count = statement.column_count();
        statement.query_row([], |row| (0..count).map(|index| row.get(index)).collect()).unwrap()
    }
}

impl TestDatabase for SqliteFile {
    type Sink = SqliteSink;

    fn sink(&self) -> SqliteSink {
        SqliteFile::sink_of(self.path(), Duration::from_secs(60))
    }

    fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

sink_contract!(contract, crate::sqlite_sink::SqliteFile::new());

/// A sink at seq 1 and a table `t` made by `sql`.
async fn with_table(database: &SqliteFile, sql: &str) -> (SqliteSink, Arc<TableSchema>) {
    let mut sink = connected(database).await;
    database.execute(sql);
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "t").await;
    (sink, schema)
}
