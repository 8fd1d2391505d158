//! The second MQTT connection, as `status` shows it.

use serde::Serialize;

use crate::outbound::Outbound;
use crate::telemetry::{AnswerFate, Metrics};

/// Only while something uses the connection.
#[derive(Debug, Serialize)]
pub struct OutboundPart {
    pub connected: bool,
    pub since: Option<String>,
    pub last_error: Option<String>,
    /// The last message that the broker did not take, with its reason.
    pub last_refusal: Option<String>,
    pub answers: AnswersPart,
    /// Request topics that the broker refused.
    pub refused_topics: Vec<RefusedTopic>,
}

/// Answers since the start.
#[derive(Debug, Serialize)]
pub struct AnswersPart {
    pub sent: u64,
    pub refused: u64,
    pub dropped: u64,
}

#[derive(Debug, Serialize)]
pub struct RefusedTopic {
    pub topic: String,
    pub error: String,
}

pub(super) fn part(outbound: &Outbound, metrics: &Metrics) -> Option<OutboundPart> {
    if !outbound.is_open() {
        return None;
    }
    let now = outbound.status().snapshot();
    let answers = |fate| metrics.outbound.answers(fate);
    let refused = now.refused_filters.into_iter();
    Some(OutboundPart {
        connected: now.connected,
        since: now.connected_since.map(|since| since.to_string()),
        last_error: now.last_error,
        last_refusal: now.last_refusal,
        answers: AnswersPart {
            sent: answers(AnswerFate::sent),
            refused: answers(AnswerFate::refused),
            dropped: answers(AnswerFate::dropped),
        },
        refused_topics: refused.map(|(topic, error)| RefusedTopic { topic, error }).collect(),
    })
}
