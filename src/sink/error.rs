//! What a database error means for delivery.

use thiserror::Error;

/// What to do about an error. Unknown codes are [`Class::Table`]: hold, never drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Goes away by itself: reconnect, re-read the offset, try for ever.
    Transient,
    /// One or more rows of the batch are at fault: find them.
    Row,
    /// A table, right or setting is at fault: hold this database until a person mends it, looking again now and then.
    Table,
    /// The offset in the database is not the one expected: roll back, re-read.
    OffsetMoved,
    /// A table is not as it was described any more: describe it again, and map again what was mapped for the old one.
    TableChanged,
}

/// A failed call on a database.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct SinkError {
    pub class: Class,
    /// SQLSTATE, SQLite's extended result code by name, or a word of ours such as `connect`.
    pub code: String,
    /// Begins with what was tried and the table or host concerned; the database's own words follow. Never row values.
    /// Lines after the first are SQL that would mend it.
    pub message: String,
    /// What a person can do about it.
    pub advice: &'static str,
}
