use proptest::prelude::*;

use super::*;
use crate::config::{Columns, Format, OnError, Retained};
use crate::sink::TableName;

pub(in crate::source) fn rule(name: &str, qos: Qos, topics: &[&str]) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.into(),
        topics: topics.iter().map(|topic| TopicPattern::parse(topic).unwrap()).collect(),
        qos,
        database: 0,
        table: TableName { schema: None, name: "t".into() },
        format: Format::Json,
        columns: Columns::Auto,
        create: false,
        retained: Retained::Store,
        on_error: OnError::DeadLetter,
        position: String::new(),
    })
}

fn filters(plan: &Subscriptions) -> Vec<(&str, u8)> {
    plan.list().iter().map(|subscription| (subscription.filter.as_str(), subscription.qos.level())).collect()
}

#[test]
fn a_covered_filter_rides_on_the_covering_one_with_the_highest_qos() {
    let rules = [
        rule("one", Qos::ExactlyOnce, &["sensors/{site}/temp"]),
        rule("all", Qos::AtLeastOnce, &["sensors/#"]),
        rule("other", Qos::AtMostOnce, &["other"]),
    ];
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    assert_eq!(filters(&plan), [("sensors/#", 2), ("other", 0)]);
    assert_eq!(plan.get("sensors/#").unwrap().rules, ["all".into(), "one".into()]);
    assert!(plan.identifiers().is_empty(), "no two overlap without covering");
}

#[test]
fn the_same_filter_under_several_names_is_subscribed_to_once() {
    let rules = [rule("a", Qos::AtMostOnce, &["x/{a}", "x/+"]), rule("b", Qos::AtLeastOnce, &["x/{b}"])];
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    assert_eq!(filters(&plan), [("x/+", 1)]);
    assert_eq!(plan.list()[0].rules, ["a".into(), "b".into()]);
}

#[test]
fn a_shared_filter_is_not_covered_by_a_plain_one() {
    let rules = [rule("plain", Qos::AtLeastOnce, &["a/#"]), rule("shared", Qos::AtLeastOnce, &["$share/g/a/b"])];
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    assert_eq!(filters(&plan), [("a/#", 1), ("$share/g/a/b", 1)]);
}

#[test]
fn only_filters_that_overlap_without_covering_get_identifiers() {
    let rules = [
        rule("left", Qos::AtLeastOnce, &["a/+/c"]),
        rule("right", Qos::AtLeastOnce, &["a/b/+"]),
        rule("under", Qos::AtLeastOnce, &["a/b/{x}"]),
        rule("apart", Qos::AtLeastOnce, &["z"]),
    ];
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    let identifiers = plan.identifiers();
    assert_eq!(identifiers.len(), 2);
    assert_ne!(identifiers["a/+/c"], identifiers["a/b/+"]);
    assert_eq!(plan.get("z").unwrap().identifier, None);
    assert!(Subscriptions::plan(MqttVersion::V3, &rules, None).identifiers().is_empty(), "3.1.1 has none");
}

#[test]
fn a_covered_filter_has_the_identifier_of_the_one_that_covers_it() {
    let rules = [
        rule("a", Qos::AtLeastOnce, &["a/+/c"]),
        rule("b", Qos::AtLeastOnce, &["a/b/#"]),
        rule("c", Qos::AtLeastOnce, &["a/b/d/e"]),
    ];
    let identifiers = Subscriptions::plan(MqttVersion::V5, &rules, None).identifiers();
    assert_eq!(identifiers["a/b/d/e"], identifiers["a/b/#"]);
}

#[test]
fn an_identifier_is_never_given_to_another_filter() {
    let first = [rule("a", Qos::AtLeastOnce, &["a/+"]), rule("b", Qos::AtLeastOnce, &["+/b"])];
    let plan = Subscriptions::plan(MqttVersion::V5, &first, None);
    let second = [rule("a", Qos::AtLeastOnce, &["a/+"]), rule("c", Qos::AtLeastOnce, &["+/c"])];
    let next = Subscriptions::plan(MqttVersion::V5, &second, Some(plan.stored().clone()));
    assert_eq!(next.identifiers()["a/+"], plan.identifiers()["a/+"]);
    assert_ne!(next.identifiers()["+/c"], plan.identifiers()["+/b"]);
}

#[test]
fn ten_thousand_rules_are_planned_without_comparing_each_with_each() {
    let rules: Vec<_> =
        (0..10_000).map(|n| rule(&n.to_string(), Qos::AtLeastOnce, &[&format!("r/{n}/{{x}}")])).collect();
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    assert_eq!(plan.list().len(), 10_000);
    assert!(plan.identifiers().is_empty());
    let under_one = [rules, vec![rule("all", Qos::ExactlyOnce, &["r/#"])]].concat();
    let plan = Subscriptions::plan(MqttVersion::V5, &under_one, None);
    assert_eq!(filters(&plan), [("r/#", 2)]);
    assert_eq!(plan.list()[0].rules.len(), 10_001);
}

// The filter `a/#` brings `a`, which the rule on `a/{*rest}` passes over: subscribing to `a` as well would bring it twice.
#[test]
fn a_captured_rest_covers_the_topic_above_it_as_its_filter_does() {
    let rules = [rule("below", Qos::AtLeastOnce, &["a/{*rest}"]), rule("top", Qos::ExactlyOnce, &["a"])];
    let plan = Subscriptions::plan(MqttVersion::V3, &rules, None);
    assert_eq!(filters(&plan), [("a/#", 2)]);
    assert_eq!(plan.list()[0].rules.len(), 2);
}

/// The plan by comparing each filter with each: the subscriptions and the identifiers of the filters.
fn naive_plan(version: MqttVersion, rules: &[Arc<Rule>]) -> (Vec<Subscription>, HashMap<String, u32>) {
    let mut wanted: Vec<(&TopicPattern, Subscription)> = Vec::new();
    for rule in rules {
        for pattern in rule.topics.iter() {
            let filter = pattern.filter().to_owned();
            let asked = Subscription { filter, qos: rule.qos, identifier: None, rules: vec![Arc::clone(&rule.name)] };
            match wanted.iter_mut().find(|(known, _)| known.filter() == pattern.filter()) {
                Some((_, known)) => naive_ride(known, &asked),
                None => wanted.push((pattern, asked)),
            }
        }
    }
    let is_kept = |index: usize| {
        let pattern = wanted[index].0;
        !wanted.iter().enumerate().any(|(other, (candidate, _))| {
            other != index && candidate.covers(pattern) && (other < index || !pattern.covers(candidate))
        })
    };
    let mut kept: Vec<_> = (0..wanted.len()).filter(|&index| is_kept(index)).map(|i| wanted[i].clone()).collect();
    let patterns: Vec<_> = kept.iter().map(|(pattern, _)| *pattern).collect();
    let mut next = 1;
    for (index, (pattern, subscription)) in kept.iter_mut().enumerate() {
        let overlaps = patterns.iter().enumerate().any(|(other, one)| other != index && one.overlaps(pattern));
        if version == MqttVersion::V5 && overlaps {
            subscription.identifier = Some(next);
            next += 1;
        }
    }
    let mut identifiers = HashMap::new();
    for (pattern, asked) in &wanted {
        let itself = kept.iter().position(|(_, keeper)| keeper.filter == asked.filter);
        let carrier = itself.or_else(|| patterns.iter().position(|keeper| keeper.covers(pattern))).unwrap();
        naive_ride(&mut kept[carrier].1, asked);
        if let Some(identifier) = kept[carrier].1.identifier {
            identifiers.insert(asked.filter.clone(), identifier);
        }
    }
    (kept.into_iter().map(|(_, subscription)| subscription).collect(), identifiers)
}

fn naive_ride(carrier: &mut Subscription, asked: &Subscription) {
    carrier.qos = carrier.qos.max(asked.qos);
    for rule in &asked.rules {
        if !carrier.rules.contains(rule) {
            carrier.rules.push(Arc::clone(rule));
        }
    }
}

prop_compose! {
    fn any_pattern()(
        share in prop::sample::select(vec!["", "", "", "$share/g/", "$share/h/"]),
        levels in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$a", "+", "{CAP}"]), 0..4),
        tail in prop::sample::select(vec!["", "", "#", "{*rest}"]),
    ) -> String {
        let mut levels: Vec<_> =
            levels.iter().enumerate().map(|(n, level)| level.replace("CAP", &format!("c{n}"))).collect();
        if !tail.is_empty() { levels.push(tail.to_owned()); }
        let pattern = levels.join("/");
        format!("{share}{}", if pattern.is_empty() { "a" } else { &pattern })
    }
}

prop_compose! {
    fn any_rule()(
        name in prop::sample::select(vec!["one", "two", "three", "four"]),
        qos in prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]),
        topics in prop::collection::vec(any_pattern(), 1..4),
    ) -> Arc<Rule> {
        rule(name, qos, &topics.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_plan_is_the_one_that_comparing_each_with_each_gives(
        rules in prop::collection::vec(any_rule(), 0..8),
        is_v5: bool,
    ) {
        let version = if is_v5 { MqttVersion::V5 } else { MqttVersion::V3 };
        let plan = Subscriptions::plan(version, &rules, None);
        let (list, identifiers) = naive_plan(version, &rules);
        prop_assert_eq!(plan.list(), list);
        prop_assert_eq!(plan.identifiers(), identifiers);
        prop_assert!(plan.list().iter().all(|subscription| plan.get(&subscription.filter) == Some(subscription)));
    }
}

prop_compose! {
    fn pattern()(levels in prop::collection::vec(prop::sample::select(vec!["a", "b", "+"]), 1..4), rest: bool) -> String {
        let mut text = levels.join("/");
        if rest { text.push_str("/#"); }
        text
    }
}

proptest! {
    #[test]
    fn every_topic_a_rule_matches_is_matched_by_a_subscription(
        patterns in prop::collection::vec(pattern(), 1..8),
        topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5),
    ) {
        let topic = topic.join("/");
        let rules: Vec<_> =
            patterns.iter().enumerate().map(|(n, text)| rule(&n.to_string(), Qos::AtLeastOnce, &[text])).collect();
        let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
        let mut captures = Vec::new();
        let wanted = rules.iter().any(|rule| rule.topics[0].matches(&topic, &mut captures));
        let matching: Vec<_> = plan
            .list()
            .iter()
            .filter(|subscription| TopicPattern::parse(&subscription.filter).unwrap().matches(&topic, &mut captures))
            .collect();
        prop_assert_eq!(wanted, !matching.is_empty());
        if matching.len() > 1 {
            prop_assert!(matching.iter().all(|subscription| subscription.identifier.is_some()));
        }
        let all_rules: usize = plan.list().iter().map(|subscription| subscription.rules.len()).sum();
        prop_assert_eq!(all_rules, rules.len());
    }
}
