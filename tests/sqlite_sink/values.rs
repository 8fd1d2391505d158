//! What a column holds after a cell went in.

use rowbridge::rule::TableName;
use rowbridge::schema::{Cell, ColumnType};
use rowbridge::sink::{Class, Sink};
use rusqlite::types::Value;

use super::{SqliteFile, with_table};
use crate::sink_contract::{BatchBuilder, TestDatabase, connected, fails_as, schema_of, units};

/// Writes one row into `t` and gives it back as stored.
async fn stored(sql: &str, cells: &[Cell<'_>]) -> Vec<Value> {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, sql).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    builder.unit(table, &[cells]);
    sink.write(&builder.batch).await.unwrap();
    database.row("t")
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[tokio::test]
async fn values_are_stored_as_their_columns_say() {
    let sql = "CREATE TABLE t (b BOOLEAN, i BIGINT, f DOUBLE, x TEXT, j JSON, y BLOB, u UUID, d DATE, tod TIME,
               at TIMESTAMP, ms INTEGER, ip INET, q DECIMAL_TEXT(38,9), v INTERVAL)";
    let decimal = "12345678901234567890123456789.123456789";
    let cells = [
        Cell::Bool(true),
        Cell::Int(i64::MAX),
        Cell::Float(0.1),
        Cell::Text("grüße\0"),
        Cell::Text("[1,2]"),
        Cell::Bytes(b"\x00\xff"),
        Cell::Uuid([0x12; 16]),
        Cell::Date(20_778),
        Cell::Time(30_360_000_001),
        Cell::Timestamp(1_795_249_560_123_999),
        Cell::Int(1_795_249_560_123),
        Cell::Text("::1"),
        Cell::Decimal(decimal),
        Cell::Interval { months: 1, days: 0, micros: 1 },
    ];
    let expected = [
        Value::Integer(1),
        Value::Integer(i64::MAX),
        Value::Real(0.1),
        text("grüße\0"),
        text("[1,2]"),
        Value::Blob(b"\x00\xff".to_vec()),
        text("12121212-1212-1212-1212-121212121212"),
        text("2026-11-21"),
        text("08:26:00.000001"),
        text("2026-11-21T08:26:00.123Z"),
        Value::Integer(1_795_249_560_123),
        text("::1"),
        text(decimal),
        text("P1MT0.000001S"),
    ];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn affinities_change_no_value() {
    let sql = "CREATE TABLE t (x TEXT, a, j JSON, n NUMERIC, big NUMERIC, u UUID, v VARCHAR(2))";
    let cells = [
        Cell::Text("007"),
        Cell::Text("007"),
        Cell::Text("21.50"),
        Cell::Decimal("0.1"),
        Cell::Decimal("9007199254740993"),
        // All digits and an exponent, were it not for the hyphens.
        Cell::Uuid(*b"\x12\x34\x56\x78\x12\x34\x12\x34\x12\x34\x12\x34\x56\x78\x12\x34"),
        Cell::Text("longer than two"),
    ];
    let expected = [
        text("007"),
        text("007"),
        Value::Real(21.5),
        Value::Real(0.1),
        Value::Integer(9_007_199_254_740_993),
        text("12345678-1234-1234-1234-123456781234"),
        text("longer than two"),
    ];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn a_strict_table_takes_its_own_types() {
    let sql = "CREATE TABLE t (i INT, r REAL, x TEXT, b BLOB, a ANY) STRICT";
    let cells = [Cell::Int(1), Cell::Float(2.0), Cell::Text("007"), Cell::Bytes(b"x"), Cell::Text("007")];
    let expected = [Value::Integer(1), Value::Real(2.0), text("007"), Value::Blob(b"x".to_vec()), text("007")];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn what_cannot_be_stored_exactly_is_refused_with_its_column() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (n NUMERIC, f REAL)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let table = builder.table(&schema);
    let long = "1".repeat(40);
    builder.unit(table, &[&[Cell::Decimal("1"), Cell::Float(1.0)]]);
    builder.unit(table, &[&[Cell::Decimal(&long), Cell::Float(1.0)]]);
    builder.unit(table, &[&[Cell::Decimal("2"), Cell::Float(f64::NAN)]]);
    builder.unit(table, &[&[Cell::Decimal("3"), Cell::Float(f64::INFINITY)]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [1, 2]);
    assert!(refused.iter().all(|refusal| refusal.reason == "value"));
    assert!(refused[0].message.contains("column n: the number has more digits"), "{}", refused[0].message);
    assert!(!refused[0].message.contains("111"), "{}", refused[0].message);
    builder.batch.excluded = units(&refused);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 2);
}

#[tokio::test]
async fn a_rowid_alias_may_be_left_out_and_an_ordinary_key_may_not() {
    let database = SqliteFile::new();
    let mut sink = connected(&database).await;
    database.execute(
        "CREATE TABLE alias (id INTEGER PRIMARY KEY, x TEXT);
         CREATE TABLE plain (id BIGINT PRIMARY KEY, x TEXT);
         CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, x TEXT);
         CREATE TABLE without_rowid (id INTEGER PRIMARY KEY, x TEXT) WITHOUT ROWID;
         CREATE TABLE odd (x STRING);",
    );
    for (table, has_default, not_null) in
        [("alias", true, false), ("plain", false, false), ("descending", false, false), ("without_rowid", false, true)]
    {
        let schema = schema_of(&mut sink, table).await;
        assert_eq!(schema.primary_key, ["id"]);
        assert_eq!((schema.columns[0].has_default, schema.columns[0].not_null), (has_default, not_null), "{table}");
    }
    assert!(matches!(schema_of(&mut sink, "odd").await.columns[0].column_type, ColumnType::Unsupported(_)));
    let elsewhere = TableName { schema: Some("public".to_owned()), name: "alias".to_owned() };
    fails_as(sink.describe(&elsewhere).await, Class::Table);
    let main = TableName { schema: Some("main".to_owned()), name: "alias".to_owned() };
    assert!(sink.describe(&main).await.unwrap().is_some());
}
