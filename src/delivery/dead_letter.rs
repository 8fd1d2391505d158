//! Messages that are stored in place of their rows.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::batch::DeadLetter;
use crate::clock;
use crate::journal::Lost;
use crate::message::{DecodeError, Fault, Message, Properties, Property, Qos};
use crate::sink::ParkedLetter;

/// The largest size of properties as JSON. A message may carry 256 MiB of them, more than Postgres' jsonb takes. 16
/// MiB, escaped, stay far below that limit, and no real message has so many.
const PROPERTIES_BYTES_MAX: usize = 16 << 20;

/// The largest size of the data beside the payload that a retry needs: the same bound as for the properties.
const ENVELOPE_BYTES_MAX: usize = PROPERTIES_BYTES_MAX;

/// Why a message ends as a dead letter.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    /// Short code: parse, value, required, constraint, table, size, topic, unmatched.
    pub code: &'static str,
    pub error: String,
    /// Writes tried before giving up on it; 0 when it never became a row.
    pub attempts: u32,
}

/// The message with its bytes, topic, properties and the reason.
pub(super) fn of_message(rule: Option<&Arc<str>>, message: &Message<'_>, reason: Reason) -> DeadLetter {
    DeadLetter {
        rule: rule.map(Arc::clone),
        seq: message.seq,
        received_at: message.received_at,
        topic: message.topic.to_owned(),
        qos: message.qos.level(),
        retain: message.retain,
        properties: properties_json(message.properties),
        payload: message.payload.to_vec(),
        reason: reason.code,
        error: reason.error,
        attempts: reason.attempts,
        created_at: clock::now(),
        envelope: envelope(message),
    }
}

/// All that makes the letter the message again; `None` of one that is not as it was sent, or that would be too large.
fn envelope(message: &Message<'_>) -> Option<Vec<u8>> {
    if message.fault.is_some() || message.encoded_len() - message.payload.len() > ENVELOPE_BYTES_MAX {
        return None;
    }
    Some(message.envelope())
}

/// The message until the rule's table takes rows; `why` it does not.
pub(super) fn parked(rule: &Arc<str>, message: &Message<'_>, why: &str) -> DeadLetter {
    let reason = Reason { code: "table", error: why.to_owned(), attempts: 0 };
    // However large it is: it is not refused, and must go in.
    DeadLetter { envelope: Some(message.envelope()), ..of_message(Some(rule), message, reason) }
}

/// A parked message that somebody changed so that it is none any more.
pub(super) fn unreadable(rule: &Arc<str>, letter: &ParkedLetter, error: &DecodeError) -> DeadLetter {
    let bare = Message {
        topic: "",
        payload: &letter.payload,
        qos: Qos::AtMostOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: clock::now(),
        fault: None,
        seq: letter.seq,
    };
    let error = format!("the parked message cannot be read back: {error}");
    let reason = Reason { code: "parse", error, attempts: 0 };
    DeadLetter { envelope: None, ..of_message(Some(rule), &bare, reason) }
}

/// A record that stands for messages that are gone.
pub(super) fn of_lost_range(lost: &Lost) -> DeadLetter {
    let now = clock::now();
    DeadLetter {
        rule: None,
        seq: lost.from,
        received_at: now,
        topic: String::new(),
        qos: 0,
        retain: false,
        properties: None,
        payload: Vec::new(),
        reason: "lost_range",
        error: format!("messages {} to {} are lost: {}", lost.from, lost.to.0.saturating_sub(1), lost.why),
        attempts: 0,
        created_at: now,
        envelope: None,
    }
}

/// What is wrong with a message that can never become a row.
pub(super) fn reason_of_fault(fault: Fault) -> Reason {
    let (code, error) = fault.reason();
    Reason { code, error: error.to_owned(), attempts: 0 }
}

/// MQTT 5 properties as a JSON object; `None` if there are none. User properties keep their order and repeats, as
/// `[[name, value], …]`; bytes that are not UTF-8 are written as `\x` and hexadecimal digits.
fn properties_json(properties: Properties<'_>) -> Option<String> {
    let mut object = Map::new();
    let mut user = Vec::new();
    for property in properties.iter() {
        let (name, value) = match property {
            Property::PayloadFormat(format) => ("payload_format", Value::from(format)),
            Property::MessageExpiry(seconds) => ("message_expiry", Value::from(seconds)),
            Property::ContentType(bytes) => ("content_type", text(bytes)),
            Property::ResponseTopic(bytes) => ("response_topic", text(bytes)),
            Property::CorrelationData(bytes) => ("correlation_data", hex(bytes)),
            // Which subscription matched is between the session and the mapping.
            Property::SubscriptionId(_) => continue,
            Property::User(key, value) => {
                user.push(Value::Array(vec![text(key), text(value)]));
                continue;
            }
        };
        object.insert(name.to_owned(), value);
    }
    if !user.is_empty() {
        object.insert("user".to_owned(), Value::Array(user));
    }
    let json = (!object.is_empty()).then(|| Value::Object(object).to_string())?;
    Some(if json.len() > PROPERTIES_BYTES_MAX { properties_cut(json.len()) } else { json })
}

/// Replaces properties that are too large to keep.
fn properties_cut(bytes: usize) -> String {
    let note = format!("not kept: {bytes} bytes as JSON, at most {PROPERTIES_BYTES_MAX} are");
    serde_json::json!({ "cut": note }).to_string()
}

/// Text as it is; a NUL, which Postgres' jsonb cannot hold, makes it hexadecimal too.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Value::from(text),
        _ => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> Value {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Value::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    #[test]
    fn properties_keep_order_repeats_and_bytes() {
        let mut encoded = Vec::new();
        for property in [
            Property::User(b"a", b"1"),
            Property::User(b"a", b"2\xff"),
            Property::SubscriptionId(4),
            Property::ContentType(b"application/json"),
            Property::CorrelationData(b"\x00\x01"),
        ] {
            property.encode(&mut encoded);
        }
        let json = properties_json(Properties::from_encoded(&encoded));
        let expected =
            r#"{"content_type":"application/json","correlation_data":"\\x0001","user":[["a","1"],["a","\\x32ff"]]}"#;
        assert_eq!(json.as_deref(), Some(expected));
        assert_eq!(properties_json(Properties::NONE), None);
    }

    #[test]
    fn properties_beyond_what_a_database_takes_are_cut_with_a_note() {
        let long = [b'x'; 65_535];
        let json = |count: usize| {
            let mut encoded = Vec::new();
            (0..count).for_each(|_| Property::User(b"k", &long).encode(&mut encoded));
            properties_json(Properties::from_encoded(&encoded)).unwrap()
        };
        assert!(json(64).contains("xxx"), "4 MiB are kept");
        assert_eq!(json(257), r#"{"cut":"not kept: 16844818 bytes as JSON, at most 16777216 are"}"#);
    }

    #[test]
    fn a_lost_range_names_its_first_and_last_message() {
        let letter = of_lost_range(&Lost { from: Seq(5), to: Seq(9), why: "dropped".to_owned() });
        assert_eq!((letter.seq, letter.reason), (Seq(5), "lost_range"));
        assert_eq!(letter.error, "messages 5 to 8 are lost: dropped");
    }
}
