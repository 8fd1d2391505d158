//! Which topic filters to subscribe to, so that every rule gets its messages and no rule gets one twice.
//!
//! A filter that another one covers is not subscribed to: its rules ride on the covering filter, whose QoS is the
//! highest any of them asks for. Filters that overlap without covering make many brokers send a message once per
//! filter; in MQTT 5 those carry subscription identifiers, by which the mapping tells the copies apart.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::filter_tree::FilterTree;
use super::stored::{IDENTIFIER_MAX, StoredSubscriptions};
use crate::config::{MqttVersion, Rule};
use crate::mapping::TopicPattern;
use crate::message::Qos;

/// The subscriptions that a set of rules needs.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    list: Vec<Subscription>,
    /// Where in the list each filter is.
    positions: HashMap<String, usize>,
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
        let all = by_share(&wanted, 0..wanted.len());
        // Covering is transitive, so each dropped filter is covered by a kept one.
        let kept: Vec<usize> = (0..wanted.len()).filter(|&index| !is_dropped(&wanted, &all, index)).collect();
        let mut stored = stored.unwrap_or_else(|| StoredSubscriptions::empty(""));
        let mut list = subscribe_to(version, &wanted, &kept, &mut stored);
        let carriers = carriers(&wanted, &kept);
        for (asked, &carrier) in wanted.iter().zip(&carriers) {
            if list[carrier].filter != asked.pattern.filter() {
                list[carrier].ride(asked);
            }
        }
        list.iter_mut().for_each(|subscription| keep_first(&mut subscription.rules));
        let mut identifiers = HashMap::new();
        for (asked, &carrier) in wanted.iter().zip(&carriers) {
            if let Some(identifier) = list[carrier].identifier {
                identifiers.insert(asked.pattern.filter().to_owned(), identifier);
            }
        }
        let positions = list.iter().enumerate().map(|(at, subscription)| (subscription.filter.clone(), at)).collect();
        Subscriptions { list, positions, identifiers, stored }
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

    /// Whether some filter has a subscription identifier.
    pub(super) fn has_identifiers(&self) -> bool {
        !self.identifiers.is_empty()
    }

    /// Where in the list a filter is.
    pub(super) fn position(&self, filter: &str) -> Option<usize> {
        self.positions.get(filter).copied()
    }

    pub(super) fn get(&self, filter: &str) -> Option<&Subscription> {
        self.positions.get(filter).map(|&at| &self.list[at])
    }
}

impl Subscription {
    /// Takes the rules of a covered filter along, some perhaps again.
    fn ride(&mut self, covered: &Wanted<'_>) {
        self.qos = self.qos.max(covered.qos);
        self.rules.extend(covered.rules.iter().cloned());
    }
}

/// Every distinct filter, in the order of the rules, with the highest QoS asked for it. A rule may be named twice.
fn wanted(rules: &[Arc<Rule>]) -> Vec<Wanted<'_>> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for rule in rules {
        for pattern in rule.topics.iter() {
            match positions.entry(pattern.filter()) {
                Entry::Occupied(known) => {
                    let known = &mut wanted[*known.get()];
                    known.qos = known.qos.max(rule.qos);
                    known.rules.push(Arc::clone(&rule.name));
                }
                Entry::Vacant(new) => {
                    new.insert(wanted.len());
                    wanted.push(Wanted { pattern, qos: rule.qos, rules: vec![Arc::clone(&rule.name)] });
                }
            }
        }
    }
    wanted
}

/// The filters at `indexes`, one tree for each share group, because no filter covers one of another group.
fn by_share<'a>(wanted: &[Wanted<'a>], indexes: impl Iterator<Item = usize>) -> HashMap<&'a str, FilterTree<'a>> {
    let mut trees: HashMap<&str, FilterTree<'_>> = HashMap::new();
    for index in indexes {
        let pattern = wanted[index].pattern;
        trees.entry(pattern.share()).or_insert_with(FilterTree::new).insert(pattern, index);
    }
    trees
}

/// Whether another filter covers this one. Of two that cover each other (`#` and `+/#`), the first stays.
fn is_dropped(wanted: &[Wanted<'_>], all: &HashMap<&str, FilterTree<'_>>, index: usize) -> bool {
    let pattern = wanted[index].pattern;
    all[pattern.share()]
        .covering(pattern)
        .into_iter()
        .any(|other| other != index && (other < index || !pattern.covers(wanted[other].pattern)))
}

/// A subscription for each filter that is kept, with an identifier if it overlaps another one.
fn subscribe_to(
    version: MqttVersion,
    wanted: &[Wanted<'_>],
    kept: &[usize],
    stored: &mut StoredSubscriptions,
) -> Vec<Subscription> {
    let mut tree = FilterTree::new();
    kept.iter().for_each(|&index| tree.insert(wanted[index].pattern, index));
    kept.iter()
        .map(|&index| {
            let Wanted { pattern, qos, rules } = &wanted[index];
            let is_identified = version == MqttVersion::V5 && tree.overlaps_another(pattern, index);
            Subscription {
                filter: pattern.filter().to_owned(),
                qos: *qos,
                identifier: if is_identified { identifier(stored, pattern.filter()) } else { None },
                rules: rules.clone(),
            }
        })
        .collect()
}

/// For each filter, where in `kept` the one is through which its messages come: itself, or the first that covers it.
fn carriers(wanted: &[Wanted<'_>], kept: &[usize]) -> Vec<usize> {
    let positions: HashMap<usize, usize> = kept.iter().enumerate().map(|(at, &index)| (index, at)).collect();
    let trees = by_share(wanted, kept.iter().copied());
    let carrier = |(index, asked): (usize, &Wanted<'_>)| {
        positions.get(&index).copied().unwrap_or_else(|| {
            let covering = trees.get(asked.pattern.share()).map(|tree| tree.covering(asked.pattern));
            let first = covering.into_iter().flatten().min().expect("a dropped filter is covered by a kept one");
            positions[&first]
        })
    };
    wanted.iter().enumerate().map(carrier).collect()
}

/// Names every rule once, where it was named first.
fn keep_first(rules: &mut Vec<Arc<str>>) {
    let mut known = HashSet::new();
    rules.retain(|rule| known.insert(Arc::clone(rule)));
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
