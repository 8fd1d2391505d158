//! `statement`: each bind has its column, and nothing else says where rows go.

use super::{Bench, LOCAL, assert_finding};
use crate::config::Rule;
use crate::rule::DeclaredType;

/// The rule is in line 2, behind `- {`.
fn text(rule: &str) -> String {
    format!("{LOCAL}rules: [{{{rule}}}]\n")
}

fn rule(text_of_rule: &str) -> Rule {
    Rule::clone(&Bench::new(&text(text_of_rule)).config().rules[0])
}

#[test]
fn a_statement_is_read_with_its_binds() {
    let rule = rule(
        "name: x, topic: a, statement: 'insert into t values (:b, :a, :b);', columns: {a: received_at, b: payload.b}",
    );
    let statement = rule.statement.as_deref().unwrap();
    assert_eq!(statement.text(), "insert into t values (:b, :a, :b)");
    assert_eq!(statement.binds().iter().map(|bind| &**bind).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(rule.bind_types(), [None, Some(DeclaredType::Timestamptz)]);
    assert_eq!(rule.table.described(), "statement of rule x");
}

#[test]
fn mistakes_in_a_statement_and_beside_it_are_found_at_their_place() {
    const COLUMNS: &str = "columns: {a: qos}";
    const STATEMENT: &str = "statement: 'update t set a = :a'";
    let already = |keys: &str, key: &str| {
        (format!("{STATEMENT}, {COLUMNS}, {keys}"), format!("{key}: `statement` says it already"))
    };
    // § stands before the place.
    for (rule, expected) in [
        (
            format!("statement: §'drop table t', {COLUMNS}"),
            "statement: begins with a word that no statement with binds begins with".to_owned(),
        ),
        (format!("statement: §'select :a; select 2', {COLUMNS}"), "statement: has a second statement".to_owned()),
        (
            format!("statement: §'delete from rowbridge_offsets where a = :a', {COLUMNS}"),
            "statement: names rowbridge_offsets, which is not yours to write".to_owned(),
        ),
        (format!("statement: §[select], {COLUMNS}"), "statement: found a list".to_owned()),
        (
            format!("{STATEMENT}, columns: {{a: qos, b: §dup}}"),
            "columns.b: the statement has no bind of this name".to_owned(),
        ),
        (
            format!("statement: §'select :a, :ab', {COLUMNS}"),
            "statement: has the bind :ab, and `columns` has no column of this name".to_owned(),
        ),
        (
            format!("{STATEMENT}, columns: §auto"),
            "columns: `auto` takes the columns of a table, and a statement has none".to_owned(),
        ),
        already("table: §t", "table"),
        already("tables: §[t]", "tables"),
        already("mode: §upsert", "mode"),
        already("key: §[a]", "key"),
        already("create: §true", "create"),
        already("unmapped: §add", "unmapped"),
        (
            "statement: §'update t set a = :a', convention: joinbase".to_owned(),
            "statement: `convention` says it already".to_owned(),
        ),
        (
            "statement: §'update t set a = :a', into: db/append/t".to_owned(),
            "statement: `into` says it already".to_owned(),
        ),
        (
            format!("table: §statement of rule x, {COLUMNS}"),
            "table: found `statement of rule x`, which is not yours to write".to_owned(),
        ),
    ] {
        let text = text(&format!("topic: a, {rule}"));
        let at = text.lines().nth(1).unwrap().chars().position(|c| c == '§').unwrap() + 1;
        assert_finding(&text.replace('§', ""), &format!("2:{at} rules[0].{expected}"));
    }
    assert_finding(&text(&format!("topic: a, {STATEMENT}")), "2:9 rules[0].columns: is missing");
}

#[test]
fn a_bind_that_is_nearly_a_columns_name_is_told_with_it() {
    let bench =
        Bench::new(&text("topic: a, statement: 'select f(:temp, :device)', columns: {temp: qos, devise: topic}"));
    let report = bench.report().to_string();
    assert_eq!(bench.findings().len(), 2, "{report}");
    for hint in [":devise", "device"] {
        assert!(report.contains(&format!("did you mean `{hint}`?")), "{hint} in:\n{report}");
    }
}

#[test]
fn what_a_variable_holds_is_not_told_as_a_bind() {
    let bench = Bench::new(&text("topic: a, statement: 'select :a, ${PLACE}', columns: {a: qos}"));
    let report = bench.variable("PLACE", ":geheimnis").report().to_string();
    assert!(report.contains("has a bind of whose name") && !report.contains("geheim"), "{report}");
}
