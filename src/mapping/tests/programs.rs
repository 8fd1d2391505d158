//! `where`, `transform` and columns with `jq`.

use super::*;
use crate::config::{Decoding, Shaping, Syntax};
use crate::jq::Program;
use crate::message::Property;

fn program(text: &str) -> Arc<Program> {
    Arc::new(Program::parse(text).unwrap())
}

fn jq(name: &str, text: &str) -> config::Column {
    config::Column { source: ColumnSource::Jq(program(text)), ..from(name, "qos") }
}

fn shaping(predicate: &str, transform: &str) -> Shaping {
    let program = |text: &str| (!text.is_empty()).then(|| program(text));
    Shaping { predicate: program(predicate), transform: program(transform), ..Shaping::default() }
}

fn two() -> Arc<TableSchema> {
    table(vec![live("a", text()), live("b", ColumnType::Int8)])
}

/// The rows of a message in their order, or `-` if it is filtered, or the fault.
fn rows(rule: Rule, message: &Message<'_>) -> Result<Vec<String>, String> {
    let mut mapper = compile::<false>(vec![rule], &[two()]).unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(message, &mut batch, &mut outcomes);
    match outcomes.pop() {
        Some((0, Outcome::Written)) => {}
        Some((0, Outcome::Filtered)) => return Ok(vec!["-".to_owned()]),
        Some((0, Outcome::Refused(fault))) => return Err(format!("{}: {}", fault.reason, fault.message)),
        other => panic!("{other:?}"),
    }
    let mut rows = Vec::new();
    for run in batch.runs_of(0) {
        let portion = &batch.portions[run.portion];
        rows.extend(
            (run.first_row..run.first_row + run.row_count)
                .map(|row| String::from_utf8(portion.row(row).to_vec()).unwrap()),
        );
    }
    Ok(rows)
}

fn shaped(shaping: Shaping, payload: &str) -> Result<Vec<String>, String> {
    let columns = vec![from("a", "payload.a"), from("b", "payload.b")];
    rows(Rule { shaping, ..rule(&["t"], columns) }, &message("t", payload.as_bytes()))
}

#[test]
fn what_the_predicate_does_not_want_is_filtered() {
    // Answered from the fields, and by the interpreter.
    for predicate in [".b > 20", ".b | . > 20", ".b > 20 and .c.d == \"x\"", "select(.b > 20) | .c.d == \"x\""] {
        let shaping = || shaping(predicate, "");
        assert_eq!(
            shaped(shaping(), r#"{"a":"y","b":21,"c":{"d":"x"}}"#),
            Ok(vec!["2: Text(\"y\");Int(21);".to_owned()]),
            "{predicate}"
        );
        assert_eq!(shaped(shaping(), r#"{"a":"y","b":19,"c":{"d":"x"}}"#), Ok(vec!["-".to_owned()]), "{predicate}");
        assert!(
            shaped(shaping(), "[1]")
                .unwrap_err()
                .starts_with("value: `where`: the program fails: cannot index an array")
        );
        assert!(shaped(shaping(), "{").unwrap_err().starts_with("parse: the payload is not JSON"), "{predicate}");
    }
    // The predicate's fields are no fields of the columns.
    let fault = shaped(shaping(".c > 1", ""), r#"{"c":2}"#).unwrap_err();
    assert!(fault.starts_with("required: "), "{fault}");
}

#[test]
fn each_output_of_the_transform_is_a_payload() {
    let split = || shaping("", ".readings[] | select(.ok) | {a: .name, b: .v}");
    let payload =
        r#"{"readings":[{"ok":true,"name":"x","v":9007199254740993},{"ok":false},{"ok":true,"name":"y","v":2}]}"#;
    let expected = ["2: Text(\"x\");Int(9007199254740993);", "2: Text(\"y\");Int(2);"].map(str::to_owned).to_vec();
    assert_eq!(shaped(split(), payload), Ok(expected));
    assert_eq!(shaped(split(), r#"{"readings":[]}"#), Ok(vec!["-".to_owned()]));
    // The predicate comes first.
    assert_eq!(
        shaped(shaping(".go", "{a: .x, b: 1}"), r#"{"go":true,"x":"y"}"#),
        Ok(vec!["2: Text(\"y\");Int(1);".to_owned()])
    );
    assert_eq!(shaped(shaping(".go", "error"), r#"{"go":false}"#), Ok(vec!["-".to_owned()]));
    let fault = shaped(shaping("", ".a, error(\"no good\")"), r#"{"a":{"a":"x"}}"#).unwrap_err();
    assert_eq!(fault, "value: `transform`: the program fails: no good");
    let fault = shaped(shaping("", "def f: f; f"), "{}").unwrap_err();
    assert_eq!(fault, "size: `transform`: the program runs longer than 1 s");
    let fault = shaped(shaping("", "{c: 1}"), "{}").unwrap_err();
    assert!(fault.starts_with("required: "), "{fault}");
}

#[test]
fn columns_take_the_only_output_of_a_program() {
    let columns = || vec![jq("a", ".name | ascii_downcase"), jq("b", ".v * 10 + $seq")];
    let mapped = |payload: &str| rows(rule(&["t"], columns()), &message("t", payload.as_bytes()));
    assert_eq!(mapped(r#"{"name":"AB","v":2}"#), Ok(vec!["2: Text(\"ab\");Int(27);".to_owned()]));
    assert_eq!(
        mapped(r#"{"name":1,"v":2}"#).unwrap_err(),
        "value: column `a` (text { max_chars: none }): the program fails: cannot use a number as string"
    );
    assert!(mapped("{").unwrap_err().starts_with("parse: the payload is not JSON"));
    // Nothing, null and a default.
    let default = config::Column { default: Some(5.into()), ..jq("b", "empty") };
    let nothing = rows(rule(&["t"], vec![jq("a", "null"), default]), &message("t", b"{}"));
    assert_eq!(nothing, Ok(vec!["2: Null;Int(5);".to_owned()]));
    let more = rows(rule(&["t"], vec![jq("a", "1, 2")]), &message("t", b"{}")).unwrap_err();
    assert!(more.contains("more than one output"), "{more}");
}

#[test]
fn programs_see_the_whole_message() {
    let mut encoded = Vec::new();
    Property::User(b"Unit", b"C").encode(&mut encoded);
    Property::CorrelationData(b"id").encode(&mut encoded);
    Property::ContentType(b"x/y").encode(&mut encoded);
    let payload = br#"{"v":[7]}"#;
    let message =
        Message { properties: Properties::from_encoded(&encoded), retain: true, ..message("site/dev/x", payload) };
    let all = "[$topic, $levels[-1], $captures.site, $properties.Unit, $content_type, $response_topic, $correlation_data, \
               $message_expiry, $qos, $retain, $dup, $received_at, $seq, $bridge, $rule, $payload.v[0]] | tojson";
    let expected = r#"["site/dev/x","x","site","C","x/y",null,"aWQ=",null,1,true,false,"1970-01-01T00:00:01.500000Z",7,"gw1","r",7]"#;
    let given = rows(rule(&["{site}/#"], vec![jq("a", all)]), &message).unwrap();
    let given: String = given[0].trim_start_matches("1: Text(\"").trim_end_matches("\");").replace("\\\"", "\"");
    assert_eq!(given, expected);
}

#[test]
fn under_for_each_a_program_takes_the_element() {
    let columns = vec![jq("a", "$key // $payload.id"), jq("b", ".v + $index")];
    let for_each = config::ForEach::Paths(vec![Source::parse("payload.list").unwrap()]);
    let mapped = |payload: &str| {
        let rule = Rule { for_each: for_each.clone(), ..rule(&["t"], columns.clone()) };
        rows(rule, &message("t", payload.as_bytes()))
    };
    let expected = ["2: Text(\"d\");Int(5);", "2: Text(\"d\");Int(7);"].map(str::to_owned).to_vec();
    assert_eq!(mapped(r#"{"id":"d","list":[{"v":5},{"v":6}]}"#), Ok(expected));
    assert_eq!(mapped(r#"{"id":"d","list":{"k":{"v":5}}}"#), Ok(vec!["2: Text(\"k\");Int(5);".to_owned()]));
    assert!(mapped(r#"{"list":[{"v":5},{"v":{}}]}"#).unwrap_err().starts_with("value: item 1: column `b`"));
    // Over what a transform makes.
    let made = Rule {
        for_each: for_each.clone(),
        shaping: shaping("", "{list: [.[] | {v: .}], id: \"t\"}"),
        ..rule(&["t"], columns.clone())
    };
    let expected = ["2: Text(\"t\");Int(1);", "2: Text(\"t\");Int(3);"].map(str::to_owned).to_vec();
    assert_eq!(rows(made, &message("t", b"[1,2]")), Ok(expected));
    // Whatever shape its rows have.
    let columns = vec![from("a", "item.a"), jq("b", ".b * 2")];
    let rule = Rule { for_each: config::ForEach::Auto, shaping: shaping(".go", "[.rows[]]"), ..rule(&["t"], columns) };
    let mapped = rows(rule, &message("t", br#"{"go":1,"rows":[{"a":"x","b":1},{"a":"y","b":2}]}"#));
    assert_eq!(mapped, Ok(["2: Text(\"x\");Int(2);", "2: Text(\"y\");Int(4);"].map(str::to_owned).to_vec()));
}

#[test]
fn text_and_bytes_are_strings_to_programs() {
    let rule_of = |format: Format, shaping: Shaping, columns: Vec<config::Column>| Rule {
        format,
        shaping,
        ..rule(&["t"], columns)
    };
    let split = shaping("", "split(\",\") | {a: .[0], b: (.[1] | tonumber)}");
    let columns = vec![from("a", "payload.a"), from("b", "payload.b")];
    let csv = rule_of(Format::Text, split, columns);
    assert_eq!(rows(csv, &message("t", b"x,21")), Ok(vec!["2: Text(\"x\");Int(21);".to_owned()]));
    let plain =
        || rule_of(Format::Text, shaping("startswith(\"x\")", ""), vec![from("a", "payload"), jq("b", "length")]);
    assert_eq!(rows(plain(), &message("t", b"xy")), Ok(vec!["2: Text(\"xy\");Int(2);".to_owned()]));
    assert_eq!(rows(plain(), &message("t", b"yx")), Ok(vec!["-".to_owned()]));
    assert!(rows(plain(), &message("t", b"\xff")).unwrap_err().starts_with("parse: the payload is not UTF-8"));
    let bytes = rule_of(Format::Bytes, Shaping::default(), vec![jq("a", ".")]);
    assert_eq!(rows(bytes, &message("t", b"\xff\x00")), Ok(vec!["1: Text(\"/wA=\");".to_owned()]));
}

#[test]
fn each_value_of_a_payload_that_has_several_is_shaped() {
    let format = || Format::Decoded(Arc::new(Decoding::of(Syntax::Ndjson)));
    for predicate in [".b > 1", "[.b > 1] | .[0]"] {
        let columns = vec![from("a", "payload.a"), jq("b", ".b * 2")];
        let rule = Rule { format: format(), shaping: shaping(predicate, ""), ..rule(&["t"], columns) };
        let mapped = rows(rule, &message("t", b"{\"a\":\"x\",\"b\":1}\n{\"a\":\"y\",\"b\":2}\n"));
        assert_eq!(mapped, Ok(vec!["2: Text(\"y\");Int(4);".to_owned()]), "{predicate}");
    }
    let rule = Rule { format: format(), shaping: shaping(".b", ""), ..rule(&["t"], vec![from("a", "payload.a")]) };
    let fault = rows(rule, &message("t", b"{\"a\":\"x\",\"b\":1}\n[]\n")).unwrap_err();
    assert_eq!(fault, "value: line 2: `where`: the program fails: cannot index an array with a string");
}

#[test]
fn rules_share_a_plan_only_if_their_programs_are_the_same() {
    let plans = |rules: Vec<Rule>| {
        let tables = vec![two(); rules.len()];
        compile::<false>(rules, &tables).unwrap().plan_count()
    };
    let columns = Columns::named(vec![from("a", "payload.a")]);
    let like = |name: &str, shaping: Shaping| Rule {
        name: name.into(),
        columns: columns.clone(),
        shaping,
        ..rule(&["{x}/t"], vec![])
    };
    let schema = two();
    let same = compile::<false>(
        vec![like("r1", shaping(".a", "")), like("r2", shaping(".a", ""))],
        &[Arc::clone(&schema), schema],
    );
    assert_eq!(same.unwrap().plan_count(), 1);
    assert_eq!(plans(vec![like("r1", shaping(".a", "")), like("r2", shaping(".b", ""))]), 2);
    assert_eq!(plans(vec![like("r1", shaping("", ".a")), like("r2", shaping("", ".b"))]), 2);
    assert_eq!(plans(vec![like("r1", shaping("$rule", "")), like("r2", shaping("$rule", ""))]), 2);
}
