//! A walk over a batch's units in journal order: accepted units stay, refused units are reported.
//!
//! Each unit is inserted separately, after those before it. A unit that lacks a foreign key's parent is tried again
//! after the others, as long as one of them is accepted, since [`super::write`] takes rows in any order too.
//!
//! The walk has two callers. [`refused_units`] rolls back and reports; [`write_in_order`] commits if nothing was
//! refused.
//!
//! Foreign keys that the table itself declares DEFERRED are only checked at COMMIT. So [`refused_units`] tries a
//! COMMIT, with a commit hook that turns it into a rollback once its checks have passed. If they fail, the units are
//! halved until the refused ones stand alone. One imprecision remains: a unit whose deferred parent comes later in the
//! same batch may be refused along with a unit that is truly at fault.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, Transaction, ffi};

use super::codes::{Moment, code_and_words, refusal_reason, sink_error};
use super::write::{InsertError, Inserter, Refused, begin, put_off_foreign_keys};
use super::{ledger, parked, retained, witness};
use crate::batch::Batch;
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{Class, ClosedTable, Refusal, Refusals, SinkError, Written};

/// The units refused, and the tables that take none, leaving nothing behind.
pub(super) fn refused_units(connection: &mut Connection, batch: &Batch) -> Result<Refusals, SinkError> {
    let mut search = Search { connection, batch, refused: BTreeMap::new() };
    while search.try_each_unit()? == End::Cut {}
    let accepted = search.remaining();
    if search.try_commit(&accepted)?.is_err() {
        search.halve(&mut Vec::new(), &accepted)?;
    }
    Ok(search.refusals())
}

/// Writes the batch unit by unit; `Ok` only after COMMIT.
pub(super) fn write_in_order(connection: &mut Connection, batch: &Batch) -> Result<Written, SinkError> {
    let transaction = begin(connection)?;
    witness::check(witness::current(&transaction)?, batch.tables_at_stake())?;
    ledger::check_guard(&transaction, batch)?;
    ledger::add_dead_letters(&transaction, &batch.offset.bridge, &batch.dead_letters)?;
    retained::remember(&transaction, &batch.offset.bridge, &batch.to_remember())?;
    parked::settle(&transaction, batch)?;
    let kept = (0..batch.units.len()).filter(|&unit| !batch.is_excluded(unit)).collect();
    let walked = walk(&transaction, batch, kept)?;
    if let Some((_, refused)) = walked.refused.into_iter().next() {
        // The transaction is rolled back as it is dropped, if the row has not done so itself.
        return Err(InsertError::Refused(refused).into_sink_error());
    }
    transaction.commit().map_err(|error| sink_error("cannot commit the batch", &error, Moment::Commit))?;
    Ok(walked.written)
}

/// What a walk came to.
struct Walked {
    /// Indexes of units, and what the database has against each. Empty means that every unit is in the transaction.
    refused: Vec<(usize, Refused)>,
    /// Of those that were not refused.
    written: Written,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All were tried.
    Whole,
    /// The last refused row took the transaction with it (`ON CONFLICT ROLLBACK`, `RAISE(ROLLBACK)`).
    Cut,
}

/// Inserts the units of `waiting` one after the other.
fn walk(transaction: &Transaction<'_>, batch: &Batch, mut waiting: Vec<usize>) -> Result<Walked, SinkError> {
    let mut walked = Walked { refused: Vec::new(), written: Written::default(), end: End::Whole };
    let mut taken: Vec<usize> = Vec::with_capacity(waiting.len());
    let mut last_statement = 0;
    loop {
        let mut lacking = Vec::new();
        for &unit in &waiting {
            crash_point!("sqlite.unit.tried");
            let repeated = match taken.last() {
                Some(&last) if last > unit => batch.to_be_repeated(&[unit], taken.iter().copied()),
                _ => Vec::new(),
            };
            let refused = match try_unit(transaction, batch, unit, &repeated)? {
                Ok(written) => {
                    walked.written.swallowed.extend(written.swallowed);
                    taken.insert(taken.partition_point(|&other| other < unit), unit);
                    if batch.has_statement(unit) {
                        last_statement = unit.max(last_statement);
                    }
                    continue;
                }
                Err(refused) => refused,
            };
            if transaction.is_autocommit() {
                walked.refused.push((unit, refused));
                walked.end = End::Cut;
                return Ok(walked);
            }
            if refused.lacks_parent {
                lacking.push((unit, refused));
            } else {
                walked.refused.push((unit, refused));
            }
        }
        // Every round but the last lets at least one unit in.
        if lacking.is_empty() || lacking.len() == waiting.len() {
            walked.refused.extend(lacking);
            return Ok(walked);
        }
        // A statement does not go in behind a later one.
        let is_late = |(unit, _): &(usize, Refused)| *unit < last_statement && batch.has_statement(*unit);
        let (late, lacking): (Vec<_>, Vec<_>) = lacking.into_iter().partition(is_late);
        walked.refused.extend(late);
        waiting = lacking.into_iter().map(|(unit, _)| unit).collect();
    }
}

struct Search<'a> {
    connection: &'a mut Connection,
    batch: &'a Batch,
    refused: BTreeMap<usize, Refused>,
}

impl Search<'_> {
    fn remaining(&self) -> Vec<usize> {
        (0..self.batch.units.len())
            .filter(|unit| !self.batch.is_excluded(*unit) && !self.refused.contains_key(unit))
            .collect()
    }

    /// Where a later row of its table goes in, a refused row is at fault; where none does, a code that says nothing of rows
    /// closes the table.
    fn refusals(self) -> Refusals {
        let mut passed: HashMap<&TableName, usize> = HashMap::new();
        // In order, so the last one of each table stays.
        for unit in self.remaining() {
            passed.extend(self.batch.tables_of(unit).map(|table| (&table.name, unit)));
        }
        let mut closed_tables = HashSet::new();
        let mut refusals = Refusals::default();
        for (unit, refused) in self.refused {
            match (refused.doubt, refused.table) {
                (Some(error), Some(table)) if passed.get(&table.name).is_none_or(|&passed| passed < unit) => {
                    if closed_tables.insert(table.name.clone()) {
                        let is_its_own = error.class == Class::Table;
                        refusals.closed.push(ClosedTable { unit, table, error: *error, at_start: false, is_its_own });
                    }
                }
                _ => refusals.units.push(Refusal { unit, reason: refused.reason, message: refused.message }),
            }
        }
        refusals
    }

    /// After a cut: begin again without the units refused so far.
    fn try_each_unit(&mut self) -> Result<End, SinkError> {
        let remaining = self.remaining();
        let transaction = begin(self.connection)?;
        let Walked { refused, end, .. } = walk(&transaction, self.batch, remaining)?;
        if end == End::Whole {
            transaction
                .rollback()
                .map_err(|error| sink_error("cannot roll back a trial", &error, Moment::Elsewhere))?;
        }
        self.refused.extend(refused);
        Ok(end)
    }

    /// Whether these units would commit together, and if not, why. They are rolled back in any case.
    fn try_commit(&mut self, units: &[usize]) -> Result<Result<(), Refused>, SinkError> {
        let failed = |error: rusqlite::Error| sink_error("cannot try a commit", &error, Moment::Elsewhere);
        self.connection.commit_hook(Some(|| true)).map_err(failed)?;
        let outcome = commit_under_hook(self.connection, self.batch, units);
        self.connection.commit_hook(None::<fn() -> bool>).map_err(failed)?;
        outcome
    }

    /// Finds the offenders among `units`, given `accepted`, to which it adds the rest.
    fn halve(&mut self, accepted: &mut Vec<usize>, units: &[usize]) -> Result<(), SinkError> {
        let mut together = accepted.clone();
        together.extend_from_slice(units);
        match (self.try_commit(&together)?, units) {
            (Ok(()), _) => {
                *accepted = together;
                return Ok(());
            }
            (Err(refused), &[unit]) => {
                self.refused.insert(unit, refused);
                return Ok(());
            }
            (Err(_), _) => {}
        }
        let (first, second) = units.split_at(units.len() / 2);
        self.halve(accepted, first)?;
        self.halve(accepted, second)
    }
}

/// Inserts one unit, followed by the units that must be repeated, or nothing of it.
fn try_unit(
    connection: &Connection,
    batch: &Batch,
    unit: usize,
    repeated: &[usize],
) -> Result<Result<Written, Refused>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot try a row", &error, Moment::Elsewhere);
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    run("SAVEPOINT unit").map_err(failed)?;
    let inserted = insert_unit(connection, batch, unit).and_then(|written| {
        repeated.iter().try_for_each(|&unit| insert_unit(connection, batch, unit).map(drop))?;
        Ok(written)
    });
    match inserted {
        Ok(written) => {
            run("RELEASE unit").map_err(failed)?;
            Ok(Ok(written))
        }
        // A table that is gone, say: others go in all the same.
        Err((_, InsertError::Failed(error))) if error.class != Class::Table => Err(error),
        Err((table, error)) => {
            let refused = error.into_refused(table);
            // Without a transaction the savepoint is gone as well.
            if !connection.is_autocommit() {
                run("ROLLBACK TO unit").and_then(|_| run("RELEASE unit")).map_err(failed)?;
            }
            Ok(Err(refused))
        }
    }
}

/// An error comes with the table that refused.
fn insert_unit<'b>(
    connection: &Connection,
    batch: &'b Batch,
    unit: usize,
) -> Result<Written, (&'b Arc<TableSchema>, InsertError)> {
    let rule = Some(batch.units[unit].rule);
    let mut written = Written::default();
    for run in batch.runs_of(unit) {
        let portion = &batch.portions[run.portion];
        let table = &portion.target.table;
        let inserted = Inserter::new(connection, portion).insert_singly(run.first_row, run.row_count);
        let taken = inserted.map_err(|error| (table, error))?;
        written.note(&portion.target, rule, run.row_count as u64, taken);
    }
    Ok(written)
}

/// A commit hook that refuses must be in place.
fn commit_under_hook(
    connection: &mut Connection,
    batch: &Batch,
    units: &[usize],
) -> Result<Result<(), Refused>, SinkError> {
    let transaction = begin(connection)?;
    put_off_foreign_keys(&transaction)?;
    for &unit in units {
        match insert_unit(&transaction, batch, unit) {
            Ok(_) => {}
            Err((_, InsertError::Failed(error))) => return Err(error),
            Err((_, InsertError::Refused(refused))) => return Ok(Err(refused)),
        }
    }
    let Err(error) = transaction.commit() else { return Ok(Ok(())) };
    let found = sink_error("cannot commit the row", &error, Moment::Commit);
    match code_and_words(&error).map(|(code, _)| code) {
        // All checks have passed.
        Some(ffi::SQLITE_CONSTRAINT_COMMITHOOK) => Ok(Ok(())),
        Some(code) if found.class == Class::Row => Ok(Err(Refused {
            code: found.code,
            reason: refusal_reason(code),
            message: found.message,
            lacks_parent: true,
            table: None,
            doubt: None,
        })),
        _ => Err(found),
    }
}
