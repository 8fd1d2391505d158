//! One batch, one transaction.
//!
//! ```text
//! round trip 1   BEGIN with the compare-and-swap · dead letters · PREPARE of every COPY
//!            2   start of the first COPY
//!            3   its data · comparison of the tables with COMMIT       (one more for each further table)
//! ```
//! A table that takes rows by INSERT only has no COPY to start; its statements are sent in place of the data. Rules'
//! own statements follow all tables, without a round trip between them and COMMIT.
//!
//! A batch that needs no COPY, because each table gets a few rows or takes them by INSERT only, takes one round trip: all of it
//! is sent at once.
//!
//! The compare-and-swap comes first because it locks the offset row before any work is done. A second instance then
//! waits and fails instead of colliding on unique keys, and COMMIT can follow the data without another round trip.
//! If more than one batch waits, [`series`](super::series) shares the round trips among many.
//!
//! The promise "`Ok` only after COMMIT" holds because the answers of all statements are awaited, in order, and the
//! first error is returned. A COMMIT sent after a failed statement is a ROLLBACK.

use std::pin::pin;

use futures_util::future::join_all;
use tokio_postgres::Statement;

use super::copy::{self, Rows, Start};
use super::retained::REMEMBERING;
use super::session::Session;
use super::transaction::{Sql, pipelined};
use super::witness::Expected;
use super::{dead_letters, offsets, parked, retained, statements};
use crate::batch::Batch;
use crate::sink::{SinkError, Written};

pub(super) const BEGINNING: &str = "beginning a transaction";
pub(super) const COMMITTING: &str = "committing";
pub(super) const DEAD_LETTERS: &str = "writing dead letters";

/// Bytes of rows that are sent at once: until they are answered they are in memory two or three times.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Writes the batch; `Ok` only after COMMIT was confirmed.
pub(super) async fn write(session: &Session, sql: &Sql, batch: &Batch) -> Result<Written, SinkError> {
    let kept = (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit));
    let tables = Rows::collect(batch, kept);
    let (tables, own) = statements::split(&tables);
    let without_copy = |rows: &Rows<'_>| rows.by_insert() || rows.are_few();
    let bytes: usize = tables.iter().map(Rows::byte_count).sum();
    if own.is_empty() && bytes <= BYTES_AT_ONCE && tables.iter().all(without_copy) {
        return write_at_once(session, sql, batch, tables).await;
    }
    let client = session.client();
    let prepared = begin(session, sql, batch, tables, true).await?;
    crash_point!("postgres.begun");
    let mut written = Written::default();
    let expected = Expected::of(batch.tables_at_stake());
    // Boxed: it is part of several futures.
    let last = Box::pin(statements::run(session, own, expected.commit(client)));
    let copies = copy::run(session, tables, prepared, Start::Ahead, last, &mut written);
    // One table's statements and the start of the next, one of the rules', the comparison and COMMIT, each with the server's own
    // limit; the patience begins anew with each table.
    let steps = tables.iter().map(Rows::statement_count).max().unwrap_or(0).saturating_add(4);
    match session.committing(steps, pin!(copies)).await? {
        Ok(Ok(closing)) => closing.explain(session)?,
        Ok(Err(failed)) => return Err(failed.explain(session, own)),
        Err(failed) => return Err(failed.explain(session, tables)),
    }
    crash_point!("postgres.committed");
    Ok(written)
}

/// The first round trip: BEGIN, compare-and-swap, dead letters (if asked for) and every COPY's preparation; the statement
/// of each table that has a COPY.
pub(super) async fn begin(
    session: &Session,
    sql: &Sql,
    batch: &Batch,
    tables: &[Rows<'_>],
    with_letters: bool,
) -> Result<Vec<Option<Statement>>, SinkError> {
    let client = session.client();
    let letters = if with_letters { batch.dead_letters.as_slice() } else { &[] };
    let remembered = if with_letters { batch.to_remember() } else { Vec::new() };
    let all = async {
        tokio::join!(
            biased;
            offsets::begin(session, sql, batch),
            dead_letters::insert(session, sql, &batch.offset.bridge, letters),
            retained::remember(session, sql, &batch.offset.bridge, &remembered),
            parked::settle(session, sql, batch, with_letters),
            join_all(tables.iter().map(|rows| rows.prepare(client))),
        )
    };
    let ((begun, moved), inserted, kept, settled, prepared) = session.patience(6, BEGINNING, all).await?;
    begun.map_err(|error| session.explain(&error, BEGINNING))?;
    moved.map_err(|error| offsets::moved_or_failed(session, &batch.offset, &error))?;
    inserted.map_err(|error| offsets::ours(session.explain(&error, DEAD_LETTERS)))?;
    kept.map_err(|error| offsets::ours(session.explain(&error, REMEMBERING)))?;
    settled.map_err(|error| parked::moved_or_failed(session, &error))?;
    let named = prepared.into_iter().zip(tables);
    named.map(|(statement, rows)| statement.map_err(|error| session.explain(&error, &rows.doing()))).collect()
}

/// Sends the whole transaction without waiting for an answer. A statement that fails makes the server refuse all that
/// follow it, COMMIT too.
async fn write_at_once(session: &Session, sql: &Sql, batch: &Batch, tables: &[Rows<'_>]) -> Result<Written, SinkError> {
    let client = session.client();
    let expected = Expected::of(batch.tables_at_stake());
    let remembered = batch.to_remember();
    let begin = || offsets::begin(session, sql, batch);
    let insert_one = async |rows: &Rows<'_>| {
        let taken = rows.insert(client).await;
        session.answered();
        taken
    };
    let insert = || pipelined(tables.iter().map(&insert_one));
    crash_point!("postgres.at_once.begun", begin().await);
    crash_point!("postgres.at_once.rows.sent", tokio::join!(biased; begin(), insert()));
    let all = async {
        tokio::join!(
            biased;
            begin(),
            dead_letters::insert(session, sql, &batch.offset.bridge, &batch.dead_letters),
            retained::remember(session, sql, &batch.offset.bridge, &remembered),
            parked::settle(session, sql, batch, true),
            insert(),
            expected.commit(client),
        )
    };
    // The patience begins anew with each table's answer.
    let steps = tables.iter().map(Rows::statement_count).max().unwrap_or(0).saturating_add(7);
    let all = pin!(all);
    crash_point!("postgres.at_once.commit.sent", {
        // Perhaps the server has come to the COMMIT by then, perhaps not.
        let patience = std::time::Duration::from_micros(50 * crate::crash_point::cut());
        tokio::time::timeout(patience, all).await.map(drop)
    });
    let ((begun, moved), inserted, kept, settled, taken, closing) = session.committing(steps, all).await?;
    begun.map_err(|error| session.explain(&error, BEGINNING))?;
    moved.map_err(|error| offsets::moved_or_failed(session, &batch.offset, &error))?;
    inserted.map_err(|error| offsets::ours(session.explain(&error, DEAD_LETTERS)))?;
    kept.map_err(|error| offsets::ours(session.explain(&error, REMEMBERING)))?;
    settled.map_err(|error| parked::moved_or_failed(session, &error))?;
    let mut written = Written::default();
    for (rows, taken) in tables.iter().zip(taken) {
        rows.note(taken.map_err(|error| session.explain_rows(&error, &rows.doing()))?, &mut written);
    }
    closing.explain(session)?;
    crash_point!("postgres.at_once.committed");
    Ok(written)
}
