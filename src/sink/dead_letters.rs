//! Dead letters as they lie in a database, for people.

use serde::Serialize;

use crate::clock::Timestamp;

/// Which dead letters are wanted; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    pub id: Option<i64>,
    pub rule: Option<String>,
    pub reason: Option<String>,
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// Newest first, at most this many.
    pub limit: u32,
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
    pub properties: Option<String>,
    #[serde(serialize_with = "payload_text")]
    pub payload: Vec<u8>,
    pub reason: String,
    pub error: String,
    pub attempts: i32,
    pub created_at: String,
}

impl StoredDeadLetter {
    /// The payload for reading: as it is if it is text, else `\x` and hexadecimal digits.
    pub fn payload_text(&self) -> String {
        match std::str::from_utf8(&self.payload) {
            Ok(text) if !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => text.to_owned(),
            _ => format!("\\x{}", Hex(&self.payload)),
        }
    }
}

fn payload_text<S: serde::Serializer>(payload: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(payload) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_str(&format_args!("\\x{}", Hex(payload))),
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
