//! Events of the source: one function logs, counts and shows each of them in the status, so that the three cannot drift
//! apart. There are no events per message, and no event shows a payload or a secret.

mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::presence::Barred;
use super::status::SourceStatus;
use super::stored::SaveError;
use super::subscriptions::Subscriptions;
use crate::clock;
use crate::mqtt::limits::Limits;
use crate::telemetry::{Metrics, PeerLabels};

/// An unchanged failure is said again this often; in between it is at DEBUG.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// The source's voice.
pub(super) struct Events {
    status: Arc<SourceStatus>,
    pub(super) metrics: Arc<Metrics>,
    /// The failure last said aloud, and when.
    said: Option<(String, Instant)>,
    /// While many filters are being subscribed to: how many the broker granted as asked.
    counted: Option<usize>,
    /// The broker's limits, and the overlaps and wider filters of the plan, that were last logged.
    limits: Limits,
    overlaps: Vec<(String, String)>,
    wider: Vec<String>,
}

impl Events {
    pub(super) fn new(status: Arc<SourceStatus>, metrics: Arc<Metrics>) -> Events {
        let events = Events {
            status,
            metrics,
            said: None,
            counted: None,
            limits: Limits::default(),
            overlaps: Vec::new(),
            wider: Vec::new(),
        };
        events.gauge(0);
        events
    }

    pub(super) fn connected(&mut self, url: &str, session_present: bool) {
        tracing::info!(url, session_present, "connected to the broker");
        self.said = None;
        self.gauge(1);
        self.status.update(|now| {
            now.connected = true;
            now.connected_since = Some(clock::now());
            now.session_present = session_present;
            now.url = Some(url.to_owned());
            now.last_error = None;
        });
    }

    /// The broker refused us or ended the connection for `error`, which only a person can mend; the next attempt is made
    /// after `retry_in`.
    pub(super) fn refused(&mut self, url: &str, error: &str, retry_in: Duration) {
        let retry_in_ms = retry_in.as_millis() as u64;
        if self.is_news(error) {
            tracing::error!(url, error, retry_in_ms, "the broker does not let this client in");
        } else {
            tracing::debug!(url, error, retry_in_ms, "the broker does not let this client in");
        }
        self.down(url, error);
    }

    /// A connection ended, or an attempt failed, for `error`; the next one is made after `retry_in`.
    pub(super) fn disconnected(&mut self, url: &str, error: &str, retry_in: Duration) {
        if self.is_news(error) {
            tracing::warn!(url, error, retry_in_ms = retry_in.as_millis() as u64, "no connection to the broker");
        } else {
            tracing::debug!(url, error, retry_in_ms = retry_in.as_millis() as u64, "no connection to the broker");
        }
        self.down(url, error);
    }

    /// The broker left out packet identifiers; the connection was ended for it.
    pub(super) fn identifiers_skipped(&self, url: &str, count: u32) {
        tracing::warn!(
            url,
            count,
            "the broker left out packet identifiers: it dropped messages for this client, or holds them back until the \
             next connection, which is made now; let it queue more (max_queued_messages in Mosquitto)"
        );
        self.gauge(0);
        self.status.update(|now| now.connected = false);
    }

    /// The broker used a topic alias that it may not use or never announced. `is_lenient`: it did so again right after
    /// the connection had been ended over it, and what has no topic is journaled without one.
    pub(super) fn alias_misused(&self, alias: u16, maximum: u16, is_lenient: bool) {
        if is_lenient {
            tracing::error!(
                alias,
                "the broker goes on using topic aliases that do not hold: messages that come without a topic become dead \
                 letters; turn topic aliases off in the broker (max_topic_alias_broker 0 in Mosquitto) and update it"
            );
        } else {
            tracing::error!(
                alias,
                topic_alias_maximum = maximum,
                "the broker used a topic alias that it may not use or never announced: the connection is ended, so that \
                 the messages come again with their topics; this is a fault of the broker, see mqtt.topic_alias_maximum"
            );
        }
    }

    /// Another client throws us out.
    pub(super) fn taken_over(&mut self, url: &str, client_id: &str, error: &str, retry_in: Duration) {
        tracing::error!(
            url,
            client_id,
            error,
            retry_in_s = retry_in.as_secs(),
            "another client seems to use the same client id; give each its own mqtt.client_id"
        );
        self.down(
            url,
            &format!(
                "{error}; another client seems to use the client id {client_id}: give each its own mqtt.client_id"
            ),
        );
    }

    /// The broker refused `online`.
    pub(super) fn presence_refused(&mut self, topic: &str, error: &str) {
        tracing::warn!(
            topic,
            error,
            "the broker refuses the message to mqtt.status_topic; the messages of the rules are not affected"
        );
    }

    /// Nothing is told to `mqtt.status_topic` any more until the next start.
    pub(super) fn presence_barred(&mut self, barred: Barred) {
        match barred {
            Barred::Will => tracing::warn!(
                "the broker did not accept a connection whose will goes to mqtt.status_topic, and accepted one without: nothing is \
                 published there on this connection; the broker may have no retained messages or no QoS 1, or its access rules may not let \
                 this client write to the topic"
            ),
            Barred::Publish => tracing::warn!(
                "the broker ends the connection when the bridge publishes to mqtt.status_topic: nothing is published there \
                 until the next start; let this client write to the topic in the broker's access rules"
            ),
        }
    }

    /// The process stops.
    pub(super) fn stopped(&self) {
        tracing::info!("left the broker; the session stays");
        self.gauge(0);
        self.status.update(|now| {
            now.connected = false;
            now.connected_since = None;
        });
    }

    /// The broker does not have the session of a client that had one.
    pub(super) fn session_lost(&self, away: Option<Duration>) {
        let away_s_max = away.map(|away| away.as_secs());
        tracing::error!(
            away_s_max,
            "the broker has lost this client's session: messages sent while we were away may be lost; \
             raise mqtt.session_expiry, or give the broker persistent storage"
        );
        self.metrics.session_lost.inc();
        self.status.update(|now| now.sessions_lost += 1);
    }

    /// The broker has no session of a client that has one at another broker, or had.
    pub(super) fn session_elsewhere(&self, address: &str) {
        tracing::warn!(
            before = address,
            "this is another broker than before: it starts a new session, and what the other one holds for this client waits \
             there; connect to that one again before its session expires"
        );
    }

    /// The broker kept no session of a client whose subscriptions are all of QoS 0 (RabbitMQ): it held nothing for it, and
    /// would not have with a session.
    pub(super) fn session_not_kept(&self) {
        tracing::info!(
            "the broker keeps no session for subscriptions of QoS 0; what was published while the bridge was away does \
             not come, as with any session at QoS 0"
        );
    }

    /// The broker starts a session for a client that had none.
    pub(super) fn session_new(&self) {
        tracing::info!("the broker starts a new session for this client");
    }

    pub(super) fn session_expiry_shortened(&self, asked_s: u64, granted_s: u32) {
        tracing::warn!(asked_s, granted_s, "the broker keeps the session for less time than mqtt.session_expiry");
    }

    /// What CONNACK says the broker will not do, where the plan wants it. Said when it changes.
    pub(super) fn limited(&mut self, limits: &Limits, plan: &Subscriptions) {
        if self.limits == *limits {
            return;
        }
        self.limits = limits.clone();
        let qos_asked = plan.list().iter().map(|subscription| subscription.qos).max();
        if let Some(qos_asked) = qos_asked.filter(|&asked| asked > limits.qos_max) {
            tracing::warn!(
                qos_asked = qos_asked.level(),
                qos_max = limits.qos_max.level(),
                "the broker takes no higher QoS than qos_max, so that is asked for: messages may be lost or repeated on \
                 the way to us"
            );
        }
        if !limits.retained_messages {
            tracing::info!("the broker keeps no retained messages");
        }
        if !limits.subscription_identifiers && plan.has_identifiers() {
            tracing::info!("the broker has no subscription identifiers; topics of the rules overlap");
        }
    }

    /// The broker's copies of a message have all the identifiers.
    pub(super) fn copies_alike(&self) {
        tracing::warn!(
            "the broker sends a message once for each topic filter that matches it, each copy with the identifiers of \
             all, so that copies cannot be told apart: overlapping filters are given up for wider ones; the messages that \
             have come may be stored twice"
        );
    }

    /// The journal lost what it had not made durable; the broker will send it again.
    pub(super) fn journal_reopened(&self) {
        tracing::warn!("the journal was reopened after a disk error; reconnecting, so that the broker sends again");
    }

    /// The file with the subscriptions keeps an older state. Nothing is lost: what it lacks is subscribed to again.
    pub(super) fn not_stored(&self, error: &SaveError) {
        tracing::warn!(%error, "cannot store the subscriptions");
    }

    /// Whether a failure is to be told: it is another than the last, or that was long ago.
    fn is_news(&mut self, error: &str) -> bool {
        let now = Instant::now();
        let is_known = |(text, at): &(String, Instant)| text == error && now.duration_since(*at) < REPEAT_EVERY;
        if self.said.as_ref().is_some_and(is_known) {
            return false;
        }
        self.said = Some((error.to_owned(), now));
        true
    }

    fn down(&self, url: &str, error: &str) {
        self.gauge(0);
        self.status.update(|now| {
            now.connected = false;
            now.connected_since = None;
            now.url = Some(url.to_owned());
            now.last_error = Some(error.to_owned());
        });
    }

    fn gauge(&self, connected: i64) {
        self.metrics.connected.get_or_create(&PeerLabels { peer: "mqtt".into() }).set(connected);
    }
}
