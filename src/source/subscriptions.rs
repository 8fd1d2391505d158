//! Which topic filters to subscribe to, so that every rule gets its messages and no rule gets one twice.
//!
//! A filter that another one covers is not subscribed to: its rules use the covering filter, whose QoS is the
//! highest that any of them requests. If filters overlap without covering, many brokers send a message once per
//! filter. In MQTT 5 these copies carry subscription identifiers, by which the mapping distinguishes them. Without
//! identifiers, a wider filter replaces the overlapping ones ([`super::cover`]).
//!
//! A plan is adapted to the broker's refusals: the filters of the rules that used a refused filter are subscribed to
//! separately.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cover::without_overlaps;
use super::filter_tree::FilterTree;
use super::stored::{IDENTIFIER_MAX, StoredSubscriptions};
use crate::config::{MqttVersion, Rule};
use crate::mapping::Router;
use crate::message::Qos;
use crate::rule::TopicPattern;

/// The subscriptions that a set of rules needs.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    rules: Arc<[Arc<Rule>]>,
    wanted: Arc<[Wanted]>,
    list: Vec<Subscription>,
    /// Where in the list each filter is.
    positions: HashMap<String, usize>,
    identifiers: Arc<HashMap<String, u32>>,
    /// Pairs of filters that some brokers send a message twice for.
    overlaps: Vec<(String, String)>,
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
    /// User properties, name and value: those of all its rules. MQTT 5.
    pub properties: Vec<(String, String)>,
    /// The rules that get their messages through it.
    pub rules: Vec<Arc<str>>,
    /// No rule asks for it: it takes the place of filters that overlap, and brings more than they do.
    pub is_wider: bool,
}

/// A filter some rule asks for, before covered ones are dropped.
#[derive(Debug)]
struct Wanted {
    /// The first rule that asks for it, and which of its patterns.
    rule: Arc<Rule>,
    topic: usize,
    qos: Qos,
    properties: Vec<(String, String)>,
    rules: Vec<Arc<str>>,
}

/// A filter to subscribe to, before it has its rules.
struct Planned {
    pattern: TopicPattern,
    identifier: Option<u32>,
    is_wider: bool,
    /// Which of the wanted filters come through it.
    carries: Vec<usize>,
}

/// Drops what only a wider filter brings.
#[derive(Debug)]
pub(super) struct Sieve {
    wider: Vec<TopicPattern>,
    router: Router,
}

impl Subscriptions {
    /// Plans for `rules`. `stored` is [`StoredSubscriptions::load`]'s answer: identifiers given before stay as they are.
    pub fn plan(version: MqttVersion, rules: &[Arc<Rule>], stored: Option<StoredSubscriptions>) -> Subscriptions {
        let mut stored = stored.unwrap_or_else(|| StoredSubscriptions::empty(""));
        let wanted: Arc<[Wanted]> = wanted(rules).into();
        let none = |_: &str| false;
        let (planned, identifiers) = match version {
            MqttVersion::V3 => (separate(&wanted, &none), HashMap::new()),
            MqttVersion::V5 => {
                let next = stored.next_identifier;
                let planned = identified(&wanted, &mut stored);
                stored.retire_others(&planned.iter().filter_map(|planned| planned.identifier).collect(), next);
                let identifiers = identifiers(&wanted, &planned);
                (planned, identifiers)
            }
        };
        let base = Subscriptions {
            rules: rules.into(),
            wanted,
            list: Vec::new(),
            positions: HashMap::new(),
            identifiers: Arc::new(identifiers),
            overlaps: Vec::new(),
            stored,
        };
        let overlaps = if version == MqttVersion::V3 { overlaps(&planned, &none) } else { Vec::new() };
        base.subscribing_to(planned, overlaps)
    }

    /// The plan for other rules, while this one is in use.
    pub fn replan(&self, version: MqttVersion, rules: &[Arc<Rule>]) -> Subscriptions {
        Subscriptions::plan(version, rules, Some(self.stored.clone()))
    }

    /// Identifiers that are out of use, and messages in the journal may have; see [`crate::mapping::Mapper::retire`].
    pub fn retired(&self) -> Vec<(u32, u32)> {
        self.stored.retired.iter().map(|(&identifier, &next)| (identifier, next)).collect()
    }

    /// The plan for a broker that refuses the filters that `is_barred`, and distinguishes copies of a message only
    /// `with_identifiers`. The barred filters stay in the plan, with no other rules than their own.
    pub(super) fn adapted(&self, with_identifiers: bool, is_barred: &dyn Fn(&str) -> bool) -> Subscriptions {
        if self.identifiers.is_empty() || !with_identifiers {
            let planned = separate(&self.wanted, is_barred);
            let overlaps = overlaps(&planned, is_barred);
            return self.subscribing_to(planned, overlaps);
        }
        let planned = identified(&self.wanted, &mut self.stored.clone());
        let planned = planned.into_iter().flat_map(|planned| match is_barred(planned.pattern.filter()) {
            true => substitutes(&self.wanted, planned, is_barred),
            false => vec![planned],
        });
        self.subscribing_to(planned.collect(), Vec::new())
    }

    /// The subscription identifier under which the messages of each filter arrive; empty if none are used.
    pub fn identifiers(&self) -> HashMap<String, u32> {
        HashMap::clone(&self.identifiers)
    }

    /// The filters to subscribe to.
    pub fn list(&self) -> &[Subscription] {
        &self.list
    }

    /// Pairs of filters for which some brokers send a message twice, so that its copies cannot be distinguished.
    pub fn overlaps(&self) -> &[(String, String)] {
        &self.overlaps
    }

    /// Drops messages that no rule wants; `None` if no filter matches more than the rules' own.
    pub(super) fn sieve(&self) -> Option<Sieve> {
        let wider = self.list.iter().filter(|subscription| subscription.is_wider);
        let wider: Vec<TopicPattern> =
            wider.filter_map(|subscription| TopicPattern::parse(&subscription.filter).ok()).collect();
        (!wider.is_empty()).then(|| Sieve { wider, router: Router::of_rules(&self.rules) })
    }

    /// The stored list, with the identifiers that this plan added.
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

    /// The same rules with these subscriptions.
    fn subscribing_to(&self, planned: Vec<Planned>, overlaps: Vec<(String, String)>) -> Subscriptions {
        let list: Vec<Subscription> = planned.into_iter().map(|planned| planned.subscription(&self.wanted)).collect();
        let positions = list.iter().enumerate().map(|(at, subscription)| (subscription.filter.clone(), at)).collect();
        Subscriptions {
            rules: Arc::clone(&self.rules),
            wanted: Arc::clone(&self.wanted),
            list,
            positions,
            identifiers: Arc::clone(&self.identifiers),
            overlaps,
            stored: self.stored.clone(),
        }
    }
}

impl Wanted {
    fn pattern(&self) -> &TopicPattern {
        &self.rule.topics[self.topic]
    }
}

impl Planned {
    /// Of a wanted filter by itself.
    fn own(wanted: &[Wanted], index: usize, identifier: Option<u32>) -> Planned {
        Planned { pattern: wanted[index].pattern().clone(), identifier, is_wider: false, carries: vec![index] }
    }

    /// Its position among the wanted filters: its own, or for a wider filter that of the first one that it covers.
    fn place(&self, wanted: &[Wanted]) -> usize {
        let own = self.carries.iter().find(|&&index| wanted[index].pattern().filter() == self.pattern.filter());
        own.or(self.carries.iter().min()).copied().unwrap_or(usize::MAX)
    }

    fn subscription(mut self, wanted: &[Wanted]) -> Subscription {
        // The filter's own rules first.
        self.carries.sort_by_key(|&index| (wanted[index].pattern().filter() != self.pattern.filter(), index));
        let carried = || self.carries.iter().map(|&index| &wanted[index]);
        let mut known = HashSet::new();
        let rules = carried().flat_map(|wanted| &wanted.rules).filter(|rule| known.insert(Arc::clone(rule)));
        let mut properties: Vec<(String, String)> = Vec::new();
        for property in carried().flat_map(|wanted| &wanted.properties) {
            if !properties.contains(property) {
                properties.push(property.clone());
            }
        }
        Subscription {
            filter: self.pattern.filter().to_owned(),
            qos: carried().map(|wanted| wanted.qos).max().unwrap_or(Qos::AtMostOnce),
            identifier: self.identifier,
            properties,
            rules: rules.cloned().collect(),
            is_wider: self.is_wider,
        }
    }
}

impl Sieve {
    /// Whether `topic` came through a wider filter alone, and no rule takes it.
    pub(super) fn drops(&mut self, topic: &str) -> bool {
        !self.router.takes(topic) && self.wider.iter().any(|wider| wider.takes(topic))
    }
}

/// Every distinct filter, in the order of the rules, with the highest requested QoS. A rule may be named twice.
fn wanted(rules: &[Arc<Rule>]) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    // A rule that is there for several databases subscribes once.
    for rule in rules.iter().filter(|rule| !rule.is_copy()) {
        for (topic, pattern) in rule.topics.iter().enumerate() {
            match positions.entry(pattern.filter()) {
                Entry::Occupied(known) => {
                    let known = &mut wanted[*known.get()];
                    known.qos = known.qos.max(rule.qos_of(topic));
                    known.properties.extend(rule.subscribe_properties.iter().cloned());
                    known.rules.push(Arc::clone(&rule.name));
                }
                Entry::Vacant(new) => {
                    new.insert(wanted.len());
                    let rules = vec![Arc::clone(&rule.name)];
                    let (qos, properties) = (rule.qos_of(topic), rule.subscribe_properties.clone());
                    wanted.push(Wanted { rule: Arc::clone(rule), topic, qos, properties, rules });
                }
            }
        }
    }
    wanted
}

/// Each filter that no other one covers, with an identifier if it overlaps one, or has one: messages may be under way with it,
/// and copies of them for filters that went.
fn identified(wanted: &[Wanted], stored: &mut StoredSubscriptions) -> Vec<Planned> {
    let all: Vec<usize> = (0..wanted.len()).collect();
    let kept = maximal(wanted, &all);
    let mut tree = FilterTree::new();
    kept.iter().for_each(|&index| tree.insert(wanted[index].pattern(), index));
    let own = |&index: &usize| {
        let pattern = wanted[index].pattern();
        let has_one = stored.identifiers.contains_key(pattern.filter());
        let identifier = match has_one || tree.overlaps_another(pattern, index) {
            true => identifier(stored, pattern.filter()),
            false => None,
        };
        Planned { carries: Vec::new(), ..Planned::own(wanted, index, identifier) }
    };
    let mut planned: Vec<Planned> = kept.iter().map(own).collect();
    carry(wanted, &all, &mut planned);
    planned
}

/// Filters of which no two that are not shared overlap, as far as that is possible.
fn separate(wanted: &[Wanted], is_barred: &dyn Fn(&str) -> bool) -> Vec<Planned> {
    let (barred, rest): (Vec<usize>, Vec<usize>) =
        (0..wanted.len()).partition(|&index| is_barred(wanted[index].pattern().filter()));
    let mut planned = disjoint(wanted, &rest, is_barred);
    planned.extend(barred.into_iter().map(|index| Planned::own(wanted, index, None)));
    planned.sort_by_key(|planned| planned.place(wanted));
    planned
}

/// The filters that replace a barred filter for the rules that use it, under its identifier.
fn substitutes(wanted: &[Wanted], dead: Planned, is_barred: &dyn Fn(&str) -> bool) -> Vec<Planned> {
    let (barred, rest): (Vec<usize>, Vec<usize>) =
        dead.carries.iter().partition(|&&index| is_barred(wanted[index].pattern().filter()));
    let mut planned: Vec<Planned> =
        barred.into_iter().map(|index| Planned::own(wanted, index, dead.identifier)).collect();
    for mut substitute in disjoint(wanted, &rest, is_barred) {
        substitute.identifier = dead.identifier;
        planned.push(substitute);
    }
    planned
}

/// The wanted filters at `indexes`, with a wider one in place of overlapping ones. Shared filters stay unchanged,
/// because the other members of the group subscribe to the same.
fn disjoint(wanted: &[Wanted], indexes: &[usize], is_barred: &dyn Fn(&str) -> bool) -> Vec<Planned> {
    let maximal = maximal(wanted, indexes);
    let is_shared = |index: &usize| !wanted[*index].pattern().share().is_empty();
    let plain = maximal.iter().filter(|index| !is_shared(index));
    let own: HashSet<&str> = plain.clone().map(|&index| wanted[index].pattern().filter()).collect();
    let filters = without_overlaps(plain.map(|&index| wanted[index].pattern().clone()).collect(), is_barred);
    let mut planned: Vec<Planned> = filters
        .into_iter()
        .map(|pattern| Planned {
            is_wider: !own.contains(pattern.filter()),
            pattern,
            identifier: None,
            carries: Vec::new(),
        })
        .collect();
    let shared = maximal.iter().filter(|index| is_shared(index));
    planned.extend(shared.map(|&index| Planned { carries: Vec::new(), ..Planned::own(wanted, index, None) }));
    carry(wanted, indexes, &mut planned);
    planned
}

/// Those of the filters at `indexes` that no other one covers. Of two that cover each other (`#` and `+/#`), the first.
fn maximal(wanted: &[Wanted], indexes: &[usize]) -> Vec<usize> {
    let trees = by_share(indexes.iter().map(|&index| (wanted[index].pattern(), index)));
    let is_dropped = |index: usize| {
        let pattern = wanted[index].pattern();
        trees[pattern.share()]
            .covering(pattern)
            .into_iter()
            .any(|other| other != index && (other < index || !pattern.covers(wanted[other].pattern())))
    };
    indexes.iter().copied().filter(|&index| !is_dropped(index)).collect()
}

/// Gives each of the filters at `indexes` to the planned one through which it comes: its own, or the first that covers it.
fn carry(wanted: &[Wanted], indexes: &[usize], planned: &mut [Planned]) {
    let mut carriers = Vec::with_capacity(indexes.len());
    {
        let own: HashMap<&str, usize> =
            planned.iter().enumerate().map(|(at, planned)| (planned.pattern.filter(), at)).collect();
        let trees = by_share(planned.iter().enumerate().map(|(at, planned)| (&planned.pattern, at)));
        for &index in indexes {
            let pattern = wanted[index].pattern();
            let covering = || trees.get(pattern.share()).and_then(|tree| tree.covering(pattern).into_iter().min());
            let carrier = own.get(pattern.filter()).copied().or_else(covering);
            carriers.push(carrier.expect("a filter that is dropped is covered by one that is kept"));
        }
    }
    indexes.iter().zip(carriers).for_each(|(&index, carrier)| planned[carrier].carries.push(index));
}

/// One tree for each share group, because no filter covers one of another group.
fn by_share<'a>(filters: impl Iterator<Item = (&'a TopicPattern, usize)>) -> HashMap<&'a str, FilterTree<'a>> {
    let mut trees: HashMap<&str, FilterTree<'_>> = HashMap::new();
    for (pattern, number) in filters {
        trees.entry(pattern.share()).or_insert_with(FilterTree::new).insert(pattern, number);
    }
    trees
}

/// The pairs of planned filters that overlap, each filter with the first other one. What is barred brings nothing.
fn overlaps(planned: &[Planned], is_barred: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut tree = FilterTree::new();
    let planned: Vec<&Planned> = planned.iter().filter(|planned| !is_barred(planned.pattern.filter())).collect();
    planned.iter().enumerate().for_each(|(at, planned)| tree.insert(&planned.pattern, at));
    let first = |(at, one): (usize, &&Planned)| {
        let other = tree.overlapping(&one.pattern, at).into_iter().find(|&other| other > at)?;
        Some((one.pattern.filter().to_owned(), planned[other].pattern.filter().to_owned()))
    };
    planned.iter().enumerate().filter_map(first).collect()
}

/// The identifier under which each wanted filter's messages come.
fn identifiers(wanted: &[Wanted], planned: &[Planned]) -> HashMap<String, u32> {
    let of = |planned: &Planned| {
        let filters = planned.carries.iter().map(|&index| wanted[index].pattern().filter().to_owned());
        planned.identifier.map(|identifier| filters.map(move |filter| (filter, identifier)).collect::<Vec<_>>())
    };
    planned.iter().filter_map(of).flatten().collect()
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
