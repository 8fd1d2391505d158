//! Columns that are left to the database's default.

use proptest::prelude::*;

use super::*;
use crate::message::Property;

fn with_default(name: &str, column_type: ColumnType) -> Column {
    Column { has_default: true, ..live(name, column_type) }
}

fn not_null_with_default(name: &str, column_type: ColumnType) -> Column {
    Column { not_null: true, ..with_default(name, column_type) }
}

fn auto() -> Rule {
    Rule { columns: Columns::Auto, ..rule(&["#"], vec![]) }
}

/// Each unit's columns and row, in the order of the messages.
fn shown(batch: &Batch) -> Vec<(Vec<usize>, String)> {
    let of_unit = |unit: usize| {
        let (portion, _) = first_row(batch, unit);
        (batch.portions[portion].target.columns.to_vec(), row_text(batch, unit))
    };
    (0..batch.units.len()).map(of_unit).collect()
}

/// The columns and row of one payload, or the fault's reason and message.
fn taken(rule: Rule, table: &Arc<TableSchema>, payload: &str) -> Result<(Vec<usize>, String), (String, String)> {
    let mut mapper = compile::<false>(vec![rule], std::slice::from_ref(table)).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(&message("t", payload.as_bytes()), &mut batch, &mut outcomes);
    match outcomes.pop() {
        Some((0, Outcome::Refused(fault))) => Err((fault.reason.to_owned(), fault.message)),
        _ => Ok(shown(&batch).remove(0)),
    }
}

#[test]
fn auto_stores_fields_whose_columns_have_a_default_and_leaves_missing_ones_to_it() {
    let table = table(vec![
        not_null_with_default("id", ColumnType::Int8),
        with_default("ts", ColumnType::Timestamptz(SecondDigits::MICROS)),
        not_null_with_default("b", text()),
        live("v", ColumnType::Int4),
    ]);
    let take = |payload: &str| taken(auto(), &table, payload).unwrap();
    let full = "4: Int(9);Timestamp(0);Text(\"x\");Int(1);".to_owned();
    assert_eq!(take(r#"{"id":9,"ts":"1970-01-01T00:00:00Z","b":"x","v":1}"#), (vec![0, 1, 2, 3], full));
    assert_eq!(take(r#"{"v":1}"#), (vec![3], "1: Int(1);".to_owned()));
    assert_eq!(take(r#"{"B":"x"}"#), (vec![2, 3], "2: Text(\"x\");Null;".to_owned()));
}

#[test]
fn a_missing_value_takes_the_databases_default_and_null_stays_null() {
    let take = |column: config::Column, live_column: Column, payload: &str| {
        let columns = vec![column, from("x", "payload.x"), from("t", "topic")];
        let table = table(vec![live_column, live("x", ColumnType::Int4), live("t", text())]);
        taken(rule(&["#"], columns), &table, &payload.replacen('{', r#"{"x":7,"#, 1).replace(",}", "}"))
    };
    let column = || from("c", "payload.a.c");
    let nullable = || with_default("c", ColumnType::Int4);
    let not_null = || not_null_with_default("c", ColumnType::Int4);
    let without = (vec![1, 2], "2: Int(7);Text(\"t\");".to_owned());
    for payload in ["{}", r#"{"a":{}}"#, r#"{"a":null}"#, r#"{"a":5}"#] {
        assert_eq!(take(column(), nullable(), payload).unwrap(), without, "{payload}");
        assert_eq!(take(column(), not_null(), payload).unwrap(), without, "{payload}");
    }
    let null = r#"{"a":{"c":null}}"#;
    assert_eq!(take(column(), nullable(), null).unwrap(), (vec![0, 1, 2], "3: Null;Int(7);Text(\"t\");".to_owned()));
    let (reason, message) = take(column(), not_null(), null).unwrap_err();
    assert!(reason == "required" && message.contains("the message has null for it"), "{message}");
    // What the rule says goes first.
    for payload in ["{}", null] {
        let defaulted = config::Column { default: Some(5.into()), ..column() };
        assert_eq!(take(defaulted, not_null(), payload).unwrap().1, "3: Int(5);Int(7);Text(\"t\");");
        let nulled = config::Column { default: Some(serde_json::Value::Null), ..column() };
        assert_eq!(take(nulled, nullable(), payload).unwrap().1, "3: Null;Int(7);Text(\"t\");");
        let required = config::Column { required: true, ..column() };
        assert_eq!(take(required, nullable(), payload).unwrap_err().0, "required");
    }
    assert_eq!(take(column(), Column { has_default: false, ..not_null() }, "{}").unwrap_err().0, "required");
}

#[test]
fn any_source_that_has_nothing_leaves_its_column_to_the_database() {
    let rule = || rule(&["#"], vec![from("unit", "property.unit"), from("level", "topic[3]"), from("t", "topic")]);
    let table = table(vec![with_default("unit", text()), with_default("level", text()), live("t", text())]);
    let mut mapper = compile::<false>(vec![rule()], &[table]).unwrap();
    let mut batch = batch();
    let mut properties = Vec::new();
    Property::User(b"unit", b"degC").encode(&mut properties);
    mapper.map(&message("a/b", b""), &mut batch, &mut Vec::new());
    let with_unit = Message { properties: Properties::from_encoded(&properties), ..message("a/b/c/d", b"") };
    mapper.map(&with_unit, &mut batch, &mut Vec::new());
    let columns: Vec<Vec<usize>> = shown(&batch).into_iter().map(|(columns, _)| columns).collect();
    assert_eq!(columns, [vec![2], vec![0, 1, 2]]);
}

#[test]
fn a_message_without_a_value_for_any_column_is_refused() {
    let table = table(vec![with_default("a", ColumnType::Int4), with_default("b", ColumnType::Int4)]);
    let named = rule(&["#"], vec![from("a", "property.a"), from("b", "content_type")]);
    let (reason, message) = taken(named, &table, "{}").unwrap_err();
    assert!(reason == "required" && message.contains("no value for any column"), "{message}");
    let fields = rule(&["#"], vec![from("a", "payload.a"), from("b", "payload.b")]);
    assert_eq!(taken(fields, &table, "{}").unwrap_err().0, "required");
    assert_eq!(taken(auto(), &table, r#"{"c":1}"#).unwrap_err().0, "required");
}

#[test]
fn shapes_are_added_as_they_occur_and_shared() {
    let table = table(vec![with_default("a", ColumnType::Int4), live("b", ColumnType::Int4)]);
    let only_b = rule(&["u"], vec![from("b", "payload.b")]);
    let mut mapper = compile::<false>(
        vec![rule(&["#"], vec![from("a", "payload.a"), from("b", "payload.b")]), auto(), only_b],
        &vec![table; 3],
    )
    .unwrap();
    assert_eq!(mapper.columns_of_targets().len(), 2);
    let mut batch = batch();
    let mut outcomes = Vec::new();
    for payload in [r#"{"a":1,"b":1}"#, r#"{"b":2}"#, r#"{"a":3,"b":3}"#, r#"{"b":4}"#] {
        mapper.map(&message("u", payload.as_bytes()), &mut batch, &mut outcomes);
    }
    assert_eq!(batch.portions.len(), 2, "what lacks `a` fills what the third rule fills");
    let units: Vec<_> = (0..6).map(|unit| (batch.units[unit].rule, first_row(&batch, unit))).collect();
    assert_eq!(units, [(0, (0, 0)), (1, (0, 1)), (2, (1, 0)), (0, (1, 1)), (1, (1, 2)), (2, (1, 3))]);
}

#[test]
fn a_refused_message_leaves_no_row_in_a_new_shape() {
    let table = table(vec![with_default("a", ColumnType::Int4), live("b", ColumnType::Int4), live("c", text())]);
    let mut mapper = compile::<false>(vec![auto()], &[table]).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(&message("t", br#"{"c":"x","b":"many"}"#), &mut batch, &mut outcomes);
    assert!(matches!(outcomes[0].1, Outcome::Refused(_)));
    assert!(batch.units.is_empty() && batch.portions.iter().all(|rows| rows.ends.is_empty() && rows.bytes.is_empty()));
}

/// Twelve optional columns: 4,096 combinations.
#[test]
fn however_many_combinations_occur_none_is_refused_and_a_batch_has_few() {
    let columns = (0..12).map(|index| not_null_with_default(&format!("c{index}"), ColumnType::Int4)).collect();
    let mut mapper = compile::<false>(vec![auto()], &[table(columns)]).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    let mut batches = 0;
    for set in 1_usize..4096 {
        if mapper.is_crowded() {
            batches += 1;
            assert!(batch.portions.len() <= 65, "{}", batch.portions.len());
            batch.clear(Seq(1));
            mapper.begin_batch(&batch);
            assert!(!mapper.is_crowded());
        }
        let present: Vec<usize> = (0..12).filter(|index| set & (1 << index) != 0).collect();
        let fields: Vec<String> = present.iter().map(|index| format!("\"c{index}\":{index}")).collect();
        mapper.map(&message("t", format!("{{{}}}", fields.join(",")).as_bytes()), &mut batch, &mut outcomes);
        assert_eq!(outcomes, [(0, Outcome::Written)]);
        let cells: String = present.iter().map(|index| format!("Int({index});")).collect();
        assert_eq!(shown(&batch).pop().unwrap(), (present.clone(), format!("{}: {cells}", present.len())));
    }
    assert!(batches > 60, "{batches}");
}

proptest! {
    /// Present, null or missing, in any mixture: every row has exactly its own columns.
    #[test]
    fn every_row_has_the_columns_it_has_values_for(messages in prop::collection::vec([0..3u8, 0..3, 0..3, 0..3], 1..40)) {
        let columns = (0..4).map(|index| with_default(&format!("c{index}"), ColumnType::Int4));
        let table = table(columns.chain([live("plain", ColumnType::Int4)]).collect());
        let mut mapper = compile::<false>(vec![auto()], &[table]).unwrap();
        let mut batch = batch();
        let mut outcomes = Vec::new();
        let mut expected = Vec::new();
        for states in &messages {
            let mut fields = vec!["\"plain\":7".to_owned()];
            let (mut filled, mut cells) = (Vec::new(), String::new());
            for (index, state) in states.iter().enumerate().filter(|(_, state)| **state > 0) {
                fields.push(format!("\"c{index}\":{}", if *state == 1 { "null" } else { "1" }));
                filled.push(index);
                cells += if *state == 1 { "Null;" } else { "Int(1);" };
            }
            filled.push(4);
            let row = format!("{}: {cells}Int(7);", filled.len());
            expected.push((filled, row));
            mapper.map(&message("t", format!("{{{}}}", fields.join(",")).as_bytes()), &mut batch, &mut outcomes);
        }
        prop_assert_eq!(shown(&batch), expected);
        prop_assert_eq!(batch.row_count(), messages.len());
    }
}
