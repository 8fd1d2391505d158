//! The offset row: read, started, moved by compare-and-swap.

use std::str::FromStr;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::failure::own;
use super::session::Session;
use super::transaction::{BEGIN_STATEMENTS, BOUND_LOCK_WAIT, Sql, around, in_one_message, literal};
use crate::batch::{Batch, Guard, OffsetMove};
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::sink::{Class, SinkError, StoredOffset};

/// What a compare-and-swap that found another offset ends with: its SQL divides by the number of rows moved.
const DIVISION_BY_ZERO: &str = "22012";

/// What [`stored`] reads.
const STORED: &str = "journal_id::pg_catalog.text, next_seq, (pg_catalog.date_part('epoch', updated_at) \
                      OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

const MOVED_ADVICE: &str = "another Rowbridge with this bridge name may be running, or an earlier commit was applied \
                            after all; the offset is read again";

/// This bridge's offset rows.
pub(super) async fn read(session: &Session, sql: &Sql, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
    const DOING: &str = "reading the offset";
    let query = format!("SELECT {STORED} FROM {} WHERE bridge OPERATOR(pg_catalog.=) $1", sql.offsets);
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let parameters = [(&bridge as _, Type::TEXT)];
    let rows = session.wait(1, DOING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter()
        .map(|row| stored(row).map_err(|error| session.explain(&error, DOING))?.ok_or_else(|| nonsense(session, sql)))
        .collect()
}

/// The rows of these journals that go under another name.
pub(super) async fn read_of_others(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    journals: &[JournalId],
) -> Result<Vec<(String, StoredOffset)>, SinkError> {
    const DOING: &str = "reading the offsets of other bridges";
    let query = format!(
        "SELECT {STORED}, bridge FROM {} WHERE bridge OPERATOR(pg_catalog.<>) $1 \
         AND journal_id OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.uuid[])",
        sql.offsets
    );
    let journals: Vec<String> = journals.iter().map(JournalId::to_string).collect();
    let parameters = [(&bridge as &(dyn ToSql + Sync), Type::TEXT), (&journals, Type::TEXT_ARRAY)];
    let rows = session.wait(1, DOING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter()
        .map(|row| {
            let offset = stored(row).map_err(|error| session.explain(&error, DOING))?;
            let other = row.try_get(3).map_err(|error| session.explain(&error, DOING))?;
            Ok((other, offset.ok_or_else(|| nonsense(session, sql))?))
        })
        .collect()
}

fn stored(row: &Row) -> Result<Option<StoredOffset>, Error> {
    let (journal, next_seq): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    let updated_at = Timestamp(row.try_get(2)?);
    let journal = JournalId::from_str(&journal.replace('-', "")).ok();
    let next_seq = u64::try_from(next_seq).ok().map(Seq);
    Ok(journal.zip(next_seq).map(|(journal, next_seq)| StoredOffset { journal, next_seq, updated_at }))
}

fn nonsense(session: &Session, sql: &Sql) -> SinkError {
    own(
        Class::Table,
        "offset",
        format!("reading the offset ({}): a row of {} holds a negative next_seq", session.at(), sql.offsets),
        "somebody changed the offset table: set next_seq to the first message that is not in the database",
    )
}

/// Adds the offset row unless there is one.
pub(super) async fn start(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    journal: JournalId,
    next_seq: Seq,
) -> Result<(), SinkError> {
    let insert = format!(
        "INSERT INTO {} (bridge, journal_id, next_seq) VALUES ($1, $2::pg_catalog.uuid, $3) ON CONFLICT DO NOTHING",
        sql.offsets
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let (journal, next_seq) = (journal.to_string(), number(next_seq));
    let parameters = [(&bridge as &(dyn ToSql + Sync), Type::TEXT), (&journal, Type::TEXT), (&next_seq, Type::INT8)];
    let client = session.client();
    let work = around(client, &sql.begin, client.execute_typed(&insert, &parameters));
    session.wait(3, "starting the offset", work).await.map(drop)
}

/// Makes the row of a journal that is gone that of another, which has none.
pub(super) async fn succeed(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    gone: JournalId,
    journal: JournalId,
    next_seq: Seq,
) -> Result<(), SinkError> {
    let update = format!(
        "UPDATE {0} AS o SET journal_id = $2::pg_catalog.uuid, next_seq = $3, updated_at = pg_catalog.clock_timestamp() \
         WHERE o.bridge OPERATOR(pg_catalog.=) $1 AND o.journal_id OPERATOR(pg_catalog.=) $4::pg_catalog.uuid \
         AND NOT EXISTS (SELECT 1 FROM {0} AS there WHERE there.bridge OPERATOR(pg_catalog.=) $1 \
         AND there.journal_id OPERATOR(pg_catalog.=) $2::pg_catalog.uuid)",
        sql.offsets
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let (gone, journal, next_seq) = (gone.to_string(), journal.to_string(), number(next_seq));
    let parameters = [
        (&bridge as &(dyn ToSql + Sync), Type::TEXT),
        (&journal, Type::TEXT),
        (&next_seq, Type::INT8),
        (&gone, Type::TEXT),
    ];
    let client = session.client();
    let work = around(client, &sql.begin, client.execute_typed(&update, &parameters));
    session.wait(3, "starting the offset", work).await.map(drop)
}

/// BEGIN, and what the batch counts on: the compare-and-swap, or nothing where [`settle`](super::parked::settle) sees to
/// it. Both results.
pub(super) async fn begin(session: &Session, sql: &Sql, batch: &Batch) -> (Result<(), Error>, Result<(), Error>) {
    let statements = match batch.guard {
        Guard::Offset if batch.released.is_empty() => {
            format!("{}; {}", sql.begin, moving(session, sql, &batch.offset))
        }
        // Parked messages are tried again and again, and the others wait meanwhile.
        Guard::Offset => {
            format!("{}; {}; {BOUND_LOCK_WAIT}", sql.begin, moving(session, sql, &batch.offset))
        }
        Guard::Letters => format!("{}; {BOUND_LOCK_WAIT}", sql.begin),
    };
    let (carried_out, result) = in_one_message(session.client(), &statements).await;
    if carried_out < BEGIN_STATEMENTS { (result, Ok(())) } else { (Ok(()), result) }
}

/// The offset's compare-and-swap.
///
/// It is the transaction's first statement, so it locks the row before any work is done: a second instance waits here
/// and then misses, and a rival of this very transaction (its own earlier COMMIT whose answer was lost) is seen before a
/// unique key could mistake the rows for duplicates. A miss makes the statement, hence the transaction, fail: a COMMIT
/// that was sent behind it without waiting becomes a ROLLBACK.
pub(super) async fn compare_and_swap(session: &Session, sql: &Sql, offset: &OffsetMove) -> Result<(), Error> {
    session.client().batch_execute(&moving(session, sql, offset)).await
}

fn moving(session: &Session, sql: &Sql, offset: &OffsetMove) -> String {
    format!(
        "WITH moved AS (UPDATE {} SET next_seq = {}, updated_at = pg_catalog.clock_timestamp() WHERE {} RETURNING 1) \
         SELECT 1 OPERATOR(pg_catalog./) (SELECT pg_catalog.count(*) FROM moved)",
        sql.offsets,
        number(offset.to),
        here(session, offset),
    )
}

/// Locks the row as the compare-and-swap from the same offset does, and fails as it does; moves nothing yet.
pub(super) async fn lock(session: &Session, sql: &Sql, offset: &OffsetMove) -> Result<(), Error> {
    let select = format!(
        "SELECT 1 OPERATOR(pg_catalog./) (SELECT pg_catalog.count(*) FROM (SELECT 1 FROM {} WHERE {} \
         FOR NO KEY UPDATE) AS held)",
        sql.offsets,
        here(session, offset),
    );
    session.client().batch_execute(&select).await
}

/// The row of the bridge and its journal, if it stands where the batch begins.
fn here(session: &Session, offset: &OffsetMove) -> String {
    format!(
        "bridge OPERATOR(pg_catalog.=) {}::pg_catalog.text AND journal_id OPERATOR(pg_catalog.=) '{}'::pg_catalog.uuid \
         AND next_seq OPERATOR(pg_catalog.=) {}::pg_catalog.int8",
        literal(&session.bridge(&offset.bridge)),
        offset.journal,
        number(offset.from),
    )
}

/// What a failed [`compare_and_swap`], or [`lock`], means.
pub(super) fn moved_or_failed(session: &Session, offset: &OffsetMove, error: &Error) -> SinkError {
    const DOING: &str = "moving the offset";
    if error.code().is_some_and(|code| code.code() == DIVISION_BY_ZERO) {
        let OffsetMove { bridge, from, .. } = offset;
        let message = format!("{DOING} ({}): bridge {bridge} is not at message {from} any more", session.at());
        return own(Class::OffsetMoved, "offset_moved", message, MOVED_ADVICE);
    }
    ours(session.explain(error, DOING))
}

/// In Rowbridge's own tables no message is at fault: what would blame a row holds the database.
pub(super) fn ours(mut error: SinkError) -> SinkError {
    if error.class == Class::Row {
        error.class = Class::Table;
        error.advice =
            "Rowbridge's own table refuses what it was made for: remove constraints and triggers added to it";
    }
    error
}

/// A journal position as Postgres' bigint. Positions start at 1 and never come near its end.
fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
