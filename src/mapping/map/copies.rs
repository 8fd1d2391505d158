//! Copies of one message, sent by a broker for overlapping subscriptions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Rule;
use crate::mapping::route::Match;
use crate::message::{Properties, Property};
use crate::rule::TopicPattern;

/// MQTT 5 subscription identifiers: a broker may send a message once per overlapping subscription, each copy with its
/// own identifier; a rule takes the copy of its own filter, of several that fit the oldest one's, and leaves the others.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// By rule and pattern; `None` where the filter was not subscribed to by itself. Empty if no identifiers are used.
    ids: Vec<Box<[Option<Id>]>>,
    /// Sorted. Others are ignored: they may be of filters that an earlier configuration left in the session.
    known: Vec<u32>,
    /// See [`Mapper::retire`](super::Mapper::retire); sorted.
    retired: Vec<(u32, u32)>,
    /// Those of the message at hand.
    pub(super) present: Vec<u32>,
    /// Those of filters that are gone: for each, the first identifier that was given after.
    pub(super) successors: Vec<u32>,
}

/// In the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    /// Whose copy comes is the broker's choice.
    is_shared: bool,
    number: u32,
}

impl Subscriptions {
    pub(super) fn new(rules: &[Arc<Rule>], by_filter: &HashMap<String, u32>) -> Subscriptions {
        let id = |topic: &TopicPattern| {
            let number = *by_filter.get(topic.filter())?;
            Some(Id { is_shared: !topic.share().is_empty(), number })
        };
        let ids = match by_filter.is_empty() {
            true => Vec::new(),
            false => rules.iter().map(|rule| rule.topics.iter().map(id).collect()).collect(),
        };
        let mut known: Vec<u32> = by_filter.values().copied().collect();
        known.sort_unstable();
        Subscriptions { ids, known, retired: Vec::new(), present: Vec::new(), successors: Vec::new() }
    }

    /// See [`Mapper::retire`](super::Mapper::retire).
    pub(super) fn retire(&mut self, identifiers: &[(u32, u32)]) {
        self.retired = identifiers.to_vec();
        self.retired.sort_unstable();
    }

    /// Remembers the identifiers of a message.
    pub(super) fn read(&mut self, properties: Properties<'_>) {
        self.present.clear();
        self.successors.clear();
        if self.known.is_empty() {
            return;
        }
        for property in properties.iter() {
            let Property::SubscriptionId(id) = property else { continue };
            if self.known.binary_search(&id).is_ok() {
                self.present.push(id);
            } else if let Ok(at) = self.retired.binary_search_by_key(&id, |retired| retired.0) {
                self.successors.push(self.retired[at].1);
            }
        }
    }

    /// Whether a rule takes the message that was read.
    pub(super) fn take(&self, matched: &Match) -> bool {
        // Most messages carry none: no look at the rule is needed then.
        if self.present.is_empty() && self.successors.is_empty() {
            return true;
        }
        let ids = &self.ids[matched.rule];
        let Some(first) = ids[matched.pattern] else { return true };
        // The oldest of those that are not shared: messages that waited while the rule got another filter have no copy for that.
        let Id { number: id, .. } = matched.others.iter().filter_map(|&other| ids[other]).fold(first, Id::min);
        self.present.contains(&id) || self.successors.iter().any(|successor| id >= *successor)
    }
}
