//! Tables that take rows by INSERT only: rules, row-level security, views, foreign tables.

use std::sync::Arc;

use rowbridge::batch::Batch;
use rowbridge::config::{DatabaseUrl, PostgresUrl};
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, PostgresSink, Sink as _};

use super::{Place, add_table, add_unit, batch, batch_of, database, describe, started};
use crate::sink_contract::series::Made;

/// A sink whose role may write into the tables made so far, but owns none of them.
pub(super) async fn as_role(place: &Place, role: &str) -> PostgresSink {
    place.sql(&format!(
        "DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         GRANT CREATE, USAGE ON SCHEMA public TO {role}; GRANT INSERT ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT ALL ON rowbridge_offsets, rowbridge_dead_letters, rowbridge_schema_version TO {role}"
    ));
    let mut database = database(&place.server.url(&place.database));
    let DatabaseUrl::Postgres(url) = &mut database.url else { unreachable!() };
    let PostgresUrl { config, .. } = url.as_mut();
    config.user(role);
    started(PostgresSink::new(&database)).await
}

/// Writes values one to `count` by a batch, a series of three and a walk, so each three times.
async fn write_in_every_way(sink: &mut PostgresSink, table: &Arc<TableSchema>, count: i64) {
    let offset = async |sink: &mut PostgresSink| sink.offsets(super::BRIDGE).await.unwrap()[0].next_seq.0;
    let values: Vec<i64> = (1..=count).collect();
    let from = offset(sink).await;
    sink.write(&batch_of(from, table, &values)).await.unwrap();
    let from = offset(sink).await;
    let portions = values.chunks(values.len().div_ceil(3));
    let batches: Vec<Batch> = portions
        .scan(from, |from, portion| {
            let batch = batch_of(*from, table, portion);
            *from = batch.offset.to.0;
            Some(batch)
        })
        .collect();
    sink.write_series(&mut Made::of(batches)).await.unwrap();
    let from = offset(sink).await;
    sink.write_in_order(&batch_of(from, table, &values)).await.unwrap();
}

fn swallowed(written: &rowbridge::sink::Written) -> u64 {
    written.swallowed.iter().map(|one| one.rows).sum()
}

#[tokio::test]
async fn a_rewrite_rule_acts_on_every_row_as_it_does_on_an_insert() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE t (v int); CREATE TABLE hot (v int); CREATE TABLE log (v int);
         CREATE RULE hot AS ON INSERT TO t WHERE NEW.v > 90 DO INSTEAD INSERT INTO hot VALUES (NEW.v);
         CREATE RULE log AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.v);
         CREATE TABLE all_hot (v int);
         CREATE RULE hot AS ON INSERT TO all_hot DO INSTEAD INSERT INTO hot VALUES (NEW.v);
         CREATE TABLE disabled (v int); CREATE RULE no AS ON INSERT TO disabled DO INSTEAD NOTHING;
         ALTER TABLE disabled DISABLE RULE no",
    );
    let mut sink = place.started().await;
    let (t, all_hot) = (describe(&mut sink, "t").await, describe(&mut sink, "all_hot").await);
    assert!(t.intake.by_insert && t.intake.diverts && all_hot.intake.by_insert);
    // Nobody tells when it is enabled.
    let disabled = describe(&mut sink, "disabled").await;
    assert!(disabled.intake.by_insert && !disabled.intake.diverts);
    write_in_every_way(&mut sink, &t, 100).await;
    assert_eq!(place.sql("SELECT count(*), min(v), max(v) FROM hot"), "30|91|100");
    assert_eq!(place.sql("SELECT count(*), max(v) FROM t"), "270|90");
    assert_eq!(place.sql("SELECT count(*), sum(v) FROM log"), format!("300|{}", 3 * 5_050));
    write_in_every_way(&mut sink, &all_hot, 10).await;
    assert_eq!(place.sql("SELECT count(*) FROM hot"), "60");
    assert_eq!(place.state("all_hot"), (331, 0));
    let written = sink.write(&batch_of(331, &t, &[1, 99])).await.unwrap();
    assert_eq!(swallowed(&written), 0, "what a rule puts elsewhere is not swallowed");
}

#[tokio::test]
async fn rows_that_a_rule_ignores_are_told_as_swallowed() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int); CREATE RULE none AS ON INSERT TO t WHERE NEW.v < 3 DO INSTEAD NOTHING");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    assert!(table.intake.by_insert && !table.intake.diverts);
    assert_eq!(swallowed(&sink.write(&batch_of(1, &table, &[1, 2, 3, 4])).await.unwrap()), 2);
    let batches = vec![batch_of(5, &table, &[1]), batch_of(6, &table, &[2, 3])];
    assert_eq!(swallowed(&sink.write_series(&mut Made::of(batches)).await.unwrap()), 2);
    assert_eq!(swallowed(&sink.write_in_order(&batch_of(8, &table, &[2])).await.unwrap()), 1);
    assert_eq!(place.state("t"), (9, 3));
}

#[tokio::test]
async fn a_row_that_a_policy_forbids_is_refused_by_itself_and_the_others_go_in() {
    let place = Place::new();
    place.sink().connect().await.unwrap();
    place.sql(
        "CREATE TABLE t (v int); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY small ON t FOR INSERT WITH CHECK (v < 100)",
    );
    let mut sink = as_role(&place, "bridge_of_policies").await;
    let table = describe(&mut sink, "t").await;
    assert!(table.intake.by_insert);
    let mut batch = batch_of(1, &table, &[1, 200, 3, 4, 500, 6]);
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Row);
    let refused = sink.refused_units(&batch).await.unwrap().units;
    assert_eq!(refused.iter().map(|refusal| refusal.unit).collect::<Vec<_>>(), [1, 4]);
    for refusal in &refused {
        assert_eq!(refusal.reason, "constraint");
        assert!(refusal.message.contains("row-level security") && !refusal.message.contains("200"), "{refusal:?}");
    }
    batch.excluded = vec![1, 4];
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (7, 4));
    write_in_every_way(&mut sink, &table, 99).await;
    assert_eq!(place.state("t"), (7 + 3 * 99, 4 + 3 * 99));
}

/// Who is above the policies goes the quick way.
#[tokio::test]
async fn only_where_policies_apply_to_the_role_do_rows_go_by_insert() {
    let place = Place::new();
    place.sink().connect().await.unwrap();
    place.sql(
        "CREATE TABLE t (v int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON t WITH CHECK (true)",
    );
    assert!(!describe(&mut place.started().await, "t").await.intake.by_insert, "a superuser");
    let mut owner = as_role(&place, "bridge_and_owner").await;
    assert!(describe(&mut owner, "t").await.intake.by_insert, "one of many");
    place.sql("ALTER TABLE t OWNER TO bridge_and_owner");
    assert!(!describe(&mut owner, "t").await.intake.by_insert, "the owner");
    place.sql("ALTER TABLE t FORCE ROW LEVEL SECURITY");
    assert!(describe(&mut owner, "t").await.intake.by_insert, "the owner, by force");
    place.sql("ALTER ROLE bridge_and_owner BYPASSRLS");
    assert!(!describe(&mut owner, "t").await.intake.by_insert, "who bypasses them");
}

#[tokio::test]
async fn a_plain_view_takes_rows_and_its_check_option_refuses_one_by_itself() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE base (v int, at timestamptz DEFAULT now());
         CREATE VIEW t AS SELECT v FROM base WHERE v < 1000 WITH CHECK OPTION",
    );
    let mut sink = place.started().await;
    let view = describe(&mut sink, "t").await;
    let batch = batch_of(1, &view, &[1, 2_000, 3]);
    let error = sink.write(&batch).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Row, "44000"));
    let refused = sink.refused_units(&batch).await.unwrap().units;
    assert_eq!(refused.iter().map(|refusal| refusal.unit).collect::<Vec<_>>(), [1]);
    write_in_every_way(&mut sink, &view, 50).await;
    assert_eq!(place.sql("SELECT count(*), count(at) FROM base"), "150|150");
}

#[tokio::test]
async fn a_view_with_an_instead_of_trigger_takes_rows_and_tells_which_it_ignored() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE base (v int); CREATE VIEW t AS SELECT DISTINCT v FROM base;
         CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.v = 13 THEN RETURN NULL; END IF; INSERT INTO base VALUES (NEW.v); RETURN NEW; END $$;
         CREATE TRIGGER keep INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let mut sink = place.started().await;
    let view = describe(&mut sink, "t").await;
    assert_eq!(swallowed(&sink.write(&batch_of(1, &view, &[12, 13, 14])).await.unwrap()), 1);
    assert_eq!(place.state("base"), (4, 2));
    write_in_every_way(&mut sink, &view, 12).await;
    assert_eq!(place.state("base"), (40, 38));
}

#[tokio::test]
async fn a_view_that_takes_no_rows_holds_with_the_servers_own_hint() {
    let place = Place::new();
    place.sql("CREATE TABLE base (v int); CREATE VIEW t AS SELECT DISTINCT v FROM base");
    let mut sink = place.started().await;
    let view = describe(&mut sink, "t").await;
    let error = sink.write(&batch_of(1, &view, &[1])).await.unwrap_err();
    assert_eq!((error.class.without_a_row(), error.code.as_str()), (Class::Table, "55000"));
    assert!(error.message.contains("INSTEAD OF INSERT trigger"), "{}", error.message);
    assert!(sink.offsets(super::BRIDGE).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn a_foreign_table_takes_rows() {
    let place = Place::new();
    let (port, database) = (place.server.port(), &place.database);
    place.sql(&format!(
        "CREATE TABLE far (v int CHECK (v < 1000)); CREATE EXTENSION postgres_fdw;
         CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname '{database}');
         CREATE USER MAPPING FOR postgres SERVER there OPTIONS (user 'postgres');
         CREATE FOREIGN TABLE t (v int) SERVER there OPTIONS (table_name 'far')"
    ));
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    write_in_every_way(&mut sink, &table, 40).await;
    assert_eq!(place.state("far"), (121, 120));
    let batch = batch_of(121, &table, &[1, 5_000]);
    assert_eq!(sink.refused_units(&batch).await.unwrap().units[0].unit, 1);
}

/// What goes by INSERT is the same to the last bit as what goes by COPY, for every type.
#[tokio::test]
async fn every_type_arrives_by_insert_as_it_does_by_copy() {
    let place = Place::new();
    place.sql(
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('ok', 'so so'); CREATE DOMAIN small AS int CHECK (VALUE < 100);
         CREATE DOMAIN code AS varchar(5);
         CREATE TABLE base (b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(10,2), t text,
             vc varchar(4), c char(4), ci citext, j json, jb jsonb, by bytea, u uuid, d date, ti time, ts timestamp,
             tz timestamptz, iv interval, ip inet, m mood, s small, co code, ai int[], at text[], am mood[], nm name);
         CREATE VIEW v AS SELECT * FROM base",
    );
    let mut sink = place.started().await;
    let (base, view) = (describe(&mut sink, "base").await, describe(&mut sink, "v").await);
    let (ints, texts, moods) =
        ([Cell::Int(1), Cell::Null, Cell::Int(-3)], [Cell::Text("a,\"b"), Cell::Text("")], [Cell::Text("so so")]);
    let full = [
        Cell::Bool(true),
        Cell::Int(-32_768),
        Cell::Int(i64::from(i32::MIN)),
        Cell::Int(i64::MAX),
        Cell::Float(1.5),
        Cell::Float(5e-324),
        Cell::Decimal("123456789012345678901234567890.000000001"),
        Cell::Decimal("-0.05"),
        Cell::Text("é\n\\N'\"$1"),
        Cell::Text("abcd"),
        Cell::Text("ab"),
        Cell::Text("CaSe"),
        Cell::Text("{\"a\": 1 }"),
        Cell::Text("{\"a\": 1 }"),
        Cell::Bytes(&[0, 255, 92]),
        Cell::Uuid([7; 16]),
        Cell::Date(-1),
        Cell::Time(86_399_999_999),
        Cell::Timestamp(1_700_000_000_123_457),
        Cell::Timestamp(-1),
        Cell::Interval { months: -1, days: 2, micros: 3 },
        Cell::Text("10.0.0.0/8"),
        Cell::Text("ok"),
        Cell::Int(99),
        Cell::Text("abcde"),
        Cell::Array(&ints),
        Cell::Array(&texts),
        Cell::Array(&moods),
        Cell::Text("a name"),
    ];
    let empty = [Cell::Null; 29];
    for (from, table) in [(1, &base), (3, &view)] {
        let mut batch = batch(from, from + 2);
        let target = add_table(&mut batch, table);
        add_unit(&mut batch, target, &[&full]);
        add_unit(&mut batch, target, &[&empty]);
        sink.write(&batch).await.unwrap();
    }
    let rows = place.sql("SELECT base::text FROM base ORDER BY ctid");
    let rows: Vec<&str> = rows.split("\n(").collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!((rows[0].trim_start_matches('('), rows[1]), (rows[2], rows[3]));
    assert!(rows[0].contains("123456789012345678901234567890.000000001"), "{}", rows[0]);
    // What a type refuses is that row's fault, and no other's.
    let mut bad = batch(5, 7);
    let target = add_table(&mut bad, &view);
    let mut row = full;
    row[23] = Cell::Int(100);
    add_unit(&mut bad, target, &[&row]);
    add_unit(&mut bad, target, &[&full]);
    let refused = sink.refused_units(&bad).await.unwrap().units;
    assert_eq!(refused.iter().map(|refusal| (refusal.unit, refusal.reason)).collect::<Vec<_>>(), [(0, "constraint")]);
}

#[tokio::test]
async fn tables_with_and_without_copy_share_batches_and_series_in_any_order() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE a (v int); CREATE TABLE b (v int); CREATE VIEW w AS SELECT v FROM b; CREATE TABLE c (v int)",
    );
    let mut sink = place.started().await;
    let (a, w, c) = (describe(&mut sink, "a").await, describe(&mut sink, "w").await, describe(&mut sink, "c").await);
    let of = |from: u64, tables: &[&Arc<TableSchema>]| {
        let mut made = batch(from, from + 10);
        for table in tables {
            let target = add_table(&mut made, table);
            // More than one statement holds.
            (0..10_000).for_each(|value| add_unit(&mut made, target, &[&[Cell::Int(value)]]));
        }
        made
    };
    let orders = [[&a, &w, &c], [&w, &a, &c], [&a, &c, &w]];
    for (index, order) in orders.iter().enumerate() {
        sink.write(&of(1 + 10 * index as u64, order)).await.unwrap();
    }
    let batches = orders.iter().enumerate().map(|(index, order)| of(31 + 10 * index as u64, order));
    let written = sink.write_series(&mut Made::of(batches.collect())).await.unwrap();
    assert_eq!(swallowed(&written), 0);
    for table in ["a", "b", "c"] {
        assert_eq!(place.sql(&format!("SELECT count(*), sum(v), max(v) FROM {table}")), "60000|299970000|9999");
    }
    // A refusal in the one takes the rows of the others back.
    place.sql("ALTER TABLE b ADD CHECK (v < 10000)");
    for order in orders {
        let mut bad = of(61, &order);
        let target = bad.portions.iter().position(|rows| Arc::ptr_eq(&rows.target.table, &w)).unwrap();
        add_unit(&mut bad, target, &[&[Cell::Int(10_000)]]);
        assert_eq!(sink.write(&bad).await.unwrap_err().class, Class::Row);
        if sink.offsets(super::BRIDGE).await.is_err() {
            sink.connect().await.unwrap();
        }
        assert_eq!(place.state("a"), (61, 60_000));
    }
}
