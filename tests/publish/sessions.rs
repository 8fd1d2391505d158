//! What the triggers leave in the session that writes: nothing.

use super::{Source, publisher, wait_capturing};
use crate::support::mosquitto::Mosquitto;
use crate::support::subscriber::Subscriber;

#[test]
fn the_session_that_writes_keeps_its_lastval_its_counts_and_its_settings() {
    let (broker, source) = (Mosquitto::start(), Source::postgres());
    source.run("CREATE TABLE t (id serial PRIMARY KEY, v integer)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let entry = "  - table: t\n    events: [insert, update]\n    topic: t\n    format: row\n";
    let mut bridge = publisher(&broker, &source, entry);
    bridge.start();
    wait_capturing(&mut bridge, &source, 2);
    let shown = source.run(
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET search_path = public; SELECT setseed(0.5); \
         INSERT INTO t (v) VALUES (1); SELECT lastval(); UPDATE t SET v = 2; SELECT lastval(), currval('t_id_seq'); \
         SELECT current_setting('TimeZone'), current_setting('search_path'), current_setting('bytea_output'), current_user; \
         CREATE FUNCTION pg_temp.counts() RETURNS text LANGUAGE plpgsql AS $$ DECLARE n integer; BEGIN \
         UPDATE t SET v = v WHERE false; GET DIAGNOSTICS n = ROW_COUNT; RETURN n || ' ' || FOUND; END $$; \
         SELECT pg_temp.counts();",
    );
    let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["1", "1|1", "America/New_York|public|hex|postgres", "0 false"]);
    subscriber.wait_for(2);
}

#[test]
fn changes_keep_their_order_through_savepoints_functions_and_settings_that_are_reset() {
    let (broker, source) = (Mosquitto::start(), Source::postgres());
    source.run("CREATE TABLE t (id integer)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: .row.id\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    source.run(
        "CREATE FUNCTION add(n integer) RETURNS void LANGUAGE sql SET search_path = public SET TimeZone = 'UTC' \
         AS 'INSERT INTO t VALUES (n), (n + 1)'; \
         BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (100), (101), (102); ROLLBACK TO s; \
         INSERT INTO t VALUES (2), (3); SELECT add(4); SELECT add(6); RELEASE s; RESET ALL; INSERT INTO t VALUES (8); \
         DO $$ BEGIN INSERT INTO t VALUES (103); RAISE 'no'; EXCEPTION WHEN OTHERS THEN INSERT INTO t VALUES (9); END $$; \
         SELECT add(10); COMMIT; INSERT INTO t VALUES (12);",
    );
    let expected: Vec<String> = (1..=12).map(|id| id.to_string()).collect();
    assert_eq!(subscriber.wait_for(12), expected);
}

#[test]
fn serializable_transactions_that_write_to_a_published_table_do_not_make_each_other_fail() {
    let (broker, source) = (Mosquitto::start(), Source::postgres());
    source.run("CREATE TABLE t (id integer)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: .row.id\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    std::thread::scope(|scope| {
        for session in 0..4 {
            let source = &source;
            scope.spawn(move || {
                let insert = format!("INSERT INTO t VALUES ({session}); SELECT pg_sleep(0.1);");
                source.run(&format!("BEGIN ISOLATION LEVEL SERIALIZABLE; {} COMMIT;", insert.repeat(5)));
            });
        }
    });
    subscriber.wait_for(20);
}

#[test]
fn what_the_first_version_made_goes_on() {
    let (broker, source) = (Mosquitto::start(), Source::postgres());
    source.run("CREATE TABLE t (id serial PRIMARY KEY)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: '[.offset, .row.id]'\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    assert!(bridge.stop().success());
    // A trigger that does not know its table's name, and a function that takes the table's own numbers.
    source.run(
        "DO $$ DECLARE r record; BEGIN SELECT tgname, split_part(encode(tgargs, 'escape'), E'\\\\000', 1) AS id INTO r \
         FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal; \
         EXECUTE format('DROP TRIGGER %1$I ON t; CREATE TRIGGER %1$I AFTER INSERT ON t REFERENCING NEW TABLE AS rowbridge_new \
         FOR EACH STATEMENT EXECUTE FUNCTION rowbridge_capture(%2$L)', r.tgname, r.id); END $$; \
         CREATE OR REPLACE FUNCTION rowbridge_capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
         INSERT INTO rowbridge_changes (publication, xact, event, new_row) \
         SELECT TG_ARGV[0]::bigint, txid_current(), 'insert', row_to_json(n.*)::text FROM rowbridge_new n; RETURN NULL; END $$; \
         INSERT INTO t SELECT FROM generate_series(1, 3)",
    );
    bridge.start();
    subscriber.wait_for(3);
    assert_eq!(source.run("INSERT INTO t DEFAULT VALUES; SELECT lastval()"), "4");
    assert_eq!(subscriber.wait_for(4), ["[1,1]", "[2,2]", "[3,3]", "[4,4]"]);
    assert!(!bridge.log().contains("put back"), "{}", bridge.log());
}
