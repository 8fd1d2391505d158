//! Rules that share a plan, or parts of one.

use super::*;

/// The plans that rules on one table compile to, and the row of each rule for one message; all take its topic.
fn plans_and_rows(rules: Vec<Rule>, table: &Arc<TableSchema>, message: &Message<'_>) -> (usize, Vec<String>) {
    let count = rules.len();
    let mut mapper = compile::<false>(rules, &vec![Arc::clone(table); count]).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(message, &mut batch, &mut outcomes);
    (mapper.plan_count(), (0..batch.units.len()).map(|unit| row_text(&batch, unit)).collect())
}

#[test]
fn rules_that_differ_in_name_and_topic_only_share_a_plan() {
    let columns = Columns::named(vec![from("a", "payload.a"), from("b", "topic[0]")]);
    let table = table(vec![live("a", ColumnType::Int4), live("b", text())]);
    let rules = ["x/+", "+/y", "#"].map(|topic| Rule {
        name: topic.into(),
        columns: columns.clone(),
        ..rule(&[topic], vec![])
    });
    let (plans, rows) = plans_and_rows(rules.into(), &table, &message("x/y", br#"{"a":1}"#));
    assert_eq!(plans, 1);
    assert_eq!(rows, vec!["2: Int(1);Text(\"x\");"; 3]);
}

#[test]
fn rules_with_one_list_of_columns_and_other_captures_names_or_options_keep_their_own() {
    let table = table(vec![live("a", text()), live("b", text())]);
    let columns = Columns::named(vec![from("a", "topic.site"), from("b", "rule")]);
    let of = |name: &str, topic: &str| Rule { name: name.into(), columns: columns.clone(), ..rule(&[topic], vec![]) };
    let rules = vec![
        of("one", "{site}/{line}"),
        of("two", "{line}/{site}"),
        of("one", "{site}/+"),
        Rule { retained: Retained::Skip, ..of("one", "{site}/{line}") },
        Rule { on_error: OnError::Drop, ..of("one", "{site}/{line}") },
    ];
    let (plans, rows) = plans_and_rows(rules, &table, &message("x/y", b""));
    assert_eq!(plans, 5);
    let (first, second) = ("2: Text(\"x\");Text(\"one\");", "2: Text(\"y\");Text(\"two\");");
    assert_eq!(rows, [first, second, first, first, first]);
}

#[test]
fn a_rule_that_shares_its_columns_with_one_that_fits_another_table_is_still_checked() {
    let columns = Columns::named(vec![from("a", "payload.a")]);
    let of = |name: &str| Rule { name: name.into(), columns: columns.clone(), ..rule(&["#"], vec![]) };
    let tables = [table(vec![live("a", text())]), table(vec![live("b", text())]), table(vec![live("c", text())])];
    let faults = compile::<false>(vec![of("fits"), of("lacks"), of("lacks too")], &tables).err().unwrap();
    assert_eq!(faults.iter().map(|fault| &*fault.rule).collect::<Vec<_>>(), ["lacks", "lacks too"]);
}

#[test]
fn every_rule_that_does_not_fit_is_told_although_another_one_like_it_was() {
    let columns = Columns::named(vec![from("ghost", "payload.a")]);
    let table = table(vec![live("a", text())]);
    let of = |name: &str| Rule { name: name.into(), columns: columns.clone(), ..rule(&["#"], vec![]) };
    let faults = compile::<false>(vec![of("first"), of("second")], &vec![table; 2]).err().unwrap();
    assert_eq!(faults.iter().map(|fault| &*fault.rule).collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn plans_of_different_rules_share_the_columns_and_paths_that_are_equal() {
    let table = table(vec![live("a", text()), live("b", text()), live("c", text())]);
    let mut constant = from("c", "qos");
    let rules: Vec<Rule> = (0..10)
        .map(|number| {
            constant.source = ColumnSource::Value(number.into());
            rule(&["#"], vec![from("a", "payload.a"), from("b", "payload.b"), constant.clone()])
        })
        .collect();
    let mapper = compile::<false>(rules, &vec![table; 10]).unwrap();
    assert_eq!((mapper.plan_count(), mapper.part_count()), (10, 2 + 10 + 1));
}
