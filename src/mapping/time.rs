//! Times in payloads: `s ms us ns rfc3339` or a strftime pattern with a zone.

use thiserror::Error;

/// How a payload writes a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    Seconds,
    Millis,
    Micros,
    Nanos,
    Rfc3339,
    /// As `jiff::fmt::strtime` reads it.
    Pattern(String),
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TimeFormatError(pub String);

impl TimeFormat {
    /// Also checks a pattern by formatting and re-reading a probe.
    pub fn parse(_text: &str) -> Result<TimeFormat, TimeFormatError> {
        todo!()
    }
}
