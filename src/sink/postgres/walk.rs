//! A walk over a batch's units in journal order: what the database takes stays, what it refuses is named.
//!
//! Within one transaction, ranges of units are written, each under a savepoint; a range that is taken stays (later units
//! must see earlier ones: of two equal keys the first wins), one that is refused is split, down to single units. The
//! server usually says which row of a COPY it stumbled on; then the split is "what goes before it, it, what comes after",
//! three tries for an offender and not 2·log₂ n. The refused ones get further chances as long as one of them moves, for
//! a row may refer to one that came later.
//!
//! It serves two callers. [`refused_units`] rolls back and tells; [`write_in_order`] commits if nothing was refused.
//!
//! The compare-and-swap is made first for both, so that rows which a rival or a lost COMMIT has already written are not
//! taken for duplicates. Deferred constraints are made immediate: they would speak up only at COMMIT, of no row in
//! particular.

use std::ops::Range;

use tokio_postgres::Error;

use super::copy::{self, CopyError, Rows, Start};
use super::failure::{copy_line, judge, own, words};
use super::session::Session;
use super::transaction::Sql;
use super::witness::Expected;
use super::write;
use crate::sink::{Batch, Class, REFUSALS_MAX, Refusal, SinkError, Written};

const DOING: &str = "writing in the order of the journal";

/// What came of writing some units under a savepoint.
enum Attempt {
    Taken,
    Refused {
        reason: &'static str,
        message: String,
        /// The unit that the server named, if it named one.
        suspect: Option<usize>,
    },
}

/// At most [`REFUSALS_MAX`] refused units of the batch, in journal order. Ends with ROLLBACK unless the session is of no
/// more use.
pub(super) async fn refused_units(session: &Session, sql: &Sql, batch: &Batch) -> Result<Vec<Refusal>, SinkError> {
    write::begin(session, sql, batch, &[], false).await?;
    let refused = walk(session, batch, &mut Written::default()).await?;
    session.rollback().await?;
    Ok(refused)
}

/// Writes the batch unit by unit where it must be; `Ok` only after COMMIT was confirmed. The caller rolls back after an
/// error.
pub(super) async fn write_in_order(session: &Session, sql: &Sql, batch: &Batch) -> Result<Written, SinkError> {
    let mut written = Written::default();
    write::begin(session, sql, batch, &[], true).await?;
    if let Some(refusal) = walk(session, batch, &mut written).await?.first() {
        let seq = batch.units[refusal.unit].seq;
        return Err(own(
            Class::Row,
            "refused",
            format!("{DOING} ({}): a row of message {seq} is refused: {}", session.at(), refusal.message),
            "the offending message is set apart as its rule's on_error says",
        ));
    }
    let expected = Expected::of(batch.tables_at_stake());
    session.committing(2, expected.commit(session.client())).await?.explain(session)?;
    Ok(written)
}

/// Walks over all units, in the transaction that is open. Empty means that every unit is in it.
///
/// When so many are refused for good it ends early, as though the batch ended with the message reached: a parent that
/// would have come later is missed then, as it is by a batch that really ends there.
async fn walk(session: &Session, batch: &Batch, written: &mut Written) -> Result<Vec<Refusal>, SinkError> {
    session.wait(1, DOING, session.client().batch_execute("SET CONSTRAINTS ALL IMMEDIATE")).await?;
    let units: Vec<usize> = (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit)).collect();
    let mut waiting = Vec::from_iter((!units.is_empty()).then_some(0..units.len()));
    let mut refused = Vec::new();
    loop {
        first_chances(session, batch, &units, &mut waiting, &mut refused, written).await?;
        refused = further_chances(session, batch, refused, written).await?;
        // With room for many more, going on is worth it.
        if refused.len() > REFUSALS_MAX / 2 || waiting.is_empty() {
            // The message at the limit may have brought a few too many.
            refused.truncate(REFUSALS_MAX);
            return Ok(refused);
        }
    }
}

/// Tries the ranges of `units` in `waiting` (not empty ones, the next one last), keeping what is taken: to the end, or
/// until [`REFUSALS_MAX`] units are `refused` and their message is done, whose rows may refer to each other.
async fn first_chances(
    session: &Session,
    batch: &Batch,
    units: &[usize],
    waiting: &mut Vec<Range<usize>>,
    refused: &mut Vec<Refusal>,
    written: &mut Written,
) -> Result<(), SinkError> {
    let seq = |index: usize| batch.units[units[index]].seq;
    while let Some(range) = waiting.pop() {
        let begins_message = range.start == 0 || seq(range.start) != seq(range.start - 1);
        if refused.len() >= REFUSALS_MAX && begins_message {
            waiting.push(range);
            break;
        }
        let tried = attempt(session, batch, &units[range.clone()], written).await?;
        crash_point!("postgres.unit.tried");
        let Attempt::Refused { reason, message, suspect } = tried else { continue };
        if range.len() == 1 {
            refused.push(Refusal { unit: units[range.start], reason, message });
            continue;
        }
        let parts = split(range, suspect.and_then(|unit| units.binary_search(&unit).ok()));
        waiting.extend(parts.into_iter().filter(|part| !part.is_empty()));
    }
    Ok(())
}

/// Tries the refused units again until none of them moves; returns those that are still refused.
async fn further_chances(
    session: &Session,
    batch: &Batch,
    mut refused: Vec<Refusal>,
    written: &mut Written,
) -> Result<Vec<Refusal>, SinkError> {
    while !refused.is_empty() {
        // Often all of them are children whose parents came behind them: one COPY for each table then takes them.
        let units: Vec<usize> = refused.iter().map(|refusal| refusal.unit).collect();
        if units.len() > 1
            && let Attempt::Taken = attempt(session, batch, &units, written).await?
        {
            return Ok(Vec::new());
        }
        let mut still_refused = Vec::new();
        for &unit in &units {
            if let Attempt::Refused { reason, message, .. } = attempt(session, batch, &[unit], written).await? {
                still_refused.push(Refusal { unit, reason, message });
            }
        }
        refused = still_refused;
        if refused.len() == units.len() {
            break;
        }
    }
    Ok(refused)
}

/// The parts of a refused range of two or more, the one to be tried next last; each is shorter than the whole.
fn split(range: Range<usize>, suspect: Option<usize>) -> Vec<Range<usize>> {
    match suspect.filter(|suspect| range.contains(suspect)) {
        Some(suspect) => vec![suspect + 1..range.end, suspect..suspect + 1, range.start..suspect],
        None => {
            let middle = range.start + range.len() / 2;
            vec![middle..range.end, range.start..middle]
        }
    }
}

/// Writes the rows of `units` under a savepoint. Three round trips, two more for each further table, a last one to take
/// them back.
async fn attempt(
    session: &Session,
    batch: &Batch,
    units: &[usize],
    written: &mut Written,
) -> Result<Attempt, SinkError> {
    let mut tried_written = Written::default();
    let client = session.client();
    let tables = Rows::collect(batch, units.iter().copied());
    let steps = tables.iter().map(|rows| rows.statement_count().saturating_add(1)).fold(2, u32::saturating_add);
    let tried = session.patience(steps, DOING, write_under_savepoint(session, &tables, &mut tried_written)).await?;
    let failed = match tried {
        Ok(Ok(())) => {
            written.swallowed.append(&mut tried_written.swallowed);
            return Ok(Attempt::Taken);
        }
        Ok(Err(error)) => return Err(session.explain(&error, DOING)),
        Err(failed) => failed,
    };
    let refusal = failed.error.as_db_error().map(|refusal| (refusal, judge(refusal)));
    let Some((refusal, verdict)) = refusal.filter(|(_, verdict)| verdict.class == Class::Row && !failed.at_start)
    else {
        return Err(failed.explain(session, &tables));
    };
    session.wait(2, DOING, client.batch_execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")).await?;
    let line = refusal.where_().and_then(copy_line);
    let suspect = line.and_then(|line| tables[failed.table].unit_of_line(line));
    Ok(Attempt::Refused { reason: verdict.reason, message: words(refusal), suspect })
}

/// The outer error is a COPY's, the inner one that of the savepoint around it.
async fn write_under_savepoint(
    session: &Session,
    tables: &[Rows<'_>],
    written: &mut Written,
) -> Result<Result<(), Error>, CopyError> {
    let client = session.client();
    let (saved, prepared) = tokio::join!(
        biased;
        client.batch_execute("SAVEPOINT attempt"),
        futures_util::future::join_all(tables.iter().map(|rows| rows.prepare(client))),
    );
    let prepared: Result<Vec<_>, Error> = prepared.into_iter().collect();
    match saved.and(prepared) {
        Ok(statements) => {
            let release = client.batch_execute("RELEASE SAVEPOINT attempt");
            copy::run(client, tables, statements, Start::InTurn, release, written).await
        }
        Err(error) => Ok(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_split_covers_the_range_once_in_order_with_shorter_parts(
            start in 0usize..100, len in 2usize..100, suspect in prop::option::of(0usize..250),
        ) {
            let range = start..start + len;
            let mut parts = split(range.clone(), suspect);
            parts.reverse();
            let covered: Vec<usize> = parts.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, range.collect::<Vec<_>>());
            prop_assert!(parts.iter().all(|part| part.len() < len));
        }
    }
}
