//! Changes of a SQLite table: row triggers, read in the order of their numbers.
//!
//! SQLite has one writer at a time, so numbers follow the order of commits. Everything that must happen together, such
//! as creating triggers and copying existing rows, happens in one transaction. *Dies anywhere:* the transaction was
//! applied or not. `PRAGMA data_version` shows without disk access whether anything was written.

pub(super) mod capture;
mod queue;
mod settle;

use std::time::Duration;

use rusqlite::Connection;

use self::capture::Encoding;
use super::SqliteSink;
use super::codes::{Moment, sink_error};
use crate::config::Database;
use crate::sink::changes::{Capture, ChangeFeed, ChangeKey, Done, Overflow, Reading, Settled, StoredPublication};
use crate::sink::{Class, Sink, SinkError};

/// The interval at which the file is polled for changes.
const POLL: Duration = Duration::from_millis(50);

const STEP: &str = include_str!("../../../../migrations/sqlite/publish/0001_changes.sql");

/// The changes of one publication.
pub struct SqliteChanges {
    sink: SqliteSink,
    capture: Capture,
    /// Its row in `rowbridge_publications`.
    id: Option<i64>,
    encoding: Encoding,
    /// As it was when last asked.
    data_version: i64,
    /// This connection has looked at what only a start looks at.
    is_begun: bool,
}

impl SqliteChanges {
    /// Opens nothing yet.
    pub fn new(database: &Database, capture: Capture) -> SqliteChanges {
        let sink = SqliteSink::new(database);
        SqliteChanges { sink, capture, id: None, encoding: Encoding::Utf8, data_version: 0, is_begun: false }
    }

    /// Those of a bridge, as they stand in the file.
    pub async fn stored(database: &Database, bridge: &str) -> Result<Vec<StoredPublication>, SinkError> {
        let mut sink = SqliteSink::new(database);
        sink.connect().await?;
        let stored = sink.with_connection(|connection| {
            queue::stored(connection, bridge).map_err(|error| failed("cannot read rowbridge_publications", &error))
        });
        let _ = sink.close().await;
        stored
    }

    /// Drops the triggers and the changes of one; false if there is none of that name.
    pub async fn remove(database: &Database, bridge: &str, name: &str) -> Result<bool, SinkError> {
        let mut sink = SqliteSink::new(database);
        sink.connect().await?;
        let removed = sink.with_connection(|connection| {
            queue::remove(connection, bridge, name).map_err(|error| failed("cannot remove the publication", &error))
        });
        let _ = sink.close().await;
        removed
    }

    fn data_version(&mut self) -> Option<i64> {
        self.sink
            .with_connection(|connection| {
                let mut statement =
                    connection.prepare_cached("PRAGMA data_version").map_err(|error| failed("", &error))?;
                statement.query_row([], |row| row.get(0)).map_err(|error| failed("", &error))
            })
            .ok()
    }
}

fn failed(what: &str, error: &rusqlite::Error) -> SinkError {
    sink_error(what, error, Moment::Elsewhere)
}

/// Makes the tables that are missing.
fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('rowbridge_publications', 'rowbridge_changes_of')",
        [],
        |row| row.get(0),
    )?;
    if count == 2 {
        return Ok(());
    }
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {STEP} COMMIT;")).inspect_err(|_| {
        // The next user of the connection must not commit the open transaction.
        let _ = connection.execute_batch("ROLLBACK");
    })
}

impl ChangeFeed for SqliteChanges {
    async fn connect(&mut self) -> Result<(), SinkError> {
        self.is_begun = false;
        self.sink.connect().await?;
        self.encoding = self.sink.with_connection(|connection| {
            const DOING: &str = "cannot make the tables of `publish`";
            make_tables(connection).map_err(|error| failed(DOING, &error))?;
            let encoding: String =
                connection.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(|error| failed(DOING, &error))?;
            Ok(Encoding::of_name(&encoding))
        })?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<Settled, SinkError> {
        let (capture, is_first) = (&self.capture, !self.is_begun);
        let doing = format!("cannot prepare to publish table {}", capture.table);
        let (id, settled, unfit) = self.sink.with_connection(|connection| {
            let (id, settled) =
                settle::settle(connection, capture, is_first).map_err(|error| failed(&doing, &error))?;
            let unfit = match settled.is_missing {
                true => capture::unfit(connection, &capture.table.name).map_err(|error| failed(&doing, &error))?,
                false => None,
            };
            Ok((id, settled, unfit))
        })?;
        self.id = Some(id);
        self.is_begun = true;
        match unfit {
            // News is reported first; the next call returns the error.
            Some(unfit) if settled.news.is_empty() => Err(SinkError {
                class: Class::Table,
                code: "no_table".to_owned(),
                message: format!("{doing}: {unfit}"),
                advice: "correct the table of the entry, or take the entry out of `publish`; it is tried again",
            }),
            _ => Ok(settled),
        }
    }

    async fn read(&mut self, after: ChangeKey, limit: usize, bytes_max: usize) -> Result<Reading, SinkError> {
        let Some(id) = self.id else { return Ok(Reading::default()) };
        let (encoding, time) = (self.encoding, self.capture.time);
        // Asked before: what comes while it is read is asked for again.
        if let Some(version) = self.data_version() {
            self.data_version = version;
        }
        self.sink.with_connection(|connection| {
            queue::read(connection, id, after, (limit, bytes_max), (encoding, time))
                .map_err(|error| failed("cannot read rowbridge_changes", &error))
        })
    }

    async fn finish(&mut self, done: &Done, kept: &[ChangeKey]) -> Result<(), SinkError> {
        let id = self.id.expect("what is finished was read under its id");
        self.sink.with_connection(|connection| queue::finish(connection, id, done, kept))
    }

    async fn pending(&mut self, limit: u64) -> Result<u64, SinkError> {
        let Some(id) = self.id else { return Ok(0) };
        self.sink.with_connection(|connection| {
            queue::pending(connection, id, limit).map_err(|error| failed("cannot count rowbridge_changes", &error))
        })
    }

    async fn drop_oldest(&mut self, max_pending: u64) -> Result<Option<Overflow>, SinkError> {
        let Some(id) = self.id else { return Ok(None) };
        self.sink.with_connection(|connection| {
            queue::drop_oldest(connection, id, max_pending)
                .map_err(|error| failed("cannot drop changes beyond max_pending", &error))
        })
    }

    async fn changed(&mut self, at_most: Duration) {
        let mut left = at_most;
        loop {
            let pause = POLL.min(left);
            tokio::time::sleep(pause).await;
            left = left.saturating_sub(pause);
            // The next reader reports a fault.
            if left.is_zero() || self.data_version().is_none_or(|version| version != self.data_version) {
                return;
            }
        }
    }

    async fn close(&mut self) {
        // What was finished is committed.
        let _ = self.sink.close().await;
    }
}
