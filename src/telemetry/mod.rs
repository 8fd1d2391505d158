//! Counters and log events. One function per event logs and counts it, so that the two cannot drift apart.

mod exposition;
pub mod log;
mod metrics;
mod outbound;
mod process;
mod publish;
mod queries;
pub mod refusals;
pub mod tap;

pub use exposition::Exposition;
pub use metrics::{
    DatabaseLabels, FilterLabels, HistogramFamily, Metrics, Outcome, OutcomeLabels, PeerLabels, QosLabels, RuleLabels,
};
pub use outbound::{AnswerFate, AnswerTo, OutboundMetrics};
pub use queries::{QueryMetrics, QueryOutcome};
