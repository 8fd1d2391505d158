//! Metrics of the second MQTT connection.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of an answer: to a message under a rule with `reply`, or to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's value")]
pub enum AnswerFate {
    /// Sent, and not refused by the broker.
    sent,
    /// Refused by the broker, or too large for it.
    refused,
    /// There was no connection, no room, or no topic that it may go to.
    dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    outcome: AnswerFate,
}

/// The connection's part of [`super::Metrics`].
#[derive(Debug, Default)]
pub struct OutboundMetrics {
    answers: Family<AnswerLabels, Counter>,
}

impl OutboundMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("answers", "Answers to messages and queries by what became of them", self.answers.clone());
    }

    /// So many answers ended so.
    pub fn answered(&self, outcome: AnswerFate, answers: u64) {
        self.answers.get_or_create(&AnswerLabels { outcome }).inc_by(answers);
    }

    /// For `status`.
    pub fn answers(&self, outcome: AnswerFate) -> u64 {
        self.answers.get_or_create(&AnswerLabels { outcome }).get()
    }
}
