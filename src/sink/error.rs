//! What a database error means for delivery.

use thiserror::Error;

/// The class of an error, which decides the reaction. Unknown codes are [`Class::Table`]: hold, never drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Goes away by itself: reconnect, re-read the offset, try for ever.
    Transient,
    /// One or more rows of the batch are at fault: find them.
    Row,
    /// Occurred while rows were written, on a connection that survived. A trigger can raise any code, so one row may be
    /// at fault: [`Sink::refused_units`](super::Sink::refused_units) finds out. If no row of the table is accepted, no
    /// row is at fault, and the class is [`Class::Transient`].
    RowOrTransient,
    /// The same, but if no row of the table passes, it is [`Class::Table`].
    RowOrTable,
    /// The session ended while rows were written. As [`Class::Transient`], but if it recurs with the same rows, one of them may
    /// cause it: [`Sink::refused_units`](super::Sink::refused_units) finds out.
    SessionEnded,
    /// A table, right or setting is at fault: hold this database until a person mends it, looking again now and then.
    Table,
    /// The offset in the database is not the one expected: roll back, re-read.
    OffsetMoved,
    /// A table is not as it was described any more: describe it again, and map again what was mapped for the old one.
    TableChanged,
}

impl Class {
    /// Whether a row of the batch is at fault, or may be.
    pub fn may_be_a_row(self) -> bool {
        matches!(self, Class::Row | Class::RowOrTransient | Class::RowOrTable)
    }

    /// Whether the connection is lost, and the offset must be read again.
    pub fn is_connection_lost(self) -> bool {
        matches!(self, Class::Transient | Class::SessionEnded)
    }

    /// The class once it is known that no single row is at fault.
    pub fn without_a_row(self) -> Class {
        match self {
            Class::RowOrTransient => Class::Transient,
            Class::RowOrTable => Class::Table,
            class => class,
        }
    }

    /// The class if the error occurred while rows were written.
    pub fn while_rows_are_taken(self) -> Class {
        match self {
            Class::Transient => Class::RowOrTransient,
            Class::Table => Class::RowOrTable,
            class => class,
        }
    }
}

/// The code of a table that others use for too long.
pub const IN_USE: &str = "in_use";

/// A failed call on a database.
#[derive(Debug, Clone, Error)]
#[error("{message}")]
pub struct SinkError {
    pub class: Class,
    /// SQLSTATE, SQLite's extended result code by name, or a word of ours such as `connect`.
    pub code: String,
    /// Begins with what was tried and the table or host concerned; the database's own words follow. Never row values.
    /// Lines after the first are SQL that would mend it.
    pub message: String,
    /// The remedy for a person.
    pub advice: &'static str,
}
