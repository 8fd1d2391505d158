//! Tables that messages name.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{column, count, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const SITES: usize = 40;
const MESSAGES: usize = 400;

#[test]
fn each_message_goes_to_the_table_that_its_topic_names_over_a_kill_too() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = |name: &str| {
        format!(
            "  - name: {name}\n    topic: plant/{{site}}\n    database: {name}\n    table: \"{{topic.site}}_t\"\n    \
             tables: [\"s*_t\"]\n    table_aliases: {{ old_t: s0_t }}\n    create: true\n    columns:\n      \
             id: {{ from: payload.id, type: bigint }}\n"
        )
    };
    let url = postgres.url(&database);
    let body = format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{}{}",
        rule("local"),
        rule("far")
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for id in 0..MESSAGES {
        publisher.send(&format!("plant/s{}", id % SITES), format!("{{\"id\":{id}}}"));
        if id == MESSAGES / 2 {
            bridge.kill();
            bridge.start();
        }
    }
    publisher.send("plant/old", "{\"id\":9000}");
    publisher.send("plant/rowbridge_offsets", "{\"id\":1}");
    publisher.send("plant/n", "{\"id\":1}");
    bridge.wait_alive("all are journaled", |bridge| {
        let next = bridge.status()["journal"]["next_seq"].as_u64()?;
        (next > MESSAGES as u64 + 3).then_some(())
    });
    bridge.wait_drained("local");
    bridge.wait_drained("far");
    let file = bridge.rows();
    // At QoS 1 what was not acknowledged before the kill comes again.
    for site in 0..SITES {
        let sql = format!("SELECT group_concat(id, ',') FROM (SELECT DISTINCT id FROM s{site}_t ORDER BY id)");
        let mut expected: Vec<String> = (site..MESSAGES).step_by(SITES).map(|id| id.to_string()).collect();
        expected.extend((site == 0).then(|| "9000".to_owned()));
        assert_eq!(value::<String>(&file, &sql), expected.join(","));
        let sql =
            format!("SELECT string_agg(id::text, ',' ORDER BY id) FROM (SELECT DISTINCT id FROM s{site}_t) AS ids");
        assert_eq!(postgres.psql(&database, &sql), expected.join(","));
    }
    let letters: Vec<String> = column(&file, "SELECT topic || ' ' || reason FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(letters, ["plant/rowbridge_offsets no_table", "plant/n no_table"]);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "2");
}

/// Nothing is made, and what is there later is found.
#[test]
fn a_table_that_is_not_there_makes_dead_letters_until_it_is() {
    let broker = Mosquitto::start();
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - topic: '{table}/set'\n    table: '{topic.table}'\n    \
                tables: '*'\n    columns: auto\n";
    let mut bridge = Bridge::new(broker.port(), body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("later/set", r#"{"v":1}"#);
    bridge.wait_alive("a dead letter", |bridge| (count(&bridge.rows(), "rowbridge_dead_letters") == 1).then_some(()));
    let error: String = value(&bridge.rows(), "SELECT error FROM rowbridge_dead_letters");
    assert!(error.starts_with("there is no table later: create it"), "{error}");
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    connection.execute_batch("CREATE TABLE later (v INTEGER)").unwrap();
    // Looked for again after a second; until then there are more dead letters.
    bridge.wait_alive("a row", |bridge| {
        publisher.send("later/set", r#"{"v":2}"#);
        (count(&bridge.rows(), "later") > 0).then_some(())
    });
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT min(v) FROM later"), 2);
}

/// Both rules were parked, with their messages for other tables, because they have one template.
#[test]
fn a_message_to_a_table_that_takes_no_rows_is_a_dead_letter_and_the_rules_go_on() {
    let (broker, postgres) = (Mosquitto::start(), Postgres::shared());
    let database = postgres.create_database();
    let vw = "CREATE VIEW vw AS SELECT 1 AS v";
    postgres.psql(
        &database,
        &format!(
            "DO $$ BEGIN CREATE ROLE bridge_of_names LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; {vw};
             CREATE TABLE good (v int); CREATE TABLE closed (v int); CREATE TABLE broken (v int);
             CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO gone VALUES (1); RETURN NEW; END $$;
             CREATE TRIGGER break BEFORE INSERT ON broken FOR EACH ROW EXECUTE FUNCTION break();
             GRANT CREATE, USAGE ON SCHEMA public TO bridge_of_names; GRANT INSERT ON good, vw, broken TO bridge_of_names"
        ),
    );
    let url = postgres.url(&database).replace("postgres@", "bridge_of_names@");
    let mut rules = String::new();
    for database in ["local", "far"] {
        for name in ["a", "b"] {
            rules += &format!(
                "  - {{ name: {database}-{name}, topic: '{name}/{{n}}', database: {database}, table: '{{topic.n}}', \
                 tables: '*', columns: {{ v: payload.v }} }}\n"
            );
        }
        rules += &format!(
            "  - {{ name: {database}-j, topic: '/+/+', database: {database}, convention: joinbase, tables: '*' }}\n"
        );
    }
    let body = format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db', park_after: 1h }}\n  far: {{ url: '{url}', park_after: 1h }}\n\
         rules:\n{rules}"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    let local = rusqlite::Connection::open(bridge.rows()).unwrap();
    local
        .execute_batch(&format!(
            "CREATE TABLE good (v INTEGER); CREATE TABLE closed (v INTEGER); CREATE TABLE broken (v INTEGER); {vw};
             CREATE TRIGGER break BEFORE INSERT ON broken BEGIN INSERT INTO gone VALUES (1); END"
        ))
        .unwrap();
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let mut sent = 0;
    for table in ["vw", "good", "closed", "good", "broken", "good", "vw", "closed", "good"] {
        for topic in [format!("a/{table}"), format!("b/{table}"), format!("/{database}/{table}")] {
            sent += 1;
            publisher.send(&topic, format!("{{\"v\":{sent}}}"));
        }
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= sent).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");
    let good: Vec<i64> = column(&bridge.rows(), "SELECT v FROM good ORDER BY rowid");
    assert_eq!(good, [4, 5, 6, 10, 11, 12, 16, 17, 18, 25, 26, 27]);
    let far = postgres.psql(&database, "SELECT string_agg(v::text, ',' ORDER BY ctid) FROM good");
    assert_eq!(far, "4,5,6,10,11,12,16,17,18,25,26,27");
    let letters = "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = 'no_table'";
    assert_eq!(value::<i64>(&bridge.rows(), letters), 9, "those of vw and broken");
    assert_eq!(postgres.psql(&database, letters), "15");
    let status = bridge.status();
    for name in ["local", "far"] {
        let state = &status["databases"][name];
        assert!(state["held"].is_null() && state["parked"].as_array().is_some_and(Vec::is_empty), "{state}");
    }
    let errors = "SELECT DISTINCT error FROM rowbridge_dead_letters WHERE topic LIKE '/%/closed'";
    let error = postgres.psql(&database, errors);
    assert!(error.contains("42501") && error.contains("GRANT INSERT ON TABLE public.closed TO"), "{error}");
    // With the right, new messages go in after a second at most, and the old ones by a retry.
    postgres.psql(&database, "GRANT INSERT ON closed TO bridge_of_names");
    bridge.wait_alive("a row", |bridge| {
        publisher.send("a/closed", "{\"v\":100}");
        let drained = bridge.status()["databases"]["far"]["pending"] == 0;
        (drained && postgres.psql(&database, "SELECT count(*) FROM closed") != "0").then_some(())
    });
    let retried = bridge.command(&["dead-letters", "retry", "--database", "far", "--rule", "far-b"]);
    let said = String::from_utf8_lossy(&retried.stdout).into_owned() + &String::from_utf8_lossy(&retried.stderr);
    assert_eq!(postgres.psql(&database, "SELECT v FROM closed WHERE v < 100 ORDER BY ctid"), "8\n23", "{said}");
    let left = "SELECT string_agg(DISTINCT topic, ',') FROM rowbridge_dead_letters WHERE rule = 'far-b'";
    assert_eq!(postgres.psql(&database, left), "b/broken,b/vw", "{said}");
    // As an earlier version parked them: they go in, or are dead letters again.
    assert!(bridge.stop().success());
    let park = "UPDATE rowbridge_dead_letters SET reason = 'table' WHERE rule IN ('far-b', 'local-b')";
    postgres.psql(&database, park);
    local.execute_batch(&format!("{park}; DROP VIEW vw; CREATE TABLE vw (v INTEGER)")).unwrap();
    bridge.start();
    bridge.wait_alive("nothing is parked", |bridge| {
        let databases = bridge.status()["databases"].clone();
        let is_free = |name: &str| databases[name]["parked"].as_array().is_some_and(Vec::is_empty);
        let parked = "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = 'table'";
        let none_is_left = postgres.psql(&database, parked) == "0" && value::<i64>(&bridge.rows(), parked) == 0;
        (is_free("far") && is_free("local") && none_is_left).then_some(())
    });
    assert_eq!(postgres.psql(&database, left), "b/broken,b/vw");
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT v FROM vw ORDER BY rowid"), [2, 20]);
    assert_eq!(value::<i64>(&bridge.rows(), letters), 7);
}
