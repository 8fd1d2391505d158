//! Finds the units that the database refuses.
//!
//! In one transaction that is rolled back at the end: ranges of units are written, each under a savepoint, in journal
//! order; a range that is taken stays (later units must see earlier ones: of two equal keys the first wins), one that is
//! refused is split, down to single units. The server usually says which row of a COPY it stumbled on; then the split is
//! "what goes before it, it, what comes after", three tries for an offender and not 2·log₂ n. When all have been tried,
//! the refused ones get a second chance, for a row may refer to one that came later.
//!
//! The compare-and-swap is made here too, so that rows which a rival or a lost COMMIT has already written are not taken
//! for duplicates. Deferred constraints are made immediate: they would speak up only at COMMIT, of no row in particular.

use std::ops::Range;

use tokio_postgres::Error;

use super::copy::{self, CopyError, Rows};
use super::failure::{copy_line, words};
use super::session::Session;
use super::sqlstate::classify;
use super::transaction::Sql;
use super::write;
use crate::sink::{Batch, Class, Refusal, SinkError};

const DOING: &str = "looking for the rows that are refused";

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

/// The refused units of the batch, in journal order. Ends with ROLLBACK unless the session is of no more use.
pub(super) async fn refused_units(session: &Session, sql: &Sql, batch: &Batch) -> Result<Vec<Refusal>, SinkError> {
    let units: Vec<usize> = (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit)).collect();
    write::begin(session, sql, batch, &[], false).await?;
    session.wait(1, DOING, session.client().batch_execute("SET CONSTRAINTS ALL IMMEDIATE")).await?;

    let first_pass = pass(session, batch, &units).await?;
    let mut refused = Vec::new();
    for refusal in first_pass {
        // The second chance.
        if let Attempt::Refused { .. } = attempt(session, batch, &[refusal.unit]).await? {
            refused.push(refusal);
        }
    }
    session.rollback().await?;
    Ok(refused)
}

/// Tries all units in order, keeping what is taken.
async fn pass(session: &Session, batch: &Batch, units: &[usize]) -> Result<Vec<Refusal>, SinkError> {
    let mut refused = Vec::new();
    // Ranges of `units` still to be tried, the next one last.
    let mut waiting: Vec<Range<usize>> = std::iter::once(0..units.len()).collect();
    while let Some(range) = waiting.pop() {
        if range.is_empty() {
            continue;
        }
        let Attempt::Refused { reason, message, suspect } = attempt(session, batch, &units[range.clone()]).await?
        else {
            continue;
        };
        if range.len() == 1 {
            refused.push(Refusal { unit: units[range.start], reason, message });
            continue;
        }
        waiting.extend(split(range, suspect.and_then(|unit| units.binary_search(&unit).ok())));
    }
    refused.sort_by_key(|refusal| refusal.unit);
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

/// Writes the rows of `units` under a savepoint. Three round trips, a fourth to take them back.
async fn attempt(session: &Session, batch: &Batch, units: &[usize]) -> Result<Attempt, SinkError> {
    let client = session.client();
    let tables = Rows::collect(batch, units.iter().copied());
    let steps = u32::try_from(tables.len() + 2).unwrap_or(u32::MAX);
    let tried = session.patience(steps, DOING, write_under_savepoint(session, &tables)).await?;
    let failed = match tried {
        Ok(Ok(())) => return Ok(Attempt::Taken),
        Ok(Err(error)) => return Err(session.explain(&error, DOING)),
        Err(failed) => failed,
    };
    let refusal = failed.error.as_db_error().map(|refusal| (refusal, classify(refusal.code().code())));
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
async fn write_under_savepoint(session: &Session, tables: &[Rows<'_>]) -> Result<Result<(), Error>, CopyError> {
    let client = session.client();
    let (saved, prepared) = tokio::join!(
        biased;
        client.batch_execute("SAVEPOINT attempt"),
        futures_util::future::join_all(tables.iter().map(|rows| rows.prepare(client))),
    );
    let prepared: Result<Vec<_>, Error> = prepared.into_iter().collect();
    match saved.and(prepared) {
        Ok(statements) => {
            copy::run(client, tables, statements, client.batch_execute("RELEASE SAVEPOINT attempt")).await
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
