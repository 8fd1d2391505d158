//! Source expressions: what a column reads from a message (CONTRACT: `topic.NAME`, `payload.a.b[0]`, `property.NAME` …).

use thiserror::Error;

/// What one column is filled from.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnSource {
    From(Source),
    /// A literal from the file.
    Value(serde_json::Value),
}

/// A parsed source expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Topic,
    /// `topic.NAME`: a capture of the rule's pattern.
    TopicCapture(String),
    /// `topic[N]`: level N from 0; negative counts from the end.
    TopicLevel(i32),
    /// `payload`, `payload.a.b[0]`, `payload["odd key"]`; empty = the whole payload.
    Payload(Vec<Step>),
    /// MQTT 5 user property; the name compares without regard to case.
    Property(String),
    ContentType,
    ResponseTopic,
    CorrelationData,
    MessageExpiry,
    Qos,
    Retain,
    Dup,
    ReceivedAt,
    JournalSeq,
    Bridge,
    Rule,
}

/// One step of a payload path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    /// From 0; negative counts from the end.
    Index(i32),
}

/// Why an expression is not one; names what was found and what is accepted.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ExpressionError {
    pub message: String,
    /// The nearest accepted name, if one is near.
    pub suggestion: Option<String>,
}

impl Source {
    pub fn parse(_text: &str) -> Result<Source, ExpressionError> {
        todo!()
    }
}
