//! Messages that wait in the dead-letter table, with reason `table`, until their rule's table is repaired.

use crate::clock::Timestamp;
use crate::message::{DecodeError, Message, Seq};

/// The parked messages of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRule {
    /// Its name; it may not be in the configuration any more.
    pub rule: String,
    pub messages: u64,
    /// When the oldest of them was parked.
    pub since: Timestamp,
}

/// A message that can be mapped again: parked, or a dead letter that was kept whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedLetter {
    /// In the dead-letter table; of parked ones ascending in the order in which they were parked.
    pub id: i64,
    pub rule: String,
    pub seq: Seq,
    /// See [`Message::envelope`].
    pub envelope: Vec<u8>,
    pub payload: Vec<u8>,
}

impl ParkedLetter {
    /// The message as it arrived. It is an error only if somebody changed the row by hand.
    pub fn message(&self) -> Result<Message<'_>, DecodeError> {
        Message::from_envelope(self.seq, &self.envelope, &self.payload)
    }
}
