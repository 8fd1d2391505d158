//! Fields and values that no column takes, under rules that lose none.

use super::*;
use crate::config::{Csv, Decoding, ForEach, Shaping, Syntax, Unmapped};
use crate::jq::Program;

fn auto(unmapped: Unmapped) -> Rule {
    Rule { unmapped, columns: Columns::Auto, ..rule(&["#"], vec![]) }
}

fn extra() -> Rule {
    auto(Unmapped::Column("extra".into()))
}

fn came(rule: Rule, table: &Arc<TableSchema>, payload: &str) -> Result<String, (String, String)> {
    row_of(rule, table, &message("a", payload.as_bytes()))
}

fn assert_row(came: Result<String, (String, String)>, row: &str) {
    assert_eq!(came, Ok(row.to_owned()));
}

fn assert_refused(came: Result<String, (String, String)>, whys: &[&str]) {
    let (reason, message) = came.unwrap_err();
    assert!(reason == "value" && whys.iter().all(|why| message.contains(why)), "{reason} {message}");
}

/// `n` and `a`, and a json column at the end or between them.
fn with_extra(at: usize) -> Arc<TableSchema> {
    let mut columns = vec![live("n", text()), live("a", ColumnType::Int4)];
    columns.insert(at, live("extra", ColumnType::Jsonb));
    table(columns)
}

#[test]
fn a_value_at_the_position_of_the_json_column_goes_into_it() {
    let last = with_extra(2);
    let row = came(extra(), &last, r#"["2",1,{"x":1}]"#).unwrap();
    assert!(row.starts_with("3: Text(\"2\");Int(1);") && row.contains(r#"{\"x\":1}"#), "{row}");
    let between = with_extra(1);
    let row = came(extra(), &between, r#"["1",5]"#).unwrap();
    assert!(row.starts_with("3: Text(\"1\");") && row.contains("\"5\"") && row.ends_with("Null;"), "{row}");
    let row = came(extra(), &between, r#"["1",[2],3]"#).unwrap();
    assert!(row.contains("[2]") && row.ends_with("Int(3);"), "{row}");
    assert_row(came(extra(), &between, r#"["1",null,3]"#), "3: Text(\"1\");Null;Int(3);");
    assert_row(came(extra(), &between, r#"["1"]"#), "3: Text(\"1\");Null;Null;");
    assert_refused(came(extra(), &between, r#"["1",5,6,7]"#), &["more values than the table has columns, which are 3"]);
    // Records and elements are such arrays too.
    let csv = Rule { format: Format::Decoded(Arc::new(Decoding::of(Syntax::Csv(Csv::default())))), ..extra() };
    assert!(came(csv, &last, "2,1,x").unwrap().contains('x'));
    let each = Rule { for_each: ForEach::Paths(vec![Source::parse("payload").unwrap()]), ..extra() };
    assert!(came(each, &last, r#"[["2",1,{"x":1}]]"#).unwrap().contains(r#"{\"x\":1}"#));
}

#[test]
fn a_column_takes_one_of_the_fields_that_differ_only_in_case_and_the_others_are_unmapped() {
    let live_table = with_extra(2);
    for payload in [r#"{"n":"1","a":1,"A":2}"#, r#"{"A":2,"n":"1","a":1}"#, r#"{"n":"1","a":1,"A":null}"#] {
        let strict = table(vec![live("n", text()), live("a", ColumnType::Int4)]);
        assert_refused(came(auto(Unmapped::Error), &strict, payload), &["a field that no column takes"]);
        let row = came(extra(), &live_table, payload).unwrap();
        assert!(row.contains("Int(1);") && row.contains(r#"{\"A\":"#), "{row}");
        assert_row(came(auto(Unmapped::Ignore), &strict, payload), "2: Text(\"1\");Int(1);");
    }
    // None has the column's name: the last counts, as of equal keys, and the other is kept.
    let wide = table(vec![live("temp", ColumnType::Int4), live("extra", ColumnType::Jsonb)]);
    let row = came(extra(), &wide, r#"{"TEMP":1,"tEmp":2}"#).unwrap();
    assert!(row.contains("Int(2);") && row.contains(r#"{\"TEMP\":1}"#), "{row}");
    assert_row(came(extra(), &wide, r#"{"TEMP":1}"#), "2: Int(1);Null;");
    let each = Rule { for_each: ForEach::Paths(vec![Source::parse("payload").unwrap()]), ..extra() };
    assert!(came(each, &wide, r#"[{"temp":1,"TEMP":2}]"#).unwrap().contains(r#"{\"TEMP\":2}"#));
}

#[test]
fn what_only_a_predicate_looks_at_is_taken_by_no_column() {
    let predicate =
        |text: &str| Shaping { predicate: Some(Arc::new(Program::parse(text).unwrap())), ..Shaping::default() };
    let live_table = with_extra(2);
    let strict = table(vec![live("n", text()), live("a", ColumnType::Int4)]);
    // Answered from the fields, and by the interpreter.
    for (kind, case) in [(".kind == \"x\"", ".A > 4"), (".kind | . == \"x\"", ".A | . > 4")] {
        let row =
            came(Rule { shaping: predicate(kind), ..extra() }, &live_table, r#"{"n":"1","a":1,"kind":"x"}"#).unwrap();
        assert!(row.contains(r#"{\"kind\":\"x\"}"#), "{kind}: {row}");
        let error = Rule { shaping: predicate(kind), ..auto(Unmapped::Error) };
        assert_refused(came(error, &strict, r#"{"n":"1","a":1,"kind":"x"}"#), &["a field that no column takes"]);
        let rule = Rule { shaping: predicate(case), ..auto(Unmapped::Ignore) };
        assert_row(came(rule, &strict, r#"{"n":"1","A":5}"#), "2: Text(\"1\");Int(5);");
    }
}

#[test]
fn fields_behind_equal_keys_and_a_deep_value_are_unmapped_too() {
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let payload = format!(r#"{{"n":"1","n":"2","deep":{deep},"more":3}}"#);
    let row = came(extra(), &with_extra(2), &payload).unwrap();
    assert!(row.contains(r#"{\"deep\":["#) && row.contains(r#",\"more\":3}"#), "{row}");
}

#[test]
fn a_field_that_fits_two_columns_but_for_its_case_is_refused_with_both_names() {
    let rivals = || vec![live("Temp", ColumnType::Int4), live("temp", ColumnType::Int4)];
    let mut with_json = rivals();
    with_json.push(live("extra", ColumnType::Jsonb));
    let (rivals, with_json) = (table(rivals()), table(with_json));
    for payload in [r#"{"TEMP":5}"#, r#"{"Temp":1,"TEMP":2}"#] {
        for unmapped in [Unmapped::Ignore, Unmapped::Error] {
            assert_refused(came(auto(unmapped), &rivals, payload), &["`TEMP`", "`Temp` and `temp`"]);
        }
        assert_refused(came(extra(), &with_json, payload), &["`TEMP`", "`Temp` and `temp`"]);
    }
    assert_row(came(auto(Unmapped::Ignore), &rivals, r#"{"Temp":1,"temp":2}"#), "2: Int(1);Int(2);");
    // Both columns have their field: the third is like any other without a column.
    let row = came(extra(), &with_json, r#"{"Temp":1,"temp":2,"TEMP":3}"#).unwrap();
    assert!(row.contains("Int(1);Int(2);") && row.contains(r#"{\"TEMP\":3}"#), "{row}");
    let (reason, _) = came(auto(Unmapped::Ignore), &rivals, r#"{"other":3}"#).unwrap_err();
    assert_eq!(reason, "required");
}
