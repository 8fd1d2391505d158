//! What goes wrong, and what is left of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbridge::config::Database;
use rowbridge::message::Seq;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, PostgresSink, Refusal, Refusals, Sink as _, SinkError};

use super::wire::{Break, Wire};
use super::{BRIDGE, Place, add_table, add_unit, batch, batch_of, database, dead_letter, describe, started, table};
use crate::support::postgres::Postgres;

fn units(refusals: &[Refusal]) -> Vec<usize> {
    refusals.iter().map(|refusal| refusal.unit).collect()
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_never_applied_twice() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    // The way back takes long enough for COMMIT to be applied before the wire breaks at the sink's end.
    let wire = Wire::to(place.server.port(), Duration::from_millis(30)).await;
    for (round, when) in [Break::BeforeCommit, Break::AfterCommit].into_iter().cycle().take(6).enumerate() {
        let mut sink = started(PostgresSink::new(&database(&wire.url(&place.database)))).await;
        let table = describe(&mut sink, "t").await;
        let from = sink.offsets(BRIDGE).await.unwrap()[0].next_seq;
        let mut batch = batch_of(from.0, &table, &[1, 2, 3]);
        batch.dead_letters.push(dead_letter(from.0));
        wire.break_at(when);
        let error = sink.write(&batch).await.unwrap_err();
        assert_eq!(error.class, Class::Transient, "{error}");
        assert_eq!(sink.write(&batch).await.unwrap_err().code, "not_connected");
        wire.break_at(Break::Never);
        sink.connect().await.unwrap();
        // COMMIT may still be on its way; the compare-and-swap decides, whatever is read here.
        let offset = sink.offsets(BRIDGE).await.unwrap()[0].next_seq;
        if offset == from {
            let again = sink.write(&batch).await;
            assert!(again.is_ok() || again.unwrap_err().class == Class::OffsetMoved);
        }
        let written = i64::try_from(round + 1).unwrap();
        assert_eq!(place.state("t"), (written * 3 + 1, written * 3), "round {round}, {when:?}");
        assert_eq!(place.sql("SELECT count(*) FROM rowbridge_dead_letters"), written.to_string());
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_writing_keeps_whole_batches_only() {
    let server = Arc::new(Postgres::start());
    let name = server.create_database();
    server.psql(&name, "CREATE TABLE t (v int)");
    let mut sink = started(PostgresSink::new(&database(&server.url(&name)))).await;
    let described = describe(&mut sink, "t").await;
    let values: Vec<i64> = (0..500).collect();
    for round in 0..4 {
        let killing = Arc::clone(&server);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60 + 17 * round));
            killing.kill();
        });
        let confirmed = write_until_error(&mut sink, &described, &values).await;
        killer.join().unwrap();
        assert!(sink.connect().await.is_err(), "the server is down");
        server.start_again();
        sink.connect().await.unwrap();
        let offset = sink.offsets(BRIDGE).await.unwrap()[0].next_seq.0;
        // What was confirmed is there; the batch in doubt is there as a whole or not at all.
        assert!(offset == confirmed || offset == confirmed + 500, "{offset} after {confirmed}");
        assert_eq!(server.psql(&name, "SELECT count(*) FROM t"), (offset - 1).to_string());
    }
}

/// Writes batch after batch until the connection breaks; the offset that was last confirmed.
async fn write_until_error(sink: &mut PostgresSink, table: &Arc<TableSchema>, values: &[i64]) -> u64 {
    let mut confirmed = sink.offsets(BRIDGE).await.unwrap()[0].next_seq.0;
    loop {
        match sink.write(&batch_of(confirmed, table, values)).await {
            Ok(_) => confirmed += values.len() as u64,
            Err(error) => {
                assert!(error.class.is_connection_lost(), "{error}");
                return confirmed;
            }
        }
    }
}

#[tokio::test]
async fn refused_rows_are_found_and_the_rest_is_written() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int PRIMARY KEY CHECK (v < 1000))");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    let mut values: Vec<i64> = (0..200).collect();
    (values[17], values[18], values[150], values[199]) = (1_001, 1_002, 3, 1_003);
    let mut batch = batch_of(1, &described, &values);
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Row);
    let refused = sink.refused_units(&batch).await.unwrap().units;
    assert_eq!(units(&refused), [17, 18, 150, 199]);
    assert!(refused.iter().all(|refusal| refusal.reason == "constraint"));
    assert!(refused[0].message.contains("23514, constraint t_v_check"), "{}", refused[0].message);
    assert!(refused[2].message.contains("23505, constraint t_pkey"), "{}", refused[2].message);
    assert!(!refused[0].message.contains("1001"));
    assert_eq!(place.state("t"), (1, 0), "the search leaves nothing behind");
    batch.excluded = units(&refused);
    batch.dead_letters = refused.iter().map(|refusal| dead_letter(refusal.unit as u64 + 1)).collect();
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (201, 196));
}

#[tokio::test]
async fn every_kind_of_refusal_names_its_reason_but_no_value() {
    let place = Place::new();
    place.sql(
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE t (n int NOT NULL, m mood, s varchar(3), d numeric(4,2), p int REFERENCES parent,
                         u int UNIQUE DEFERRABLE INITIALLY DEFERRED, j jsonb, big text);
         CREATE INDEX ON t (big);
         CREATE FUNCTION strict() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.n = 666 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER strict BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION strict()",
    );
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    // Random enough not to be compressed below the index's limit.
    let mut state = 88_172_645_463_325_252u64;
    let big: String = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(33 + (state % 90) as u8)
    })
    .take(9_000)
    .collect();
    let good = |n: i64| {
        [
            Cell::Int(n),
            Cell::Text("ok"),
            Cell::Text("abc"),
            Cell::Decimal("1.5"),
            Cell::Int(1),
            Cell::Int(n),
            Cell::Text("{}"),
            Cell::Text("x"),
        ]
    };
    let mut rows: Vec<_> = (0..12).map(good).collect();
    rows[1][0] = Cell::Null;
    rows[2][1] = Cell::Text("secret");
    rows[3][2] = Cell::Text("secret");
    rows[4][3] = Cell::Decimal("12345");
    rows[5][4] = Cell::Int(424_242);
    rows[6][5] = Cell::Int(0);
    rows[7][6] = Cell::Text("{secret");
    rows[8][7] = Cell::Text(&big);
    rows[9][0] = Cell::Int(666);
    let mut batch = batch(1, 13);
    let target = add_table(&mut batch, &described);
    rows.iter().for_each(|row| add_unit(&mut batch, target, &[row]));
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Row);
    let refused = sink.refused_units(&batch).await.unwrap().units;
    let found: Vec<_> = refused
        .iter()
        .map(|refusal| {
            let (_, code) = refusal.message.rsplit_once(" (").unwrap();
            (refusal.unit, refusal.reason, &code[..5])
        })
        .collect();
    let expected = [
        (1, "constraint", "23502"),
        (2, "value", "22P02"),
        (3, "value", "22001"),
        (4, "value", "22003"),
        (5, "constraint", "23503"),
        (6, "constraint", "23505"),
        (7, "value", "22P02"),
        (8, "size", "54000"),
        (9, "constraint", "P0001"),
    ];
    assert_eq!(found, expected);
    assert!(refused.iter().all(|refusal| !refusal.message.contains("secret")), "{refused:?}");
    assert!(refused[1].message.contains("column m"), "{}", refused[1].message);
    batch.excluded = units(&refused);
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (13, 3));
}

#[tokio::test]
async fn a_constraint_that_speaks_only_at_commit_is_a_row_error_and_found() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    let batch = batch_of(1, &described, &[1, 2, 1, 3]);
    let error = sink.write(&batch).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Row, "23505"));
    assert_eq!(units(&sink.refused_units(&batch).await.unwrap().units), [2]);
    assert_eq!(place.state("t"), (1, 0));
}

#[tokio::test]
async fn a_row_that_refers_to_a_later_one_of_its_batch_is_not_refused() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int PRIMARY KEY, parent int REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    let mut batch = batch(1, 5);
    let target = add_table(&mut batch, &described);
    let rows = [(1, Cell::Int(3)), (2, Cell::Int(99)), (3, Cell::Null), (4, Cell::Int(1))];
    rows.iter().for_each(|&(v, parent)| add_unit(&mut batch, target, &[&[Cell::Int(v), parent]]));
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Row);
    batch.excluded = units(&sink.refused_units(&batch).await.unwrap().units);
    assert_eq!(batch.excluded, [1]);
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (5, 3));
}

#[tokio::test]
async fn rows_that_only_the_order_of_the_tables_breaks_go_in_when_written_in_order() {
    let place = Place::new();
    place.sql("CREATE TABLE parents (v int PRIMARY KEY); CREATE TABLE t (v int REFERENCES parents)");
    let mut sink = place.started().await;
    let (children, parents) = (describe(&mut sink, "t").await, describe(&mut sink, "parents").await);
    let mut batch = batch(1, 501);
    let (children, parents) = (add_table(&mut batch, &children), add_table(&mut batch, &parents));
    // More children that wait for their parent than refusals are looked for.
    for v in 0..250 {
        add_unit(&mut batch, children, &[&[Cell::Int(v)]]);
        add_unit(&mut batch, parents, &[&[Cell::Int(v)]]);
    }
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Row);
    assert_eq!(sink.refused_units(&batch).await.unwrap().units, []);
    assert_eq!(place.state("t"), (1, 0));
    sink.write_in_order(&batch).await.unwrap();
    assert_eq!(place.state("t"), (501, 250));
}

#[tokio::test]
async fn a_unit_is_refused_as_a_whole() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int CHECK (v > 0))");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    let mut batch = batch(1, 4);
    let target = add_table(&mut batch, &described);
    add_unit(&mut batch, target, &[&[Cell::Int(1)]]);
    add_unit(&mut batch, target, &[&[Cell::Int(2)], &[Cell::Int(-1)], &[Cell::Int(3)]]);
    add_unit(&mut batch, target, &[&[Cell::Int(4)]]);
    batch.excluded = units(&sink.refused_units(&batch).await.unwrap().units);
    assert_eq!(batch.excluded, [1]);
    sink.write(&batch).await.unwrap();
    assert_eq!(place.sql("SELECT string_agg(v::text, ',') FROM t"), "1,4");
}

/// More than go by INSERT.
const MANY: [i64; 65] = [1; 65];

/// The error of a write after `change` was made to the table behind the sink's back.
async fn error_after(change: &str, rows: &[i64]) -> SinkError {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    place.sql(change);
    let batch = batch_of(1, &described, rows);
    let error = sink.write(&batch).await.unwrap_err();
    if error.class.without_a_row() == Class::Table {
        // The connection lives on: the table can be looked at again.
        sink.describe(&table("t")).await.unwrap_or_else(|after| panic!("{after} after {error:?}"));
        match sink.refused_units(&batch).await {
            Ok(refusals) => {
                assert!(refusals.units.is_empty(), "{refusals:?}");
                assert_eq!(refusals.closed.iter().map(|closed| closed.error.class).collect::<Vec<_>>(), [Class::Table]);
                sink.describe(&table("t")).await.unwrap_or_else(|after| panic!("{after} after the walk"));
            }
            // Rowbridge's own tables.
            Err(error) => assert_eq!(error.class, Class::Table, "{error}"),
        }
    }
    error
}

#[tokio::test]
async fn a_table_that_changed_holds_the_database_and_says_which() {
    for (change, code_of_copy, code_of_insert) in [
        ("DROP TABLE t", "42P01", "42P01"),
        ("ALTER TABLE t RENAME v TO w", "42703", "42703"),
        ("DROP TABLE t; CREATE VIEW t AS SELECT 1 AS v", "42809", "55000"),
    ] {
        for (rows, code) in [(&MANY[..], code_of_copy), (&MANY[..1], code_of_insert)] {
            let error = error_after(change, rows).await;
            // A view is found out when the rows have been sent, and so is everything with an INSERT.
            assert_eq!((error.class.without_a_row(), error.code.as_str()), (Class::Table, code), "{error}");
            assert!(error.message.starts_with("writing to table public.t (127.0.0.1:"), "{error}");
        }
    }
    let error = error_after("DROP TABLE rowbridge_offsets", &[1]).await;
    assert_eq!(error.code, "42P01");
    let error = error_after("ALTER TABLE rowbridge_offsets ADD CHECK (next_seq < 2)", &[1]).await;
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "23514"), "no message is at fault");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_transient() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let mut sink = PostgresSink::new(&Database {
        statement_timeout: Duration::from_millis(300),
        ..database(&place.server.url(&place.database))
    });
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, super::JOURNAL, Seq(1)).await.unwrap();
    let described = describe(&mut sink, "t").await;
    let (server, name) = (Arc::clone(&place.server), place.database.clone());
    let locker = std::thread::spawn(move || server.psql(&name, "BEGIN; LOCK TABLE t; SELECT pg_sleep(3)"));
    while place.sql("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'")
        == "0"
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = sink.write(&batch_of(1, &described, &MANY)).await.unwrap_err();
    // The table may be held by somebody, or the server slow: the walk finds out.
    assert_eq!((error.class, error.code.as_str()), (Class::RowOrTransient, "57014"), "{error}");
    sink.connect().await.unwrap();
    // Of an INSERT nobody knows whether it waited or a trigger took so long; the walk finds out.
    let error = sink.write(&batch_of(1, &described, &[1])).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::RowOrTransient, "57014"), "{error}");
    let Refusals { units, closed } = sink.refused_units(&batch_of(1, &described, &[1])).await.unwrap();
    assert!(units.is_empty() && closed.len() == 1, "{units:?} {closed:?}");
    let (held, error) = (&closed[0], &closed[0].error);
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "57014"), "{error}");
    assert!(held.is_its_own, "others of the database may go on");
    locker.join().unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_after_a_while() {
    let server = Postgres::start();
    let name = server.create_database();
    let mut sink = started(PostgresSink::new(&Database {
        statement_timeout: Duration::from_millis(500),
        ..database(&server.url(&name))
    }))
    .await;
    server.freeze();
    tokio::time::pause();
    let error = sink.write(&batch(1, 2)).await.unwrap_err();
    tokio::time::resume();
    server.thaw();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "timeout"), "{error}");
    sink.connect().await.unwrap();
    // The frozen transaction may have been committed when the server went on: both are right, twice is not.
    let offset = sink.offsets(BRIDGE).await.unwrap()[0].next_seq;
    assert!(offset == Seq(1) || offset == Seq(2));
}

#[tokio::test]
async fn a_batch_costs_three_round_trips_and_one_of_few_rows_or_none_a_single_one() {
    let place = Place::new();
    place.sql("CREATE TABLE a (v int); CREATE TABLE b (v int)");
    let one_way = Duration::from_millis(50);
    let wire = Wire::to(place.server.port(), one_way).await;
    let mut sink = started(PostgresSink::new(&database(&wire.url(&place.database)))).await;
    let (a, b) = (describe(&mut sink, "a").await, describe(&mut sink, "b").await);
    let one_table = |from: u64| batch_of(from, &a, &MANY);
    let two_tables = |from: u64, rows: &[i64]| {
        let mut batch = batch_of(from, &a, rows);
        let second = add_table(&mut batch, &b);
        add_unit(&mut batch, second, &[&[Cell::Int(1)]]);
        batch.offset.to = Seq(from + 65);
        batch.dead_letters = vec![dead_letter(from)];
        batch
    };
    let (many, few) = (|from: u64| two_tables(from, &MANY), |from: u64| two_tables(from, &[1, 2]));
    let no_rows = |from: u64| {
        let mut batch = batch(from, from + 65);
        batch.dead_letters = vec![dead_letter(from)];
        batch
    };
    let kinds: [(&dyn Fn(u64) -> rowbridge::batch::Batch, f64); 4] =
        [(&one_table, 3.0), (&many, 4.0), (&few, 1.0), (&no_rows, 1.0)];
    let mut from = 1;
    for (make, expected) in kinds {
        // In units of the wire's own delay; a busy machine only adds, so the least of several tells the round trips.
        let mut least = f64::INFINITY;
        for _ in 0..5 {
            let batch = make(from);
            from += 65;
            let started = Instant::now();
            sink.write(&batch).await.unwrap();
            least = least.min(started.elapsed().as_secs_f64() / (2.0 * one_way.as_secs_f64()));
        }
        assert!((expected..expected + 0.9).contains(&least), "{least} for {expected}");
    }
}

#[tokio::test]
async fn errors_of_the_login_are_sorted_and_never_show_the_password() {
    let hba =
        vec!["host all asked 127.0.0.1/32 scram-sha-256".to_owned(), "host all refused 127.0.0.1/32 reject".into()];
    let server = Postgres::start_with(crate::support::postgres::PostgresOptions { hba, ..Default::default() });
    // What newer servers have of themselves: before 14 passwords are kept by md5, before 15 anybody may create tables.
    server.psql(
        "postgres",
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE asked LOGIN PASSWORD 'geheim'; CREATE ROLE refused LOGIN;
         REVOKE CREATE ON SCHEMA public FROM public",
    );
    let port = server.port();
    let closed = crate::support::free_port();
    let cases = [
        (format!("postgres://asked:falsch@127.0.0.1:{port}/postgres"), Class::Table, "28P01"),
        (format!("postgres://asked@127.0.0.1:{port}/postgres"), Class::Table, "password"),
        (format!("postgres://refused@127.0.0.1:{port}/postgres"), Class::Table, "28000"),
        (format!("postgres://postgres@127.0.0.1:{port}/nowhere"), Class::Table, "3D000"),
        (format!("postgres://asked:falsch@127.0.0.1:{closed}/postgres"), Class::Transient, "connect"),
        (format!("postgres://asked:falsch@127.0.0.1:{closed},127.0.0.1:{port}/postgres"), Class::Transient, "connect"),
    ];
    for (url, class, code) in cases {
        let error = PostgresSink::new(&database(&url)).connect().await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code), "{url}: {error}");
        assert!(!format!("{error:?}").contains("falsch"));
        assert!(error.message.starts_with("connecting (127.0.0.1:"), "{error}");
    }
    let good = format!("postgres://asked:geheim@127.0.0.1:{closed},127.0.0.1:{port}/postgres");
    let error = PostgresSink::new(&database(&good)).connect().await.unwrap_err();
    assert_eq!(error.code, "42501", "the second host lets us in, where we may not create tables");
}
