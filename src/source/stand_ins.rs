//! Messages of a rule with several topic filters, of which the broker has not got all.
//!
//! Where filters overlap, a rule takes the copy of a message that carries the identifier of its first filter that fits
//! ([`super::subscriptions`]). If the broker refuses that filter, or has not granted it yet, there is no such copy. Then one of
//! the copies that there are also gets the identifier of the missing one before it is journaled: that with the lowest
//! identifier, so that it is one of them alone.

use std::collections::HashSet;

use super::filter_tree::FilterTree;
use super::subscriptions::Subscriptions;
use crate::message::{Properties, Property};
use crate::rule::TopicPattern;

/// Filters with identifiers. Shared ones are not among them: whose copy comes is the broker's choice.
#[derive(Debug)]
pub(super) struct StandIns {
    /// Not in the broker's session.
    absent: Vec<Identified>,
    /// In the broker's session, and overlapping one that is not.
    present: Vec<Identified>,
}

#[derive(Debug)]
struct Identified {
    pattern: TopicPattern,
    identifier: u32,
}

impl StandIns {
    /// `None` if no filter is absent that others could stand in for.
    pub(super) fn of(plan: &Subscriptions, is_absent: &dyn Fn(&str) -> bool) -> Option<StandIns> {
        if !plan.list().iter().any(|to| to.identifier.is_some() && is_absent(&to.filter)) {
            return None;
        }
        let identified = plan.list().iter().filter_map(|to| {
            let pattern = TopicPattern::parse(&to.filter).ok().filter(|pattern| pattern.share().is_empty())?;
            Some(Identified { pattern, identifier: to.identifier? })
        });
        let (absent, mut present): (Vec<_>, Vec<_>) = identified.partition(|told| is_absent(told.pattern.filter()));
        let overlapping: HashSet<u32> = {
            let mut tree = FilterTree::new();
            present.iter().enumerate().for_each(|(at, told)| tree.insert(&told.pattern, at));
            let found = absent.iter().flat_map(|told| tree.overlapping(&told.pattern, usize::MAX));
            found.map(|at| present[at].identifier).collect()
        };
        present.retain(|told| overlapping.contains(&told.identifier));
        (!present.is_empty()).then_some(StandIns { absent, present })
    }

    /// The broker has granted a filter.
    pub(super) fn granted(&mut self, filter: &str) {
        if let Some(at) = self.absent.iter().position(|told| told.pattern.filter() == filter) {
            self.present.push(self.absent.swap_remove(at));
        }
    }

    /// Adds the identifiers of absent filters to a message that stands in for their copies.
    pub(super) fn add_to(&self, topic: &str, properties: &mut Vec<u8>) {
        let mut carried = Vec::new();
        carried.extend(Properties::from_encoded(properties).iter().filter_map(|property| match property {
            Property::SubscriptionId(identifier) => Some(identifier),
            _ => None,
        }));
        let takes = |told: &&Identified| told.pattern.takes(topic);
        let first = self.present.iter().filter(takes).map(|told| told.identifier).min();
        if !first.is_some_and(|first| carried.contains(&first)) {
            return;
        }
        for told in self.absent.iter().filter(takes) {
            if !carried.contains(&told.identifier) {
                Property::SubscriptionId(told.identifier).encode(properties);
                carried.push(told.identifier);
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

    fn plan() -> Subscriptions {
        let rules: Vec<Arc<Rule>> = vec![rule("r", Qos::AtLeastOnce, &FILTERS)];
        let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
        let identifiers: Vec<_> = plan.list().iter().map(|to| to.identifier).collect();
        assert_eq!(identifiers, [Some(1), Some(2), Some(3)]);
        plan
    }

    /// The identifiers with which a copy that comes with these is journaled.
    fn journaled(stand_ins: &StandIns, topic: &str, came: &[u32]) -> Vec<u32> {
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
        let plan = plan();
        let mut stand_ins = StandIns::of(&plan, &|filter| filter == "s/+/x").unwrap();
        assert_eq!(journaled(&stand_ins, "s/1/x", &[2]), [2, 1]);
        assert_eq!(journaled(&stand_ins, "s/1/x", &[3]), [3], "one of them alone");
        assert_eq!(journaled(&stand_ins, "s/1/x", &[3, 2]), [3, 2, 1], "the broker sends one copy for all");
        assert_eq!(journaled(&stand_ins, "s/1/y", &[2]), [2], "the absent one would not take it");
        assert_eq!(journaled(&stand_ins, "s/1/x", &[]), [0; 0], "the broker sends no identifiers");
        stand_ins.granted("s/+/x");
        assert_eq!(journaled(&stand_ins, "s/1/x", &[2]), [2]);
    }

    #[test]
    fn nothing_stands_in_where_all_are_there_or_none() {
        assert!(StandIns::of(&plan(), &|_| false).is_none());
        assert!(StandIns::of(&plan(), &|_| true).is_none());
        let stand_ins = StandIns::of(&plan(), &|filter| filter != "+/1/x").unwrap();
        assert_eq!(journaled(&stand_ins, "s/1/x", &[3]), [3, 1, 2]);
    }
}
