//! Metrics of queries, and the names of the queries for `status`.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's value")]
pub enum QueryOutcome {
    /// Its statement ran, and the answer was queued for the broker.
    answered,
    /// All other requests: the client got the reason, if it could be sent.
    refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    name: Arc<str>,
    outcome: QueryOutcome,
}

/// The part of [`super::Metrics`] that queries have.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    requests: Family<QueryLabels, Counter>,
    /// In the order of the configuration.
    names: Mutex<Vec<Arc<str>>>,
}

impl QueryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("queries", "Requests by query and what became of them", self.requests.clone());
    }

    /// These are the queries from now on.
    pub fn name(&self, names: Vec<Arc<str>>) {
        for name in &names {
            for outcome in [QueryOutcome::answered, QueryOutcome::refused] {
                // It is shown from the start.
                drop(self.requests.get_or_create(&QueryLabels { name: Arc::clone(name), outcome }));
            }
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub fn count(&self, name: &Arc<str>, outcome: QueryOutcome) {
        self.requests.get_or_create(&QueryLabels { name: Arc::clone(name), outcome }).inc();
    }

    /// Of each query, how many requests were answered and refused since the start.
    pub fn counts(&self) -> Vec<(Arc<str>, u64, u64)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |name: &Arc<str>, outcome| {
            self.requests.get_or_create(&QueryLabels { name: Arc::clone(name), outcome }).get()
        };
        let counts = names.into_iter().map(|name| {
            let (answered, refused) = (of(&name, QueryOutcome::answered), of(&name, QueryOutcome::refused));
            (name, answered, refused)
        });
        counts.collect()
    }
}
