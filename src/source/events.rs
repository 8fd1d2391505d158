//! What the source tells the world: each event is logged, counted and shown in the status by one function, so that the
//! three cannot drift apart. Nothing here is per message, and nothing shows a payload or a secret.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::caution::Caution;
use super::presence::Barred;
use super::reconcile::Answer;
use super::status::{SourceStatus, SubscriptionStatus};
use super::stored::{SaveError, StoredSubscriptions};
use super::subscriptions::{Subscription, Subscriptions};
use crate::clock;
use crate::config::MqttVersion;
use crate::mqtt::limits::Limits;
use crate::mqtt::reason;
use crate::telemetry::{FilterLabels, Metrics, PeerLabels};

/// An unchanged failure is said again this often; in between it is at DEBUG.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// Of more filters than this, subscribed to in one go, only the count is logged at INFO: a line for each would bury the
/// rest of the log.
const NAMED_FILTERS_MAX: usize = 20;

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
        self.down(url, error);
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
                 published there on this connection; let this client write to the topic in the broker's access rules"
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

    /// A connection ended on one filter. `did` says how. Returns how that is shown.
    pub(super) fn culprit(
        &self,
        filter: &str,
        did: &str,
        left_out: Option<Duration>,
        is_news: bool,
        plan: &Subscriptions,
    ) -> String {
        let Some(subscription) = plan.get(filter) else {
            tracing::warn!(filter, did, "the broker ends the connection when told to unsubscribe; the filter stays");
            return format!("the broker ends the connection instead of giving it up ({did})");
        };
        let rules = subscription.rules.join(", ");
        let again = left_out.map_or("on every connection".to_owned(), |wait| format!("in {} s", wait.as_secs().max(1)));
        if subscription.is_wider {
            tracing::warn!(
                filter,
                rules,
                did,
                again,
                "the broker will not have a filter that covers several; subscribing to those"
            );
        } else if is_news {
            tracing::error!(
                filter,
                rules,
                did,
                again,
                "the broker does not answer a subscription but ends the connection: the rules of this filter get \
                 nothing; the broker's access rules may not let this client read these topics, or the broker does not \
                 support the filter"
            );
        } else {
            tracing::warn!(filter, rules, did, again, "the broker still ends the connection on a subscription");
        }
        self.granted_gauge(filter, -1);
        let error = format!(
            "the broker ends the connection instead of granting it ({did}); asked again {again}; check its access rules"
        );
        self.status.update(|now| {
            if let Some(known) = now.subscriptions.iter_mut().find(|known| known.filter == filter) {
                (known.qos_granted, known.error) = (None, Some(error.clone()));
            }
        });
        error
    }

    /// The journal lost what it had not made durable; the broker will send it again.
    pub(super) fn journal_reopened(&self) {
        tracing::warn!("the journal was reopened after a disk error; reconnecting, so that the broker sends again");
    }

    /// The file with the subscriptions keeps an older state. Nothing is lost: what it lacks is subscribed to again.
    pub(super) fn not_stored(&self, error: &SaveError) {
        tracing::warn!(%error, "cannot store the subscriptions");
    }

    /// Shows the planned filters, with what is known of them from before.
    pub(super) fn planned(
        &mut self,
        version: MqttVersion,
        plan: &Subscriptions,
        stored: &StoredSubscriptions,
        caution: &Caution,
    ) {
        self.overlapping(plan);
        let mut impossible = Vec::new();
        self.status.update(|now| {
            for gone in now.subscriptions.iter().filter(|known| plan.get(&known.filter).is_none()) {
                self.metrics.subscription_granted_qos.remove(&FilterLabels { filter: gone.filter.clone() });
            }
            let errors: HashMap<String, Option<String>> =
                now.subscriptions.drain(..).map(|known| (known.filter, known.error)).collect();
            let shown = |subscription: &Subscription| {
                let filter = &subscription.filter;
                let culprit = caution.error(filter).map(str::to_owned);
                let known = culprit.or_else(|| errors.get(filter).cloned().flatten());
                let refusal = caution.limits.refusal(version, filter);
                if refusal.is_some() && refusal != known {
                    impossible.push((filter.clone(), subscription.rules.join(", "), refusal.clone()));
                }
                SubscriptionStatus {
                    filter: filter.clone(),
                    qos_asked: subscription.qos.level(),
                    qos_granted: stored.filter(filter).map(|known| known.granted).filter(|_| refusal.is_none()),
                    error: refusal.or(known),
                }
            };
            now.subscriptions = plan.list().iter().map(shown).collect();
            for subscription in &now.subscriptions {
                let refused = subscription.error.as_ref().map(|_| -1);
                if let Some(granted) = subscription.qos_granted.map(i64::from).or(refused) {
                    self.granted_gauge(&subscription.filter, granted);
                }
            }
        });
        for (filter, rules, error) in impossible {
            tracing::error!(filter, rules, error, "the broker cannot have a subscription: its rules get nothing");
        }
    }

    /// What is done about filters that overlap, where no identifiers tell the copies of a message apart. Said when it
    /// changes.
    fn overlapping(&mut self, plan: &Subscriptions) {
        let wider = plan.list().iter().filter(|subscription| subscription.is_wider);
        let wider: Vec<String> = wider.map(|subscription| subscription.filter.clone()).collect();
        if wider != self.wider {
            for subscription in plan.list().iter().filter(|subscription| subscription.is_wider).take(NAMED_FILTERS_MAX)
            {
                tracing::info!(
                    filter = subscription.filter,
                    rules = subscription.rules.join(", "),
                    "topics of the rules overlap; one wider filter takes their place, so that no message comes twice: \
                     the broker sends all that it matches, and what no rule takes is not stored"
                );
            }
            self.wider = wider;
        }
        if plan.overlaps() != self.overlaps {
            self.overlaps = plan.overlaps().to_vec();
            for (filter, other) in self.overlaps.iter().take(NAMED_FILTERS_MAX) {
                tracing::warn!(
                    filter,
                    other,
                    "these topic filters overlap, and no filter can take the place of both: a broker that sends a \
                     message once for each of them (many do) makes each rule store it twice; use MQTT 5, or filters \
                     that do not overlap"
                );
            }
        }
    }

    /// The broker is being asked for `filters` filters.
    pub(super) fn subscribing(&mut self, filters: usize) {
        // A connection that ended in between left a count.
        self.settled();
        self.counted = (filters > NAMED_FILTERS_MAX).then_some(0);
    }

    /// The broker has answered for every filter.
    pub(super) fn settled(&mut self) {
        if let Some(filters) = self.counted.take().filter(|&filters| filters > 0) {
            tracing::info!(filters, "subscribed");
        }
    }

    /// The broker answered for one filter.
    pub(super) fn answered(
        &mut self,
        version: MqttVersion,
        answer: &Answer,
        detail: Option<&str>,
        plan: &Subscriptions,
    ) {
        let filter = answer.asked.filter.as_str();
        let rules = plan.get(filter).map_or(String::new(), |subscription| subscription.rules.join(", "));
        let asked = answer.asked.qos.level();
        let (granted, error) = if answer.code < 0x80 {
            (Some(answer.code), None)
        } else {
            (None, Some(reason::subscribe_refusal(version, answer.code)))
        };
        match (granted, &error) {
            (_, Some(error)) if plan.get(filter).is_some_and(|subscription| subscription.is_wider) => {
                tracing::warn!(
                    filter,
                    rules,
                    error,
                    detail,
                    "the broker refused a filter that covers several; subscribing to those"
                );
            }
            (_, Some(error)) if reason::is_passing(answer.code) => {
                tracing::warn!(
                    filter,
                    rules,
                    error,
                    detail,
                    "the broker refused a subscription for now; asked again soon"
                );
            }
            (_, Some(error)) => {
                tracing::error!(
                    filter,
                    rules,
                    error,
                    detail,
                    "the broker refused a subscription: its rules get nothing"
                );
            }
            (Some(granted), None) if granted < asked => {
                tracing::warn!(
                    filter,
                    rules,
                    qos_asked = asked,
                    qos_granted = granted,
                    "the broker granted a lower QoS: messages may be lost or repeated on the way to us"
                );
            }
            _ => match &mut self.counted {
                Some(count) => {
                    *count += 1;
                    tracing::debug!(filter, rules, qos = asked, "subscribed");
                }
                None => tracing::info!(filter, rules, qos = asked, "subscribed"),
            },
        }
        self.granted_gauge(filter, granted.map_or(-1, i64::from));
        self.status.update(|now| {
            // As a rule the list is that of the plan; it is an older one's until the next plan is taken up.
            let at =
                plan.position(filter).filter(|&at| now.subscriptions.get(at).is_some_and(|at| at.filter == filter));
            let at = at.or_else(|| now.subscriptions.iter().position(|known| known.filter == filter));
            if let Some(known) = at.map(|at| &mut now.subscriptions[at]) {
                known.qos_granted = granted;
                known.error = error;
            }
        });
    }

    pub(super) fn unsubscribed(&self, filter: &str) {
        tracing::info!(filter, "unsubscribed");
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

    fn granted_gauge(&self, filter: &str, granted: i64) {
        let labels = FilterLabels { filter: filter.to_owned() };
        self.metrics.subscription_granted_qos.get_or_create(&labels).set(granted);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::super::subscriptions::tests::rule;
    use super::*;
    use crate::config::Retry;
    use crate::message::Qos;
    use crate::mqtt::outgoing::SubscribeTo;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The INFO lines and graver ones while the broker grants `count` filters, but the first at a lower QoS and
    /// refuses the second.
    fn lines_for(count: usize) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let plan = Subscriptions::plan(MqttVersion::V5, &[rule("r", Qos::AtLeastOnce, &["a"])], None);
        tracing::subscriber::with_default(subscriber, || {
            let mut events = Events::new(Arc::default(), Arc::new(Metrics::new()));
            events.subscribing(count);
            for n in 0..count {
                let asked = SubscribeTo {
                    filter: format!("f/{n}"),
                    qos: Qos::AtLeastOnce,
                    identifier: None,
                    properties: Vec::new(),
                };
                let code = [0, 0x87].get(n).copied().unwrap_or(1);
                events.answered(MqttVersion::V5, &Answer { asked, code }, None, &plan);
            }
            events.settled();
            events.settled();
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_answer_is_shown_at_its_filter_also_while_the_plan_is_a_newer_one() {
        let plan =
            |filters: &[&str]| Subscriptions::plan(MqttVersion::V5, &[rule("r", Qos::AtLeastOnce, filters)], None);
        let status = Arc::new(SourceStatus::default());
        let mut events = Events::new(Arc::clone(&status), Arc::new(Metrics::new()));
        let stored = StoredSubscriptions::empty("gw1");
        let caution = Caution::new(&Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) });
        events.planned(MqttVersion::V5, &plan(&["a", "b", "c"]), &stored, &caution);
        for (filters, filter) in [(["a", "b", "c"].as_slice(), "b"), (["c", "x"].as_slice(), "c"), (&[], "a")] {
            let asked = SubscribeTo {
                filter: filter.to_owned(),
                qos: Qos::AtLeastOnce,
                identifier: None,
                properties: Vec::new(),
            };
            events.answered(MqttVersion::V5, &Answer { asked, code: 1 }, None, &plan(filters));
            let granted = |now: &super::super::status::SourceSnapshot| {
                now.subscriptions.iter().find(|known| known.filter == filter).and_then(|known| known.qos_granted)
            };
            assert_eq!(status.read(granted), Some(1), "{filter}");
        }
    }

    #[test]
    fn many_filters_are_counted_in_one_line_but_each_refusal_and_lower_qos_is_told() {
        let few = lines_for(NAMED_FILTERS_MAX);
        assert_eq!(few.len(), NAMED_FILTERS_MAX, "{few:?}");
        assert!(few[19].contains("f/19"), "{few:?}");
        let many = lines_for(NAMED_FILTERS_MAX + 1);
        assert_eq!(many.len(), 3, "{many:?}");
        assert!(many[0].contains("f/0") && many[1].contains("f/1"), "{many:?}");
        assert!(many[2].contains("subscribed") && many[2].contains("filters=19"), "{many:?}");
    }
}
