//! What a rule and its live table have to agree on.

use super::*;

fn faults<const SQLITE: bool>(rule: Rule, columns: Vec<Column>) -> Vec<CompileFault> {
    compile::<SQLITE>(vec![rule], &[table(columns)]).err().unwrap_or_default()
}

fn only_fault(rule: Rule, columns: Vec<Column>) -> CompileFault {
    let mut all = faults::<false>(rule, columns);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_missing_column_comes_with_the_sql_that_adds_it() {
    let fault = only_fault(rule(&["a"], vec![from("tmp", "qos")]), vec![live("temp", ColumnType::Int4)]);
    assert_eq!((&*fault.rule, fault.table.as_str()), ("r", "public.t"));
    assert!(fault.message.contains("no column `tmp`") && fault.message.contains("did you mean `temp`?"));
    assert_eq!(fault.mend.as_deref(), Some(r#"ALTER TABLE "public"."t" ADD COLUMN "tmp" integer"#));

    let unknown = only_fault(rule(&["a"], vec![from("x", "payload.x")]), vec![live("temp", ColumnType::Int4)]);
    let mend = unknown.mend.expect("a part of the payload has no known type, but it fits text");
    assert!(mend.starts_with(r#"ALTER TABLE "public"."t" ADD COLUMN "x" text"#), "{mend}");
    let mut declared = from("x", "payload.x");
    declared.declared = Some(crate::rule::DeclaredType::Decimal(Some((8, 2))));
    let mended = only_fault(rule(&["a"], vec![declared]), vec![live("temp", ColumnType::Int4)]);
    assert_eq!(mended.mend.as_deref(), Some(r#"ALTER TABLE "public"."t" ADD COLUMN "x" numeric(8,2)"#));
}

#[test]
fn all_faults_are_reported_together() {
    let columns = vec![
        Column { generated: true, has_default: true, ..live("made", ColumnType::Int4) },
        live("shape", ColumnType::Unsupported("point".to_owned())),
        Column { not_null: true, ..live("site", text()) },
        live("temp", ColumnType::Float8),
    ];
    let sources =
        [("made", "qos"), ("shape", "qos"), ("ghost", "qos"), ("temp", "topic.nowhere"), ("temp", "payload.t")];
    let faults = faults::<false>(rule(&["a/{b}"], sources.map(|(name, source)| from(name, source)).into()), columns);
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    for expected in ["generated", "point", "no column `ghost`", "captures: b", "`site` may not be null"] {
        assert!(messages.iter().any(|message| message.contains(expected)), "{expected}: {messages:?}");
    }
}

#[test]
fn a_column_filled_twice_is_refused() {
    let both = vec![from("temp", "qos"), from("temp", "payload.t")];
    assert!(only_fault(rule(&["a"], both), vec![live("temp", ColumnType::Int4)]).message.contains("twice"));
}

#[test]
fn names_fold_case_for_sqlite_only() {
    let rule = || rule(&["a"], vec![from("TEMP", "qos")]);
    assert!(faults::<true>(rule(), vec![live("temp", ColumnType::Int4)]).is_empty());
    assert!(faults::<false>(rule(), vec![live("temp", ColumnType::Int4)])[0].message.contains("no column `TEMP`"));
}

#[test]
fn literals_and_defaults_must_fit_when_the_rule_is_compiled() {
    let mut value = from("temp", "qos");
    value.source = ColumnSource::Value("warm".into());
    let fault = only_fault(rule(&["a"], vec![value]), vec![live("temp", ColumnType::Int4)]);
    assert!(fault.message.contains("the value of column `temp`") && fault.message.contains("not a number"));

    let mut defaulted = from("temp", "payload.t");
    defaulted.default = Some(40_000.into());
    let fault = only_fault(rule(&["a"], vec![defaulted]), vec![live("temp", ColumnType::Int2)]);
    assert!(fault.message.contains("the default of column `temp`"), "{}", fault.message);

    let mut null = from("temp", "qos");
    null.source = ColumnSource::Value(serde_json::Value::Null);
    let not_null = Column { not_null: true, ..live("temp", ColumnType::Int4) };
    assert!(only_fault(rule(&["a"], vec![null]), vec![not_null]).message.contains("null"));
}

#[test]
fn text_and_bytes_have_no_parts_and_no_auto() {
    for format in [Format::Text, Format::Bytes] {
        let parts = Rule { format: format.clone(), ..rule(&["a"], vec![from("temp", "payload.t")]) };
        assert!(only_fault(parts, vec![live("temp", text())]).message.contains("no parts"));
        let auto = Rule { format, columns: Columns::Auto, ..rule(&["a"], vec![]) };
        assert!(only_fault(auto, vec![live("temp", text())]).message.contains("auto"));
    }
}

#[test]
fn rules_that_fill_the_same_columns_share_a_target() {
    let table = table(vec![live("a", ColumnType::Int4), live("b", ColumnType::Int4)]);
    let rules = vec![
        rule(&["x"], vec![from("a", "qos"), from("b", "payload.b")]),
        rule(&["y"], vec![from("b", "qos"), from("a", "payload.b")]),
        rule(&["z"], vec![from("a", "qos")]),
    ];
    let tables = vec![Arc::clone(&table); 3];
    assert_eq!(compile::<false>(rules, &tables).unwrap().columns_of_targets(), [vec![0, 1], vec![0]]);
}

#[test]
fn auto_takes_every_column_that_is_not_generated() {
    let columns = vec![
        Column { not_null: true, has_default: true, ..live("id", ColumnType::Int8) },
        Column { generated: true, has_default: true, ..live("made", ColumnType::Int4) },
        live("temp", ColumnType::Float8),
    ];
    let auto = || Rule { columns: Columns::Auto, ..rule(&["a"], vec![]) };
    let mapper = compile::<false>(vec![auto()], &[table(columns.clone())]).unwrap();
    assert_eq!(mapper.columns_of_targets(), [[0, 2]]);
    assert!(only_fault(auto(), vec![columns[1].clone()]).message.contains("no column that `columns: auto` could fill"));
}

/// Passed over, it would move the elements of an array to the columns before theirs.
#[test]
fn a_column_of_a_type_that_nothing_fits_is_a_fault_of_auto_as_of_a_named_column() {
    let odd = |name| Column { not_null: true, ..live(name, ColumnType::Unsupported("macaddr".to_owned())) };
    let columns = vec![live("n", ColumnType::Int4), odd("m"), live("v", text())];
    let auto = only_fault(Rule { columns: Columns::Auto, ..rule(&["a"], vec![]) }, columns.clone());
    assert!(
        auto.message.contains("column `m`") && auto.message.contains("name the rule's columns"),
        "{}",
        auto.message
    );
    let named = only_fault(rule(&["a"], vec![from("n", "qos"), from("m", "payload.m")]), columns);
    assert!(named.message.contains("column `m`") && named.message.contains("leave it out"), "{}", named.message);
    let generated = Column { generated: true, ..odd("m") };
    let auto = Rule { columns: Columns::Auto, ..rule(&["a"], vec![]) };
    assert!(compile::<false>(vec![auto], &[table(vec![live("n", ColumnType::Int4), generated])]).is_ok());
}

#[test]
fn a_column_whose_name_differs_in_case_is_named_before_another_one_is_offered() {
    let columns = || vec![live("temp", ColumnType::Int4)];
    let fault = only_fault(rule(&["a"], vec![from("Temp", "qos")]), columns());
    assert!(fault.message.contains("`Temp`, but `temp`"), "{}", fault.message);
    assert!(!fault.mend.unwrap().contains("ALTER TABLE"));
    let fault = only_fault(rule(&["a"], vec![from("tmep", "qos")]), columns());
    assert!(fault.mend.unwrap().contains("ALTER TABLE"));
}
