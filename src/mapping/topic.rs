//! Topic patterns: MQTT topic filters with named captures.
//!
//! `sensors/{site}/+/{*rest}` → the filter `sensors/+/+/#`. `{x}` takes one level, `{*x}` the rest (last level only,
//! at least one level), `+` and `#` as in MQTT. `$share/GROUP/` before the pattern is kept for the subscription and
//! ignored for matching. `#` and a leading `+` or capture do not match topics that begin with `$`.

use thiserror::Error;

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {}

/// Why a pattern is not one; the text names the level and the remedy.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TopicPatternError(pub String);

impl TopicPattern {
    pub fn parse(_text: &str) -> Result<TopicPattern, TopicPatternError> {
        todo!()
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        todo!()
    }

    /// The MQTT topic filter to subscribe to, with its `$share/GROUP/` prefix if it has one.
    pub fn filter(&self) -> &str {
        todo!()
    }

    /// The names of the captures, in order, with `{*x}` as `x`.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Whether the topic fits; on success `captures` holds one slice of the topic per capture, in order.
    pub fn matches<'t>(&self, _topic: &'t str, _captures: &mut Vec<&'t str>) -> bool {
        todo!()
    }

    /// In one sentence, why the topic does not fit: "the topic has 4 levels, the pattern 3".
    pub fn mismatch(&self, _topic: &str) -> String {
        todo!()
    }

    /// Whether every topic that `other` can match is matched by this one too (and neither, or both alike, are shared).
    pub fn covers(&self, _other: &TopicPattern) -> bool {
        todo!()
    }

    /// Whether some topic matches both.
    pub fn overlaps(&self, _other: &TopicPattern) -> bool {
        todo!()
    }
}
