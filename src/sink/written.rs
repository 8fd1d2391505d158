//! The outcome of the rows of a committed transaction.

use std::sync::Arc;

use crate::batch::{Target, Verb};
use crate::schema::TableSchema;

/// Rows that a table was given and did not take, without an error: a trigger returned NULL, a rule or an `ON CONFLICT` of
/// the table's own ignored them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swallowed {
    pub table: Arc<TableSchema>,
    /// Index into the compiled rules of this database; `None` where several rules filled the table and the database does
    /// not say whose rows these were.
    pub rule: Option<usize>,
    pub rows: u64,
}

/// The database's report on a committed transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Empty where every row is in its table.
    pub swallowed: Vec<Swallowed>,
}

impl Written {
    /// Rows that the tables did not take, without an error.
    pub fn rows_swallowed(&self) -> u64 {
        self.swallowed.iter().map(|swallowed| swallowed.rows).sum()
    }

    /// Notes that of `sent` rows for a target the database counted `taken`. Where a rule of the table's own puts rows
    /// elsewhere, the count says nothing; nor does it of rows that were to be passed over where their key is there, or of a
    /// statement of the rule's own.
    pub fn note(&mut self, target: &Target, rule: Option<usize>, sent: u64, taken: u64) {
        let table = &target.table;
        let rows = sent.saturating_sub(taken);
        let is_told = match target.verb {
            Verb::Insert => true,
            Verb::Ignore(_) | Verb::Statement(_) => false,
            // Rows of one key may count as one; but one of them at least must have gone in.
            Verb::Upsert(_) => taken == 0,
        };
        if rows > 0 && is_told && !table.intake.diverts {
            self.swallowed.push(Swallowed { table: Arc::clone(table), rule, rows });
        }
    }
}
