//! Which messages reach which rule, and how often.

use crate::session::picky_broker::{Copies, Manners, PickyBroker, Refusal};
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::{Outgoing, Version};
use crate::support::oracle::{Tally, column, count, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher, reading};

/// A rule into a table of its own, with columns id and topic.
fn rule(name: &str, topic: &str, more: &str) -> String {
    format!(
        "  - name: {name}\n    topic: {topic}\n    table: {name}\n    create: true\n{more}    columns:\n      \
         id: {{ from: payload.id, type: bigint }}\n      topic: topic\n"
    )
}

fn body(rules: &[String]) -> String {
    format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\nrules:\n{}", rules.concat())
}

fn settle(bridge: &mut Bridge, messages: u64) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    bridge.wait_drained("local");
}

#[test]
fn every_rule_that_matches_takes_the_message() {
    let broker = Mosquitto::start();
    let rules =
        [rule("history", "sensors/#", ""), rule("site1", "sensors/site1/+/telemetry", ""), rule("other", "x/#", "")];
    let mut bridge = Bridge::new(broker.port(), &body(&rules));
    bridge.start();
    Load::new(broker.port(), 1, 300).run();
    settle(&mut bridge, 300);
    let file = bridge.rows();
    assert_eq!((count(&file, "history"), count(&file, "site1"), count(&file, "other")), (300, 100, 0));
    let status = bridge.status();
    let matched: Vec<u64> = (0..3).map(|index| status["rules"][index]["matched"].as_u64().unwrap()).collect();
    assert_eq!(matched, [300, 100, 0], "{status}");
}

#[test]
fn overlapping_filters_store_a_message_once_for_each_rule() {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let rules = [
            rule("listed", "[a/+/c, a/b/+, a/#]", ""),
            rule("left", "a/+/c", ""),
            rule("right", "a/b/+", "    qos: 2\n"),
        ];
        let mut bridge = Bridge::with_mqtt(broker.port(), &format!("version: {version}"), &body(&rules));
        bridge.start();
        let messages = 200;
        Load::new(broker.port(), 1, messages).made_by(|id| ("a/b/c".into(), reading(id).1)).run();
        bridge.wait_ids("listed", messages);
        bridge.wait_drained("local");
        for table in ["listed", "left", "right"] {
            Tally::of_sqlite(&bridge.rows(), table, 0..messages).assert_each_once(&format!("{table}, MQTT {version}"));
        }
    }
}

/// Neither filter covers the other, so both are subscribed: Mosquitto sends such a message once or twice, by its
/// settings. Twice, the subscription identifiers tell which delivery is whose.
#[test]
fn filters_that_cross_store_a_message_once_even_if_the_broker_sends_it_twice() {
    for duplicates in ["allow_duplicate_messages true\n", "allow_duplicate_messages false\n"] {
        let broker = Mosquitto::with(&format!("{DEEP_QUEUE}{duplicates}"));
        let rules = [rule("left", "a/+/c", ""), rule("right", "a/b/+", ""), rule("either", "[a/+/c, a/b/+]", "")];
        let mut bridge = Bridge::new(broker.port(), &body(&rules));
        bridge.start();
        let messages = 200;
        Load::new(broker.port(), 1, messages).made_by(|id| ("a/b/c".into(), reading(id).1)).run();
        for table in ["left", "right", "either"] {
            bridge.wait_ids(table, messages);
        }
        bridge.wait_drained("local");
        for table in ["left", "right", "either"] {
            let place = format!("{table} with {duplicates}");
            Tally::of_sqlite(&bridge.rows(), table, 0..messages).assert_each_once(&place);
        }
    }
}

#[test]
fn a_shared_subscription_divides_the_messages_between_its_members() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let rules = body(&[rule("readings", "$share/group/sensors/{site}/{device}/telemetry", "")]);
    let mut first = Bridge::new(broker.port(), &rules);
    let mut second = Bridge::new(broker.port(), &rules);
    first.start();
    second.start();
    let messages = 1_000;
    Load::new(broker.port(), 1, messages).run();
    first.wait_alive("both together hold all", |first| {
        (count(&first.rows(), "readings") + count(&second.rows(), "readings") >= messages).then_some(())
    });
    let mut ids: Vec<i64> = column(&first.rows(), "SELECT id FROM readings");
    let of_first = ids.len();
    ids.extend(column::<i64>(&second.rows(), "SELECT id FROM readings"));
    assert!(of_first > 0 && of_first < ids.len(), "one of them got everything: {of_first} of {}", ids.len());
    Tally::of(ids, 0..messages).assert_each_once("both together");
}

#[test]
fn retained_messages_are_stored_or_passed_over_as_the_rule_says() {
    let broker = Mosquitto::start();
    let mut publisher = Publisher::new(broker.port());
    publisher.publish(&Outgoing::new("state/a", r#"{"id":1}"#).retained());
    let rules = [rule("stored", "state/+", ""), rule("skipped", "state/+", "    retained: skip\n")];
    let mut bridge = Bridge::new(broker.port(), &body(&rules));
    bridge.start();
    bridge.wait_rows("stored", 1);
    // A live message, although it asks to be retained, does not come with the flag.
    publisher.publish(&Outgoing::new("state/a", r#"{"id":2}"#).retained());
    settle(&mut bridge, 2);
    bridge.wait_rows("skipped", 1);
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT id FROM stored ORDER BY id"), [1, 2]);
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT id FROM skipped"), [2]);
    let status = bridge.status();
    assert_eq!(status["rules"][1]["filtered"], 1, "{status}");
    // The session is kept and the filter unchanged: the broker is not asked for its retained messages again.
    assert!(bridge.stop().success());
    bridge.start();
    publisher.send("state/b", r#"{"id":3}"#);
    bridge.wait_ids("stored", 3);
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT id FROM stored ORDER BY id"), [1, 2, 3]);
}

#[test]
fn a_filter_that_is_gone_from_the_file_is_unsubscribed_at_the_next_start() {
    let broker = Mosquitto::start();
    let (kept, gone) = (rule("kept", "kept/+", ""), rule("gone", "gone/+", ""));
    let mut bridge = Bridge::new(broker.port(), &format!("unmatched: dead_letter\n{}", body(&[kept, gone.clone()])));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("gone/1", r#"{"id":1}"#);
    bridge.wait_rows("gone", 1);
    bridge.edit(&gone, "");
    assert!(bridge.stop().success());
    // Published while the filter is still in the session: it comes, and no rule takes it.
    publisher.send("gone/2", r#"{"id":2}"#);
    bridge.start();
    bridge.wait_alive("the one of the meantime is a dead letter", |bridge| {
        (count(&bridge.rows(), "rowbridge_dead_letters") == 1).then_some(())
    });
    publisher.send("gone/3", r#"{"id":3}"#);
    publisher.send("kept/1", r#"{"id":4}"#);
    bridge.wait_rows("kept", 1);
    bridge.wait_drained("local");
    let topics = column::<String>(&bridge.rows(), "SELECT topic FROM rowbridge_dead_letters");
    assert_eq!(topics, ["gone/2"], "gone/3 is not sent any more");
    let status = bridge.status();
    let filters: Vec<&str> =
        status["mqtt"]["subscriptions"].as_array().unwrap().iter().filter_map(|one| one["filter"].as_str()).collect();
    assert_eq!(filters, ["kept/+"]);
    assert!(broker.log().contains("UNSUBSCRIBE"));
}

#[test]
fn a_message_that_no_rule_takes_is_counted() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("one", "one/{name}/+", "")]));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("two/a/b", r#"{"id":1}"#);
    publisher.send("one/a/b", r#"{"id":2}"#);
    bridge.wait_rows("one", 1);
    assert_eq!(bridge.journaled(), 1, "what no filter asks for is not sent");
    assert_eq!(bridge.status()["unmatched"], 0);
}

#[test]
fn a_rule_reads_everything_that_a_message_carries() {
    let broker = Mosquitto::start();
    let rules = "
bridge: gw-test
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - name: everything
    topic: 'a/{b}/{*rest}'
    table: everything
    create: true
    columns:
      topic: topic
      b: topic.b
      rest: topic.rest
      level: 'topic[2]'
      body: { from: payload, type: json }
      odd: { from: 'payload[\"odd key\"]', type: text }
      element: { from: 'payload.list[1]', type: bigint }
      last: { from: 'payload.list[-1]', type: bigint }
      site: property.Site
      kind: content_type
      q: qos
      kept: retain
      seq: journal.seq
      gw: bridge
      rule: rule
      fixed: { value: 42, type: int }
      missing: { from: payload.none, type: int, default: 7 }
";
    let mut bridge = Bridge::new(broker.port(), rules);
    bridge.start();
    let payload = r#"{"odd key":"odd value","list":[10,20,30]}"#;
    Publisher::speaking(broker.port(), Version::V5).publish(&Outgoing {
        user_properties: vec![("site".into(), "north".into())],
        content_type: Some("application/json".into()),
        ..Outgoing::new("a/x/y/z", payload)
    });
    bridge.wait_rows("everything", 1);
    let row: String = value(
        &bridge.rows(),
        "SELECT concat_ws('|', topic, b, rest, level, body, odd, element, last, site, kind, q, kept, seq, gw, rule, fixed, missing) \
         FROM everything",
    );
    assert_eq!(
        row,
        format!("a/x/y/z|x|y/z|y|{payload}|odd value|20|30|north|application/json|1|0|1|gw-test|everything|42|7")
    );
}

#[test]
fn topics_of_the_broker_itself_are_not_taken_by_a_wildcard() {
    let broker = Mosquitto::with("sys_interval 1\n");
    let mut bridge = Bridge::new(
        broker.port(),
        "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - name: all\n    topic: '#'\n    table: all_of_it\n    \
         create: true\n    format: bytes\n    columns: { topic: topic, body: { from: payload, type: bytes } }\n",
    );
    bridge.start();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    Publisher::new(broker.port()).send("mine", "1");
    bridge.wait_rows("all_of_it", 1);
    assert_eq!(column::<String>(&bridge.rows(), "SELECT topic FROM all_of_it"), ["mine"]);
}

#[test]
fn each_quality_of_service_arrives_with_both_protocol_versions() {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let mut bridge = Bridge::with_mqtt(
            broker.port(),
            &format!("version: {version}"),
            &body(&[rule("readings", "sensors/#", "    qos: 2\n")]),
        );
        bridge.start();
        for qos in [0, 1, 2] {
            Load::new(broker.port(), qos, 300).numbered_from(u64::from(qos) * 300).run();
        }
        bridge.wait_rows("readings", 900);
        bridge.wait_drained("local");
        Tally::of_sqlite(&bridge.rows(), "readings", 0..900).assert_each_once(&format!("MQTT {version}"));
        let metrics = bridge.metrics();
        for qos in ["0", "1", "2"] {
            assert_eq!(metrics.value("rowbridge_messages_received_total", &[("qos", qos)]), Some(300.0), "QoS {qos}");
        }
    }
}

/// Both databases take the same messages; one element that does not fit refuses its message and no other.
#[test]
fn for_each_makes_a_row_of_every_element_and_a_bad_one_refuses_its_message_whole() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = |database: &str| {
        format!(
            "  - name: {database}\n    topic: plant/{{line}}/batch\n    database: {database}\n    table: readings\n    create: \
             true\n    for_each: [payload.groups, item.values]\n    columns:\n      line: topic.line\n      device: \
             {{ from: payload.id, type: text }}\n      grp: {{ from: parent.name, type: text }}\n      v: {{ from: item.v, type: \
             bigint }}\n      n: index\n"
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
    let group = |name: &str, values: &str| format!(r#"{{"name":"{name}","values":[{values}]}}"#);
    let message = |groups: &[String]| format!(r#"{{"groups":[{}],"id":"d"}}"#, groups.join(","));
    let good = message(&[group("x", r#"{"v":9007199254740993},{"v":2}"#), group("y", ""), group("z", r#"{"v":3}"#)]);
    publisher.send("plant/l1/batch", good);
    publisher.send("plant/l2/batch", message(&[group("x", r#"{"v":1},{"v":"many"}"#)]));
    publisher.send("plant/l3/batch", message(&[]));
    publisher.send("plant/l4/batch", message(&[group("x", r#"{"v":4}"#)]));
    settle(&mut bridge, 4);
    bridge.wait_drained("far");
    let rows = "SELECT line || ' ' || device || ' ' || grp || ' ' || v || ' ' || n FROM readings";
    let expected = ["l1 d x 9007199254740993 0", "l1 d x 2 1", "l1 d z 3 0", "l4 d x 4 0"];
    assert_eq!(column::<String>(&bridge.rows(), &format!("{rows} ORDER BY rowid")), expected);
    assert_eq!(postgres.psql(&database, &format!("{rows} ORDER BY line, grp, n")), expected.join("\n"));
    let letters = "SELECT reason || ': ' || error FROM rowbridge_dead_letters";
    let letter = column::<String>(&bridge.rows(), letters);
    assert!(letter.len() == 1 && letter[0].starts_with("value: item 0, item 1: column `v`"), "{letter:?}");
    assert_eq!(postgres.psql(&database, letters), letter[0].replace("BIGINT", "bigint"), "the same in Postgres");
    let status = bridge.status();
    for rule in status["rules"].as_array().unwrap() {
        let counts: Vec<u64> = ["matched", "written", "rows", "filtered", "dead_lettered"]
            .map(|count| rule[count].as_u64().unwrap())
            .to_vec();
        assert_eq!(counts, [4, 2, 4, 1, 1], "{rule}");
    }
}

#[tokio::test]
async fn a_rule_gets_what_its_second_filter_brings_where_the_first_is_refused() {
    let (forbidden, refusal) = (vec!["s/+/x".to_owned()], Refusal::Answers(0x87));
    let broker = PickyBroker::start(Manners { forbidden, refusal, copies: Copies::Each, ..Manners::default() }).await;
    let mut bridge = Bridge::new(broker.port(), &body(&[rule("both", "[s/+/x, s/1/+]", "")]));
    // The broker lives in this thread.
    let started = tokio::task::spawn_blocking(move || {
        bridge.start();
        bridge.wait_alive("the broker has answered for both", |bridge| {
            let subscriptions = &bridge.status()["mqtt"]["subscriptions"];
            (subscriptions[0]["error"].is_string() && subscriptions[1]["qos_granted"] == 1).then_some(())
        });
        bridge
    });
    let mut bridge = started.await.unwrap();
    broker.publish("s/1/x", r#"{"id":1}"#);
    broker.publish("s/1/y", r#"{"id":2}"#);
    let stored = tokio::task::spawn_blocking(move || {
        settle(&mut bridge, 2);
        column::<i64>(&bridge.rows(), "SELECT id FROM both ORDER BY id")
    });
    assert_eq!(stored.await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn the_copy_of_a_message_that_a_rule_leaves_is_not_unmatched() {
    let broker = PickyBroker::start(Manners { copies: Copies::Each, ..Manners::default() }).await;
    let body = format!("unmatched: dead_letter\n{}", body(&[rule("both", "[s/+/x, s/1/+]", "")]));
    let mut bridge = Bridge::new(broker.port(), &body);
    let started = tokio::task::spawn_blocking(move || {
        bridge.start();
        bridge.wait_alive("both are granted", |bridge| {
            let subscriptions = &bridge.status()["mqtt"]["subscriptions"];
            (0..2).all(|at| subscriptions[at]["qos_granted"] == 1).then_some(())
        });
        bridge
    });
    let mut bridge = started.await.unwrap();
    broker.publish("s/1/x", r#"{"id":1}"#);
    let stored = tokio::task::spawn_blocking(move || {
        settle(&mut bridge, 2);
        let file = bridge.rows();
        (count(&file, "both"), count(&file, "rowbridge_dead_letters"), bridge.status()["unmatched"].clone())
    });
    assert_eq!(stored.await.unwrap(), (1, 0, 0.into()));
}
