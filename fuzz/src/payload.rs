//! A payload under every format.
//!
//! Input: the first byte chooses a rule of [`RULES`], the rest is the payload. It is mapped for both databases, and twice:
//! nothing panics, nothing differs, no bound is passed, and every cell is one that the encoders know.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;

use rowbridge::batch::{Batch, OffsetMove, RowEncoder};
use rowbridge::clock::Timestamp;
use rowbridge::config::{LoadRequest, Needs, Rule, load};
use rowbridge::journal_id::JournalId;
use rowbridge::mapping::{Mapper, Outcome};
use rowbridge::message::{Message, Properties, Qos, Seq};
use rowbridge::schema::{Column, ColumnType, Parameter, SecondDigits, TableSchema};
use rowbridge::sink::{PostgresEncoder, SqliteEncoder};

/// MQTT allows more; longer payloads hold nothing new.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
const ROWS_MAX: usize = 500;

/// Of values that only SQLite cannot hold. Its `json` has the affinity of numbers, which some do not survive, and its times are texts that sort.
const SQLITES_REFUSALS: [&str; 3] =
    ["than a NUMERIC column of SQLite keeps", "which has no sortable text", "in which its text sorts"];

const DESCRIPTOR: &[u8] = include_bytes!("../../examples/meshtastic/packet.binpb");

/// What the rules have besides topic and table. Seeds know them by their index: new ones come last.
const RULES: [&str; 34] = [
    "format: json, columns: auto",
    "format: json, for_each: payload.a, columns: { a: item.x, b: index, d: item }",
    "format: json, for_each: auto, columns: auto",
    "format: json, decode: { payload.a: [base64, json], payload.d: json }, columns: { a: payload.a.x, b: payload.d.y, d: payload }",
    "format: json, unmapped: d, columns: { a: payload.a, b: { from: payload.b, scale: 0.1, shift: -40, on_error: null } }",
    "format: ndjson, columns: auto",
    "format: csv, columns: auto",
    "format: csv, csv: { header: columns }, columns: auto",
    "format: csv, csv: { header: skip, delimiter: ';', columns: [a, b, c, f] }, columns: { a: payload.a, b: payload.b, c: { from: payload.c, decimal: ',', unit: ignore }, f: { from: payload.f, time: auto } }",
    "format: text, columns: { a: payload, b: { from: payload, on_error: null } }",
    "format: text, charset: gb18030, columns: { a: payload }",
    "format: text, charset: utf-16le, columns: { a: payload }",
    "format: bytes, columns: { e: payload }",
    "format: hex, columns: { e: payload }",
    "format: base64, columns: { e: payload }",
    "format: base64, decode: { payload: json }, columns: { a: payload.a, d: payload }",
    "format: regex, regex: { pattern: '^(?<c>[-0-9.]+)(?<a>\\w*)$' }, columns: auto",
    "format: regex, regex: { pattern: '(?<a>[a-z]+)=(?<b>[0-9]+)', each: line }, columns: auto",
    "format: msgpack, columns: auto",
    "format: msgpack, for_each: auto, columns: auto",
    "format: msgpack, columns: { d: payload, e: payload.e }",
    "format: cbor, columns: auto",
    "format: cbor, for_each: payload.a, columns: { a: item.x, b: index, d: item }",
    "format: cbor, columns: { d: payload, e: payload.e }",
    "format: protobuf, protobuf: { descriptor: 'DESCRIPTOR', message: mesh.ServiceEnvelope }, columns: { d: payload, a: payload.channel_id, b: payload.packet.from }",
    "format: influx, columns: { a: payload.measurement, d: payload.fields, f: { from: payload.time, time: ns } }",
    "format: influx, influx: { precision: ms }, for_each: payload.fields, columns: { a: key, c: item, d: payload.tags }",
    "format: auto, columns: auto",
    "compression: auto, max_expanded: 64KiB, columns: auto",
    "compression: zstd, max_expanded: 64KiB, format: bytes, columns: { e: payload }",
    "compression: lz4, max_expanded: 64KiB, format: bytes, columns: { e: payload }",
    "compression: snappy, max_expanded: 64KiB, format: bytes, columns: { e: payload }",
    "where: '.b > 1', transform: '.a[]? // .', columns: { a: payload.x, d: payload }",
    "format: json, columns: { f: { from: [payload.f, payload.a], time: [rfc3339, ms, '%Y-%m-%d'] }, a: { template: '{payload.a}-{payload.b}' } }",
];

thread_local! {
    static MAPPERS: RefCell<Mappers> = RefCell::new(Mappers::new());
}

pub fn check(bytes: &[u8]) {
    let Some((rule, payload)) = bytes.split_first() else { return };
    if payload.len() <= PAYLOAD_BYTES_MAX {
        MAPPERS.with_borrow_mut(|mappers| mappers.check(usize::from(*rule) % RULES.len(), payload));
    }
}

struct Mappers {
    postgres: Mapper<PostgresEncoder>,
    sqlite: Mapper<SqliteEncoder>,
}

/// By the letters that [`RULES`] have.
fn columns() -> Vec<Column> {
    let types = [
        ("a", ColumnType::Text { max_chars: None }),
        ("b", ColumnType::Int8),
        ("c", ColumnType::Float8),
        ("d", ColumnType::Json),
        ("e", ColumnType::Bytes),
        ("f", ColumnType::Timestamptz(SecondDigits::MICROS)),
    ];
    let column = |(name, column_type): (&str, ColumnType)| Column {
        name: name.to_owned(),
        type_name: format!("{column_type:?}"),
        column_type,
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    };
    types.map(column).into()
}

fn rules() -> Vec<Arc<Rule>> {
    let directory = tempfile::TempDir::new().unwrap();
    let descriptor = directory.path().join("packet.binpb");
    fs::write(&descriptor, DESCRIPTOR).unwrap();
    let mut text = "databases: { local: { url: 'sqlite:x.db' } }\nrules:\n".to_owned();
    for (index, rule) in RULES.iter().enumerate() {
        let rule = rule.replace("DESCRIPTOR", descriptor.to_str().unwrap());
        text += &format!("- {{ topic: r{index}, table: t{index}, max_rows_per_message: {ROWS_MAX}, {rule} }}\n");
    }
    let file = directory.path().join("bridge.yaml");
    fs::write(&file, text).unwrap();
    let request = LoadRequest {
        file: Some(file),
        overrides: Vec::new(),
        environment: BTreeMap::new(),
        not_text: BTreeSet::new(),
        hostname: "host1".to_owned(),
        text: None,
        directory: directory.path().to_owned(),
        system_file: directory.path().join("etc.yaml"),
        needs: Needs::everything(),
    };
    load(&request).unwrap_or_else(|report| panic!("{report}")).rules
}

impl Mappers {
    fn new() -> Mappers {
        let rules = rules();
        let table = |rule: &Arc<Rule>| Arc::new(TableSchema::new(rule.table.clone(), columns()));
        let tables: Vec<Arc<TableSchema>> = rules.iter().map(table).collect();
        let no_identifiers = HashMap::new();
        Mappers {
            postgres: Mapper::compile("b", &rules, &tables, &no_identifiers, PostgresEncoder).unwrap(),
            sqlite: Mapper::compile("b", &rules, &tables, &no_identifiers, SqliteEncoder).unwrap(),
        }
    }

    fn check(&mut self, rule: usize, payload: &[u8]) {
        let postgres = map(&mut self.postgres, rule, payload);
        let sqlite = map(&mut self.sqlite, rule, payload);
        // A program may run out of time.
        let is_timed = RULES[rule].contains("transform");
        assert!(is_timed || postgres == map(&mut self.postgres, rule, payload), "rule {rule} is not the same twice");
        match (&postgres, &sqlite) {
            (Ok(postgres), Ok(sqlite)) => {
                assert_eq!(postgres.len(), sqlite.len(), "rule {rule}");
                assert!(postgres.len() <= ROWS_MAX);
                postgres.iter().for_each(|row| check_tuple(row));
            }
            // Postgres takes no NUL in text.
            (Err(_), _) => {}
            (Ok(_), Err(why)) => {
                let is_sqlites = SQLITES_REFUSALS.iter().any(|refusal| why.contains(refusal));
                assert!(is_timed || is_sqlites, "rule {rule}: SQLite refuses: {why}");
            }
        }
    }
}

/// The rows, or the reason why there are none.
fn map<R: RowEncoder>(mapper: &mut Mapper<R>, rule: usize, payload: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let message = Message {
        topic: &format!("r{rule}"),
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(1_500_000),
        fault: None,
        seq: Seq(7),
    };
    let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(1) };
    let mut batch = Batch::new(offset);
    mapper.begin_batch(&batch);
    let mut outcomes = Vec::new();
    assert!(mapper.map(&message, &mut batch, &mut outcomes), "nothing is to be looked up");
    let [(_, outcome)] = &outcomes[..] else { panic!("one rule takes it") };
    match outcome {
        Outcome::Written => {
            let runs = batch.runs[batch.units[0].runs.clone()].iter();
            let rows = runs.flat_map(|run| {
                let portion = &batch.portions[run.portion];
                (run.first_row..run.first_row + run.row_count).map(|row| portion.row(row).to_vec())
            });
            Ok(rows.collect())
        }
        Outcome::Filtered => Ok(Vec::new()),
        Outcome::Refused(fault) => {
            assert!(!fault.message.is_empty());
            assert!(["parse", "value", "required", "size"].contains(&fault.reason), "{}", fault.reason);
            Err(fault.message.clone())
        }
        Outcome::Parked => panic!("no rule is parked"),
    }
}

/// A tuple of binary COPY: each field lies within it, and none is a misfit.
fn check_tuple(row: &[u8]) {
    let (count, mut rest) = row.split_first_chunk::<2>().unwrap();
    for _ in 0..i16::from_be_bytes(*count) {
        let (len, after) = rest.split_first_chunk::<4>().unwrap();
        let len = i32::from_be_bytes(*len);
        assert!(len >= -1, "mapping made a cell that the encoder does not know");
        rest = &after[len.max(0) as usize..];
    }
    assert!(rest.is_empty());
}
