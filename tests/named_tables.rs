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
