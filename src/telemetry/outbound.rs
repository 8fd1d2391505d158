//! Metrics of the second MQTT connection.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// What an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTo {
    /// A message under a rule with `reply`.
    Message,
    Query,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    outcome: AnswerFate,
}

/// The connection's part of [`super::Metrics`].
#[derive(Debug, Default)]
pub struct OutboundMetrics {
    answers: Family<AnswerLabels, Counter>,
    /// Answers that found no room since the log was last told of them: to messages, and to queries.
    crowded_out: [AtomicU64; 2],
}

impl OutboundMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("answers", "Answers to messages and queries by what became of them", self.answers.clone());
    }

    /// So many answers ended so.
    pub fn answered(&self, outcome: AnswerFate, answers: u64) {
        self.answers.get_or_create(&AnswerLabels { outcome }).inc_by(answers);
    }

    /// So many answers found no room. They count as dropped, and the connection logs them now and then.
    pub fn crowded_out(&self, to: AnswerTo, answers: u64) {
        if answers > 0 {
            self.answered(AnswerFate::dropped, answers);
            self.crowded_out[to as usize].fetch_add(answers, Ordering::Relaxed);
        }
    }

    /// Whether [`OutboundMetrics::take_crowded_out`] has something to tell.
    pub fn has_crowded_out(&self) -> bool {
        self.crowded_out.iter().any(|answers| answers.load(Ordering::Relaxed) > 0)
    }

    /// Answers that found no room since the last call: to messages, and to queries.
    pub fn take_crowded_out(&self) -> [u64; 2] {
        self.crowded_out.each_ref().map(|answers| answers.swap(0, Ordering::Relaxed))
    }

    /// For `status`.
    pub fn answers(&self, outcome: AnswerFate) -> u64 {
        self.answers.get_or_create(&AnswerLabels { outcome }).get()
    }
}
