//! The state of one database for `status`.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::refusals::Unwritten;
use crate::clock::Timestamp;
use crate::config::Database;
use crate::message::Seq;

/// Why a database is held, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub reason: String,
    /// SQL or configuration that would mend it.
    pub mend: Option<String>,
    pub since: Timestamp,
}

/// A rule whose messages are parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub rule: Arc<str>,
    pub table: String,
    /// Why the table accepts no rows.
    pub reason: String,
    /// SQL or configuration that would mend it.
    pub mend: Option<String>,
    pub since: Timestamp,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseState {
    pub connected: bool,
    /// As last confirmed by the database; `None` until it has answered once.
    pub next_seq: Option<Seq>,
    /// When the oldest message that it does not hold was received; `None` if it holds all.
    pub oldest_pending: Option<Timestamp>,
    pub held: Option<Held>,
    /// How many messages of each, a metric counts.
    pub parked: Vec<Parked>,
    pub last_error: Option<String>,
    /// Since the start: rows that a table was given and did not take, without an error.
    pub rows_swallowed: u64,
    pub unwritten: Unwritten,
    /// `batch.max_wait` of the rules in use: how long a batch may wait for more messages.
    pub max_wait: Duration,
}

/// Shared between the delivery thread, which writes once per batch, and `status`.
#[derive(Debug, Default)]
pub struct SharedState(Mutex<DatabaseState>);

impl SharedState {
    pub fn of(database: &Database) -> SharedState {
        SharedState(Mutex::new(DatabaseState { max_wait: database.batch.max_wait, ..DatabaseState::default() }))
    }

    pub fn snapshot(&self) -> DatabaseState {
        self.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut DatabaseState)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, DatabaseState> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}
