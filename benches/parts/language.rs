//! What the mapping language costs beside plain JSON with one row a message: other formats, messages of many rows, jq.
//!
//! Every payload of a group carries the same values for the same 11 columns, so that the times of a group compare by row.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use rowbridge::batch::{Batch, RowEncoder};
use rowbridge::mapping::Mapper;
use rowbridge::message::{Message, Seq};
use rowbridge::schema::TableSchema;
use rowbridge::sink::{PostgresEncoder, SqliteEncoder};
use serde_json::Value;

use super::{
    BATCH_ROWS, COLUMNS, PAYLOAD, TOPIC, configuration_of, mapper_of, postgres_schema, sample, scratch, sqlite_schema,
};

/// Rows of a message that has many.
const ROWS: usize = 1_000;

/// The rule's keys beside topic, table and columns; the columns; the payload.
struct Case {
    name: &'static str,
    keys: &'static str,
    columns: String,
    payload: Vec<u8>,
    rows: usize,
}

/// The payload's members that columns take, in the order of a CSV record.
const MEMBERS: [&str; 9] = ["n", "ts", "temp", "hum", "press", "volt", "rssi", "ok", "mode"];
const RECORD: &str = "1000000000,1790000000000,21.53,48.21,1013.25,3.301,-71,true,auto\n";
const LINE: &str = "bench,device=042,mode=auto n=1000000000i,temp=21.53,hum=48.21,press=1013.25,volt=3.301,rssi=-71i,ok=true \
                    1790000000000\n";

/// One row a message.
pub(super) fn formats(criterion: &mut Criterion) {
    compare(
        criterion,
        "format_to_11_columns",
        &[
            Case::new("json", "", COLUMNS.to_owned(), PAYLOAD.to_vec(), 1),
            Case::new("msgpack", "format: msgpack", COLUMNS.to_owned(), msgpack(), 1),
            Case::new("cbor", "format: cbor", COLUMNS.to_owned(), cbor(), 1),
            Case::new("csv", "format: csv", of_record(), RECORD.into(), 1),
            Case::new("influx", INFLUX, of_line(), LINE.into(), 1),
        ],
    );
}

/// 1,000 rows a message; the times are those of a row.
pub(super) fn many_rows(criterion: &mut Criterion) {
    let lines = |line: &[u8]| [line, b"\n"].concat().repeat(ROWS);
    let items = [PAYLOAD; ROWS].join(&b","[..]);
    let array = [b"{\"readings\":[", items.as_slice(), b"]}"].concat();
    compare(
        criterion,
        "1000_rows_to_11_columns",
        &[
            Case::new("ndjson", "format: ndjson", COLUMNS.to_owned(), lines(PAYLOAD), ROWS),
            Case::new("for_each", "for_each: payload.readings", COLUMNS.replace("payload.", "item."), array, ROWS),
            Case::new("csv", "format: csv", of_record(), RECORD.repeat(ROWS).into(), ROWS),
            Case::new("influx", INFLUX, of_line(), LINE.repeat(ROWS).into(), ROWS),
        ],
    );
}

/// A predicate in jq on one field.
pub(super) fn jq(criterion: &mut Criterion) {
    compare(
        criterion,
        "where_before_11_columns",
        &[
            Case::new("none", "", COLUMNS.to_owned(), PAYLOAD.to_vec(), 1),
            Case::new("one_field", "where: '.temp > 20'", COLUMNS.to_owned(), PAYLOAD.to_vec(), 1),
            Case::new(
                "two_fields",
                "where: '.temp > 20 and .mode == \"auto\"'",
                COLUMNS.to_owned(),
                PAYLOAD.to_vec(),
                1,
            ),
        ],
    );
}

const INFLUX: &str = "format: influx\n  influx: { precision: ms }";

impl Case {
    fn new(name: &'static str, keys: &'static str, columns: String, payload: Vec<u8>, rows: usize) -> Case {
        Case { name, keys, columns, payload, rows }
    }

    fn mapper<R: RowEncoder>(&self, encoder: R, schema: TableSchema) -> (Mapper<R>, Batch) {
        let scratch = scratch();
        let Case { keys, columns, .. } = self;
        let rule = format!(
            "- topic: bench/{{site}}/{{device}}/telemetry\n  table: telemetry\n  {keys}\n  columns:{columns}\n"
        );
        mapper_of(&configuration_of(scratch.path(), &rule).rules, encoder, schema)
    }

    /// The rows of one message. The batch is emptied as often as the daemon does it.
    fn map<R: RowEncoder>(&self, mapper: &mut Mapper<R>, batch: &mut Batch, message: &Message<'_>) {
        if batch.row_count() >= BATCH_ROWS {
            batch.clear(Seq(1));
        }
        let before = batch.row_count();
        let mut outcomes = Vec::new();
        mapper.map(message, batch, &mut outcomes);
        assert_eq!(batch.row_count() - before, self.rows, "{}: {outcomes:?}", self.name);
    }
}

fn compare(criterion: &mut Criterion, group: &str, cases: &[Case]) {
    let mut group = criterion.benchmark_group(group);
    for case in cases {
        group.throughput(Throughput::Elements(case.rows as u64));
        let message = Message { seq: Seq(1), ..sample(TOPIC, &case.payload) };
        group.bench_function(BenchmarkId::new("sqlite", case.name), |bencher| {
            let (mut mapper, mut batch) = case.mapper(SqliteEncoder, sqlite_schema());
            bencher.iter(|| case.map(&mut mapper, &mut batch, black_box(&message)));
        });
        group.bench_function(BenchmarkId::new("postgres", case.name), |bencher| {
            let (mut mapper, mut batch) = case.mapper(PostgresEncoder, postgres_schema());
            bencher.iter(|| case.map(&mut mapper, &mut batch, black_box(&message)));
        });
    }
    group.finish();
}

/// [`COLUMNS`] out of a CSV record.
fn of_record() -> String {
    let mut columns = COLUMNS.to_owned();
    for (index, member) in MEMBERS.iter().enumerate() {
        columns = columns.replace(&format!("payload.{member},"), &format!("'payload[{index}]',"));
    }
    columns
}

/// [`COLUMNS`] out of a line of the line protocol.
fn of_line() -> String {
    COLUMNS
        .replace("from: payload.", "from: payload.fields.")
        .replace("payload.fields.mode", "payload.tags.mode")
        .replace("{ from: payload.fields.ts, time: ms }", "{ from: payload.time, time: ns }")
}

/// [`PAYLOAD`] in MessagePack.
fn msgpack() -> Vec<u8> {
    fn put(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Bool(value) => out.push(if *value { 0xC3 } else { 0xC2 }),
            Value::Number(number) => match number.as_i64() {
                Some(number) => put_with(0xD3, &number.to_be_bytes(), out),
                None => put_with(0xCB, &number.as_f64().expect("a double").to_be_bytes(), out),
            },
            Value::String(text) => put_with(0xA0 | text.len() as u8, text.as_bytes(), out),
            Value::Object(members) => {
                out.push(0x80 | members.len() as u8);
                for (name, value) in in_order(members) {
                    put_with(0xA0 | name.len() as u8, name.as_bytes(), out);
                    put(value, out);
                }
            }
            Value::Null | Value::Array(_) => unreachable!("the payload has none"),
        }
    }
    encoded(put)
}

/// [`PAYLOAD`] in CBOR.
fn cbor() -> Vec<u8> {
    fn put(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Bool(value) => out.push(if *value { 0xF5 } else { 0xF4 }),
            Value::Number(number) => match number.as_i64() {
                Some(number) if number < 0 => put_with(0x3B, &(-1 - number).to_be_bytes(), out),
                Some(number) => put_with(0x1B, &number.to_be_bytes(), out),
                None => put_with(0xFB, &number.as_f64().expect("a double").to_be_bytes(), out),
            },
            Value::String(text) => put_with(0x60 | text.len() as u8, text.as_bytes(), out),
            Value::Object(members) => {
                out.push(0xA0 | members.len() as u8);
                for (name, value) in in_order(members) {
                    put_with(0x60 | name.len() as u8, name.as_bytes(), out);
                    put(value, out);
                }
            }
            Value::Null | Value::Array(_) => unreachable!("the payload has none"),
        }
    }
    encoded(put)
}

/// As [`PAYLOAD`] has them: devices send their fields in one order, and the columns follow it.
fn in_order(members: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let text = std::str::from_utf8(PAYLOAD).expect("the payload is text");
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| text.find(&format!("\"{name}\":")));
    members
}

fn put_with(head: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(head);
    out.extend_from_slice(bytes);
}

fn encoded(put: impl Fn(&Value, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&serde_json::from_slice(PAYLOAD).expect("the payload is JSON"), &mut out);
    out
}
