//! What became of the rows of a transaction that was committed.

use std::sync::Arc;

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

/// What the database told of a committed transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Empty where every row is in its table.
    pub swallowed: Vec<Swallowed>,
}

impl Written {
    /// Notes that of `sent` rows for `table` the database counted `taken`. Where a rule of the table's own puts rows
    /// elsewhere, the count says nothing.
    pub fn note(&mut self, table: &Arc<TableSchema>, rule: Option<usize>, sent: u64, taken: u64) {
        let rows = sent.saturating_sub(taken);
        if rows > 0 && !table.intake.diverts {
            self.swallowed.push(Swallowed { table: Arc::clone(table), rule, rows });
        }
    }
}
