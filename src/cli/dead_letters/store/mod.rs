//! The dead letters of one database, for people: what the data path has no need of.

mod postgres;
mod sqlite;

use crate::config::{Database, DatabaseUrl};
use crate::sink::{Class, PostgresSink, Sink, SinkError, SqliteSink, StoredDeadLetter};

use super::selection::Selection;

/// A connected database.
pub(super) enum Store {
    Sqlite(Box<SqliteSink>),
    Postgres(Box<PostgresSink>),
}

/// What a selection holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) letters: u64,
    /// The greatest id; 0 if there is none.
    pub(super) newest: i64,
}

/// Parked messages of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleCount {
    pub(super) rule: String,
    pub(super) letters: u64,
}

impl Store {
    pub(super) async fn open(database: &Database) -> Result<Store, SinkError> {
        match &database.url {
            // Opening would make it.
            DatabaseUrl::Sqlite(path) if !path.exists() => Err(SinkError {
                class: Class::Table,
                code: "missing".to_owned(),
                message: format!("database {}: there is no file {}", database.name, path.display()),
                advice: "start it in the directory of the bridge, or give the path as the bridge has it",
            }),
            DatabaseUrl::Sqlite(_) => {
                let mut sink = Box::new(SqliteSink::new(database));
                sink.connect().await?;
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
    pub(super) async fn page(&self, selection: &Selection, limit: u32) -> Result<Vec<StoredDeadLetter>, SinkError> {
        match self {
            Store::Sqlite(sink) => sqlite::page(sink, selection, limit),
            Store::Postgres(sink) => postgres::page(sink, selection, limit).await,
        }
    }

    pub(super) async fn extent(&self, selection: &Selection) -> Result<Extent, SinkError> {
        match self {
            Store::Sqlite(sink) => sqlite::extent(sink, selection),
            Store::Postgres(sink) => postgres::extent(sink, selection).await,
        }
    }

    /// The selection's letters by rule, those that no rule took left out.
    pub(super) async fn rules(&self, selection: &Selection) -> Result<Vec<RuleCount>, SinkError> {
        match self {
            Store::Sqlite(sink) => sqlite::rules(sink, selection),
            Store::Postgres(sink) => postgres::rules(sink, selection).await,
        }
    }

    /// Deletes the oldest `limit` of the selection in one transaction; how many these were.
    pub(super) async fn delete(&self, selection: &Selection, limit: u32) -> Result<u64, SinkError> {
        match self {
            Store::Sqlite(sink) => sqlite::delete(sink, selection, limit),
            Store::Postgres(sink) => postgres::delete(sink, selection, limit).await,
        }
    }

    pub(super) async fn close(mut self) {
        // What was done is done; what hinders the closing is the bridge's to tell.
        let _ = match &mut self {
            Store::Sqlite(sink) => sink.close().await,
            Store::Postgres(sink) => sink.close().await,
        };
    }
}

fn failed(doing: &str, error: &dyn std::fmt::Display) -> SinkError {
    SinkError {
        class: Class::Table,
        code: "dead_letters".to_owned(),
        message: format!("{doing}: {error}"),
        advice: "run the bridge once, which makes the table, and see that its user may use it",
    }
}
