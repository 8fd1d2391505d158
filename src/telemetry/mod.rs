//! Counters and log events. One function per event logs and counts together, so that they cannot drift.

mod metrics;

pub use metrics::{
    CommitLabels, DatabaseLabels, FilterLabels, Metrics, Outcome, OutcomeLabels, PeerLabels, QosLabels, RuleLabels,
};
