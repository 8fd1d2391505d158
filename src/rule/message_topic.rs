//! The topics that a message may have, unlike a topic filter.

use thiserror::Error;

/// A string of MQTT has two bytes of length.
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Why a text is no topic of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TopicFault {
    #[error("the topic is empty")]
    Empty,
    #[error("the topic is longer than the 65,535 bytes that MQTT allows")]
    TooLong,
    #[error("the topic holds a wildcard (+ or #), which the topic of a message must not")]
    Wildcard,
    #[error("the topic holds a NUL character, which MQTT does not allow")]
    Nul,
}

/// Why `topic` is none that an answer may go to: a client chose it. `prefix` is the configured `reply_prefix`: the topic
/// must be it, or lie below it.
pub fn check_reply_topic(topic: &str, prefix: Option<&str>) -> Result<(), String> {
    check_topic(topic).map_err(|fault| fault.to_string())?;
    if topic.starts_with('$') {
        return Err("the topic begins with $, which is the broker's own".to_owned());
    }
    let Some(prefix) = prefix else { return Ok(()) };
    let prefix = prefix.trim_end_matches('/');
    let is_below = topic.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_below { Ok(()) } else { Err(format!("the topic is not below reply_prefix ({prefix})")) }
}

/// Whether a message can be published to `topic`.
pub fn check_topic(topic: &str) -> Result<(), TopicFault> {
    if topic.is_empty() {
        return Err(TopicFault::Empty);
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(TopicFault::TooLong);
    }
    match topic.bytes().find(|byte| matches!(byte, b'+' | b'#' | 0)) {
        None => Ok(()),
        Some(0) => Err(TopicFault::Nul),
        Some(_) => Err(TopicFault::Wildcard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_only_to_a_plain_topic_below_the_prefix() {
        for topic in ["db/reply", "db/reply/client-1", "db/reply/"] {
            assert_eq!(check_reply_topic(topic, Some("db/reply")), Ok(()));
            assert_eq!(check_reply_topic(topic, Some("db/reply/")), Ok(()));
            assert_eq!(check_reply_topic(topic, None), Ok(()));
        }
        for topic in ["db/replyx", "db", "other", "", "#", "db/reply/+", "db/reply/#", "$SYS/x", "db/reply/\0"] {
            assert!(check_reply_topic(topic, Some("db/reply")).is_err(), "{topic}");
        }
        for topic in ["", "#", "a/+", "$SYS/x", "a\0b", &"x".repeat(65_536)] {
            assert!(check_reply_topic(topic, None).is_err());
        }
    }
}
