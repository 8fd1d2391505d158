//! The topics that a message may have, unlike a topic filter.

use thiserror::Error;

/// A string of MQTT has two bytes of length.
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;
/// Mosquitto's limit.
const LEVELS_MAX: usize = 200;

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
    #[error("the topic holds a control character or one that Unicode reserves: brokers end the connection for it")]
    Control,
    #[error("the topic has more than 200 levels, for which Mosquitto and others end the connection")]
    Levels,
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
        None if !is_text(topic) => Err(TopicFault::Control),
        None if topic.len() >= LEVELS_MAX && topic.split('/').count() > LEVELS_MAX => Err(TopicFault::Levels),
        None => Ok(()),
        Some(0) => Err(TopicFault::Nul),
        Some(_) => Err(TopicFault::Wildcard),
    }
}

/// Whether every broker takes it as a string: without control characters and the code points that are no characters, which
/// MQTT lets a broker end the connection for (5.0 and 3.1.1, §1.5).
pub fn is_text(text: &str) -> bool {
    if text.is_ascii() {
        return !text.bytes().any(|byte| byte.is_ascii_control());
    }
    let is_none = |c: char| c.is_control() || matches!(c, '\u{fdd0}'..='\u{fdef}') || c as u32 & 0xfffe == 0xfffe;
    !text.chars().any(is_none)
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

    #[test]
    fn a_topic_that_brokers_end_the_connection_for_is_none() {
        for odd in ["a\n", "a\u{1}b", "\u{7f}", "é\u{85}", "a/\u{ffff}", "\u{fdd0}", "\u{1fffe}"] {
            assert_eq!(check_topic(odd), Err(TopicFault::Control), "{odd:?}");
        }
        for usual in ["a b", "é/ü", "🌡", "\u{ad}", "\u{fffd}", &"/".repeat(199)] {
            assert_eq!(check_topic(usual), Ok(()), "{usual:?}");
        }
        assert_eq!(check_topic(&"/".repeat(200)), Err(TopicFault::Levels));
    }
}
