//! Events of the second connection: one function logs, counts and shows each of them. No event shows a payload or a
//! secret.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::status::OutboundStatus;
use crate::clock;
use crate::message::Qos;
use crate::mqtt::limits::Limits;
use crate::telemetry::{AnswerFate, Metrics, PeerLabels};

/// An unchanged failure is said again this often; in between it is at DEBUG.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// Answers that nobody gets are logged so long after the first of them, together with those that follow.
const LOSSES_GATHERED: Duration = Duration::from_secs(1);

/// And then at most so often.
const LOSSES_EVERY: Duration = Duration::from_secs(60);

/// The peer's name in the metrics.
const PEER: &str = "mqtt-out";

/// The connection's voice.
pub(super) struct Events {
    status: Arc<OutboundStatus>,
    metrics: Arc<Metrics>,
    /// The failure last said aloud, and when.
    said: Option<(String, Instant)>,
    /// The same for refused messages.
    said_refusal: Option<(String, Instant)>,
    /// Answers that were not acknowledged, and of which the log has yet to tell.
    lost: u64,
    losses: LossesLog,
    /// The broker's limits that were last logged.
    limits: Limits,
}

impl Events {
    pub(super) fn new(status: Arc<OutboundStatus>, metrics: Arc<Metrics>) -> Events {
        Events {
            status,
            metrics,
            said: None,
            said_refusal: None,
            lost: 0,
            losses: LossesLog::default(),
            limits: Limits::default(),
        }
    }

    /// The connection is wanted, from now on.
    pub(super) fn started(&self) {
        self.gauge(0);
    }

    pub(super) fn connected(&mut self, url: &str, limits: &Limits) {
        tracing::info!(url, "connected to the broker for publishing and requests");
        self.said = None;
        self.gauge(1);
        self.status.set_packet_bytes_max(limits.packet_bytes_max);
        self.status.update(|now| {
            now.connected = true;
            now.connected_since = Some(clock::now());
            now.last_error = None;
            now.refused_filters.clear();
        });
        if self.limits == *limits {
            return;
        }
        self.limits = limits.clone();
        if limits.qos_max < Qos::ExactlyOnce {
            let qos_max = limits.qos_max.level();
            tracing::info!(qos_max, "the broker takes no higher QoS than qos_max: messages are published with that");
        }
        if !limits.retained_messages {
            tracing::info!("the broker keeps no retained messages: what is published is not retained");
        }
    }

    /// A connection ended, or an attempt failed, for `error`; the next one is made after `retry_in`.
    pub(super) fn disconnected(&mut self, url: &str, error: &str, needs_a_person: bool, retry_in: Duration) {
        let retry_in_ms = retry_in.as_millis() as u64;
        let is_news = is_news(&mut self.said, error);
        match (is_news, needs_a_person) {
            (true, true) => {
                tracing::error!(url, error, retry_in_ms, "the broker does not let the connection for publishing in");
            }
            (true, false) => tracing::warn!(url, error, retry_in_ms, "no connection to the broker for publishing"),
            (false, _) => tracing::debug!(url, error, retry_in_ms, "no connection to the broker for publishing"),
        }
        self.gauge(0);
        self.status.update(|now| {
            now.connected = false;
            now.connected_since = None;
            now.last_error = Some(error.to_owned());
        });
    }

    /// The process stops.
    pub(super) fn stopped(&mut self) {
        self.log_losses();
        self.gauge(0);
        self.status.update(|now| {
            now.connected = false;
            now.connected_since = None;
        });
    }

    /// The broker, or its limits, did not take a message of a batch; whoever published it counts it.
    pub(super) fn refused_message(&mut self, topic: Option<&str>, error: &str) {
        if is_news(&mut self.said_refusal, error) {
            tracing::warn!(topic, error, "the broker does not take a message that is published");
        } else {
            tracing::debug!(topic, error, "the broker does not take a message that is published");
        }
        self.status.update(|now| now.last_refusal = Some(error.to_owned()));
    }

    /// The same of an answer, which is not sent again.
    pub(super) fn refused_answer(&mut self, topic: &str, error: &str) {
        self.metrics.outbound.answered(AnswerFate::refused, 1);
        self.refused_message(Some(topic), error);
    }

    /// An answer is with the broker, as far as can be known.
    pub(super) fn answered(&self) {
        self.metrics.outbound.answered(AnswerFate::sent, 1);
    }

    /// Answers were not sent, or their acknowledgement never came; they are not sent again.
    pub(super) fn answers_lost(&mut self, answers: u64) {
        if answers > 0 {
            self.metrics.outbound.answered(AnswerFate::dropped, answers);
            self.lost += answers;
        }
    }

    /// Logs what was lost or crowded out, if a line is due. To be called in each turn.
    pub(super) fn tell_losses(&mut self, now: Instant) {
        let has_any = self.lost > 0 || self.metrics.outbound.has_crowded_out();
        if has_any && self.losses.is_due(now) {
            self.log_losses();
        }
    }

    /// When [`Events::tell_losses`] should be called at the latest.
    pub(super) fn losses_due(&self) -> Option<Instant> {
        self.losses.due
    }

    fn log_losses(&mut self) {
        let answers = std::mem::take(&mut self.lost);
        if answers > 0 {
            tracing::warn!(
                answers,
                "answers may not have reached the broker: the connection broke, or it took no more for 30 s; they are not sent again"
            );
        }
        let [to_messages, to_queries] = self.metrics.outbound.take_crowded_out();
        if to_messages + to_queries > 0 {
            tracing::warn!(to_messages, to_queries, "answers are not sent: more are due at once than the bridge keeps");
        }
    }

    /// The broker answered for a request topic.
    pub(super) fn subscribed(&self, filter: &str, refusal: Option<String>) {
        match refusal {
            None => {
                tracing::info!(filter, "requests are taken");
                self.status.update(|now| now.refused_filters.retain(|(refused, _)| refused != filter));
            }
            Some(error) => {
                tracing::error!(filter, error, "the broker refuses the subscription to a request topic");
                self.status.update(|now| {
                    now.refused_filters.retain(|(refused, _)| refused != filter);
                    now.refused_filters.push((filter.to_owned(), error));
                });
            }
        }
    }

    /// From now on requests come on these topics.
    pub(super) fn wanted(&self, filters: &[String]) {
        self.status.update(|now| now.refused_filters.retain(|(refused, _)| filters.contains(refused)));
    }

    fn gauge(&self, connected: i64) {
        self.metrics.connected.get_or_create(&PeerLabels { peer: PEER.into() }).set(connected);
    }
}

/// When answers that nobody gets are logged.
#[derive(Debug, Default)]
struct LossesLog {
    /// Of those that were not logged yet.
    due: Option<Instant>,
    quiet_until: Option<Instant>,
}

impl LossesLog {
    /// There are some: whether they are to be logged now.
    fn is_due(&mut self, now: Instant) -> bool {
        let gathered = now + LOSSES_GATHERED;
        let due = *self.due.get_or_insert(self.quiet_until.map_or(gathered, |until| until.max(gathered)));
        if now < due {
            return false;
        }
        self.due = None;
        self.quiet_until = Some(now + LOSSES_EVERY);
        true
    }
}

/// Whether a failure is worth a line: not the same as last time, or not said for long.
fn is_news(said: &mut Option<(String, Instant)>, error: &str) -> bool {
    let now = Instant::now();
    if said.as_ref().is_some_and(|(text, at)| text == error && now < *at + REPEAT_EVERY) {
        return false;
    }
    *said = Some((error.to_owned(), now));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_nobody_gets_are_logged_a_moment_after_the_first_and_then_once_a_minute() {
        let begun = Instant::now();
        let mut log = LossesLog::default();
        let mut is_due = |millis| log.is_due(begun + Duration::from_millis(millis));
        assert_eq!([0, 500, 999, 1_000].map(&mut is_due), [false, false, false, true]);
        assert_eq!([1_001, 30_000, 60_999, 61_000].map(&mut is_due), [false, false, false, true]);
        assert_eq!([200_000, 200_999, 201_000].map(&mut is_due), [false, false, true]);
    }
}
