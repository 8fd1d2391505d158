//! What `create: true` makes of columns.

use proptest::prelude::*;

use super::{Bench, LOCAL, assert_finding};
use crate::config::{Columns, Format};
use crate::rule::DeclaredType;

#[test]
fn the_type_of_a_column_follows_from_its_source() {
    for (column, format, expected) in [
        ("topic", "json", DeclaredType::Text),
        ("topic.x", "json", DeclaredType::Text),
        ("'topic[0]'", "json", DeclaredType::Text),
        ("payload", "json", DeclaredType::Json),
        ("payload", "text", DeclaredType::Text),
        ("payload", "bytes", DeclaredType::Bytes),
        ("property.unit", "json", DeclaredType::Text),
        ("content_type", "json", DeclaredType::Text),
        ("correlation_data", "json", DeclaredType::Bytes),
        ("message_expiry", "json", DeclaredType::Bigint),
        ("qos", "json", DeclaredType::Int),
        ("retain", "json", DeclaredType::Bool),
        ("dup", "json", DeclaredType::Bool),
        ("received_at", "json", DeclaredType::Timestamptz),
        ("journal.seq", "json", DeclaredType::Bigint),
        ("bridge", "json", DeclaredType::Text),
        ("rule", "json", DeclaredType::Text),
        ("{from: payload.x, type: 'decimal(10,2)'}", "json", DeclaredType::Decimal(Some((10, 2)))),
        ("{from: payload.x, time: ms}", "json", DeclaredType::Timestamptz),
        ("{from: payload.x, time: ms, type: date}", "json", DeclaredType::Date),
        ("{value: 1}", "json", DeclaredType::Bigint),
        ("{value: 18446744073709551615}", "json", DeclaredType::Decimal(None)),
        ("{value: 1.5}", "json", DeclaredType::Double),
        ("{value: '1'}", "json", DeclaredType::Text),
        ("{value: true}", "json", DeclaredType::Bool),
        ("{value: [1]}", "json", DeclaredType::Json),
    ] {
        let config = Bench::new(&format!(
            "{LOCAL}rules: [{{topic: 'a/{{x}}', table: t, create: true, format: {format}, columns: {{c: {column}}}}}]\n"
        ))
        .config();
        let Columns::Named(columns) = &config.rules[0].columns else { panic!("named columns") };
        assert_eq!(
            columns[0].create_type(&config.rules[0].format, &config.rules[0].shaping),
            Some(expected),
            "{column}"
        );
        assert_eq!(config.rules[0].format == Format::Json, format == "json");
    }
}

#[test]
fn rules_that_create_one_table_must_agree_on_its_columns() {
    let rule = |column: &str| format!("{{topic: a, table: t, create: true, columns: {{c: {column}}}}}");
    let text = format!("{LOCAL}rules:\n- {}\n- {}\n- {}\n", rule("qos"), rule("qos"), rule("topic"));
    let finding = "5:51 rules[2].columns.c: another rule creates this column of `t` as int, this one as text";
    assert_finding(&text, finding);
}

#[test]
fn types_are_read_as_the_contract_writes_them() {
    for name in DeclaredType::NAMES {
        assert!(DeclaredType::parse(name).is_some(), "{name}");
        let array = DeclaredType::parse(&format!("{name}[]"));
        assert!(matches!(array, Some(DeclaredType::Array(_))), "{name}[]");
    }
    assert_eq!(DeclaredType::parse("decimal(10, 2)"), Some(DeclaredType::Decimal(Some((10, 2)))));
    assert_eq!(DeclaredType::parse("decimal(10)"), Some(DeclaredType::Decimal(Some((10, 0)))));
    for text in
        ["", "[]", "text[][]", "integer", "decimal()", "decimal(0)", "decimal(2,3)", "decimal(1001,0)", "decimal(5,-1)"]
    {
        assert_eq!(DeclaredType::parse(text), None, "{text}");
    }
    for (text, meant) in [("INTEGER", "int"), ("varchar(20)", "text"), ("float8[]", "double[]"), ("bytea", "bytes")] {
        assert_eq!(DeclaredType::meant_by(text).as_deref(), Some(meant));
        assert!(DeclaredType::parse(meant).is_some());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_type_reader_panic(text in "(decimal)?[(]?[-0-9,. ]{0,12}[)]?(\\[\\])*\\PC{0,4}") {
        let _ = DeclaredType::parse(&text);
        let _ = DeclaredType::meant_by(&text);
    }
}

/// What a rule decodes first is no longer what its format alone gives.
#[test]
fn the_type_of_what_a_rule_decodes_is_that_of_what_comes_out() {
    for (rule, column, expected) in [
        ("format: base64", "payload", DeclaredType::Bytes),
        ("format: base64, decode: {payload: json}", "payload", DeclaredType::Json),
        ("format: hex, decode: {payload: json}, transform: .x", "payload", DeclaredType::Json),
        ("format: text, transform: ascii_downcase", "payload", DeclaredType::Json),
        ("format: json, decode: {payload.d: base64}", "payload.d", DeclaredType::Bytes),
        ("format: json, decode: {payload.d: [base64, json]}", "payload.d", DeclaredType::Json),
    ] {
        let config = Bench::new(&format!(
            "{LOCAL}rules: [{{topic: a, table: t, create: true, {rule}, columns: {{c: {column}}}}}]\n"
        ))
        .config();
        let (Columns::Named(columns), rule) = (&config.rules[0].columns, &config.rules[0]) else { panic!("{rule}") };
        assert_eq!(columns[0].create_type(&rule.format, &rule.shaping), Some(expected), "{column}");
    }
}
