//! `decode`: fields that hold another form, as roots of further paths.

use super::*;
use crate::config::{Decoding, ForEach, Shaping, Syntax, Unmapped};
use crate::jq::Program;
use crate::rule::{Decode, Root, Template};

fn roots(roots: &[(&str, &[Decode])]) -> Vec<Root> {
    let root =
        |(path, decodes): &(&str, &[Decode])| Root { source: Source::parse(path).unwrap(), decodes: decodes.to_vec() };
    roots.iter().map(root).collect()
}

fn decoding(paths: &[&str], columns: Vec<config::Column>) -> Rule {
    let listed: Vec<(&str, &[Decode])> = paths.iter().map(|path| (*path, &[Decode::Json][..])).collect();
    Rule { shaping: Shaping { roots: roots(&listed), ..Shaping::default() }, ..rule(&["#"], columns) }
}

fn program(text: &str) -> Option<Arc<Program>> {
    Some(Arc::new(Program::parse(text).unwrap()))
}

fn three() -> Arc<TableSchema> {
    table(vec![live("a", text()), live("b", ColumnType::Numeric(None)), live("c", ColumnType::Json)])
}

/// The rows of a message in their order, or `-` if it is filtered, or the fault.
fn rows(rule: Rule, table: &Arc<TableSchema>, payload: &[u8]) -> Result<Vec<String>, String> {
    let mut mapper = compile::<false>(vec![rule], std::slice::from_ref(table)).unwrap();
    let (mut batch, mut outcomes) = (batch(), Vec::new());
    mapper.map(&message("t", payload), &mut batch, &mut outcomes);
    match outcomes.pop() {
        Some((0, Outcome::Written)) => {}
        Some((0, Outcome::Filtered)) => return Ok(vec!["-".to_owned()]),
        Some((0, Outcome::Refused(fault))) => return Err(format!("{}: {}", fault.reason, fault.message)),
        other => panic!("{other:?}"),
    }
    let of_run = |run: &crate::batch::Run| {
        let portion = &batch.portions[run.portion];
        let rows = run.first_row..run.first_row + run.row_count;
        rows.map(|row| String::from_utf8(portion.row(row).to_vec()).unwrap()).collect::<Vec<_>>()
    };
    Ok(batch.runs_of(0).iter().flat_map(of_run).collect())
}

const AWS: &[u8] = br#"{"id":"x","data":"{\"temp\":21.50,\"n\":9007199254740993,\"list\":[{\"v\":1},{\"v\":12345678901234567890.1}]}"}"#;

#[test]
fn columns_take_parts_of_what_a_string_holds_and_numbers_keep_every_digit() {
    let table = table(vec![live("a", text()), live("b", ColumnType::Int8), live("c", ColumnType::Json)]);
    let columns = vec![from("a", "payload.id"), from("b", "payload.data.n"), from("c", "payload.data.list")];
    let row = rows(decoding(&["payload.data"], columns), &table, AWS);
    let expected = r#"3: Text("x");Int(9007199254740993);Text("[{\"v\":1},{\"v\":12345678901234567890.1}]");"#;
    assert_eq!(row, Ok(vec![expected.to_owned()]));
}

#[test]
fn elements_programs_and_templates_see_it_too() {
    let template = |name: &str, text: &str| config::Column {
        source: ColumnSource::Template(Template::parse(text).unwrap()),
        ..from(name, "qos")
    };
    let rule_of = |predicate: &str, transform: Option<&str>| {
        let columns = vec![template("a", "{payload.id}-{index}"), from("b", "item.v")];
        let for_each = ForEach::Paths(vec![Source::parse("payload.data.list").unwrap()]);
        let rule = decoding(&["payload.data"], columns);
        let transform = transform.and_then(program);
        Rule { for_each, shaping: Shaping { predicate: program(predicate), transform, ..rule.shaping.clone() }, ..rule }
    };
    let two = table(vec![live("a", text()), live("b", ColumnType::Numeric(None))]);
    let expected = ["2: Text(\"x-0\");", "2: Text(\"x-1\");"];
    // Answered from the fields, by the interpreter, and behind a transform.
    for (predicate, transform) in [
        (".data.temp > 21", None),
        (".data | .temp > 21 and (.list | length) == 2", None),
        (".data.temp > 21", Some("{id, data: .data}")),
    ] {
        let made = rows(rule_of(predicate, transform), &two, AWS).unwrap();
        assert!(made.iter().zip(expected).all(|(row, start)| row.starts_with(start)) && made.len() == 2, "{made:?}");
    }
    assert_eq!(rows(rule_of(".data.temp > 22", None), &two, AWS), Ok(vec!["-".to_owned()]));
}

#[test]
fn strings_in_elements_are_decoded_one_by_one() {
    let columns = || vec![from("a", "parent.id"), from("b", "item.v"), from("c", "parent.values")];
    let paths = ["payload.groups", "item.values"].map(|path| Source::parse(path).unwrap()).to_vec();
    let nested = || Rule {
        for_each: ForEach::Paths(paths.clone()),
        ..decoding(&["payload.groups", "parent.values", "item"], columns())
    };
    let of = |group: &str| format!(r#"{{"groups":{}}}"#, serde_json::Value::from(group));
    let group = r#"[{"id":"g","values":"[\"{\\\"v\\\":1}\",\"{\\\"v\\\":2}\"]"},{"id":"h","values":"[]"}]"#;
    let made = rows(nested(), &three(), of(group).as_bytes()).unwrap();
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made[0].starts_with("3: Text(\"g\");") && made[0].contains('1') && made[1].contains('2'), "{made:?}");
    let bad = r#"[{"id":"g","values":"[\"{\\\"v\\\":1}\",\"secret\"]"}]"#;
    let fault = rows(nested(), &three(), of(bad).as_bytes()).unwrap_err();
    assert_eq!(fault, "parse: item 0, item 1: item: a string that is not JSON (its byte 1) (`decode`)");
}

#[test]
fn a_missing_string_leaves_its_parts_missing_and_a_bad_one_is_refused() {
    let mut required = from("b", "payload.data.temp");
    required.required = true;
    for (column, payload, expected) in [
        (from("b", "payload.data.temp"), r#"{"id":"x"}"#, Ok("2: Text(\"x\");Null;")),
        (from("b", "payload.data.temp"), r#"{"id":"x","data":null}"#, Ok("2: Text(\"x\");Null;")),
        (from("b", "payload.data.temp"), r#"{"id":"x","data":"{}"}"#, Ok("2: Text(\"x\");Null;")),
        (required, r#"{"id":"x"}"#, Err("required: column `b`")),
        (
            from("b", "payload.data.temp"),
            r#"{"id":"x","data":"secret"}"#,
            Err("parse: payload.data: a string that is not"),
        ),
        (from("b", "payload.data.temp"), r#"{"id":"x","data":5}"#, Err("value: payload.data: a number where a string")),
    ] {
        let made =
            rows(decoding(&["payload.data"], vec![from("a", "payload.id"), column]), &three(), payload.as_bytes());
        match (made, expected) {
            (Ok(made), Ok(expected)) => assert_eq!(made, [expected], "{payload}"),
            (Err(made), Err(expected)) => assert!(made.starts_with(expected) && !made.contains("secret"), "{made}"),
            other => panic!("{payload}: {other:?}"),
        }
    }
}

#[test]
fn what_no_column_takes_is_the_decoded_value() {
    let columns = vec![from("a", "payload.data.x"), from("c", "unmapped")];
    let rule =
        Rule { unmapped: Unmapped::Column("c".to_owned()), ..decoding(&["payload.data", "payload.more"], columns) };
    let made = rows(rule, &three(), br#"{"data":"{\"x\":\"y\"}","more":"[1, 2]"}"#).unwrap();
    assert!(made[0].contains(r#"{\"more\":[1, 2]}"#), "{made:?}");
}

#[test]
fn binary_formats_keep_their_other_bytes_and_lines_are_named() {
    let bytes = table(vec![live("a", ColumnType::Bytes), live("b", ColumnType::Int4), live("c", ColumnType::Bytes)]);
    let columns = || vec![from("a", "payload.raw"), from("b", "payload.data.v"), from("c", "payload.frm")];
    let with = |syntax: Syntax| {
        let listed = roots(&[("payload.data", &[Decode::Json]), ("payload.frm", &[Decode::Base64])]);
        let format = Format::Decoded(Arc::new(Decoding::of(syntax)));
        Rule { format, shaping: Shaping { roots: listed, ..Shaping::default() }, ..rule(&["#"], columns()) }
    };
    // {"raw": bytes 00 ff, "data": bytes of {"v":7}, "frm": "AQI="}
    let mut packed = b"\x83\xa3raw\xc4\x02\x00\xff\xa4data\xc4\x07{\"v\":7}\xa3frm\xa4AQI=".to_vec();
    let expected = vec!["3: Bytes([0, 255]);Int(7);Bytes([1, 2]);".to_owned()];
    assert_eq!(rows(with(Syntax::Msgpack), &bytes, &packed), Ok(expected));
    packed[20] = b'[';
    assert!(rows(with(Syntax::Msgpack), &bytes, &packed).unwrap_err().starts_with("parse: payload.data: "));
    let lines = "{\"data\":\"{\\\"v\\\":1}\"}\n{\"data\":\"{\"}\n";
    let fault = rows(with(Syntax::Ndjson), &bytes, lines.as_bytes()).unwrap_err();
    assert!(fault.starts_with("parse: line 2: payload.data: "), "{fault}");
}

#[test]
fn a_whole_payload_may_be_such_a_string() {
    let columns = || vec![from("a", "payload.id")];
    let whole = |format: Format| Rule { format, ..decoding(&["payload"], columns()) };
    let expected = Ok(vec!["1: Text(\"x\");".to_owned()]);
    assert_eq!(rows(whole(Format::Json), &three(), br#""{\"id\":\"x\"}""#), expected);
    let base64 = Format::Decoded(Arc::new(Decoding::of(Syntax::Base64)));
    assert_eq!(rows(whole(base64), &three(), b"eyJpZCI6IngifQ=="), expected);
}

#[test]
fn rules_that_decode_differently_share_no_plan() {
    let columns = Columns::named(vec![from("a", "payload.data.x")]);
    let like = |name: &str, paths: &[&str]| Rule {
        name: name.into(),
        columns: columns.clone(),
        ..decoding(paths, Vec::new())
    };
    let plans = |rules: Vec<Rule>| {
        let tables: Vec<_> = [three()].into_iter().cycle().take(rules.len()).collect();
        compile::<false>(rules, &tables).unwrap().plan_count()
    };
    assert_eq!(plans(vec![like("r1", &["payload.data"]), like("r2", &["payload.data"])]), 1);
    assert_eq!(plans(vec![like("r1", &["payload.data"]), like("r2", &["payload"])]), 2);
}
