//! A refusal whose code does not mention rows: whether the row is at fault or its table.
//!
//! If the next few rows of the table are refused too, a sample of the later ones is tried before all of them are.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Error;

use super::{Attempt, DOING, Offender, Walk};
use crate::rule::TableName;
use crate::sink::postgres::copy::Rows;
use crate::sink::postgres::failure::{judge, words_of_cast};
use crate::sink::postgres::merge;
use crate::sink::{Class, SinkError};

/// After so many rows of a table that were refused with a code that says nothing of rows, and none taken since, a sample of
/// its later rows is tried.
const DOUBTS_MAX: usize = 3;

/// Rows in that sample, spread over the batch. At four round trips each, a second and a half at 25 ms.
const SAMPLE_ROWS: usize = 16;

/// A table that has taken no row for so long takes none: a row that waits for a lock does so until `statement_timeout`.
const PATIENCE_WITHOUT_A_ROW: Duration = Duration::from_secs(10);

/// What the server says of a value that it cannot cast.
pub(super) struct CastRefusal {
    /// Otherwise the type may be gone or forbidden.
    pub(super) is_of_value: bool,
    /// Names the types, never the value.
    pub(super) message: String,
}

impl Walk<'_> {
    /// After `unit` was refused: closes its table if nothing else of it goes in either. `false` if the session is over.
    pub(super) async fn settle_doubt(&mut self, unit: usize) -> Result<bool, SinkError> {
        let Some(Offender { refused, .. }) = self.refused.iter().find(|offender| offender.unit == unit) else {
            return Ok(true);
        };
        let table = Arc::clone(&refused.table);
        let in_doubt = |offender: &&Offender| {
            offender.refused.doubt.is_some()
                && offender.refused.table.name == table.name
                && !self.is_passed(&table.name, offender.unit)
        };
        let count = self.refused.iter().filter(in_doubt).count();
        let Some(Offender { unit: first, refused }) = self.refused.iter().find(in_doubt) else { return Ok(true) };
        if count < DOUBTS_MAX && self.begun.elapsed() < PATIENCE_WITHOUT_A_ROW {
            return Ok(true);
        }
        let closing = (*first, refused.doubt.clone());
        for unit in self.sample(&table.name) {
            match self.probe(unit).await? {
                Attempt::Taken => return Ok(true),
                Attempt::NotBegun(closed) => {
                    self.closed.push(closed);
                    return Ok(false);
                }
                Attempt::Refused(_) if self.begun.elapsed() >= PATIENCE_WITHOUT_A_ROW => break,
                Attempt::Refused(_) => {}
            }
        }
        if let (unit, Some(error)) = closing {
            self.close(unit, table, error);
        }
        Ok(true)
    }

    /// Units of a table that were not tried by themselves yet, spread over the batch, the last one among them.
    fn sample(&self, table: &TableName) -> Vec<usize> {
        let waiting = self.waiting.iter().rev().flat_map(|range| &self.units[range.clone()]).copied();
        let candidates: Vec<usize> = waiting.filter(|&unit| self.fills(unit, table)).collect();
        spread(candidates.len()).map(|index| candidates[index]).collect()
    }

    /// Tries a unit ahead of its turn, and takes it back; that it went in is remembered.
    async fn probe(&mut self, unit: usize) -> Result<Attempt, SinkError> {
        let client = self.session.client();
        let (swallowed, last_statement) = (self.written.swallowed.len(), self.last_statement);
        self.session.wait(1, DOING, client.batch_execute("SAVEPOINT probe")).await?;
        let attempt = self.attempt(&[unit]).await?;
        if !matches!(attempt, Attempt::NotBegun(_)) {
            const BACK: &str = "ROLLBACK TO SAVEPOINT probe; RELEASE SAVEPOINT probe";
            self.session.wait(2, DOING, client.batch_execute(BACK)).await?;
        }
        self.written.swallowed.truncate(swallowed);
        self.last_statement = last_statement;
        Ok(attempt)
    }

    /// Why a value of the rows is refused before any table sees it, if it is: input functions give it codes that say
    /// nothing of values (`regtype` knows no type of this name, an extension has codes of its own), and messages that hold
    /// them.
    pub(super) async fn refusal_by_a_cast(&self, rows: &Rows<'_>) -> Result<Option<CastRefusal>, SinkError> {
        let Some(casts) = merge::casts(rows.target()) else { return Ok(None) };
        let client = self.session.client();
        let Err(error) = self.aside(merge::cast_alone(client, rows)).await? else { return Ok(None) };
        let Some(refusal) = error.as_db_error() else { return Ok(None) };
        // A type that is gone or forbidden has such a code too, and refuses a cast of no value as well.
        const MAY_BE_OF_THE_TYPE: [&str; 5] = ["42501", "42704", "42883", "42846", "42P01"];
        let is_of_value = match judge(refusal).class {
            Class::Transient => false,
            _ if MAY_BE_OF_THE_TYPE.contains(&refusal.code().code()) => {
                self.aside(merge::cast_nothing(client, rows.target())).await?.is_ok()
            }
            _ => true,
        };
        Ok(Some(CastRefusal { is_of_value, message: words_of_cast(refusal, &casts) }))
    }

    /// Runs `work` under a savepoint and takes it back; the inner error is what the server says of it.
    async fn aside(&self, work: impl Future<Output = Result<(), Error>>) -> Result<Result<(), Error>, SinkError> {
        let (session, client) = (self.session, self.session.client());
        const BACK: &str = "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt";
        let all =
            async { tokio::join!(biased; client.batch_execute("SAVEPOINT attempt"), work, client.batch_execute(BACK)) };
        let (saved, worked, back) = session.patience(4, DOING, all).await?;
        saved.and(back).map_err(|error| session.explain(&error, DOING))?;
        match worked {
            Err(error) if error.as_db_error().is_none() => Err(session.explain(&error, DOING)),
            worked => Ok(worked),
        }
    }
}

/// Up to [`SAMPLE_ROWS`] indexes below `count`, the last one among them, each once, the furthest first.
pub(super) fn spread(count: usize) -> impl Iterator<Item = usize> {
    let rows = SAMPLE_ROWS.min(count);
    (0..rows).rev().map(move |row| (row + 1) * count / rows - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_holds_the_last_row_and_none_twice(count in 0usize..10_000) {
            let sample: Vec<usize> = spread(count).collect();
            prop_assert_eq!(sample.len(), count.min(SAMPLE_ROWS));
            prop_assert_eq!(sample.first().copied(), count.checked_sub(1));
            prop_assert!(sample.windows(2).all(|pair| pair[0] > pair[1]));
        }
    }
}
