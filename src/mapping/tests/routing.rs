//! Which rules take a message. A message that arrived once for each of several filters is stored once by each rule.

use super::*;
use crate::message::{Fault, Property};

#[test]
fn the_takers_of_a_message_are_those_that_would_map_it() {
    let rules = vec![rule(&["a/#"], vec![from("c", "qos")]), rule(&["b"], vec![from("c", "qos")])];
    let tables = vec![table(vec![live("c", ColumnType::Int4)]); 2];
    let mut mapper = compile::<false>(rules, &tables).unwrap();
    let faulty = Message { fault: Some(Fault::TooLarge), ..message("a/b", b"") };
    assert_eq!(mapper.takers(&faulty), [0]);
    assert_eq!(mapper.takers(&message("c", b"")), [] as [usize; 0]);
}

#[test]
fn every_rule_that_matches_takes_the_message() {
    let shared = table(vec![live("c", text())]);
    let other = table(vec![live("c", text()), live("d", text())]);
    let rules = vec![
        rule(&["a/#"], vec![from("c", "topic")]),
        rule(&["b"], vec![from("c", "topic")]),
        rule(&["+/{x}"], vec![from("c", "topic"), from("d", "topic.x")]),
        rule(&["a/b"], vec![from("c", "qos")]),
    ];
    let tables = [Arc::clone(&shared), Arc::clone(&shared), other, shared];
    let mut mapper = compile::<false>(rules, &tables).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(&message("a/b", b""), &mut batch, &mut outcomes);
    assert_eq!(outcomes.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), [0, 2, 3]);
    let units: Vec<_> =
        (0..3).map(|unit| (batch.units[unit].rule, batch.units[unit].seq, first_row(&batch, unit))).collect();
    assert_eq!(units, [(0, Seq(7), (0, 0)), (2, Seq(7), (1, 0)), (3, Seq(7), (0, 1))]);
    assert_eq!(batch.portions[0].row(1), b"1: Text(\"1\");");
    assert_eq!(batch.portions[1].row(0), b"2: Text(\"a/b\");Text(\"b\");");
}

#[test]
fn captures_are_those_of_the_first_pattern_that_fits() {
    let table = table(vec![live("c", text())]);
    let take =
        |topic| row_of(rule(&["a/{x}/+", "b/+/{x}", "c/#"], vec![from("c", "topic.x")]), &table, &message(topic, b""));
    assert_eq!(take("a/1/2").unwrap(), "1: Text(\"1\");");
    assert_eq!(take("b/1/2").unwrap(), "1: Text(\"2\");");
    assert_eq!(take("c/1/2").unwrap(), "1: Null;");
}

/// A filter was put in front: what waited has no copy for it.
#[test]
fn of_several_filters_of_a_rule_that_fit_the_oldest_ones_copy_is_taken() {
    let rules = [Arc::new(rule(&["+/b", "a/#", "a/+"], vec![from("c", "topic")]))];
    let ids = HashMap::from([("+/b".to_owned(), 3), ("a/#".to_owned(), 1), ("a/+".to_owned(), 1)]);
    let mut mapper = Mapper::compile("gw1", &rules, &[table(vec![live("c", text())])], &ids, Shown::<false>).unwrap();
    let mut takers = |topic: &str, id: u32| {
        let mut encoded = Vec::new();
        Property::SubscriptionId(id).encode(&mut encoded);
        mapper.takers(&Message { properties: Properties::from_encoded(&encoded), ..message(topic, b"") }).len()
    };
    assert_eq!([takers("a/b", 1), takers("a/b", 3)], [1, 0]);
    assert_eq!([takers("x/b", 3), takers("a/x", 1)], [1, 1]);
    // Of a shared one, other members of the group may get the copy.
    let rules = [Arc::new(rule(&["$share/g/a/+", "a/#"], vec![from("c", "topic")]))];
    let ids = HashMap::from([("$share/g/a/+".to_owned(), 1), ("a/#".to_owned(), 2)]);
    let mut mapper = Mapper::compile("gw1", &rules, &[table(vec![live("c", text())])], &ids, Shown::<false>).unwrap();
    let mut takers = |id: u32| {
        let mut encoded = Vec::new();
        Property::SubscriptionId(id).encode(&mut encoded);
        mapper.takers(&Message { properties: Properties::from_encoded(&encoded), ..message("a/b", b"") }).len()
    };
    assert_eq!([takers(1), takers(2)], [0, 1]);
}

#[test]
fn overlapping_subscriptions_store_a_message_once_per_rule() {
    let rules = vec![
        Arc::new(rule(&["a/+"], vec![from("c", "topic")])),
        Arc::new(rule(&["+/b", "a/#"], vec![from("c", "topic")])),
        Arc::new(rule(&["a/b"], vec![from("c", "topic")])),
    ];
    let tables = vec![table(vec![live("c", text())]); 3];
    let ids = HashMap::from([("a/+".to_owned(), 1), ("+/b".to_owned(), 2), ("a/#".to_owned(), 3)]);
    let mut mapper = Mapper::compile("gw1", &rules, &tables, &ids, Shown::<false>).unwrap();
    let mut batch = batch();
    let mut takers = |ids: &[u32]| {
        let mut encoded = Vec::new();
        ids.iter().for_each(|id| Property::SubscriptionId(*id).encode(&mut encoded));
        let mut outcomes = Vec::new();
        let message = Message { properties: Properties::from_encoded(&encoded), ..message("a/b", b"") };
        mapper.map(&message, &mut batch, &mut outcomes);
        outcomes.into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    // The third rule's filter has no identifier: something else brings its messages.
    assert_eq!(takers(&[1]), [0, 2]);
    assert_eq!(takers(&[2]), [1, 2]);
    assert_eq!(takers(&[3]), [2], "the second rule matches by its first pattern, whose copy comes separately");
    assert_eq!(takers(&[1, 2, 3]), [0, 1, 2]);
    assert_eq!(takers(&[]), [0, 1, 2], "the broker sends no identifiers");
    assert_eq!(takers(&[99]), [0, 1, 2], "an identifier of an earlier configuration says nothing");
    assert_eq!(takers(&[99, 2]), [1, 2]);
}

#[test]
fn copies_for_filters_that_are_gone_go_to_rules_whose_filters_came_later() {
    let rules =
        vec![Arc::new(rule(&["a/+"], vec![from("c", "topic")])), Arc::new(rule(&["+/b"], vec![from("c", "topic")]))];
    let tables = vec![table(vec![live("c", text())]); 2];
    // `a/#` had 2 and went; `+/b` came with the same reload, and `a/+` was there all along.
    let ids = HashMap::from([("a/+".to_owned(), 1), ("+/b".to_owned(), 3)]);
    let mut mapper = Mapper::compile("gw1", &rules, &tables, &ids, Shown::<false>).unwrap();
    mapper.retire(&[(2, 3)]);
    let mut batch = batch();
    let mut takers = |ids: &[u32]| {
        let mut encoded = Vec::new();
        ids.iter().for_each(|id| Property::SubscriptionId(*id).encode(&mut encoded));
        let mut outcomes = Vec::new();
        let message = Message { properties: Properties::from_encoded(&encoded), ..message("a/b", b"") };
        mapper.map(&message, &mut batch, &mut outcomes);
        outcomes.into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    assert_eq!(takers(&[1]), [0]);
    assert_eq!(takers(&[2]), [1], "the first rule has a copy of its own");
    assert_eq!(takers(&[1, 2]), [0, 1]);
    assert_eq!(takers(&[3]), [1]);
    assert_eq!(takers(&[99]), [0, 1], "nothing is known of it");
}

#[test]
fn ten_thousand_rules_route_to_the_one_that_matches() {
    let rules: Vec<Rule> = (0..10_000).map(|n| rule(&[&format!("s/{n}/{{x}}")], vec![from("c", "topic.x")])).collect();
    let tables = vec![table(vec![live("c", text())]); 10_000];
    let mut mapper = compile::<false>(rules, &tables).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(&message("s/9999/d", b""), &mut batch, &mut outcomes);
    assert_eq!(outcomes, [(9_999, Outcome::Written)]);
}
