//! Rows that go by INSERT … SELECT: by key, and with values that the server casts.

use std::sync::Arc;

use rowbridge::batch::{Target, Verb};
use rowbridge::message::Seq;
use rowbridge::schema::{Cell, ColumnType};
use rowbridge::sink::{Class, PostgresSink, Sink as _, Written};

use super::types::round_trip;
use super::{BRIDGE, JOURNAL, Place, add_table, add_unit, batch, database, describe};
use crate::support::pgbouncer::PgBouncer;

fn by(batch: &mut rowbridge::batch::Batch, table: usize, verb: Verb) {
    let target = Arc::make_mut(&mut batch.portions[table].target);
    *target = Target { verb, in_order: true, ..target.clone() };
}

/// Upserts `(key, value)` into a table of those two columns and shows what is there.
async fn upserted(place: &Place, key_type: &str, rows: &[(Cell<'_>, i64)]) -> String {
    place.sql(&format!("DROP TABLE IF EXISTS k; CREATE TABLE k (k {key_type} PRIMARY KEY, v int)"));
    place.sql("DROP TABLE IF EXISTS rowbridge_offsets, rowbridge_dead_letters, rowbridge_schema_version");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "k").await;
    let mut batch = batch(1, 2);
    let index = add_table(&mut batch, &table);
    by(&mut batch, index, Verb::Upsert([0].into()));
    rows.iter().for_each(|&(key, value)| add_unit(&mut batch, index, &[&[key, Cell::Int(value)]]));
    assert_eq!(sink.write(&batch).await.unwrap(), Written::default(), "{key_type}");
    sink.close().await.unwrap();
    place.sql("SELECT string_agg(v::text, ',' ORDER BY v) FROM k")
}

#[tokio::test]
async fn keys_are_equal_as_the_server_says() {
    let place = Place::new();
    place.sql(
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN code AS varchar(9);
         CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    );
    let text = |key: &'static str| Cell::Text(key);
    let texts = [(text("a"), 1), (text("A"), 2), (text("b"), 3), (text("a"), 4)];
    assert_eq!(upserted(&place, "text", &texts).await, "2,3,4");
    assert_eq!(upserted(&place, "code", &texts).await, "2,3,4");
    assert_eq!(upserted(&place, "citext", &texts).await, "3,4");
    assert_eq!(upserted(&place, "text COLLATE ci", &texts).await, "3,4");
    assert_eq!(upserted(&place, "char(4)", &[(text("a"), 1), (text("a  "), 2)]).await, "2");
    assert_eq!(upserted(&place, "mood", &[(text("ok"), 1), (text("bad"), 2), (text("ok"), 3)]).await, "2,3");
    let decimals = ["1.0", "1.00", "2"].map(Cell::Decimal);
    assert_eq!(upserted(&place, "numeric", &[(decimals[0], 1), (decimals[1], 2), (decimals[2], 3)]).await, "2,3");
    let arrays = [&[Cell::Int(1), Cell::Null][..], &[Cell::Int(1)], &[Cell::Int(1), Cell::Null]].map(Cell::Array);
    assert_eq!(upserted(&place, "int4[]", &[(arrays[0], 1), (arrays[1], 2), (arrays[2], 3)]).await, "2,3");
    let addresses = [(text("08:00:2b:01:02:03"), 1), (text("08002b:010203"), 2), (text("08-00-2b-01-02-04"), 3)];
    assert_eq!(upserted(&place, "macaddr", &addresses).await, "2,3");
}

#[tokio::test]
async fn every_other_type_goes_as_text_and_is_cast() {
    let place = Place::new();
    let place = &place;
    place.sql(
        "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE TYPE pair AS (a int, b text);
         CREATE DOMAIN card AS macaddr; CREATE DOMAIN bits AS varbit(5)",
    );
    for (sql_type, given, shown) in [
        ("macaddr", "08-00-2B-01-02-03", "08:00:2b:01:02:03"),
        ("card", "08002b:010203", "08:00:2b:01:02:03"),
        ("timetz", "12:30:00.5+02", "12:30:00.5+02"),
        ("point", "(1.5,2)", "(1.5,2)"),
        ("bit varying(5)", "10101", "10101"),
        ("bit(3)", "101", "101"),
        ("bits", "1", "1"),
        ("xml", "<a b=\"1\"/>", "<a b=\"1\"/>"),
        ("money", "12.50", "$12.50"),
        ("int4range", "[1,5]", "[1,6)"),
        ("hstore", "a=>1", "\"a\"=>\"1\""),
        ("ltree", "top.science", "top.science"),
        ("pair", "(1,x y)", "(1,\"x y\")"),
        ("tsvector", "fat cat", "'cat' 'fat'"),
        ("macaddr[]", "{\"08:00:2b:01:02:03\",NULL}", "{08:00:2b:01:02:03,NULL}"),
        ("box[]", "{\"(1,1),(0,0)\";\"(2,2),(1,1)\"}", "{(1,1),(0,0);(2,2),(1,1)}"),
    ] {
        assert_eq!(round_trip(place, sql_type, &[Cell::Text(given), Cell::Null]).await, [shown, "∅"], "{sql_type}");
    }
}

#[tokio::test]
async fn a_value_that_the_cast_refuses_is_its_own_rows_fault_also_alone() {
    let place = Place::new();
    place.sql("CREATE EXTENSION hstore; CREATE EXTENSION ltree");
    for (sql_type, good, bad) in [
        ("macaddr", "08:00:2b:01:02:03", "secret"),
        ("ltree", "a.b", "secret..b"),
        ("hstore", "a=>1", "secret=>"),
        ("xml", "<a/>", "<secret"),
        ("bit varying(2)", "10", "101"),
        ("int4range", "[1,2)", "[secret"),
    ] {
        place.sql(&format!("DROP TABLE IF EXISTS c; CREATE TABLE c (v {sql_type}, t text[])"));
        place.sql("DROP TABLE IF EXISTS rowbridge_offsets, rowbridge_dead_letters, rowbridge_schema_version");
        let mut sink = place.started().await;
        let table = describe(&mut sink, "c").await;
        assert!(matches!(table.columns[0].column_type, ColumnType::Cast(_)));
        for values in [&[bad][..], &[good, bad, good, bad]] {
            let mut batch = batch(1, 2);
            let index = add_table(&mut batch, &table);
            values.iter().for_each(|value| add_unit(&mut batch, index, &[&[Cell::Text(value), Cell::Null]]));
            assert!(sink.write(&batch).await.unwrap_err().class.may_be_a_row(), "{sql_type}");
            let refusals = sink.refused_units(&batch).await.unwrap();
            assert!(refusals.closed.is_empty(), "{sql_type}: {:?}", refusals.closed);
            let expected: Vec<usize> = (0..values.len()).filter(|&index| values[index] == bad).collect();
            assert_eq!(refusals.units.iter().map(|refusal| refusal.unit).collect::<Vec<_>>(), expected, "{sql_type}");
            for refusal in &refusals.units {
                assert_eq!(refusal.reason, "value", "{sql_type}");
                assert!(!refusal.message.contains("secret"), "{sql_type}: {}", refusal.message);
            }
        }
    }
}

/// Such a message takes several statements, and the value is in the last.
#[tokio::test]
async fn a_value_that_the_cast_refuses_is_found_in_a_message_of_many_rows() {
    let place = Place::new();
    place.sql("CREATE EXTENSION ltree; CREATE TABLE c (v ltree, n int, t text[])");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "c").await;
    let rows: Vec<[Cell<'_>; 3]> = (0..6_000)
        .map(|n| [Cell::Text(if n == 5_900 { "secret..b" } else { "a.b" }), Cell::Int(n), Cell::Null])
        .collect();
    let mut batch = batch(1, 2);
    let index = add_table(&mut batch, &table);
    add_unit(&mut batch, index, &rows.iter().map(|row| &row[..]).collect::<Vec<_>>());
    assert!(sink.write(&batch).await.unwrap_err().class.may_be_a_row());
    let refusals = sink.refused_units(&batch).await.unwrap();
    assert!(refusals.closed.is_empty(), "{:?}", refusals.closed);
    let [refusal] = &refusals.units[..] else { panic!("{:?}", refusals.units) };
    assert_eq!((refusal.unit, refusal.reason), (0, "value"));
    assert!(!refusal.message.contains("secret"), "{}", refusal.message);
}

/// Input functions put the value into messages of any code, with quotes and without.
#[tokio::test]
async fn what_the_cast_says_of_a_value_names_type_and_column_and_not_the_value() {
    let place = Place::new();
    place.sql("CREATE EXTENSION hstore");
    let long = "secret".repeat(400);
    for (sql_type, good, bad, words) in [
        ("tsquery", "a", &*long, "no text of tsquery (column v): word is too long in tsquery (54000)"),
        ("tsquery", "a", "secret secret", "no text of tsquery (column v): syntax error in tsquery (42601)"),
        ("hstore", "a=>1", "secret", "no text of hstore (column v): "),
        ("regtype", "int4", "secret_t", "no text of regtype (column v): type … does not exist (42704)"),
        (
            "regtype",
            "int4",
            "secret.b.c.d",
            "no text of regtype (column v): improper qualified name (too many dotted names)",
        ),
        ("regproc", "now", "secret_f", "no text of regproc (column v): function … does not exist (42883)"),
        ("regnamespace", "public", "secret", "no text of regnamespace (column v): schema … does not exist (3F000)"),
        ("regclass", "pg_class", "secret.public.t", "no text of regclass (column v): cross-database references"),
        (
            "macaddr",
            "08:00:2b:01:02:03",
            "secret",
            "no text of macaddr (column v): invalid input syntax for type macaddr (22P02)",
        ),
        (
            "money",
            "1",
            "99999999999999999999999",
            "no text of money (column v): value … is out of range for type money (22003)",
        ),
        ("cidr", "10.0.0.0/8", "10.1.2.3/8", "invalid external \"cidr\" value (22P03, column v)"),
    ] {
        place.sql(&format!("DROP TABLE IF EXISTS c; CREATE TABLE c (v {sql_type}, t text[])"));
        place.sql("DROP TABLE IF EXISTS rowbridge_offsets, rowbridge_dead_letters, rowbridge_schema_version");
        let mut sink = place.started().await;
        let table = describe(&mut sink, "c").await;
        for values in [&[bad][..], &[good, bad, good]] {
            let mut batch = batch(1, 2);
            let index = add_table(&mut batch, &table);
            values.iter().for_each(|value| add_unit(&mut batch, index, &[&[Cell::Text(value), Cell::Null]]));
            let refusals = sink.refused_units(&batch).await.unwrap();
            let closed = refusals.closed.iter().map(|closed| &closed.error.message);
            let messages: Vec<&String> = refusals.units.iter().map(|unit| &unit.message).chain(closed).collect();
            assert_eq!(messages.len(), 1, "{sql_type}: {messages:?}");
            assert!(messages[0].contains(words) && !messages[0].contains("secret"), "{sql_type}: {}", messages[0]);
        }
    }
}

#[tokio::test]
async fn views_row_security_and_a_pooler_take_rows_by_key() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE base (k int PRIMARY KEY, v int);
         CREATE VIEW shown AS SELECT k, v FROM base WHERE k < 100;
         CREATE TABLE guarded (k int PRIMARY KEY, v int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON guarded USING (true) WITH CHECK (v < 100)",
    );
    let bouncer = PgBouncer::start(&place.server, 1);
    let mut sink = PostgresSink::new(&database(&bouncer.url(&place.database)));
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    for (round, name) in (0u64..).zip(["shown", "guarded"]) {
        let table = describe(&mut sink, name).await;
        let mut batch = batch(1 + round, 2 + round);
        let index = add_table(&mut batch, &table);
        by(&mut batch, index, Verb::Upsert([0].into()));
        for (key, value) in [(1, 1), (2, 2), (1, 3)] {
            add_unit(&mut batch, index, &[&[Cell::Int(key), Cell::Int(value)]]);
        }
        sink.write(&batch).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(place.sql(&format!("SELECT string_agg(k || '=' || v, ' ' ORDER BY k) FROM {name}")), "1=3 2=2");
    }
    let session = place.server.psql_at(&bouncer.url(&place.database), "SELECT count(*) FROM pg_prepared_statements");
    assert_eq!(session, "0");
}

#[tokio::test]
async fn a_missing_right_to_update_shows_its_grant() {
    let place = Place::new();
    let role = &place.database;
    place.sql(&format!(
        "CREATE TABLE k (k int PRIMARY KEY, v int); CREATE ROLE {role} LOGIN; GRANT INSERT ON k TO {role}"
    ));
    place.sql(&format!("GRANT CREATE ON SCHEMA public TO {role}"));
    let url = format!("postgres://{role}@127.0.0.1:{}/{role}", place.server.port());
    let mut sink = super::started(PostgresSink::new(&database(&url))).await;
    let table = describe(&mut sink, "k").await;
    let mut batch = batch(1, 2);
    let index = add_table(&mut batch, &table);
    by(&mut batch, index, Verb::Upsert([0].into()));
    add_unit(&mut batch, index, &[&[Cell::Int(1), Cell::Int(1)]]);
    let error = sink.write(&batch).await.unwrap_err();
    let grant = format!("GRANT INSERT, SELECT, UPDATE ON TABLE public.k TO {role};");
    assert!(error.class != Class::Transient && error.message.contains(&grant), "{}", error.message);
}
