//! Messages of a rule with several topic filters, of which the broker has not got all.
//!
//! Where filters overlap, a rule takes the copy of a message that carries the identifier of its oldest filter that fits
//! ([`super::subscriptions`]). If the broker refuses that filter, or has not granted it yet, there is no such copy. Then one of
//! the copies that there are also gets the identifier of the missing one before it is journaled: that with the lowest
//! identifier, so that it is one of them alone. Rules that have the missing filter alone take it as well. If a broker keeps a
//! subscription whose renewal it refuses, a rule of both filters stores such a message twice.

use std::collections::HashMap;

use super::subscriptions::Subscriptions;
use crate::mapping::Router;
use crate::message::{Properties, Property};
use crate::rule::TopicPattern;

/// The filters of a plan that have identifiers.
#[derive(Debug)]
pub(super) struct StandIns {
    router: Router,
    /// In the order of the router.
    filters: Vec<Identified>,
    positions: HashMap<String, usize>,
    absent: usize,
}

#[derive(Debug)]
struct Identified {
    identifier: u32,
    /// Whose copy comes is the broker's choice: others do not stand in for it, and it only where no other one is there.
    is_shared: bool,
    /// Not in the broker's session.
    is_absent: bool,
}

impl StandIns {
    /// `None` if no filter is absent.
    pub(super) fn of(plan: &Subscriptions, is_absent: &dyn Fn(&str) -> bool) -> Option<StandIns> {
        let identified = || plan.list().iter().filter_map(|to| Some((&to.filter, to.identifier?)));
        if !identified().any(|(filter, _)| is_absent(filter)) {
            return None;
        }
        let (mut patterns, mut filters, mut positions) = (Vec::new(), Vec::new(), HashMap::new());
        for (filter, identifier) in identified() {
            let Ok(pattern) = TopicPattern::parse(filter) else { continue };
            let is_shared = !pattern.share().is_empty();
            positions.insert(filter.clone(), filters.len());
            filters.push(Identified { identifier, is_shared, is_absent: is_absent(filter) });
            patterns.push(pattern);
        }
        let absent = filters.iter().filter(|known| known.is_absent).count();
        Some(StandIns { router: Router::of_filters(patterns), filters, positions, absent })
    }

    /// The broker has answered for a filter.
    pub(super) fn answered(&mut self, filter: &str, is_refused: bool) {
        if let Some(&at) = self.positions.get(filter) {
            self.filters[at].is_absent = is_refused;
            self.absent = self.filters.iter().filter(|known| known.is_absent).count();
        }
    }

    /// Adds the identifiers of absent filters to a message that stands in for their copies.
    pub(super) fn add_to(&mut self, topic: &str, properties: &mut Vec<u8>) {
        if self.absent == 0 {
            return;
        }
        let identifier = |property: Property<'_>| match property {
            Property::SubscriptionId(identifier) => Some(identifier),
            _ => None,
        };
        let carried: Vec<u32> = Properties::from_encoded(properties).iter().filter_map(identifier).collect();
        if carried.is_empty() {
            return;
        }
        let takers = self.router.takers(topic);
        let known = || takers.iter().map(|&at| &self.filters[at]);
        let first = |is_shared| {
            let there = known().filter(|known| !known.is_absent && known.is_shared == is_shared);
            there.map(|known| known.identifier).min()
        };
        if !first(false).or_else(|| first(true)).is_some_and(|first| carried.contains(&first)) {
            return;
        }
        // Narrower filters that replace a refused one have its identifier.
        let is_there = |identifier: u32| known().any(|other| !other.is_absent && other.identifier == identifier);
        for known in known().filter(|known| known.is_absent && !known.is_shared) {
            if !carried.contains(&known.identifier) && !is_there(known.identifier) {
                Property::SubscriptionId(known.identifier).encode(properties);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{MqttVersion, Rule};
    use crate::message::Qos;
    use crate::source::subscriptions::tests::rule;

    /// Identifiers 1, 2 and 3, in this order.
    const FILTERS: [&str; 3] = ["s/+/x", "s/1/+", "+/1/x"];

    fn plan(filters: &[&str]) -> Subscriptions {
        let rules: Vec<Arc<Rule>> = vec![rule("r", Qos::AtLeastOnce, filters)];
        let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
        let identifiers: Vec<_> = plan.list().iter().map(|to| to.identifier).collect();
        let expected: Vec<_> = (1..=filters.len() as u32).map(Some).collect();
        assert_eq!(identifiers, expected);
        plan
    }

    /// The identifiers with which a copy that comes with these is journaled.
    fn journaled(stand_ins: &mut StandIns, topic: &str, came: &[u32]) -> Vec<u32> {
        let mut properties = Vec::new();
        came.iter().for_each(|identifier| Property::SubscriptionId(*identifier).encode(&mut properties));
        stand_ins.add_to(topic, &mut properties);
        let identifier = |property: Property<'_>| match property {
            Property::SubscriptionId(identifier) => Some(identifier),
            _ => None,
        };
        Properties::from_encoded(&properties).iter().filter_map(identifier).collect()
    }

    #[test]
    fn the_first_of_the_copies_that_come_stands_in_for_one_that_does_not() {
        let mut stand_ins = StandIns::of(&plan(&FILTERS), &|filter| filter == "s/+/x").unwrap();
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[2]), [2, 1]);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[3]), [3], "one of them alone");
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[3, 2]), [3, 2, 1], "the broker sends one copy for all");
        assert_eq!(journaled(&mut stand_ins, "s/1/y", &[2]), [2], "the absent one would not take it");
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[]), [0; 0], "the broker sends no identifiers");
        stand_ins.answered("s/+/x", false);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[2]), [2]);
        stand_ins.answered("s/1/+", true);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[1]), [1, 2]);
    }

    #[test]
    fn nothing_stands_in_where_all_are_there_or_none() {
        assert!(StandIns::of(&plan(&FILTERS), &|_| false).is_none());
        let mut stand_ins = StandIns::of(&plan(&FILTERS), &|_| true).unwrap();
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[1]), [1]);
        stand_ins.answered("+/1/x", false);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[3]), [3, 1, 2]);
    }

    #[test]
    fn a_filter_that_replaces_a_refused_one_has_its_identifier_already() {
        let rules = [&["a/+/x"][..], &["a/b/#"], &["a/b/+"]].map(|filters| rule("r", Qos::AtLeastOnce, filters));
        let refused = |filter: &str| filter == "a/b/#";
        let plan = Subscriptions::plan(MqttVersion::V5, &rules, None).adapted(true, &refused);
        let identifiers: Vec<_> = plan.list().iter().map(|to| (to.filter.as_str(), to.identifier)).collect();
        assert_eq!(identifiers, [("a/+/x", Some(1)), ("a/b/#", Some(2)), ("a/b/+", Some(2))]);
        let mut stand_ins = StandIns::of(&plan, &refused).unwrap();
        assert_eq!(journaled(&mut stand_ins, "a/b/x", &[1]), [1]);
        assert_eq!(journaled(&mut stand_ins, "a/b/x", &[2]), [2]);
    }

    #[test]
    fn a_shared_filter_stands_in_where_no_other_one_is_there() {
        let filters = ["s/+/x", "$share/g/s/1/+", "+/1/x"];
        let mut stand_ins = StandIns::of(&plan(&filters), &|filter| filter != filters[1]).unwrap();
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[2]), [2, 1, 3]);
        stand_ins.answered(filters[2], false);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[2]), [2]);
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[3]), [3, 1]);
        let mut stand_ins = StandIns::of(&plan(&filters), &|filter| filter == filters[1]).unwrap();
        assert_eq!(journaled(&mut stand_ins, "s/1/x", &[1]), [1], "another member of the group takes it");
    }
}
