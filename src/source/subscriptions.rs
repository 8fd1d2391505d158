//! Which topic filters to subscribe to, so that every rule gets its messages and no rule gets one twice.
//!
//! A filter that another one covers is not subscribed to: its rules ride on the covering filter, whose QoS is the
//! highest any of them asks for. Filters that overlap without covering make many brokers send a message once per
//! filter; in MQTT 5 those carry subscription identifiers, by which the mapping tells the copies apart.

use std::collections::HashMap;
use std::sync::Arc;

use super::stored::{IDENTIFIER_MAX, StoredSubscriptions};
use crate::config::{MqttVersion, Rule};
use crate::mapping::TopicPattern;
use crate::message::Qos;

/// The subscriptions that a set of rules needs.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    list: Vec<Subscription>,
    identifiers: HashMap<String, u32>,
    /// The state to store before subscribing, if an identifier was given that it lacks.
    stored: StoredSubscriptions,
}

/// One topic filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// With its `$share/GROUP/` prefix if it has one.
    pub filter: String,
    pub qos: Qos,
    /// MQTT 5, and only where filters overlap.
    pub identifier: Option<u32>,
    /// The rules that get their messages through it.
    pub rules: Vec<Arc<str>>,
}

/// A filter some rule asks for, before covered ones are dropped.
struct Wanted<'a> {
    pattern: &'a TopicPattern,
    qos: Qos,
    rules: Vec<Arc<str>>,
}

impl Subscriptions {
    /// Plans for `rules`. `stored` is [`StoredSubscriptions::load`]'s answer: identifiers given before stay as they are.
    pub fn plan(version: MqttVersion, rules: &[Arc<Rule>], stored: Option<StoredSubscriptions>) -> Subscriptions {
        let wanted = wanted(rules);
        // Covering is transitive, so each dropped filter is covered by a kept one.
        let kept: Vec<usize> = (0..wanted.len()).filter(|&index| !is_dropped(&wanted, index)).collect();
        let mut stored = stored.unwrap_or_else(|| StoredSubscriptions::empty(""));
        let mut list: Vec<Subscription> = Vec::new();
        for &index in &kept {
            let filter = wanted[index].pattern.filter();
            let overlaps =
                kept.iter().any(|&other| other != index && wanted[other].pattern.overlaps(wanted[index].pattern));
            let identifier =
                if version == MqttVersion::V5 && overlaps { identifier(&mut stored, filter) } else { None };
            list.push(Subscription {
                filter: filter.to_owned(),
                qos: wanted[index].qos,
                identifier,
                rules: wanted[index].rules.clone(),
            });
        }
        let mut identifiers = HashMap::new();
        for (index, asked) in wanted.iter().enumerate() {
            let carrier = kept.iter().position(|&keeper| keeper == index).or_else(|| {
                let covering = kept.iter().position(|&keeper| wanted[keeper].pattern.covers(asked.pattern))?;
                list[covering].ride(asked);
                Some(covering)
            });
            let carrier = &list[carrier.expect("a dropped filter is covered by a kept one")];
            if let Some(identifier) = carrier.identifier {
                identifiers.insert(asked.pattern.filter().to_owned(), identifier);
            }
        }
        Subscriptions { list, identifiers, stored }
    }

    /// The subscription identifier under which the messages of each filter arrive; empty if none are used.
    pub fn identifiers(&self) -> HashMap<String, u32> {
        self.identifiers.clone()
    }

    /// The filters to subscribe to.
    pub fn list(&self) -> &[Subscription] {
        &self.list
    }

    /// What was stored, with the identifiers that this plan added.
    pub(super) fn stored(&self) -> &StoredSubscriptions {
        &self.stored
    }

    pub(super) fn get(&self, filter: &str) -> Option<&Subscription> {
        self.list.iter().find(|subscription| subscription.filter == filter)
    }
}

impl Subscription {
    /// Takes the rules of a covered filter along.
    fn ride(&mut self, covered: &Wanted<'_>) {
        self.qos = self.qos.max(covered.qos);
        for rule in &covered.rules {
            if !self.rules.contains(rule) {
                self.rules.push(Arc::clone(rule));
            }
        }
    }
}

/// Every distinct filter, in the order of the rules, with the highest QoS asked for it.
fn wanted(rules: &[Arc<Rule>]) -> Vec<Wanted<'_>> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for rule in rules {
        for pattern in &rule.topics {
            match wanted.iter_mut().find(|known| known.pattern.filter() == pattern.filter()) {
                Some(known) => {
                    known.qos = known.qos.max(rule.qos);
                    if !known.rules.contains(&rule.name) {
                        known.rules.push(Arc::clone(&rule.name));
                    }
                }
                None => wanted.push(Wanted { pattern, qos: rule.qos, rules: vec![Arc::clone(&rule.name)] }),
            }
        }
    }
    wanted
}

/// Whether another filter covers this one. Of two that cover each other (`#` and `+/#`), the first stays.
fn is_dropped(wanted: &[Wanted<'_>], index: usize) -> bool {
    let pattern = wanted[index].pattern;
    wanted.iter().enumerate().any(|(other, candidate)| {
        other != index && candidate.pattern.covers(pattern) && (other < index || !pattern.covers(candidate.pattern))
    })
}

/// The identifier of `filter`, given now if it has none. `None` only when MQTT's numbers have run out.
fn identifier(stored: &mut StoredSubscriptions, filter: &str) -> Option<u32> {
    if let Some(&identifier) = stored.identifiers.get(filter) {
        return Some(identifier);
    }
    let identifier = stored.next_identifier;
    if identifier == 0 || identifier > IDENTIFIER_MAX {
        return None;
    }
    stored.identifiers.insert(filter.to_owned(), identifier);
    stored.next_identifier = identifier + 1;
    Some(identifier)
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
pub(super) mod tests;
