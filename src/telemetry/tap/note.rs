//! The outcome of a message under one rule.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::message::Seq;

/// Bytes of a payload, a topic and an error that a note keeps.
pub(super) const PAYLOAD_BYTES_MAX: usize = 512;
const TEXT_BYTES_MAX: usize = 512;

/// What became of a message under a rule, in the words of the contract, and of what no rule took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Written,
    Filtered,
    DeadLettered,
    Dropped,
    /// It waits in the dead-letter table until the table takes rows.
    Parked,
    /// No rule takes it.
    Unmatched,
    /// It was in the journal, and cannot be read any more.
    Lost,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Fate::Written => "written",
            Fate::Filtered => "filtered",
            Fate::DeadLettered => "dead_lettered",
            Fate::Dropped => "dropped",
            Fate::Parked => "parked",
            Fate::Unmatched => "unmatched",
            Fate::Lost => "lost",
        }
    }

    pub(super) fn is_well(self) -> bool {
        matches!(self, Fate::Written | Fate::Filtered | Fate::Unmatched)
    }
}

/// A message under one rule.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) seq: Seq,
    pub(super) received_at: Option<Timestamp>,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) rule: Option<Arc<str>>,
    pub(super) fate: Fate,
    /// Tables of its rows.
    pub(super) tables: Vec<String>,
    pub(super) rows: usize,
    /// Short code of why it gave no row.
    pub(super) reason: Option<&'static str>,
    pub(super) error: Option<String>,
    /// Why some of its values became NULL.
    pub(super) nulled: Option<String>,
    pub(super) payload: Vec<u8>,
    pub(super) payload_bytes: usize,
}

/// What became of the messages of a transaction.
#[derive(Debug, Default)]
pub struct Notes {
    pub(super) list: Vec<Note>,
    pub(super) well: usize,
    pub(super) ill: usize,
    /// Not noted, by rule.
    pub(super) skipped: HashMap<Option<Arc<str>>, u64>,
}

impl Note {
    pub(super) fn new(seq: Seq, fate: Fate) -> Note {
        Note {
            seq,
            fate,
            received_at: None,
            topic: String::new(),
            qos: 0,
            retain: false,
            rule: None,
            tables: Vec::new(),
            rows: 0,
            reason: None,
            error: None,
            nulled: None,
            payload: Vec::new(),
            payload_bytes: 0,
        }
    }

    /// As `rowbridge tap --json` prints it.
    pub(super) fn json(&self, database: &str) -> Value {
        let mut value = json!({
            "seq": self.seq.0,
            "received_at": self.received_at.map(|at| at.to_string()),
            "topic": self.topic,
            "qos": self.qos,
            "retain": self.retain,
            "database": database,
            "rule": self.rule.as_deref(),
            "outcome": self.fate.word(),
            "tables": self.tables,
            "rows": self.rows,
            "reason": self.reason,
            "error": self.error,
            "nulled": self.nulled,
            "payload_bytes": self.payload_bytes,
        });
        let (name, payload) = self.payload_text();
        value[name] = payload.into();
        value
    }

    /// Its beginning as text, or as hexadecimal digits where it is none.
    fn payload_text(&self) -> (&'static str, String) {
        let is_cut = self.payload.len() < self.payload_bytes;
        match std::str::from_utf8(&self.payload) {
            Ok(text) => ("payload", text.to_owned()),
            // A character was cut.
            Err(error) if is_cut && error.error_len().is_none() => {
                ("payload", String::from_utf8_lossy(&self.payload[..error.valid_up_to()]).into_owned())
            }
            Err(_) => {
                let mut hex = String::with_capacity(2 * self.payload.len());
                for byte in &self.payload {
                    write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
                }
                ("payload_hex", hex)
            }
        }
    }
}

pub(super) fn beginning(text: &str) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}
