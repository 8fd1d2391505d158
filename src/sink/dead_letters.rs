//! Dead letters as stored in a database, for commands.

use serde::Serialize;

use super::{ParkedLetter, SinkError};
use crate::clock::Timestamp;

/// Which dead letters of a bridge are wanted; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    pub bridge: String,
    pub ids: Option<Vec<i64>>,
    pub rule: Option<String>,
    pub reason: Option<String>,
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
    /// Only ids below this one.
    pub before: Option<i64>,
    /// Only parked messages, or only others.
    pub parked: Option<bool>,
    /// Only those that can become their messages again, or only others.
    pub whole: Option<bool>,
}

/// The position of a letter among those of its rule: its message's position in the journal, then its id, since a new
/// journal starts numbering again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterPlace {
    pub seq: i64,
    pub id: i64,
}

impl LetterPlace {
    /// Before all letters.
    pub const START: LetterPlace = LetterPlace { seq: i64::MIN, id: i64::MIN };

    pub fn of(letter: &ParkedLetter) -> LetterPlace {
        LetterPlace { seq: i64::try_from(letter.seq.0).unwrap_or(i64::MAX), id: letter.id }
    }
}

/// How much a filter finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterExtent {
    pub letters: u64,
    /// The greatest id; 0 if there is none.
    pub newest: i64,
}

/// Operations of commands on the dead letters of a database, outside the data path. The sink must be connected.
#[allow(async_fn_in_trait)]
pub trait DeadLetterStore {
    /// The newest `limit`, newest first.
    async fn dead_letters(&mut self, filter: &DeadLetterFilter, limit: u32)
    -> Result<Vec<StoredDeadLetter>, SinkError>;

    async fn dead_letter_extent(&mut self, filter: &DeadLetterFilter) -> Result<DeadLetterExtent, SinkError>;

    /// How many there are of each rule, those that no rule took left out.
    async fn dead_letters_by_rule(&mut self, filter: &DeadLetterFilter) -> Result<Vec<(String, u64)>, SinkError>;

    /// Those that can become their messages again, in the order in which these came: the first `limit` behind `after`, and not
    /// many more than `bytes_max` bytes of payload; at least one if there is one. Those without a rule are left out.
    async fn whole_letters(
        &mut self,
        filter: &DeadLetterFilter,
        after: LetterPlace,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError>;

    /// Deletes the oldest `limit` in one transaction; how many these were.
    async fn delete_dead_letters(&mut self, filter: &DeadLetterFilter, limit: u32) -> Result<u64, SinkError>;
}

/// A row of `rowbridge_dead_letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDeadLetter {
    pub id: i64,
    pub rule: Option<String>,
    pub seq: i64,
    /// RFC 3339 in UTC, as is `created_at`.
    pub received_at: String,
    pub topic: String,
    pub qos: i16,
    pub retain: bool,
    /// MQTT 5 properties, a JSON object.
    #[serde(skip)]
    pub properties: Option<String>,
    #[serde(skip)]
    pub payload: Vec<u8>,
    pub reason: String,
    pub error: String,
    pub attempts: i32,
    pub created_at: String,
}

impl StoredDeadLetter {
    /// As JSON: `payload` if it is UTF-8, else `payload_hex`; `properties` as an object.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("a dead letter has no keys but strings");
        match std::str::from_utf8(&self.payload) {
            Ok(text) => value["payload"] = text.into(),
            Err(_) => value["payload_hex"] = Hex(&self.payload).to_string().into(),
        }
        let properties = self.properties.as_deref().map(|text| {
            // Whoever changed the row by hand is shown what stands there.
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text))
        });
        value["properties"] = properties.unwrap_or(serde_json::Value::Null);
        value
    }

    /// The payload for reading: as it is if it is text, else `\x` and hexadecimal digits.
    pub fn payload_text(&self) -> String {
        match std::str::from_utf8(&self.payload) {
            Ok(text) if !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => text.to_owned(),
            _ => format!("\\x{}", Hex(&self.payload)),
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_tells_text_from_bytes_and_keeps_properties_an_object() {
        let mut letter = StoredDeadLetter {
            id: 1,
            rule: None,
            seq: 7,
            received_at: String::new(),
            topic: "t".to_owned(),
            qos: 1,
            retain: false,
            properties: Some("{\"user\":[[\"a\",\"b\"]]}".to_owned()),
            payload: b"\\xff".to_vec(),
            reason: "parse".to_owned(),
            error: String::new(),
            attempts: 0,
            created_at: String::new(),
        };
        let value = letter.to_json();
        assert_eq!(value["payload"], "\\xff");
        assert_eq!(value["properties"]["user"][0][1], "b");
        letter.payload = vec![0xff];
        assert_eq!(letter.to_json()["payload_hex"], "ff");
        assert!(letter.to_json().get("payload").is_none());
    }
}
