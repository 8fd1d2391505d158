//! Metrics of publications.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    name: Arc<str>,
}

/// The publications' part of [`super::Metrics`].
#[derive(Debug, Default)]
pub struct PublishMetrics {
    published: Family<NameLabels, Counter>,
    skipped: Family<NameLabels, Counter>,
    pending: Family<NameLabels, Gauge>,
}

impl PublishMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("published", "Rows published, acknowledged by the broker", self.published.clone());
        registry.register(
            "publish_skipped",
            "Changes that no message could be made of, or that the broker refused for good",
            self.skipped.clone(),
        );
        registry.register("publish_pending", "Changes that wait in the database to be published", self.pending.clone());
    }

    /// Published, skipped and pending of one publication.
    pub fn of(&self, name: &Arc<str>) -> (Counter, Counter, Gauge) {
        let labels = NameLabels { name: Arc::clone(name) };
        (
            self.published.get_or_create(&labels).clone(),
            self.skipped.get_or_create(&labels).clone(),
            self.pending.get_or_create(&labels).clone(),
        )
    }
}
