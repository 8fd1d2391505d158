//! The state of the whole bridge, in the form of `status --json` and `GET /status`. Scripts rely on this form.

use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use serde::Serialize;

use super::Paths;
use super::history::HistoryPart;
use super::observer::{Glance, Observer};
use super::outbound::{self, OutboundPart};
use super::readiness::{Readiness, readiness};
use crate::clock;
use crate::config::{Bridge, Rule};
use crate::delivery::{self, DatabaseState, Parked, RuleFeed, SharedState};
use crate::journal::{Fs, JournalHandle, JournalStatus};
use crate::outbound::{Outbound, PublishState};
use crate::reload::{ReloadReport, ReloadState};
use crate::source::{SourceSnapshot, SourceStatus, SubscriptionStatus};
use crate::telemetry::{
    DatabaseLabels, Exposition, Metrics,
    refusals::{self, Refusal, Refusals},
};

/// Everything that a status is made from. Shared by the HTTP handlers.
pub struct Overview<F: Fs> {
    pub bridge: Bridge,
    pub started: Instant,
    pub source: Arc<SourceStatus>,
    pub outbound: Outbound,
    pub journal: JournalHandle<F>,
    /// In the order of the configuration.
    pub databases: Vec<DatabaseHandle>,
    /// In the order of the configuration.
    pub publish: Vec<Arc<PublishState>>,
    /// The rules, as they change.
    pub rules: RuleFeed,
    pub reloads: Arc<ReloadState>,
    pub metrics: Arc<Metrics>,
    pub paths: Paths,
    pub observer: Observer,
}

/// One database's name and shared state.
pub struct DatabaseHandle {
    pub name: Arc<str>,
    pub state: Arc<SharedState>,
}

#[derive(Debug, Serialize)]
pub struct Status {
    pub bridge: String,
    pub version: &'static str,
    pub uptime_seconds: u64,
    pub mqtt: MqttStatus,
    pub journal: JournalPart,
    pub databases: IndexMap<String, DatabasePart>,
    pub rules: Vec<RulePart>,
    pub publish: Vec<PublishPart>,
    pub queries: Vec<QueryPart>,
    pub unmatched: u64,
    /// The present configuration, and the result of the last reload.
    pub config: ReloadReport,
    pub paths: Paths,
    /// The last messages that gave no row of each rule and reason since the start, newest first; told at once, and then at most
    /// once a minute.
    pub refused: Vec<Refusal>,
}

/// Requests of one query since the start.
#[derive(Debug, Serialize)]
pub struct QueryPart {
    pub name: String,
    pub answered: u64,
    pub refused: u64,
}

#[derive(Debug, Serialize)]
pub struct MqttStatus {
    pub connected: bool,
    /// Since when it has been connected, or not.
    pub since: String,
    pub session_present: bool,
    pub sessions_lost: u64,
    pub url: Option<String>,
    pub last_error: Option<String>,
    pub subscriptions: Vec<SubscriptionPart>,
    /// The second connection, by which answers are sent; `null` if nothing uses it.
    pub outbound: Option<OutboundPart>,
}

#[derive(Debug, Serialize)]
pub struct SubscriptionPart {
    pub filter: String,
    pub qos_asked: u8,
    pub qos_granted: Option<u8>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct JournalPart {
    pub id: String,
    pub oldest_seq: u64,
    pub next_seq: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    pub paused: bool,
    pub paused_since: Option<String>,
    /// It is full and drops messages, as `when_full` says.
    pub dropping: bool,
    /// Messages dropped by a full journal or lost to damage since the start.
    pub lost: u64,
}

#[derive(Debug, Serialize)]
pub struct DatabasePart {
    pub connected: bool,
    /// Since when it has been connected, or not.
    pub since: String,
    /// As last confirmed by the database.
    pub next_seq: u64,
    pub pending: u64,
    pub oldest_pending_seconds: f64,
    /// It is connected and committed nothing since, though messages wait for longer than they should.
    pub unanswered_since: Option<String>,
    pub held: Option<HeldPart>,
    pub parked: Vec<ParkedPart>,
    pub last_error: Option<String>,
    /// Rows that a table was given and did not take, without an error, since the start.
    pub rows_swallowed: u64,
    /// Messages that gave no row, since the start: kept as dead letters, of whatever rule or of none, and dropped.
    pub dead_lettered: u64,
    pub dropped: u64,
}

#[derive(Debug, Serialize)]
pub struct HeldPart {
    pub reason: String,
    pub mend: Option<String>,
    pub since: String,
}

/// A rule whose messages wait in the dead-letter table until its table is mended.
#[derive(Debug, Serialize)]
pub struct ParkedPart {
    pub rule: String,
    pub table: String,
    pub reason: String,
    /// As of [`HeldPart`], if the database was held for it by this process.
    pub mend: Option<String>,
    pub since: String,
    pub messages: u64,
}

#[derive(Debug, Serialize)]
pub struct RulePart {
    pub rule: String,
    pub database: String,
    pub matched: u64,
    pub written: u64,
    pub rows: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    pub dropped: u64,
    /// Values of written messages that did not fit and became NULL, as `on_error: null` says.
    pub nulled: u64,
    /// Rows of written messages that the table ignored; they are not among `rows`.
    pub rows_swallowed: u64,
    /// Why its last dead letters or dropped messages gave no row, since the start.
    pub last_error: Option<Refusal>,
}

/// What is published of one table.
#[derive(Debug, Serialize)]
pub struct PublishPart {
    pub name: String,
    /// Since the start.
    pub published: u64,
    /// Since the start: changes that no message could be made of, or that the broker refused for good.
    pub skipped: u64,
    /// Changes that wait in the database, as last counted.
    pub pending: u64,
    /// Of the oldest change that waits.
    pub next_offset: u64,
    pub error: Option<String>,
}

impl PublishPart {
    fn of(state: &PublishState) -> PublishPart {
        PublishPart {
            name: state.name.to_string(),
            published: state.published(),
            skipped: state.skipped(),
            pending: state.pending(),
            next_offset: state.next_offset(),
            error: state.error(),
        }
    }
}

impl<F: Fs> Overview<F> {
    /// A snapshot. `next_seq = databases.*.next_seq + pending` holds within it.
    pub fn status(&self) -> Status {
        let (mut status, subscriptions) = self.source.read(|source| (self.summary(source), subscription_parts(source)));
        status.mqtt.subscriptions = subscriptions;
        let refusals = refusals::recent();
        let rules = Arc::clone(&self.rules.borrow());
        status.rules = rules.rules.iter().map(|rule| self.rule_part(rule, &refusals)).collect();
        status.queries = self.query_parts();
        status.refused = refusals.list.iter().map(|refusal| Refusal::clone(refusal)).collect();
        status
    }

    /// The same without what may be long, the rules and the subscriptions.
    pub(super) fn brief(&self) -> Status {
        self.source.read(|source| self.summary(source))
    }

    fn summary(&self, source: &SourceSnapshot) -> Status {
        let Glance { journal, databases: states, .. } = self.glance(source);
        let databases = self.databases.iter().zip(&states).enumerate();
        let databases = databases.map(|(index, (handle, state))| {
            let mut part = database_part(state, &journal);
            part.since = self.observer.connection_since(index).to_string();
            if part.connected && part.held.is_none() {
                let since = self.observer.unanswered_since(index, state.max_wait);
                part.unanswered_since = since.map(|since| since.to_string());
            }
            part.parked = state.parked.iter().map(|parked| self.parked_part(index, parked)).collect();
            (handle.name.to_string(), part)
        });
        let mut mqtt = mqtt_status(source);
        mqtt.since = self.observer.broker_since().to_string();
        mqtt.outbound = outbound::part(&self.outbound, &self.metrics);
        Status {
            bridge: self.bridge.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            mqtt,
            databases: databases.collect(),
            rules: Vec::new(),
            publish: self.publish.iter().map(|state| PublishPart::of(state)).collect(),
            queries: Vec::new(),
            unmatched: self.metrics.messages_unmatched.get(),
            config: self.reloads.report(),
            paths: self.paths.clone(),
            refused: Vec::new(),
            journal: JournalPart {
                id: journal.id.to_string(),
                oldest_seq: journal.oldest_seq.0,
                next_seq: journal.next_seq.0,
                bytes: journal.bytes,
                max_bytes: journal.max_bytes,
                paused: journal.paused,
                paused_since: journal.paused.then(|| self.observer.paused_since().to_string()),
                dropping: journal.dropping,
                lost: self.metrics.messages_lost.get(),
            },
        }
    }

    /// Shows the observer what is so now.
    pub(super) fn look(&self) {
        self.source.read(|source| self.glance(source));
    }

    /// The present state; the observer records it.
    fn glance(&self, source: &SourceSnapshot) -> Glance {
        // Databases first: their offsets can only be at or below a journal end that is read later.
        let databases = self.databases.iter().map(|database| database.state.snapshot()).collect();
        let glance = Glance { is_connected: source.connected, journal: self.journal.status(), databases };
        self.observer.see(&glance);
        glance
    }

    /// The last hour.
    pub(super) fn history(&self) -> HistoryPart {
        let names = self.databases.iter().map(|database| database.name.to_string());
        self.observer.history(names, self.journal.status().max_bytes)
    }

    /// Whether messages are being taken safely.
    pub fn readiness(&self) -> Readiness {
        self.source.read(|source| readiness(&self.summary(source), &source.subscriptions))
    }

    /// The metrics as text, with the gauges that are only worth computing when somebody looks.
    pub fn encode_metrics(&self, form: Exposition) -> String {
        let status = self.brief();
        for (database, part) in &status.databases {
            let labels = DatabaseLabels { database: database.clone() };
            let pending = i64::try_from(part.pending).unwrap_or(i64::MAX);
            self.metrics.pending_messages.get_or_create(&labels).set(pending);
            self.metrics.oldest_pending_seconds.get_or_create(&labels).set(part.oldest_pending_seconds);
            self.metrics.held.get_or_create(&labels).set(i64::from(part.held.is_some()));
        }
        self.metrics.journal_paused.set(i64::from(status.journal.paused));
        self.metrics.encode(form)
    }

    fn query_parts(&self) -> Vec<QueryPart> {
        let part =
            |(name, answered, refused): (Arc<str>, u64, u64)| QueryPart { name: name.to_string(), answered, refused };
        self.metrics.queries.counts().into_iter().map(part).collect()
    }

    fn parked_part(&self, database: usize, parked: &Parked) -> ParkedPart {
        let tally = delivery::totals(&self.metrics, &self.databases[database].name, &parked.rule);
        ParkedPart {
            rule: parked.rule.to_string(),
            table: parked.table.clone(),
            reason: parked.reason.clone(),
            mend: parked.mend.clone(),
            since: parked.since.to_string(),
            messages: tally.parked.max(0).unsigned_abs(),
        }
    }

    fn rule_part(&self, rule: &Rule, refusals: &Refusals) -> RulePart {
        let database = &self.databases[rule.database].name;
        let tally = delivery::totals(&self.metrics, database, &rule.name);
        RulePart {
            rule: rule.name.to_string(),
            database: database.to_string(),
            matched: tally.written + tally.filtered + tally.dead_lettered + tally.dropped,
            written: tally.written,
            rows: tally.rows,
            filtered: tally.filtered,
            dead_lettered: tally.dead_lettered,
            dropped: tally.dropped,
            rows_swallowed: tally.rows_swallowed,
            nulled: tally.nulled,
            last_error: {
                let of = (rule.name.to_string(), database.to_string());
                refusals.by_rule.get(&of).map(|refusal| Refusal::clone(refusal))
            },
        }
    }
}

fn mqtt_status(source: &SourceSnapshot) -> MqttStatus {
    MqttStatus {
        connected: source.connected,
        since: String::new(),
        session_present: source.session_present,
        sessions_lost: source.sessions_lost,
        url: source.url.clone(),
        last_error: source.last_error.clone(),
        subscriptions: Vec::new(),
        outbound: None,
    }
}

fn subscription_parts(source: &SourceSnapshot) -> Vec<SubscriptionPart> {
    let part = |subscription: &SubscriptionStatus| SubscriptionPart {
        filter: subscription.filter.clone(),
        qos_asked: subscription.qos_asked,
        qos_granted: subscription.qos_granted,
        error: subscription.error.clone(),
    };
    source.subscriptions.iter().map(part).collect()
}

fn database_part(state: &DatabaseState, journal: &JournalStatus) -> DatabasePart {
    // Before the database has answered once, everything the journal still has counts as pending.
    let next_seq = state.next_seq.unwrap_or(journal.oldest_seq).min(journal.next_seq);
    let pending = journal.next_seq.0 - next_seq.0;
    let age_micros = state.oldest_pending.map_or(0, |at| clock::now().as_micros().saturating_sub(at.as_micros()));
    DatabasePart {
        connected: state.connected,
        since: String::new(),
        next_seq: next_seq.0,
        pending,
        oldest_pending_seconds: if pending == 0 { 0.0 } else { age_micros.max(0) as f64 / 1e6 },
        unanswered_since: None,
        held: state.held.as_ref().map(|held| HeldPart {
            reason: held.reason.clone(),
            mend: held.mend.clone(),
            since: held.since.to_string(),
        }),
        parked: Vec::new(),
        last_error: state.last_error.clone(),
        rows_swallowed: state.rows_swallowed,
        dead_lettered: state.unwritten.dead_lettered,
        dropped: state.unwritten.dropped,
    }
}
