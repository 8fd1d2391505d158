use proptest::prelude::*;

use super::*;
use crate::config::{Columns, Format, Mode, OnError, Retained};
use crate::rule::TableName;

pub(in crate::source) fn rule(name: &str, qos: Qos, topics: &[&str]) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.into(),
        topics: topics.iter().map(|topic| TopicPattern::parse(topic).unwrap()).collect(),
        qos,
        own_qos: Vec::new(),
        subscribe_properties: Vec::new(),
        database: 0,
        chooser: None,
        table: TableName { schema: None, name: "t".into() },
        format: Format::Json,
        columns: Columns::Auto,
        create: None,
        routing: None,
        statement: None,
        for_each: crate::config::ForEach::NONE,
        times: None,
        unmapped: crate::config::Unmapped::Ignore,
        rows_max: 100_000,
        shaping: crate::config::Shaping::default(),
        mode: Mode::Insert,
        retained: Retained::Store,
        on_error: OnError::DeadLetter,
        reply: None,
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
fn a_filter_keeps_its_identifier_while_it_lives_and_gets_another_when_it_comes_back() {
    let (a, b) = (rule("a", Qos::AtLeastOnce, &["a/+"]), rule("b", Qos::AtLeastOnce, &["+/b"]));
    let both = Subscriptions::plan(MqttVersion::V5, &[Arc::clone(&a), Arc::clone(&b)], None);
    let (id_a, id_b) = (both.identifiers()["a/+"], both.identifiers()["+/b"]);
    assert!(both.retired().is_empty());
    let alone = both.replan(MqttVersion::V5, std::slice::from_ref(&a));
    assert_eq!(alone.identifiers()["a/+"], id_a, "nothing overlaps it any more");
    assert_eq!(alone.retired(), [(id_b, id_b + 1)]);
    let again = alone.replan(MqttVersion::V5, &[a, b]);
    assert_eq!((again.identifiers()["a/+"], again.identifiers()["+/b"]), (id_a, id_b + 1));
    assert_eq!(again.retired(), [(id_b, id_b + 1)]);
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
fn naive_plan(rules: &[Arc<Rule>]) -> (Vec<Subscription>, HashMap<String, u32>) {
    let mut wanted: Vec<(&TopicPattern, Subscription)> = Vec::new();
    for rule in rules {
        for pattern in rule.topics.iter() {
            let filter = pattern.filter().to_owned();
            let asked = Subscription {
                filter,
                qos: rule.qos,
                identifier: None,
                properties: Vec::new(),
                rules: vec![Arc::clone(&rule.name)],
                is_wider: false,
            };
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
        if overlaps {
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
    ) {
        let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
        let (list, identifiers) = naive_plan(&rules);
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

#[test]
fn without_identifiers_one_wider_filter_takes_the_place_of_those_that_overlap() {
    let rules = [
        rule("left", Qos::AtLeastOnce, &["ov/+/x"]),
        rule("apart", Qos::AtMostOnce, &["z"]),
        rule("right", Qos::ExactlyOnce, &["ov/k/{n}"]),
    ];
    let plan = Subscriptions::plan(MqttVersion::V3, &rules, None);
    assert_eq!(filters(&plan), [("ov/+/+", 2), ("z", 0)]);
    assert_eq!(plan.list()[0].rules, ["left".into(), "right".into()]);
    assert!(plan.list()[0].is_wider && !plan.list()[1].is_wider);
    assert_eq!(plan.overlaps(), []);
    let mut sieve = plan.sieve().unwrap();
    for (topic, is_dropped) in [("ov/1/x", false), ("ov/k/9", false), ("ov/1/9", true), ("ov/k/9/more", false)] {
        assert_eq!(sieve.drops(topic), is_dropped, "{topic}");
    }
    // A version 5 broker that knows no identifiers is asked for the same, one that does for each by itself.
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    assert_eq!(filters(&plan.adapted(false, &|_| false)), [("ov/+/+", 2), ("z", 0)]);
    assert_eq!(plan.adapted(true, &|_| false).list(), plan.list());
    assert!(plan.sieve().is_none());
}

#[test]
fn filters_that_no_filter_can_stand_for_stay_and_are_told() {
    let rules = [
        rule("one", Qos::AtLeastOnce, &["a/+"]),
        rule("two", Qos::AtLeastOnce, &["+/b"]),
        rule("plain", Qos::AtLeastOnce, &["s/t/#"]),
        rule("shared", Qos::AtLeastOnce, &["$share/g/s/t/u"]),
    ];
    let plan = Subscriptions::plan(MqttVersion::V3, &rules, None);
    assert_eq!(filters(&plan), [("a/+", 1), ("+/b", 1), ("s/t/#", 1), ("$share/g/s/t/u", 1)]);
    let told = [("a/+", "+/b"), ("s/t/#", "$share/g/s/t/u")].map(|(one, other)| (one.to_owned(), other.to_owned()));
    assert_eq!(plan.overlaps(), told);
    assert_eq!(Subscriptions::plan(MqttVersion::V5, &rules, None).overlaps(), [], "identifiers settle it");
}

#[test]
fn the_rules_that_ride_on_a_refused_filter_are_subscribed_to_by_themselves() {
    let rules = [
        rule("all", Qos::AtLeastOnce, &["#"]),
        rule("site", Qos::ExactlyOnce, &["sensors/a/+"]),
        rule("device", Qos::AtMostOnce, &["sensors/a/d1"]),
    ];
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let plan = Subscriptions::plan(version, &rules, None);
        assert_eq!(filters(&plan), [("#", 2)]);
        let plan = plan.adapted(true, &|filter| filter == "#");
        let mut asked = filters(&plan);
        asked.sort_unstable();
        assert_eq!(asked, [("#", 1), ("sensors/a/+", 2)]);
        assert_eq!(plan.get("#").unwrap().rules, ["all".into()]);
        assert_eq!(plan.overlaps(), [], "what is refused brings nothing");
        assert_eq!(plan.get("sensors/a/+").unwrap().rules, ["site".into(), "device".into()]);
    }
}

#[test]
fn what_takes_the_place_of_a_refused_filter_has_its_identifier() {
    let rules = [
        rule("refused", Qos::AtLeastOnce, &["a/#"]),
        rule("rides", Qos::AtLeastOnce, &["a/b"]),
        rule("crosses", Qos::AtLeastOnce, &["+/b"]),
    ];
    let base = Subscriptions::plan(MqttVersion::V5, &rules, None);
    let plan = base.adapted(true, &|filter| filter == "a/#");
    // The mapping, which knows the first plan, takes the copies for the same rules as before.
    assert_eq!(plan.get("a/b").unwrap().identifier, Some(base.identifiers()["a/b"]));
    assert_eq!(plan.get("+/b").unwrap().identifier, Some(base.identifiers()["+/b"]));
    assert_eq!(plan.identifiers(), base.identifiers());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn without_identifiers_every_message_comes_once_unless_an_overlap_is_told(
        rules in prop::collection::vec(any_rule(), 0..8),
        barred in prop::collection::vec(any_pattern(), 0..3),
        topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$a", "x"]), 1..5),
    ) {
        let topic = topic.join("/");
        let barred: Vec<String> =
            barred.iter().map(|text| TopicPattern::parse(text).unwrap().filter().to_owned()).collect();
        let is_barred = |filter: &str| barred.iter().any(|known| known == filter);
        let plan = Subscriptions::plan(MqttVersion::V3, &rules, None).adapted(false, &is_barred);
        let brings = |filter: &str| TopicPattern::parse(filter).unwrap().takes(&topic);
        let through: Vec<&str> = plan
            .list()
            .iter()
            .map(|subscription| subscription.filter.as_str())
            .filter(|filter| !is_barred(filter) && brings(filter))
            .collect();
        let wanted = rules.iter().flat_map(|rule| rule.topics.iter());
        let is_wanted = wanted.map(TopicPattern::filter).any(|filter| !is_barred(filter) && brings(filter));
        prop_assert!(!is_wanted || !through.is_empty(), "{} does not come: {:?}", topic, plan.list());
        if through.len() > 1 {
            let is_told = |filter: &&str| plan.overlaps().iter().any(|(one, other)| one == filter || other == filter);
            prop_assert!(through.iter().any(is_told), "{} comes through {:?}", topic, through);
        }
        // What the sieve drops, no rule takes.
        let mut captures = Vec::new();
        let is_taken = rules.iter().flat_map(|rule| rule.topics.iter()).any(|pattern| pattern.matches(&topic, &mut captures));
        prop_assert!(!is_taken || !plan.sieve().is_some_and(|mut sieve| sieve.drops(&topic)));
    }
}

#[test]
fn a_filter_that_says_its_own_qos_is_subscribed_with_it() {
    let mut rule = Rule::clone(&rule("r", Qos::AtLeastOnce, &["a", "b", "c"]));
    rule.own_qos = vec![Some(Qos::ExactlyOnce), None, Some(Qos::AtMostOnce)];
    let plan = Subscriptions::plan(MqttVersion::V5, &[Arc::new(rule)], None);
    let asked: Vec<(&str, Qos)> =
        plan.list().iter().map(|subscription| (subscription.filter.as_str(), subscription.qos)).collect();
    assert_eq!(asked, [("a", Qos::ExactlyOnce), ("b", Qos::AtLeastOnce), ("c", Qos::AtMostOnce)]);
}

#[test]
fn a_filter_has_the_user_properties_of_every_rule_that_rides_on_it() {
    let with = |name, topic, properties: &[(&str, &str)]| {
        let mut rule = Arc::unwrap_or_clone(rule(name, Qos::AtLeastOnce, &[topic]));
        rule.subscribe_properties = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Arc::new(rule)
    };
    let rules = [
        with("one", "a/b", &[("x", "1"), ("y", "2")]),
        with("same", "a/b", &[("y", "2"), ("z", "3")]),
        with("all", "a/#", &[("x", "0")]),
        with("other", "c", &[]),
    ];
    let plan = Subscriptions::plan(MqttVersion::V5, &rules, None);
    let properties =
        |filter| plan.get(filter).unwrap().properties.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
    assert_eq!(properties("a/#"), ["x=0", "x=1", "y=2", "z=3"]);
    assert!(properties("c").is_empty());
}
