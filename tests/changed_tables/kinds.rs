//! Each kind of change, once.

use super::Stage;

#[test]
fn a_value_is_what_was_published_whatever_type_its_column_had_before() {
    let mut stage = Stage::new(
        "ALTER DATABASE @db SET timezone = 'Asia/Kolkata';
         CREATE TABLE t (id int, f double precision, i bigint, at timestamp, j jsonb)",
        "columns: auto",
    );
    let message = |id: u32| format!(r#"{{"id":{id},"f":5,"i":5,"at":"2026-11-21T08:26:00Z","j":{{"a":1}}}}"#);
    stage.deliver(&message(1));
    stage.sql(
        "ALTER TABLE t ALTER f TYPE bigint, ALTER i TYPE double precision, ALTER at TYPE timestamptz USING at AT TIME ZONE 'UTC',
         ALTER j TYPE text",
    );
    stage.deliver(&message(2));
    let shown = "SELECT string_agg(concat_ws(' ', id, f, i, extract(epoch FROM at)::bigint, replace(j, ' ', '')), ';' ORDER BY id)
                 FROM t";
    let row = |id: u32| format!(r#"{id} 5 5 1795249560 {{"a":1}}"#);
    assert_eq!(stage.sql(shown), format!("{};{}", row(1), row(2)));
    assert_eq!(stage.letters(), "");
    assert_eq!(stage.count_in_log("the table was changed"), 1, "{}", stage.bridge.log());
    assert!(stage.bridge.log().contains("column `f` is bigint and no longer double precision"));
}

#[test]
fn what_a_table_has_come_to_take_is_no_dead_letter_any_more() {
    let mut stage = Stage::new(
        "CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN level AS int NOT NULL;
         CREATE TABLE t (id int, m mood, s varchar(2), n int NOT NULL, d int NOT NULL, l level)",
        "columns: auto",
    );
    let changes = [
        (r#"{"id":1,"m":"new","s":"a","n":1,"d":1,"l":1}"#, "ALTER TYPE mood ADD VALUE 'new'"),
        (r#"{"id":2,"m":"ok","s":"long","n":1,"d":1,"l":1}"#, "ALTER TABLE t ALTER s TYPE varchar(9)"),
        (r#"{"id":3,"m":"ok","s":"a","n":null,"d":1,"l":1}"#, "ALTER TABLE t ALTER n DROP NOT NULL"),
        (r#"{"id":4,"m":"ok","s":"a","n":1,"l":1}"#, "ALTER TABLE t ALTER d SET DEFAULT 7"),
        (r#"{"id":5,"m":"ok","s":"a","n":1,"d":1,"l":null}"#, "ALTER DOMAIN level DROP NOT NULL"),
    ];
    for (message, change) in changes {
        stage.deliver(message);
        stage.sql(change);
        stage.deliver(message);
    }
    assert_eq!(stage.letters(), "value,value,required,required,required");
    let rows = "SELECT string_agg(concat_ws(' ', id, m, s, n, d, l), ';' ORDER BY id) FROM t";
    assert_eq!(stage.sql(rows), "1 new a 1 1 1;2 ok long 1 1 1;3 ok a 1 1;4 ok a 1 7 1;5 ok a 1 1");
}

#[test]
fn what_a_table_no_longer_takes_is_a_dead_letter_from_then_on() {
    let mut stage = Stage::new("CREATE TABLE t (id int, s varchar(9), n int)", "columns: auto");
    stage.deliver(r#"{"id":1,"s":"long","n":null}"#);
    stage.sql("DELETE FROM t; ALTER TABLE t ALTER s TYPE varchar(2), ALTER n SET NOT NULL");
    stage.deliver(r#"{"id":2,"s":"long","n":1}"#);
    stage.deliver(r#"{"id":3,"s":"a","n":null}"#);
    stage.deliver(r#"{"id":4,"s":"a","n":1}"#);
    assert_eq!(stage.letters(), "value,required");
    assert_eq!(stage.sql("SELECT string_agg(id::text, ',') FROM t"), "4");
}

#[test]
fn under_columns_auto_an_added_column_is_filled_from_the_next_message_on() {
    let mut stage = Stage::new("CREATE TABLE t (id int)", "columns: auto");
    stage.deliver(r#"{"id":1,"temp":20.5}"#);
    stage.sql("ALTER TABLE t ADD COLUMN temp double precision");
    stage.deliver(r#"{"id":2,"temp":21.5}"#);
    stage.sql("ALTER TABLE t RENAME COLUMN temp TO celsius");
    stage.deliver(r#"{"id":3,"temp":22.5,"celsius":23.5}"#);
    stage.sql("ALTER TABLE t DROP COLUMN celsius");
    stage.deliver(r#"{"id":4,"celsius":24.5}"#);
    stage.sql("ALTER TABLE t ADD COLUMN celsius double precision");
    stage.deliver(r#"{"id":5,"celsius":25.5}"#);
    assert_eq!(stage.sql("SELECT string_agg(concat_ws(' ', id, celsius), ';' ORDER BY id) FROM t"), "1;2;3;4;5 25.5");
    assert_eq!(stage.letters(), "");
}

#[test]
fn a_not_null_column_that_nothing_fills_holds_with_the_sql_that_mends_it() {
    let mut stage = Stage::new("CREATE TABLE t (id int)", "columns: { id: payload.id }");
    stage.deliver(r#"{"id":1}"#);
    stage.sql("TRUNCATE t; ALTER TABLE t ADD COLUMN site text NOT NULL");
    stage.publisher.send("m/x", r#"{"id":2}"#);
    let (reason, mend) = stage.held();
    assert!(reason.contains("column `site` may not be null and has no default"), "{reason}");
    assert_eq!(stage.letters(), "");
    stage.sql(&mend);
    stage.bridge.wait_drained("cloud");
    assert_eq!(stage.sql("SELECT id FROM t"), "2");
    assert_eq!(stage.letters(), "");
}

#[test]
fn on_error_halt_does_not_hold_for_what_the_table_takes_by_now() {
    let mut stage = Stage::new(
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id int, m mood)",
        "on_error: halt, columns: { id: payload.id, m: payload.m }",
    );
    stage.deliver(r#"{"id":1,"m":"ok"}"#);
    stage.sql("ALTER TYPE mood ADD VALUE 'new'");
    stage.deliver(r#"{"id":2,"m":"new"}"#);
    assert_eq!(stage.sql("SELECT string_agg(m::text, ',' ORDER BY id) FROM t"), "ok,new");
    assert!(!stage.bridge.log().contains("held"), "{}", stage.bridge.log());
}

#[test]
fn another_table_under_the_same_name_gets_rows_in_its_own_form() {
    let mut stage = Stage::new("CREATE TABLE t (id int, v double precision)", "columns: auto");
    stage.deliver(r#"{"id":1,"v":5}"#);
    for (id, swap, shown) in [
        (
            2,
            "CREATE TABLE swapped (v bigint, id int); ALTER TABLE t RENAME TO old; ALTER TABLE swapped RENAME TO t",
            "t",
        ),
        (3, "DROP TABLE t; CREATE TABLE t (id bigint, v numeric(9,1))", "t"),
        (4, "DROP TABLE t; CREATE TABLE base (id int, v real); CREATE VIEW t AS SELECT v, id FROM base", "base"),
        (
            5,
            "DROP VIEW t; CREATE TABLE t (v int, id int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT",
            "t1",
        ),
    ] {
        stage.sql(&format!("BEGIN; {swap}; COMMIT"));
        stage.deliver(&format!(r#"{{"id":{id},"v":5}}"#));
        assert_eq!(stage.sql(&format!("SELECT id, v::int FROM {shown}")), format!("{id}|5"), "{swap}");
    }
    stage.sql("DROP TABLE t");
    stage.publisher.send("m/x", r#"{"id":6,"v":5}"#);
    let (reason, _) = stage.held();
    assert!(reason.contains("there is no table t"), "{reason}");
    stage.sql("CREATE TABLE t (id int, v text)");
    stage.bridge.wait_drained("cloud");
    assert_eq!(stage.sql("SELECT * FROM t"), "6|5");
    assert_eq!(stage.letters(), "");
}

#[test]
fn an_unlogged_table_is_warned_of_once_per_change_with_the_sql_that_mends_it() {
    const WARNING: &str = "is unlogged: after a crash";
    let mut stage = Stage::new("CREATE UNLOGGED TABLE t (id int)", "columns: auto");
    stage.deliver(r#"{"id":1}"#);
    assert!(stage.bridge.log().contains("ALTER TABLE \\\"public\\\".\\\"t\\\" SET LOGGED"), "{}", stage.bridge.log());
    // A reconnect is no news.
    stage.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rowbridge'");
    stage.deliver(r#"{"id":2}"#);
    assert_eq!(stage.count_in_log(WARNING), 1);
    stage.sql("ALTER TABLE t SET LOGGED");
    stage.deliver(r#"{"id":3}"#);
    assert_eq!(stage.count_in_log(WARNING), 1);
    stage.sql(
        "DROP TABLE t; CREATE TABLE t (id int) PARTITION BY LIST (id); CREATE UNLOGGED TABLE p PARTITION OF t DEFAULT",
    );
    stage.deliver(r#"{"id":4}"#);
    assert_eq!(stage.count_in_log(WARNING), 2);
    assert_eq!(stage.sql("SELECT id FROM t"), "4");
}
