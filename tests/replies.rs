//! `reply: true`: answers after COMMIT, to the topics that messages name and no others.

use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::publisher::Publisher;
use crate::support::subscriber::Subscriber;
use crate::support::wait_for;

/// A rule with `reply`; a table that takes no negative numbers.
const RULE: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: numbers
    topic: in/{kind}
    table: numbers
    columns: { kind: topic.kind, n: { from: payload.n, type: bigint, required: true } }
    reply: true
    reply_prefix: replies
";

const TABLE: &str = "CREATE TABLE numbers (kind TEXT, n INTEGER NOT NULL CHECK (n >= 0))";

const FORMAT: &str = "%t %q %D %C %p";

fn bridge(port: u16, body: &str) -> Bridge {
    let bridge = Bridge::new(port, body);
    let db = rusqlite::Connection::open(bridge.rows()).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}")).unwrap();
    bridge
}

/// Topic, QoS, correlation data, and the answer without its time, which is a duration.
#[track_caller]
fn answers(subscriber: &Subscriber, count: usize) -> Vec<(String, Value)> {
    let parse = |line: &String| {
        let (head, payload) = line.split_at(line.find('{').unwrap());
        let mut answer: Value = serde_json::from_str(payload).unwrap();
        let elapse = answer.as_object_mut().unwrap().remove("elapse").unwrap();
        let elapse = elapse.as_str().unwrap();
        assert!(elapse.ends_with('s') && elapse.starts_with(|c: char| c.is_ascii_digit()), "{elapse}");
        (head.trim_end().to_owned(), answer)
    };
    subscriber.wait_for(count).iter().map(parse).collect()
}

fn success(rows: u64) -> Value {
    json!({ "success": true, "reason": format!("success, {rows} record(s) inserted") })
}

/// An answer is counted when the broker acknowledges it, which may be after its reader has it.
#[track_caller]
fn wait_counted(bridge: &Bridge, expected: &Value) {
    wait_for("the answers are counted", || (bridge.status()["mqtt"]["outbound"]["answers"] == *expected).then_some(()));
}

#[test]
fn a_message_is_answered_when_it_is_committed_or_refused() {
    let broker = Mosquitto::start();
    let subscriber = Subscriber::start(broker.port(), "replies/#", FORMAT);
    let mut bridge = bridge(broker.port(), RULE);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.publish(&Outgoing::new("in/a", r#"{"n":1}"#).asking("replies/me", "id-1"));
    let found = answers(&subscriber, 1);
    // It is sent after COMMIT: another connection sees the row.
    let db = rusqlite::Connection::open(bridge.rows()).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM numbers", (), |row| row.get(0)), Ok(1i64));
    assert_eq!(found[0], ("replies/me 1 id-1 application/json".to_owned(), success(1)));

    publisher.publish(&Outgoing::new("in/a", "{}").asking("replies/me", "id-2"));
    publisher.publish(&Outgoing { qos: 2, ..Outgoing::new("in/a", r#"{"n":-1}"#).asking("replies", "id-3") });
    let found = answers(&subscriber, 3);
    assert_eq!(found[1].0, "replies/me 1 id-2 application/json");
    assert!(
        found[1].1["success"] == false && found[1].1["reason"].as_str().unwrap().contains("column `n`"),
        "{found:?}"
    );
    // The rule subscribes at QoS 1.
    assert_eq!(found[2].0, "replies 1 id-3 application/json");
    assert!(found[2].1["reason"].as_str().unwrap().contains("CHECK"), "the database's refusal: {found:?}");
    assert_eq!(bridge.status()["mqtt"]["outbound"]["connected"], true);
    wait_counted(&bridge, &json!({ "sent": 3, "refused": 0, "dropped": 0 }));

    // A row that the table ignores is not counted.
    let ignore = "CREATE TRIGGER t BEFORE INSERT ON numbers WHEN NEW.n = 7 BEGIN SELECT RAISE(IGNORE); END";
    db.execute_batch(ignore).unwrap();
    publisher.publish(&Outgoing::new("in/a", r#"{"n":7}"#).asking("replies/me", "id-4"));
    assert_eq!(answers(&subscriber, 4)[3].1, success(0));
    assert!(bridge.stop().success());
}

#[test]
fn rows_that_the_table_ignores_are_not_taken_from_the_count_of_another_message() {
    let broker = Mosquitto::start();
    let subscriber = Subscriber::start(broker.port(), "replies/#", FORMAT);
    let mut bridge = bridge(broker.port(), &RULE.replace("rows.db'", "rows.db', batch: { max_wait: 1s }"));
    let ignore = "CREATE TRIGGER t BEFORE INSERT ON numbers WHEN NEW.n = 7 BEGIN SELECT RAISE(IGNORE); END";
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(ignore).unwrap();
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for _ in 0..50 {
        publisher.send("in/a", r#"{"n":7}"#);
    }
    publisher.publish(&Outgoing::new("in/a", r#"{"n":8}"#).asking("replies/stored", "id-1"));
    assert_eq!(answers(&subscriber, 1)[0].1, success(1));
    publisher.publish(&Outgoing::new("in/a", r#"{"n":7}"#).asking("replies/ignored", "id-2"));
    assert_eq!(answers(&subscriber, 2)[1].1, success(0));
}

#[test]
fn answers_go_nowhere_else() {
    let broker = Mosquitto::start();
    let subscriber = Subscriber::start(broker.port(), "#", FORMAT);
    let mut bridge = bridge(broker.port(), RULE);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("in/a", r#"{"n":0}"#);
    for (n, topic) in ["other", "repliesx", "in/a", "$SYS/x"].into_iter().enumerate() {
        publisher.publish(&Outgoing::new("in/a", format!(r#"{{"n":{n}}}"#)).asking(topic, "x"));
    }
    publisher.publish(&Outgoing::new("in/a", r#"{"n":9}"#).asking("replies/last", "x"));
    let topics = || -> Vec<String> {
        let lines = subscriber.lines().into_iter();
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).filter(|topic| topic != "in/a").collect()
    };
    wait_for("the last answer", || (!topics().is_empty()).then_some(()));
    assert_eq!(topics(), ["replies/last"]);
    bridge.wait_drained("local");
    let rows: i64 = rusqlite::Connection::open(bridge.rows())
        .unwrap()
        .query_row("SELECT count(*) FROM numbers", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 6, "they are stored as any other");
    wait_counted(&bridge, &json!({ "sent": 1, "refused": 0, "dropped": 4 }));
    assert!(bridge.log().contains("the topic that the message names for it is not allowed"));
}

#[test]
fn one_answer_a_message_however_many_rules_and_databases_take_it() {
    const SECOND: &str = "
  - name: all
    topic: in/#
    database: second
    table: everything
    create: true
    where: .n != 5
    columns: { n: { from: payload.n, type: bigint } }
    reply: true
  - name: more
    topic: in/a
    database: second
    table: everything
    create: true
    columns: { n: { from: payload.n, type: bigint } }
    reply: true
  - name: silent
    topic: in/b
    database: second
    table: everything
    create: true
    columns: { n: { from: payload.n, type: bigint } }
";
    let broker = Mosquitto::start();
    let subscriber = Subscriber::start(broker.port(), "replies/#", FORMAT);
    let body = RULE
        .replace(
            "  local: { url: 'sqlite:rows.db' }\n",
            "  local: { url: 'sqlite:rows.db' }\n  second: { url: 'sqlite:second.db' }\n",
        )
        .replace("    table: numbers\n", "    database: local\n    table: numbers\n");
    let mut bridge = bridge(broker.port(), &format!("{body}{SECOND}"));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for (topic, n, id) in [("in/a", 1, "1"), ("in/a", 5, "2"), ("in/b", 1, "3"), ("in/a", -1, "4"), ("other", 1, "5")] {
        publisher.publish(&Outgoing::new(topic, format!(r#"{{"n":{n}}}"#)).asking("replies/x", id));
    }
    bridge.wait_alive("both databases have all", |bridge| {
        let of = |name: &str| bridge.status()["databases"][name]["pending"].as_u64();
        (of("local") == Some(0) && of("second") == Some(0)).then_some(())
    });
    let mut found = answers(&subscriber, 4);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found.len(), 4, "{found:?}");
    let reasons: Vec<&Value> = found.iter().map(|(_, answer)| &answer["reason"]).collect();
    assert_eq!(
        reasons[..3],
        ["success, 3 record(s) inserted", "success, 2 record(s) inserted", "success, 2 record(s) inserted"]
    );
    assert!(reasons[3].as_str().unwrap().ends_with("; 2 record(s) inserted by other rules"), "{}", reasons[3]);
    assert_eq!(found[3].1["success"], false);
}

#[test]
fn machbase_s_clients_are_answered_where_their_property_says() {
    const BODY: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - { name: api, topic: db/#, convention: machbase, tables: [numbers], reply: true }
";
    let broker = Mosquitto::start();
    let subscriber = Subscriber::start(broker.port(), "db/reply/#", FORMAT);
    let mut bridge = bridge(broker.port(), BODY);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let rows = r#"[["a",1],["b",2],["c",3]]"#;
    publisher.publish(&Outgoing::new("db/write/NUMBERS", rows).property("reply", "db/reply").asking("elsewhere", "1"));
    publisher.publish(&Outgoing::new("db/append/numbers:csv", "a,1\nb,2").asking("db/reply/c1", "2"));
    publisher.publish(&Outgoing::new("db/write/missing", rows).property("reply", "db/reply/c2").asking("x", "3"));
    publisher.publish(&Outgoing::new("db/write/numbers", rows).property("reply", "#").asking("db/reply/c3", "4"));
    publisher.publish(&Outgoing::new("db/write/numbers", "[\"d\",4]").asking("db/reply/c4", "5"));
    let found = answers(&subscriber, 4);
    assert_eq!(found[0], ("db/reply 1 1 application/json".to_owned(), success(3)));
    assert_eq!(found[1], ("db/reply/c1 1 2 application/json".to_owned(), success(2)));
    assert_eq!(found[2].0, "db/reply/c2 1 3 application/json");
    assert_eq!(found[2].1["success"], false);
    assert_eq!(
        found[3],
        ("db/reply/c4 1 5 application/json".to_owned(), success(1)),
        "the property wins, and # is none"
    );
}

#[test]
fn a_broker_that_refuses_or_restarts_costs_answers_and_no_rows() {
    let acl = "topic readwrite in/#\ntopic readwrite replies/#\ntopic deny replies/denied\n".to_owned();
    let mut broker = Mosquitto::with_files(&format!("acl_file FOLDER/acl\n{DEEP_QUEUE}"), &[("acl", acl)]);
    let mut bridge = bridge(broker.port(), RULE);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.publish(&Outgoing::new("in/a", r#"{"n":1}"#).asking("replies/denied", "1"));
    let status = |bridge: &Bridge, key: &str| bridge.status()["mqtt"]["outbound"]["answers"][key].as_u64().unwrap();
    bridge.wait_alive("the refusal", |bridge| (status(bridge, "refused") == 1).then_some(()));
    assert!(bridge.status()["mqtt"]["outbound"]["last_refusal"].as_str().unwrap().contains("0x87"));

    broker.kill();
    broker.restart();
    let subscriber = Subscriber::start(broker.port(), "replies/#", FORMAT);
    let is_back = |bridge: &Bridge| {
        let mqtt = &bridge.status()["mqtt"];
        mqtt["connected"] == true
            && mqtt["subscriptions"][0]["qos_granted"] == 1
            && mqtt["outbound"]["connected"] == true
    };
    bridge.wait_alive("both connections are back", |bridge| is_back(bridge).then_some(()));
    let mut publisher = Publisher::new(broker.port());
    publisher.publish(&Outgoing::new("in/a", r#"{"n":2}"#).asking("replies/after", "2"));
    assert_eq!(answers(&subscriber, 1)[0].0, "replies/after 1 2 application/json");
    let metrics = bridge.get("/metrics").unwrap().body;
    assert!(metrics.contains("rowbridge_connected{peer=\"mqtt-out\"} 1"), "{metrics}");
    assert!(metrics.contains("rowbridge_answers_total{outcome=\"refused\"} 1"), "{metrics}");
}

#[test]
fn the_second_connection_is_opened_only_when_a_rule_answers() {
    let broker = Mosquitto::start();
    let mut bridge = bridge(broker.port(), &RULE.replace("    reply: true\n    reply_prefix: replies\n", ""));
    bridge.start();
    assert_eq!(bridge.status()["mqtt"]["outbound"], Value::Null);
    assert!(!broker.log().contains("-out"), "{}", broker.log());
    bridge.edit("required: true } }\n", "required: true } }\n    reply: true\n");
    assert!(bridge.command(&["reload"]).status.success());
    bridge.wait_alive("the second connection", |bridge| {
        (bridge.status()["mqtt"]["outbound"]["connected"] == true).then_some(())
    });
    let subscriber = Subscriber::start(broker.port(), "anywhere", FORMAT);
    Publisher::new(broker.port()).publish(&Outgoing::new("in/a", r#"{"n":1}"#).asking("anywhere", "1"));
    assert_eq!(answers(&subscriber, 1)[0].1, success(1));
}

#[test]
fn check_says_that_nothing_can_be_answered_in_mqtt_3_1_1() {
    let bridge = Bridge::with_mqtt(1, "version: 3.1.1", RULE);
    let output = bridge.command(&["check", "--offline"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("answers to replies and below"), "{text}");
    assert!(text.contains("sends no answers: in MQTT 3.1.1"), "{text}");
}
