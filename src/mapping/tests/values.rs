//! Sources put together, and what is done to a value between its source and its column.

use super::*;
use crate::rule::{Adjustments, Decode, Exact, Template, ValueMap};

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

/// A column `c` filled from `payload.v`, with these adjustments.
fn adjusted(adjustments: Adjustments) -> config::Column {
    config::Column { adjust: Some(Box::new(adjustments)), ..from("c", "payload.v") }
}

fn linear(scale: &str, shift: &str) -> Adjustments {
    Adjustments { scale: Exact::parse(scale), shift: Exact::parse(shift), ..Adjustments::default() }
}

fn map(entries: &[(&str, &str)]) -> Adjustments {
    let mut map = ValueMap::default();
    for (key, json) in entries {
        match *key {
            "*" => map.others = Some((*json).to_owned()),
            key => map.entries.push((key.to_owned(), (*json).to_owned())),
        }
    }
    map.entries.sort();
    Adjustments { map: Some(map), ..Adjustments::default() }
}

/// The cell for a value of the payload, or why it does not fit.
fn cell(adjustments: Adjustments, column_type: ColumnType, value: &str) -> Result<String, String> {
    let row = row(adjusted(adjustments), column_type, &format!("{{\"v\":{value}}}"));
    row.map(|row| row.trim_start_matches("1: ").to_owned()).map_err(|(_, why)| why)
}

#[test]
fn scale_and_shift_are_exact() {
    let take = |column_type: ColumnType, value: &str| cell(linear("0.1", "-40"), column_type, value);
    let numeric = || ColumnType::Numeric(None);
    assert_eq!(take(numeric(), "523").unwrap(), "Decimal(\"12.3\");");
    assert_eq!(take(numeric(), "\" 523 \"").unwrap(), "Decimal(\"12.3\");", "a numeric string");
    assert_eq!(take(ColumnType::Float8, "523").unwrap(), "Float(12.3);");
    assert_eq!(take(text(), "523").unwrap(), "Text(\"12.3\");");
    assert_eq!(take(ColumnType::Int4, "520").unwrap(), "Int(12);");
    assert!(take(ColumnType::Int4, "523").unwrap_err().contains("fraction"));
    assert_eq!(
        take(numeric(), "123456789012345678901234567890123456789012").unwrap(),
        "Decimal(\"12345678901234567890123456789012345678861.2\");"
    );
    for (value, why) in [("true", "a truth value where"), ("\"x\"", "not a number"), ("[1]", "an array where")] {
        assert!(take(numeric(), value).unwrap_err().contains(why), "{value}");
    }
    assert_eq!(take(numeric(), "null").unwrap(), "Null;");
    let seq = config::Column { source: ColumnSource::From(Source::JournalSeq), ..adjusted(linear("2", "1")) };
    assert_eq!(row(seq, ColumnType::Int8, "").unwrap(), "1: Int(15);");
}

#[test]
fn a_map_puts_values_in_place_of_others() {
    let states = || map(&[("on", "1"), ("off", "0"), ("2", "20"), ("true", "1"), ("unavailable", "null"), ("", "-1")]);
    let take = |value: &str| cell(states(), ColumnType::Int4, value);
    for (value, expected) in [
        ("\"on\"", "Int(1);"),
        ("\"o\\u006e\"", "Int(1);"),
        ("\"off\"", "Int(0);"),
        ("2", "Int(20);"),
        ("\"2\"", "Int(20);"),
        ("true", "Int(1);"),
        ("\"unavailable\"", "Null;"),
        ("\"\"", "Int(-1);"),
        // What is not in the map stays as it is, and is fitted as ever.
        ("7", "Int(7);"),
        ("2.0", "Int(2);"),
        ("null", "Null;"),
    ] {
        assert_eq!(take(value).unwrap(), expected, "{value}");
    }
    assert!(take("\"ON\"").unwrap_err().contains("not a number"));
    let others = || map(&[("on", "true"), ("*", "false")]);
    assert_eq!(cell(others(), ColumnType::Bool, "\"jam\"").unwrap(), "Bool(false);");
    assert_eq!(cell(others(), ColumnType::Bool, "[1]").unwrap(), "Bool(false);");
    assert_eq!(cell(others(), ColumnType::Bool, "null").unwrap(), "Null;", "null is no value");
}

#[test]
fn what_a_map_has_is_written_as_it_stands_and_the_rest_goes_on() {
    let both = Adjustments { scale: Exact::parse("0.1"), ..map(&[("-1", "null"), ("max", "100")]) };
    let take = |value: &str| cell(both.clone(), ColumnType::Numeric(None), value);
    assert_eq!(take("-1").unwrap(), "Null;");
    assert_eq!(take("\"max\"").unwrap(), "Decimal(\"100\");");
    assert_eq!(take("15").unwrap(), "Decimal(\"1.5\");");
    let required = config::Column { required: true, ..adjusted(map(&[("x", "null")])) };
    assert_eq!(row(required, text(), r#"{"v":"x"}"#).unwrap_err().0, "required");
    let default = config::Column { default: Some("none".into()), ..adjusted(map(&[("x", "null")])) };
    assert_eq!(row(default, text(), r#"{"v":"x"}"#).unwrap(), "1: Text(\"none\");");
}

/// `time` comes after `map`; it reads only what a column without it does not take.
#[test]
fn what_a_map_has_for_a_column_of_times_is_written_without_its_time() {
    let column = |json: &str, time: &str| {
        let time = Some(TimeFormat::parse(time).unwrap());
        config::Column { time, ..adjusted(map(&[("start", json)])) }
    };
    let take = |json: &str, time: &str, column_type: ColumnType| {
        row(column(json, time), column_type, r#"{"v":"start"}"#).unwrap().trim_start_matches("1: ").to_owned()
    };
    let timestamptz = || ColumnType::Timestamptz(SecondDigits::MICROS);
    for (json, time) in [
        ("\"2026-01-01T00:00:00Z\"", "s"),
        ("\"2026-01-01 01:00:00+01:00\"", "ms"),
        ("\"2026-01-01\"", "%d.%m.%Y %H:%M"),
        // By the unit or the pattern, as a default.
        ("1767225600", "s"),
        ("1767225600000", "ms"),
        ("\"1767225600\"", "s"),
        ("\"01.01.2026 00:00\"", "%d.%m.%Y %H:%M"),
    ] {
        assert_eq!(take(json, time, timestamptz()), "Timestamp(1767225600000000);", "{json} with {time}");
    }
    assert_eq!(take("\"never\"", "s", text()), "Text(\"never\");");
    assert_eq!(take("\"2026-01-01\"", "s", ColumnType::Date), "Date(20454);");
    assert_eq!(take("-1", "s", ColumnType::Int8), "Int(-1);");
    let later = row(column("null", "s"), timestamptz(), r#"{"v":1767225600}"#).unwrap();
    assert_eq!(later, "1: Timestamp(1767225600000000);", "other values are read by `time`");
    let why = |column: config::Column| {
        let table = table(vec![live("c", timestamptz())]);
        compile::<false>(vec![rule(&["#"], vec![column])], &[table]).err().unwrap().remove(0).message
    };
    let message = why(column("\"soon\"", "s"));
    assert!(message.contains("what `map` has for `start` of column `c`") && message.contains("RFC 3339"), "{message}");
    assert!(why(column("1e30", "s")).contains("outside the years"));
    let message = why(adjusted(map(&[("start", "1767225600")])));
    assert!(message.contains("say what it counts with `time: s`"), "{message}");
}

#[test]
fn what_a_map_has_must_fit_the_column() {
    let column = adjusted(map(&[("on", "\"warm\""), ("*", "99999999999")]));
    let faults = compile::<false>(vec![rule(&["#"], vec![column])], &[table(vec![live("c", ColumnType::Int4)])]);
    let messages: Vec<String> = faults.err().unwrap().into_iter().map(|fault| fault.message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("what `map` has for `on` of column `c`"), "{messages:?}");
    let arrays = ColumnType::Array(Box::new(ColumnType::Int4), 0);
    let column = adjusted(linear("2", "0"));
    let faults = compile::<false>(vec![rule(&["#"], vec![column])], &[table(vec![live("c", arrays)])]);
    assert!(faults.err().unwrap()[0].message.contains("single values"));
}

#[test]
fn strings_are_numbers_with_a_comma_or_a_unit() {
    let form = Adjustments { decimal: Some(','), ignores_unit: true, ..Adjustments::default() };
    let take = |value: &str| cell(form.clone(), ColumnType::Numeric(None), value);
    assert_eq!(take("\"1.234,5 kWh\"").unwrap(), "Decimal(\"1234.5\");");
    assert_eq!(take("\"21,5\\u00b0\"").unwrap(), "Decimal(\"21.5\");");
    assert_eq!(take("1.5").unwrap(), "Decimal(\"1.5\");", "a number is one already");
    assert!(take("\"1.234\"").unwrap_err().contains("one of two numbers"));
    assert!(take("\"12:30\"").unwrap_err().contains("no number with a decimal comma"));
    let all = Adjustments { scale: Exact::parse("1000"), ..form };
    assert_eq!(cell(all, ColumnType::Int4, "\"1,5 kW\"").unwrap(), "Int(1500);");
}

#[test]
fn strings_are_decoded_first() {
    let decode = |decode: &[Decode]| Adjustments { decode: decode.to_vec(), ..Adjustments::default() };
    let base64 = || decode(&[Decode::Base64]);
    assert_eq!(cell(base64(), ColumnType::Bytes, "\"AQID\"").unwrap(), "Bytes([1, 2, 3]);");
    assert_eq!(cell(base64(), text(), "\"aGk=\"").unwrap(), "Text(\"hi\");");
    assert_eq!(cell(base64(), ColumnType::Int4, "\"NDI\"").unwrap(), "Int(42);");
    assert!(cell(base64(), text(), "\"/w==\"").unwrap_err().contains("not UTF-8"));
    assert!(cell(base64(), text(), "\"*\"").unwrap_err().contains("no base64"));
    assert_eq!(cell(decode(&[Decode::Hex]), ColumnType::Bytes, "\"0aFF\"").unwrap(), "Bytes([10, 255]);");
    let json = || decode(&[Decode::Json]);
    assert_eq!(cell(json(), ColumnType::Jsonb, r#""{\"a\": [1]}""#).unwrap(), "Text(\"{\\\"a\\\": [1]}\");");
    assert_eq!(cell(json(), ColumnType::Int4, "\"7\"").unwrap(), "Int(7);");
    assert_eq!(cell(json(), text(), "\"null\"").unwrap(), "Null;");
    let scaled = Adjustments { scale: Exact::parse("0.5"), ..decode(&[Decode::Base64, Decode::Json]) };
    assert_eq!(cell(scaled, ColumnType::Numeric(None), "\"NQ==\"").unwrap(), "Decimal(\"2.5\");");
}

#[test]
fn a_value_that_does_not_fit_becomes_null_where_the_column_says_so() {
    let nulls = || Adjustments { misfits_are_null: true, ..linear("2", "0") };
    let columns = || vec![adjusted(nulls()), from("k", "payload.k")];
    let live_table = table(vec![live("k", ColumnType::Int4), live("c", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![rule(&["#"], columns())], &[Arc::clone(&live_table)]).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    let mut take = |payload: &str| {
        mapper.map(&message("t", payload.as_bytes()), &mut batch, &mut outcomes);
        let count = mapper.nulled(0).map_or(0, |nulled| nulled.count);
        (matches!(outcomes.pop(), Some((0, Outcome::Written))), count)
    };
    assert_eq!(take(r#"{"k":1,"v":3}"#), (true, 0));
    assert_eq!(take(r#"{"k":2,"v":"x"}"#), (true, 1));
    assert_eq!(take(r#"{"k":"x","v":"x"}"#), (false, 0), "the other column refuses the message");
    assert_eq!(take(r#"{"k":3}"#), (true, 0), "a missing value is no misfit");
    assert_eq!(take(r#"{"k":4,"v":9999999999}"#), (true, 1));
    let why = mapper.nulled(0).unwrap().why.clone();
    assert!(why.contains("column `c`") && why.contains("out of the column's range"), "{why}");
    let rows: Vec<_> = (0..batch.portions[0].ends.len()).map(|row| batch.portions[0].row(row).to_vec()).collect();
    let rows: Vec<String> = rows.into_iter().map(|row| String::from_utf8(row).unwrap()).collect();
    assert_eq!(rows, ["2: Int(1);Int(6);", "2: Int(2);Null;", "2: Int(3);Null;", "2: Int(4);Null;"]);
}

#[test]
fn a_not_null_column_cannot_make_misfits_null() {
    let column = adjusted(Adjustments { misfits_are_null: true, ..Adjustments::default() });
    let live = table(vec![Column { not_null: true, ..live("c", text()) }]);
    let faults = compile::<false>(vec![rule(&["#"], vec![column])], &[live]).err().unwrap();
    assert!(faults[0].message.contains("may not be null") && faults[0].mend.is_some(), "{faults:?}");
}
