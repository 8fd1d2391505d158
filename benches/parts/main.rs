//! What each part costs by itself: `cargo bench --bench parts [-- FILTER]`. How to read it: docs/benchmarks.md.
//!
//! Files lie under cargo's target directory, so that the journal and SQLite are measured on a disk and not in memory.

mod language;

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use rowbridge::batch::{Batch, OffsetMove, RowEncoder};
use rowbridge::clock;
use rowbridge::config::{self, Columns, Config, LoadRequest, MqttVersion, Rule, new_table};
use rowbridge::journal::{Entry, Intake, Journal, JournalHandle, RealFs};
use rowbridge::journal_id::JournalId;
use rowbridge::mapping::{Mapper, Router};
use rowbridge::message::{Message, Properties, Qos, Seq};
use rowbridge::rule::{DeclaredType, TableName, TopicPattern};
use rowbridge::schema::{Column, ColumnType, Parameter, SecondDigits, TableSchema};
use rowbridge::sink::{PostgresEncoder, Sink, SqliteEncoder, SqliteSink};
use rowbridge::source::decode_publish;
use rowbridge::telemetry::Metrics;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// As in the measurement through a broker: 190 bytes.
const PAYLOAD: &[u8] = br#"{"n":1000000000,"ts":1790000000000,"temp":21.53,"hum":48.21,"press":1013.25,"volt":3.301,"rssi":-71,"ok":true,"mode":"auto","fw":"2.14.3","cell":{"mcc":262,"mnc":1,"lac":50123,"tech":"lte"}}"#;
const TOPIC: &str = "bench/plant/device-042/telemetry";
const COLUMNS: &str = "
    time: received_at
    device: topic.device
    n: { from: payload.n, type: bigint }
    ts: { from: payload.ts, time: ms }
    temp: { from: payload.temp, type: double }
    hum: { from: payload.hum, type: double }
    press: { from: payload.press, type: double }
    volt: { from: payload.volt, type: double }
    rssi: { from: payload.rssi, type: int }
    ok: { from: payload.ok, type: bool }
    mode: { from: payload.mode, type: text }";

const BATCH_ROWS: usize = 5_000;
const JOURNAL: JournalId = JournalId([7; 16]);
const BRIDGE: &str = "bench";

criterion_group!(
    benches,
    packet,
    message,
    journal_append,
    journal_read,
    routing,
    mapping,
    rules,
    language::formats,
    language::many_rows,
    language::jq,
    sqlite_write
);
criterion_main!(benches);

/// A PUBLISH of QoS 1 as it lies in the read buffer.
fn packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet_decode_190B");
    group.throughput(Throughput::Elements(1));
    for (name, version, properties) in [("3.1.1", MqttVersion::V3, &[][..]), ("5", MqttVersion::V5, &[0])] {
        let packet = publish(properties);
        assert_eq!(decode_publish(version, &packet), Some((packet.len(), PAYLOAD.len())));
        group.bench_function(name, |bencher| bencher.iter(|| decode_publish(version, black_box(&packet))));
    }
    group.finish();
}

fn publish(properties: &[u8]) -> Vec<u8> {
    let packet_id = 7u16.to_be_bytes();
    let topic_len = (TOPIC.len() as u16).to_be_bytes();
    let body = [&topic_len, TOPIC.as_bytes(), &packet_id, properties, PAYLOAD].concat();
    [&[0x32, (body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8], &body[..]].concat()
}

fn message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    let message = sample(TOPIC, PAYLOAD);
    let mut body = Vec::with_capacity(message.encoded_len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            body.clear();
            black_box(&message).encode(&mut body);
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| black_box(Message::decode(Seq(1), message.flags(), black_box(&body))).is_ok());
    });
    group.finish();
}

/// From the push to the fdatasync that covers it, one group at a time: nothing overlaps, unlike in the daemon.
fn journal_append(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("journal_append_durable_256B");
    group.sample_size(20).measurement_time(Duration::from_secs(3)).sampling_mode(SamplingMode::Flat);
    let payload = [b'x'; 256];
    let message = sample(TOPIC, &payload);
    for records in [1u64, 20, 100, 1_000] {
        let mut bench = BenchJournal::open();
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            bencher.iter(|| bench.append(&runtime, &message, records));
        });
        bench.stop();
    }
    group.finish();
}

/// From the page cache, as delivery reads what was written a moment ago.
fn journal_read(criterion: &mut Criterion) {
    const RECORDS: u64 = 100_000;
    let runtime = runtime();
    let mut bench = BenchJournal::open();
    for _ in 0..RECORDS / 1_000 {
        bench.append_kept(&runtime, &sample(TOPIC, &[b'x'; 256]), 1_000);
    }
    let mut group = criterion.benchmark_group("journal_read_256B");
    group.sample_size(20).throughput(Throughput::Elements(RECORDS));
    group.bench_function(BenchmarkId::from_parameter(RECORDS), |bencher| {
        bencher.iter(|| {
            let mut reader = bench.handle.reader();
            let mut messages = 0;
            while let Some(entry) = reader.next().expect("the journal can be read") {
                messages += u64::from(matches!(entry, Entry::Message(_)));
            }
            assert_eq!(messages, RECORDS);
        });
    });
    group.finish();
    bench.stop();
}

/// `cached` = the topics of 100 devices in turn; `fresh` = topics that the cache has forgotten when they come again.
fn routing(criterion: &mut Criterion) {
    let scratch = scratch();
    let rule = configuration(scratch.path()).rules.swap_remove(0);
    let mut group = criterion.benchmark_group("routing");
    group.throughput(Throughput::Elements(1));
    for rules in [1, 1_000, 10_000] {
        let rules: Vec<Arc<Rule>> = (0..rules).map(|number| numbered(&rule, number)).collect();
        for (name, devices) in [("cached", 100), ("fresh", 200_000)] {
            let topics: Vec<String> =
                (0..devices).map(|n| format!("bench/plant-{}/device-{n}/telemetry", n % rules.len())).collect();
            let mut router = Router::of_rules(&rules);
            assert!(topics.iter().all(|topic| router.takes(topic)));
            let mut topics = topics.iter().cycle();
            group.bench_function(BenchmarkId::new(name, rules.len()), |bencher| {
                bencher.iter(|| router.takes(black_box(topics.next().expect("a cycle does not end"))));
            });
        }
    }
    group.finish();
}

/// A JSON payload into the wire form of an 11-column row, route included. What makes it long is a text that no column takes.
fn mapping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json_to_11_columns");
    group.throughput(Throughput::Elements(1));
    for payload_len in [PAYLOAD.len(), 1_024, 16 * 1_024] {
        let payload = padded(payload_len);
        let message = Message { seq: Seq(1), ..sample(TOPIC, &payload) };
        group.bench_function(BenchmarkId::new("sqlite", payload_len), |bencher| {
            let (mut mapper, mut batch) = mapper(SqliteEncoder, sqlite_schema());
            bencher.iter(|| map_one(&mut mapper, &mut batch, black_box(&message)));
        });
        group.bench_function(BenchmarkId::new("postgres", payload_len), |bencher| {
            let (mut mapper, mut batch) = mapper(PostgresEncoder, postgres_schema());
            bencher.iter(|| map_one(&mut mapper, &mut batch, black_box(&message)));
        });
    }
    group.finish();
}

/// The same against the number of rules, for 10,000 topics in turn. `alike` = rules that differ in their topics only;
/// `different` = each fills one column with a value of its own.
fn rules(criterion: &mut Criterion) {
    const TOPICS: usize = 10_000;
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("bench/plant-{number}/device/telemetry")).collect();
    let device = |number: usize| COLUMNS.replace("device: topic.device", &format!("device: {{ value: '{number}' }}"));
    let mut group = criterion.benchmark_group("json_to_11_columns_by_rules");
    group.throughput(Throughput::Elements(1));
    for (name, count, columns) in [
        ("one", 1, (|_| COLUMNS.to_owned()) as fn(usize) -> String),
        ("alike", TOPICS, |_| COLUMNS.to_owned()),
        ("different", TOPICS, device),
    ] {
        let pattern = |number: usize| if count == 1 { "{plant}".to_owned() } else { format!("plant-{number}") };
        let rule = |number| rule_text(&format!("bench/{}/{{device}}/telemetry", pattern(number)), &columns(number));
        let scratch = scratch();
        let rules = configuration_of(scratch.path(), &(0..count).map(rule).collect::<String>()).rules;
        group.bench_function(BenchmarkId::new("sqlite", name), |bencher| {
            let (mut mapper, mut batch) = mapper_of(&rules, SqliteEncoder, sqlite_schema());
            let mut topics = topics.iter().cycle();
            bencher.iter(|| {
                let topic = topics.next().expect("a cycle does not end");
                map_one(&mut mapper, &mut batch, &Message { seq: Seq(1), ..sample(topic, PAYLOAD) });
            });
        });
    }
    group.finish();
}

/// [`PAYLOAD`] with one more member, so that it is that long.
fn padded(len: usize) -> Vec<u8> {
    if len == PAYLOAD.len() {
        return PAYLOAD.to_vec();
    }
    let mut payload = PAYLOAD[..PAYLOAD.len() - 1].to_vec();
    payload.extend_from_slice(br#","pad":""#);
    payload.resize(len - 2, b'x');
    payload.extend_from_slice(br#""}"#);
    payload
}

/// A batch of mapped rows in one durable transaction, offset included. A fresh file for each sample.
fn sqlite_write(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("sqlite_write_11_columns");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.sampling_mode(SamplingMode::Flat);
    for rows in [50, 500, BATCH_ROWS] {
        let batch = batch_of(rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter_custom(|batches| runtime.block_on(write_batches(batch.clone(), rows as u64, batches)));
        });
    }
    group.finish();
}

async fn write_batches(mut batch: Batch, rows: u64, batches: u64) -> Duration {
    let scratch = scratch();
    let (mut sink, _) = sqlite_with_table(scratch.path()).await;
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.expect("the offset is stored");
    let begun = Instant::now();
    for number in 0..batches {
        batch.offset.from = Seq(1 + number * rows);
        batch.offset.to = Seq(1 + (number + 1) * rows);
        sink.write(&batch).await.expect("the batch is written");
    }
    let taken = begun.elapsed();
    sink.close().await.expect("the database is closed");
    taken
}

/// A new file with the rule's table, made as `create: true` makes it.
async fn sqlite_with_table(directory: &Path) -> (SqliteSink, TableSchema) {
    let config = configuration(directory);
    let rule = &config.rules[0];
    let Columns::Named(columns) = &rule.columns else { unreachable!("the rule names its columns") };
    let columns: Vec<(&str, DeclaredType)> = columns
        .iter()
        .map(|column| {
            (column.name.as_ref(), column.create_type(&rule.format, &rule.shaping).expect("every column has a type"))
        })
        .collect();
    let mut sink = SqliteSink::new(&config.databases[0]);
    sink.connect().await.expect("the database opens");
    let new = new_table(&rule.table, &[rule], columns);
    sink.create_table(&rule.table, &new).await.expect("the table is created");
    let schema = sink.describe(&rule.table).await.expect("the table is described").expect("the table is there");
    (sink, schema)
}

fn sqlite_schema() -> TableSchema {
    let scratch = scratch();
    runtime().block_on(sqlite_with_table(scratch.path())).1
}

fn batch_of(rows: usize) -> Batch {
    let (mut mapper, mut batch) = mapper(SqliteEncoder, sqlite_schema());
    let mut outcomes = Vec::new();
    for seq in 1..=rows as u64 {
        mapper.map(&Message { seq: Seq(seq), ..sample(TOPIC, PAYLOAD) }, &mut batch, &mut outcomes);
    }
    assert_eq!(batch.row_count(), rows);
    batch
}

fn mapper<R: RowEncoder>(encoder: R, schema: TableSchema) -> (Mapper<R>, Batch) {
    let scratch = scratch();
    mapper_of(&configuration(scratch.path()).rules, encoder, schema)
}

fn mapper_of<R: RowEncoder>(rules: &[Arc<Rule>], encoder: R, schema: TableSchema) -> (Mapper<R>, Batch) {
    let schema = Arc::new(schema);
    let schemas = vec![schema; rules.len()];
    let mapper = Mapper::compile(BRIDGE, rules, &schemas, &HashMap::new(), encoder)
        .unwrap_or_else(|faults| panic!("the rules fit their table: {faults:?}"));
    let batch = Batch::new(OffsetMove { bridge: BRIDGE.into(), journal: JOURNAL, from: Seq(1), to: Seq(1) });
    (mapper, batch)
}

/// The batch is emptied as often as the daemon does it.
fn map_one<R: RowEncoder>(mapper: &mut Mapper<R>, batch: &mut Batch, message: &Message<'_>) {
    if batch.units.len() == BATCH_ROWS {
        batch.clear(Seq(1));
    }
    let mut outcomes = Vec::new();
    mapper.map(message, batch, &mut outcomes);
    assert_eq!(outcomes.len(), 1);
}

/// The live table as Postgres would describe it: no server is needed to encode for one.
fn postgres_schema() -> TableSchema {
    let text = || ColumnType::Text { max_chars: None };
    let columns = [
        ("time", ColumnType::Timestamptz(SecondDigits::MICROS)),
        ("device", text()),
        ("n", ColumnType::Int8),
        ("ts", ColumnType::Timestamptz(SecondDigits::MICROS)),
        ("temp", ColumnType::Float8),
        ("hum", ColumnType::Float8),
        ("press", ColumnType::Float8),
        ("volt", ColumnType::Float8),
        ("rssi", ColumnType::Int4),
        ("ok", ColumnType::Bool),
        ("mode", text()),
    ];
    let column = |(name, column_type): (&str, ColumnType)| Column {
        name: name.to_owned(),
        column_type,
        type_name: name.to_owned(),
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    };
    TableSchema::new(TableName { schema: None, name: "telemetry".to_owned() }, columns.map(column).into())
}

fn numbered(rule: &Rule, number: usize) -> Arc<Rule> {
    let pattern = format!("bench/plant-{number}/{{device}}/telemetry");
    let topics = [TopicPattern::parse(&pattern).expect("the pattern is right")];
    Arc::new(Rule { topics: topics.into(), ..rule.clone() })
}

fn configuration(directory: &Path) -> Config {
    configuration_of(directory, &rule_text("bench/{site}/{device}/telemetry", COLUMNS))
}

fn rule_text(topic: &str, columns: &str) -> String {
    format!("- topic: {topic}\n  table: telemetry\n  columns:{columns}\n")
}

fn configuration_of(directory: &Path, rules: &str) -> Config {
    let place = directory.display();
    let text = format!(
        "mqtt: {{ url: 'mqtt://localhost:1' }}\ndata_dir: '{place}'\njournal: {{ keep: 0s }}\ndatabases: {{ local: {{ \
         url: 'sqlite:{place}/rows.db' }} }}\nrules:\n{rules}"
    );
    let file = directory.join("bridge.yaml");
    std::fs::write(&file, text).expect("the configuration can be written");
    let request = LoadRequest::from_process(Some(file), Vec::new());
    config::load(&request).unwrap_or_else(|report| panic!("the configuration is right: {report}"))
}

fn sample<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: clock::now(),
        fault: None,
        seq: Seq(0),
    }
}

fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// A journal on the disk, with one database that holds everything at once.
struct BenchJournal {
    _directory: TempDir,
    handle: JournalHandle<RealFs>,
    intake: Intake<RealFs>,
    writer: std::thread::JoinHandle<()>,
}

impl BenchJournal {
    fn open() -> BenchJournal {
        let directory = scratch();
        let config = configuration(directory.path());
        let journal = Journal::open(RealFs, directory.path(), &config.journal, 1, Arc::new(Metrics::new()))
            .expect("the journal opens");
        let (handle, intake, writer) = journal.spawn();
        BenchJournal { _directory: directory, handle, intake, writer }
    }

    fn append(&mut self, runtime: &Runtime, message: &Message<'_>, records: u64) {
        self.append_kept(runtime, message, records);
        self.handle.set_delivered(0, self.handle.status().next_seq);
    }

    /// Without telling that it was delivered: nothing is trimmed.
    fn append_kept(&mut self, runtime: &Runtime, message: &Message<'_>, records: u64) {
        let mut last = 0;
        for _ in 0..records {
            last = self.intake.push_message(message, None);
        }
        self.intake.submit();
        runtime.block_on(async {
            while self.intake.durable() < last {
                self.intake.changed().await;
            }
        });
    }

    fn stop(self) {
        self.handle.stop();
        self.writer.join().expect("the writer ends in order");
    }
}
