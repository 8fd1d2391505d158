//! A walk over a batch's units in journal order: accepted units stay, refused units are reported.
//!
//! Within one transaction, ranges of units are written, each under a savepoint. An accepted range stays, because later
//! units must see earlier ones (of two equal keys the first wins). A refused range is split, down to single units. The
//! server usually names the row of a COPY at which it stopped; the range is then split into the units before it, the
//! unit itself, and the units after it: three tries per refused unit instead of 2·log₂ n. Refused units are tried again
//! as long as one of them is accepted, because a row may refer to a later one; not so after a refusal that a later row
//! does not change, such as that of a unique index.
//!
//! A code of class 22 or 23 blames the row. Any other code may come from a trigger that refuses one row, or from a
//! fault of the table (an exhausted sequence, a missing right). The two differ in whether later rows of the table are
//! accepted (`walk/doubt.rs`).
//!
//! The walk has two callers. [`refused_units`] rolls back and reports; [`write_in_order`] commits if nothing was
//! refused.
//!
//! Both make the compare-and-swap first, so that rows which another instance or a COMMIT without an answer has already
//! written are not taken for duplicates. Deferred constraints are set immediate, because at COMMIT they would not name
//! a row.

mod again;
mod doubt;
pub(super) mod ender;
mod savepoint;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::error::DbError;

use self::savepoint::{BACK, write_under_savepoint};
use super::copy::Rows;
use super::failure::{ENCODING_CHANGED_BY, column_of, copy_line, encoding_changed, judge, own, words};
use super::session::Session;
use super::sqlstate::{LOCK_NOT_AVAILABLE, may_be_of_one_table};
use super::statements;
use super::transaction::{BOUND_LOCK_WAIT, ENCODING_CHANGED, Sql};
use super::witness::Expected;
use super::write;
use crate::batch::Batch;
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{Class, ClosedTable, REFUSALS_MAX, Refusal, Refusals, SinkError, Written};

const DOING: &str = "writing in the order of the journal";

const CLOSED_ADVICE: &str = "find who holds the table (pg_locks, pg_stat_activity) and end that transaction, or look at the \
                             table's triggers";

/// What came of writing some units under a savepoint.
enum Attempt {
    Taken,
    Refused(Refused),
    /// A COPY could not even begin: whatever its code says, no row is at fault. The session is of no more use.
    NotBegun(ClosedTable),
}

struct Refused {
    /// The table that refused a row.
    table: Arc<TableSchema>,
    reason: &'static str,
    message: String,
    /// The unit that the server named, if it named one.
    suspect: Option<usize>,
    /// What it is if no row is at fault; `None` if the code blames the row.
    doubt: Option<SinkError>,
    /// The server ended the wait for a lock.
    is_locked: bool,
    /// Later rows cannot change it: a value, or what was in the table when it was the unit's turn, is at fault.
    is_final: bool,
}

/// A unit refused by itself.
struct Offender {
    unit: usize,
    refused: Refused,
}

/// At most [`REFUSALS_MAX`] refused units of the batch, in journal order, and the tables that take none; and whether the
/// session can still be used. Ends with ROLLBACK.
pub(super) async fn refused_units(session: &Session, sql: &Sql, batch: &Batch) -> Result<(Refusals, bool), SinkError> {
    write::begin(session, sql, batch, &[], false).await?;
    session.wait(1, DOING, session.client().batch_execute(BOUND_LOCK_WAIT)).await?;
    let mut walk = Walk::new(session, batch);
    walk.run().await?;
    let refusals = walk.refusals();
    let rolled_back = session.rollback().await;
    let session_lives = rolled_back.is_ok();
    // Without a closed table, there is nothing else that explains it.
    if refusals.closed.is_empty() {
        rolled_back?;
    }
    Ok((refusals, session_lives))
}

/// Writes the batch unit by unit where it must be; `Ok` only after COMMIT was confirmed. The caller rolls back after an
/// error.
pub(super) async fn write_in_order(session: &Session, sql: &Sql, batch: &Batch) -> Result<Written, SinkError> {
    write::begin(session, sql, batch, &[], true).await?;
    let mut walk = Walk::new(session, batch);
    walk.run().await?;
    let written = std::mem::take(&mut walk.written);
    let Refusals { units, closed } = walk.refusals();
    if let Some(closed) = closed.into_iter().next() {
        return Err(closed.error);
    }
    if let Some(refusal) = units.first() {
        let seq = batch.units[refusal.unit].seq;
        return Err(own(
            Class::Row,
            "refused",
            format!("{DOING} ({}): a row of message {seq} is refused: {}", session.at(), refusal.message),
            "the refused message is handled as its rule's on_error says",
        ));
    }
    let expected = Expected::of(batch.tables_at_stake());
    session.committing(2, expected.commit(session.client())).await?.explain(session)?;
    Ok(written)
}

/// A walk over all units, in the transaction that is open.
struct Walk<'a> {
    session: &'a Session,
    batch: &'a Batch,
    /// Those to be tried, in journal order.
    units: Vec<usize>,
    /// Ranges of `units` that were not tried yet, not empty ones, the next one last.
    waiting: Vec<Range<usize>>,
    refused: Vec<Offender>,
    closed: Vec<ClosedTable>,
    /// The last unit of each table that is known to go in.
    passed: HashMap<TableName, usize>,
    /// The last unit with a statement of its rule's own that is in.
    last_statement: Option<usize>,
    written: Written,
    begun: Instant,
}

impl<'a> Walk<'a> {
    fn new(session: &'a Session, batch: &'a Batch) -> Walk<'a> {
        Walk::of(session, batch, (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit)).collect())
    }

    /// Of these units only.
    fn of(session: &'a Session, batch: &'a Batch, units: Vec<usize>) -> Walk<'a> {
        Walk {
            session,
            batch,
            waiting: Vec::from_iter((!units.is_empty()).then_some(0..units.len())),
            units,
            refused: Vec::new(),
            closed: Vec::new(),
            passed: HashMap::new(),
            last_statement: None,
            written: Written::default(),
            begun: Instant::now(),
        }
    }

    /// Nothing refused and nothing closed means that every unit is in the transaction.
    ///
    /// When so many are refused for good it ends early, as though the batch ended with the message reached: a parent that
    /// would have come later is missed then, as it is by a batch that really ends there.
    async fn run(&mut self) -> Result<(), SinkError> {
        self.session.wait(1, DOING, self.session.client().batch_execute("SET CONSTRAINTS ALL IMMEDIATE")).await?;
        loop {
            if !self.first_chances().await? || !self.further_chances().await? {
                return Ok(());
            }
            // With room for many more, going on is worth it.
            if self.refused.len() > REFUSALS_MAX / 2 || self.waiting.is_empty() {
                // The message at the limit may have brought a few too many.
                self.refused.truncate(REFUSALS_MAX);
                return Ok(());
            }
        }
    }

    /// The result.
    fn refusals(mut self) -> Refusals {
        let mut refusals = Refusals::default();
        for Offender { unit, refused } in std::mem::take(&mut self.refused) {
            match refused.doubt {
                // A row that somebody else holds is not at fault, even if others go in.
                Some(error) if refused.is_locked || !self.is_passed(&refused.table.name, unit) => {
                    self.close(unit, refused.table, error);
                }
                _ => refusals.units.push(Refusal { unit, reason: refused.reason, message: refused.message }),
            }
        }
        refusals.closed = self.closed;
        refusals
    }

    /// Whether a table of the unit's is closed.
    fn is_closed(&self, unit: usize) -> bool {
        self.closed.iter().any(|closed| self.fills(unit, &closed.table.name))
    }

    fn fills(&self, unit: usize, table: &TableName) -> bool {
        self.batch.tables_of(unit).any(|filled| filled.name == *table)
    }

    /// Whether a unit later than this one goes into the table.
    fn is_passed(&self, table: &TableName, unit: usize) -> bool {
        self.passed.get(table).is_some_and(|&passed| passed > unit)
    }

    /// Whether the unit has a statement and one of a later unit is in: it does not go in behind that.
    fn is_late(&self, unit: usize) -> bool {
        self.last_statement.is_some_and(|last| unit < last) && self.batch.has_statement(unit)
    }

    fn pass(&mut self, units: &[usize]) {
        for &unit in units {
            if self.batch.has_statement(unit) {
                self.last_statement = self.last_statement.max(Some(unit));
            }
            for table in self.batch.tables_of(unit) {
                match self.passed.get_mut(&table.name) {
                    Some(passed) => *passed = unit.max(*passed),
                    None => drop(self.passed.insert(table.name.clone(), unit)),
                }
            }
        }
    }

    fn close(&mut self, unit: usize, table: Arc<TableSchema>, error: SinkError) {
        if !self.closed.iter().any(|closed| closed.table.name == table.name) {
            let others_pass = self.passed.keys().any(|passed| *passed != table.name);
            let is_its_own = error.class == Class::Table || may_be_of_one_table(&error.code) || others_pass;
            self.closed.push(ClosedTable { unit, table, error, at_start: false, is_its_own });
        }
    }

    /// Tries what is waiting, keeping what is taken: to the end, or until [`REFUSALS_MAX`] units are refused and their
    /// message is done, whose rows may refer to each other. `false` if the session is over.
    async fn first_chances(&mut self) -> Result<bool, SinkError> {
        let seq = |walk: &Walk<'_>, index: usize| walk.batch.units[walk.units[index]].seq;
        while let Some(range) = self.waiting.pop() {
            let begins_message = range.start == 0 || seq(self, range.start) != seq(self, range.start - 1);
            if self.refused.len() >= REFUSALS_MAX && begins_message {
                self.waiting.push(range);
                break;
            }
            let mut tried: Vec<usize> = self.units[range.clone()].to_vec();
            tried.retain(|&unit| !self.is_closed(unit));
            if tried.is_empty() {
                continue;
            }
            let attempt = self.attempt(&tried).await?;
            crash_point!("postgres.unit.tried");
            let refused = match attempt {
                Attempt::Taken => continue,
                Attempt::NotBegun(closed) => {
                    self.closed.push(closed);
                    return Ok(false);
                }
                Attempt::Refused(refused) => refused,
            };
            if let [unit] = tried[..] {
                self.refused.push(Offender { unit, refused });
                if !self.settle_doubt(unit).await? {
                    return Ok(false);
                }
                continue;
            }
            let parts = split(range, refused.suspect.and_then(|unit| self.units.binary_search(&unit).ok()));
            self.waiting.extend(parts.into_iter().filter(|part| !part.is_empty()));
        }
        Ok(true)
    }

    /// Writes the rows of `units` under a savepoint. Three round trips, two more for each further table, a last one to take
    /// them back.
    async fn attempt(&mut self, units: &[usize]) -> Result<Attempt, SinkError> {
        let session = self.session;
        let mut written = Written::default();
        let tables = Rows::collect(self.batch, units.iter().copied());
        let (plain, _) = statements::split(&tables);
        // The patience begins anew with each table.
        let steps = plain.iter().map(Rows::statement_count).max().unwrap_or(0).saturating_add(4);
        let tried = session.patience(steps, DOING, write_under_savepoint(session, &tables, &mut written)).await?;
        let failed = match tried {
            Ok(Ok(())) => {
                self.written.swallowed.append(&mut written.swallowed);
                self.pass(units);
                return Ok(Attempt::Taken);
            }
            Ok(Err(error)) if error.code().is_some_and(|code| code.code() == ENCODING_CHANGED) => {
                session.wait(2, DOING, session.client().batch_execute(BACK)).await?;
                let error = encoding_changed(DOING, session.at());
                return tables.first().map(|rows| refused_for_encoding(rows, &error)).ok_or(error);
            }
            Ok(Err(error)) => return Err(session.explain(&error, DOING)),
            Err(failed) => failed,
        };
        let mut error = failed.explain(session, &tables);
        let Some(refusal) = failed.error.as_db_error() else { return Err(error) };
        let first = units.iter().copied().find(|&unit| tables[failed.table].holds(unit));
        let table = Arc::clone(&tables[failed.table].target().table);
        let is_its_own = may_be_of_one_table(&error.code);
        if failed.at_start && is_its_own {
            (error.class, error.advice) = (Class::Transient, CLOSED_ADVICE);
        }
        match (error.class, first) {
            (Class::Table, Some(unit)) => {
                return Ok(Attempt::NotBegun(ClosedTable { unit, table, error, at_start: true, is_its_own: true }));
            }
            (Class::Transient, Some(unit)) if failed.at_start && is_its_own => {
                return Ok(Attempt::NotBegun(ClosedTable { unit, table, error, at_start: true, is_its_own }));
            }
            (class, _) if class.may_be_a_row() => {}
            _ => return Err(error),
        }
        session.wait(2, DOING, session.client().batch_execute(BACK)).await?;
        let line = failed.line.or_else(|| refusal.where_().and_then(copy_line));
        let suspect = line.and_then(|line| tables[failed.table].unit_of_line(line));
        let verdict = judge(refusal);
        let mut reason = if verdict.class == Class::Row { verdict.reason } else { "constraint" };
        let mut is_sure = error.class == Class::Row;
        let mut message = words(refusal);
        if units.len() == 1
            && !says_where(refusal)
            && let Some(cast) = self.refusal_by_a_cast(&tables[failed.table]).await?
        {
            if !is_sure && cast.is_of_value {
                (is_sure, reason) = (true, "value");
            }
            error.message = error.message.replace(&message, &cast.message);
            message = cast.message;
        }
        error.class = error.class.without_a_row();
        if error.class == Class::Transient && may_be_of_one_table(&error.code) {
            error.advice = CLOSED_ADVICE;
        }
        let doubt = (!is_sure).then_some(error);
        // A doubtful one may have met a table that is being mended: a missing partition has the code of a CHECK.
        let is_final = doubt.is_none() && is_final(refusal.code().code());
        // A trigger may raise that code as well.
        let is_locked = refusal.code().code() == LOCK_NOT_AVAILABLE && refusal.routine() != Some("exec_stmt_raise");
        Ok(Attempt::Refused(Refused { table, reason, message, suspect, doubt, is_locked, is_final }))
    }
}

/// Of the tables that a unit fills the first one is taken for the one that did it.
fn refused_for_encoding(rows: &Rows<'_>, error: &SinkError) -> Attempt {
    Attempt::Refused(Refused {
        table: Arc::clone(&rows.target().table),
        reason: "constraint",
        message: ENCODING_CHANGED_BY.to_owned(),
        suspect: None,
        doubt: Some(SinkError { class: error.class.without_a_row(), ..error.clone() }),
        is_locked: false,
        is_final: false,
    })
}

/// Whether [`words`] say what of the row is at fault: a constraint, or the column of a value.
fn says_where(refusal: &DbError) -> bool {
    match &refusal.code().code()[..2] {
        "23" => true,
        "22" => column_of(refusal).is_some(),
        _ => false,
    }
}

/// Whether a refusal with this code stands whatever comes later. A row that is accepted after all because a later one has
/// changed what it met would take its place out of turn; one with `mode: ignore` would be passed over, though it came
/// first.
fn is_final(code: &str) -> bool {
    code.starts_with("22") || matches!(code, "23502" | "23505" | "23514" | "23P01")
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
