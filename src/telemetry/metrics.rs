//! Every metric, as typed families under its public name; `status` reads the same counters.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::outbound::OutboundMetrics;
use super::publish::PublishMetrics;
use super::queries::QueryMetrics;
use super::tap::Taps;
use super::{Exposition, process};
use crate::clock::{self, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QosLabels {
    pub qos: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DatabaseLabels {
    pub database: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleLabels {
    pub database: Arc<str>,
    pub rule: Arc<str>,
}

/// The outcome of a message under a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label values are lower case in the contract")]
pub enum Outcome {
    written,
    filtered,
    dead_lettered,
    dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub database: Arc<str>,
    pub rule: Arc<str>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabels {
    /// `mqtt`, `mqtt-out` (the connection for publishing) or a database's name.
    pub peer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FilterLabels {
    pub filter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// A histogram per database.
pub type HistogramFamily = Family<DatabaseLabels, Histogram, fn() -> Histogram>;

/// All metrics of the process. Hot paths add once per batch, never per message.
pub struct Metrics {
    registry: Registry,
    started: Timestamp,
    /// By QoS level 0, 1, 2: PUBLISH packets taken from the broker, duplicates included.
    pub messages_received: [Counter; 3],
    pub messages_journaled: Counter,
    /// QoS 2 redeliveries that were recognised and not stored again.
    pub messages_deduplicated: Counter,
    /// Messages that a wider topic filter brought and no rule takes.
    pub messages_unwanted: Counter,
    /// Messages dropped because the journal was full, or lost to damage.
    pub messages_lost: Counter,
    pub messages_unmatched: Counter,
    pub rows_written: Family<RuleLabels, Counter>,
    /// Rows that a table was given and did not take, without an error. The rule is empty where several filled the table
    /// and the database does not say whose they were.
    pub rows_swallowed: Family<RuleLabels, Counter>,
    /// Values that did not fit and became NULL, as `on_error: null` of their columns says.
    pub values_nulled: Family<RuleLabels, Counter>,
    pub messages: Family<OutcomeLabels, Counter>,
    /// Messages that wait for their rule's table to be mended.
    pub parked: Family<RuleLabels, Gauge>,
    /// 1 while a database waits for a person.
    pub held: Family<DatabaseLabels, Gauge>,
    pub pending_messages: Family<DatabaseLabels, Gauge>,
    pub oldest_pending_seconds: Family<DatabaseLabels, Gauge<f64, AtomicU64>>,
    pub journal_bytes: Gauge,
    pub journal_max_bytes: Gauge,
    /// 1 while the journal takes nothing.
    pub journal_paused: Gauge,
    /// Ends of the journal that were no whole record when it was opened.
    pub journal_torn_tails: Counter,
    pub commit_seconds: HistogramFamily,
    pub batch_rows: HistogramFamily,
    pub retries: Family<DatabaseLabels, Counter>,
    pub connected: Family<PeerLabels, Gauge>,
    pub last_commit_timestamp_seconds: Family<DatabaseLabels, Gauge<f64, AtomicU64>>,
    /// The size of the `-wal` file beside a SQLite database.
    pub sqlite_wal_bytes: Family<DatabaseLabels, Gauge>,
    pub subscription_granted_qos: Family<FilterLabels, Gauge>,
    pub session_lost: Counter,
    pub outbound: OutboundMetrics,
    pub publish: PublishMetrics,
    pub queries: QueryMetrics,
    /// Those who follow the messages; no metric.
    pub taps: Arc<Taps>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// A fresh set, registered under the names of CONTRACT §5.
    pub fn new() -> Metrics {
        let received = Family::<QosLabels, Counter>::default();
        let messages_received = [0, 1, 2].map(|qos| received.get_or_create(&QosLabels { qos }).clone());
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        let mut metrics = Metrics {
            registry: Registry::with_prefix("rowbridge"),
            started: clock::now(),
            messages_received,
            messages_journaled: Counter::default(),
            messages_deduplicated: Counter::default(),
            messages_unwanted: Counter::default(),
            messages_lost: Counter::default(),
            messages_unmatched: Counter::default(),
            rows_written: Family::default(),
            rows_swallowed: Family::default(),
            values_nulled: Family::default(),
            messages: Family::default(),
            parked: Family::default(),
            held: Family::default(),
            pending_messages: Family::default(),
            oldest_pending_seconds: Family::default(),
            journal_bytes: Gauge::default(),
            journal_max_bytes: Gauge::default(),
            journal_paused: Gauge::default(),
            journal_torn_tails: Counter::default(),
            // 0.5 ms to 32 s, by factors of two: an SSD's commit up to a Postgres at the far end of a bad link.
            commit_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 17))),
            batch_rows: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 4.0, 9))),
            retries: Family::default(),
            connected: Family::default(),
            last_commit_timestamp_seconds: Family::default(),
            sqlite_wal_bytes: Family::default(),
            subscription_granted_qos: Family::default(),
            session_lost: Counter::default(),
            outbound: OutboundMetrics::default(),
            publish: PublishMetrics::default(),
            queries: QueryMetrics::default(),
            taps: Arc::default(),
        };
        metrics.register(received, build);
        metrics
    }

    /// The text that `/metrics` answers with.
    pub fn encode(&self, form: Exposition) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)
            .expect("writing to a String cannot fail");
        process::encode(&mut text, self.started);
        form.finish(text)
    }

    fn register(&mut self, received: Family<QosLabels, Counter>, build: Family<BuildLabels, Gauge>) {
        let registry = &mut self.registry;
        registry.register("messages_received", "MQTT messages taken from the broker", received);
        registry.register(
            "messages_journaled",
            "Messages made durable in the journal",
            self.messages_journaled.clone(),
        );
        registry.register(
            "messages_deduplicated",
            "QoS 2 redeliveries recognised and not stored again",
            self.messages_deduplicated.clone(),
        );
        registry.register(
            "messages_unwanted",
            "Messages that only a wider topic filter brought: acknowledged, and not stored",
            self.messages_unwanted.clone(),
        );
        registry.register(
            "messages_lost",
            "Messages dropped by a full journal or lost to damage",
            self.messages_lost.clone(),
        );
        registry.register("messages_unmatched", "Messages that no rule took", self.messages_unmatched.clone());
        registry.register("rows_written", "Rows committed", self.rows_written.clone());
        registry.register(
            "rows_swallowed",
            "Rows that a trigger or rule of the table ignored without an error",
            self.rows_swallowed.clone(),
        );
        registry.register("values_nulled", "Values that did not fit and became NULL", self.values_nulled.clone());
        registry.register("messages", "Messages by rule and outcome", self.messages.clone());
        registry.register("parked", "Messages parked until their table takes rows", self.parked.clone());
        registry.register("held", "1 while the database waits for a person to mend something", self.held.clone());
        registry.register(
            "pending_messages",
            "Messages in the journal still to deliver",
            self.pending_messages.clone(),
        );
        registry.register(
            "oldest_pending_seconds",
            "Age of the oldest message still to deliver",
            self.oldest_pending_seconds.clone(),
        );
        registry.register("journal_bytes", "Bytes the journal takes on disk", self.journal_bytes.clone());
        registry.register("journal_max_bytes", "Bytes the journal may take on disk", self.journal_max_bytes.clone());
        registry.register(
            "journal_paused",
            "1 while the journal takes nothing and the broker queues",
            self.journal_paused.clone(),
        );
        registry.register(
            "journal_torn_tails",
            "Times the journal's end was no whole record at a start",
            self.journal_torn_tails.clone(),
        );
        registry.register("commit_seconds", "Time of a batch's transaction", self.commit_seconds.clone());
        registry.register("batch_rows", "Rows in a committed batch", self.batch_rows.clone());
        registry.register("retries", "Attempts repeated after a transient error", self.retries.clone());
        registry.register("connected", "1 while connected to the peer", self.connected.clone());
        registry.register(
            "last_commit_timestamp_seconds",
            "Unix time of the last commit",
            self.last_commit_timestamp_seconds.clone(),
        );
        registry.register(
            "sqlite_wal_bytes",
            "Bytes of a SQLite database's write-ahead log on disk",
            self.sqlite_wal_bytes.clone(),
        );
        registry.register(
            "subscription_granted_qos",
            "QoS granted to a topic filter, -1 when refused",
            self.subscription_granted_qos.clone(),
        );
        registry.register("session_lost", "Times the broker had lost the session", self.session_lost.clone());
        self.outbound.register(registry);
        self.publish.register(registry);
        self.queries.register(registry);
        registry.register("build_info", "The version that runs", build);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_names_appear() {
        let metrics = Metrics::new();
        metrics.messages_received[1].inc_by(3);
        let labels = OutcomeLabels { database: "a".into(), rule: "b".into(), outcome: Outcome::dead_lettered };
        metrics.messages.get_or_create(&labels).inc();
        let text = metrics.encode(Exposition::OpenMetrics);
        assert!(text.contains("rowbridge_messages_received_total{qos=\"1\"} 3"), "{text}");
        assert!(
            text.contains("rowbridge_messages_total{database=\"a\",rule=\"b\",outcome=\"dead_lettered\"} 1"),
            "{text}"
        );
        assert!(text.contains("rowbridge_build_info{version="), "{text}");
    }
}
