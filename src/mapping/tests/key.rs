//! Rules whose rows go by key, and values that the server casts.

use super::*;
use crate::batch::Verb;
use crate::schema::{Cast, Keys, Witness};

/// The rule fills `filled` from the payload and goes by `key`; the table has the columns id, at and v.
fn compiled(key: &[&str], filled: &[&str], keys: Keys, primary_key: &[&str]) -> Result<Verb, Vec<CompileFault>> {
    let columns = vec![
        live("id", ColumnType::Int8),
        Column { has_default: true, ..live("at", ColumnType::Int8) },
        live("v", ColumnType::Int8),
    ];
    let schema = TableSchema {
        keys,
        primary_key: primary_key.iter().map(|name| (*name).to_owned()).collect(),
        witness: Witness::SchemaVersion(1),
        ..TableSchema::clone(&table(columns))
    };
    let filled = filled.iter().map(|name| from(name, &format!("payload.{name}"))).collect();
    let mode = Mode::Upsert { key: key.iter().map(|name| Arc::from(*name)).collect() };
    let mut mapper = compile::<false>(vec![Rule { mode, ..rule(&["a"], filled) }], &[Arc::new(schema)])?;
    let (mut batch, mut outcomes) = (batch(), Vec::new());
    mapper.map(&message("a", br#"{"id":1,"at":2,"v":3}"#), &mut batch, &mut outcomes);
    Ok(batch.portions[0].target.verb.clone())
}

#[test]
fn rows_by_key_need_a_key_that_the_table_has_and_the_rule_fills() {
    let known = || Keys::Known(vec![[1, 0].into()]);
    let fault = |key: &[&str], filled: &[&str], keys: Keys, primary_key: &[&str]| {
        let mut faults = compiled(key, filled, keys, primary_key).expect_err("it does not fit");
        assert_eq!(faults.len(), 1, "{faults:?}");
        let fault = faults.remove(0);
        (fault.message, fault.mend)
    };
    let (message, mend) = fault(&["id"], &["id", "v"], known(), &[]);
    assert!(message.contains("no unique index on exactly (id)"), "{message}");
    assert_eq!(mend.unwrap(), r#"CREATE UNIQUE INDEX "t_id_key" ON "public"."t" ("id")"#);
    assert!(fault(&[], &["id"], known(), &[]).0.contains("the table has no primary key"));
    assert!(fault(&[], &["id"], Keys::Hidden, &[]).0.contains("does not tell its key"));
    assert!(fault(&[], &["id", "v"], known(), &["at", "id"]).0.contains("column `at` is part of the key"));
    assert!(fault(&["id"], &["id"], Keys::Never("is a view"), &[]).0.contains("the table is a view"));

    assert_eq!(compiled(&["id", "at"], &["id", "at", "v"], known(), &[]).unwrap(), Verb::Upsert([1, 0].into()));
    assert_eq!(compiled(&[], &["id", "at"], known(), &["at", "id"]).unwrap(), Verb::Upsert([1, 0].into()));
    assert_eq!(compiled(&["v"], &["v"], Keys::Hidden, &[]).unwrap(), Verb::Upsert([2].into()));
}

#[test]
fn a_message_without_a_part_of_the_key_is_refused_also_where_the_column_takes_null() {
    let schema = table(vec![Column { has_default: true, ..live("id", ColumnType::Int8) }, live("v", ColumnType::Int8)]);
    let by_key = |id: config::Column| Rule {
        mode: Mode::Ignore { key: ["id".into()].into() },
        ..rule(&["a"], vec![id, from("v", "payload.v")])
    };
    let null_by_default = || config::Column { default: Some(serde_json::Value::Null), ..from("id", "payload.id") };
    for payload in [r#"{"v":1}"#, r#"{"v":1,"id":null}"#] {
        for column in [from("id", "payload.id"), null_by_default()] {
            let (reason, why) = row_of(by_key(column), &schema, &message("a", payload.as_bytes())).unwrap_err();
            assert!(reason == "required" && why.contains("part of the rule's key"), "{why}");
        }
        let filled = config::Column { default: Some(5.into()), ..from("id", "payload.id") };
        let row = row_of(by_key(filled), &schema, &message("a", payload.as_bytes())).unwrap();
        assert_eq!(row, "2: Int(5);Int(1);");
    }
}

#[test]
fn what_the_server_casts_goes_as_the_text_it_is() {
    let cell = |payload: &str, delimiter| {
        let cast = Cast { sql_type: "x".to_owned(), delimiter };
        let schema = table(vec![live("v", ColumnType::Cast(Arc::new(cast)))]);
        row_of(rule(&["a"], vec![from("v", "payload.v")]), &schema, &message("a", payload.as_bytes()))
    };
    let text = |payload: &str, delimiter, expected: &str| {
        assert_eq!(cell(payload, delimiter).unwrap(), format!("1: Text({expected:?});"), "{payload}");
    };
    text(r#"{"v":"08:00:2b:01:02:03"}"#, None, "08:00:2b:01:02:03");
    text(r#"{"v":1.50}"#, None, "1.50");
    text(r#"{"v":{"type":"Point","coordinates":[1,2]}}"#, None, r#"{"type":"Point","coordinates":[1,2]}"#);
    text(r#"{"v":[1,2,3]}"#, None, "[1,2,3]");
    text(r#"{"v":["a\"b","c\\d",null,1,[]]}"#, Some(','), r#"{"a\"b","c\\d",NULL,"1",{}}"#);
    text(r#"{"v":["(1,2)","(3,4)"]}"#, Some(';'), r#"{"(1,2)";"(3,4)"}"#);
    text(r#"{"v":"{a,b}"}"#, Some(','), "{a,b}");
    assert_eq!(cell(r#"{"v":"a\u0000b"}"#, None).unwrap_err().0, "value");
    let deep = format!(r#"{{"v":{}1{}}}"#, "[".repeat(7), "]".repeat(7));
    assert!(cell(&deep, Some(',')).unwrap_err().1.contains("more dimensions"));
}
