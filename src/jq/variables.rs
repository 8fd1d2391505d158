//! The variables of a program: the parts of a message besides its payload.

/// A source as a program names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    Topic,
    Levels,
    Captures,
    Properties,
    ContentType,
    ResponseTopic,
    CorrelationData,
    MessageExpiry,
    Qos,
    Retain,
    Dup,
    ReceivedAt,
    Seq,
    Bridge,
    Rule,
    Payload,
    Item,
    Index,
    Key,
}

impl Variable {
    pub const ALL: [(&'static str, Variable); 19] = [
        ("$topic", Variable::Topic),
        ("$levels", Variable::Levels),
        ("$captures", Variable::Captures),
        ("$properties", Variable::Properties),
        ("$content_type", Variable::ContentType),
        ("$response_topic", Variable::ResponseTopic),
        ("$correlation_data", Variable::CorrelationData),
        ("$message_expiry", Variable::MessageExpiry),
        ("$qos", Variable::Qos),
        ("$retain", Variable::Retain),
        ("$dup", Variable::Dup),
        ("$received_at", Variable::ReceivedAt),
        ("$seq", Variable::Seq),
        ("$bridge", Variable::Bridge),
        ("$rule", Variable::Rule),
        ("$payload", Variable::Payload),
        ("$item", Variable::Item),
        ("$index", Variable::Index),
        ("$key", Variable::Key),
    ];

    /// With the dollar.
    pub fn name(self) -> &'static str {
        Variable::ALL[self as usize].0
    }
}
