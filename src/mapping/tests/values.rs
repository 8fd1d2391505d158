//! Sources put together, and what is done to a value between its source and its column.

use super::*;
use crate::rule::Template;

/// A column `c` filled from the first of these sources.
fn first_of(sources: &[&str]) -> config::Column {
    let sources = sources.iter().map(|source| Source::parse(source).unwrap()).collect();
    config::Column { source: ColumnSource::FirstOf(sources), ..from("c", "topic") }
}

fn template(text: &str) -> config::Column {
    config::Column { source: ColumnSource::Template(Template::parse(text).unwrap()), ..from("c", "topic") }
}

/// The row of a rule for `sensors/{site}/t` with this one column.
fn row(column: config::Column, column_type: ColumnType, payload: &str) -> Result<String, (String, String)> {
    let live = table(vec![live("c", column_type)]);
    row_of(rule(&["sensors/{site}/t"], vec![column]), &live, &message("sensors/hq/t", payload.as_bytes()))
}

#[test]
fn of_several_sources_the_first_that_has_a_value_is_taken() {
    let take = |payload: &str| row(first_of(&["payload.a", "payload.b", "topic.site"]), text(), payload).unwrap();
    assert_eq!(take(r#"{"a":"x","b":"y"}"#), "1: Text(\"x\");");
    assert_eq!(take(r#"{"b":"y"}"#), "1: Text(\"y\");");
    assert_eq!(take(r#"{"a":null,"b":"y"}"#), "1: Text(\"y\");", "null is no value");
    assert_eq!(take(r#"{"a":false}"#), "1: Text(\"false\");", "false is one");
    assert_eq!(take("{}"), "1: Text(\"hq\");");
    let bridge = first_of(&["payload.a", "bridge"]);
    assert_eq!(row(bridge, text(), "{}").unwrap(), "1: Text(\"gw1\");");
}

#[test]
fn where_none_of_several_sources_has_a_value_null_counts() {
    let live = table(vec![live("k", text()), Column { has_default: true, ..live("c", text()) }]);
    let take = |payload: &str| {
        let columns = vec![from("k", "payload.k"), first_of(&["payload.a", "payload.b"])];
        row_of(rule(&["#"], columns), &live, &message("t", payload.as_bytes())).unwrap()
    };
    assert_eq!(take(r#"{"k":1}"#), "1: Text(\"1\");", "left to the database");
    assert_eq!(take(r#"{"k":1,"a":null}"#), "2: Text(\"1\");Null;");
    let (reason, _) = row(first_of(&["payload.a", "payload.b"]), text(), r#"{"x":1}"#).unwrap_err();
    assert_eq!(reason, "required", "a payload that has none of the fields");
}

#[test]
fn a_capture_in_a_list_may_be_that_of_one_pattern() {
    let rule = rule(&["a/{site}", "b/{place}"], vec![first_of(&["topic.site", "topic.place"])]);
    let live = table(vec![live("c", text())]);
    assert_eq!(row_of(rule.clone(), &live, &message("a/x", b"")).unwrap(), "1: Text(\"x\");");
    assert_eq!(row_of(rule, &live, &message("b/y", b"")).unwrap(), "1: Text(\"y\");");
}

#[test]
fn a_template_puts_texts_together() {
    let take = |template_text: &str, payload: &str| row(template(template_text), text(), payload);
    let payload = r#"{"id":7,"n":1.50,"s":"a\"b\u00e9","on":true,"l":[1, 2],"nothing":null}"#;
    for (template, expected) in [
        ("{topic.site}-{payload.id}", "hq-7"),
        ("{{{payload.n}}}/{payload.s}", "{1.50}/a\"bé"),
        ("{payload.on} {payload.l}", "true [1, 2]"),
        ("{bridge}.{rule}.{qos}", "gw1.r.1"),
        ("{received_at}", "1970-01-01T00:00:01.500Z"),
        ("plain", "plain"),
        ("{bridge}", "gw1"),
    ] {
        assert_eq!(take(template, payload).unwrap(), format!("1: Text({expected:?});"), "{template}");
    }
    assert_eq!(row(template("{payload.id}5"), ColumnType::Int4, payload).unwrap(), "1: Int(75);");
}

#[test]
fn a_template_with_a_part_missing_has_no_value() {
    let live = table(vec![live("k", text()), Column { has_default: true, ..live("c", text()) }]);
    let take = |payload: &str| {
        let columns = vec![from("k", "payload.k"), template("{topic.site}-{payload.id}")];
        row_of(rule(&["sensors/{site}/t"], columns), &live, &message("sensors/hq/t", payload.as_bytes())).unwrap()
    };
    assert_eq!(take(r#"{"k":1,"id":2}"#), "2: Text(\"1\");Text(\"hq-2\");");
    assert_eq!(take(r#"{"k":1}"#), "1: Text(\"1\");");
    assert_eq!(take(r#"{"k":1,"id":null}"#), "1: Text(\"1\");");
    let required = config::Column { required: true, ..template("{topic.site}-{payload.id}") };
    let (reason, why) = row(required, text(), r#"{"k":1}"#).unwrap_err();
    assert!(reason == "required" && why.starts_with("column `c`"), "{reason}: {why}");
}

#[test]
fn what_a_template_or_list_takes_of_the_rule_parts_plans() {
    let live = table(vec![live("c", text())]);
    let plans = |column: config::Column| {
        let columns = Columns::named(vec![column]);
        let of =
            |name: &str, topic: &str| Rule { name: name.into(), columns: columns.clone(), ..rule(&[topic], vec![]) };
        let compiled =
            |rules: Vec<Rule>| compile::<false>(rules, &[Arc::clone(&live), Arc::clone(&live)]).unwrap().plan_count();
        let same = compiled(vec![of("x", "a/{p}/{q}"), of("x", "b/{p}/{q}")]);
        [same, compiled(vec![of("x", "#"), of("y", "#")])]
    };
    assert_eq!(plans(template("{topic}-1")), [1, 1]);
    assert_eq!(plans(template("{topic}-{rule}"))[1], 2);
    assert_eq!(plans(first_of(&["payload.a", "rule"]))[1], 2);
    for column in [template("{topic.p}"), first_of(&["payload.a", "topic.p"])] {
        let columns = Columns::named(vec![column]);
        let rules = ["a/{p}/{q}", "a/{q}/{p}"].map(|topic| Rule { columns: columns.clone(), ..rule(&[topic], vec![]) });
        let mapper = compile::<false>(rules.into(), &[Arc::clone(&live), Arc::clone(&live)]).unwrap();
        assert_eq!(mapper.plan_count(), 2);
    }
}
