//! The promises, one function each.

use std::sync::Arc;

use rowbridge::batch::{Remembered, RowEncoder};
use rowbridge::clock::Timestamp;
use rowbridge::journal_id::JournalId;
use rowbridge::message::Seq;
use rowbridge::rule::{DeclaredType, NewTable};
use rowbridge::schema::{Cell, ColumnType, Dialect, Parameter};
use rowbridge::sink::{Class, RetainedPlace, Sink, StoredOffset};

use super::{
    BRIDGE, BatchBuilder, JOURNAL, TestDatabase, blames_no_row, connected, dead_letter, fails_as, next_seq, ready,
    schema_of, table_name, units,
};

fn stored<D: TestDatabase>(database: &D) -> (i64, i64) {
    (database.number("SELECT count(*) FROM readings"), database.number("SELECT count(*) FROM rowbridge_dead_letters"))
}

pub(crate) async fn a_new_database_has_no_offset<D: TestDatabase>(database: &D) {
    assert_eq!(connected(database).await.offsets(BRIDGE).await.unwrap(), []);
}

pub(crate) async fn an_offset_row_is_added_once_and_then_left_alone<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    sink.start_offset(BRIDGE, JOURNAL, Seq(5)).await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(9)).await.unwrap();
    sink.start_offset("another", JOURNAL, Seq(3)).await.unwrap();
    let offsets = connected(database).await.offsets(BRIDGE).await.unwrap();
    assert_eq!(offsets.len(), 1);
    assert_eq!((offsets[0].journal, offsets[0].next_seq), (JOURNAL, Seq(5)));
    assert!(offsets[0].updated_at > Timestamp(0));
}

pub(crate) async fn the_offset_row_of_a_journal_that_is_gone_becomes_that_of_another<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    let next = JournalId([8; 16]);
    sink.start_offset(BRIDGE, JOURNAL, Seq(5)).await.unwrap();
    sink.start_offset("another", JOURNAL, Seq(3)).await.unwrap();
    sink.succeed_offset(BRIDGE, JOURNAL, next, Seq(1)).await.unwrap();
    // It is gone by now.
    sink.succeed_offset(BRIDGE, JOURNAL, JournalId([9; 16]), Seq(1)).await.unwrap();
    let rows = |offsets: Vec<StoredOffset>| -> Vec<(JournalId, Seq)> {
        offsets.iter().map(|offset| (offset.journal, offset.next_seq)).collect()
    };
    assert_eq!(rows(sink.offsets(BRIDGE).await.unwrap()), [(next, Seq(1))]);
    assert_eq!(rows(sink.offsets("another").await.unwrap()), [(JOURNAL, Seq(3))]);
    // One that has a row keeps it, and so does the other.
    sink.start_offset(BRIDGE, JOURNAL, Seq(7)).await.unwrap();
    sink.succeed_offset(BRIDGE, JOURNAL, next, Seq(2)).await.unwrap();
    let mut both = rows(sink.offsets(BRIDGE).await.unwrap());
    both.sort_by_key(|row| row.1);
    assert_eq!(both, [(next, Seq(1)), (JOURNAL, Seq(7))]);
}

pub(crate) async fn what_was_stored_last_is_remembered_with_the_rows_that_are_kept<D: TestDatabase>(database: &D) {
    let (mut sink, _) = ready(database).await;
    let rule: Arc<str> = "a 'rule' \u{e9}".into();
    let one = |unit, topic_hash, content_hash| Remembered { unit, rule: Arc::clone(&rule), topic_hash, content_hash };
    let places: Vec<RetainedPlace> = [i64::MIN, -1, 2, 3].map(|topic| (Arc::clone(&rule), topic)).into();
    assert!(sink.last_stored(BRIDGE, &places).await.unwrap().is_empty());
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    builder.batch.remembered =
        vec![one(None, i64::MIN, 1), one(Some(0), -1, 2), one(None, i64::MIN, i64::MAX), one(Some(1), 2, 7)];
    builder.batch.excluded = vec![1];
    sink.write(&builder.batch).await.unwrap();
    let found = sink.last_stored(BRIDGE, &places).await.unwrap();
    let hashes: Vec<Option<&i64>> = places.iter().map(|place| found.get(place)).collect();
    assert_eq!(hashes, [Some(&i64::MAX), Some(&2), None, None]);
    assert!(sink.last_stored("another", &places).await.unwrap().is_empty());
    // From an offset that moved, nothing is remembered.
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 9);
    builder.batch.remembered = vec![one(None, -1, 3)];
    sink.write(&builder.batch).await.unwrap_err();
    let mut sink = connected(database).await;
    assert_eq!(sink.last_stored(BRIDGE, &places).await.unwrap().get(&places[1]), Some(&2));
}

pub(crate) async fn a_journal_under_another_name_is_found_and_handed_over_by_the_sql_that_is_shown<D: TestDatabase>(
    database: &D,
) {
    let (mut sink, _) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    builder.batch.dead_letters.push(dead_letter(2, Timestamp(0)));
    sink.write(&builder.batch).await.unwrap();
    sink.start_offset(BRIDGE, JournalId([8; 16]), Seq(9)).await.unwrap();
    assert_eq!(sink.offsets_of_others(BRIDGE, &[JOURNAL]).await.unwrap(), []);
    // A name with a quote in it, as it would end a literal.
    let other = "o'ther";
    let found = sink.offsets_of_others(other, &[JournalId([6; 16]), JOURNAL]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0.as_str(), found[0].1.journal, found[0].1.next_seq), (BRIDGE, JOURNAL, Seq(5)));
    database.execute(&sink.rename_bridge_sql(BRIDGE, other, &[JOURNAL]));
    assert_eq!(sink.offsets(other).await.unwrap()[0].next_seq, Seq(5));
    assert_eq!(sink.offsets_of_others(other, &[JOURNAL]).await.unwrap(), []);
    assert_eq!(sink.offsets(BRIDGE).await.unwrap().len(), 1, "the other journal keeps its name");
    let letters = "SELECT count(*) FROM rowbridge_dead_letters WHERE bridge = 'o''ther'";
    assert_eq!(database.number(letters), 1);
}

pub(crate) async fn rows_dead_letters_and_offset_commit_together<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 4);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(i64::MAX), Cell::Text("a")], &[Cell::Int(2), Cell::Text("b")]]);
    builder.batch.dead_letters.push(dead_letter(2, Timestamp(1_795_249_560_123_456)));
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(stored(database), (2, 1));
    assert_eq!(next_seq(&mut sink).await, 4);
    assert_eq!(database.number("SELECT max(id) FROM readings"), i64::MAX);
    assert_eq!(
        database.number(
            "SELECT count(*) FROM rowbridge_dead_letters WHERE bridge = 'gw1' AND rule = 'telemetry' AND seq = 2
             AND topic = 'sensors/a/d1/telemetry' AND qos = 1 AND NOT retain AND length(payload) = 10
             AND reason = 'parse' AND attempts = 1"
        ),
        1
    );
}

pub(crate) async fn a_batch_from_another_offset_leaves_nothing_behind<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 2, 3);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.batch.dead_letters.push(dead_letter(2, Timestamp(0)));
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    assert_eq!(stored(database), (0, 0));
    assert_eq!(next_seq(&mut sink).await, 1);
    builder.batch.offset.from = Seq(1);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(stored(database), (1, 1));
}

pub(crate) async fn a_batch_of_another_journal_leaves_nothing_behind<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.batch.offset.journal = JournalId([8; 16]);
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    assert_eq!(stored(database), (0, 0));
}

pub(crate) async fn a_second_instance_is_fenced_off<D: TestDatabase>(database: &D) {
    let (mut first, schema) = ready(database).await;
    let mut second = connected(database).await;
    let mut builder = BatchBuilder::new(first.encoder(), 1, 2);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);
    first.write(&builder.batch).await.unwrap();
    // Also how a commit whose answer was lost is found out: the same batch again moves nothing.
    fails_as(second.write(&builder.batch).await, Class::OffsetMoved);
    assert_eq!(stored(database), (1, 0));
}

pub(crate) async fn a_refused_row_rolls_everything_back_and_is_found<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    database.execute("INSERT INTO readings VALUES (3, 'old')");
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 51);
    let table = builder.table(&schema);
    for id in 0..50 {
        let site = if id == 40 { Cell::Null } else { Cell::Text("a") };
        builder.unit(table, &[&[Cell::Int(id), site]]);
    }
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!((stored(database), next_seq(&mut sink).await), ((1, 0), 1));

    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [3, 40]);
    assert!(refused.iter().all(|refusal| refusal.reason == "constraint" && !refusal.message.is_empty()));
    assert_eq!((stored(database), next_seq(&mut sink).await), ((1, 0), 1));

    builder.batch.excluded = units(&refused);
    builder.batch.dead_letters.push(dead_letter(4, Timestamp(0)));
    builder.batch.dead_letters.push(dead_letter(41, Timestamp(0)));
    sink.write(&builder.batch).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ((49, 2), 51));
    assert_eq!(sink.refused_units(&BatchBuilder::new(sink.encoder(), 51, 51).batch).await.unwrap().units, []);
}

pub(crate) async fn of_two_equal_keys_in_a_batch_the_second_is_refused<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 4);
    let table = builder.table(&schema);
    for id in [1, 2, 1] {
        builder.unit(table, &[&[Cell::Int(id), Cell::Text("a")]]);
    }
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(units(&sink.refused_units(&builder.batch).await.unwrap().units), [2]);
    // With the first left out already, nothing is wrong with it.
    builder.batch.excluded = vec![0];
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
}

pub(crate) async fn a_unit_is_refused_as_a_whole<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 3);
    let table = builder.table(&schema);
    // The first unit's row 1 must not count as present when its row 2 is refused.
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")], &[Cell::Int(2), Cell::Null]]);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("b")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(units(&sink.refused_units(&builder.batch).await.unwrap().units), [0]);
}

pub(crate) async fn a_deferred_foreign_key_is_attributed_to_its_row<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE sites (site TEXT PRIMARY KEY)");
    database.execute(
        "CREATE TABLE visits (id BIGINT PRIMARY KEY, site TEXT REFERENCES sites (site) DEFERRABLE INITIALLY DEFERRED)",
    );
    database.execute("INSERT INTO sites VALUES ('a')");
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "visits").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 21);
    let table = builder.table(&schema);
    for id in 0..20 {
        let site = if id == 4 || id == 17 { "nowhere" } else { "a" };
        builder.unit(table, &[&[Cell::Int(id), Cell::Text(site)]]);
    }
    fails_as(sink.write(&builder.batch).await, Class::Row);
    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [4, 17]);
    builder.batch.excluded = units(&refused);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM visits"), 18);
}

pub(crate) async fn excluded_units_are_left_out<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 101);
    let table = builder.table(&schema);
    for id in 0..100 {
        builder.unit(table, &[&[Cell::Int(2 * id), Cell::Text("a")], &[Cell::Int(2 * id + 1), Cell::Text("b")]]);
    }
    builder.batch.excluded = vec![0, 50, 99];
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM readings"), 194);
    assert_eq!(database.number("SELECT count(*) FROM readings WHERE id IN (0, 1, 100, 101, 198, 199)"), 0);
    assert_eq!(builder.batch.row_count(), 194);
}

pub(crate) async fn a_table_that_is_gone_is_no_fault_of_the_rows<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    // More than go by INSERT, which tells everything as it does a row's fault.
    let rows: Vec<[Cell<'_>; 2]> = (1..40).map(|id| [Cell::Int(id), Cell::Text("a")]).collect();
    builder.unit(table, &rows.iter().map(|row| &row[..]).collect::<Vec<_>>());
    sink.write(&builder.batch).await.unwrap();
    database.execute("DROP TABLE readings");
    builder.batch.offset.from = Seq(2);
    builder.batch.offset.to = Seq(3);
    blames_no_row(sink.write(&builder.batch).await);
    let refusals = sink.refused_units(&builder.batch).await.unwrap();
    assert!(refusals.units.is_empty(), "{refusals:?}");
    let closed: Vec<_> = refusals.closed.iter().map(|closed| (closed.unit, closed.error.class)).collect();
    assert_eq!(closed, [(0, Class::Table)]);
    fails_as(sink.verify(&[&schema]).await, Class::TableChanged);
    assert_eq!(next_seq(&mut sink).await, 2);
}

pub(crate) async fn a_missing_table_is_described_as_none<D: TestDatabase>(database: &D) {
    assert_eq!(connected(database).await.describe(&table_name("readings")).await.unwrap(), None);
}

/// Neither key nor indexes.
fn plain_table<'a>(name: &str, columns: &[(&'a str, DeclaredType)]) -> NewTable<'a> {
    NewTable::new(name, columns.to_vec(), Vec::new(), Vec::new())
}

/// What is there is not altered, and what cannot have its index is not made.
pub(crate) async fn a_created_table_has_its_key_and_indexes<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    let columns = [("n", DeclaredType::Int), ("Odd \"name", DeclaredType::Text), ("t", DeclaredType::Timestamptz)];
    let table = table_name("made");
    let new = |key: &[&'static str], indexes: &[&[&'static str]]| {
        let indexes = indexes.iter().map(|columns| columns.to_vec()).collect();
        NewTable::new("made", columns.to_vec(), key.to_vec(), indexes)
    };
    assert!(sink.create_table(&table, &new(&["n"], &[&["t"], &["missing"]])).await.is_err());
    assert_eq!(sink.describe(&table).await.unwrap(), None);
    let whole = new(&["t", "Odd \"name"], &[&["Odd \"name", "t"], &["n"]]);
    sink.create_table(&table, &whole).await.unwrap();
    let schema = schema_of(&mut sink, "made").await;
    assert_eq!(schema.primary_key, ["t", "Odd \"name"]);
    assert_eq!(schema.columns.iter().map(|column| column.not_null).collect::<Vec<_>>(), [false, true, true]);
    sink.create_table(&table, &whole).await.unwrap();
    sink.create_table(&table, &new(&["n"], &[&["t"]])).await.unwrap();
    let mut indexes: Vec<String> =
        sink.indexes(&table).await.unwrap().into_iter().map(|index| index.columns.join("/")).collect();
    indexes.sort();
    assert_eq!(indexes, ["Odd \"name/t", "n", "t/Odd \"name"]);
    assert_eq!(*schema_of(&mut sink, "made").await, *schema);
}

pub(crate) async fn a_created_table_is_described_as_the_dialect_says<D: TestDatabase>(database: &D) {
    type DialectOf<D> = <<<D as TestDatabase>::Sink as Sink>::Encoder as RowEncoder>::Dialect;
    let mut sink = connected(database).await;
    let plain = DeclaredType::NAMES.iter().map(|name| DeclaredType::parse(name).unwrap());
    let limited = ["decimal(10,2)", "decimal(38,9)"].iter().map(|text| DeclaredType::parse(text).unwrap());
    let plain: Vec<DeclaredType> = plain.chain(limited).collect();
    let arrays = plain.iter().map(|element| DeclaredType::Array(Box::new(element.clone())));
    let all: Vec<(String, DeclaredType)> =
        plain.iter().cloned().chain(arrays).map(|declared| (declared.to_string(), declared)).collect();
    let columns: Vec<(&str, DeclaredType)> =
        all.iter().map(|(name, declared)| (name.as_str(), declared.clone())).collect();
    sink.create_table(&table_name("typed"), &plain_table("typed", &columns)).await.unwrap();
    // The same, column by column.
    sink.create_table(&table_name("grown"), &plain_table("grown", &columns[..1])).await.unwrap();
    for added in [&columns[1..], &columns[..2]] {
        sink.add_columns(&table_name("grown"), added).await.unwrap();
    }
    for table in ["typed", "grown"] {
        let mut described = schema_of(&mut sink, table).await.columns.clone();
        // Which only a database can tell.
        described.iter_mut().for_each(|column| column.parameter = Parameter::default());
        let expected: Vec<_> = columns.iter().map(|(name, declared)| DialectOf::<D>::column(name, declared)).collect();
        assert_eq!(described, expected, "{table}");
    }
    let missing = sink.add_columns(&table_name("missing"), &columns[..1]).await;
    fails_as(missing, Class::Table);
}

pub(crate) async fn a_created_table_takes_every_declared_type<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    let columns: Vec<(&str, DeclaredType, Cell<'_>)> = vec![
        ("a bool", DeclaredType::Bool, Cell::Bool(true)),
        ("i", DeclaredType::Int, Cell::Int(-1)),
        ("b", DeclaredType::Bigint, Cell::Int(i64::MIN)),
        ("r", DeclaredType::Real, Cell::Float(1.5)),
        ("d", DeclaredType::Double, Cell::Float(1e300)),
        ("n", DeclaredType::Decimal(None), Cell::Decimal("12.5")),
        ("p", DeclaredType::Decimal(Some((10, 2))), Cell::Decimal("12.50")),
        ("q", DeclaredType::Decimal(Some((38, 9))), Cell::Decimal("12345678901234567890123456789.123456789")),
        ("t", DeclaredType::Text, Cell::Text("007")),
        ("j", DeclaredType::Json, Cell::Text("{\"a\":1}")),
        ("y", DeclaredType::Bytes, Cell::Bytes(b"\x00\xff")),
        ("u", DeclaredType::Uuid, Cell::Uuid([0x12; 16])),
        ("day", DeclaredType::Date, Cell::Date(20_000)),
        ("tod", DeclaredType::Time, Cell::Time(1)),
        ("at", DeclaredType::Timestamp, Cell::Timestamp(1_795_249_560_123_456)),
        ("atz", DeclaredType::Timestamptz, Cell::Timestamp(1_795_249_560_123_456)),
        ("ip", DeclaredType::Inet, Cell::Text("10.0.0.1")),
    ];
    let declared: Vec<(&str, DeclaredType)> =
        columns.iter().map(|(name, declared, _)| (*name, declared.clone())).collect();
    for _ in 0..2 {
        sink.create_table(&table_name("odd \"table"), &plain_table("odd \"table", &declared)).await.unwrap();
    }
    let schema = schema_of(&mut sink, "odd \"table").await;
    assert_eq!(
        schema.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        declared.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    for column in &schema.columns {
        assert!(!matches!(column.column_type, ColumnType::Unsupported(_)), "{}", column.name);
    }
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    let row: Vec<Cell<'_>> = columns.iter().map(|(_, _, cell)| *cell).collect();
    builder.unit(table, &[&row, &vec![Cell::Null; row.len()]]);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(
        database.number("SELECT count(*) FROM \"odd \"\"table\" WHERE \"a bool\" AND b < -9223372036854775807"),
        1
    );
}

pub(crate) async fn a_table_is_described_as_it_is<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    database.execute(
        "CREATE TABLE described (b TEXT NOT NULL, a BIGINT NOT NULL DEFAULT 1, n DOUBLE PRECISION,
         g BIGINT GENERATED ALWAYS AS (a + 1) STORED, PRIMARY KEY (a, b))",
    );
    let schema = schema_of(&mut sink, "described").await;
    assert_eq!(schema.primary_key, ["a", "b"]);
    let found: Vec<_> =
        schema.columns.iter().map(|column| (column.not_null, column.has_default, column.generated)).collect();
    assert_eq!(found, [(true, false, false), (true, true, false), (false, false, false), (false, true, true)]);
    assert_eq!(schema.columns[0].column_type, ColumnType::Text { max_chars: None });
    assert_eq!(schema.columns[1].column_type, ColumnType::Int8);
    assert_eq!(schema.columns[2].column_type, ColumnType::Float8);
}

pub(crate) async fn many_tables_are_described_in_order_and_the_missing_ones_as_none<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    let names: Vec<_> = (0..120).map(|number| table_name(&format!("t{number}"))).collect();
    for (number, name) in names.iter().enumerate().filter(|(number, _)| number % 7 != 3) {
        database.execute(&format!("CREATE TABLE {} (c{number} BIGINT)", name.name));
    }
    let described = sink.describe_all(&names.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(described.len(), names.len());
    for (number, found) in described.iter().enumerate() {
        let columns = found.as_ref().map(|found| found.columns.iter().map(|column| column.name.clone()).collect());
        assert_eq!(columns, (number % 7 != 3).then(|| vec![format!("c{number}")]));
    }
    assert_eq!(sink.describe_all(&[]).await.unwrap(), []);
}

pub(crate) async fn two_sinks_may_set_up_a_database_at_once<D: TestDatabase>(database: &D)
where
    D::Sink: Send,
{
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for mut sink in [database.sink(), database.sink(), database.sink(), database.sink()] {
            let barrier = &barrier;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                barrier.wait();
                runtime.block_on(async {
                    sink.connect().await.unwrap();
                    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
                });
            });
        }
    });
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_offsets"), 1);
}

pub(crate) async fn only_old_dead_letters_of_the_bridge_are_purged<D: TestDatabase>(database: &D) {
    let (mut sink, _) = ready(database).await;
    sink.start_offset("another", JOURNAL, Seq(1)).await.unwrap();
    let second = 1_000_000;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    for age in 0..1200 {
        builder.batch.dead_letters.push(dead_letter(1, Timestamp(age * second)));
    }
    sink.write(&builder.batch).await.unwrap();
    builder.batch.offset.bridge = "another".into();
    sink.write(&builder.batch).await.unwrap();
    // On a slow machine one call's time may not be enough.
    let mut purged = Vec::new();
    while purged.last() != Some(&0) {
        purged.push(sink.purge_dead_letters(BRIDGE, Timestamp(1100 * second)).await.unwrap());
    }
    assert_eq!(purged.iter().sum::<u64>(), 1100);
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters WHERE bridge = 'gw1'"), 100);
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters WHERE bridge = 'another'"), 1200);
}

pub(crate) async fn parked_messages_are_not_purged_and_taken_out_in_order_and_once<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 6);
    for seq in 1..=5 {
        let mut letter = dead_letter(seq, Timestamp(0));
        (letter.reason, letter.rule) = ("table", Some(if seq == 3 { "other".into() } else { "r".into() }));
        letter.envelope = Some([&[seq as u8][..], &[0; 999]].concat());
        letter.payload = vec![0; 100 * seq as usize];
        builder.batch.dead_letters.push(letter);
    }
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(sink.purge_dead_letters(BRIDGE, Timestamp(1)).await.unwrap(), 0);
    let mut parked = sink.parked(BRIDGE).await.unwrap();
    parked.sort_by(|one, other| one.rule.cmp(&other.rule));
    let counts: Vec<_> = parked.iter().map(|parked| (parked.rule.as_str(), parked.messages, parked.since)).collect();
    assert_eq!(counts, [("other", 1, Timestamp(0)), ("r", 4, Timestamp(0))]);
    assert_eq!(sink.parked("another").await.unwrap(), []);

    let letters = sink.parked_letters(BRIDGE, &["r"], 3, 1 << 20).await.unwrap();
    let found: Vec<_> = letters.iter().map(|letter| (letter.seq.0, letter.envelope[0], letter.payload.len())).collect();
    assert_eq!(found, [(1, 1, 100), (2, 2, 200), (4, 4, 400)]);
    assert!(letters.windows(2).all(|pair| pair[0].id < pair[1].id));
    let few = sink.parked_letters(BRIDGE, &["r"], 100, 150).await.unwrap().len();
    assert!((1..4).contains(&few), "{few} letters for 150 bytes");
    // The envelope counts as well.
    let few = sink.parked_letters(BRIDGE, &["r"], 100, 1_200).await.unwrap().len();
    assert!((1..4).contains(&few), "{few} letters for 1200 bytes");

    // Their rows move no offset, and take them out.
    let mut builder = BatchBuilder::new(sink.encoder(), 6, 6);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.batch.released = letters.iter().map(|letter| letter.id).collect();
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM readings"), 1);
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters"), 2);
    // Not a second time, nor where one of them is gone.
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    builder.batch.released = vec![sink.parked_letters(BRIDGE, &["r"], 1, 1).await.unwrap()[0].id, letters[0].id];
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    fails_as(sink.write_in_order(&builder.batch).await, Class::OffsetMoved);
    assert_eq!(database.number("SELECT count(*) FROM readings"), 1);
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters"), 2);
    assert_eq!(next_seq(&mut sink).await, 6);
}

pub(crate) async fn a_closed_sink_asks_for_a_connection<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    sink.close().await.unwrap();
    fails_as(sink.offsets(BRIDGE).await, Class::Transient);
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap(), []);
}
