//! Changes of a Postgres table: statement-level triggers, read in the order of transactions.
//!
//! Neither sequence numbers nor transaction ids follow the order of commits. So only changes of transactions below the
//! snapshot's `xmin` are read: all of these have ended, and no further change of theirs can appear. The changes are
//! read by (transaction, number), which keeps the order of every session, because its transactions have growing ids. A
//! transaction that stays open, in any database of the server, delays all later ones; its own changes are never
//! skipped.
//!
//! | file | holds |
//! |---|---|
//! | `capture` | the function and the triggers |
//! | `catalogue` | the table as it is |
//! | `settle` | brings both together: begins, notices dropped, altered and replaced tables |
//! | `triggers` | the triggers of a publication, and their removal from former tables |
//! | `queue` | reading changes and finishing them |
//! | `decode` | the published form of a row |
//! | `held_back` | the transaction that the changes wait for |

mod capture;
mod catalogue;
mod decode;
mod held_back;
mod queue;
mod settle;
mod tables;
mod triggers;

use std::time::Duration;

use super::PostgresSink;
use super::connect;
use crate::config::Database;
use crate::rule::TableName;
use crate::sink::changes::{Capture, ChangeFeed, ChangeKey, Done, Overflow, Reading, Settled, StoredPublication};
use crate::sink::{Sink, SinkError, Unfit};

/// How long nothing is heard before it is looked all the same: NOTIFY does not come through a pooler, and not of a transaction
/// that merely ended.
const POLL: Duration = Duration::from_secs(1);
/// While changes lie there that wait for an older transaction to end: at first, and twice as long each time up to [`POLL`].
const POLL_WAITING: Duration = Duration::from_millis(10);

/// Why nothing of this name can be published; `None` if it can, or is not there. In a transaction that reads the catalogue.
pub(super) async fn unfit(
    client: &tokio_postgres::Client,
    schema: &str,
    name: &str,
) -> Result<Option<Unfit>, tokio_postgres::Error> {
    Ok(catalogue::table(client, schema, name).await?.and_then(|live| live.unfit))
}

/// The changes of one publication.
pub struct PostgresChanges {
    sink: PostgresSink,
    capture: Capture,
    /// The table with its schema.
    table: TableName,
    /// Its row in `rowbridge_publications`.
    id: Option<i64>,
    /// How long to wait before it is looked again.
    poll: Duration,
    /// This connection has looked at what only a start looks at.
    is_begun: bool,
}

impl PostgresChanges {
    /// Connects to nothing yet.
    pub fn new(database: &Database, capture: Capture) -> PostgresChanges {
        let sink = PostgresSink::new(database);
        let (schema, name) = sink.qualified(&capture.table);
        let table = TableName { schema: Some(schema.to_owned()), name: name.to_owned() };
        PostgresChanges { sink, capture, table, id: None, poll: POLL, is_begun: false }
    }

    /// Those of a bridge, as they stand in the database.
    pub async fn stored(database: &Database, bridge: &str) -> Result<Vec<StoredPublication>, SinkError> {
        let mut sink = PostgresSink::new(database);
        sink.connect_to_read().await?;
        let stored = sink.run(async |session, sql| tables::stored(session, sql, bridge).await).await;
        let _ = sink.close().await;
        stored
    }

    /// Drops the triggers and the changes of one; false if there is none of that name.
    pub async fn remove(database: &Database, bridge: &str, name: &str) -> Result<bool, SinkError> {
        let mut sink = PostgresSink::new(database);
        sink.connect_to_read().await?;
        let removed = sink.run(async |session, sql| tables::remove(session, sql, bridge, name).await).await;
        let _ = sink.close().await;
        removed
    }
}

impl ChangeFeed for PostgresChanges {
    async fn connect(&mut self) -> Result<(), SinkError> {
        (self.is_begun, self.poll) = (false, POLL);
        self.sink.connect().await?;
        self.sink.run(async |session, sql| tables::make(session, sql).await).await?;
        self.sink
            .run(async |session, _| {
                let listen = session.client().batch_execute("LISTEN rowbridge_changes");
                session.wait(1, "asking to be told of changes", listen).await
            })
            .await
    }

    async fn settle(&mut self) -> Result<Settled, SinkError> {
        let (capture, table, url, timeout) =
            (&self.capture, &self.table, self.sink.url.clone(), self.sink.statement_timeout);
        let is_first = !self.is_begun;
        let open = async || connect::open(&url, timeout).await;
        let settled = self
            .sink
            .run(async |session, sql| {
                Box::pin(settle::Settling { session, sql, capture, table, is_first }.run(open)).await
            })
            .await;
        let (id, settled) = settled?;
        self.id = Some(id);
        self.is_begun = true;
        Ok(settled)
    }

    async fn read(&mut self, after: ChangeKey, limit: usize, bytes_max: usize) -> Result<Reading, SinkError> {
        let Some(id) = self.id else { return Ok(Reading::default()) };
        let time = self.capture.time;
        let (reading, is_waiting) = self
            .sink
            .run(async |session, sql| queue::read(session, sql, id, after, (limit, bytes_max), time).await)
            .await?;
        self.poll = match (is_waiting, self.poll) {
            (false, _) => POLL,
            (true, POLL) => POLL_WAITING,
            (true, poll) => (poll * 2).min(POLL - Duration::from_millis(1)),
        };
        Ok(reading)
    }

    async fn finish(&mut self, done: &Done, kept: &[ChangeKey]) -> Result<(), SinkError> {
        let id = self.id.expect("what is finished was read under its id");
        self.sink.run(async |session, sql| queue::finish(session, sql, id, done, kept).await).await
    }

    async fn pending(&mut self, limit: u64) -> Result<u64, SinkError> {
        let Some(id) = self.id else { return Ok(0) };
        self.sink.run(async |session, sql| queue::pending(session, sql, id, limit).await).await
    }

    async fn drop_oldest(&mut self, max_pending: u64) -> Result<Option<Overflow>, SinkError> {
        let Some(id) = self.id else { return Ok(None) };
        self.sink.run(async |session, sql| queue::drop_oldest(session, sql, id, max_pending).await).await
    }

    async fn changed(&mut self, at_most: Duration) {
        let patience = at_most.min(self.poll);
        match &self.sink.session {
            Some(session) => drop(tokio::time::timeout(patience, session.notified()).await),
            None => tokio::time::sleep(patience).await,
        }
    }

    async fn close(&mut self) {
        // What was finished is committed.
        let _ = self.sink.close().await;
    }
}
