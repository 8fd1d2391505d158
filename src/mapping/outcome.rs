//! The outcome of a message, and why a rule or a value does not fit.

use std::sync::Arc;

use crate::config::OnError;

/// The outcome of a message under one rule.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A unit with its rows was appended to the batch.
    Written,
    /// The rule passes over such messages (`retained: skip`), or finds no row in them.
    Filtered,
    /// The rule is parked ([`Mapper::park`](super::Mapper::park)): nothing was read or appended.
    Parked,
    /// A value does not fit: nothing was appended.
    Refused(ValueFault),
}

/// The reason of a [`ValueFault`] that never leaves the mapper: a row has fields that are to become columns first.
pub(super) const NEW_COLUMNS: &str = "new_columns";

/// Why a message gives no row under a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueFault {
    /// A dead letter's short code: parse, value, required, size.
    pub reason: &'static str,
    pub column: Option<Arc<str>>,
    /// A sentence that names the column and the kind of value found, never the value itself.
    pub message: String,
    pub on_error: OnError,
}

impl ValueFault {
    /// With the place of the error in the message; none if it is the message itself.
    #[cold]
    pub(super) fn within(mut self, place: &str) -> ValueFault {
        if !place.is_empty() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// Whether it may be another's tomorrow: the table's type, NOT NULL, default or columns decided it.
    pub fn rests_on_table(&self) -> bool {
        self.reason != "parse"
    }
}

/// A rule that does not fit the live table: held until the table or the rule is mended.
#[derive(Debug, PartialEq, Eq)]
pub struct CompileFault {
    pub rule: Arc<str>,
    pub table: String,
    pub message: String,
    /// The SQL that would mend it, where one would.
    pub mend: Option<String>,
}
