//! SQLite: a file in WAL mode with `synchronous=FULL`, one transaction per batch.
//!
//! Calls block, because the sink has its own thread. If another process has locked the database, the sink waits for
//! `statement_timeout`, at most [`BUSY_TIMEOUT_MAX`], and then reports a transient error. [`schema`] describes what
//! each column type holds.

mod changes;
mod codes;
mod connect;
mod connections;
mod encode;
mod events;
mod ledger;
mod letters;
mod log_index;
mod log_repair;
mod merge;
mod migrate;
mod number;
mod parked;
mod preview;
mod query;
mod retained;
mod room;
mod schema;
mod series;
mod set_up;
mod sink;
mod statements;
mod time_text;
mod walk;
mod watch;
mod witness;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use rusqlite::Connection;

pub use self::changes::SqliteChanges;
use self::connect::{LogFile, OpenDatabase};
use self::connections::Slot;
pub use self::encode::SqliteEncoder;
pub use self::query::SqliteReader;
use self::watch::Fault;
use super::{Class, SinkError};
use crate::config::{Database, DatabaseUrl};

/// Half of the default `shutdown_grace`: a stop that comes while another process holds the database is still in time.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// From here on a log that somebody's reading keeps from being copied is told of, and again each time it has doubled. Four
/// times what a checkpoint lets it grow to.
const LOG_BYTES_TOLD: u64 = 64 << 20;

/// One SQLite file.
#[derive(Debug)]
pub struct SqliteSink {
    name: Arc<str>,
    path: PathBuf,
    busy_timeout: Duration,
    open: Slot<OpenDatabase>,
    /// Nothing but a fault of the file has closed it since.
    was_opened: bool,
    /// An I/O error happened since the log was last known to be on the disk.
    log_in_doubt: bool,
    /// A checkpoint failed after a commit that was well.
    checkpoint_error: Option<SinkError>,
    /// The size of the log's file.
    log_bytes: Gauge,
    log_told_next: u64,
}

impl SqliteSink {
    /// Not yet connected. The database's URL must be SQLite's: which sink a URL gets is decided by its kind.
    pub fn new(database: &Database) -> SqliteSink {
        let DatabaseUrl::Sqlite(path) = &database.url else {
            panic!("database {} is not SQLite", database.name);
        };
        SqliteSink {
            name: Arc::clone(&database.name),
            path: path.clone(),
            busy_timeout: database.statement_timeout.min(BUSY_TIMEOUT_MAX),
            open: Slot::new(),
            was_opened: false,
            log_in_doubt: false,
            checkpoint_error: None,
            log_bytes: Gauge::default(),
            log_told_next: LOG_BYTES_TOLD,
        }
    }

    /// The steps that make Rowbridge's own tables, in order.
    pub fn migrations() -> &'static [&'static str] {
        migrate::STEPS
    }

    /// Shows the size of the write-ahead log's file in `gauge`.
    pub fn measured_by(self, gauge: Gauge) -> SqliteSink {
        SqliteSink { log_bytes: gauge, ..self }
    }

    /// As [`SqliteSink::with_open`], for what needs the connection alone.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        self.with_open(|open| work(&mut open.connection))
    }

    /// Runs `work` on the open database, if the path still means that file, and holds its result back if it does no longer
    /// after it: what was committed may then have gone with the file.
    fn with_open<T>(&mut self, work: impl FnOnce(&mut OpenDatabase) -> Result<T, SinkError>) -> Result<T, SinkError> {
        let mut held = self.open.lock();
        let Some(open) = held.as_mut() else {
            return Err(match self.was_opened {
                true => Fault::FoundByAnother.into_error(&self.path),
                false => not_open(&self.path),
            });
        };
        if let Some(error) = self.checkpoint_error.take() {
            return Err(error);
        }
        if let Err(error) = open.check_in_place() {
            close_at_once(&mut held);
            return Err(error);
        }
        let mut result = work(open).map_err(|error| located(error, &self.path));
        let mut is_in_doubt = is_of_the_disk(&result);
        let mut log = None;
        match open.check_in_place() {
            Ok(log_bytes) => match open.tend_log(log_bytes) {
                Ok(found) => log = Some(found),
                Err(error) if open.is_out_of_place() => result = Err(error),
                // Told at the next use: this one did what it should.
                Err(error) => {
                    let error = located(error, &self.path);
                    is_in_doubt |= error.code.starts_with("SQLITE_IOERR");
                    self.checkpoint_error = Some(error);
                }
            },
            // An interrupted statement is what follows from it.
            Err(error) => result = Err(error),
        }
        // Every transaction ends within its call. One that could not even be rolled back ends with the connection.
        if open.is_out_of_place() || !open.connection.is_autocommit() {
            self.was_opened = open.is_out_of_place();
            close_at_once(&mut held);
        }
        drop(held);
        if let Some(log) = log {
            self.tell_of_log(log);
        }
        self.log_in_doubt |= is_in_doubt;
        result
    }

    fn tell_of_log(&mut self, log: LogFile) {
        self.log_bytes.set(i64::try_from(log.bytes).unwrap_or(i64::MAX));
        if log.bytes < LOG_BYTES_TOLD {
            self.log_told_next = LOG_BYTES_TOLD;
        } else if log.is_hindered && log.bytes >= self.log_told_next {
            events::sqlite_log_grows(&self.name, &self.path, log.bytes);
            self.log_told_next = log.bytes.saturating_mul(2);
        }
    }

    fn reconnect(&mut self) -> Result<(), SinkError> {
        self.checkpoint_error = None;
        {
            let mut held = self.open.lock();
            if let Some(open) = held.take()
                && let Err((open, error)) = open.close()
            {
                *held = Some(*open);
                return Err(error);
            }
        }
        let open = connect::open(&self.path, self.busy_timeout, self.log_in_doubt, |connection| {
            migrate::migrate(connection).map_err(|error| located(error, &self.path))
        })?;
        self.log_in_doubt = false;
        self.open.put(open);
        self.was_opened = true;
        Ok(())
    }
}

fn is_of_the_disk<T>(result: &Result<T, SinkError>) -> bool {
    result.as_ref().err().is_some_and(|error| error.code.starts_with("SQLITE_IOERR"))
}

fn not_open(path: &Path) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "connect".to_owned(),
        message: format!("the database {} is not open", path.display()),
        advice: "nothing: it is opened again",
    }
}

/// Whoever opens the file again waits for it. It stays open if it cannot be closed yet.
fn close_at_once(held: &mut Option<OpenDatabase>) {
    if let Some(open) = held.take() {
        *held = open.close().err().map(|(open, _)| *open);
    }
}

/// The disk's trouble, and the file's, is told with the file, so that whoever reads of it knows which one.
fn located(mut error: SinkError, path: &Path) -> SinkError {
    let of_the_file =
        ["SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_NOTADB"];
    let is_of_the_file = of_the_file.iter().any(|code| error.code.starts_with(code));
    let path = path.display().to_string();
    if is_of_the_file && !error.message.contains(&path) {
        error.message = format!("{}, in {path}", error.message);
    }
    error
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::batch::{Batch, DeadLetter, OffsetMove};
    use crate::clock::Timestamp;
    use crate::config::{Batch as BatchLimits, Retry};
    use crate::journal_id::JournalId;
    use crate::message::Seq;
    use crate::sink::Sink;

    const JOURNAL: JournalId = JournalId([7; 16]);

    async fn connected(directory: &TempDir) -> SqliteSink {
        let mut sink = SqliteSink::new(&Database {
            name: "local".into(),
            url: DatabaseUrl::Sqlite(directory.path().join("rowbridge.db")),
            batch: BatchLimits { max_rows: 5000, max_bytes: 8 << 20, max_wait: Duration::from_millis(5) },
            retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) },
            statement_timeout: Duration::from_millis(100),
            park_after: Duration::from_secs(30),
        });
        sink.connect().await.unwrap();
        sink.start_offset("gw1", JOURNAL, Seq(1)).await.unwrap();
        sink
    }

    fn on_connection<T>(sink: &SqliteSink, look: impl FnOnce(&Connection) -> T) -> T {
        look(&sink.open.lock().as_ref().unwrap().connection)
    }

    fn number(sink: &SqliteSink, sql: &str) -> i64 {
        on_connection(sink, |connection| connection.query_row(sql, [], |row| row.get(0)).unwrap())
    }

    fn batch(payload: Vec<u8>) -> Batch {
        let letter = DeadLetter {
            rule: None,
            seq: Seq(1),
            received_at: Timestamp(0),
            topic: "a".to_owned(),
            qos: 0,
            retain: true,
            properties: None,
            payload,
            reason: "parse",
            error: "not JSON".to_owned(),
            attempts: 1,
            created_at: Timestamp(0),
            envelope: None,
        };
        let offset = OffsetMove { bridge: "gw1".into(), journal: JOURNAL, from: Seq(1), to: Seq(2) };
        let mut batch = Batch::new(offset);
        batch.dead_letters.push(letter);
        batch
    }

    #[tokio::test]
    async fn every_connection_syncs_each_commit_and_checks_foreign_keys() {
        let directory = TempDir::new().unwrap();
        let mut sink = connected(&directory).await;
        for _ in 0..2 {
            let mode: String = on_connection(&sink, |connection| {
                connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
            });
            assert_eq!(mode, "wal");
            const FULL: i64 = 2;
            assert_eq!(number(&sink, "PRAGMA synchronous"), FULL);
            assert_eq!(number(&sink, "PRAGMA foreign_keys"), 1);
            assert_eq!(number(&sink, "PRAGMA cache_size"), -4096);
            assert_eq!(number(&sink, "PRAGMA wal_autocheckpoint"), 0);
            assert_eq!(number(&sink, "PRAGMA journal_size_limit"), 16 << 20);
            sink.connect().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_disk_leaves_nothing_behind_and_passes() {
        let directory = TempDir::new().unwrap();
        let mut sink = connected(&directory).await;
        let pages = number(&sink, "PRAGMA page_count");
        on_connection(&sink, |connection| {
            connection.execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
        });
        let batch = batch(vec![0; 100_000]);
        let error = sink.write(&batch).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (Class::Transient, "SQLITE_FULL"));
        assert_eq!(sink.offsets("gw1").await.unwrap()[0].next_seq, Seq(1));
        assert_eq!(number(&sink, "SELECT count(*) FROM rowbridge_dead_letters"), 0);

        // A fresh connection has its own limit again.
        sink.connect().await.unwrap();
        sink.write(&batch).await.unwrap();
        assert_eq!(sink.offsets("gw1").await.unwrap()[0].next_seq, Seq(2));
    }

    #[tokio::test]
    async fn after_an_io_error_the_log_is_copied_into_the_database_before_it_is_believed() {
        let directory = TempDir::new().unwrap();
        let mut sink = connected(&directory).await;
        let log = directory.path().join("rowbridge.db-wal");
        let reader = Connection::open(&sink.path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM rowbridge_offsets").unwrap();
        sink.write(&batch(vec![0; 10])).await.unwrap();
        let io_error = SinkError {
            class: Class::Transient,
            code: "SQLITE_IOERR_FSYNC".to_owned(),
            message: "as if".to_owned(),
            advice: "",
        };
        let _: Result<(), SinkError> = sink.with_connection(|_| Err(io_error));
        // The reader hinders it: better wait than read what may not be on the disk.
        assert_eq!(sink.connect().await.unwrap_err().class, Class::Transient);
        assert!(sink.log_in_doubt && log.metadata().unwrap().len() > 0);
        reader.execute_batch("COMMIT").unwrap();
        sink.connect().await.unwrap();
        assert!(!sink.log_in_doubt);
        assert_eq!(log.metadata().unwrap().len(), 0);
        assert_eq!(sink.offsets("gw1").await.unwrap()[0].next_seq, Seq(2));
    }

    #[tokio::test]
    async fn a_transaction_that_cannot_be_rolled_back_ends_with_its_connection() {
        let directory = TempDir::new().unwrap();
        let mut sink = connected(&directory).await;
        sink.with_connection(|connection| {
            connection.execute_batch("BEGIN IMMEDIATE; UPDATE rowbridge_offsets SET next_seq = 9").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(sink.offsets("gw1").await.unwrap_err().class, Class::Transient);
        sink.connect().await.unwrap();
        assert_eq!(sink.offsets("gw1").await.unwrap()[0].next_seq, Seq(1));
    }
}
