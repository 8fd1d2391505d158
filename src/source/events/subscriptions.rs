//! Subscriptions in log, metrics and status. The status has each planned filter with the broker's last answer; the log
//! names a filter when its state changes.

use std::collections::HashMap;
use std::time::Duration;

use super::Events;
use crate::config::MqttVersion;
use crate::mqtt::reason;
use crate::source::caution::Caution;
use crate::source::reconcile::Answer;
use crate::source::status::SubscriptionStatus;
use crate::source::stored::StoredSubscriptions;
use crate::source::subscriptions::{Subscription, Subscriptions};
use crate::telemetry::FilterLabels;

/// Of more filters than this, subscribed to in one go, only the count is logged at INFO: a line for each would bury the
/// rest of the log.
const NAMED_FILTERS_MAX: usize = 20;

impl Events {
    /// Shows the planned filters, with what is known of them from before.
    pub(in crate::source) fn planned(
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
    pub(in crate::source) fn subscribing(&mut self, filters: usize) {
        // A connection that ended in between left a count.
        self.settled();
        self.counted = (filters > NAMED_FILTERS_MAX).then_some(0);
    }

    /// The broker has answered for every filter.
    pub(in crate::source) fn settled(&mut self) {
        if let Some(filters) = self.counted.take().filter(|&filters| filters > 0) {
            tracing::info!(filters, "subscribed");
        }
    }

    /// The broker answered for one filter.
    pub(in crate::source) fn answered(
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

    pub(in crate::source) fn unsubscribed(&self, filter: &str) {
        tracing::info!(filter, "unsubscribed");
    }

    /// A connection ended on one filter. `did` says how. Returns how that is shown.
    pub(in crate::source) fn culprit(
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

    fn granted_gauge(&self, filter: &str, granted: i64) {
        let labels = FilterLabels { filter: filter.to_owned() };
        self.metrics.subscription_granted_qos.get_or_create(&labels).set(granted);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::Retry;
    use crate::message::Qos;
    use crate::mqtt::outgoing::SubscribeTo;
    use crate::source::status::{SourceSnapshot, SourceStatus};
    use crate::source::subscriptions::tests::rule;
    use crate::telemetry::Metrics;

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
            let granted = |now: &SourceSnapshot| {
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
