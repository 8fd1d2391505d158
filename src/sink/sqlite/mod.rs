//! SQLite: a file in WAL mode with `synchronous=FULL`, one transaction per batch.
//!
//! Calls block, since the sink is owned by a thread of its own. A database locked by another process is waited for as
//! long as `statement_timeout`, at most [`BUSY_TIMEOUT_MAX`], then reported as transient. What each column type holds
//! stands at [`schema`].

mod codes;
mod connect;
mod encode;
mod ledger;
mod migrate;
mod number;
mod refuse;
mod schema;
mod time_text;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use self::codes::{Moment, sink_error};
use self::connect::OpenDatabase;
pub use self::encode::SqliteEncoder;
use super::{Batch, Class, DeclaredType, Refusal, Sink, SinkError, StoredOffset, TableName, TableSchema};
use crate::clock::Timestamp;
use crate::config::{Database, DatabaseUrl};
use crate::journal::JournalId;
use crate::message::Seq;

/// Half of the default `shutdown_grace`: a stop that comes while another process holds the database is still in time.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// One SQLite file.
#[derive(Debug)]
pub struct SqliteSink {
    path: PathBuf,
    busy_timeout: Duration,
    open: Option<OpenDatabase>,
    /// An I/O error happened since the log was last known to be on the disk.
    log_in_doubt: bool,
}

impl SqliteSink {
    /// Not yet connected. The database's URL must be SQLite's: which sink a URL gets is decided by its kind.
    pub fn new(database: &Database) -> SqliteSink {
        let DatabaseUrl::Sqlite(path) = &database.url else {
            panic!("database {} is not SQLite", database.name);
        };
        SqliteSink {
            path: path.clone(),
            busy_timeout: database.statement_timeout.min(BUSY_TIMEOUT_MAX),
            open: None,
            log_in_doubt: false,
        }
    }

    /// Runs `work` on the open connection, if the path still means that file.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let open = self.open.as_mut().ok_or_else(|| SinkError {
            class: Class::Transient,
            code: "connect".to_owned(),
            message: format!("the database {} is not open", self.path.display()),
            advice: "nothing: it is opened again",
        })?;
        open.check_in_place()?;
        let result = work(&mut open.connection);
        if let Err(error) = &result
            && error.code.starts_with("SQLITE_IOERR")
        {
            self.log_in_doubt = true;
        }
        // Every transaction ends within its call. One that could not even be rolled back ends with the connection.
        if !open.connection.is_autocommit() {
            self.open = None;
        }
        result
    }

    fn reconnect(&mut self) -> Result<(), SinkError> {
        if let Some(open) = self.open.take()
            && let Err((open, error)) = open.close()
        {
            self.open = Some(*open);
            return Err(error);
        }
        let mut open = connect::open(&self.path, self.busy_timeout, self.log_in_doubt)?;
        migrate::migrate(&mut open.connection)?;
        self.log_in_doubt = false;
        self.open = Some(open);
        Ok(())
    }
}

impl Sink for SqliteSink {
    type Encoder = SqliteEncoder;

    fn encoder(&self) -> SqliteEncoder {
        SqliteEncoder
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.reconnect()
    }

    async fn offsets(&mut self, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
        self.with_connection(|connection| ledger::offsets(connection, bridge))
    }

    async fn start_offset(&mut self, bridge: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError> {
        self.with_connection(|connection| ledger::start_offset(connection, bridge, journal, next_seq))
    }

    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
        self.with_connection(|connection| schema::describe(connection, table))
    }

    fn create_table_sql(&self, table: &TableName, columns: &[(&str, DeclaredType)]) -> String {
        schema::create_table_sql(table, columns)
    }

    async fn create_table(&mut self, sql: &str) -> Result<(), SinkError> {
        self.with_connection(|connection| {
            connection
                .execute_batch(sql)
                .map_err(|error| sink_error("cannot create the table", &error, Moment::Elsewhere))
        })
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.with_connection(|connection| write::write(connection, batch))
    }

    async fn refused_units(&mut self, batch: &Batch) -> Result<Vec<Refusal>, SinkError> {
        self.with_connection(|connection| refuse::refused_units(connection, batch))
    }

    async fn purge_dead_letters(&mut self, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
        self.with_connection(|connection| ledger::purge_dead_letters(connection, bridge, before))
    }

    async fn close(&mut self) {
        // The last connection of all brings the log into the database and removes it.
        if let Some(open) = self.open.take() {
            drop(open.close());
        }
    }
}
