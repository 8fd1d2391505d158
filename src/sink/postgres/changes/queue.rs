//! Reads changes in their order, and finishes them.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::capture;
use super::decode::decode;
use super::held_back;
use crate::config::TimeForm;
use crate::rule::quote;
use crate::sink::changes::{Change, ChangeKey, ChangeKind, Done, OFFSET_JUMP, Overflow, Reading};
use crate::sink::postgres::failure::own;
use crate::sink::postgres::session::Session;
use crate::sink::postgres::transaction::{Sql, around, commit};
use crate::sink::{Class, SinkError};

const READING: &str = "reading rowbridge_changes";
/// The server knows nothing of a table that fills and empties within minutes: it would sort all that waits for each read.
const BY_INDEX: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off";
const FINISHING: &str = "deleting published changes";

/// Everything below has ended, as of the statement's own snapshot. These functions are in every version from 12 on.
const XMIN: &str = "pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())";

/// The next changes; and, if there are none, whether some wait for an older transaction.
pub(super) async fn read(
    session: &Session,
    sql: &Sql,
    id: i64,
    after: ChangeKey,
    (limit, bytes_max): (usize, usize),
    time: TimeForm,
) -> Result<(Reading, bool), SinkError> {
    let (changes, schema) = (format!("{}.rowbridge_changes", quote(&sql.schema)), quote(&sql.schema));
    let query = format!(
        "SELECT xact, number, event, columns, new_row, old_row, \
         (SELECT next_offset FROM {schema}.rowbridge_publications WHERE id = $1) FROM {changes} \
         WHERE publication = $1 AND (xact, number) > ($2, $3) AND xact < {XMIN} ORDER BY xact, number LIMIT $4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters = [
        (&id as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8),
        (&after.xact, Type::INT8),
        (&after.number, Type::INT8),
        (&limit, Type::INT8),
    ];
    let reading = async {
        let mut rows = pin!(session.client().query_typed_raw(&query, parameters).await?);
        let (mut reading, mut bytes) = (Reading::default(), 0);
        while let Some(row) = rows.try_next().await? {
            let change = change(&row, time)?;
            let next_offset: Option<i64> = row.try_get(6)?;
            reading.next_offset = next_offset.map(|offset| offset.max(1).unsigned_abs());
            bytes += change.row.as_ref().map_or(0, String::len) + change.old.as_ref().map_or(0, String::len);
            reading.changes.push(change);
            // The rest is thrown away unread.
            if bytes >= bytes_max {
                break;
            }
        }
        Ok::<_, Error>(reading)
    };
    let begin = format!("{}; {BY_INDEX}", sql.begin_read);
    let mut read = session.wait(3, READING, around(session.client(), &begin, reading)).await?;
    if !read.changes.is_empty() {
        return Ok((read, false));
    }
    let query = format!(
        "SELECT {} FROM {changes} c WHERE publication = $1 AND xact >= {XMIN} AND xact > $2 ORDER BY xact, number LIMIT 1",
        held_back::IS_OLD
    );
    let parameters = [(&id as _, Type::INT8), (&after.xact as _, Type::INT8)];
    let asking = around(session.client(), &begin, session.client().query_typed(&query, &parameters));
    let waiting = session.wait(3, READING, asking).await?;
    if waiting.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        read.held_back = Some(held_back::oldest(session, sql).await?);
    }
    Ok((read, !waiting.is_empty()))
}

fn change(row: &Row, time: TimeForm) -> Result<Change, Error> {
    let key = ChangeKey { xact: row.try_get(0)?, number: row.try_get(1)? };
    let event: &str = row.try_get(2)?;
    let forms: Option<&str> = row.try_get(3)?;
    let (new, old): (Option<String>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
    let [row, old] = [new, old].map(|row| row.map(|row| decode(row, forms, time)));
    Ok(Change { key, kind: ChangeKind::of_name(event), row, old })
}

/// The DELETE and the offset's compare-and-swap; any difference leaves nothing behind.
pub(super) async fn finish(
    session: &Session,
    sql: &Sql,
    id: i64,
    done: &Done,
    kept: &[ChangeKey],
) -> Result<(), SinkError> {
    let schema = quote(&sql.schema);
    let but_kept = match kept {
        [] => String::new(),
        kept => {
            let keys: Vec<String> = kept.iter().map(|key| format!("({}, {})", key.xact, key.number)).collect();
            format!(" AND (xact, number) NOT IN (VALUES {})", keys.join(", "))
        }
    };
    let delete = format!(
        "WITH gone AS (DELETE FROM {schema}.rowbridge_changes WHERE publication = $1 AND ({}){but_kept} RETURNING 1) \
         SELECT pg_catalog.count(*) FROM gone",
        between(done.after, done.last)
    );
    let swap = format!(
        "UPDATE {schema}.rowbridge_publications SET next_offset = $3, published = published + $4, skipped = skipped + $5, \
         updated_at = pg_catalog.now() WHERE id = $1 AND next_offset = $2 RETURNING 1"
    );
    let [from, to, published, skipped, changes] =
        [done.from, done.to, done.published, done.skipped, done.changes - kept.len() as u64].map(as_bigint);
    let client = session.client();
    let deleting = [(&id as _, Type::INT8)];
    let numbers = [&id, &from, &to, &published, &skipped];
    let swapping = numbers.map(|number| (number as _, Type::INT8));
    let work = async {
        let (begun, swapped, deleted) = tokio::join!(biased;
            client.batch_execute(&sql.begin),
            client.query_typed(&swap, &swapping),
            client.query_typed(&delete, &deleting),
        );
        begun?;
        let (swapped, deleted) = (swapped?, deleted?);
        let deleted: i64 = deleted.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok::<_, Error>(swapped.len() == 1 && deleted == changes)
    };
    if !session.wait(3, FINISHING, work).await? {
        session.rollback().await?;
        return Err(own(
            Class::OffsetMoved,
            "offset_moved",
            format!("{FINISHING} ({}): they are not there any more, or the offset is another", session.at()),
            "another bridge of this name serves the publication, or somebody changed its tables: it is read again",
        ));
    }
    crash_point!("postgres.publish.deleted");
    session.committing(1, commit(client)).await?.map_err(|error| session.explain(&error, FINISHING))
}

/// The condition for keys behind `after`, up to `last`. Of two bounds for a pair of columns the index uses one only, and
/// what was deleted before is still in it.
fn between(after: ChangeKey, last: ChangeKey) -> String {
    // The least number is none of a bigint in SQL, where the sign is an operator.
    let (after_xact, after_number) = (after.xact.max(-i64::MAX), after.number.max(-i64::MAX));
    let (last_xact, last_number) = (last.xact, last.number);
    if after_xact == last_xact {
        return format!("xact = {last_xact} AND number > {after_number} AND number <= {last_number}");
    }
    format!(
        "xact = {after_xact} AND number > {after_number} OR xact > {after_xact} AND xact < {last_xact} \
         OR xact = {last_xact} AND number <= {last_number}"
    )
}

/// Offsets and counts are far below.
fn as_bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) async fn pending(session: &Session, sql: &Sql, id: i64, limit: u64) -> Result<u64, SinkError> {
    let query = format!(
        "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM {}.rowbridge_changes WHERE publication = $1 LIMIT $2) c",
        quote(&sql.schema)
    );
    let limit = as_bigint(limit);
    let parameters = [(&id as _, Type::INT8), (&limit as _, Type::INT8)];
    let counting = session.client().query_typed(&query, &parameters);
    let rows = session.wait(1, "counting rowbridge_changes", counting).await?;
    let count: i64 = rows.first().map_or(0, |row| row.try_get(0).unwrap_or(0));
    Ok(count.max(0).unsigned_abs())
}

/// See [`crate::sink::changes::ChangeFeed::drop_oldest`].
pub(super) async fn drop_oldest(
    session: &Session,
    sql: &Sql,
    id: i64,
    max_pending: u64,
) -> Result<Option<Overflow>, SinkError> {
    const DROPPING: &str = "dropping changes beyond max_pending";
    let schema = quote(&sql.schema);
    let delete = capture::drop_oldest(&sql.schema, "$1", "$2");
    // First, as the triggers do: who has it, waits for nobody else.
    let lock = format!("SELECT 1 FROM {schema}.rowbridge_publications WHERE id = $1 FOR UPDATE");
    let swap = format!(
        "UPDATE {schema}.rowbridge_publications SET next_offset = next_offset + $2 + {OFFSET_JUMP} \
         WHERE id = $1 AND $2 > 0 RETURNING next_offset"
    );
    let client = session.client();
    let max_pending = as_bigint(max_pending);
    let work = async {
        let deleting = [(&id as _, Type::INT8), (&max_pending as _, Type::INT8)];
        let locking = [(&id as _, Type::INT8)];
        let (begun, locked, deleted) = tokio::join!(biased;
            client.batch_execute(&sql.begin),
            client.query_typed(&lock, &locking),
            client.query_typed(&delete, &deleting),
        );
        begun?;
        locked?;
        let deleted: i64 = deleted?.first().map_or(Ok(0), |row| row.try_get(0))?;
        let swapping = [(&id as _, Type::INT8), (&deleted as _, Type::INT8)];
        let rows = client.query_typed(&swap, &swapping).await?;
        let next: i64 = rows.first().map_or(Ok(1), |row| row.try_get(0))?;
        commit(client).await?;
        Ok::<_, Error>((deleted.max(0).unsigned_abs(), next.max(1).unsigned_abs()))
    };
    let (deleted, next) = session.wait(4, DROPPING, work).await?;
    Ok((deleted > 0).then(|| Overflow::before(next, deleted)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Asked of SQLite, which reads the condition alike.
        #[test]
        fn the_condition_is_that_of_the_pairs(
            first in (0i64..4, 0i64..4), second in (0i64..4, 0i64..4), from_the_first: bool,
        ) {
            let key = |(xact, number)| ChangeKey { xact, number };
            let (after, last) = (first.min(second), first.max(second));
            let after = if from_the_first { (i64::MIN, i64::MIN) } else { after };
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            for (xact, number) in (0..4).flat_map(|xact| (0..4).map(move |number| (xact, number))) {
                let condition = between(key(after), key(last));
                let sql = format!("SELECT {condition} FROM (SELECT {xact} AS xact, {number} AS number)");
                let found: bool = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
                prop_assert_eq!(found, (xact, number) > after && (xact, number) <= last, "{}", sql);
            }
        }
    }
}
