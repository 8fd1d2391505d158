//! What `create` makes of rules.

use proptest::prelude::*;

use super::{Bench, LOCAL, assert_finding};
use crate::config::{Columns, Create, Format, Rule, new_table};
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

/// Rules with these keys, each on its line from line 3 on, all of one table `t` with columns a, b, c.
fn rules(keys: &[&str]) -> String {
    let columns = "columns: {a: topic, b: qos, c: received_at}";
    let rule = |keys: &&str| match keys.contains("columns:") {
        true => format!("- {{topic: x, table: t, {keys}}}\n"),
        false => format!("- {{topic: x, table: t, {keys}, {columns}}}\n"),
    };
    format!("{LOCAL}rules:\n{}", keys.iter().map(rule).collect::<String>())
}

/// A text whose only finding is at the mark.
fn assert_at_mark(text: &str, finding: &str) {
    let at = text.find('§').expect("a mark");
    let line = text[..at].matches('\n').count() + 1;
    let column = text[..at].chars().rev().take_while(|c| *c != '\n').count() + 1;
    assert_finding(&text.replace('§', ""), &format!("{line}:{column} {finding}"));
}

fn create(keys: &str) -> Option<Create> {
    Bench::new(&rules(&[keys])).config().rules[0].create.as_deref().cloned()
}

#[test]
fn create_is_true_or_says_a_primary_key_and_indexes() {
    assert_eq!(create("create: false"), None);
    for word in ["true", "yes", "{}", "{primary_key: [], indexes: []}", "{primary_key: null}"] {
        assert_eq!(create(&format!("create: {word}")), Some(Create::default()), "{word}");
    }
    let columns = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
    let whole = create("create: {primary_key: [a, b], indexes: [[b, c], [c]]}").unwrap();
    assert_eq!(whole.primary_key, columns(&["a", "b"]));
    assert_eq!(whole.indexes, [columns(&["b", "c"]), columns(&["c"])]);
    let short = Create { primary_key: columns(&["a"]), indexes: vec![columns(&["b"])] };
    for one in ["{primary_key: a, indexes: b}", "{primary_key: [a], indexes: [b]}", "{primary_key: a, indexes: [[b]]}"]
    {
        assert_eq!(create(&format!("create: {one}")).as_ref(), Some(&short), "{one}");
    }
}

#[test]
fn each_mistake_in_create_is_found_at_its_place() {
    for (keys, finding) in [
        ("create: §perhaps", "rules[0].create: found `perhaps`"),
        ("create: §[a]", "rules[0].create: found a list"),
        ("create: {§primary: a}", "rules[0].create.primary: this key is not known"),
        ("create: {primary_key: [a, §A]}", "rules[0].create.primary_key[1]: `A` is named twice"),
        (
            "create: {primary_key: [a, §d]}",
            "rules[0].create.primary_key[1]: found `d`, a column that the rule does not fill",
        ),
        ("create: {primary_key: §{a: b}}", "rules[0].create.primary_key: found a mapping"),
        ("create: {indexes: §[a, b]}", "rules[0].create.indexes: a list of names may be one index or several"),
        ("create: {indexes: [[a], §[]]}", "rules[0].create.indexes[1]: has no column"),
        (
            "create: {indexes: [[a, b], §[A, b]]}",
            "rules[0].create.indexes[1]: an index of these columns was named before",
        ),
        (
            "create: {indexes: [[a, §bb]]}",
            "rules[0].create.indexes[0][1]: found `bb`, a column that the rule does not fill",
        ),
        ("create: {indexes: [§'']}", "rules[0].create.indexes[0]: found ``, which no column is called"),
        ("create: {partition_by: §c}", "rules[0].create.partition_by: `partition_by` comes in a later version"),
        ("create: {every: §1d}", "rules[0].create.every: `every` comes in a later version"),
        ("create: {hypertable: §true}", "rules[0].create.hypertable: `hypertable` comes in a later version"),
        ("create: true, keep: §90d", "rules[0].keep: `keep` comes in a later version"),
        ("create: true, keep_by: §c", "rules[0].keep_by: `keep_by` comes in a later version"),
        (
            "create: {primary_key: §[a, b]}, mode: upsert, key: [a]",
            "rules[0].create.primary_key: `key` tells the rule's rows apart by (a)",
        ),
        (
            "columns: auto, create: {primary_key: §[a, b]}, mode: upsert, key: [a, c]",
            "rules[0].create.primary_key: `key` tells the rule's rows apart by (a, c)",
        ),
    ] {
        assert_at_mark(&rules(&[keys]), finding);
    }
    let many = |count: usize| (0..count).map(|at| format!("[c{at}]")).collect::<Vec<_>>().join(",");
    let too_many = format!("columns: auto, create: {{indexes: §[{}]}}", many(17));
    assert_at_mark(&rules(&[&too_many]), "rules[0].create.indexes: has 17 indexes");
    Bench::new(&rules(&[&format!("columns: auto, create: {{indexes: [{}]}}", many(16))])).config();
}

#[test]
fn a_key_may_be_left_to_create_and_equals_it_in_any_order() {
    for keys in [
        "mode: upsert, create: {primary_key: [a, b]}",
        "mode: ignore, key: [b, A], create: {primary_key: [a, b]}",
        "mode: upsert, key: [b], create: {indexes: [c]}",
        "columns: auto, mode: upsert, create: {primary_key: [whatever]}",
    ] {
        Bench::new(&rules(&[keys])).config();
    }
    assert_finding(&rules(&["mode: upsert, create: {indexes: [c]}"]), "3:3 rules[0].key: is missing");
}

#[test]
fn rules_that_make_one_table_must_agree_on_its_primary_key() {
    let with_key = "create: {primary_key: [a, b]}";
    for (second, finding) in [
        ("create: {primary_key: §[b, a]}", Some("rules[1].create.primary_key")),
        ("create: {primary_key: §a}", Some("rules[1].create.primary_key")),
        ("create: true, mode: upsert, key: §[c]", Some("rules[1].key")),
        ("create: true, mode: upsert, key: [b, a]", None),
        ("create: true", None),
        ("mode: upsert, key: [c]", None),
        ("create: true, columns: auto", None),
        ("table: other, create: {primary_key: c}", None),
    ] {
        let text = match second.strip_prefix("table: other, ") {
            Some(keys) => {
                rules(&[with_key, keys]).replace("t, create: {primary_key: c}", "u, create: {primary_key: c}")
            }
            None => rules(&[with_key, second]),
        };
        match finding {
            Some(place) => {
                let finding = format!("{place}: rule `rule-1` makes `t` with the primary key (a, b)");
                assert_at_mark(&text, &finding);
            }
            None => drop(Bench::new(&text).config()),
        }
    }
    // Whichever comes first.
    let lacking = "create: §true, columns: {a: topic, c: received_at}";
    let problem = "makes `t` with the primary key (a, b), and this rule does not fill `b`";
    assert_at_mark(&rules(&[with_key, lacking]), &format!("rules[1].create: rule `rule-1` {problem}"));
    assert_at_mark(&rules(&[lacking, with_key]), &format!("rules[0].create: rule `rule-2` {problem}"));
    let upserts = ["a", "§b"].map(|key| format!("create: true, mode: upsert, key: {key}"));
    let finding = "rules[1].key: rule `rule-1` makes `t` with the primary key (a)";
    assert_at_mark(&rules(&[&upserts[0], &upserts[1]]), finding);
}

#[test]
fn what_a_table_gets_is_that_of_all_rules_that_make_it() {
    let made = |keys: &[&str]| {
        let config = Bench::new(&rules(keys)).config();
        let rules: Vec<&Rule> = config.rules.iter().map(AsRef::as_ref).collect();
        new_table(&rules[0].table, &rules, Vec::new()).besides()
    };
    // An index may be of a column that another rule fills.
    let other = "create: {indexes: [[d, a], [b]]}, columns: {a: topic, b: qos, d: {value: 1}}";
    let first = "create: {indexes: [[b], [d]]}, mode: upsert, key: [b, a]";
    assert_eq!(made(&[first, other]), "the primary key (b, a) and indexes on (b), (d), (d, a)");
    let named = "create: {primary_key: [a, b]}";
    assert_eq!(made(&["create: true, mode: ignore, key: [b, a]", named]), "the primary key (a, b)");
    // A rule that makes nothing says nothing, unless no rule makes it.
    assert_eq!(made(&["mode: ignore, key: [c]", "create: true"]), "");
    assert_eq!(made(&["mode: ignore, key: [c]"]), "the primary key (c)");
    assert_at_mark(
        &rules(&["create: {indexes: [d]}", "create: {indexes: [§e]}, columns: {a: topic, d: {value: 1}}"]),
        "rules[1].create.indexes[0]: found `e`, a column that the rule does not fill",
    );
}

#[test]
fn a_table_that_messages_name_is_made_by_its_rule_alone() {
    let rule = |keys: &str| format!("- {{topic: '{{x}}', table: '{{topic.x}}_t', tables: '*', {keys}}}\n");
    let two = format!(
        "{LOCAL}rules:\n{}{}",
        rule("create: {primary_key: a}, columns: {a: topic}"),
        rule("create: {indexes: [§a]}, columns: {b: topic}")
    );
    assert_at_mark(&two, "rules[1].create.indexes[0]: found `a`, a column that the rule does not fill");
}
