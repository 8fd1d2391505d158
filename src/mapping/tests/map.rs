//! Messages through compiled rules.

use proptest::prelude::*;

use super::*;
use crate::message::{Fault, Property};

#[test]
fn every_source_gives_its_value() {
    let mut properties = Vec::new();
    for property in [
        Property::MessageExpiry(60),
        Property::ContentType(b"text/plain"),
        Property::ResponseTopic(b"reply"),
        Property::CorrelationData(b"\xff\x00"),
        Property::User(b"Unit", b"degC"),
    ] {
        property.encode(&mut properties);
    }
    let message = Message {
        properties: Properties::from_encoded(&properties),
        dup: true,
        ..message("s/plant/d1", br#"{"t":21.50,"n":{"s":"x"}}"#)
    };
    for (source, column_type, expected) in [
        ("topic", text(), r#"Text("s/plant/d1")"#),
        ("topic.site", text(), r#"Text("plant")"#),
        ("topic[0]", text(), r#"Text("s")"#),
        ("topic[-1]", text(), r#"Text("d1")"#),
        ("topic[3]", text(), "Null"),
        ("topic[-4]", text(), "Null"),
        ("payload", ColumnType::Jsonb, r#"Text("{\"t\":21.50,\"n\":{\"s\":\"x\"}}")"#),
        ("payload.t", ColumnType::Numeric(None), r#"Decimal("21.50")"#),
        ("payload.n.s", text(), r#"Text("x")"#),
        ("property.unit", text(), r#"Text("degC")"#),
        ("property.other", text(), "Null"),
        ("content_type", text(), r#"Text("text/plain")"#),
        ("response_topic", text(), r#"Text("reply")"#),
        ("correlation_data", ColumnType::Bytes, "Bytes([255, 0])"),
        ("message_expiry", ColumnType::Int4, "Int(60)"),
        ("qos", ColumnType::Int2, "Int(1)"),
        ("retain", ColumnType::Bool, "Bool(false)"),
        ("dup", ColumnType::Bool, "Bool(true)"),
        ("received_at", ColumnType::Timestamptz(SecondDigits::MICROS), "Timestamp(1500000)"),
        ("received_at", ColumnType::Int8, "Int(1500)"),
        ("received_at", text(), r#"Text("1970-01-01T00:00:01.500Z")"#),
        ("journal.seq", ColumnType::Int8, "Int(7)"),
        ("bridge", text(), r#"Text("gw1")"#),
        ("rule", text(), r#"Text("r")"#),
    ] {
        let rule = rule(&["s/{site}/+"], vec![from("c", source)]);
        let row = row_of(rule, &table(vec![live("c", column_type)]), &message);
        assert_eq!(row, Ok(format!("1: {expected};")), "{source}");
    }
}

#[test]
fn a_row_has_the_columns_in_the_tables_order() {
    let table = table(vec![live("a", ColumnType::Int4), live("x", text()), live("b", ColumnType::Int4)]);
    let rule = rule(&["#"], vec![from("b", "payload.b"), from("a", "payload.a")]);
    assert_eq!(row_of(rule, &table, &message("t", br#"{"a":1,"b":2}"#)).unwrap(), "2: Int(1);Int(2);");
}

#[test]
fn text_and_bytes_payloads_are_taken_whole() {
    let take = |format, column_type, payload: &[u8]| {
        let rule = Rule { format, ..rule(&["#"], vec![from("c", "payload")]) };
        row_of(rule, &table(vec![live("c", column_type)]), &message("t", payload))
    };
    assert_eq!(take(Format::Text, ColumnType::Float8, b"21.5\n").unwrap(), "1: Float(21.5);");
    assert_eq!(take(Format::Text, text(), b"").unwrap(), "1: Text(\"\");");
    assert_eq!(take(Format::Text, ColumnType::Jsonb, b"a\"b").unwrap(), r#"1: Text("\"a\\\"b\"");"#);
    assert_eq!(take(Format::Bytes, ColumnType::Bytes, b"\xff").unwrap(), "1: Bytes([255]);");
    assert_eq!(take(Format::Text, text(), b"\xff").unwrap_err().0, "parse");
    assert_eq!(take(Format::Json, ColumnType::Float8, b"21.5").unwrap(), "1: Float(21.5);");
}

#[test]
fn a_payload_that_no_column_reads_may_be_anything() {
    let rule = rule(&["#"], vec![from("c", "topic")]);
    assert_eq!(row_of(rule, &table(vec![live("c", text())]), &message("t", b"\xff{")).unwrap(), "1: Text(\"t\");");
}

#[test]
fn a_missing_value_is_null_the_default_or_a_fault() {
    let take = |column: config::Column, live: Column, payload: &str| {
        row_of(rule(&["#"], vec![column]), &table(vec![live]), &message("t", payload.as_bytes()))
    };
    let column = || from("c", "payload.c");
    let plain = || live("c", ColumnType::Int4);
    let not_null = || Column { not_null: true, ..plain() };
    let whole = |payload: &str| {
        let columns = vec![column(), from("other", "payload.other")];
        let table = table(vec![plain(), live("other", ColumnType::Int4)]);
        row_of(rule(&["#"], columns), &table, &message("t", payload.as_bytes()))
    };
    assert_eq!(whole(r#"{"other":1}"#).unwrap(), "2: Null;Int(1);");
    assert_eq!(whole(r#"{"c":null}"#).unwrap(), "2: Null;Null;", "a null that is there is a value");
    for payload in ["{}", r#"{"c":null}"#, r#"{"c":1,"c":null}"#] {
        let defaulted = config::Column { default: Some(5.into()), ..column() };
        assert_eq!(take(defaulted, not_null(), payload).unwrap(), "1: Int(5);");
        let required = take(config::Column { required: true, ..column() }, plain(), payload).unwrap_err();
        assert!(required.0 == "required" && required.1.contains("column `c` (int4)"), "{required:?}");
        assert_eq!(take(column(), not_null(), payload).unwrap_err().0, "required");
    }
}

#[test]
fn a_payload_with_none_of_the_rules_fields_is_refused_and_says_what_was_looked_for() {
    let columns = || vec![from("site", "topic[0]"), from("temp", "payload.temp"), from("hum", "payload.data.hum")];
    let table = table(vec![live("site", text()), live("temp", ColumnType::Float8), live("hum", ColumnType::Float8)]);
    let take = |payload: &str| row_of(rule(&["#"], columns()), &table, &message("t", payload.as_bytes()));
    for (payload, found) in [
        ("\"offline\"", "it is a string"),
        ("21.5", "it is a number"),
        ("null", "it is null"),
        ("{}", "it is an object without them"),
        ("[]", "it is an array"),
        (r#"[{"temp":1}]"#, "it is an array"),
        (r#"{"data":{}}"#, "it is an object without them"),
        (r#"{"Temp":21.5}"#, "it has payload.Temp, which differs in upper and lower case only"),
        (r#"{"data":{"HUM":40}}"#, "it has payload.data.HUM, which differs"),
    ] {
        let (reason, why) = take(payload).unwrap_err();
        assert_eq!(reason, "required", "{payload}");
        assert!(why.contains("(payload.temp, payload.data.hum)") && why.contains(found), "{payload}: {why}");
        assert!(!why.contains("offline") && why.contains("`default`"), "{why}");
    }
    assert_eq!(take(r#"{"temp":null}"#).unwrap(), "3: Text(\"t\");Null;Null;");
    assert_eq!(take(r#"{"data":{"hum":1}}"#).unwrap(), "3: Text(\"t\");Null;Float(1.0);");
}

#[test]
fn a_payload_without_the_fields_is_a_row_where_each_has_a_default_or_the_payload_is_stored_whole() {
    let table = table(vec![live("a", ColumnType::Int4), live("b", ColumnType::Int4), live("raw", ColumnType::Jsonb)]);
    let defaulted = |name: &str, default: serde_json::Value| config::Column {
        default: Some(default),
        ..from(name, &format!("payload.{name}"))
    };
    let take = |columns| row_of(rule(&["#"], columns), &table, &message("t", b"\"offline\""));
    let null = || serde_json::Value::Null;
    assert_eq!(take(vec![defaulted("a", 5.into()), defaulted("b", null())]).unwrap(), "2: Int(5);Null;");
    assert_eq!(take(vec![defaulted("a", 5.into()), from("b", "payload.b")]).unwrap_err().0, "required");
    let row = take(vec![from("a", "payload.a"), from("raw", "payload")]);
    assert_eq!(row.unwrap(), "2: Null;Text(\"\\\"offline\\\"\");");
    assert_eq!(take(vec![from("a", "qos")]).unwrap(), "1: Int(1);", "no field is asked for");
}

#[test]
fn a_column_that_needs_its_field_decides_what_becomes_of_a_payload_without_any() {
    let strict = config::Column { required: true, on_error: Some(OnError::Drop), ..from("b", "payload.b") };
    let table = table(vec![live("a", ColumnType::Int4), live("b", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![rule(&["#"], vec![from("a", "payload.a"), strict])], &[table]).unwrap();
    let (mut batch, mut outcomes) = (batch(), Vec::new());
    mapper.map(&message("t", b"{}"), &mut batch, &mut outcomes);
    let [(0, Outcome::Refused(fault))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((fault.reason, fault.column.as_deref(), fault.on_error), ("required", Some("b"), OnError::Drop));
    assert!(fault.message.contains("(payload.a, payload.b)"), "{fault:?}");
}

#[test]
fn columns_auto_takes_no_array_of_objects() {
    let take = |column_type, payload: &str| {
        let rule = Rule { columns: Columns::Auto, ..rule(&["#"], Vec::new()) };
        row_of(rule, &table(vec![live("v", column_type)]), &message("t", payload.as_bytes()))
    };
    let (reason, why) = take(text(), r#"[{"v":1}]"#).unwrap_err();
    assert!(reason == "required" && why.contains("array of objects"), "{reason}: {why}");
    assert_eq!(take(text(), r#"["x"]"#).unwrap(), "1: Text(\"x\");");
    assert_eq!(take(ColumnType::Jsonb, r#"[{"v":1}]"#).unwrap(), "1: Text(\"{\\\"v\\\":1}\");");
    assert_eq!(take(text(), "\"offline\"").unwrap_err().0, "required");
    assert_eq!(take(text(), "{}").unwrap_err().0, "required");
}

#[test]
fn a_byte_order_mark_is_followed_where_the_rule_names_no_charset() {
    let take = |format: Format, path: &str, payload: &[u8]| {
        let rule = Rule { format, ..rule(&["#"], vec![from("c", path)]) };
        row_of(rule, &table(vec![live("c", text())]), &message("t", payload)).unwrap()
    };
    let row = "1: Text(\"\u{e9}\");";
    assert_eq!(take(Format::Json, "payload.c", b"\xef\xbb\xbf{\"c\":\"\xc3\xa9\"}"), row);
    assert_eq!(take(Format::Json, "payload.c", b"\xff\xfe{\0\"\0c\0\"\0:\0\"\0\xe9\0\"\0}\0"), row);
    assert_eq!(take(Format::Text, "payload", b"\xef\xbb\xbf\xc3\xa9"), row);
    assert_eq!(take(Format::Text, "payload", b"\xfe\xff\0\xe9"), row);
    assert_eq!(take(Format::Bytes, "payload", b"\xef\xbb\xbf"), "1: Text(\"\\u{feff}\");");
}

#[test]
fn utf_32_a_nul_and_utf_16_without_a_mark_are_named_in_parse_faults() {
    let take = |format: Format, payload: &[u8]| {
        let rule = Rule {
            format: format.clone(),
            ..rule(&["#"], vec![from("c", if format == Format::Json { "payload.c" } else { "payload" })])
        };
        row_of(rule, &table(vec![live("c", text())]), &message("t", payload)).unwrap_err()
    };
    for (format, payload, words) in [
        (Format::Json, &b"{\"c\":1}\0"[..], "is not JSON: it ends in a NUL"),
        (Format::Json, b"\xff\xfe\0\0{\0\0\0}\0\0\0", "is not UTF-8 (byte 1): it is UTF-32"),
        (Format::Json, b"{\0\"\0c\0\"\0:\x001\0}\0", "is not JSON: it is UTF-16"),
        (Format::Text, b"\xfe\xff\0a\0", "is not UTF-16BE (byte 5)"),
    ] {
        let (reason, why) = take(format, payload);
        assert!(reason == "parse" && why.contains(words), "{payload:?}: {reason}: {why}");
    }
}

#[test]
fn literals_are_written_into_every_row() {
    let mut column = from("c", "qos");
    column.source = ColumnSource::Value("hq".into());
    assert_eq!(
        row_of(rule(&["#"], vec![column]), &table(vec![live("c", text())]), &message("t", b"")).unwrap(),
        "1: Text(\"hq\");"
    );
}

#[test]
fn a_columns_time_format_and_zone_are_used() {
    let mut column = from("c", "payload.c");
    column.time = Some(TimeFormat::parse("%d.%m.%Y %H:%M").unwrap());
    column.tz = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
    let row = row_of(
        rule(&["#"], vec![column]),
        &table(vec![live("c", ColumnType::Timestamptz(SecondDigits::MICROS))]),
        &message("t", br#"{"c":"01.01.1970 01:00"}"#),
    );
    assert_eq!(row.unwrap(), "1: Timestamp(0);");
}

#[test]
fn an_integer_column_declared_as_a_time_takes_written_times() {
    let take = |payload: &str| {
        let declared = Some(crate::rule::DeclaredType::Timestamptz);
        let column = config::Column { declared, ..from("c", "payload.c") };
        row_of(rule(&["#"], vec![column]), &table(vec![live("c", ColumnType::Int8)]), &message("t", payload.as_bytes()))
    };
    assert_eq!(take(r#"{"c":"1970-01-01T00:00:01.5Z"}"#).unwrap(), "1: Int(1500);");
    assert!(take(r#"{"c":1500}"#).unwrap_err().1.contains("`time: s`"));
}

#[test]
fn faults_carry_the_columns_policy_or_the_rules() {
    let mut lenient = from("a", "payload.a");
    lenient.on_error = Some(OnError::Drop);
    let rule = Rule { on_error: OnError::Halt, ..rule(&["#"], vec![lenient, from("b", "payload.b")]) };
    let table = table(vec![live("a", ColumnType::Int4), live("b", ColumnType::Int4)]);
    let mut mapper = compile::<false>(vec![rule], &[table]).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    for (payload, reason, column, on_error) in [
        (&br#"{"a":"x"}"#[..], "value", Some("a"), OnError::Drop),
        (br#"{"b":"x"}"#, "value", Some("b"), OnError::Halt),
        // The strictest of a row's faults holds.
        (br#"{"a":"x","b":"x"}"#, "value", Some("b"), OnError::Halt),
        (b"nonsense", "parse", None, OnError::Halt),
        (b"", "parse", None, OnError::Halt),
    ] {
        mapper.map(&message("t", payload), &mut batch, &mut outcomes);
        let [(0, Outcome::Refused(fault))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!((fault.reason, fault.column.as_deref(), fault.on_error), (reason, column, on_error));
    }
}

#[test]
fn retained_messages_are_passed_over_where_the_rule_says_so() {
    let skip = Rule { retained: Retained::Skip, ..rule(&["#"], vec![from("c", "topic")]) };
    let store = rule(&["#"], vec![from("c", "topic")]);
    let tables = vec![table(vec![live("c", text())]); 2];
    let mut mapper = compile::<false>(vec![skip, store], &tables).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(&Message { retain: true, ..message("t", b"") }, &mut batch, &mut outcomes);
    assert_eq!(outcomes, [(0, Outcome::Filtered), (1, Outcome::Written)]);
    assert_eq!(batch.units.len(), 1);
}

#[test]
fn a_message_that_is_only_fit_for_a_dead_letter_is_left_alone() {
    let mut mapper =
        compile::<false>(vec![rule(&["#"], vec![from("c", "topic")])], &[table(vec![live("c", text())])]).unwrap();
    let mut batch = batch();
    let mut outcomes = vec![(9, Outcome::Written)];
    mapper.map(&Message { fault: Some(Fault::TooLarge), ..message("t", b"") }, &mut batch, &mut outcomes);
    assert!(outcomes.is_empty() && batch.units.is_empty());
}

#[test]
fn auto_takes_fields_by_name_and_arrays_by_position() {
    let auto = || Rule { columns: Columns::Auto, ..rule(&["#"], vec![]) };
    let table = table(vec![
        Column { not_null: true, has_default: true, ..live("id", ColumnType::Int8) },
        live("Temp", ColumnType::Float8),
        live("site", text()),
    ]);
    let take = |payload: &str| row_of(auto(), &table, &message("t", payload.as_bytes()));
    assert_eq!(take(r#"{"site":"x","Temp":1,"id":5,"more":0}"#).unwrap(), "3: Int(5);Float(1.0);Text(\"x\");");
    assert_eq!(take(r#"{"TEMP":2,"Temp":1}"#).unwrap(), "2: Float(1.0);Null;");
    assert_eq!(take(r#"{"temp":2}"#).unwrap(), "2: Float(2.0);Null;");
    assert_eq!(take(r#"[7,3,"y",4]"#).unwrap(), "3: Int(7);Float(3.0);Text(\"y\");");
    assert_eq!(take("[7]").unwrap(), "3: Int(7);Null;Null;");
    assert_eq!(take(r#"{"Temp":null}"#).unwrap(), "2: Null;Null;");
    for payload in ["{}", r#"{"other":1}"#, "5", "[]"] {
        assert_eq!(take(payload).unwrap_err().0, "required", "{payload}");
    }
}

proptest! {
    #[test]
    fn a_refused_message_leaves_the_batch_as_it_was(
        payloads in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            "\\{\"a\":(1|\"x\"|null|\\[\\]),\"b\":(2|\"y\"|\\{\\})\\}".prop_map(String::into_bytes),
        ], 1..20),
    ) {
        let table = table(vec![live("a", text()), live("b", ColumnType::Int4)]);
        let mut mapper =
            compile::<false>(vec![rule(&["#"], vec![from("a", "payload.a"), from("b", "payload.b")])], &[table]).unwrap();
        let mut batch = batch();
        let mut outcomes = Vec::new();
        for payload in &payloads {
            let held = |batch: &Batch| {
                let rows = batch.portions.first().map(|rows| (rows.bytes.clone(), rows.ends.clone()));
                (rows.unwrap_or_default(), batch.runs.clone(), batch.units.clone())
            };
            let before = held(&batch);
            mapper.map(&message("t", payload), &mut batch, &mut outcomes);
            prop_assert_eq!(outcomes.len(), 1);
            if matches!(outcomes[0].1, Outcome::Refused(_)) {
                prop_assert_eq!(&before, &held(&batch));
            } else {
                prop_assert_eq!(batch.portions[0].ends.len(), before.0.1.len() + 1);
                prop_assert_eq!(*batch.portions[0].ends.last().unwrap(), batch.portions[0].bytes.len());
            }
        }
    }
}
