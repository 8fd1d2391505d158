//! The result of a retry.

use crate::sink::SinkError;

/// What became of dead letters that were tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retried {
    /// Messages whose rows are in the database; their letters are gone.
    pub written: u64,
    pub rows: u64,
    /// Rows of these that their tables ignored.
    pub rows_swallowed: u64,
    /// Messages of which the rule wants no row; their letters are gone.
    pub filtered: u64,
    /// Messages that gave no row again; their letters stay.
    pub refused: u64,
    /// The first of these: its id, and why.
    pub first_refused: Option<(i64, String)>,
}

impl Retried {
    pub fn letters(&self) -> u64 {
        self.written + self.filtered + self.refused
    }

    pub(super) fn add(&mut self, other: Retried) {
        self.written += other.written;
        self.rows += other.rows;
        self.rows_swallowed += other.rows_swallowed;
        self.filtered += other.filtered;
        self.refused += other.refused;
        self.first_refused = self.first_refused.take().or(other.first_refused);
    }
}

/// Why a retry ended before it was through. What was done until then is done.
#[derive(Debug)]
pub enum RetryFailure {
    /// The rule's table takes no rows: why, and what would mend it.
    Table { reason: String, mend: Option<String> },
    /// The database cannot be used.
    Database(SinkError),
}
