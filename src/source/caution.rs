//! Which filters a broker refuses, judged by its answers and by the ends of connections.
//!
//! Some brokers refuse a filter in SUBACK; others end the connection, and with it every rule's messages. So after a
//! connection that ended with unanswered requests, the next one subscribes packet by packet. Once few filters are
//! suspected, it subscribes to each of them alone and last. If the connection ends twice while one filter alone is
//! unanswered (once, if the broker gives a reason about subscriptions), that filter is left out, so that the others
//! work. It is tried again later, with exponential backoff, one such filter at a time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::subscriptions::Subscriptions;
use crate::config::{MqttVersion, Retry};
use crate::mqtt::limits::Limits;

/// So many filters unanswered are few enough to ask for each by itself.
const FEW: usize = 8;
/// Connections that must have ended on a filter for it to be left out. One may be the network's doing.
const CUTS: u32 = 2;
/// A filter is left out at first for so many times `mqtt.retry.max` (a minute, by the defaults), then twice as long each
/// time. A wrong suspicion is soon made good.
const LEFT_OUT_FIRST: u32 = 2;
/// At most for so many times as long as at first.
const LEFT_OUT_MAX: u32 = 60;

/// What is known of this broker's refusals.
#[derive(Debug)]
pub(super) struct Caution {
    /// Of the present connection.
    pub(super) limits: Limits,
    /// By SUBACK, on the present connection.
    refused: HashSet<String>,
    suspects: HashMap<String, Suspect>,
    left_out_first: Duration,
    is_careful: bool,
    /// Filters that were unanswered together when a connection ended.
    company: Vec<String>,
    /// The broker would not have several filters in one packet.
    asks_singly: bool,
}

#[derive(Debug, Default)]
struct Suspect {
    /// Connections that ended while nothing else was unanswered, since the broker last answered for it.
    cuts: u32,
    left_out: Option<LeftOut>,
    /// Why it is left out, in words, once it was shown as the culprit.
    error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct LeftOut {
    until: Instant,
    wait: Duration,
}

/// What the end of a connection says about the filters that were unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing: it has another reason.
    Unrelated,
    /// The broker or the network ended it without a reason.
    Possible,
    /// The broker gave a reason that is about subscriptions.
    Certain,
}

impl Evidence {
    /// Of a DISCONNECT (MQTT 5).
    pub(super) fn of_disconnect(code: u8) -> Evidence {
        match code {
            // Not authorised, the filter, the packet's size, the QoS, shared, identifiers, wildcards.
            0x87 | 0x8F | 0x95 | 0x9B | 0x9E | 0xA1 | 0xA2 => Evidence::Certain,
            // No reason given, malformed, protocol error, not allowed, a quota.
            0x80..=0x83 | 0x97 => Evidence::Possible,
            _ => Evidence::Unrelated,
        }
    }
}

/// What follows from the end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// No filter was unanswered.
    Nothing,
    /// The next connection asks more carefully.
    Searching,
    /// The connection ended on this filter.
    Culprit {
        filter: String,
        /// How long it is left out. `None` = it is the only one left, so it is asked for on every connection.
        left_out: Option<Duration>,
        /// Whether this was not known before.
        is_news: bool,
    },
}

impl Caution {
    /// Nothing is known of the broker.
    pub(super) fn new(retry: &Retry) -> Caution {
        Caution {
            limits: Limits::default(),
            refused: HashSet::new(),
            suspects: HashMap::new(),
            left_out_first: retry.max * LEFT_OUT_FIRST,
            is_careful: false,
            company: Vec::new(),
            asks_singly: false,
        }
    }

    /// The broker accepted a connection.
    pub(super) fn on_connected(&mut self, limits: Limits) {
        self.limits = limits;
        self.refused.clear();
    }

    /// `plan` as far and in the form that this broker will have it. `left_out` is barred as well.
    pub(super) fn adapt(&self, plan: &Subscriptions, version: MqttVersion, left_out: Option<&str>) -> Subscriptions {
        let with_identifiers = version == MqttVersion::V5 && self.limits.subscription_identifiers;
        if self.is_at_ease() && left_out.is_none() && (with_identifiers || !plan.has_identifiers()) {
            return plan.clone();
        }
        let now = Instant::now();
        plan.adapted(with_identifiers, &|filter| {
            left_out == Some(filter) || self.is_barred(filter, now) || self.limits.refusal(version, filter).is_some()
        })
    }

    /// Whether nothing at all is known against any filter.
    fn is_at_ease(&self) -> bool {
        self.refused.is_empty() && self.suspects.is_empty() && self.limits.bars_nothing()
    }

    /// Whether `filter` was refused on this connection, or is left out for now.
    pub(super) fn is_barred(&self, filter: &str, now: Instant) -> bool {
        self.refused.contains(filter) || self.left_out(filter, now).is_some()
    }

    /// Until when `filter` is left out, if it is.
    fn left_out(&self, filter: &str, now: Instant) -> Option<Instant> {
        let until = self.suspects.get(filter)?.left_out?.until;
        (until > now).then_some(until)
    }

    /// Remembers how a culprit is shown.
    pub(super) fn shown(&mut self, filter: &str, error: String) {
        if let Some(suspect) = self.suspects.get_mut(filter) {
            suspect.error = Some(error);
        }
    }

    /// How `filter` is shown if it is a culprit.
    pub(super) fn error(&self, filter: &str) -> Option<&str> {
        self.suspects.get(filter)?.error.as_deref()
    }

    /// Whether each packet must be answered before the next is sent.
    pub(super) fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// Whether the broker would have each filter in a packet of its own, but not several in one.
    pub(super) fn asks_singly(&self) -> bool {
        self.asks_singly
    }

    /// How strongly `filter` is suspected; `None` = not at all. A suspect is asked for alone, the least suspected first.
    pub(super) fn suspicion(&self, filter: &str) -> Option<u32> {
        self.suspects.get(filter).map(|suspect| suspect.cuts)
    }

    /// The broker answered for `filter`.
    pub(super) fn answered(&mut self, filter: &str, is_refused: bool) {
        // Until all filters are settled it is tried alone, because another filter may have been the cause.
        if let Some(suspect) = self.suspects.get_mut(filter) {
            *suspect = Suspect::default();
        }
        if is_refused {
            self.refused.insert(filter.to_owned());
        }
    }

    /// The broker owes no answer.
    pub(super) fn settled(&mut self) {
        self.is_careful = false;
        let company = std::mem::take(&mut self.company);
        self.asks_singly |= company.len() > 1 && !company.iter().any(|filter| self.is_left_out_or_refused(filter));
        self.suspects.retain(|_, suspect| suspect.left_out.is_some());
    }

    fn is_left_out_or_refused(&self, filter: &str) -> bool {
        let is_left_out = self.suspects.get(filter).is_some_and(|suspect| suspect.left_out.is_some());
        is_left_out || self.refused.contains(filter)
    }

    /// Refused filters may be asked for again.
    pub(super) fn forget_refusals(&mut self) {
        self.refused.clear();
    }

    /// Whether the broker refused a filter on this connection.
    pub(super) fn has_refusals(&self) -> bool {
        !self.refused.is_empty()
    }

    /// When the next filter that is left out is to be asked for again. One that was due and was not asked for waits anew: no
    /// rule wants it any more, another filter covers it, or the broker says that it has none of its kind.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let waits = |until: Instant| if until > now { until } else { now + self.left_out_first };
        self.suspects.values().filter_map(|suspect| suspect.left_out).map(|left_out| waits(left_out.until)).min()
    }

    /// A connection ended, with requests for these filters unanswered. `has_others` tells whether there would be
    /// something to subscribe to without the given filter.
    pub(super) fn ended(
        &mut self,
        unanswered: &[String],
        evidence: Evidence,
        has_others: impl FnOnce(&Caution, &str) -> bool,
        now: Instant,
    ) -> Finding {
        if evidence == Evidence::Unrelated || unanswered.is_empty() {
            // It ends without them, too.
            self.suspects.retain(|_, suspect| suspect.left_out.is_some());
            return Finding::Nothing;
        }
        self.is_careful = true;
        if unanswered.len() > FEW {
            return Finding::Searching;
        }
        for filter in unanswered {
            self.suspects.entry(filter.clone()).or_default();
        }
        let [filter] = unanswered else {
            self.company = unanswered.to_vec();
            return Finding::Searching;
        };
        let suspect = self.suspects.get_mut(filter).expect("just put there");
        suspect.cuts = suspect.cuts.saturating_add(1);
        let was_left_out = suspect.left_out.take();
        if suspect.cuts < CUTS && was_left_out.is_none() && evidence != Evidence::Certain {
            return Finding::Searching;
        }
        let is_news = suspect.error.is_none();
        let first = self.left_out_first;
        let wait = was_left_out.map_or(first, |left_out| (left_out.wait * 2).min(first * LEFT_OUT_MAX));
        let left_out = LeftOut { until: now + wait, wait };
        if !has_others(self, filter) {
            return Finding::Culprit { filter: filter.clone(), left_out: None, is_news };
        }
        for (other, suspect) in &mut self.suspects {
            match &mut suspect.left_out {
                _ if other == filter => suspect.left_out = Some(left_out),
                // Asking for it may end the connection again: not sooner.
                Some(other) => other.until = other.until.max(now + first),
                None => {}
            }
        }
        Finding::Culprit { filter: filter.clone(), left_out: Some(wait), is_news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_known() -> Caution {
        Caution::new(&Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) })
    }

    fn filters(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn ended(caution: &mut Caution, unanswered: &[&str], evidence: Evidence) -> Finding {
        let found = caution.ended(&filters(unanswered), evidence, |_, _| true, Instant::now());
        if let Finding::Culprit { filter, .. } = &found {
            caution.shown(filter, "it is the one".into());
        }
        found
    }

    fn culprit(filter: &str, seconds: u64, is_news: bool) -> Finding {
        Finding::Culprit { filter: filter.into(), left_out: Some(Duration::from_secs(seconds)), is_news }
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_is_left_out_after_two_cuts_on_it_alone_and_longer_each_time() {
        let mut caution = nothing_known();
        assert_eq!(ended(&mut caution, &["a", "b"], Evidence::Possible), Finding::Searching);
        assert_eq!(caution.suspicion("a"), Some(0));
        assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), Finding::Searching);
        assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), culprit("a", 60, true));
        assert!(caution.is_barred("a", Instant::now()) && !caution.is_barred("b", Instant::now()));
        caution.answered("b", false);
        caution.settled();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!caution.is_barred("a", Instant::now()));
        assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), culprit("a", 120, false));
        for _ in 0..9 {
            ended(&mut caution, &["a"], Evidence::Possible);
        }
        assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), culprit("a", 3600, false));
        caution.answered("a", false);
        caution.settled();
        assert!(caution.is_at_ease());
    }

    /// The rule that wanted it may be gone, or another filter covers it.
    #[tokio::test(start_paused = true)]
    async fn a_filter_that_nobody_asks_for_when_it_is_due_is_not_due_at_every_turn() {
        let mut caution = nothing_known();
        for _ in 0..2 {
            ended(&mut caution, &["a"], Evidence::Possible);
        }
        let due = caution.next_due(Instant::now()).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let now = Instant::now();
        assert!(due <= now);
        caution.settled();
        assert!(caution.next_due(now).unwrap() >= now + Duration::from_secs(60));
    }

    #[test]
    fn filters_that_the_broker_has_alone_but_not_together_are_asked_for_singly_from_then_on() {
        let mut caution = nothing_known();
        ended(&mut caution, &["a", "b"], Evidence::Possible);
        for filter in ["a", "b"] {
            caution.answered(filter, false);
            assert_eq!(caution.suspicion(filter), Some(0), "not in company again before all is settled");
        }
        caution.settled();
        assert!(caution.asks_singly());
        // Not where one of them was the reason.
        let mut caution = nothing_known();
        ended(&mut caution, &["a", "b"], Evidence::Possible);
        caution.answered("a", false);
        ended(&mut caution, &["b"], Evidence::Certain);
        caution.settled();
        assert!(!caution.asks_singly());
    }

    #[test]
    fn one_cut_is_enough_if_the_broker_says_that_it_is_about_a_subscription_and_none_if_it_has_another_reason() {
        let mut caution = nothing_known();
        assert_eq!(ended(&mut caution, &["a"], Evidence::Unrelated), Finding::Nothing);
        assert_eq!(ended(&mut caution, &["a"], Evidence::Certain), culprit("a", 60, true));
    }

    #[test]
    fn a_cut_with_nothing_unanswered_and_an_answer_each_clear_a_suspect() {
        let mut caution = nothing_known();
        for clear in [0, 1] {
            assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), Finding::Searching);
            match clear {
                0 => assert_eq!(ended(&mut caution, &[], Evidence::Possible), Finding::Nothing),
                _ => caution.answered("a", false),
            }
            assert_ne!(caution.suspicion("a"), Some(1));
        }
        caution.settled();
        assert_eq!(caution.suspicion("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn several_culprits_are_asked_for_again_one_after_the_other() {
        let mut caution = nothing_known();
        for filter in ["a", "b"] {
            assert_eq!(ended(&mut caution, &[filter], Evidence::Certain), culprit(filter, 60, true));
            tokio::time::advance(Duration::from_secs(59)).await;
        }
        assert!(caution.is_barred("a", Instant::now()), "put off by the cut on b");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!caution.is_barred("a", Instant::now()) && !caution.is_barred("b", Instant::now()));
        assert_eq!(ended(&mut caution, &["a"], Evidence::Possible), culprit("a", 120, false));
        assert!(caution.is_barred("b", Instant::now()), "put off by the cut on a");
    }

    #[test]
    fn the_last_filter_is_never_left_out() {
        let mut caution = nothing_known();
        for is_news in [true, false] {
            let found = caution.ended(&filters(&["a"]), Evidence::Certain, |_, _| false, Instant::now());
            caution.shown("a", "it is the one".into());
            assert_eq!(found, Finding::Culprit { filter: "a".into(), left_out: None, is_news });
            assert!(!caution.is_barred("a", Instant::now()));
        }
    }

    #[test]
    fn of_many_unanswered_filters_none_is_suspected_but_the_next_connection_asks_packet_by_packet() {
        let mut caution = nothing_known();
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(caution.ended(&names, Evidence::Certain, |_, _| true, Instant::now()), Finding::Searching);
        assert!(caution.is_careful() && caution.suspicion("0").is_none());
        caution.settled();
        assert!(caution.is_at_ease());
    }
}
