//! Rows that are at fault in ways that hide each other: with another code each time, several kinds of them in one batch, or by
//! what they leave to the rows behind them.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const ROWS: i64 = 40;
const BAD: i64 = 17;
const TEXT: &str = "Grüße 日本";

/// A table with a trigger that does `what` before each row of which `condition` holds.
fn table(name: &str, what: &str, condition: &str) -> String {
    format!(
        "CREATE TABLE {name} (id int, w text);
         CREATE FUNCTION of_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF {condition} THEN {what}; END IF; RETURN NEW; END $$;
         CREATE TRIGGER t BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION of_{name}();"
    )
}

/// A bridge that has as many messages for each of `names`, in turn, while its tables are not there yet: one batch.
fn waiting(broker: &Mosquitto, url: &str, names: &[&str], options: &str) -> Bridge {
    let mut text = format!(
        "databases:\n  target: {{ url: '{url}', retry: {{ min: 20ms, max: 200ms }}, statement_timeout: 5s{options} }}\nrules:\n"
    );
    for name in names {
        text += &format!(
            "  - {{ name: {name}, topic: w/{name}, table: {name}, columns: {{ id: payload.id, w: payload.w }} }}\n"
        );
    }
    let mut bridge = Bridge::new(broker.port(), &text);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for id in 0..ROWS {
        for name in names {
            publisher.send(&format!("w/{name}"), format!("{{\"id\":{id},\"w\":\"{TEXT}\"}}"));
        }
    }
    let all = ROWS.unsigned_abs() * names.len() as u64;
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= all).then_some(()));
    bridge
}

/// A rule with a statement of its own is checked as well.
#[test]
fn a_trigger_that_changes_client_encoding_garbles_no_row_of_a_statement() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let tables = table("stated", "SET client_encoding = 'LATIN1'", &format!("NEW.id = {BAD}"));
    postgres.psql(&database, &tables);
    let body = format!(
        "databases:\n  target: {{ url: '{}', retry: {{ min: 20ms, max: 200ms }}, batch: {{ max_wait: 500ms }} }}\nrules:\n  - name: stated\n    \
         topic: w/stated\n    statement: INSERT INTO stated VALUES (:id, :w)\n    columns: {{ id: {{ from: payload.id, type: int }}, w: {{ from: payload.w, type: text }} }}\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for id in 0..ROWS {
        publisher.send("w/stated", format!("{{\"id\":{id},\"w\":\"{TEXT}\"}}"));
    }
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= ROWS.unsigned_abs()).then_some(()));
    bridge.wait_drained("target");
    assert_eq!(rows(&postgres, &database, "stated"), all_but(Some(BAD)));
    assert_eq!(letters(&postgres, &database), "stated constraint");
}

/// The texts of `table` by id, as `id text`.
fn rows(postgres: &Postgres, database: &str, table: &str) -> Vec<String> {
    let rows = postgres.psql(database, &format!("SELECT id || ' ' || w FROM {table} ORDER BY id"));
    rows.lines().map(str::to_owned).collect()
}

fn all_but(bad: Option<i64>) -> Vec<String> {
    (0..ROWS).filter(|id| Some(*id) != bad).map(|id| format!("{id} {TEXT}")).collect()
}

fn letters(postgres: &Postgres, database: &str) -> String {
    postgres.psql(database, "SELECT rule || ' ' || reason FROM rowbridge_dead_letters ORDER BY rule")
}

#[test]
fn a_row_that_is_refused_with_another_code_each_time_is_a_dead_letter() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let mut bridge = waiting(&broker, &postgres.url(&database), &["changing", "good"], "");
    let what = "RAISE EXCEPTION 'no' USING ERRCODE = (ARRAY['40001', '55P03', '57014'])[1 + nextval('turn') % 3]";
    let tables = [table("changing", what, &format!("NEW.id = {BAD}")), table("good", "NULL", "false")];
    postgres.psql(&database, &format!("BEGIN; CREATE SEQUENCE turn; {} COMMIT", tables.concat()));
    bridge.wait_drained("target");
    assert_eq!(rows(&postgres, &database, "changing"), all_but(Some(BAD)));
    assert_eq!(rows(&postgres, &database, "good"), all_but(None));
    assert_eq!(letters(&postgres, &database), "changing constraint");
}

const END: &str = "PERFORM pg_terminate_backend(pg_backend_pid())";
const COLLIDE: &str = "RAISE EXCEPTION 'no' USING ERRCODE = '40001'";

/// Tables are written in the order of their rules, so another fault is met first.
fn faults_of_several_kinds(names: [&str; 4], options: &str) {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let mut bridge = waiting(&broker, &postgres.url(&database), &names, options);
    if !options.is_empty() {
        bridge.wait_alive("all of them are parked", |bridge| {
            let target = &bridge.status()["databases"]["target"];
            (target["parked"].as_array()?.len() == 4 && target["pending"] == 0).then_some(())
        });
    }
    let bad = format!("NEW.id = {BAD}");
    let tables = [
        table("ending", END, &bad),
        table("colliding", COLLIDE, &bad),
        table("cancelled", "PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(1)", &bad),
        table("good", "NULL", "false"),
    ];
    postgres.psql(&database, &format!("BEGIN; {} COMMIT", tables.concat()));
    bridge.wait_alive("every table takes rows", |bridge| {
        let target = &bridge.status()["databases"]["target"];
        (target["parked"].as_array().is_some_and(Vec::is_empty) && target["pending"] == 0).then_some(())
    });
    for name in names {
        assert_eq!(rows(&postgres, &database, name), all_but((name != "good").then_some(BAD)), "{name}");
    }
    assert_eq!(letters(&postgres, &database), "cancelled constraint\ncolliding constraint\nending constraint");
}

#[test]
fn rows_with_faults_of_several_kinds_in_one_batch_are_dead_letters() {
    faults_of_several_kinds(["ending", "colliding", "cancelled", "good"], "");
    faults_of_several_kinds(["good", "cancelled", "colliding", "ending"], "");
}

#[test]
fn rows_with_faults_of_several_kinds_are_dead_letters_among_parked_messages_too() {
    faults_of_several_kinds(["good", "cancelled", "colliding", "ending"], ", park_after: 300ms");
}

/// The first of them is met before the one that ends the session, again and again.
#[test]
fn rows_with_faults_of_several_kinds_in_one_table_are_dead_letters() {
    for options in ["", ", park_after: 300ms"] {
        let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
        let database = postgres.create_database();
        let mut bridge = waiting(&broker, &postgres.url(&database), &["mixed", "good"], options);
        if !options.is_empty() {
            bridge.wait_alive("both are parked", |bridge| {
                let target = &bridge.status()["databases"]["target"];
                (target["parked"].as_array()?.len() == 2 && target["pending"] == 0).then_some(())
            });
        }
        let what = format!("IF NEW.id = {BAD} THEN {COLLIDE}; ELSE {END}; END IF");
        let tables = [table("mixed", &what, &format!("NEW.id IN ({BAD}, {BAD} + 3)")), table("good", "NULL", "false")];
        postgres.psql(&database, &format!("BEGIN; {} COMMIT", tables.concat()));
        bridge.wait_alive("both tables take rows", |bridge| {
            let target = &bridge.status()["databases"]["target"];
            (target["parked"].as_array().is_some_and(Vec::is_empty) && target["pending"] == 0).then_some(())
        });
        let mut expected = all_but(Some(BAD));
        expected.retain(|row| !row.starts_with(&format!("{} ", BAD + 3)));
        assert_eq!(rows(&postgres, &database, "mixed"), expected);
        assert_eq!(rows(&postgres, &database, "good"), all_but(None));
        assert_eq!(letters(&postgres, &database), "mixed constraint\nmixed constraint");
    }
}

/// The server takes what comes behind such a row for texts of another encoding.
#[test]
fn a_trigger_that_changes_client_encoding_garbles_no_row() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    const NAMES: [&str; 3] = ["always", "good", "once"];
    let mut bridge = waiting(&broker, &postgres.url(&database), &NAMES, ", park_after: 3s");
    let change = "SET client_encoding = 'LATIN1'";
    let tables = [
        table("always", change, "true"),
        table("once", change, &format!("NEW.id = {BAD}")),
        table("good", "NULL", "false"),
    ];
    postgres.psql(&database, &format!("BEGIN; {} COMMIT", tables.concat()));
    bridge.wait_alive("the rows of one table are parked", |bridge| {
        let target = &bridge.status()["databases"]["target"];
        (target["parked"][0]["messages"] == ROWS && target["pending"] == 0).then_some(())
    });
    let reason = bridge.status()["databases"]["target"]["parked"][0]["reason"].to_string();
    assert!(reason.contains("client_encoding"), "{reason}");
    assert_eq!(rows(&postgres, &database, "good"), all_but(None));
    assert_eq!(rows(&postgres, &database, "once"), all_but(Some(BAD)));
    postgres.psql(&database, "DROP TRIGGER t ON always");
    bridge.wait_alive("nothing is parked any more", |bridge| {
        bridge.status()["databases"]["target"]["parked"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    assert_eq!(rows(&postgres, &database, "always"), all_but(None));
    assert_eq!(letters(&postgres, &database), "once constraint");
}
