//! Makes a connection, and the file if it is new, as the sink needs it: write-ahead log, durable commits, foreign keys.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::codes::{Moment, sink_error};
use super::events;
use crate::sink::{Class, SinkError};

/// Settings of every connection. FULL: an fsync for each commit. 4 MiB of page cache: twice SQLite's default, for the
/// indexes of a batch, and still small beside the 20 MiB that the whole daemon may take when idle. Checkpoints are made by
/// [`super::connect::OpenDatabase::tend_log`], between two looks at the files; past one the log's file is cut back to [`super::connect::LOG_BYTES`].
const SETTINGS: &str = "PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA cache_size = -4096;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 16777216;";

/// Of a file that we make. A commit of a few rows writes two or three pages, whole, so that smaller ones spare flash memory: at 100
/// rows a second half of what SQLite's default of 4096 writes.
const PAGE_BYTES: u32 = 2048;

/// Prepared statements kept. Two for each table that is written, some for our own; a table past it only costs time.
const STATEMENTS_MAX: usize = 64;

/// Between two tries to switch a file to WAL that others hold; a switch takes a few milliseconds.
const WAL_RETRY: Duration = Duration::from_millis(5);

pub(super) fn set_up(connection: &Connection, path: &Path, busy_timeout: Duration) -> Result<(), SinkError> {
    let what = format!("cannot set up the database {}", path.display());
    let failed = |error: rusqlite::Error| sink_error(&what, &error, Moment::Elsewhere);
    // SQLite opens a file that it may not write for reading, and fails later.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(SinkError {
            class: Class::Table,
            code: "SQLITE_READONLY".to_owned(),
            message: format!("cannot write the database {}: the file is read-only", path.display()),
            advice: "give the bridge's user the right to write the file and its directory",
        });
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let former = former_mode(connection).map_err(failed)?;
    if former.is_none() {
        connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    }
    let mode = make_wal(connection, busy_timeout).map_err(failed)?;
    if mode != "wal" {
        return Err(SinkError {
            class: Class::Table,
            code: "wal".to_owned(),
            message: format!("{what}: its journal mode stays {mode} and cannot be made WAL"),
            advice: "put the file on a local file system: network file systems lack the shared memory that WAL needs",
        });
    }
    if let Some(former) = former.filter(|former| *former != mode) {
        events::sqlite_becomes_wal(path, &former);
    }
    connection.execute_batch(SETTINGS).map_err(failed)
}

/// The journal mode of a file that holds something already.
fn former_mode(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages == 0 {
        return Ok(None);
    }
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map(Some)
}

/// Switches the file to WAL, which it then stays, and returns the journal mode that it has. Whoever switches needs the
/// file alone, and SQLite's busy timeout does not cover this: of two programs that open a new file at once, one is told
/// that it is locked without any waiting.
fn make_wal(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<String> {
    let give_up = Instant::now() + busy_timeout;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => thread::sleep(WAL_RETRY),
            outcome => return outcome,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}
