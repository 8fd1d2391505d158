//! `mqtt.status_topic`: the topic of the bridge's presence.

use std::fmt;
use std::sync::Arc;

use crate::rule::{ExpressionError, Piece, Template, TopicFault, check_topic};

/// A topic in which `{bridge}` stands for the bridge's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusTopic {
    template: Template<Bridge>,
    /// Once it is settled.
    bridge: Option<Arc<str>>,
}

/// The only thing that may stand in the braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bridge;

/// Why a name gives no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusTopicFault {
    #[error(transparent)]
    Topic(#[from] TopicFault),
    #[error("the topic begins with $, which is the broker's own")]
    OfTheBroker,
}

impl StatusTopic {
    pub(super) fn parse(text: &str) -> Result<StatusTopic, ExpressionError> {
        let bridge = |name: &str| match name {
            "bridge" => Ok(Bridge),
            _ => Err(ExpressionError { message: "only {bridge} can be filled in here".to_owned(), suggestion: None }),
        };
        let template = Template::parse_with(text, bridge)?;
        Ok(StatusTopic { template, bridge: None })
    }

    /// For the bridge of this name.
    pub fn for_bridge(self, bridge: &Arc<str>) -> StatusTopic {
        StatusTopic { bridge: Some(Arc::clone(bridge)), ..self }
    }

    /// The topic itself, if the bridge's name is settled and fits into one.
    pub fn settled(&self) -> Option<String> {
        self.of(self.bridge.as_deref()?).ok()
    }

    /// The topic of a bridge of this name.
    pub fn of(&self, bridge: &str) -> Result<String, StatusTopicFault> {
        let mut topic = String::new();
        for piece in self.template.pieces() {
            topic.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Source(Bridge) => bridge,
            });
        }
        check_topic(&topic)?;
        if topic.starts_with('$') { Err(StatusTopicFault::OfTheBroker) } else { Ok(topic) }
    }
}

impl fmt::Display for StatusTopic {
    /// As written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.template.fmt(f)
    }
}
