//! Tables that messages name and that take no rows: a view that takes none, a table without the right, a broken trigger.
//!
//! A table that a rule names is the operator's: it holds the database, and its rules are parked. A table that a message
//! names is the message's choice, as a missing one is: the message is a dead letter of reason `no_table` with the error of
//! the database. The dead letter is written by the same database in the same transaction as the rest of the batch. So it
//! is certain that the table is at fault and not the server: if the server takes nothing, it takes no dead letter either.
//!
//! *Dies before COMMIT:* nothing of the batch is in the database; its messages are read and judged again. *Dies after:* the
//! dead letter is there, and the offset is behind its message.

use std::borrow::Cow;
use std::sync::Arc;

use super::gather::Gatherer;
use super::stop::in_one_line;
use crate::batch::{Batch, RowEncoder};
use crate::config::Rule;
use crate::rule::TableName;
use crate::sink::{Class, ClosedTable, Refusal};

const REASON: &str = "no_table";

/// The units for closed tables that their messages named; none if a rule named all of these tables. Later messages that name
/// a table which took no row at all are refused at once for a while.
pub(super) fn refused<R: RowEncoder>(
    gatherer: &mut Gatherer<R>,
    closed: &[ClosedTable],
    rules: &[Arc<Rule>],
) -> Vec<Refusal> {
    let lasting: Vec<&ClosedTable> = closed.iter().filter(|closed| closed.error.class != Class::Transient).collect();
    for closed in lasting.iter().filter(|closed| closed.at_start) {
        gatherer.refuse_table(&closed.table.name, &why(closed));
    }
    let batch = &gatherer.batch;
    let mut refusals = Vec::new();
    for unit in 0..batch.units.len() {
        if batch.is_excluded(unit) || rules[batch.units[unit].rule].routing.is_none() {
            continue;
        }
        if let Some(closed) = lasting.iter().find(|closed| is_for(batch, unit, closed)) {
            refusals.push(Refusal { unit, reason: REASON, message: why(closed) });
        }
    }
    refusals
}

/// Whether a unit has rows for a table that was closed before them.
fn is_for(batch: &Batch, unit: usize, closed: &ClosedTable) -> bool {
    unit >= closed.unit && batch.tables_of(unit).any(|table| table.name == closed.table.name)
}

/// The error of the database, and the SQL that mends it. Other advice is meant for a database that waits.
fn why(closed: &ClosedTable) -> String {
    let error = in_one_line(&closed.error);
    match closed.error.message.split_once('\n') {
        Some((_, sql)) => format!("{error}; {}", sql.replace('\n', " ")),
        None => error,
    }
}

/// The table under which a rule is held and parked. Where messages name the tables, it is the rule itself: another rule with
/// the same template goes on.
pub(super) fn place_of(rule: &Rule) -> Cow<'_, TableName> {
    match rule.routing {
        None => Cow::Borrowed(&rule.table),
        Some(_) => {
            let name = format!("{} of rule {}", rule.table, rule.name);
            Cow::Owned(TableName { schema: None, name })
        }
    }
}
