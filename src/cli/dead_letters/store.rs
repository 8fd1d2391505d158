//! Access to the dead letters of one database, for commands. The data path does not need it.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::Access;
use rustix::io::Errno;

use crate::config::{Bridge, Database, DatabaseUrl, Rule};
use crate::delivery::{Retried, Retry, RetryFailure};
use crate::sink::{
    Class, DeadLetterExtent, DeadLetterFilter, DeadLetterStore, PostgresSink, Sink, SinkError, SqliteSink,
    StoredDeadLetter,
};

/// SQLite says the same of a file that this user may not write and of a file system that takes no writes.
fn of_file_system(error: SinkError, path: &Path) -> SinkError {
    let is_read_only = rustix::fs::access(path, Access::WRITE_OK) == Err(Errno::ROFS);
    if !is_read_only || !["SQLITE_READONLY", "SQLITE_CANTOPEN"].iter().any(|code| error.code.starts_with(code)) {
        return error;
    }
    SinkError {
        message: format!("the database {} cannot be opened: its file system is read-only", path.display()),
        advice: "mount the file system for writing; or copy the file, with its -wal if there is one, to another one and name the \
                 copy: --set databases.NAME.url=sqlite:FILE",
        ..error
    }
}

/// A connected database.
pub(super) enum Store {
    Sqlite(Box<SqliteSink>),
    Postgres(Box<PostgresSink>),
}

impl Store {
    pub(super) async fn open(database: &Database) -> Result<Store, SinkError> {
        match &database.url {
            // Opening would make it.
            DatabaseUrl::Sqlite(path) if !path.exists() => Err(SinkError {
                class: Class::Table,
                code: "missing".to_owned(),
                message: format!("there is no file {}", path.display()),
                advice: "start it in the directory of the bridge, or give the path as the bridge has it",
            }),
            DatabaseUrl::Sqlite(path) => {
                let mut sink = Box::new(SqliteSink::new(database));
                sink.connect().await.map_err(|error| of_file_system(error, path))?;
                Ok(Store::Sqlite(sink))
            }
            DatabaseUrl::Postgres(_) => {
                let mut sink = Box::new(PostgresSink::new(database));
                sink.connect().await?;
                Ok(Store::Postgres(sink))
            }
        }
    }

    /// The newest `limit` of the selection, newest first.
    pub(super) async fn page(
        &mut self,
        filter: &DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<StoredDeadLetter>, SinkError> {
        match self {
            Store::Sqlite(sink) => sink.dead_letters(filter, limit).await,
            Store::Postgres(sink) => sink.dead_letters(filter, limit).await,
        }
    }

    pub(super) async fn extent(&mut self, filter: &DeadLetterFilter) -> Result<DeadLetterExtent, SinkError> {
        match self {
            Store::Sqlite(sink) => sink.dead_letter_extent(filter).await,
            Store::Postgres(sink) => sink.dead_letter_extent(filter).await,
        }
    }

    /// Those of the numbers that no dead letter of the bridge has.
    pub(super) async fn absent(&mut self, bridge: &str, ids: &[i64]) -> Result<Vec<i64>, SinkError> {
        let mut absent = Vec::new();
        for &id in ids {
            let filter = DeadLetterFilter { bridge: bridge.to_owned(), ids: Some(vec![id]), ..Default::default() };
            if self.extent(&filter).await?.letters == 0 {
                absent.push(id);
            }
        }
        Ok(absent)
    }

    /// The selection's letters by rule, those that no rule took left out.
    pub(super) async fn rules(&mut self, filter: &DeadLetterFilter) -> Result<Vec<(String, u64)>, SinkError> {
        match self {
            Store::Sqlite(sink) => sink.dead_letters_by_rule(filter).await,
            Store::Postgres(sink) => sink.dead_letters_by_rule(filter).await,
        }
    }

    /// Deletes the oldest `limit` of the selection in one transaction; how many these were.
    pub(super) async fn delete(&mut self, filter: &DeadLetterFilter, limit: u32) -> Result<u64, SinkError> {
        match self {
            Store::Sqlite(sink) => sink.delete_dead_letters(filter, limit).await,
            Store::Postgres(sink) => sink.delete_dead_letters(filter, limit).await,
        }
    }

    /// Tries the selection's letters of a rule again; see [`Retry::run`].
    pub(super) async fn retry(
        &mut self,
        bridge: &Bridge,
        rule: &Arc<Rule>,
        bytes_max: usize,
        filter: DeadLetterFilter,
        progress: impl FnMut(&Retried),
    ) -> (Retried, Result<(), RetryFailure>) {
        match self {
            Store::Sqlite(sink) => Retry::new(&mut **sink, bridge, rule, bytes_max, filter).run(progress).await,
            Store::Postgres(sink) => Retry::new(&mut **sink, bridge, rule, bytes_max, filter).run(progress).await,
        }
    }

    pub(super) async fn close(mut self) {
        // The work is done. If closing fails, the bridge reports it.
        let _ = match &mut self {
            Store::Sqlite(sink) => sink.close().await,
            Store::Postgres(sink) => sink.close().await,
        };
    }
}
