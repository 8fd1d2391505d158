//! The compiled rules of one database: message in, encoded rows out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{OnError, Rule};
use crate::message::Message;
use crate::sink::{Batch, RowEncoder, TableSchema};

/// All rules of one database, compiled against its live tables.
///
/// `R` is the sink's row encoder: values go from the payload into the sink's wire form without a tree in between.
pub struct Mapper<R: RowEncoder> {
    _encoder: R,
}

/// What became of a message under one rule.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A unit with its rows was appended to the batch.
    Written,
    /// The rule passes over such messages (`retained: skip`).
    Filtered,
    /// A value does not fit: nothing was appended.
    Refused(ValueFault),
}

/// Why a message gives no row under a rule.
#[derive(Debug, PartialEq)]
pub struct ValueFault {
    /// A dead letter's short code: parse, value, required, size.
    pub reason: &'static str,
    pub column: Option<Arc<str>>,
    /// A sentence that names the column and the kind of value found, never the value itself.
    pub message: String,
    pub on_error: OnError,
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

impl<R: RowEncoder> Mapper<R> {
    /// Compiles `rules` (all of one database). `schemas` holds the live table of each rule, in the order of `rules`;
    /// `subscriptions` the MQTT 5 subscription identifier of each subscribed filter, empty when none were asked for.
    /// `bridge` is the value of the source `bridge`.
    pub fn compile(
        _bridge: &str,
        _rules: &[Arc<Rule>],
        _schemas: &[Arc<TableSchema>],
        _subscriptions: &HashMap<String, u32>,
        _encoder: R,
    ) -> Result<Mapper<R>, Vec<CompileFault>> {
        todo!()
    }

    /// Maps one message under every rule that takes it, appending a unit per written rule to `batch`.
    /// `outcomes` is cleared, then holds (index into `rules`, outcome) for each rule that took it.
    pub fn map(&mut self, _message: &Message<'_>, _batch: &mut Batch, _outcomes: &mut Vec<(usize, Outcome)>) {
        todo!()
    }
}
