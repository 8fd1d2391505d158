//! Source expressions: the part of a message that a column reads (`topic.NAME`, `payload.a.b[0]`, `property.NAME` …).

mod parse;

use std::fmt;
use std::sync::Arc;

pub use self::parse::ExpressionError;
use crate::jq::Program;
use crate::rule::{DeclaredType, Template};

/// What one column is filled from.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnSource {
    From(Source),
    /// The first of several that has a value.
    FirstOf(Vec<Source>),
    Template(Template),
    /// A literal from the file.
    Value(serde_json::Value),
    /// The output of a program on the payload, or on the element under `for_each`.
    Jq(Arc<Program>),
}

impl ColumnSource {
    /// Every source that it reads.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let (listed, template) = match self {
            ColumnSource::From(source) => (std::slice::from_ref(source), None),
            ColumnSource::FirstOf(sources) => (sources.as_slice(), None),
            ColumnSource::Template(template) => (&[][..], Some(template)),
            ColumnSource::Value(_) | ColumnSource::Jq(_) => (&[][..], None),
        };
        listed.iter().chain(template.into_iter().flat_map(Template::sources))
    }
}

/// A parsed source expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// `item`, `item.a`: the current element under `for_each`, or a part of it.
    Item(Vec<Step>),
    /// `index`: its number, from 0.
    Index,
    /// `key`: an entry's key.
    Key,
    /// `parent`, `parent.a`: under a nested `for_each` the element of the outer one.
    Parent(Vec<Step>),
    ParentIndex,
    ParentKey,
    /// `unmapped`: the fields that no column takes.
    Unmapped,
}

/// One step of a payload path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    Key(String),
    /// From 0; negative counts from the end.
    Index(i32),
}

impl fmt::Display for Source {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, steps) = match self {
            Source::Topic => ("topic", &[][..]),
            Source::TopicCapture(name) => return write!(f, "topic.{name}"),
            Source::TopicLevel(level) => return write!(f, "topic[{level}]"),
            Source::Payload(steps) => ("payload", &steps[..]),
            Source::Property(name) => return write!(f, "property.{name}"),
            Source::ContentType => ("content_type", &[][..]),
            Source::ResponseTopic => ("response_topic", &[][..]),
            Source::CorrelationData => ("correlation_data", &[][..]),
            Source::MessageExpiry => ("message_expiry", &[][..]),
            Source::Qos => ("qos", &[][..]),
            Source::Retain => ("retain", &[][..]),
            Source::Dup => ("dup", &[][..]),
            Source::ReceivedAt => ("received_at", &[][..]),
            Source::JournalSeq => ("journal.seq", &[][..]),
            Source::Bridge => ("bridge", &[][..]),
            Source::Rule => ("rule", &[][..]),
            Source::Item(steps) => ("item", &steps[..]),
            Source::Index => ("index", &[][..]),
            Source::Key => ("key", &[][..]),
            Source::Parent(steps) => ("parent", &steps[..]),
            Source::ParentIndex => ("parent_index", &[][..]),
            Source::ParentKey => ("parent_key", &[][..]),
            Source::Unmapped => ("unmapped", &[][..]),
        };
        f.write_str(root)?;
        steps.iter().try_for_each(|step| step.fmt(f))
    }
}

impl fmt::Display for Step {
    /// As the configuration writes it after the path that it extends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |key: &str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        match self {
            Step::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{key:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl Source {
    /// The type of a column that is made for it, where the source tells; a part of the payload does not.
    pub fn natural_type(&self) -> Option<DeclaredType> {
        Some(match self {
            Source::Payload(steps) if !steps.is_empty() => return None,
            Source::Payload(_) | Source::Unmapped => DeclaredType::Json,
            // Often a number or a string.
            Source::Item(_) | Source::Parent(_) => return None,
            Source::Index | Source::ParentIndex => DeclaredType::Int,
            Source::Key | Source::ParentKey => DeclaredType::Text,
            Source::CorrelationData => DeclaredType::Bytes,
            // The expiry has 32 bits, but unsigned.
            Source::MessageExpiry | Source::JournalSeq => DeclaredType::Bigint,
            Source::Qos => DeclaredType::Int,
            Source::Retain | Source::Dup => DeclaredType::Bool,
            Source::ReceivedAt => DeclaredType::Timestamptz,
            Source::Topic
            | Source::TopicCapture(_)
            | Source::TopicLevel(_)
            | Source::Property(_)
            | Source::ContentType
            | Source::ResponseTopic
            | Source::Bridge
            | Source::Rule => DeclaredType::Text,
        })
    }
}
